//! A policy: which witnesses have to have cosigned a checkpoint for it to count
//! (<https://c2sp.org/tlog-policy>).
//!
//! ```text
//! log <verifier key> [<url>]
//! witness <name> <verifier key> [<url>]
//! group <name> all|any|<k> <name>...
//! quorum <name>|none
//! ```
//!
//! Names are bytes, compared as they are. A group or the quorum names only what stands
//! above it, and each name is a member of at most one group, so that nobody counts twice.

use std::collections::BTreeSet;

use super::checkpoint::note::{ED25519, KeyParts};
use super::checkpoint::{Note, NoteError, SignedCheckpoint, VerifierKey};
use super::cosignature::{COSIGNATURE, WitnessKey};

/// The largest policy that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 1 << 20;
/// The most logs, witnesses and groups of a policy, each.
pub const MAX_NAMES: usize = 1_000;

/// What is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PolicyError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// A policy that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The logs, if it names any.
    pub logs: Vec<PolicyLog>,
    /// The witnesses, in the order of the file.
    pub witnesses: Vec<Witness>,
    /// Witnesses and groups in the order in which they are defined.
    members: Vec<Member>,
    quorum: Quorum,
}

/// A log that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; `None` if its algorithm is not known here.
    pub key: Option<VerifierKey>,
    /// Its address.
    pub url: Option<String>,
}

/// A witness that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it, fit for messages.
    pub name: String,
    /// Its key; `None` if its algorithm is not known here: then it counts as one that
    /// did not cosign.
    pub key: Option<WitnessKey>,
    /// Where it takes checkpoints.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    name: Vec<u8>,
    what: What,
    is_in_a_group: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Which of the witnesses.
    Witness(usize),
    /// So many of these members.
    Group(usize, Vec<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    None,
    Of(usize),
}

/// How a witness stands to a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It cosigned, at this time (seconds since 1970).
    Cosigned(u64),
    /// It did not.
    Absent,
    /// A cosignature under its name and key id does not fit.
    Wrong,
    /// Its key's algorithm is not known here.
    Unsupported,
}

/// What a policy says of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Of each witness, in the policy's order.
    pub standings: Vec<Standing>,
    /// Whether enough of them cosigned, and nothing is wrong.
    pub quorum_met: bool,
    /// When the quorum was last confirmed, in seconds since 1970 by the witnesses' clocks: those
    /// that cosigned then or later are enough. `None` where there is no quorum, or none is asked
    /// for.
    pub quorum_at: Option<u64>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = Reader::default();
        if text.len() > MAX_POLICY_BYTES {
            let reason = format!("the policy has more than {MAX_POLICY_BYTES} bytes");
            return Err(PolicyError { line: 1, reason });
        }
        let mut lines = 0;
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            lines = number;
            reader.line(line).map_err(|reason| PolicyError { line: number, reason })?;
        }
        let Reader { logs, witnesses, members, quorum, .. } = reader;
        let quorum = quorum.ok_or_else(|| PolicyError {
            line: lines,
            reason: "there is no quorum line; `quorum none` asks for no cosignatures".to_owned(),
        })?;
        Ok(Self { logs, witnesses, members, quorum })
    }

    /// Whether it asks for any cosignature.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.quorum != Quorum::None
    }

    /// How the witnesses stand to a note, and whether enough of them cosigned it. Says
    /// nothing about the log's own signature.
    #[must_use]
    pub fn evaluate(&self, note: &Note) -> Evaluation {
        let standings: Vec<Standing> =
            self.witnesses.iter().map(|witness| witness.standing(note)).collect();
        // A note with a wrong signature by a known key is no good one.
        let sound = !standings.contains(&Standing::Wrong);
        let quorum_met = sound && self.is_met(&standings, 0);
        let mut times: Vec<u64> = standings.iter().filter_map(Standing::time).collect();
        times.sort_unstable();
        let newest = times.into_iter().rev().find(|since| self.is_met(&standings, *since));
        let quorum_at = newest.filter(|_| quorum_met && self.asks());
        Evaluation { standings, quorum_met, quorum_at }
    }

    /// Whether those that cosigned since then are enough.
    fn is_met(&self, standings: &[Standing], since: u64) -> bool {
        let mut met: Vec<bool> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            met.push(match &member.what {
                What::Witness(at) => standings[*at].time().is_some_and(|time| time >= since),
                What::Group(least, of) => of.iter().filter(|at| met[**at]).count() >= *least,
            });
        }
        match self.quorum {
            Quorum::None => true,
            Quorum::Of(member) => met[member],
        }
    }

    /// Whether a log that the policy names signed the checkpoint; true if it names none.
    #[must_use]
    pub fn knows_log_of(&self, signed: &SignedCheckpoint) -> bool {
        let origin = &signed.unverified().origin;
        let signs = |key: &VerifierKey| {
            let same_name = key.name() == origin && signed.note().verify(key).is_ok();
            same_name || signed.verify(key).is_ok()
        };
        self.logs.is_empty() || self.logs.iter().filter_map(|log| log.key.as_ref()).any(signs)
    }
}

impl Standing {
    /// When it cosigned.
    fn time(&self) -> Option<u64> {
        match self {
            Self::Cosigned(at) => Some(*at),
            _ => None,
        }
    }
}

impl Witness {
    fn standing(&self, note: &Note) -> Standing {
        let Some(key) = &self.key else { return Standing::Unsupported };
        match key.cosigned_at(note) {
            Ok(Some(at)) => Standing::Cosigned(at),
            Ok(None) => Standing::Absent,
            Err(_) => Standing::Wrong,
        }
    }
}

#[derive(Default)]
struct Reader {
    logs: Vec<PolicyLog>,
    witnesses: Vec<Witness>,
    members: Vec<Member>,
    quorum: Option<Quorum>,
    log_keys: BTreeSet<Vec<u8>>,
    witness_keys: BTreeSet<Vec<u8>>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("it contains a control character".to_owned());
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let items: Vec<&[u8]> = line.split(blank).filter(|item| !item.is_empty()).collect();
        match *items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None),
            [b"log", key, url] => self.log(key, Some(url)),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"group", name, least, ref of @ ..] if !of.is_empty() => self.group(name, least, of),
            [b"quorum", name] => self.set_quorum(name),
            [word @ (b"log" | b"witness" | b"group" | b"quorum"), ..] => {
                Err(format!("a {} line has other items", shown(word)))
            }
            [word, ..] => {
                Err(format!("{:?} is neither log, witness, group nor quorum", shown(word)))
            }
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>) -> Result<(), String> {
        let text = utf8(key)?;
        let parts = parts(text, COSIGNATURE, "a witness's, not a log's")?;
        if !self.log_keys.insert(parts.key.clone()) {
            return Err("this key stands on another log line".to_owned());
        }
        let key = match parts.kind {
            ED25519 => Some(text.parse().map_err(|error: NoteError| error.to_string())?),
            _ => None,
        };
        room(self.logs.len(), "logs")?;
        self.logs.push(PolicyLog { key, url: url.map(address).transpose()? });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), String> {
        self.new_name(name)?;
        let parts = parts(utf8(key)?, ED25519, "a log's, not a witness's")?;
        if !self.witness_keys.insert(parts.key.clone()) {
            return Err("this key stands on another witness line".to_owned());
        }
        let key = match parts.kind {
            COSIGNATURE => Some(WitnessKey::from_parts(&parts).map_err(|error| error.to_string())?),
            _ => None,
        };
        let what = What::Witness(self.witnesses.len());
        let url = url.map(address).transpose()?;
        self.witnesses.push(Witness { name: shown(name), key, url });
        self.members.push(Member { name: name.to_owned(), what, is_in_a_group: false });
        Ok(())
    }

    fn group(&mut self, name: &[u8], least: &[u8], of: &[&[u8]]) -> Result<(), String> {
        self.new_name(name)?;
        let mut members = Vec::with_capacity(of.len());
        for member in of {
            let at = self.find(member)?;
            if std::mem::replace(&mut self.members[at].is_in_a_group, true) {
                return Err(format!("{} is a member of a group already", shown(member)));
            }
            members.push(at);
        }
        let least = match least {
            b"all" => members.len(),
            b"any" => 1,
            number => std::str::from_utf8(number)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .filter(|least| (1..=members.len()).contains(least))
                .ok_or_else(|| {
                    format!(
                        "{:?} is neither all, any, nor a number from 1 to {}",
                        shown(number),
                        members.len()
                    )
                })?,
        };
        let what = What::Group(least, members);
        self.members.push(Member { name: name.to_owned(), what, is_in_a_group: false });
        Ok(())
    }

    fn set_quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a quorum line above".to_owned());
        }
        self.quorum =
            Some(if name == b"none" { Quorum::None } else { Quorum::Of(self.find(name)?) });
        Ok(())
    }

    fn new_name(&self, name: &[u8]) -> Result<(), String> {
        if name == b"none" {
            return Err("the name none is taken: it stands for no cosignatures".to_owned());
        }
        if self.find(name).is_ok() {
            return Err(format!("{} is defined above", shown(name)));
        }
        room(self.members.len(), "witnesses and groups")
    }

    fn find(&self, name: &[u8]) -> Result<usize, String> {
        let found = self.members.iter().position(|member| member.name == name);
        found.ok_or_else(|| format!("no line above defines {}", shown(name)))
    }
}

fn room(there: usize, what: &str) -> Result<(), String> {
    if there < MAX_NAMES { Ok(()) } else { Err(format!("more than {MAX_NAMES} {what}")) }
}

fn parts<'a>(text: &'a str, never: u8, why: &str) -> Result<KeyParts<'a>, String> {
    let parts = KeyParts::parse(text).map_err(|error| error.to_string())?;
    if parts.kind == never {
        return Err(format!("the key is {why} (type {never})"));
    }
    Ok(parts)
}

fn utf8(text: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(text).map_err(|_| "the key is not UTF-8".to_owned())
}

fn address(text: &[u8]) -> Result<String, String> {
    String::from_utf8(text.to_owned()).map_err(|_| "the address is not UTF-8".to_owned())
}

/// A name, fit for messages.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests;
