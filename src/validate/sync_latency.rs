//! How long fdatasync takes, on the log's file system.

use std::io;
use std::time::{Duration, Instant};

use super::bench::{millis, no_room, yield_to_others};
use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::fsio::{Fs, FsFile, OpenMode, OsFs};

/// A slow fdatasync (99 of 100 are faster) that takes longer is a warning: milliseconds.
pub const MOST_SYNC_MS: f64 = 100.0;
/// So many syncs are measured, unless they take too long.
const SYNCS: usize = 100;
const SYNCS_TAKE: Duration = Duration::from_secs(5);

/// How long fdatasync takes.
pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let id = Id::SyncLatency;
    if let Some(why) = no_room(seen) {
        return vec![Check::skipped(id, why)];
    }
    yield_to_others(seen);
    let measured = seen.scratch("bench.sync").and_then(|path| {
        let file = OsFs.open(&path, OpenMode::CreateNew).map_err(|error| error.to_string())?;
        measure(seen, &*file).map_err(|error| error.to_string())
    });
    vec![match measured {
        Ok(times) => judge(times),
        Err(why) => Check::failed(id, format!("cannot be measured: {why}")),
    }]
}

fn measure(seen: &Surroundings, file: &dyn FsFile) -> io::Result<Vec<Duration>> {
    let block = [b'a'; 4_096];
    let (mut times, begun) = (Vec::with_capacity(SYNCS), Instant::now());
    while times.len() < SYNCS && begun.elapsed() < SYNCS_TAKE && !seen.stopping() {
        file.write_all_at(&block, (times.len() * block.len()) as u64)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn judge(mut times: Vec<Duration>) -> Check {
    times.sort_unstable();
    let at = |percent: usize| {
        let nth = (times.len() * percent).div_ceil(100).clamp(1, times.len().max(1)) - 1;
        millis(times.get(nth).copied().unwrap_or_default())
    };
    let (median, slow, most) = (at(50), at(99), at(100));
    let message = format!(
        "median {median} ms, 99% within {slow} ms, longest {most} ms (target: 99% within \
         {MOST_SYNC_MS} ms)"
    );
    let check = if slow > MOST_SYNC_MS {
        Check::warning(Id::SyncLatency, message)
    } else {
        Check::passed(Id::SyncLatency, message)
    };
    check
        .hint("use a faster disk; or set durability = \"interval\", if losing a few seconds of events is acceptable")
        .metric("syncs", times.len())
        .metric("median_ms", median)
        .metric("p99_ms", slow)
        .metric("max_ms", most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::{surroundings_in, surroundings_of};

    #[test]
    fn syncs_are_measured_where_there_is_a_place() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let measured = &check(&surroundings_in(dir.path()))[0];
        assert!(measured.metrics["syncs"].as_u64().is_some_and(|syncs| syncs > 0), "{measured:?}");
        assert_eq!(check(&surroundings_of(""))[0].status, Status::Skipped);
    }

    #[test]
    fn one_slow_one_of_a_hundred_is_no_verdict_and_two_are() {
        let most = Duration::from_secs_f64(MOST_SYNC_MS / 1_000.0);
        let (fast, slow) = (Duration::from_millis(1), most + Duration::from_millis(1));
        let mut times = vec![fast; 99];
        times.push(slow);
        assert_eq!(judge(times.clone()).status, Status::Passed);
        times.push(slow);
        let warned = judge(times);
        assert!(warned.status == Status::Warning && warned.hint.is_some(), "{warned:?}");
        assert_eq!(judge(vec![most; 100]).status, Status::Passed);
    }
}
