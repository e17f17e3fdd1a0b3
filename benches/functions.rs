//! What one event costs, piece by piece: `cargo bench --bench functions`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Read;

use auditctl::audit::record::{EncodedOrigin, encode_body};
use auditctl::audit::state::status::StatusSnapshot;
use auditctl::audit::tree::merkle::Range;
use auditctl::audit::{AuditLog, Batch, Event, EventLimits, Options, Origin, ParseMode, Via};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// W1: about 300 bytes as stored.
const SMALL: &[u8] = br#"{"event_type":"data_access","actor":"alice","source":"service-7","outcome":"success","details":{"index":7,"data":"the quick brown fox jumps over the lazy dog","ip":"10.248.16.43","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}}"#;

/// W2: a real event of median size.
fn real() -> Vec<u8> {
    let file = std::fs::File::open("tests/fixtures/cloudtrail.ndjson.gz").unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.len());
    lines[lines.len() / 2].as_bytes().to_vec()
}

/// A line of the socket becomes the body of a record.
fn accept(c: &mut Criterion) {
    let origin = EncodedOrigin::new(&Origin::here(Via::Socket));
    let mut group = c.benchmark_group("a line becomes a record's body");
    for (name, line) in [("small", SMALL.to_vec()), ("real", real())] {
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |b| {
            let mut body = Vec::with_capacity(8192);
            b.iter(|| {
                let mut event = Event::from_json(&line, ParseMode::Strict).unwrap();
                event.check(&EventLimits::default()).unwrap();
                body.clear();
                encode_body(&event, &origin, &mut body);
                body.len()
            });
        });
    }
    group.finish();
}

/// The same through a session, as the socket does it: what redaction adds to an
/// event that has nothing to hide, and to one that has.
fn redact(c: &mut Criterion) {
    let mut group = c.benchmark_group("a line is prepared");
    let hidden = ["password", "token", "secret", "authorization", "api_key", "details.card.*"];
    for (setting, paths) in [
        ("nothing redacted", &[][..]),
        ("six paths, none there", &hidden),
        ("one of them there", &["ip", "password", "token", "details.card.*"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let redact = paths.iter().map(|path| path.parse().unwrap()).collect();
        let options = Options { rate_limit: None, redact, ..Options::new(dir.path().join("logs")) };
        let log = AuditLog::open(options).unwrap();
        let session = log.session(&Origin::here(Via::Socket), true);
        for (name, line) in [("small", SMALL.to_vec()), ("real", real())] {
            group.throughput(Throughput::Bytes(line.len() as u64));
            group.bench_function(format!("{name}, {setting}"), |b| {
                let mut batch = Batch::new();
                b.iter(|| {
                    batch.clear();
                    session.prepare(&line, ParseMode::Strict, &mut batch).unwrap();
                });
            });
        }
        log.close().unwrap();
    }
    group.finish();
}

/// What the writer does for each line, but for writing it.
fn tree(c: &mut Criterion) {
    let mut group = c.benchmark_group("a line becomes a leaf of the tree");
    for (name, line) in [("small", SMALL.to_vec()), ("real", real())] {
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Range::empty(0),
                |range| range.append_line(&line),
                BatchSize::NumIterations(100_000),
            );
        });
    }
    group.finish();
}

/// What any look at a running writer costs.
fn status(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(Options::new(dir.path().join("logs"))).unwrap();
    let page = dir.path().join("logs/audit.status");
    c.bench_function("read the status page", |b| b.iter(|| StatusSnapshot::read(&page).unwrap()));
    log.close().unwrap();
}

criterion_group!(benches, accept, redact, tree, status);
criterion_main!(benches);
