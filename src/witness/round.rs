//! One checkpoint on its way through the witnesses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::http::Reply;
use super::protocol::{SIZE_TYPE, parse_size};
use crate::audit::keys::checkpoint::{Note, NoteSignature, SignedCheckpoint};
use crate::audit::keys::cosignature::{WitnessKey, parse_lines};
use crate::audit::keys::policy::{Policy, Witness};
use crate::coded::shown;

/// Nobody is asked less often than this because it fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A witness that is asked, and what is known of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) key: WitnessKey,
    pub(super) prefix: Url,
    /// What it cosigned last, as far as is known here.
    pub(super) size: u64,
    pub(super) cosigned_at: Option<u64>,
    pub(super) failures: u64,
    pub(super) problem: Option<String>,
    pub(super) alarm: Option<Alarm>,
    not_before: Option<Instant>,
}

/// What a witness's answer means if it is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// It has cosigned more than the log has.
    Ahead,
    /// The log does not continue what it cosigned.
    Contradicted,
}

impl Alarm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Contradicted => "contradicted",
        }
    }
}

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It cosigned.
    Cosigned(NoteSignature),
    /// It wants a proof from another size.
    Again,
    /// It is asked again later.
    Later,
    /// The log and what it cosigned do not fit.
    Alarm(Alarm),
}

impl Asked {
    /// The policy's witnesses that have an address and a key that is known here.
    pub(super) fn of(policy: &Policy) -> Result<Vec<Self>, String> {
        let usable = |witness: &Witness| {
            let (url, key) = (witness.url.as_ref()?, witness.key.as_ref()?);
            Some(super::http::prefix(url).map(|prefix| Self {
                name: witness.name.clone(),
                key: key.clone(),
                prefix,
                size: 0,
                cosigned_at: None,
                failures: 0,
                problem: None,
                alarm: None,
                not_before: None,
            }))
        };
        policy.witnesses.iter().filter_map(usable).collect()
    }

    pub(super) fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| at <= Instant::now())
    }

    /// Takes an answer in.
    pub(super) fn answered(
        &mut self,
        signed: &SignedCheckpoint,
        old: u64,
        reply: Result<Reply, String>,
    ) -> Next {
        let size = signed.unverified().size;
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => return self.failed(why, None),
        };
        let said = match shown(&String::from_utf8_lossy(&reply.body), 160) {
            said if said.is_empty() => said,
            said => format!(": {said}"),
        };
        match reply.status {
            200 => match self.cosignature(signed.note(), &reply.body) {
                Ok((line, at)) => {
                    self.size = size;
                    self.cosigned_at = Some(at);
                    (self.failures, self.problem, self.alarm) = (0, None, None);
                    self.not_before = None;
                    Next::Cosigned(line)
                }
                Err(why) => self.failed(why, None),
            },
            409 if reply.content_type.split(';').next().map(str::trim) == Some(SIZE_TYPE) => {
                match parse_size(&reply.body) {
                    Some(known) if known > size => {
                        self.failed(
                            format!("it has cosigned {known} records, the log has {size}"),
                            None,
                        );
                        self.raise(Alarm::Ahead)
                    }
                    Some(known) if known == old => {
                        self.failed("HTTP 409 with the size that was sent".to_owned(), None)
                    }
                    Some(known) => {
                        self.size = known;
                        Next::Again
                    }
                    None => self.failed("HTTP 409 without a size".to_owned(), None),
                }
            }
            422 => {
                self.failed(format!("HTTP 422{said}"), None);
                self.raise(Alarm::Contradicted)
            }
            404 => self.failed(
                format!(
                    "it does not know the log {}: give its operator that line of audit.pub",
                    signed.unverified().origin
                ),
                None,
            ),
            403 => self.failed(
                format!(
                    "it knows the log and not its key: give its operator the new audit.pub{said}"
                ),
                None,
            ),
            300..=399 => {
                let text = format!("HTTP {}: redirects are not followed", reply.status);
                self.failed(text, None)
            }
            status => self.failed(format!("HTTP {status}{said}"), reply.retry_after),
        }
    }

    fn raise(&mut self, alarm: Alarm) -> Next {
        self.alarm = Some(alarm);
        Next::Alarm(alarm)
    }

    pub(super) fn failed(&mut self, why: String, retry_after: Option<Duration>) -> Next {
        self.failures += 1;
        self.problem = Some(why);
        let doubled = u32::try_from(self.failures.min(7)).unwrap_or(7);
        let pause = Duration::from_secs(5).saturating_mul(1 << doubled).min(LONGEST_PAUSE);
        self.not_before = Some(Instant::now() + retry_after.unwrap_or(pause).max(pause / 2));
        Next::Later
    }

    /// The witness's cosignature in an answer. Lines by keys that are not its are nothing.
    fn cosignature(&self, note: &Note, body: &[u8]) -> Result<(NoteSignature, u64), String> {
        let text = std::str::from_utf8(body).map_err(|_| "its answer is not UTF-8".to_owned())?;
        let lines = parse_lines(text).map_err(|error| error.to_string())?;
        for line in lines {
            let with = Note::new(note.text().to_owned(), vec![line.clone()]);
            let with = with.map_err(|error| error.to_string())?;
            if let Some(at) = self.key.cosigned_at(&with).map_err(|error| error.to_string())? {
                return Ok((line, at));
            }
        }
        Err(format!("its answer has no cosignature by {}", self.key.label()))
    }
}

/// A checkpoint, and the cosignatures that it has so far.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) signed: SignedCheckpoint,
    /// By the name of the witness.
    lines: BTreeMap<String, NoteSignature>,
}

impl Round {
    pub(super) fn new(signed: SignedCheckpoint) -> Self {
        Self { signed, lines: BTreeMap::new() }
    }

    pub(super) fn has(&self, witness: &Asked) -> bool {
        self.lines.contains_key(&witness.name)
    }

    pub(super) fn add(&mut self, witness: &str, line: NoteSignature) {
        self.lines.insert(witness.to_owned(), line);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The checkpoint with all of them.
    pub(super) fn note(&self) -> Option<Note> {
        let own = self.signed.note();
        let all = own.signatures().iter().chain(self.lines.values()).cloned().collect();
        Note::new(own.text().to_owned(), all).ok()
    }
}
