//! What has to be on the disk before what: rules over the operations that were
//! recorded, so that no call that makes something last can go unnoticed. Power loss
//! ([`power_loss`](crate::power_loss)) shows what is left; this shows that the calls
//! are made.
//!
//! | before | this is synced |
//! |---|---|
//! | a file gets its name | its data |
//! | a commit mark gets its name (manifest, journal, key chain, a backup's metadata) | every name that was changed before |
//! | another file is written | every name that the same thread changed before |
//! | a file is removed | the names that stand for it, and the manifest lists it no longer |
//! | the log is cut | what is cut, and its name |
//! | what is recorded counts as durable | the log file's own name |
//! | anything is told, and in the end | every name that was changed |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::paths::parse_sealed_name;
use auditctl::audit::state::status::Word;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::backup::{RestoreRequest, Target, Wish};
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::{Home, all_compressed, wanted};
use crate::disk::{BEFORE, Change, RecordingFs, Step};
use crate::support::{Dir, eventually, open, options};

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Nobody misses it, or it is cleared up by whoever comes next.
fn is_temporary(path: &Path) -> bool {
    name(path).contains(".tmp-")
}

/// Files that may be lost with the power: their contents say so themselves.
fn may_be_lost(path: &Path) -> bool {
    ["audit.head", "audit.leaves", "audit.reserve", "security_events.log"].contains(&name(path))
        || name(path).ends_with(".filter")
}

fn in_staging(path: &Path) -> bool {
    path.iter().any(|part| part.to_string_lossy().starts_with(".restore-"))
}

/// What a restore had set aside and put back, or wrote and did not need.
fn is_cleared(path: &Path) -> bool {
    in_staging(path)
        || path.iter().any(|part| part.to_string_lossy().starts_with("before-restore-"))
}

/// What stands for other files: once it has its name, those have to be there.
fn is_commit_mark(path: &Path) -> bool {
    ["audit.manifest.json", "audit.restore.json", "audit.keys"].contains(&name(path))
        || name(path).starts_with("audit_backup_") && name(path).ends_with(".json")
}

fn is_aside(path: &Path) -> bool {
    [".torn-", ".foreign-", ".damaged-"].iter().any(|what| name(path).contains(what))
}

/// A name that was changed, and is not known to last.
struct Pending {
    at: usize,
    what: Change,
    dirs: BTreeSet<PathBuf>,
    is_removal: bool,
}

#[derive(Default)]
struct Rules {
    names: BTreeMap<PathBuf, usize>,
    content: BTreeMap<usize, Vec<u8>>,
    /// Files with data that is not synced.
    dirty: BTreeSet<usize>,
    pending: BTreeMap<String, Vec<Pending>>,
    broken: Vec<String>,
}

impl Rules {
    fn names_of(&self, number: usize) -> impl Iterator<Item = &PathBuf> {
        self.names.iter().filter(move |(_, file)| **file == number).map(|(path, _)| path)
    }

    fn is_log(&self, number: usize) -> bool {
        self.names_of(number).any(|path| name(path) == "audit.log")
    }

    fn broken(&mut self, at: usize, step: &Step, rule: &str, by: &Change) {
        self.broken
            .push(format!("step {at}, {}: {:?} before {rule}: {by:?}", step.by, step.change));
    }

    /// All names that this thread changed have to last by now.
    fn names_last(&mut self, at: usize, step: &Step, removals_too: bool) {
        let all = self.pending.entry(step.by.clone()).or_default();
        let late = all.iter().filter(|p| removals_too || !p.is_removal);
        let late: Vec<_> = late.map(|p| (p.at, p.what.clone())).collect();
        for (since, what) in late {
            self.broken(at, step, &format!("a name lasts, of step {since}"), &what);
        }
    }

    /// What is written next may rest on a name that was changed before; a new file
    /// gets its content first, and staged ones are synced together.
    fn nothing_else_waits(&mut self, at: usize, step: &Step, number: usize) {
        let own = |change: &Change| match change {
            Change::Create(path, made) => *made == number || in_staging(path),
            Change::MakeDir(path) => in_staging(path),
            _ => false,
        };
        let all = self.pending.entry(step.by.clone()).or_default();
        let waits = all.iter().find(|p| !own(&p.what));
        if let Some((since, what)) = waits.map(|p| (p.at, p.what.clone())) {
            let shown = Step { by: step.by.clone(), change: Change::Write(number, 0, Vec::new()) };
            self.broken(at, &shown, &format!("a name lasts, of step {since}"), &what);
        }
    }

    fn changed_name(&mut self, at: usize, step: &Step) {
        if step.by == BEFORE {
            return;
        }
        let dir = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let (dirs, is_removal): (BTreeSet<PathBuf>, bool) = match &step.change {
            Change::Create(path, _) if is_temporary(path) || may_be_lost(path) => return,
            Change::Create(path, _) | Change::MakeDir(path) => ([dir(path)].into(), false),
            Change::Rename(from, to) if may_be_lost(from) || may_be_lost(to) => return,
            Change::Rename(from, to) => {
                // What comes out of the staging directory leaves nothing that matters.
                let of = |path: &PathBuf| {
                    let matters = !is_temporary(path) && (path == to || !in_staging(path));
                    matters.then(|| dir(path))
                };
                ([from, to].into_iter().filter_map(of).collect(), false)
            }
            Change::Remove(path) if is_temporary(path) || may_be_lost(path) || is_cleared(path) => {
                return;
            }
            Change::Remove(path) => ([dir(path)].into(), true),
            _ => return,
        };
        let what = step.change.clone();
        let pending = Pending { at, what, dirs, is_removal };
        self.pending.entry(step.by.clone()).or_default().push(pending);
    }

    fn look(&mut self, at: usize, step: &Step) {
        match &step.change {
            Change::Rename(from, to) => {
                let number = self.names.get(from).copied();
                let others = [".foreign-", ".failed-"].iter().any(|what| name(to).contains(what));
                if number.is_some_and(|number| self.dirty.contains(&number)) && !others {
                    self.broken(at, step, "its data is synced", &step.change.clone());
                }
                let replaced = self.names.get(to).copied();
                if name(to) == "audit.key" && replaced.is_some_and(|old| self.dirty.contains(&old))
                {
                    self.broken(at, step, "the old key is overwritten", &step.change.clone());
                }
                if is_commit_mark(to) && !in_staging(to) {
                    self.names_last(at, step, false);
                }
                if let Some(number) = self.names.remove(from) {
                    self.names.insert(to.clone(), number);
                }
            }
            Change::Remove(path) => {
                if !is_temporary(path) && !in_staging(path) {
                    self.names_last(at, step, false);
                }
                if parse_sealed_name(name(path)).is_some() && self.is_listed(path) {
                    self.broken(at, step, "the manifest no longer lists it", &step.change.clone());
                }
                self.names.remove(path);
            }
            Change::Create(path, number) => {
                self.names.insert(path.clone(), *number);
                self.content.insert(*number, Vec::new());
            }
            Change::Write(number, offset, bytes) => {
                self.nothing_else_waits(at, step, *number);
                self.dirty.insert(*number);
                let content = self.content.entry(*number).or_default();
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            Change::SetLen(number, length) => {
                let content = self.content.entry(*number).or_default();
                let shorter = (*length as usize) < content.len();
                content.resize(*length as usize, 0);
                if shorter && self.is_log(*number) {
                    self.names_last(at, step, false);
                    let aside = |number: &usize| self.names_of(*number).any(|path| is_aside(path));
                    if self.dirty.iter().any(aside) {
                        self.broken(at, step, "what is cut is kept", &step.change.clone());
                    }
                }
            }
            Change::SyncData(number) => {
                self.dirty.remove(number);
                if self.is_log(*number) {
                    self.names_last(at, step, false);
                }
            }
            Change::SyncDir(dir) => {
                let pending = self.pending.entry(step.by.clone()).or_default();
                for pending in pending.iter_mut() {
                    pending.dirs.remove(dir);
                }
                pending.retain(|pending| !pending.dirs.is_empty());
            }
            Change::Told => self.names_last(at, step, true),
            Change::MakeDir(_) | Change::Acknowledged(..) => {}
        }
        self.changed_name(at, step);
    }

    fn is_listed(&self, path: &Path) -> bool {
        let manifest = path.with_file_name("audit.manifest.json");
        let text = self.names.get(&manifest).and_then(|number| self.content.get(number));
        let listed = format!("\"{}\"", name(path));
        text.is_some_and(|text| memchr::memmem::find(text, listed.as_bytes()).is_some())
    }
}

/// Where the steps break a rule.
fn broken(steps: &[Step]) -> Vec<String> {
    let mut rules = Rules::default();
    for (at, step) in steps.iter().enumerate() {
        rules.look(at, step);
    }
    let mut found = std::mem::take(&mut rules.broken);
    for (thread, pending) in &rules.pending {
        for pending in pending {
            found.push(format!("step {}, {thread}: {:?} never lasts", pending.at, pending.what));
        }
    }
    found
}

/// The steps keep to the rules, and hold a change of a name that ends so each.
fn in_order(fs: &RecordingFs, happened: &[&str]) {
    let steps = fs.steps();
    let found = broken(&steps);
    assert!(found.is_empty(), "{found:#?}");
    for wanted in happened {
        let done = |step: &Step| match &step.change {
            Change::Create(path, _) | Change::Rename(_, path) | Change::Remove(path) => {
                name(path).contains(wanted)
            }
            _ => false,
        };
        assert!(steps.iter().any(done), "{wanted}");
    }
}

fn on(dir: &Dir) -> (RecordingFs, Options) {
    std::fs::create_dir_all(dir.log().parent().expect("a parent")).expect("made");
    let fs = RecordingFs::on(dir.path());
    let options = Options { fs: Arc::new(fs.clone()), max_segment_size: 4 << 10, ..options(dir) };
    (fs, options)
}

fn record(log: &AuditLog, count: usize) {
    for n in 0..count {
        let event = Event::new("e").actor(format!("{n}")).target("x".repeat(100));
        log.record(event).expect("accepted").wait_durable().expect("durable");
    }
}

#[test]
fn a_log_that_is_made_grows_and_is_closed_syncs_each_thing_before_what_rests_on_it() {
    let dir = Dir::new();
    let (fs, options) = on(&dir);
    for _ in 0..2 {
        let log = open(options.clone());
        record(&log, 60);
        all_compressed(&log);
        log.close().expect("closed");
    }
    let what = ["audit.key", "audit.pub", "audit.log", "audit.checkpoint", "audit.manifest.json"];
    in_order(&fs, &what);
    in_order(&fs, &[".log.gz", ".filter", "00000000.log"]);
    // The rules see each sync that is left out, but those of the log itself, which the
    // loss of power is for, and those that another one makes good before anything rests
    // on them.
    let steps = fs.steps();
    let mut seen = 0;
    for (at, step) in steps.iter().enumerate() {
        let is_sync = matches!(step.change, Change::SyncData(_) | Change::SyncDir(_));
        if !is_sync || step.by == BEFORE || is_of_log(&steps, &step.change) {
            continue;
        }
        let mut without = steps.clone();
        without.remove(at);
        if !broken(&without).is_empty() {
            seen += 1;
            continue;
        }
        let mut earlier = steps[..at].iter().rev().filter(|earlier| earlier.by == step.by);
        let named = earlier.find(|earlier| earlier.change.is_name());
        if matches!(named, Some(Step { change: Change::Rename(_, to), .. }) if may_be_lost(to)) {
            continue;
        }
        let later = steps[at + 1..].iter().filter(|later| later.by == step.by);
        let mut later =
            later.skip_while(|l| l.change.is_name() || matches!(l.change, Change::SetLen(..)));
        let next = later.next().map(|later| &later.change);
        assert!(matches!(next, Some(Change::SyncDir(_))), "step {at}, {step:?}, then {next:?}");
    }
    assert!(seen > 50, "{seen}");
}

fn is_of_log(steps: &[Step], change: &Change) -> bool {
    let Change::SyncData(number) = change else { return false };
    let makes_log = |step: &Step| match &step.change {
        // The next segment's file gets its name once there is room for it.
        Change::Create(path, made) => made == number && name(path).starts_with("audit.log"),
        _ => false,
    };
    steps.iter().any(makes_log)
}

#[test]
fn retention_syncs_each_thing_before_what_rests_on_it() {
    let (_dir, fs) = crate::power_loss::run_with_retention(Default::default());
    in_order(&fs, &["00000000000000000000.log.gz"]);
    let removed = |step: &Step| matches!(&step.change, Change::Remove(path) if name(path).ends_with(".log.gz"));
    assert!(fs.steps().iter().any(removed));
}

#[test]
fn a_change_of_key_syncs_each_thing_before_what_rests_on_it() {
    let dir = Dir::new();
    let (fs, options) = on(&dir);
    let log = open(options);
    log.rotate_key(&RotateRequest::default()).expect("changed");
    fs.told();
    log.close().expect("closed");
    in_order(&fs, &["audit.keys", "audit.key.next", "audit.key"]);
}

/// A home whose files are recorded from here on.
fn recorded(home: &mut Home) -> RecordingFs {
    let fs = RecordingFs::on(home.dir.path());
    home.fs = Arc::new(fs.clone());
    fs
}

#[test]
fn a_backup_and_its_removal_sync_each_thing_before_what_rests_on_it() {
    let mut home = Home::new();
    home.record(60);
    let fs = recorded(&mut home);
    let first = home.back_up();
    fs.told();
    home.back_up();
    fs.told();
    home.backups().pin(first.metadata.id, true).expect("pinned");
    fs.told();
    home.backups().pin(first.metadata.id, false).expect("let go");
    fs.told();
    home.backups().remove(first.metadata.id).expect("removed");
    fs.told();
    in_order(&fs, &[".gz", ".json", ".catalog.json"]);
}

#[cfg(feature = "encryption")]
#[test]
fn an_encrypted_backup_syncs_each_thing_before_what_rests_on_it() {
    let mut home = Home::new();
    home.record(60);
    let fs = recorded(&mut home);
    let mut request = home.request();
    let key = age::x25519::Identity::generate().to_public();
    request.encrypt_to = vec![key.to_string()];
    home.creator().create(&request, &auditctl::backup::Unwatched).expect("a backup");
    fs.told();
    in_order(&fs, &[".gz.age", ".json"]);
}

#[test]
fn a_restore_in_place_and_beside_syncs_each_thing_before_what_rests_on_it() {
    let mut home = Home::new();
    home.record(60);
    home.back_up();
    home.record(20);
    let fs = recorded(&mut home);
    let target = Target::Beside(home.dir.path().join("a/beside"));
    home.restore_as(&RestoreRequest { target, ..wanted() }).expect("restored");
    fs.told();
    let mut restorer = home.restorer();
    restorer.options.fs = home.fs.clone();
    let done = restorer.restore(&wanted(), &mut |_| Ok(()), &auditctl::backup::Unwatched);
    assert!(done.expect("restored").unrecorded.is_none());
    fs.told();
    in_order(&fs, &["audit.restore.json", ".log.gz", "audit.manifest.json", "audit.checkpoint"]);
}

#[test]
fn a_restore_that_is_undone_syncs_each_thing_before_what_rests_on_it() {
    let mut home = Home::new();
    home.record(60);
    home.back_up();
    home.record(20);
    // It comes as far as the first new file, and nothing works from then on.
    let dead = FaultFs::new(Arc::new(OsFs));
    for (op, after) in [(Op::Rename, 9), (Op::Open, u64::MAX)] {
        let name_contains = String::new();
        let how = How::Errno(5);
        dead.plan(Fault { op, name_contains, after, times: u64::MAX, how });
    }
    home.fs = Arc::new(dead.clone());
    home.restore(Wish::Latest).expect_err("it ends");
    assert!(home.log_dir().join("audit.restore.json").exists(), "in its middle");
    let fs = recorded(&mut home);
    let log = open(Options { fs: home.fs.clone(), ..home.options() });
    fs.told();
    log.close().expect("closed");
    in_order(&fs, &["audit.restore.json", "audit.log"]);
    assert!(!home.log_dir().join("audit.restore.json").exists());
}

#[test]
fn what_opening_sets_aside_and_makes_anew_is_synced_before_what_rests_on_it() {
    use std::io::Write;
    let home = Home::new();
    home.record(100);
    // A torn tail, a lost manifest, a segment in somebody else's packing, a bad chain.
    let path = home.log_dir().join("audit.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.write_all(b"{\"seq\":").expect("appended");
    std::fs::remove_file(home.log_dir().join("audit.manifest.json")).expect("removed");
    repack(&home.log_dir());
    std::fs::write(home.log_dir().join("audit.keys"), b"none").expect("written");
    std::fs::hard_link(&path, home.dir.path().join("another-name")).expect("linked");
    let fs = RecordingFs::on(home.dir.path());
    let log = open(Options { fs: Arc::new(fs.clone()), accept_corruption: true, ..home.options() });
    fs.told();
    all_compressed(&log);
    log.close().expect("closed");
    in_order(&fs, &["audit.log.keys-", "audit.manifest.json", "audit.checkpoint"]);
}

#[test]
fn a_log_with_another_name_and_a_segment_packed_by_somebody_else_are_copied_durably() {
    use std::io::Write;
    let home = Home::new();
    home.record(100);
    repack(&home.log_dir());
    let path = home.log_dir().join("audit.log");
    std::fs::hard_link(&path, home.dir.path().join("another-name")).expect("linked");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.write_all(b"{\"seq\":").expect("appended");
    let fs = RecordingFs::on(home.dir.path());
    let log = open(Options { fs: Arc::new(fs.clone()), ..home.options() });
    fs.told();
    all_compressed(&log);
    log.close().expect("closed");
    in_order(&fs, &["00000000000000000000.log.tmp-", "00000000000000000000.log.gz", "audit.log"]);
}

/// Members that end within lines, as a program that knows nothing of records makes them.
fn repack(log_dir: &Path) {
    use std::io::{Read, Write};
    let path = log_dir.join("audit.00000000000000000000.log.gz");
    let bytes = std::fs::read(&path).expect("read");
    let mut lines = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut lines).expect("gzip");
    let mut packed = Vec::new();
    for part in lines.chunks(lines.len() / 2 + 7) {
        let mut member = flate2::write::GzEncoder::new(packed, flate2::Compression::best());
        member.write_all(part).expect("packed");
        packed = member.finish().expect("packed");
    }
    std::fs::write(&path, packed).expect("written");
}

#[test]
fn what_a_running_writer_puts_back_is_synced_before_what_rests_on_it() {
    use std::io::Write;
    let dir = Dir::new();
    let (fs, options) = on(&dir);
    let log = open(options);
    record(&log, 5);
    let path = dir.log().join("audit.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.write_all(b"{\"seq\":9,\"forged\":true}\n").expect("appended");
    let incidents = |count| move |log: &AuditLog| log.page().get(Word::LogFileIncidents) == count;
    eventually("it is noticed", || incidents(1)(&log));
    std::fs::remove_file(&path).expect("removed");
    eventually("it is noticed", || incidents(2)(&log));
    for (nth, file) in ["audit.manifest.json", "audit.pub"].iter().enumerate() {
        let path = dir.log().join(file);
        std::fs::write(&path, b"somebody else's").expect("written");
        eventually(file, || log.page().get(Word::OwnFileIncidents) == nth as u64 + 1);
    }
    record(&log, 5);
    log.close().expect("closed");
    in_order(&fs, &["audit.log.foreign-", "audit.manifest.json.foreign-", "audit.pub.foreign-"]);
}

#[test]
fn the_rules_see_what_is_out_of_order() {
    let dir = || PathBuf::from("/log");
    let at = |name: &str| dir().join(name);
    let by = |change| Step { by: "t".to_owned(), change };
    let write = |number| by(Change::Write(number, 0, b"x".to_vec()));
    let temporary = || at("audit.checkpoint.tmp-1");
    let good = [
        by(Change::Create(temporary(), 1)),
        write(1),
        by(Change::SyncData(1)),
        by(Change::Rename(temporary(), at("audit.checkpoint"))),
        by(Change::SyncDir(dir())),
    ];
    assert_eq!(broken(&good), Vec::<String>::new());
    for left_out in [2, 4] {
        let mut bad = good.to_vec();
        bad.remove(left_out);
        assert_eq!(broken(&bad).len(), 1, "{left_out}");
    }
    let listed = |text: &str| {
        vec![
            by(Change::Create(at("audit.manifest.json"), 1)),
            by(Change::Write(1, 0, text.as_bytes().to_vec())),
            by(Change::SyncData(1)),
            by(Change::SyncDir(dir())),
            by(Change::Remove(at("audit.00000000000000000000.log.gz"))),
            by(Change::SyncDir(dir())),
        ]
    };
    assert_eq!(broken(&listed("\"segments\":[]")), Vec::<String>::new());
    let found = broken(&listed("\"file\":\"audit.00000000000000000000.log.gz\""));
    assert!(found.len() == 1 && found[0].contains("no longer lists it"), "{found:?}");
}
