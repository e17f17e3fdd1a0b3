//! Why a store could not do something, what to do about it, and whether trying
//! again can help.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::redact::redacted;
use crate::clock::Timestamp;

/// What kind of failure it is; decides the exit code and what a retry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// No such bucket, container or directory.
    NoBucket,
    /// No credentials were found, or they cannot be used.
    NoCredentials,
    /// The credentials do not allow it.
    AccessDenied,
    /// An object of that name is there, and holds something else.
    ExistsAndDiffers,
    /// What arrived, or what is stored, is not what was sent.
    ChecksumMismatch,
    /// It was sent, and the store does not say that it has it.
    Unconfirmed,
    /// The object may not be removed or replaced; until when, if the store says so.
    Locked(Option<Timestamp>),
    /// A lock was asked for, and the object has none, or a lesser one.
    LockNotApplied,
    /// No connection, or it broke.
    Unreachable,
    /// Nothing moved for too long.
    Timeout,
    /// It was to stop.
    Interrupted,
    /// This build, or this store, cannot do it.
    Unsupported,
    /// The local file could not be read, or is not what its checksums say.
    LocalFile,
    /// More was asked for than one may read.
    TooMuch,
    /// The destination is not written as one.
    Usage,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// What [`StoreErrorKind::name`] can say.
    pub const NAMES: &[&str] = &[
        "not_found",
        "no_bucket",
        "no_credentials",
        "access_denied",
        "exists_and_differs",
        "checksum_mismatch",
        "upload_unconfirmed",
        "locked_until",
        "lock_not_applied",
        "unreachable",
        "timeout",
        "interrupted",
        "unsupported",
        "local_file",
        "too_much",
        "usage",
        "store",
    ];

    /// A stable name for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoBucket => "no_bucket",
            Self::NoCredentials => "no_credentials",
            Self::AccessDenied => "access_denied",
            Self::ExistsAndDiffers => "exists_and_differs",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::Unconfirmed => "upload_unconfirmed",
            Self::Locked(_) => "locked_until",
            Self::LockNotApplied => "lock_not_applied",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Unsupported => "unsupported",
            Self::LocalFile => "local_file",
            Self::TooMuch => "too_much",
            Self::Usage => "usage",
            Self::Other => "store",
        }
    }
}

/// Why a store could not do something.
///
/// Neither its texts nor its causes hold a secret: causes are kept as text from
/// which the query strings of URLs, where signatures stand, have been cut.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {message}")]
pub struct StoreError {
    /// What kind of failure.
    pub kind: StoreErrorKind,
    /// About which object or bucket.
    pub url: String,
    /// What went wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// When, if the store said so.
    pub retry_after: Option<Duration>,
    /// Where it came from.
    #[source]
    source: Option<Cause>,
}

impl StoreError {
    /// A failure that trying again does not change.
    #[must_use]
    pub fn new(kind: StoreErrorKind, url: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            url: url.into(),
            message: message.into(),
            hint: None,
            retryable: false,
            retry_after: None,
            source: None,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that trying again may help.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Says when trying again may help.
    #[must_use]
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// Keeps what another error and its causes say.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        self.source = Cause::of(error);
        self
    }

    /// Keeps a text as the cause.
    #[must_use]
    pub fn because(mut self, text: &str) -> Self {
        self.source = Some(Cause { text: redacted(text), next: None });
        self
    }

    /// The failure inside an error of [`super::BackupStore::open`]'s reader.
    #[must_use]
    pub fn inside(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::Timeout => io::ErrorKind::TimedOut,
            StoreErrorKind::Unreachable => io::ErrorKind::ConnectionAborted,
            StoreErrorKind::NotFound => io::ErrorKind::NotFound,
            StoreErrorKind::AccessDenied => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A link of the chain that led to a [`StoreError`]: only its text.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Box<Cause>>,
}

impl Cause {
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut texts: Vec<String> = Vec::new();
        let mut at: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = at {
            let text = redacted(&error.to_string());
            // Many wrappers repeat what they wrap.
            if !text.is_empty() && !texts.iter().any(|earlier| earlier.contains(&text)) {
                texts.push(text);
            }
            at = error.source();
        }
        let chain = texts.into_iter().rev();
        chain.fold(None, |next, text| Some(Self { text, next: next.map(Box::new) }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.next.as_deref().map(|next| next as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_are_kept_without_the_secrets_in_them() {
        let inner = io::Error::other("GET https://a.example/c/b?sv=1&sig=SECRET failed");
        let outer = io::Error::other(inner);
        let error = StoreError::new(StoreErrorKind::Other, "az://c/b", "no").caused_by(&outer);
        let all = format!("{error} {error:?} {:?}", error.source().map(ToString::to_string));
        assert!(!all.contains("SECRET"), "{all}");
        assert!(all.contains("https://a.example/c/b?"), "{all}");
    }
}
