//! The command line, as operators and scripts meet it: real processes.

use serde_json::Value;

use rustix::process::Signal;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, count, eventually, records, root_agrees, run};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The health document and its exit code.
fn health(dir: &Dir) -> (i32, Value) {
    let (code, stdout, _) = run(dir, &["health", "--json"]);
    (code, json(&stdout))
}

fn worker(document: &Value) -> String {
    let checks = document["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["component"] == "worker_thread");
    check.expect("worker_thread")["message"].as_str().expect("message").to_owned()
}

#[test]
fn p6_health_tells_running_hung_died_and_stopped_apart() {
    let dir = Dir::new();
    let (code, document) = health(&dir);
    assert_eq!((code, &document["status"]), (3, &Value::from("unknown")));
    assert!(worker(&document).contains("no log yet"), "{document}");

    std::fs::write(dir.path().join("auditctl.toml"), "[health]\nhung_after = \"1s\"\n")
        .expect("settings");
    let collector = Serving::start_alone(&dir);
    // On a machine that has no time it may seem hung for a moment.
    let running = format!("running (pid {})", collector.pid());
    eventually("running", || {
        let (code, document) = health(&dir);
        code == 0 && worker(&document).contains(&running)
    });

    collector.signal(Signal::STOP);
    eventually("hung", || health(&dir).0 == 2);
    assert!(worker(&health(&dir).1).contains("SIGSTOP"), "{}", health(&dir).1);
    collector.signal(Signal::CONT);
    eventually("running again", || health(&dir).0 == 0);

    collector.terminate();
    let (code, document) = health(&dir);
    assert_eq!(code, 1);
    assert!(worker(&document).contains("stopped cleanly"));
    std::fs::write(dir.path().join("auditctl.toml"), "expect_running = false\n").expect("settings");
    assert_eq!(health(&dir).0, 0);

    let collector = Serving::start_alone(&dir);
    collector.kill_nine();
    let (code, document) = health(&dir);
    assert_eq!(code, 2);
    assert!(worker(&document).contains("died"), "{document}");
}

#[test]
fn p8_a_deleted_log_file_turns_health_critical_and_loses_nothing() {
    let dir = Dir::new();
    let collector = Serving::start_alone(&dir);
    let (code, ..) = run(&dir, &["record", "--type", "before"]);
    assert_eq!(code, 0);
    std::fs::remove_file(dir.log().join("audit.log")).expect("removed");
    eventually("critical", || health(&dir).0 == 2);
    eventually("recorded again", || run(&dir, &["record", "--type", "after"]).0 == 0);
    collector.terminate();
    assert_eq!(count(&dir.log(), "before"), 1);
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 1);
    root_agrees(&dir.log());
}

#[test]
fn health_json_has_the_documented_keys_and_nine_checks() {
    let dir = Dir::new();
    let _collector = Serving::start_alone(&dir);
    let (_, document) = health(&dir);
    for key in ["status", "timestamp", "uptime_seconds", "checks", "summary", "metadata"] {
        assert!(document.get(key).is_some(), "{key}");
    }
    let names: Vec<&str> = document["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| check["component"].as_str().expect("component"))
        .collect();
    let expected = [
        "write_buffer",
        "worker_thread",
        "log_file",
        "rate_limiting",
        "security",
        "query_cache",
        "disk_space",
        "integrity",
        "backup",
    ];
    assert_eq!(names, expected);
    assert_eq!(document["summary"]["total_checks"], 9);
    assert!(document["metadata"]["audit_file"].is_string());
}

#[test]
fn nagios_gets_one_short_line_with_performance_data() {
    let dir = Dir::new();
    for running in [false, true] {
        let _collector = running.then(|| Serving::start_alone(&dir));
        let (code, stdout, _) = run(&dir, &["health", "--format", "nagios"]);
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let line = stdout.split(" | ").next().expect("line").trim_end();
        assert!(line.len() < 80, "{line}");
        let start =
            if running { "AUDIT OK - 9 checks healthy" } else { "AUDIT UNKNOWN - worker_thread" };
        assert!(line.starts_with(start), "{line}");
        assert_eq!(code, if running { 0 } else { 3 });
        if let Some(data) = stdout.split(" | ").nth(1) {
            for item in data.split_whitespace() {
                let (label, value) = item.split_once('=').expect(item);
                assert!(label.starts_with('\'') && label.ends_with('\''), "{item}");
                assert!(value.starts_with(|c: char| c.is_ascii_digit()), "{item}");
            }
        }
    }
}

#[test]
fn usage_errors_are_two_and_for_health_unknown_with_a_json_document_when_asked() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record"]).0, 2);
    assert_eq!(run(&dir, &["health", "--bogus"]).0, 3);
    let (code, stdout, stderr) = run(&dir, &["record", "--json", "--bogus"]);
    assert_eq!(code, 2);
    assert_eq!(json(&stdout)["error"]["kind"], "usage");
    assert!(stderr.contains("--bogus"));
    std::fs::write(dir.path().join("auditctl.toml"), "write_bufer_size = 5\n").expect("settings");
    let (code, stdout, stderr) = run(&dir, &["record", "--type", "x", "--json"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("auditctl.toml:1") && stderr.contains("write_buffer_size"), "{stderr}");
    assert_eq!(json(&stdout)["error"]["kind"], "config");
    assert_eq!(run(&dir, &["health"]).0, 3);
}

#[test]
fn the_flags_of_the_kernels_auditctl_are_never_mistaken_for_success() {
    let dir = Dir::new();
    for flag in ["-s", "-l", "-D", "-R", "-w", "-a", "-e"] {
        let (code, stdout, stderr) = run(&dir, &[flag]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{flag}");
        assert!(stderr.contains("/sbin/auditctl"), "{flag}: {stderr}");
    }
}

#[test]
fn a_closed_pipe_is_success_and_a_full_stdout_is_not() {
    let dir = Dir::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let status = auditctl(&dir, &["man"]).stdout(full).status().expect("runs");
    assert_eq!(status.code(), Some(3));
    let mut child =
        auditctl(&dir, &["man"]).stdout(std::process::Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("wait").code(), Some(0));
}

#[test]
fn an_import_records_every_real_event_through_a_collector_and_without_one() {
    let dir = Dir::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cloudtrail_sample.ndjson");
    let (code, stdout, stderr) = run(&dir, &["record", "--json", "--file", sample]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json(&stdout)["recorded"], 200);
    let collector = Serving::start_alone(&dir);
    let (code, stdout, stderr) = run(&dir, &["record", "--json", "--file", sample]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json(&stdout)["recorded"], 200);
    collector.terminate();
    let stored = records(&dir.log());
    let imported: Vec<_> =
        stored.iter().filter(|(_, r)| r["origin"]["import"] == true).map(|(_, r)| r).collect();
    assert_eq!(imported.len(), 400);
    let text = std::fs::read_to_string(sample).expect("fixture");
    for (line, record) in text.lines().chain(text.lines()).zip(imported) {
        let sent = json(line);
        for key in ["event_type", "actor", "source", "target", "outcome", "details"] {
            assert_eq!(sent[key], record[key], "{key}");
        }
    }
    root_agrees(&dir.log());
}

#[test]
fn a_bad_line_stops_an_import_with_its_number_and_nothing_after_it_is_recorded() {
    let dir = Dir::new();
    let file = dir.path().join("events");
    std::fs::write(
        &file,
        "{\"event_type\":\"a\"}\n\n{\"event_type\":\"b\"}\nnonsense\n{\"event_type\":\"c\"}",
    )
    .expect("file");
    let (code, stdout, stderr) = run(&dir, &["record", "--json", "--file", "events"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("line 4") && stderr.contains("2 events recorded"), "{stderr}");
    let document = json(&stdout);
    assert_eq!(document["recorded"], 2);
    assert_eq!(document["rejected"][0]["line"], 4);
    assert_eq!(count(&dir.log(), "c"), 0);
    let (code, stdout, stderr) =
        run(&dir, &["record", "--json", "--keep-going", "--file", "events"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("line 4"), "{stderr}");
    // It goes on where it stopped.
    assert_eq!((&json(&stdout)["recorded"], count(&dir.log(), "a")), (&1.into(), 1));
    assert_eq!(count(&dir.log(), "c"), 1);
}

#[test]
fn a_sender_above_its_rate_waits_as_told_and_is_recorded() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "[rate_limit]\nper_second = 20\nburst = 2\n")
        .expect("settings");
    let collector = Serving::start_alone(&dir);
    for _ in 0..6 {
        let (code, _, stderr) = run(&dir, &["record", "--type", "e", "--source", "noisy"]);
        assert_eq!(code, 0, "{stderr}");
    }
    collector.terminate();
    assert_eq!(count(&dir.log(), "e"), 6);
}

#[test]
fn eight_processes_write_at_once_and_every_event_is_there_once() {
    let dir = Dir::new();
    let collector = Serving::start_alone(&dir);
    let parts: Vec<_> = (0..8)
        .map(|part| {
            let path = dir.path().join(format!("part{part}"));
            let text: String = (0..500)
                .map(|n| format!("{{\"event_type\":\"e\",\"actor\":\"{part}-{n}\"}}\n"))
                .collect();
            std::fs::write(&path, text).expect("file");
            let mut command = auditctl(&dir, &["record", "--file"]);
            command.arg(path).stdout(std::process::Stdio::null()).spawn().expect("runs")
        })
        .collect();
    for mut part in parts {
        assert!(part.wait().expect("wait").success());
    }
    collector.terminate();
    let stored = records(&dir.log());
    let mut names: Vec<_> = stored
        .iter()
        .filter(|(_, r)| r["event_type"] == "e")
        .map(|(_, r)| r["actor"].as_str().expect("actor").to_owned())
        .collect();
    assert_eq!(names.len(), 4_000);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4_000);
    root_agrees(&dir.log());
}
