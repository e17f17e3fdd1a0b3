//! Where a value comes from, and who wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::keys::{self, Key};
use super::profile::Profile;
use super::settings::Settings;
use super::value::Raw;

/// The layers; a later one overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
pub(super) struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    pub(super) fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
}

/// A known key and what some layer wants it to be.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) key: &'static Key,
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// Applies the assignments, lowest layer first, under them the profile they
/// choose. Each is checked, also those that a higher layer overrides.
pub(super) fn resolve(
    mut assignments: Vec<Assignment>,
    problems: &mut Vec<ConfigError>,
) -> Settings {
    assignments.sort_by_key(|assignment| assignment.origin.layer());
    let mut chosen = Settings::default();
    for assignment in assignments.iter().filter(|assignment| assignment.key.name == "profile") {
        // a wrong name is reported below, with all the others
        let _ = assignment.key.assign(&mut chosen, &assignment.raw);
    }
    let mut settings = Settings::default();
    for assignment in
        chosen.profile.map(profile_layer).unwrap_or_default().iter().chain(&assignments)
    {
        apply(&mut settings, assignment, problems);
    }
    settings
}

fn profile_layer(profile: Profile) -> Vec<Assignment> {
    let assignment = |(name, value): (&str, &str)| {
        let raw = Raw::Word(value.to_owned());
        keys::find(name).map(|key| Assignment { key, raw, origin: Origin::Profile(profile.name()) })
    };
    profile.values().into_iter().filter_map(assignment).collect()
}

fn apply(settings: &mut Settings, assignment: &Assignment, problems: &mut Vec<ConfigError>) {
    let Assignment { key, raw, origin } = assignment;
    match key.assign(settings, raw) {
        Ok(()) => {
            settings.origins.0.insert(key.name, origin.clone());
        }
        Err(reason) => problems.push(ConfigError::Invalid {
            origin: origin.clone(),
            key: key.name.to_owned(),
            found: raw.shown(),
            expected: key.expectation(),
            reason,
        }),
    }
}
