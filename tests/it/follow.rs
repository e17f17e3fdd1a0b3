//! `query --follow`: it goes on after a restore, and ends with its reader.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, eventually, run};

const SETTINGS: &str = "[rate_limit]\nenabled = false\n[backup]\noutput_dir = \"B\"\n";

fn record(dir: &Dir, event_type: &str) {
    let (code, _, stderr) = run(dir, &["record", "--type", event_type]);
    assert_eq!(code, 0, "{stderr}");
}

/// A `query --follow`; killed when dropped.
struct Follower {
    child: Child,
    /// The types of the records that it prints.
    types: Receiver<String>,
}

/// How long a line may take: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);

impl Follower {
    fn start(dir: &Dir, args: &[&str]) -> Self {
        let mut command = auditctl(dir, &[&["query", "--follow"], args].concat());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a follower");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, types) = mpsc::sync_channel(1_000);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                let record: Value = serde_json::from_str(&line).expect(&line);
                let event_type = record["event_type"].as_str().expect("a type").to_owned();
                line.clear();
                if sender.send(event_type).is_err() {
                    return;
                }
            }
        });
        Self { child, types }
    }

    /// The type of the next record.
    fn next(&mut self) -> String {
        self.types.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// What it said, once it has been interrupted.
    fn said(mut self) -> String {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("interrupted");
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("utf-8");
        said
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that goes on for ever; killed when dropped.
struct Killed(Child);

impl Killed {
    fn start(dir: &Dir, args: &[&str], stdout: Stdio) -> Self {
        let mut command = auditctl(dir, args);
        Self(command.stdout(stdout).stderr(Stdio::null()).spawn().expect("runs"))
    }

    fn ended(&mut self) -> Option<i32> {
        self.0.try_wait().expect("waited").map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    line
}

/// C6: `| head -1`, with nothing more to write.
#[test]
fn follow_ends_when_its_reader_has_gone_although_nothing_more_is_recorded() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("settings");
    record(&dir, "one");
    let mut child = Killed::start(&dir, &["query", "--follow", "--type", "one"], Stdio::piped());
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped"));
    assert!(first_line(&mut lines).contains("\"one\""));
    assert_eq!(child.ended(), None, "it follows");
    drop(lines);
    eventually("it ends", || child.ended().is_some());
    assert_eq!(child.ended(), Some(0), "a reader who has enough is no failure");
}

/// C6: as `ssh host auditctl query --follow` without a terminal has it.
#[test]
fn follow_ends_when_the_socket_that_it_writes_to_is_closed() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("settings");
    record(&dir, "one");
    let (near, far) = UnixStream::pair().expect("a pair");
    let far = Stdio::from(std::os::fd::OwnedFd::from(far));
    let mut child = Killed::start(&dir, &["query", "--follow", "--type", "one"], far);
    let mut reader = BufReader::new(near);
    assert!(first_line(&mut reader).contains("\"one\""));
    drop(reader);
    eventually("it ends", || child.ended().is_some());
    assert_eq!(child.ended(), Some(0));
}

/// C6: through the collector, which is rid of it, too.
#[test]
fn follow_through_a_collector_ends_with_its_reader_and_the_collector_is_rid_of_it() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    peer.ask("{\"event_type\":\"one\"}");
    let mut connections = || peer.ask("{\"status\":{}}")["ok"]["status"]["connections"].clone();
    let before = connections();
    let mut child = Killed::start(&dir, &["query", "--follow", "--type", "one"], Stdio::piped());
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped"));
    assert!(first_line(&mut lines).contains("\"one\""));
    eventually("the collector sees it", || connections() != before);
    drop(lines);
    eventually("it ends", || child.ended().is_some());
    assert_eq!(child.ended(), Some(0));
    eventually("the collector is rid of it", || connections() == before);
}

/// C6: its siblings, whose next line is an hour away.
#[test]
fn what_prints_again_and_again_ends_with_its_reader_long_before_its_next_line() {
    let dir = Dir::new();
    for (args, code) in [
        (&["health", "--json", "--watch", "3600"][..], 3),
        (&["monitor", "--json", "--refresh", "3600"], 0),
    ] {
        let mut child = Killed::start(&dir, args, Stdio::piped());
        let mut lines = BufReader::new(child.0.stdout.take().expect("piped"));
        assert!(first_line(&mut lines).starts_with('{'));
        drop(lines);
        eventually("it ends", || child.ended().is_some());
        assert_eq!(child.ended(), Some(code), "{args:?}");
    }
}

fn restored(dir: &Dir) {
    let (code, _, stderr) = run(dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 0, "{stderr}");
}

/// C6: the records that a restore set aside come again under their seqs.
#[test]
fn follow_goes_on_after_a_restore_with_what_is_new_and_says_from_where() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("settings");
    record(&dir, "kept");
    let (code, _, stderr) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    for _ in 0..5 {
        record(&dir, "lost");
    }
    let mut follower =
        Follower::start(&dir, &["--type", "kept", "--type", "lost", "--type", "new*"]);
    assert_eq!(follower.next(), "kept");
    (0..5).for_each(|_| assert_eq!(follower.next(), "lost"));
    restored(&dir);
    record(&dir, "new.1");
    assert_eq!(follower.next(), "new.1", "and what is in the backup does not come again");
    record(&dir, "new.2");
    assert_eq!(follower.next(), "new.2");
    let said = follower.said();
    assert!(said.contains("the log was replaced"), "{said}");
    let restored = run(&dir, &["query", "--type", "audit.restored", "--fields", "seq"]).1;
    let seq: Value = serde_json::from_str(restored.trim()).expect("json");
    assert!(said.contains(&format!("continuing from record {}", seq["seq"])), "{said} {restored}");
}

/// C6: the same while a collector is stopped, restored and started again.
#[test]
fn follow_through_a_collector_survives_that_its_log_is_restored() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, SETTINGS);
    collector.connect().ask("{\"event_type\":\"kept\"}");
    let (code, _, stderr) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    let mut peer = collector.connect();
    for _ in 0..5 {
        peer.ask("{\"event_type\":\"lost\"}");
    }
    let mut follower =
        Follower::start(&dir, &["--type", "kept", "--type", "lost", "--type", "new*"]);
    assert_eq!(follower.next(), "kept");
    (0..5).for_each(|_| assert_eq!(follower.next(), "lost"));
    drop(peer);
    collector.terminate();
    restored(&dir);
    let collector = Serving::start(&dir, SETTINGS);
    collector.connect().ask("{\"event_type\":\"new.1\"}");
    assert_eq!(follower.next(), "new.1");
    assert!(follower.said().contains("the log was replaced"));
}

/// C6: another log in its place is all new.
#[test]
fn follow_shows_all_of_another_log_that_took_the_place_of_the_first() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("settings");
    for _ in 0..9 {
        record(&dir, "first");
    }
    let mut follower = Follower::start(&dir, &["--type", "first", "--type", "second"]);
    (0..9).for_each(|_| assert_eq!(follower.next(), "first"));
    std::fs::rename(dir.log(), dir.path().join("aside")).expect("set aside");
    record(&dir, "second");
    assert_eq!(follower.next(), "second");
    let said = follower.said();
    assert!(said.contains("continuing from record 0"), "{said}");
}
