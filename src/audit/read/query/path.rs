//! A path into a record: `details.user.id`, `details."a.b = c".0`.

use std::fmt;

use serde_json::value::RawValue;

use super::json::{Kind, kind};
use super::skim::{elements, members, value};

/// So many keys a path has at most: more than a record is deep.
const MAX_STEPS: usize = 128;

/// A path into a record: keys with dots between them; `*` is any key or any
/// element; a number is an element's place; a key with anything else in it than
/// letters stands in quotes, as JSON writes it, or with a backslash before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Any,
    Key(String),
}

/// The length of the JSON string that a text begins with, quotes included.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let bytes = text.strip_prefix('"')?.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 2),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Where a text that begins with a path has the first of these characters outside of
/// quotes and not behind a backslash.
pub(super) fn find_outside(text: &str, wanted: &[char]) -> Option<usize> {
    let (mut at, mut begins) = (0, true);
    while let Some(next) = text[at..].chars().next() {
        if begins && let Some(length) = quoted_length(&text[at..]) {
            at += length;
            begins = false;
            continue;
        }
        if wanted.contains(&next) {
            return Some(at);
        }
        begins = next == '.';
        at += next.len_utf8();
        if next == '\\' {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    None
}

impl Path {
    /// Reads it.
    ///
    /// # Errors
    /// Unless it begins with `details.` or `origin.` and has no empty key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (step, length) = Step::parse(rest, text)?;
            steps.push(step);
            match rest[length..].strip_prefix('.') {
                Some(after) => rest = after,
                None => break,
            }
        }
        let roots = ["details", "origin"];
        let rooted = matches!(&steps[0], Step::Key(root) if roots.contains(&&**root));
        if !rooted || steps.len() < 2 {
            return Err(format!(
                "\"{text}\" is not a path into details or origin, such as details.ip"
            ));
        }
        if steps.len() > MAX_STEPS {
            return Err(format!("a path has {MAX_STEPS} keys at most"));
        }
        Ok(Self(steps))
    }

    /// Its keys; `None` for a `*`.
    pub(super) fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(|step| match step {
            Step::Any => None,
            Step::Key(key) => Some(key.as_str()),
        })
    }

    /// Its last key, as it is written in a path.
    pub(super) fn last(&self) -> String {
        self.0.last().map(Step::to_string).unwrap_or_default()
    }

    /// The last key that a record which has the path must contain.
    pub(super) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            // A number may be a place in an array.
            Step::Key(key) if key.parse::<usize>().is_err() => Some(&**key),
            _ => None,
        })
    }

    /// The values at this path, as they are stored, as far as `found` wants them. Of a
    /// key that is there twice every value counts.
    pub(super) fn look<'a>(&self, line: &'a [u8], found: &mut dyn FnMut(&'a RawValue) -> bool) {
        // A line that is no text has nothing at any path.
        let Ok(text) = std::str::from_utf8(line) else { return };
        let Some((root, rest)) = self.0.split_first() else { return };
        members(text, &mut |key, value| !root.is(key) || walk(value, rest, found));
    }
}

/// Whether more is wanted.
fn walk<'a>(text: &'a str, steps: &[Step], found: &mut dyn FnMut(&'a RawValue) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return value(text).is_none_or(found);
    };
    let mut wanted = true;
    match kind(text) {
        Kind::Object => {
            members(text, &mut |key, value| {
                wanted = !step.is(key) || walk(value, rest, found);
                wanted
            });
        }
        Kind::Array => {
            let place = match step {
                Step::Any => None,
                Step::Key(name) => match name.parse::<usize>() {
                    Ok(place) => Some(place),
                    Err(_) => return true,
                },
            };
            let mut at = 0;
            elements(text, &mut |value| {
                if place.is_none_or(|place| place == at) {
                    wanted = walk(value, rest, found);
                }
                at += 1;
                wanted && place.is_none_or(|place| at <= place)
            });
        }
        // Anything else has nothing below it.
        Kind::Text | Kind::Number | Kind::Word => {}
    }
    wanted
}

impl Step {
    /// The first step, and its length in the text; `whole` is for the error.
    fn parse(text: &str, whole: &str) -> Result<(Self, usize), String> {
        if let Some(length) = quoted_length(text) {
            let key = serde_json::from_str(&text[..length]).map_err(|_| {
                format!("{} is not a text in quotes, as JSON writes it", &text[..length])
            })?;
            return match text[length..].chars().next() {
                None | Some('.') => Ok((Self::Key(key), length)),
                Some(_) => Err(format!("after {} comes a dot or the end", &text[..length])),
            };
        }
        let (mut key, mut escaped, mut length) = (String::new(), false, 0);
        let mut chars = text.chars();
        while let Some(next) = chars.next().filter(|next| *next != '.') {
            length += next.len_utf8();
            if next == '\\' {
                let literal = chars.next().ok_or("a backslash at its end")?;
                length += literal.len_utf8();
                key.push(literal);
                escaped = true;
            } else {
                key.push(next);
            }
        }
        match &*key {
            "" => Err(format!("\"{whole}\" has an empty key; write \"\" for one")),
            "*" if !escaped => Ok((Self::Any, length)),
            _ => Ok((Self::Key(key), length)),
        }
    }

    fn is(&self, key: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Key(name) => name == key,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | ':' | '/' | '$');
        match self {
            Self::Any => f.write_str("*"),
            Self::Key(key) if !key.is_empty() && key.chars().all(plain) => f.write_str(key),
            Self::Key(key) => write!(f, "{}", serde_json::Value::from(&**key)),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_nested_without_end_is_walked_without_falling() {
        let line = format!("{{\"details\":{}", "[".repeat(500_000));
        let path = Path::parse(&format!("details{}", ".*".repeat(MAX_STEPS - 1))).expect("path");
        path.look(line.as_bytes(), &mut |_| panic!("it is no JSON"));
        assert!(Path::parse(&format!("details{}", ".*".repeat(MAX_STEPS))).is_err());
    }

    proptest! {
        /// C5: any key can be written, in quotes.
        #[test]
        fn any_key_can_be_written_and_reads_back(key in "\\PC{0,12}|[=!<>~. \"\\\\*\n]{0,6}") {
            let quoted = serde_json::to_string(&key).expect("json");
            let path = Path::parse(&format!("details.{quoted}.x")).expect("a path");
            prop_assert_eq!(path.keys().nth(1), Some(Some(&*key)));
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path.clone()));
            let line = format!("{{\"details\":{{\"y\":{{\"x\":1}},{quoted}:{{\"x\":2}}}}}}");
            let mut found = Vec::new();
            path.look(line.as_bytes(), &mut |value| {
                found.push(value.get());
                true
            });
            prop_assert!(found == ["2"] || key == "y", "{:?}", found);
        }
    }
}
