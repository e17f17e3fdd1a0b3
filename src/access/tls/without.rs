//! Without the feature `tls`: everything that needs it says so.

use std::convert::Infallible;
use std::path::Path;

use super::{Pair, TlsError};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// A certificate and its key; here there is none.
#[derive(Clone, Debug)]
pub struct Identity(Infallible);

impl Identity {
    /// Refuses.
    ///
    /// # Errors
    /// Always: see [`TlsError::NotBuilt`].
    pub fn load(_: &dyn Fs, pair: &Pair) -> Result<Self, TlsError> {
        Err(TlsError::NotBuilt { path: pair.certificate.clone() })
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        match self.0 {}
    }

    /// Whom it is for.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match self.0 {}
    }

    /// From when on it is valid.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        match self.0 {}
    }

    pub(super) fn expiry(_: &dyn Fs, certificate: &Path) -> Result<Timestamp, TlsError> {
        Err(TlsError::NotBuilt { path: certificate.to_path_buf() })
    }
}
