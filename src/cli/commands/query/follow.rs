//! `--follow`: what is recorded from now on, through rotation, restarts and restores.

use std::time::Duration;

use super::asker::Asker;
use super::lacks::missing_text;
use super::output::Output;
use super::{FOLLOW_BEGINS_WITH, QueryArgs};
use crate::audit::read::query::{Answer, History, Order, Query, Question, Request, Want};
use crate::cli::exit::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;

/// How often it is looked for something new.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// When nobody answers.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// What a restore leaves as the first record of its own.
const RESTORED: &str = "audit.restored";

/// Ends when it is interrupted, or nobody reads stdout any more.
pub(super) fn run(
    asker: &mut Asker,
    settings: &Settings,
    args: &QueryArgs,
    question: &Question,
    output: &mut Output<'_>,
) -> Result<u8, CliError> {
    let query = &question.query;
    let mut place = Place { next: query.filter.first_seq(), history: None };
    if args.seq.is_none() && args.since.is_none() {
        place = begin(asker, args, question, output)?;
    }
    let mut follower =
        Follower { asker, settings, direct: args.direct, output, silent: false, missing: None };
    loop {
        let shown = follower.catch_up(&mut place, question)?;
        if place.next >= query.filter.end_seq() {
            return Ok(0);
        }
        let pause = if shown { LOOK_AGAIN } else { TRY_AGAIN };
        if follower.output.context.printer.wait_or_reader_gone(pause) {
            return Ok(0);
        }
        follower.look_again(shown);
    }
}

/// How far it is.
struct Place {
    /// The first record that was not looked at.
    next: u64,
    /// In which log; not known before the first answer.
    history: Option<History>,
}

struct Follower<'a, 'c> {
    asker: &'a mut Asker,
    settings: &'a Settings,
    direct: bool,
    output: &'a mut Output<'c>,
    /// It was told that nobody answers.
    silent: bool,
    /// What was told to be missing at the log's end.
    missing: Option<(u64, u64)>,
}

impl Follower<'_, '_> {
    /// Prints what is there by now; false when nobody answers.
    fn catch_up(&mut self, place: &mut Place, question: &Question) -> Result<bool, CliError> {
        let oldest = |from| Query {
            filter: question.query.filter.within(from, u64::MAX),
            want: Want::Records { order: Order::Oldest, limit: u64::MAX },
        };
        let mut rest = Some(oldest(place.next));
        while let Some(page) = rest.take() {
            let asked = question.about(page);
            let page = &asked.query;
            let answer = match self.asker.ask(&asked) {
                Ok(answer) => answer,
                Err(error) if error.kind == "usage" || error.kind == "forbidden" => {
                    return Err(error);
                }
                Err(error) => {
                    self.fell_silent(&error, place.next);
                    return Ok(false);
                }
            };
            self.silent = false;
            if place.is_overtaken_by(&answer) {
                match self.resumed(place, &answer) {
                    Ok(from) => {
                        rest = Some(oldest(from));
                        continue;
                    }
                    Err(error) => {
                        self.fell_silent(&error, place.next);
                        return Ok(false);
                    }
                }
            }
            if answer.begin > place.next && place.next > 0 {
                self.say(&format!(
                    "records {} to {} were removed by retention before they were read",
                    place.next,
                    answer.begin - 1
                ));
            }
            if answer.missing != self.missing {
                if let Some((from, to)) = answer.missing {
                    self.output.context.printer.error(&missing_text(from, to));
                }
                self.missing = answer.missing;
            }
            self.output.print(&answer, page, None)?;
            rest = answer.rest(page);
            place.next = match &rest {
                Some(rest) => rest.filter.first_seq(),
                None => answer.end.max(place.next),
            };
            place.history = Some(answer.history);
        }
        Ok(true)
    }

    /// Another history took the log's place: where to go on in it, and says so.
    fn resumed(&mut self, place: &mut Place, answer: &Answer) -> Result<u64, CliError> {
        let same_log = place.history.as_ref().is_none_or(|old| old.log_id == answer.history.log_id);
        let from = if same_log {
            // The restored log has what it was restored from, and goes on with that record.
            let restored = self.newest_restored()?.unwrap_or(answer.end);
            restored.min(place.next)
        } else {
            0
        };
        self.say(&format!(
            "the log was replaced: {} is now {}; continuing from record {from}",
            if same_log { "its history" } else { "it" },
            if same_log {
                format!("one of {} records, after a restore", answer.end)
            } else {
                format!("log {}", answer.history.log_id)
            }
        ));
        *place = Place { next: from, history: Some(answer.history.clone()) };
        Ok(from)
    }

    /// The seq of the record that the newest restore left.
    fn newest_restored(&mut self) -> Result<Option<u64>, CliError> {
        let request =
            Request { event_type: vec![RESTORED.to_owned()], limit: Some(1), ..Request::default() };
        let answer = self.asker.ask(&request.question(SystemClock.now())?)?;
        Ok(answer.last_seq())
    }

    fn fell_silent(&mut self, error: &CliError, next: u64) {
        if !std::mem::replace(&mut self.silent, true) {
            self.say(&format!("{}; trying again, from record {next}", error.message));
        }
    }

    /// Looks at what is there by now; asks anew whoever did not answer.
    fn look_again(&mut self, answered: bool) {
        if !answered {
            // Restarted, perhaps; what was printed is not printed again.
            if let Ok(again) = Asker::open(self.settings, self.direct) {
                *self.asker = again;
            }
        } else if let Err(error) = self.asker.refresh()
            && !std::mem::replace(&mut self.silent, true)
        {
            self.say(&format!("{}; trying again", error.message));
        }
    }

    fn say(&self, text: &str) {
        self.output.context.printer.error(&format!("auditctl: {text}"));
    }
}

impl Place {
    /// Whether an answer is of a log in which that place means something else.
    fn is_overtaken_by(&self, answer: &Answer) -> bool {
        let Some(history) = &self.history else { return false };
        *history != answer.history || answer.end < self.next
    }
}

/// The last few of what is there already, in their order; where to go on.
fn begin(
    asker: &mut Asker,
    args: &QueryArgs,
    question: &Question,
    output: &mut Output<'_>,
) -> Result<Place, CliError> {
    let limit = match args.limit {
        None => FOLLOW_BEGINS_WITH,
        Some(0) => return Ok(Place { next: 0, history: None }),
        Some(limit) => limit,
    };
    let filter = question.query.filter.clone();
    let newest = Query { filter, want: Want::Records { order: Order::Newest, limit } };
    let answer = asker.ask(&question.about(newest))?;
    if let Some(lines) = answer.lines() {
        let in_order: Vec<&[u8]> = lines.iter().rev().collect();
        output.records(&in_order, &answer.history)?;
    }
    Ok(Place { next: answer.end, history: Some(answer.history) })
}
