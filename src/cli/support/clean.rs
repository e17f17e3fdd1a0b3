//! What keeps secrets out: texts are cleaned on the way in, and what was collected is
//! compared with the secrets that can be known here.

use std::ffi::OsString;

use serde_json::Value;

use super::Inputs;
use crate::config::{KEYS, Kind};

/// A secret file is not read further.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Shorter ones would be found anywhere.
const MIN_SECRET: usize = 8;
/// Parts of names of variables and settings whose values are secret.
const SECRET_NAMES: &[&str] =
    &["secret", "token", "password", "passwd", "credential", "key", "webhook", "connection_string"];

/// The text without URLs (but for their scheme) and without the values of words like
/// `password=…`.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || "\"'`<>(),;".contains(c)) {
        let end = piece.trim_end_matches(|c: char| c.is_whitespace() || "\"'`<>(),;".contains(c));
        let rest = &piece[end.len()..];
        match (end.split_once("://"), end.split_once('=')) {
            (Some((scheme, _)), _) => out.push_str(&format!("{scheme}://(not shown)")),
            (None, Some((name, value))) if is_secret(name) && !value.is_empty() => {
                out.push_str(&format!("{name}=(not shown)"));
            }
            _ => out.push_str(end),
        }
        out.push_str(rest);
    }
    out
}

/// Every text in the document, cleaned; `hidden` ones are left out of them.
pub(super) fn document(value: &mut Value, hidden: &[String]) {
    match value {
        Value::String(string) => {
            let mut cleaned = string.clone();
            for name in hidden.iter().filter(|name| !name.is_empty()) {
                cleaned = cleaned.replace(name.as_str(), "(a source)");
            }
            *string = text(&cleaned);
        }
        Value::Array(values) => values.iter_mut().for_each(|value| document(value, hidden)),
        Value::Object(map) => map.values_mut().for_each(|value| document(value, hidden)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// The secrets that can be known here: the values of variables that are named like
/// one, the content of the files that settings name as key, token or secret, and where
/// alerts go.
#[derive(Clone, Default)]
pub(in crate::cli) struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Of the environment and the files.
    pub(in crate::cli) fn known(inputs: &Inputs) -> Self {
        let mut found = Vec::new();
        for (name, value) in &inputs.env {
            if is_secret(&name.to_string_lossy()) && !is_path(value) {
                found.push(value.to_string_lossy().into_owned());
            }
        }
        let log = crate::audit::LogPaths::new(&inputs.settings.log_dir);
        let mut files = vec![log.key(), inputs.settings.redact_key_file()];
        let push = &inputs.settings.collector.checkpoint_push_url;
        found.extend(push.iter().map(|url| url.0.clone()));
        for alert in &inputs.settings.alerts {
            found.extend(alert.url.iter().map(|url| url.0.clone()));
            let named = [&alert.url_file, &alert.secret_file, &alert.smtp_password_file];
            files.extend(named.into_iter().flatten().cloned());
        }
        for key in KEYS.iter().filter(|key| key.kind == Kind::Path && is_secret(key.name)) {
            files.push(key.text(&inputs.settings).into());
        }
        for path in files {
            let bytes = inputs.fs.read(&path, MAX_SECRET_BYTES).unwrap_or_default();
            let content = String::from_utf8_lossy(&bytes);
            found.extend(content.split_whitespace().map(str::to_owned));
        }
        found.retain(|secret| secret.len() >= MIN_SECRET);
        found.sort_unstable();
        found.dedup();
        Self(found)
    }

    /// The text, unless it holds one of them.
    ///
    /// # Errors
    /// That it does, without saying which.
    pub(super) fn withhold(&self, text: String) -> Result<String, String> {
        if self.0.iter().any(|secret| text.contains(secret.as_str())) {
            return Err("withheld: it held something that is a secret here".to_owned());
        }
        Ok(text)
    }
}

/// Variables that name a file are no secret themselves.
fn is_path(value: &OsString) -> bool {
    value.to_string_lossy().starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::{Secrets, document, text};

    #[test]
    fn urls_and_named_secrets_go_and_paths_stay() {
        let said = "POST (https://hooks.example/T0/abc?x=1) failed; see /var/log/a, token=abc123 b";
        let expected = "POST (https://(not shown)) failed; see /var/log/a, token=(not shown) b";
        assert_eq!(text(said), expected);
        assert_eq!(text("s3://bucket/audit"), "s3://(not shown)");
        assert_eq!(text("1.2 GiB of 2 GiB"), "1.2 GiB of 2 GiB");
    }

    #[test]
    fn a_hidden_name_is_left_out_of_every_text() {
        let mut value = serde_json::json!({ "a": ["most of billing"], "n": 1 });
        document(&mut value, &["billing".to_owned()]);
        assert_eq!(value, serde_json::json!({ "a": ["most of (a source)"], "n": 1 }));
    }

    #[test]
    fn a_text_that_holds_a_known_secret_is_withheld() {
        let secrets = Secrets(vec!["hunter2hunter2".to_owned()]);
        assert!(secrets.withhold("x hunter2hunter2 y".to_owned()).is_err());
        assert_eq!(secrets.withhold("well".to_owned()), Ok("well".to_owned()));
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
