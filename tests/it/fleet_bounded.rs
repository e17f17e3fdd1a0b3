//! One log of a fleet cannot keep the others from being checked.

use std::sync::Arc;
use std::time::Duration;

use auditctl::backup::Unwatched;
use auditctl::clock::Timestamp;
use auditctl::fleet::{FindingKind, Most, Request, Severity, verify};
use auditctl::store::{BackupStore, LocalStore, Object, Page, Put, Reading, Removed, StoreError};

use crate::fleet::{Hosts, said};

/// A store in which nobody can open the objects of one log: whoever does panics.
#[derive(Debug)]
struct Trapped(LocalStore, String);

impl BackupStore for Trapped {
    fn url(&self, name: &str) -> String {
        self.0.url(name)
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.0.now()
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.0.page(below, after)
    }

    fn stat_version(&self, name: &str, of: Option<&str>) -> Result<Option<Object>, StoreError> {
        self.0.stat_version(name, of)
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        assert!(!name.contains(&self.1), "a trap in {name}");
        self.0.open(name, version, from)
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        self.0.put_new(name, put)
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        self.0.remove(name, version)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.0.abort_stale_uploads(older_than)
    }
}

#[test]
fn a_log_whose_check_panics_is_unread_and_the_others_are_checked() {
    let hosts = Hosts::new(3);
    let before = hosts.verify().state;
    let trapped = hosts.id(1);
    let store = Arc::new(Trapped(LocalStore::new(hosts.bucket()), trapped.clone()));
    let request = Request { state: before.clone(), ..hosts.request() };
    let fleet = verify(store, request, &Unwatched).expect("verified");
    assert_eq!(fleet.all_findings().count(), 1, "{}", said(&fleet));
    let finding = fleet.all_findings().next().expect("one");
    assert_eq!((finding.kind, finding.severity), (FindingKind::Unread, Severity::Bad));
    assert_eq!(finding.log.as_deref(), Some(&*trapped));
    assert!(finding.what.contains("a trap in"), "{}", finding.what);
    let read = fleet.logs.iter().filter(|log| log.records > 0).count();
    assert_eq!((fleet.logs.len(), read), (3, 2));
    // What was known of it stays known.
    assert_eq!(fleet.state.logs.get(&trapped), before.logs.get(&trapped));
}

#[test]
fn a_log_that_is_too_much_is_unread_and_the_others_are_checked() {
    let hosts = Hosts::new(2);
    let full = hosts.id(0);
    for number in 0..200 {
        let name = format!("proof/log={full}/e0.{number:020}.9.range.json");
        std::fs::write(hosts.bucket().join(name), "junk").expect("written");
    }
    for (most, why) in [
        (Most { objects: 100, ..Most::default() }, "more than 100 objects were listed"),
        (Most { objects: 215, ..Most::default() }, "more than 215 objects were asked for"),
    ] {
        let fleet = hosts.verify_as(Request { most, ..hosts.request() });
        let of_full = fleet.logs.iter().find(|log| log.id == full).expect("its report");
        let unread = of_full.findings.iter().find(|it| it.kind == FindingKind::Unread);
        let unread = unread.unwrap_or_else(|| panic!("{}", said(&fleet)));
        assert!(unread.what.contains(why), "{}", unread.what);
        let other = fleet.logs.iter().find(|log| log.id != full).expect("the other");
        assert!(other.findings.is_empty() && other.records > 0, "{}", said(&fleet));
    }
    // Bytes, too: of both logs here, since each has more.
    let most = Most { bytes: 700, ..Most::default() };
    let fleet = hosts.verify_as(Request { most, ..hosts.request() });
    for log in &fleet.logs {
        let unread = log.findings.iter().find(|it| it.kind == FindingKind::Unread);
        assert!(unread.is_some_and(|it| it.what.contains("were read for this log")), "{log:?}");
    }
}
