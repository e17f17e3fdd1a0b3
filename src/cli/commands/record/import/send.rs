//! Sending windows, and judging what became of each event in them.

use std::collections::VecDeque;
use std::time::Duration;

use super::tally::{Rejected, Tally};
use super::windows::{Events, Window};
use crate::audit::record::sanitize::escape_for_terminal;
use crate::audit::{AuditLog, Batch, HandIn, RecordError, Recorded};
use crate::cli::commands::record::sink::Sink;
use crate::cli::commands::record::{Format, RecordArgs, may_resend, refused};
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::collector::client::Answer;
use crate::health::wording::{count, were};
use crate::mapping::with_next_id;

/// So many windows are handed in before the first of them is durable.
pub(super) const ON_THEIR_WAY: usize = 8;

/// Events that are to be sent again.
#[derive(Default)]
struct Again {
    events: Events,
    /// Those of them that got another id.
    other_ids: usize,
    /// After so long.
    wait: Duration,
}

/// Sends events until each is recorded or refused for good.
pub(super) fn send_all(
    context: &Context,
    args: &RecordArgs,
    mut window: Events,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let mut at_once = window.len();
    while !window.is_empty() {
        let rest = window.split_off(at_once.min(window.len()));
        let sent = window.len();
        let lines: Vec<&[u8]> = window.iter().map(|(_, line)| &line[..]).collect();
        let answers = sink.send(&lines)?;
        let mut again = judge(context, args, (window, answers), tally)?;
        // Who sends too much at once is refused most of it, again and again: each counts.
        let over = again.events.len() - again.other_ids;
        at_once = if over == 0 { at_once * 2 } else { (sent - over).max(1) };
        again.events.extend(rest);
        window = again.events;
        std::thread::sleep(again.wait);
    }
    Ok(())
}

/// Counts what is recorded, tells of what is refused; what is to be sent again.
fn judge(
    context: &Context,
    args: &RecordArgs,
    (sent, answers): (Events, Vec<Answer>),
    tally: &mut Tally,
) -> Result<Again, CliError> {
    let is_foreign = matches!(args.format, Format::Mapped(_));
    let mut again = Again::default();
    let mut failed = None;
    let unknown = answers.iter().filter(|answer| is_lost(answer)).count();
    for ((place, line), answer) in sent.into_iter().zip(answers) {
        let is_other = matches!(&answer, Answer::Refused { kind, .. } if kind == "conflict");
        // Somebody else chose its id: it is not lost because another event has that.
        if let Some(other) = (is_foreign && is_other).then(|| with_next_id(&line)).flatten() {
            again.other_ids += 1;
            again.events.push((place, other));
            continue;
        }
        match answer {
            Answer::Recorded(seq) => tally.recorded(seq),
            Answer::Duplicate(_) => tally.duplicates += 1,
            Answer::Refused { kind, retry_after: Some(after), .. } if may_resend(&kind) => {
                again.wait = again.wait.max(after);
                again.events.push((place, line));
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
    failed.map_or(Ok(again), Err)
}

/// Whether nobody knows what became of an event.
fn is_lost(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { kind, .. } if kind == "lost")
}

/// Tells of a line that is not recorded. Without `--keep-going` it ends the import.
pub(super) fn reject(
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

/// Windows that this process's log has accepted, and that are not known to be durable: while
/// one is synced, the next ones are handed in.
#[derive(Default)]
pub(super) struct OnTheirWay(VecDeque<HandedIn>);

/// A window, and what became of each of its events.
struct HandedIn {
    window: Window,
    outcomes: Vec<Result<Recorded, RecordError>>,
}

impl OnTheirWay {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Hands in a window. Returns whether others may follow before it is settled: nothing of it
    /// was refused.
    pub(super) fn hand_in(&mut self, log: &AuditLog, window: Window, mut batch: Batch) -> bool {
        let outcomes = log.hand_in(&mut batch, HandIn::import());
        let is_whole = outcomes.iter().all(Result::is_ok);
        self.0.push_back(HandedIn { window, outcomes });
        is_whole
    }

    /// Waits until the first window is durable, and counts it. Returns the window, whose events
    /// are all done.
    pub(super) fn settle(
        &mut self,
        context: &Context,
        args: &RecordArgs,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<Option<Window>, CliError> {
        let Some(HandedIn { mut window, mut outcomes }) = self.0.pop_front() else {
            return Ok(None);
        };
        if let Some(log) = sink.log() {
            log.settle(&mut outcomes);
        }
        let answers = sink.answers(outcomes);
        let sent = std::mem::take(&mut window.events);
        let again = judge(context, args, (sent, answers), tally)?;
        std::thread::sleep(again.wait);
        send_all(context, args, again.events, sink, tally)?;
        Ok(Some(window))
    }
}
