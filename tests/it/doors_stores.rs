//! Stores that lie, stall, babble or never let go, and what somebody has put into the
//! way: three clouds, one table of what must hold for all. Memory has a bound,
//! everything ends, the first signal is heeded, and nothing is lost or half there.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auditctl::store::{
    BackupStore, Body, Digests, Limits, Put, RetryPolicy, StoreError, StoreErrorKind, UploadState,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::liar::{Asked, Liar, Say};
use crate::servers::{BUCKET, Kind, assert_no_secret, limits};
use crate::store_contract::{get, noise, put};
use crate::support::{Dir, auditctl, eventually, measured, peak_kib, run};

/// One of each cloud.
const KINDS: [Kind; 3] = [Kind::S3s, Kind::Azurite, Kind::Gcs];
/// A debug build with a cloud's library takes about 60 MiB.
const MOST_KIB: u64 = 200 << 10;

fn place(kind: Kind, test: &str) -> String {
    format!("{BUCKET}/doors-{test}-{}-{}", kind.provider(), std::process::id())
}

/// A process, and the most memory that it was seen to have.
struct Ran {
    code: i32,
    out: String,
    err: String,
    peak_kib: u64,
}

fn spawn(dir: &Dir, kind: Kind, address: SocketAddr, place: &str, args: &[&str]) -> Child {
    auditctl(dir, args)
        .args(["--cloud", kind.provider().name()])
        .envs(kind.variables(address))
        .env("AUDITCTL_BACKUP_DESTINATION", place)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("auditctl runs")
}

fn ended(mut child: Child, what: &str) -> Ran {
    let (mut peak, begun) = (0, std::time::Instant::now());
    eventually(what, || {
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        child.try_wait().expect("asked").is_some()
    });
    measured(&format!("{what}: peak {} MiB, ended after {:?}", peak >> 10, begun.elapsed()));
    let output = child.wait_with_output().expect("ended");
    let out = String::from_utf8(output.stdout).expect("utf-8");
    let err = String::from_utf8(output.stderr).expect("utf-8");
    assert_no_secret(&out);
    assert_no_secret(&err);
    Ran { code: output.status.code().unwrap_or(-1), out, err, peak_kib: peak }
}

/// A page of a listing, as this kind writes it.
fn page(kind: Kind, entries: &[(&str, u64)], next: Option<&str>) -> Vec<u8> {
    let text = match kind {
        Kind::Azurite => {
            let blobs: String = entries
                .iter()
                .map(|(name, size)| {
                    format!(
                        "<Blob><Name>{name}</Name><Properties><Content-Length>{size}\
                         </Content-Length></Properties></Blob>"
                    )
                })
                .collect();
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
                 ServiceEndpoint=\"http://x/\" ContainerName=\"c\"><Blobs>{blobs}</Blobs>\
                 <NextMarker>{}</NextMarker></EnumerationResults>",
                next.unwrap_or_default()
            )
        }
        Kind::Gcs => {
            let items: Vec<Value> = entries
                .iter()
                .map(|(name, size)| serde_json::json!({"name": name, "size": size.to_string()}))
                .collect();
            serde_json::json!({"items": items, "nextPageToken": next}).to_string()
        }
        _ => {
            let contents: String = entries
                .iter()
                .map(|(name, size)| {
                    format!("<Contents><Key>{name}</Key><Size>{size}</Size></Contents>")
                })
                .collect();
            let next = next.map_or_else(String::new, |next| {
                format!("<NextContinuationToken>{next}</NextContinuationToken>")
            });
            format!(
                "<ListBucketResult><IsTruncated>{}</IsTruncated>{next}{contents}\
                 </ListBucketResult>",
                !next.is_empty()
            )
        }
    };
    text.into_bytes()
}

/// What a page consists of, without an end.
fn page_pieces(kind: Kind) -> (&'static [u8], &'static [u8]) {
    match kind {
        Kind::Azurite => (
            b"<EnumerationResults><Blobs>",
            b"<Blob><Name>n</Name></Blob><Blob><Name>n</Name></Blob>",
        ),
        Kind::Gcs => (b"{\"items\":[", b"{},{},{},{},{},{},{},{},"),
        _ => (b"<ListBucketResult>", b"<Contents/><Contents/><Contents/><Contents/>"),
    }
}

fn is_list(asked: &Asked) -> bool {
    ["list-type=2", "comp=list", "/o?prefix="].iter().any(|mark| asked.target.contains(mark))
}

fn key(kind: Kind, test: &str, name: &str) -> String {
    let place = place(kind, test);
    format!("{}/{name}", place.split_once('/').expect("a prefix").1)
}

#[test]
fn what_never_ends_in_a_listing_is_ended_in_little_memory_and_the_bound_is_said() {
    type Lie = fn(Kind, &Asked) -> Say;
    let long = |kind| {
        let name = key(kind, "list", &"n".repeat(1 << 20));
        Say::ok(page(kind, &[(&name, 1)], None))
    };
    let lies: [(&str, Lie, &str); 4] = [
        (
            "the same token for ever",
            |kind, _| Say::ok(page(kind, &[], Some("t"))),
            "repeats a page",
        ),
        (
            "a page without end",
            |kind, _| {
                let (begin, piece) = page_pieces(kind);
                let piece = piece.repeat(1_000);
                let mut first = format!("{:x}\r\n", begin.len()).into_bytes();
                first.extend(begin);
                first.extend(b"\r\n");
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend(&piece);
                chunk.extend(b"\r\n");
                let mut head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                head.extend(first);
                Say::Babble(head, chunk)
            },
            "longer than any",
        ),
        (
            "blanks without end",
            |_, _| Say::Endless(200, String::new(), vec![b' '; 64 << 10]),
            "longer than any",
        ),
        (
            "a refusal without end",
            |_, _| Say::Endless(400, String::new(), vec![b'x'; 64 << 10]),
            "",
        ),
    ];
    let check = |kind: Kind, what: &str, liar: &Liar, said: &str| {
        let dir = Dir::new();
        let child = spawn(&dir, kind, liar.address, &place(kind, "list"), &["list"]);
        let ran = ended(child, &format!("{kind:?} {what}"));
        assert_eq!(ran.code, 3, "{kind:?} {what}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(said), "{kind:?} {what}: {}", ran.err);
        assert!(ran.peak_kib < MOST_KIB, "{kind:?} {what}: {} KiB", ran.peak_kib);
        assert!(liar.asked().len() <= 3, "{kind:?} {what}: asked {} times", liar.asked().len());
    };
    for kind in KINDS {
        for (what, lie, said) in lies {
            check(kind, what, &Liar::start(None, move |asked| lie(kind, asked)), said);
        }
        let liar = Liar::start(None, move |_| long(kind));
        check(kind, "a name of a MiB", &liar, "none may have more than 1024");
    }
}

#[test]
fn hostile_names_are_shown_and_never_asked_for() {
    let dir = Dir::new();
    for kind in KINDS {
        let names = ["../../audit_backup_20260101_000000.json", "a\u{85}\u{202e}b", "x//y"];
        let keys: Vec<String> = names.iter().map(|name| key(kind, "names", name)).collect();
        let liar = Liar::start(None, move |_| {
            let entries: Vec<(&str, u64)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
            Say::ok(page(kind, &entries, None))
        });
        let child = spawn(&dir, kind, liar.address, &place(kind, "names"), &["list"]);
        let ran = ended(child, "a list");
        assert_eq!(ran.code, 0, "{kind:?}: {}{}", ran.out, ran.err);
        assert_eq!(ran.out.matches("not ours").count(), 3, "{kind:?}: {}", ran.out);
        assert!(!ran.out.contains(['\u{85}', '\u{202e}']), "{kind:?}: {:?}", ran.out);
        assert!(liar.asked().iter().all(is_list), "{kind:?}: {:?}", liar.asked());
    }
}

/// What a look at an object says, as this kind does.
fn looked_at(kind: Kind, name: &str, size: u64) -> Say {
    match kind {
        Kind::Gcs => {
            let item =
                serde_json::json!({"name": name, "size": size.to_string(), "generation": "1"});
            Say::ok(item.to_string())
        }
        _ => Say::Whole(200, format!("content-length: {size}\r\netag: \"x\"\r\n"), Vec::new()),
    }
}

#[test]
fn an_object_without_end_is_taken_no_further_than_its_length() {
    let dir = Dir::new();
    for kind in KINDS {
        for size in [10_u64, 1 << 60] {
            let name = key(kind, "object", "audit_backup_20260101_000000.json");
            let liar = Liar::start(None, move |asked| match () {
                () if is_list(asked) => Say::ok(page(kind, &[(&name, 10)], None)),
                () if asked.method == "HEAD" => looked_at(kind, &name, size),
                () if kind == Kind::Gcs && !asked.target.contains("alt=media") => {
                    looked_at(kind, &name, size)
                }
                () => Say::Endless(
                    if kind == Kind::Azurite { 206 } else { 200 },
                    format!("content-range: bytes 0-9/{size}\r\netag: \"x\"\r\n"),
                    vec![b'{'; 64 << 10],
                ),
            });
            let child = spawn(&dir, kind, liar.address, &place(kind, "object"), &["list"]);
            let ran = ended(child, "a list");
            assert!(ran.peak_kib < MOST_KIB, "{kind:?} {size}: {} KiB", ran.peak_kib);
            // Damaged, or a store that cannot be believed: never a good backup.
            let said = format!("{}{}", ran.out, ran.err);
            assert!(ran.code == 3 || said.contains("BAD"), "{kind:?} {size}: {said}");
        }
    }
}

/// Who is silent from the n-th request on, with an honest server behind.
fn silent_from(kind: Kind, number: usize) -> Option<Liar> {
    let honest = kind.server()?.address;
    let truth = move |asked: &Asked| {
        if asked.number >= number { Say::Silence } else { Say::Truth }
    };
    Some(Liar::start(Some(honest), truth))
}

/// Runs a command against a store that falls silent at each request of it, sends it a
/// signal there, and gives back how many requests it was until it came to its end.
fn interrupted_everywhere(kind: Kind, what: &str, command: &dyn Fn(SocketAddr, usize) -> Child) {
    let mut number = 0;
    loop {
        let Some(liar) = silent_from(kind, number) else { return };
        let mut child = command(liar.address, number);
        let mut over = false;
        eventually(what, || {
            over = child.try_wait().expect("asked").is_some();
            over || liar.asked().len() > number
        });
        if over && liar.asked().len() <= number {
            let ran = ended(child, what);
            assert_eq!(ran.code, 0, "{kind:?} {what}: {}{}", ran.out, ran.err);
            assert!(number > 0, "{kind:?} {what} asked nothing");
            return;
        }
        let signal = [Signal::INT, Signal::TERM][number % 2];
        let pid = Pid::from_raw(child.id() as i32).expect("a pid");
        kill_process(pid, signal).expect("sent");
        // The store itself would be waited for two minutes.
        let ran = ended(child, &format!("{kind:?} {what} ends at request {number}"));
        // Tidying up comes after it is sent and confirmed.
        let done = what == "backup" && ran.code == 0 && ran.out.contains("sent and confirmed");
        assert!(done || ran.code == 130, "{kind:?} {what} {number}: {}{}", ran.out, ran.err);
        number += 1;
        assert!(number < 40, "{kind:?} {what} never ends");
    }
}

#[test]
fn the_first_signal_ends_every_command_at_every_request_that_gets_no_answer() {
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || {
                let Some(server) = kind.server() else { return };
                let dir = Dir::new();
                let (code, _, err) = run(&dir, &["record", "--type", "login"]);
                assert_eq!(code, 0, "{err}");
                let there = place(kind, "signals");
                let child = spawn(&dir, kind, server.address, &there, &["backup", "--json"]);
                let made: Value = serde_json::from_str(&ended(child, "backup").out).expect("JSON");
                let id = made["backup"]["id"].as_str().expect("an id").to_owned();

                let dir = &dir;
                interrupted_everywhere(kind, "list", &|address, _| {
                    spawn(dir, kind, address, &there, &["list"])
                });
                interrupted_everywhere(kind, "restore", &|address, number| {
                    let target = format!("target-{number}");
                    spawn(dir, kind, address, &there, &["restore", &id, "--target", &target])
                });
                for number in 0..20 {
                    let target = dir.path().join(format!("target-{number}"));
                    let holds = std::fs::read_dir(&target).map_or(0, Iterator::count);
                    let whole = target.join("audit.manifest.json").exists();
                    assert!(whole || holds == 0, "{kind:?}: nothing half restored");
                }
                interrupted_everywhere(kind, "backup", &|address, number| {
                    let there = format!("{there}/{number}");
                    spawn(dir, kind, address, &there, &["backup", "--resume", &id])
                });
                // What was interrupted anywhere is sent by the next run.
                for number in 0..3 {
                    let there = format!("{there}/{number}");
                    let args = ["backup", "--resume", &id];
                    let ran = ended(spawn(dir, kind, server.address, &there, &args), "resumed");
                    assert_eq!(ran.code, 0, "{kind:?} {number}: {}{}", ran.out, ran.err);
                }
                interrupted_everywhere(kind, "cleanup", &|address, _| {
                    spawn(dir, kind, address, &there, &["cleanup", "--keep", "1"])
                });
                let Some(liar) = silent_from(kind, 0) else { return };
                let child =
                    spawn(dir, kind, liar.address, &there, &["validate", "--quick", "--probe"]);
                eventually("it is asked", || !liar.asked().is_empty());
                let pid = Pid::from_raw(child.id() as i32).expect("a pid");
                kill_process(pid, Signal::INT).expect("sent");
                let ran = ended(child, "validate ends");
                assert_eq!(ran.code, 130, "{kind:?} validate: {}{}", ran.out, ran.err);
            });
        }
    });
}

/// Tries for about a second.
fn impatient() -> Limits {
    Limits {
        stall_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(400),
        retry: RetryPolicy {
            give_up_after: Duration::from_secs(1),
            give_up_unheard: Duration::from_secs(1),
            ..limits().retry
        },
        ..limits()
    }
}

fn open(kind: Kind, liar: &Liar, test: &str, limits: &Limits) -> Arc<dyn BackupStore> {
    kind.open(liar.address, &place(kind, test), limits)
}

#[test]
fn who_is_slow_for_ever_babbles_or_hangs_up_anywhere_is_given_up() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<".to_vec();
    let says = [
        Say::Silence,
        Say::Trickle("transfer-encoding: identity\r\n".to_owned()),
        Say::Babble(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Say::Babble(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: aaaaaaaaaaaaaaaa\r\n".to_vec()),
        Say::Babble(b"HTTP/1.1 200 OK\r\nx-a: ".to_vec(), vec![b'a'; 64 << 10]),
        Say::HangUp(Vec::new()),
        Say::HangUp(b"HTTP/1.1 ".to_vec()),
        Say::HangUp(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Say::HangUp(half.clone()),
        Say::HangUp(b"\x00\xff\xfe garbage\r\n\r\n".to_vec()),
    ];
    for kind in KINDS {
        for say in &says {
            let shown: String = format!("{say:?}").chars().take(60).collect();
            let said = say.clone();
            let liar = Liar::start(None, move |_| said.clone());
            let store = open(kind, &liar, "slow", &impatient());
            let bytes = noise(1_000);
            let failed: [(&str, Result<(), StoreError>); 4] = [
                ("list", store.list().map(drop)),
                ("stat", store.stat("a").map(drop)),
                ("put", put(&*store, "a", &bytes).map(drop)),
                ("remove", store.remove("a", None).map(drop)),
            ];
            // Where the head is whole, the answer to some questions is.
            let whole =
                matches!(say, Say::Trickle(_)) || matches!(&say, Say::HangUp(h) if *h == half);
            for (what, result) in failed.into_iter().take(if whole { 1 } else { 4 }) {
                let error = result.expect_err("no answer");
                let kinds = [
                    StoreErrorKind::Timeout,
                    StoreErrorKind::Unreachable,
                    // What cannot be read is no answer either.
                    StoreErrorKind::Other,
                ];
                assert!(kinds.contains(&error.kind), "{kind:?} {what} {shown}: {error:?}");
                assert_no_secret(&format!("{error:?} {error}"));
            }
        }
    }
}

#[test]
fn an_object_that_comes_byte_by_byte_for_ever_is_given_up() {
    for kind in KINDS {
        let name = key(kind, "trickle", "a");
        let liar = Liar::start(None, move |asked| match () {
            () if asked.method == "HEAD" => looked_at(kind, &name, 1 << 20),
            () if kind == Kind::Gcs && !asked.target.contains("alt=media") => {
                looked_at(kind, &name, 1 << 20)
            }
            () => {
                let range = asked.headers.iter().find_map(|line| {
                    line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned)
                });
                let from = range.and_then(|range| range.split('-').next()?.parse().ok());
                let from: u64 = from.unwrap_or(0);
                Say::Trickle(format!(
                    "content-length: {}\r\ncontent-range: bytes {from}-1048575/1048576\r\n\
                     etag: \"x\"\r\n",
                    (1 << 20) - from
                ))
            }
        });
        let store = open(kind, &liar, "trickle", &impatient());
        let mut body = store.open("a", None, 0).expect("opened");
        let error = std::io::Read::read_to_end(&mut body, &mut Vec::new()).expect_err("too slow");
        let error = StoreError::inside(&error).expect("a store's");
        assert!(error.message.contains("given up"), "{kind:?}: {error:?}");
    }
}

#[test]
fn nobody_is_followed_to_another_host() {
    for kind in KINDS {
        for status in [301, 302, 303, 307, 308] {
            let other = Liar::start(None, |_| Say::ok(""));
            let elsewhere = format!("location: http://{}/x\r\n", other.address);
            let liar =
                Liar::start(None, move |_| Say::Whole(status, elsewhere.clone(), Vec::new()));
            let store = open(kind, &liar, "redirect", &impatient());
            store.list().expect_err("sent elsewhere");
            put(&*store, "a", &noise(1_000)).expect_err("sent elsewhere");
            assert_eq!(other.asked().len(), 0, "{kind:?} {status}");
        }
    }
    // Google says where an upload goes on; so does the file that an interrupted one left.
    let other = Liar::start(None, |_| Say::ok("{}"));
    let session = format!("http://{}/session", other.address);
    let elsewhere = format!("location: {session}\r\n");
    let liar = Liar::start(None, move |asked| match asked.method.as_str() {
        "POST" => Say::Whole(200, elsewhere.clone(), Vec::new()),
        _ if is_list(asked) => Say::ok("{}"),
        _ => Say::Whole(404, String::new(), b"{}".to_vec()),
    });
    let store = open(Kind::Gcs, &liar, "session", &impatient());
    let error = put(&*store, "a", &noise(1_000)).expect_err("sent elsewhere");
    assert!(error.message.contains("sends uploads to"), "{error}");
    let bytes = noise(1_000);
    let digests = Digests::of(&bytes);
    let planted: UploadState = serde_json::from_value(serde_json::json!({
        "url": store.url("a"), "sha256": digests.sha256_hex(), "bytes": 1_000, "session": session,
        "part_bytes": 262_144, "stored": 0, "started": auditctl::clock::Clock::now(&auditctl::clock::SystemClock),
    }))
    .expect("a state");
    let resumed = Put { resume: Some(planted), ..Put::new(Body::Bytes(&bytes), "text/plain") };
    store.put_new("a", resumed).expect_err("sent elsewhere");
    assert_eq!(other.asked().len(), 0, "no byte of a backup goes there");
}

#[test]
fn another_part_of_an_object_than_was_asked_for_is_refused() {
    for kind in [Kind::S3s, Kind::Gcs] {
        for range in ["content-range: bytes 0-99/200\r\n", "content-range: x\r\n", ""] {
            let name = key(kind, "range", "a");
            let liar = Liar::start(None, move |asked| match () {
                () if asked.method == "HEAD" => looked_at(kind, &name, 200),
                () if kind == Kind::Gcs && !asked.target.contains("alt=media") => {
                    looked_at(kind, &name, 200)
                }
                () => Say::Whole(206, range.to_owned(), vec![b'x'; 100]),
            });
            let store = open(kind, &liar, "range", &impatient());
            let error = store.open("a", None, 100).map(drop).expect_err("another part");
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{kind:?}: {error:?}");
        }
    }
}

#[test]
fn what_is_not_what_was_sent_is_never_restored_and_leaves_nothing() {
    for kind in KINDS {
        let Some(server) = kind.server() else { continue };
        let dir = Dir::new();
        assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
        let there = place(kind, "other");
        let made = ended(spawn(&dir, kind, server.address, &there, &["backup", "--json"]), "made");
        let made: Value = serde_json::from_str(&made.out).expect("JSON");
        let id = made["backup"]["id"].as_str().expect("an id").to_owned();
        let liar = Liar::start(Some(server.address), |asked| {
            let object = asked.target.contains(".gz") && asked.method == "GET";
            match object && (asked.target.contains("alt=media") || !asked.target.contains("/o/")) {
                true => Say::Whole(200, "etag: \"x\"\r\n".to_owned(), vec![b'x'; 300]),
                false => Say::Truth,
            }
        });
        let args = ["restore", &id, "--target", "target"];
        let ran = ended(spawn(&dir, kind, liar.address, &there, &args), "refused");
        assert_ne!(ran.code, 0, "{kind:?}: {}{}", ran.out, ran.err);
        assert!(!dir.path().join("target").exists(), "{kind:?}");
        let left = std::fs::read_dir(dir.path().join("backups/audit")).expect("listed");
        let left: Vec<String> = left
            .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
            .collect();
        assert!(!left.iter().any(|name| name.contains("fetching")), "{kind:?}: {left:?}");
    }
}

#[test]
fn s3_that_says_200_and_an_error_has_not_completed_the_upload() {
    let Some(server) = Kind::S3s.server() else { return };
    for always in [false, true] {
        let times = AtomicUsize::new(0);
        let liar = Liar::start(Some(server.address), move |asked| {
            let completes = asked.method == "POST" && asked.target.contains("uploadId=");
            let lies = completes && (always || times.fetch_add(1, Ordering::SeqCst) == 0);
            let error = "<Error><Code>InternalError</Code><Message>again</Message></Error>";
            if lies { Say::ok(error) } else { Say::Truth }
        });
        let test = if always { "always" } else { "once" };
        let patient = Limits { stall_timeout: Duration::from_secs(20), ..impatient() };
        let store = open(Kind::S3s, &liar, test, &patient);
        let bytes = noise(11 << 20);
        let done = put(&*store, "a", &bytes);
        let direct = Kind::S3s.open(server.address, &place(Kind::S3s, test), &limits());
        if always {
            done.expect_err("never completed");
            assert_eq!(direct.list().expect("a list"), []);
        } else {
            done.expect("completed");
            assert!(get(&*direct, "a", 0) == bytes);
        }
    }
}

#[test]
fn credentials_that_are_revoked_in_the_middle_end_the_upload_which_goes_on_later() {
    for kind in KINDS {
        let Some(server) = kind.server() else { continue };
        let parts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&parts);
        let liar = Liar::start(Some(server.address), move |asked| {
            let part = asked.method == "PUT" && asked.body.len() > 1 << 20;
            let revoked = part && counted.fetch_add(1, Ordering::SeqCst) >= 1;
            if revoked { Say::Whole(403, String::new(), Vec::new()) } else { Say::Truth }
        });
        let one = Limits { in_flight: 1, ..limits() };
        let store = open(kind, &liar, "revoked", &one);
        let bytes = noise(16 << 20);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("archive");
        std::fs::write(&path, &bytes).expect("written");
        let digests = Digests::of(&bytes);
        let body = Body::File { path: &path, digests: &digests };
        let mut state = None;
        let mut keep = |reached: &UploadState| state = Some(reached.clone());
        let sent = Put { on_state: Some(&mut keep), ..Put::new(body, "application/gzip") };
        let error = store.put_new("a", sent).expect_err("revoked");
        assert_eq!(error.kind, StoreErrorKind::AccessDenied, "{kind:?}: {error:?}");
        assert_eq!(parts.load(Ordering::SeqCst), 2, "{kind:?}: not tried again");
        let state = state.expect("how far it is");
        assert_eq!(state.stored, 5 << 20, "{kind:?}");

        let direct = kind.open(server.address, &place(kind, "revoked"), &limits());
        assert_eq!(direct.list().expect("a list"), [], "{kind:?}: nothing half there");
        let rest = Put { resume: Some(state), ..Put::new(body, "application/gzip") };
        direct.put_new("a", rest).expect("it goes on");
        assert!(get(&*direct, "a", 0) == bytes, "{kind:?}");
    }
}

#[test]
fn credentials_that_nobody_gives_are_named_in_bounded_time() {
    let silent = Liar::start(None, |_| Say::Silence);
    let url = format!("http://{}", silent.address);
    type Variables = Vec<(&'static str, String)>;
    let cases: [(&str, Variables, &str); 3] = [
        (
            "s3",
            vec![
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.clone()),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ENDPOINT_URL_S3", url.clone()),
            ],
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "azure",
            vec![
                ("AZURE_STORAGE_ACCOUNT", "acme".to_owned()),
                // With an identity nothing else is spoken.
                ("AZURE_STORAGE_BLOB_ENDPOINT", url.replace("http:", "https:")),
                ("IDENTITY_ENDPOINT", url.clone()),
                ("IDENTITY_HEADER", "x".to_owned()),
            ],
            "AZURE_STORAGE_CONNECTION_STRING",
        ),
        (
            "gcs",
            vec![("GCE_METADATA_HOST", silent.address.to_string())],
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
    ];
    std::thread::scope(|scope| {
        for (cloud, variables, hint) in cases {
            scope.spawn(move || {
                let dir = Dir::new();
                let mut child = auditctl(&dir, &["list", "--json", "--cloud", cloud])
                    .args(["--destination", BUCKET])
                    .envs(variables)
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("auditctl runs");
                // It was fifteen minutes.
                for _ in 0..5 {
                    let over = || child.try_wait().expect("asked").is_some();
                    let patience = std::time::Instant::now() + Duration::from_secs(25);
                    let mut over = over;
                    while !over() && std::time::Instant::now() < patience {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
                if child.try_wait().expect("asked").is_none() {
                    child.kill().expect("killed");
                    panic!("{cloud}: still waiting");
                }
                let output = child.wait_with_output().expect("ended");
                let out = String::from_utf8_lossy(&output.stdout);
                assert_eq!(output.status.code(), Some(3), "{cloud}: {out}");
                let said: Value = serde_json::from_str(&out).expect("JSON");
                assert_eq!(said["error"]["kind"], "no_credentials", "{cloud}: {said}");
                assert!(said["error"]["hint"].to_string().contains(hint), "{cloud}: {said}");
            });
        }
    });
}
