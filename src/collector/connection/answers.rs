//! What becomes of a peer's events: they are handed to the writer, and answered in the
//! order in which they came, once the writer has acknowledged them.

use tokio::sync::watch;

use super::Connection;
use crate::audit::{Batch, Handed, RecordError};
use crate::collector::{Seen, protocol};

impl Connection {
    /// Hands over what was prepared, as far as there is room.
    pub(super) fn submit(&mut self) {
        while !self.batch.is_empty() {
            let log = &self.hub.log;
            let submit = |batch: &mut Batch| self.turn.submit(log, batch);
            match self.hand_in.try_by(log, &mut self.batch, submit) {
                Handed::Taken(taken) => self.owed.taken(&taken),
                Handed::Full => return,
                Handed::Refused(error) => self.refuse_waiting(&error),
            }
        }
        self.turn.waits(false);
    }

    /// Waits until it is known what became of all that was accepted: whoever goes on with
    /// this import asks the log for it.
    pub(super) async fn settled(&self, mut progress: watch::Receiver<Seen>) {
        if self.import.is_none() {
            return;
        }
        let Some(end) = self.owed.accepted_end() else { return };
        let over = |seen: &Seen| seen.acked_seq >= end || seen.trouble.is_some();
        // An error: the log is closed.
        let _ = progress.wait_for(over).await;
    }

    fn refuse_waiting(&mut self, error: &RecordError) {
        self.batch.clear();
        self.owed.refuse_waiting(&protocol::line_of(&protocol::error_value(error)));
    }

    pub(super) fn fail_all(&mut self, error: &RecordError) {
        self.refuse_waiting(error);
        self.owed.fail_accepted(|seq| {
            let error = error.clone().about(seq);
            protocol::line_of(&protocol::error_value(&error))
        });
    }

    /// Moves what can be answered into the output.
    pub(super) fn answer(&mut self, seen: &Seen) {
        let acked = seen.acked_seq.max(self.hub.log.acked_seq());
        self.owed.answer(acked, self.output.bytes_mut());
        if let Some(trouble) = &seen.trouble {
            self.fail_all(trouble);
            self.owed.answer(acked, self.output.bytes_mut());
        }
    }
}
