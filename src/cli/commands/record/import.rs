//! NDJSON from a file or standard input.
//!
//! Lines are checked here before they are sent, in windows; a window ends
//! before a bad line, so that nothing after it is recorded unless that is
//! wanted. An event told to come again comes after the rest of its window.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::sink::Sink;
use super::{RecordArgs, may_resend, refused};
use crate::audit::event::MAX_LINE_BYTES;
use crate::audit::sanitize::escape_for_terminal;
use crate::audit::{Event, EventError, EventLimits, ParseMode};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::collector::client::Answer;
use crate::config::Settings;
use crate::fsio::{Fs, OpenMode, OsFs};

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
}

struct Rejected {
    line: u64,
    kind: String,
    message: String,
}

impl Tally {
    fn document(&self) -> serde_json::Map<String, serde_json::Value> {
        let rejected: Vec<_> = self
            .rejected
            .iter()
            .map(|r| json!({ "line": r.line, "kind": r.kind, "message": r.message }))
            .collect();
        let mut map = serde_json::Map::new();
        map.insert("recorded".to_owned(), json!(self.recorded));
        map.insert("first_seq".to_owned(), json!(self.first_seq));
        map.insert("last_seq".to_owned(), json!(self.last_seq));
        map.insert("rejected".to_owned(), json!(rejected));
        map
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

/// Checks a line as the collector will.
pub(super) fn check(line: &[u8], mode: ParseMode, settings: &Settings) -> Result<(), EventError> {
    let limits = EventLimits { max_details_bytes: settings.max_details_size.0 as usize };
    Event::from_json(line, mode)?.check(&limits).map(|_| ())
}

pub(super) fn run(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
    file: &Path,
) -> Result<u8, CliError> {
    let (input, length) = open_input(file)?;
    let mode = if args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
    let mut lines =
        Lines { input: BufReader::with_capacity(256 * 1024, input), number: 0, read: 0 };
    let mut sink = Sink::open(settings, true, args.lenient)?;
    let bar = progress(context, length);
    let mut tally = Tally::default();
    let outcome = import(context, settings, args, mode, &mut lines, &mut sink, &bar, &mut tally);
    bar.finish_and_clear();
    let closed = sink.close();
    let told = |mut error: CliError| {
        error.message = format!("{}; {} before that, all durable", error.message, tally.text());
        *error.extra = tally.document();
        error
    };
    outcome.map_err(told)?;
    closed.map_err(told)?;
    let text = if context.json {
        serde_json::Value::Object(tally.document()).to_string()
    } else {
        tally.text()
    };
    context.print(&text)?;
    Ok(if tally.rejected.is_empty() { 0 } else { Exit::Found as u8 })
}

fn open_input(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), CliError> {
    if file == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let failed = |error: std::io::Error| {
        let mut new = CliError::io("read", file, &error);
        new.exit = Exit::Usage;
        new
    };
    let opened = OsFs.open(file, OpenMode::Read).map_err(failed)?;
    let meta = opened.meta().map_err(failed)?;
    let length = meta.is_file.then_some(meta.len);
    Ok((Box::new(Whole { file: opened, offset: 0 }), length))
}

/// A file read from its beginning.
struct Whole {
    file: Box<dyn crate::fsio::FsFile>,
    offset: u64,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
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

/// A line with its number, or why it is none.
type NumberedLine = (u64, Result<Vec<u8>, EventError>);

/// The input, line by line, with its numbers.
struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    read: u64,
}

impl<R: Read> Lines<R> {
    /// Whether the next line is there without waiting for it.
    fn has_whole_line(&self) -> bool {
        memchr::memchr(b'\n', self.input.buffer()).is_some()
    }

    /// The next line that is not blank; `None` at the end. A line too long is
    /// passed over and told as such, without being held in memory.
    fn next(&mut self) -> std::io::Result<Option<NumberedLine>> {
        loop {
            let mut line = Vec::new();
            let limit = MAX_LINE_BYTES as u64 + 2;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.read += read as u64;
            let ended = line.pop_if(|last| *last == b'\n').is_some();
            line.pop_if(|last| *last == b'\r');
            if line.len() > MAX_LINE_BYTES {
                let rest = if ended { 0 } else { self.input.skip_until(b'\n')? };
                self.read += rest as u64;
                let error = EventError::LineTooLong { actual: line.len() + rest };
                return Ok(Some((self.number, Err(error))));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.number, Ok(line))));
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn import<R: Read>(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
    mode: ParseMode,
    lines: &mut Lines<R>,
    sink: &mut Sink,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), CliError> {
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
            let next = lines.next().map_err(|error| {
                CliError::new("io", Exit::Failed, format!("the input cannot be read: {error}"))
            })?;
            let Some((number, line)) = next else {
                at_end = true;
                break;
            };
            match line.and_then(|line| check(&line, mode, settings).map(|()| line)) {
                Ok(line) => {
                    bytes += line.len();
                    window.push((number, line));
                }
                Err(error) => {
                    let message = error.to_string();
                    bad = Some(Rejected { line: number, kind: error.kind().to_owned(), message });
                    break;
                }
            }
        }
        send_all(context, args, window, sink, tally)?;
        if let Some(bad) = bad {
            reject(context, args, bad, tally)?;
        }
        bar.set_position(lines.read);
        bar.set_message(format!("{} events", tally.recorded));
    }
    Ok(())
}

/// Sends a window until everything in it is recorded or refused for good.
fn send_all(
    context: &Context,
    args: &RecordArgs,
    mut window: Vec<(u64, Vec<u8>)>,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<(), CliError> {
    while !window.is_empty() {
        let lines: Vec<&[u8]> = window.iter().map(|(_, line)| &line[..]).collect();
        let answers = sink.send(&lines)?;
        let mut again = Vec::new();
        let mut wait = Duration::ZERO;
        let mut failed = None;
        for ((number, line), answer) in window.into_iter().zip(answers) {
            match answer {
                Answer::Recorded(seq) => {
                    tally.recorded += 1;
                    tally.first_seq = Some(tally.first_seq.map_or(seq, |first| first.min(seq)));
                    tally.last_seq = Some(tally.last_seq.map_or(seq, |last| last.max(seq)));
                }
                Answer::Refused { kind, retry_after: Some(after), .. } if may_resend(&kind) => {
                    wait = wait.max(after);
                    again.push((number, line));
                }
                Answer::Refused { kind, message, .. } => {
                    let fatal = matches!(
                        &*kind,
                        "lost" | "disk_full" | "unavailable" | "closed" | "failed" | "timeout"
                    );
                    if fatal {
                        // The rest of the answers still count.
                        let text = format!("line {number}: {message}");
                        failed.get_or_insert_with(|| refused(&kind, &text));
                    } else {
                        reject(context, args, Rejected { line: number, kind, message }, tally)?;
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
    let text = format!("line {}: {}", bad.line, escape_for_terminal(&bad.message));
    let kind = bad.kind.clone();
    tally.rejected.push(bad);
    if args.keep_going {
        context.printer.error(&format!("auditctl: {text}"));
        return Ok(());
    }
    let error = refused(&kind, &text);
    Err(error.hint("mend the line and import the rest, or use --keep-going to pass over bad lines"))
}
