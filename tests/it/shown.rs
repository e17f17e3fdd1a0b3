//! What is shown on a bad day, and that it leads out of it: real collectors, real
//! damage, the hints of `health` followed to the letter.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::serving::{Peer, Serving};
use crate::support::{Dir, all_lines, count, eventually, run, skipped, types};

fn health(dir: &Dir) -> Value {
    let (_, stdout, stderr) = run(dir, &["health", "--json"]);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

fn check(dir: &Dir, component: &str) -> Value {
    let health = health(dir);
    let checks = health["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["component"] == component).expect(component).clone()
}

fn event(peer: &mut Peer, text: &str) -> Value {
    peer.ask(&format!(r#"{{"event_type":"e","details":{{"text":"{text}"}}}}"#))
}

/// B8: a log file that was deleted and whose records the writer saved by itself leads
/// out by its own hint: what happened, that nothing is lost, and what ends it.
#[test]
fn a_deleted_log_file_that_was_saved_is_over_once_the_log_is_verified() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    for n in 0..5 {
        assert!(event(&mut peer, &n.to_string())["ok"]["seq"].is_u64());
    }
    // One from before ends nothing.
    assert_eq!(run(&dir, &["verify", "--since-last"]).0, 0);
    for what in ["deleted", "deleted again"] {
        fs::remove_file(dir.log().join("audit.log")).expect("removed");
        eventually("it is found, and put back", || {
            check(&dir, "integrity")["code"] == "integrity.file_replaced"
        });
        let found = check(&dir, "integrity");
        assert_eq!(found["status"], "critical", "{what}: {found}");
        let hint = found["hint"].as_str().expect("a hint");
        for said in ["nothing was lost", "audit.log_file_replaced", "verify --since-last"] {
            assert!(hint.contains(said), "{said}: {hint}");
        }
        let (code, plugin, _) = run(&dir, &["health", "--format", "nagios"]);
        assert_eq!(code, 2, "{plugin}");
        assert!(plugin.starts_with("AUDIT CRITICAL - integrity.file_replaced: "), "{plugin}");
        // What the hint says.
        let told = ["query", "--type", "audit.log_file_replaced", "--format", "ndjson"];
        eventually("the record is written", || run(&dir, &told).1.contains("\"what\":\"deleted\""));
        let (code, out, _) = run(&dir, &["verify", "--since-last"]);
        assert_eq!(code, 0, "{out}");
        assert_eq!(check(&dir, "integrity")["status"], "healthy", "{what}");
    }
    collector.terminate();
    assert_eq!(count(&dir.log(), "e"), 5);
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 2, "the records stay for ever");
}

/// A log of several segments with a backup of all of it, closed.
fn backed_up(dir: &Dir) {
    let collector = Serving::start(dir, SMALL_SEGMENTS);
    let mut peer = collector.connect();
    let text = "x".repeat(20_000);
    for _ in 0..12 {
        assert!(event(&mut peer, &text)["ok"]["seq"].is_u64());
    }
    // One test alters one that is not the first.
    eventually("segments are compressed", || segments(dir).len() > 1);
    collector.terminate();
    let (code, out, err) = run(dir, &["backup"]);
    assert_eq!(code, 0, "{out}{err}");
}

const SMALL_SEGMENTS: &str = "max_segment_size = \"64KiB\"\n[rate_limit]\nenabled = false\n";

fn segments(dir: &Dir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.log()).expect("a directory");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "gz"));
    found.sort();
    found
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// B8, C17: each kind of damage to a stopped log: what the hints say, "stop the
/// collector, run `auditctl repair`, start it again", ends in health, and nothing is
/// lost.
#[test]
fn what_the_hints_say_about_damage_leads_to_a_healthy_log() {
    type Damage = (&'static str, fn(&Dir));
    let damages: &[Damage] = &[
        ("a segment deleted", |dir| fs::remove_file(&segments(dir)[0]).expect("removed")),
        ("a segment altered", |dir| flip(&segments(dir)[1])),
        ("the manifest deleted", |dir| {
            fs::remove_file(dir.log().join("audit.manifest.json")).expect("removed");
        }),
        ("the checkpoint deleted", |dir| {
            fs::remove_file(dir.log().join("audit.checkpoint")).expect("removed");
        }),
        ("the log file deleted", |dir| {
            fs::remove_file(dir.log().join("audit.log")).expect("removed");
        }),
    ];
    for (what, damage) in damages {
        let dir = Dir::new();
        backed_up(&dir);
        damage(&dir);
        let (code, out, err) = run(&dir, &["repair"]);
        if code != 0 {
            // What no copy holds: only what the engine recorded after the backup.
            assert_eq!(*what, "the log file deleted", "{out}{err}");
            assert!((out + &err).contains("--accept-corruption"));
            Serving::start_with(&dir, SMALL_SEGMENTS, &["--accept-corruption"], &[]).terminate();
        }
        let collector = Serving::start(&dir, SMALL_SEGMENTS);
        eventually("health ends well", || check(&dir, "integrity")["status"] == "healthy");
        assert_eq!(check(&dir, "log_file")["status"], "healthy", "{what}");
        let (code, out, err) = run(&dir, &["verify"]);
        assert_eq!(code, 0, "{what}: {out}{err}");
        collector.terminate();
        // Not by seqs without gaps: what was given up is a hole for ever.
        let lines = all_lines(&dir.log());
        let events = lines.iter().filter(|line| line.contains("\"event_type\":\"e\"")).count();
        assert_eq!(events, 12, "{what}");
    }
}

/// A sealed segment that goes while a collector runs: the hint names the code's way
/// out, both of them.
#[test]
fn a_segment_that_goes_while_a_collector_runs_leads_out() {
    let dir = Dir::new();
    backed_up(&dir);
    let collector = Serving::start(&dir, SMALL_SEGMENTS);
    fs::remove_file(&segments(&dir)[0]).expect("removed");
    eventually("it is missed", || check(&dir, "integrity")["code"] == "integrity.segment_gone");
    let hint = check(&dir, "integrity")["hint"].as_str().expect("a hint").to_owned();
    assert!(hint.contains("auditctl repair"), "{hint}");
    collector.terminate();
    let (code, out, err) = run(&dir, &["repair"]);
    assert_eq!(code, 0, "{out}{err}");
    let collector = Serving::start(&dir, SMALL_SEGMENTS);
    eventually("health ends well", || check(&dir, "integrity")["status"] == "healthy");
    collector.terminate();
    assert_eq!(count(&dir.log(), "e"), 12);
}

struct Mounted(PathBuf);

impl Mounted {
    /// A tmpfs for so many files at `at`; none where this user may not.
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("directory");
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        let mounted = command.output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        skipped(&format!("this user may not mount a tmpfs: {mounted:?}"));
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Settings with which little room is kept, and nobody waits long for some.
fn impatient() -> String {
    format!("disk_reserve = \"64KiB\"\noverflow_timeout = \"1s\"\n{SMALL_SEGMENTS}")
}

/// A collector on a file system that holds few files.
fn with_few_inodes() -> Option<(Dir, Mounted, Serving)> {
    let dir = Dir::new();
    let mounted = Mounted::tmpfs(&dir.log(), "size=64m,nr_inodes=60,mode=0700")?;
    let collector = Serving::start(&dir, &impatient());
    Some((dir, mounted, collector))
}

/// Makes files there until there is no inode left.
fn use_up(ballast: &Path) {
    fs::create_dir(ballast).expect("directory");
    let made = (0..10_000).take_while(|n| fs::File::create(ballast.join(n.to_string())).is_ok());
    assert!(made.count() < 10_000, "the inodes end");
}

/// B12: a file system without inodes: nothing acknowledged is lost, nothing is called
/// deleted that is there, health says what is missing, and recording resumes by itself.
#[test]
fn a_file_system_without_inodes_is_survived_and_called_by_its_name() {
    let Some((dir, _mounted, collector)) = with_few_inodes() else { return };
    let mut peer = collector.connect();
    let text = "x".repeat(20_000);
    let mut acknowledged = 0;
    for _ in 0..8 {
        assert!(event(&mut peer, &text)["ok"]["seq"].is_u64());
        acknowledged += 1;
    }
    let ballast = dir.log().join("ballast");
    use_up(&ballast);
    // More than several segments hold, at once: they are all accepted before the
    // writer meets the end.
    let line = format!(r#"{{"event_type":"e","details":{{"text":"{text}"}}}}"#) + "\n";
    peer.send(&line.repeat(40));
    let mut refused = Vec::new();
    for _ in 0..40 {
        let answer = peer.answer().expect("an answer");
        if answer["ok"]["seq"].is_u64() {
            acknowledged += 1;
        } else {
            refused.push(answer["error"]["kind"].as_str().unwrap_or_default().to_owned());
        }
    }
    let mut again = collector.connect();
    eventually("new events are refused for want of room", || {
        let answer = event(&mut again, "now");
        acknowledged += usize::from(answer["ok"]["seq"].is_u64());
        answer["error"]["kind"] == "disk_full"
    });
    assert!(refused.iter().all(|kind| kind == "disk_full" || kind == "unavailable"), "{refused:?}");

    for _ in 0..10 {
        let log_file = check(&dir, "log_file");
        assert!(
            ![Value::from("log_file.deleted"), Value::from("log_file.replaced")]
                .contains(&log_file["code"]),
            "{log_file}"
        );
        assert_eq!(log_file["metrics"]["incidents"], 0, "{log_file}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let disk = check(&dir, "disk_space");
    assert_eq!((&disk["code"], &disk["status"]), (&"disk_space.inodes".into(), &"critical".into()));
    let message = disk["message"].as_str().expect("a message");
    assert!(message.starts_with("full for new events: "), "{message}");
    assert!(message.contains("of 60") && message.contains("recording resumes with"), "{message}");
    assert_eq!(disk["metrics"]["total_inodes"], 60, "{disk}");
    assert!(disk["hint"].as_str().is_some_and(|hint| hint.contains("df -i")), "{disk}");
    let writer = check(&dir, "worker_thread");
    assert_eq!(writer["code"], "worker_thread.disk_full", "{writer}");
    assert!(writer["message"].as_str().is_some_and(|text| text.starts_with("no inodes left for ")));
    let (_, plugin, _) = run(&dir, &["health", "--format", "nagios"]);
    assert!(plugin.contains(" 'disk_inodes'="), "{plugin}");

    fs::remove_dir_all(&ballast).expect("removed");
    eventually("recording resumes", || {
        let answer = event(&mut again, "again");
        acknowledged += usize::from(answer["ok"]["seq"].is_u64());
        answer["ok"]["seq"].is_u64()
    });
    eventually("health ends well", || check(&dir, "disk_space")["status"] == "healthy");
    collector.terminate();
    assert_eq!(count(&dir.log(), "e"), acknowledged, "each acknowledged one, once");
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 0, "{:?}", types(&dir.log()));
    assert!(count(&dir.log(), "audit.disk_full") >= 1);
    assert_eq!(count(&dir.log(), "audit.disk_full"), count(&dir.log(), "audit.disk_recovered"));
    let (code, out, err) = run(&dir, &["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// B12: the same with `kill -9` and without room at the next start: the next start
/// works, and goes on where the log ended.
#[test]
fn a_writer_that_dies_without_inodes_leaves_a_log_that_opens() {
    let Some((dir, _mounted, collector)) = with_few_inodes() else { return };
    let mut peer = collector.connect();
    let ballast = dir.log().join("ballast");
    use_up(&ballast);
    let line = format!(r#"{{"event_type":"e","details":{{"text":"{}"}}}}"#, "x".repeat(20_000));
    peer.send(&(line + "\n").repeat(20));
    let answers: Vec<_> = (0..20).map(|_| peer.answer().expect("an answer")).collect();
    let acknowledged = answers.iter().filter(|answer| answer["ok"]["seq"].is_u64()).count();
    collector.signal(Signal::KILL);
    drop(collector);
    fs::remove_dir_all(&ballast).expect("removed");
    let collector = Serving::start(&dir, &impatient());
    assert!(event(&mut collector.connect(), "after")["ok"]["seq"].is_u64());
    collector.terminate();
    assert!(count(&dir.log(), "e") > acknowledged, "all of them, and the one after");
    assert_eq!(run(&dir, &["verify"]).0, 0);
}

/// B13: a record that is not there is an error at once, in words; one that a running
/// writer has is waited for.
#[test]
fn a_proof_of_a_record_that_is_not_there_says_how_many_there_are() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let seq = event(&mut collector.connect(), "a")["ok"]["seq"].as_u64().expect("a seq");
    // Acknowledged a moment ago: signed within a second.
    assert_eq!(run(&dir, &["prove", &seq.to_string()]).0, 0);
    let refused = |args: &[&str], exit: i32, said: &str| {
        let (code, out, err) = run(&dir, &[args, &["--json"]].concat());
        let error: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &error["error"]["kind"]), (exit, &"no_record".into()), "{out}{err}");
        let message = error["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(said), "{said}: {message}");
    };
    let has = seq + 1;
    let log = format!("the log has {has} records, 0 to {seq}");
    refused(&["prove", "42"], 2, &format!("there is no record 42: {log}"));
    refused(&["prove", "--from", "42"], 1, &log);
    collector.terminate();
    let log = format!("the log has {} records, 0 to {has}", has + 1);
    refused(&["prove", "42"], 2, &format!("there is no record 42: {log}"));
    refused(&["prove", &(has + 1).to_string()], 2, &log);
    assert_eq!(run(&dir, &["prove", &has.to_string()]).0, 0, "the last one: audit.closed");
}

/// B13: when the last event came is known after a restart too; the engine's own records
/// are no events.
#[test]
fn the_time_of_the_last_event_is_known_after_a_restart() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let last = |dir: &Dir| health(dir)["metadata"]["last_event_time"].clone();
    assert_eq!(last(&dir), Value::Null, "there is none yet");
    assert!(event(&mut collector.connect(), "a")["ok"]["seq"].is_u64());
    let before = last(&dir);
    assert!(before.is_string(), "{before}");
    collector.terminate();
    for _ in 0..3 {
        let collector = Serving::start(&dir, "");
        assert_eq!(last(&dir), before);
        collector.terminate();
    }
    // The page is a hint that may be gone; the record is not.
    fs::remove_file(dir.log().join("audit.status")).expect("removed");
    let collector = Serving::start(&dir, "");
    assert_eq!(last(&dir), before);
    collector.terminate();
}
