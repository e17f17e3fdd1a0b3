//! Patterns for names: `login`, `audit.*`, `*@example.com`.
//!
//! Whoever asks has often copied the name: from a record's JSON, with its escapes and
//! perhaps its quotes, or from where it is shown, without. A pattern stands for what it
//! says in each of these readings.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::condition::unescaped;

/// A text in which `*` stands for any run of characters. A backslash is a backslash,
/// but before an asterisk: `\*` is an asterisk, `\\*` a backslash and then anything.
/// Upper and lower case differ.
///
/// It also stands for the text that is written exactly so, and for the one that it is
/// as part of a JSON string: `DOMAIN\\user` finds `DOMAIN\user` as well, and
/// `"DOMAIN\\user"` does.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As it was written.
    text: String,
    /// How it may be meant; the first one is with the backslash as a backslash.
    readings: Vec<Reading>,
}

/// What is between the asterisks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Reading(Vec<Vec<u8>>);

impl Pattern {
    /// Reads it; every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut readings = vec![Reading::new(text)];
        let mut also = |reading: Option<Reading>| {
            readings.extend(reading.filter(|reading| !readings.contains(reading)));
        };
        if text.contains("\\*") {
            also(Some(Reading::verbatim(text)));
        }
        if text.contains('\\') {
            also(Reading::of_json(text));
        }
        if text.starts_with('"') {
            let quoted: Option<String> = serde_json::from_str(text).ok();
            also(quoted.map(|text| Reading::verbatim(&text)));
        }
        Self { text: text.to_owned(), readings }
    }

    /// As it was written.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.text
    }

    /// The texts that it stands for, if no asterisk makes them more than these.
    #[must_use]
    pub fn exact(&self) -> Option<Vec<&[u8]>> {
        self.readings.iter().map(Reading::exact).collect()
    }

    /// Whether a text is one that it stands for.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.readings.iter().any(|reading| reading.matches(text))
    }
}

// By what it stands for, however that is written.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.readings == other.readings
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.readings.cmp(&other.readings)
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.readings.hash(state);
    }
}

impl Reading {
    fn verbatim(text: &str) -> Self {
        Self(vec![text.as_bytes().to_vec()])
    }

    /// Of backslashes only those count that an asterisk follows: two of them are one,
    /// and one that is left over makes the asterisk one.
    fn new(text: &str) -> Self {
        let mut parts = vec![Vec::new()];
        let mut rest = text.as_bytes();
        while let Some(at) = memchr::memchr(b'*', rest) {
            let before = &rest[..at];
            rest = &rest[at + 1..];
            let slashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            let Some(part) = parts.last_mut() else { break };
            part.extend_from_slice(&before[..at - slashes]);
            part.resize(part.len() + slashes / 2, b'\\');
            if slashes % 2 == 1 {
                part.push(b'*');
            } else {
                parts.push(Vec::new());
            }
        }
        if let Some(part) = parts.last_mut() {
            part.extend_from_slice(rest);
        }
        Self(parts).normal()
    }

    /// As what stands between the quotes of a JSON string, with asterisks.
    fn of_json(text: &str) -> Option<Self> {
        let part = |part: &str| {
            let read = if part.contains('\\') { unescaped(part)? } else { part.to_owned() };
            Some(read.into_bytes())
        };
        let parts: Option<Vec<_>> = text.split('*').map(part).collect();
        Some(Self(parts?).normal())
    }

    /// Two asterisks in a row say no more than one.
    fn normal(mut self) -> Self {
        let (first, last) = (0, self.0.len() - 1);
        let mut at = 0;
        self.0.retain(|part| {
            let keep = at == first || at == last || !part.is_empty();
            at += 1;
            keep
        });
        self
    }

    fn exact(&self) -> Option<&[u8]> {
        match &self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let [first, middle @ .., last] = &self.0[..] else {
            return self.exact() == Some(text);
        };
        let Some(rest) = text.strip_prefix(&first[..]) else { return false };
        let Some(mut rest) = rest.strip_suffix(&last[..]) else { return false };
        // The earliest place for each part leaves the most room for the next.
        for part in middle {
            match memchr::memmem::find(rest, part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.readings.first().map_or(&[][..], |reading| &reading.0);
        for (nth, part) in parts.iter().enumerate() {
            let mut slashes = 0;
            for char in String::from_utf8_lossy(part).chars() {
                if char == '*' {
                    // Those before it, once more, and one for itself.
                    f.write_str(&"\\".repeat(slashes + 1))?;
                }
                slashes = if char == '\\' { slashes + 1 } else { 0 };
                write!(f, "{char}")?;
            }
            if nth + 1 < parts.len() {
                write!(f, "{}*", "\\".repeat(slashes))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_asterisk_stands_for_anything_and_an_escaped_one_for_itself() {
        for (pattern, yes, no) in [
            ("login", &["login"][..], &["Login", "login2", ""][..]),
            ("audit.*", &["audit.", "audit.opened"], &["audit", "xaudit."]),
            ("*@x.de", &["@x.de", "a@x.de"], &["a@x.de2"]),
            ("a*b*c", &["abc", "a12b34c", "abbcc"], &["acb", "ab", "a"]),
            ("*", &["", "x"], &[]),
            ("a*a", &["aa", "aba"], &["a"]),
            (r"a\*", &["a*"], &["ab"]),
        ] {
            let pattern = Pattern::new(pattern);
            for text in yes {
                assert!(pattern.matches(text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!pattern.matches(text.as_bytes()), "{pattern} {text}");
            }
        }
    }

    /// C5: names of Windows domains and shares, from wherever they were copied.
    #[test]
    fn a_backslash_is_one_and_what_was_copied_out_of_json_is_found_as_well() {
        for (pattern, yes, no) in [
            (r"DOMAIN\user", &[r"DOMAIN\user"][..], &["DOMAINuser", "DOMAIN"][..]),
            (r"DOMAIN\\user", &[r"DOMAIN\user", r"DOMAIN\\user"], &[r"DOMAIN\\\user"]),
            (r#""DOMAIN\\user""#, &[r"DOMAIN\user", r#""DOMAIN\\user""#], &["DOMAIN"]),
            (r"\\fs1\finance", &[r"\\fs1\finance"], &[r"\fs1\finance"]),
            (r"\\\\fs1\\finance", &[r"\\fs1\finance"], &[r"\fs1\finance"]),
            (r"\\fs1\\*", &[r"\\fs1\", r"\\fs1\hr\x"], &[r"\\fs1"]),
            (r"\\\\fs1\\*", &[r"\\fs1\hr"], &[r"\\fs2\hr"]),
            (r"DOMAIN\\*", &[r"DOMAIN\bob"], &["DOMAINbob"]),
            (r"C:\new", &[r"C:\new"], &["C:/new"]),
            (r"a\*b", &["a*b", r"a\*b"], &[r"a\xb", "axb"]),
            (r"a\\", &[r"a\", r"a\\"], &["a"]),
            (r"a\b", &[r"a\b"], &["ab"]),
        ] {
            let read = Pattern::new(pattern);
            for text in yes {
                assert!(read.matches(text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!read.matches(text.as_bytes()), "{pattern} {text}");
            }
        }
        let names = Pattern::new(r"DOMAIN\\user");
        assert_eq!(names.exact().map(|names| names.len()), Some(2), "filters look for both");
        assert_eq!(Pattern::new(r"a\\*").exact(), None);
    }

    proptest! {
        #[test]
        fn it_matches_as_the_regular_expression_that_says_the_same(
            pattern in "[ab*]{0,8}", text in "[ab]{0,8}",
        ) {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            let expected = regex::Regex::new(&expression).expect("regex").is_match(&text);
            prop_assert_eq!(Pattern::new(&pattern).matches(text.as_bytes()), expected);
        }

        /// C5: whatever a name is, it is found by itself, by what JSON has between its
        /// quotes, and with them.
        #[test]
        fn any_name_is_found_by_a_copy_of_it(name in "[ab*\\\\\"/\n]{0,8}|\\PC{0,8}") {
            let json = serde_json::to_string(&name).expect("json");
            for copy in [&*name, &json, &json[1..json.len() - 1]] {
                prop_assert!(Pattern::new(copy).matches(name.as_bytes()), "{}", copy);
            }
        }

        #[test]
        fn what_is_shown_of_a_pattern_reads_as_it_does(pattern in "[ab*\\\\]{0,8}") {
            let read = Pattern::new(&pattern);
            let again = Pattern::new(&read.to_string());
            prop_assert_eq!(&again.readings[0], &read.readings[0]);
        }
    }
}
