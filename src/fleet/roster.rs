//! The roster: which logs there have to be, and the key of each, signed by an operator.
//!
//! ```text
//! auditctl/roster v1
//! acme-production                       its name
//! sequence 7                            each one has a larger number than the one before
//! date 2026-02-04T21:09:40.000000Z
//! # a comment
//! log 5f0c2b9e… key=example.com/audit/5f0c2b9e…+1a2b3c4d+AT… host=web-1 epoch=0 silent_after=1d
//! acknowledge overwritten data/day=… version=3sL4… reason=sent twice by hand, ticket 4711
//!
//! — acme.example/roster Az3grl…
//! ```
//!
//! A signed note (<https://c2sp.org/signed-note>). The first line has a space in it, which no
//! origin has: a roster never passes for a checkpoint.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::finding::FindingKind;
use crate::archive::{HostName, LogName};
use crate::audit::keys::checkpoint::{Note, NoteError, VerifierKey};
use crate::audit::keys::signer::SigningKey;
use crate::clock::Timestamp;
use crate::units::{format_duration, parse_duration};

/// The largest roster that is read, in bytes: room for 100,000 logs.
pub const MAX_ROSTER_BYTES: usize = 32 << 20;
const KIND: &str = "auditctl/roster v1";
/// The longest name of a roster.
const MAX_NAME_BYTES: usize = 128;

/// The logs that there have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Whose it is.
    pub name: String,
    /// Its number: each one has a larger one than the one before.
    pub sequence: u64,
    /// When it was signed, or drafted.
    pub date: Timestamp,
    /// The logs, by their ids.
    pub logs: BTreeMap<String, Expected>,
    /// What was found that can never be put right, and is known.
    pub acknowledged: Vec<Acknowledgement>,
}

/// What was found of an object, and is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// What is found of it: `overwritten`, `removed`, `foreign_object` or `table_differs`.
    pub kind: FindingKind,
    /// The object's name in the archive.
    pub object: String,
    /// What is there under the name.
    pub what: What,
    /// Why it stays, for people.
    pub reason: String,
}

/// What is there under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The SHA-256 of the object, in lower-case hexadecimal digits.
    Sha256(String),
    /// The id of its newest version, or of the marker that hides it.
    Version(String),
}

/// What is expected of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// One of its keys.
    pub key: VerifierKey,
    /// The names of its hosts, as they stand in the names of objects.
    pub hosts: Vec<HostName>,
    /// The newest epoch that the operator knows of.
    pub epoch: Option<u32>,
    /// After how long without anything new it is silent.
    pub silent_after: Silence,
}

/// After how long a log is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// The roster does not say.
    #[default]
    Unsaid,
    /// It may be silent for ever: the host was retired.
    Never,
    /// After so long.
    After(Duration),
}

/// Why a text is no roster, or not one to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// The note around it, or its signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A line of it.
    #[error("line {line} of the roster: {reason}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Roster {
    /// Reads a roster that a key signed.
    ///
    /// # Errors
    /// See [`RosterError`].
    pub fn read_signed(bytes: &[u8], key: &VerifierKey) -> Result<Self, RosterError> {
        check_size(bytes)?;
        let note = Note::parse_within(bytes, MAX_ROSTER_BYTES)?;
        note.verify(key)?;
        Self::parse(note.text())
    }

    /// Reads the text of a roster, whoever signed it; signatures under it are passed over.
    ///
    /// # Errors
    /// See [`RosterError`].
    pub fn read_text(bytes: &[u8]) -> Result<Self, RosterError> {
        check_size(bytes)?;
        if let Ok(note) = Note::parse_within(bytes, MAX_ROSTER_BYTES) {
            return Self::parse(note.text());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| RosterError::Line { line: 1, reason: "it is not UTF-8".to_owned() })?;
        Self::parse(text)
    }

    /// The signed note.
    ///
    /// # Errors
    /// It is too large.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        key.sign_note_within(self.to_string(), MAX_ROSTER_BYTES).map(|note| note.to_string())
    }

    fn parse(text: &str) -> Result<Self, RosterError> {
        let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.starts_with('#'));
        let refuse = |line, reason: &str| RosterError::Line { line, reason: reason.to_owned() };
        let mut next = |what: &'static str| {
            let ended = || refuse(text.lines().count() + 1, &format!("{what} is missing"));
            lines.next().ok_or_else(ended)
        };
        let (kind, line) = next("the first line")?;
        if kind != KIND {
            return Err(refuse(line, &format!("\"{KIND}\" is expected")));
        }
        let (name, line) = next("the roster's name")?;
        check_name(name).map_err(|reason| refuse(line, reason))?;
        let (sequence, line) = next("\"sequence N\"")?;
        let sequence = sequence.strip_prefix("sequence ").and_then(|number| number.parse().ok());
        let sequence = sequence.ok_or_else(|| refuse(line, "\"sequence N\" is expected"))?;
        let (date, line) = next("\"date TIME\"")?;
        let date = date.strip_prefix("date ").and_then(|date| date.parse().ok());
        let date = date.ok_or_else(|| refuse(line, "\"date TIME\" is expected"))?;
        let (mut logs, mut acknowledged) = (BTreeMap::new(), Vec::new());
        for (text, line) in lines.filter(|(line, _)| !line.trim().is_empty()) {
            if let Some(rest) = text.strip_prefix("acknowledge ") {
                acknowledged.push(Acknowledgement::parse(rest).map_err(|why| refuse(line, &why))?);
                continue;
            }
            let (id, expected) =
                Expected::parse(text).map_err(|reason| RosterError::Line { line, reason })?;
            if logs.insert(id.clone(), expected).is_some() {
                return Err(refuse(line, &format!("log {id} is in it twice")));
            }
        }
        Ok(Self { name: name.to_owned(), sequence, date, logs, acknowledged })
    }
}

fn check_size(bytes: &[u8]) -> Result<(), RosterError> {
    if bytes.len() <= MAX_ROSTER_BYTES {
        return Ok(());
    }
    let reason = format!("it has {} bytes; at most {MAX_ROSTER_BYTES} are read", bytes.len());
    Err(RosterError::Line { line: 1, reason })
}

/// Whether a roster may be called so.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim() != name || name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("a roster's name has 1 to 128 bytes, and no space at either end");
    }
    match name.chars().any(char::is_control) || name.starts_with('#') {
        true => Err("a roster's name has no control characters, and does not begin with \"#\""),
        false => Ok(()),
    }
}

impl Expected {
    fn parse(text: &str) -> Result<(String, Self), String> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some("log") {
            return Err("\"log ID key=KEY …\" is expected".to_owned());
        }
        let id = words.next().filter(|id| LogName::new(id, 0).is_some());
        let id = id.ok_or("a log's id is expected after \"log\"")?;
        let (mut key, mut hosts, mut epoch) = (None, Vec::new(), None);
        let mut silent_after = Silence::Unsaid;
        for word in words {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("\"{word}\" is not NAME=VALUE"))?;
            match name {
                "key" if key.is_none() => {
                    let read: VerifierKey = value.parse().map_err(|error| format!("{error}"))?;
                    if read.log_id().as_deref() != Some(id) {
                        return Err(format!("the key {} is not one of log {id}", read.label()));
                    }
                    key = Some(read);
                }
                "host" => {
                    let host = HostName::of(value);
                    if host.as_str() != value {
                        return Err(format!("\"{value}\" is not a host's name in an archive"));
                    }
                    hosts.push(host);
                }
                "epoch" if epoch.is_none() => {
                    epoch = Some(value.parse().map_err(|_| format!("epoch={value} is no number"))?);
                }
                "silent_after" if silent_after == Silence::Unsaid => {
                    silent_after = match value {
                        "never" => Silence::Never,
                        _ => Silence::After(
                            parse_duration(value).map_err(|error| error.to_string())?,
                        ),
                    };
                }
                "key" | "epoch" | "silent_after" => return Err(format!("{name} is in it twice")),
                _ => return Err(format!("this version of auditctl does not know {name}=")),
            }
        }
        let key = key.ok_or("key=KEY is missing")?;
        Ok((id.to_owned(), Self { key, hosts, epoch, silent_after }))
    }
}

impl fmt::Display for Roster {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sequence, date, logs, acknowledged } = self;
        writeln!(f, "{KIND}\n{name}\nsequence {sequence}\ndate {date}")?;
        for (id, expected) in logs {
            writeln!(f, "{}", expected.line(id))?;
        }
        acknowledged.iter().try_for_each(|one| writeln!(f, "{}", one.line()))
    }
}

impl Acknowledgement {
    fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "\"acknowledge CODE OBJECT version=ID reason=WHY\" or \"… sha256=HEX …\" \
                            is expected";
        let (head, reason) = text.split_once(" reason=").ok_or(FORM)?;
        let mut words = head.split_ascii_whitespace();
        let (Some(code), Some(object), Some(what), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(FORM.to_owned());
        };
        let of_versions = [FindingKind::Overwritten, FindingKind::Removed];
        let of_content = [FindingKind::ForeignObject, FindingKind::TableDiffers];
        let mut kinds = of_versions.into_iter().chain(of_content);
        let kind = kinds.find(|kind| kind.code() == code).ok_or_else(|| {
            format!(
                "\"{code}\" cannot be acknowledged, only overwritten, removed, foreign_object and \
                 table_differs"
            )
        })?;
        let what = match what.split_once('=') {
            Some(("version", id)) if !id.is_empty() && id != "null" => What::Version(unescape(id)?),
            Some(("version", _)) => {
                return Err("a version without an id of its own may be any: it cannot be \
                            acknowledged"
                    .to_owned());
            }
            Some(("sha256", digest)) if of_content.contains(&kind) => {
                let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if digest.len() != 64 || !digest.bytes().all(is_hex) {
                    return Err("sha256= has 64 lower-case hexadecimal digits".to_owned());
                }
                What::Sha256(digest.to_owned())
            }
            Some(("sha256", _)) => return Err(format!("{code} is acknowledged with version=ID")),
            _ => return Err(FORM.to_owned()),
        };
        if reason.trim().is_empty() {
            return Err("the reason is missing".to_owned());
        }
        let (object, reason) = (unescape(object)?, reason.trim().to_owned());
        Ok(Self { kind, object, what, reason })
    }

    /// Its line in a roster.
    #[must_use]
    pub fn line(&self) -> String {
        let what = match &self.what {
            What::Sha256(digest) => format!("sha256={digest}"),
            What::Version(id) => format!("version={}", escape(id)),
        };
        let (code, object, reason) = (self.kind.code(), escape(&self.object), &self.reason);
        format!("acknowledge {code} {object} {what} reason={reason}")
    }
}

/// A name as one word: what is no visible ASCII character, and `%`, as `%` and two digits.
fn escape(name: &str) -> String {
    let mut word = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_graphic() && byte != b'%' {
            true => word.push(char::from(byte)),
            // Writing to a string cannot fail.
            false => drop(write!(word, "%{byte:02X}")),
        }
    }
    word
}

fn unescape(word: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("\"{word}\": % needs two hexadecimal digits"))?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("\"{word}\" is not UTF-8"))
}

impl Expected {
    /// Its line in a roster.
    #[must_use]
    pub fn line(&self, id: &str) -> String {
        let mut line = format!("log {id} key={}", self.key);
        for host in &self.hosts {
            // Writing to a string cannot fail.
            let _ = write!(line, " host={}", host.as_str());
        }
        if let Some(epoch) = self.epoch {
            let _ = write!(line, " epoch={epoch}");
        }
        match self.silent_after {
            Silence::Unsaid => {}
            Silence::Never => line += " silent_after=never",
            Silence::After(after) => {
                let _ = write!(line, " silent_after={}", format_duration(after));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> SigningKey {
        SigningKey::generate(&format!("example.com/audit/{id}")).expect("a key")
    }

    fn roster() -> Roster {
        let log = |id: &str, silent_after, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| HostName::of(host)).collect();
            let key = key(id).verifier().clone();
            (id.to_owned(), Expected { key, hosts, epoch: Some(2), silent_after })
        };
        let day = Silence::After(Duration::from_secs(86_400));
        let logs = [
            log("aa11", day, &["web-1", "web-2"]),
            log("bb22", Silence::Never, &[]),
            log("cc33", Silence::Unsaid, &["db"]),
        ];
        Roster {
            name: "acme production".to_owned(),
            sequence: 7,
            date: "2026-02-04T21:09:40Z".parse().expect("a time"),
            logs: logs.into(),
            acknowledged: vec![
                Acknowledgement {
                    kind: FindingKind::Overwritten,
                    object: "data/day=2026-02-04/a.json.gz".to_owned(),
                    what: What::Version("3sL4/+%=".to_owned()),
                    reason: "sent twice by hand, ticket=4711".to_owned(),
                },
                Acknowledgement {
                    kind: FindingKind::ForeignObject,
                    object: "data/a b%\u{1}ü".to_owned(),
                    what: What::Sha256("9f".repeat(32)),
                    reason: "left by Spark".to_owned(),
                },
            ],
        }
    }

    #[test]
    fn a_roster_reads_back_as_what_was_signed_and_by_no_other_key() {
        let (roster, operator) = (roster(), SigningKey::generate("acme/roster").expect("a key"));
        let signed = roster.sign(&operator).expect("signed");
        assert_eq!(Roster::read_signed(signed.as_bytes(), operator.verifier()), Ok(roster.clone()));
        assert_eq!(Roster::read_text(signed.as_bytes()), Ok(roster.clone()));
        assert_eq!(Roster::read_text(roster.to_string().as_bytes()), Ok(roster));
        let other = SigningKey::generate("acme/roster").expect("a key");
        let error = Roster::read_signed(signed.as_bytes(), other.verifier()).expect_err("not his");
        assert!(matches!(error, RosterError::Note(NoteError::WrongKey { .. })), "{error}");
        let altered = signed.replace("sequence 7", "sequence 8");
        let error = Roster::read_signed(altered.as_bytes(), operator.verifier());
        assert!(matches!(error, Err(RosterError::Note(NoteError::BadSignature { .. }))));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let good = roster().to_string();
        let line = good.lines().nth(4).expect("a log");
        for (from, to, line, reason) in [
            ("auditctl/roster v1", "auditctl/roster v2", 1, "is expected"),
            ("sequence 7", "sequence seven", 3, "sequence N"),
            ("date 2026", "date x2026", 4, "date TIME"),
            ("log aa11", "log aa12", 5, "is not one of log aa12"),
            ("log bb22", line, 6, "is in it twice"),
            ("silent_after=never", "silent_after=sometimes", 6, "sometimes"),
            ("host=db", "colour=red", 7, "does not know colour="),
            ("host=db", "host=../db", 7, "not a host's name"),
            ("e overwritten", "e truncated", 8, "cannot be acknowledged"),
            ("version=3sL4", "sha256=3sL4", 8, "with version=ID"),
            ("version=3sL4/+%25=", "version=null", 8, "may be any"),
            ("sha256=9f", "sha256=9F", 9, "64 lower-case"),
            (" reason=left by Spark", "", 9, "reason=WHY"),
            ("reason=left by Spark", "reason= ", 9, "the reason is missing"),
            ("a%20b", "a%2", 9, "two hexadecimal digits"),
        ] {
            let error = Roster::read_text(good.replacen(from, to, 1).as_bytes()).expect_err(from);
            let text = error.to_string();
            assert!(text.starts_with(&format!("line {line} of the roster: ")), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }
}
