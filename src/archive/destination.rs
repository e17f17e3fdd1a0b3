//! Where an archive is, as it is named in the settings and on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::{
    BackupStore, Destination, Environment, Limits, LocalStore, Provider, StoreError,
    StoreErrorKind, connect,
};

/// An archive's place: a cloud's bucket, or a part of it, or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePlace {
    /// In a cloud.
    Cloud(Provider, Destination),
    /// A directory.
    Directory(PathBuf),
}

impl ArchivePlace {
    /// Reads `s3://BUCKET/PREFIX`, another cloud's URL, or a directory.
    ///
    /// # Errors
    /// A scheme that nobody knows, or that this build cannot talk to; no bucket's name.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if let Some(provider) = Provider::of_url(text) {
            if !provider.is_built_in() {
                let message = format!("this build of auditctl cannot talk to {provider}");
                return Err(StoreError::new(StoreErrorKind::Usage, text, message)
                    .hint(format!("build it with the cargo feature \"{provider}\"")));
            }
            return Destination::parse(provider, text).map(|to| Self::Cloud(provider, to));
        }
        let shown: String = text.chars().take(128).flat_map(char::escape_debug).collect();
        let refuse = |why: String| {
            let hint =
                format!("write {}, or a directory's path", Provider::destinations("/PREFIX"));
            Err(StoreError::new(StoreErrorKind::Usage, shown.clone(), why).hint(hint))
        };
        if let Some((scheme, _)) = text.split_once("://") {
            let scheme = scheme.escape_debug();
            return refuse(format!("it begins with {scheme}://, and no kind of archive does"));
        }
        if text.trim().is_empty() {
            return refuse("it names no place".to_owned());
        }
        Ok(Self::Directory(PathBuf::from(text)))
    }

    /// The same from the settings, where a directory has to be named by its absolute path: who
    /// looks may be in another working directory than who ships.
    ///
    /// # Errors
    /// As [`Self::parse`]; a relative path.
    pub fn of_setting(text: &str) -> Result<Self, StoreError> {
        let place = Self::parse(text)?;
        match &place {
            Self::Directory(path) if path.is_relative() => {
                let shown: String = text.chars().take(128).flat_map(char::escape_debug).collect();
                Err(StoreError::new(StoreErrorKind::Usage, shown, "it is a relative path")
                    .hint("write the directory's absolute path"))
            }
            _ => Ok(place),
        }
    }

    /// For people.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Cloud(provider, destination) => destination.url(*provider, ""),
            Self::Directory(path) => path.display().to_string(),
        }
    }

    /// As a position names it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Cloud(..) => self.shown(),
            Self::Directory(path) => LocalStore::new(absolute(path)).url(""),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// No credentials, as far as that can be told without asking.
    pub fn connect(
        &self,
        limits: &Limits,
        environment: &Environment,
    ) -> Result<Arc<dyn BackupStore>, StoreError> {
        match self {
            Self::Cloud(provider, destination) => {
                connect(*provider, destination, limits, environment).map(Arc::from)
            }
            Self::Directory(path) => Ok(Arc::new(LocalStore::new(absolute(path)))),
        }
    }
}

/// Where shipping goes on is kept with the directory: it must not depend on where the command
/// is run.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_named_with_those_that_there_are() {
        for text in ["ftp://acme/x", "http://acme", "s4://acme", "file:///srv/x", ""] {
            let error = ArchivePlace::parse(text).expect_err(text);
            assert_eq!(error.kind, StoreErrorKind::Usage, "{text}");
            let hint = error.hint.expect("a hint");
            for known in ["s3://", "az://", "gs://", "directory"] {
                assert!(hint.contains(known), "{text}: {hint}");
            }
        }
        let ftp = ArchivePlace::parse("ftp://acme/x").expect_err("unknown").to_string();
        assert!(ftp.contains("ftp://"), "{ftp}");
    }

    #[test]
    fn a_directory_is_named_by_its_absolute_path_in_the_settings() {
        assert!(ArchivePlace::parse("some/where").is_ok());
        assert!(ArchivePlace::of_setting("some/where").is_err());
        let place = ArchivePlace::of_setting("/some/where").expect("a directory");
        assert_eq!(place.shown(), "/some/where");
    }
}
