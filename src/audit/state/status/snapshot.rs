//! The reader's side of the page.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::words::{Activity, Damage, DiskStage, Mode, Ring, Word, WriterState};
use super::{MAGIC, PAGE_BYTES, StatusError, WORDS, checksum};
use crate::audit::state::security::SecurityKind;
use crate::clock::Timestamp;
use crate::fsio::{self, Fs, OpenMode};

/// A page that is being written is read again so often.
const LOOKS: u32 = 60;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The source that was refused most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopBlocked {
    /// Who sent it, by the system's word, where that is known.
    pub sender: Option<String>,
    /// The source.
    pub source: String,
    /// How many events.
    pub refused: u64,
}

/// What a reader sees: the words at one moment.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    pub(super) words: Box<[u64; WORDS]>,
}

impl StatusSnapshot {
    /// Reads the page; takes microseconds whatever the log's size.
    ///
    /// # Errors
    /// [`StatusError::Io`] when it cannot be read (`NotFound`: no log here),
    /// [`StatusError::Newer`] when a newer version writes it, [`StatusError::Format`]
    /// when it is no status page.
    pub fn read(path: &Path) -> Result<Self, StatusError> {
        let failed = |source| StatusError::Io { path: path.to_path_buf(), source };
        let format = |reason| StatusError::Format { path: path.to_path_buf(), reason };
        let file = fsio::OsFs.open(path, OpenMode::ReadOwn).map_err(failed)?;
        let mut bytes = [0u8; PAGE_BYTES];
        for look in 0..LOOKS {
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(format("shorter than 4096 bytes"));
                }
                Err(error) => return Err(failed(error)),
            }
            let snapshot = Self::from_bytes(&bytes);
            if snapshot.get(Word::Magic) != MAGIC {
                return Err(match bytes.strip_prefix(b"AUDSTAT") {
                    Some([found @ b'2'..=b'9', ..]) => {
                        let (path, found) = (path.to_path_buf(), char::from(*found));
                        StatusError::Newer { path, found }
                    }
                    _ => format("no AUDSTAT1 mark"),
                });
            }
            if snapshot.get(Word::Checksum) == checksum(&bytes) {
                return Ok(snapshot);
            }
            // It was being written. That takes a microsecond, or a moment more when
            // the writer was interrupted in the middle of it.
            if look >= LOOKS / 2 {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Err(format("its checksum does not fit"))
    }

    fn from_bytes(bytes: &[u8; PAGE_BYTES]) -> Self {
        let mut words = Box::new([0; WORDS]);
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        Self { words }
    }

    /// The value of a word.
    #[must_use]
    pub fn get(&self, word: Word) -> u64 {
        self.words[word as usize]
    }

    /// One word of a run, such as a histogram bucket.
    #[must_use]
    pub fn nth(&self, word: Word, nth: usize) -> u64 {
        self.words.get(word as usize + nth).copied().unwrap_or(0)
    }

    /// A word that holds a time; `None` when it is 0.
    #[must_use]
    pub fn time(&self, word: Word) -> Option<Timestamp> {
        match self.get(word) {
            0 => None,
            micros => Some(Timestamp::from_micros(micros as i64)),
        }
    }

    /// What the writer was doing.
    #[must_use]
    pub fn activity(&self) -> Option<Activity> {
        Activity::from_code(self.get(Word::Activity))
    }

    /// How the writer was.
    #[must_use]
    pub fn state(&self) -> Option<WriterState> {
        WriterState::from_code(self.get(Word::State))
    }

    /// How much space was left.
    #[must_use]
    pub fn disk_stage(&self) -> Option<DiskStage> {
        DiskStage::from_code(self.get(Word::DiskStage))
    }

    /// Damage known to the writer.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        Damage::from_code(self.get(Word::Damage))
    }

    /// How the log was opened.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        Mode::from_code(self.get(Word::Mode))
    }

    /// Security events of a kind since the log was opened.
    #[must_use]
    pub fn security(&self, kind: SecurityKind) -> u64 {
        let index = SecurityKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        self.nth(Word::SecurityCounts, index)
    }

    /// The most refused source, who sent it, and its refusals, if any was refused.
    #[must_use]
    pub fn top_blocked(&self) -> Option<TopBlocked> {
        let refused = self.get(Word::TopBlockedCount);
        let bytes: Vec<u8> =
            (0..32).flat_map(|nth| self.nth(Word::TopBlockedSource, nth).to_le_bytes()).collect();
        let mut texts = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let source = texts.next().unwrap_or_default().into_owned();
        let sender = texts.next().filter(|sender| !sender.is_empty());
        let sender = sender.map(std::borrow::Cow::into_owned);
        (refused > 0).then_some(TopBlocked { sender, source, refused })
    }

    /// Refusals of the rate limiter that are in no record of a log that ends at
    /// `end_seq`, and when the first and the last was.
    #[must_use]
    pub(crate) fn unrecorded_refusals(&self, end_seq: u64) -> Option<(u64, [Timestamp; 2])> {
        let written = self.get(Word::RefusalsRecordedSeq) <= end_seq;
        let recorded = if written { Word::RefusalsRecorded } else { Word::RefusalsRecordedBefore };
        let left = self.get(Word::RefusalsToRecord).saturating_sub(self.get(recorded));
        let last = self.time(Word::RefusalsLastAt)?;
        let first = self.time(Word::RefusalsFirstAt).unwrap_or(last);
        (left > 0).then_some((left, [first, last]))
    }

    /// Counts of a ring for the last `slots` (at most its slots less 4) whole slots and
    /// the current one, oldest first.
    #[must_use]
    pub fn ring(&self, ring: Ring, now: Timestamp, slots: usize) -> Vec<u64> {
        let current = ring.stamp(now);
        let slots = slots.min(ring.slots() - 4) as u64;
        (current.saturating_sub(slots)..=current)
            .map(|stamp| {
                let slot = self.words[ring.base() + (stamp as usize % ring.slots())];
                if slot >> 32 == stamp & 0xffff_ffff { slot & 0xffff_ffff } else { 0 }
            })
            .collect()
    }

    /// Sum of a ring over the last minute (event ring) or hour (all others).
    #[must_use]
    pub fn recent(&self, ring: Ring, now: Timestamp) -> u64 {
        self.ring(ring, now, ring.slots() - 4).iter().sum()
    }
}
