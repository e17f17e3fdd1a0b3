//! What an archive costs the writer, how much of the trail a host takes with it that is lost, and
//! how fast the archive is checked.
//!
//! `cargo bench --bench archive`, with the archive in a directory beside the log. After `--`: only
//! `writer`, `lost` or `verify`. Real processes, a real disk; nothing is asserted. `BENCH_KILLS`
//! says how often a host is killed (default 100), `BENCH_EVENTS` how many events are verified
//! (default 500,000), `BENCH_DIR` where all of it goes.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::archive::Position;
use auditctl::fsio::OsFs;

#[path = "support/serving.rs"]
mod serving;
mod support;
use serving::{Collector, auditctl, hand_in, line, pipelined, settings};
use support::pairs::{Machine, PAIRS, Pairs, Spread};
use support::{number, temporary};

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores\n");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    for (name, run) in [("writer", writer as fn()), ("lost", lost), ("verify", verify)] {
        if asked.is_empty() || asked.iter().any(|arg| arg == name) {
            let machine = Machine::watch();
            run();
            println!("  {machine}\n");
        }
    }
}

fn shipping(to: &Path) -> String {
    std::fs::create_dir_all(to).unwrap();
    format!("[archive]\ndestination = \"{}\"\ninterval = \"1s\"\n", to.display())
}

/// Events a second over the socket with and without an archive, in turn.
fn writer() {
    let with_it = || {
        let bucket = temporary();
        let text = format!("{}{}", settings("commit"), shipping(bucket.path()));
        pipelined(&text, 1_000_000).0
    };
    let pairs = Pairs::in_turn(with_it, || pipelined(&settings("commit"), 1_000_000).0);
    println!("1,000,000 events over the socket, commit durability, {PAIRS} pairs in turn");
    println!("  with an archive     {:>12.0} events/s", pairs.first.median());
    println!("  without             {:>12.0} events/s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
}

/// Kills a host that records 200 events a second, at any moment, and looks how old the oldest
/// event is that was acknowledged and that no checkpoint in the archive covers.
fn lost() {
    let kills = number("BENCH_KILLS", 100);
    let (dir, bucket) = (temporary(), temporary());
    let text = format!("{}{}", settings("commit"), shipping(bucket.path()));
    let (mut random, mut ages) = (0x5DEE_CE66_u64, Vec::new());
    let mut unshipped: Vec<(u64, Instant)> = Vec::new();
    for _ in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_millis(2_000 + (random >> 33) % 3_000);
        let mut collector = Collector::start(dir.path(), &text);
        let stream = UnixStream::connect(dir.path().join("logs/audit.sock")).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let begun = Instant::now();
        let mut answer = String::new();
        for n in 0.. {
            if begun.elapsed() >= life {
                break;
            }
            (&stream).write_all(line(n).as_bytes()).unwrap();
            answer.clear();
            answers.read_line(&mut answer).unwrap();
            let seq = serde_json::from_str::<serde_json::Value>(&answer).unwrap();
            unshipped.push((seq["ok"]["seq"].as_u64().unwrap(), Instant::now()));
            std::thread::sleep(Duration::from_millis(5));
        }
        collector.0.kill().unwrap();
        let killed = Instant::now();
        collector.0.wait().unwrap();
        let position = Position::load(&OsFs, &dir.path().join("logs")).ok().flatten();
        let end = position.map_or(0, |position| position.shipped.end());
        unshipped.retain(|(seq, _)| *seq >= end);
        let oldest = unshipped.first().map(|(_, at)| killed.duration_since(*at));
        ages.push(oldest.unwrap_or_default().as_secs_f64());
    }
    println!(
        "{kills} hosts lost, `interval` 1 s, 200 events/s: the oldest event that went with one"
    );
    let ages = Spread::of(ages);
    println!("  median              {:>12.2} s", ages.median());
    println!("  p99                 {:>12.2} s", ages.part(0.99));
    println!("  at most             {:>12.2} s", ages.part(1.0));
}

/// `fleet verify` of one log, beside unpacking and hashing its lines.
fn verify() {
    let events = number("BENCH_EVENTS", 500_000);
    let (dir, bucket) = (temporary(), temporary());
    let text = format!("{}{}", settings("interval"), shipping(bucket.path()));
    let mut collector = Collector::start(dir.path(), &text);
    hand_in(dir.path(), usize::try_from(events).unwrap(), &line);
    collector.stop();
    let place = bucket.path().display().to_string();
    assert!(auditctl(dir.path()).args(["archive", &place]).status().unwrap().success());
    let hashed = "find data tail -name '*.gz' 2>/dev/null | sort | xargs zcat | sha256sum";
    let ours = || {
        let mut fleet = auditctl(dir.path());
        fleet.args(["fleet", "verify", &place, "--full"]).stderr(Stdio::null());
        let begun = Instant::now();
        // Keys that are known only from the bucket are a finding.
        assert!(matches!(fleet.status().unwrap().code(), Some(0 | 1)));
        begun.elapsed().as_secs_f64()
    };
    let theirs = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", hashed]).current_dir(bucket.path()).stdout(Stdio::null());
        let begun = Instant::now();
        assert!(shell.status().unwrap().success());
        begun.elapsed().as_secs_f64()
    };
    let pairs = Pairs::in_turn(ours, theirs);
    println!("{events} events, {PAIRS} pairs in turn");
    println!("  fleet verify        {:>12.2} s", pairs.first.median());
    println!("  zcat | sha256sum    {:>12.2} s", pairs.second.median());
    println!("  ratio               {:>12}", pairs.ratio);
}
