//! The logs that a witness cosigns for: a file of verifier keys, one a line.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::audit::keys::checkpoint::VerifierKey;
use crate::fsio::Fs;

/// No file is larger.
const MAX_BYTES: u64 = 4 << 20;
/// The most logs. All that is known of them fits into one record.
pub(crate) const MAX_LOGS: usize = 1_000;
/// No origin is longer, in bytes.
pub(crate) const MAX_ORIGIN_BYTES: usize = 512;

/// The keys of each log, by its origin.
#[derive(Clone, Debug, Default)]
pub struct Accepted(BTreeMap<String, Vec<VerifierKey>>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum AcceptError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Accepted {
    /// Reads the file: verifier keys, as `audit.pub` has them. Empty lines and lines that
    /// begin with `#` are passed over. The name of a key is the origin of its log.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Self, AcceptError> {
        let text = fs
            .read(path, MAX_BYTES)
            .map_err(|source| AcceptError::Io { path: path.to_owned(), source })?;
        let wrong =
            |line, reason: String| AcceptError::Line { path: path.to_owned(), line, reason };
        let text =
            std::str::from_utf8(&text).map_err(|_| wrong(1, "it is not UTF-8".to_owned()))?;
        let mut logs = BTreeMap::<String, Vec<VerifierKey>>::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key: VerifierKey =
                line.parse().map_err(|error| wrong(number, format!("{error}")))?;
            if key.name().len() > MAX_ORIGIN_BYTES {
                return Err(wrong(
                    number,
                    format!("its name has more than {MAX_ORIGIN_BYTES} bytes"),
                ));
            }
            logs.entry(key.name().to_owned()).or_default().push(key);
            if logs.len() > MAX_LOGS {
                return Err(wrong(number, format!("more than {MAX_LOGS} logs")));
            }
        }
        Ok(Self(logs))
    }

    /// The keys of the log with this origin.
    #[must_use]
    pub fn keys(&self, origin: &str) -> Option<&[VerifierKey]> {
        self.0.get(origin).map(Vec::as_slice)
    }

    /// How many logs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::keys::cosignature::CosigningKey;
    use crate::audit::keys::signer::SigningKey;
    use crate::fsio::OsFs;

    fn load(text: &str) -> Result<Accepted, AcceptError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logs");
        std::fs::write(&path, text).expect("written");
        Accepted::load(&OsFs, &path)
    }

    #[test]
    fn several_keys_of_a_log_and_several_logs_are_read() {
        let key = |name: &str| SigningKey::generate(name).expect("a key").verifier().to_string();
        let text = format!("# ours\n\n{}\n  {}\n{}\n", key("a/1"), key("a/1"), key("b/2"));
        let accepted = load(&text).expect("read");
        assert_eq!(accepted.len(), 2);
        assert_eq!(accepted.keys("a/1").map(<[_]>::len), Some(2));
        assert!(accepted.keys("a").is_none() && accepted.keys("a/1/e1").is_none());
        assert!(load("").expect("read").is_empty());
    }

    #[test]
    fn what_is_no_log_s_key_is_refused_with_its_line() {
        let witness = CosigningKey::generate("w/1").expect("a key").verifier().to_string();
        for text in ["nonsense", &witness] {
            let error = load(&format!("\n{text}\n")).expect_err(text).to_string();
            assert!(error.contains(":2: "), "{error}");
        }
    }
}
