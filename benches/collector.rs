//! The collector as others meet it: how fast it takes events over its socket,
//! how soon it acknowledges one, and how long `health` takes beside a large log.
//!
//! `cargo bench --bench collector`. Real processes, a real disk; every figure is
//! a median of runs made in turn. Nothing is asserted here. `BENCH_DIR` says
//! where the logs go (default: the working directory), `BENCH_LOG_MB` how large
//! the log beside `health` is (default: 1000). After `--`: only `health`, `socket`
//! or `latency`.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::{AuditLog, Durability, Event, Options};

const RUNS: usize = 5;
const CLIENTS: usize = 4;

fn temporary() -> tempfile::TempDir {
    let dir = std::env::var_os("BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(dir).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn percentile(mut values: Vec<Duration>, part: f64) -> Duration {
    values.sort();
    values[((values.len() - 1) as f64 * part) as usize]
}

fn auditctl(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
    command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

struct Collector(Child);

impl Collector {
    fn start(dir: &Path, settings: &str) -> Self {
        std::fs::write(dir.join("auditctl.toml"), settings).unwrap();
        let mut child =
            auditctl(dir).args(["serve", "--http", "off"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready:") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the collector did not start");
        }
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self(child)
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// W1: about 300 bytes a record.
fn line(n: usize) -> String {
    format!(
        "{{\"event_type\":\"data_access\",\"actor\":\"alice\",\"source\":\"service-{}\",\
         \"outcome\":\"success\",\"details\":{{\"index\":{n},\"data\":\"the quick brown fox jumps \
         over the lazy dog\",\"ip\":\"10.248.16.43\",\"user_agent\":\"Mozilla/5.0 (X11; Linux \
         x86_64)\"}}}}\n",
        n % 500
    )
}

/// Events a second over all clients, until the last is acknowledged; the
/// collector's peak memory.
fn pipelined(durability: &str, events: usize) -> (f64, u64) {
    let dir = temporary();
    let settings = format!(
        "durability = \"{durability}\"\nmax_segment_size = \"1GiB\"\n[rate_limit]\nenabled = false\n"
    );
    let collector = Collector::start(dir.path(), &settings);
    let each = events / CLIENTS;
    let text: String = (0..each).map(line).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let stream = UnixStream::connect(dir.path().join("logs/audit.sock")).unwrap();
            let mut answers = stream.try_clone().unwrap();
            let text = &text;
            scope.spawn(move || (&stream).write_all(text.as_bytes()).unwrap());
            scope.spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                let mut answered = 0;
                while answered < each {
                    let read = answers.read(&mut buffer).unwrap();
                    assert!(read > 0, "the collector hung up");
                    answered += memchr::memchr_iter(b'\n', &buffer[..read]).count();
                }
            });
        }
    });
    let rate = (each * CLIENTS) as f64 / begun.elapsed().as_secs_f64();
    (rate, collector.peak_kib())
}

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
}

fn socket() {
    let (mut interval, mut commit, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        for (durability, rates) in [("interval", &mut interval), ("commit", &mut commit)] {
            let (rate, kib) = pipelined(durability, 400_000);
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
