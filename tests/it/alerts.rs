//! Alerts beside a running collector: each trigger told once, whatever happens.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::receiver::{Answer, Receiver, Request, free_address};
use crate::serving::Serving;
use crate::support::{Dir, eventually, records, run};

/// What permits a receiver on this machine, and quick tries.
pub(crate) fn alerting(address: std::net::SocketAddr) -> String {
    format!(
        "[alerting]\nallow = [\"{address}\"]\nallow_http = true\nretry_pause_max = \"1s\"\ntimeout = \"2s\"\n\
         [rate_limit]\nenabled = false\n"
    )
}

fn alert(name: &str, on: &str, url: &str, more: &str) -> String {
    format!(
        "[[alerts]]\nname = \"{name}\"\non = \"{on}\"\nurl = \"{url}\"\ncooldown = \"0s\"\n{more}"
    )
}

fn logins(receiver: &Receiver) -> String {
    alerting(receiver.address) + &alert("logins", "event", &receiver.url(), "type = [\"login\"]\n")
}

fn login(collector: &Serving, actor: &str) {
    let mut peer = collector.connect();
    let answer = peer.ask(&format!(r#"{{"event_type":"login","actor":"{actor}"}}"#));
    assert!(answer["ok"]["seq"].is_u64(), "{answer}");
}

/// The seqs of the records of that type.
fn seqs_of(dir: &Dir, event_type: &str) -> Vec<u64> {
    let of_type = |(seq, record): (u64, Value)| (record["event_type"] == event_type).then_some(seq);
    records(&dir.log()).into_iter().filter_map(of_type).collect()
}

fn told_seqs(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(|request| request.json()["record"]["seq"].as_u64().expect("seq")).collect()
}

/// `audit.alerts.json`: of one alert, a number.
pub(crate) fn counted(dir: &Dir, alert: &str, what: &str) -> u64 {
    let Ok(text) = std::fs::read_to_string(dir.log().join("audit.alerts.json")) else { return 0 };
    let status: Value = serde_json::from_str(&text).expect("a whole document");
    let alerts = status["alerts"].as_array().expect("alerts");
    let found = alerts.iter().find(|found| found["name"] == alert);
    found.map_or(0, |found| found[what].as_u64().expect("a number"))
}

fn security_events(dir: &Dir) -> String {
    std::fs::read_to_string(dir.log().join("security_events.log")).unwrap_or_default()
}

#[test]
fn each_trigger_is_told_exactly_once_through_an_outage_and_a_kill_nine() {
    let dir = Dir::new();
    let address = free_address();
    let settings = alerting(address)
        + &alert("logins", "event", &format!("http://{address}/"), "type = [\"login\"]\n");
    let collector = Serving::start(&dir, &settings);
    // Nobody listens.
    (0..20).for_each(|n| login(&collector, &format!("a{n}")));
    eventually("twenty wait", || counted(&dir, "logins", "queued") == 20);
    eventually("it was tried", || counted(&dir, "logins", "retried") > 0);
    collector.kill_nine();
    let collector = Serving::start(&dir, &settings);
    (0..20).for_each(|n| login(&collector, &format!("b{n}")));
    eventually("forty wait", || counted(&dir, "logins", "queued") == 40);
    let receiver = Receiver::at(address);
    eventually("all are told", || receiver.requests().len() >= 40);
    eventually("that is stored", || counted(&dir, "logins", "queued") == 0);
    collector.kill_nine();
    let collector = Serving::start(&dir, &settings);
    login(&collector, "c");
    eventually("the last one", || receiver.requests().len() >= 41);
    collector.terminate();
    let requests = receiver.requests();
    assert_eq!(told_seqs(&requests), seqs_of(&dir, "login"), "each once, in order");
    let ids: BTreeSet<String> = requests.iter().map(Request::id).collect();
    assert_eq!(ids.len(), 41);
    for request in &requests {
        let body = request.json();
        let id =
            format!("{}/logins/{}", body["log_id"].as_str().expect("id"), body["record"]["seq"]);
        assert_eq!((request.id(), body["id"].as_str()), (id.clone(), Some(&*id)));
    }
}

#[test]
fn a_kill_nine_at_any_moment_loses_no_alert_and_repeats_only_what_was_on_its_way() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let settings = logins(&receiver);
    const KILLS: usize = 6;
    for round in 0..KILLS {
        let collector = Serving::start(&dir, &settings);
        let before = receiver.requests().len();
        (0..10).for_each(|n| login(&collector, &format!("{round}-{n}")));
        // In the middle of telling.
        eventually("some are told", || receiver.requests().len() > before + round);
        collector.kill_nine();
    }
    let collector = Serving::start(&dir, &settings);
    let expected = seqs_of(&dir, "login");
    assert_eq!(expected.len(), KILLS * 10);
    let told = || told_seqs(&receiver.requests()).into_iter().collect::<BTreeSet<u64>>();
    eventually("all are told", || told().len() >= expected.len());
    collector.terminate();
    assert_eq!(told().into_iter().collect::<Vec<_>>(), expected);
    let repeats = receiver.requests().len() - expected.len();
    assert!(repeats <= KILLS, "{repeats} repeats of {KILLS} kills");
}

#[test]
fn a_first_start_begins_at_the_end_of_the_log() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let collector = Serving::start(&dir, "");
    login(&collector, "long ago");
    collector.terminate();
    let collector = Serving::start(&dir, &logins(&receiver));
    login(&collector, "now");
    eventually("it is told", || !receiver.requests().is_empty());
    collector.terminate();
    let actors: Vec<Value> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["record"]["actor"].clone())
        .collect();
    assert_eq!(actors, ["now"]);
}

#[test]
fn errors_within_a_time_are_one_alert_and_a_cooldown_counts_what_it_holds_back() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let more = "count = 3\nwithin = \"1h\"\n";
    let settings = alerting(receiver.address)
        + &alert("errors", "errors", &receiver.url(), more).replace("0s", "1h");
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    for n in 0..10 {
        let outcome = ["success", "denied", "failure"][n % 3];
        let event = format!(r#"{{"event_type":"read","outcome":"{outcome}"}}"#);
        assert!(peer.ask(&event)["ok"]["seq"].is_u64());
    }
    eventually("it is told", || !receiver.requests().is_empty());
    eventually("the second is held back", || counted(&dir, "errors", "suppressed") == 1);
    collector.terminate();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let body = requests[0].json();
    assert_eq!((&body["trigger"], &body["errors"]["count"]), (&"errors".into(), &3.into()));
    // The third that is no success: denied, failure, denied.
    assert_eq!(body["record"]["outcome"], "denied");
}

#[test]
fn a_change_of_health_is_told_once_and_not_again_after_a_restart() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let settings = alerting(receiver.address)
        + &alert("health", "health", &receiver.url(), "checks = [\"security\"]\n");
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    (0..25).for_each(|_| assert!(peer.ask(r#"{"event_type":""}"#)["error"].is_object()));
    eventually("it is told", || !receiver.requests().is_empty());
    eventually("that is stored", || counted(&dir, "health", "delivered") == 1);
    collector.terminate();
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    // Critical now: told as a change from warning, so that warning was not told again.
    (0..30).for_each(|_| assert!(peer.ask(r#"{"event_type":""}"#)["error"].is_object()));
    eventually("the next is told", || receiver.requests().len() >= 2);
    collector.terminate();
    let changes: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["health"].clone())
        .map(|health| format!("{} {}", health["from"], health["to"]))
        .collect();
    assert_eq!(changes, [r#""healthy" "warning""#, r#""warning" "critical""#]);
}

#[test]
fn a_full_queue_keeps_the_oldest_and_what_is_lost_is_a_record_of_the_log() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    receiver.answer(Answer::HangUp);
    let settings = logins(&receiver).replace("[alerting]\n", "[alerting]\nqueue_events = 3\n");
    let collector = Serving::start(&dir, &settings);
    (0..8).for_each(|n| login(&collector, &format!("{n}")));
    eventually("five are lost", || counted(&dir, "logins", "dropped") == 5);
    eventually("that is recorded", || !seqs_of(&dir, "audit.alert_lost").is_empty());
    let (_, health, _) = run(&dir, &["health", "--json"]);
    let health: Value = serde_json::from_str(&health).expect("JSON");
    let checks = health["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["component"] == "alerts").expect("the check");
    assert_eq!(check["status"], "critical", "{check}");
    assert!(check["message"].as_str().expect("text").contains("logins: 3 wait"), "{check}");
    receiver.answer(Answer::status(200, ""));
    eventually("the oldest are told", || receiver.requests().len() >= 3);
    collector.terminate();
    let actors: Vec<Value> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["record"]["actor"].clone())
        .collect();
    assert_eq!(actors, ["0", "1", "2"]);
    let lost =
        records(&dir.log()).into_iter().filter(|(_, r)| r["event_type"] == "audit.alert_lost");
    let lost: u64 = lost.map(|(_, r)| r["details"]["count"].as_u64().expect("count")).sum();
    assert_eq!(lost, 5);
}

#[test]
fn what_a_target_will_never_take_has_failed_and_is_shown() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    receiver
        .answer(Answer::With("HTTP/1.1 404 X\r\ncontent-length: 10\r\n\r\nno_service".to_owned()));
    let collector = Serving::start(&dir, &logins(&receiver));
    login(&collector, "alice");
    eventually("it failed", || counted(&dir, "logins", "failed") == 1);
    eventually("that is recorded", || !seqs_of(&dir, "audit.alert_lost").is_empty());
    assert_eq!(receiver.requests().len(), 1, "tried once");
    let (_, health, _) = run(&dir, &["health", "--json"]);
    assert!(health.contains("1 delivery failed in the last hour"), "{health}");
    assert!(health.contains("HTTP 404: no_service"), "{health}");
    let (_, _, metrics) = collector.get("/metrics", "");
    for line in [
        "auditctl_alerts_failed_total{alert=\"logins\"} 1",
        "auditctl_alerts_queued{alert=\"logins\"} 0.0",
        "auditctl_alerts_delivered_total{alert=\"logins\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    eventually("it is told", || {
        collector.stderr().contains("alert logins: gave up: HTTP 404: no_service")
    });
    assert!(!collector.stderr().contains("s3cret-part"), "{}", collector.stderr());
    collector.terminate();
}

#[test]
fn a_target_that_never_answers_holds_up_nobody_else() {
    let dir = Dir::new();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    slow.answer(Answer::Silence);
    let settings = format!(
        "[alerting]\nallow = [\"{}\", \"{}\"]\nallow_http = true\ntimeout = \"5m\"\n",
        slow.address, quick.address
    ) + &alert("slow", "event", &slow.url(), "type = [\"login\"]\n")
        + &alert("quick", "event", &quick.url(), "type = [\"login\"]\n");
    let collector = Serving::start(&dir, &settings);
    login(&collector, "alice");
    eventually("the slow one is at it", || !slow.requests().is_empty());
    login(&collector, "bob");
    eventually("the other one goes on", || quick.requests().len() == 2);
    assert_eq!(slow.requests().len(), 1);
    collector.kill_nine();
}

#[test]
fn a_reload_changes_alerts_and_a_bad_target_changes_nothing() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let collector = Serving::start(&dir, &logins(&receiver));
    let write = |settings: &str| {
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    };
    let bad = logins(&receiver).replace("/hook", "/other")
        + &alert("bad", "event", "https://169.254.169.254/", "type = [\"x\"]\n");
    write(&bad);
    collector.signal(Signal::HUP);
    eventually("it is refused", || collector.stderr().contains("the old ones stay"));
    eventually("it is a security event", || security_events(&dir).contains("target_refused"));
    login(&collector, "alice");
    eventually("the old one is told", || receiver.requests().len() == 1);
    assert!(receiver.requests()[0].head.starts_with("POST /hook"), "the old settings");
    write(&logins(&receiver).replace("login\"", "logout\"").replace("/hook", "/new"));
    collector.signal(Signal::HUP);
    eventually("they are read", || collector.stderr().contains("settings reloaded, 1 changed"));
    let mut peer = collector.connect();
    assert!(peer.ask(r#"{"event_type":"logout"}"#)["ok"]["seq"].is_u64());
    eventually("the new one is told", || receiver.requests().len() == 2);
    assert!(
        receiver.requests()[1].head.starts_with("POST /new"),
        "{}",
        receiver.requests()[1].head
    );
    collector.terminate();
    let changed: Vec<Value> = records(&dir.log())
        .into_iter()
        .filter(|(_, record)| record["event_type"] == "audit.config_changed")
        .map(|(_, record)| record["details"].clone())
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(!changed[0].to_string().contains("s3cret-part"), "{}", changed[0]);
}

#[test]
fn the_files_of_alerts_are_private_and_a_damaged_journal_is_set_aside_and_told() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let receiver = Receiver::start();
    let collector = Serving::start(&dir, &logins(&receiver));
    login(&collector, "alice");
    eventually("that is stored", || counted(&dir, "logins", "delivered") == 1);
    collector.terminate();
    let journal = dir.log().join("audit.alerts.journal");
    for path in [&journal, &dir.log().join("audit.alerts.json")] {
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }
    // A torn last line is what a crash leaves: nothing to speak of.
    let whole = std::fs::read_to_string(&journal).expect("text");
    std::fs::write(&journal, format!("{whole}{{\"cursor\":999")).expect("written");
    let collector = Serving::start(&dir, &logins(&receiver));
    login(&collector, "bob");
    eventually("it goes on", || receiver.requests().len() == 2);
    assert!(!collector.stderr().contains("alert_journal"), "{}", collector.stderr());
    collector.terminate();
    let whole = std::fs::read_to_string(&journal).expect("text");
    std::fs::write(&journal, whole.replacen("cursor", "curs\0r", 1)).expect("written");
    let collector = Serving::start(&dir, &logins(&receiver));
    eventually("it is told", || collector.stderr().contains("audit.alerts.journal was altered"));
    login(&collector, "carol");
    eventually("it begins anew", || receiver.requests().len() == 3);
    collector.terminate();
    let aside = std::fs::read_dir(dir.log()).expect("directory").filter(|entry| {
        let name = entry.as_ref().expect("entry").file_name();
        Path::new(&name).to_string_lossy().starts_with("audit.alerts.journal.foreign-")
    });
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_checkpoint_is_pushed_to_a_webhook_signed_and_the_last_covers_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let receiver = Receiver::start();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("mode");
    let settings = alerting(receiver.address)
        + &format!(
            "[collector]\ncheckpoint_push_url = \"{}\"\ncheckpoint_push_secret_file = \"secret\"\n\
             checkpoint_push_interval = \"1s\"\n",
            receiver.url()
        );
    let collector = Serving::start(&dir, &settings);
    eventually("one is pushed", || !receiver.requests().is_empty());
    login(&collector, "alice");
    eventually("another one", || receiver.requests().len() >= 2);
    collector.terminate();
    let last = receiver.requests().pop().expect("the last");
    let (_, note, _) = run(&dir, &["checkpoint"]);
    assert_eq!(String::from_utf8(last.body.clone()).expect("text"), note, "it covers the end");
    let signature = last.header("auditctl-signature").expect("signed");
    assert!(signature.starts_with("t=") && signature.contains(",v1="), "{signature}");
    let size = note.lines().nth(1).expect("a size");
    assert!(last.id().ends_with(&format!("/checkpoint/{size}")), "{}", last.id());
}

#[test]
fn the_record_of_lost_alerts_triggers_none_that_would_be_lost_as_well() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    receiver.answer(Answer::HangUp);
    let settings = logins(&receiver)
        .replace("\"login\"", "\"*\"")
        .replace("[alerting]\n", "[alerting]\nqueue_events = 1\n");
    let collector = Serving::start(&dir, &settings);
    (0..5).for_each(|n| login(&collector, &format!("{n}")));
    eventually("that is recorded", || !seqs_of(&dir, "audit.alert_lost").is_empty());
    let all = || records(&dir.log()).len() as u64;
    let looked_at = || {
        let text = std::fs::read_to_string(dir.log().join("audit.alerts.json")).expect("status");
        let status: Value = serde_json::from_str(&text).expect("a whole document");
        status["cursor"].as_u64().expect("cursor")
    };
    eventually("everything was looked at", || looked_at() == all());
    assert_eq!(counted(&dir, "logins", "dropped"), 4, "{:?}", seqs_of(&dir, "audit.alert_lost"));
    collector.kill_nine();
}
