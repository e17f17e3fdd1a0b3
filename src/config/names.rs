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
