//! A directory in which everything was done, and what can be done to its files.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{Event, Options};

use crate::backups::{Home, all_compressed, record_into};
use crate::support::{all_lines, eventually, open, run};

pub(super) type Files = BTreeMap<String, Arc<[u8]>>;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    EditedEarly,
    EditedLate,
    Emptied,
    Removed,
    PutBackOlder,
    Exchanged,
    Symlink,
    Directory,
    Fifo,
}

impl Change {
    pub(super) const ALL: [Self; 9] = [
        Self::EditedEarly,
        Self::EditedLate,
        Self::Emptied,
        Self::Removed,
        Self::PutBackOlder,
        Self::Exchanged,
        Self::Symlink,
        Self::Directory,
        Self::Fifo,
    ];

    /// Whether it changed anything.
    pub(super) fn make(self, dir: &Path, name: &str, exercised: &Exercised) -> bool {
        let path = dir.join(name);
        let now = std::fs::read(&path).unwrap_or_default();
        let flipped = |at: usize| {
            let mut bytes = now.clone();
            bytes.get_mut(at).map(|byte| *byte ^= 1)?;
            Some(bytes)
        };
        let content = match self {
            Self::EditedEarly => flipped(now.len() / 10),
            Self::EditedLate => flipped(now.len().saturating_sub(3)),
            Self::Emptied => Some(Vec::new()),
            Self::PutBackOlder => exercised.older.get(name).map(|bytes| bytes.to_vec()),
            Self::Exchanged => exercised.others.get(name).map(|bytes| bytes.to_vec()),
            _ => None,
        };
        match self {
            Self::Removed => std::fs::remove_file(&path).expect("removed"),
            Self::Symlink => {
                let aside = dir.parent().expect("a parent").join("elsewhere");
                std::fs::rename(&path, &aside).expect("moved");
                std::os::unix::fs::symlink(&aside, &path).expect("a link");
            }
            Self::Directory => {
                std::fs::remove_file(&path).expect("removed");
                std::fs::create_dir(&path).expect("a directory");
            }
            Self::Fifo => {
                std::fs::remove_file(&path).expect("removed");
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a pipe");
            }
            _ => match content {
                // Written into the file, as an editor of its bytes does.
                Some(content) if content != now => std::fs::write(&path, content).expect("written"),
                _ => return false,
            },
        }
        true
    }
}

/// A closed log with every file that there can be, how it was before, and another log.
pub(super) struct Exercised {
    pub(super) files: Files,
    pub(super) older: Files,
    pub(super) others: Files,
    /// Its records.
    pub(super) lines: Vec<String>,
    /// A checkpoint of it, kept elsewhere.
    pub(super) kept: Vec<u8>,
}

impl Exercised {
    pub(super) fn new() -> &'static Self {
        static ONCE: OnceLock<Exercised> = OnceLock::new();
        ONCE.get_or_init(|| {
            let (home, older) = exercise();
            let (other, _) = exercise();
            let files = files(&home.log_dir());
            let kept = files["audit.checkpoint"].to_vec();
            let lines = all_lines(&home.log_dir());
            Self { files, older, others: files_named_alike(&other), lines, kept }
        })
    }
}

fn files_named_alike(home: &Home) -> Files {
    files(&home.log_dir())
}

/// As the program is used: sealed segments, a change of key, redaction, a refused
/// event, a verification; and how the directory was halfway.
fn exercise() -> (Home, Files) {
    let home = Home::new();
    let options =
        || Options { redact: vec!["password".parse().expect("a path")], ..home.options() };
    let session = |count: usize| {
        let log = open(options());
        record_into(&log, count);
        let _refused = log.record(Event::new("")).err();
        log.rotate_key(&RotateRequest::default()).expect("another key");
        all_compressed(&log);
        let filters = || {
            let manifest = log.manifest();
            manifest.segments.iter().all(|segment| {
                home.log_dir().join(format!("audit.{:020}.filter", segment.first_seq)).exists()
            })
        };
        eventually("filters are made", filters);
        log.close().expect("closed");
    };
    session(150);
    assert_eq!(run(&home.dir, &["verify", "--since-last"]).0, 0);
    let older = files(&home.log_dir());
    session(150);
    let log = open(options());
    record_into(&log, 5);
    log.close().expect("closed");
    assert_eq!(run(&home.dir, &["verify", "--since-last"]).0, 0);
    (home, older)
}

pub(super) fn files(dir: &Path) -> Files {
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            let name = entry.file_name().into_string().expect("utf-8");
            files.insert(name, std::fs::read(entry.path()).expect("read").into());
        }
    }
    files
}

pub(super) fn write(files: &Files, dir: &Path) {
    std::fs::create_dir(dir).expect("a directory");
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).expect("mode");
    for (name, content) in files {
        let path = dir.join(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    }
}
