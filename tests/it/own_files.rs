//! The program's own files under a running collector: each of them removed, emptied
//! or exchanged. The collector lives, nothing acknowledged is lost, nobody else gets
//! in, and what can be put back is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use auditctl::audit::state::status::{StatusSnapshot, Word};
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, eventually, open, options, records, root_agrees, run};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Removed,
    Emptied,
    Directory,
    Fifo,
    Link,
    Foreign,
    Older,
}

const DEEDS: [Deed; 7] = [
    Deed::Removed,
    Deed::Emptied,
    Deed::Directory,
    Deed::Fifo,
    Deed::Link,
    Deed::Foreign,
    Deed::Older,
];

impl Deed {
    /// `other` is the file of another log, `older` this log's of some time ago.
    fn done_to(self, path: &Path, other: &Path, older: &Path) {
        if self == Self::Emptied {
            return fs::write(path, "").expect("emptied");
        }
        // Exchanged by rename, so that it is never missing.
        let new = path.with_extension("new");
        match self {
            Self::Removed => return fs::remove_file(path).expect("removed"),
            Self::Directory => {
                fs::remove_file(path).expect("removed");
                return fs::create_dir(path).expect("a directory");
            }
            Self::Fifo => fifo(&new),
            Self::Link => symlink(other, &new).expect("a link"),
            Self::Foreign => copied(other, &new),
            Self::Older => copied(older, &new),
            Self::Emptied => {}
        }
        fs::rename(&new, path).expect("exchanged");
    }
}

fn copied(from: &Path, to: &Path) {
    match fs::copy(from, to) {
        Ok(_) => {}
        // A socket cannot be copied; any file will do.
        Err(_) => fs::write(to, "something else").expect("written"),
    }
}

fn fifo(path: &Path) {
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::RWXU, 0).expect("pipe");
}

const SETTINGS: &str = "rate_limit.enabled = false\nmax_segment_size = \"64KiB\"\n\
                        checkpoint_interval = \"100ms\"\nredact = [\"pin\"]\n";

/// A collector whose key was changed once, with a sealed segment, and older copies of
/// its files, beside another log of the same kind.
struct Attacked {
    dir: Dir,
    collector: Serving,
    older: PathBuf,
    other: PathBuf,
    acknowledged: Vec<u64>,
}

impl Attacked {
    fn new() -> Self {
        let dir = Dir::new();
        let (older, other) = (dir.path().join("older"), dir.path().join("other"));
        let (code, _, stderr) = run(&dir, &["--log-dir", "other", "record", "--type", "x"]);
        assert_eq!(code, 0, "{stderr}");
        let (code, _, stderr) = run(&dir, &["--log-dir", "other", "key", "rotate"]);
        assert_eq!(code, 0, "{stderr}");
        let collector = Serving::start(&dir, SETTINGS);
        copy_all(&dir.log(), &older);
        let mut this = Self { dir, collector, older, other, acknowledged: Vec::new() };
        let text = "y".repeat(1_000);
        for _ in 0..100 {
            this.record(&text);
        }
        let (code, _, stderr) = run(&this.dir, &["key", "rotate"]);
        assert_eq!(code, 0, "{stderr}");
        eventually("a segment is sealed and compressed", || this.sealed().is_some());
        // What the keeper replaces by itself a moment later nobody misses.
        let manifest = this.dir.log().join("audit.manifest.json");
        eventually("the keeper has nothing more to store", || {
            let stored = fs::metadata(&manifest).and_then(|meta| meta.modified());
            let age = stored.expect("a manifest").elapsed();
            age.is_ok_and(|age| age > std::time::Duration::from_secs(1))
        });
        this
    }

    fn record(&mut self, text: &str) {
        let line = format!(r#"{{"event_type":"e","details":{{"x":"{text}"}}}}"#);
        let answer = self.collector.connect().ask(&line);
        self.acknowledged.push(answer["ok"]["seq"].as_u64().unwrap_or_else(|| panic!("{answer}")));
    }

    fn sealed(&self) -> Option<String> {
        let names = fs::read_dir(self.dir.log()).expect("the log's directory");
        let mut names: Vec<String> = names
            .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names.into_iter().find(|name| name.ends_with(".log.gz"))
    }

    fn told(&self, file: &str) -> Vec<Value> {
        let (code, stdout, stderr) = run(
            &self.dir,
            &["query", "--type", "audit.file_replaced", "--format", "ndjson", "--limit", "1000"],
        );
        assert_eq!(code, 0, "{stderr}");
        let all: Vec<Value> =
            stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        all.into_iter().filter(|record| record["details"]["file"] == file).collect()
    }

    fn health(&self) -> (String, Value) {
        let (_, stdout, _) = run(&self.dir, &["health", "--json"]);
        let report: Value = serde_json::from_str(&stdout).expect(&stdout);
        let check = integrity_of(&report);
        (report["status"].as_str().unwrap_or_default().to_owned(), check)
    }

    /// A second writer, from elsewhere, while the file is as it was made.
    fn nobody_gets_in(&self) {
        let mut second =
            auditctl(&self.dir, &["serve", "--http", "off", "--socket", "second.sock"]);
        let output = second.stdin(Stdio::null()).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("locked"), "{stderr}");
    }

    /// Ends the collector, and looks whether all is there.
    fn end(self) {
        self.collector.terminate();
        let stored = records(&self.dir.log());
        for seq in &self.acknowledged {
            assert_eq!(stored[*seq as usize].1["event_type"], "e", "record {seq} is there");
        }
        let again = Serving::start(&self.dir, SETTINGS);
        again.terminate();
        let (code, stdout, stderr) = run(&self.dir, &["verify"]);
        assert_eq!(code, 0, "{stdout}{stderr}");
        root_agrees(&self.dir.log());
    }
}

fn integrity_of(report: &Value) -> Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["component"] == "integrity").expect("always there").clone()
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("directory");
    for entry in fs::read_dir(from).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_file() {
            copied(&path, &to.join(path.file_name().expect("a name")));
        }
    }
}

/// Every deed to one file that is put back, one after another.
fn is_put_back(file: &str, content_matters: bool) {
    let mut log = Attacked::new();
    let path = log.dir.log().join(file);
    // What is signed goes on meanwhile.
    let changes = ["audit.checkpoint", "audit.head"].contains(&file);
    let mut times = 0;
    for deed in DEEDS {
        // A file that is about to be written anew is not missed.
        eventually("all of it is signed", || {
            let page = StatusSnapshot::read(&log.dir.log().join("audit.status"));
            page.is_ok_and(|page| page.get(Word::CheckpointSize) == page.get(Word::DurableSeq))
        });
        let before = fs::read(&path).unwrap_or_default();
        let (other, older) = (log.other.join(file), log.older.join(file));
        if deed == Deed::Older && (!older.exists() || fs::read(&older).is_ok_and(|b| b == before)) {
            continue;
        }
        // In place, and nothing depends on what a lock file holds.
        if deed == Deed::Emptied && !content_matters {
            continue;
        }
        deed.done_to(&path, &other, &older);
        log.nobody_gets_in();
        times += 1;
        eventually(&format!("{file} {deed:?} is told"), || log.told(file).len() >= times);
        // The newest comes first.
        let told = log.told(file).swap_remove(0);
        assert_eq!(told["details"]["put_back"], true, "{file} {deed:?}: {told}");
        let is_ours = || {
            let now = fs::symlink_metadata(&path);
            let usual = now.is_ok_and(|now| now.is_file() || file == "audit.sock");
            usual && (!content_matters || changes || fs::read(&path).is_ok_and(|now| now == before))
        };
        eventually(&format!("{file} {deed:?} is as it was"), is_ours);
        // Of an empty file nothing is kept.
        let stood = matches!(deed, Deed::Directory | Deed::Fifo | Deed::Link)
            || content_matters && matches!(deed, Deed::Foreign | Deed::Older);
        if stood {
            let aside = told["details"]["set_aside"].as_str().unwrap_or_else(|| panic!("{told}"));
            assert!(fs::symlink_metadata(log.dir.log().join(aside)).is_ok(), "{aside} is kept");
        }
        let (status, check) = log.health();
        assert!(
            status != "healthy" && check["message"].as_str().is_some_and(|m| m.contains(file)),
            "{file} {deed:?}: {status} {check}"
        );
        log.record("and on");
    }
    assert!(times >= 4, "{file}");
    if file == "audit.head" {
        // What is signed goes into the file that has the name now.
        log.record("one more");
        let last = *log.acknowledged.last().expect("recorded");
        let head = fs::read_to_string(&path).expect("the head");
        let size: u64 = head.lines().nth(1).expect("a size").parse().expect("a number");
        assert!(size > last, "{size} records are signed, {last} was acknowledged");
    }
    assert_eq!(log.told(file).len(), times, "each is told once");
    log.end();
}

#[test]
fn the_lock_file_is_made_again_and_nobody_gets_in_meanwhile() {
    is_put_back("audit.lock", false);
}

#[test]
fn the_signing_key_is_put_back() {
    is_put_back("audit.key", true);
}

#[test]
fn the_public_key_is_put_back() {
    is_put_back("audit.pub", true);
}

#[test]
fn the_key_chain_is_put_back() {
    is_put_back("audit.keys", true);
}

#[test]
fn the_checkpoint_is_put_back() {
    is_put_back("audit.checkpoint", true);
}

#[test]
fn the_signed_head_is_put_back() {
    is_put_back("audit.head", true);
}

#[test]
fn the_manifest_is_put_back() {
    is_put_back("audit.manifest.json", true);
}

#[test]
fn the_redaction_key_is_put_back() {
    is_put_back("audit.redact_key", true);
}

#[test]
fn the_socket_is_made_again() {
    let mut log = Attacked::new();
    let path = log.dir.log().join("audit.sock");
    let mut times = 0;
    for deed in DEEDS {
        // Nothing can be written into a socket, and a dead one is as good as a file.
        if matches!(deed, Deed::Emptied | Deed::Older) {
            continue;
        }
        deed.done_to(&path, &log.other.join("audit.pub"), &log.older.join("audit.pub"));
        times += 1;
        eventually(&format!("{deed:?}: told"), || log.told("audit.sock").len() >= times);
        log.nobody_gets_in();
        log.record("through the new socket");
        let (status, check) = log.health();
        assert!(status != "healthy" && check.to_string().contains("audit.sock"), "{check}");
    }
    log.end();
}

#[test]
fn a_sealed_segment_that_is_missing_or_another_is_critical_until_it_is_back() {
    let mut log = Attacked::new();
    let name = log.sealed().expect("a sealed segment");
    let path = log.dir.log().join(&name);
    let kept = log.dir.path().join("kept.gz");
    fs::copy(&path, &kept).expect("a copy");
    let deeds = DEEDS.into_iter().filter(|deed| *deed != Deed::Older);
    for (nth, deed) in deeds.enumerate() {
        deed.done_to(&path, &log.other.join("audit.log"), &kept);
        eventually(&format!("{deed:?} is critical"), || {
            let (status, check) = log.health();
            status == "critical" && check["code"] == "integrity.segment_gone"
        });
        eventually(&format!("{deed:?} is recorded"), || log.told(&name).len() == nth + 1);
        log.record("recording goes on");
        if path.is_dir() {
            fs::remove_dir(&path).expect("removed");
        }
        let new = log.dir.path().join("new.gz");
        fs::copy(&kept, &new).expect("a copy");
        fs::rename(&new, &path).expect("back");
        eventually(&format!("{deed:?} is over"), || {
            log.health().1["code"] != "integrity.segment_gone"
        });
    }
    log.end();
}

#[test]
fn a_sealed_segment_of_the_same_size_is_another_and_a_copy_of_it_is_the_same() {
    let log = Attacked::new();
    let name = log.sealed().expect("a sealed segment");
    let path = log.dir.log().join(&name);
    let good = fs::read(&path).expect("the segment");
    let put = |bytes: &[u8]| {
        let new = log.dir.path().join("new.gz");
        fs::write(&new, bytes).expect("written");
        fs::rename(&new, &path).expect("exchanged");
    };
    let code = || log.health().1["code"].clone();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(&bad);
    eventually("another is critical", || code() == "integrity.segment_gone");
    put(&good);
    eventually("an equal copy is not", || code() != "integrity.segment_gone");
    log.end();
}

#[test]
fn a_lost_sealed_segment_is_told_by_verify_and_at_the_next_start() {
    let log = Attacked::new();
    let name = log.sealed().expect("a sealed segment");
    fs::remove_file(log.dir.log().join(&name)).expect("removed");
    eventually("it is recorded", || {
        let text = fs::read_to_string(log.dir.log().join("audit.log")).expect("the active segment");
        text.contains("audit.file_replaced") && text.contains(&name)
    });
    let Attacked { dir, collector, .. } = log;
    collector.terminate();
    let (code, stdout, _) = run(&dir, &["verify"]);
    assert!(code == 1 && stdout.contains(&name), "{stdout}");
    let (code, _, stderr) = run(&dir, &["record", "--type", "x"]);
    assert!(code != 0 && stderr.contains(&name), "{stderr}");
}

#[test]
fn a_key_that_cannot_be_put_back_is_critical_and_told_once_until_it_is_there() {
    let dir = Dir::new();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).expect("directory");
    let settings = format!("{SETTINGS}key_path = \"keys/audit.key\"\n");
    let collector = Serving::start(&dir, &settings);
    let key = fs::read(keys.join("audit.key")).expect("the key");
    // Nothing can be made in a place that is no directory.
    fs::rename(&keys, dir.path().join("away")).expect("moved");
    fs::write(&keys, "").expect("a file");
    let integrity = || {
        let (_, stdout, _) = run(&dir, &["health", "--json"]);
        let report: Value = serde_json::from_str(&stdout).expect(&stdout);
        integrity_of(&report)
    };
    eventually("it is critical", || integrity()["code"] == "integrity.own_file_gone");
    let records = || {
        let text = fs::read_to_string(dir.log().join("audit.log")).expect("the active segment");
        text.lines()
            .filter(|line| line.contains("audit.file_replaced"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    eventually("it is recorded", || !records().is_empty());
    fs::remove_file(&keys).expect("removed");
    fs::create_dir(&keys).expect("directory");
    eventually("it is put back as soon as it can be", || {
        fs::read(keys.join("audit.key")).is_ok_and(|now| now == key)
    });
    eventually("health says so", || integrity()["code"] == "integrity.own_file_put_back");
    let told = records();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(r#""put_back":false"#) && !told[0].contains("PRIVATE"), "{told:?}");
    collector.terminate();
}

#[test]
fn a_mounted_secret_that_is_swapped_for_the_same_content_is_no_finding() {
    let dir = Dir::new();
    let (first, second) = (dir.path().join("..1"), dir.path().join("..2"));
    fs::create_dir(&first).expect("directory");
    open(auditctl::audit::Options { key_path: Some(first.join("key")), ..options(&dir) })
        .close()
        .expect("closed");
    symlink("..1", dir.path().join("..data")).expect("link");
    symlink("..data/key", dir.path().join("key")).expect("link");
    let collector = Serving::start(&dir, &format!("{SETTINGS}key_path = \"key\"\n"));
    fs::create_dir(&second).expect("directory");
    fs::copy(first.join("key"), second.join("key")).expect("copied");
    symlink("..2", dir.path().join("..new")).expect("link");
    fs::rename(dir.path().join("..new"), dir.path().join("..data")).expect("swapped");
    fs::remove_dir_all(&first).expect("the old one goes");
    // Something that is found shows that it was looked.
    fs::remove_file(dir.log().join("audit.pub")).expect("removed");
    eventually("audit.pub is put back", || dir.log().join("audit.pub").exists());
    eventually("and recorded", || {
        fs::read_to_string(dir.log().join("audit.log"))
            .is_ok_and(|text| text.contains("audit.file_replaced"))
    });
    collector.terminate();
    let told: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["event_type"] == "audit.file_replaced")
        .collect();
    assert!(told.len() == 1 && told[0]["details"]["file"] == "audit.pub", "{told:?}");
    assert!(fs::symlink_metadata(dir.path().join("key")).expect("there").is_symlink());
}

#[test]
fn a_restore_takes_the_place_of_no_log_whose_lock_file_was_removed() {
    let mut log = Attacked::new();
    let (code, _, stderr) = run(&log.dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    fs::remove_file(log.dir.log().join("audit.lock")).expect("removed");
    let (code, stdout, stderr) = run(&log.dir, &["restore", "latest", "--force"]);
    assert!(code == 2 || stderr.contains("locked"), "{code} {stdout}{stderr}");
    assert_ne!(code, 0);
    log.record("the writer goes on");
    log.end();
}

#[test]
fn a_writer_whose_directory_was_moved_away_writes_nothing_into_the_one_in_its_place() {
    let mut log = Attacked::new();
    let moved = log.dir.path().join("moved");
    fs::rename(log.dir.log(), &moved).expect("moved");
    let dir = Dir::new();
    let second = Serving::start(&dir, SETTINGS);
    second.terminate();
    copy_all(&dir.log(), &log.dir.log());
    let before = contents(&log.dir.log());
    eventually("the writer notices", || {
        let page =
            auditctl::audit::state::status::StatusSnapshot::read(&moved.join("audit.status"));
        page.is_ok_and(|page| {
            page.damage() == Some(auditctl::audit::state::status::Damage::DirectoryGone)
        })
    });
    assert!(contents(&log.dir.log()) == before, "the other log is as it was");
    fs::rename(log.dir.log(), log.dir.path().join("the-other")).expect("moved");
    fs::rename(&moved, log.dir.log()).expect("back");
    eventually("it goes on", || {
        log.collector.connect().ask(r#"{"event_type":"back"}"#)["ok"].is_object()
    });
    log.record("as before");
    log.end();
}

fn contents(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("directory");
    entries
        .map(|entry| entry.expect("entry").path())
        .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
        .collect()
}

#[test]
fn the_security_event_log_is_put_back_with_what_was_in_it() {
    let mut log = Attacked::new();
    let path = log.dir.log().join("security_events.log");
    let answer = log.collector.connect().ask("no event");
    assert!(answer["error"].is_object(), "{answer}");
    let is_there = || fs::read_to_string(&path).is_ok_and(|text| text.contains("malformed"));
    eventually("it is written", is_there);
    // One that is looked at first is known.
    log.record("x");
    fs::remove_file(&path).expect("removed");
    eventually("it is told", || log.told("security_events.log").len() == 1);
    eventually("it is put back", is_there);
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a directory");
    eventually("it is told", || log.told("security_events.log").len() == 2);
    eventually("it is put back", is_there);
    log.end();
}

#[test]
fn tokens_are_changed_beside_a_writer_also_in_the_directory_that_it_has_locked() {
    let log = Attacked::new();
    for name in ["one", "two"] {
        let args = ["token", "new", "--token-file", "logs/tokens", "--name", name];
        let (code, _, stderr) = run(&log.dir, &args);
        assert_eq!(code, 0, "{stderr}");
    }
    let text = fs::read_to_string(log.dir.log().join("tokens")).expect("the tokens");
    assert_eq!(text.lines().count(), 2, "{text}");
    log.end();
}

#[test]
fn a_manifest_that_cannot_be_put_back_is_told_once_until_it_is_there() {
    use auditctl::fsio::fault::{Fault, How, Op};
    let dir = Dir::new();
    let (options, fs) = crate::support::failing(&dir);
    let log = open(options);
    crate::backups::record_into(&log, 5);
    let path = dir.log().join("audit.manifest.json");
    let name_contains = "audit.manifest".to_owned();
    fs.plan(Fault { op: Op::Rename, name_contains, after: 0, times: u64::MAX, how: How::Errno(5) });
    fs::remove_file(&path).expect("removed");
    let gone = || log.page().get(Word::OwnFilesGone) != 0;
    eventually("it is told as gone", gone);
    // The next attempt is then that of who looks after it.
    eventually("storing it failed too", || log.page().get(Word::MaintenanceErrors) > 0);
    fs.heal();
    eventually("it is there, and that is told", || path.exists() && !gone());
    log.close().expect("closed");
    let stored = records(&dir.log());
    let told: Vec<_> = stored
        .iter()
        .filter(|(_, record)| record["event_type"] == "audit.file_replaced")
        .map(|(_, record)| record["details"]["put_back"].clone())
        .collect();
    assert_eq!(told, [Value::from(false)]);
}
