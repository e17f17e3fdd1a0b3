//! `auditctl validate`, by real processes: fresh, beside a collector at work, interrupted,
//! killed, and on surroundings that are wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use auditctl::audit::state::status::{StatusSnapshot, Word};
use auditctl::validate::{Id, PROBLEMS};

use crate::serving::Serving;
use crate::support::{Dir, auditctl, count, eventually, root_agrees, run};

/// The document of `validate --json`, every key of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    status: String,
    summary: Summary,
    verdict: String,
    sections: Vec<Section>,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    total_checks: usize,
    passed: usize,
    warning: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    status: String,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    id: String,
    status: String,
    message: String,
    hint: Option<String>,
    path: Option<String>,
    #[serde(default)]
    metrics: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    timestamp: String,
    duration_ms: u64,
    version: String,
    log_dir: String,
    settings_file: Option<String>,
    user: String,
    quick: bool,
    strict: bool,
}

impl Document {
    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.sections.iter().flat_map(|section| &section.checks)
    }

    fn of(&self, id: &str) -> Vec<&Check> {
        self.checks().filter(|check| check.id == id).collect()
    }

    fn problems(&self) -> Vec<(&str, &str)> {
        self.checks()
            .filter(|check| ["warning", "failed"].contains(&&*check.status))
            .map(|check| (&*check.id, &*check.message))
            .collect()
    }
}

/// The exit code and the document.
fn validate(dir: &Dir, args: &[&str]) -> (i32, Document) {
    let (code, stdout, stderr) = run(dir, &[&["validate", "--json"], args].concat());
    let document =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, document)
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    names.sort();
    names
}

/// Every file with its content and the time of its last change.
fn contents(path: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    names(path)
        .into_iter()
        .map(|name| {
            let file = path.join(&name);
            let changed = file.metadata().expect("there").modified().expect("a time");
            (name, (std::fs::read(&file).expect("readable"), changed))
        })
        .collect()
}

#[test]
fn a_fresh_directory_is_ready_and_stays_as_it_was() {
    let dir = Dir::new();
    let (code, document) = validate(&dir, &[]);
    assert_eq!(code, 0, "{:?}", document.problems());
    assert_eq!(names(dir.path()), Vec::<String>::new());
    let sections: Vec<&str> = document.sections.iter().map(|section| &*section.name).collect();
    assert_eq!(sections, ["Settings", "Permissions", "Environment", "Performance", "Security"]);
    for section in &document.sections {
        assert!(!section.checks.is_empty(), "{section:?}");
        assert!(section.checks.iter().any(|check| check.status == section.status));
    }
    let summary = &document.summary;
    let all = summary.passed + summary.warning + summary.failed + summary.skipped;
    assert_eq!((all, document.checks().count()), (summary.total_checks, summary.total_checks));
    assert!(["passed", "warning"].contains(&&*document.status), "{}", document.status);
    assert!(document.verdict.starts_with("ready to deploy"), "{}", document.verdict);
    // Every number of the issue is there.
    for id in [
        "performance.write_rate",
        "performance.query_uncached",
        "performance.query_cached",
        "performance.memory",
        "performance.compression",
        "performance.sync_latency",
    ] {
        let found = document.of(id);
        assert!(!found.is_empty() && found.iter().all(|check| !check.metrics.is_empty()), "{id}");
    }
    let meta = &document.metadata;
    assert!(meta.duration_ms > 0 && meta.timestamp.ends_with('Z') && !meta.version.is_empty());
    assert_eq!((&*meta.log_dir, meta.quick, meta.strict), ("logs", false, false));
    assert!(meta.settings_file.is_none() && !meta.user.is_empty());
}

#[test]
fn every_id_is_in_the_table_and_problems_have_hints() {
    let dir = Dir::new();
    let settings =
        "write_buffer_size = 5\ndisk_reserve = \"0B\"\n[collector]\ntoken_file = \"no\"\n";
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    let (code, document) = validate(&dir, &["--quick"]);
    assert_eq!(code, 1);
    for check in document.checks() {
        assert!(Id::ALL.iter().any(|id| id.as_str() == check.id), "{check:?}");
        assert!(!check.message.is_empty(), "{check:?}");
        if ["warning", "failed"].contains(&&*check.status) {
            assert!(PROBLEMS.iter().any(|problem| problem.id == check.id), "{check:?}");
            assert!(check.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{check:?}");
        } else {
            assert!(check.hint.is_none(), "{check:?}");
        }
    }
    let missing = document.of("permissions.kind");
    assert_eq!(missing[0].path.as_deref(), Some("no"), "{missing:?}");
    // Nothing is measured that was not to be.
    let measured = document.checks().filter(|check| check.id.starts_with("performance."));
    let measured: Vec<&str> = measured.map(|check| &*check.id).collect();
    assert_eq!(measured, ["performance.scratch"]);
}

#[test]
fn all_wrong_settings_are_shown_at_once_and_the_rest_is_checked() {
    let dir = Dir::new();
    let settings = "write_buffer_size = 0\nquery_cash_size = 7\ncompression_level = 12\n";
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    let (code, document) = validate(&dir, &["--quick"]);
    assert_eq!((code, &*document.status), (1, "failed"));
    let wrong = document.of("settings.valid");
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    for line in ["auditctl.toml:1", "auditctl.toml:2", "auditctl.toml:3"] {
        assert!(wrong.iter().any(|check| check.message.contains(line)), "{line} {wrong:?}");
    }
    assert_eq!(document.of("security.tampering")[0].status, "passed");
    // For people the same, each with its place.
    let (code, stdout, _) = run(&dir, &["validate", "--quick", "--quiet"]);
    assert_eq!((code, stdout.matches("auditctl.toml:").count()), (1, 3), "{stdout}");
    assert!(!stdout.contains("ok  "), "{stdout}");
    assert!(stdout.trim_end().lines().last().expect("a line").starts_with("not ready"), "{stdout}");
}

#[test]
fn a_broken_command_line_or_a_settings_file_that_is_not_there_is_exit_2() {
    let dir = Dir::new();
    for args in [
        &["validate", "--json", "--config", "none.toml"][..],
        &["validate", "--json", "--fast"],
        &["validate", "--json", "--cloud", "s3"],
        &["validate", "--json", "--cloud", "s3", "--destination", "A"],
    ] {
        let (code, stdout, _) = run(&dir, args);
        let document: Value = serde_json::from_str(&stdout).expect("an error document");
        assert_eq!(code, 2, "{args:?} {stdout}");
        assert!(document["error"]["message"].is_string(), "{stdout}");
    }
}

#[test]
fn warnings_count_only_when_strict() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "write_buffer_size = 5\n").expect("settings");
    let (code, document) = validate(&dir, &["--quick"]);
    assert_eq!((code, &*document.status), (0, "warning"), "{:?}", document.problems());
    assert!(document.problems().iter().any(|(id, _)| *id == "settings.recommended"));
    let (code, document) = validate(&dir, &["--quick", "--strict"]);
    assert_eq!(code, 1);
    assert!(document.verdict.contains("--strict"), "{}", document.verdict);
}

#[test]
fn a_log_that_nobody_writes_is_byte_for_byte_as_it_was() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "before"]).0, 0);
    let before = contents(&dir.log());
    let (code, document) = validate(&dir, &[]);
    assert_eq!(code, 0, "{:?}", document.problems());
    assert_eq!(contents(&dir.log()), before);
    assert_eq!(document.of("security.checkpoint")[0].status, "passed");
    assert_eq!(names(dir.path()), ["logs"]);
}

#[test]
fn beside_a_collector_under_load_nothing_is_refused_and_nothing_is_changed() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = std::fs::read(dir.log().join("audit.log")).expect("the log");
    let document = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut peer = collector.connect();
                while !done.load(Ordering::Relaxed) {
                    let answer = peer.ask("{\"event_type\":\"load\",\"source\":\"test\"}");
                    assert!(answer["ok"]["seq"].is_u64(), "{answer}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the load has begun", || sent.load(Ordering::Relaxed) > 20);
        let (code, document) = validate(&dir, &[]);
        done.store(true, Ordering::Relaxed);
        assert_eq!(code, 0, "{:?}", document.problems());
        document
    });
    let writer = document.of("environment.writer")[0];
    assert!(writer.message.contains("running") && writer.metrics["state"] == "running");
    assert!(document.of("performance.write_rate")[0].message.contains("beside"), "{document:?}");
    let page = StatusSnapshot::read(&dir.log().join("audit.status")).expect("the page");
    for word in [Word::Busy, Word::Unavailable, Word::Invalid, Word::RateLimited] {
        assert_eq!(page.get(word), 0, "{word:?}");
    }
    collector.terminate();
    let after = std::fs::read(dir.log().join("audit.log")).expect("the log");
    assert!(after.starts_with(&before), "what was there is there");
    assert_eq!(count(&dir.log(), "load") as u64, sent.load(Ordering::Relaxed));
    let lines = count(&dir.log(), "try");
    assert_eq!(lines, 0, "the self-tests' events are not in the log");
    root_agrees(&dir.log());
    assert_eq!(names(dir.path()), ["auditctl.toml", "logs"]);
}

/// Starts a whole validation, and waits until it is in the middle.
fn started(dir: &Dir) -> std::process::Child {
    let mut command = auditctl(dir, &["validate", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    eventually("a scratch directory with a log in it", || {
        names(dir.path()).iter().any(|name| {
            name.starts_with(".auditctl-validate-")
                && dir.path().join(name).join("bench/audit.log").exists()
        })
    });
    child
}

#[test]
fn ctrl_c_and_sigterm_in_the_middle_leave_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let dir = Dir::new();
        let child = started(&dir);
        kill_process(Pid::from_child(&child), signal).expect("signal");
        let output = child.wait_with_output().expect("it ends");
        let stdout = String::from_utf8(output.stdout).expect("utf-8");
        assert_eq!(output.status.code(), Some(130), "{signal:?} {stdout}");
        let document: Value = serde_json::from_str(&stdout).expect("an error document");
        assert_eq!(document["error"]["kind"], "interrupted");
        assert_eq!(names(dir.path()), Vec::<String>::new(), "{signal:?}");
    }
}

#[test]
fn what_kill_nine_leaves_the_next_one_removes_and_says_so() {
    let dir = Dir::new();
    let mut child = started(&dir);
    child.kill().expect("kill");
    child.wait().expect("wait");
    let left = names(dir.path());
    assert_eq!(left.len(), 1, "{left:?}");
    let (_, document) = validate(&dir, &["--quick"]);
    let scratch = document.of("performance.scratch")[0];
    assert!(scratch.message.contains(&left[0]), "{scratch:?}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn two_at_once_do_not_take_each_other_s_directory_for_a_leftover() {
    let dir = Dir::new();
    std::thread::scope(|scope| {
        let runs = [(); 3].map(|()| scope.spawn(|| validate(&dir, &["--quick"])));
        for run in runs {
            let (code, document) = run.join().expect("no panic");
            assert_eq!(code, 0, "{:?}", document.problems());
        }
    });
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_directory_that_may_not_be_written_fails_and_what_cannot_be_tried_is_skipped() {
    let dir = Dir::new();
    let parent = dir.path().join("closed");
    std::fs::create_dir(&parent).expect("directory");
    let is_root = rustix::process::geteuid().is_root();
    // Nothing is refused to root: so it is asked for somebody else.
    let mode = if is_root { 0o700 } else { 0o500 };
    std::fs::set_permissions(&parent, PermissionsExt::from_mode(mode)).expect("mode");
    let mut args = vec!["--quick", "--log-dir", "closed/logs"];
    if is_root {
        args.extend(["--user", "nobody"]);
    }
    let (code, document) = validate(&dir, &args);
    assert_eq!(code, 1, "{document:?}");
    let refused = document.of("permissions.access");
    let refused = refused.iter().find(|check| check.status == "failed").expect("refused");
    assert!(refused.message.contains("the log directory"), "{refused:?}");
    assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("install -d -m 700")));
    if !is_root {
        assert_eq!(document.of("security.tampering")[0].status, "skipped");
        assert_eq!(document.of("performance.scratch")[0].status, "warning");
    }
    std::fs::set_permissions(&parent, PermissionsExt::from_mode(0o700)).expect("mode");
}

#[test]
fn keys_that_the_settings_name_are_not_made_by_looking() {
    let dir = Dir::new();
    let settings = "key_path = \"keys/signing\"\nredact_key_path = \"keys/redaction\"\n\
                    redact = [\"actor\", \"details.*\"]\ndurability = \"interval\"\n";
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    std::fs::create_dir(dir.path().join("keys")).expect("directory");
    let (code, document) = validate(&dir, &[]);
    assert_eq!(code, 0, "{:?}", document.problems());
    assert_eq!(names(&dir.path().join("keys")), Vec::<String>::new());
    assert_eq!(names(dir.path()), ["auditctl.toml", "keys"]);
    let risks = document.of("settings.risk");
    assert!(risks[0].message.contains("durability"), "{risks:?}");
}

#[test]
fn a_user_that_does_not_exist_and_a_log_behind_a_link_are_told() {
    let dir = Dir::new();
    let (code, document) = validate(&dir, &["--quick", "--user", "no-such-user-here"]);
    assert_eq!((code, document.of("permissions.user")[0].status.as_str()), (1, "failed"));
    assert_eq!(document.metadata.user, "no-such-user-here");

    assert_eq!(run(&dir, &["record", "--type", "x", "--log-dir", "real"]).0, 0);
    symlink("real", dir.log()).expect("link");
    let (code, document) = validate(&dir, &["--quick"]);
    assert_eq!(code, 0, "{:?}", document.problems());
    let link = document.of("permissions.symlink")[0];
    assert!(link.status == "warning" && link.message.contains("real"), "{link:?}");
    assert_eq!(names(dir.path()), ["logs", "real"]);
}

#[test]
fn a_destination_of_the_settings_is_looked_at() {
    let dir = Dir::new();
    let destination = |text: &str| {
        let settings = format!("[backup]\ndestination = \"{text}\"\n");
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        let (code, document) = validate(&dir, &["--quick"]);
        let check = document.of("environment.cloud_destination")[0];
        (code, check.status.clone(), check.message.clone())
    };
    let (code, status, _) = destination("acme-audit");
    assert_eq!((code, &*status), (0, "skipped"));
    let (code, status, message) = destination("s3://x");
    assert_eq!((code, &*status), (1, "failed"), "{message}");
    // One that this build can talk to would be asked over the network.
    if !cfg!(feature = "gcs") {
        let (code, status, message) = destination("gs://acme-audit/web-1");
        assert_eq!((code, &*status), (1, "failed"), "{message}");
        assert!(message.contains("cannot talk to gcs"), "{message}");
    }
}

#[test]
fn what_serve_refuses_at_its_start_fails_before_the_deployment() {
    let long = format!("socket = \"/tmp/{}\"", "x".repeat(120));
    for (settings, id) in [
        ("[collector]\nhttp = \"0.0.0.0:0\"", "environment.http"),
        ("[collector]\ntoken_file = \"none\"", "environment.tokens"),
        ("[collector]\ntoken_file = \"junk\"", "environment.tokens"),
        ("[collector]\ntls_cert = \"junk\"\ntls_key = \"junk\"", "environment.certificate"),
        (&format!("[collector]\n{long}"), "environment.socket"),
        ("[collector]\nsocket = \"junk\"", "environment.socket"),
        ("redact = [\"actor\"]\nredact_key_path = \"junk\"", "environment.redaction_key"),
    ] {
        let dir = Dir::new();
        let junk = dir.path().join("junk");
        std::fs::write(&junk, "no such thing").expect("written");
        std::fs::set_permissions(&junk, PermissionsExt::from_mode(0o600)).expect("mode");
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        let (code, document) = validate(&dir, &["--quick"]);
        let found = document.of(id);
        assert_eq!((code, &*found[0].status), (1, "failed"), "{settings}: {found:?}");
        let mut args = vec!["serve"];
        if !settings.contains("http =") {
            args.extend(["--http", "127.0.0.1:0"]);
        }
        let (code, _, stderr) = run(&dir, &args);
        assert_ne!(code, 0, "{settings}: {stderr}");
        assert!(stderr.starts_with("auditctl: "), "{settings}: {stderr}");
    }
}

/// Takes one request, says that all is well, and gives the request back.
#[cfg(feature = "alerts")]
fn taker() -> (std::net::SocketAddr, std::thread::JoinHandle<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let taking = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut request, mut part) = (String::new(), [0; 4096]);
        // The body is JSON, and ends in its closing brace.
        while !(request.contains("\r\n\r\n") && request.trim_end().ends_with('}')) {
            let read = stream.read(&mut part).expect("a request");
            assert!(read > 0, "{request}");
            request.push_str(std::str::from_utf8(&part[..read]).expect("utf-8"));
        }
        let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).expect("an answer");
        request
    });
    (address, taking)
}

#[cfg(feature = "alerts")]
#[test]
fn a_test_alert_is_sent_when_asked_for_and_whether_it_arrived_is_told() {
    let dir = Dir::new();
    let (address, taking) = taker();
    let settings = format!(
        "[alerting]\nallow = [\"{address}\"]\nallow_http = true\n\
         [[alerts]]\nname = \"ops\"\non = \"event\"\ntype = [\"login\"]\n\
         send = \"webhook\"\nurl = \"http://{address}/hook\"\n"
    );
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    let (code, document) = validate(&dir, &["--quick"]);
    assert_eq!(code, 0, "{:?}", document.problems());
    assert_eq!(document.of("environment.alerts")[0].status, "passed");
    assert!(document.of("environment.alert_test").is_empty(), "nothing was asked for");

    let (code, document) = validate(&dir, &["--quick", "--send-test-alert", "ops"]);
    let sent = document.of("environment.alert_test");
    assert_eq!((code, sent[0].status.as_str()), (0, "passed"), "{sent:?}");
    let request = taking.join().expect("taken");
    assert!(request.starts_with("POST /hook ") && request.contains("test"), "{request}");

    // Now nobody listens there; and one that there is not.
    for name in ["ops", "nobody"] {
        let (code, document) = validate(&dir, &["--quick", "--send-test-alert", name]);
        let sent = document.of("environment.alert_test");
        assert_eq!((code, sent[0].status.as_str()), (1, "failed"), "{sent:?}");
        assert!(sent[0].message.contains(name), "{sent:?}");
    }
}
