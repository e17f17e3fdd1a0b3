//! What becomes of a peer's events: they are handed to the writer, and answered in the
//! order in which they came, once the writer has acknowledged them.

use tokio::sync::watch;

use super::{Connection, Owed};
use crate::audit::{Batch, Handed, RecordError};
use crate::collector::{Seen, protocol};

impl Connection {
    /// Hands over what was prepared, as far as there is room.
    pub(super) fn submit(&mut self) {
        while !self.batch.is_empty() {
            let log = &self.hub.log;
            let submit = |batch: &mut Batch| self.turn.submit(log, batch);
            match self.hand_in.try_by(log, &mut self.batch, submit) {
                Handed::Taken(taken) => self.accepted(taken.first_seq, taken.count as u64),
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
        let ends = self.owed.iter().filter_map(|owed| match owed {
            Owed::Accepted { first_seq, count } => Some(first_seq + count),
            _ => None,
        });
        let Some(end) = ends.max() else { return };
        let over = |seen: &Seen| seen.acked_seq >= end || seen.trouble.is_some();
        // An error: the log is closed.
        let _ = progress.wait_for(over).await;
    }

    fn accepted(&mut self, mut first_seq: u64, mut count: u64) {
        let mut at = self.owed.iter().position(|owed| matches!(owed, Owed::Waiting(_)));
        while let Some(index) = at.filter(|_| count > 0) {
            let Some(Owed::Waiting(waiting)) = self.owed.get_mut(index) else {
                at = Some(index + 1).filter(|next| *next < self.owed.len());
                continue;
            };
            let part = (*waiting as u64).min(count);
            let accepted = Owed::Accepted { first_seq, count: part };
            if part == *waiting as u64 {
                self.owed[index] = accepted;
            } else {
                *waiting -= part as usize;
                self.owed.insert(index, accepted);
            }
            first_seq += part;
            count -= part;
            at = Some(index + 1).filter(|next| *next < self.owed.len());
        }
    }

    fn refuse_waiting(&mut self, error: &RecordError) {
        self.batch.clear();
        let line = protocol::line_of(&protocol::error_value(error));
        for owed in &mut self.owed {
            if let Owed::Waiting(count) = owed {
                let lines = line.repeat(*count);
                self.in_flight -= *count - 1;
                self.owed_bytes += lines.len();
                *owed = Owed::Line(lines);
            }
        }
    }

    pub(super) fn fail_all(&mut self, error: &RecordError) {
        self.refuse_waiting(error);
        for owed in &mut self.owed {
            if let Owed::Accepted { first_seq, count } = owed {
                let mut lines = Vec::new();
                for seq in *first_seq..*first_seq + *count {
                    let error = error.clone().about(seq);
                    lines.extend(protocol::line_of(&protocol::error_value(&error)));
                }
                self.in_flight -= *count as usize - 1;
                self.owed_bytes += lines.len();
                *owed = Owed::Line(lines);
            }
        }
    }

    /// Moves what can be answered into the output.
    pub(super) fn answer(&mut self, seen: &Seen) {
        let acked = seen.acked_seq.max(self.hub.log.acked_seq());
        if let Some(trouble) = &seen.trouble {
            self.answer_acked(acked);
            self.fail_all(trouble);
        }
        self.answer_acked(acked);
    }

    fn answer_acked(&mut self, acked: u64) {
        while let Some(owed) = self.owed.front_mut() {
            match owed {
                Owed::Waiting(_) | Owed::Asked => return,
                Owed::Line(line) => {
                    self.owed_bytes -= line.len();
                    if self.output.is_empty() {
                        self.output = std::mem::take(line);
                    } else {
                        self.output.append(line);
                    }
                    self.in_flight -= 1;
                }
                Owed::Accepted { first_seq, count } => {
                    let part = acked.saturating_sub(*first_seq).min(*count);
                    for seq in *first_seq..*first_seq + part {
                        protocol::push_ok(&mut self.output, seq);
                    }
                    self.in_flight -= part as usize;
                    *first_seq += part;
                    *count -= part;
                    if *count > 0 {
                        return;
                    }
                }
            }
            self.owed.pop_front();
        }
    }
}
