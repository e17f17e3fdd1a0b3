//! Backup and restore beside what people use: `cargo bench --bench backup`.
//!
//! The log is the real events of the fixture, repeated to `BENCH_LOG_MB` (default
//! 200), in `BENCH_DIR`. Every program runs in turn, five times; medians. Peers that
//! are not installed are named, never guessed.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::files::gzip::{Packer, Unpacker};

mod support;
use support::{ROUNDS, fill, fixture, median, number};

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
    println!("{megabytes} MB of W2, {cores} cores, medians of {ROUNDS}");
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

    let mut table = Vec::new();
    for (name, args) in [
        ("gzip -6", &["gzip", "-6", "-c"][..]),
        ("pigz -p2 -6", &["pigz", "-p2", "-6", "-c"]),
        ("igzip -1", &["igzip", "-1", "-c"]),
    ] {
        table.push((name, args.to_vec(), raw.clone(), gz.clone()));
    }
    for (name, args, from, to) in &table {
        match median(|| filter(args, from, to)) {
            Some(took) => row(name, took, bytes, to.metadata().unwrap().len()),
            None => println!("{name:28} not installed"),
        }
    }
    for (name, log) in [("backup, all to compress", &active), ("backup, all sealed", &sealed)] {
        let out = home.path().join(format!("backups-{}", log.file_name().unwrap().display()));
        let took = median(|| Some(ours(&["backup"], log, &out))).unwrap();
        row(name, took, bytes, newest(&out).metadata().unwrap().len());
    }

    println!();
    filter(&["gzip", "-6", "-c"], &raw, &gz).unwrap();
    for (name, args) in [
        ("gzip -dc", &["gzip", "-dc"][..]),
        ("pigz -dc", &["pigz", "-dc"]),
        ("igzip -dc", &["igzip", "-dc"]),
    ] {
        let to = home.path().join("out.ndjson");
        match median(|| filter(args, &gz, &to)) {
            Some(took) => row(name, took, bytes, bytes),
            None => println!("{name:28} not installed"),
        }
    }
    let out = home.path().join("backups-sealed");
    let target = home.path().join("restored");
    let took = median(|| {
        let _ = std::fs::remove_dir_all(&target);
        let to = target.to_string_lossy().into_owned();
        Some(ours(&["restore", "latest", "--target", &to], &sealed, &out))
    });
    row("restore, all checks", took.unwrap(), bytes, bytes);
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
