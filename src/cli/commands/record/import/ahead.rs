//! Windows of NDJSON, read and checked ahead of where they are sent.
//!
//! One thread reads lines, several parse and check them, and, where this process has the log
//! open, encode them. The windows come out in the order of the lines. A line is reported and
//! counted only when its turn comes. The number of windows that wait is bounded.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::tally::Rejected;
use super::windows::{Events, Next, WINDOW_BYTES, WINDOW_EVENTS, Window, Windows};
use crate::audit::{Batch, Event, EventError, EventLimits, ParseMode, Session};
use crate::cli::commands::record::lines::{self, Lines, Mark, Place};
use crate::cli::commands::record::shape;
use crate::cli::exit::{CliError, Exit};

/// Threads that check lines, at most.
const CHECKERS: usize = 8;

/// A line as it was read, or why it is none, and where it ends.
struct Line {
    place: Place,
    text: Result<Vec<u8>, EventError>,
    end: Mark,
}

/// Lines that are checked together.
struct Part {
    lines: Vec<Line>,
    begin: Mark,
    checked: Sender<Vec<Window>>,
}

/// What the reader came to, in its order.
enum Step {
    /// Lines; what is made of them comes here.
    Read(Receiver<Vec<Window>>),
    Failed(Box<CliError>),
    End,
}

/// What lines are checked for.
pub(super) struct Check {
    pub(super) mode: ParseMode,
    pub(super) limits: EventLimits,
    /// Encodes them for the log that this process has open.
    pub(super) session: Option<Session>,
}

/// Windows that come from other threads.
pub(super) struct Ahead {
    steps: Receiver<Step>,
    ready: VecDeque<Window>,
}

impl Ahead {
    /// Starts the threads. They end when the input does, or with the next thing that they have
    /// to say once nobody listens: one that waits for input ends with the process.
    pub(super) fn start(lines: Lines, check: Check) -> Result<Self, CliError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let checkers = cores.clamp(1, CHECKERS);
        let most = 2 * checkers + 2;
        let (tell, steps) = bounded(most);
        let (work, parts) = bounded::<Part>(most);
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(body).map(drop).map_err(|error| {
                CliError::new("io", Exit::Failed, format!("no thread can be started: {error}"))
            })
        };
        let check = Arc::new(check);
        for _ in 0..checkers {
            let (parts, check) = (parts.clone(), Arc::clone(&check));
            let body = move || {
                for Part { lines, begin, checked } in parts {
                    let _ = checked.send(check.windows(lines, begin));
                }
            };
            spawn("record-check", Box::new(body))?;
        }
        spawn("record-read", Box::new(move || read(lines, &tell, &work)))?;
        Ok(Self { steps, ready: VecDeque::new() })
    }
}

impl Windows for Ahead {
    fn next(&mut self, may_wait: bool) -> Result<Next, CliError> {
        loop {
            if let Some(window) = self.ready.pop_front() {
                return Ok(Next::Window(Box::new(window)));
            }
            let step = if may_wait {
                self.steps.recv().map_err(|_| ended())?
            } else {
                match self.steps.try_recv() {
                    Ok(step) => step,
                    Err(TryRecvError::Empty) => return Ok(Next::NotYet),
                    Err(TryRecvError::Disconnected) => return Err(ended()),
                }
            };
            match step {
                Step::Read(checked) => self.ready.extend(checked.recv().map_err(|_| ended())?),
                Step::Failed(error) => return Err(*error),
                Step::End => return Ok(Next::End),
            }
        }
    }
}

/// A thread panicked, which has been printed: that is no end of the input.
fn ended() -> CliError {
    CliError::new("io", Exit::Failed, "a thread that reads the input ended before its time")
}

/// The reader: until the input ends, or nobody listens any more.
fn read(mut lines: Lines, tell: &Sender<Step>, work: &Sender<Part>) {
    loop {
        let begin = lines.mark();
        let (part, ended) = next_part(&mut lines);
        if !part.is_empty() {
            let (checked, told) = bounded(1);
            let sent = tell.send(Step::Read(told)).is_ok();
            if !sent || work.send(Part { lines: part, begin, checked }).is_err() {
                return;
            }
        }
        if let Some(ended) = ended {
            let _ = tell.send(ended);
            return;
        }
    }
}

/// Lines that are there. What has come is given out before more is waited for: the input may
/// be a service that says something now and then.
fn next_part(lines: &mut Lines) -> (Vec<Line>, Option<Step>) {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < WINDOW_EVENTS
        && bytes < WINDOW_BYTES
        && (part.is_empty() || lines.has_whole_line())
    {
        match lines.next() {
            Ok(Some((place, text))) => {
                bytes += text.as_ref().map_or(0, Vec::len);
                part.push(Line { place, text, end: lines.mark() });
            }
            Ok(None) => return (part, Some(Step::End)),
            Err(error) => return (part, Some(Step::Failed(Box::new(error)))),
        }
    }
    (part, None)
}

impl Check {
    /// The windows that lines make: a bad line ends one.
    fn windows(&self, lines: Vec<Line>, begin: Mark) -> Vec<Window> {
        let mut windows = Vec::with_capacity(1);
        let new = |capacity, mark: Mark| Window {
            events: Events::with_capacity(capacity),
            batch: self.session.as_ref().map(|_| Batch::new()),
            bad: Vec::new(),
            end: mark.clone(),
            mark,
        };
        let mut window = new(lines.len(), begin);
        for Line { place, text, end } in lines {
            window.end = end;
            let bad = match text {
                Err(error) => Rejected::of(place, &error),
                Ok(line) => match lines::checked(&line, self.mode, &self.limits) {
                    Ok((event, is_cleaned)) => {
                        self.encode(event, is_cleaned, &mut window);
                        window.events.push((place, line));
                        window.mark = window.end.clone();
                        continue;
                    }
                    Err(error) => Rejected::of(place, &error).seen(shape::of(&line)),
                },
            };
            window.bad.push(bad);
            let next = new(0, window.end.clone());
            windows.push(std::mem::replace(&mut window, next));
        }
        if !window.events.is_empty() {
            windows.push(window);
        }
        windows
    }

    /// One event that has to be looked at in its turn leaves its whole window to that.
    fn encode(&self, event: Event, is_cleaned: bool, window: &mut Window) {
        let Some(session) = &self.session else { return };
        if let Some(batch) = &mut window.batch
            && (is_cleaned || !session.prepare_ahead(event, batch))
        {
            window.batch = None;
        }
    }
}
