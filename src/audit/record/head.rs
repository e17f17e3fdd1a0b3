//! A stored line's own fields, read without parsing the whole of it.
//!
//! The writer puts the keys in one order and escapes as little as JSON allows
//! (docs/format.md), so that they are found by comparing bytes. A line that is
//! written in another way, by a program that is not ours, is parsed as JSON.

use std::borrow::Cow;

use crate::audit::record::{Record, peek_seq, push_string};
use crate::clock::Timestamp;

/// Bytes of a stored time.
pub(crate) const TIME_BYTES: usize = 27;

/// The fields that a record may name, in their stored order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// What happened.
    EventType,
    /// Who did it.
    Actor,
    /// Who reports it.
    Source,
    /// What it was done to.
    Target,
    /// How it ended.
    Outcome,
}

impl Field {
    /// In stored order.
    pub const ALL: [Self; 5] =
        [Self::EventType, Self::Actor, Self::Source, Self::Target, Self::Outcome];

    /// The key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventType => "event_type",
            Self::Actor => "actor",
            Self::Source => "source",
            Self::Target => "target",
            Self::Outcome => "outcome",
        }
    }

    fn start(self) -> &'static [u8] {
        match self {
            Self::EventType => b",\"event_type\":\"",
            Self::Actor => b",\"actor\":\"",
            Self::Source => b",\"source\":\"",
            Self::Target => b",\"target\":\"",
            Self::Outcome => b",\"outcome\":\"",
        }
    }
}

/// A stored line's own fields; texts with their escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) seq: u64,
    /// RFC 3339 with six decimals in UTC: compares as bytes.
    pub(crate) timestamp: Cow<'a, [u8]>,
    texts: [Option<Cow<'a, [u8]>>; 5],
}

impl<'a> Head<'a> {
    /// `None` for a line that is no record.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        Self::as_written(line).or_else(|| Self::as_json(line))
    }

    /// Whether the line has the form in which every version's writer writes records: who
    /// compares bytes and who parses JSON read the same of it.
    pub(crate) fn is_as_written(line: &'a [u8]) -> bool {
        let read = Self::as_written(line);
        read.is_some() && read == Self::as_json(line)
    }

    /// The same of a line whose fields are spelled as the writer spells them: who looks for a
    /// name's bytes in it finds what who reads it finds.
    pub(crate) fn of_the_writer(line: &'a [u8]) -> Option<Self> {
        let head = Self::as_written(line)?;
        let time = std::str::from_utf8(&head.timestamp).ok()?;
        let mut spelled = format!("{{\"seq\":{},\"timestamp\":\"{time}\"", head.seq).into_bytes();
        for field in Field::ALL {
            if let Some(text) = head.text(field) {
                let start = field.start();
                spelled.extend_from_slice(&start[..start.len() - 1]);
                push_string(&mut spelled, std::str::from_utf8(text).ok()?);
            }
        }
        line.starts_with(&spelled).then_some(head)
    }

    /// The time of a line of which only the start is there.
    pub(crate) fn time_at_start(start: &[u8]) -> Option<Timestamp> {
        let (_, time, _) = Self::start(start)?;
        std::str::from_utf8(time).ok()?.parse().ok()
    }

    pub(crate) fn text(&self, field: Field) -> Option<&[u8]> {
        self.texts[field as usize].as_deref()
    }

    /// Its seq, its time, and what follows.
    fn start(line: &[u8]) -> Option<(u64, &[u8], &[u8])> {
        let seq = peek_seq(line)?;
        let comma = memchr::memchr(b',', line)?;
        let rest = line[comma..].strip_prefix(b",\"timestamp\":\"")?;
        let (timestamp, rest) = rest.split_at_checked(TIME_BYTES)?;
        let rest = rest.strip_prefix(b"\"")?;
        is_stored_time(timestamp).then_some((seq, timestamp, rest))
    }

    fn as_written(line: &'a [u8]) -> Option<Self> {
        let (seq, timestamp, mut rest) = Self::start(line)?;
        let mut texts = [const { None }; 5];
        for field in Field::ALL {
            if let Some(after) = rest.strip_prefix(field.start()) {
                let (text, after) = string(after)?;
                texts[field as usize] = Some(text);
                rest = after;
            }
        }
        let known = rest.starts_with(b",\"details\":") || rest.starts_with(b",\"origin\":");
        let ends = known && rest.ends_with(b"}") && texts[0].is_some();
        ends.then_some(Self { seq, timestamp: Cow::Borrowed(timestamp), texts })
    }

    fn as_json(line: &'a [u8]) -> Option<Self> {
        let record: Record<'a> = serde_json::from_slice(line).ok()?;
        let mut timestamp = Vec::with_capacity(TIME_BYTES);
        record.timestamp.write_to(&mut timestamp);
        let texts =
            [Some(record.event_type), record.actor, record.source, record.target, record.outcome];
        let texts = texts.map(|text| text.map(bytes));
        Some(Self { seq: record.seq, timestamp: Cow::Owned(timestamp), texts })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn is_stored_time(text: &[u8]) -> bool {
    let shape = b"0000-00-00T00:00:00.000000Z";
    text.iter().zip(shape).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    })
}

/// The string that begins after its quote, and what follows its end.
fn string(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut at = memchr::memchr2(b'"', b'\\', bytes)?;
    if bytes[at] == b'"' {
        return Some((Cow::Borrowed(&bytes[..at]), &bytes[at + 1..]));
    }
    while bytes.get(at) == Some(&b'\\') {
        at += 2;
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
    }
    let mut quoted = Vec::with_capacity(at + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(&bytes[..=at]);
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some((Cow::Owned(text.into_bytes()), &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::event::Event;
    use crate::audit::record::{EncodedOrigin, Origin, Via, assemble, encode_body};
    use proptest::prelude::*;

    fn as_written(line: &[u8]) -> Head<'_> {
        Head::as_written(line).expect("a line of ours")
    }

    proptest! {
        #[test]
        fn a_line_of_ours_is_read_as_a_json_parser_reads_it(
            event_type in "\\PC{1,20}", actor in proptest::option::of(".{0,12}"),
            target in proptest::option::of("[\"\\\\a\u{1}ä]{0,8}"), has_time in any::<bool>(),
            details in proptest::option::of(Just(r#"{"actor":"mallory","x":"\",\"actor\":\"eve\""}"#)),
        ) {
            let mut event = Event::new(event_type);
            if let Some(actor) = actor { event = event.actor(actor); }
            if let Some(target) = target { event = event.target(target); }
            if let Some(details) = details { event = event.details_json(details).expect("json"); }
            if has_time { event = event.timestamp("2023-07-10T11:42:36Z".parse().expect("time")); }
            let mut body = Vec::new();
            encode_body(&event, &EncodedOrigin::new(&Origin::here(Via::Library)), &mut body);
            let mut line = Vec::new();
            let accepted = b"2026-02-04T21:09:40.123456Z";
            assemble(7, accepted, event.timestamp_value().is_some(), &body, &mut line);
            prop_assert_eq!(Some(as_written(&line)), Head::as_json(&line));
        }
    }

    #[test]
    fn a_line_with_its_keys_in_another_order_is_read_all_the_same() {
        let line = br#"{"seq":3,"event_type":"login","timestamp":"2026-02-04T21:09:40Z","actor":"\u0061l"}"#;
        assert_eq!(Head::as_written(line), None);
        let head = Head::parse(line).expect("json");
        assert_eq!((head.seq, &*head.timestamp), (3, &b"2026-02-04T21:09:40.000000Z"[..]));
        assert_eq!(head.text(Field::Actor), Some(&b"al"[..]));
    }

    #[test]
    fn what_is_no_record_has_no_head() {
        for line in [
            &b""[..],
            b"{}",
            b"{\"seq\":1}",
            b"{\"seq\":1,\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"x",
            b"{\"seq\":1,\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"x\\",
            b"\0\0\0",
        ] {
            assert_eq!(Head::parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
