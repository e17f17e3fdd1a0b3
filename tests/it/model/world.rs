//! What there is: a log directory at rest, and what is true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::keys::checkpoint::SignedCheckpoint;

/// The files of a directory.
pub(super) type Files = BTreeMap<String, Arc<[u8]>>;

/// Names whose content says nothing of the proof, or differs from run to run.
const VOLATILE: [&str; 5] = [
    "audit.status",
    "audit.lock",
    "audit.verified.json",
    "audit.findings.json",
    "security_events.log",
];

/// A tree head that is kept where the attacker cannot write, and the lines of then.
#[derive(Clone, Hash)]
pub(super) struct Kept {
    pub(super) note: Vec<u8>,
    pub(super) size: u64,
    pub(super) lines: BTreeMap<u64, String>,
}

/// What is so, whatever the files say.
#[derive(Clone, Default, Hash)]
pub(super) struct Truth {
    /// Every line that a writer of ours has written.
    pub(super) honest: BTreeSet<String>,
    /// Those of them that were acknowledged to who sent them.
    pub(super) acknowledged: BTreeSet<String>,
    /// One after the last record that retention removed.
    pub(super) pruned_to: u64,
    /// One after the last record that a signature in the directory has to cover: all
    /// that a killed process acknowledged, and what was signed before the power went.
    pub(super) end: u64,
    /// One after the last record that was ever written.
    pub(super) written: u64,
    pub(super) kept: Option<Kept>,
    pub(super) rotated: bool,
    /// Hours that have passed.
    pub(super) hours: i64,
    /// Whether an attacker has changed anything.
    pub(super) tampered: bool,
    /// Whether he has put back what was there before: where nothing is kept
    /// elsewhere, that may pass.
    pub(super) replayed: bool,
}

/// A state of the world.
#[derive(Clone)]
pub(super) struct State {
    pub(super) files: Files,
    pub(super) truth: Truth,
    /// What the attacker has copied.
    pub(super) copy: Option<Arc<Files>>,
    /// How it came about.
    pub(super) path: Vec<super::Action>,
}

impl State {
    /// The same for states that nothing can tell apart.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for files in [Some(&self.files), self.copy.as_deref()].into_iter().flatten() {
            for (name, content) in files.iter().filter(|(n, _)| !VOLATILE.contains(&n.as_str())) {
                (name, content).hash(&mut hasher);
            }
        }
        (self.copy.is_some(), &self.truth).hash(&mut hasher);
        hasher.finish()
    }

    /// Every record in the segments, in the order in which a reader finds them.
    pub(super) fn lines(&self) -> Vec<String> {
        lines(&self.files)
    }
}

pub(super) fn lines(files: &Files) -> Vec<String> {
    let mut text = Vec::new();
    // `audit.0…` sorts before `audit.log`. A plain file beside its packed one is the
    // same records.
    for (name, bytes) in files {
        if name == "audit.log" || (is_sealed(name) && name.ends_with(".log")) {
            let packed = files.contains_key(&format!("{name}.gz"));
            if !packed {
                text.extend(&bytes[..]);
            }
        } else if is_sealed(name) && name.ends_with(".log.gz") {
            let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            // What cannot be unpacked has no lines: the verdict is to say so.
            let _ = std::io::Read::read_to_end(&mut decoder, &mut text);
        }
    }
    // What is no JSON is what a crash left unfinished, or damage: no record.
    let whole = |line: &&str| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
    String::from_utf8_lossy(&text).lines().filter(whole).map(str::to_owned).collect()
}

pub(super) fn is_sealed(name: &str) -> bool {
    name.strip_prefix("audit.").is_some_and(|rest| rest.as_bytes().first() == Some(&b'0'))
}

/// What the newest signature of the program's in these files covers.
pub(super) fn signed(files: &Files) -> u64 {
    let size = |name: &str| {
        let note = SignedCheckpoint::parse(files.get(name)?).ok()?;
        Some(note.unverified().size)
    };
    size("audit.checkpoint").max(size("audit.head")).unwrap_or(0)
}

pub(super) fn seq_of(line: &str) -> Option<u64> {
    line.strip_prefix("{\"seq\":")?.split(',').next()?.parse().ok()
}

/// A place for a log directory, in memory where that can be.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new(files: &Files) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let place = Self(dir.expect("a directory"));
        if !files.is_empty() {
            std::fs::create_dir(place.log()).expect("made");
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(place.log(), mode).expect("mode");
        }
        for (name, content) in files {
            let path = place.log().join(name);
            std::fs::write(&path, content).expect("written");
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, mode).expect("mode");
        }
        place
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    pub(super) fn backups(&self) -> PathBuf {
        self.0.path().join("backups")
    }

    /// The files as they are now.
    pub(super) fn files(&self) -> Files {
        let mut files = Files::new();
        for entry in std::fs::read_dir(self.log()).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_file() {
                let name = entry.file_name().into_string().expect("utf-8");
                // What is just being replaced is no file of the log.
                if !name.contains(".tmp-") {
                    let content = std::fs::read(entry.path()).unwrap_or_default();
                    files.insert(name, content.into());
                }
            }
        }
        files
    }
}
