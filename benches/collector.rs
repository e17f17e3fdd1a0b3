//! The collector as others meet it: how fast it takes events over its socket,
//! how soon it acknowledges one, and how long `health` takes beside a large log.
//!
//! `cargo bench --bench collector`. Real processes, a real disk; every figure is
//! a median of runs made in turn, and each run says whether the machine was quiet. Nothing is
//! asserted here. `BENCH_DIR` says where the logs go, `BENCH_LOG_MB` how large
//! the log beside `health` is (default: 1000). After `--`: only `health`, `socket`,
//! `latency`, `ids` or `pages`.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditctl::audit::state::status::{StatusSnapshot, Word};
use auditctl::audit::{AuditLog, Durability, Event, Options};

#[path = "support/serving.rs"]
mod serving;
mod support;
use serving::{CLIENTS, Collector, auditctl, hand_in, line, pipelined, settings};
use support::pairs::{Machine, PAIRS, Pairs, Spread};
use support::temporary;

/// How long one event takes to be acknowledged, and one write with fdatasync: runs of so many
/// each, in turn. The middle, and the value below which 99 of 100 are.
fn latency() -> [(f64, f64); 2] {
    const RUN: usize = 50;
    const RUNS: usize = 10;
    let dir = temporary();
    let _collector = Collector::start(dir.path(), "[rate_limit]\nenabled = false\n");
    let stream = UnixStream::connect(dir.path().join("logs/audit.sock")).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let file = std::fs::File::create(dir.path().join("bare")).unwrap();
    let (mut ours, mut bare, mut answer, mut offset) = (Vec::new(), Vec::new(), String::new(), 0);
    for run in 0..RUNS {
        for n in 0..RUN {
            let line = line(run * RUN + n);
            let begun = Instant::now();
            (&stream).write_all(line.as_bytes()).unwrap();
            answer.clear();
            reader.read_line(&mut answer).unwrap();
            ours.push(begun.elapsed().as_secs_f64());
        }
        // As many bytes as a record of it has.
        let line = line(run) + &"x".repeat(100);
        for _ in 0..RUN {
            let begun = Instant::now();
            file.write_all_at(line.as_bytes(), offset).unwrap();
            file.sync_data().unwrap();
            bare.push(begun.elapsed().as_secs_f64());
            offset += line.len() as u64;
        }
    }
    let (ours, bare) = (Spread::of(ours), Spread::of(bare));
    [(ours.median(), bare.median()), (ours.part(0.99), bare.part(0.99))]
}

/// A log of that size in 50 MiB segments, and a collector on it.
fn large_log(dir: &Path, megabytes: u64) {
    let log = AuditLog::open(Options {
        durability: Durability::Interval,
        rate_limit: None,
        retention: None,
        ..Options::new(dir.join("logs"))
    })
    .unwrap();
    let details = serde_json::json!({ "data": "x".repeat(900) });
    for _ in 0..megabytes * 1_000 {
        let event = Event::new("data_access").actor("alice").details(&details).unwrap();
        let _ = log.record(event).unwrap();
    }
    log.close().unwrap();
}

/// From start to exit.
fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.status().unwrap();
    assert!(status.code().is_some());
    begun.elapsed()
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, medians of {PAIRS} runs in turn\n");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if asked.iter().any(|arg| arg == "--test") {
        return;
    }
    for (name, run) in [
        ("health", health as fn()),
        ("socket", socket),
        ("latency", acknowledgement),
        ("ids", ids),
        ("pages", pages),
    ] {
        if asked.is_empty() || asked.iter().any(|arg| arg == name) {
            let machine = Machine::watch();
            run();
            println!("  {machine}\n");
        }
    }
}

/// A user's session over HTTP, as the page has one.
struct Session {
    address: String,
    token: String,
}

impl Session {
    fn open(dir: &Path) -> Self {
        let mut command = auditctl(dir);
        let output = command.args(["open", "--json"]).stdout(Stdio::piped()).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let address = told["address"].as_str().unwrap();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, token: told["token"].as_str().unwrap().to_owned() }
    }

    fn get(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, token) = (&self.address, &self.token);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: \
             close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Events a second over the socket with and without ten pages that look as the page does, in turn.
fn pages() {
    let pairs = Pairs::in_turn(|| looked_at(10), || looked_at(0));
    println!("2,000,000 events over the socket, commit durability, {PAIRS} pairs in turn");
    println!("  ten pages open      {:>12.0} events/s", pairs.first.median());
    println!("  none                {:>12.0} events/s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
}

/// Events a second while so many pages are open.
fn looked_at(pages: usize) -> f64 {
    const EVERY: Duration = Duration::from_secs(2);
    let dir = temporary();
    let _collector = Collector::start_at(dir.path(), &settings("commit"), "127.0.0.1:0");
    let session = Session::open(dir.path());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for page in 0..pages {
            let (session, over) = (&session, &over);
            scope.spawn(move || {
                // Not all at the same moment.
                std::thread::sleep(EVERY.mul_f64(page as f64 / pages as f64));
                while !over.load(Ordering::Relaxed) {
                    session.get("/v1/status");
                    session.get("/v1/events?limit=50");
                    std::thread::sleep(EVERY);
                }
            });
        }
        let rate = hand_in(dir.path(), 2_000_000, &line);
        over.store(true, Ordering::Relaxed);
        rate
    })
}

/// The event of [`line`], with an id of its own.
fn with_id(n: usize) -> String {
    line(n).replacen('{', &format!("{{\"id\":\"order-{n:08}\","), 1)
}

/// What ids cost: events a second with and without, and how long it takes to open a log of so many.
fn ids() {
    const IDS: usize = 1_000_000;
    let rate = |line: &(dyn Fn(usize) -> String + Sync)| {
        let dir = temporary();
        let _collector = Collector::start(dir.path(), &settings("interval"));
        hand_in(dir.path(), 400_000, line)
    };
    let pairs = Pairs::in_turn(|| rate(&with_id), || rate(&line));
    println!("400,000 events over the socket, interval durability, {PAIRS} pairs in turn");
    println!("  each with an id     {:>12.0} events/s", pairs.first.median());
    println!("  none                {:>12.0} events/s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
    let [with, without] = [&with_id as &(dyn Fn(usize) -> String + Sync), &line].map(|line| {
        let dir = temporary();
        let mut collector = Collector::start(dir.path(), &settings("interval"));
        hand_in(dir.path(), IDS, line);
        let full = collector.peak_kib();
        collector.stop();
        (dir, full, 0)
    });
    let mut logs = [with, without];
    let mut open = |nth: usize| {
        let begun = Instant::now();
        let mut collector = Collector::start(logs[nth].0.path(), &settings("interval"));
        let took = begun.elapsed().as_secs_f64();
        logs[nth].2 = collector.peak_kib().max(logs[nth].2);
        collector.stop();
        took
    };
    let pairs = Pairs::of((0..PAIRS).map(|_| (open(0), open(1))));
    println!("A collector is ready again on a log of {IDS} events");
    println!("  each with an id     {:>12.2} s", pairs.first.median());
    println!("  none                {:>12.2} s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
    for (name, (_, full, opened)) in ["each with an id", "none"].iter().zip(&logs) {
        let (full, opened) = (*full as f64 / 1024.0, *opened as f64 / 1024.0);
        println!("  {name:<19} {full:>12.1} MiB at most, {opened:.1} MiB when it opens again");
    }
}

/// Over the socket, beside a loop that writes as many bytes as the log got, and syncs as often.
fn socket() {
    const EVENTS: usize = 400_000;
    let (mut peak, mut batches) = (0, Vec::new());
    let mut pair = || {
        let dir = temporary();
        let collector = Collector::start(dir.path(), &settings("commit"));
        let page = dir.path().join("logs/audit.status");
        let before = StatusSnapshot::read(&page).unwrap();
        let rate = hand_in(dir.path(), EVENTS, &line);
        let after = StatusSnapshot::read(&page).unwrap();
        peak = peak.max(collector.peak_kib());
        let grown = |word| after.get(word) - before.get(word);
        let (syncs, bytes) = (grown(Word::Syncs), grown(Word::BytesWritten));
        batches.push(EVENTS as f64 / syncs as f64);
        let file = std::fs::File::create(dir.path().join("bare")).unwrap();
        (rate, EVENTS as f64 / support::bare_loop(&file, &mut 0, syncs, bytes))
    };
    let pairs = Pairs::of((0..PAIRS).map(|_| pair()));
    let batch = Spread::of(batches).median();
    println!("W1 over the socket, {CLIENTS} clients, pipelined, until the last is acknowledged");
    println!("  commit durability   {:>12.0} events/s, {batch:.0} a sync", pairs.first.median());
    println!("  bare write+sync     {:>12.0} events/s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
    let rate = || pipelined(&settings("interval"), EVENTS).0;
    println!(
        "  interval durability {:>12.0} events/s",
        Spread::of((0..PAIRS).map(|_| rate()).collect()).median()
    );
    println!("  collector           {:>12.1} MiB at its peak", peak as f64 / 1024.0);
}

fn acknowledgement() {
    let measured: Vec<[(f64, f64); 2]> = (0..PAIRS).map(|_| latency()).collect();
    println!("One event after another over the socket, beside one write and fdatasync");
    for (at, name) in ["median", "p99"].into_iter().enumerate() {
        let pairs = Pairs::of(measured.iter().map(|pair| pair[at]));
        println!("  {name:<7} acknowledged {:>11.0} µs", pairs.first.median() * 1e6);
        println!("  {name:<7} bare         {:>11.0} µs", pairs.second.median() * 1e6);
        println!("  {name:<7} ratio        {:>11}", pairs.ratio);
    }
}

fn health() {
    let megabytes = support::number("BENCH_LOG_MB", 1_000);
    let dir = temporary();
    large_log(dir.path(), megabytes);
    let _collector = Collector::start(dir.path(), "");
    let time = |args: &[&str]| timed(auditctl(dir.path()).args(args)).as_secs_f64() * 1e3;
    let (mut health, mut version, mut monitor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        health.push(time(&["health", "--json"]));
        monitor.push(time(&["monitor", "--once", "--json"]));
        version.push(time(&["--version"]));
    }
    println!("From start to exit, beside a collector on a log of {megabytes} MB");
    println!("  health --json       {:>12.2} ms", Spread::of(health).median());
    println!("  monitor --once      {:>12.2} ms", Spread::of(monitor).median());
    println!("  --version           {:>12.2} ms", Spread::of(version).median());
}
