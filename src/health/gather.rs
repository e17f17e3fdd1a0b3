//! The part that looks.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::facts::{ActiveFile, Facts, Found, Lock, Page, Process};
use crate::audit::LogPaths;
use crate::audit::status::{StatusError, StatusSnapshot, Word};
use crate::clock::Clock;
use crate::fsio::boot::boot_id;
use crate::fsio::lock::is_locked;
use crate::fsio::{Fs, parent};

/// A checkpoint is a few lines.
const MAX_CHECKPOINT_BYTES: u64 = 64 * 1024;
const MAX_STAT_BYTES: u64 = 4096;
/// `/proc` counts in ticks of 1/100 s on every architecture supported.
const TICK_MS: u64 = 10;
/// How long a file may look wrong while the writer starts a new one: it renames
/// the old one first and names the new one in the page last.
const ROTATION_LOOKS: u32 = 15;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks at the log in `dir`. Never fails: what cannot be looked at is a fact, too.
///
/// Returns at once, but when a writer has no page, or `audit.log` is not the
/// file that it says it writes: then it looks again for up to 0.3 s before it
/// says so.
#[must_use]
pub fn gather(dir: &Path, fs: &dyn Fs, clock: &dyn Clock) -> Facts {
    let mut facts = look(dir, fs, clock);
    for _ in 0..ROTATION_LOOKS {
        // A first writer makes its page some moments after it took the lock.
        let gone = matches!(facts.page, Page::Missing);
        let odd = gone || facts.active_file() != ActiveFile::Expected;
        if !odd || facts.lock != Lock::Held {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        facts = look(dir, fs, clock);
    }
    facts
}

fn look(dir: &Path, fs: &dyn Fs, clock: &dyn Clock) -> Facts {
    let paths = LogPaths::new(dir);
    let (lock, page) = lock_and_page(&paths);
    let process = match &page {
        Page::Read(snapshot) => process(snapshot, fs),
        Page::Missing | Page::Unreadable(_) => None,
    };
    Facts {
        now: clock.now(),
        boot_ms: clock.boot_ms(),
        boot_id: boot_id(fs),
        dir: found(fs, dir),
        lock,
        page,
        active: found(fs, &paths.active()),
        manifest: found(fs, &paths.manifest()),
        checkpoint: found(fs, &paths.checkpoint()),
        checkpoint_size: checkpoint_size(fs, &paths.checkpoint()),
        space: space(fs, dir),
        process,
        paths,
    }
}

/// Both at one moment: a writer that is being closed or opened between the two
/// looks would seem to have died.
fn lock_and_page(paths: &LogPaths) -> (Lock, Page) {
    const LOOKS: u32 = 5;
    let mut lock = ask(&paths.lock());
    for _ in 0..LOOKS {
        let page = read_page(&paths.status());
        let after = ask(&paths.lock());
        // A page that is being made has no mark for some microseconds.
        let being_made = after == Lock::Held && matches!(page, Page::Unreadable(_));
        if lock == after && !being_made {
            return (lock, page);
        }
        lock = after;
        std::thread::sleep(Duration::from_millis(1));
    }
    let page = read_page(&paths.status());
    (lock, page)
}

fn ask(path: &Path) -> Lock {
    match is_locked(path) {
        Ok(true) => Lock::Held,
        Ok(false) => Lock::Free,
        Err(error) => Lock::Unknown(format!("{}: {error}", path.display())),
    }
}

fn read_page(path: &Path) -> Page {
    match StatusSnapshot::read(path) {
        Ok(snapshot) => Page::Read(snapshot),
        Err(StatusError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Page::Missing
        }
        Err(error) => Page::Unreadable(error.to_string()),
    }
}

fn found(fs: &dyn Fs, path: &Path) -> Found {
    match fs.meta(path) {
        Ok(meta) => Found::Yes(meta),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::No,
        Err(error) => Found::Unknown(error.to_string()),
    }
}

/// The second line of a tlog-checkpoint.
fn checkpoint_size(fs: &dyn Fs, path: &Path) -> Option<u64> {
    let bytes = fs.read(path, MAX_CHECKPOINT_BYTES).ok()?;
    std::str::from_utf8(&bytes).ok()?.lines().nth(1)?.parse().ok()
}

/// Of the log directory; where there is none yet, of the one it would be made in.
fn space(fs: &dyn Fs, dir: &Path) -> Result<crate::fsio::Space, String> {
    match fs.space(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs.space(&parent(dir)),
        other => other,
    }
    .map_err(|error| error.to_string())
}

/// The page's process, unless its number has gone to a later one.
fn process(page: &StatusSnapshot, fs: &dyn Fs) -> Option<Process> {
    let path = format!("/proc/{}/stat", page.get(Word::Pid));
    let bytes = fs.read(Path::new(&path), MAX_STAT_BYTES).ok()?;
    let (state, started_ms) = parse_stat(&String::from_utf8_lossy(&bytes))?;
    (started_ms <= page.get(Word::StartedBootMs) + TICK_MS).then_some(Process { state })
}

/// State and start (ms since boot) from `/proc/<pid>/stat`: fields 3 and 22,
/// counted from behind the command's name, which may hold anything.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started: u64 = fields.nth(18)?.parse().ok()?;
    Some((state, started * TICK_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::status::StatusPage;
    use crate::clock::SystemClock;
    use crate::fsio::OsFs;
    use crate::fsio::lock::try_lock;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a) b (c) T 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 777 1 2";
        assert_eq!(parse_stat(stat), Some(('T', 7_770)));
        assert_eq!(parse_stat("42 (a) T 1"), None);
    }

    #[test]
    fn nothing_at_all_is_a_fact_and_nothing_is_made() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path().join("logs");
        let facts = gather(&dir, &OsFs, &SystemClock);
        assert_eq!((&facts.dir, &facts.lock), (&Found::No, &Lock::Free));
        assert!(matches!(facts.page, Page::Missing));
        assert!(facts.space.is_ok(), "the parent's");
        assert_eq!(OsFs.meta(&dir).map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_writer_is_seen_with_its_process_and_its_lock_is_left_alone() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let paths = LogPaths::new(directory.path());
        let page = StatusPage::create(&paths.status()).expect("page");
        let held = try_lock(&paths.lock()).expect("lock").expect("free");
        page.set(Word::Pid, std::process::id().into());
        page.set(Word::StartedBootMs, SystemClock.boot_ms());
        crate::fsio::replace_file(&OsFs, &paths.checkpoint(), b"auditctl/x\n17\nroot\n").unwrap();
        let facts = gather(directory.path(), &OsFs, &SystemClock);
        assert_eq!(facts.lock, Lock::Held);
        assert!(facts.process.is_some_and(|process| "RSD".contains(process.state)));
        assert_eq!(facts.checkpoint_size, Some(17));
        drop(held);
        assert_eq!(gather(directory.path(), &OsFs, &SystemClock).lock, Lock::Free);

        page.set(Word::StartedBootMs, 1);
        let facts = gather(directory.path(), &OsFs, &SystemClock);
        assert_eq!(facts.process, None, "a process that began after the log was opened");
    }

    #[test]
    fn a_file_that_is_no_page_cannot_be_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = LogPaths::new(directory.path()).status();
        crate::fsio::replace_file(&OsFs, &path, &[7; 4096]).expect("write");
        let facts = gather(directory.path(), &OsFs, &SystemClock);
        assert!(matches!(facts.page, Page::Unreadable(reason) if reason.contains("AUDSTAT1")));
    }
}
