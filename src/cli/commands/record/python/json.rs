//! JSON as Python's `json` module reads it, every number and text as it was written:
//! also `NaN`, `Infinity`, integers of any length, and halves of surrogate pairs.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use crate::audit::record::sanitize::MAX_DETAILS_DEPTH;

/// Deeper is not read. What is moved into `details.imported.fields` comes to stand
/// deeper than it was.
const MAX_DEPTH: usize = MAX_DETAILS_DEPTH - 3;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// Its digits.
    Int(&'a str),
    /// As it was written.
    Float(&'a str),
    /// What JSON itself does not have: `NaN`, `Infinity` or `-Infinity`.
    Constant(&'static str),
    Text(Text<'a>),
    Array(Vec<Json<'a>>),
    /// In the order of the text, with what is there twice.
    Object(Vec<(Text<'a>, Json<'a>)>),
}

/// A text, its escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text<'a> {
    Plain(Cow<'a, str>),
    /// Code points, with halves of surrogate pairs among them.
    Broken(Vec<u32>),
}

/// Leaves the last of what is there twice, as Python does; whether anything went.
pub(super) fn keep_last(members: &mut Vec<(Text<'_>, Json<'_>)>) -> bool {
    let mut seen = HashSet::with_capacity(members.len());
    let before = members.len();
    let mut kept: Vec<_> =
        members.drain(..).rev().filter(|(key, _)| seen.insert(key.clone())).collect();
    kept.reverse();
    *members = kept;
    let mut gone = members.len() < before;
    for (_, value) in members {
        gone |= keep_last_inside(value);
    }
    gone
}

fn keep_last_inside(value: &mut Json<'_>) -> bool {
    match value {
        Json::Array(items) => {
            items.iter_mut().fold(false, |gone, item| keep_last_inside(item) | gone)
        }
        Json::Object(members) => keep_last(members),
        _ => false,
    }
}

impl Text<'_> {
    /// The text, unless it is broken.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Broken(_) => None,
        }
    }

    pub(super) fn code_points(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Plain(text) => Box::new(text.chars().map(u32::from)),
            Self::Broken(points) => Box::new(points.iter().copied()),
        }
    }

    /// By code points, as Python orders texts.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            // UTF-8 has the same order.
            (Self::Plain(a), Self::Plain(b)) => a.cmp(b),
            _ => self.code_points().cmp(other.code_points()),
        }
    }
}

/// Reads one value, with nothing but white space around it.
///
/// # Errors
/// What is wrong, and where; never what stands there.
pub(super) fn parse(text: &str) -> Result<Json<'_>, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value()?;
    parser.space();
    if parser.at < text.len() { parser.refuse("more after the value") } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn refuse<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} at byte {}", self.at))
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json<'a>, String> {
        self.space();
        match self.peek() {
            b'"' => Ok(Json::Text(self.string()?)),
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.refuse("nested too deep");
                }
                let value = if self.peek() == b'{' { self.object() } else { self.array() };
                self.depth -= 1;
                value
            }
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json<'a>, String> {
        for (word, value) in [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Constant("NaN")),
            ("Infinity", Json::Constant("Infinity")),
            ("-Infinity", Json::Constant("-Infinity")),
        ] {
            if self.take(word) {
                return Ok(value);
            }
        }
        self.number()
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Result<Json<'a>, String> {
        let begin = self.at;
        self.take("-");
        let leading_zero = self.peek() == b'0';
        match self.digits() {
            0 => return self.refuse("no value"),
            1 => {}
            _ if leading_zero => return self.refuse("a number with zeros in front"),
            _ => {}
        }
        let mut is_float = false;
        // What only begins like a fraction or exponent is not part of the number.
        let whole = self.at;
        if self.take(".") {
            if self.digits() == 0 {
                self.at = whole;
                return self.refuse("a number that ends with its point");
            }
            is_float = true;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.refuse("a number without its exponent");
            }
            is_float = true;
        }
        let text = &self.text[begin..self.at];
        Ok(if is_float { Json::Float(text) } else { Json::Int(text) })
    }

    fn array(&mut self) -> Result<Json<'a>, String> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take("]") {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take("]") {
                return Ok(Json::Array(items));
            }
            if !self.take(",") {
                return self.refuse("neither , nor ] after an element");
            }
        }
    }

    fn object(&mut self) -> Result<Json<'a>, String> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != b'"' {
                return self.refuse("no key");
            }
            let key = self.string()?;
            self.space();
            if !self.take(":") {
                return self.refuse("no : after a key");
            }
            members.push((key, self.value()?));
            self.space();
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            if !self.take(",") {
                return self.refuse("neither , nor } after a value");
            }
        }
    }

    fn string(&mut self) -> Result<Text<'a>, String> {
        self.at += 1;
        let begin = self.at;
        loop {
            match self.peek() {
                b'"' => {
                    let plain = &self.text[begin..self.at];
                    self.at += 1;
                    return Ok(Text::Plain(Cow::Borrowed(plain)));
                }
                b'\\' => return self.escaped(begin),
                0..0x20 => return self.refuse("a text without its end, or a control character"),
                _ => self.at += 1,
            }
        }
    }

    /// The rest of a text that has escapes.
    fn escaped(&mut self, begin: usize) -> Result<Text<'a>, String> {
        let mut points: Vec<u32> = self.text[begin..self.at].chars().map(u32::from).collect();
        loop {
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    let point = self.escape()?;
                    points.push(point);
                }
                0..0x20 => return self.refuse("a text without its end, or a control character"),
                _ => {
                    let plain = self.text[self.at..].find(|c| c == '"' || c == '\\' || c < ' ');
                    let end = plain.map_or(self.text.len(), |length| self.at + length);
                    points.extend(self.text[self.at..end].chars().map(u32::from));
                    self.at = end;
                }
            }
        }
        self.at += 1;
        let text: Option<String> = points.iter().map(|point| char::from_u32(*point)).collect();
        Ok(text.map_or(Text::Broken(points), |text| Text::Plain(Cow::Owned(text))))
    }

    /// The code point of an escape, after its backslash.
    fn escape(&mut self) -> Result<u32, String> {
        let letter = self.peek();
        let point = match letter {
            b'"' | b'\\' | b'/' => u32::from(letter),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let high = self.unit(self.at + 1);
                let Some(high) = high else { return self.refuse("an escape that is none") };
                self.at += 5;
                let low =
                    (0xD800..0xDC00).contains(&high) && self.text[self.at..].starts_with("\\u");
                let low = low.then(|| self.unit(self.at + 2)).flatten();
                return Ok(match low.filter(|low| (0xDC00..0xE000).contains(low)) {
                    Some(low) => {
                        self.at += 6;
                        0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
                    }
                    None => high,
                });
            }
            _ => return self.refuse("an escape that is none"),
        };
        self.at += 1;
        Ok(point)
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[1,]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "1 2",
            "'a'",
            "\u{feff}1",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let deep = format!("{}1{}", "[".repeat(98), "]".repeat(98));
        assert!(parse(&deep).is_err_and(|error| error.contains("too deep")));
        assert!(parse(&deep[1..deep.len() - 1]).is_ok());
    }

    #[test]
    fn of_keys_that_stand_twice_the_last_one_stays() {
        let Ok(Json::Object(mut members)) = parse(r#"{"a":1,"b":[{"c":1,"\u0063":2}],"a":3}"#)
        else {
            panic!("an object")
        };
        assert!(keep_last(&mut members));
        let Ok(Json::Object(mut expected)) = parse(r#"{"b":[{"c":2}],"a":3}"#) else {
            panic!("an object")
        };
        assert_eq!(members, expected);
        assert!(!keep_last(&mut expected));
    }

    #[test]
    fn broken_texts_stay_broken_and_pairs_are_joined() {
        let text = |json| match parse(json) {
            Ok(Json::Text(text)) => text,
            other => panic!("{json}: {other:?}"),
        };
        assert_eq!(text(r#""\ud83d\ude00""#).plain(), Some("😀"));
        assert_eq!(text(r#""x\ud800""#), Text::Broken(vec![0x78, 0xD800]));
        assert_eq!(text(r#""\ude00\ud83d""#), Text::Broken(vec![0xDE00, 0xD83D]));
        assert_eq!(text(r#""\ud800\ud83d\ude00""#), Text::Broken(vec![0xD800, 0x1F600]));
        let order = text(r#""\ud800""#).order(&text(r#""😀""#));
        assert_eq!(order, Ordering::Less, "by code points");
    }
}
