//! Recording inside of this process, and the least that must be done for it; events a second.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use auditctl::audit::state::status::Word;
use auditctl::audit::{AuditLog, Durability, Event, Options, ParseMode};
use serde::Serialize;

const CALLERS: usize = 64;

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

fn temporary() -> tempfile::TempDir {
    let dir = std::env::var_os("BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(dir).unwrap()
}

/// As `durability = "interval"` and a long queue.
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

/// Two producers and interval durability, until all is durable.
fn produced(events: u64, make: &(dyn Fn(u64) -> Event + Sync)) -> f64 {
    let dir = temporary();
    let log = AuditLog::open(fast(&dir.path().join("logs"))).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..events / 2 {
                    let _ = log.record(make(n * 2 + producer)).unwrap();
                }
            });
        }
    });
    log.record(Event::new("last")).unwrap().wait_durable().unwrap();
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    log.close().unwrap();
    rate
}

/// W1.
pub(crate) fn interval(events: u64) -> f64 {
    let sources = sources();
    produced(events, &|n| event(n, &sources))
}

/// W2, its events parsed beforehand.
pub(crate) fn engine(events: u64) -> f64 {
    let text = crate::support::fixture();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parsed: Vec<Event> =
        lines.map(|line| Event::from_json(line, ParseMode::Strict).unwrap()).collect();
    produced(events, &|n| parsed[n as usize % parsed.len()].clone())
}

/// W1 through tracing-appender's non-blocking writer: JSON lines, no hash, no sync, nothing dropped.
pub(crate) fn appender(events: u64) -> f64 {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        event_type: &'a str,
        actor: &'a str,
        source: &'a str,
        outcome: &'a str,
        details: Small<'a>,
    }
    let dir = temporary();
    let file = std::fs::File::create(dir.path().join("log.json")).unwrap();
    let builder = tracing_appender::non_blocking::NonBlockingBuilder::default();
    let (writer, guard) = builder.lossy(false).finish(file);
    let sources = sources();
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

/// So many callers, each of which waits for each of its events; events a sync as well.
pub(crate) fn waited(callers: usize, time: Duration) -> (f64, f64) {
    let dir = temporary();
    let options = Options { rate_limit: None, ..Options::new(dir.path().join("logs")) };
    let log = AuditLog::open(options).unwrap();
    let sources = sources();
    let syncs = || log.status().unwrap().get(Word::Syncs);
    let before = syncs();
    let begun = Instant::now();
    let events: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers)
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
    let per_sync = events as f64 / (syncs() - before) as f64;
    log.close().unwrap();
    (rate, per_sync)
}

/// W1 with 64 callers.
pub(crate) fn commit(time: Duration) -> (f64, f64) {
    waited(CALLERS, time)
}

/// A loop that writes as many bytes as so many events of W1 have, and calls `fdatasync`.
pub(crate) fn bare(time: Duration, batch: f64) -> f64 {
    let dir = temporary();
    let file = std::fs::File::create(dir.path().join("bare")).unwrap();
    let line = vec![b'x'; (300.0 * batch).round() as usize];
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
