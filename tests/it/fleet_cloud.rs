//! A fleet's archive in the clouds: versions, markers, and the store's clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use auditctl::archive::ObjectName;
use auditctl::backup::Unwatched;
use auditctl::clock::{Clock, SystemClock};
use auditctl::fleet::{Fleet, Request, Roster, Versions, verify};
use auditctl::store::{BackupStore, Body, Put};

use crate::backups::read;
use crate::fleet::{Hosts, codes, said};
use crate::servers::{BUCKET, Kind, LOCKED, limits};

/// The same fleet in a store.
fn in_cloud(hosts: &Hosts, kind: Kind, bucket: &str) -> Option<Arc<dyn BackupStore>> {
    let server = kind.server()?;
    let prefix = format!("{bucket}/fleet-{}-{kind:?}", std::process::id());
    let store = kind.open(server.address, &prefix, &limits());
    for name in hosts.names() {
        put(&*store, &name, &read(&hosts.bucket().join(&name)));
    }
    Some(store)
}

fn put(store: &dyn BackupStore, name: &str, bytes: &[u8]) {
    store.put_new(name, Put::new(Body::Bytes(bytes), "application/gzip")).expect("put");
}

fn verified(hosts: &Hosts, store: &Arc<dyn BackupStore>) -> Fleet {
    let request = Request { trusts_times: true, ..hosts.request() };
    verify(store.clone(), request, &Unwatched).expect("verified")
}

#[test]
fn in_a_bucket_with_versions_what_was_removed_and_what_was_put_again_is_named() {
    let hosts = Hosts::new(2);
    let Some(store) = in_cloud(&hosts, Kind::Moto, LOCKED) else { return };
    let fleet = verified(&hosts, &store);
    assert_eq!(fleet.worst(), None, "{}", said(&fleet));
    assert_eq!(fleet.versions, Versions::Seen(hosts.names().len() as u64));
    let own = hosts.of(0);
    let data = own.iter().find(|name| matches!(name, ObjectName::Data(_))).expect("data");
    let data = data.to_string();
    store.remove(&data, None).expect("hidden");
    let fleet = verified(&hosts, &store);
    let expected = BTreeSet::from(["object_missing", "removed"]);
    assert_eq!(codes(&fleet), expected, "{}", said(&fleet));
    // The same again, under another version: the records are right, and yet somebody was there.
    put(&*store, &data, &read(&hosts.bucket().join(&data)));
    let fleet = verified(&hosts, &store);
    assert_eq!(codes(&fleet), BTreeSet::from(["overwritten"]), "{}", said(&fleet));
    let finding = fleet.all_findings().next().expect("one");
    assert!(finding.objects[0].ends_with(&data), "{finding:?}");
    assert_eq!(finding.log, Some(hosts.id(0)));
    // Nothing heals that. Whoever knows of it signs the line that the finding gives.
    let line = finding.acknowledge.first().expect("a line").clone();
    assert!(line.contains(" version=") && line.ends_with(" reason=WHY"), "{line}");
    let text = format!("{}{line}\n", hosts.roster());
    let roster = Roster::read_text(text.as_bytes()).expect("a roster");
    let known = |store: &Arc<dyn BackupStore>| {
        let roster = Some(roster.clone());
        let request = Request { trusts_times: true, roster, ..hosts.request() };
        verify(store.clone(), request, &Unwatched).expect("verified")
    };
    let fleet = known(&store);
    assert_eq!((fleet.worst(), fleet.acknowledged.len()), (None, 1), "{}", said(&fleet));
    // Whoever puts it once more, or removes it, did something new.
    store.remove(&data, None).expect("hidden");
    let fleet = known(&store);
    assert!(codes(&fleet).contains("removed"), "{}", said(&fleet));
    put(&*store, &data, &read(&hosts.bucket().join(&data)));
    let fleet = known(&store);
    assert_eq!(codes(&fleet), BTreeSet::from(["overwritten"]), "{}", said(&fleet));
    assert_eq!((fleet.acknowledged.len(), fleet.unused), (0, 1));
    // So is a tail that is hidden before its records are in data; a lifecycle rule does that later.
    let tail = hosts.of(1).into_iter().find(|name| matches!(name, ObjectName::Tail(..)));
    store.remove(&tail.expect("a tail").to_string(), None).expect("hidden");
    let fleet = verified(&hosts, &store);
    assert!(codes(&fleet).contains("removed"), "{}", said(&fleet));
}

#[test]
fn each_store_tells_its_time_and_what_it_knows_of_versions() {
    let hosts = Hosts::new(1);
    for kind in [Kind::S3s, Kind::Moto, Kind::Azurite, Kind::FakeGcs, Kind::Gcs] {
        let Some(store) = in_cloud(&hosts, kind, BUCKET) else { continue };
        let fleet = verified(&hosts, &store);
        assert_eq!(fleet.worst(), None, "{kind:?}: {}", said(&fleet));
        let kept = matches!(fleet.versions, Versions::Seen(_));
        assert!(!kept, "{kind:?}: {:?}", fleet.versions);
        if let Some(at) = fleet.at {
            let apart = SystemClock.now().micros() - at.micros();
            assert!(apart.abs() < 600_000_000, "{kind:?}: {at}");
        } else {
            // The servers in this process send no date.
            assert!(matches!(kind, Kind::S3s | Kind::Gcs), "{kind:?}");
        }
    }
}
