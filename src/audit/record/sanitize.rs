//! Making what callers send safe to store and to show: compact, bounded
//! `details`, identifiers without control characters, text fit for a terminal.

use std::borrow::Cow;

/// What is wrong with `details`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum DetailsError {
    /// It is not a JSON object.
    #[error("`details` must be a JSON object, not {found}")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// Objects and arrays are nested too deep for readers to be expected to follow.
    #[error("`details` is nested deeper than {MAX_DETAILS_DEPTH} levels")]
    TooDeep,
    /// `\ud800` without its other half: no text, and many readers refuse it.
    #[error("`details` has half a surrogate pair (\\u{code:04x}) at byte {at}")]
    LoneSurrogate {
        /// The escape's code.
        code: u32,
        /// Where it begins.
        at: usize,
    },
    /// An object has a key twice: readers differ in which of the two they believe.
    #[error("`details` has the key {key:?} twice in one object")]
    DuplicateKey {
        /// The key, or its beginning.
        key: String,
    },
    /// A number that no 64-bit float can hold.
    #[error("`details` has a number beyond the range of a 64-bit float at byte {at}")]
    NumberTooLarge {
        /// Where it begins.
        at: usize,
    },
}

/// How deep `details` may be nested: below serde_json's own limit of 128, so
/// that every reader can follow.
pub const MAX_DETAILS_DEPTH: usize = 100;

/// Names a JSON value's type by its first byte.
#[must_use]
pub fn json_type(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Checks `details` given as valid JSON and makes it compact: white space
/// outside strings is dropped (so no line end gets into a record), numbers and
/// strings stay as they were written. Compact text is not copied.
///
/// # Errors
/// See [`DetailsError`].
pub fn compact_object(json: &str) -> Result<Cow<'_, str>, DetailsError> {
    if json.as_bytes().first() != Some(&b'{') {
        return Err(DetailsError::NotAnObject { found: json_type(json) });
    }
    let spaces = check_members(json, MAX_DETAILS_DEPTH)?;
    Ok(if spaces == 0 { Cow::Borrowed(json) } else { Cow::Owned(without_spaces(json, spaces)) })
}

/// Checks JSON that a parser has taken: that no key stands twice in one object, that it is
/// nested no deeper than so, and that numbers have a size. Counts its whitespace.
pub(crate) fn check_members(json: &str, deepest: usize) -> Result<usize, DetailsError> {
    let bytes = json.as_bytes();
    let mut depth = 0_usize;
    let mut spaces = 0_usize;
    let mut keys = Keys::default();
    let (mut at, mut string) = (0, 0..0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = skip_string(bytes, at)?;
                string = at..end;
                at = end;
            }
            b':' => {
                keys.texts.push(&json[string.clone()]);
                at += 1;
            }
            opening @ (b'{' | b'[') => {
                depth += 1;
                if depth > deepest {
                    return Err(DetailsError::TooDeep);
                }
                if opening == b'{' {
                    keys.begins.push(keys.texts.len());
                }
                at += 1;
            }
            closing @ (b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if closing == b'}' {
                    keys.end_object()?;
                }
                at += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                spaces += 1;
                at += 1;
            }
            b'-' | b'0'..=b'9' => at = skip_number(json, at)?,
            _ => at += 1,
        }
    }
    Ok(spaces)
}

/// So few keys are compared each with each.
const FEW_KEYS: usize = 12;

/// The keys of the objects that are open, as they are written.
#[derive(Default)]
struct Keys<'a> {
    texts: Vec<&'a str>,
    /// Where each open object's keys begin.
    begins: Vec<usize>,
}

impl Keys<'_> {
    /// Checks the keys of the object that ends, and forgets them.
    fn end_object(&mut self) -> Result<(), DetailsError> {
        let begin = self.begins.pop().unwrap_or_default();
        let keys = self.texts.get(begin..).unwrap_or_default();
        let twice = if keys.iter().any(|key| key.contains('\\')) {
            // Two spellings of one key are one key.
            let read = |key: &&str| serde_json::from_str(key).unwrap_or_else(|_| (*key).to_owned());
            let plain: Vec<String> = keys.iter().map(read).collect();
            twice(&plain).cloned()
        } else {
            twice(keys).map(|key| key.trim_matches('"').to_owned())
        };
        self.texts.truncate(begin);
        match twice {
            Some(key) => Err(DetailsError::DuplicateKey { key: key.chars().take(64).collect() }),
            None => Ok(()),
        }
    }
}

fn twice<T: Ord>(keys: &[T]) -> Option<&T> {
    if keys.len() <= FEW_KEYS {
        let seen_before = |(at, key): &(usize, &T)| keys[..*at].contains(key);
        return keys.iter().enumerate().find(seen_before).map(|(_, key)| key);
    }
    let mut sorted: Vec<&T> = keys.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Steps over a string that begins at `start`; checks its surrogate escapes.
fn skip_string(bytes: &[u8], start: usize) -> Result<usize, DetailsError> {
    let mut at = start + 1;
    loop {
        let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) else {
            return Ok(bytes.len());
        };
        at += found;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        match escape(bytes, at) {
            Some(code @ 0xD800..=0xDBFF) => match escape(bytes, at + 6) {
                Some(0xDC00..=0xDFFF) => at += 12,
                _ => return Err(DetailsError::LoneSurrogate { code, at }),
            },
            Some(code @ 0xDC00..=0xDFFF) => return Err(DetailsError::LoneSurrogate { code, at }),
            Some(_) => at += 6,
            None => at += 2,
        }
    }
}

/// The UTF-16 code unit that the `\u` escape at `at` stands for, if one is there.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn skip_number(json: &str, start: usize) -> Result<usize, DetailsError> {
    let bytes = json.as_bytes();
    let mut end = start;
    let mut exponent = false;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'e' | b'E' => exponent = true,
            b'-' | b'+' | b'.' | b'0'..=b'9' => {}
            _ => break,
        }
        end += 1;
    }
    // Fewer than 309 digits without an exponent cannot overflow.
    let suspicious = exponent || end - start > 300;
    if suspicious && !json[start..end].parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(DetailsError::NumberTooLarge { at: start });
    }
    Ok(end)
}

fn without_spaces(json: &str, spaces: usize) -> String {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len() - spaces);
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            // Checked by the caller's first pass.
            b'"' => skip_string(bytes, at).unwrap_or(bytes.len()),
            _ => {
                let stop = |byte: &u8| matches!(byte, b'"' | b' ' | b'\t' | b'\n' | b'\r');
                bytes[at..].iter().position(stop).map_or(bytes.len(), |found| at + found)
            }
        };
        out.push_str(&json[at..end]);
        at = end;
    }
    out
}

/// Whether a character may not stand in an identifier: C0, DEL, C1, and the
/// Unicode line and paragraph separators.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a name is as it would be stored: not too long, and without control characters.
pub(crate) fn is_clean(name: &str, longest: usize) -> bool {
    name.len() <= longest && !name.contains(is_control)
}

/// Whether there are control characters in it.
pub(crate) fn has_control(text: &str) -> bool {
    text.contains(is_control)
}

/// Replaces control characters by U+FFFD in place; whether there were any.
pub fn clean_identifier(text: &mut String) -> bool {
    // Printable ASCII, the usual case, is seen without decoding.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.contains(is_control) {
        return false;
    }
    *text = text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect();
    true
}

/// What may be shown on a terminal: control characters and those that turn the
/// writing direction around are shown as `\u{..}`.
#[must_use]
pub fn escape_for_terminal(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        is_control(c)
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if bad(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compact_details_are_not_copied_and_white_space_outside_strings_goes() {
        let compact = r#"{"a":[1,2.50,-3e5,{"b c":"x \" y\\"}],"d":null}"#;
        assert!(matches!(compact_object(compact), Ok(Cow::Borrowed(_))));
        let loose = "{ \"a\" :\n[1,\t2.50, -3e5 ,{\"b c\":\"x \\\" y\\\\\"}],\r\n\"d\": null }";
        assert_eq!(compact_object(loose).expect("valid"), compact);
    }

    #[test]
    fn what_many_readers_choke_on_is_refused_by_name() {
        let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
        assert_eq!(compact_object(&deep), Err(DetailsError::TooDeep));
        for lone in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800x"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\ud800\u0041"}"#,
        ] {
            assert!(
                matches!(compact_object(lone), Err(DetailsError::LoneSurrogate { .. })),
                "{lone}"
            );
        }
        assert!(compact_object(r#"{"a":"\ud83d\ude00"}"#).is_ok());
        assert!(matches!(
            compact_object(r#"{"a":1e999}"#),
            Err(DetailsError::NumberTooLarge { at: 5 })
        ));
        let long = format!("{{\"a\":{}}}", "9".repeat(400));
        assert!(matches!(compact_object(&long), Err(DetailsError::NumberTooLarge { .. })));
        assert_eq!(compact_object("[1]"), Err(DetailsError::NotAnObject { found: "an array" }));
    }

    #[test]
    fn a_key_that_stands_twice_in_one_object_is_refused_however_it_is_spelled() {
        let many: String = (0..40).map(|n| format!("\"k{n}\":{n},")).collect();
        for twice in [
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"a":1,"\u0061":2}"#.to_owned(),
            r#"{ "x" : [ { "a" : {"b":[]} , "a" : "a" } ] }"#.to_owned(),
            r#"{"":1,"":2}"#.to_owned(),
            format!("{{{many}\"k7\":0}}"),
        ] {
            let error = compact_object(&twice).expect_err(&twice);
            assert!(matches!(error, DetailsError::DuplicateKey { .. }), "{twice}: {error}");
        }
        for once in [
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#.to_owned(),
            r#"{"a":"a","b":["a","a","a"],"c":":","d":"{\"a\":1}"}"#.to_owned(),
            r#"{"a":1,"A":2,"a ":3,"\\u0061":4}"#.to_owned(),
            format!("{{{many}\"k\":0}}"),
        ] {
            assert!(compact_object(&once).is_ok(), "{once}");
        }
    }

    #[test]
    fn control_characters_in_identifiers_are_replaced_and_told() {
        let mut plain = "arn:aws:iam::1:user/jürgen".to_owned();
        assert!(!clean_identifier(&mut plain));
        let mut evil = "a\nb\u{1b}[2Jc\u{85}d\u{2028}".to_owned();
        assert!(clean_identifier(&mut evil));
        assert_eq!(evil, "a\u{fffd}b\u{fffd}[2Jc\u{fffd}d\u{fffd}");
    }

    #[test]
    fn terminal_text_cannot_move_the_cursor_or_turn_the_line_around() {
        assert_eq!(escape_for_terminal("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
        assert!(matches!(escape_for_terminal("käse"), Cow::Borrowed(_)));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC*".prop_map(serde_json::Value::from),
            "[ \"\\\\\n\t]{0,6}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map("\\PC{0,5}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compacting_keeps_the_value_and_leaves_no_line_end(value in json()) {
            let object = serde_json::json!({ "v": value });
            let pretty = serde_json::to_string_pretty(&object).expect("json");
            let compact = compact_object(&pretty).expect("valid");
            prop_assert_eq!(&*compact, serde_json::to_string(&object).expect("json"));
        }
    }
}
