//! The archive's Parquet objects beside its gzip objects: `cargo bench --bench parquet`.
//!
//! The lines are the records of the real events of the fixture, repeated to `BENCH_LOG_MB`
//! (default 200). One thread; medians of five. With `BENCH_KEEP=DIR` the files stay there, for
//! engines to be timed on.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use auditctl::archive::parquet::{Lines, Writer};
use auditctl::archive::{ObjectName, Place};
use auditctl::audit::files::gzip::Packer;
use auditctl::audit::tree::merkle::leaf_hash;
use bytes::Bytes;

mod support;
use support::{ROUNDS, fixture, median, number};

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let megabytes = number("BENCH_LOG_MB", 200);
    let (blocks, records) = blocks(megabytes << 20);
    let raw: usize = blocks.iter().map(Bytes::len).sum();
    let place = place(records);
    println!("{records} records, {raw} bytes of lines, one thread, medians of {ROUNDS}");

    let mut gzip = Vec::new();
    let took = median(|| {
        let begun = Instant::now();
        let mut packer = Packer::new(6);
        gzip = blocks.iter().flat_map(|block| packer.member(block).unwrap()).collect();
        Some(begun.elapsed())
    });
    row("gzip -6, 1 MiB members", took, records, Some(gzip.len()));
    let mut parquet = Vec::new();
    let took = median(|| {
        let begun = Instant::now();
        let mut writer = Writer::new(Vec::new(), place.clone()).unwrap();
        blocks.iter().for_each(|block| writer.add(block.clone()).unwrap());
        parquet = writer.finish().unwrap();
        Some(begun.elapsed())
    });
    row("Parquet is made", took, records, Some(parquet.len()));
    let file = Bytes::from(parquet);
    let took = median(|| {
        let begun = Instant::now();
        let mut lines = Lines::of(file.clone(), &place).unwrap();
        let mut count = 0;
        while let Some((_, line)) = lines.next_line().unwrap() {
            std::hint::black_box(leaf_hash(line));
            count += 1;
        }
        assert_eq!(count, records);
        Some(begun.elapsed())
    });
    row("Parquet is read back, checked", took, records, None);
    if let Some(folder) = std::env::var_os("BENCH_KEEP") {
        let folder = std::path::Path::new(&folder);
        std::fs::write(folder.join("records.parquet"), &file).unwrap();
        std::fs::write(folder.join("records.json.gz"), &gzip).unwrap();
    }
}

fn row(name: &str, took: Option<Duration>, records: u64, bytes: Option<usize>) {
    let rate = records as f64 / took.unwrap().as_secs_f64();
    let each = bytes.map(|bytes| format!(", {:.1} bytes an event", bytes as f64 / records as f64));
    println!("{name:30} {rate:10.0} events/s{}", each.unwrap_or_default());
}

fn place(records: u64) -> Place {
    let name = format!(
        "parquet/v1/day=2026-02-04/host=web-1/0123456789abcdef.e0.{:020}-{records:020}.parquet",
        0
    );
    match name.parse() {
        Ok(ObjectName::Parquet(place)) => place,
        other => panic!("{other:?}"),
    }
}

/// Blocks of about 1 MiB of stored lines, and how many records they hold.
fn blocks(bytes: u64) -> (Vec<Bytes>, u64) {
    let text = fixture();
    let (mut blocks, mut block, mut seq, mut written) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
    while written < bytes {
        for event in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // As the writer stores it: seq first, an origin and the time of acceptance last.
            let begun = block.len();
            block.extend_from_slice(format!("{{\"seq\":{seq},").as_bytes());
            block.extend_from_slice(&as_stored(event, seq));
            written += (block.len() - begun) as u64;
            seq += 1;
            if block.len() > 1 << 20 {
                blocks.push(Bytes::from(std::mem::take(&mut block)));
            }
        }
    }
    blocks.push(Bytes::from(block));
    (blocks, seq)
}

/// The fixture's events name their time to the second; records have six decimals.
fn as_stored(event: &[u8], seq: u64) -> Vec<u8> {
    let event = std::str::from_utf8(event).unwrap();
    let rest = event.strip_prefix("{\"timestamp\":\"").unwrap();
    let (time, rest) = rest.split_once("Z\"").unwrap();
    let rest = rest.strip_suffix('}').unwrap();
    let accepted = auditctl::clock::Timestamp::from_micros(
        1_770_000_000_000_000 + i64::try_from(seq).unwrap() * 731,
    );
    format!(
        "\"timestamp\":\"{time}.000000Z\"{rest},\"origin\":{{\"via\":\"socket\",\"uid\":1000,\"pid\":4242}},\
         \"recorded_at\":\"{accepted}\"}}\n"
    )
    .into_bytes()
}
