//! The log's records at one moment, beside a running writer.
//!
//! What is durable is asked first, so that the files that are looked at
//! afterwards hold all of it. A writer that seals in between makes them seem not
//! to follow each other; then it is looked again.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::QueryError;
use super::answer::History;
use crate::audit::files::examine::leaves;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore;
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::load_keyring;
use crate::audit::keys::signed_document::Signature;
use crate::audit::paths::LogPaths;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::head::Head;
use crate::audit::record::peek_seq;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::{FileReader, FsFile, OpenMode, SharedFs};

/// A rotation takes the writer a moment; looking again so often outlasts it.
const LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MAX_CHECKPOINT_BYTES: u64 = MAX_NOTE_BYTES as u64;

/// Who knows what is sealed and what is durable.
pub(crate) trait Ledger: Send + Sync + fmt::Debug {
    /// Records below this are durable; `None`: nobody writes, all that is there counts.
    fn durable(&self) -> Option<u64>;
    /// So many records of that history somebody signed, where nobody writes: those that are
    /// not here are missing.
    fn signed(&self, _: &History) -> u64 {
        0
    }
    /// Something that changes when anybody has written: asked where nobody writes.
    fn stamp(&self) -> Vec<u8> {
        Vec::new()
    }
    /// What is sealed now.
    fn manifest(&self) -> Result<Listed, QueryError>;
    /// Whether the log's key signed that manifest.
    fn is_signed(&self, listed: &Listed) -> bool;
}

/// What is sealed.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) manifest: Arc<Manifest>,
    /// Of the file that it was read from; `None` for the writer's own.
    pub(crate) signature: Option<Signature>,
}

/// The files themselves: for another process than the writer's.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) fs: SharedFs,
    pub(super) paths: LogPaths,
}

impl Files {
    /// The newest checkpoint, whatever it holds.
    fn note(&self) -> Vec<u8> {
        self.fs.read_own(&self.paths.checkpoint(), MAX_CHECKPOINT_BYTES).unwrap_or_default()
    }
}

impl Ledger for Files {
    fn durable(&self) -> Option<u64> {
        if !self.paths.writer_runs().unwrap_or(false) {
            return None;
        }
        // While the page is being made it says 0; what is signed is durable as well.
        let page = StatusSnapshot::read(&self.paths.status());
        let page = page.map_or(0, |page| page.get(Word::DurableSeq));
        let note = SignedCheckpoint::parse(&self.note()).ok();
        Some(page.max(note.map_or(0, |note| note.unverified().size)))
    }

    /// A hint: a false head costs an alarm, and no record.
    fn signed(&self, history: &History) -> u64 {
        let head = self.fs.read_own(&self.paths.head(), MAX_CHECKPOINT_BYTES).unwrap_or_default();
        let size = |note: &[u8]| {
            let note = SignedCheckpoint::parse(note).ok()?;
            let origin: Origin = note.unverified().origin.parse().ok()?;
            let is_own = origin.log_id() == history.log_id && origin.epoch() == history.epoch;
            is_own.then_some(note.unverified().size)
        };
        [self.note(), head].iter().filter_map(|note| size(note)).max().unwrap_or(0)
    }

    fn stamp(&self) -> Vec<u8> {
        let mut stamp = self.note();
        stamp.push(self.paths.writer_runs().unwrap_or(false).into());
        stamp
    }

    fn manifest(&self) -> Result<Listed, QueryError> {
        let path = self.paths.manifest();
        match Manifest::load_signed(&*self.fs, &path)? {
            Some((manifest, signature)) => {
                Ok(Listed { manifest: Arc::new(manifest), signature: Some(signature) })
            }
            None => Err(QueryError::NoLog { dir: self.paths.dir.clone() }),
        }
    }

    fn is_signed(&self, listed: &Listed) -> bool {
        let Some(signature) = &listed.signature else { return false };
        let keys = load_keyring(&*self.fs, &self.paths, None);
        keys.is_ok_and(|keys| listed.manifest.check_signature(signature, &keys).is_ok())
    }
}

/// A plain file that the manifest does not list.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: Arc<dyn FsFile>,
    pub(super) name: String,
    pub(super) first_seq: u64,
    /// One after its last whole record.
    pub(super) end_seq: u64,
    /// Its length when it was looked at.
    pub(super) length: u64,
}

/// A sealed segment, held open.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: Box<dyn FsFile>,
    /// As it is now: the same records, perhaps compressed since.
    pub(super) segment: Segment,
    /// All of its lines, where its blocks are not where they were noted.
    repacked: OnceLock<Vec<u8>>,
}

impl OpenSegment {
    /// A block's lines from a file that somebody packed anew: unpacked as a whole,
    /// and only taken if they are the lines that were recorded.
    pub(super) fn repacked_lines(&self, block: &Block, lines: &mut Vec<u8>) -> bool {
        if !self.segment.is_compressed() {
            return false;
        }
        let all = self.repacked.get_or_init(|| {
            let reader = FileReader { file: &*self.file, offset: 0 };
            let mut raw = Vec::new();
            let limit = self.segment.raw_bytes + 1;
            let read = MultiGzDecoder::new(reader).take(limit).read_to_end(&mut raw);
            if read.is_ok() { raw } else { Vec::new() }
        });
        let before = self.segment.blocks.iter().take_while(|b| b.first_seq < block.first_seq);
        let from: u64 = before.map(|block| block.raw_bytes).sum();
        let Some(raw) = all.get(from as usize..(from + block.raw_bytes) as usize) else {
            return false;
        };
        let mut tree = Range::empty(block.first_seq);
        leaves(raw).for_each(|leaf| tree.append(leaf));
        if tree != block.tree {
            return false;
        }
        lines.clear();
        lines.extend_from_slice(raw);
        true
    }
}

/// The log's records.
#[derive(Debug)]
pub(super) struct View {
    pub(super) fs: SharedFs,
    pub(super) paths: LogPaths,
    ledger: Arc<dyn Ledger>,
    pub(super) manifest: Arc<Manifest>,
    /// Whether what it says may leave records out.
    pub(super) manifest_is_signed: bool,
    pub(super) tails: Vec<Tail>,
    /// The first record that is there.
    pub(super) begin: u64,
    /// One after the last that is shown.
    pub(super) end: u64,
    /// One after the last that was signed, where that is known and nobody writes.
    pub(super) signed: u64,
}

impl View {
    /// # Errors
    /// No log, an interrupted restore, a file that cannot be read, or files that
    /// do not hold what is durable.
    pub(super) fn take(
        fs: &SharedFs,
        dir: &Path,
        ledger: &Arc<dyn Ledger>,
    ) -> Result<Self, QueryError> {
        let paths = LogPaths::new(dir);
        for look in 1.. {
            if restore::is_pending(&**fs, &paths) {
                return Err(QueryError::RestorePending { dir: dir.to_path_buf() });
            }
            let stamp = ledger.stamp();
            let durable = ledger.durable();
            let listed = ledger.manifest()?;
            let manifest = &listed.manifest;
            // Before the files, which so hold all of it.
            let signed = match durable {
                None => ledger.signed(&history_of(manifest)),
                Some(_) => 0,
            };
            let tails = tails(fs, &paths, manifest.end_seq())?;
            let reached = tails.last().map_or(manifest.end_seq(), |tail| tail.end_seq);
            let short = reached < durable.unwrap_or(0);
            if (short || durable.is_none() && ledger.stamp() != stamp) && look < LOOKS {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            let end = durable.unwrap_or(u64::MAX).min(reached);
            return match durable {
                Some(durable) if short => {
                    Err(QueryError::Short { dir: dir.to_path_buf(), durable, found: reached })
                }
                _ => Ok(Self {
                    fs: fs.clone(),
                    ledger: Arc::clone(ledger),
                    begin: manifest.pruned.end(),
                    manifest_is_signed: ledger.is_signed(&listed),
                    paths,
                    manifest: Arc::clone(manifest),
                    tails,
                    end,
                    signed,
                }),
            };
        }
        Err(QueryError::NoLog { dir: dir.to_path_buf() })
    }

    /// Whose records they are.
    pub(super) fn history(&self) -> History {
        history_of(&self.manifest)
    }

    /// The time of the oldest record that is there.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.manifest.oldest().or_else(|| {
            let mut start = [0; 128];
            let read = self.tails.first()?.file.read_at(&mut start, 0).ok()?;
            Head::time_at_start(&start[..read])
        })
    }

    /// A segment's file, wherever it is by now; `None` when retention has removed it.
    pub(super) fn open(&self, segment: &Segment) -> Result<Option<OpenSegment>, QueryError> {
        let mut segment = segment.clone();
        for _ in 0..LOOKS {
            let path = self.paths.dir.join(&segment.file);
            let missing = match self.fs.open(&path, OpenMode::ReadOwn) {
                Ok(file) => {
                    return Ok(Some(OpenSegment { file, segment, repacked: OnceLock::new() }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => error,
                Err(source) => return Err(QueryError::io("open", &path, source)),
            };
            let now = self.ledger.manifest()?.manifest;
            if now.pruned.end() > segment.first_seq {
                return Ok(None);
            }
            match now.segments.iter().find(|now| now.first_seq == segment.first_seq) {
                Some(now) if now.file != segment.file => segment = now.clone(),
                _ => return Err(QueryError::io("open", &path, missing)),
            }
        }
        Ok(None)
    }
}

fn history_of(manifest: &Manifest) -> History {
    History { log_id: manifest.log_id.clone(), epoch: manifest.epoch }
}

/// The plain files after what the manifest lists, as far as they follow each other.
fn tails(fs: &SharedFs, paths: &LogPaths, sealed_end: u64) -> Result<Vec<Tail>, QueryError> {
    let mut tails = Vec::new();
    let mut next = sealed_end;
    loop {
        let sealed = paths.sealed(next);
        let (path, file) = match open(fs, &sealed)? {
            Some(file) => (sealed, Some(file)),
            None => (paths.active(), open(fs, &paths.active())?),
        };
        let Some(file) = file else { return Ok(tails) };
        let length = file.meta().map_err(|source| QueryError::io("look at", &path, source))?.len;
        let failed = |source| QueryError::io("read", &path, source);
        if first_seq(&*file).map_err(failed)? != Some(next) {
            // Empty, damaged from its first line on, or sealed meanwhile.
            return Ok(tails);
        }
        let last = last_seq(&*file, length).map_err(failed)?;
        let end_seq = last.map_or(next, |last| last + 1).max(next);
        let is_active = path == paths.active();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        tails.push(Tail { file: file.into(), name, first_seq: next, end_seq, length });
        if is_active || end_seq == next {
            return Ok(tails);
        }
        next = end_seq;
    }
}

fn open(fs: &SharedFs, path: &Path) -> Result<Option<Box<dyn FsFile>>, QueryError> {
    match fs.open(path, OpenMode::ReadOwn) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A directory or a FIFO in its place holds no records.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(source) => Err(QueryError::io("open", path, source)),
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
pub(super) fn offset_of(file: &dyn FsFile, length: u64, seq: u64) -> io::Result<u64> {
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
    use crate::fsio::{Fs, OsFs};

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
