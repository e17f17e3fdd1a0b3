//! Who wins: the assignments of all layers become settings.

use super::error::ConfigError;
use super::keys::{self, Key};
use super::origin::Origin;
use super::profile::Profile;
use super::settings::Settings;
use super::value::Raw;

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
    let mut changed = settings.clone();
    match key.assign(&mut changed, raw) {
        Ok(()) => {
            *settings = changed;
            settings.origins.set(key.name, origin.clone());
        }
        Err(reason) => problems.push(ConfigError::Invalid {
            origin: origin.clone(),
            key: key.name,
            found: raw.shown(),
            expected: key.expectation(),
            reason,
        }),
    }
}
