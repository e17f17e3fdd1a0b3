//! Settings: from a file, and from a command line. Those that are accepted,
//! written out and read again, are the same.

use std::path::PathBuf;

use auditctl::config::{Settings, Sources, find, load};

/// The text as a file, and each `key=value` line of it as a flag.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = PathBuf::from("auditctl.toml");
    let file = Sources { file: Some((path, text.to_owned())), ..Sources::default() };
    if let Some(settings) = loaded(&file) {
        same(&settings);
    }
    let flags: Vec<(String, String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned(), "--set".to_owned()))
        .collect();
    if let Some(settings) = loaded(&Sources { flags: &flags, ..Sources::default() }) {
        same(&settings);
    }
}

fn loaded(sources: &Sources<'_>) -> Option<Settings> {
    match load(sources) {
        Ok(settings) => Some(settings),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "a refusal says why");
            assert!(problems.0.iter().all(|problem| !problem.to_string().is_empty()));
            None
        }
    }
}

/// Written as a file, and read again.
fn same(settings: &Settings) {
    let text: String = settings
        .entries()
        .filter(|(_, value, _)| !value.is_empty())
        .map(|(name, value, _)| {
            let quoted = find(name).is_some_and(|key| key.kind.quoted());
            format!("{name} = {}\n", if quoted { quote(&value) } else { value })
        })
        .collect();
    let file = Some((PathBuf::from("again.toml"), text));
    let again = load(&Sources { file: file.clone(), ..Sources::default() });
    let again = again.unwrap_or_else(|problems| panic!("{problems}: {file:?}"));
    let differ: Vec<&str> = again.changes_from(settings).iter().map(|key| key.name).collect();
    assert!(differ.is_empty(), "{differ:?} of {file:?}");
}

/// TOML's strings are JSON's, but for one more control character.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
