//! An event's id: its sender's own name for it, under which it is recorded once.
//!
//! An id belongs to its sender, by the system's word: two senders may use the same. What
//! is remembered of one are digests under a key that this process draws, so that
//! nobody can look for ids that collide.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use super::event::MAX_ID_BYTES;
use super::stored::{ID_START, ORIGIN_START, ORIGIN_VIA, RECORDED_AT, Record, TIMESTAMP, peek_seq};
use crate::clock::Timestamp;

/// What two events have in common that are the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Of the sender alone.
    pub(crate) sender: u64,
    /// Of the sender and its id.
    pub(crate) name: [u64; 2],
    /// Of what the event says: its text as it is stored, without what the log adds to it
    /// (`seq`, the time of acceptance, `origin`) and without the id.
    pub(crate) content: u64,
}

/// The keys of the digests, drawn anew by each process that opens a log. The digests are the
/// standard library's keyed ones, SipHash, which nobody can make collide who has not the keys; nothing
/// of them leaves the process.
#[derive(Clone, Debug)]
pub(crate) struct IdKey {
    sender: RandomState,
    name: [RandomState; 2],
    content: RandomState,
}

impl IdKey {
    pub(crate) fn random() -> Self {
        let new = RandomState::new;
        Self { sender: new(), name: [new(), new()], content: new() }
    }

    /// Of an event whose content is these bytes.
    pub(crate) fn of(&self, sender: &str, id: &str, content: &[u8]) -> Fingerprint {
        let name = (sender, id);
        Fingerprint {
            sender: self.sender.hash_one(sender),
            name: [self.name[0].hash_one(name), self.name[1].hash_one(name)],
            content: self.content.hash_one(content),
        }
    }

    /// Of a stored line, if it has an id.
    #[cfg(test)]
    fn of_line(&self, line: &[u8]) -> Option<Fingerprint> {
        self.of_identified(&Identified::of(line)?)
    }

    fn of_identified(&self, line: &Identified<'_>) -> Option<Fingerprint> {
        let Identified { origin, id, content, .. } = *line;
        let sender = sender(origin)?;
        let id: Cow<'_, str> = if id.contains(&b'\\') {
            Cow::Owned(serde_json::from_slice(id).ok()?)
        } else {
            Cow::Borrowed(std::str::from_utf8(&id[1..id.len() - 1]).ok()?)
        };
        Some(self.of(&sender, &id, content))
    }
}

/// What a stored record says that the window of ids is made again from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recalled {
    /// It has an id.
    Id { fingerprint: Fingerprint, accepted_at: Timestamp },
    /// The wall clock was set, ahead or back.
    ClockSet { by_micros: i64 },
}

/// The engine's record of that.
const CLOCK_CHANGED: &[u8] = b"\"event_type\":\"audit.clock_changed\"";

/// Whether a stored line is one that the window of ids is made again from.
pub(crate) fn is_recalled(line: &[u8]) -> bool {
    id_of(line).is_some() || is_clock_changed(line)
}

fn is_clock_changed(line: &[u8]) -> bool {
    let rest = memchr::memchr(b',', line).and_then(|comma| line.get(comma + 1..));
    let rest = rest.and_then(|rest| rest.strip_prefix(TIMESTAMP)?.get(27..)?.strip_prefix(b"\","));
    rest.is_some_and(|rest| rest.starts_with(CLOCK_CHANGED))
}

impl IdKey {
    /// What a stored line says, if it [`is_recalled`].
    pub(crate) fn recall(&self, line: &[u8]) -> Option<Recalled> {
        #[derive(Deserialize)]
        struct Set {
            from: Timestamp,
            to: Timestamp,
        }
        if let Some(identified) = Identified::of(line) {
            let fingerprint = self.of_identified(&identified)?;
            return Some(Recalled::Id { fingerprint, accepted_at: identified.accepted_at });
        }
        if !is_clock_changed(line) {
            return None;
        }
        let record: Record<'_> = serde_json::from_slice(line).ok()?;
        let Set { from, to } = serde_json::from_str(record.details?.get()).ok()?;
        let by_micros = to.micros().saturating_sub(from.micros());
        Some(Recalled::ClockSet { by_micros })
    }
}

/// A line's parts that make up its fingerprint.
struct Identified<'a> {
    origin: &'a [u8],
    /// With its quotes.
    id: &'a [u8],
    content: &'a [u8],
    accepted_at: Timestamp,
}

/// How the last of a line's members begin that its sender did not say.
static OWN_MEMBERS: LazyLock<memmem::FinderRev<'static>> =
    LazyLock::new(|| memmem::FinderRev::new(&[ORIGIN_START, ORIGIN_VIA].concat()).into_owned());

impl<'a> Identified<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let (before, id, recorded_at) = id_of(line)?;
        // No string of the origin has a bare quote in it, so this is the last member of
        // that name and no text.
        let at = OWN_MEMBERS.rfind(before)?;
        let (head, origin) = (&before[..at], &before[at + ORIGIN_START.len()..]);
        peek_seq(line)?;
        let mut content = &head[memchr::memchr(b',', head)? + 1..];
        let mut accepted_at = recorded_at;
        if recorded_at.is_none() {
            // The time is that of acceptance: the log's own.
            let (time, rest) = content.strip_prefix(TIMESTAMP)?.split_at_checked(27)?;
            accepted_at = Some(time);
            content = rest.strip_prefix(b"\",")?;
        }
        let accepted_at = std::str::from_utf8(accepted_at?).ok()?.parse().ok()?;
        Some(Self { origin, id, content, accepted_at })
    }
}

/// What comes before the id, the id with its quotes, and, where the sender gave the time, that of
/// acceptance.
type IdParts<'l> = (&'l [u8], &'l [u8], Option<&'l [u8]>);

/// The id of a line as the writer writes it.
/// All of it stands at the end of the line, and nothing else of a line can look like it: in
/// a string each quote has a backslash before it, and the members before are objects.
fn id_of(line: &[u8]) -> Option<IdParts<'_>> {
    let mut rest = line.strip_suffix(b"}")?;
    let tail = rest.len().checked_sub(RECORDED_AT.len() + 27 + 1);
    let mut recorded_at = None;
    if let Some((before, time)) = tail.and_then(|at| rest.split_at_checked(at))
        && let Some(time) = time.strip_prefix(RECORDED_AT)
    {
        (rest, recorded_at) = (before, time.get(..27));
    }
    if !rest.ends_with(b"\"") {
        return None;
    }
    // Escaped are only the quote and the backslash: an id has no control characters.
    let from = rest.len().saturating_sub(2 * MAX_ID_BYTES + 2 + ID_START.len() + 1);
    let at = from + memmem::rfind(&rest[from..], b"},\"id\":\"")? + 1;
    Some((&rest[..at], &rest[at + ID_START.len()..], recorded_at))
}

/// The id of a stored line, with its escapes resolved; also of one that another program wrote.
pub(crate) fn id_text(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some((_, id, _)) = id_of(line)
        && !id.contains(&b'\\')
    {
        return Some(Cow::Borrowed(&id[1..id.len() - 1]));
    }
    memmem::find(line, b"\"id\"")?;
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    record.id.map(|id| Cow::Owned(id.into_owned().into_bytes()))
}

/// Whose ids they are, by the record's `origin`.
fn sender(origin: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Sender<'a> {
        #[serde(borrow)]
        via: Cow<'a, str>,
        uid: Option<u32>,
        #[serde(borrow)]
        token: Option<Cow<'a, str>>,
    }
    let origin: Sender<'_> = serde_json::from_slice(origin).ok()?;
    Some(match (origin.token, origin.uid) {
        (Some(token), _) => format!("token:{token}"),
        (None, Some(uid)) => format!("uid:{uid}"),
        (None, None) => origin.via.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::event::Event;
    use crate::audit::record::{EncodedOrigin, Origin, Via, assemble, encode_body};
    use proptest::prelude::*;

    fn key() -> &'static IdKey {
        static KEY: LazyLock<IdKey> = LazyLock::new(IdKey::random);
        &KEY
    }

    fn stored(event: &Event, origin: &Origin, seq: u64, at: &str) -> (Vec<u8>, Fingerprint) {
        let (mut body, mut line) = (Vec::new(), Vec::new());
        let origin = EncodedOrigin::new(origin);
        let content = encode_body(event, &origin, &mut body);
        let id = event.id_value().unwrap_or_default();
        let fingerprint = key().of(origin.id_sender(), id, &body[..content]);
        assemble(seq, at.as_bytes(), event.timestamp_value().is_some(), &body, &mut line);
        (line, fingerprint)
    }

    const NOW: &str = "2026-02-04T21:09:40.123456Z";
    const LATER: &str = "2027-02-04T21:09:40.123456Z";

    proptest! {
        #[test]
        fn a_stored_line_has_the_fingerprint_of_its_event_whatever_is_in_it(
            id in "[a-z\"\\\\},:{ä]{1,40}", actor in proptest::option::of(".{0,12}"), has_time in any::<bool>(),
            token in proptest::option::of("[a-z\"\\\\},:{]{1,20}"),
            details in proptest::sample::select(vec![
                "", r#"{"id":"x"}"#, r#"{"x":"},\"id\":\"y"}"#, r#"{"x":{"id":"y"}}"#, r#"{"x":1,"origin":{"via":"socket","id":"z"}}"#,
                r#"{"x":",\"origin\":{\"via\":\"http\""}"#,
            ]),
        ) {
            let mut event = Event::new("login");
            if let Some(actor) = actor { event = event.actor(actor); }
            if !details.is_empty() { event = event.details_json(details).expect("json"); }
            if has_time { event = event.timestamp("2023-07-10T11:42:36Z".parse().expect("time")); }
            let origin = Origin { token, ..Origin::here(Via::Socket) };
            let (line, _) = stored(&event, &origin, 7, NOW);
            prop_assert!(!is_recalled(&line), "{}", String::from_utf8_lossy(&line));
            prop_assert_eq!(key().recall(&line), None);
            let event = event.id(id.clone());
            let (line, fingerprint) = stored(&event, &origin, 7, NOW);
            prop_assert!(is_recalled(&line));
            let text = id_text(&line).map(Cow::into_owned);
            prop_assert_eq!(text.as_deref(), Some(id.as_bytes()));
            let record: Record<'_> = serde_json::from_slice(&line).expect("a record");
            prop_assert_eq!(record.id.as_deref(), Some(&*id));
            let accepted_at = NOW.parse().expect("a time");
            prop_assert_eq!(key().recall(&line), Some(Recalled::Id { fingerprint, accepted_at }));
            // Neither its place nor the log's time is content.
            let (line, _) = stored(&event, &origin, 7_000_000, LATER);
            prop_assert_eq!(key().of_line(&line), Some(fingerprint));
        }
    }

    #[test]
    fn a_clock_that_was_set_is_recalled_and_nothing_that_looks_like_it() {
        let details = r#""details":{"from":"2026-02-04T21:00:00.000000Z","to":"2026-02-04T20:59:50.500000Z","by_seconds":-9},"origin":{"via":"engine","uid":0}}"#;
        let line = |event_type: &str| {
            format!(
                r#"{{"seq":9,"timestamp":"{NOW}","event_type":"{event_type}","actor":"auditctl","source":"auditctl",{details}"#
            )
        };
        let set = line("audit.clock_changed");
        assert!(is_recalled(set.as_bytes()));
        let by_micros = -9_500_000;
        assert_eq!(key().recall(set.as_bytes()), Some(Recalled::ClockSet { by_micros }));
        let other = line("audit.opened");
        assert!(!is_recalled(other.as_bytes()) && key().recall(other.as_bytes()).is_none());
    }

    #[test]
    fn the_longest_id_is_found_however_much_of_it_is_escaped() {
        let event = Event::new("a").id("\"".repeat(MAX_ID_BYTES));
        let (line, fingerprint) = stored(&event, &Origin::here(Via::Library), 1, NOW);
        assert_eq!(key().of_line(&line), Some(fingerprint));
    }

    #[test]
    fn two_senders_have_two_ids_of_the_same_text_and_the_way_in_is_none_of_it() {
        let event = Event::new("a").id("x");
        let of = |origin: &Origin| stored(&event, origin, 1, NOW).1;
        let socket = Origin { pid: Some(1), ..Origin::here(Via::Socket) };
        assert_eq!(of(&socket), of(&Origin { pid: Some(2), ..Origin::here(Via::Http) }));
        assert_eq!(of(&socket), of(&Origin::here(Via::Library)));
        let web = Origin { token: Some("web".to_owned()), ..socket.clone() };
        assert_ne!(of(&socket).name, of(&web).name);
        assert_eq!(of(&socket).content, of(&web).content);
        let uid = Origin { uid: socket.uid.map(|uid| uid + 1), ..socket.clone() };
        assert_ne!(of(&socket).name, of(&uid).name);
    }

    #[test]
    fn whatever_a_sender_says_is_content_and_the_time_counts_where_it_gave_one() {
        let base = || Event::new("a").id("x");
        let origin = Origin::here(Via::Socket);
        let content = |event: &Event| stored(event, &origin, 1, NOW).1.content;
        let at = |text: &str| base().timestamp(text.parse().expect("time"));
        let mut seen = vec![content(&base())];
        for other in [
            base().actor("b"),
            base().source("b"),
            base().target("b"),
            base().outcome("b"),
            base().details_json("{\"a\":1}").expect("json"),
            base().details_json("{\"a\":1.0}").expect("json"),
            at(NOW),
            at(LATER),
        ] {
            assert!(!seen.contains(&content(&other)), "{other:?}");
            seen.push(content(&other));
        }
        assert_eq!(content(&at("2026-02-04T22:09:40.123456+01:00")), content(&at(NOW)));
    }
}
