//! "Did you mean …?"

use std::collections::BTreeSet;

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
    let sections: BTreeSet<&str> = KEYS
        .iter()
        .filter_map(|key| key.name.split_once('.'))
        .map(|(section, _)| section)
        .collect();
    let known = KEYS.iter().map(|key| (key.name.to_owned(), key.name.to_owned()));
    nearest(&written, known.chain(sections.iter().map(|s| ((*s).to_owned(), format!("[{s}]")))))
}

/// The same for a key of a table that has its own.
pub(super) fn for_own_key(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let written = name.replace('-', "_").to_ascii_lowercase();
    nearest(&written, known.map(|name| (name.to_owned(), name.to_owned())))
}

/// The same for an environment variable.
pub(super) fn for_variable(name: &str) -> String {
    let special = super::SPECIAL_VARIABLES.map(str::to_owned);
    let known = KEYS.iter().map(super::Key::variable).chain(special);
    nearest(&name.to_ascii_uppercase(), known.map(|variable| (variable.clone(), variable)))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The nearest of (name, as it is shown).
fn nearest(written: &str, known: impl Iterator<Item = (String, String)>) -> String {
    known
        .map(|(name, shown)| (strsim::damerau_levenshtein(written, &name), name, shown))
        .min()
        // a third of the letters wrong is another word
        .filter(|(distance, name, _)| distance * 3 <= name.len())
        .map_or_else(
            || "docs/configuration.md lists all settings".to_owned(),
            |(_, _, shown)| format!("did you mean {shown}?"),
        )
}
