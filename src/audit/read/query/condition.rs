//! `--where`: conditions on what is inside a record, `details.amount >= 100`.
//!
//! Types are compared as types: `5` is a number and is not equal to the text
//! `"5"`. A value that is not JSON is a text, so that quotes are needed only
//! where a text looks like something else.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};
use serde_json::value::RawValue;

use super::json::{Json, Kind, kind, text_of};
use super::number::Decimal;
use super::path::{Path, find_outside};

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
    /// As it was written.
    text: String,
    path: Path,
    operator: Operator,
    value: Compared,
    regex: Option<Regex>,
}

/// What is compared with.
#[derive(Clone, Debug)]
struct Compared {
    /// As it reads back.
    shown: String,
    value: Json,
    /// A text without quotes that was perhaps copied out of JSON: with its escapes
    /// resolved.
    copied: Option<String>,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a condition such as 'details.amount >= 100': {reason}")]
pub struct ConditionError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Compared {
    /// JSON, or else a text.
    fn parse(text: &str) -> Self {
        match Json::parse(text) {
            Some(value) => Self { shown: text.to_owned(), value, copied: None },
            None => Self::text(text),
        }
    }

    fn text(text: &str) -> Self {
        let copied = unescaped(text);
        let shown = match &copied {
            Some(_) => text.to_owned(),
            None => serde_json::Value::from(text).to_string(),
        };
        Self { shown, value: Json::Text(text.to_owned()), copied }
    }

    fn equals(&self, raw: &RawValue) -> bool {
        self.value.equals(raw)
            || self.copied.as_ref().is_some_and(|copied| {
                text_of(raw.get()).is_some_and(|found| found == copied.as_str())
            })
    }
}

/// A text with its JSON escapes resolved, if it has some and could have been copied out
/// of a JSON string.
pub(super) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    serde_json::from_str(&format!("\"{text}\"")).ok()
}

/// Whether a text stands for itself where a value is expected: in a condition, and as a
/// pattern. Others have to be quoted, as JSON writes them.
#[must_use]
pub fn reads_as_itself(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.starts_with('"') && Json::parse(text).is_none()
}

impl Condition {
    /// Reads `PATH OPERATOR VALUE` or `PATH exists`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let refuse = |reason: String| ConditionError { text: text.to_owned(), reason };
        let trimmed = text.trim();
        let Some(at) = find_outside(trimmed, &['=', '!', '~', '<', '>']) else {
            let path =
                trimmed.strip_suffix("exists").filter(|path| path.ends_with(char::is_whitespace));
            let path = path
                .ok_or_else(|| refuse("it needs one of = != ~ < <= > >= or exists".to_owned()))?;
            let path = Path::parse(path.trim()).map_err(refuse)?;
            let value = Compared::parse("null");
            let text = text.to_owned();
            return Ok(Self { text, path, operator: Operator::Exists, value, regex: None });
        };
        let (path, rest) = trimmed.split_at(at);
        let named = Operator::SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let Some((sign, operator)) = named else {
            return Err(refuse(
                "after the path comes one of = != ~ < <= > >=; put a key with such a sign in \
                 quotes, as in details.\"a=b\" = 5"
                    .to_owned(),
            ));
        };
        let path = Path::parse(path.trim()).map_err(refuse)?;
        let value_text = rest[sign.len()..].trim();
        let (operator, mut regex) = (*operator, None);
        let value = match operator {
            Operator::Matches => {
                let built = RegexBuilder::new(value_text).size_limit(MAX_REGEX_BYTES).build();
                regex = Some(built.map_err(|error| refuse(error.to_string()))?);
                let value = Json::Text(value_text.to_owned());
                Compared { shown: value_text.to_owned(), value, copied: None }
            }
            _ if value_text.is_empty() => return Err(refuse("it has no value".to_owned())),
            _ => Compared::parse(value_text),
        };
        let ordered = matches!(
            operator,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual
        );
        if ordered && !matches!(value.value, Json::Number(_) | Json::Text(_)) {
            return Err(refuse("only numbers and texts have an order".to_owned()));
        }
        Ok(Self { text: text.to_owned(), path, operator, value, regex })
    }

    /// As it was written.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.text
    }

    /// The keys of its path; `None` for a `*`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.path.keys()
    }

    /// What it compares with, a text without its quotes; nothing for `exists`.
    pub(crate) fn compared(&self) -> Option<&str> {
        match &self.value.value {
            _ if self.operator == Operator::Exists => None,
            Json::Text(text) => Some(text),
            _ => Some(&self.value.shown),
        }
    }

    /// Whether it compares with an object or an array.
    pub(crate) fn is_compound(&self) -> bool {
        matches!(self.value.value, Json::Object(_) | Json::Array(_))
    }

    /// The same condition, compared with another text.
    pub(crate) fn comparing(&self, text: &str) -> Result<Self, ConditionError> {
        Self::parse(&format!("{} {} {text}", self.path, self.operator.sign()))
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

    fn accepts(&self, found: &RawValue) -> bool {
        match self.operator {
            Operator::Exists => true,
            Operator::Equal => self.value.equals(found),
            Operator::NotEqual => !self.value.equals(found),
            Operator::Less => self.order_of(found) == Some(Ordering::Less),
            Operator::LessOrEqual => self.order_of(found).is_some_and(Ordering::is_le),
            Operator::Greater => self.order_of(found) == Some(Ordering::Greater),
            Operator::GreaterOrEqual => self.order_of(found).is_some_and(Ordering::is_ge),
            Operator::Matches => match (&self.regex, text_of(found.get())) {
                (Some(regex), Some(text)) => regex.is_match(text.as_bytes()),
                _ => false,
            },
        }
    }

    /// Numbers by value, texts by their bytes; nothing else has an order.
    fn order_of(&self, found: &RawValue) -> Option<Ordering> {
        match (&self.value.value, kind(found.get())) {
            (Json::Number(number), Kind::Number) => Some(Decimal::parse(found.get())?.cmp(number)),
            (Json::Text(text), Kind::Text) => {
                Some(text_of(found.get())?.as_bytes().cmp(text.as_bytes()))
            }
            _ => None,
        }
    }

    /// Bytes that a record which meets it must contain, unless it has escapes.
    pub(super) fn needle(&self) -> Option<Vec<u8>> {
        let plain = |text: &str| {
            text.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'/'))
        };
        match (&self.operator, &self.value.value) {
            (Operator::Equal, Json::Text(text)) if plain(text) => {
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
        match self.operator {
            Operator::Exists => write!(f, "{} exists", self.path),
            operator => write!(f, "{} {} {}", self.path, operator.sign(), self.value.shown),
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

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"seq":1,"details":{"n":5,"big":9007199254740993,"f":1.5,"t":"5","ok":true,"none":null,"a.b":"dot","list":[{"arn":"x"},{"arn":"y"}],"twice":1,"twice":2,"deep":{"k":{"z":"b"}},"huge":18446744073709551617,"tiny":1e-999999999,"price":1.10,"share":"\\\\fs1\\finance","new":"C:\\new","a=b!<c>~ d":"odd"},"origin":{"uid":1000}}"#;

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
            "details.\"a.b\" = dot",
            "details.huge > 18446744073709551616",
            "details.huge = 18446744073709551617",
            "details.huge < 1e999999999",
            "details.huge > -1e999999999",
            "details.tiny > 0",
            "details.tiny = 10e-1000000000",
            "details.price = 1.1",
            "details.price = 1.100",
            "details.price = 11e-1",
            "details.deep = {\"k\":{\"z\":\"b\"}}",
            r"details.share = \\fs1\finance",
            r"details.share = \\\\fs1\\finance",
            r#"details.share = "\\\\fs1\\finance""#,
            r"details.new = C:\new",
            r"details.new != C:\old",
            "details.\"a=b!<c>~ d\" = odd",
            "details.\"a=b!<c>~ d\" exists",
            r"details.a\=b\!\<c\>\~\ d = odd",
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
            "details.huge = 18446744073709551618",
            "details.huge = 18446744073709551616",
            "details.huge > 18446744073709551617",
            "details.tiny = 0",
            "details.price = \"1.1\"",
            r"details.new != C:\new",
            r"details.share = \fs1\finance",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_wrong() {
        for (text, part) in [
            ("", "needs one of"),
            ("details.n", "needs one of"),
            ("n = 5", "not a path"),
            ("details = 5", "not a path"),
            ("details..n = 5", "empty key"),
            ("details.n =", "no value"),
            ("details.n ~ (", "unclosed group"),
            ("details.n < true", "order"),
            ("details.n ! 5", "after the path"),
            ("details.n\\", "needs one of"),
            ("details.\"n\"x = 5", "a dot or the end"),
            ("details.\"\\x\" = 5", "in quotes"),
        ] {
            let error = Condition::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_condition_reads_back_from_its_text() {
        for text in [
            "details.n >= 5.10",
            "details.\"a.b\" = \"dot\"",
            "details.*.x exists",
            "origin.via ~ a|b",
            r"details.share = \\fs1\finance",
            "details.n < 1e-999999999",
        ] {
            let condition = Condition::parse(text).expect("condition");
            assert_eq!(condition.to_string(), text);
            assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
        }
    }
}
