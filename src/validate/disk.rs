//! Space: now, and when the log has grown to what retention leaves it.

use super::catalogue::Id;
use super::check::Check;
use super::places::nearest;
use super::request::Surroundings;
use crate::audit::LogPaths;
use crate::audit::files::manifest::Manifest;
use crate::audit::files::room;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Settings;
use crate::fsio::{Fs, OsFs, Space};
use crate::units::human_bytes;

/// Growth that was seen for a shorter time says little.
const LEAST_SECONDS: u64 = 3_600;
/// Without retention a disk that is full sooner is a warning.
pub const FULL_WITHIN_DAYS: u64 = 90;

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let settings = &seen.request.settings;
    let dir = &settings.log_dir;
    let there = if OsFs.meta(dir).is_ok() { Some(dir.clone()) } else { nearest(dir) };
    let Some(there) = there else {
        let message = "there is neither the log directory nor one above it";
        return vec![Check::failed(Id::DiskSpace, message).hint("make the log directory")];
    };
    match OsFs.space(&there) {
        Ok(space) => {
            let grown = growth(settings);
            vec![free(settings, space).path(&there), outlook(settings, space, grown).path(&there)]
        }
        Err(error) => vec![
            Check::failed(Id::DiskSpace, format!("cannot be determined: {error}"))
                .hint("check the mount below the log directory")
                .path(&there),
        ],
    }
}

/// As the writer reckons: the smaller of each pair counts.
fn limits(settings: &Settings, space: Space) -> (u64, u64) {
    let disk = &settings.disk;
    let part = |percent: u8| space.total / 100 * u64::from(percent);
    (
        disk.warn_bytes.0.min(part(disk.warn_percent)),
        disk.critical_bytes.0.min(part(disk.critical_percent)),
    )
}

fn free(settings: &Settings, space: Space) -> Check {
    let (warn, critical) = limits(settings, space);
    let disk = &settings.disk;
    let files = room::file_limits(space, (disk.warn_percent, disk.critical_percent));
    let few = |limit: Option<u64>| limit.is_some_and(|limit| space.files_available < limit);
    let (warn_files, critical_files) = (files.map(|files| files.0), files.map(|files| files.1));
    let mut message =
        format!("{} free of {}", human_bytes(space.available), human_bytes(space.total));
    if few(warn_files) {
        let (left, total) = (space.files_available, space.files_total);
        message = format!("{left} inodes left of {total} (`df -i`); {message}");
    }
    let check = if space.available < critical || few(critical_files) {
        Check::failed(Id::DiskSpace, message)
    } else if space.available < warn || few(warn_files) {
        Check::warning(Id::DiskSpace, message)
    } else {
        Check::passed(Id::DiskSpace, message)
    };
    check
        .hint("make room, or put log_dir on a larger disk; [disk] of the settings has the limits")
        .metric("available_bytes", space.available)
        .metric("total_bytes", space.total)
        .metric("warn_below_bytes", warn)
        .metric("critical_below_bytes", critical)
}

/// What the log has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    /// As stored.
    bytes: u64,
    seconds: u64,
    /// What the log takes now.
    log_bytes: u64,
}

fn growth(settings: &Settings) -> Result<Growth, String> {
    let paths = LogPaths::new(&settings.log_dir);
    if let Ok(Some(manifest)) = Manifest::load(&OsFs, &paths.manifest())
        && let Some(growth) = of_manifest(&manifest)
    {
        return Ok(growth);
    }
    let page = StatusSnapshot::read(&paths.status())
        .map_err(|_| "there is no log yet, so its growth is unknown".to_owned())?;
    of_page(&page, SystemClock.now())
}

/// Of sealed segments: from the first record to the last.
fn of_manifest(manifest: &Manifest) -> Option<Growth> {
    let (first, last) = (manifest.segments.first()?, manifest.segments.last()?);
    let seconds = last.max_timestamp.unix_seconds() - first.min_timestamp.unix_seconds();
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds >= LEAST_SECONDS)?;
    let bytes = manifest.segments.iter().map(|segment| segment.stored_bytes).sum();
    Some(Growth { bytes, seconds, log_bytes: bytes })
}

fn of_page(page: &StatusSnapshot, now: Timestamp) -> Result<Growth, String> {
    let begun = page.time(Word::StartedAt).unwrap_or(now);
    let until = page.time(Word::ClosedAt).unwrap_or(now);
    let seconds = until.unix_seconds().saturating_sub(begun.unix_seconds());
    let seconds = u64::try_from(seconds).unwrap_or(0);
    if seconds < LEAST_SECONDS {
        return Err("the log has not run for an hour yet, so its growth is unknown".into());
    }
    let log_bytes = page.get(Word::LogBytes);
    Ok(Growth { bytes: page.get(Word::BytesWritten), seconds, log_bytes })
}

fn outlook(settings: &Settings, space: Space, growth: Result<Growth, String>) -> Check {
    let growth = match growth {
        Ok(growth) => growth,
        Err(why) => return Check::skipped(Id::DiskGrowth, why),
    };
    let a_day = (u128::from(growth.bytes) * 86_400 / u128::from(growth.seconds.max(1))) as u64;
    let (_, critical) = limits(settings, space);
    let room = space.available.saturating_sub(critical);
    let days = u64::from(settings.retention_days);
    let grows = format!("{} a day", human_bytes(a_day));
    let check = if days == 0 {
        let lasts = room.checked_div(a_day).unwrap_or(u64::MAX);
        let message = format!("{grows}, and nothing is ever removed (retention_days = 0)");
        if lasts < FULL_WITHIN_DAYS {
            Check::warning(Id::DiskGrowth, format!("{message}: full in {lasts} days"))
        } else {
            Check::passed(Id::DiskGrowth, message)
        }
    } else {
        let needs = a_day.saturating_mul(days).saturating_sub(growth.log_bytes);
        let message = format!(
            "{grows}, kept for {days} days: {} more are needed, {} are free above the critical \
             limit",
            human_bytes(needs),
            human_bytes(room)
        );
        if needs > room {
            Check::warning(Id::DiskGrowth, message)
        } else {
            Check::passed(Id::DiskGrowth, message)
        }
    };
    check
        .hint("use a larger disk; or lower retention_days, once backups hold what it removes")
        .metric("bytes_a_day", a_day)
        .metric("retention_days", days)
        .metric("room_bytes", room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;
    use crate::validate::outcome::Status;

    const GIB: u64 = 1 << 30;

    fn space(available: u64) -> Space {
        Space { total: 100 * GIB, available, ..Space::default() }
    }

    #[test]
    fn little_space_warns_and_less_fails_by_the_settings_limits() {
        let mut settings = Settings::default();
        settings.disk.warn_bytes = ByteSize(GIB);
        settings.disk.critical_bytes = ByteSize(GIB / 4);
        for (available, status) in [
            (2 * GIB, Status::Passed),
            (GIB, Status::Passed),
            (GIB - 1, Status::Warning),
            (GIB / 4, Status::Warning),
            (GIB / 4 - 1, Status::Failed),
        ] {
            assert_eq!(free(&settings, space(available)).status, status, "{available}");
        }
    }

    #[test]
    fn few_inodes_warn_and_fewer_fail_where_the_file_system_has_a_limit() {
        for (files_total, files_available, status) in [
            (0, 0, Status::Passed),
            (1_000, 100, Status::Passed),
            (1_000, 99, Status::Warning),
            (1_000, 49, Status::Failed),
        ] {
            let space = Space { files_total, files_available, ..space(50 * GIB) };
            let check = free(&Settings::default(), space);
            assert_eq!(check.status, status, "{files_available} of {files_total}: {check:?}");
        }
    }

    #[test]
    fn what_it_grows_to_has_to_fit() {
        let mut settings = Settings::default();
        let grown = |bytes| Ok(Growth { bytes, seconds: 86_400, log_bytes: GIB });
        for (days, a_day, status) in [
            (90, GIB / 10, Status::Passed),
            (90, GIB, Status::Warning),
            (30, GIB, Status::Passed),
            (0, GIB, Status::Warning),
            (0, GIB / 10, Status::Passed),
            (0, 0, Status::Passed),
        ] {
            settings.retention_days = days;
            let check = outlook(&settings, space(50 * GIB), grown(a_day));
            assert_eq!(check.status, status, "{days} {a_day} {check:?}");
            assert_eq!(check.metrics["bytes_a_day"], a_day);
        }
        let young = outlook(&settings, space(GIB), Err("too young".into()));
        assert_eq!(young.status, Status::Skipped);
    }
}
