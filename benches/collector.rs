//! The collector as others meet it: how fast it takes events over its socket,
//! how soon it acknowledges one, and how long `health` takes beside a large log.
//!
//! `cargo bench --bench collector`. Real processes, a real disk; every figure is
//! a median of runs made in turn. Nothing is asserted here. `BENCH_DIR` says
//! where the logs go (default: the working directory), `BENCH_LOG_MB` how large
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

use auditctl::audit::{AuditLog, Durability, Event, Options};

#[path = "support/serving.rs"]
mod serving;
use serving::{
    CLIENTS, Collector, auditctl, hand_in, line, median, percentile, pipelined, settings, temporary,
};

const RUNS: usize = 5;

/// How long one event takes to be acknowledged, and one write with fdatasync.
fn latency(rounds: usize) -> (Duration, Duration, Duration, Duration) {
    let dir = temporary();
    let _collector = Collector::start(dir.path(), "[rate_limit]\nenabled = false\n");
    let stream = UnixStream::connect(dir.path().join("logs/audit.sock")).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let file = std::fs::File::create(dir.path().join("bare")).unwrap();
    let (mut ours, mut bare, mut answer) = (Vec::new(), Vec::new(), String::new());
    let mut offset = 0;
    for n in 0..rounds {
        let line = line(n);
        let begun = Instant::now();
        (&stream).write_all(line.as_bytes()).unwrap();
        answer.clear();
        reader.read_line(&mut answer).unwrap();
        ours.push(begun.elapsed());
        let begun = Instant::now();
        file.write_all_at(line.as_bytes(), offset).unwrap();
        file.sync_data().unwrap();
        bare.push(begun.elapsed());
        offset += line.len() as u64;
    }
    let both = |values: &Vec<Duration>| {
        (percentile(values.clone(), 0.5), percentile(values.clone(), 0.99))
    };
    let ((ours, ours_99), (bare, bare_99)) = (both(&ours), both(&bare));
    (ours, ours_99, bare, bare_99)
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
    println!("{cores} cores, medians of {RUNS} runs in turn\n");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|arg| arg == name);
    if wanted("health") {
        health();
    }
    if wanted("socket") {
        socket();
    }
    if wanted("latency") {
        acknowledgement();
    }
    if wanted("ids") {
        ids();
    }
    if wanted("pages") {
        pages();
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
    const PAGES: usize = 10;
    const PAIRS: usize = 9;
    const EVERY: Duration = Duration::from_secs(2);
    let (mut ratios, mut with_them, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let [looked_at, alone] = [true, false].map(|is_open| {
            let dir = temporary();
            let _collector = Collector::start_at(dir.path(), &settings("commit"), "127.0.0.1:0");
            let session = Session::open(dir.path());
            let over = AtomicBool::new(!is_open);
            std::thread::scope(|scope| {
                for page in 0..PAGES {
                    let (session, over) = (&session, &over);
                    scope.spawn(move || {
                        // Not all at the same moment.
                        std::thread::sleep(EVERY.mul_f64(page as f64 / PAGES as f64));
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
        });
        ratios.push(looked_at / alone);
        with_them.push(looked_at);
        without.push(alone);
    }
    println!("2,000,000 events over the socket, commit durability, {PAIRS} pairs in turn");
    println!("  {PAGES} pages open       {:>12.0} events/s", median(with_them));
    println!("  none                {:>12.0} events/s", median(without));
    println!("  ratio               {:>12.3}\n", median(ratios));
}

/// The event of [`line`], with an id of its own.
fn with_id(n: usize) -> String {
    line(n).replacen('{', &format!("{{\"id\":\"order-{n:08}\","), 1)
}

/// What ids cost: events a second with and without, and how long it takes to open a log of so many.
fn ids() {
    const IDS: usize = 1_000_000;
    let settings = settings("interval");
    let (mut ratios, mut starts) = (Vec::new(), Vec::new());
    for with in [true, false] {
        let dir = temporary();
        let mut collector = Collector::start(dir.path(), &settings);
        hand_in(dir.path(), IDS, if with { &with_id } else { &line });
        let peak = collector.peak_kib();
        for _ in 0..RUNS {
            collector.stop();
            let begun = Instant::now();
            collector = Collector::start(dir.path(), &settings);
            starts.push(begun.elapsed().as_secs_f64());
        }
        println!("{IDS} events, each with an id: {with}");
        println!("  ready again after   {:>12.2} s", median(std::mem::take(&mut starts)));
        println!("  collector           {:>12.1} MiB at its peak", peak as f64 / 1024.0);
    }
    for _ in 0..9 {
        let mut rates = [0.0, 0.0];
        for (rate, with) in rates.iter_mut().zip([true, false]) {
            let dir = temporary();
            let _collector = Collector::start(dir.path(), &settings);
            *rate = hand_in(dir.path(), 200_000, if with { &with_id } else { &line });
        }
        ratios.push(rates[0] / rates[1]);
    }
    println!("  with ids to without {:>12.2} times the events a second\n", median(ratios));
}

fn socket() {
    let (mut interval, mut commit, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        for (durability, rates) in [("interval", &mut interval), ("commit", &mut commit)] {
            let (rate, kib) = pipelined(&settings(durability), 400_000);
            rates.push(rate);
            peak = peak.max(kib);
        }
    }
    println!("W1 over the socket, {CLIENTS} clients, pipelined, until the last is acknowledged");
    println!("  interval durability {:>12.0} events/s", median(interval));
    println!("  commit durability   {:>12.0} events/s", median(commit));
    println!("  collector           {:>12.1} MiB at its peak\n", peak as f64 / 1024.0);
}

fn acknowledgement() {
    let (ours, ours_99, bare, bare_99) = latency(2_000);
    println!("One event after another over the socket, in turn with a bare write and fdatasync");
    println!("  acknowledged        median {ours:>9.0?}  p99 {ours_99:>9.0?}");
    println!("  bare                median {bare:>9.0?}  p99 {bare_99:>9.0?}");
    println!(
        "  ratio               median {:>9.2}  p99 {:>9.2}",
        ours.as_secs_f64() / bare.as_secs_f64(),
        ours_99.as_secs_f64() / bare_99.as_secs_f64()
    );
}

fn health() {
    let megabytes = std::env::var("BENCH_LOG_MB").map_or(1_000, |text| text.parse().unwrap());
    let dir = temporary();
    large_log(dir.path(), megabytes);
    let _collector = Collector::start(dir.path(), "");
    let (mut health, mut version, mut monitor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS * 10 {
        health.push(timed(auditctl(dir.path()).args(["health", "--json"])).as_secs_f64());
        let args = ["monitor", "--once", "--json"];
        monitor.push(timed(auditctl(dir.path()).args(args)).as_secs_f64());
        version.push(timed(auditctl(dir.path()).arg("--version")).as_secs_f64());
    }
    println!("From start to exit, beside a collector on a log of {megabytes} MB");
    println!("  health --json       {:>12.2} ms", median(health) * 1e3);
    println!("  monitor --once      {:>12.2} ms", median(monitor) * 1e3);
    println!("  --version           {:>12.2} ms\n", median(version) * 1e3);
}
