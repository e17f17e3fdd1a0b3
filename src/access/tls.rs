//! The certificate that the collector shows, with its key: loaded, checked to fit
//! each other, and when it expires.

#[cfg(feature = "tls")]
mod with_rustls;
#[cfg(not(feature = "tls"))]
mod without;

use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::fsio::Fs;

#[cfg(feature = "tls")]
pub use with_rustls::Identity;
#[cfg(not(feature = "tls"))]
pub use without::Identity;

/// Where a certificate and its key are; both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and after it those that lead to a trusted one.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8, PKCS#1 or SEC1), not encrypted.
    pub key: PathBuf,
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// This program was built without TLS.
    #[error(
        "{path}: this auditctl was built without the feature `tls`, so it cannot use HTTPS",
        path = path.display()
    )]
    NotBuilt {
        /// The certificate that was asked for.
        path: PathBuf,
    },
    /// The certificates cannot be used.
    #[error("certificate {path}: {reason}", path = path.display())]
    Certificate {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key cannot be used.
    #[error("key {path}: {reason}", path = path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// Why; never says what is in it.
        reason: String,
    },
    /// They do not fit each other.
    #[error(
        "key {key} is not that of the first certificate in {certificate}",
        key = key.display(),
        certificate = certificate.display()
    )]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotBuilt { .. } => Some(
                "build it with the feature `tls` (a default), or remove collector.tls_cert and \
                 collector.tls_key",
            ),
            Self::Mismatch { .. } => Some(
                "put the server's own certificate first in the file, and then those that lead to \
                 the authority. `openssl x509 -noout -pubkey` and `openssl pkey -pubout` print \
                 the same key for a matching pair",
            ),
            Self::Certificate { .. } | Self::Key { .. } => None,
        }
    }

    /// The file concerned.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::NotBuilt { path } | Self::Certificate { path, .. } | Self::Key { path, .. } => {
                path
            }
            Self::Mismatch { key, .. } => key,
        }
    }
}

/// When the first certificate of the file expires, or one that it needs, whichever
/// is earlier.
///
/// # Errors
/// When there is no certificate that can be read.
pub fn expiry(fs: &dyn Fs, certificate: &Path) -> Result<Timestamp, TlsError> {
    Identity::expiry(fs, certificate)
}
