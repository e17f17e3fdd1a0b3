//! The one file that looks, with those below it.

mod archive;
mod backups;

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use super::found::Findings;
use crate::alerts::AlertsStatus;
use crate::audit::LogPaths;
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::keys::{KeyFiles, KeyHistory, KeysError};
use crate::audit::read::verify::State;
use crate::audit::state::status::{Damage, StatusError, StatusSnapshot, Word};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::fsio::{FileMeta, Fs, Space, boot};
use crate::witness::WitnessStatus;
pub(super) use archive::Archive;
pub(super) use backups::Backups;

/// A look is taken again when something changed meanwhile, but not for ever.
const LOOKS: usize = 5;
/// More than `/proc/<pid>/stat` ever holds.
const PROC_STAT_BYTES: u64 = 4096;

/// The status page.
#[derive(Clone, Debug)]
pub(super) enum Page {
    Read(StatusSnapshot),
    Missing,
    /// It is there and may not be read.
    Denied(String),
    /// A newer version writes it: why, in words.
    Newer(String),
    /// It cannot be read, or is no page of this version.
    Unusable(String),
}

/// A file, without its content.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    There(FileMeta),
    Missing,
    Unknown(String),
}

/// A state of `verify` larger than this is none.
pub(crate) const MAX_STATE_BYTES: u64 = 64 << 20;

/// A verification of the log that passed; nothing where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    /// Over so many records.
    pub(super) tree_size: u64,
    /// When it began.
    pub(super) at: Option<Timestamp>,
}

/// The process that the page names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Its state as the kernel tells it, such as `S` or `T`.
    State(char),
    /// None of that number, as far as can be seen from here.
    Gone,
    Unknown,
}

/// Everything that was seen, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) boot_ms: u64,
    pub(super) boot_id: Option<u64>,
    pub(super) page: Page,
    /// Whether a writer holds the lock.
    pub(super) locked: Result<bool, String>,
    pub(super) log_file: Seen,
    /// At least so long the log file has to be: what the page said just before.
    pub(super) written_bytes: u64,
    pub(super) checkpoint: Seen,
    pub(super) manifest: Seen,
    /// The key that is to follow, while a change of key is not finished.
    pub(super) next_key: Seen,
    /// The signing key.
    pub(super) key: Seen,
    /// Why it is none that a writer could start with, where none runs.
    pub(super) key_unusable: Option<String>,
    /// Why no writer starts with the `audit.keys` that is there, though the key was never
    /// changed.
    pub(super) keys_unusable: Option<String>,
    /// What commands found.
    pub(super) findings: Findings,
    /// The newest change of key, where nobody signed the succession: when, and what is
    /// said of it.
    pub(super) key_replaced: Option<String>,
    /// What `verify --since-last` has proven last.
    pub(super) verified: Verified,
    /// `audit.keys` has fewer changes of the key than the last writer knew of.
    pub(super) chain_is_short: bool,
    pub(super) space: Result<Space, String>,
    pub(super) backups: Backups,
    /// How alerts are delivered; none when none are set, or no collector has run.
    pub(super) alerts: Result<Option<AlertsStatus>, String>,
    /// How it goes with the witnesses; none when none are set, or no collector has run.
    pub(super) witness: Result<Option<WitnessStatus>, String>,
    /// How far the archive is that the settings name.
    pub(super) archive: Option<Archive>,
    pub(super) process: Process,
}

impl Facts {
    pub(super) fn page(&self) -> Option<&StatusSnapshot> {
        match &self.page {
            Page::Read(page) => Some(page),
            _ => None,
        }
    }

    /// Whether the page is of an earlier boot of the machine; false when the
    /// kernel does not tell.
    pub(super) fn rebooted(&self) -> bool {
        let written = self.page().map_or(0, |page| page.get(Word::BootId));
        written != 0 && self.boot_id.is_some_and(|now| now != written)
    }
}

pub(super) fn gather(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Facts {
    let dir = &*settings.log_dir;
    let paths = LogPaths::new(dir);
    let moment = look_until_steady(&paths, fs);
    let chain = chain(fs, &paths, &moment.page);
    let pid = match &moment.page {
        Page::Read(page) => page.get(Word::Pid),
        _ => 0,
    };
    Facts {
        // The clocks last: nothing seen is then younger than now.
        checkpoint: seen(fs, &paths.checkpoint()),
        manifest: seen(fs, &paths.manifest()),
        next_key: seen(fs, &KeyFiles::new(&paths, settings.key_path.as_deref()).next()),
        key: seen(fs, &KeyFiles::new(&paths, settings.key_path.as_deref()).key),
        key_unusable: key_unusable(fs, &paths, settings, &moment.locked),
        keys_unusable: keys_unusable(fs, &paths, &moment.page),
        findings: Findings::load(fs, &paths),
        key_replaced: chain.as_ref().and_then(key_replaced),
        verified: verified(fs, &paths, &moment.page),
        chain_is_short: chain_is_short(&chain, &moment.page),
        space: fs.space(dir).map_err(text),
        backups: backups::look(fs, &settings.backup.output_dir, &paths, clock.now()),
        alerts: alerts(settings, fs, &paths),
        witness: witness(settings, fs, &paths),
        archive: archive::look(settings.archive.destination.as_deref(), fs, dir, clock.now()),
        process: process(fs, pid),
        boot_id: boot::boot_id(fs),
        page: moment.page,
        locked: moment.locked,
        log_file: moment.log_file,
        written_bytes: moment.written_bytes,
        now: clock.now(),
        boot_ms: clock.boot_ms(),
    }
}

/// Read only when something waits for it. Nobody signed it: a false one ends what
/// health tells of records that were adopted, or of a file whose records were saved;
/// the log's own records say both for ever. It ends nothing of damage that is there.
fn verified(fs: &dyn Fs, paths: &LogPaths, page: &Page) -> Verified {
    let Page::Read(page) = page else { return Verified::default() };
    if page.get(Word::AdoptedEnd) == 0 && page.damage() != Some(Damage::FileReplaced) {
        return Verified::default();
    }
    let state = fs.read_own(&paths.verified(), MAX_STATE_BYTES).ok();
    let state = state.and_then(|text| State::parse(&text).ok());
    state.map_or_else(Verified::default, |state| Verified {
        tree_size: state.tree_size,
        at: Some(state.verified_at),
    })
}

/// The changes of the key, as `audit.keys` has them.
enum Chain {
    Read(KeyHistory),
    Bad,
}

/// Read only where the key was ever changed. What cannot be read is not known.
fn chain(fs: &dyn Fs, paths: &LogPaths, page: &Page) -> Option<Chain> {
    let Page::Read(page) = page else { return None };
    if page.get(Word::KeyChanges) == 0 {
        return None;
    }
    match KeyHistory::load(fs, paths) {
        Ok(Some(history)) => Some(Chain::Read(history)),
        Err(KeysError::Io { .. } | KeysError::Newer { .. }) => None,
        Ok(None) | Err(_) => Some(Chain::Bad),
    }
}

/// Read only where no writer runs: one that does has the key, and puts its file back.
fn key_unusable(
    fs: &dyn Fs,
    paths: &LogPaths,
    settings: &Settings,
    locked: &Result<bool, String>,
) -> Option<String> {
    if *locked != Ok(false) {
        return None;
    }
    let key = KeyFiles::new(paths, settings.key_path.as_deref()).key;
    match SigningKey::load(fs, &key) {
        Ok(_) => None,
        // That it is missing is known, and that it may not be read says nothing.
        Err(KeyError::Io { source, .. }) if source.kind() != ErrorKind::InvalidData => None,
        Err(error) => Some(error.to_string()),
    }
}

/// A log whose key was never changed has no such file, and somebody may have put one there.
fn keys_unusable(fs: &dyn Fs, paths: &LogPaths, page: &Page) -> Option<String> {
    let changed = matches!(page, Page::Read(page) if page.get(Word::KeyChanges) > 0);
    if changed {
        return None;
    }
    match KeyHistory::load(fs, paths) {
        Ok(_) | Err(KeysError::Newer { .. }) => None,
        Err(KeysError::Io { source, .. }) if source.kind() != ErrorKind::InvalidInput => None,
        Err(error) => Some(error.to_string()),
    }
}

fn chain_is_short(chain: &Option<Chain>, page: &Page) -> bool {
    let Page::Read(page) = page else { return false };
    match chain {
        None => false,
        Some(Chain::Bad) => true,
        Some(Chain::Read(history)) => (history.rotations.len() as u64) < page.get(Word::KeyChanges),
    }
}

fn key_replaced(chain: &Chain) -> Option<String> {
    let Chain::Read(history) = chain else { return None };
    let replaced = history.replacement()?.check().ok()?.replaced?;
    Some(replaced.told())
}

fn alerts(
    settings: &Settings,
    fs: &dyn Fs,
    paths: &LogPaths,
) -> Result<Option<AlertsStatus>, String> {
    if settings.alerts.is_empty() {
        return Ok(None);
    }
    let path = paths.alerts_status();
    AlertsStatus::read(fs, &path).map_err(|error| format!("{}: {error}", path.display()))
}

fn witness(
    settings: &Settings,
    fs: &dyn Fs,
    paths: &LogPaths,
) -> Result<Option<WitnessStatus>, String> {
    if settings.witness.policy.is_none() {
        return Ok(None);
    }
    let path = paths.witness_status();
    WitnessStatus::read(fs, &path).map_err(|error| format!("{}: {error}", path.display()))
}

struct Moment {
    page: Page,
    locked: Result<bool, String>,
    log_file: Seen,
    written_bytes: u64,
}

/// Lock, page and log file as of one moment: a writer may be starting, ending or
/// changing to a new segment between the looks.
fn look_until_steady(paths: &LogPaths, fs: &dyn Fs) -> Moment {
    let mut left = LOOKS;
    loop {
        let (locked_before, before) = (locked(paths), page(paths));
        let log_file = seen(fs, &paths.active());
        let (page, locked) = (page(paths), locked(paths));
        left -= 1;
        if left == 0 || (locked_before == locked && same_writer_and_file(&before, &page)) {
            let written = |page: &Page| match page {
                Page::Read(page) => page.get(Word::ActiveBytes),
                _ => 0,
            };
            let written_bytes = written(&before).min(written(&page));
            return Moment { page, locked, log_file, written_bytes };
        }
    }
}

fn same_writer_and_file(before: &Page, after: &Page) -> bool {
    let (Page::Read(before), Page::Read(after)) = (before, after) else { return true };
    [Word::StartedAt, Word::ClosedAt, Word::ActiveInode, Word::ActiveFirstSeq]
        .into_iter()
        .all(|word| before.get(word) == after.get(word))
}

fn locked(paths: &LogPaths) -> Result<bool, String> {
    paths.writer_runs().map_err(text)
}

fn page(paths: &LogPaths) -> Page {
    match StatusSnapshot::read(&paths.status()) {
        Ok(page) => Page::Read(page),
        Err(StatusError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Page::Missing
        }
        Err(error @ StatusError::Io { .. }) if denied(&error) => Page::Denied(text(error)),
        Err(error @ StatusError::Newer { .. }) => Page::Newer(text(error)),
        Err(error) => Page::Unusable(text(error)),
    }
}

fn denied(error: &StatusError) -> bool {
    matches!(error, StatusError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

fn seen(fs: &dyn Fs, path: &Path) -> Seen {
    match fs.meta(path) {
        Ok(meta) => Seen::There(meta),
        Err(error) if error.kind() == ErrorKind::NotFound => Seen::Missing,
        Err(error) => Seen::Unknown(text(error)),
    }
}

fn process(fs: &dyn Fs, pid: u64) -> Process {
    if pid == 0 {
        return Process::Unknown;
    }
    match fs.read(Path::new(&format!("/proc/{pid}/stat")), PROC_STAT_BYTES) {
        Ok(stat) => state_in(&stat).map_or(Process::Unknown, Process::State),
        Err(error) if error.kind() == ErrorKind::NotFound => Process::Gone,
        Err(_) => Process::Unknown,
    }
}

/// The state stands after the name, which is in parentheses and may hold any.
fn state_in(stat: &[u8]) -> Option<char> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).map(|byte| char::from(*byte))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_the_state() {
        assert_eq!(state_in(b"42 (a) R (b)) T 1 42 42 0"), Some('T'));
        assert_eq!(state_in(b"42 (auditctl) S 1"), Some('S'));
        assert_eq!(state_in(b""), None);
        assert_eq!(state_in(b"42 (x)"), None);
    }
}
