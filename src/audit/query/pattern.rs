//! Patterns for names: `login`, `audit.*`, `*@example.com`.

use std::fmt;

/// A text in which `*` stands for any run of characters; `\*` and `\\` stand for
/// themselves. Upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// What is between the asterisks.
    parts: Vec<Vec<u8>>,
}

impl Pattern {
    /// Reads it; every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parts = vec![Vec::new()];
        let mut chars = text.bytes().peekable();
        while let Some(byte) = chars.next() {
            let literal = match byte {
                b'*' => {
                    parts.push(Vec::new());
                    continue;
                }
                b'\\' => chars.next_if(|next| matches!(next, b'*' | b'\\')).unwrap_or(b'\\'),
                other => other,
            };
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        // Two asterisks in a row say no more than one.
        let (first, last) = (0, parts.len() - 1);
        let mut at = 0;
        parts.retain(|part| {
            let keep = at == first || at == last || !part.is_empty();
            at += 1;
            keep
        });
        Self { parts }
    }

    /// The one text that it stands for, if it has no asterisk.
    #[must_use]
    pub fn exact(&self) -> Option<&[u8]> {
        match &self.parts[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether a text is one that it stands for.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let [first, middle @ .., last] = &self.parts[..] else {
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
        for (nth, part) in self.parts.iter().enumerate() {
            if nth > 0 {
                f.write_str("*")?;
            }
            let text = String::from_utf8_lossy(part);
            f.write_str(&text.replace('\\', "\\\\").replace('*', "\\*"))?;
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
            (r"a\\", &[r"a\"], &["a"]),
            (r"a\b", &[r"a\b"], &["ab"]),
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

    proptest! {
        #[test]
        fn it_matches_as_the_regular_expression_that_says_the_same(
            pattern in "[ab*]{0,8}", text in "[ab]{0,8}",
        ) {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            let expected = regex::Regex::new(&expression).expect("regex").is_match(&text);
            let read = Pattern::new(&pattern);
            prop_assert_eq!(read.matches(text.as_bytes()), expected);
            prop_assert_eq!(Pattern::new(&read.to_string()), read);
        }
    }
}
