//! The names in a log directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::fsio::lock::{self, WriterLock};

/// The active segment's name.
pub(in crate::audit) const ACTIVE: &str = "audit.log";

/// The names in a log directory (docs/format.md).
#[derive(Clone, Debug)]
pub struct LogPaths {
    /// The directory.
    pub dir: PathBuf,
}

impl LogPaths {
    /// Of a log directory.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// The active segment.
    #[must_use]
    pub fn active(&self) -> PathBuf {
        self.dir.join(ACTIVE)
    }

    /// A sealed segment, waiting to be compressed.
    #[must_use]
    pub fn sealed(&self, first_seq: u64) -> PathBuf {
        self.dir.join(sealed_name(first_seq, false))
    }

    /// A sealed segment, compressed.
    #[must_use]
    pub fn compressed(&self, first_seq: u64) -> PathBuf {
        self.dir.join(sealed_name(first_seq, true))
    }

    /// Which names may occur in which block of a compressed segment.
    #[must_use]
    pub fn filters(&self, first_seq: u64) -> PathBuf {
        self.dir.join(format!("audit.{first_seq:020}.filter"))
    }

    /// What the records of a compressed segment have in the fields that questions name.
    #[must_use]
    pub fn columns(&self, first_seq: u64) -> PathBuf {
        self.dir.join(format!("audit.{first_seq:020}.columns"))
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.dir.join("audit.manifest.json")
    }

    /// The newest signed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("audit.checkpoint")
    }

    /// The newest signed head, over everything that was acknowledged: written
    /// without a sync for each durable batch.
    #[must_use]
    pub fn head(&self) -> PathBuf {
        self.dir.join("audit.head")
    }

    /// The leaf hashes of the active segment's records, noted as it grows (`audit.leaves`).
    #[must_use]
    pub fn leaves(&self) -> PathBuf {
        self.dir.join("audit.leaves")
    }

    /// The signing key, where it is not configured elsewhere.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("audit.key")
    }

    /// The key of what is redacted, where it is not configured elsewhere.
    #[must_use]
    pub fn redact_key(&self) -> PathBuf {
        self.dir.join("audit.redact_key")
    }

    /// What the last `verify --since-last` had proven, where it is kept in the
    /// log's directory.
    #[must_use]
    pub fn verified(&self) -> PathBuf {
        self.dir.join("audit.verified.json")
    }

    /// What a command found wrong with the log, for `health`.
    #[must_use]
    pub fn findings(&self) -> PathBuf {
        self.dir.join("audit.findings.json")
    }

    /// The verifier key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("audit.pub")
    }

    /// How one key followed another, once one did.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("audit.keys")
    }

    /// The status page.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.dir.join("audit.status")
    }

    /// The writer's lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("audit.lock")
    }

    /// Takes what makes this process the log's writer, and the only one: the lock
    /// file's lock and the directory's. `None` when somebody else has one of them.
    ///
    /// # Errors
    /// When the directory or the lock file cannot be opened.
    pub fn lock_for_writing(&self) -> io::Result<Option<WriterLock>> {
        WriterLock::take(&self.dir, &self.lock())
    }

    /// Whether a writer has the log open, asked without getting in its way.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn writer_runs(&self) -> io::Result<bool> {
        lock::writer_runs(&self.dir, &self.lock())
    }

    /// The reserve that is given up on a full disk.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.dir.join("audit.reserve")
    }

    /// The security event log.
    #[must_use]
    pub fn security(&self) -> PathBuf {
        self.dir.join("security_events.log")
    }

    /// The journal of alerts: how far records were looked at, and what waits.
    #[must_use]
    pub fn alerts_journal(&self) -> PathBuf {
        self.dir.join("audit.alerts.journal")
    }

    /// How the delivery of alerts is, for those who look.
    #[must_use]
    pub fn alerts_status(&self) -> PathBuf {
        self.dir.join("audit.alerts.json")
    }

    /// The newest checkpoint that witnesses cosigned.
    #[must_use]
    pub fn cosigned(&self) -> PathBuf {
        self.dir.join("audit.cosigned")
    }

    /// How it goes with the witnesses, for those who look.
    #[must_use]
    pub fn witness_status(&self) -> PathBuf {
        self.dir.join("audit.witness.json")
    }

    /// The journal of a restore that is not complete: see [`restore`](crate::audit::files::restore).
    #[must_use]
    pub fn restore_journal(&self) -> PathBuf {
        self.dir.join("audit.restore.json")
    }

    /// Where a file is set aside: `audit.log.<why>-<stamp>`, with a number when
    /// that name is taken.
    #[must_use]
    pub fn aside(&self, why: &str, stamp: &str, taken: impl Fn(&Path) -> bool) -> PathBuf {
        self.aside_of("audit.log", why, stamp, taken)
    }

    /// The same for another file: `<file>.<why>-<stamp>`.
    #[must_use]
    pub fn aside_of(
        &self,
        file: &str,
        why: &str,
        stamp: &str,
        taken: impl Fn(&Path) -> bool,
    ) -> PathBuf {
        let first = self.dir.join(format!("{file}.{why}-{stamp}"));
        if !taken(&first) {
            return first;
        }
        (1_u32..)
            .map(|n| self.dir.join(format!("{file}.{why}-{stamp}.{n}")))
            .find(|path| !taken(path))
            .unwrap_or(first)
    }
}

/// `audit.<first seq, 20 digits>.log[.gz]`.
#[must_use]
pub fn sealed_name(first_seq: u64, compressed: bool) -> String {
    format!("audit.{first_seq:020}.log{}", if compressed { ".gz" } else { "" })
}

/// The first seq and whether it is compressed, when the name is a sealed segment's.
#[must_use]
pub fn parse_sealed_name(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix("audit.")?;
    let (digits, suffix) = rest.split_at_checked(20)?;
    let compressed = match suffix {
        ".log" => false,
        ".log.gz" => true,
        _ => return None,
    };
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    Some((digits.parse().ok()?, compressed))
}

/// The first seq of the segment whose block filters have that name.
#[must_use]
pub fn parse_filter_name(name: &str) -> Option<u64> {
    parse_beside(name, ".filter")
}

/// The first seq of the segment whose columns have that name.
#[must_use]
pub fn parse_columns_name(name: &str) -> Option<u64> {
    parse_beside(name, ".columns")
}

fn parse_beside(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit.")?.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// `audit.<first seq, 20 digits>.page.<16 hex digits>`: a page of the manifest, by the
/// first record of its first segment and the beginning of its SHA-256.
#[must_use]
pub fn page_name(first_seq: u64, sha256: &str) -> String {
    format!("audit.{first_seq:020}.page.{sha256:.16}")
}

/// Whether the name is that of a page of the manifest.
#[must_use]
pub fn is_page_name(name: &str) -> bool {
    let Some((digits, rest)) = name.strip_prefix("audit.").and_then(|n| n.split_at_checked(20))
    else {
        return false;
    };
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digits.bytes().all(|b| b.is_ascii_digit())
        && rest.strip_prefix(".page.").is_some_and(|hex| hex.len() == 16 && hex.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use crate::audit::paths::*;

    #[test]
    fn a_file_is_set_aside_under_a_name_that_nothing_has() {
        let paths = LogPaths::new(Path::new("/logs"));
        let aside = |taken: &[&str]| {
            let is_taken = |path: &Path| taken.iter().any(|name| path.ends_with(name));
            let path = paths.aside("torn", "20260204_210940", is_taken);
            path.file_name().expect("a name").to_string_lossy().into_owned()
        };
        let (first, second) =
            ("audit.log.torn-20260204_210940", "audit.log.torn-20260204_210940.1");
        assert_eq!(aside(&[]), first);
        assert_eq!(aside(&[first]), second);
        assert_eq!(aside(&[first, second]), "audit.log.torn-20260204_210940.2");
        assert_eq!(aside(&[second]), first);
    }

    #[test]
    fn sealed_names_read_back_and_nothing_else_is_taken_for_one() {
        for compressed in [false, true] {
            assert_eq!(parse_sealed_name(&sealed_name(42, compressed)), Some((42, compressed)));
        }
        for name in ["audit.log", "audit.42.log", "audit.0000000000000000004x.log", "audit.status"]
        {
            assert_eq!(parse_sealed_name(name), None, "{name}");
        }
    }
}
