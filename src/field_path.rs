//! Names of and paths to the fields of an event, as settings write them:
//! `password`, `*_token`, `details.card.*`.
//!
//! Upper and lower case are the same, unlike in queries: what is to be kept
//! secret must not get through as `Password`.

use std::fmt;
use std::str::FromStr;

/// The settings may hold so many.
pub const MAX_FIELD_PATHS: usize = 128;

/// A field name, or a path from the top of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    steps: Vec<Step>,
}

/// One key of a path, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `*`: any key, any element of an array.
    Any,
    /// That key; a number is an element's place, too.
    Exact(String),
    /// What is between its asterisks, two parts at least.
    Glob(Vec<String>),
}

/// Why a text names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {reason}")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct FieldPathError {
    /// What was given, cut when long.
    text: String,
    /// What is wrong with it.
    reason: String,
}

/// What an event is known by: never hidden.
const KEPT: [&str; 5] = ["seq", "timestamp", "event_type", "origin", "recorded_at"];
const TEXTS: [&str; 4] = ["actor", "source", "target", "outcome"];
const DETAILS: &str = "details";

impl FieldPath {
    /// The name, if it stands for a key wherever that is.
    #[must_use]
    pub fn name(&self) -> Option<&Step> {
        match &self.steps[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The keys below `details`, if it is a path.
    #[must_use]
    pub fn below_details(&self) -> Option<&[Step]> {
        match &self.steps[..] {
            [_, below @ ..] if !below.is_empty() => Some(below),
            _ => None,
        }
    }

    /// Whether it stands for what is at this path inside `details`.
    #[must_use]
    #[doc(hidden)]
    pub fn hides(&self, below_details: &[String]) -> bool {
        if let Some(name) = self.name() {
            return below_details.iter().any(|key| name.matches(key));
        }
        self.below_details().is_some_and(|steps| {
            // What is above or below what is hidden holds some of it.
            steps.iter().zip(below_details).all(|(step, key)| step.matches(key))
        })
    }

    fn check(&self) -> Result<(), String> {
        let Some(Step::Exact(root)) = self.steps.first() else {
            return match self.steps.len() {
                1 if self.steps[0] == Step::Any => {
                    Err("would be every field; write details.* for all that is in details"
                        .to_owned())
                }
                1 => Ok(()),
                _ => Err("is no path: a path begins with details".to_owned()),
            };
        };
        let is_path = self.steps.len() > 1;
        if KEPT.contains(&&**root) {
            return Err(format!(
                "cannot be hidden: an event is known by it; for a key {root} inside details write details.{root}"
            ));
        }
        if is_path && TEXTS.contains(&&**root) {
            return Err(format!("is no path: {root} is a text, with nothing below it"));
        }
        if is_path && root != DETAILS {
            return Err(format!(
                "is no path: a path begins with details; for a key with dots write {}",
                self.text.replace('.', "\\.")
            ));
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    /// Reads keys with dots between: `\.`, `\*` and `\\` stand for themselves.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: &str| FieldPathError {
            text: text.chars().take(64).collect(),
            reason: reason.to_owned(),
        };
        let mut steps = Vec::new();
        let mut parts = vec![String::new()];
        let mut chars = text.chars();
        loop {
            let next = chars.next();
            match (next, parts.last_mut()) {
                (Some('.') | None, _) => {
                    steps.push(step(&parts).ok_or_else(|| refuse("has an empty key"))?);
                    parts = vec![String::new()];
                    if next.is_none() {
                        break;
                    }
                }
                (Some('*'), _) => parts.push(String::new()),
                (Some('\\'), Some(part)) => match chars.next() {
                    Some(literal @ ('.' | '*' | '\\')) => part.push(literal),
                    _ => return Err(refuse("has a backslash before something else than . * \\")),
                },
                (Some(other), Some(part)) => part.push(other),
                (Some(_), None) => {}
            }
        }
        let path = Self { text: text.to_owned(), steps };
        path.check().map_err(|reason| refuse(&reason))?;
        Ok(path)
    }
}

/// The step of what is between asterisks; `None` when it is empty.
fn step(parts: &[String]) -> Option<Step> {
    let lower = |part: &String| part.to_lowercase();
    match parts {
        [only] if only.is_empty() => None,
        [only] => Some(Step::Exact(lower(only))),
        all if all.iter().all(String::is_empty) => Some(Step::Any),
        all => Some(Step::Glob(all.iter().map(lower).collect())),
    }
}

impl Step {
    /// What a text with asterisks stands for; `None` when it is empty.
    #[must_use]
    #[doc(hidden)]
    pub fn of(text: &str) -> Option<Self> {
        step(&text.split('*').map(str::to_owned).collect::<Vec<_>>())
    }

    /// Whether a key is one that it stands for. `key` is in lower case, or all ASCII.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(key),
            Self::Glob(parts) => glob(parts, key.as_bytes()),
        }
    }
}

fn glob(parts: &[String], text: &[u8]) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let same = |part: &String, text: &[u8]| part.as_bytes().eq_ignore_ascii_case(text);
    let Some((begin, rest)) = text.split_at_checked(first.len()) else { return false };
    let Some(end) = rest.len().checked_sub(last.len()) else { return false };
    let (mut rest, end) = rest.split_at(end);
    // The earliest place for each part leaves the most room for the next.
    same(first, begin)
        && same(last, end)
        && middle.iter().all(|part| {
            let found = rest.windows(part.len().max(1)).position(|text| same(part, text));
            match found {
                _ if part.is_empty() => true,
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            }
        })
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FieldPath {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_bare_name_is_a_key_anywhere_and_a_path_begins_with_details() {
        assert_eq!(path("Password").name(), Some(&Step::Exact("password".to_owned())));
        assert_eq!(path("actor").name(), Some(&Step::Exact("actor".to_owned())));
        assert_eq!(path("a\\.b").name(), Some(&Step::Exact("a.b".to_owned())));
        assert!(path("details").name().is_some());
        let card = path("details.card.*");
        assert_eq!(card.name(), None);
        assert_eq!(card.below_details(), Some(&[Step::Exact("card".to_owned()), Step::Any][..]));
        assert_eq!(card.to_string(), "details.card.*");
    }

    #[test]
    fn an_asterisk_in_a_name_stands_for_anything_and_case_does_not_matter() {
        for (name, yes, no) in [
            ("*_token", &["_token", "access_token"][..], &["token", "_tokens"][..]),
            ("*PassWord*", &["password", "db_password2"], &["pass_word"]),
            ("a*b*c", &["abc", "a1b2c", "abbc"], &["acb", "ab"]),
            ("a*a", &["aa", "aba"], &["a"]),
            ("\\*", &["*"], &["x"]),
        ] {
            let step = path(name).name().cloned().expect("a name");
            assert!(yes.iter().all(|key| step.matches(key)), "{name}");
            assert!(!no.iter().any(|key| step.matches(key)), "{name}");
        }
    }

    #[test]
    fn what_names_no_field_is_refused_with_what_to_write_instead() {
        for (text, part) in [
            ("", "empty key"),
            ("details..x", "empty key"),
            ("details.", "empty key"),
            ("*", "details.*"),
            ("timestamp", "details.timestamp"),
            ("Event_Type", "cannot be hidden"),
            ("origin.uid", "cannot be hidden"),
            ("actor.name", "is a text"),
            ("card.number", "card\\.number"),
            ("*.x", "begins with details"),
            ("a\\b", "backslash"),
            ("a\\", "backslash"),
        ] {
            let error = text.parse::<FieldPath>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
