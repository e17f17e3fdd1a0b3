//! NDJSON from a file or standard input.
//!
//! Lines are checked here before they are sent, in windows; a window ends
//! before a bad line, so that nothing after it is recorded unless that is
//! wanted. An event told to come again comes after others of its window.
//!
//! An import of files that was interrupted goes on where it stopped: what was
//! acknowledged is in its [`Position`], and what was sent after that the log is asked for.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::input::is_stdin;
use super::lines::{Lines, Mark, Ndjson, Place, Translate};
use super::mapped::{self, Mapped};
use super::position::Position;
use super::python::{self, Python};
use super::shape::Shape;
use super::sink::{self, Sink};
use super::{Format, RecordArgs, may_resend, refused};
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::sanitize::escape_for_terminal;
use crate::audit::{EventError, ParseMode};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::collector::client::Answer;
use crate::config::Settings;
use crate::health::wording::{count, were};
use crate::mapping::with_next_id;

/// Lines that are read to find those that a run before recorded, at most.
const LOOKED_THROUGH: usize = 20_000;
/// A window holds at most so many events, and closes at so many bytes.
const WINDOW_EVENTS: usize = 1_000;
const WINDOW_BYTES: usize = 512 * 1024;

/// What was done so far.
#[derive(Default)]
struct Tally {
    recorded: u64,
    /// Events that the log had before, by their ids.
    duplicates: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    rejected: Vec<Rejected>,
    /// Whether places are told with their files.
    names_files: bool,
    /// What runs before recorded: how many, the last of them, and up to where.
    before: Option<Before>,
}

struct Before {
    recorded: u64,
    last_seq: Option<u64>,
    place: Place,
}

struct Rejected {
    place: Place,
    column: Option<usize>,
    kind: String,
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl Rejected {
    pub(super) fn of(place: Place, error: &EventError) -> Self {
        let kind = error.kind().to_owned();
        let (column, message) = match error {
            // A line has one place: the column belongs to it.
            EventError::NotJson(json) => {
                (Some(json.column), format!("not a JSON object: {}", json.what))
            }
            other => (None, other.to_string()),
        };
        let hint = match error {
            EventError::NotJson(json) if json.what.ends_with("is not UTF-8") => Some(
                "convert the file to UTF-8 first, for example with `iconv -f LATIN1 -t UTF-8`. A \
                 UTF-16 file needs no conversion if it begins with a byte order mark",
            ),
            EventError::UnknownKey(_) => Some(
                "to move unknown keys into details, add --lenient. If the file has another shape, \
                 convert it to one event a line first, for example with jq",
            ),
            EventError::Unmapped(_) => Some(
                "--explain shows what becomes of the first records; docs/mappings.md tells how to \
                 write a mapping of your own",
            ),
            EventError::MissingType => Some(
                "each line has to be an object with an event_type. If the file has another shape, \
                 convert it first, for example with jq",
            ),
            _ => None,
        };
        Self { place, column, kind, message, hint: hint.map(str::to_owned) }
    }

    /// The same where the line seems to be something else than a wrong event.
    fn seen(self, shape: Option<Shape>) -> Self {
        match shape {
            None => self,
            Some(Shape { what, hint }) => {
                Self { column: None, message: what, hint: Some(hint), ..self }
            }
        }
    }
}

impl Tally {
    fn document(&self) -> serde_json::Map<String, serde_json::Value> {
        let rejected: Vec<_> = self
            .rejected
            .iter()
            .map(|r| {
                let line = r.place.line;
                let mut told = json!({ "line": line, "kind": r.kind, "message": r.message });
                if let Some(record) = r.place.record {
                    told["record"] = json!(record);
                }
                if let Some(column) = r.column {
                    told["column"] = json!(column);
                }
                if self.names_files {
                    told["file"] = json!(&*r.place.file);
                }
                told
            })
            .collect();
        let mut map = serde_json::Map::new();
        map.insert("recorded".to_owned(), json!(self.recorded));
        map.insert("duplicates".to_owned(), json!(self.duplicates));
        map.insert("first_seq".to_owned(), json!(self.first_seq));
        map.insert("last_seq".to_owned(), json!(self.last_seq));
        map.insert("rejected".to_owned(), json!(rejected));
        if let Some(before) = &self.before {
            let (file, line) = (&*before.place.file, before.place.line);
            let told = json!({ "recorded": before.recorded, "file": file, "line": line });
            map.insert("went_on_after".to_owned(), told);
        }
        map
    }

    fn recorded(&mut self, seq: u64) {
        self.recorded += 1;
        self.first_seq = Some(self.first_seq.map_or(seq, |first| first.min(seq)));
        self.last_seq = Some(self.last_seq.map_or(seq, |last| last.max(seq)));
    }

    /// For the position: the last seq, and how many, of all runs.
    fn standing(&self) -> (Option<u64>, u64) {
        let (last, recorded) =
            self.before.as_ref().map_or((None, 0), |before| (before.last_seq, before.recorded));
        (last.max(self.last_seq), recorded + self.recorded)
    }

    fn place(&self, place: &Place) -> String {
        match place.record {
            _ if self.names_files => place.to_string(),
            Some(record) => format!("record {record} (line {})", place.line),
            None => format!("line {}", place.line),
        }
    }

    fn text(&self) -> String {
        let text = match (self.first_seq, self.last_seq) {
            (Some(first), Some(last)) => {
                let seqs = if first == last {
                    format!("seq {first}")
                } else {
                    format!("seq {first} to {last}")
                };
                format!("{} recorded, {seqs}", count(self.recorded, "event"))
            }
            _ => "0 events recorded".to_owned(),
        };
        let text = match self.duplicates {
            0 => text,
            before => format!("{text}; {} recorded before, by their ids", count(before, "event")),
        };
        match &self.before {
            // A position may have been written by anybody who may write the user's files.
            Some(before)
                if self.recorded == 0 && self.duplicates == 0 && self.rejected.is_empty() =>
            {
                format!(
                    "0 events recorded: an interrupted run had come to {}, with {} recorded; --from-start \
                 records all of it again",
                    self.place(&before.place),
                    count(before.recorded, "event")
                )
            }
            Some(before) => format!("{text}, after {} of an interrupted run", before.recorded),
            None => text,
        }
    }
}

pub(super) fn run(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
) -> Result<u8, CliError> {
    if args.file.len() > 1 && args.file.iter().any(|file| is_stdin(file)) {
        return Err(CliError::usage("standard input (-) cannot be combined with other files"));
    }
    if let Format::Mapped(name) = &args.format {
        let mapping = mapped::named(settings, name)?;
        let lines = Lines::cut(args.file.clone(), &mapping)?;
        let position = Position::of(context, settings, (&args.file, name), args.from_start)?;
        return all(
            context,
            settings,
            args,
            (lines, position),
            &mut Mapped::new(mapping, settings, args.keep_going),
        );
    }
    if args.format == Format::Ndjson {
        let mode = if args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        let position = Position::of(context, settings, (&args.file, ""), args.from_start)?;
        let lines = Lines::open(args.file.clone(), MAX_LINE_BYTES)?;
        return all(context, settings, args, (lines, position), &mut Ndjson::new(mode, settings));
    }
    let from_stdin = is_stdin(&args.file[0]);
    let files = if from_stdin { args.file.clone() } else { python::ordered(&args.file)? };
    let mut translate = Python::new(settings, args, &files)?;
    let mut lines = Lines::open(files, python::MAX_PYTHON_LINE_BYTES)?;
    if let Some(position) = translate.position() {
        let place = position.place();
        context.printer.note(&format!("auditctl: the log already has these files up to {place}"));
        lines.go_on(place)?;
    }
    if let Some(place) = translate.others() {
        context.printer.error(&format!(
            "auditctl: --resume: the log has no records from files with these names, but from \
             others up to {}; recording all of these files",
            escape_for_terminal(&place.to_string())
        ));
    }
    // Its --resume asks the log by the lines' own places.
    let position = Position::of(context, settings, (&[], ""), false)?;
    all(context, settings, args, (lines, position), &mut translate)
}

/// Imports everything, and says what was done, also when it fails.
fn all(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
    (lines, position): (Lines, Position),
    translate: &mut dyn Translate,
) -> Result<u8, CliError> {
    let mode = if args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
    let import = sink::Import { id: position.id.clone(), mode };
    let mut sink = Sink::open(settings, Some(import), args.patience(), context.printer)?;
    let bar = progress(context, lines.length);
    let names_files = args.format == Format::PythonAudit || args.file.len() > 1;
    let mut tally = Tally { names_files, ..Tally::default() };
    let mut position = position;
    position.only_if(sink.is_exempt())?;
    let mut run = Run { context, settings, args, lines, position, done: None };
    let outcome = run.all(translate, &mut sink, &bar, &mut tally);
    bar.finish_and_clear();
    if outcome.is_err() {
        run.save(true);
    }
    let closed = sink.close();
    let (is_kept, from_stdin) = (run.position.is_kept(), is_stdin(&args.file[0]));
    if outcome.is_ok() && closed.is_ok() {
        run.position.done();
    }
    let told = |mut error: CliError| {
        error.message =
            format!("{}; {} before that, and all of them are durable", error.message, tally.text());
        *error.extra = tally.document();
        if is_kept && error.kind != "resume" {
            let hint = "run the same command again to continue after the last recorded line";
            error.hint = Some(error.hint.map_or(hint.to_owned(), |old| format!("{old}; {hint}")));
        }
        if args.format == Format::PythonAudit && !from_stdin {
            let hint = "to continue after the last recorded line, run the same command with \
                        --resume";
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

/// An import under way.
struct Run<'a> {
    context: &'a Context,
    settings: &'a Settings,
    args: &'a RecordArgs,
    lines: Lines,
    position: Position,
    done: Option<Done>,
}

/// What is done, as it was when it was: what follows may be half done.
struct Done {
    mark: Mark,
    /// Records of the import from this seq on belong to what follows.
    from_seq: u64,
    /// The last record before, and how many.
    last_seq: Option<u64>,
    recorded: u64,
}

type Window = Vec<(Place, Vec<u8>)>;

impl Run<'_> {
    fn all(
        &mut self,
        translate: &mut dyn Translate,
        sink: &mut Sink,
        bar: &ProgressBar,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let (context, args) = (self.context, self.args);
        self.go_on(translate, sink, tally)?;
        // What may be told to come again would come after what follows it.
        let one_by_one = args.format == Format::PythonAudit && !sink.is_exempt();
        let mut at_end = false;
        while !at_end {
            let mut window = Window::new();
            let mut bytes = 0;
            let mut bad = Vec::new();
            let mut mark = self.lines.mark();
            // What has come is sent before more is waited for: the input may be a
            // service that says something now and then.
            while window.len() < WINDOW_EVENTS
                && bytes < WINDOW_BYTES
                && (window.is_empty() || self.lines.has_whole_line())
            {
                let Some((place, line)) = self.lines.next()? else {
                    at_end = true;
                    break;
                };
                let outcome = translate.line(&place, line);
                let refused = translate.refused();
                bad.extend(refused.iter().map(|error| Rejected::of(place.clone(), error)));
                match outcome {
                    Ok(events) => {
                        bytes += events.iter().map(Vec::len).sum::<usize>();
                        window.extend(events.into_iter().map(|event| (place.clone(), event)));
                        mark = self.lines.mark();
                    }
                    Err(error) => {
                        bad.push(Rejected::of(place, &error).seen(translate.shape()));
                    }
                }
                if !bad.is_empty() {
                    break;
                }
            }
            self.save(false);
            let size = if one_by_one { 1 } else { window.len().max(1) };
            while !window.is_empty() {
                let rest = window.split_off(size.min(window.len()));
                send_all(context, args, window, sink, tally)?;
                window = rest;
            }
            self.is_done(mark, sink, tally);
            if !bad.is_empty() {
                bad.into_iter().try_for_each(|bad| reject(context, args, bad, tally))?;
                self.is_done(self.lines.mark(), sink, tally);
            }
            bar.set_position(self.lines.read());
            bar.set_message(format!("{} events", tally.recorded));
        }
        Ok(())
    }

    fn is_done(&mut self, mark: Mark, sink: &Sink, tally: &Tally) {
        let (last_seq, recorded) = tally.standing();
        self.done = Some(Done { mark, from_seq: sink.untold(), last_seq, recorded });
    }

    fn save(&mut self, at_once: bool) {
        let Some(Done { mark, from_seq, last_seq, recorded }) = &self.done else { return };
        let standing = (*from_seq, *last_seq, *recorded);
        self.position.save(self.context, mark, standing, at_once);
    }

    /// Goes on where a run before stopped, if one did: passes over what was acknowledged,
    /// and over what the log has beyond it.
    fn go_on(
        &mut self,
        translate: &mut dyn Translate,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let Some(place) = self.position.mark() else {
            self.is_done(self.lines.mark(), sink, tally);
            return Ok(());
        };
        if !self.lines.go_on_after(place)? {
            return Err(self
                .position
                .wrong("the files no longer begin with the lines that were recorded"));
        }
        let Some(before) = self.position.before.clone() else { return Ok(()) };
        if (before.recorded > 0) != before.last_seq.is_some() {
            let text = "what was kept of it contradicts itself, so somebody else wrote it";
            return Err(self.position.wrong(text));
        }
        self.done = Some(Done {
            mark: self.lines.mark(),
            from_seq: before.from_seq,
            last_seq: before.last_seq,
            recorded: before.recorded,
        });
        sink.look_from(before.from_seq);
        let mut arrived = sink.arrived(before.last_seq.unwrap_or(before.from_seq))?;
        if let Some(seq) = before.last_seq
            && !arrived.forget(seq)
        {
            let text = format!(
                "the log lacks the import's last record, {seq}: it is another log, or an old copy \
                 was put back"
            );
            return Err(self.position.wrong(&text));
        }
        arrived.since(before.from_seq);
        let last_seq = before.last_seq.max(arrived.last_seq());
        let more = arrived.len() as u64;
        let missed = self.pass_over(translate, &mut arrived)?;
        sink.look_from(last_seq.map_or(before.from_seq, |last| last + 1).max(before.from_seq));
        let place = self.lines.place().clone();
        self.context.printer.note(&format!(
            "auditctl: an import of these files was interrupted after {}; continuing after {place} \
             (to record everything again, add --from-start)",
            count(before.recorded + more, "event")
        ));
        tally.before = Some(Before { recorded: before.recorded + more, last_seq, place });
        send_all(self.context, self.args, missed, sink, tally)?;
        self.is_done(self.lines.mark(), sink, tally);
        Ok(())
    }

    /// Reads on until the line of each record has been found; the lines between them that
    /// have none.
    fn pass_over(
        &mut self,
        translate: &mut dyn Translate,
        arrived: &mut super::arrived::Arrived,
    ) -> Result<Window, CliError> {
        let limits = sink::limits(self.settings);
        let mode = if self.args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        let mut missed = Window::new();
        while !arrived.is_empty() {
            let next = if missed.len() < LOOKED_THROUGH { self.lines.next()? } else { None };
            let Some((place, line)) = next else {
                return Err(arrived.unknown("after those that were acknowledged"));
            };
            // One that is no event was passed over by the run before, and told of.
            let events = translate.line(&place, line).unwrap_or_default();
            drop(translate.refused());
            for event in events {
                if arrived.take(&event, mode, &limits).is_none() {
                    missed.push((place.clone(), event));
                }
            }
        }
        Ok(missed)
    }
}

/// Sends a window until everything in it is recorded or refused for good.
fn send_all(
    context: &Context,
    args: &RecordArgs,
    mut window: Vec<(Place, Vec<u8>)>,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let is_foreign = matches!(args.format, Format::Mapped(_));
    let mut at_once = window.len();
    while !window.is_empty() {
        let rest = window.split_off(at_once.min(window.len()));
        let sent = window.len();
        let lines: Vec<&[u8]> = window.iter().map(|(_, line)| &line[..]).collect();
        let answers = sink.send(&lines)?;
        let (mut again, mut other_ids) = (Vec::new(), 0);
        let mut wait = Duration::ZERO;
        let mut failed = None;
        let unknown = answers.iter().filter(|answer| is_lost(answer)).count();
        for ((place, line), answer) in window.into_iter().zip(answers) {
            let is_other = matches!(&answer, Answer::Refused { kind, .. } if kind == "conflict");
            // Somebody else chose its id: it is not lost because another event has that.
            if let Some(other) = (is_foreign && is_other).then(|| with_next_id(&line)).flatten() {
                other_ids += 1;
                again.push((place, other));
                continue;
            }
            match answer {
                Answer::Recorded(seq) => tally.recorded(seq),
                Answer::Duplicate(_) => tally.duplicates += 1,
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
                        let mut text = format!("{}: {message}", tally.place(&place));
                        if kind == "lost" {
                            text += &format!(
                                "; {} from there on {} sent but not answered, and may be \
                                 recorded: query the log before you send again",
                                count(unknown as u64, "event"),
                                were(unknown as u64)
                            );
                        }
                        failed.get_or_insert_with(|| refused(&kind, &text));
                    } else {
                        let bad = Rejected { place, column: None, kind, message, hint: None };
                        reject(context, args, bad, tally)?;
                    }
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // Who sends too much at once is refused most of it, again and again: each counts.
        let over = again.len() - other_ids;
        at_once = if over == 0 { at_once * 2 } else { (sent - over).max(1) };
        again.extend(rest);
        window = again;
        std::thread::sleep(wait);
    }
    Ok(())
}

/// Whether nobody knows what became of an event.
fn is_lost(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { kind, .. } if kind == "lost")
}

fn reject(
    context: &Context,
    args: &RecordArgs,
    bad: Rejected,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let mut place = tally.place(&bad.place);
    if let Some(column) = bad.column {
        place += &format!(", column {column}");
    }
    let text = format!("{}: {}", escape_for_terminal(&place), escape_for_terminal(&bad.message));
    let (kind, hint) = (bad.kind.clone(), bad.hint.clone());
    tally.rejected.push(bad);
    if args.keep_going {
        context.printer.error(&format!("auditctl: {text}"));
        return Ok(());
    }
    Err(refused(&kind, &text).hint(hint.unwrap_or_else(|| {
        "correct the line. To record the other lines and report the bad ones, add --keep-going"
            .to_owned()
    })))
}
