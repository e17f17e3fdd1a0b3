//! What goes wrong between here and a store: tried again until it is there once,
//! or said; never believed, never half.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use auditctl::store::{
    BackupStore, Body, Digests, Limits, Put, RetryPolicy, StoreError, StoreErrorKind,
};

use crate::proxy::{Fate, Proxy};
use crate::servers::{BUCKET, Kind, assert_no_secret, limits};
use crate::store_contract::{get, noise, put};

/// A store behind a proxy, and the same without.
struct Troubled {
    proxy: Proxy,
    store: Arc<dyn BackupStore>,
    direct: Arc<dyn BackupStore>,
}

fn troubled(kind: Kind, test: &str, limits: &Limits, fates: &[Fate]) -> Option<Troubled> {
    let server = kind.server()?;
    let proxy = Proxy::before(server.address, fates);
    let place = format!("{BUCKET}/faults-{test}-{}", std::process::id());
    Some(Troubled {
        store: kind.open(proxy.address, &place, limits),
        direct: kind.open(server.address, &place, &crate::servers::limits()),
        proxy,
    })
}

/// Those that can be asked how far an upload is: fake-gcs-server takes it for
/// complete then.
const RESUMING: [Kind; 4] = [Kind::S3s, Kind::Moto, Kind::Azurite, Kind::Gcs];
const SERVERS: [Kind; 5] = [Kind::S3s, Kind::Moto, Kind::Azurite, Kind::FakeGcs, Kind::Gcs];

/// Short patience with what stands still.
fn brisk() -> Limits {
    Limits { stall_timeout: Duration::from_secs(3), ..limits() }
}

#[test]
fn an_upload_through_every_trouble_is_there_once_and_whole() {
    // Parts of 5 MiB: the troubles meet the beginning, the middle and the end.
    let fates = [
        Fate::Busy,
        Fate::CutUp(50),
        Fate::CutDown(20),
        Fate::CutUp(100_000),
        Fate::AnswerLostAfter(90_000),
        Fate::StallUp(70_000),
        Fate::CutUp(2_000_000),
        Fate::AnswerLostAfter(5_000_000),
        Fate::Busy,
        Fate::CutDown(0),
    ];
    for kind in RESUMING {
        for (name, size) in [("small", 100_000), ("large", 12 << 20)] {
            let Some(at) = troubled(kind, "upload", &brisk(), &fates) else { continue };
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("archive");
            let bytes = noise(size);
            std::fs::write(&path, &bytes).expect("written");
            let digests = Digests::of(&bytes);
            let body = Body::File { path: &path, digests: &digests };
            let stored = at
                .store
                .put_new(name, Put::new(body, "application/gzip"))
                .unwrap_or_else(|error| panic!("{kind:?} {name}: {error:?}"));
            assert_eq!(stored.size, size as u64, "{kind:?}");
            assert!(at.proxy.met().len() >= 3, "{kind:?} {name}: {:?}", at.proxy.met());
            assert!(get(&*at.direct, name, 0) == bytes, "{kind:?} {name}");
            let there = at.direct.list().expect("a list");
            assert_eq!(there.iter().filter(|object| object.name == name).count(), 1, "{kind:?}");
        }
    }
}

#[test]
fn a_put_whose_answer_is_lost_is_not_sent_twice_nor_taken_for_anothers() {
    for kind in SERVERS {
        let fates = [Fate::AnswerLostAfter(60_000)];
        let Some(at) = troubled(kind, "lost", &brisk(), &fates) else { continue };
        let bytes = noise(100_000);
        let stored = put(&*at.store, "a", &bytes).unwrap_or_else(|e| panic!("{kind:?}: {e:?}"));
        assert_eq!(at.proxy.met(), fates, "{kind:?}");
        assert_eq!(stored.size, 100_000, "{kind:?}");
        assert!(get(&*at.direct, "a", 0) == bytes, "{kind:?}");
    }
}

#[test]
fn bytes_that_change_on_the_way_are_never_believed() {
    // Not before moto: it keeps the checksum that it is told, and compares nothing.
    for kind in [Kind::S3s, Kind::Azurite, Kind::FakeGcs, Kind::Gcs] {
        for at_byte in [20_000, 60_000] {
            let fates = [Fate::FlipUp(at_byte)];
            let test = format!("flip-{at_byte}");
            let Some(at) = troubled(kind, &test, &brisk(), &fates) else { continue };
            let bytes = noise(100_000);
            let put = put(&*at.store, "a", &bytes);
            assert_eq!(at.proxy.met(), fates, "{kind:?}");
            match put {
                Ok(_) => assert!(get(&*at.direct, "a", 0) == bytes, "{kind:?} at {at_byte}"),
                // Azurite does not call it Md5Mismatch, as Azure does.
                Err(error) if kind == Kind::Azurite && error.message.contains("HTTP 400") => {
                    assert_eq!(at.direct.stat("a").expect("a look"), None);
                }
                Err(error) => assert!(
                    matches!(
                        error.kind,
                        StoreErrorKind::ChecksumMismatch | StoreErrorKind::ExistsAndDiffers
                    ),
                    "{kind:?} at {at_byte}: {error:?}"
                ),
            }
        }
    }
}

#[test]
fn a_download_that_is_cut_goes_on_and_a_list_is_whole() {
    let fates = [
        Fate::CutDown(0),
        Fate::Busy,
        Fate::CutDown(10_000),
        Fate::CutDown(700_000),
        Fate::Busy,
        Fate::CutDown(1_500_000),
    ];
    for kind in SERVERS {
        let Some(at) = troubled(kind, "download", &brisk(), &fates) else { continue };
        let bytes = noise(3 << 20);
        put(&*at.direct, "a", &bytes).expect("put");
        assert!(get(&*at.store, "a", 0) == bytes, "{kind:?}");
        assert_eq!(at.proxy.left(), 0, "{kind:?} met {:?}", at.proxy.met());

        let fates = [Fate::CutDown(100), Fate::Busy, Fate::CutDown(300)];
        let Some(at) = troubled(kind, "download", &brisk(), &fates) else { continue };
        let names: Vec<String> =
            at.store.list().expect("a list").into_iter().map(|object| object.name).collect();
        assert_eq!(names, ["a"], "{kind:?}");
        assert_eq!(at.proxy.left(), 0, "{kind:?}");
    }
}

/// Tries for about a second.
fn impatient() -> Limits {
    Limits {
        stall_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        retry: RetryPolicy {
            give_up_after: Duration::from_secs(1),
            give_up_unheard: Duration::from_secs(1),
            ..limits().retry
        },
        ..limits()
    }
}

fn said(kind: Kind, error: &StoreError) {
    assert!(error.hint.is_some(), "{kind:?}: {error:?}");
    assert!(error.message.contains("given up after"), "{kind:?}: {error:?}");
    assert_no_secret(&format!("{error:?} {error}"));
}

#[test]
fn a_store_that_stands_still_or_is_always_cut_is_given_up_and_nothing_is_there() {
    for kind in RESUMING {
        for fate in [Fate::StallUp(1), Fate::CutUp(1), Fate::CutDown(0), Fate::CutUp(50_000)] {
            let Some(at) = troubled(kind, "still", &impatient(), &[]) else { continue };
            at.proxy.always(fate);
            let error = put(&*at.store, "a", &noise(100_000)).expect_err("given up");
            let expected = [StoreErrorKind::Timeout, StoreErrorKind::Unreachable];
            assert!(expected.contains(&error.kind), "{kind:?} {fate:?}: {error:?}");
            said(kind, &error);
            assert_eq!(at.direct.list().expect("a list"), [], "{kind:?} {fate:?}");
            if fate != Fate::CutUp(50_000) {
                let error = at.store.list().expect_err("no half list");
                assert!(expected.contains(&error.kind), "{kind:?} {fate:?}: {error:?}");
            }
        }
    }
}

#[test]
fn a_download_that_never_comes_to_its_end_is_an_error_of_the_reader() {
    for kind in SERVERS {
        let Some(at) = troubled(kind, "endless", &impatient(), &[]) else { continue };
        put(&*at.direct, "a", &noise(2 << 20)).expect("put");
        let mut body = at.store.open("a", None, 0).expect("opened");
        // The connections that are open now are left alone; those after them are not.
        at.proxy.always(Fate::CutDown(0));
        let mut read = Vec::new();
        match body.read_to_end(&mut read) {
            // It came whole on the first connection.
            Ok(length) => assert_eq!(length, 2 << 20, "{kind:?}"),
            Err(error) => assert!(StoreError::inside(&error).is_some(), "{kind:?}: {error:?}"),
        }
        let again = at.store.open("a", None, 0).map(|mut body| body.read_to_end(&mut Vec::new()));
        assert!(!matches!(again, Ok(Ok(length)) if length != 2 << 20), "{kind:?}: never short");
    }
}

#[test]
fn a_store_that_is_always_busy_is_given_up() {
    for kind in SERVERS {
        let Some(at) = troubled(kind, "busy", &impatient(), &[]) else { continue };
        at.proxy.always(Fate::Busy);
        let error = at.store.stat("a").expect_err("busy");
        assert!(error.retryable && error.message.contains("given up after"), "{kind:?}: {error:?}");
    }
}

#[test]
fn where_nothing_listens_the_error_says_what_to_look_at() {
    let nowhere = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    };
    for kind in SERVERS {
        let store = kind.open(nowhere, BUCKET, &impatient());
        let error = store.stat("a").expect_err("nothing there");
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{kind:?}: {error:?}");
        said(kind, &error);
    }
}
