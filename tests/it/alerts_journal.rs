//! The journal of alerts under attack: by somebody who may write to the log's
//! directory, and has no key. No alert that was due is lost without a word.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::alerts::{alerting, counted};
use crate::receiver::{Receiver, Request, free_address};
use crate::serving::Serving;
use crate::support::{Dir, eventually, records, run};

fn journal(dir: &Dir) -> PathBuf {
    dir.log().join("audit.alerts.journal")
}

fn settings(address: std::net::SocketAddr) -> String {
    alerting(address)
        + &format!(
            "[[alerts]]\nname = \"logins\"\non = \"event\"\ntype = [\"login\"]\ncooldown = \"0s\"\n\
             url = \"http://{address}/\"\n"
        )
}

fn login(collector: &Serving, actor: &str) {
    let answer = collector.connect().ask(&format!(r#"{{"event_type":"login","actor":"{actor}"}}"#));
    assert!(answer["ok"]["seq"].is_u64(), "{answer}");
}

fn of_type(dir: &Dir, event_type: &str) -> Vec<(u64, Value)> {
    let all = records(&dir.log()).into_iter();
    all.filter(|(_, record)| record["event_type"] == event_type).collect()
}

fn told(receiver: &Receiver) -> BTreeSet<u64> {
    let seq = |request: &Request| request.json()["record"]["seq"].as_u64().expect("seq");
    receiver.requests().iter().map(seq).collect()
}

/// The incidents that the log tells of its journal: what, and why.
fn incidents(dir: &Dir) -> Vec<Value> {
    let all = of_type(dir, "audit.file_replaced").into_iter();
    let details = all.map(|(_, record)| record["details"].clone());
    details.filter(|details| details["file"] == "audit.alerts.journal").collect()
}

fn health(dir: &Dir) -> Value {
    let (_, health, _) = run(dir, &["health", "--json"]);
    serde_json::from_str(&health).expect("JSON")
}

/// It is not passed over: health, a record, a security event.
fn is_told(dir: &Dir, what: &str) {
    eventually(what, || incidents(dir).iter().any(|incident| incident["what"] == what));
    let health = health(dir);
    assert_ne!(health["status"], "healthy", "{health}");
    assert!(health.to_string().contains("audit.alerts.journal"), "{health}");
    eventually("it is a security event", || {
        let events = std::fs::read_to_string(dir.log().join("security_events.log"));
        let events = events.unwrap_or_default();
        events.contains("log_tampered") && events.contains("audit.alerts.journal")
    });
}

/// Eleven alerts wait, and the collector is at rest.
fn eleven_wait(dir: &Dir, address: std::net::SocketAddr, killed: bool) -> BTreeSet<u64> {
    let collector = Serving::start(dir, &settings(address));
    (0..11).for_each(|n| login(&collector, &format!("a{n}")));
    let due = || of_type(dir, "login").len() as u64;
    eventually("all wait", || counted(dir, "logins", "queued") == due());
    if killed {
        collector.kill_nine()
    } else {
        collector.terminate()
    }
    of_type(dir, "login").into_iter().map(|(seq, _)| seq).collect()
}

type Attack = fn(&Path);

/// Each leaves no journal that the log's writer wrote.
const ATTACKS: &[(&str, Attack, &str)] = &[
    ("removed", |path| std::fs::remove_file(path).expect("removed"), "deleted"),
    ("emptied", |path| std::fs::write(path, "").expect("emptied"), "altered"),
    (
        "cut to its header",
        |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let header = text.split_inclusive('\n').next().expect("a header");
            std::fs::write(path, header).expect("cut");
        },
        "altered",
    ),
    (
        "written anew by somebody",
        |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let header = text.split_inclusive('\n').next().expect("a header");
            std::fs::write(path, format!("{header}{{\"cursor\":100000}}\n")).expect("written");
        },
        "altered",
    ),
    (
        "with a delivery that was none",
        |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let id = text.split("\"id\":\"").nth(1).expect("an id").split('"').next().expect("it");
            let line = format!("{{\"delivered\":[\"{id}\"]}}\n");
            std::fs::write(path, format!("{text}{line}{line}")).expect("written");
        },
        "altered",
    ),
    (
        "with a cursor ahead",
        |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let begin = text.find("\"cursor\":").expect("a cursor") + "\"cursor\":".len();
            std::fs::write(path, format!("{}9{}", &text[..begin], &text[begin..])).expect("done");
        },
        "altered",
    ),
    (
        "a directory",
        |path| {
            std::fs::remove_file(path).expect("removed");
            std::fs::create_dir(path).expect("made");
        },
        "altered",
    ),
    (
        "a link",
        |path| {
            let elsewhere = path.with_extension("elsewhere");
            std::fs::rename(path, &elsewhere).expect("moved");
            std::os::unix::fs::symlink(&elsewhere, path).expect("linked");
        },
        "altered",
    ),
    (
        "a pipe",
        |path| {
            std::fs::remove_file(path).expect("removed");
            let kind = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("made");
        },
        "altered",
    ),
    (
        "four gigabytes of nothing",
        |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
            file.set_len(4 << 30).expect("sparse");
        },
        "altered",
    ),
    (
        "more than anything of ours",
        |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
            file.set_len(1 << 40).expect("sparse");
        },
        "altered",
    ),
];

#[test]
fn a_journal_that_was_taken_away_at_rest_loses_no_alert_and_is_told() {
    for (nth, (name, attack, what)) in ATTACKS.iter().enumerate() {
        let dir = Dir::new();
        let address = free_address();
        let expected = eleven_wait(&dir, address, nth % 2 == 0);
        attack(&journal(&dir));
        let collector = Serving::start(&dir, &settings(address));
        is_told(&dir, what);
        let receiver = Receiver::at(address);
        eventually(name, || told(&receiver).is_superset(&expected));
        let peak = std::fs::read_to_string(format!("/proc/{}/status", collector.pid()));
        let peak = peak.expect("its status");
        let peak = peak.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        let peak: u64 = peak.split_whitespace().nth(1).expect("kB").parse().expect("a number");
        assert!(peak < 150 << 10, "{name}: {peak} KiB");
        let incident = incidents(&dir).pop().expect("told");
        let why = incident["reason"].as_str().expect("a reason");
        assert!(why.contains("the records again"), "{name}: {incident}");
        collector.terminate();
        let (_, out, _) = run(&dir, &["verify"]);
        assert!(out.contains("VERIFIED"), "{name}: {out}");
    }
}

#[test]
fn a_journal_removed_under_a_running_collector_is_put_back_and_a_kill_then_loses_nothing() {
    let replaced: Attack = |path| {
        std::fs::remove_file(path).expect("removed");
        std::fs::write(path, "{\"format\":1,\"log_id\":\"x\"}\n").expect("written");
    };
    let emptied: Attack = |path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
        file.set_len(0).expect("emptied");
    };
    let attacks: [(Attack, &str); 4] = [
        (|path| std::fs::remove_file(path).expect("removed"), "deleted"),
        (replaced, "replaced"),
        (emptied, "altered"),
        (
            |path| {
                std::fs::remove_file(path).expect("removed");
                std::fs::create_dir(path).expect("made");
            },
            "replaced",
        ),
    ];
    for (attack, what) in attacks {
        let dir = Dir::new();
        let address = free_address();
        let collector = Serving::start(&dir, &settings(address));
        (0..5).for_each(|n| login(&collector, &format!("a{n}")));
        eventually("five wait", || counted(&dir, "logins", "queued") == 5);
        attack(&journal(&dir));
        is_told(&dir, what);
        let incident = incidents(&dir).pop().expect("told");
        assert_eq!(incident["put_back"], true, "{incident}");
        collector.kill_nine();
        let collector = Serving::start(&dir, &settings(address));
        assert!(!collector.stderr().contains("alert_journal"), "{}", collector.stderr());
        let receiver = Receiver::at(address);
        let expected: BTreeSet<u64> =
            of_type(&dir, "login").into_iter().map(|(seq, _)| seq).collect();
        eventually("all are told", || told(&receiver) == expected);
        collector.terminate();
        assert_eq!(receiver.requests().len(), 5, "once each");
    }
}

#[test]
fn a_journal_removed_in_the_very_moment_of_a_kill_loses_nothing_either() {
    let dir = Dir::new();
    let address = free_address();
    let collector = Serving::start(&dir, &settings(address));
    (0..5).for_each(|n| login(&collector, &format!("a{n}")));
    eventually("five wait", || counted(&dir, "logins", "queued") == 5);
    collector.signal(Signal::STOP);
    std::fs::remove_file(journal(&dir)).expect("removed");
    collector.kill_nine();
    let collector = Serving::start(&dir, &settings(address));
    is_told(&dir, "deleted");
    let receiver = Receiver::at(address);
    let expected: BTreeSet<u64> = of_type(&dir, "login").into_iter().map(|(seq, _)| seq).collect();
    eventually("all are told", || told(&receiver) == expected);
    collector.terminate();
}

#[test]
fn a_position_that_somebody_appended_to_the_log_authorises_nothing() {
    let dir = Dir::new();
    let address = free_address();
    let expected = eleven_wait(&dir, address, true);
    // After an unclean stop lines without a signature are taken over.
    let log = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&log).expect("text");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let (seq, at) = (last["seq"].as_u64().expect("seq") + 1, &last["timestamp"]);
    let forged = format!(
        r#"{{"seq":{seq},"timestamp":{at},"event_type":"audit.alerts_position","actor":"auditctl","source":"auditctl","details":{{"settled_to":{seq},"cursor":{seq},"waiting":{{}}}},"origin":{{"via":"engine","pid":1}}}}"#
    );
    std::fs::write(&log, format!("{text}{forged}\n")).expect("appended");
    std::fs::remove_file(journal(&dir)).expect("removed");
    let collector = Serving::start(&dir, &settings(address));
    let receiver = Receiver::at(address);
    eventually("all are told", || told(&receiver).is_superset(&expected));
    collector.terminate();
    let taken = of_type(&dir, "audit.alerts_position").into_iter().any(|(found, _)| found == seq);
    assert!(taken, "the forged line was taken over, unsigned: what this is about");
}

#[test]
fn an_older_journal_of_our_own_put_back_loses_nothing() {
    let dir = Dir::new();
    let address = free_address();
    let collector = Serving::start(&dir, &settings(address));
    login(&collector, "first");
    eventually("one waits", || counted(&dir, "logins", "queued") == 1);
    collector.terminate();
    let old = std::fs::read(journal(&dir)).expect("read");
    let expected = eleven_wait(&dir, address, false);
    assert_eq!(expected.len(), 12);
    std::fs::write(journal(&dir), old).expect("put back");
    let collector = Serving::start(&dir, &settings(address));
    is_told(&dir, "altered");
    let receiver = Receiver::at(address);
    eventually("all are told", || told(&receiver) == expected);
    collector.terminate();
}

#[test]
fn what_was_told_before_the_last_position_is_not_told_again() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let collector = Serving::start(&dir, &settings(receiver.address));
    (0..5).for_each(|n| login(&collector, &format!("a{n}")));
    eventually("five are told", || counted(&dir, "logins", "delivered") == 5);
    collector.terminate();
    std::fs::remove_file(journal(&dir)).expect("removed");
    let collector = Serving::start(&dir, &settings(receiver.address));
    is_told(&dir, "deleted");
    login(&collector, "b");
    eventually("the sixth", || receiver.requests().len() >= 6);
    collector.terminate();
    assert_eq!(receiver.requests().len(), 6, "each once");
}

/// An older version beside a newer one's journal: no alerts, and nothing of it is touched.
#[test]
fn a_journal_of_a_newer_format_stops_the_alerts_and_no_event_and_is_left_as_it_is() {
    let dir = Dir::new();
    let settings = settings(free_address());
    let collector = Serving::start(&dir, &settings);
    login(&collector, "alice");
    collector.terminate();
    let newer = "{\"type\":\"auditctl/alerts-journal\",\"format\":2,\"log_id\":[]}\n{\"and\":1}\n";
    std::fs::write(journal(&dir), newer).expect("written");
    let collector = Serving::start(&dir, &settings);
    eventually("it is said", || collector.stderr().contains("no alerts: "));
    let said = collector.stderr();
    assert!(said.contains("a newer version made it; use that version, or move it away"), "{said}");
    login(&collector, "bob");
    collector.terminate();
    assert_eq!(std::fs::read_to_string(journal(&dir)).expect("there"), newer);
    assert!(incidents(&dir).is_empty(), "nobody tampered");
    // As the message says.
    std::fs::remove_file(journal(&dir)).expect("removed");
    let collector = Serving::start(&dir, &settings);
    eventually("they are back", || journal(&dir).exists());
    collector.terminate();
}
