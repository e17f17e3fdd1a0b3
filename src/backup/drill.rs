//! The restore drill: restores a backup to a temporary place, opens it as a log,
//! records something, reads everything back, compares it with the live log, and
//! leaves a signed, dated report with the time that it took. A backup that nobody
//! ever restored is a hope.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Drill, Level};
use super::directory::DRILL;
use super::error::{BackupError, io_error};
use super::name::BackupId;
use super::restore::{RestorePlan, RestoreRequest, Restorer, Target};
use crate::audit::files::manifest::Manifest;
use crate::audit::files::restore::clear;
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::signed_document;
use crate::audit::keys::signed_document::{About, Signature, Unsigned};
use crate::audit::keys::signer::{Signer, SigningKey};
use crate::audit::keys::{Keyring, KeysError};
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::watch::Watch;
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout, Unknown, encode_file};
use crate::audit::{AuditLog, Event, LogPaths, Options};
use crate::clock::Timestamp;
use crate::fsio;
use crate::fsio::lock::FileLock;

/// A drill's report is a few kilobytes: one that is larger is none.
pub(crate) const MAX_DRILL_BYTES: usize = 1 << 20;
const NOTE_WAIT: Duration = Duration::from_secs(60);

/// What a drill did and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// When it began.
    pub at: Timestamp,
    /// Where.
    pub host: String,
    /// What did it.
    pub tool: String,
    /// Which backup.
    pub backup: String,
    /// The log's id.
    pub log_id: String,
    /// The log's origin in the backup, with its epoch; where no backup came that far,
    /// that of the log here.
    pub origin: String,
    /// The size of the tree that was restored.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: String,
    /// Whether everything worked.
    pub passed: bool,
    /// How long it took.
    pub milliseconds: u64,
    /// What was done, in order.
    pub steps: Vec<DrillStep>,
    /// The log's key's signature over all of the above, as a signed note; none
    /// when the key was not at hand.
    pub signature: Option<String>,
    /// The signature and what it is about, of the file that this was read from.
    #[serde(skip)]
    pub(crate) read_from: Option<Signature>,
}

impl DrillReport {
    /// Reads a report. It proves nothing before [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`DocumentError`]: it is none, or a newer version made it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_DRILL_BYTES {
            return Err(DocumentError::Malformed(format!(
                "it has more than {MAX_DRILL_BYTES} bytes"
            )));
        }
        let report: Self = document::decode(Kind::DRILL, bytes)?;
        Ok(Self { read_from: Some(Signature::read(bytes)?), ..report })
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// What keeps it from being JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        encode_file(Kind::DRILL, self, Layout::Pretty)
    }

    /// Whether the log's key signed it.
    ///
    /// # Errors
    /// [`Unsigned`]; what it says is then no more than that.
    pub fn verify(&self, keys: &Keyring) -> Result<(), Unsigned> {
        let wrong = |error: String| Unsigned::Wrong(error);
        let signature = match &self.read_from {
            Some(signature) => signature.clone(),
            None => {
                self.to_bytes().map_err(|error| wrong(error.to_string())).and_then(|bytes| {
                    Signature::read(&bytes).map_err(|error| wrong(error.to_string()))
                })?
            }
        };
        signature.check(Kind::DRILL, &self.about().map_err(wrong)?, keys)
    }

    /// What is signed.
    fn about(&self) -> Result<About, String> {
        let origin = self.origin.parse::<Origin>().map_err(|error| error.to_string())?;
        Ok(About { origin, size: self.tree_size })
    }
}

/// A step of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStep {
    /// `restore`, `open`, `record`, `read`, `compare`.
    pub step: String,
    /// Whether it worked.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// How long it took.
    pub milliseconds: u64,
}

/// A directory that goes with all that is in it.
struct Temporary<'a> {
    restorer: &'a Restorer,
    dir: PathBuf,
    /// What was made to hold it, and goes when it is empty.
    made: Option<PathBuf>,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let fs = &*self.restorer.fs;
        clear(fs, &self.dir.join("logs"));
        clear(fs, &self.dir);
        if let Some(made) = &self.made {
            let _ = fs.remove_dir(made);
        }
    }
}

/// What its directories begin with.
const PLACE: &str = ".drill-";

impl Restorer {
    /// Tries a restore. The report is written beside the backups, and the catalog
    /// notes it, whether it passed or not. Returns the report and its file.
    ///
    /// # Errors
    /// When the report cannot be written, there is no such backup, or it is not
    /// the time: busy, interrupted. A backup that cannot be restored is no error:
    /// that is what the report says.
    pub fn drill(
        &self,
        request: &RestoreRequest,
        key_path: Option<&Path>,
        watch: &dyn Watch,
    ) -> Result<(DrillReport, PathBuf), BackupError> {
        let begun = Instant::now();
        let at = self.clock.now();
        let temporary = self.temporary(request, at)?;
        let mut report = DrillReport {
            at,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            tool: format!("auditctl {}", env!("CARGO_PKG_VERSION")),
            backup: String::new(),
            log_id: String::new(),
            origin: String::new(),
            tree_size: 0,
            root_hash: String::new(),
            passed: false,
            milliseconds: 0,
            steps: Vec::new(),
            signature: None,
            read_from: None,
        };
        // It could not be noted.
        Catalog::peek(&*self.fs, self.dir.path())?;
        match self.steps(request, &temporary.dir, &mut report, watch) {
            Err(
                error @ (BackupError::Interrupted
                | BackupError::NotFound { .. }
                | BackupError::Usage(_)
                | BackupError::Newer { .. }
                | BackupError::Locked { .. }),
            ) => return Err(error),
            // The step that failed says why.
            Err(_) => {}
            Ok(()) => report.passed = true,
        }
        drop(temporary);
        report.milliseconds = millis(begun.elapsed());
        self.sign(&mut report, key_path);
        let file = format!("{DRILL}{}.json", at.file_stamp());
        let path = self.dir.join(&file);
        let failed = io_error("write", &path);
        let text = match report.to_bytes() {
            Ok(text) => text,
            Err(error) => return Err(failed(std::io::Error::other(error))),
        };
        fsio::replace_file(&*self.fs, &path, &text).map_err(failed)?;
        self.note(&report, file)?;
        Ok((report, path))
    }

    /// A place for the restored log: in the log's own directory, where its records lie in
    /// the clear anyway, and where a restore would need the space. Who may not write there
    /// takes the backup directory, unless the backup is one that is to be in the clear nowhere
    /// else.
    fn temporary(
        &self,
        request: &RestoreRequest,
        at: Timestamp,
    ) -> Result<Temporary<'_>, BackupError> {
        let fs = &*self.fs;
        let name = format!("{PLACE}{}-{}", at.file_stamp(), std::process::id());
        let log_dir = self.log_dir().to_path_buf();
        let there = fs.meta(&log_dir).is_ok();
        let dir = log_dir.join(&name);
        let made = fsio::make_dirs(fs, &log_dir).and_then(|()| fs.create_dir_new(&dir));
        let failed = match made {
            Ok(()) => {
                self.clear_dead();
                return Ok(Temporary { restorer: self, dir, made: (!there).then_some(log_dir) });
            }
            Err(error) => error,
        };
        if !request.identities.is_empty() {
            return Err(io_error("make the directory", &dir)(failed));
        }
        let dir = self.dir.join(&name);
        fs.create_dir_new(&dir).map_err(io_error("make the directory", &dir))?;
        Ok(Temporary { restorer: self, dir, made: None })
    }

    /// Takes away what a drill left whose process is no more.
    fn clear_dead(&self) {
        let fs = &*self.fs;
        for name in fs.list(self.log_dir()).unwrap_or_default() {
            let Some(pid) = name.strip_prefix(PLACE).and_then(|rest| rest.rsplit('-').next())
            else {
                continue;
            };
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            // One of another user's may not be asked, and is there.
            let gone =
                |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
            if pid.is_some_and(gone) {
                let dir = self.log_dir().join(&name);
                let logs = dir.join("logs");
                for inner in fs.list(&logs).unwrap_or_default() {
                    clear(fs, &logs.join(inner));
                }
                clear(fs, &logs);
                clear(fs, &dir);
            }
        }
    }

    fn steps(
        &self,
        request: &RestoreRequest,
        dir: &Path,
        report: &mut DrillReport,
        watch: &dyn Watch,
    ) -> Result<(), BackupError> {
        let logs = dir.join("logs");
        let target = Target::Beside(logs.clone());
        let wish = RestoreRequest { target, dry_run: false, ..request.clone() };
        let plan = step(report, "restore", || {
            let plan = self.restore(&wish, &mut |_| Ok(()), watch)?.plan;
            let records = plan.tree_size - plan.first_seq;
            let found = format!("{records} records, checked with the key from {}", plan.key_from);
            Ok((plan, found))
        })?;
        report.backup.clone_from(&plan.backup);
        report.log_id.clone_from(&plan.log_id);
        report.origin.clone_from(&plan.origin);
        report.tree_size = plan.tree_size;
        report.root_hash = plan.root_hash.to_string();
        let log = step(report, "open", || {
            let log = self.open_restored(&logs, &plan)?;
            Ok((log, "opened under a key made for the drill".to_owned()))
        })?;
        step(report, "record", || {
            let failed = |error: crate::audit::RecordError| {
                BackupError::LogDamaged(format!("the restored log cannot be written: {error}"))
            };
            let receipt = log.record(Event::new("drill").actor("auditctl")).map_err(failed)?;
            let seq = receipt.wait_durable().map_err(failed)?;
            log.close().map_err(failed)?;
            Ok(((), format!("record {seq} is durable")))
        })?;
        step(report, "read", || {
            let read = Snapshot::take(&self.fs, &logs)?;
            let records = read_all(&read, plan.first_seq, plan.tree_size)?;
            let same = read.tree_at(plan.tree_size)?.and_then(|tree| tree.root().ok());
            if same == Some(plan.root_hash) {
                return Ok(((), format!("{records} records, the same root")));
            }
            Err(BackupError::LogDamaged("the restored records have another root".to_owned()))
        })?;
        step(report, "compare", || Ok(((), self.compare(&plan, request)?)))
    }

    /// As a log of its own: another key and another epoch, so that nothing is
    /// signed that the real log could be held to.
    fn open_restored(&self, logs: &Path, plan: &RestorePlan) -> Result<AuditLog, BackupError> {
        let fs = &*self.fs;
        let paths = LogPaths::new(logs);
        let manifest =
            || ReadError::NoLog { dir: logs.to_path_buf(), missing: "audit.manifest.json" };
        let mut restored =
            Manifest::load(fs, &paths.manifest()).map_err(ReadError::from)?.ok_or_else(manifest)?;
        restored.epoch = restored.epoch.saturating_add(1);
        let checkpoint = fs
            .read_own(&paths.checkpoint(), MAX_NOTE_BYTES as u64)
            .map_err(io_error("read", &paths.checkpoint()))?;
        let name = SignedCheckpoint::parse(&checkpoint)
            .map_err(|error| error.to_string())
            .and_then(|note| {
                let origin = note.unverified().origin.parse::<Origin>();
                origin.map(|origin| origin.key_name()).map_err(|error| error.to_string())
            })
            .map_err(BackupError::Refused)?;
        for path in [paths.checkpoint(), paths.head(), paths.public_key(), paths.keys()] {
            if fs.meta(&path).is_ok() {
                fs.remove(&path).map_err(io_error("remove", &path))?;
            }
        }
        let origin = Origin::of_key(&name, &plan.log_id, restored.epoch)
            .map_err(|error| BackupError::Refused(error.to_string()))?;
        let of_epoch = origin.to_string();
        let saved = SigningKey::generate(&name)
            .and_then(|key| key.save(fs, &paths.key()).map(|()| key))
            .and_then(|key| key.verifier().save(fs, &paths.public_key(), &of_epoch).map(|()| key));
        let key = saved.map_err(|error| ReadError::Keys(error.into()))?;
        // Nothing leads to the drill's own key, and nothing has to.
        restored.first_key = Some(key.verifier().to_string());
        restored.sign(&key).map_err(BackupError::Refused)?;
        let refused = |error: String| BackupError::Refused(error);
        let tree = restored.tree().map_err(|error| refused(error.to_string()))?;
        let head = Signer::new(key, origin)
            .and_then(|mut signer| signer.sign(&tree, &tree))
            .map_err(|error| refused(error.to_string()))?;
        fsio::replace_file(fs, &paths.checkpoint(), head.to_string().as_bytes())
            .map_err(io_error("write", &paths.checkpoint()))?;
        restored.store(fs, &paths.manifest()).map_err(ReadError::from)?;
        let options = Options {
            dir: logs.to_path_buf(),
            key_path: None,
            retention: None,
            backups: None,
            heads: Vec::new(),
            disk_reserve: 0,
            // What it lacks the plan says.
            accept_corruption: plan.lacking().next().is_some(),
            ..self.options.clone()
        };
        Ok(AuditLog::open(options)?)
    }

    /// The live log extends what was restored.
    fn compare(&self, plan: &RestorePlan, request: &RestoreRequest) -> Result<String, BackupError> {
        let live = match Snapshot::take(&self.fs, self.log_dir()) {
            Ok(live) => live,
            Err(
                ReadError::NoLog { .. }
                | ReadError::NoHead { .. }
                | ReadError::Keys(KeysError::Key(_)),
            ) => {
                return Ok("no live log here to compare with".to_owned());
            }
            Err(error) => return Err(error.into()),
        };
        if live.manifest.log_id != plan.log_id {
            // Who names the log, or its key, wants that one.
            if request.log.is_some() || request.public_key.is_some() {
                return Ok("the live log here is a different log".to_owned());
            }
            return Err(BackupError::Refused(format!(
                "it is a backup of log {}, and the log here is {}: that says nothing of whether \
                 the log here can be restored (--log ID drills another log's backup)",
                plan.log_id, live.manifest.log_id
            )));
        }
        let size = live.checkpoint.size;
        match live.tree_at(plan.tree_size)? {
            Some(tree) if tree.root() == Ok(plan.root_hash) => {
                Ok(format!("the live log of {size} records extends it"))
            }
            Some(_) | None if live.manifest.epoch > plan.epoch => {
                Ok(format!("the live log is of a later epoch, {}", live.manifest.epoch))
            }
            Some(_) => Err(BackupError::LogDamaged(
                "the live log has other records than the backup".to_owned(),
            )),
            None if size < plan.tree_size => Err(BackupError::LogDamaged(format!(
                "the live log has {size} records, fewer than the backup"
            ))),
            None => Ok("retention removed what would be compared".to_owned()),
        }
    }

    fn sign(&self, report: &mut DrillReport, key_path: Option<&Path>) {
        let own = LogPaths::new(self.log_dir()).key();
        let Ok(key) = SigningKey::load(&*self.fs, key_path.unwrap_or(&own)) else { return };
        if report.origin.is_empty() {
            report.origin = key.verifier().name().to_owned();
        }
        let (Ok(about), Ok(text)) = (report.about(), report.to_bytes()) else { return };
        // Another log's backup: this key has nothing to say of it.
        if about.origin.key_name() == key.verifier().name() {
            report.signature = signed_document::sign(Kind::DRILL, &text, &about, &key).ok();
        }
    }

    /// A backup that is being made is waited for: it is noted in the same catalog.
    fn lock_for_note(&self) -> Result<FileLock, BackupError> {
        let until = Instant::now() + NOTE_WAIT;
        loop {
            match self.dir.lock_alone() {
                Err(BackupError::Locked { .. }) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                done => return done,
            }
        }
    }

    fn note(&self, report: &DrillReport, file: String) -> Result<(), BackupError> {
        let Ok(backup) = report.backup.parse::<BackupId>() else { return Ok(()) };
        let _lock = self.lock_for_note()?;
        let mut catalog = Catalog::load(&self.dir)?;
        let at = self.clock.now();
        catalog.last_drill = Some(Drill {
            at: report.at,
            backup,
            passed: report.passed,
            milliseconds: report.milliseconds,
            report: file,
            unknown: Unknown::default(),
        });
        if let Some(noted) = catalog.backups.get_mut(&backup)
            && report.passed
        {
            noted.passed(Level::Drill, at);
        }
        catalog.store(&self.dir)
    }
}

fn step<T>(
    report: &mut DrillReport,
    name: &str,
    act: impl FnOnce() -> Result<(T, String), BackupError>,
) -> Result<T, BackupError> {
    let begun = Instant::now();
    let done = act();
    let (passed, found) = match &done {
        Ok((_, found)) => (true, found.clone()),
        Err(error) => (false, error.to_string()),
    };
    let milliseconds = millis(begun.elapsed());
    report.steps.push(DrillStep { step: name.to_owned(), passed, found, milliseconds });
    done.map(|(value, _)| value)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads every restored record's line; how many there were.
fn read_all(log: &Snapshot, first: u64, end: u64) -> Result<u64, BackupError> {
    let mut records = 0;
    for part in &log.parts {
        for block in log.blocks(part)? {
            let (first_seq, raw) =
                block.map_err(|error| BackupError::LogDamaged(error.to_string()))?;
            let lines = memchr::memchr_iter(b'\n', &raw).count() as u64;
            records += (first_seq + lines).min(end).saturating_sub(first_seq.max(first));
        }
    }
    let within = |hole: &Block| hole.tree.end().min(end).saturating_sub(hole.first_seq.max(first));
    let gone: u64 = log.holes().map(within).sum();
    if records + gone == end - first {
        return Ok(records);
    }
    Err(BackupError::LogDamaged(format!("{records} records could be read of {}", end - first)))
}
