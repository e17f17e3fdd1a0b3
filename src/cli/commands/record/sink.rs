//! Where events go: the collector's socket, or the log itself.
//!
//! An import has an id, which all of its records carry. So whoever lost an answer, with
//! the connection or by being killed, can ask the log what arrived, and sends the rest.

use std::time::{Duration, Instant};

use super::arrived::Arrived;
use crate::audit::read::query::Request;
use crate::audit::state::status::Mode;
use crate::audit::{
    AuditLog, EventLimits, HandIn, ImportId, Origin, ParseMode, RecordError, Recorded, Session, Via,
};
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::Waiting;
use crate::cli::{found, heads, open, reach};
use crate::clock::{Clock, SystemClock};
use crate::collector::client::{Answer, Client, ClientError};
use crate::config::Settings;
use crate::health::FoundBy;
use crate::ui::printer::Printer;

/// What is accepted is durable by then.
const SETTLED_IN: Duration = Duration::from_secs(120);
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Events of an import that this process's log may hold, not yet durable, at least. Their
/// bytes are bounded as ever.
const IMPORT_QUEUE: usize = 20_000;

/// An import.
pub(super) struct Import {
    pub(super) id: ImportId,
    pub(super) mode: ParseMode,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a log that another program has open.
    pub(super) held: Duration,
    /// For a collector that went away in the middle of an import.
    pub(super) gone: Duration,
}

/// Where events go.
pub(super) struct Sink {
    to: To,
    patience: Patience,
    import: Option<Import>,
    settings: Settings,
    printer: Printer,
    /// Records of the import from this seq on have not been told of.
    from_seq: u64,
}

enum To {
    /// The collector, and whether it limits no rate.
    Socket(Client, bool),
    Direct(Box<Direct>),
}

/// The log, opened by this process.
struct Direct {
    log: AuditLog,
    session: Session,
    mode: ParseMode,
}

impl Sink {
    /// The collector if one runs, else the log; waits for a while if it is neither. An
    /// import is not rate-limited where that is granted.
    pub(super) fn open(
        settings: &Settings,
        import: Option<Import>,
        patience: Patience,
        printer: Printer,
    ) -> Result<Self, CliError> {
        let mut waiting = Waiting::new(&settings.log_dir, patience.held, Some(printer));
        let to = loop {
            match Self::socket(settings, import.as_ref()) {
                Ok((client, exempt)) => break To::Socket(client, exempt),
                Err(ClientError::NotRunning { .. }) => {}
                Err(error) if is_gone(&error) && !waiting.is_over() => {
                    std::thread::sleep(TRY_AGAIN);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            match Self::direct(settings, import.as_ref()) {
                Ok(direct) => break To::Direct(Box::new(direct)),
                Err(error) => waiting
                    .go_on(error)
                    .inspect_err(|error| found::refused(settings, error, FoundBy::Start))?,
            }
        };
        let settings = settings.clone();
        let mut new = Self { to, patience, import, settings, printer, from_seq: 0 };
        if new.import.is_some() {
            new.from_seq = new.next_seq()?;
        }
        Ok(new)
    }

    fn socket(settings: &Settings, import: Option<&Import>) -> Result<(Client, bool), ClientError> {
        let mut client = reach::collector(settings)?;
        let exempt = match import {
            Some(import) => client.import(import.mode == ParseMode::Lenient, &import.id)?,
            None => false,
        };
        Ok((client, exempt))
    }

    fn direct(settings: &Settings, import: Option<&Import>) -> Result<Direct, CliError> {
        let mut options = open::options(settings, Mode::Record);
        if import.is_some() {
            // Enough for the next events to wait while those before them are synced.
            options.write_queue_capacity = options.write_queue_capacity.max(IMPORT_QUEUE);
        }
        let log = AuditLog::open(heads::noted(options, settings))?;
        let id = import.map(|import| import.id.clone());
        let origin = Origin { import: id.is_some(), import_id: id, ..Origin::here(Via::Direct) };
        let session = log.session(&origin, origin.import);
        let mode = import.map_or(ParseMode::Strict, |import| import.mode);
        Ok(Direct { log, session, mode })
    }

    fn next_seq(&mut self) -> Result<u64, CliError> {
        match &mut self.to {
            To::Socket(client, _) => Ok(client.progress()?.0),
            To::Direct(direct) => Ok(direct.log.acked_seq()),
        }
    }

    /// Whether nothing is refused for its rate.
    pub(super) fn is_exempt(&self) -> bool {
        !matches!(self.to, To::Socket(_, false))
    }

    /// Records of the import from this seq on have not been told of.
    pub(super) fn untold(&self) -> u64 {
        self.from_seq
    }

    /// The import was begun before: from where on its records are looked for.
    pub(super) fn look_from(&mut self, seq: u64) {
        self.from_seq = seq;
    }

    /// What the log has of the import from a seq on.
    pub(super) fn arrived(&mut self, from: u64) -> Result<Arrived, CliError> {
        let mut found = Arrived::default();
        let Some(import) = &self.import else { return Ok(found) };
        let request = |from: u64| Request {
            conditions: vec![format!("origin.import_id = \"{}\"", import.id.as_str())],
            seq: Some(format!("{from}..")),
            order: Some("oldest".to_owned()),
            limit: Some(0),
            ..Request::default()
        };
        let mut next = from;
        loop {
            let question = request(next).question(SystemClock.now())?;
            let page = match &mut self.to {
                To::Socket(client, _) => {
                    settled(client)?;
                    client.query(&question)?
                }
                To::Direct(direct) => direct.log.query(&question.query)?,
            };
            if !page.damaged.is_empty() {
                let text = format!(
                    "cannot ask the log which records of the import it has: {}",
                    page.damaged[0]
                );
                return Err(CliError::new("query", Exit::Failed, text)
                    .hint("`auditctl verify` says what is wrong with it"));
            }
            found.add(&page);
            match found.last_seq() {
                Some(last) if page.more => next = last + 1,
                _ => return Ok(found),
            }
        }
    }

    /// Sends events and returns what became of each, in order.
    pub(super) fn send(&mut self, lines: &[&[u8]]) -> Result<Vec<Answer>, CliError> {
        let answers = match &mut self.to {
            To::Direct(direct) => {
                let patience = if self.import.is_some() { HandIn::import() } else { HandIn::new() };
                let outcomes = direct.session.record_all(lines, direct.mode, patience);
                answers(outcomes)
            }
            To::Socket(client, exempt) => match client.send(lines) {
                Ok(answers) if !*exempt || !answers.iter().any(is_lost) => answers,
                // This user may not ask: what became of them is not known.
                Err(error @ ClientError::Lost { .. }) if !*exempt && self.import.is_some() => {
                    let (kind, message) = ("lost".to_owned(), error.to_string());
                    vec![Answer::Refused { kind, message, retry_after: None }; lines.len()]
                }
                Err(error) if !*exempt || !is_gone(&error) => return Err(error.into()),
                sent => self.complete(lines, sent.unwrap_or_default())?,
            },
        };
        self.told(&answers);
        Ok(answers)
    }

    /// Records up to the last of these have been told of.
    fn told(&mut self, answers: &[Answer]) {
        let last = answers.iter().filter_map(|answer| match answer {
            Answer::Recorded(seq) => Some(seq + 1),
            Answer::Duplicate(_) | Answer::Refused { .. } => None,
        });
        self.from_seq = last.max().unwrap_or(0).max(self.from_seq);
    }

    /// The log, where this process has it open.
    pub(super) fn log(&self) -> Option<&AuditLog> {
        match &self.to {
            To::Direct(direct) => Some(&direct.log),
            To::Socket(..) => None,
        }
    }

    /// What encodes events for that log.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.to {
            To::Direct(direct) => Some(&direct.session),
            To::Socket(..) => None,
        }
    }

    /// What became of events that were handed in to that log.
    pub(super) fn answers(&mut self, outcomes: Vec<Result<Recorded, RecordError>>) -> Vec<Answer> {
        let answers = answers(outcomes);
        self.told(&answers);
        answers
    }

    /// The collector went away before it had answered all: asks it, when it is back, what
    /// arrived, and sends the rest, as often as it takes.
    fn complete(
        &mut self,
        lines: &[&[u8]],
        answered: Vec<Answer>,
    ) -> Result<Vec<Answer>, CliError> {
        let mut answers: Vec<Option<Answer>> =
            answered.into_iter().map(|answer| (!is_lost(&answer)).then_some(answer)).collect();
        answers.resize(lines.len(), None);
        loop {
            self.reconnect()?;
            let mut arrived = self.arrived(self.from_seq)?;
            for answer in answers.iter().flatten() {
                if let Answer::Recorded(seq) = answer {
                    arrived.forget(*seq);
                }
            }
            let limits = limits(&self.settings);
            let mode = self.import.as_ref().map_or(ParseMode::Strict, |import| import.mode);
            for (line, answer) in lines.iter().zip(&mut answers).filter(|(_, a)| a.is_none()) {
                *answer = arrived.take(line, mode, &limits).map(Answer::Recorded);
            }
            if !arrived.is_empty() {
                return Err(arrived.unknown("that were sent and not answered"));
            }
            let open: Vec<usize> = (0..lines.len()).filter(|at| answers[*at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let rest: Vec<&[u8]> = open.iter().map(|at| lines[*at]).collect();
            let To::Socket(client, _) = &mut self.to else { break };
            match client.send(&rest) {
                Ok(sent) => {
                    for (at, answer) in open.into_iter().zip(sent) {
                        answers[at] = Some(answer).filter(|answer| !is_lost(answer));
                    }
                    if answers.iter().all(Option::is_some) {
                        break;
                    }
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn reconnect(&mut self) -> Result<(), CliError> {
        let text = "auditctl: the collector went away; waiting for it to come back";
        self.printer.note(text);
        let until = Instant::now() + self.patience.gone;
        loop {
            match Self::socket(&self.settings, self.import.as_ref()) {
                Ok((client, true)) => {
                    self.to = To::Socket(client, true);
                    self.printer.note("auditctl: the collector is back; continuing");
                    return Ok(());
                }
                Ok((_, false)) => {
                    let text = "the collector is back and no longer lets this user import";
                    return Err(CliError::new("forbidden", Exit::Busy, text));
                }
                Err(error) if is_gone(&error) && Instant::now() < until => {
                    std::thread::sleep(TRY_AGAIN);
                }
                Err(error) if is_gone(&error) => {
                    let waited = self.patience.gone.as_secs_f64();
                    let text =
                        format!("{error}; the collector did not come back within {waited} s");
                    return Err(CliError::new("lost", Exit::Failed, text));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends it; a log opened here is closed cleanly.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self.to {
            To::Socket(..) => Ok(()),
            To::Direct(direct) => Ok(direct.log.close()?),
        }
    }
}

/// As the collector will check events.
pub(super) fn limits(settings: &Settings) -> EventLimits {
    EventLimits { max_details_bytes: settings.max_details_size.0 as usize }
}

/// Waits until all that the log has accepted so far is durable: what is not cannot be
/// asked for.
fn settled(client: &mut Client) -> Result<(), ClientError> {
    let (accepted, _) = client.progress()?;
    let until = Instant::now() + SETTLED_IN;
    while client.progress()?.1 < accepted && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether the collector may be back in a while.
fn is_gone(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { .. } | ClientError::NotRunning { .. } => true,
        ClientError::Refused { kind, .. } => {
            matches!(&**kind, "closed" | "busy" | "too_many_connections" | "unavailable")
        }
        ClientError::Foreign { .. } | ClientError::Denied { .. } => false,
    }
}

/// Whether nothing is known of an event but that the collector went away.
fn is_lost(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { kind, .. } if matches!(&**kind, "lost" | "closed"))
}

fn answers(outcomes: Vec<Result<Recorded, RecordError>>) -> Vec<Answer> {
    outcomes.into_iter().map(|done| done.map_or_else(answer, recorded)).collect()
}

fn recorded(recorded: Recorded) -> Answer {
    let Recorded { seq, is_duplicate } = recorded;
    if is_duplicate { Answer::Duplicate(seq) } else { Answer::Recorded(seq) }
}

fn answer(error: RecordError) -> Answer {
    Answer::Refused {
        kind: error.kind().to_owned(),
        message: error.to_string(),
        retry_after: error.retry_after(),
    }
}
