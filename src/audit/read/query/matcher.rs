//! Finding the records of a block that a filter asks for.
//!
//! Most lines are never parsed: a text that every match must contain is looked
//! for in the whole block at once, and only the lines around it are read.

use memchr::memmem::Finder;

use super::filter::Filter;
use crate::audit::record::head::{Field, Head};
use crate::audit::record::id::id_text;
use crate::audit::record::push_string;

/// A filter, made ready.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    filter: &'a Filter,
    since: Option<Vec<u8>>,
    until: Option<Vec<u8>>,
    texts: Vec<Text<'a>>,
    needle: Option<Needle>,
}

/// A text that a record must contain.
#[derive(Debug)]
struct Text<'a> {
    finder: Finder<'a>,
    /// With its escapes resolved: it may have been copied out of JSON, or from a table.
    copied: Option<Finder<'static>>,
}

/// What every match contains.
#[derive(Debug)]
struct Needle {
    finder: Finder<'static>,
    /// Unless the line has this: then it may be there in another spelling.
    or: Option<Finder<'static>>,
}

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Lines that were looked at as records.
    pub(super) read: u64,
    /// Those that are none.
    pub(super) unreadable: u64,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(filter: &'a Filter) -> Self {
        let time = |at: &crate::clock::Timestamp| at.to_string().into_bytes();
        Self {
            since: filter.since.as_ref().map(time),
            until: filter.until.as_ref().map(time),
            texts: filter.texts.iter().map(|text| Text::new(text)).collect(),
            needle: needle(filter),
            filter,
        }
    }

    pub(super) fn filter(&self) -> &'a Filter {
        self.filter
    }

    /// Whether every record in the filter's ranges of seqs and times is one.
    pub(super) fn takes_all_of_a_time(&self) -> bool {
        let filter = self.filter;
        filter.fields.iter().chain([&filter.ids]).all(Vec::is_empty)
            && filter.conditions.is_empty()
            && filter.texts.is_empty()
    }

    /// Hands over the matching lines, without their LF, in order, until `found`
    /// says that it has enough.
    pub(super) fn scan(
        &self,
        lines: &[u8],
        found: &mut dyn FnMut(&Head<'_>, &[u8]) -> bool,
    ) -> Seen {
        let mut seen = Seen::default();
        let mut take = |line: &[u8]| {
            seen.read += 1;
            let Some(head) = Head::parse(line) else {
                seen.unreadable += 1;
                return true;
            };
            !self.accepts(&head, line) || found(&head, line)
        };
        match &self.needle {
            Some(needle) if needle.or.as_ref().is_none_or(|or| or.find(lines).is_none()) => {
                let mut at = 0;
                while let Some(hit) = needle.finder.find(&lines[at..]) {
                    let hit = at + hit;
                    let begin =
                        memchr::memrchr(b'\n', &lines[at..hit]).map_or(at, |lf| at + lf + 1);
                    let end =
                        memchr::memchr(b'\n', &lines[hit..]).map_or(lines.len(), |lf| hit + lf);
                    if !take(&lines[begin..end]) {
                        break;
                    }
                    at = (end + 1).min(lines.len());
                }
            }
            needle => {
                let mut at = 0;
                while at < lines.len() {
                    let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |lf| at + lf);
                    let line = &lines[at..end];
                    let candidate = needle.as_ref().is_none_or(|needle| needle.may_be_in(line));
                    if candidate && !take(line) {
                        break;
                    }
                    at = end + 1;
                }
            }
        }
        seen
    }

    /// Whether a line, without its LF, is one that the filter takes.
    pub(super) fn takes(&self, line: &[u8]) -> bool {
        let candidate = self.needle.as_ref().is_none_or(|needle| needle.may_be_in(line));
        candidate && Head::parse(line).is_some_and(|head| self.accepts(&head, line))
    }

    fn accepts(&self, head: &Head<'_>, line: &[u8]) -> bool {
        let filter = self.filter;
        let time = &*head.timestamp;
        (filter.seq.0..filter.seq.1).contains(&head.seq)
            && self.since.as_ref().is_none_or(|since| time >= &since[..])
            && self.until.as_ref().is_none_or(|until| time < &until[..])
            && Field::ALL.iter().all(|field| {
                let patterns = &filter.fields[*field as usize];
                patterns.is_empty()
                    || head
                        .text(*field)
                        .is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
            })
            && (filter.ids.is_empty()
                || id_text(line)
                    .is_some_and(|id| filter.ids.iter().any(|pattern| pattern.matches(&id))))
            && self.texts.iter().all(|text| text.is_in(line))
            && filter.conditions.iter().all(|condition| condition.holds(line))
    }
}

impl Needle {
    fn may_be_in(&self, line: &[u8]) -> bool {
        self.finder.find(line).is_some()
            || self.or.as_ref().is_some_and(|or| or.find(line).is_some())
    }
}

/// The needle that is likely to be rarest.
fn needle(filter: &Filter) -> Option<Needle> {
    let of_name = |name: &str, exact: &[&[u8]]| {
        let [only] = exact else { return None };
        let text = std::str::from_utf8(only).ok()?;
        // The writer has one way to write it.
        let mut needle = format!("\"{name}\":").into_bytes();
        push_string(&mut needle, text);
        Some(Needle { finder: finder(&needle), or: None })
    };
    let of_field = |field: Field| of_name(field.as_str(), &filter.exact(field)?);
    let of_id = || of_name("id", &super::filter::exact(&filter.ids)?);
    let of_texts = || {
        // One that may have been copied has more than one form.
        let plain = filter.texts.iter().filter(|text| !text.contains('\\'));
        let longest = plain.max_by_key(|text| text.len())?;
        Some(Needle { finder: finder(longest.as_bytes()), or: Some(Finder::new("\\")) })
    };
    let of_conditions = || {
        let needles = filter.conditions.iter().filter_map(|condition| condition.needle());
        let longest = needles.max_by_key(Vec::len)?;
        Some(Needle { finder: finder(&longest), or: Some(Finder::new("\\u")) })
    };
    of_id()
        .or_else(|| of_field(Field::Target))
        .or_else(|| of_field(Field::Actor))
        .or_else(of_texts)
        .or_else(|| of_field(Field::Source))
        .or_else(|| of_field(Field::EventType))
        .or_else(of_conditions)
        .or_else(|| of_field(Field::Outcome))
}

fn finder(bytes: &[u8]) -> Finder<'static> {
    Finder::new(bytes).into_owned()
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let copied = text.contains('\\').then(|| finder(&unescaped(text.as_bytes())));
        Self { finder: Finder::new(text.as_bytes()), copied }
    }

    /// Whether a line contains it, as it is stored or with its escapes resolved.
    fn is_in(&self, line: &[u8]) -> bool {
        let is_in = |line: &[u8]| {
            self.finder.find(line).is_some()
                || self.copied.as_ref().is_some_and(|copied| copied.find(line).is_some())
        };
        is_in(line) || memchr::memchr(b'\\', line).is_some() && is_in(&unescaped(line))
    }
}

/// A line with its JSON escapes resolved. What is no escape stays as it is.
pub(super) fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let length = escape(rest, &mut out);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// Resolves the escape at the beginning; its length.
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let plain = match bytes.get(1) {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'u') => {
            let unit = |at: usize| {
                let digits = std::str::from_utf8(bytes.get(at..at + 4)?).ok()?;
                u16::from_str_radix(digits, 16).ok()
            };
            let pair = (bytes.get(6..8) == Some(b"\\u")).then(|| unit(8)).flatten();
            let units: Vec<u16> = unit(2).into_iter().chain(pair).collect();
            if let Some(Ok(char)) = char::decode_utf16(units).next() {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return if char.len_utf16() == 2 { 12 } else { 6 };
            }
            b'\\'
        }
        _ => b'\\',
    };
    out.push(plain);
    if plain == b'\\' && bytes.get(1) != Some(&b'\\') { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::Request;

    #[test]
    fn escapes_are_resolved_and_what_is_none_stays() {
        for (text, expected) in [
            (r"plain", "plain"),
            (r#"say \"hi\""#, "say \"hi\""),
            (r"a\\b\/c\n", "a\\b/c\n"),
            (r"\u00e4\u0041", "äA"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d x", r"\ud83d x"),
            (r"\u00", r"\u00"),
            (r"\", r"\"),
            (r"\x", r"\x"),
        ] {
            assert_eq!(String::from_utf8_lossy(&unescaped(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn a_name_in_the_details_is_not_taken_for_the_field() {
        let lines = concat!(
            r#"{"seq":0,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"x","actor":"bob","details":{"actor":"alice"},"origin":{}}"#,
            "\n",
            r#"{"seq":1,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"x","actor":"alice","details":{"s":"\u0061"},"origin":{}}"#,
            "\n",
        );
        let request = Request { actor: vec!["alice".to_owned()], ..Request::default() };
        let query = request.resolve(Default::default()).expect("query");
        let mut seqs = Vec::new();
        let seen = Matcher::new(&query.filter).scan(lines.as_bytes(), &mut |head, _| {
            seqs.push(head.seq);
            true
        });
        assert_eq!((seqs, seen.unreadable), (vec![1], 0));
    }
}
