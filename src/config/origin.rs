//! Where a value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The layers; a later one overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Layer {
    /// Built in.
    Default,
    /// The profile's values.
    Profile,
    /// `auditctl.toml`.
    File,
    /// `AUDITCTL_…` variables.
    Environment,
    /// The command line.
    Flag,
}

/// Where a value comes from. Shown as `default`, `profile production`,
/// `auditctl.toml:12`, `AUDITCTL_WRITE_BUFFER_SIZE` or `--log-dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Origin {
    /// Built in.
    Default,
    /// The profile of that name.
    Profile(&'static str),
    /// A line of the file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// The variable of that name.
    Env(String),
    /// The flag, with its dashes.
    Flag(String),
}

impl Origin {
    /// The layer it belongs to.
    #[must_use]
    pub fn layer(&self) -> Layer {
        match self {
            Self::Default => Layer::Default,
            Self::Profile(_) => Layer::Profile,
            Self::File { .. } => Layer::File,
            Self::Env(_) => Layer::Environment,
            Self::Flag(_) => Layer::Flag,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The origin of each key that is not at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    pub(super) fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }

    pub(super) fn set(&mut self, key: &'static str, origin: Origin) {
        self.0.insert(key, origin);
    }
}
