//! Importing files, or standard input.
//!
//! Lines are checked before they are sent, in windows; a window ends before a bad line, so that
//! nothing after it is recorded unless that is wanted. NDJSON is read and checked ahead, by
//! several threads ([`ahead`]); what other formats say of one line may depend on those before
//! it. An event told to come again comes after others of its window.
//!
//! An import of files that was interrupted goes on where it stopped: what was acknowledged is
//! in its [`Position`], and what was sent after that the log is asked for.

mod ahead;
mod resume;
mod send;
mod tally;
mod windows;

use indicatif::{ProgressBar, ProgressStyle};

use self::ahead::{Ahead, Check};
use self::send::{ON_THEIR_WAY, OnTheirWay, reject, send_all};
use self::tally::Tally;
use self::windows::{Events, InTurn, Next, Window, Windows};
use super::input::is_stdin;
use super::lines::{Lines, Mark, Ndjson, Translate};
use super::mapped::{self, Mapped};
use super::position::Position;
use super::python::{self, Python};
use super::sink::{self, Sink};
use super::{Format, RecordArgs};
use crate::audit::ParseMode;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::sanitize::escape_for_terminal;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;

/// An import writes its position at least once for each of these many bytes of lines. One that
/// was interrupted compares at most as many with the log.
const KEEP_EVERY: u64 = 64 << 20;

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
    (mut lines, position): (Lines, Position),
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
    let mut run = Run { context, settings, args, position, done: None, kept_at: 0 };
    let import = || {
        run.go_on(&mut lines, translate, &mut sink, &mut tally)?;
        let mut windows: Box<dyn Windows> = if args.format == Format::Ndjson {
            let (limits, session) = (sink::limits(settings), sink.session().cloned());
            Box::new(Ahead::start(lines, Check { mode, limits, session })?)
        } else {
            Box::new(InTurn::new(lines, translate))
        };
        run.all(&mut *windows, &mut sink, &bar, &mut tally)
    };
    let outcome = import();
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
    position: Position,
    done: Option<Done>,
    /// Bytes of lines that were done when the position was written last.
    kept_at: u64,
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

impl Run<'_> {
    fn all(
        &mut self,
        windows: &mut dyn Windows,
        sink: &mut Sink,
        bar: &ProgressBar,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let mut on_their_way = OnTheirWay::default();
        loop {
            let next = windows.next(on_their_way.is_empty());
            let Ok(Next::Window(window)) = next else {
                // Nothing is ready, or nothing follows: what was handed in comes first.
                self.settle(&mut on_their_way, 0, sink, bar, tally)?;
                match next? {
                    Next::End => return Ok(()),
                    Next::Window(_) | Next::NotYet => continue,
                }
            };
            let mut window = *window;
            // Before anything is sent: what is interrupted is asked for by the import's id.
            self.save(false);
            let Some((log, batch)) = sink.log().zip(window.batch.take()) else {
                self.settle(&mut on_their_way, 0, sink, bar, tally)?;
                self.send(std::mem::take(&mut window.events), sink, tally)?;
                self.is_sent(window, sink, bar, tally)?;
                continue;
            };
            let ends_here = !window.bad.is_empty() && !self.args.keep_going;
            let is_whole = on_their_way.hand_in(log, window, batch);
            // Nothing follows a line that ends the import.
            let most = if is_whole && !ends_here { ON_THEIR_WAY } else { 0 };
            self.settle(&mut on_their_way, most, sink, bar, tally)?;
        }
    }

    /// Waits until at most `most` windows are sent and not yet acknowledged.
    fn settle(
        &mut self,
        on_their_way: &mut OnTheirWay,
        most: usize,
        sink: &mut Sink,
        bar: &ProgressBar,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        while on_their_way.len() > most
            && let Some(window) = on_their_way.settle(self.context, self.args, sink, tally)?
        {
            self.is_sent(window, sink, bar, tally)?;
        }
        Ok(())
    }

    /// Sends events, and waits until they are durable.
    fn send(&self, mut events: Events, sink: &mut Sink, tally: &mut Tally) -> Result<(), CliError> {
        // What may be told to come again would come after what follows it.
        let one_by_one = self.args.format == Format::PythonAudit && !sink.is_exempt();
        let size = if one_by_one { 1 } else { events.len().max(1) };
        while !events.is_empty() {
            let rest = events.split_off(size.min(events.len()));
            send_all(self.context, self.args, events, sink, tally)?;
            events = rest;
        }
        Ok(())
    }

    /// A window's events are done: tells of the line that ended it.
    fn is_sent(
        &mut self,
        window: Window,
        sink: &Sink,
        bar: &ProgressBar,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let Window { bad, mark, end, .. } = window;
        bar.set_position(end.read);
        self.is_done(mark, sink, tally);
        if !bad.is_empty() {
            bad.into_iter().try_for_each(|bad| reject(self.context, self.args, bad, tally))?;
            self.is_done(end, sink, tally);
        }
        bar.set_message(format!("{} events", tally.recorded));
        Ok(())
    }

    fn is_done(&mut self, mark: Mark, sink: &Sink, tally: &Tally) {
        let (last_seq, recorded) = tally.standing();
        self.done = Some(Done { mark, from_seq: sink.untold(), last_seq, recorded });
    }

    fn save(&mut self, at_once: bool) {
        let Some(Done { mark, from_seq, last_seq, recorded }) = &self.done else { return };
        let standing = (*from_seq, *last_seq, *recorded);
        let at_once = at_once || mark.bytes.saturating_sub(self.kept_at) >= KEEP_EVERY;
        if self.position.save(self.context, mark, standing, at_once) {
            self.kept_at = mark.bytes;
        }
    }
}
