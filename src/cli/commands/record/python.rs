//! `--format python-audit`: the logs of the Python utilities that came before, one
//! JSON object a line with `timestamp`, `event_type`, `actor`, `lead_id`, `workflow`,
//! `details` and `signature`. Every line becomes a record, whatever is in it.

mod dumps;
mod json;
mod mapping;
mod resume;
mod rotation;
mod time;

use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::RecordArgs;
use super::lines::{Place, Translate};
use crate::audit::EventError;
use crate::cli::exit::{CliError, Exit};
use crate::cli::zone;
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::units::hex;
use crate::zone::Zone;
use json::{Json, Text};
use mapping::Mapped;
use resume::{Found, Position};

/// The files in the order in which they were written.
pub(super) fn ordered(given: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    rotation::ordered(given)
}

/// A line of a log that is longer is passed over and told as such.
pub(super) const MAX_PYTHON_LINE_BYTES: usize = 16 << 20;
/// A file with a key has at most so much.
const MAX_KEY_BYTES: u64 = 64 << 10;
/// So many lines with a bad signature are named.
const MAX_NAMED: usize = 1_000;

/// What is known of a line's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    /// It is that of the line's object under the key.
    Valid,
    /// It is not.
    Invalid,
    /// There is none.
    Missing,
    /// There is no key to check it with.
    Unchecked,
}

impl Signature {
    const ALL: [Self; 4] = [Self::Valid, Self::Invalid, Self::Missing, Self::Unchecked];

    fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Turns lines into events.
pub(super) struct Python {
    key: Option<Hmac<Sha256>>,
    zone: Zone,
    max_details: usize,
    /// Whether something is to be redacted, which cannot be done in a line's text.
    redacts: bool,
    resume: Option<Position>,
    /// Where an import of other files ended.
    others: Option<Place>,
    lines: u64,
    signatures: [u64; Signature::ALL.len()],
    unreadable: u64,
    in_parts: u64,
    without_time: u64,
    assumed_zone: u64,
    invalid: Vec<Place>,
}

impl Python {
    /// # Errors
    /// A key or a zone that is none, a log that cannot be asked where to go on.
    pub(super) fn new(
        settings: &Settings,
        args: &RecordArgs,
        files: &[PathBuf],
    ) -> Result<Self, CliError> {
        let zone = args.assume_timezone.as_deref().unwrap_or("UTC");
        let zone = zone::named("--assume-timezone", zone)?;
        let (mut resume, mut others) = (None, None);
        if args.resume {
            match resume::find(settings, files)? {
                Found::Nothing => {}
                Found::Here(position) => resume = Some(position),
                Found::Others(place) => others = Some(place),
            }
        }
        Ok(Self {
            others,
            key: args.hmac_key.as_deref().map(load_key).transpose()?,
            zone,
            max_details: settings.max_details_size.0 as usize,
            redacts: !settings.redact.is_empty(),
            resume,
            lines: 0,
            signatures: [0; Signature::ALL.len()],
            unreadable: 0,
            in_parts: 0,
            without_time: 0,
            assumed_zone: 0,
            invalid: Vec::new(),
        })
    }

    /// Where it goes on, if it does.
    pub(super) fn position(&self) -> Option<&Position> {
        self.resume.as_ref()
    }

    /// Where an import of other files ended, when nothing of these is there.
    pub(super) fn others(&self) -> Option<&Place> {
        self.others.as_ref()
    }

    fn signature(&self, members: &[(Text<'_>, Json<'_>)]) -> Signature {
        let given = members.iter().rev().find(|(key, _)| key.plain() == Some("signature"));
        let given = match given.map(|(_, value)| value) {
            None | Some(Json::Null) => return Signature::Missing,
            Some(Json::Text(text)) if text.plain() == Some("") => return Signature::Missing,
            Some(given) => given,
        };
        let Some(key) = &self.key else { return Signature::Unchecked };
        let mut signed = Vec::with_capacity(1024);
        dumps::object(members, Some("signature"), &mut signed);
        let expected = hex(&key.clone().chain_update(&signed).finalize().into_bytes());
        let same = matches!(given, Json::Text(text) if text.plain() == Some(&*expected));
        if same { Signature::Valid } else { Signature::Invalid }
    }

    /// What the line's text has to be kept for cannot be redacted.
    fn may_keep_text(&self) -> Result<(), EventError> {
        let reason = "its text would be stored as it is, and nothing in it can be redacted";
        if self.redacts { Err(EventError::Malformed(reason.to_owned())) } else { Ok(()) }
    }

    fn events(&mut self, place: &Place, line: &[u8]) -> Result<Vec<Vec<u8>>, EventError> {
        self.lines += 1;
        let read = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
        // As some editors and `utf-8-sig` begin a file.
        let read = read.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
        let read = read.and_then(|text| match json::parse(text)? {
            Json::Object(members) if mapping::are_keepable(&members) => Ok((text, members)),
            Json::Object(_) => Err("a key with half a surrogate pair".to_owned()),
            _ => Err("no JSON object".to_owned()),
        });
        let (text, mut members) = match read {
            Ok(read) => read,
            Err(reason) => {
                self.may_keep_text()?;
                self.unreadable += 1;
                return Ok(mapping::unreadable(place, line, &reason, self.max_details));
            }
        };
        let signature = self.signature(&members);
        let stood_twice = json::keep_last(&mut members);
        let mut mapped = Mapped::new(&members, signature, &self.zone);
        if let Some(skipped) = mapped.skipped.take() {
            return Err(EventError::Malformed(format!(
                "its time {skipped}; or take all times for those of an offset: --assume-timezone"
            )));
        }
        let whole = mapped.event(place, self.max_details, None);
        let events = match whole.filter(|_| !stood_twice && !mapped.is_incomplete) {
            Some(event) => vec![event],
            None => {
                self.may_keep_text()?;
                self.in_parts += 1;
                mapped.events_with_text(place, text, self.max_details)
            }
        };
        self.signatures[signature as usize] += 1;
        self.without_time += u64::from(mapped.without_time);
        self.assumed_zone += u64::from(mapped.assumed_zone);
        if signature == Signature::Invalid && self.invalid.len() < MAX_NAMED {
            self.invalid.push(place.clone());
        }
        Ok(events)
    }

    fn count(&self, signature: Signature) -> u64 {
        self.signatures[signature as usize]
    }
}

impl Translate for Python {
    fn line(
        &mut self,
        place: &Place,
        line: Result<Vec<u8>, EventError>,
    ) -> Result<Vec<Vec<u8>>, EventError> {
        let line = line.map_err(|error| match error {
            EventError::LineTooLong { actual } => {
                EventError::TooLong { field: "line", limit: MAX_PYTHON_LINE_BYTES, actual }
            }
            other => other,
        })?;
        let events = self.events(place, &line)?;
        match &self.resume {
            Some(position) if position.is_at(place) => position.rest(events),
            _ => Ok(events),
        }
    }

    fn is_suspicious(&self) -> bool {
        let unsigned = self.key.is_some() && self.count(Signature::Missing) > 0;
        unsigned || self.count(Signature::Invalid) + self.unreadable + self.without_time > 0
    }

    fn document(&self) -> Option<(&'static str, Value)> {
        let signatures: serde_json::Map<String, Value> = Signature::ALL
            .iter()
            .map(|signature| (signature.as_str().to_owned(), json!(self.count(*signature))))
            .collect();
        let place = |place: &Place| json!({ "file": &*place.file, "line": place.line });
        let document = json!({
            "lines": self.lines,
            "signatures": signatures,
            "invalid": self.invalid.iter().map(place).collect::<Vec<_>>(),
            "unreadable": self.unreadable,
            "in_parts": self.in_parts,
            "without_time": self.without_time,
            "assumed_zone": self.assumed_zone,
        });
        Some(("python_audit", document))
    }

    fn text(&self) -> Vec<String> {
        let mut said = Vec::new();
        let counts: Vec<String> = Signature::ALL
            .iter()
            .filter(|signature| self.count(**signature) > 0)
            .map(|signature| format!("{} {}", self.count(*signature), signature.as_str()))
            .collect();
        if !counts.is_empty() {
            said.push(format!("signatures: {}", counts.join(", ")));
        }
        for place in self.invalid.iter().take(20) {
            said.push(format!("signature does not fit: {place}"));
        }
        if self.invalid.len() > 20 {
            said.push("and more: query --where 'details.imported.signature = invalid'".to_owned());
        }
        for (count, what) in [
            (self.unreadable, "lines are not JSON objects; stored as import.unreadable"),
            (
                self.in_parts,
                "lines are larger than max_details_size, or have a key twice; their text is in import.part",
            ),
            (self.without_time, "lines have no readable time; they get that of the import"),
        ] {
            if count > 0 {
                said.push(format!("{count} {what}"));
            }
        }
        if self.assumed_zone > 0 {
            let zone = self.zone.name();
            said.push(format!(
                "{} times name no zone; read as {zone} (--assume-timezone)",
                self.assumed_zone
            ));
        }
        said
    }
}

/// The key's bytes, without the line end after them.
fn load_key(path: &Path) -> Result<Hmac<Sha256>, CliError> {
    let (bytes, _) = OsFs.read_given(path, MAX_KEY_BYTES).map_err(|error| {
        let mut new = CliError::io("read the key", path, &error);
        new.exit = Exit::Usage;
        new
    })?;
    let key = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(CliError::usage(format!("--hmac-key: {} is empty", path.display())));
    }
    Ok(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
}
