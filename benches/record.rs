//! How fast events are recorded, beside what they are measured against.
//!
//! `cargo bench --bench record`. Every figure is a median of runs made in turn
//! with what it is compared with; ratios are what counts on a noisy machine.
//! After `--`: only `interval`, `watched` or `commit`.
//! Nothing is asserted here.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::{AuditLog, Durability, Event, Options};
use serde::Serialize;

const RUNS: usize = 5;

/// W1: about 300 bytes a record.
#[derive(Serialize)]
struct Small<'a> {
    index: u64,
    data: &'a str,
    ip: &'a str,
    user_agent: &'a str,
}

fn small(index: u64) -> Small<'static> {
    Small {
        index,
        data: "the quick brown fox jumps over the lazy dog",
        ip: "10.248.16.43",
        user_agent: "Mozilla/5.0 (X11; Linux x86_64)",
    }
}

fn event(index: u64, sources: &[String]) -> Event {
    Event::new("data_access")
        .actor("alice")
        .source(sources[index as usize % sources.len()].as_str())
        .outcome("success")
        .details(&small(index))
        .unwrap()
}

fn sources() -> Vec<String> {
    (0..500).map(|n| format!("service-{n}")).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn temporary() -> tempfile::TempDir {
    let dir = std::env::var_os("BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(dir).unwrap()
}

/// Events a second with interval durability and two producers.
fn interval(events: u64, watch: bool) -> (f64, u64) {
    let dir = temporary();
    let log = AuditLog::open(fast(&dir.path().join("logs"))).unwrap();
    let monitor = watch.then(|| {
        Command::new(env!("CARGO_BIN_EXE_auditctl"))
            .args(["monitor", "--json", "--refresh", "0.1", "--log-dir", "logs"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    });
    let sources = sources();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let (log, sources) = (&log, &sources);
            scope.spawn(move || {
                for n in 0..events / 2 {
                    let _ = log.record(event(n * 2 + producer, sources)).unwrap();
                }
            });
        }
    });
    // Until everything is durable, not only accepted.
    log.record(Event::new("last")).unwrap().wait_durable().unwrap();
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    let resident = resident_kib();
    if let Some(mut monitor) = monitor {
        monitor.kill().unwrap();
        monitor.wait().unwrap();
    }
    log.close().unwrap();
    (rate, resident)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The same events through tracing-appender's non-blocking writer: JSON lines,
/// no hash, no sync, may drop.
fn appender(events: u64) -> f64 {
    let dir = temporary();
    let file = std::fs::File::create(dir.path().join("log.json")).unwrap();
    let (writer, guard) =
        tracing_appender::non_blocking::NonBlockingBuilder::default().lossy(false).finish(file);
    let sources = sources();
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        event_type: &'a str,
        actor: &'a str,
        source: &'a str,
        outcome: &'a str,
        details: Small<'a>,
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let (mut writer, sources) = (writer.clone(), &sources);
            scope.spawn(move || {
                for n in 0..events / 2 {
                    let index = n * 2 + producer;
                    let now = chrono::Utc::now();
                    let mut line = serde_json::to_vec(&Line {
                        timestamp: now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
                        event_type: "data_access",
                        actor: "alice",
                        source: &sources[index as usize % sources.len()],
                        outcome: "success",
                        details: small(index),
                    })
                    .unwrap();
                    line.push(b'\n');
                    writer.write_all(&line).unwrap();
                }
            });
        }
    });
    drop(writer);
    drop(guard);
    events as f64 / begun.elapsed().as_secs_f64()
}

/// Events a second, and their number per sync, with 64 callers that wait each time.
fn commit(time: Duration) -> (f64, f64) {
    let dir = temporary();
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(dir.path().join("logs")) })
        .unwrap();
    let sources = sources();
    let before = log.status().unwrap().get(auditctl::audit::state::status::Word::Syncs);
    let begun = Instant::now();
    let events: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (log, sources) = (&log, &sources);
                scope.spawn(move || {
                    let mut done = 0;
                    while begun.elapsed() < time {
                        log.record(event(done, sources)).unwrap().wait().unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    let syncs = log.status().unwrap().get(auditctl::audit::state::status::Word::Syncs) - before;
    log.close().unwrap();
    (rate, events as f64 / syncs as f64)
}

/// A bare loop that writes batches of that size and calls fdatasync.
fn bare(time: Duration, batch: f64) -> f64 {
    let dir = temporary();
    let file = std::fs::File::create(dir.path().join("bare")).unwrap();
    let line = vec![b'x'; 300 * batch.round() as usize];
    let begun = Instant::now();
    let (mut offset, mut batches) = (0, 0_u64);
    while begun.elapsed() < time {
        file.write_all_at(&line, offset).unwrap();
        file.sync_data().unwrap();
        offset += line.len() as u64;
        batches += 1;
    }
    batches as f64 * batch / begun.elapsed().as_secs_f64()
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, medians of {RUNS} runs in turn\n");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|arg| arg == name);
    if wanted("interval") {
        buffered();
    }
    if wanted("watched") {
        watched();
    }
    if wanted("commit") {
        committed();
    }
}

fn buffered() {
    let events = 300_000;
    let (mut ours, mut theirs, mut resident) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let (rate, kib) = interval(events, false);
        ours.push(rate);
        resident = resident.max(kib);
        theirs.push(appender(events));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("W1, interval durability, 2 producers, hashed, until durable");
    println!(
        "  auditctl          {ours:>12.0} events/s   {:.1} MiB resident",
        resident as f64 / 1024.0
    );
    println!("  tracing-appender  {theirs:>12.0} events/s   (no hash, no sync)");
    println!("  ratio             {:>12.2}\n", ours / theirs);
}

/// The same while `monitor` looks ten times a second.
fn watched() {
    let events = 1_000_000;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        alone.push(interval(events, false).0);
        watched.push(interval(events, true).0);
    }
    let (alone, watched) = (median(alone), median(watched));
    println!("W1, interval durability, beside `auditctl monitor --json --refresh 0.1`");
    println!("  alone             {alone:>12.0} events/s");
    println!("  watched           {watched:>12.0} events/s");
    println!("  ratio             {:>12.3}\n", watched / alone);
}

fn fast(dir: &Path) -> Options {
    Options {
        durability: Durability::Interval,
        rate_limit: None,
        write_buffer_size: 2_000,
        write_queue_capacity: 40_000,
        write_queue_bytes: 12 << 20,
        max_segment_size: 4 << 30,
        ..Options::new(dir)
    }
}

fn committed() {
    let (mut ours, mut bares, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    let time = Duration::from_secs(2);
    for _ in 0..RUNS {
        let (rate, batch) = commit(time);
        ours.push(rate);
        batches.push(batch);
        bares.push(bare(time, batch));
    }
    let (ours, bares, batch) = (median(ours), median(bares), median(batches));
    println!("W1, commit durability, 64 callers that wait for each event");
    println!("  auditctl          {ours:>12.0} events/s   {batch:.1} events a sync");
    println!("  bare write+sync   {bares:>12.0} events/s   batches of the same size");
    println!("  ratio             {:>12.2}", ours / bares);
}
