//! What of an import the log has: its records, compared with the lines that were sent.

use std::collections::VecDeque;

use crate::audit::read::query::Answer;
use crate::audit::{Event, EventLimits, ParseMode, is_record_of};
use crate::cli::exit::{CliError, Exit};

/// A line's record is looked for among so many: an import's records are in the order of
/// its lines, but for what was refused and sent again.
const AMONG: usize = 2_000;

/// Records of an import that no line is known for yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Arrived(VecDeque<(u64, Vec<u8>)>);

impl Arrived {
    /// Adds those of a page.
    pub(super) fn add(&mut self, page: &Answer) {
        for line in page.lines().into_iter().flat_map(|lines| lines.iter()) {
            if let Some(seq) = seq_of(line) {
                self.0.push_back((seq, line.to_vec()));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The last of them.
    pub(super) fn last_seq(&self) -> Option<u64> {
        self.0.back().map(|(seq, _)| *seq)
    }

    /// Those from this seq on alone.
    pub(super) fn since(&mut self, seq: u64) {
        self.0.retain(|(found, _)| *found >= seq);
    }

    /// Takes out the one with this seq; whether it was there.
    pub(super) fn forget(&mut self, seq: u64) -> bool {
        let at = self.0.iter().position(|(found, _)| *found == seq);
        at.and_then(|at| self.0.remove(at)).is_some()
    }

    /// Takes out the record of a line, and says its seq.
    pub(super) fn take(
        &mut self,
        line: &[u8],
        mode: ParseMode,
        limits: &EventLimits,
    ) -> Option<u64> {
        let mut event = Event::from_json(line, mode).ok()?;
        event.check(limits).ok()?;
        let at = self.0.iter().take(AMONG).position(|(_, record)| is_record_of(&event, record))?;
        self.0.remove(at).map(|(seq, _)| seq)
    }

    /// What to say when records are left that fit no line.
    pub(super) fn unknown(&self, where_: &str) -> CliError {
        let seq = self.0.front().map_or(0, |(seq, _)| *seq);
        let text = format!(
            "the log has {} records of this import, from seq {seq} on, that match none of the \
             lines {where_}",
            self.len()
        );
        CliError::new("resume", Exit::Failed, text).hint(
            "the lines, or --lenient, have changed: compare them with these records (`auditctl \
             query --seq SEQ..`). To record everything again, add --from-start",
        )
    }
}

fn seq_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Seq {
        seq: u64,
    }
    serde_json::from_slice::<Seq>(line).ok().map(|found| found.seq)
}
