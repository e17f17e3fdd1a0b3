//! Power loss: every operation on files is recorded, then the disk is rebuilt as
//! it may be found after the power went at any moment in between. What was synced
//! is there; of what was not, any part may be there, in any order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use auditctl::audit::{Durability, Event, Options};
use auditctl::fsio::{FileMeta, Fs, FsFile, OpenMode, OsFs, Space};

use crate::support::{Dir, open, options, records, root_agrees};

/// One operation that changes the disk. A file is known by its number, not its
/// name: renaming one does not change what is written to it.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir,
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    SyncData(usize),
    /// An event was acknowledged to its caller.
    Acknowledged(u64, String),
}

#[derive(Debug, Default)]
struct History {
    changes: Vec<Change>,
    /// Which file a name leads to.
    names: BTreeMap<PathBuf, usize>,
    files: usize,
}

/// The operating system's files, with everything that is done to them recorded
/// in the order in which it took effect.
#[derive(Clone, Debug, Default)]
struct RecordingFs(Arc<Mutex<History>>);

impl RecordingFs {
    /// Does it and records it as one step.
    fn step<T>(
        &self,
        act: impl FnOnce() -> io::Result<T>,
        note: impl FnOnce(&mut History),
    ) -> io::Result<T> {
        let mut history = self.0.lock().expect("no test panicked");
        let done = act()?;
        note(&mut history);
        Ok(done)
    }

    fn acknowledged(&self, seq: u64, actor: String) {
        self.0.lock().expect("no test panicked").changes.push(Change::Acknowledged(seq, actor));
    }

    fn changes(&self) -> Vec<Change> {
        self.0.lock().expect("no test panicked").changes.clone()
    }
}

impl Fs for RecordingFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        let mut number = 0;
        let inner = self.step(
            || OsFs.open(path, mode),
            |history| {
                if let Some(known) = history.names.get(path) {
                    number = *known;
                    return;
                }
                history.files += 1;
                number = history.files;
                history.names.insert(path.to_path_buf(), number);
                history.changes.push(Change::Create(path.to_path_buf(), number));
            },
        )?;
        Ok(Box::new(RecordingFile { inner, number, fs: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(
            || OsFs.rename(from, to),
            |history| {
                let file = history.names.remove(from).expect("a known file");
                history.names.insert(to.to_path_buf(), file);
                history.changes.push(Change::Rename(from.to_path_buf(), to.to_path_buf()));
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(
            || OsFs.remove(path),
            |history| {
                history.names.remove(path);
                history.changes.push(Change::Remove(path.to_path_buf()));
            },
        )
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsFs.create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| OsFs.sync_dir(path), |history| history.changes.push(Change::SyncDir))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        OsFs.list(path)
    }

    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        OsFs.meta(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsFs.space(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        OsFs.read(path, limit)
    }
}

#[derive(Debug)]
struct RecordingFile {
    inner: Box<dyn FsFile>,
    number: usize,
    fs: RecordingFs,
}

impl FsFile for RecordingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut changes = self.fs.0.lock().expect("no test panicked");
        let written = self.inner.write_at(bytes, offset)?;
        changes.changes.push(Change::Write(self.number, offset, bytes[..written].to_vec()));
        Ok(written)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let note = |history: &mut History| history.changes.push(Change::SyncData(self.number));
        self.fs.step(|| self.inner.sync_data(), note)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let note = |history: &mut History| history.changes.push(Change::SetLen(self.number, len));
        self.fs.step(|| self.inner.set_len(len), note)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let note = |history: &mut History| history.changes.push(Change::SetLen(self.number, len));
        self.fs.step(|| self.inner.allocate(len), note)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.inner.meta()
    }
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What a disk holds.
#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, usize>,
    files: BTreeMap<usize, Vec<u8>>,
}

impl Disk {
    /// The disk after the power went once `changes` had been asked for.
    fn after(changes: &[Change], random: &mut Random) -> Self {
        let mut disk = Self::default();
        let last_dir_sync = changes.iter().rposition(|change| matches!(change, Change::SyncDir));
        // File systems keep names in the order of their changes (ext4, XFS and
        // Btrfs do by their journals): all that was synced, and then some more.
        let unsynced = changes[last_dir_sync.map_or(0, |at| at + 1)..]
            .iter()
            .filter(|c| matches!(c, Change::Create(..) | Change::Rename(..) | Change::Remove(_)))
            .count();
        let mut more = random.below(unsynced + 1);
        for (at, change) in changes.iter().enumerate() {
            let is_name =
                matches!(change, Change::Create(..) | Change::Rename(..) | Change::Remove(_));
            if is_name && last_dir_sync.is_none_or(|sync| at > sync) {
                if more == 0 {
                    continue;
                }
                more -= 1;
            }
            disk.name(change);
        }
        let numbers: Vec<usize> = disk.names.values().copied().collect();
        for number in numbers {
            let content = Self::content(changes, number, random);
            disk.files.insert(number, content);
        }
        disk
    }

    fn name(&mut self, change: &Change) {
        match change {
            Change::Create(path, number) => {
                self.names.insert(path.clone(), *number);
            }
            Change::Rename(from, to) => {
                let number = self.names.remove(from).expect("renamed after it was made");
                self.names.insert(to.clone(), number);
            }
            Change::Remove(path) => {
                self.names.remove(path);
            }
            _ => {}
        }
    }

    /// What was synced, and of the rest any part: a write may be missing while a
    /// later one is there, and may be there in part; a length may be there
    /// without the bytes.
    fn content(changes: &[Change], number: usize, random: &mut Random) -> Vec<u8> {
        let synced = changes
            .iter()
            .rposition(|change| matches!(change, Change::SyncData(file) if *file == number));
        let mut content = Vec::new();
        for (at, change) in changes.iter().enumerate() {
            let is_synced = synced.is_some_and(|sync| at < sync);
            match change {
                Change::Write(file, offset, bytes) if *file == number => {
                    let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                    if is_synced || random.coin() {
                        content.resize(content.len().max(end), 0);
                        content[start..end].copy_from_slice(bytes);
                    } else if random.coin() {
                        let part = random.below(bytes.len());
                        let length = start + if random.coin() { part } else { bytes.len() };
                        content.resize(content.len().max(length), 0);
                        let end = (start + part).min(content.len());
                        content[start..end].copy_from_slice(&bytes[..end - start]);
                    }
                }
                Change::SetLen(file, length) if *file == number && (is_synced || random.coin()) => {
                    content.resize(*length as usize, 0);
                }
                _ => {}
            }
        }
        content
    }

    fn put_into(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("directory");
        std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("mode");
        for (path, number) in &self.names {
            let path = to.join(path.strip_prefix(from).expect("in the log directory"));
            std::fs::write(&path, &self.files[number]).expect("written");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("mode");
        }
    }
}

/// A run in which much happens: sealing, compression, checkpoints, reopening.
fn recorded_run(durability: Durability) -> (Dir, Vec<Change>) {
    let dir = Dir::new();
    let fs = RecordingFs::default();
    for run in 0..2 {
        let log = open(Options {
            fs: Arc::new(fs.clone()),
            durability,
            max_segment_size: 4 * 1024,
            checkpoint_interval: std::time::Duration::from_millis(3),
            disk_reserve: 0,
            ..options(&dir)
        });
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (log, fs) = (log.clone(), fs.clone());
                scope.spawn(move || {
                    for n in 0..40 {
                        let actor = format!("{run}-{thread}-{n}");
                        let event = Event::new("e").actor(&*actor).target("x".repeat(100));
                        let seq = log.record(event).expect("accepted").wait_durable();
                        fs.acknowledged(seq.expect("durable"), actor);
                    }
                });
            }
        });
        crate::backups::all_compressed(&log);
        log.close().expect("closed");
    }
    let changes = fs.changes();
    (dir, changes)
}

fn survives_power_loss(durability: Durability, seed: u64) {
    let (dir, changes) = recorded_run(durability);
    let sealed = |change: &Change| match change {
        Change::Rename(_, to) => to.to_string_lossy().ends_with(".log.gz"),
        _ => false,
    };
    assert!(
        changes.iter().filter(|change| sealed(change)).count() >= 5,
        "it sealed and compressed"
    );
    let mut random = Random(seed);
    let rounds = 150;
    for round in 0..rounds {
        let crash = (changes.len() * round / rounds).max(1) + random.below(changes.len() / rounds);
        let changes = &changes[..crash.min(changes.len())];
        let disk = Disk::after(changes, &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context =
            format!("{durability:?}, seed {seed}, after {crash} changes: {:?}", changes.last());
        let again = Options { durability, ..options(&found) };
        let log = match auditctl::audit::AuditLog::open(again) {
            Ok(log) => log,
            Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
        };
        log.record(Event::new("after")).expect("accepted").wait_durable().expect("durable");
        log.close().expect("closed");
        let stored = records(&found.log());
        for (at, (seq, _)) in stored.iter().enumerate() {
            assert_eq!(*seq, at as u64, "{context}");
        }
        for change in changes {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let there = stored.get(*seq as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if round % 15 == 0 {
            root_agrees(&found.log());
        }
    }
}

#[test]
fn p1_what_was_acknowledged_survives_the_loss_of_power_at_any_moment() {
    survives_power_loss(Durability::Commit, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn p1_the_same_where_the_writer_syncs_at_intervals() {
    survives_power_loss(Durability::Interval, 0xd1b5_4a32_d192_ed03);
}

/// The key changes twice while events are recorded; then the log is closed.
fn run_with_changes_of_key() -> (Dir, Vec<Change>) {
    let dir = Dir::new();
    let fs = RecordingFs::default();
    let log = open(Options {
        fs: Arc::new(fs.clone()),
        checkpoint_interval: std::time::Duration::from_millis(3),
        disk_reserve: 0,
        ..options(&dir)
    });
    std::thread::scope(|scope| {
        let (writer, noted) = (log.clone(), fs.clone());
        scope.spawn(move || {
            for n in 0..60 {
                let actor = format!("{n}");
                let event = Event::new("e").actor(&*actor).target("x".repeat(100));
                let seq = writer.record(event).expect("accepted").wait_durable();
                noted.acknowledged(seq.expect("durable"), actor);
            }
        });
        for _ in 0..2 {
            log.rotate_key(&auditctl::audit::key_change::RotateRequest::default())
                .expect("the key is changed");
        }
    });
    log.close().expect("closed");
    let changes = fs.changes();
    (dir, changes)
}

#[test]
fn p1_a_change_of_key_survives_the_loss_of_power_at_any_moment() {
    let (dir, all) = run_with_changes_of_key();
    let first = std::fs::read_to_string(dir.log().join("audit.keys")).expect("read");
    let first: serde_json::Value = serde_json::from_str(&first).expect("json");
    let first: auditctl::audit::checkpoint::VerifierKey =
        first["rotations"][0]["old_key"].as_str().expect("a key").parse().expect("a key");
    let named = |name: &str| {
        all.iter().any(|change| match change {
            Change::Rename(_, to) => to.ends_with(name),
            _ => false,
        })
    };
    assert!(named("audit.keys") && named("audit.key") && named("audit.key.next"));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    // From where the log is whole to its end, each step.
    for crash in (all.len() / 20)..=all.len() {
        let disk = Disk::after(&all[..crash], &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context = format!("after {crash} of {}: {:?}", all.len(), all[crash - 1]);
        let log = match auditctl::audit::AuditLog::open(options(&found)) {
            Ok(log) => log,
            Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
        };
        log.record(Event::new("after")).expect("accepted").wait_durable().expect("durable");
        log.close().expect("closed");
        assert!(!found.log().join("audit.key.next").exists(), "{context}");
        let fs: auditctl::fsio::SharedFs = Arc::new(OsFs);
        for key in [None, Some(first.clone())] {
            let request = auditctl::audit::verify::Request { key, ..Default::default() };
            let watch = &auditctl::audit::watch::Unwatched;
            let report = auditctl::audit::verify::verify(&fs, &found.log(), &request, watch);
            let report = report.expect("a report").0;
            assert!(report.passed(), "{context}: {:?}", report.findings);
        }
        let stored = records(&found.log());
        for change in &all[..crash] {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let there = stored.get(*seq as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if crash % 40 == 0 {
            root_agrees(&found.log());
        }
    }
}

/// A log whose old segments are removed while events are recorded.
fn run_with_retention() -> (Dir, Vec<Change>) {
    use auditctl::clock::ManualClock;
    use std::time::Duration;
    let dir = Dir::new();
    let fs = RecordingFs::default();
    let clock = Arc::new(ManualClock::new("2026-02-04T21:09:40Z".parse().expect("a time")));
    let with = || Options {
        fs: Arc::new(fs.clone()),
        clock: clock.clone(),
        max_segment_size: 4 * 1024,
        checkpoint_interval: Duration::from_millis(3),
        disk_reserve: 0,
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..options(&dir)
    };
    let record = |log: &auditctl::audit::AuditLog, n: usize| {
        let actor = format!("{n}");
        let event = Event::new("e").actor(&*actor).target("x".repeat(100));
        let seq = log.record(event).expect("accepted").wait_durable();
        fs.acknowledged(seq.expect("durable"), actor);
    };
    let log = open(with());
    (0..100).for_each(|n| record(&log, n));
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(with());
    clock.advance(Duration::from_secs(3_601));
    for n in 100.. {
        record(&log, n);
        if n > 120 && log.manifest().pruned.end() > 0 {
            break;
        }
    }
    let gone = || {
        fs.changes().iter().rev().any(|change| matches!(change, Change::Remove(path) if path.ends_with("audit.00000000000000000000.log.gz")))
    };
    crate::support::eventually("the files go", gone);
    log.close().expect("closed");
    let changes = fs.changes();
    (dir, changes)
}

#[test]
fn p1_retention_survives_the_loss_of_power() {
    let (dir, all) = run_with_retention();
    let mut random = Random(0x94d0_49bb_1331_11eb);
    let rounds = 200;
    let (mut whole, mut pruned) = (0, 0);
    let tells = |change: &Change| match change {
        Change::Write(_, _, bytes) => memchr::memmem::find(bytes, b"audit.pruned").is_some(),
        _ => false,
    };
    let from = all.iter().position(tells).expect("it is recorded").saturating_sub(30);
    // Until a little after the last file is gone.
    let gone = |change: &Change| matches!(change, Change::Remove(path) if path.to_string_lossy().ends_with(".log.gz"));
    let until = (all.iter().rposition(gone).expect("files go") + 30).min(all.len());
    for round in 0..rounds {
        let crash = from + (until - from) * round / rounds + random.below(2);
        let changes = &all[..crash.min(all.len())];
        let disk = Disk::after(changes, &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context = format!("after {crash} of {} changes: {:?}", all.len(), changes.last());
        let log =
            match auditctl::audit::AuditLog::open(Options { retention: None, ..options(&found) }) {
                Ok(log) => log,
                Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
            };
        let first = log.manifest().pruned.end();
        log.close().expect("closed");
        let stored = records(&found.log());
        let seqs: Vec<u64> = stored.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (first..first + stored.len() as u64).collect::<Vec<_>>(), "{context}");
        let said = stored.iter().rev().find(|(_, record)| record["event_type"] == "audit.pruned");
        if first == 0 {
            whole += 1;
        } else {
            pruned += 1;
            let (_, said) = said.unwrap_or_else(|| panic!("{context}: removed without a record"));
            assert_eq!(said["details"]["pruned_to"], first, "{context}");
        }
        for change in changes {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let Some(at) = seq.checked_sub(first) else { continue };
            let there = stored.get(at as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if round % 20 == 0 {
            root_agrees(&found.log());
        }
    }
    assert!(whole > 10 && pruned > 10, "{whole} before, {pruned} after the removal");
}
