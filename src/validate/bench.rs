//! Measured here and now: a log of its own with these settings, in the scratch
//! directory on the log's file system.
//!
//! Beside a running writer all of it is done at a low priority, and in any case with
//! no more than some 20 MiB written, and not at all where space is little.

use std::time::{Duration, Instant};

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::files::manifest::Manifest;
use crate::audit::read::query::{CacheUse, Request as Question};
use crate::audit::state::status::Mode;
use crate::audit::{AuditLog, LogPaths, Options, Receipt};
use crate::clock::{Clock, SystemClock};
use crate::fsio::{Fs, OsFs};
use crate::units::human_bytes;

/// Fewer durable events a second are a warning.
pub const LEAST_EVENTS_A_SECOND: f64 = 500.0;
/// A query that takes longer, cached or not, is a warning: milliseconds.
pub const MOST_QUERY_MS: f64 = 50.0;
/// More memory is a warning: bytes.
pub const MOST_MEMORY_BYTES: u64 = 50 << 20;
/// Segments that shrink less are a warning.
pub const LEAST_COMPRESSION: f64 = 2.0;
/// So many events the memory is measured for.
pub const MEMORY_EVENTS: [u64; 2] = [1_000, 10_000];

/// Writing ends after so long, however little was written.
const WRITING_TAKES: Duration = Duration::from_secs(10);
const COMPRESSING_TAKES: Duration = Duration::from_secs(20);
/// Beyond the critical limit so much has to be free.
const ROOM: u64 = 64 << 20;
/// What other background work has.
const LOW_PRIORITY: i32 = 10;

/// Why nothing was measured, if nothing may be.
pub(super) fn no_room(seen: &Surroundings) -> Option<String> {
    let path = match &seen.scratch {
        Ok(path) => path,
        Err(why) => return Some(format!("not measured: {why}")),
    };
    let disk = &seen.request.settings.disk;
    let space = OsFs.space(path).ok()?;
    let critical = disk.critical_bytes.0.min(space.total / 100 * u64::from(disk.critical_percent));
    (space.available < critical + ROOM).then(|| {
        format!("not measured: only {} are free on this disk", human_bytes(space.available))
    })
}

pub(super) fn yield_to_others(seen: &Surroundings) {
    if seen.live {
        let thread = rustix::thread::gettid();
        // Where the system has no priorities, there is none to be had.
        let _ = rustix::process::setpriority_process(Some(thread), LOW_PRIORITY);
    }
}

/// Milliseconds with two decimals.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

const OF_THE_LOG: [Id; 5] =
    [Id::WriteRate, Id::QueryUncached, Id::QueryCached, Id::Memory, Id::Compression];

/// Writes, asks and seals a log.
pub(super) fn log(seen: &Surroundings) -> Vec<Check> {
    if let Some(why) = no_room(seen) {
        return OF_THE_LOG.into_iter().map(|id| Check::skipped(id, why.clone())).collect();
    }
    yield_to_others(seen);
    let mut checks = Vec::new();
    if let Err(why) = measure(seen, &mut checks) {
        let done: Vec<Id> = checks.iter().map(|check| check.id).collect();
        let missing = OF_THE_LOG.into_iter().filter(|id| !done.contains(id));
        let told = missing.map(|id| {
            Check::failed(id, format!("cannot be measured: {why}"))
                .hint("the message says what the log directory refused")
        });
        checks.extend(told.collect::<Vec<_>>());
    }
    checks
}

/// How a log is opened for trying things in it: with these settings, but for what
/// would reach outside or wait.
pub(super) fn scratch_options(seen: &Surroundings, name: &str) -> Result<Options, String> {
    Ok(Options {
        dir: seen.scratch(name)?,
        mode: Mode::Library,
        // Keys are made where there are none: never where the settings have theirs.
        key_path: None,
        redact_key_path: None,
        backups: None,
        retention: None,
        rate_limit: None,
        disk_reserve: 0,
        max_segment_size: 64 << 20,
        max_segment_age: Duration::from_secs(86_400),
        overflow_timeout: Duration::from_secs(5),
        ..seen.request.options.clone()
    })
}

fn measure(seen: &Surroundings, checks: &mut Vec<Check>) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let before = resident_bytes();
    let log = AuditLog::open(scratch_options(seen, "bench")?).map_err(|error| text(&error))?;
    let (mut written, mut took) = (0, Duration::ZERO);
    for events in MEMORY_EVENTS {
        let left = WRITING_TAKES.saturating_sub(took);
        let (more, time) = write(seen, &log, events - written, left)?;
        (written, took) = (written + more, took + time);
        if seen.stopping() {
            return Err("interrupted".to_owned());
        }
        checks.push(if written == events {
            memory(&log, events, before)?
        } else {
            let message = format!("{events} events: only {written} could be written in time");
            Check::skipped(Id::Memory, message).metric("events", events)
        });
    }
    checks.push(rate(written, took, seen.live));
    checks.extend(queries(&log, written)?);
    checks.push(compression(seen, &log)?);
    log.close().map_err(|error| text(&error))
}

/// Writes until all are durable or the time is over; how many, and how long it took.
fn write(
    seen: &Surroundings,
    log: &AuditLog,
    events: u64,
    at_most: Duration,
) -> Result<(u64, Duration), String> {
    let begun = Instant::now();
    let mut last: Option<Receipt> = None;
    let mut written = 0;
    for event in seen.request.events.iter().cycle() {
        if written == events || begun.elapsed() >= at_most || seen.stopping() {
            break;
        }
        last = Some(log.record(event.clone()).map_err(|error| error.to_string())?);
        written += 1;
    }
    if let Some(receipt) = last {
        receipt.wait_durable().map_err(|error| error.to_string())?;
    }
    Ok((written, begun.elapsed()))
}

fn rate(written: u64, took: Duration, live: bool) -> Check {
    let rate = (written as f64 / took.as_secs_f64().max(1e-9)).round();
    let beside = if live { ", beside the running writer at a low priority" } else { "" };
    let message = format!(
        "{rate} durable events a second, {written} written{beside} (target: at least \
         {LEAST_EVENTS_A_SECOND})"
    );
    let check = if rate < LEAST_EVENTS_A_SECOND {
        Check::warning(Id::WriteRate, message)
    } else {
        Check::passed(Id::WriteRate, message)
    };
    check
        .hint("use a faster disk, or a larger write_buffer_size; performance.sync_latency shows how fast the disk is")
        .metric("events_per_second", rate)
        .metric("events", written)
}

/// What the process has grown by since before the log was opened, with an answer of
/// all those events in hand.
fn memory(log: &AuditLog, events: u64, before: Option<u64>) -> Result<Check, String> {
    let question = Question { limit: Some(events), ..Question::default() };
    let answer = ask(log, &question)?;
    let grown = before.zip(resident_bytes()).map(|(before, now)| now.saturating_sub(before));
    drop(answer);
    Ok(judge_memory(events, grown))
}

fn judge_memory(events: u64, grown: Option<u64>) -> Check {
    let check = match grown {
        None => {
            Check::skipped(Id::Memory, "this system does not show how much memory a process uses")
        }
        Some(bytes) => {
            let most = human_bytes(MOST_MEMORY_BYTES);
            let used = human_bytes(bytes);
            let message = format!("{used} for {events} events (target: at most {most})");
            if bytes > MOST_MEMORY_BYTES {
                Check::warning(Id::Memory, message)
            } else {
                Check::passed(Id::Memory, message)
            }
        }
    };
    check
        .hint("lower query_cache_size, write_queue_bytes or max_memory_events")
        .metric("events", events)
        .metric("bytes", grown)
}

/// The kernel's own count.
fn resident_bytes() -> Option<u64> {
    let status = OsFs.read(std::path::Path::new("/proc/self/status"), 64 << 10).ok()?;
    let status = String::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn ask(log: &AuditLog, question: &Question) -> Result<crate::audit::read::query::Answer, String> {
    let query = question.resolve(SystemClock.now()).map_err(|error| error.to_string())?;
    log.query(&query).map_err(|error| error.to_string())
}

/// Questions that read every record; the slowest of each kind counts.
fn queries(log: &AuditLog, written: u64) -> Result<Vec<Check>, String> {
    let mut slowest = [Duration::ZERO; 2];
    for field in ["event_type", "actor", "source"] {
        let group_by = Some(field.to_owned());
        let question = Question { group_by, ..Question::default() };
        for (nth, wanted) in [CacheUse::Miss, CacheUse::Hit].into_iter().enumerate() {
            let begun = Instant::now();
            let answer = ask(log, &question)?;
            slowest[nth] = slowest[nth].max(begun.elapsed());
            if answer.effort.cache != wanted {
                return Err(format!("the cache did not do what it should: {answer:?}"));
            }
        }
    }
    let kinds = [(Id::QueryUncached, "read from the log"), (Id::QueryCached, "from the cache")];
    let judged = kinds.into_iter().zip(slowest);
    Ok(judged.map(|((id, how), took)| judge_query(id, how, millis(took), written)).collect())
}

fn judge_query(id: Id, how: &str, took_ms: f64, records: u64) -> Check {
    let message =
        format!("{took_ms} ms over {records} events, {how} (target: at most {MOST_QUERY_MS} ms)");
    let check = if took_ms > MOST_QUERY_MS {
        Check::warning(id, message)
    } else {
        Check::passed(id, message)
    };
    check
        .hint("use a faster machine; narrower queries (--since, --seq) read less")
        .metric("milliseconds", took_ms)
        .metric("events", records)
}

fn compression(seen: &Surroundings, log: &AuditLog) -> Result<Check, String> {
    log.seal();
    let until = Instant::now() + COMPRESSING_TAKES;
    let ratio = loop {
        if let Some(ratio) = ratio(&log.manifest()) {
            break ratio;
        }
        if Instant::now() >= until || seen.stopping() {
            return Err("the segment was not compressed in time".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let own = Manifest::load(&OsFs, &LogPaths::new(&seen.request.settings.log_dir).manifest());
    let own = own.ok().flatten().and_then(|manifest| self::ratio(&manifest));
    Ok(judge_compression(ratio, own, seen.request.settings.compression_level))
}

/// How many times smaller the compressed segments are.
fn ratio(manifest: &Manifest) -> Option<f64> {
    let packed = manifest.segments.iter().filter(|segment| segment.is_compressed());
    let (raw, stored) = packed
        .fold((0, 0), |(raw, stored), part| (raw + part.raw_bytes, stored + part.stored_bytes));
    (stored > 0).then(|| (raw as f64 / stored as f64 * 100.0).round() / 100.0)
}

fn judge_compression(ratio: f64, own: Option<f64>, level: u32) -> Check {
    let mut message = format!("{ratio} times smaller at level {level}");
    if let Some(own) = own {
        message.push_str(&format!("; the log's own sealed segments {own} times"));
    }
    message.push_str(&format!(" (target: at least {LEAST_COMPRESSION} times)"));
    let check = if ratio < LEAST_COMPRESSION {
        Check::warning(Id::Compression, message)
    } else {
        Check::passed(Id::Compression, message)
    };
    check
        .hint("raise compression_level; details that are already compressed do not shrink")
        .metric("ratio", ratio)
        .metric("log_ratio", own)
        .metric("level", level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::{surroundings_in, surroundings_of};

    #[test]
    fn a_real_log_is_measured_and_every_number_is_there() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = surroundings_in(dir.path());
        let checks = log(&seen);
        for id in OF_THE_LOG {
            let found: Vec<&Check> = checks.iter().filter(|check| check.id == id).collect();
            assert_eq!(found.len(), if id == Id::Memory { 2 } else { 1 }, "{id:?}");
            // How fast this machine is, is no matter of this test.
            assert!(found.iter().all(|check| check.status != Status::Failed), "{found:?}");
            assert!(found.iter().all(|check| !check.metrics.is_empty()), "{found:?}");
        }
        assert_eq!(OsFs.list(dir.path()).expect("listed"), ["scratch"]);
    }

    #[test]
    fn nothing_is_measured_where_there_is_no_room_or_no_place() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut seen = surroundings_in(dir.path());
        seen.request.settings.disk.critical_bytes = ByteSize(u64::MAX / 4);
        seen.request.settings.disk.critical_percent = 100;
        for seen in [seen, surroundings_of("")] {
            let checks = log(&seen);
            assert_eq!(checks.len(), OF_THE_LOG.len());
            assert!(checks.iter().all(|check| check.status == Status::Skipped), "{checks:?}");
        }
    }

    #[test]
    fn each_threshold_is_the_constant() {
        let second = Duration::from_secs(1);
        for (check, status) in [
            (rate(500, second, false), Status::Passed),
            (rate(499, second, true), Status::Warning),
            (judge_query(Id::QueryCached, "", MOST_QUERY_MS, 1), Status::Passed),
            (judge_query(Id::QueryUncached, "", MOST_QUERY_MS + 0.01, 1), Status::Warning),
            (judge_memory(1_000, Some(MOST_MEMORY_BYTES)), Status::Passed),
            (judge_memory(1_000, Some(MOST_MEMORY_BYTES + 1)), Status::Warning),
            (judge_memory(1_000, None), Status::Skipped),
            (judge_compression(LEAST_COMPRESSION, None, 6), Status::Passed),
            (judge_compression(1.99, Some(7.5), 6), Status::Warning),
        ] {
            assert_eq!(check.status, status, "{check:?}");
            assert_eq!(check.hint.is_some(), status == Status::Warning, "{check:?}");
        }
    }
}
