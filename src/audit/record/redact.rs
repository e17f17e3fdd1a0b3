//! Redaction: values that must not be kept are replaced by their HMAC before an
//! event is queued, so that equal values can still be matched, and one that is
//! known can be looked up, by who has the key.
//!
//! `"password":"hunter2"` becomes `"password":"hmac-sha256:<64 hex digits>"`: the
//! HMAC-SHA256, under the log's [`RedactKey`], of the string's UTF-8 bytes (its
//! escapes resolved), of a number's or boolean's JSON text as it was sent. `null`
//! stays. Of an object or array every value inside is replaced, so that its shape
//! stays; keys are never replaced.

mod imported;
mod key;
mod rules;
mod scan;

use std::path::Path;

use super::event::{Event, EventError, EventLimits};
use crate::field_path::{FieldPath, MAX_FIELD_PATHS};
use crate::fsio::Fs;
pub use imported::{FORMAT as IMPORTED_FORMAT, MOVED as IMPORTED_MOVED, RENAMED as IMPORTED_NAMES};
pub use key::{REDACTED_PREFIX, RedactKey, RedactKeyError, is_redacted};
use rules::Rules;

/// Which values are replaced, and under which key.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: Rules,
    paths: Vec<FieldPath>,
    /// Where an imported line's values stand once more.
    copies: imported::Copies,
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
        Ok(Some(match RedactKey::load(fs, path)? {
            Some(key) => (Self::new(paths, key), None),
            None => {
                let key = RedactKey::create(fs, path)?;
                let id = key.id();
                (Self::new(paths, key), Some(id))
            }
        }))
    }

    /// What it redacts.
    pub(crate) fn paths(&self) -> &[FieldPath] {
        &self.paths
    }

    /// Of [`MAX_FIELD_PATHS`] at most.
    pub(in crate::audit) fn new(paths: &[FieldPath], key: RedactKey) -> Self {
        let rules = Rules::new(paths);
        let copies = imported::Copies::new(&rules);
        Self { rules, paths: paths.to_vec(), copies, key }
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
        let import = event.details.as_deref().and_then(imported::of);
        let texts = [&mut event.actor, &mut event.source, &mut event.target, &mut event.outcome];
        let by_old_name = if import.is_some() { self.copies.texts } else { [false; 4] };
        let mut any = false;
        for (at, text) in texts.into_iter().enumerate() {
            let is_named = self.rules.texts[at] || by_old_name[at];
            // An empty one is refused as such.
            if let Some(text) = text.as_mut().filter(|text| is_named && !text.is_empty()) {
                *text = self.key.redacted(text.as_bytes());
                any = true;
            }
        }
        // The same id has the same HMAC: it is recognised when it comes again.
        if let Some(id) = event.id.as_mut().filter(|id| self.rules.id && !id.is_empty()) {
            *id = self.key.redacted(id.as_bytes());
            any = true;
        }
        let Some(details) = &mut event.details else { return Ok(()) };
        let limit = limits.max_details_bytes;
        any |= self.pass(details, &self.rules, true, limit)?;
        if let Some(import) = import {
            any |= self.pass(details, &self.copies.values, false, limit)?;
            if any || !import.is_whole {
                self.pass(details, &self.copies.digests, false, limit)?;
            }
        }
        Ok(())
    }

    /// Whether anything was replaced.
    fn pass(
        &self,
        details: &mut String,
        rules: &Rules,
        hides_again: bool,
        limit: usize,
    ) -> Result<bool, EventError> {
        match scan::redact(details, rules, (&self.key, hides_again), limit) {
            Ok(None) => Ok(false),
            Ok(Some(redacted)) => {
                *details = redacted;
                Ok(true)
            }
            Err(scan::TooLarge) => Err(EventError::RedactedTooLarge { limit }),
        }
    }
}

/// What redaction of a question needs to know (`read::query::redacted`).
impl Redactor {
    /// Whether the text field at that place may hold what the rules name.
    pub(in crate::audit) fn names_text(&self, at: usize) -> bool {
        self.rules.texts[at] || self.copies.texts[at]
    }

    /// Whether the event's id is what the rules name.
    pub(in crate::audit) fn names_id(&self) -> bool {
        self.rules.id
    }

    /// Whether what stands at a path below `details` may be replaced, or in part.
    pub(in crate::audit) fn may_touch(&self, path: &[Option<&str>]) -> bool {
        self.rules.may_touch(path) || self.copies.may_touch(path)
    }

    /// Its HMAC; one that is an HMAC already stays, so that it can be matched.
    pub(in crate::audit) fn hidden(&self, text: &str) -> String {
        if is_redacted(text) { text.to_owned() } else { self.key.redacted(text.as_bytes()) }
    }
}
