//! A foreign object becomes the line of an event.

use std::borrow::Cow;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::path::Values;
use super::take::Text;
use super::{Mapping, Target};
use crate::field_path::FieldPath;
use crate::json_place::JsonError;
use crate::units::hex;

// What the log takes; what is longer is made to fit here.
const MAX_EVENT_TYPE_BYTES: usize = 128;
const MAX_IDENTIFIER_BYTES: usize = 256;
pub(super) const MAX_ID_BYTES: usize = 128;
/// Room in details for what the log adds to it: a time with all of its digits.
const KEPT_FREE: usize = 128;
/// The engine's own event types begin so.
const RESERVED: &str = "audit.";

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The event, as a line of NDJSON without its end.
    pub line: Vec<u8>,
    /// Where its fields came from.
    pub fields: Vec<Field>,
    /// What did not fit; the event is without it.
    pub misfits: Vec<Misfit>,
    /// What was left out of details, with its bytes: the object was too large.
    pub shed: Vec<(String, usize)>,
}

/// A field of the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Which.
    pub target: Target,
    /// What it is.
    pub text: String,
    /// The path, template or constant.
    pub from: String,
    /// The foreign text was longer than the field may be.
    pub is_cut: bool,
}

/// A value that is none for its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The field.
    pub target: Target,
    /// The path that led there.
    pub path: String,
    /// What is there instead.
    pub what: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}: {}", self.target.name(), self.path, self.what)
    }
}

/// Why an object becomes no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMapped {
    /// It is no JSON.
    #[error("{0}")]
    NotJson(JsonError),
    /// It is no object.
    #[error("{0}, not an object")]
    NotAnObject(&'static str),
    /// There is nothing that could be its type.
    #[error("no event_type: {looked_for} {what}")]
    NoType {
        /// The paths.
        looked_for: String,
        /// What is there.
        what: String,
    },
}

impl Mapping {
    /// Applies it to an object, whose text may have so many bytes as details. Of what is left
    /// out for want of room nothing is told that `redact` may hide.
    ///
    /// # Errors
    /// See [`NotMapped`].
    pub fn apply(
        &self,
        object: &[u8],
        max_details: usize,
        redact: &[FieldPath],
    ) -> Result<Mapped, NotMapped> {
        let not_json = |error: &serde_json::Error| NotMapped::NotJson(JsonError::of(error, object));
        let text = match std::str::from_utf8(object) {
            Ok(text) => text.trim_ascii(),
            Err(_) => {
                let error = JsonError::not_utf8(object);
                return Err(error.map_or(NotMapped::NotAnObject("bytes"), NotMapped::NotJson));
            }
        };
        let mut found: Values<'_> = vec![None; self.paths.len()];
        match text.as_bytes().first() {
            Some(b'{') => self.tree.find(text, &mut found).map_err(|error| not_json(&error))?,
            Some(b'[') => return Err(NotMapped::NotAnObject("an array")),
            _ => return Err(NotMapped::NotAnObject("a single value")),
        }
        let mut fields = Vec::new();
        let mut misfits = Vec::new();
        for target in Target::ALL {
            match self.field(target, &found) {
                Ok(Some(field)) => fields.push(field),
                Ok(None) if target == Target::EventType => {
                    return Err(self.no_type("are not there"));
                }
                Err(misfit) if target == Target::EventType => {
                    return Err(self.no_type(&format!("({}: {})", misfit.path, misfit.what)));
                }
                Ok(None) => {}
                Err(misfit) => misfits.push(misfit),
            }
        }
        let (details, shed) = self.details(text, &found, max_details, redact);
        let mut line = b"{".to_vec();
        for field in &fields {
            let key = field.target.name();
            line.extend_from_slice(format!("\"{key}\":{},", json!(field.text)).as_bytes());
        }
        line.extend_from_slice(b"\"details\":");
        line.extend_from_slice(details.as_bytes());
        line.push(b'}');
        Ok(Mapped { line, fields, misfits, shed })
    }

    fn no_type(&self, what: &str) -> NotMapped {
        let alternatives = &self.draft.fields[Target::EventType as usize];
        NotMapped::NoType { looked_for: alternatives.join(", "), what: what.to_owned() }
    }

    /// The first alternative that is there.
    fn field(&self, target: Target, found: &Values<'_>) -> Result<Option<Field>, Misfit> {
        let mut misfit = None;
        for take in &self.fields[target as usize] {
            let (text, path) = take.text(found);
            let from = || take.written(&self.paths).into_owned();
            let what = match text {
                Text::Nothing => continue,
                Text::Misfit(what) => format!("it is {what}"),
                Text::Some(text) => {
                    let is_constant = path.is_none() && take.paths().is_empty();
                    let text = if is_constant { text } else { self.stands_for(target, text) };
                    match self.fit(target, text) {
                        Ok((text, is_cut)) => {
                            return Ok(Some(Field { target, text, from: from(), is_cut }));
                        }
                        Err(what) => what,
                    }
                }
            };
            let path = path.map_or_else(from, |path| self.paths[path].text().to_owned());
            misfit.get_or_insert(Misfit { target, path, what });
        }
        misfit.map_or(Ok(None), Err)
    }

    fn stands_for<'a>(&'a self, target: Target, text: Cow<'a, str>) -> Cow<'a, str> {
        let table = match target {
            Target::EventType => &self.event_types,
            Target::Outcome => &self.outcomes,
            _ => return text,
        };
        match table.stands_for(&text) {
            Some(other) => Cow::Borrowed(other),
            None => text,
        }
    }

    /// The text as the field can have it, and whether it was cut.
    fn fit(&self, target: Target, text: Cow<'_, str>) -> Result<(String, bool), String> {
        Ok(match target {
            Target::Timestamp => (self.draft.timestamp_format.read(&text)?, false),
            Target::Id if text.len() > MAX_ID_BYTES || text.contains(char::is_control) => {
                // Half of it might be that of another.
                (format!("sha256:{}", hex(&Sha256::digest(text.as_bytes()))), false)
            }
            Target::Id => (text.into_owned(), false),
            Target::EventType if text.starts_with(RESERVED) => {
                cut(format!("{}:{text}", self.name), MAX_EVENT_TYPE_BYTES)
            }
            Target::EventType => cut(text.into_owned(), MAX_EVENT_TYPE_BYTES),
            _ => cut(text.into_owned(), MAX_IDENTIFIER_BYTES),
        })
    }

    /// The object itself, without what has no room.
    fn details<'a>(
        &self,
        text: &'a str,
        found: &Values<'_>,
        max_details: usize,
        redact: &[FieldPath],
    ) -> (Cow<'a, str>, Vec<(String, usize)>) {
        let room = max_details.saturating_sub(KEPT_FREE);
        let mut cuts: Vec<(std::ops::Range<usize>, String)> = Vec::new();
        let mut told = Vec::new();
        let mut length = text.len();
        for path in &self.shed {
            let Some(value) = found[*path].filter(|_| length > room) else { continue };
            // The value is a part of the text.
            let begin = (value.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
            let range = begin..begin.saturating_add(value.len());
            let mut instead = json!({ "left_out_bytes": value.len() });
            // A digest of what is hidden would give it away to whoever guesses it.
            let steps = self.paths[*path].steps();
            if !redact.iter().any(|hidden| hidden.name().is_some() || hidden.hides(steps)) {
                instead["sha256"] = json!(hex(&Sha256::digest(value.as_bytes())));
            }
            let instead = instead.to_string();
            let overlaps =
                cuts.iter().any(|(cut, _)| cut.start < range.end && range.start < cut.end);
            if text.get(range.clone()) != Some(value) || overlaps || instead.len() >= value.len() {
                continue;
            }
            length = length - value.len() + instead.len();
            told.push((self.paths[*path].text().to_owned(), value.len()));
            cuts.push((range, instead));
        }
        if cuts.is_empty() {
            return (Cow::Borrowed(text), told);
        }
        cuts.sort_by_key(|(range, _)| range.start);
        let (mut out, mut at) = (String::with_capacity(length), 0);
        for (range, instead) in &cuts {
            out.push_str(&text[at..range.start]);
            out.push_str(instead);
            at = range.end;
        }
        out.push_str(&text[at..]);
        (Cow::Owned(out), told)
    }
}

/// A text of at most so many bytes; one that was longer ends in an ellipsis.
fn cut(mut text: String, limit: usize) -> (String, bool) {
    const ELLIPSIS: char = '…';
    if text.len() <= limit {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(limit - ELLIPSIS.len_utf8()));
    text.push(ELLIPSIS);
    (text, true)
}
