//! What opening would do is said before, and it is what opening then does.

use std::collections::BTreeMap;
use std::path::Path;

use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{AuditLog, LogPaths, Options, foresee};
use serde_json::Value;

use crate::backups::{Home, copy_dir, names, read, record_into};
use crate::crash::line;
use crate::holes::alter;
use crate::support::{open, records, run};

/// A log as kill -9 leaves it.
fn killed() -> Home {
    let (image, home) = (Home::new(), Home::new());
    let log = open(image.options());
    record_into(&log, 10);
    copy_dir(&image.log_dir(), &home.log_dir());
    log.close().expect("closed");
    home
}

fn closed() -> Home {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 20);
    log.close().expect("closed");
    home
}

/// A log whose change of key ended between the record of it and the key's file.
fn half_rotated() -> Home {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 20);
    let (key, kept) = (home.log_dir().join("audit.key"), home.dir.path().join("old.key"));
    std::fs::copy(&key, &kept).expect("copied");
    log.rotate_key(&RotateRequest::default()).expect("another key");
    log.close().expect("closed");
    std::fs::rename(&key, home.log_dir().join("audit.key.next")).expect("renamed");
    std::fs::rename(&kept, &key).expect("renamed");
    home
}

fn append(home: &Home, text: &str) {
    let path = LogPaths::new(&home.log_dir()).active();
    let bytes = [read(&path), text.as_bytes().to_vec()].concat();
    std::fs::write(path, bytes).expect("written");
}

fn end(home: &Home) -> u64 {
    records(&home.log_dir()).len() as u64
}

fn remove(home: &Home, name: &str) {
    std::fs::remove_file(home.log_dir().join(name)).expect("removed");
}

type State = (&'static str, bool, fn() -> Home);

const STATES: &[State] = &[
    ("nothing", false, Home::new),
    ("a clean close", false, closed),
    ("a killed writer", false, killed),
    ("a torn tail", false, || {
        let home = killed();
        append(&home, "{\"seq\":");
        home
    }),
    ("records that nobody signed", false, || {
        let home = killed();
        append(&home, &line(end(&home), "e"));
        home
    }),
    ("lines behind a signed close", false, || {
        let home = closed();
        append(&home, &line(end(&home), "approve.payment"));
        home
    }),
    ("no manifest", false, || {
        let home = closed();
        remove(&home, "audit.manifest.json");
        home
    }),
    ("no checkpoint", false, || {
        let home = closed();
        remove(&home, "audit.checkpoint");
        home
    }),
    ("no signed head", false, || {
        let home = closed();
        remove(&home, "audit.checkpoint");
        remove(&home, "audit.head");
        home
    }),
    ("no key", false, || {
        let home = closed();
        remove(&home, "audit.key");
        home
    }),
    ("a change of key that is half done", false, half_rotated),
    ("a change of key that is half done, and a damaged record", false, || {
        let home = half_rotated();
        alter(&LogPaths::new(&home.log_dir()).active(), 9);
        home
    }),
    ("a damaged record", false, || {
        let home = closed();
        alter(&LogPaths::new(&home.log_dir()).active(), 9);
        home
    }),
    ("a damaged record, accepted", true, || {
        let home = closed();
        alter(&LogPaths::new(&home.log_dir()).active(), 9);
        home
    }),
    ("an epoch that is given up", true, || {
        let home = closed();
        alter(&LogPaths::new(&home.log_dir()).active(), 9);
        remove(&home, "audit.leaves");
        home
    }),
];

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    if !dir.exists() {
        return BTreeMap::new();
    }
    names(dir).into_iter().map(|name| (name.clone(), read(&dir.join(name)))).collect()
}

/// What is known only once it is done.
const LATER: &[&str] = &[
    "torn_file",
    "foreign_file",
    "damaged_file",
    "keys_file",
    "holes",
    "left_behind",
    "missed_by_status_page",
];

fn without_later(mut details: Value) -> Value {
    let members = details.as_object_mut().expect("an object");
    LATER.iter().for_each(|name| drop(members.remove(*name)));
    details
}

#[test]
fn what_opening_would_do_is_what_it_then_does() {
    for (what, accepts, make) in STATES {
        let home = make();
        let dir = home.log_dir();
        let options = || Options { accept_corruption: *accepts, ..home.options() };
        let before = files(&dir);
        let foreseen = foresee(&options());
        assert_eq!(files(&dir), before, "{what}: nothing was changed");
        let opened = AuditLog::open(options());
        let (foreseen, log) = match (foreseen, opened) {
            (Ok(foreseen), Ok(log)) => (foreseen, log),
            (Err(foreseen), Err(error)) => {
                assert_eq!(foreseen.to_string(), error.to_string(), "{what}");
                assert_eq!(files(&dir), before, "{what}: nothing was changed");
                continue;
            }
            (foreseen, opened) => panic!("{what}: {foreseen:?}, {:?}", opened.map(|_| ())),
        };
        log.close().expect("closed");
        let stored = records(&dir);
        let recovered = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
        let recovered = recovered.map(|(_, record)| without_later(record["details"].clone()));
        let told = foreseen.record.map(without_later);
        let empty = |details: &Value| details.as_object().is_some_and(serde_json::Map::is_empty);
        let recovered = recovered.filter(|details| !empty(details));
        assert_eq!(
            told.filter(|details| !empty(details)),
            recovered,
            "{what}: {:?}",
            foreseen.steps
        );
        let changes = stored.iter().any(|(_, record)| record["event_type"] == "audit.recovered");
        let is_new = before.is_empty();
        assert_eq!(!foreseen.steps.is_empty(), changes || is_new, "{what}: {:?}", foreseen.steps);
    }
}

#[test]
fn validate_and_a_dry_run_of_repair_say_what_a_start_would_do() {
    let home = killed();
    append(&home, "{\"seq\":");
    let before = files(&home.log_dir());
    let (_, text, err) = run(&home.dir, &["repair", "--dry-run"]);
    assert!(text.contains("starting the collector now: sets aside 7 bytes"), "{text}{err}");
    let (_, text, _) = run(&home.dir, &["repair", "--dry-run", "--json"]);
    let document: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(document["opening"]["record"]["torn_bytes"], 7, "{document}");
    let (_, text, err) = run(&home.dir, &["validate", "--quick", "--json"]);
    assert!(
        text.contains("security.opening") && text.contains("sets aside 7 bytes"),
        "{text}{err}"
    );
    let now = files(&home.log_dir());
    assert!(before.iter().all(|(name, bytes)| now.get(name) == Some(bytes)), "nothing was changed");
}
