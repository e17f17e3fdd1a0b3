//! No signal that the engine itself can raise ends the process, and no core holds
//! the key.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use auditctl::audit::{AuditLog, Event, Options};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, count, eventually, missing, options, root_agrees, run};

const LIMITED: &str = r#"ulimit -S -f 96; exec "$0" "$@""#;

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_name_and_recording_goes_on_without_a_restart() {
    let dir = Dir::new();
    let settings =
        "overflow_timeout = \"300ms\"\ndisk_reserve = 0\n[rate_limit]\nenabled = false\n";
    let collector = Serving::start_under(&dir, settings, &["/bin/bash", "-c", LIMITED]);
    let mut peer = collector.connect();
    let event =
        format!("{{\"event_type\":\"e\",\"details\":{{\"x\":\"{}\"}}}}", "y".repeat(10_000));
    let mut answers: Vec<Value> = Vec::new();
    while answers.last().is_none_or(|answer| answer["ok"].is_object()) {
        assert!(answers.len() < 100, "the limit is met");
        answers.push(peer.ask(&event));
    }
    let refused = answers.last().expect("one");
    let message = refused["error"]["message"].as_str().expect("a message");
    assert_eq!(refused["error"]["kind"], "unavailable", "{refused}");
    assert!(message.contains("limit on the size of files"), "{message}");
    let (code, stdout, _) = run(&dir, &["health", "--json"]);
    assert_eq!(code, 2, "{stdout}");
    assert!(stdout.contains("worker_thread.write_failing"), "{stdout}");
    assert!(stdout.contains("File too large") && stdout.contains("LimitFSIZE="), "{stdout}");
    let pid = Pid::from_raw(collector.pid() as i32);
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(pid, Resource::Fsize, unlimited).expect("raised");
    eventually("recording goes on", || peer.ask(&event)["ok"].is_object());
    drop(peer);
    collector.terminate();
    assert!(count(&dir.log(), "e") > answers.len(), "what was kept is there as well");
    root_agrees(&dir.log());
}

#[test]
fn every_command_ends_with_an_error_and_not_with_a_signal_under_that_limit() {
    let dir = Dir::new();
    for command in [
        &["record", "--type", "e"][..],
        &["backup"],
        &["validate", "--json"],
        &["demo"],
        &["support-bundle", "--output", "b.tar.gz"],
        &["health"],
        &["token", "new", "--token-file", "tokens", "--name", "a"],
    ] {
        let output = Command::new("/bin/bash")
            .args(["-c", r#"ulimit -f 0; exec "$0" "$@""#, env!("CARGO_BIN_EXE_auditctl")])
            .args(command)
            .env_clear()
            .env("HOME", dir.path())
            .current_dir(dir.path())
            .output()
            .expect("bash");
        let code = output.status.code();
        assert!(code.is_some(), "{command:?} ended by {}", output.status);
    }
}

/// The part of the next test that runs in a process of its own.
#[test]
fn an_embedding_service_under_a_limit() {
    let Some(dir) = std::env::var_os("AUDITCTL_TEST_LIMITED") else { return };
    let options = Options {
        disk_reserve: 0,
        rate_limit: None,
        overflow_timeout: std::time::Duration::from_millis(300),
        ..Options::new(dir)
    };
    let log = AuditLog::open(options).expect("open");
    let details = serde_json::json!({ "x": "y".repeat(10_000) });
    let refused = (0..1_000).find_map(|_| {
        let event = Event::new("e").details(&details).expect("details");
        log.record(event).and_then(auditctl::audit::Receipt::wait).err()
    });
    assert_eq!(refused.expect("the limit is met").kind(), "unavailable");
    let limit = Rlimit { current: None, maximum: None };
    prlimit(None, Resource::Fsize, limit).expect("raised");
    log.close().expect("closed");
}

/// The service has neither ignored nor handled the signal: the engine sees to it.
#[test]
fn a_service_that_embeds_the_library_survives_the_limit_and_so_does_opening() {
    let dir = Dir::new();
    let this = std::env::current_exe().expect("this program");
    let output = Command::new("/bin/bash")
        .args(["-c", LIMITED])
        .arg(this)
        .args(["--exact", "signals::an_embedding_service_under_a_limit", "--nocapture"])
        .env("AUDITCTL_TEST_LIMITED", dir.log())
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    root_agrees(&dir.log());
    // Not even opening may write: that is an error as well.
    let nothing = Dir::new();
    let output = Command::new("/bin/bash")
        .args(["-c", r#"ulimit -f 0; exec "$0" "$@""#])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "signals::opening_where_nothing_may_be_written", "--nocapture"])
        .env("AUDITCTL_TEST_LIMITED_OPEN", nothing.log())
        .stderr(Stdio::piped())
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", output.status);
}

/// A part of the test above.
#[test]
fn opening_where_nothing_may_be_written() {
    let Some(dir) = std::env::var_os("AUDITCTL_TEST_LIMITED_OPEN") else { return };
    AuditLog::open(Options::new(dir)).expect_err("nothing may be written");
}

/// The kernel gives `/proc/PID` of such a process to root.
#[test]
fn the_collectors_memory_is_not_to_be_dumped() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let owner_of =
        |pid: u32| std::fs::metadata(format!("/proc/{pid}/environ")).expect("there").uid();
    if !rustix::process::geteuid().is_root() {
        let collector = Serving::start(&dir, "");
        assert_eq!(owner_of(collector.pid()), 0);
        return collector.terminate();
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        // Root's files are root's anyway.
        return missing("setpriv");
    }
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).expect("given away");
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let collector = Serving::start_under(&dir, "", &as_nobody);
    assert_eq!(owner_of(collector.pid()), 0, "nobody but root reads its memory");
    // And what others need of it is there all the same.
    let (code, stdout, _) = run(&dir, &["health"]);
    assert!(stdout.contains("running"), "{code} {stdout}");
    collector.terminate();
    let plain = options(&dir);
    assert_eq!(count(&plain.dir, "audit.closed"), 1);
}

#[test]
fn no_unit_lets_a_core_be_dumped() {
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
    let mut services = 0;
    for entry in std::fs::read_dir(units).expect("units") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "service") {
            let text = std::fs::read_to_string(&path).expect("unit");
            assert!(text.lines().any(|line| line == "LimitCORE=0"), "{}", path.display());
            services += 1;
        }
    }
    assert!(services >= 6, "the units were found");
}

/// A request whose body does not come: the end in order waits for it.
fn half_a_request(collector: &Serving) -> TcpStream {
    let mut stream = TcpStream::connect(collector.http).expect("connect");
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    // It says so once it waits for the body.
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{").expect("sent");
    stream
}

/// `timeout` signals the process and then its group: the process gets the signal twice.
#[test]
fn the_same_signal_twice_at_once_ends_the_collector_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = Dir::new();
        let mut collector = Serving::start(&dir, "");
        assert!(collector.connect().ask(r#"{"event_type":"e"}"#)["ok"]["seq"].is_u64());
        let waiting = half_a_request(&collector);
        collector.signal(signal);
        std::thread::sleep(Duration::from_millis(2));
        collector.signal(signal);
        drop(waiting);
        let status = collector.wait();
        assert_eq!(status.code(), Some(0), "{}", collector.stderr());
        assert_eq!(count(&dir.log(), "audit.closed"), 1);
    }
}

/// Who asks again, or by another signal, does not want to wait.
#[test]
fn another_signal_ends_the_collector_at_once() {
    let dir = Dir::new();
    let mut collector = Serving::start(&dir, "");
    let waiting = half_a_request(&collector);
    // Both are there when it looks, so that it cannot have ended in between.
    collector.signal(Signal::STOP);
    collector.signal(Signal::TERM);
    collector.signal(Signal::INT);
    collector.signal(Signal::CONT);
    let status = collector.wait();
    assert!(matches!(status.code(), Some(130 | 143)), "{status}: {}", collector.stderr());
    assert!(collector.stderr().contains("forced"), "{}", collector.stderr());
    drop(waiting);
}
