//! How fast events are recorded, beside what they are measured against.
//!
//! `cargo bench --bench record`. Every figure is a median of nine pairs timed in turn, with how
//! far they reach; ratios are what counts on a noisy machine, and each run says whether it was
//! quiet. After `--`: only `interval`, `watched`, `commit`, `single` or `import`. `BENCH_DIR` says where the
//! logs go, `BENCH_EVENTS` how many events are imported (default 300,000).
//! Nothing is asserted here.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auditctl::audit::state::status::Word;
use auditctl::audit::{AuditLog, Batch, Durability, Event, Options, Origin, ParseMode, Via};
use serde::Serialize;
use support::pairs::{Machine, PAIRS, Pairs};
use support::{bare_loop, fixture, number, temporary};

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

/// What a process of its own measures: `--in-child NAME EVENTS` prints the result, so that the memory of
/// one measurement is not that of another.
fn in_child(name: &str, events: u64) -> (f64, f64) {
    let exe = std::env::current_exe().unwrap();
    let output = Command::new(exe)
        .args(["--in-child", name, &events.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut values = text.split_whitespace().map(|value| value.parse::<f64>().unwrap());
    (values.next().unwrap(), values.next().unwrap())
}

fn child(name: &str, events: u64) {
    let rate = match name {
        "interval" => interval(events, false),
        "watched" => interval(events, true),
        "appender" => appender(events),
        "engine-W1" => engine(&small_lines(events)),
        "engine-W2" => engine(&real_lines(events)),
        other => panic!("{other}"),
    };
    println!("{rate} {}", peak_kib());
}

/// The most memory that this process had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Events a second with interval durability and two producers.
fn interval(events: u64, watch: bool) -> f64 {
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
    if let Some(mut monitor) = monitor {
        monitor.kill().unwrap();
        monitor.wait().unwrap();
    }
    log.close().unwrap();
    rate
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

/// So many callers wait for each event.
const CALLERS: usize = 64;
/// They and the bare loop take turns of this length, so many in a pair: a disk is not as fast
/// from one second to the next.
const TURN: Duration = Duration::from_millis(250);
const TURNS: usize = 8;

/// What was done, and in which time.
#[derive(Clone, Copy, Default)]
struct Work {
    events: u64,
    syncs: u64,
    bytes: u64,
    time: f64,
}

/// 64 callers that wait for each event, in turn with a loop that writes as many bytes as often
/// to a file that grows as the log does, with one `fdatasync` each.
fn commit_pair() -> (f64, f64, f64) {
    let dir = temporary();
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(dir.path().join("logs")) })
        .unwrap();
    let bare = std::fs::File::create(dir.path().join("bare")).unwrap();
    let (runs, ends, over) =
        (Barrier::new(CALLERS + 1), Barrier::new(CALLERS + 1), AtomicBool::new(false));
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let sources = sources();
    let (mut ours, mut theirs) = (Work::default(), Work::default());
    std::thread::scope(|scope| {
        for caller in 0..CALLERS as u64 {
            let (log, sources, runs, ends) = (&log, &sources, &runs, &ends);
            let (over, stop, done) = (&over, &stop, &done);
            scope.spawn(move || {
                let mut nth = caller;
                loop {
                    runs.wait();
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut events = 0;
                    while !stop.load(Ordering::Relaxed) {
                        log.record(event(nth, sources)).unwrap().wait().unwrap();
                        (events, nth) = (events + 1, nth + 1);
                    }
                    done.fetch_add(events, Ordering::Relaxed);
                    ends.wait();
                }
            });
        }
        for _ in 0..TURNS {
            let turn = our_turn(&log, (&runs, &ends), (&stop, &done));
            ours = Work {
                events: ours.events + turn.events,
                syncs: ours.syncs + turn.syncs,
                bytes: ours.bytes + turn.bytes,
                time: ours.time + turn.time,
            };
            theirs.time += bare_loop(&bare, &mut theirs.bytes, turn.syncs, turn.bytes);
        }
        over.store(true, Ordering::Relaxed);
        runs.wait();
    });
    log.close().unwrap();
    let events = ours.events as f64;
    (events / ours.time, events / theirs.time, events / ours.syncs as f64)
}

fn our_turn(
    log: &AuditLog,
    (runs, ends): (&Barrier, &Barrier),
    (stop, done): (&AtomicBool, &AtomicU64),
) -> Work {
    let status = || {
        let status = log.status().unwrap();
        [status.get(Word::Syncs), status.get(Word::BytesWritten)]
    };
    stop.store(false, Ordering::Relaxed);
    done.store(0, Ordering::Relaxed);
    let before = status();
    let begun = Instant::now();
    runs.wait();
    std::thread::sleep(TURN);
    stop.store(true, Ordering::Relaxed);
    ends.wait();
    let time = begun.elapsed().as_secs_f64();
    let [syncs, bytes] = status();
    let (syncs, bytes) = (syncs - before[0], bytes - before[1]);
    Work { events: done.load(Ordering::Relaxed), syncs, bytes, time }
}

/// One caller that waits for each event, in turn with one write and `fdatasync` of as many
/// bytes: runs of so many each.
fn single_pair() -> [(f64, f64); 2] {
    const RUN: usize = 50;
    const RUNS: usize = 20;
    let dir = temporary();
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(dir.path().join("logs")) })
        .unwrap();
    let bare = std::fs::File::create(dir.path().join("bare")).unwrap();
    let (sources, line) = (sources(), vec![b'x'; 330]);
    let (mut ours, mut theirs, mut end) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        for nth in 0..RUN {
            let event = event(nth as u64, &sources);
            let begun = Instant::now();
            log.record(event).unwrap().wait().unwrap();
            ours.push(begun.elapsed().as_secs_f64());
        }
        for _ in 0..RUN {
            let begun = Instant::now();
            bare.write_all_at(&line, end).unwrap();
            bare.sync_data().unwrap();
            theirs.push(begun.elapsed().as_secs_f64());
            end += line.len() as u64;
        }
    }
    log.close().unwrap();
    let (ours, theirs) = (support::pairs::Spread::of(ours), support::pairs::Spread::of(theirs));
    [(ours.median(), theirs.median()), (ours.part(0.99), theirs.part(0.99))]
}

fn small_lines(events: u64) -> Vec<u8> {
    let sources = sources();
    let mut text = Vec::new();
    for index in 0..events {
        let event = serde_json::json!({
            "event_type": "data_access", "actor": "alice", "outcome": "success",
            "source": sources[index as usize % sources.len()], "details": small(index),
        });
        serde_json::to_writer(&mut text, &event).unwrap();
        text.push(b'\n');
    }
    text
}

fn real_lines(events: u64) -> Vec<u8> {
    let text = fixture();
    let lines = memchr::memchr_iter(b'\n', &text).count() as u64;
    text.repeat(events.div_ceil(lines) as usize)
}

/// What the engine can take of these lines: two producers that parse and encode them, with
/// interval durability, until all is durable.
fn engine(text: &[u8]) -> f64 {
    let dir = temporary();
    let log = AuditLog::open(fast(&dir.path().join("logs"))).unwrap();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in lines.chunks(lines.len().div_ceil(2)) {
            let log = &log;
            scope.spawn(move || {
                let session = log.session(&Origin::here(Via::Library), true);
                let mut batch = Batch::new();
                for lines in part.chunks(500) {
                    for line in lines {
                        session.prepare(line, ParseMode::Strict, &mut batch).unwrap();
                    }
                    while !batch.is_empty() {
                        if log.try_submit(&mut batch).unwrap().count == 0 {
                            std::thread::sleep(Duration::from_micros(50));
                        }
                    }
                }
            });
        }
    });
    log.record(Event::new("last")).unwrap().wait_durable().unwrap();
    let rate = lines.len() as f64 / begun.elapsed().as_secs_f64();
    log.close().unwrap();
    rate
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

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name, events] = &asked[..]
        && flag == "--in-child"
    {
        return child(name, events.parse().unwrap());
    }
    if asked.iter().any(|arg| arg == "--test") {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, medians of {PAIRS} pairs in turn\n");
    for (name, run) in [
        ("interval", buffered as fn()),
        ("watched", watched),
        ("commit", committed),
        ("single", single),
        ("import", import),
    ] {
        if asked.is_empty() || asked.iter().any(|arg| arg == name) {
            let machine = Machine::watch();
            run();
            println!("  {machine}\n");
        }
    }
}

fn buffered() {
    let mut most = 0.0_f64;
    let pairs = Pairs::in_turn(
        || {
            let (rate, kib) = in_child("interval", 1_000_000);
            most = most.max(kib);
            rate
        },
        || in_child("appender", 1_000_000).0,
    );
    println!("W1, interval durability, 2 producers, hashed, until durable");
    println!("  auditctl          {:>12.0} events/s", pairs.first.median());
    println!("  its memory        {:>12.1} MiB resident at most", most / 1024.0);
    println!("  tracing-appender  {:>12.0} events/s (no hash, no sync)", pairs.second.median());
    println!("  ratio             {:>12}", pairs.ratio);
}

/// The same while `monitor` looks ten times a second.
fn watched() {
    let run = |name: &'static str| move || in_child(name, 1_000_000).0;
    let pairs = Pairs::in_turn(run("watched"), run("interval"));
    println!("W1, interval durability, beside `auditctl monitor --json --refresh 0.1`");
    println!("  watched           {:>12.0} events/s", pairs.first.median());
    println!("  alone             {:>12.0} events/s", pairs.second.median());
    println!("  ratio             {:>12}", pairs.ratio);
}

fn committed() {
    let mut batches = Vec::new();
    let pairs = Pairs::of((0..PAIRS).map(|_| {
        let (ours, theirs, batch) = commit_pair();
        batches.push(batch);
        (ours, theirs)
    }));
    let batch = support::pairs::Spread::of(batches).median();
    println!("W1, commit durability, {CALLERS} callers that wait for each event");
    println!("  auditctl          {:>12.0} events/s, {batch:.1} a sync", pairs.first.median());
    println!(
        "  bare write+sync   {:>12.0} events/s, as many bytes and syncs",
        pairs.second.median()
    );
    println!("  ratio             {:>12}", pairs.ratio);
}

fn single() {
    let measured: Vec<[(f64, f64); 2]> = (0..PAIRS).map(|_| single_pair()).collect();
    println!("W1, commit durability, one caller that waits for each event");
    for (at, name) in ["median", "p99"].into_iter().enumerate() {
        let pairs = Pairs::of(measured.iter().map(|pair| pair[at]));
        let micros = |spread: &support::pairs::Spread| spread.median() * 1e6;
        println!("  {name:<7} auditctl  {:>12.0} µs", micros(&pairs.first));
        println!(
            "  {name:<7} bare      {:>12.0} µs, one write and fdatasync",
            micros(&pairs.second)
        );
        println!("  {name:<7} ratio     {:>12}", pairs.ratio);
    }
}

/// `auditctl record --file`, from its start to its end, beside what the engine can take of the
/// same events.
fn import() {
    let events = number("BENCH_EVENTS", 300_000);
    for (name, lines) in
        [("W1", small_lines as fn(u64) -> Vec<u8>), ("W2", real_lines as fn(u64) -> Vec<u8>)]
    {
        let dir = temporary();
        let text = lines(events);
        let count = memchr::memchr_iter(b'\n', &text).count() as f64;
        std::fs::write(dir.path().join("in.ndjson"), &text).unwrap();
        let megabytes = text.len() as f64 / 1e6;
        drop(text);
        let run = || {
            let dir_of_log = temporary();
            let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
            command.env_clear().env("HOME", dir_of_log.path()).stdout(Stdio::null());
            // Neither seals a segment, which would be compressed meanwhile.
            command.env("AUDITCTL_MAX_SEGMENT_SIZE", "1GiB");
            command.current_dir(dir_of_log.path()).args(["record", "--file"]);
            let begun = Instant::now();
            assert!(command.arg(dir.path().join("in.ndjson")).status().unwrap().success());
            count / begun.elapsed().as_secs_f64()
        };
        let pairs = Pairs::in_turn(run, || in_child(&format!("engine-{name}"), events).0);
        println!("{name}, {count} events in a file of {megabytes:.0} MB of NDJSON");
        println!("  record --file     {:>12.0} events/s, commit durability", pairs.first.median());
        println!(
            "  the engine alone  {:>12.0} events/s, interval durability",
            pairs.second.median()
        );
        println!("  ratio             {:>12}", pairs.ratio);
    }
}
