//! What the tests of backups share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::state::status::Word;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::backup::{
    BackupDir, BackupError, Creator, Extent, Inventory, KnownLog, Level, Made, Outcome, Request,
    RestoreRequest, Restorer, Target, Unwatched, Wish, inventory,
};
use auditctl::clock::{Clock, ManualClock, SystemClock, Timestamp};
use auditctl::fsio::{OsFs, SharedFs};

use crate::support::{Dir, eventually, open, options};

/// A log and its backups.
pub(crate) struct Home {
    pub(crate) dir: Dir,
    pub(crate) fs: SharedFs,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: Dir::new(), fs: Arc::new(OsFs), clock: Arc::new(SystemClock) }
    }

    pub(crate) fn at(time: &str) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(time.parse().expect("a time")));
        (Self { clock: clock.clone(), ..Self::new() }, clock)
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.log()
    }

    pub(crate) fn backups(&self) -> BackupDir {
        BackupDir::new(self.fs.clone(), &self.dir.path().join("backups"))
    }

    /// Small segments, so that a few records make several.
    pub(crate) fn options(&self) -> Options {
        Options { max_segment_size: 16 << 10, ..options(&self.dir) }
    }

    pub(crate) fn open(&self) -> AuditLog {
        open(self.options())
    }

    /// Opens the log, records so many events, closes it.
    pub(crate) fn record(&self, count: usize) {
        let log = self.open();
        record_into(&log, count);
        all_compressed(&log);
        log.close().expect("closed");
    }

    pub(crate) fn creator(&self) -> Creator {
        Creator { fs: self.fs.clone(), clock: self.clock.clone(), dir: self.backups() }
    }

    pub(crate) fn request(&self) -> Request {
        Request { log_dir: self.log_dir(), key_path: None, level: 6, encrypt_to: Vec::new() }
    }

    pub(crate) fn back_up(&self) -> Made {
        self.try_back_up().expect("a backup")
    }

    pub(crate) fn try_back_up(&self) -> Result<Made, BackupError> {
        self.creator().create(&self.request(), &Unwatched)
    }

    /// The list, each backup checked to the level, and compared with the log.
    pub(crate) fn list(&self, level: Level) -> Inventory {
        let live = auditctl::audit::read::snapshot::Snapshot::take(&self.fs, &self.log_dir()).ok();
        let keys = live.as_ref().map(|live| live.keys.clone());
        let known = KnownLog { live, keys };
        inventory(&self.backups(), level, &known, self.clock.now(), &Unwatched).expect("a list")
    }

    pub(crate) fn restorer(&self) -> Restorer {
        Restorer {
            fs: self.fs.clone(),
            clock: self.clock.clone(),
            dir: self.backups(),
            options: self.options(),
        }
    }

    /// Restores in place, asked or not.
    pub(crate) fn restore(&self, wish: Wish) -> Result<Outcome, BackupError> {
        self.restore_as(&RestoreRequest { wish, ..wanted() })
    }

    pub(crate) fn restore_as(&self, request: &RestoreRequest) -> Result<Outcome, BackupError> {
        self.restorer().restore(request, &mut |_| Ok(()), &Unwatched)
    }

    /// What a restore would do.
    pub(crate) fn plan(&self, wish: Wish) -> Result<Outcome, BackupError> {
        self.restore_as(&RestoreRequest { wish, dry_run: true, ..wanted() })
    }
}

/// Waits until each full segment is sealed, noted and compressed: the threads that do
/// that run when they get their turn. The last record of a segment is durable before it
/// is sealed, and the page says that it is full until then.
pub(crate) fn all_compressed(log: &AuditLog) {
    eventually("what is sealed is compressed", || {
        let full = log.options().max_segment_size;
        if log.page().get(Word::ActiveBytes) >= full {
            return false;
        }
        let manifest = log.manifest();
        manifest.end_seq() == log.page().get(Word::ActiveFirstSeq)
            && manifest
                .segments
                .iter()
                .all(|segment| segment.is_compressed() || !segment.is_stored())
    });
}

/// The newest backup, whole, in the log's place.
pub(crate) fn wanted() -> RestoreRequest {
    RestoreRequest {
        wish: Wish::Latest,
        extent: Extent::Whole,
        target: Target::Log,
        log: None,
        public_key: None,
        identities: Vec::new(),
        dry_run: false,
    }
}

pub(crate) fn record_into(log: &AuditLog, count: usize) {
    let mut last = None;
    for n in 0..count {
        let event = Event::new("login")
            .actor(format!("user-{}", n % 17))
            .details(&serde_json::json!({ "n": n, "text": "x".repeat(n * 37 % 200) }))
            .expect("details");
        last = Some(log.record(event).expect("recorded"));
    }
    if let Some(last) = last {
        last.wait_durable().expect("durable");
    }
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| {
            entries
                .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Copies a directory of files, as somebody behind our back would.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for name in names(from) {
        if from.join(&name).is_file() {
            std::fs::copy(from.join(&name), to.join(&name)).expect("copied");
        }
    }
}
