//! A bucket of many small logs, made without hosts: listed and verified in bounded memory.
//! `FLEET_LOGS=10000` makes it as large as docs/fleet.md says.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use auditctl::archive::{
    Day, HostName, KeysDocument, LogName, ObjectName, Place, RangeProof, Span,
};
use auditctl::audit::keys::checkpoint::Checkpoint;
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::tree::merkle::Range;
use auditctl::backup::Unwatched;
use auditctl::clock::Timestamp;
use auditctl::fleet::{Expected, Request, Roster, Silence, State, list, verify};
use auditctl::store::LocalStore;

use crate::support::Dir;

const RANGES: u64 = 3;
const RECORDS: u64 = 20;

fn put(bucket: &Path, name: &ObjectName, bytes: &[u8]) {
    let path = bucket.join(name.to_string());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

/// A log of three ranges, as a host ships it; what a roster says of it.
fn simulated(bucket: &Path, nth: usize) -> (String, Expected) {
    let id = format!("{nth:032x}");
    let key = SigningKey::generate(&format!("example.com/audit/{id}")).expect("a key");
    let (log, host) = (LogName::new(&id, 0).expect("an id"), HostName::of(&format!("web-{nth}")));
    let begun: Timestamp = "2026-02-04T00:00:00Z".parse().expect("a time");
    let mut before = Range::empty(0);
    for at in 0..RANGES {
        let (first, end) = (at * RECORDS, (at + 1) * RECORDS);
        let time = |seq: u64| Timestamp::from_micros(begun.micros() + seq as i64 * 60_000_000);
        let mut tree = Range::empty(first);
        let mut text = String::new();
        for seq in first..end {
            let line = format!(
                r#"{{"seq":{seq},"timestamp":"{}","event_type":"login","actor":"user-{}"}}"#,
                time(seq),
                seq % 7
            );
            tree.append_line(line.as_bytes());
            text += &line;
            text.push('\n');
        }
        let mut whole = before.clone();
        whole.extend(&tree).expect("adjacent");
        let origin = format!("example.com/audit/{id}");
        let root = whole.root().expect("from the start");
        let note = Checkpoint { origin, size: end, root }.to_string();
        let note = key.sign_checkpoint(note).expect("signed").to_string();
        let span = Span { first, end };
        let place = Place { day: Day::of(time(first)), host: host.clone(), log: log.clone(), span };
        let data = ObjectName::Data(place);
        let proof = RangeProof {
            log_id: id.clone(),
            epoch: 0,
            data: data.to_string(),
            before,
            tree,
            after: Range::empty(end),
            checkpoint: note.clone(),
            holes: Vec::new(),
            first_accepted: time(first),
            last_accepted: time(end - 1),
        };
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).expect("packed");
        put(bucket, &data, &packer.finish().expect("packed"));
        put(bucket, &ObjectName::Range(log.clone(), first, 0), &proof.encode().expect("JSON"));
        put(bucket, &ObjectName::Checkpoint(log.clone(), end), note.as_bytes());
        before = whole;
    }
    let public_key = key.verifier().to_string();
    let keys = KeysDocument { log_id: id.clone(), public_key, rotations: Vec::new() };
    put(bucket, &ObjectName::Keys(log, 0, 0), &keys.encode().expect("JSON"));
    let key = key.verifier().clone();
    let silent_after = Silence::Unsaid;
    (id, Expected { key, hosts: vec![host], epoch: Some(0), silent_after })
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[test]
fn a_bucket_of_many_logs_is_listed_and_verified_in_bounded_memory() {
    let many = std::env::var("FLEET_LOGS").ok().and_then(|count| count.parse().ok());
    let count: usize = many.unwrap_or(200);
    let dir = Dir::new();
    let bucket = dir.path().join("bucket");
    let logs = (0..count).map(|nth| simulated(&bucket, nth)).collect();
    let date = "2026-02-04T21:09:40Z".parse().expect("a time");
    let roster =
        Roster { name: "many".to_owned(), sequence: 1, date, logs, acknowledged: Vec::new() };
    let store = Arc::new(LocalStore::new(&bucket));
    let (before, begun) = (peak_kib(), Instant::now());
    let listed = list(store.clone(), 2, &Unwatched).expect("listed");
    assert_eq!(listed.logs.len(), count);
    assert!(listed.logs.iter().all(|row| row.records == RANGES * RECORDS));
    let (listed_in, after_list) = (begun.elapsed(), peak_kib());
    let run = |state: State| {
        let begun = Instant::now();
        let roster = Some(roster.clone());
        let request = Request { roster, state, trusts_times: true, jobs: 2, ..Request::default() };
        (verify(store.clone(), request, &Unwatched).expect("verified"), begun.elapsed())
    };
    let (fleet, first) = run(State::default());
    assert_eq!(fleet.worst(), None, "{:?}", fleet.all_findings().next());
    let after_verify = peak_kib();
    assert_eq!(fleet.logs.iter().map(|log| log.records_read).sum::<u64>(), count as u64 * 60);
    let bytes = std::fs::metadata(dir.path()).map(|_| fleet.bytes).unwrap_or_default();
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let (settled, _) = run(fleet.state);
    let (again, second) = run(settled.state);
    assert_eq!(again.worst(), None);
    assert_eq!(again.logs.iter().map(|log| log.records_read).sum::<u64>(), 0);
    println!(
        "{count} logs, {} objects, {bytes} bytes: list {listed_in:?} (+{} KiB), verify {first:?} \
         (+{} KiB), again {second:?}",
        fleet.objects,
        after_list - before,
        after_verify - after_list,
    );
    // Far below what an object may have; the roster and the reports are all that grows.
    assert!(after_verify - before < 64 * 1024 + count as u64 * 16, "{before} {after_verify}");
}
