//! The check `alerts`.

use crate::alerts::{AlertFailure, AlertsStatus};
use crate::audit::state::status::Word;
use crate::clock::{Clock, Timestamp};
use crate::health::Status::{self, Critical, Healthy, Unknown, Warning};
use crate::health::samples::{Sample, delivering};

pub(super) fn ago(sample: &Sample, seconds: i64) -> Timestamp {
    Timestamp::from_micros(sample.clock.now().micros() - seconds * 1_000_000)
}

pub(super) fn failed(at: Timestamp, id: String) -> AlertFailure {
    AlertFailure { at, id, reason: "HTTP 404".to_owned() }
}

fn said(change: impl FnOnce(&mut AlertsStatus, &Sample)) -> (Status, String) {
    of(&delivering(change))
}

fn of(sample: &Sample) -> (Status, String) {
    let report = sample.health().report;
    let check = report.check("alerts").expect("the check");
    assert_eq!(check.hint.is_none(), check.status == Healthy);
    (check.status, check.message.clone())
}

#[test]
fn the_checks_that_alerts_can_name_are_those_that_there_are() {
    let mut sample = delivering(|_, _| {});
    sample.settings.witness.policy = Some("policy".into());
    sample.settings.archive.destination = Some("/archive".to_owned());
    sample.set(Word::TlsNotAfter, ago(&sample, -9_000_000).micros() as u64);
    let report = sample.health().report;
    let mut made: Vec<&str> = report.checks.iter().map(|check| check.component).collect();
    let mut named = crate::config::HealthCheckName::NAMES.to_vec();
    made.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, made, "src/config/alert.rs, HealthCheckName");
}

#[test]
fn deliveries_are_judged_by_how_long_and_how_many_wait() {
    type Change = fn(&mut AlertsStatus, &Sample);
    let cases: [(&str, Change, Status, &str); 9] = [
        ("well", |_, _| {}, Healthy, "1 alert, 7 delivered, 0 waiting"),
        (
            "waiting for a moment",
            |status, sample| {
                status.alerts[0].queued = 1;
                status.alerts[0].oldest = Some(ago(sample, 599));
            },
            Healthy,
            "1 alert, 7 delivered, 1 waiting",
        ),
        (
            "waiting for long",
            |status, sample| {
                status.alerts[0].queued = 1;
                status.alerts[0].oldest = Some(ago(sample, 720));
                status.alerts[0].problem = Some("Connection refused".to_owned());
            },
            Warning,
            "ops: not delivered for 12 min: Connection refused",
        ),
        (
            "half full",
            |status, _| status.alerts[0].queued = 6,
            Warning,
            "ops: 6 of at most 10 wait",
        ),
        (
            "full",
            |status, _| status.alerts[0].queued = 10,
            Critical,
            "ops: 10 wait, and the queue is full",
        ),
        (
            "failed a while ago",
            |status, sample| {
                let id = "log/ops/3".to_owned();
                status.failures.push(failed(ago(sample, 1_800), id));
            },
            Warning,
            "1 delivery failed in the last hour, the last one log/ops/3: HTTP 404",
        ),
        (
            "failed long ago",
            |status, sample| {
                let id = "log/ops/3".to_owned();
                status.failures.push(failed(ago(sample, 3_601), id));
            },
            Healthy,
            "1 alert, 7 delivered, 0 waiting",
        ),
        (
            "nobody looks at records",
            |status, sample| {
                status.cursor = 40;
                status.at = ago(sample, 700);
            },
            Warning,
            "3 records are not yet examined, for 11 min",
        ),
        (
            "delivered by a process that is gone",
            |status, _| status.pid = 1,
            Warning,
            "the running writer delivers no alerts",
        ),
    ];
    for (what, change, status, message) in cases {
        assert_eq!(said(change), (status, message.to_owned()), "{what}");
    }
}

#[test]
fn without_a_collector_it_says_that_and_what_was_known_last() {
    let mut sample = Sample::closed();
    sample.settings.alerts = delivering(|_, _| {}).settings.alerts.clone();
    assert_eq!(of(&sample), (Warning, "no collector has delivered alerts yet".to_owned()));
    let status = AlertsStatus { at: ago(&sample, 200), pid: 4242, ..AlertsStatus::default() };
    let path = sample.paths().alerts_status();
    std::fs::write(&path, status.to_bytes().expect("JSON")).expect("written");
    let (status, message) = of(&sample);
    assert_eq!(status, Healthy);
    assert!(message.starts_with("no writer runs; 3 min ago: "), "{message}");
    std::fs::write(&path, "{").expect("written");
    let (status, message) = of(&sample);
    assert_eq!(status, Unknown);
    assert!(message.contains("audit.alerts.json"), "{message}");
    // Used, so that the page's word is the one that is compared.
    assert_eq!(sample.page().get(Word::Pid), 4242);
}
