//! `audit.leaves`: the leaf hashes of the active segment's records, noted as it grows.
//!
//! The signed root says whether the active segment is what was recorded, and not which
//! record of it is not. These hashes do: one that together with the others gives the
//! signed root is the hash of what was recorded at its place. So single records can be
//! told, proven and given up. Alone they prove nothing, and nobody signs them: a file
//! that is lost, old or forged costs precision, never a record. It is not synced, and
//! begins anew with each segment.
//!
//! ```text
//! byte  0  "auditctl/leaves1"
//!      16  first seq, u64, little-endian
//!      24  8 zeros
//!      32  SHA-256 of the log's id
//!      64  32 bytes for each record, in order
//! ```

use std::io;

use sha2::{Digest, Sha256};

use crate::audit::paths::LogPaths;
use crate::audit::tree::merkle::Hash;
use crate::fsio::{Fs, FsFile, OpenMode, unshare};

const MAGIC: &[u8; 16] = b"auditctl/leaves1";
const HEADER: usize = 64;
const LEAF: usize = 32;
/// A file larger than this is not read: 8 million records.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// The open file. Whatever fails, the log goes on without it.
#[derive(Debug)]
pub(crate) struct LeavesFile {
    file: Option<Box<dyn FsFile>>,
    log_id: String,
    first_seq: u64,
    /// How many it holds.
    count: u64,
}

impl LeavesFile {
    /// Opens or makes it for a segment of which these leaves are known.
    pub(crate) fn open(
        fs: &dyn Fs,
        paths: &LogPaths,
        log_id: &str,
        (first_seq, leaves): (u64, &[Hash]),
    ) -> (Self, io::Result<()>) {
        let path = paths.leaves();
        let log_id = log_id.to_owned();
        let mut made = Self { file: None, log_id, first_seq, count: 0 };
        let attempt = || {
            unshare(fs, &path)?;
            fs.open(&path, OpenMode::Create)
        };
        // A link or a directory under the name is nobody's to follow or to keep.
        let opened = attempt().or_else(|_| {
            fs.remove(&path)?;
            attempt()
        });
        let known = load(fs, paths, &made.log_id, first_seq).is_some_and(|there| there == leaves);
        let written = opened.and_then(|file| {
            made.file = Some(file);
            if known {
                made.count = leaves.len() as u64;
                return Ok(());
            }
            made.restart(first_seq)?;
            made.append(first_seq, leaves)
        });
        if written.is_err() {
            made.file = None;
        }
        (made, written)
    }

    /// Begins anew, for the segment that begins with that record.
    pub(crate) fn restart(&mut self, first_seq: u64) -> io::Result<()> {
        (self.first_seq, self.count) = (first_seq, 0);
        let Some(file) = &self.file else { return Ok(()) };
        file.set_len(0)?;
        file.write_all_at(&header(&self.log_id, first_seq), 0)
    }

    /// Notes the leaves of the records from `seq` on; what does not fit behind the others,
    /// or is more than is read, is not noted.
    pub(crate) fn append(&mut self, seq: u64, leaves: &[Hash]) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let at = HEADER as u64 + self.count * LEAF as u64;
        let bytes = (leaves.len() * LEAF) as u64;
        if leaves.is_empty() || seq != self.first_seq + self.count || at + bytes > MAX_BYTES {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(leaves.len() * LEAF);
        leaves.iter().for_each(|leaf| bytes.extend_from_slice(leaf.as_bytes()));
        file.write_all_at(&bytes, at)?;
        self.count += leaves.len() as u64;
        Ok(())
    }

    /// After a failure: the log goes on without it until it is opened again.
    pub(crate) fn give_up(&mut self) {
        if let Some(file) = self.file.take() {
            let _ = file.set_len(0);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }
}

fn header(log_id: &str, first_seq: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(MAGIC);
    header[16..24].copy_from_slice(&first_seq.to_le_bytes());
    header[32..].copy_from_slice(&Sha256::digest(log_id));
    header
}

/// The leaves that were noted of the segment that begins with that record; `None` where
/// the file is missing, or is of another segment or log. A half-written last one counts
/// for nothing.
pub(crate) fn load(
    fs: &dyn Fs,
    paths: &LogPaths,
    log_id: &str,
    first_seq: u64,
) -> Option<Vec<Hash>> {
    let bytes = fs.read_own(&paths.leaves(), MAX_BYTES).ok()?;
    let leaves = bytes.strip_prefix(&header(log_id, first_seq))?;
    Some(leaves.as_chunks::<LEAF>().0.iter().map(|leaf| Hash::from_bytes(*leaf)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::merkle::leaf_hash;
    use crate::fsio::OsFs;

    fn leaves(range: std::ops::Range<u8>) -> Vec<Hash> {
        range.map(|n| leaf_hash(&[n])).collect()
    }

    #[test]
    fn what_was_noted_is_read_again_for_its_own_segment_and_no_other() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let paths = LogPaths::new(dir.path());
        let (mut file, made) = LeavesFile::open(&OsFs, &paths, "5f0c", (7, &leaves(0..3)));
        made.expect("made");
        file.append(10, &leaves(3..9)).expect("appended");
        // A gap would put all that follows in a wrong place.
        file.append(99, &leaves(9..10)).expect("passed over");
        let load = |id: &str, first| load(&OsFs, &paths, id, first);
        assert_eq!(load("5f0c", 7), Some(leaves(0..9)));
        assert_eq!((load("5f0c", 8), load("5f0d", 7)), (None, None));
        // Half a leaf, as a loss of power leaves it.
        let text = std::fs::read(paths.leaves()).expect("read");
        std::fs::write(paths.leaves(), &text[..text.len() - 5]).expect("written");
        assert_eq!(load("5f0c", 7), Some(leaves(0..8)));
        // Opening again makes it what the segment holds.
        let (_, made) = LeavesFile::open(&OsFs, &paths, "5f0c", (7, &leaves(0..4)));
        made.expect("made");
        assert_eq!(load("5f0c", 7), Some(leaves(0..4)));
    }

    #[test]
    fn what_stands_in_its_place_is_removed_and_never_written_through() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let paths = LogPaths::new(dir.path());
        let other = dir.path().join("other");
        std::fs::write(&other, "mine").expect("written");
        std::os::unix::fs::symlink(&other, paths.leaves()).expect("a link");
        let (_, made) = LeavesFile::open(&OsFs, &paths, "5f0c", (0, &leaves(0..1)));
        made.expect("made");
        assert_eq!(std::fs::read(&other).expect("read"), b"mine");
        assert_eq!(load(&OsFs, &paths, "5f0c", 0), Some(leaves(0..1)));
    }
}
