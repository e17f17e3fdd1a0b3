//! How many files may be open, and who else is called auditctl.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::LogPaths;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::fsio::inspect::{self, Kind, Wanted};
use crate::fsio::{Fs, OsFs};

/// Files that a collector has open beside its connections: segments, sockets, the
/// runtime's own, and some that a reader opens.
pub const SPARE_FILES: u64 = 128;
const NAME: &str = "auditctl";
/// Where the kernel's tool lives, though services' PATH may lack it.
const SYSTEM_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// More than any build of it has.
const MAX_PROGRAM_BYTES: u64 = 8 << 20;

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let settings = &seen.request.settings;
    let of_collector = seen.live.then(|| limit_of_writer(&settings.log_dir)).flatten();
    let (limit, whose) = match of_collector {
        Some(limit) => (Some(limit), "the running writer's"),
        None => (getrlimit(Resource::Nofile).current, "in this shell; a service has its own limit"),
    };
    // The socket's connections and HTTP's are counted apart.
    let needed = 2 * settings.collector.max_connections as u64 + SPARE_FILES;
    vec![files(limit, needed, whose), others(seen)]
}

fn files(limit: Option<u64>, needed: u64, whose: &str) -> Check {
    let check = match limit {
        Some(limit) if limit < needed => Check::warning(
            Id::FileLimit,
            format!("{limit} files may be open ({whose}); up to {needed} are needed"),
        ),
        Some(limit) => Check::passed(Id::FileLimit, format!("{limit} files may be open ({whose})")),
        None => Check::passed(Id::FileLimit, format!("any number of files may be open ({whose})")),
    };
    check
        .hint("raise LimitNOFILE= in the unit (ulimit -n in a shell), or lower collector.max_connections")
        .metric("limit", limit)
        .metric("needed", needed)
}

/// As the kernel tells of the process that writes the log.
fn limit_of_writer(log_dir: &Path) -> Option<u64> {
    let page = StatusSnapshot::read(&LogPaths::new(log_dir).status()).ok()?;
    let path = PathBuf::from(format!("/proc/{}/limits", page.get(Word::Pid)));
    soft_limit(&String::from_utf8(OsFs.read(&path, 64 << 10).ok()?).ok()?)
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A program called auditctl.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    path: PathBuf,
    /// Whether it is the Linux kernel's audit tool, by the library that it needs.
    kernels: bool,
    /// Whether typing the name runs it rather than this one.
    first: bool,
}

fn others(seen: &Surroundings) -> Check {
    let search = seen.request.environment.get("PATH").unwrap_or_default();
    let dirs = search.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let own = seen.request.program.as_deref().and_then(identity);
    judged(&find(dirs.collect(), own), seen.request.program.as_deref())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    inspect::behind(path).ok().flatten().map(|entry| (entry.device, entry.inode))
}

fn find(dirs: Vec<PathBuf>, own: Option<(u64, u64)>) -> Vec<Other> {
    let (mut own_seen, mut found) = (false, Vec::<Other>::new());
    let mut identities = Vec::new();
    let on_path = dirs.len();
    let system = SYSTEM_DIRS.iter().map(PathBuf::from);
    for (nth, dir) in dirs.into_iter().chain(system).enumerate() {
        let path = dir.join(NAME);
        let run = Wanted { read: false, write: false, search: true };
        let is_program = matches!(inspect::behind(&path), Ok(Some(e)) if e.kind == Kind::File)
            && inspect::may(&path, run).is_ok();
        let Some(identity) = is_program.then(|| identity(&path)).flatten() else { continue };
        if Some(identity) == own {
            own_seen = true;
        } else if !identities.contains(&identity) {
            identities.push(identity);
            let first = nth < on_path && !own_seen && found.is_empty();
            found.push(Other { kernels: is_kernels(&path), path, first });
        }
    }
    found
}

fn is_kernels(path: &Path) -> bool {
    OsFs.read(path, MAX_PROGRAM_BYTES)
        .is_ok_and(|bytes| memchr::memmem::find(&bytes, b"libaudit.so").is_some())
}

fn judged(others: &[Other], program: Option<&Path>) -> Check {
    let own = program.map_or_else(|| NAME.to_owned(), |path| path.display().to_string());
    let list: Vec<String> = others
        .iter()
        .map(|other| {
            let what = if other.kernels { "the Linux kernel's audit tool" } else { "another one" };
            format!("{} ({what})", other.path.display())
        })
        .collect();
    let paths: Vec<String> = others.iter().map(|o| o.path.display().to_string()).collect();
    let check = if others.is_empty() {
        Check::passed(Id::OtherAuditctl, "no other auditctl on PATH or in /usr/sbin")
    } else if let Some(first) = others.iter().find(|other| other.first) {
        let message = format!("`auditctl` runs {}, not this one ({own})", first.path.display());
        Check::warning(Id::OtherAuditctl, message)
    } else {
        Check::warning(Id::OtherAuditctl, format!("there is also {}", list.join(", ")))
    };
    check
        .hint(
            "use the full path of either in scripts; \"The other auditctl\" in the README says \
             how to install this one under another name",
        )
        .metric("others", paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn too_few_files_are_a_warning() {
        for (limit, status) in
            [(None, Status::Passed), (Some(640), Status::Passed), (Some(639), Status::Warning)]
        {
            assert_eq!(files(limit, 640, "here").status, status, "{limit:?}");
        }
        let table =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\n";
        assert_eq!(soft_limit(table), Some(1_024));
        assert_eq!(soft_limit("Max open files   unlimited   unlimited   files\n"), None);
    }

    fn program(dir: &Path, name: &str, content: &str) -> PathBuf {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).expect("directory");
        let path = dir.join(NAME);
        std::fs::write(&path, content).expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("mode");
        dir
    }

    #[test]
    fn another_auditctl_is_found_wherever_it_stands_and_told_apart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let own_dir = program(directory.path(), "own", "ours");
        let kernels = program(directory.path(), "kernel", "\u{7f}ELF libaudit.so.1");
        let own = identity(&own_dir.join(NAME));
        let ours = |found: &[Other]| {
            let here = |other: &&Other| other.path.starts_with(directory.path());
            found.iter().filter(here).cloned().collect::<Vec<_>>()
        };
        assert_eq!(ours(&find(vec![own_dir.clone()], own)), []);
        let after = ours(&find(vec![own_dir.clone(), kernels.clone()], own));
        assert_eq!(after.len(), 1);
        assert!(after[0].kernels && !after[0].first);
        let before = ours(&find(vec![kernels, own_dir], own));
        assert!(before[0].first);
        assert_eq!(judged(&[], None).status, Status::Passed);
        assert!(judged(&after, None).message.contains("kernel's audit tool"));
        assert!(judged(&before, None).message.contains("not this one"));
    }
}
