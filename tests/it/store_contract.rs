//! What every store promises, on every store.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auditctl::clock::{Clock, SystemClock, Timestamp};
use auditctl::store::{
    BackupStore, Body, Digests, Limits, Lock, LockMode, Object, Put, Removed, SHA256,
    StoreErrorKind, UploadState,
};

use crate::servers::{BUCKET, Kind, LOCKED, limits};

/// Runs a test on each store that is there.
fn on_every_store(test: impl Fn(Kind, &Arc<dyn BackupStore>)) {
    on_every_store_with(&limits(), test);
}

/// The same, so slow that an upload is interrupted in the middle, not after its end.
fn on_every_slow_store(test: impl Fn(Kind, &Arc<dyn BackupStore>)) {
    on_every_store_with(&slow(), test);
}

fn slow() -> Limits {
    Limits { upload_rate: Some(12 << 20), ..limits() }
}

fn on_every_store_with(limits: &Limits, test: impl Fn(Kind, &Arc<dyn BackupStore>)) {
    for kind in Kind::ALL {
        if let Some(store) = kind.store(limits) {
            test(kind, &store);
        }
    }
}

pub(crate) use crate::support::noise;

pub(crate) fn put(
    store: &dyn BackupStore,
    name: &str,
    bytes: &[u8],
) -> Result<Object, auditctl::store::StoreError> {
    store.put_new(name, Put::new(Body::Bytes(bytes), "application/gzip"))
}

pub(crate) fn get(store: &dyn BackupStore, name: &str, from: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(name, None, from).expect("opened").read_to_end(&mut bytes).expect("read");
    bytes
}

#[test]
fn what_is_put_is_there_as_it_was_with_its_metadata() {
    on_every_store(|kind, store| {
        for (name, bytes) in [("a.gz", noise(100_000)), ("folder/b c+d%2F.json", b"{}".to_vec())] {
            let mut wanted = Put::new(Body::Bytes(&bytes), "application/gzip");
            wanted.metadata.insert("log_id".to_owned(), "0123/+=".to_owned());
            let stored = store.put_new(name, wanted).unwrap_or_else(|e| panic!("{kind:?}: {e:?}"));
            assert_eq!((stored.name.as_str(), stored.size), (name, bytes.len() as u64), "{kind:?}");
            let seen = store.stat(name).expect("a look").expect("there");
            assert_eq!(
                seen.metadata.get("log_id").map(String::as_str),
                Some("0123/+="),
                "{kind:?}"
            );
            assert_eq!(seen.metadata.get(SHA256), Some(&Digests::of(&bytes).sha256_hex()));
            assert_eq!(get(&**store, name, 0), bytes, "{kind:?}");
        }
        let names: Vec<String> =
            store.list().expect("a list").into_iter().map(|object| object.name).collect();
        assert_eq!(names, ["a.gz", "folder/b c+d%2F.json"], "{kind:?}");
    });
}

#[test]
fn what_is_not_there_is_said_not_to_be_and_a_missing_bucket_is_an_error() {
    on_every_store(|kind, store| {
        assert_eq!(store.stat("none").expect("a look"), None, "{kind:?}");
        let error = store.open("none", None, 0).map(|_| ()).expect_err("nothing to open");
        assert_eq!(error.kind, StoreErrorKind::NotFound, "{kind:?}: {error:?}");
        assert_eq!(store.list().expect("a list"), [], "{kind:?}");
        assert_eq!(store.remove("none", None).expect("nothing to do"), Removed::Gone, "{kind:?}");

        let Some(server) = kind.server() else { return };
        let nowhere = kind.open(server.address, "no-such-bucket", &limits());
        for error in [
            nowhere.stat("a").expect_err("no bucket"),
            nowhere.list().expect_err("no bucket"),
            put(&*nowhere, "a", b"a").expect_err("no bucket"),
        ] {
            assert_eq!(error.kind, StoreErrorKind::NoBucket, "{kind:?}: {error:?}");
            assert!(error.hint.is_some() && !error.retryable, "{kind:?}: {error:?}");
        }
    });
}

#[test]
fn an_object_is_read_from_any_byte_on() {
    on_every_store(|kind, store| {
        let bytes = noise(70_000);
        put(&**store, "a", &bytes).expect("put");
        for from in [0, 1, 65_536, 69_999, 70_000] {
            assert_eq!(get(&**store, "a", from), bytes[from as usize..], "{kind:?} from {from}");
        }
    });
}

#[test]
fn a_list_of_more_than_a_thousand_is_whole() {
    const COUNT: usize = 1_100;
    on_every_store(|kind, store| {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= COUNT {
                            return;
                        }
                        put(&**store, &format!("{number:05}"), b"x").expect("put");
                    }
                });
            }
        });
        let names: Vec<String> =
            store.list().expect("a list").into_iter().map(|object| object.name).collect();
        let wanted: Vec<String> = (0..COUNT).map(|number| format!("{number:05}")).collect();
        assert!(names == wanted, "{kind:?}: {} names", names.len());
    });
}

#[test]
fn nothing_is_replaced_and_the_same_again_is_success() {
    on_every_store(|kind, store| {
        let first = put(&**store, "a", b"first").expect("put");
        let again = put(&**store, "a", b"first").expect("the same again");
        assert_eq!(first.version, again.version, "{kind:?}");
        for other in [&b"other"[..], b"longer than that"] {
            let error = put(&**store, "a", other).expect_err("another content");
            assert_eq!(error.kind, StoreErrorKind::ExistsAndDiffers, "{kind:?}: {error:?}");
        }
        assert_eq!(get(&**store, "a", 0), b"first", "{kind:?}");
    });
}

#[test]
fn of_many_who_put_one_name_at_once_exactly_one_content_wins() {
    on_every_store(|kind, store| {
        if matches!(kind, Kind::S3s | Kind::FakeGcs) {
            // They look and write in two steps, so that both can be told that it is theirs.
            return;
        }
        let contents: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n; 50_000]).collect();
        let won: Vec<bool> = std::thread::scope(|scope| {
            let puts: Vec<_> = contents
                .iter()
                .map(|content| scope.spawn(|| put(&**store, "contested", content).is_ok()))
                .collect();
            puts.into_iter().map(|put| put.join().expect("no panic")).collect()
        });
        let there = get(&**store, "contested", 0);
        let winner = contents.iter().position(|content| *content == there).expect("one of them");
        let believed: Vec<usize> =
            won.iter().enumerate().filter(|(_, won)| **won).map(|(n, _)| n).collect();
        assert_eq!(believed, [winner], "{kind:?}");
    });
}

#[test]
fn bytes_that_are_not_what_their_checksum_says_are_never_stored() {
    for (size, parts) in [(100_000, false), (11 << 20, true)] {
        on_every_store(|kind, store| {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("archive");
            let mut bytes = noise(size);
            let digests = Digests::of(&bytes);
            bytes[size / 2] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            let body = Body::File { path: &path, digests: &digests };
            let error =
                store.put_new("a", Put::new(body, "application/gzip")).expect_err("refused");
            assert!(
                matches!(error.kind, StoreErrorKind::ChecksumMismatch | StoreErrorKind::LocalFile),
                "{kind:?}, parts {parts}: {error:?}"
            );
            bytes.truncate(size - 1);
            std::fs::write(&path, &bytes).expect("written");
            let error =
                store.put_new("b", Put::new(body, "application/gzip")).expect_err("refused");
            assert_eq!(error.kind, StoreErrorKind::LocalFile, "{kind:?}: {error:?}");
            assert_eq!(store.stat("b").expect("a look"), None, "{kind:?}");
        });
    }
}

#[test]
fn a_large_object_goes_in_parts_and_an_interrupted_one_goes_on_where_it_was() {
    on_every_slow_store(|kind, store| {
        if kind == Kind::FakeGcs {
            // Asked how far an upload is, it takes it for complete.
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("archive");
        let bytes = noise((22 << 20) + 12_345);
        std::fs::write(&path, &bytes).expect("written");
        let digests = Digests::of(&bytes);
        let body = Body::File { path: &path, digests: &digests };

        let mut kept: Option<UploadState> = None;
        let stop = std::cell::Cell::new(false);
        let mut keep = |state: &UploadState| {
            stop.set(state.stored > 0);
            // As a file would keep it.
            let text = serde_json::to_string(state).expect("text");
            kept = Some(serde_json::from_str(&text).expect("state"));
        };
        let error = store
            .put_new(
                "a",
                Put {
                    on_state: Some(&mut keep),
                    interrupted: Some(&|| stop.get()),
                    ..Put::new(body, "application/gzip")
                },
            )
            .expect_err("interrupted");
        assert_eq!(error.kind, StoreErrorKind::Interrupted, "{kind:?}: {error:?}");
        assert_eq!(store.stat("a").expect("a look"), None, "nothing is half there: {kind:?}");
        let kept = kept.expect("a state");
        assert!(kept.stored > 0 && kept.stored < digests.bytes, "{kind:?}: {kept:?}");

        let mut first = None;
        let mut see = |state: &UploadState| {
            first.get_or_insert(state.stored);
        };
        let stored = store
            .put_new(
                "a",
                Put {
                    resume: Some(kept.clone()),
                    on_state: Some(&mut see),
                    ..Put::new(body, "application/gzip")
                },
            )
            .unwrap_or_else(|error| panic!("{kind:?}: {error:?}"));
        assert_eq!(stored.size, digests.bytes, "{kind:?}");
        // moto's list of parts is not called what S3 calls it: there it begins anew.
        let goes_on_from = if kind == Kind::Moto { 0 } else { kept.stored };
        assert!(first.is_some_and(|first| first >= goes_on_from), "{kind:?} goes on: {first:?}");
        assert!(get(&**store, "a", 0) == bytes, "{kind:?}");
    });
}

#[test]
fn a_state_of_something_else_or_of_an_upload_that_is_gone_begins_anew() {
    on_every_store(|kind, store| {
        if kind == Kind::S3s {
            // It lists no parts of an upload that it does not know, where S3 refuses.
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("archive");
        let bytes = noise(12 << 20);
        std::fs::write(&path, &bytes).expect("written");
        let digests = Digests::of(&bytes);
        let body = Body::File { path: &path, digests: &digests };
        let gone = UploadState {
            url: store.url("a"),
            sha256: digests.sha256_hex(),
            bytes: digests.bytes,
            session: match kind.server() {
                Some(server) if matches!(kind, Kind::FakeGcs | Kind::Gcs) => {
                    format!("http://{}/session/none", server.address)
                }
                _ => "no-such-upload".to_owned(),
            },
            part_bytes: 5 << 20,
            stored: 5 << 20,
            started: SystemClock.now(),
        };
        let other = UploadState { sha256: "00".repeat(32), ..gone.clone() };
        for (name, state) in [("a", gone), ("b", other)] {
            let stored = store
                .put_new(name, Put { resume: Some(state), ..Put::new(body, "application/gzip") });
            assert_eq!(
                stored.unwrap_or_else(|error| panic!("{kind:?}: {error:?}")).size,
                digests.bytes
            );
            assert!(get(&**store, name, 0) == bytes, "{kind:?}");
        }
    });
}

#[test]
fn what_is_removed_is_gone_and_nothing_else_is() {
    on_every_store(|kind, store| {
        let a = put(&**store, "a", b"a").expect("put");
        put(&**store, "ab", b"ab").expect("put");
        assert_eq!(store.remove("a", a.version.as_deref()).expect("removed"), Removed::Gone);
        assert_eq!(store.stat("a").expect("a look"), None, "{kind:?}");
        assert_eq!(get(&**store, "ab", 0), b"ab", "{kind:?}");
    });
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::from_micros((SystemClock.now().unix_seconds() + days * 86_400) * 1_000_000)
}

#[test]
fn a_lock_is_confirmed_and_keeps_the_object() {
    let Some(server) = Kind::Moto.server() else { return };
    let prefix = format!("{LOCKED}/lock-{}", std::process::id());
    // In one request each: moto drops the lock of an upload in parts.
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let store = Kind::Moto.open(server.address, &prefix, &limits());
        let name = mode.to_string();
        let lock = Lock { until: in_days(30), mode };
        let wanted = Put { lock: Some(lock), ..Put::new(Body::Bytes(b"kept"), "application/gzip") };
        let object = store.put_new(&name, wanted).expect("put with a lock");
        assert_eq!((object.locked_until, object.lock_mode), (Some(lock.until), Some(mode)));
        let error = store.remove(&name, object.version.as_deref()).expect_err("kept");
        assert_eq!(error.kind, StoreErrorKind::Locked(Some(lock.until)), "{error:?}");
        assert!(store.stat(&name).expect("a look").is_some());
    }
}

#[test]
fn a_lock_that_was_asked_for_and_is_not_there_is_an_error() {
    on_every_store(|kind, store| {
        let lock = Lock { until: in_days(30), mode: LockMode::Governance };
        let wanted = Put { lock: Some(lock), ..Put::new(Body::Bytes(b"kept"), "application/gzip") };
        let stored = store.put_new("a", wanted);
        if let (Kind::FakeGcs, Ok(object)) = (kind, &stored) {
            // It keeps a lock in any bucket; what it was asked for is there.
            assert_eq!(
                (object.locked_until, object.lock_mode),
                (Some(lock.until), Some(lock.mode))
            );
            return;
        }
        let error = stored.expect_err("no lock");
        assert_eq!(error.kind, StoreErrorKind::LockNotApplied, "{kind:?}: {error:?}");
        assert!(!error.retryable, "{kind:?}: {error:?}");
    });
}

#[test]
fn in_a_bucket_with_versions_a_version_is_removed_and_a_name_is_only_hidden() {
    let Some(server) = Kind::Moto.server() else { return };
    let prefix = format!("{LOCKED}/versions-{}", std::process::id());
    let store = Kind::Moto.open(server.address, &prefix, &limits());
    let object = put(&*store, "a", b"a").expect("put");
    let version = object.version.expect("a version");
    assert_eq!(store.remove("a", None).expect("hidden"), Removed::HiddenByMarker);
    assert_eq!(store.stat("a").expect("a look"), None);
    assert!(store.stat_version("a", Some(&version)).expect("a look").is_some(), "still there");
    assert_eq!(store.remove("a", Some(&version)).expect("removed"), Removed::Gone);
    assert_eq!(store.stat_version("a", Some(&version)).expect("a look"), None);
}

#[test]
fn what_uploads_left_is_removed_when_it_is_old() {
    for kind in [Kind::Moto, Kind::S3s] {
        let Some(store) = kind.store(&slow()) else { continue };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("archive");
        let bytes = noise(12 << 20);
        std::fs::write(&path, &bytes).expect("written");
        let digests = Digests::of(&bytes);
        let body = Body::File { path: &path, digests: &digests };
        let stop = std::cell::Cell::new(false);
        let mut see = |state: &UploadState| stop.set(state.stored > 0);
        let interrupted = store.put_new(
            "a",
            Put {
                on_state: Some(&mut see),
                interrupted: Some(&|| stop.get()),
                ..Put::new(body, "application/gzip")
            },
        );
        interrupted.expect_err("interrupted");
        match (kind, store.abort_stale_uploads(Duration::ZERO)) {
            // s3s-fs keeps no list of them, and says so.
            (Kind::S3s, Err(error)) => assert_eq!(error.kind, StoreErrorKind::Unsupported),
            (_, aborted) => {
                assert_eq!(aborted.expect("done"), 1);
                assert_eq!(store.abort_stale_uploads(Duration::ZERO).expect("done"), 0);
                // moto says of each that it began in 2010, so that none is young; in
                // another's folder they are left alone.
                let other = kind.store(&limits()).expect("there");
                assert_eq!(other.abort_stale_uploads(Duration::ZERO).expect("done"), 0);
            }
        }
    }
}

#[test]
fn wrong_credentials_are_refused_with_what_to_do_and_without_secrets() {
    let Some(server) = Kind::S3s.server() else { return };
    let destination = auditctl::store::Destination::parse(Kind::S3s.provider(), BUCKET);
    let mut variables = Kind::S3s.variables(server.address);
    variables[1].1 = "wrong-and-secret".to_owned();
    let environment = variables.into_iter().collect();
    let store = auditctl::store::connect(
        Kind::S3s.provider(),
        &destination.expect("a destination"),
        &limits(),
        &environment,
    )
    .expect("a store");
    let error = store.list().expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::NoCredentials, "{error:?}");
    assert!(!error.retryable && error.hint.is_some());
    assert!(!format!("{error:?} {error} {:?}", error.hint).contains("wrong-and-secret"));
}
