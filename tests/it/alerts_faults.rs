//! Alerts on a disk that fails: within the process, with the library.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditctl::alerts::guard::SystemLookup;
use auditctl::alerts::{Alerts, Health, Plan};
use auditctl::audit::{AuditLog, Event};
use auditctl::config::{Settings, Sources, load};
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::alerts::{alerting, counted};
use crate::receiver::{Answer, Receiver};
use crate::support::{Dir, eventually, failing, open};

const ENOSPC: i32 = 28;

fn settings(receiver: &Receiver) -> Settings {
    let text = format!(
        "{}[[alerts]]\nname = \"logins\"\non = \"event\"\ntype = [\"login\"]\ncooldown = \"0s\"\nurl = \"{}\"\n",
        alerting(receiver.address),
        receiver.url()
    );
    load(&Sources { file: Some(("auditctl.toml".into(), text)), ..Sources::default() })
        .expect("good settings")
}

type Said = Arc<Mutex<Vec<String>>>;

fn start(log: &AuditLog, receiver: &Receiver) -> (Alerts, Said) {
    let plan = Plan::new(&settings(receiver), &OsFs, Arc::new(SystemLookup)).expect("a plan");
    let said = Said::default();
    let hears = Arc::clone(&said);
    let warn = move |text: &str| hears.lock().expect("not poisoned").push(text.to_owned());
    let alerts = Alerts::start(log.clone(), plan, Arc::new(Health::default), Arc::new(warn));
    (alerts.expect("started"), said)
}

fn login(log: &AuditLog) -> u64 {
    log.record(Event::new("login")).expect("accepted").wait().expect("durable")
}

fn break_journal(fs: &FaultFs) {
    for op in [Op::Write, Op::Open] {
        let name_contains = "audit.alerts.journal".to_owned();
        fs.plan(Fault { op, name_contains, after: 0, times: u64::MAX, how: How::Short(ENOSPC) });
    }
}

fn told(receiver: &Receiver) -> Vec<u64> {
    let seq = |r: &crate::receiver::Request| r.json()["record"]["seq"].as_u64().expect("seq");
    receiver.requests().iter().map(seq).collect()
}

#[test]
fn nothing_is_sent_before_it_is_stored_and_nothing_twice_when_that_fails() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let (options, fs) = failing(&dir);
    let log = open(options);
    let (alerts, said) = start(&log, &receiver);
    break_journal(&fs);
    let first = login(&log);
    eventually("it is told that the journal fails", || {
        said.lock().expect("not poisoned").iter().any(|text| text.contains("audit.alerts.journal"))
    });
    assert!(receiver.requests().is_empty(), "not stored, not sent");
    fs.heal();
    eventually("it is sent", || told(&receiver) == [first]);
    eventually("that is stored", || counted(&dir, "logins", "delivered") == 1);
    // Stored, waiting; then the note of the delivery cannot be stored.
    receiver.answer(Answer::HangUp);
    let second = login(&log);
    eventually("it waits", || counted(&dir, "logins", "queued") == 1);
    break_journal(&fs);
    receiver.answer(Answer::status(200, ""));
    eventually("it is sent", || told(&receiver) == [first, second]);
    eventually("it is told", || {
        let said = said.lock().expect("not poisoned");
        said.iter().any(|text| text.contains("may be repeated"))
    });
    fs.heal();
    let third = login(&log);
    eventually("it goes on", || told(&receiver) == [first, second, third]);
    alerts.stop(Duration::from_secs(20));
    // What could not be stored then is stored by now.
    let (alerts, _) = start(&log, &receiver);
    let fourth = login(&log);
    eventually("the next", || told(&receiver).contains(&fourth));
    alerts.stop(Duration::from_secs(20));
    assert_eq!(told(&receiver), [first, second, third, fourth]);
    log.close().expect("closed");
}

#[test]
fn a_stop_delivers_what_it_can_and_the_next_start_the_rest() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let log = open(crate::support::options(&dir));
    let (alerts, _) = start(&log, &receiver);
    let quick: Vec<u64> = (0..5).map(|_| login(&log)).collect();
    alerts.stop(Duration::from_secs(20));
    assert_eq!(told(&receiver), quick, "all that was recorded before the stop");
    let between = login(&log);
    receiver.answer(Answer::HangUp);
    let (alerts, _) = start(&log, &receiver);
    eventually("it waits", || counted(&dir, "logins", "queued") == 1);
    alerts.stop(Duration::ZERO);
    receiver.answer(Answer::status(200, ""));
    let (alerts, _) = start(&log, &receiver);
    eventually("the rest", || told(&receiver).len() == 6);
    alerts.stop(Duration::from_secs(20));
    assert_eq!(told(&receiver).last(), Some(&between));
    log.close().expect("closed");
}
