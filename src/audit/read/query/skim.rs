//! Going over a line's JSON without parsing what is not asked for.
//!
//! Only where strings end and how brackets nest is looked at. That is enough to find a value
//! by its path in what is JSON; what is found is then checked to be JSON itself. Nothing is
//! said of what lies beside it.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// What is done with a member: its key, and its value as it is written; false ends it.
pub(super) type EachMember<'f, 'a> = &'f mut dyn FnMut(&str, &'a str) -> bool;
/// What is done with an element; false ends it.
pub(super) type EachElement<'f, 'a> = &'f mut dyn FnMut(&'a str) -> bool;

/// A value that was found, if it is JSON.
pub(super) fn value(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Goes through the members of an object, as far as it is wanted; whether that was all of it.
pub(super) fn members<'a>(object: &'a str, each: EachMember<'_, 'a>) -> bool {
    let mut skim = Skim { text: object, at: 0 };
    skim.members(each) == Some(true)
}

/// The same with the elements of an array.
pub(super) fn elements<'a>(array: &'a str, each: EachElement<'_, 'a>) -> bool {
    let mut skim = Skim { text: array, at: 0 };
    skim.elements(each) == Some(true)
}

struct Skim<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Skim<'a> {
    /// Whether it went through all of it; `None` where it is no object.
    fn members(&mut self, each: EachMember<'_, 'a>) -> Option<bool> {
        self.takes(b'{')?;
        if self.next()? == b'}' {
            return Some(true);
        }
        loop {
            if self.next()? != b'"' {
                return None;
            }
            let written = self.value()?;
            self.takes(b':')?;
            self.next()?;
            let value = self.value()?;
            if !each(&key(written)?, value) {
                return Some(false);
            }
            match self.next()? {
                b',' => self.at += 1,
                b'}' => return Some(true),
                _ => return None,
            }
        }
    }

    fn elements(&mut self, each: EachElement<'_, 'a>) -> Option<bool> {
        self.takes(b'[')?;
        if self.next()? == b']' {
            return Some(true);
        }
        loop {
            self.next()?;
            if !each(self.value()?) {
                return Some(false);
            }
            match self.next()? {
                b',' => self.at += 1,
                b']' => return Some(true),
                _ => return None,
            }
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// The value that begins here.
    fn value(&mut self) -> Option<&'a str> {
        let (bytes, begin) = (self.text.as_bytes(), self.at);
        self.at = match bytes.get(begin)? {
            b'"' => string_end(bytes, begin)?,
            b'{' | b'[' => compound_end(bytes, begin)?,
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r');
                begin + bytes[begin..].iter().position(ends)?
            }
        };
        self.text.get(begin..self.at)
    }
}

/// Behind the string that begins there.
fn string_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Behind the object or array that begins there.
fn compound_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let (mut at, mut open) = (begin, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// A key without its quotes; `None` for one that is no JSON.
fn key(written: &str) -> Option<Cow<'_, str>> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(written).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::json;
    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],: \u{1}äß😀]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[ab\"\\\\ ä]{0,3}", inner, 0..6)
                    .prop_map(|map| json!(map)),
            ]
        })
    }

    /// With spaces, and characters as escapes.
    fn spelled(text: &str, loose: bool) -> String {
        if !loose {
            return text.to_owned();
        }
        let (mut out, mut within, mut escaped) = (String::new(), false, false);
        for char in text.chars() {
            if within && !escaped && char.is_ascii_lowercase() {
                out.push_str(&format!("\\u{:04x}", char as u32));
                continue;
            }
            if char == '"' && !escaped {
                within = !within;
            }
            escaped = within && char == '\\' && !escaped;
            out.push(char);
            if !within && matches!(char, '{' | '[' | ',' | ':') {
                out.push_str(" \t");
            }
        }
        out
    }

    proptest! {
        /// What is JSON is read as a parser of JSON reads it: its keys, in their order, and
        /// their values as they are written.
        #[test]
        fn what_is_json_has_the_members_that_a_parser_finds(
            value in values(), loose: bool, twice in "[ab]{0,1}", stop in 0_usize..6,
        ) {
            let text = spelled(&value.to_string(), loose);
            // Keys that are there twice.
            let text = match text.strip_prefix('{') {
                Some(rest) if rest.trim_start() != "}" => format!("{{\"{twice}\":[1,\"}}\"],{rest}"),
                _ => text,
            };
            let (mut parsed, mut skimmed) = (Vec::new(), Vec::new());
            let all = json::members(&text, &mut |key, value| {
                parsed.push((key.to_owned(), value.get()));
                parsed.len() < stop
            });
            let same = members(&text, &mut |key, value| {
                skimmed.push((key.to_owned(), super::value(value).expect("json").get()));
                skimmed.len() < stop
            });
            prop_assert_eq!((all, &parsed), (same, &skimmed), "{}", text);
            let (mut parsed, mut skimmed) = (Vec::new(), Vec::new());
            let all = json::elements(&text, &mut |value| {
                parsed.push(value.get());
                parsed.len() < stop
            });
            let same = elements(&text, &mut |value| {
                skimmed.push(value);
                skimmed.len() < stop
            });
            prop_assert_eq!((all, parsed), (same, skimmed), "{}", text);
        }

        /// Whatever somebody wrote into a file: nothing falls over it.
        #[test]
        fn what_is_no_json_is_gone_over_without_falling(text in "[{}\\[\\]\",:\\\\a1 ä]{0,24}") {
            members(&text, &mut |_, _| true);
            elements(&text, &mut |_| true);
        }
    }
}
