//! What a caller gets for an event, until it is durable.

use std::sync::Arc;

use super::Inner;
use crate::audit::record::refusal::RecordError;
use crate::audit::write::options::Durability;

/// A record accepted, on its way to being durable.
#[derive(Debug)]
#[must_use = "the event is only safe once `wait` has returned its seq"]
pub struct Receipt {
    pub(super) log: Arc<Inner>,
    pub(super) seq: u64,
    pub(super) is_duplicate: bool,
    /// The batch that it is in, where that is known.
    pub(super) batch: Option<u64>,
}

impl Receipt {
    /// The seq that the record has.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether the event was recorded before: its sender has handed in the same one with the
    /// same [`id`](crate::Event::id), and [`seq`](Self::seq) is that record's. It need not be
    /// durable yet.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }

    /// Waits until the record is acknowledged: durable with
    /// [`Durability::Commit`], at once with [`Durability::Interval`].
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] when the log cannot be written at the moment
    /// (the record is kept and tried again), [`RecordError::Failed`] or
    /// [`RecordError::Closed`] when it never will be, [`RecordError::Forked`] in a
    /// fork of the process that opened the log.
    pub fn wait(self) -> Result<u64, RecordError> {
        self.log.not_forked()?;
        match self.log.shared.options.durability {
            Durability::Commit => self.wait_durable(),
            Durability::Interval => {
                self.log.shared.page.publish_accepted(self.seq);
                Ok(self.seq)
            }
        }
    }

    /// Waits until the record is durable, whatever the log's durability.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_durable(self) -> Result<u64, RecordError> {
        self.log.not_forked()?;
        let shared = &self.log.shared;
        if shared.progress.durable() <= self.seq {
            shared.queue.request_durable(self.seq + 1);
            shared.progress.wait_for(self.seq, self.batch)?;
        }
        Ok(self.seq)
    }
}
