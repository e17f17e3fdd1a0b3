//! How a long operation tells how far it is, and learns that it shall end.

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The writer is about to sign what it has acknowledged.
    Wait,
    /// Sealed segments are copied, the rest is compressed.
    Pack,
    /// The archive goes to the disk.
    Sync,
    /// It is read back and checked.
    Verify,
    /// It is decrypted.
    Decrypt,
    /// It is put in its place.
    Commit,
    /// It is sent.
    Upload,
    /// What was sent is asked for.
    Confirm,
    /// It is fetched.
    Download,
    /// The log is compared with it.
    Compare,
}

impl Stage {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Pack => "pack",
            Self::Sync => "sync",
            Self::Verify => "verify",
            Self::Decrypt => "decrypt",
            Self::Commit => "commit",
            Self::Upload => "upload",
            Self::Confirm => "confirm",
            Self::Download => "download",
            Self::Compare => "compare",
        }
    }
}

/// Somebody who watches.
pub trait Watch: Sync {
    /// A stage begins, of so many bytes.
    fn stage(&self, stage: Stage, bytes: u64);
    /// So many bytes more are done.
    fn advance(&self, bytes: u64);
    /// Whether to stop: what was begun is taken back.
    fn interrupted(&self) -> bool;
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn stage(&self, _: Stage, _: u64) {}
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}
