//! Plain files of records that the manifest does not list: the active segment, and what was
//! sealed a moment ago.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::audit::paths::ACTIVE;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_seq;
use crate::fsio::FsFile;

/// A file of records that the manifest does not list, held open.
#[derive(Clone, Debug)]
pub(in crate::audit) struct Tail {
    pub(in crate::audit) name: String,
    pub(in crate::audit) file: Arc<dyn FsFile>,
    /// Its length when it was looked at.
    pub(in crate::audit) length: u64,
    /// From its first record to one after its last whole one; `None` where it does not begin
    /// with a record, or is compressed.
    pub(in crate::audit) seqs: Option<Range<u64>>,
}

impl Tail {
    /// # Errors
    /// When its length, its beginning or its end cannot be read.
    pub(in crate::audit::read) fn of(name: String, file: Box<dyn FsFile>) -> io::Result<Self> {
        let length = file.meta()?.len;
        // What is packed is looked into only by whoever reads all of it.
        let first = if name.ends_with(".gz") { None } else { first_seq(&*file)? };
        let seqs = match first {
            Some(first) => {
                let end = last_seq(&*file, length)?.map_or(first, |last| last + 1);
                Some(first..end.max(first))
            }
            None => None,
        };
        Ok(Self { name, file: file.into(), length, seqs })
    }

    pub(in crate::audit) fn is_active(&self) -> bool {
        self.name == ACTIVE
    }

    pub(in crate::audit) fn is_compressed(&self) -> bool {
        self.name.ends_with(".gz")
    }
}

fn first_seq(file: &dyn FsFile) -> io::Result<Option<u64>> {
    let mut start = [0; 64];
    let read = file.read_at(&mut start, 0)?;
    Ok(peek_seq(&start[..read]))
}

/// So much of a file's end is looked through for its last record: behind it may stand what a
/// crash left, or somebody.
const LOOK_BACK: u64 = 1 << 30;
/// At once.
const WINDOW: u64 = 4 << 20;

/// The seq of the last whole line that has one.
fn last_seq(file: &dyn FsFile, length: u64) -> io::Result<Option<u64>> {
    let mut buffer = Vec::new();
    // What stands from `to` on was looked at, and a line ends before it, or nothing does.
    let (mut to, mut window) = (length, 4096);
    while to > 0 && length - to <= LOOK_BACK {
        let from = to.saturating_sub(window);
        buffer.resize((to - from) as usize, 0);
        file.read_exact_at(&mut buffer, from)?;
        // The first line of the window may lack its beginning.
        let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |lf| lf + 1);
        let mut end = whole;
        while end > 0 {
            let begin = memchr::memrchr(b'\n', &buffer[..end - 1]).map_or(0, |lf| lf + 1);
            if (begin > 0 || from == 0)
                && let Some(seq) = peek_seq(&buffer[begin..end - 1])
            {
                return Ok(Some(seq));
            }
            end = begin;
        }
        match memchr::memchr(b'\n', &buffer).map(|lf| from + lf as u64 + 1) {
            // That line begins further ahead.
            Some(next) if next < to => to = next,
            Some(_) if window <= MAX_LINE_BYTES as u64 + 1 => {}
            // No end of a line, or of one that is longer than any record.
            _ => to = from,
        }
        window = (window * 4).min(WINDOW);
    }
    Ok(None)
}

/// Where the first line with at least that seq begins, in a plain file whose
/// lines are in order; found by halving.
pub(in crate::audit::read) fn offset_of(
    file: &dyn FsFile,
    length: u64,
    seq: u64,
) -> io::Result<u64> {
    // Lines that begin before `low` are too early, those from `high` on are not.
    let (mut low, mut high) = (0, length);
    while high - low > 4096 {
        let middle = low + (high - low) / 2;
        match line_at(file, middle, high)? {
            Some((begin, found)) if found < seq => low = begin + 1,
            _ => high = middle,
        }
    }
    let mut at = low;
    while at < length {
        match line_at(file, at, length)? {
            Some((begin, found)) if found < seq => at = begin + 1,
            Some((begin, _)) => return Ok(begin),
            None => return Ok(length),
        }
    }
    Ok(length)
}

/// The first line with a seq that begins in `from..to`, and its seq.
fn line_at(file: &dyn FsFile, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    let mut buffer = vec![0; 4096];
    // Whether the byte before is a line's end is seen only with it.
    let mut at = from.saturating_sub(1);
    let mut begins = from == 0;
    while at < to {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(None);
        }
        let mut rest = &buffer[..read];
        loop {
            if begins {
                let begin = at + (read - rest.len()) as u64;
                if begin >= to {
                    return Ok(None);
                }
                let mut start = [0; 64];
                let filled = file.read_at(&mut start, begin)?;
                if let Some(seq) = peek_seq(&start[..filled]) {
                    return Ok(Some((begin, seq)));
                }
            }
            match memchr::memchr(b'\n', rest) {
                Some(lf) => rest = &rest[lf + 1..],
                None => break,
            }
            begins = true;
        }
        begins = false;
        at += read as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::{Fs, OpenMode, OsFs};

    #[test]
    fn the_last_record_is_found_before_whatever_stands_behind_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("lines");
        let record = |seq: u64, long: usize| {
            format!("{{\"seq\":{seq},\"timestamp\":\"{}\"}}\n", "x".repeat(long)).into_bytes()
        };
        let two = |long| [record(7, 10), record(8, long)].concat();
        for (what, text, last) in [
            ("nothing", Vec::new(), None),
            ("two", two(10), Some(8)),
            ("a long one", two(900_000), Some(8)),
            ("zeros", [two(10), vec![0; 70 << 20]].concat(), Some(8)),
            ("zeros behind a long one", [two(900_000), vec![0; 9 << 20]].concat(), Some(8)),
            ("half a line", [two(10), b"{\"seq\":9,".to_vec()].concat(), Some(8)),
            ("blank lines", [two(10), vec![b'\n'; 9 << 20]].concat(), Some(8)),
            (
                "a line that is no record",
                [two(10), vec![b'x'; 9 << 20], vec![b'\n']].concat(),
                Some(8),
            ),
            ("only zeros", vec![0; 9 << 20], None),
        ] {
            std::fs::write(&path, &text).expect("written");
            let file = OsFs.open(&path, OpenMode::ReadOwn).expect("open");
            assert_eq!(last_seq(&*file, text.len() as u64).expect("read"), last, "{what}");
        }
    }

    #[test]
    fn a_record_is_found_in_a_plain_file_wherever_it_is_and_whatever_is_between() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("lines");
        let mut text = Vec::new();
        let mut begins = Vec::new();
        for seq in 100..1_400_u64 {
            begins.push((seq, text.len() as u64));
            let filler = "x".repeat((seq * 7919 % 9_000) as usize);
            text.extend_from_slice(format!("{{\"seq\":{seq},\"x\":\"{filler}\"}}\n").as_bytes());
            if seq % 100 == 0 {
                text.extend_from_slice(b"no record\n\n");
            }
        }
        let length = text.len() as u64;
        text.extend_from_slice(b"{\"seq\":1400,\"x\":\"torn");
        std::fs::write(&path, &text).expect("write");
        let file = OsFs.open(&path, OpenMode::Read).expect("open");
        for (seq, begin) in &begins {
            assert_eq!(offset_of(&*file, length, *seq).expect("read"), *begin, "{seq}");
        }
        assert_eq!(offset_of(&*file, length, 5).expect("read"), 0);
        assert_eq!(offset_of(&*file, length, 1_400).expect("read"), length);
        assert_eq!(first_seq(&*file).expect("read"), Some(100));
        assert_eq!(last_seq(&*file, text.len() as u64).expect("read"), Some(1_399));
    }

    #[test]
    fn the_last_record_is_the_last_line_wherever_the_window_at_the_end_begins() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("lines");
        // What a record holds may look like one.
        let inner = format!("{{\"seq\":7,\"x\":\"{}\"}}", "y".repeat(40));
        for long in 3_900..4_200 {
            let mut text = format!("{{\"seq\":41,\"details\":{inner}}}\n").repeat(3);
            let filler = "x".repeat(long - 100);
            text.push_str(&format!("{{\"seq\":42,\"details\":{inner},\"x\":\"{filler}\"}}\n"));
            std::fs::write(&path, &text).expect("write");
            let file = OsFs.open(&path, OpenMode::Read).expect("open");
            assert_eq!(last_seq(&*file, text.len() as u64).expect("read"), Some(42), "{long}");
            text.push_str("{\"seq\":43,\"x\":0}\n");
            std::fs::write(&path, &text).expect("write");
            let file = OsFs.open(&path, OpenMode::Read).expect("open");
            assert_eq!(last_seq(&*file, text.len() as u64).expect("read"), Some(43), "{long}");
        }
    }
}
