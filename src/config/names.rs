//! Names that come from a list.

/// What a name that must be one of a few was probably meant to be, in words; empty
/// when nothing is near.
#[must_use]
pub fn among(written: &str, names: &[&str]) -> String {
    let plain = written.replace('-', "_").to_ascii_lowercase();
    // The list may be written either way.
    let distance = |name: &str| {
        let name = name.replace('-', "_").to_ascii_lowercase();
        strsim::damerau_levenshtein(&plain, &name)
    };
    let near = names.iter().map(|name| (distance(name), *name)).min();
    near.filter(|(distance, name)| distance * 3 <= name.len())
        .map_or_else(String::new, |(_, name)| format!("did you mean {name:?}?"))
}

/// What an unknown key of a table that has its own was probably meant to be, in words.
pub(super) fn for_own_key(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let written = name.replace('-', "_").to_ascii_lowercase();
    nearest(&written, known.map(|name| (name.to_owned(), name.to_owned())))
}

/// The nearest of (name, as it is shown).
pub(super) fn nearest(written: &str, known: impl Iterator<Item = (String, String)>) -> String {
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
