//! Handing in many events when there may be no room for all: one rule for the socket, HTTP,
//! imports, and whoever embeds the log.

use std::time::{Duration, Instant};

use super::{AuditLog, Session};
use crate::audit::record::event::ParseMode;
use crate::audit::record::refusal::RecordError;
use crate::audit::write::queue::{BUSY_RETRY, Batch, Submitted, Taken};

/// A caller's patience with a write buffer that is full.
#[derive(Debug, Default)]
pub struct HandIn {
    full_since: Option<Instant>,
    is_import: bool,
}

/// An event that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its record.
    pub seq: u64,
    /// Whether it was there before, by its id.
    pub is_duplicate: bool,
}

/// What became of one try.
#[derive(Debug)]
pub enum Handed {
    /// The first events of the batch are accepted, and were taken out of it. Their
    /// acknowledgement has been asked for.
    Taken(Submitted),
    /// There is no room now. Try again after [`HandIn::TRY_AGAIN`], or once something has
    /// been acknowledged.
    Full,
    /// No event that was left in the batch is accepted. The batch is empty now.
    Refused(RecordError),
}

impl HandIn {
    /// How long to wait before trying a full buffer again. With interval durability
    /// nothing else tells that there is room.
    pub const TRY_AGAIN: Duration = Duration::from_millis(10);

    /// For a caller that waits `overflow_timeout` at most.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For an import. It waits for room as long as it takes, because an event that is
    /// refused and sent again comes after those that followed it.
    #[must_use]
    pub fn import() -> Self {
        Self { is_import: true, ..Self::default() }
    }

    /// Whether the last try found no room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.full_since.is_some()
    }

    /// Tries once, without waiting. `submit` has the log accept what it has room for, or
    /// says that it has none: [`AuditLog::try_submit`], after what else the caller asks.
    pub fn try_by(
        &mut self,
        log: &AuditLog,
        batch: &mut Batch,
        submit: impl FnOnce(&mut Batch) -> Result<Option<Submitted>, RecordError>,
    ) -> Handed {
        let error = match submit(batch) {
            Ok(Some(taken)) => {
                self.full_since = None;
                log.request_ack(taken.end());
                return Handed::Taken(taken);
            }
            Ok(None) => {
                self.full_since.get_or_insert_with(Instant::now);
                if self.is_import || !self.is_over(log) {
                    return Handed::Full;
                }
                return self.give_up(log, batch);
            }
            Err(error) => error,
        };
        self.full_since = None;
        batch.clear();
        Handed::Refused(error)
    }

    /// Whether it has waited for room as long as a caller waits that is no import.
    fn is_over(&self, log: &AuditLog) -> bool {
        let limit = log.options().overflow_timeout;
        self.full_since.is_some_and(|since| since.elapsed() >= limit)
    }

    fn give_up(&mut self, log: &AuditLog, batch: &mut Batch) -> Handed {
        log.count_busy(batch.len() as u64);
        self.full_since = None;
        batch.clear();
        Handed::Refused(RecordError::Busy { retry_after: BUSY_RETRY })
    }
}

impl Session {
    /// Records lines of NDJSON, each one event, and waits until each is durable. Returns
    /// what became of each, in their order: its record, or why it was not recorded.
    ///
    /// Waits for room in the write buffer as [`HandIn`] says. An import gives up as others
    /// do once the log cannot be written: then nobody knows when there will be room.
    pub fn record_all(
        &self,
        lines: &[&[u8]],
        mode: ParseMode,
        patience: HandIn,
    ) -> Vec<Result<Recorded, RecordError>> {
        let mut batch = Batch::new();
        let prepared = lines.iter().map(|line| self.prepare(line, mode, &mut batch));
        let nothing = Recorded { seq: 0, is_duplicate: false };
        let mut outcomes: Vec<Result<Recorded, RecordError>> =
            prepared.map(|prepared| prepared.map(|()| nothing)).collect();
        let waiting = outcomes.iter_mut().filter(|outcome| outcome.is_ok());
        let handed_in = self.log().hand_in(&mut batch, patience);
        waiting.zip(handed_in).for_each(|(outcome, handed_in)| *outcome = handed_in);
        self.log().settle(&mut outcomes);
        outcomes
    }
}

fn one_by_one(taken: Taken) -> Box<dyn Iterator<Item = Result<Recorded, RecordError>>> {
    let recorded = |seq, is_duplicate| Ok(Recorded { seq, is_duplicate });
    match taken {
        Taken::New { first_seq, count } => {
            Box::new((first_seq..first_seq + count).map(move |seq| recorded(seq, false)))
        }
        Taken::Duplicate { seq } => Box::new(std::iter::once(recorded(seq, true))),
        Taken::Conflict { seq } => Box::new(std::iter::once(Err(RecordError::Conflict { seq }))),
    }
}

impl AuditLog {
    /// Hands in all of a batch, and waits for room as [`Session::record_all`] does. Returns what
    /// became of each event, in their order. The batch is empty then, and what is accepted need
    /// not be durable: that is for [`settle`](Self::settle).
    pub(crate) fn hand_in(
        &self,
        batch: &mut Batch,
        mut patience: HandIn,
    ) -> Vec<Result<Recorded, RecordError>> {
        let events = batch.len();
        let mut outcomes = Vec::with_capacity(events);
        while !batch.is_empty() {
            let submit = |batch: &mut Batch| {
                self.try_submit(batch).map(|taken| Some(taken).filter(|taken| taken.count > 0))
            };
            let mut handed = patience.try_by(self, batch, submit);
            if matches!(handed, Handed::Full) {
                let progress = self.wait_progress(self.acked_seq(), HandIn::TRY_AGAIN);
                if progress.trouble.is_none() || !patience.is_over(self) {
                    continue;
                }
                handed = patience.give_up(self, batch);
            }
            match handed {
                Handed::Taken(taken) => outcomes.extend(taken.taken().flat_map(one_by_one)),
                Handed::Full => {}
                Handed::Refused(error) => outcomes.resize(events, Err(error)),
            }
        }
        outcomes
    }

    /// Waits until all that was accepted is acknowledged. What is not, because something stands
    /// in the way, gets that error.
    pub(crate) fn settle(&self, outcomes: &mut [Result<Recorded, RecordError>]) {
        // Also of those that were recorded before: they need not be durable yet.
        let end = outcomes.iter().flatten().map(|recorded| recorded.seq + 1).max();
        if let Err((acked, error)) = self.wait_acked(end.unwrap_or(0)) {
            for outcome in outcomes {
                if let Ok(Recorded { seq, .. }) = *outcome
                    && seq >= acked
                {
                    *outcome = Err(error.clone().about(seq));
                }
            }
        }
    }

    /// Waits until everything below `end` is acknowledged, or something stands in the way:
    /// what is acknowledged then, and what it is.
    fn wait_acked(&self, end: u64) -> Result<(), (u64, RecordError)> {
        while self.acked_seq() < end {
            let progress = self.wait_progress(end - 1, Duration::from_secs(1));
            if progress.acked_seq < end
                && let Some(trouble) = progress.trouble
            {
                return Err((progress.acked_seq, trouble));
            }
        }
        Ok(())
    }
}
