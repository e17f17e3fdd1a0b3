//! Records that a repair makes others, as they are shown.

/// So many records are shown one by one; of more, their range.
const SHOWN_RECORDS: usize = 10_000;
/// They have so many bytes at most.
const SHOWN_BYTES: usize = 16 << 20;

/// Records that become others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file that they are in.
    pub file: String,
    /// The first record.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// The copy that they are from.
    pub from: String,
    /// Record by record, as far as that can be shown.
    pub records: Vec<Changed>,
}

/// A record that becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its seq.
    pub seq: u64,
    /// The line as it is now; `None` where there is none that can be read.
    pub now: Option<String>,
    /// The line that it becomes.
    pub then: String,
}

/// Records that become others, told one by one up to a limit.
pub(super) struct Told {
    pub(super) changes: Vec<Change>,
    records: usize,
    bytes: usize,
}

impl Told {
    pub(super) fn new() -> Self {
        Self { changes: Vec::new(), records: 0, bytes: 0 }
    }

    /// Notes that the records from `first` on become the lines of `then`; `now` finds
    /// what a record is now. Returns the ranges of those that become others.
    pub(super) fn note<'n>(
        &mut self,
        (file, from): (&str, &str),
        first: u64,
        then: &[u8],
        now: impl Fn(u64) -> Option<&'n [u8]>,
    ) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (seq, line) in (first..).zip(then.split_inclusive(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let was = now(seq);
            if was == Some(line) {
                continue;
            }
            let follows = ranges.last().is_some_and(|(_, end)| *end == seq);
            if !follows {
                ranges.push((seq, seq));
                let (file, from) = (file.to_owned(), from.to_owned());
                let records = Vec::new();
                self.changes.push(Change { file, first_seq: seq, end_seq: seq, from, records });
            }
            if let (Some(range), Some(change)) = (ranges.last_mut(), self.changes.last_mut()) {
                (range.1, change.end_seq) = (seq + 1, seq + 1);
                let length = line.len() + was.map_or(0, <[u8]>::len);
                if self.records < SHOWN_RECORDS && self.bytes + length <= SHOWN_BYTES {
                    self.records += 1;
                    self.bytes += length;
                    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
                    change.records.push(Changed { seq, now: was.map(text), then: text(line) });
                }
            }
        }
        ranges
    }
}
