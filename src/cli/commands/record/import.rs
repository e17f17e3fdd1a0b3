//! NDJSON from a file or standard input.
//!
//! Lines are checked here before they are sent, in windows; a window ends
//! before a bad line, so that nothing after it is recorded unless that is
//! wanted. An event told to come again comes after the rest of its window.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::lines::{Lines, Ndjson, Place, Translate};
use super::python::{self, Python};
use super::sink::Sink;
use super::{Format, RecordArgs, may_resend, refused};
use crate::audit::ParseMode;
use crate::audit::event::MAX_LINE_BYTES;
use crate::audit::sanitize::escape_for_terminal;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::collector::client::Answer;
use crate::config::Settings;

/// A window holds at most so many events, and closes at so many bytes.
const WINDOW_EVENTS: usize = 1_000;
const WINDOW_BYTES: usize = 512 * 1024;

/// What was done so far.
#[derive(Default)]
struct Tally {
    recorded: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    rejected: Vec<Rejected>,
    /// Whether places are told with their files.
    names_files: bool,
}

struct Rejected {
    place: Place,
    kind: String,
    message: String,
}

impl Tally {
    fn document(&self) -> serde_json::Map<String, serde_json::Value> {
        let rejected: Vec<_> = self
            .rejected
            .iter()
            .map(|r| {
                let line = r.place.line;
                let mut told = json!({ "line": line, "kind": r.kind, "message": r.message });
                if self.names_files {
                    told["file"] = json!(&*r.place.file);
                }
                told
            })
            .collect();
        let mut map = serde_json::Map::new();
        map.insert("recorded".to_owned(), json!(self.recorded));
        map.insert("first_seq".to_owned(), json!(self.first_seq));
        map.insert("last_seq".to_owned(), json!(self.last_seq));
        map.insert("rejected".to_owned(), json!(rejected));
        map
    }

    fn place(&self, place: &Place) -> String {
        if self.names_files { place.to_string() } else { format!("line {}", place.line) }
    }

    fn text(&self) -> String {
        match (self.first_seq, self.last_seq) {
            (Some(first), Some(last)) => {
                format!("{} events recorded, seq {first} to {last}", self.recorded)
            }
            _ => "0 events recorded".to_owned(),
        }
    }
}

pub(super) fn run(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
) -> Result<u8, CliError> {
    if args.file.len() > 1 && args.file.iter().any(|file| file == Path::new("-")) {
        return Err(CliError::usage("standard input (-) is read alone"));
    }
    if args.format == Format::Ndjson {
        let mode = if args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        let lines = Lines::open(args.file.clone(), MAX_LINE_BYTES)?;
        return all(context, settings, args, lines, &mut Ndjson { mode, settings });
    }
    let from_stdin = args.file[0] == Path::new("-");
    let files = if from_stdin { args.file.clone() } else { python::ordered(&args.file)? };
    let mut translate = Python::new(settings, args, &files)?;
    let mut lines = Lines::open(files, python::MAX_PYTHON_LINE_BYTES)?;
    if let Some(position) = translate.position() {
        let place = position.place();
        context.printer.note(&format!("auditctl: the log has these files up to {place}"));
        lines.go_on(place)?;
    }
    if let Some(place) = translate.others() {
        context.printer.error(&format!(
            "auditctl: --resume: the log has nothing of files with these names, and others up to {}; \
             all of these are recorded now",
            escape_for_terminal(&place.to_string())
        ));
    }
    all(context, settings, args, lines, &mut translate)
}

/// Imports everything, and says what was done, also when it fails.
fn all(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
    mut lines: Lines,
    translate: &mut dyn Translate,
) -> Result<u8, CliError> {
    let mut sink = Sink::open(settings, true, args.lenient)?;
    let bar = progress(context, lines.length);
    let names_files = args.format != Format::Ndjson || args.file.len() > 1;
    let mut tally = Tally { names_files, ..Tally::default() };
    let outcome = import(context, args, (&mut lines, translate), &mut sink, &bar, &mut tally);
    bar.finish_and_clear();
    let closed = sink.close();
    let told = |mut error: CliError| {
        error.message = format!("{}; {} before that, all durable", error.message, tally.text());
        *error.extra = tally.document();
        if args.format == Format::PythonAudit {
            let hint = "to go on after the last line that was recorded: the same with --resume";
            error.hint = Some(error.hint.map_or(hint.to_owned(), |old| format!("{old}; {hint}")));
        }
        error
    };
    outcome.map_err(told)?;
    closed.map_err(told)?;
    let text = if context.json {
        let mut document = tally.document();
        document.extend(translate.document().map(|(key, value)| (key.to_owned(), value)));
        serde_json::Value::Object(document).to_string()
    } else {
        let said = translate.text();
        let said = said.iter().map(|line| escape_for_terminal(line).into_owned());
        std::iter::once(tally.text()).chain(said).collect::<Vec<_>>().join("\n")
    };
    context.print(&text)?;
    let is_good = tally.rejected.is_empty() && !translate.is_suspicious();
    Ok(if is_good { 0 } else { Exit::Found as u8 })
}

fn progress(context: &Context, length: Option<u64>) -> ProgressBar {
    if !context.printer.progress() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = "{bar:30} {bytes}/{total_bytes} {msg} ({eta} left)";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn import(
    context: &Context,
    args: &RecordArgs,
    (lines, translate): (&mut Lines, &mut dyn Translate),
    sink: &mut Sink,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), CliError> {
    // What may be told to come again would come after what follows it.
    let one_by_one = args.format == Format::PythonAudit && !sink.is_exempt();
    let mut at_end = false;
    while !at_end {
        let mut window = Vec::new();
        let mut bytes = 0;
        let mut bad = None;
        // What has come is sent before more is waited for: the input may be a
        // service that says something now and then.
        while window.len() < WINDOW_EVENTS
            && bytes < WINDOW_BYTES
            && (window.is_empty() || lines.has_whole_line())
        {
            let Some((place, line)) = lines.next()? else {
                at_end = true;
                break;
            };
            match translate.line(&place, line) {
                Ok(events) => {
                    bytes += events.iter().map(Vec::len).sum::<usize>();
                    window.extend(events.into_iter().map(|event| (place.clone(), event)));
                }
                Err(error) => {
                    let message = error.to_string();
                    bad = Some(Rejected { place, kind: error.kind().to_owned(), message });
                    break;
                }
            }
        }
        let size = if one_by_one { 1 } else { window.len().max(1) };
        while !window.is_empty() {
            let rest = window.split_off(size.min(window.len()));
            send_all(context, args, window, sink, tally)?;
            window = rest;
        }
        if let Some(bad) = bad {
            reject(context, args, bad, tally)?;
        }
        bar.set_position(lines.read());
        bar.set_message(format!("{} events", tally.recorded));
    }
    Ok(())
}

/// Sends a window until everything in it is recorded or refused for good.
fn send_all(
    context: &Context,
    args: &RecordArgs,
    mut window: Vec<(Place, Vec<u8>)>,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<(), CliError> {
    while !window.is_empty() {
        let lines: Vec<&[u8]> = window.iter().map(|(_, line)| &line[..]).collect();
        let answers = sink.send(&lines)?;
        let mut again = Vec::new();
        let mut wait = Duration::ZERO;
        let mut failed = None;
        for ((place, line), answer) in window.into_iter().zip(answers) {
            match answer {
                Answer::Recorded(seq) => {
                    tally.recorded += 1;
                    tally.first_seq = Some(tally.first_seq.map_or(seq, |first| first.min(seq)));
                    tally.last_seq = Some(tally.last_seq.map_or(seq, |last| last.max(seq)));
                }
                Answer::Refused { kind, retry_after: Some(after), .. } if may_resend(&kind) => {
                    wait = wait.max(after);
                    again.push((place, line));
                }
                Answer::Refused { kind, message, .. } => {
                    let fatal = matches!(
                        &*kind,
                        "lost" | "disk_full" | "unavailable" | "closed" | "failed" | "timeout"
                    );
                    if fatal {
                        // The rest of the answers still count.
                        let text = format!("{}: {message}", tally.place(&place));
                        failed.get_or_insert_with(|| refused(&kind, &text));
                    } else {
                        reject(context, args, Rejected { place, kind, message }, tally)?;
                    }
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        window = again;
        std::thread::sleep(wait);
    }
    Ok(())
}

fn reject(
    context: &Context,
    args: &RecordArgs,
    bad: Rejected,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let place = tally.place(&bad.place);
    let text = format!("{}: {}", escape_for_terminal(&place), escape_for_terminal(&bad.message));
    let kind = bad.kind.clone();
    tally.rejected.push(bad);
    if args.keep_going {
        context.printer.error(&format!("auditctl: {text}"));
        return Ok(());
    }
    let error = refused(&kind, &text);
    Err(error.hint("mend the line and import the rest, or use --keep-going to pass over bad lines"))
}
