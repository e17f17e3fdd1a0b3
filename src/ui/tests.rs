//! The renderings, over real reports of made-up situations.

use std::process::{Command, Stdio};

use super::{
    health_human, health_human_line, health_json, health_nagios, plugin_failure, prometheus,
};
use crate::audit::status::{Ring, StatusPage, StatusSnapshot, Word};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{self, Check, Component, HealthReport, Metric, Status, Unit};

fn at() -> Timestamp {
    Timestamp::from_micros(1_770_239_380_000_000)
}

/// A report with these checks changed; its numbers are fixed.
fn report(change: impl FnOnce(&mut Vec<Check>)) -> HealthReport {
    let mut report = HealthReport::timed_out(at(), "logs/audit.log".into(), Default::default());
    for check in &mut report.checks {
        check.status = Status::Healthy;
        check.message = "well".to_owned();
        check.hint = None;
    }
    change(&mut report.checks);
    report.status = report.checks.iter().map(|check| check.status).max().unwrap();
    report.metadata.hints.clear();
    report
}

fn trouble(checks: &mut [Check], component: Component, status: Status, message: &str) {
    let check = checks.iter_mut().find(|check| check.component == component).unwrap();
    check.status = status;
    check.message = message.to_owned();
}

/// A page with every kind of value, and what health says of it.
fn real() -> (HealthReport, StatusSnapshot) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let dir = directory.path();
    let page = StatusPage::create(&dir.join("audit.status")).expect("page");
    page.set(Word::Accepted, 12);
    page.set(Word::BufferEvents, 3);
    page.set(Word::CapacityEvents, 1_000);
    page.set(Word::StartedAt, at().micros() as u64);
    page.count(Ring::Blocked, at(), 7);
    page.top_blocked("bad\nguy\"} 1", 7);
    for micros in [50, 700, 700, 9_000_000] {
        page.sync_took(micros);
    }
    let clock = ManualClock::new(at());
    assert_eq!(clock.now(), at());
    let mut settings = Settings::default();
    settings.log_dir = dir.to_path_buf();
    let health = health::check(&settings, &OsFs, &clock);
    (health.report, health.snapshot.expect("page"))
}

#[test]
fn the_json_document_has_exactly_the_promised_keys_in_order() {
    let (report, _) = real();
    let text = health_json(&report);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let position = |key: &str| text.find(&format!("\n  \"{key}\":")).expect(key);
    let keys = ["status", "timestamp", "uptime_seconds", "checks", "summary", "metadata"];
    assert!(keys.windows(2).all(|pair| position(pair[0]) < position(pair[1])));
    assert_eq!(value.as_object().unwrap().len(), keys.len());
    for check in value["checks"].as_array().unwrap() {
        let mut keys: Vec<_> = check.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["component", "message", "metrics", "status"]);
    }
    assert_eq!(value["summary"]["total_checks"], 8);
    for key in ["audit_file", "last_event_time", "version", "pid", "state"] {
        assert!(value["metadata"].get(key).is_some(), "{key}");
    }
    assert_eq!(value["timestamp"], "2026-02-04T21:09:40.000000Z");
}

#[test]
fn nagios_gets_one_short_line_and_its_performance_data() {
    let line = health_nagios(&report(|_| {}));
    assert_eq!(line, "AUDIT OK - 8 checks healthy");

    let hung = report(|checks| {
        trouble(checks, Component::WorkerThread, Status::Critical, "hung in fdatasync for 7 s; x");
        checks[0].metrics = vec![
            Metric::perf("events", 3_u64, "write_buffer", Unit::None)
                .limits(health::Limit::Above(500.0), health::Limit::Above(800.0))
                .max(1_000),
            Metric::perf("free", 5_u64, "disk_free", Unit::Bytes)
                .limits(health::Limit::Below(10.0), health::Limit::Below(2.5)),
            Metric::perf("age", 0.25, "age", Unit::Seconds),
            Metric::perf("rate", None::<u64>, "rate", Unit::Percent),
            Metric::new("not for machines", "text"),
        ];
    });
    assert_eq!(
        health_nagios(&hung),
        "AUDIT CRITICAL - worker_thread: hung in fdatasync for 7 s | \
         'write_buffer'=3;500;800;0;1000 'disk_free'=5B;10:;2.5:;0 'age'=0.25s;;;0"
    );
}

#[test]
fn the_worst_problem_leads_the_line_and_what_has_no_room_is_counted() {
    let several = report(|checks| {
        trouble(checks, Component::WriteBuffer, Status::Unknown, "not known");
        trouble(checks, Component::LogFile, Status::Warning, "1.2 GiB in 3 segments");
        trouble(checks, Component::DiskSpace, Status::Critical, "0 B free (0%)");
    });
    let line = health_nagios(&several);
    assert_eq!(line, "AUDIT CRITICAL - disk_space: 0 B free (0%), +2 more");
    let all = report(|checks| {
        for component in Component::ALL {
            trouble(checks, *component, Status::Unknown, &"long ".repeat(40));
        }
    });
    let line = health_nagios(&all);
    assert!(line.chars().count() < 80 && line.ends_with("..."), "{line}");
}

#[test]
fn of_equal_problems_the_writers_own_leads() {
    let died = report(|checks| {
        trouble(checks, Component::WriteBuffer, Status::Critical, "801 events wait");
        trouble(checks, Component::WorkerThread, Status::Critical, "died 3 min ago; x");
    });
    let line = health_nagios(&died);
    assert_eq!(
        line,
        "AUDIT CRITICAL - worker_thread: died 3 min ago, write_buffer: 801 events wait"
    );
}

#[test]
fn a_plugin_that_cannot_check_says_so_on_one_short_line() {
    let line = plugin_failure(&format!("bad | setting\nmore{}", "x".repeat(200)));
    assert_eq!(line, "AUDIT UNKNOWN - bad / setting");
    assert!(plugin_failure(&"x".repeat(200)).len() < 80);
}

#[test]
fn nothing_from_events_can_break_the_line_or_the_terminal() {
    let hostile = report(|checks| {
        trouble(checks, Component::RateLimiting, Status::Warning, "evil\x1b[2J\n|x'=1\u{202e}");
    });
    let line = health_nagios(&hostile);
    assert!(!line.contains(['\x1b', '\n', '|', '\u{202e}']), "{line}");
    let human = health_human(&hostile, false);
    assert!(!human.contains(['\x1b', '\u{202e}']), "{human}");
    assert_eq!(human.lines().count(), 12, "{human}");
    assert!(!health_human_line(&hostile, false).contains('\x1b'));
}

#[test]
fn people_see_every_check_with_what_to_do() {
    let mut stopped = report(|checks| {
        trouble(checks, Component::WorkerThread, Status::Warning, "stopped cleanly 5 min ago");
        checks[1].hint = Some("start it".to_owned());
    });
    stopped.summary.warning = 1;
    stopped.summary.healthy = 7;
    stopped.summary.unknown = 0;
    insta::assert_snapshot!(health_human(&stopped, false));
    let line = health_human_line(&stopped, false);
    assert_eq!(line, "2026-02-04T21:09:40Z  WARNING - worker_thread: stopped cleanly 5 min ago");
    let colored = health_human(&stopped, true);
    assert!(colored.starts_with("\x1b[1m\x1b[33mwarning\x1b[0m"), "{colored:?}");
}

#[test]
fn prometheus_gets_counters_a_histogram_and_bounded_labels() {
    let (report, page) = real();
    let text = prometheus(&report, Some(&page), false);
    for line in [
        "# TYPE auditctl_events_total counter",
        "auditctl_events_total 12",
        "auditctl_write_buffer_events 3.0",
        "# TYPE auditctl_sync_duration_seconds histogram",
        "auditctl_sync_duration_seconds_bucket{le=\"0.0001\"} 1",
        "auditctl_sync_duration_seconds_bucket{le=\"0.001\"} 3",
        "auditctl_sync_duration_seconds_bucket{le=\"+Inf\"} 4",
        "auditctl_sync_duration_seconds_count 4",
        "auditctl_events_refused_total{reason=\"rate_limited\"} 0",
        "auditctl_health_status{component=\"overall\"} 2.0",
        "auditctl_health_status{component=\"worker_thread\"} 2.0",
        &format!("auditctl_build_info{{version=\"{}\"}} 1.0", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("guy"), "no label from events");
    assert!(!text.contains("last_event_timestamp_seconds 0"), "no time is not 1970");
    assert!(!text.contains("# EOF"));
    assert!(prometheus(&report, Some(&page), true).ends_with("# EOF\n"));
    let without = prometheus(&report, None, false);
    assert!(without.contains("auditctl_health_status{") && !without.contains("events_total"));
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let (report, page) = real();
    let Ok(mut child) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let text = prometheus(&report, Some(&page), false);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
