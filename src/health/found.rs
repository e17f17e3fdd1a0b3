//! What commands found wrong with the log: `audit.findings.json` in its directory.
//!
//! `health` reads no records. What `verify`, `backup` or `repair` found in them, and what
//! kept a writer from starting, they leave here, until a full verification passes.
//!
//! Whoever can write the file can make `health` say that something is wrong, or stop saying
//! it. So it counts only where the log directory's owner, or root, wrote it and nobody else
//! can: who can do that can do anything to the log. What else is there is told, and neither
//! believed nor taken for the absence of findings.

use serde::{Deserialize, Serialize};

use crate::audit::LogPaths;
use crate::audit::read::verify::{Depth, Integrity, Kind as Finding, Report};
use crate::audit::tree::document::{self, Kind, Layout};
use crate::clock::Timestamp;
use crate::fsio::{self, Fs};

/// More than the file ever holds.
const MAX_BYTES: u64 = 64 << 10;
/// Of the first finding so much is kept.
const MAX_TEXT: usize = 600;

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// `auditctl verify`.
    Verify,
    /// `auditctl backup`.
    Backup,
    /// `auditctl repair`.
    Repair,
    /// A writer, which did not start.
    Start,
}

impl FoundBy {
    /// The command's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Backup => "backup",
            Self::Repair => "repair",
            Self::Start => "start",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// When.
    pub found_at: Timestamp,
    /// By what.
    pub found_by: FoundBy,
    /// By whom.
    pub uid: u32,
    /// The version of auditctl.
    pub tool: String,
    /// The kinds of finding, as `verify` names them; none of what kept a writer from
    /// starting.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// How many findings.
    pub findings: u64,
    /// The first of them.
    pub first: String,
    /// Whether it was found by comparing the log with a copy that was named: a verification
    /// without one does not end it.
    #[serde(default)]
    pub against: bool,
}

/// What is known of earlier findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Findings {
    /// Nothing was found, as far as is known.
    #[default]
    None,
    /// This was.
    Some(Found),
    /// The file says nothing that could be believed: why.
    Unusable(String),
}

impl Found {
    /// Of a verification; `None` where it found nothing that a start of the writer does not
    /// put in order.
    #[must_use]
    pub fn of(report: &Report, found_by: FoundBy, against: bool) -> Option<Self> {
        let matters = |kind: Finding| kind != Finding::Unclean;
        let first = report.findings.iter().find(|finding| matters(finding.kind))?;
        if report.passed() {
            return None;
        }
        let mut kinds: Vec<String> =
            report.findings.iter().map(|finding| finding.kind.as_str().to_owned()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let findings = report.findings.len() as u64;
        let new = Self::new(found_by, report.verified_at, &first.to_string());
        Some(Self { kinds, findings, against, ..new })
    }

    /// One finding, in words.
    #[must_use]
    pub fn new(found_by: FoundBy, found_at: Timestamp, first: &str) -> Self {
        Self {
            found_at,
            found_by,
            uid: rustix::process::geteuid().as_raw(),
            tool: format!("auditctl {}", env!("CARGO_PKG_VERSION")),
            kinds: Vec::new(),
            findings: 1,
            first: first.chars().take(MAX_TEXT).collect(),
            against: false,
        }
    }

    /// The kinds that this version knows.
    pub(super) fn known(&self) -> Vec<Finding> {
        let known = |name: &String| Finding::ALL.into_iter().find(|kind| kind.as_str() == name);
        self.kinds.iter().filter_map(known).collect()
    }

    /// Whether it may have been found by a comparison with a copy of a head: then only another
    /// one says that it is over.
    #[must_use]
    pub fn is_of_copies(&self) -> bool {
        let of_copies = [Finding::Diverged, Finding::Restored, Finding::Truncated];
        self.against || self.known().iter().any(|kind| of_copies.contains(kind))
    }

    /// Leaves it for `health`.
    ///
    /// # Errors
    /// A file operation's.
    pub fn store(&self, fs: &dyn Fs, paths: &LogPaths) -> std::io::Result<()> {
        let text = document::encode_file(Kind::FINDINGS, self, Layout::Pretty)?;
        fsio::replace_file(fs, &paths.findings(), &text)
    }
}

impl Findings {
    /// What is there.
    #[must_use]
    pub fn load(fs: &dyn Fs, paths: &LogPaths) -> Self {
        let path = paths.findings();
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let entry = match fs.entry(&path) {
            Ok(entry) => entry,
            Err(error) if gone(&error) => return Self::None,
            // Neither may the rest of the directory be looked at, which is told there.
            Err(_) => return Self::None,
        };
        let owner = fs.meta(&paths.dir).map_or(0, |dir| dir.uid);
        if entry.uid != owner && entry.uid != 0 {
            return Self::Unusable(format!("user {} wrote it, not the log's owner", entry.uid));
        }
        if entry.mode & 0o022 != 0 {
            return Self::Unusable("others than its owner may write it".to_owned());
        }
        let text = match fs.read_own(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if gone(&error) => return Self::None,
            Err(error) => return Self::Unusable(error.to_string()),
        };
        match document::decode(Kind::FINDINGS, &text) {
            Ok(found) => Self::Some(found),
            Err(error) => Self::Unusable(error.to_string()),
        }
    }

    /// Takes it away: all is well.
    ///
    /// # Errors
    /// A file operation's.
    pub fn clear(fs: &dyn Fs, paths: &LogPaths) -> std::io::Result<()> {
        match fs.remove(&paths.findings()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Leaves for `health` what a verification of the log found, or takes away what one found
/// before. `against`: it was compared with copies that were named.
pub fn note_verified(
    fs: &dyn Fs,
    paths: &LogPaths,
    report: &Report,
    found_by: FoundBy,
    against: bool,
) {
    if let Some(found) = Found::of(report, found_by, against) {
        // Who may only read cannot leave anything.
        if let Err(error) = found.store(fs, paths) {
            tracing::info!(%error, "what was found is not kept for `health`");
        }
        return;
    }
    let read_all = report.depth == Depth::Full || report.depth_reason.is_some();
    if report.passed() && read_all {
        note_ended(fs, paths, against);
    }
}

/// All is well again; what only a comparison found, only another one ends.
pub fn note_ended(fs: &dyn Fs, paths: &LogPaths, against: bool) {
    let stays = match Findings::load(fs, paths) {
        Findings::None => true,
        Findings::Some(found) => found.against && !against,
        Findings::Unusable(_) => false,
    };
    if !stays && let Err(error) = Findings::clear(fs, paths) {
        tracing::info!(%error, "what was found before is still told of");
    }
}

/// What to do about what a verification found, the worst first: one step for each kind of
/// case.
#[must_use]
pub fn next_steps(report: &Report) -> Vec<&'static str> {
    // What is wrong with the succession of keys, no backup's records put right.
    let of_keys = |file: &str| file == "audit.keys";
    let records = report.findings.iter().filter(|finding| !of_keys(&finding.file));
    let kinds: Vec<Finding> = records.map(|finding| finding.kind).collect();
    let mut next = steps(&kinds, report.integrity == Integrity::Damaged && !kinds.is_empty());
    if report.findings.iter().any(|finding| of_keys(&finding.file)) {
        next.push(KEYS_STEP);
    }
    next
}

const KEYS_STEP: &str = "a log whose key was never changed (`auditctl key rotate`, `auditctl key replace`) has no audit.keys: \
                         find out who wrote it, and move it away. Otherwise start the collector with \
                         backup.output_dir set to where backups are, which puts it back; without a backup, \
                         `auditctl serve --accept-corruption`, once";

/// The same of the kinds alone.
pub(super) fn steps(kinds: &[Finding], is_damaged: bool) -> Vec<&'static str> {
    let has = |wanted: &[Finding]| kinds.iter().any(|kind| wanted.contains(kind));
    let of_records = [
        Finding::Altered,
        Finding::StoredBytes,
        Finding::Missing,
        Finding::Reordered,
        Finding::Truncated,
    ];
    let cases = [
        (
            is_damaged || has(&of_records),
            "stop the collector, then run `auditctl repair` (--dry-run shows what it would put back)",
        ),
        (
            has(&[Finding::BadSignature]),
            "stop the collector and run `auditctl repair`: it takes the newest signed head from a \
             backup. If there is no backup, run `auditctl serve --accept-corruption` once: it goes on \
             with the records that are here, and names them as unsigned",
        ),
        (
            has(&[Finding::WrongKey]),
            "verify with the log's own public key, kept elsewhere: --public-key FILE. If somebody \
             replaced audit.pub, `auditctl repair` recreates it from the private key",
        ),
        (
            has(&[Finding::Diverged, Finding::Restored]),
            "`auditctl diff log latest` shows where the log and its newest backup begin to differ. \
             Keep both until you know which is right",
        ),
        (
            has(&[Finding::Extra]) && !is_damaged,
            "keep a copy, and find out who wrote it. Then start the collector: it moves what is extra \
             out of the log, keeps it beside the log, and records that",
        ),
        (
            has(&[Finding::Unclean]),
            "start the collector: it puts the end of the log in order, and records what it found",
        ),
        (
            has(&[Finding::NoQuorum]),
            "`auditctl health` shows which witness is behind, and why. If the policy is new, wait \
             until the collector has asked its witnesses, or give a cosigned checkpoint with \
             --against FILE",
        ),
        (
            has(&[Finding::QuorumOld]),
            "`auditctl health` shows which witness is behind, and why. A newer cosigned checkpoint \
             can be given with --against FILE. If the log has not grown since, nothing new was \
             cosigned: ask for a longer time",
        ),
    ];
    cases.into_iter().filter(|(applies, _)| *applies).map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    fn found() -> Found {
        let at = "2026-02-04T21:09:40Z".parse().expect("a time");
        let new = Found::new(FoundBy::Verify, at, "altered: audit.log record 7: it is not it");
        Found { kinds: vec!["altered".to_owned(), "of_tomorrow".to_owned()], ..new }
    }

    #[test]
    fn what_was_found_is_read_as_it_was_written_and_ends_when_it_is_taken_away() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let paths = LogPaths::new(dir.path());
        assert_eq!(Findings::load(&OsFs, &paths), Findings::None);
        found().store(&OsFs, &paths).expect("stored");
        assert_eq!(Findings::load(&OsFs, &paths), Findings::Some(found()));
        assert_eq!(found().known(), [Finding::Altered]);
        Findings::clear(&OsFs, &paths).expect("removed");
        assert_eq!(Findings::load(&OsFs, &paths), Findings::None);
        Findings::clear(&OsFs, &paths).expect("there is none");
    }

    /// Neither believed nor taken for none.
    #[test]
    fn what_others_may_have_written_is_told_and_not_believed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        type Plant = fn(&std::path::Path);
        let plants: &[(&str, Plant)] = &[
            ("others may write it", |path| {
                let mode = std::fs::Permissions::from_mode(0o666);
                std::fs::set_permissions(path, mode).expect("mode");
            }),
            ("no JSON", |path| std::fs::write(path, "{").expect("written")),
            ("a link", |path| {
                let elsewhere = path.with_extension("elsewhere");
                std::fs::rename(path, &elsewhere).expect("moved");
                symlink(elsewhere, path).expect("linked");
            }),
            ("a directory", |path| {
                std::fs::remove_file(path).expect("removed");
                std::fs::create_dir(path).expect("made");
            }),
            ("too large", |path| {
                std::fs::write(path, vec![b' '; MAX_BYTES as usize + 1]).expect("written");
            }),
        ];
        for (what, plant) in plants {
            let dir = tempfile::tempdir().expect("temporary directory");
            let paths = LogPaths::new(dir.path());
            found().store(&OsFs, &paths).expect("stored");
            plant(&paths.findings());
            assert!(matches!(Findings::load(&OsFs, &paths), Findings::Unusable(_)), "{what}");
        }
    }

    #[test]
    fn every_kind_of_finding_has_a_next_step() {
        for kind in Finding::ALL {
            // What cannot be told from here is no fault of the log's.
            if kind != Finding::Unprovable {
                assert!(!steps(&[kind], false).is_empty(), "{kind:?}");
            }
        }
    }
}
