//! One measurement a run, printed as one line of JSON: what `benches/peers/run.py` takes turns with.
//!
//! | arguments | what |
//! |---|---|
//! | `interval EVENTS` | W1 with interval durability, two producers, until durable |
//! | `engine EVENTS` | the same with W2, its events parsed beforehand |
//! | `appender EVENTS` | W1 through tracing-appender |
//! | `commit SECONDS` | W1 with 64 callers that wait |
//! | `one SECONDS` | W1 with one caller that waits |
//! | `bare SECONDS BATCH` | `write` and `fdatasync` of so many events at once |
//! | `hand-in DIR EVENTS` | W1 over the socket of the collector in DIR, four pipelined clients |
//! | `waiting DIR SECONDS` | W1 over it, 64 clients that wait for each answer |
//! | `seal LOG` | seals and compresses what the log has |
//! | `parquet LOG DIR` | ships all that the log has to DIR, with Parquet beside it, and nothing in tails |
//! | `load DIR HTTP` | full load on that collector until standard input ends: see [`load`] |
//! | `start TIMES PROGRAM ARGS…` | how long the program takes from start to exit, and its peak of memory |
//!
//! `BENCH_DIR` says where logs go.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::{AuditLog, Options};
use serde_json::{Value, json};

mod load;
mod recording;
#[path = "../support/serving.rs"]
mod serving;
#[path = "../support/mod.rs"]
mod support;

const CLIENTS: usize = 64;

fn main() {
    let all: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if all.is_empty() || all.iter().any(|arg| arg == "--test") {
        println!("python3 benches/peers/run.py takes the measurements");
        return;
    }
    let arg =
        |at: usize| all.get(at).unwrap_or_else(|| panic!("argument {at} is missing")).as_str();
    let number = |at: usize| arg(at).parse::<f64>().unwrap();
    let count = |at: usize| number(at) as u64;
    let time = |at: usize| Duration::from_secs_f64(number(at));
    if arg(0) == "load" {
        return load::run(Path::new(arg(1)), arg(2));
    }
    let told = match arg(0) {
        "interval" => with_peak(recording::interval(count(1))),
        "engine" => with_peak(recording::engine(count(1))),
        "appender" => with_peak(recording::appender(count(1))),
        "commit" => {
            let (rate, per_sync) = recording::commit(time(1));
            json!({ "rate": rate, "per_sync": per_sync })
        }
        "one" => rate(recording::waited(1, time(1)).0),
        "bare" => rate(recording::bare(time(1), number(2))),
        "hand-in" => rate(serving::hand_in(Path::new(arg(1)), count(2) as usize, &serving::line)),
        "waiting" => rate(waiting(Path::new(arg(1)), time(2))),
        "seal" => seal(Path::new(arg(1))),
        #[cfg(feature = "parquet")]
        "parquet" => parquet(Path::new(arg(1)), Path::new(arg(2))),
        "start" => start(count(1), &all[2..]),
        other => panic!("there is no measurement {other}"),
    };
    println!("{told}");
}

fn rate(rate: f64) -> Value {
    json!({ "rate": rate })
}

/// The most memory that this process had, too.
fn with_peak(rate: f64) -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let peak_kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    json!({ "rate": rate, "peak_kib": peak_kib })
}

/// Events a second of clients that wait for each answer.
fn waiting(dir: &Path, time: Duration) -> f64 {
    let streams: Vec<UnixStream> =
        (0..CLIENTS).map(|_| UnixStream::connect(dir.join("logs/audit.sock")).unwrap()).collect();
    let begun = Instant::now();
    let done: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = streams
            .iter()
            .map(|stream| {
                scope.spawn(move || {
                    let mut answers = BufReader::new(stream.try_clone().unwrap());
                    let (mut stream, mut answer, mut done) = (stream, String::new(), 0);
                    while begun.elapsed() < time {
                        stream.write_all(serving::line(done).as_bytes()).unwrap();
                        answer.clear();
                        answers.read_line(&mut answer).unwrap();
                        assert!(answer.starts_with("{\"ok\""), "{answer}");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    done as f64 / begun.elapsed().as_secs_f64()
}

/// All that the log has becomes sealed and compressed.
fn seal(dir: &Path) -> Value {
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(dir) }).unwrap();
    let end = log.acked_seq();
    log.seal();
    let waits = |log: &AuditLog| {
        let manifest = log.manifest();
        manifest.end_seq() < end || manifest.segments.iter().any(|one| !one.is_compressed())
    };
    while waits(&log) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let segments = log.manifest().segments.len();
    log.close().unwrap();
    json!({ "segments": segments })
}

/// `auditctl archive` leaves what is little and young in a tail, without Parquet.
#[cfg(feature = "parquet")]
fn parquet(log: &Path, to: &Path) -> Value {
    use auditctl::archive::{Archiver, Cuts, HostName};
    let archiver = Archiver {
        fs: std::sync::Arc::new(auditctl::fsio::OsFs),
        clock: std::sync::Arc::new(auditctl::clock::SystemClock),
        store: std::sync::Arc::new(auditctl::store::LocalStore::new(to)),
        log_dir: log.to_owned(),
        host: HostName::of("bench"),
        cuts: Cuts { tail_bytes: 0, ..Cuts::default() },
    };
    let shipped = archiver.pass(&auditctl::backup::Unwatched).unwrap();
    json!({ "records": shipped.tree_size })
}

/// From start to exit, at the median; the most memory that any of them had. This process has little
/// itself: what a child is charged with begins with its parent's pages.
fn start(times: u64, command: &[String]) -> Value {
    let mut took: Vec<f64> = (0..times)
        .map(|_| {
            let mut child = Command::new(&command[0]);
            child.args(&command[1..]).stdin(Stdio::null());
            child.stdout(Stdio::null()).stderr(Stdio::null());
            let begun = Instant::now();
            let status = child.status().unwrap();
            let took = begun.elapsed();
            assert!(status.code().is_some(), "{command:?}: {status}");
            took.as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    json!({ "seconds": took[took.len() / 2], "peak_kib": usage.unwrap().max_rss() })
}
