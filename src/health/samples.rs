//! Logs in every state, made without a writer, for tests.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::alerts::{AlertStatus, AlertsStatus};
use crate::audit::LogPaths;
use crate::audit::keys::signer::SigningKey;
use crate::audit::state::status::{Activity, Mode, StatusPage, Word, WriterState};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::config::{AlertSettings, Settings};
use crate::fsio::lock::{FileLock, try_lock};
use crate::fsio::{FileMeta, Fs, FsFile, OpenMode, OsFs, Space};
use crate::witness::{StandingOf, WitnessStatus};

use super::{Health, check};

pub(crate) const GIB: u64 = 1 << 30;
const PID: u64 = 4242;
const BOOT_ID: &str = "0102030405060708-0000-0000-0000-000000000000";

/// The real file system, but for space and `/proc`.
#[derive(Debug)]
pub(crate) struct SampleFs {
    pub(crate) space: Option<Space>,
    pub(crate) process: Option<char>,
    pub(crate) boot_id: &'static str,
    pub(crate) denied: &'static str,
}

impl Fs for SampleFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        OsFs.open(path, mode)
    }
    crate::fsio::names_and_folders_of_the_system!();
    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        if !self.denied.is_empty() && path.ends_with(self.denied) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        OsFs.meta(path)
    }
    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.space.ok_or_else(|| io::Error::from_raw_os_error(5))
    }
    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        if path.ends_with("boot_id") {
            return Ok(self.boot_id.as_bytes().to_vec());
        }
        let small = [
            ".catalog.json",
            "audit.alerts.json",
            "audit.witness.json",
            "audit.verified.json",
            "audit.findings.json",
            "audit.keys",
            "audit.pub",
            "audit.archive.json",
            "audit.archive.status.json",
            "audit.checkpoint",
        ];
        if small.iter().any(|name| path.ends_with(name)) {
            return OsFs.read(path, 1 << 20);
        }
        assert_eq!(path, Path::new("/proc/4242/stat"), "nothing else is read");
        let state = self.process.ok_or(io::ErrorKind::NotFound)?;
        Ok(format!("4242 (auditctl) {state} 1 4242").into_bytes())
    }
}

/// A log directory with a page, a lock, a clock and settings, each to be changed.
pub(crate) struct Sample {
    pub(crate) settings: Settings,
    pub(crate) fs: SampleFs,
    pub(crate) clock: ManualClock,
    pub(crate) lock: Option<FileLock>,
    page: Option<StatusPage>,
    _home: tempfile::TempDir,
}

impl Sample {
    /// A directory that does not exist yet.
    pub(crate) fn empty() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let mut settings = Settings { log_dir: home.path().join("logs"), ..Settings::default() };
        settings.backup.output_dir = home.path().join("backups");
        let clock = ManualClock::new(Timestamp::from_micros(1_770_000_000_000_000));
        clock.advance(Duration::from_secs(100_000));
        let space = Some(Space { total: 100 * GIB, available: 50 * GIB, ..Space::default() });
        let fs = SampleFs { space, process: Some('S'), boot_id: BOOT_ID, denied: "" };
        Self { settings, fs, clock, lock: None, page: None, _home: home }
    }

    /// All is well: a collector that has run for an hour.
    pub(crate) fn running() -> Self {
        let mut sample = Self::empty();
        OsFs.create_dir_all(&sample.settings.log_dir).expect("directory");
        let paths = sample.paths();
        let key = SigningKey::generate("auditctl/5f0c2b9e").expect("a key");
        key.save(&OsFs, &paths.key()).expect("saved");
        for path in [paths.active(), paths.checkpoint(), paths.manifest()] {
            let file = OsFs.open(&path, OpenMode::CreateNew).expect("file");
            file.write_all_at(b"0123456789", 0).expect("write");
        }
        sample.lock = try_lock(&paths.lock()).expect("lock");
        sample.page = Some(StatusPage::create(&paths.status()).expect("page"));
        let opened = sample.clock.now();
        sample.set(Word::StartedAt, opened.micros() as u64);
        sample.set(Word::StartedBootMs, sample.clock.boot_ms());
        sample.clock.advance(Duration::from_secs(3_600));
        let inode = OsFs.meta(&paths.active()).expect("there").inode;
        for (word, value) in [
            (Word::Pid, PID),
            (Word::Mode, Mode::Collector as u64),
            (Word::BootId, 0x0807_0605_0403_0201),
            (Word::NextSeq, 43),
            (Word::DurableSeq, 43),
            (Word::Accepted, 40),
            (Word::Durable, 42),
            (Word::CapacityEvents, 1_000),
            (Word::CapacityBytes, 16 << 20),
            (Word::CheckpointSize, 43),
            (Word::ActiveInode, inode),
            (Word::ActiveBytes, 10),
            (Word::LogBytes, 10),
            (Word::CacheCapacity, 128),
        ] {
            sample.set(word, value);
        }
        sample.beat();
        sample.ago(Word::LastEventAt, 2);
        sample.ago(Word::CheckpointAt, 1);
        sample.state(WriterState::Running);
        sample
    }

    pub(crate) fn closed() -> Self {
        let sample = Self::running().unlocked();
        sample.state(WriterState::Closed);
        sample.ago(Word::ClosedAt, 180);
        sample
    }

    pub(crate) fn unlocked(mut self) -> Self {
        self.lock = None;
        self
    }

    pub(crate) fn paths(&self) -> LogPaths {
        LogPaths::new(&self.settings.log_dir)
    }

    pub(crate) fn page(&self) -> &StatusPage {
        self.page.as_ref().expect("a sample with a page")
    }

    pub(crate) fn set(&self, word: Word, value: u64) {
        self.page().set(word, value);
        self.page().publish();
    }

    /// Sets a time word to so many seconds ago.
    pub(crate) fn ago(&self, word: Word, seconds: i64) {
        self.set(word, (self.clock.now().micros() - seconds * 1_000_000) as u64);
    }

    pub(crate) fn state(&self, state: WriterState) {
        self.page().state(state, self.clock.now());
    }

    pub(crate) fn beat(&self) {
        self.set(Word::HeartbeatBootMs, self.clock.boot_ms());
        self.ago(Word::HeartbeatAt, 0);
    }

    /// The writer goes silent, in the middle of something.
    pub(crate) fn silent_in(self, activity: Activity, seconds: u64) -> Self {
        self.page().activity(activity, self.clock.boot_ms());
        self.page().publish();
        self.clock.advance(Duration::from_secs(seconds));
        self
    }

    /// Others see what was changed.
    pub(crate) fn publish(&self) {
        if let Some(page) = &self.page {
            page.publish_changes();
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.publish();
        check(&self.settings, &self.fs, &self.clock)
    }
}

/// A collector with one alert, whose delivery is as `change` makes it.
pub(crate) fn delivering(change: impl FnOnce(&mut AlertsStatus, &Sample)) -> Sample {
    let mut sample = Sample::running();
    let name = "ops".to_owned();
    let mut ops = AlertSettings::default();
    ops.name.clone_from(&name);
    sample.settings.alerts = vec![ops];
    let alert = AlertStatus { name, delivered: 7, ..AlertStatus::default() };
    let mut status = AlertsStatus {
        at: Timestamp::from_micros(sample.clock.now().micros() - 1_000_000),
        pid: PID as u32,
        cursor: 43,
        capacity: 10,
        alerts: vec![alert],
        failures: Vec::new(),
    };
    change(&mut status, &sample);
    let text = status.to_bytes().expect("serialises");
    std::fs::write(sample.paths().alerts_status(), text).expect("written");
    sample
}

/// A collector with two witnesses, of which it goes as `change` makes it.
pub(crate) fn witnessed(change: impl FnOnce(&mut WitnessStatus, &Sample)) -> Sample {
    let mut sample = Sample::running();
    sample.settings.witness.policy = Some(PathBuf::from("policy"));
    let before =
        |seconds: i64| Timestamp::from_micros(sample.clock.now().micros() - seconds * 1_000_000);
    let one = |name: &str| StandingOf {
        name: name.to_owned(),
        size: 43,
        cosigned_at: Some(before(3)),
        ..StandingOf::default()
    };
    let mut status = WitnessStatus {
        at: before(1),
        pid: PID as u32,
        since: before(86_400),
        tree_size: 43,
        quorum_at: Some(before(3)),
        quorum_size: 43,
        witnesses: vec![one("a"), one("b")],
    };
    change(&mut status, &sample);
    let text = status.to_bytes().expect("serialises");
    std::fs::write(sample.paths().witness_status(), text).expect("written");
    sample
}

/// A log in each state that is told apart, by the state's name in metadata.
pub(crate) fn every_state() -> Vec<(&'static str, Sample)> {
    let no_page = Sample::empty();
    let unreadable = Sample::running();
    std::fs::write(unreadable.paths().status(), b"short").expect("write");
    let lock_unknown = Sample::running().unlocked();
    std::fs::remove_file(lock_unknown.paths().lock()).expect("remove");
    // A link to itself can neither be opened nor is it missing.
    std::os::unix::fs::symlink("audit.lock", lock_unknown.paths().lock()).expect("link");
    let opening = Sample::running();
    opening.ago(Word::ClosedAt, 0);
    let mut stopped_by_signal = Sample::running().silent_in(Activity::Syncing, 7);
    stopped_by_signal.fs.process = Some('T');
    let full = Sample::running();
    full.state(WriterState::DiskFull);
    let failing = Sample::running();
    failing.page().error(&io::Error::from_raw_os_error(5), Activity::Syncing, failing.clock.now());
    failing.state(WriterState::Failing);
    let poisoned = Sample::running();
    poisoned.state(WriterState::Poisoned);
    let strange = Sample::running();
    strange.set(Word::State, 99);
    vec![
        ("no_log", no_page),
        ("unreadable", unreadable),
        ("unknown", lock_unknown),
        ("opening", opening),
        ("running", Sample::running()),
        ("hung", Sample::running().silent_in(Activity::Syncing, 7)),
        ("hung", stopped_by_signal),
        ("disk_full", full),
        ("write_failing", failing),
        ("writer_failed", poisoned),
        ("unknown", strange),
        ("died", Sample::running().unlocked()),
        ("stopped", Sample::closed()),
    ]
}
