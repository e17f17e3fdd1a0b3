//! Has a log's checkpoints cosigned, in a thread of its own. Nothing waits for it: a
//! witness that is slow, gone or wrong delays no event, and is told.
//!
//! `audit.cosigned` gets the newest checkpoint that has a quorum; until there is one, the
//! newest with any cosignature. `audit.witness.json` says how it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::Client as Http;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::http::{self, Reply};
use super::notice::WitnessNotice;
use super::protocol;
use super::round::{Alarm, Asked, Next, Round};
use super::status::{StandingOf, WitnessStatus};
use crate::access::trust::Trust;
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::keys::histories::{Kept, KnownHead};
use crate::audit::keys::policy::Policy;
use crate::audit::read::verify::prove_growth;
use crate::audit::state::security::SecurityKind;
use crate::audit::tree::merkle::Hash;
use crate::audit::{AuditLog, LogPaths};
use crate::clock::Timestamp;
use crate::coded::shown;
use crate::fsio;

/// So long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A witness that names another size is asked again so often at once.
const PASSES: usize = 4;
/// Who ends waits so long for a request that is under way.
const LEAVING: Duration = Duration::from_secs(2);
/// The status is written at least so often.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// So many refusals are kept as evidence, of one run.
const MAX_EVIDENCE: usize = 10;

/// Told what an operator should know.
pub(crate) type Warn = dyn Fn(&str) + Send + Sync;

/// How witnesses are asked.
pub struct ClientOptions {
    /// Who they are, and how many of them are enough.
    pub policy: Policy,
    /// At most so often.
    pub interval: Duration,
    /// Certificates to trust beside the system's, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// Told what an operator should know.
    pub warn: Arc<Warn>,
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Why witnesses are not asked.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum ClientError {
    /// No witness of the policy has an address.
    #[error("none of the policy's witnesses has an address and a key that this version knows")]
    Nobody,
    /// The certificates cannot be used.
    #[error("the file {0}")]
    Authorities(String),
    /// An address cannot be used.
    #[error("the address of a witness: {0}")]
    Address(String),
    /// The thread or its HTTP client cannot be started.
    #[error("cannot start to ask witnesses: {0}")]
    Start(String),
}

/// Asks the witnesses until it is stopped.
#[derive(Debug)]
pub struct Client {
    stop: Arc<Stop>,
    thread: Option<(JoinHandle<()>, crossbeam_channel::Receiver<()>)>,
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Waits; true if it is over.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.told.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Client {
    /// Finds the policy and the certificates good for asking, before anything is started.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn check(policy: &Policy, authorities: Option<&[u8]>) -> Result<(), ClientError> {
        witnesses(policy)?;
        trust(authorities).map(drop)
    }

    /// Begins to ask.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn start(log: AuditLog, options: ClientOptions) -> Result<Self, ClientError> {
        let failed = |why: String| ClientError::Start(why);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let trust = trust(options.authorities.as_deref())?;
        let client = http::client(TIMEOUT, trust.as_ref()).map_err(failed)?;
        let asked = witnesses(&options.policy)?;
        let now = log.options().clock.now();
        let status = WitnessStatus { since: now, pid: std::process::id(), ..Default::default() };
        let mut asking = Asking {
            paths: LogPaths::new(&log.options().dir),
            log,
            options,
            runtime,
            client,
            asked,
            round: None,
            status,
            written: None,
            evidence: 0,
            unstored: false,
        };
        let stop = Arc::new(Stop::default());
        let until = Arc::clone(&stop);
        let (ending, ended) = crossbeam_channel::bounded(1);
        let body = move || {
            // Dropped, and so told, also when this panics.
            let _ending: crossbeam_channel::Sender<()> = ending;
            // What a run before had is a beginning.
            asking.remember();
            loop {
                asking.look();
                if until.wait(asking.options.interval) {
                    break;
                }
            }
            // What came since, up to the log's end.
            asking.look();
            asking.runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("audit-witness".to_owned()).spawn(body);
        let thread = thread.map_err(|error| failed(error.to_string()))?;
        Ok(Self { stop, thread: Some((thread, ended)) })
    }

    /// Has what came last cosigned, and ends: after a moment, whatever witnesses do.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.told.notify_all();
        let Some((thread, ended)) = self.thread.take() else { return };
        if ended.recv_timeout(LEAVING) == Err(crossbeam_channel::RecvTimeoutError::Disconnected) {
            // It has told what went wrong, or panicked and told that.
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

fn trust(authorities: Option<&[u8]>) -> Result<Option<Trust>, ClientError> {
    authorities.map(Trust::parse).transpose().map_err(ClientError::Authorities)
}

fn witnesses(policy: &Policy) -> Result<Vec<Asked>, ClientError> {
    let asked = Asked::of(policy).map_err(ClientError::Address)?;
    if asked.is_empty() { Err(ClientError::Nobody) } else { Ok(asked) }
}

struct Asking {
    log: AuditLog,
    paths: LogPaths,
    options: ClientOptions,
    runtime: Runtime,
    client: Http,
    asked: Vec<Asked>,
    round: Option<Round>,
    status: WitnessStatus,
    written: Option<Instant>,
    evidence: usize,
    unstored: bool,
}

impl Asking {
    fn now(&self) -> Timestamp {
        self.log.options().clock.now()
    }

    /// From the cosigned checkpoint that is there: who cosigned it last has that size.
    fn remember(&mut self) {
        let Some(signed) = self.stored() else { return };
        let size = signed.unverified().size;
        for asked in &mut self.asked {
            if let Ok(Some(at)) = asked.key.cosigned_at(signed.note()) {
                (asked.size, asked.cosigned_at) = (size, Some(at));
            }
        }
        if self.options.policy.evaluate(signed.note()).quorum_met {
            self.status.quorum_size = size;
        }
    }

    /// The cosigned checkpoint beside the log, if it is of this log as it is now.
    fn stored(&self) -> Option<SignedCheckpoint> {
        let text = read_note(&*self.log.options().fs, &self.paths.cosigned()).ok()??;
        let stored = SignedCheckpoint::parse(&text).ok()?;
        let newest = SignedCheckpoint::parse(self.log.checkpoint().as_bytes()).ok()?;
        let same = stored.unverified().origin == newest.unverified().origin;
        (same && self.log.has_signed(&stored)).then_some(stored)
    }

    /// Has the newest checkpoint cosigned by whoever has not done so.
    fn look(&mut self) {
        let Ok(newest) = SignedCheckpoint::parse(self.log.checkpoint().as_bytes()) else {
            // None yet, or a fork.
            return;
        };
        if !self.log.is_at_home() {
            return;
        }
        self.begin(newest);
        let before: Vec<(u64, Option<Alarm>)> =
            self.asked.iter().map(|asked| (asked.failures, asked.alarm)).collect();
        let mut pending = self.due();
        for _ in 0..PASSES {
            if pending.is_empty() {
                break;
            }
            pending = self.ask(&pending);
        }
        for at in pending {
            self.asked[at].failed("it names another size each time".to_owned(), None);
        }
        self.store();
        self.tell(&before);
        self.publish();
    }

    /// The checkpoint of this round: the newest, unless it has not grown.
    fn begin(&mut self, newest: SignedCheckpoint) {
        let same = self.round.as_ref().is_some_and(|round| {
            let (old, new) = (round.signed.unverified(), newest.unverified());
            (&old.origin, old.size) == (&new.origin, new.size)
        });
        if same {
            return;
        }
        let origin = &newest.unverified().origin;
        let continues =
            self.round.as_ref().is_none_or(|round| &round.signed.unverified().origin == origin);
        if !continues {
            // Another epoch: witnesses know nothing of it yet.
            self.asked.iter_mut().for_each(|asked| asked.size = 0);
        }
        let mut round = Round::new(newest);
        if let Some(stored) = self.stored()
            && stored.unverified() == round.signed.unverified()
        {
            for asked in &self.asked {
                let lines = stored.note().signatures().iter();
                let own = lines.filter(|line| line.name == asked.key.name());
                for line in own {
                    let with = crate::audit::keys::checkpoint::Note::new(
                        round.signed.note().text().to_owned(),
                        vec![line.clone()],
                    );
                    let is_good =
                        with.is_ok_and(|note| matches!(asked.key.cosigned_at(&note), Ok(Some(_))));
                    if is_good {
                        round.add(&asked.name, line.clone());
                    }
                }
            }
        }
        self.round = Some(round);
    }

    fn due(&self) -> Vec<usize> {
        let Some(round) = &self.round else { return Vec::new() };
        let due =
            |(at, asked): (usize, &Asked)| (!round.has(asked) && asked.is_due()).then_some(at);
        self.asked.iter().enumerate().filter_map(due).collect()
    }

    /// Asks these at the same time; those that want a proof from another size.
    fn ask(&mut self, who: &[usize]) -> Vec<usize> {
        let Some(round) = &self.round else { return Vec::new() };
        let signed = round.signed.clone();
        let size = signed.unverified().size;
        let mut proofs = BTreeMap::new();
        let mut requests = JoinSet::new();
        let inside = self.runtime.enter();
        let mut sent: BTreeMap<usize, (u64, String)> = BTreeMap::new();
        for at in who {
            let old = self.asked[*at].size.min(size);
            let proof = proofs.entry(old).or_insert_with(|| self.proof(old, &signed));
            match proof {
                Ok(proof) => {
                    let body = protocol::encode(old, proof, &signed.to_string());
                    sent.insert(*at, (old, body.clone()));
                    let (client, prefix) = (self.client.clone(), self.asked[*at].prefix.clone());
                    let at = *at;
                    requests.spawn(async move {
                        (at, http::add_checkpoint(client, prefix, body).await)
                    });
                }
                Err(why) => {
                    let why = why.clone();
                    self.asked[*at].failed(why, None);
                }
            }
        }
        drop(inside);
        let mut answers: Vec<(usize, Result<Reply, String>)> = Vec::new();
        self.runtime.block_on(async {
            while let Some(done) = requests.join_next().await {
                if let Ok(answer) = done {
                    answers.push(answer);
                }
            }
        });
        let mut again = Vec::new();
        for (at, reply) in answers {
            let Some((old, body)) = sent.remove(&at) else { continue };
            let answer = reply.as_ref().ok().map(|reply| (reply.status, reply.body.clone()));
            let (had, was) = (self.asked[at].size, self.asked[at].alarm);
            match self.asked[at].answered(&signed, old, reply) {
                Next::Cosigned(line) => {
                    let name = self.asked[at].name.clone();
                    if let Some(round) = &mut self.round {
                        round.add(&name, line);
                    }
                }
                Next::Again => {
                    self.put_back(at, had);
                    again.push(at);
                }
                Next::Later => {}
                // Told and kept once, as long as it says so.
                Next::Alarm(alarm) if was == Some(alarm) => {}
                Next::Alarm(alarm) => self.alarmed(at, alarm, (&body, answer)),
            }
        }
        again
    }

    /// A witness that names less than it cosigned was put back itself, or is another.
    fn put_back(&mut self, at: usize, had: u64) {
        let asked = &self.asked[at];
        if asked.cosigned_at.is_some() && asked.size < had {
            let text = format!(
                "witness {} had cosigned {had} records and says {} now: it was put back to an earlier \
                 state, or its key is used in two places; tell its operator",
                asked.name, asked.size
            );
            (self.options.warn)(&WitnessNotice::Failing.says(&text));
        }
    }

    fn proof(&self, old: u64, signed: &SignedCheckpoint) -> Result<Vec<Hash>, String> {
        if old == 0 || old == signed.unverified().size {
            return Ok(Vec::new());
        }
        let options = self.log.options();
        prove_growth(&options.fs, &options.dir, old, signed)
            .map(|document| document.consistency_proof)
            .map_err(|error| format!("no proof from {old} records on: {error}"))
    }

    /// What the witness has is compared with the log, and all of it kept.
    fn alarmed(&mut self, at: usize, alarm: Alarm, (body, answer): (&str, Option<(u16, Vec<u8>)>)) {
        let theirs = self.theirs(at);
        let (name, why) = {
            let asked = &self.asked[at];
            (asked.name.clone(), asked.problem.clone().unwrap_or_default())
        };
        if self.evidence < MAX_EVIDENCE {
            self.evidence += 1;
            let (status, said) = answer.unwrap_or_default();
            let said = shown(&String::from_utf8_lossy(&said), 4_096);
            let note = theirs.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "witness {name} ({}) answered {status}: {said}\n\nto the request\n\n{body}\n\nIts own \
                 newest checkpoint of this log\n\n{note}",
                self.asked[at].prefix
            );
            let fs = &self.log.options().fs;
            let stamp = self.now().file_stamp();
            let path = self
                .paths
                .aside_of("audit.witness", alarm.name(), &stamp, |path| fs.meta(path).is_ok());
            if let Err(error) = fsio::replace_file(&**fs, &path, text.as_bytes()) {
                self.cannot_store(&path, &error);
            }
        }
        let found = theirs.and_then(|note| {
            let name = format!("witness {name}");
            let head = KnownHead { name, kept: Kept::Pushed, note, rotations: Vec::new() };
            self.log.compare(&[head]).ok()?.into_iter().next()
        });
        match found {
            Some(found) => self.log.report_other_history(&found),
            // Its word alone: nothing that this log signed proves it.
            None => {
                let security = self.log.security();
                let text = format!("witness {name}: {why}");
                security.report(SecurityKind::LogTampered, Some("witness"), &text);
            }
        }
    }

    /// The newest checkpoint of this log that the witness shows, if a key of it signed that.
    fn theirs(&self, at: usize) -> Option<SignedCheckpoint> {
        let round = self.round.as_ref()?;
        let hash: [u8; 32] = Sha256::digest(round.signed.unverified().origin.as_bytes()).into();
        let hash = Hash::from_bytes(hash).to_string();
        let (client, prefix) = (self.client.clone(), self.asked[at].prefix.clone());
        let reply = self.runtime.block_on(http::checkpoint(client, prefix, &hash)).ok()?;
        let note = SignedCheckpoint::parse(&reply.body).ok().filter(|_| reply.status == 200)?;
        self.log.has_signed(&note).then_some(note)
    }

    /// Stores what witnesses cosigned.
    fn store(&mut self) {
        let Some(round) = self.round.as_ref().filter(|round| !round.is_empty()) else { return };
        let Some(note) = round.note() else { return };
        let size = round.signed.unverified().size;
        let met = self.options.policy.evaluate(&note).quorum_met;
        if met {
            self.status.quorum_at = Some(self.now());
            self.status.quorum_size = size;
        }
        let stored = self.stored();
        let is_there = stored.as_ref().is_some_and(|stored| *stored.note() == note);
        let is_better = stored
            .as_ref()
            .is_some_and(|stored| self.options.policy.evaluate(stored.note()).quorum_met);
        if is_there || (is_better && !met) {
            return;
        }
        let path = self.paths.cosigned();
        let fs = Arc::clone(&self.log.options().fs);
        match fsio::replace_file(&*fs, &path, note.to_string().as_bytes()) {
            Ok(()) => self.unstored = false,
            Err(error) => self.cannot_store(&path, &error),
        }
    }

    fn cannot_store(&mut self, path: &std::path::Path, error: &std::io::Error) {
        if !std::mem::replace(&mut self.unstored, true) {
            let text = format!("cannot write {}: {error}", path.display());
            (self.options.warn)(&WitnessNotice::Unstored.says(&text));
        }
    }

    /// Says once that a witness fails, and once that it works again.
    fn tell(&self, before: &[(u64, Option<Alarm>)]) {
        for (asked, (failures, alarm)) in self.asked.iter().zip(before) {
            let why = asked.problem.as_deref().unwrap_or_default();
            let text = format!("witness {}: {why}", asked.name);
            let notice = match asked.alarm {
                Some(new) if Some(new) != *alarm => Some(match new {
                    Alarm::Ahead => WitnessNotice::Ahead,
                    Alarm::Contradicted => WitnessNotice::Contradicted,
                }),
                None if *failures == 0 && asked.failures > 0 => Some(WitnessNotice::Failing),
                _ => None,
            };
            if let Some(notice) = notice {
                (self.options.warn)(&notice.says(&text));
            }
            if *failures > 0 && asked.failures == 0 {
                (self.options.warn)(&format!("witness {} cosigns again", asked.name));
            }
        }
    }

    /// Writes the status when something is new, and from time to time.
    fn publish(&mut self) {
        let newest = self.round.as_ref().map_or(0, |round| round.signed.unverified().size);
        let now = self.now();
        if newest == self.status.quorum_size && newest > 0 {
            // Nothing has come since.
            self.status.quorum_at = Some(now);
        }
        let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let witnesses = self.asked.iter().map(|asked| StandingOf {
            name: asked.name.clone(),
            size: asked.size,
            cosigned_at: asked.cosigned_at.map(|at| Timestamp::from_micros(seconds(at))),
            failures: asked.failures,
            problem: asked.problem.clone(),
            alarm: asked.alarm.map(|alarm| alarm.name().to_owned()),
        });
        let witnesses: Vec<_> = witnesses.collect();
        let is_new = witnesses != self.status.witnesses || newest != self.status.tree_size;
        let is_old = self.written.is_none_or(|at| at.elapsed() >= STATUS_EVERY);
        if !is_new && !is_old {
            return;
        }
        (self.status.at, self.status.tree_size, self.status.witnesses) = (now, newest, witnesses);
        let Ok(bytes) = self.status.to_bytes() else { return };
        let path = self.paths.witness_status();
        let fs = Arc::clone(&self.log.options().fs);
        match fsio::replace_file(&*fs, &path, &bytes) {
            Ok(()) => self.written = Some(Instant::now()),
            Err(error) => self.cannot_store(&path, &error),
        }
    }
}
