//! "Did you mean …?"

use super::keys::KEYS;

/// What an unknown dotted key was probably meant to be, in words; empty when
/// nothing is near.
pub(super) fn for_key(name: &str) -> String {
    let written = name.replace('-', "_").to_ascii_lowercase();
    let own = last_part(&written);
    let elsewhere = KEYS.iter().find(|key| last_part(key.name) == own && key.name != written);
    if let Some(key) = elsewhere {
        return match key.name.split_once('.') {
            Some((section, own)) => format!("did you mean {own} in [{section}]?"),
            None => {
                format!("did you mean {own} at the top of the file, before the first [section]?")
            }
        };
    }
    nearest(&written, KEYS.iter().map(|key| key.name.to_owned()))
}

/// The same for an environment variable.
pub(super) fn for_variable(name: &str) -> String {
    let known = KEYS.iter().map(|key| key.variable());
    nearest(&name.to_ascii_uppercase(), known.chain(super::SPECIAL_VARIABLES.map(str::to_owned)))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn nearest(written: &str, known: impl Iterator<Item = String>) -> String {
    let distance = |candidate: &str| strsim::damerau_levenshtein(written, candidate);
    known
        .map(|candidate| (distance(&candidate), candidate))
        .min()
        // a third of the letters wrong is another word
        .filter(|(distance, candidate)| distance * 3 <= candidate.len())
        .map_or_else(
            || "docs/configuration.md lists all settings".to_owned(),
            |(_, candidate)| format!("did you mean {candidate}?"),
        )
}
