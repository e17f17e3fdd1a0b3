//! `--where`: conditions on what is inside a record, `details.amount >= 100`.
//!
//! Types are compared as types: `5` is a number and is not equal to the text
//! `"5"`. A value that is not JSON is a text, so that quotes are needed only
//! where a text looks like something else.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A compiled regular expression takes at most so many bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`: there, and not equal.
    NotEqual,
    /// `~`: a text in which the regular expression is found.
    Matches,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `exists`: there, whatever it is.
    Exists,
}

impl Operator {
    /// The longer ones first, so that `<=` is not taken for `<`.
    const SIGNS: [(&'static str, Self); 7] = [
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("=", Self::Equal),
        ("~", Self::Matches),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn sign(self) -> &'static str {
        let named = Self::SIGNS.iter().find(|(_, operator)| *operator == self);
        named.map_or("exists", |(sign, _)| sign)
    }
}

/// A condition.
#[derive(Clone, Debug)]
pub struct Condition {
    path: Path,
    operator: Operator,
    value: Value,
    regex: Option<Regex>,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no condition such as 'details.amount >= 100': {reason}")]
pub struct ConditionError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A path into a record: keys with dots between them; `*` is any key or any
/// element; a number is an element's place; `\.` is a dot in a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Any,
    Key(String),
}

impl Path {
    /// Reads it.
    ///
    /// # Errors
    /// Unless it begins with `details.` or `origin.` and has no empty key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let (mut key, mut escaped) = (String::new(), false);
        let mut chars = text.chars();
        loop {
            let next = chars.next();
            match next {
                Some('\\') => {
                    let literal = chars.next().ok_or("a backslash at its end")?;
                    key.push(literal);
                    escaped = true;
                }
                Some('.') | None => {
                    if key.is_empty() && !escaped {
                        return Err(format!("\"{text}\" has an empty key"));
                    }
                    let step = match &*key {
                        "*" if !escaped => Step::Any,
                        _ => Step::Key(std::mem::take(&mut key)),
                    };
                    key.clear();
                    escaped = false;
                    steps.push(step);
                    if next.is_none() {
                        break;
                    }
                }
                Some(other) => key.push(other),
            }
        }
        let roots = ["details", "origin"];
        let rooted = matches!(&steps[0], Step::Key(root) if roots.contains(&&**root));
        if !rooted || steps.len() < 2 {
            return Err(format!(
                "\"{text}\" is no path into details or origin, such as details.ip"
            ));
        }
        Ok(Self(steps))
    }

    /// The last key that a record which has the path must contain.
    pub(super) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            // A number may be a place in an array.
            Step::Key(key) if key.parse::<usize>().is_err() => Some(&**key),
            _ => None,
        })
    }

    /// The values at this path, as far as `found` wants them.
    pub(super) fn look(&self, line: &[u8], found: &mut dyn FnMut(&Value) -> bool) {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let seek = Seek { steps: &self.0, found };
        // A line that is not JSON has nothing at any path.
        let _ = seek.deserialize(&mut deserializer);
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            match step {
                Step::Any => f.write_str("*")?,
                Step::Key(key) if key == "*" => f.write_str("\\*")?,
                Step::Key(key) => f.write_str(&key.replace('\\', "\\\\").replace('.', "\\."))?,
            }
        }
        Ok(())
    }
}

impl Condition {
    /// Reads `PATH OPERATOR VALUE` or `PATH exists`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let refuse = |reason: String| ConditionError { text: text.to_owned(), reason };
        let trimmed = text.trim();
        if let Some(path) = trimmed.strip_suffix("exists")
            && path.ends_with(char::is_whitespace)
            && !path.contains(['=', '~', '<', '>'])
        {
            let path = Path::parse(path.trim()).map_err(refuse)?;
            return Ok(Self { path, operator: Operator::Exists, value: Value::Null, regex: None });
        }
        let at = trimmed
            .find(['=', '!', '~', '<', '>'])
            .ok_or_else(|| refuse("it needs one of = != ~ < <= > >= or exists".to_owned()))?;
        let (path, rest) = trimmed.split_at(at);
        let named = Operator::SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let Some((sign, operator)) = named else {
            return Err(refuse("after the path comes one of = != ~ < <= > >=".to_owned()));
        };
        let path = Path::parse(path.trim()).map_err(refuse)?;
        let value_text = rest[sign.len()..].trim();
        let (operator, mut regex) = (*operator, None);
        let value = match operator {
            Operator::Matches => {
                let built = RegexBuilder::new(value_text).size_limit(MAX_REGEX_BYTES).build();
                regex = Some(built.map_err(|error| refuse(error.to_string()))?);
                Value::String(value_text.to_owned())
            }
            _ if value_text.is_empty() => return Err(refuse("it has no value".to_owned())),
            _ => serde_json::from_str(value_text)
                .unwrap_or_else(|_| Value::String(value_text.to_owned())),
        };
        let ordered = matches!(
            operator,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual
        );
        if ordered && !matches!(value, Value::Number(_) | Value::String(_)) {
            return Err(refuse("only numbers and texts have an order".to_owned()));
        }
        Ok(Self { path, operator, value, regex })
    }

    /// The keys of its path; `None` for a `*`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.path.0.iter().map(|step| match step {
            Step::Any => None,
            Step::Key(key) => Some(key.as_str()),
        })
    }

    /// What it compares with; nothing for `exists`.
    pub(crate) fn compared(&self) -> Option<&Value> {
        (self.operator != Operator::Exists).then_some(&self.value)
    }

    /// The same condition, in words, compared with another text.
    pub(crate) fn comparing(&self, text: &str) -> String {
        format!("{} {} {text}", self.path, self.operator.sign())
    }

    /// Whether a stored line meets it.
    pub(super) fn holds(&self, line: &[u8]) -> bool {
        let mut holds = false;
        self.path.look(line, &mut |value| {
            holds |= self.accepts(value);
            !holds
        });
        holds
    }

    fn accepts(&self, found: &Value) -> bool {
        let order = || compare(found, &self.value);
        match self.operator {
            Operator::Exists => true,
            Operator::Equal => equal(found, &self.value),
            Operator::NotEqual => !equal(found, &self.value),
            Operator::Less => order() == Some(Ordering::Less),
            Operator::LessOrEqual => order().is_some_and(Ordering::is_le),
            Operator::Greater => order() == Some(Ordering::Greater),
            Operator::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
            Operator::Matches => match (&self.regex, found) {
                (Some(regex), Value::String(text)) => regex.is_match(text.as_bytes()),
                _ => false,
            },
        }
    }

    /// Bytes that a record which meets it must contain, unless it has escapes.
    pub(super) fn needle(&self) -> Option<Vec<u8>> {
        let plain = |text: &str| {
            text.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'/'))
        };
        match (&self.operator, &self.value) {
            (Operator::Equal, Value::String(text)) if plain(text) => {
                Some(format!("\"{text}\"").into_bytes())
            }
            _ => {
                let key = self.path.last_key().filter(|key| plain(key))?;
                Some(format!("\"{key}\"").into_bytes())
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.operator, &self.value) {
            (Operator::Exists, _) => write!(f, "{} exists", self.path),
            (Operator::Matches, Value::String(text)) => write!(f, "{} ~ {text}", self.path),
            (operator, value) => write!(f, "{} {} {value}", self.path, operator.sign()),
        }
    }
}

// By its text, which says all of it: two that read alike are alike.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Condition {}

impl PartialOrd for Condition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Condition {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(_), Value::Number(_)) => compare(one, two) == Some(Ordering::Equal),
        _ => one == two,
    }
}

/// Numbers by value, texts by their bytes; nothing else has an order.
fn compare(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => match (integer(one), integer(two)) {
            // Beyond 2^53 a float would take different integers for equal.
            (Some(one), Some(two)) => Some(one.cmp(&two)),
            _ => one.as_f64()?.partial_cmp(&two.as_f64()?),
        },
        (Value::String(one), Value::String(two)) => Some(one.as_bytes().cmp(two.as_bytes())),
        _ => None,
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Walks down a path and parses only what is at its end. Of a key that is there
/// twice every value counts.
struct Seek<'a, 'f> {
    steps: &'a [Step],
    found: &'f mut dyn FnMut(&Value) -> bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_, '_> {
    /// Whether more is wanted.
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.steps.is_empty() {
            let value = <Value as serde::Deserialize>::deserialize(deserializer)?;
            return Ok((self.found)(&value));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Some((step, rest)) = self.steps.split_first() else { return Ok(true) };
        let mut wanted = true;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let here = match step {
                Step::Any => true,
                Step::Key(name) => *name == *key,
            };
            if here && wanted {
                wanted = map.next_value_seed(Seek { steps: rest, found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(wanted)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Some((step, rest)) = self.steps.split_first() else { return Ok(true) };
        let place = match step {
            Step::Any => None,
            Step::Key(name) => match name.parse::<usize>() {
                Ok(place) => Some(place),
                Err(_) => {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(true);
                }
            },
        };
        let (mut at, mut wanted) = (0, true);
        loop {
            let more = if wanted && place.is_none_or(|place| place == at) {
                match seq.next_element_seed(Seek { steps: rest, found: self.found })? {
                    Some(still) => {
                        wanted = still;
                        true
                    }
                    None => false,
                }
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(wanted);
            }
            at += 1;
        }
    }

    // Anything else has nothing below it.
    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }
    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }
    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }
    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }
    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }
    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"seq":1,"details":{"n":5,"big":9007199254740993,"f":1.5,"t":"5","ok":true,"none":null,"a.b":"dot","list":[{"arn":"x"},{"arn":"y"}],"twice":1,"twice":2,"deep":{"k":{"z":"b"}}},"origin":{"uid":1000}}"#;

    fn holds(text: &str) -> bool {
        Condition::parse(text).unwrap_or_else(|error| panic!("{error}")).holds(LINE)
    }

    #[test]
    fn types_are_compared_as_types() {
        for yes in [
            "details.n = 5",
            "details.n=5.0",
            "details.n >= 5",
            "details.n<6",
            "details.n != 6",
            "details.t = \"5\"",
            "details.n != \"5\"",
            "details.t != 5",
            "details.f > 1",
            "details.big = 9007199254740993",
            "details.big < 9007199254740994",
            "details.ok = true",
            "details.ok = \t true",
            "details.none = null",
            "details.none exists",
            "details.a\\.b = dot",
            "details.list.*.arn = y",
            "details.list.1.arn = y",
            "details.twice = 1",
            "details.twice = 2",
            "details.deep.k.z ~ ^[a-c]$",
            "details.deep.*.z = b",
            "details.deep exists",
            "origin.uid = 1000",
            "details.t < 6x",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "details.n = \"5\"",
            "details.t = 5",
            "details.t < 6",
            "details.big = 9007199254740992",
            "details.missing exists",
            "details.missing != 1",
            "details.list.0.arn = y",
            "details.list.arn = x",
            "details.n ~ 5",
            "details.ok = \"true\"",
            "details.deep.k = b",
            "details.n.m exists",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_wrong() {
        for (text, part) in [
            ("", "needs one of"),
            ("details.n", "needs one of"),
            ("n = 5", "no path"),
            ("details = 5", "no path"),
            ("details..n = 5", "empty key"),
            ("details.n =", "no value"),
            ("details.n ~ (", "unclosed group"),
            ("details.n < true", "order"),
            ("details.n ! 5", "after the path"),
            ("details.n\\ = 5", "backslash"),
        ] {
            let error = Condition::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_condition_reads_back_from_its_text() {
        for text in
            ["details.n >= 5", "details.a\\.b = \"dot\"", "details.*.x exists", "origin.via ~ a|b"]
        {
            let condition = Condition::parse(text).expect("condition");
            assert_eq!(condition.to_string(), text);
            assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
        }
    }
}
