//! What this build is: version, commit, features, target.

/// As in `Cargo.toml`.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit and its day, as `build.rs` found them.
pub(crate) const COMMIT: Option<&str> = option_env!("BUILT_COMMIT");

/// The cargo features that somebody chooses, and whether they are in.
const FEATURES: [(&str, bool); 8] = [
    ("parquet", cfg!(feature = "parquet")),
    ("encryption", cfg!(feature = "encryption")),
    ("witness", cfg!(feature = "witness")),
    ("alerts", cfg!(feature = "alerts")),
    ("tls", cfg!(feature = "tls")),
    ("s3", cfg!(feature = "s3")),
    ("azure", cfg!(feature = "azure")),
    ("gcs", cfg!(feature = "gcs")),
];

/// The names of the features that are in this build.
pub(crate) fn features() -> Vec<&'static str> {
    FEATURES.iter().filter_map(|(name, is_in)| is_in.then_some(*name)).collect()
}

/// The features for people: `encryption, tls`, or `none`.
pub(crate) fn feature_list() -> String {
    let features = features();
    if features.is_empty() { "none".to_owned() } else { features.join(", ") }
}

/// Rust's name for what it runs on, such as `x86_64-unknown-linux-musl`.
pub(crate) const TARGET: &str = env!("BUILT_TARGET");

/// The answer to `--version`, after the program's name. The first line begins with the version alone, for
/// scripts.
pub(crate) fn long_version() -> String {
    let commit = match (COMMIT, cfg!(debug_assertions)) {
        (Some(commit), _) => format!(" ({commit})"),
        (None, true) => " (debug build)".to_owned(),
        (None, false) => String::new(),
    };
    format!("{VERSION}{commit}\nfeatures: {}\ntarget: {TARGET}", feature_list())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_are_all_that_cargo_toml_has_for_somebody_to_choose() {
        let manifest = include_str!("../Cargo.toml");
        let manifest: toml::Table = manifest.parse().expect("Cargo.toml");
        let chosen: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        let default: Vec<_> =
            manifest["features"]["default"].as_array().expect("a list").iter().collect();
        for name in &chosen {
            assert!(manifest["features"].get(name).is_some(), "{name}");
        }
        for name in default.iter().filter_map(|name| name.as_str()) {
            // Parts of the library, which the program cannot be without.
            if !["application", "collector"].contains(&name) {
                assert!(chosen.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn the_long_version_begins_with_the_version_and_has_three_lines() {
        let text = long_version();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0].split(' ').next(), Some(VERSION));
        assert_eq!(lines[1], format!("features: {}", feature_list()));
        assert!(lines[2] == format!("target: {TARGET}"), "{text}");
    }
}
