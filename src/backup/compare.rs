//! Two copies of a log, record by record: a log's directory, a backup.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::choice::LogChoice;
use super::directory::BackupDir;
use super::encrypt::KeyFile;
use super::error::BackupError;
use super::metadata::Stretch;
use super::source::{Wish, find};
use crate::audit::files::gzip::Unpacker;
use crate::audit::read::error::ReadError;
use crate::audit::read::walk::{Run, walk};
use crate::audit::read::watch::{Unwatched, Watch};
use crate::audit::record::peek_seq;
use crate::fsio::{FsFile, SharedFs};

/// So many blocks of a side are read ahead.
const AHEAD: usize = 4;

/// One side.
#[derive(Clone, Debug)]
pub enum Side {
    /// A log's directory.
    Log(PathBuf),
    /// A backup: by id, `latest`, or its file.
    Backup(Wish),
}

/// What a side has of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Has {
    /// Its line.
    Line(Vec<u8>),
    /// It ends before it, or begins after it, or lacks it.
    Nothing,
    /// Something that cannot be read.
    Unreadable,
}

/// A record that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its seq.
    pub seq: u64,
    /// In the first.
    pub a: Has,
    /// In the second.
    pub b: Has,
}

/// What became of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Records that are the same.
    pub same: u64,
    /// Records whose lines differ.
    pub altered: u64,
    /// Records that only the first has.
    pub only_a: u64,
    /// Records that only the second has.
    pub only_b: u64,
    /// Ranges that cannot be read: whether of the second, first seq, one after the last,
    /// and why.
    pub unreadable: Vec<(bool, u64, u64, String)>,
}

impl Compared {
    /// Whether there is no difference.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.altered == 0 && self.only_a == 0 && self.only_b == 0 && self.unreadable.is_empty()
    }
}

/// Compares; tells each difference, in the order of the records.
///
/// # Errors
/// When a side cannot be opened, or somebody interrupts.
pub fn compare(
    fs: &SharedFs,
    dir: &BackupDir,
    (a, b): (&Side, &Side),
    identities: &[KeyFile],
    watch: &dyn Watch,
    tell: &mut dyn FnMut(Difference),
) -> Result<Compared, BackupError> {
    std::thread::scope(|scope| {
        let start = |side: &Side| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (fs, dir, side) = (fs.clone(), dir.clone(), side.clone());
            let reading = scope.spawn(move || read((&fs, &dir), &side, identities, &sender));
            (Runs::new(receiver), reading)
        };
        let ((mut a, of_a), (mut b, of_b)) = (start(a), start(b));
        let merged = merge((&mut a, &mut b), watch, tell);
        // Whoever still reads finds that nobody listens.
        drop((a, b));
        for reading in [of_a, of_b] {
            reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        merged
    })
}

fn read(
    (fs, dir): (&SharedFs, &BackupDir),
    side: &Side,
    identities: &[KeyFile],
    to: &SyncSender<Run>,
) -> Result<(), BackupError> {
    let mut take = |run| to.send(run).is_ok();
    match side {
        Side::Log(path) => walk(fs, path, &mut take).map_err(|error| match error {
            ReadError::Io { action, path, source } => BackupError::Io { action, path, source },
            error => BackupError::Refused(error.to_string()),
        }),
        Side::Backup(wish) => {
            let found = find(dir, wish, &LogChoice::default(), identities)?;
            let file = found.open(&*dir.fs, identities, &Unwatched)?;
            members(&*file, found.stretches(), &mut take);
            Ok(())
        }
    }
}

/// An archive's records; a member that cannot be read is a range.
fn members(file: &dyn FsFile, stretches: &[Stretch], take: &mut dyn FnMut(Run) -> bool) {
    let mut unpacker = Unpacker::new();
    for stretch in stretches {
        let (mut next, mut at) = (stretch.first_seq, stretch.offset);
        let mut bad: Option<String> = None;
        for length in &stretch.members {
            let (mut member, mut raw) = (vec![0; *length as usize], Vec::new());
            let read = file.read_exact_at(&mut member, at).map_err(|error| error.to_string());
            let read = read.and_then(|()| {
                unpacker.unpack(&member, &mut raw).map_err(|error| error.to_string())
            });
            if let Err(why) = read {
                bad.get_or_insert(format!("member at byte {at}: {why}"));
                at += u64::from(*length);
                continue;
            }
            at += u64::from(*length);
            let first = match bad.take() {
                Some(why) => {
                    let first = peek_seq(&raw).unwrap_or(next).max(next);
                    if !take(Run::Unreadable(next, first, why)) {
                        return;
                    }
                    next = first;
                    first
                }
                None => peek_seq(&raw).filter(|first| *first > next).unwrap_or(next),
            };
            if first > next {
                let why = "the backup does not hold them".to_owned();
                if !take(Run::Unreadable(next, first, why)) {
                    return;
                }
            }
            next = first + memchr::memchr_iter(b'\n', &raw).count() as u64;
            if !take(Run::of_block(first, &raw)) {
                return;
            }
        }
        if let Some(why) = bad
            && !take(Run::Unreadable(next, stretch.first_seq + stretch.records, why))
        {
            return;
        }
    }
}

/// A record, or a range that cannot be read.
enum Item {
    Line(u64, Vec<u8>),
    Unreadable(u64, u64, String),
}

/// What comes next on a side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Line(u64),
    Unreadable(u64, u64),
    End,
}

/// The items of a side, one after the other.
struct Runs {
    from: Receiver<Run>,
    lines: std::vec::IntoIter<(u64, Vec<u8>)>,
    next: Option<Item>,
    /// Whether the unreadable range that comes next has been told.
    is_told: bool,
}

impl Runs {
    fn new(from: Receiver<Run>) -> Self {
        Self { from, lines: Vec::new().into_iter(), next: None, is_told: false }
    }

    fn peek(&mut self) -> Next {
        while self.next.is_none() {
            if let Some((seq, line)) = self.lines.next() {
                self.next = Some(Item::Line(seq, line));
                break;
            }
            match self.from.recv() {
                Ok(Run::Lines(lines)) => self.lines = lines.into_iter(),
                Ok(Run::Unreadable(first, end, why)) => {
                    self.next = Some(Item::Unreadable(first, end, why));
                    self.is_told = false;
                }
                Err(_) => return Next::End,
            }
        }
        match &self.next {
            Some(Item::Line(seq, _)) => Next::Line(*seq),
            Some(Item::Unreadable(first, end, _)) => Next::Unreadable(*first, *end),
            None => Next::End,
        }
    }

    /// The line that comes next.
    fn line(&mut self) -> Vec<u8> {
        match self.next.take() {
            Some(Item::Line(_, line)) => line,
            _ => Vec::new(),
        }
    }

    /// Passes a range that cannot be read.
    fn pass(&mut self) {
        self.next = None;
    }

    /// Notes, once, that the range that comes next cannot be read.
    fn note(&mut self, is_b: bool, told: &mut Vec<(bool, u64, u64, String)>) {
        if let Some(Item::Unreadable(first, end, why)) = &self.next
            && !self.is_told
        {
            told.push((is_b, *first, *end, why.clone()));
            self.is_told = true;
        }
    }
}

fn merge(
    (a, b): (&mut Runs, &mut Runs),
    watch: &dyn Watch,
    tell: &mut dyn FnMut(Difference),
) -> Result<Compared, BackupError> {
    let mut compared = Compared::default();
    loop {
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        let next = (a.peek(), b.peek());
        a.note(false, &mut compared.unreadable);
        b.note(true, &mut compared.unreadable);
        match next {
            (Next::End, Next::End) => return Ok(compared),
            (Next::Line(seq), Next::Line(other)) if seq == other => {
                let (ours, theirs) = (a.line(), b.line());
                if ours == theirs {
                    compared.same += 1;
                } else {
                    compared.altered += 1;
                    tell(Difference { seq, a: Has::Line(ours), b: Has::Line(theirs) });
                }
            }
            (Next::Line(seq), Next::Unreadable(first, end)) if (first..end).contains(&seq) => {
                tell(Difference { seq, a: Has::Line(a.line()), b: Has::Unreadable });
            }
            (Next::Unreadable(first, end), Next::Line(seq)) if (first..end).contains(&seq) => {
                tell(Difference { seq, a: Has::Unreadable, b: Has::Line(b.line()) });
            }
            (Next::Line(seq), other) if is_before(seq, other) => {
                compared.only_a += 1;
                tell(Difference { seq, a: Has::Line(a.line()), b: Has::Nothing });
            }
            (other, Next::Line(seq)) if is_before(seq, other) => {
                compared.only_b += 1;
                tell(Difference { seq, a: Has::Nothing, b: Has::Line(b.line()) });
            }
            // A range that nothing on the other side lies in any more.
            (Next::Unreadable(_, end), Next::Unreadable(_, other)) if other < end => b.pass(),
            (Next::Unreadable(..), _) => a.pass(),
            (_, _) => b.pass(),
        }
    }
}

/// Whether a record comes before what the other side has next.
fn is_before(seq: u64, next: Next) -> bool {
    match next {
        Next::Line(other) | Next::Unreadable(other, _) => seq < other,
        Next::End => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(seqs: std::ops::Range<u64>) -> Run {
        Run::Lines(seqs.map(|seq| (seq, format!("line {seq}").into_bytes())).collect())
    }

    fn merged(a: Vec<Run>, b: Vec<Run>) -> (Compared, Vec<(u64, Has, Has)>) {
        let side = |runs: Vec<Run>| {
            let (sender, receiver) = sync_channel(runs.len());
            runs.into_iter().for_each(|run| sender.send(run).expect("somebody listens"));
            Runs::new(receiver)
        };
        let (mut a, mut b) = (side(a), side(b));
        let mut told = Vec::new();
        let compared = merge((&mut a, &mut b), &Unwatched, &mut |found| {
            told.push((found.seq, found.a, found.b));
        });
        (compared.expect("compared"), told)
    }

    fn has(text: &str) -> Has {
        Has::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn the_same_records_in_other_blocks_are_the_same() {
        let (compared, told) = merged(vec![lines(3..9)], vec![lines(3..5), lines(5..9)]);
        assert!(compared.is_same() && told.is_empty());
        assert_eq!(compared.same, 6);
    }

    #[test]
    fn what_differs_is_missing_or_added_is_told_with_both_lines() {
        let altered = Run::Lines(vec![(5, b"other".to_vec())]);
        let b = vec![lines(3..5), altered, lines(7..10)];
        let (compared, told) = merged(vec![lines(2..9)], b);
        let expected = vec![
            (2, has("line 2"), Has::Nothing),
            (5, has("line 5"), has("other")),
            (6, has("line 6"), Has::Nothing),
            (9, Has::Nothing, has("line 9")),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            (compared.same, compared.altered, compared.only_a, compared.only_b),
            (4, 1, 2, 1)
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_difference_by_itself_and_never_the_same() {
        let bad = |first, end| Run::Unreadable(first, end, "damaged".to_owned());
        let (compared, told) = merged(vec![bad(2, 4), lines(4..6)], vec![lines(3..6)]);
        assert_eq!(told, [(3, Has::Unreadable, has("line 3"))]);
        assert_eq!(compared.unreadable, [(false, 2, 4, "damaged".to_owned())]);
        assert!(!compared.is_same());
        let (compared, told) = merged(vec![bad(2, 4)], vec![bad(3, 9), lines(9..10)]);
        assert_eq!((told.len(), compared.unreadable.len()), (1, 2));
    }
}
