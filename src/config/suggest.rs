//! "Did you mean …?"

use std::collections::BTreeSet;

use super::keys::KEYS;
use super::names::nearest;

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

/// The same for an environment variable.
pub(super) fn for_variable(name: &str) -> String {
    let special = super::SPECIAL_VARIABLES.map(str::to_owned);
    let known = KEYS.iter().map(super::Key::variable).chain(special);
    nearest(&name.to_ascii_uppercase(), known.map(|variable| (variable.clone(), variable)))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
