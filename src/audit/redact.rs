//! Redaction: values that must not be kept are replaced by their HMAC before an
//! event is queued, so that equal values can still be matched, and one that is
//! known can be looked up, by who has the key.
//!
//! `"password":"hunter2"` becomes `"password":"hmac-sha256:<64 hex digits>"`: the
//! HMAC-SHA256, under the log's [`RedactKey`], of the string's UTF-8 bytes (its
//! escapes resolved), of a number's or boolean's JSON text as it was sent. `null`
//! stays. Of an object or array every value inside is replaced, so that its shape
//! stays; keys are never replaced.

mod key;
mod question;
mod rules;
mod scan;

use std::path::Path;

use super::event::{Event, EventError, EventLimits};
use crate::field_path::{FieldPath, MAX_FIELD_PATHS};
use crate::fsio::Fs;
pub use key::{REDACTED_PREFIX, RedactKey, RedactKeyError};
use rules::Rules;

/// Which values are replaced, and under which key.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: Rules,
    key: RedactKey,
}

impl Redactor {
    /// For these paths, with the key at `path`, which is made when there is none;
    /// the new key's id then. `None` without paths.
    ///
    /// # Errors
    /// See [`RedactKeyError`].
    pub(crate) fn open(
        fs: &dyn Fs,
        path: &Path,
        paths: &[FieldPath],
    ) -> Result<Option<(Self, Option<String>)>, RedactKeyError> {
        if paths.is_empty() {
            return Ok(None);
        }
        if paths.len() > MAX_FIELD_PATHS {
            return Err(RedactKeyError::TooManyPaths { count: paths.len() });
        }
        let rules = Rules::new(paths);
        Ok(Some(match RedactKey::load(fs, path)? {
            Some(key) => (Self { rules, key }, None),
            None => {
                let key = RedactKey::create(fs, path)?;
                let id = key.id();
                (Self { rules, key }, Some(id))
            }
        }))
    }

    /// The key, for whoever looks after its file.
    pub(crate) fn key(&self) -> &RedactKey {
        &self.key
    }

    /// Replaces what the rules name.
    ///
    /// # Errors
    /// [`EventError::RedactedTooLarge`]; the names are redacted even then, so that
    /// the event can be spoken of.
    pub(crate) fn apply(&self, event: &mut Event, limits: &EventLimits) -> Result<(), EventError> {
        let texts = [&mut event.actor, &mut event.source, &mut event.target, &mut event.outcome];
        for (text, is_named) in texts.into_iter().zip(self.rules.texts) {
            // An empty one is refused as such.
            if let Some(text) = text.as_mut().filter(|text| is_named && !text.is_empty()) {
                *text = self.key.redacted(text.as_bytes());
            }
        }
        let Some(details) = &event.details else { return Ok(()) };
        let limit = limits.max_details_bytes;
        match scan::redact(details, &self.rules, &self.key, limit) {
            Ok(None) => {}
            Ok(Some(redacted)) => event.details = Some(redacted),
            Err(scan::TooLarge) => return Err(EventError::RedactedTooLarge { limit }),
        }
        Ok(())
    }
}
