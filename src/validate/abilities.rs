//! What the file system below the log is, and whether locks, syncs and the status page work
//! there: tried, in the scratch directory.

use std::path::Path;

use super::catalogue::Id;
use super::check::Check;
use super::places::nearest;
use super::request::Surroundings;
use super::volumes::{Suits, by_magic};
use crate::audit::state::status::{StatusPage, StatusSnapshot, Word};
use crate::fsio::inspect::{self, Volume};
use crate::fsio::lock::{is_locked, try_lock};
use crate::fsio::{Fs, OpenMode, OsFs};

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let mut checks = vec![volume(&seen.request.settings.log_dir)];
    for (id, what, tried) in [
        (Id::PermissionsLock, "locks", lock as fn(&Path) -> Result<(), String>),
        (Id::PermissionsSync, "fdatasync and fsync", sync),
        (Id::PermissionsStatus, "status pages", status_page),
    ] {
        checks.push(match seen.scratch(&format!("try.{}", id.as_str())) {
            Err(why) => Check::skipped(id, format!("not tried: {why}")),
            Ok(path) => match tried(&path) {
                Ok(()) => Check::passed(id, format!("{what} work on this file system")),
                Err(why) => {
                    Check::failed(id, format!("{what} do not work on this file system: {why}"))
                        .hint("put log_dir on a local file system such as ext4 or xfs")
                }
            },
        });
    }
    checks
}

fn volume(log_dir: &Path) -> Check {
    let there = match inspect::behind(log_dir) {
        Ok(Some(_)) => Some(log_dir.to_path_buf()),
        _ => nearest(log_dir),
    };
    let Some(there) = there else {
        return Check::skipped(
            Id::PermissionsVolume,
            "there is neither the log directory nor one above it",
        );
    };
    match inspect::volume(&there) {
        Ok(volume) => judged(volume).path(&there),
        Err(error) => {
            Check::failed(Id::PermissionsVolume, format!("cannot be determined: {error}"))
                .hint("check the mount below the log directory")
                .path(&there)
        }
    }
}

fn judged(volume: Volume) -> Check {
    const LOCAL: &str = "put log_dir on a local file system such as ext4 or xfs";
    let (name, suits) = by_magic(volume.magic);
    let id = Id::PermissionsVolume;
    let check = if volume.read_only {
        Check::failed(id, format!("{name}, mounted read-only")).hint("mount it with write access")
    } else {
        match suits {
            Suits::Well => Check::passed(id, format!("{name}, local")),
            Suits::Network => {
                let why = "locks and fdatasync are not reliable there";
                Check::failed(id, format!("{name} is a network file system: {why}")).hint(LOCAL)
            }
            Suits::Memory => {
                Check::warning(id, format!("{name} is in memory: the log is gone at the next boot"))
                    .hint(LOCAL)
            }
            Suits::Layer => Check::warning(
                id,
                format!("{name} is a container's own layer: the log goes with the container"),
            )
            .hint("mount a volume at log_dir"),
            Suits::Program => Check::warning(
                id,
                format!("{name}: whether fdatasync stores data depends on the program behind it"),
            )
            .hint(LOCAL),
            Suits::NoModes => {
                Check::failed(id, format!("{name} knows no owners and no modes")).hint(LOCAL)
            }
            Suits::Unknown => Check::warning(
                id,
                format!("an unknown file system (number {:#x})", volume.magic),
            )
            .hint("make sure that it is local and honours fdatasync; if so, ignore this warning"),
        }
    };
    check.metric("file_system", name).metric("magic", format!("{:#x}", volume.magic))
}

fn lock(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let held = try_lock(path).map_err(failed)?.ok_or("a lock that nobody has is refused")?;
    if !is_locked(path).map_err(failed)? {
        return Err("a lock that is held is not seen".to_owned());
    }
    if try_lock(path).map_err(failed)?.is_some() {
        return Err("a lock that is held is given a second time".to_owned());
    }
    drop(held);
    match try_lock(path).map_err(failed)? {
        Some(_) => Ok(()),
        None => Err("a lock that was released stays held".to_owned()),
    }
}

fn sync(path: &Path) -> Result<(), String> {
    let attempt = || -> std::io::Result<()> {
        let file = OsFs.open(path, OpenMode::CreateNew)?;
        file.write_all_at(b"audit", 0)?;
        file.sync_data()?;
        OsFs.sync_dir(&crate::fsio::parent(path))?;
        OsFs.remove(path)
    };
    attempt().map_err(|error| error.to_string())
}

fn status_page(path: &Path) -> Result<(), String> {
    const MARK: u64 = 0x5ca1_ab1e;
    let page = StatusPage::create(path).map_err(|error| error.to_string())?;
    page.set(Word::LogBytes, MARK);
    page.publish();
    let read = StatusSnapshot::read(path).map_err(|error| error.to_string())?;
    if read.get(Word::LogBytes) == MARK {
        Ok(())
    } else {
        Err("what is written is not what others read".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::{surroundings_in, surroundings_of};

    #[test]
    fn locks_syncs_and_status_pages_are_tried_and_nothing_stays_but_in_the_scratch_directory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = surroundings_in(dir.path());
        let checks = check(&seen);
        for id in [Id::PermissionsLock, Id::PermissionsSync, Id::PermissionsStatus] {
            let found = checks.iter().find(|check| check.id == id).expect("checked");
            assert_eq!(found.status, Status::Passed, "{found:?}");
        }
        let names = OsFs.list(dir.path()).expect("listed");
        assert_eq!(names, ["scratch"]);
        // Without a place to try, it is said that nothing was.
        let skipped = check(&surroundings_of(""));
        assert_eq!(skipped[1].status, Status::Skipped);
    }

    #[test]
    fn the_kind_of_file_system_decides() {
        for (magic, read_only, status, word) in [
            (0xEF53, false, Status::Passed, "ext4"),
            (0xEF53, true, Status::Failed, "read-only"),
            (0x6969, false, Status::Failed, "network"),
            (0xFE53_4D42, false, Status::Failed, "network"),
            (0x0102_1994, false, Status::Warning, "memory"),
            (0x794C_7630, false, Status::Warning, "container"),
            (0x4D44, false, Status::Failed, "modes"),
            (0x1234_5678, false, Status::Warning, "0x12345678"),
        ] {
            let check = judged(Volume { magic, read_only });
            assert_eq!(check.status, status, "{check:?}");
            assert!(check.message.contains(word), "{check:?}");
        }
    }

    #[test]
    fn what_cannot_be_locked_or_synced_says_why() {
        let nowhere = Path::new("/proc/no-such-directory/file");
        for tried in [lock as fn(&Path) -> Result<(), String>, sync, status_page] {
            assert!(!tried(nowhere).expect_err("nowhere").is_empty());
        }
    }
}
