//! The settings, without what may be secret.

use serde_json::{Map, Value, json};

use super::{Inputs, Made, clean};
use crate::config::{KEYS, Key, Kind, Settings};
use crate::store::Provider;

/// Variables that change how the program talks to others, beside those of the clouds' libraries.
const VARIABLES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_LOG",
    "TZ",
    "LANG",
];

pub(super) fn settings(inputs: &Inputs) -> Made {
    let mut entries = Map::new();
    for key in KEYS {
        let origin = inputs.settings.origin(key.name).to_string();
        let shown = shown(key, &inputs.settings);
        entries.insert(key.name.to_owned(), json!({ "value": shown, "from": origin }));
    }
    let mut variables: Vec<String> = inputs
        .env
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("AUDITCTL_") || is_known(name))
        .collect();
    variables.sort();
    super::json(&json!({
        "problems": inputs.settings_problems,
        "settings": entries,
        "variables_set": variables,
    }))
}

fn is_known(variable: &str) -> bool {
    let clouds = Provider::ALL.iter().flat_map(|provider| provider.variables());
    VARIABLES.iter().chain(clouds).any(|known| *known == variable)
}

/// Only kinds whose values cannot be a secret are shown; what is new is not.
fn shown(key: &Key, settings: &Settings) -> Value {
    let text = key.text(settings);
    if text.is_empty() {
        return Value::Null;
    }
    // What is built in is no secret.
    if text == key.text(&Settings::default()) {
        return Value::String(text);
    }
    match key.kind {
        Kind::Bool
        | Kind::Count
        | Kind::Size
        | Kind::Duration
        | Kind::Ids
        | Kind::Address
        | Kind::Choice(_) => Value::String(text),
        Kind::Path => Value::String(clean::text(&text)),
        // Without a rest of its own this would be forgotten for a kind to come.
        _ => Value::String("(set, not shown)".to_owned()),
    }
}
