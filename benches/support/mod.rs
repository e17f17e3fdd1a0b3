//! What several benches need; none needs all of it.

#![allow(dead_code)]

pub(crate) mod pairs;

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use auditctl::audit::{AuditLog, Batch, Durability, Options, Origin, ParseMode, Via};

pub(crate) const ROUNDS: usize = 5;
/// How long a browser is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A program that a bench cannot do without.
pub(crate) fn missing(program: &str) {
    panic!("{program} is not installed");
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A directory on the disk that is measured.
pub(crate) fn temporary() -> tempfile::TempDir {
    let dir = std::env::var_os("BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(dir).unwrap()
}

/// Appends so many bytes to a file in so many writes, each with an `fdatasync`: what a log does
/// at least that keeps what it is told. `end` is where the file ends. Returns the seconds.
pub(crate) fn bare_loop(file: &std::fs::File, end: &mut u64, syncs: u64, bytes: u64) -> f64 {
    let batch = vec![b'x'; (bytes / syncs) as usize];
    let begun = Instant::now();
    for _ in 0..syncs {
        file.write_all_at(&batch, *end).unwrap();
        file.sync_data().unwrap();
        *end += batch.len() as u64;
    }
    begun.elapsed().as_secs_f64()
}

pub(crate) fn median(mut run: impl FnMut() -> Option<Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect::<Option<_>>()?;
    times.sort();
    Some(times[ROUNDS / 2])
}

pub(crate) fn fixture() -> Vec<u8> {
    let file = std::fs::File::open("tests/fixtures/cloudtrail.ndjson.gz").unwrap();
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text).unwrap();
    text
}

/// A log of the fixture, repeated, closed, all that is sealed compressed.
#[allow(dead_code, reason = "not every bench fills a log")]
pub(crate) fn fill(dir: &Path, megabytes: u64, max_segment_size: u64) {
    let log = AuditLog::open(Options {
        durability: Durability::Interval,
        rate_limit: None,
        max_segment_size,
        write_queue_capacity: 100_000,
        ..Options::new(dir)
    })
    .unwrap();
    let session = log.session(&Origin::here(Via::Library), true);
    let text = fixture();
    let mut written = 0;
    while written < megabytes << 20 {
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut batch = Batch::new();
            session.prepare(line, ParseMode::Strict, &mut batch).unwrap();
            while !batch.is_empty() {
                if log.try_submit(&mut batch).unwrap().count == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            written += line.len() as u64;
        }
    }
    while log.manifest().segments.iter().any(|segment| !segment.is_compressed()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    log.close().unwrap();
}
