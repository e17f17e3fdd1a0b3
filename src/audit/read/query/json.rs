//! Values as they are stored: found by their path in a line's own text, and compared
//! without being written anew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::number::Decimal;

/// A value that is compared with may be nested so deep: deeper than stored ones are.
pub(super) const MAX_DEPTH: usize = 128;

/// A key, not copied where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is done with an object's members; false ends it.
pub(super) type EachMember<'f, 'a> = &'f mut dyn FnMut(&str, &'a RawValue) -> bool;
/// What is done with an array's elements; false ends it.
pub(super) type EachElement<'f, 'a> = &'f mut dyn FnMut(&'a RawValue) -> bool;

/// Goes through the members of an object, as far as it is wanted, and as far as the
/// text is JSON; whether it was all.
pub(super) fn members<'a>(object: &'a str, each: EachMember<'_, 'a>) -> bool {
    struct Members<'f, 'a>(EachMember<'f, 'a>);
    impl<'a> Visitor<'a> for Members<'_, 'a> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((Key(key), value)) = map.next_entry::<Key<'a>, &'a RawValue>()? {
                if !(self.0)(&key, value) {
                    return Err(serde::de::Error::custom("enough"));
                }
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    deserializer.deserialize_map(Members(each)).is_ok()
}

/// The same with the elements of an array.
pub(super) fn elements<'a>(array: &'a str, each: EachElement<'_, 'a>) -> bool {
    struct Elements<'f, 'a>(EachElement<'f, 'a>);
    impl<'a> Visitor<'a> for Elements<'_, 'a> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
            while let Some(value) = seq.next_element::<&'a RawValue>()? {
                if !(self.0)(value) {
                    return Err(serde::de::Error::custom("enough"));
                }
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(array);
    deserializer.deserialize_seq(Elements(each)).is_ok()
}

/// An object without what it has under one key; everything else as it is written.
#[cfg(feature = "alerts")]
pub(crate) fn without(object: &str, left_out: &str) -> Option<Box<RawValue>> {
    let mut out = String::from("{");
    let whole = members(object, &mut |key, value| {
        if key != left_out {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(key).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        true
    });
    out.push('}');
    whole.then(|| RawValue::from_string(out).ok())?
}

/// What a JSON text is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    /// `true`, `false` or `null`.
    Word,
}

pub(super) fn kind(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f' | b'n') => Kind::Word,
        _ => Kind::Number,
    }
}

/// A JSON string's text; `None` for what is none, or has half a surrogate pair.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr2(b'\\', b'"', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Key<'_>>(json).ok().map(|Key(text)| text)
}

/// A value to compare with.
#[derive(Clone, Debug)]
pub(super) enum Json {
    /// `true`, `false` or `null`.
    Word(String),
    Number(Decimal<'static>),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads JSON; `None` for what is none, or is nested too deep.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        Self::read(raw, MAX_DEPTH)
    }

    fn read(raw: &RawValue, deeper: usize) -> Option<Self> {
        let text = raw.get();
        Some(match kind(text) {
            Kind::Word => Self::Word(text.to_owned()),
            Kind::Number => Self::Number(Decimal::parse(text)?.into_owned()),
            Kind::Text => Self::Text(text_of(text)?.into_owned()),
            Kind::Array => {
                let (deeper, mut all, mut good) = (deeper.checked_sub(1)?, Vec::new(), true);
                elements(text, &mut |raw| {
                    let read = Self::read(raw, deeper);
                    good = read.is_some();
                    all.extend(read);
                    good
                });
                good.then_some(Self::Array(all))?
            }
            Kind::Object => {
                let (deeper, mut all, mut good) = (deeper.checked_sub(1)?, BTreeMap::new(), true);
                let whole = members(text, &mut |key, raw| {
                    let read = Self::read(raw, deeper);
                    good = read.is_some();
                    all.extend(read.map(|read| (key.to_owned(), read)));
                    good
                });
                (good && whole).then_some(Self::Object(all))?
            }
        })
    }

    /// Whether a stored value is equal: numbers by value, texts by their characters,
    /// objects whatever the order of their keys, of which the last of a name counts.
    pub(super) fn equals(&self, raw: &RawValue) -> bool {
        let text = raw.get();
        match (self, kind(text)) {
            (Self::Word(word), Kind::Word) => word == text,
            (Self::Number(number), Kind::Number) => {
                Decimal::parse(text).is_some_and(|found| found == *number)
            }
            (Self::Text(wanted), Kind::Text) => text_of(text).is_some_and(|found| found == *wanted),
            (Self::Array(wanted), Kind::Array) => {
                let mut left = wanted.iter();
                let same =
                    elements(text, &mut |raw| left.next().is_some_and(|one| one.equals(raw)));
                same && left.next().is_none()
            }
            (Self::Object(wanted), Kind::Object) => {
                let mut found: BTreeMap<String, &RawValue> = BTreeMap::new();
                let whole = members(text, &mut |key, raw| {
                    found.insert(key.to_owned(), raw);
                    // One that is not wanted ends it.
                    wanted.contains_key(key)
                });
                let equal = |(key, one): (&String, &Self)| {
                    found.get(key).is_some_and(|raw| one.equals(raw))
                };
                whole && found.len() == wanted.len() && wanted.iter().all(equal)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(one: &str, two: &str) -> bool {
        let raw: &RawValue = serde_json::from_str(two).expect("json");
        Json::parse(one).expect("json").equals(raw)
    }

    #[test]
    fn values_are_equal_whatever_their_spelling_and_never_across_types() {
        for (one, two) in [
            ("1.10", "1.1"),
            ("1e2", "100"),
            (r#""a\u0062""#, r#""ab""#),
            ("[1,[2.0]]", "[1.0, [2]]"),
            (r#"{"a":1,"b":[]}"#, r#"{"b":[],"a":1.0}"#),
            (r#"{"a":2}"#, r#"{"a":1,"a":2}"#),
            ("null", "null"),
        ] {
            assert!(equal(one, two), "{one} {two}");
        }
        for (one, two) in [
            ("5", r#""5""#),
            ("18446744073709551617", "18446744073709551618"),
            ("[1]", "[1,2]"),
            ("[1,2]", "[1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            ("true", "false"),
            ("null", "0"),
        ] {
            assert!(!equal(one, two), "{one} {two}");
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_no_value() {
        let deep = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(&deep(MAX_DEPTH)).is_some());
        for text in ["", "a", "1 2", "{", r#""\ud800""#, &deep(MAX_DEPTH + 1), &deep(100_000)] {
            assert!(Json::parse(text).is_none(), "{}", text.len());
        }
    }
}
