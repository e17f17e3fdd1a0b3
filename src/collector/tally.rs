//! What became of the lines of one request: in memory and in the answer bounded by
//! how often the outcome changes, not by how many lines there are.
//!
//! Lines that were recorded one after the other, and lines that were refused for the
//! same reason, are one run. Nothing is rounded: of each line it is known whether it
//! was recorded, with which seq, and if not, why, and when to send it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::protocol;
use crate::audit::{RecordError, Recorded, Submitted, Taken};

/// So many lines are each told of by themselves; more of them as runs.
pub(super) const MAX_LISTED: u64 = 1_000;
/// So many runs make up an answer at most.
pub(super) const MAX_RUNS: usize = 4_096;
/// What a run takes at most besides its texts: here, and written as JSON.
const RUN_BYTES: usize = 2 * size_of::<Run>() + 256;
/// A text is kept once, and written with its control characters as `\u0001`.
const TEXT_COPIES: usize = 1 + 6;

/// Lines next to each other, of which the same became.
#[derive(Debug)]
struct Run {
    /// The first, counted from 1.
    line: u64,
    lines: u64,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    /// Prepared, and not accepted yet.
    Waiting,
    /// Recorded, the first one with this seq.
    Recorded(u64),
    /// Recorded, now or so many of them before, with seqs from the first to the last;
    /// others' records are among them.
    Scattered(u64, u64, u64),
    /// Recorded before, the first one with this seq.
    Duplicate(u64),
    /// Accepted with this seq and those after it, but not known to be durable.
    Unsure(u64, RecordError),
    Refused(RecordError),
}

/// What of a request's lines was not recorded.
#[derive(Debug)]
pub(super) enum Refused {
    Nothing,
    /// None was, all for reasons that are the same to the sender.
    Everything(RecordError),
    Some,
}

/// See [`Tally::left`].
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The lines, from 1.
    pub(super) lines: BTreeSet<u64>,
    /// To send them again now and here is in vain, or would record them twice.
    pub(super) is_final: bool,
}

/// The fates of a request's lines, in order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    runs: Vec<Run>,
    lines: u64,
    /// The first run that waits, if any does.
    waiting: usize,
    texts: usize,
    /// What became of which line is not asked.
    counts_only: bool,
}

impl Tally {
    /// Of a sender that reads no more of the answer than how many were refused: when there
    /// are too many runs, lines of the same kind are counted together, wherever they are.
    pub(super) fn count_only(&mut self) {
        self.counts_only = true;
    }

    /// Lines told of.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether another line could be one run too many.
    pub(super) fn is_full(&self) -> bool {
        self.runs.len() >= MAX_RUNS
    }

    /// Whether there is little room even after [`compact`](Self::compact).
    pub(super) fn is_nearly_full(&self) -> bool {
        self.runs.len() > MAX_RUNS / 4 * 3
    }

    /// What it takes in memory, and its answer with it.
    pub(super) fn bytes(&self) -> usize {
        self.runs.len() * RUN_BYTES + TEXT_COPIES * self.texts
    }

    /// The next line was prepared.
    pub(super) fn waits(&mut self) {
        self.lines += 1;
        match self.runs.last_mut() {
            Some(Run { lines, fate: Fate::Waiting, .. }) => *lines += 1,
            _ => self.push(Fate::Waiting),
        }
    }

    /// The next line was refused.
    pub(super) fn refused(&mut self, error: RecordError) {
        self.lines += 1;
        match self.runs.last_mut() {
            Some(Run { lines, fate: Fate::Refused(before), .. }) if is_same(before, &error) => {
                *lines += 1;
                // Who waits for the last of them waits for all.
                if error.retry_after() > before.retry_after() {
                    *before = error;
                }
            }
            _ => {
                self.texts += error.to_string().len();
                self.push(Fate::Refused(error));
            }
        }
    }

    fn push(&mut self, fate: Fate) {
        self.runs.push(Run { line: self.lines, lines: 1, fate });
    }

    /// What became of the first of those that wait.
    pub(super) fn taken(&mut self, submitted: &Submitted) {
        submitted.taken().for_each(|taken| self.took(taken));
    }

    /// What became of the first of those that wait, next to each other.
    pub(super) fn took(&mut self, taken: Taken) {
        match taken {
            Taken::New { first_seq, count } => self.accepted(first_seq, count),
            Taken::Duplicate { seq } => self.is_known(Fate::Duplicate(seq)),
            Taken::Conflict { seq } => self.refuse_next(RecordError::Conflict { seq }),
        }
    }

    /// The first of those that wait is refused.
    pub(super) fn refuse_next(&mut self, error: RecordError) {
        self.texts += error.to_string().len();
        self.is_known(Fate::Refused(error));
    }

    /// The first of those that wait has this fate.
    fn is_known(&mut self, fate: Fate) {
        let Some(at) = self.next_waiting() else { return };
        if let (Some(before), Fate::Duplicate(seq)) = (at.checked_sub(1), &fate)
            && let Run { lines, fate: Fate::Duplicate(first), .. } = &mut self.runs[before]
            && *first + *lines == *seq
        {
            *lines += 1;
            self.runs[at].line += 1;
            self.runs[at].lines -= 1;
            if self.runs[at].lines == 0 {
                self.runs.remove(at);
            }
            return;
        }
        let line = self.runs[at].line;
        if self.runs[at].lines == 1 {
            self.runs[at].fate = fate;
        } else {
            self.runs[at].line += 1;
            self.runs[at].lines -= 1;
            self.runs.insert(at, Run { line, lines: 1, fate });
        }
    }

    /// The first `count` of those that wait were accepted.
    fn accepted(&mut self, mut first_seq: u64, mut count: u64) {
        while count > 0 {
            let Some(at) = self.next_waiting() else { return };
            let part = self.runs[at].lines.min(count);
            let joins = at > 0 && self.runs[at - 1].continues_with(first_seq);
            if joins {
                self.runs[at - 1].lines += part;
                self.runs[at].line += part;
                self.runs[at].lines -= part;
                if self.runs[at].lines == 0 {
                    self.runs.remove(at);
                }
            } else if part == self.runs[at].lines {
                self.runs[at].fate = Fate::Recorded(first_seq);
            } else {
                let run =
                    Run { line: self.runs[at].line, lines: part, fate: Fate::Recorded(first_seq) };
                self.runs[at].line += part;
                self.runs[at].lines -= part;
                self.runs.insert(at, run);
            }
            first_seq += part;
            count -= part;
        }
    }

    /// Joins what was recorded line after line, now or before, whatever others recorded in
    /// between: which seq a line of such a run has is then known to lie within its bounds.
    pub(super) fn compact(&mut self) {
        let mut joined: Vec<Run> = Vec::with_capacity(self.runs.len() / 2);
        for run in self.runs.drain(..) {
            let before = if self.counts_only {
                joined.iter_mut().find(|before| before.counts_as(&run))
            } else {
                joined.last_mut().filter(|before| before.span().is_some() && run.span().is_some())
            };
            match before {
                Some(before) => before.join(run),
                None => joined.push(run),
            }
        }
        self.runs = joined;
        self.waiting = 0;
        if self.counts_only {
            let texts = self.runs.iter().filter_map(|run| run.error(0));
            self.texts = texts.map(|error| error.to_string().len()).sum();
        }
    }

    fn next_waiting(&mut self) -> Option<usize> {
        let rest = self.runs.get(self.waiting..)?;
        let at = rest.iter().position(|run| matches!(run.fate, Fate::Waiting));
        self.waiting = at.map_or(self.runs.len(), |at| self.waiting + at);
        at.map(|_| self.waiting)
    }

    /// Those that wait are not accepted.
    pub(super) fn refuse_waiting(&mut self, error: &RecordError) {
        while let Some(at) = self.next_waiting() {
            self.texts += error.to_string().len();
            self.runs[at].fate = Fate::Refused(error.clone());
        }
    }

    /// Of what was accepted, records from `acked` on are not durable.
    pub(super) fn unsure(&mut self, acked: u64, trouble: &RecordError) {
        let mut at = 0;
        while at < self.runs.len() {
            let run = &mut self.runs[at];
            if let Fate::Scattered(first, last, _) = run.fate
                && last >= acked
            {
                // Which of its lines are durable is not known.
                self.texts += trouble.to_string().len();
                run.fate = Fate::Unsure(first, trouble.clone());
            }
            let (Fate::Recorded(first) | Fate::Duplicate(first)) = run.fate else {
                at += 1;
                continue;
            };
            let sure = acked.saturating_sub(first).min(run.lines);
            if sure == run.lines {
                at += 1;
                continue;
            }
            let rest = Run {
                line: run.line + sure,
                lines: run.lines - sure,
                fate: Fate::Unsure(first + sure, trouble.clone()),
            };
            self.texts += trouble.to_string().len();
            if sure == 0 {
                *run = rest;
            } else {
                run.lines = sure;
                self.runs.insert(at + 1, rest);
            }
            at += 1;
        }
    }

    /// How many are recorded, now or before.
    pub(super) fn recorded(&self) -> u64 {
        self.runs.iter().filter(|run| run.span().is_some()).map(|run| run.lines).sum()
    }

    /// How many of them were recorded before.
    pub(super) fn duplicates(&self) -> u64 {
        self.runs.iter().filter_map(Run::span).map(|(.., duplicates)| duplicates).sum()
    }

    /// Why the first that was not recorded was not.
    pub(super) fn first_error(&self) -> Option<RecordError> {
        self.runs.iter().find_map(|run| run.error(0))
    }

    /// What became of all of them together; `status` says which refusals are the same
    /// to a sender.
    pub(super) fn same_refusal(&self, status: impl Fn(&RecordError) -> u16) -> Refused {
        let mut refused = self.runs.iter().filter_map(|run| run.error(0));
        let Some(first) = refused.next() else { return Refused::Nothing };
        let is_same = refused.all(|error| status(&error) == status(&first));
        if is_same && self.recorded() == 0 { Refused::Everything(first) } else { Refused::Some }
    }

    /// What is neither recorded nor refused for what it is.
    pub(super) fn left(&self) -> Left {
        let mut left = Left::default();
        for run in &self.runs {
            left.is_final |= match &run.fate {
                Fate::Waiting => false,
                Fate::Unsure(..) => true,
                Fate::Refused(RecordError::Event(_) | RecordError::Conflict { .. }) => continue,
                Fate::Refused(error) => error.retry_after().is_none(),
                Fate::Recorded(_) | Fate::Scattered(..) | Fate::Duplicate(_) => continue,
            };
            left.lines.extend(run.line..run.line + run.lines);
        }
        left
    }

    /// Why something was refused that may be taken later.
    pub(super) fn for_now(&self) -> Option<RecordError> {
        self.runs.iter().filter_map(|run| run.error(0)).find(|error| !is_for_ever(error))
    }

    /// The sources of which lines were refused for their rate, and how many.
    pub(super) fn rate_limited(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for run in &self.runs {
            if let Fate::Refused(RecordError::RateLimited { source_name, .. }) = &run.fate {
                *found.entry(source_name.clone()).or_default() += run.lines;
            }
        }
        found
    }

    /// What was refused of a source for its rate is to wait so long.
    pub(super) fn put_off(&mut self, source: &str, wait: Duration) {
        for run in &mut self.runs {
            if let Fate::Refused(RecordError::RateLimited { source_name, retry_after }) =
                &mut run.fate
                && source_name == source
            {
                *retry_after = wait.max(*retry_after);
            }
        }
    }

    /// The longest that one of them has to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.runs.iter().filter_map(|run| run.error(0)?.retry_after()).max()
    }

    /// The only line's record, or why it has none.
    pub(super) fn only(&self) -> Option<Result<Recorded, RecordError>> {
        let run = self.runs.first()?;
        let recorded = |seq, is_duplicate| Ok(Recorded { seq, is_duplicate });
        Some(match run.fate {
            Fate::Recorded(seq) | Fate::Scattered(seq, ..) => recorded(seq, false),
            Fate::Duplicate(seq) => recorded(seq, true),
            _ => Err(run.error(0)?),
        })
    }

    /// The answer, and with `stopped` why what follows the last line was not looked at.
    pub(super) fn document(&self, stopped: Option<Value>) -> String {
        let recorded = self.recorded();
        let rejected = self.lines - recorded;
        let duplicates = self.duplicates();
        let mut text = format!(
            "{{\"recorded\":{recorded},\"duplicates\":{duplicates},\"rejected\":{rejected}"
        );
        let listed = self.lines <= MAX_LISTED;
        text.push_str(if listed { ",\"results\":[" } else { ",\"runs\":[" });
        let mut first = true;
        let mut add = |text: &mut String, value: &Value| {
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            text.push_str(&value.to_string());
        };
        for run in &self.runs {
            if listed {
                (0..run.lines).for_each(|nth| add(&mut text, &run.result(nth)));
            } else {
                add(&mut text, &run.summary());
            }
        }
        text.push(']');
        if let Some(mut stopped) = stopped {
            stopped["line"] = json!(self.lines + 1);
            text.push_str(&format!(",\"stopped\":{stopped}"));
        }
        text.push_str("}\n");
        text
    }
}

impl Run {
    /// The first and the last seq of a run that was recorded, and how many of it before.
    fn span(&self) -> Option<(u64, u64, u64)> {
        match self.fate {
            Fate::Recorded(first) => Some((first, first + self.lines - 1, 0)),
            Fate::Duplicate(first) => Some((first, first + self.lines - 1, self.lines)),
            Fate::Scattered(first, last, duplicates) => Some((first, last, duplicates)),
            Fate::Waiting | Fate::Unsure(..) | Fate::Refused(_) => None,
        }
    }

    /// Whether a sender that asks for counts alone need not tell them apart.
    fn counts_as(&self, other: &Self) -> bool {
        match (&self.fate, &other.fate) {
            (Fate::Refused(one), Fate::Refused(two)) => {
                one.kind() == two.kind() || is_for_ever(one) && is_for_ever(two)
            }
            _ => self.span().is_some() && other.span().is_some(),
        }
    }

    fn join(&mut self, other: Self) {
        if let (Some(one), Some(two)) = (self.span(), other.span()) {
            self.fate = Fate::Scattered(one.0.min(two.0), one.1.max(two.1), one.2 + two.2);
        }
        if let (Fate::Refused(one), Fate::Refused(two)) = (&mut self.fate, other.fate)
            && two.retry_after() > one.retry_after()
        {
            *one = two;
        }
        self.lines += other.lines;
    }

    fn continues_with(&self, seq: u64) -> bool {
        matches!(self.fate, Fate::Recorded(first) if first + self.lines == seq)
    }

    /// Why the run's `nth` line was not recorded.
    fn error(&self, nth: u64) -> Option<RecordError> {
        match &self.fate {
            Fate::Recorded(_) | Fate::Scattered(..) | Fate::Duplicate(_) => None,
            Fate::Refused(error) => Some(error.clone()),
            Fate::Unsure(first, error) => Some(error.clone().about(first + nth)),
            // Nothing waits any more when it is asked.
            Fate::Waiting => Some(RecordError::Closed),
        }
    }

    fn result(&self, nth: u64) -> Value {
        match (&self.fate, self.error(nth)) {
            (Fate::Recorded(first), _) => json!({ "seq": first + nth }),
            (Fate::Duplicate(first), _) => json!({ "seq": first + nth, "duplicate": true }),
            (_, Some(error)) => {
                let mut value = protocol::error_value(&error);
                value["line"] = json!(self.line + nth);
                value
            }
            (_, None) => Value::Null,
        }
    }

    fn summary(&self) -> Value {
        let mut value = match (&self.fate, self.error(0)) {
            (Fate::Recorded(first), _) => json!({ "seq": first }),
            (Fate::Duplicate(first), _) => json!({ "seq": first, "duplicate": true }),
            (Fate::Scattered(first, last, 0), _) => json!({ "seq": first, "last_seq": last }),
            (Fate::Scattered(first, last, duplicates), _) => {
                json!({ "seq": first, "last_seq": last, "duplicates": duplicates })
            }
            (_, Some(error)) => protocol::error_value(&error),
            (_, None) => json!({}),
        };
        if let Fate::Unsure(first, _) = self.fate {
            value["seq"] = json!(first);
        }
        value["line"] = json!(self.line);
        value["lines"] = json!(self.lines);
        value
    }
}

/// Whether it is of no use to send it again.
fn is_for_ever(error: &RecordError) -> bool {
    matches!(error.kind(), "malformed" | "too_large" | "invalid" | "conflict")
}

/// Whether two refusals say the same, but for when to come again.
fn is_same(one: &RecordError, two: &RecordError) -> bool {
    match (one, two) {
        (RecordError::Event(one), RecordError::Event(two)) => one == two,
        (
            RecordError::RateLimited { source_name: one, .. },
            RecordError::RateLimited { source_name: two, .. },
        ) => one == two,
        _ => one.kind() == two.kind() && !matches!(one.kind(), "unavailable" | "conflict"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::Repeat;
    use crate::audit::record::event::EventError;

    fn limited(source: &str, millis: u64) -> RecordError {
        let retry_after = Duration::from_millis(millis);
        RecordError::RateLimited { source_name: source.to_owned(), retry_after }
    }

    #[test]
    fn what_the_log_does_not_take_any_more_is_left_and_nothing_else_is() {
        let mut tally = Tally::default();
        let invalid = || RecordError::Event(EventError::Malformed("it is none".to_owned()));
        tally.refused(invalid());
        tally.refused(limited("a", 5));
        tally.refused(RecordError::Conflict { seq: 7 });
        let left = tally.left();
        assert_eq!((left.lines.into_iter().collect::<Vec<_>>(), left.is_final), (vec![2], false));
        for error in [RecordError::Closed, RecordError::Failed { reason: "it died".to_owned() }] {
            let mut tally = Tally::default();
            tally.refused(invalid());
            tally.waits();
            tally.waits();
            tally.refuse_waiting(&error);
            let left = tally.left();
            assert_eq!(left.lines.into_iter().collect::<Vec<_>>(), [2, 3], "{error}");
            assert!(left.is_final, "{error}");
        }
    }

    fn read(tally: &Tally) -> Value {
        serde_json::from_str(&tally.document(None)).expect("JSON")
    }

    #[test]
    fn few_lines_are_each_told_of() {
        let mut tally = Tally::default();
        tally.waits();
        tally.refused(RecordError::Event(EventError::MissingType));
        tally.waits();
        tally.waits();
        // Room for one, then for two, with a record of somebody else's in between.
        tally.accepted(7, 1);
        tally.accepted(9, 2);
        let told = read(&tally);
        assert_eq!((&told["recorded"], &told["rejected"]), (&json!(3), &json!(1)));
        let results = told["results"].as_array().expect("results");
        assert_eq!(results.len(), 4);
        assert_eq!((&results[0], &results[2]), (&json!({ "seq": 7 }), &json!({ "seq": 9 })));
        assert_eq!((&results[1]["line"], &results[3]), (&json!(2), &json!({ "seq": 10 })));
        assert_eq!(tally.first_error().expect("one").kind(), "invalid");
    }

    #[test]
    fn records_of_others_in_between_end_no_answer_and_refusals_without_end_do() {
        let mut tally = Tally::default();
        for line in 0..10_000 {
            tally.waits();
            tally.accepted(2 * line, 1);
            if tally.is_full() {
                tally.compact();
                assert!(!tally.is_nearly_full());
            }
        }
        tally.compact();
        let told = read(&tally);
        assert_eq!((&told["recorded"], &told["rejected"]), (&json!(10_000), &json!(0)));
        let run = json!({ "seq": 0, "last_seq": 19_998, "line": 1, "lines": 10_000 });
        assert_eq!(told["runs"], json!([run]));
        // Which of them are durable is then not known of each.
        let trouble = RecordError::Busy { retry_after: Duration::from_millis(9) };
        tally.unsure(19_998, &trouble);
        assert_eq!(tally.recorded(), 0);
        let mut tally = Tally::default();
        for line in 0..2_050 {
            tally.waits();
            tally.accepted(2 * line, 1);
            tally.refused(limited("a", line));
        }
        tally.compact();
        assert!(tally.is_nearly_full(), "refused lines are never joined with others");
        assert_eq!(tally.recorded(), 2_050);
    }

    #[test]
    fn a_body_that_is_sent_again_ends_no_answer_however_its_records_lie() {
        let mut tally = Tally::default();
        for line in 0..10_000 {
            tally.waits();
            // The first time two bodies came in at once, and a few of this one were lost.
            match line % 10 {
                9 => tally.took(Taken::New { first_seq: 50_000 + 2 * line, count: 1 }),
                _ => tally.took(Taken::Duplicate { seq: 2 * (line ^ 1) }),
            }
            if tally.is_full() {
                tally.compact();
                assert!(!tally.is_nearly_full());
            }
        }
        tally.compact();
        let told = read(&tally);
        assert_eq!((&told["recorded"], &told["duplicates"]), (&json!(10_000), &json!(9_000)));
        let run = json!({
            "seq": 0, "last_seq": 69_998, "duplicates": 9_000, "line": 1, "lines": 10_000,
        });
        assert_eq!(told["runs"], json!([run]));
    }

    #[test]
    fn whoever_asks_for_counts_alone_gets_an_answer_however_often_the_outcome_changes() {
        let mut tally = Tally::default();
        tally.count_only();
        for line in 0..30_000 {
            match line % 3 {
                0 => tally.refused(RecordError::Event(EventError::MissingType)),
                1 => tally.refused(RecordError::Event(EventError::UnknownKey(line.to_string()))),
                _ => {
                    tally.waits();
                    tally.accepted(2 * line, 1);
                }
            }
            if tally.is_full() {
                tally.compact();
                assert!(!tally.is_nearly_full());
            }
        }
        assert_eq!((tally.lines(), tally.recorded()), (30_000, 10_000));
        assert!(tally.for_now().is_none() && tally.first_error().is_some());
        // What may come again is not lost among what may not.
        tally.refused(limited("a", 7));
        tally.compact();
        assert_eq!(tally.for_now().map(|error| error.kind()), Some("rate_limited"));
        assert_eq!(tally.rate_limited().into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1)]);
        assert!(tally.bytes() < 10_000);
    }

    #[test]
    fn many_lines_are_told_of_as_runs_that_leave_none_out() {
        let mut tally = Tally::default();
        for line in 0..2_000 {
            match line {
                0..700 => tally.waits(),
                700..1_500 => tally.refused(limited("a", line)),
                _ => tally.refused(limited("b", 5)),
            }
        }
        tally.accepted(100, 300);
        tally.accepted(400, 400);
        let told = read(&tally);
        assert!(told["results"].is_null());
        let runs = told["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), 3, "{told}");
        assert_eq!(runs[0], json!({ "line": 1, "lines": 700, "seq": 100 }));
        assert_eq!((&runs[1]["line"], &runs[1]["lines"]), (&json!(701), &json!(800)));
        assert_eq!(runs[1]["error"]["retry_after_ms"], 1_499, "the longest wait");
        assert_eq!((&runs[2]["line"], &runs[2]["lines"]), (&json!(1_501), &json!(500)));
    }

    #[test]
    fn what_waited_when_the_writer_failed_is_refused_and_what_it_took_is_unsure() {
        let mut tally = Tally::default();
        (0..1_500).for_each(|_| tally.waits());
        tally.accepted(10, 1_200);
        tally.refuse_waiting(&RecordError::Closed);
        let retry_after = Duration::from_secs(1);
        let trouble = RecordError::Unavailable { seq: 0, reason: "disk".to_owned(), retry_after };
        tally.unsure(1_000, &trouble);
        assert_eq!(tally.recorded(), 990, "those below 1000");
        let told = read(&tally);
        let runs = told["runs"].as_array().expect("runs");
        assert_eq!(runs[0], json!({ "line": 1, "lines": 990, "seq": 10 }));
        assert_eq!((&runs[1]["line"], &runs[1]["lines"]), (&json!(991), &json!(210)));
        assert_eq!(
            (&runs[1]["seq"], &runs[1]["error"]["kind"]),
            (&json!(1_000), &json!("unavailable"))
        );
        assert_eq!(
            (&runs[2]["line"], &runs[2]["error"]["kind"]),
            (&json!(1_201), &json!("closed"))
        );
    }

    #[test]
    fn lines_that_were_recorded_before_are_told_of_with_the_seqs_of_then() {
        let repeat = |at, seq, is_same| Repeat { at, seq, is_same };
        let mut tally = Tally::default();
        (0..6).for_each(|_| tally.waits());
        let repeats = vec![repeat(1, 3, true), repeat(2, 4, true), repeat(4, 2, false)];
        tally.taken(&Submitted { first_seq: 90, count: 6, repeats });
        let told = read(&tally);
        assert_eq!((&told["recorded"], &told["rejected"]), (&json!(5), &json!(1)));
        assert_eq!(told["duplicates"], 2);
        let results = told["results"].as_array().expect("results");
        assert_eq!(results[0], json!({ "seq": 90 }));
        assert_eq!(results[1], json!({ "seq": 3, "duplicate": true }));
        assert_eq!(results[2], json!({ "seq": 4, "duplicate": true }));
        assert_eq!(results[3], json!({ "seq": 91 }));
        assert_eq!(
            (&results[4]["error"]["kind"], &results[4]["line"]),
            (&json!("conflict"), &json!(5))
        );
        assert_eq!(results[5], json!({ "seq": 92 }));
        // Their records may not be durable yet, and then it is not known of them either.
        tally.unsure(4, &RecordError::Closed);
        assert_eq!((tally.recorded(), tally.duplicates()), (1, 1));
        // A body that is sent again is one run.
        let mut tally = Tally::default();
        (0..2_000).for_each(|_| tally.waits());
        let repeats = (0..2_000).map(|at| repeat(at, 7 + at as u64, true)).collect();
        tally.taken(&Submitted { first_seq: 90, count: 2_000, repeats });
        let run = json!({ "seq": 7, "line": 1, "lines": 2_000, "duplicate": true });
        assert_eq!(read(&tally)["runs"], json!([run]));
        assert_eq!(tally.duplicates(), 2_000);
    }

    #[test]
    fn an_answer_takes_no_more_than_was_counted_for_it() {
        let mut tally = Tally::default();
        let mut line = 0;
        while !tally.is_full() {
            line += 1;
            if line % 2 == 0 {
                tally.waits();
                tally.accepted(line * 1_000_000_000, 1);
            } else {
                let key = "\"\u{1}".repeat(30);
                tally.refused(RecordError::Event(EventError::UnknownKey(key)));
            }
        }
        assert_eq!(tally.lines(), MAX_RUNS as u64);
        let in_memory = tally.runs.capacity() * size_of::<Run>();
        assert!(tally.document(None).len() + in_memory / 2 <= tally.bytes());
        assert!(tally.bytes() < 8 << 20, "{}", tally.bytes());
    }
}
