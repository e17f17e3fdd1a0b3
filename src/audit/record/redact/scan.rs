//! One pass over `details`, without a tree of it: nothing is copied until a value
//! has to be replaced.

use std::borrow::Cow;

use super::key::RedactKey;
use super::rules::{Key, OnPath, Rules};

/// With its HMACs it is larger than may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Replaces the values that the rules name in a compact JSON object, no deeper
/// than details may be; `None` when there are none. Stops once the result is
/// larger than `limit`: an HMAC is longer than most of what it stands for.
pub(super) fn redact(
    json: &str,
    rules: &Rules,
    (key, hides_again): (&RedactKey, bool),
    limit: usize,
) -> Result<Option<String>, TooLarge> {
    if !rules.may_concern(json) {
        return Ok(None);
    }
    let mut scan = Scan { json, rules, key, hides_again, limit, out: String::new(), copied: 0 };
    scan.value(0, rules.at_details(), 0, rules.all_details)?;
    if scan.copied == 0 {
        return Ok(None);
    }
    scan.out.push_str(&json[scan.copied..]);
    Ok(Some(scan.out))
}

struct Scan<'a> {
    json: &'a str,
    rules: &'a Rules,
    key: &'a RedactKey,
    /// Whether what looks like an HMAC already is replaced as well: a sender may write
    /// what he likes. In a later pass it is one.
    hides_again: bool,
    limit: usize,
    out: String,
    /// So far the input is in `out`, replaced where it has to be.
    copied: usize,
}

impl Scan<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.json.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// Goes over the value that begins at `at`, `depth` keys below `details`; its
    /// end. With `all` everything inside is replaced.
    fn value(&mut self, at: usize, on: OnPath, depth: usize, all: bool) -> Result<usize, TooLarge> {
        match self.byte(at) {
            b'{' => self.object(at + 1, on, depth, all),
            b'[' => self.array(at + 1, on, depth, all),
            b'"' => {
                let (end, _) = self.string(at);
                if all {
                    self.replace(at, end)?;
                }
                Ok(end)
            }
            first => {
                let rest = &self.json.as_bytes()[at.min(self.json.len())..];
                let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
                let end = at + length.unwrap_or(rest.len());
                if all && !matches!(first, b'n' | 0) {
                    self.replace(at, end)?;
                }
                Ok(end)
            }
        }
    }

    fn object(
        &mut self,
        mut at: usize,
        on: OnPath,
        depth: usize,
        all: bool,
    ) -> Result<usize, TooLarge> {
        while self.byte(at) == b'"' {
            let (end, has_escapes) = self.string(at);
            let (mut next, mut hidden) = (0, all);
            if !all && self.rules.look_at_keys(on) {
                let mut room = String::new();
                let raw = self.json.get(at + 1..end - 1).unwrap_or_default();
                let key = Key::new(raw, has_escapes, &mut room);
                (next, hidden) = self.rules.follow(on, depth, key);
                hidden |= self.rules.names(key);
            }
            // Over the colon, and after the value over the comma or brace.
            at = self.value(end + 1, next, depth + 1, hidden)?;
            at += 1;
            if self.byte(at - 1) != b',' {
                return Ok(at.min(self.json.len()));
            }
        }
        Ok((at + 1).min(self.json.len()))
    }

    fn array(
        &mut self,
        mut at: usize,
        on: OnPath,
        depth: usize,
        all: bool,
    ) -> Result<usize, TooLarge> {
        let mut place = 0_usize;
        while !matches!(self.byte(at), b']' | 0) {
            let (next, ends) = if on == 0 {
                (0, false)
            } else {
                let mut digits = itoa::Buffer::new();
                self.rules.follow(on, depth, Key::of_place(digits.format(place)))
            };
            at = self.value(at, next, depth + 1, all || ends)?;
            place += 1;
            if self.byte(at) == b',' {
                at += 1;
            }
        }
        Ok((at + 1).min(self.json.len()))
    }

    /// The end of the string that begins at `at`, after its quote, and whether it has
    /// escapes.
    fn string(&self, at: usize) -> (usize, bool) {
        let bytes = self.json.as_bytes();
        let (mut end, mut has_escapes) = (at + 1, false);
        while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(end..).unwrap_or_default()) {
            end += found;
            if bytes[end] == b'"' {
                return (end + 1, has_escapes);
            }
            has_escapes = true;
            end += 2;
        }
        (bytes.len(), has_escapes)
    }

    fn replace(&mut self, at: usize, end: usize) -> Result<(), TooLarge> {
        let raw = &self.json[at..end];
        let value = if raw.starts_with('"') {
            // Checked when the event was read: an escape that cannot be resolved
            // would be hidden as it stands.
            serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
        } else {
            Cow::Borrowed(raw)
        };
        if !self.hides_again && super::is_redacted(&value) {
            return Ok(());
        }
        self.out.push_str(&self.json[self.copied..at]);
        self.out.push('"');
        self.out.push_str(&self.key.redacted(value.as_bytes()));
        self.out.push('"');
        self.copied = end;
        if self.out.len() > self.limit { Err(TooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    fn key() -> RedactKey {
        let dir = tempfile::tempdir().expect("directory");
        RedactKey::create(&OsFs, &dir.path().join("key")).expect("key")
    }

    fn rules(paths: &[&str]) -> Rules {
        let parsed: Vec<_> = paths.iter().map(|text| text.parse().expect("path")).collect();
        Rules::new(&parsed)
    }

    /// The redacted text, with each HMAC of `value` shown as `<value>`.
    fn shown(json: &str, paths: &[&str], values: &[&str]) -> String {
        let key = key();
        let redacted = redact(json, &rules(paths), (&key, true), 1 << 20).expect("fits");
        let mut text = redacted.unwrap_or_else(|| json.to_owned());
        for value in values {
            text = text.replace(&key.redacted(value.as_bytes()), &format!("<{value}>"));
        }
        text
    }

    #[test]
    fn a_name_is_found_at_any_depth_in_any_spelling_and_as_often_as_it_is_there() {
        for (json, expected) in [
            (r#"{"password":"s"}"#, r#"{"password":"<s>"}"#),
            (r#"{"a":1,"PassWord":"s","b":[]}"#, r#"{"a":1,"PassWord":"<s>","b":[]}"#),
            (r#"{"pass\u0077ord":"\u0073"}"#, r#"{"pass\u0077ord":"<s>"}"#),
            (r#"{"\u0050assword":"s"}"#, r#"{"\u0050assword":"<s>"}"#),
            (r#"{"password":"s","password":"s"}"#, r#"{"password":"<s>","password":"<s>"}"#),
            (
                r#"{"a":[{"b":[[{"password":"s"}]]},2]}"#,
                r#"{"a":[{"b":[[{"password":"<s>"}]]},2]}"#,
            ),
            (
                r#"{"password":{"x":"s","y":[true,null,5,{}]}}"#,
                r#"{"password":{"x":"<s>","y":["<true>",null,"<5>",{}]}}"#,
            ),
            (r#"{"password":5,"n":5}"#, r#"{"password":"<5>","n":5}"#),
            (r#"{"password":"5"}"#, r#"{"password":"<5>"}"#),
            (r#"{"password":-5.0e2}"#, r#"{"password":"<-5.0e2>"}"#),
            (r#"{"x":"password","passwords":"s"}"#, r#"{"x":"password","passwords":"s"}"#),
            (r#"{"\"password\":\"s":1}"#, r#"{"\"password\":\"s":1}"#),
            (r#"{"to\u212aen":"s"}"#, r#"{"to\u212aen":"<s>"}"#),
            (r#"{}"#, r#"{}"#),
        ] {
            let values = ["s", "true", "5", "-5.0e2"];
            assert_eq!(shown(json, &["password", "token"], &values), expected, "{json}");
        }
    }

    #[test]
    fn a_path_is_followed_from_the_top_through_keys_and_elements() {
        let json = r#"{"card":{"number":"1","x":{"y":"2"}},"a":{"card":{"number":"3"}},"l":[{"k":"4","n":"5"},{"k":"6"}]}"#;
        for (path, hidden) in [
            ("details.card.*", &["1", "2"][..]),
            ("details.CARD.number", &["1"]),
            ("details.*.card.number", &["3"]),
            ("details.card", &["1", "2"]),
            ("details.l.*.k", &["4", "6"]),
            ("details.l.0.*", &["4", "5"]),
            ("details.l.1", &["6"]),
            ("details.l.*.?", &[]),
            ("details.*", &["1", "2", "3", "4", "5", "6"]),
            ("details", &["1", "2", "3", "4", "5", "6"]),
            ("number", &["1", "3"]),
            ("num*", &["1", "3"]),
            ("details.nothing.*", &[]),
        ] {
            let all = ["1", "2", "3", "4", "5", "6"];
            let text = shown(json, &[path], &all);
            for value in all {
                let is_hidden = text.contains(&format!("\"<{value}>\""));
                assert_eq!(is_hidden, hidden.contains(&value), "{path}: {value} in {text}");
            }
        }
        let two = shown(json, &["details.card.number", "details.l.*.n"], &["1", "5", "4"]);
        assert!(two.contains("<1>") && two.contains("<5>") && !two.contains("<4>"), "{two}");
    }

    #[test]
    fn what_grows_beyond_the_limit_is_given_up_early() {
        let json = format!("{{\"token\":[{}0]}}", "1,".repeat(100_000));
        assert_eq!(redact(&json, &rules(&["token"]), (&key(), true), 50 << 10), Err(TooLarge));
        let one = r#"{"token":1}"#;
        assert!(redact(one, &rules(&["token"]), (&key(), true), 100).is_ok());
        assert_eq!(redact(one, &rules(&["token"]), (&key(), true), 80), Err(TooLarge));
    }

    #[test]
    fn text_that_is_no_json_ends_the_scan() {
        for text in [
            "", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "[", "[1,", "{\"a\":[", "{]", "[}",
            "{\"a\\",
        ] {
            let _ = redact(text, &rules(&["a", "details.*"]), (&key(), true), 1 << 20);
        }
    }
}
