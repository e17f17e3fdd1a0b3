//! Backup and restore beside what people use: `cargo bench --bench backup`.
//!
//! The log is the real events of the fixture, repeated to `BENCH_LOG_MB` (default
//! 200), in `BENCH_DIR`. Every program runs in turn, nine times; medians, and the ratio to ours in
//! each round. Peers that are not installed are named, never guessed.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::files::gzip::{Packer, Unpacker};

mod support;
use support::{fill, fixture, median, number};

/// Rounds, in each of which every program runs once.
const PAIRS: usize = 9;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let megabytes = number("BENCH_LOG_MB", 200);
    let home = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{megabytes} MB of W2, {cores} cores, medians of {PAIRS}");
    blocks();
    let sealed = home.path().join("sealed");
    let active = home.path().join("active");
    fill(&sealed, megabytes, 50 << 20);
    fill(&active, megabytes, 4 << 30);
    let raw = home.path().join("raw.ndjson");
    std::fs::copy(active.join("audit.log"), &raw).unwrap();
    let bytes = raw.metadata().unwrap().len();
    let gz = home.path().join("raw.ndjson.gz");
    println!("\n{bytes} bytes of lines\n");

    let sealed_out = home.path().join("backups-sealed");
    let active_out = home.path().join("backups-active");
    let pack = |name: &'static str, args: &'static [&'static str]| {
        let (from, to) = (raw.clone(), gz.clone());
        let run = Box::new(move || {
            let took = filter(args, &from, &to)?;
            Some((took, to.metadata().unwrap().len()))
        });
        Contender { name, run }
    };
    let back_up = |name: &'static str, log: &Path, out: &Path| {
        let (log, out) = (log.to_owned(), out.to_owned());
        let run = Box::new(move || {
            let took = ours(&["backup", "--full"], &log, &out);
            Some((took, newest(&out).metadata().unwrap().len()))
        });
        Contender { name, run }
    };
    in_turn(
        bytes,
        vec![
            back_up("backup, all to compress", &active, &active_out),
            pack("pigz -p2 -6", &["pigz", "-p2", "-6", "-c"]),
            pack("gzip -6", &["gzip", "-6", "-c"]),
            pack("igzip -1", &["igzip", "-1", "-c"]),
            back_up("backup, all sealed", &sealed, &sealed_out),
        ],
    );

    filter(&["gzip", "-6", "-c"], &raw, &gz).unwrap();
    let unpack = |name: &'static str, args: &'static [&'static str]| {
        let (from, to) = (gz.clone(), home.path().join("out.ndjson"));
        let run = Box::new(move || Some((filter(args, &from, &to)?, bytes)));
        Contender { name, run }
    };
    let target = home.path().join("restored");
    let restore = move || {
        let _ = std::fs::remove_dir_all(&target);
        let to = target.to_string_lossy().into_owned();
        Some((ours(&["restore", "latest", "--target", &to], &sealed, &sealed_out), bytes))
    };
    in_turn(
        bytes,
        vec![
            Contender { name: "restore, all checks", run: Box::new(restore) },
            unpack("gzip -dc", &["gzip", "-dc"]),
            unpack("pigz -dc", &["pigz", "-dc"]),
            unpack("igzip -dc", &["igzip", "-dc"]),
        ],
    );
}

/// One of those that are run in turn: how long it took, and how much it made of it.
struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> Option<(Duration, u64)> + 'a>,
}

/// Runs them in turn, so often; medians, and by how much the first is faster in each round.
fn in_turn(raw: u64, mut all: Vec<Contender<'_>>) {
    let mut times: Vec<Vec<(Duration, u64)>> = vec![Vec::new(); all.len()];
    for _ in 0..PAIRS {
        for (contender, times) in all.iter_mut().zip(&mut times) {
            times.extend((contender.run)());
        }
    }
    println!();
    let first = times[0].clone();
    for (contender, times) in all.iter().zip(&times) {
        let Some((_, stored)) = times.last() else {
            println!("{:28} not installed", contender.name);
            continue;
        };
        let mut sorted: Vec<Duration> = times.iter().map(|(took, _)| *took).collect();
        sorted.sort();
        row(contender.name, sorted[sorted.len() / 2], raw, *stored);
        let pairs = times.iter().zip(&first);
        let mut ratios: Vec<f64> =
            pairs.map(|((its, _), (ours, _))| its.as_secs_f64() / ours.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{:28} its time to that of the first: {:.2}, from {:.2} to {:.2} in {} pairs",
            "",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1],
            ratios.len()
        );
    }
}

fn row(name: &str, took: Duration, raw: u64, stored: u64) {
    let seconds = took.as_secs_f64();
    let (rate, ratio) = (raw as f64 / 1e6 / seconds, raw as f64 / stored as f64);
    println!("{name:28} {seconds:7.2} s {rate:8.1} MB/s of lines, ratio {ratio:5.2}");
}

fn filter(args: &[&str], from: &Path, to: &Path) -> Option<Duration> {
    let output = std::fs::File::create(to).unwrap();
    let begun = Instant::now();
    let status = Command::new(args[0]).args(&args[1..]).arg(from).stdout(output).status().ok()?;
    assert!(status.success(), "{args:?}");
    Some(begun.elapsed())
}

fn ours(args: &[&str], log: &Path, out: &Path) -> Duration {
    let begun = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_auditctl"))
        .args(args)
        .arg("--log-dir")
        .arg(log)
        .arg("--output-dir")
        .arg(out)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{args:?}");
    begun.elapsed()
}

fn newest(dir: &Path) -> PathBuf {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let archives = names.filter(|path| path.extension().is_some_and(|end| end == "gz"));
    archives.max().unwrap()
}

/// Blocks of about 1 MiB: libdeflate, which packs them, beside zlib-rs.
fn blocks() {
    let text = fixture();
    let mut blocks: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let end = (at + (1 << 20)).min(text.len());
        let end = text[end..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| end + n + 1);
        blocks.push(&text[at..end]);
        at = end;
    }
    let bytes = text.len() as u64;
    for level in [1, 6, 9] {
        let mut sizes = (0, 0);
        let zlib = median(|| {
            let begun = Instant::now();
            sizes.0 = blocks.iter().map(|block| zlib_member(block, level).len() as u64).sum();
            Some(begun.elapsed())
        });
        // The packer reads each member back; that is part of what it does.
        let mut packer = Packer::new(level);
        let libdeflate = median(|| {
            let begun = Instant::now();
            sizes.1 = blocks.iter().map(|block| packer.member(block).unwrap().len() as u64).sum();
            Some(begun.elapsed())
        });
        row(&format!("zlib-rs -{level}"), zlib.unwrap(), bytes, sizes.0);
        row(&format!("libdeflate -{level}, read back"), libdeflate.unwrap(), bytes, sizes.1);
    }
    let members: Vec<Vec<u8>> = blocks.iter().map(|block| zlib_member(block, 6)).collect();
    let mut raw = Vec::new();
    let zlib = median(|| {
        let begun = Instant::now();
        for member in &members {
            raw.clear();
            flate2::read::MultiGzDecoder::new(&member[..]).read_to_end(&mut raw).unwrap();
        }
        Some(begun.elapsed())
    });
    let mut unpacker = Unpacker::new();
    let libdeflate = median(|| {
        let begun = Instant::now();
        members.iter().for_each(|member| unpacker.unpack(member, &mut raw).unwrap());
        Some(begun.elapsed())
    });
    row("unpack with zlib-rs", zlib.unwrap(), bytes, bytes);
    row("unpack with libdeflate", libdeflate.unwrap(), bytes, bytes);
}

fn zlib_member(block: &[u8], level: u32) -> Vec<u8> {
    let level = flate2::Compression::new(level);
    let mut encoder = flate2::GzBuilder::new().write(Vec::with_capacity(block.len() / 4), level);
    encoder.write_all(block).unwrap();
    encoder.finish().unwrap()
}
