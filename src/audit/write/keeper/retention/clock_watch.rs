//! Whether the clock can be believed when it says that records are old.

use std::io;

use crate::audit::files::manifest::Manifest;
use crate::audit::files::roots::{lines, lines_of, open_segment};
use crate::audit::paths::LogPaths;
use crate::audit::record;
use crate::clock::Timestamp;
use crate::fsio::{Fs, OpenMode};

/// A clock that is so far ahead of what it should be is not believed at once.
const A_DAY: i64 = 86_400 * 1_000_000;
/// For so long nothing is removed then: time for somebody to see it.
const AN_HOUR_MS: u64 = 3_600_000;

/// Compares the wall clock with the newest record when the log was opened, and then
/// with the clock that counts since boot.
#[derive(Debug)]
pub(super) struct ClockWatch {
    wall: i64,
    boot_ms: u64,
    held_until: u64,
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp, boot_ms: u64, newest: Option<Timestamp>) -> Self {
        let ahead =
            newest.is_some_and(|newest| now.micros().saturating_sub(newest.micros()) > A_DAY);
        let held_until = if ahead { boot_ms + AN_HOUR_MS } else { 0 };
        Self { wall: now.micros(), boot_ms, held_until }
    }

    /// Until when, by the clock since boot, nothing may be removed.
    pub(super) fn held_until(&mut self, now: Timestamp, boot_ms: u64) -> Option<u64> {
        let passed = i64::try_from(boot_ms.saturating_sub(self.boot_ms)).unwrap_or(i64::MAX);
        let expected = self.wall.saturating_add(passed.saturating_mul(1_000));
        if now.micros().saturating_sub(expected) > A_DAY {
            self.held_until = boot_ms + AN_HOUR_MS;
        }
        (self.wall, self.boot_ms) = (now.micros(), boot_ms);
        (boot_ms < self.held_until).then_some(self.held_until)
    }
}

/// When the log's newest record was accepted: the last line of the active file, of
/// which `active_bytes` are whole records, or of the last sealed segment.
pub(crate) fn newest_record(
    fs: &dyn Fs,
    paths: &LogPaths,
    manifest: &Manifest,
    active_bytes: u64,
) -> Option<Timestamp> {
    let raw = if active_bytes > 0 {
        end_of_active(fs, paths, active_bytes).ok()?
    } else {
        let segment = manifest.segments.last()?;
        let file = open_segment(fs, paths, segment).ok()?;
        lines_of(&*file, segment, segment.blocks.last()?).ok()??
    };
    let last = lines(&raw).last()?;
    record::peek_times(last).map(|(_, accepted)| accepted)
}

fn end_of_active(fs: &dyn Fs, paths: &LogPaths, bytes: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(&paths.active(), OpenMode::ReadOwn)?;
    // Longer than the longest record with its end, so that one is whole.
    let from = bytes.saturating_sub(crate::audit::record::event::MAX_LINE_BYTES as u64 + 2);
    let mut raw = vec![0; (bytes - from) as usize];
    file.read_exact_at(&mut raw, from)?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_clock_that_is_a_day_ahead_of_the_newest_record_is_not_believed_for_an_hour() {
        let newest = Some(at("2026-01-01T00:00:00Z"));
        let now = at("2027-02-05T00:00:00Z");
        let mut watch = ClockWatch::new(now, 1_000, newest);
        assert_eq!(watch.held_until(now, 1_000), Some(3_601_000));
        let later = |ms: u64| Timestamp::from_micros(now.micros() + (ms as i64 - 1_000) * 1_000);
        assert_eq!(watch.held_until(later(3_600_999), 3_600_999), Some(3_601_000));
        assert_eq!(watch.held_until(later(3_601_000), 3_601_000), None);
    }

    #[test]
    fn a_log_that_stood_still_for_less_than_a_day_is_no_reason_to_wait() {
        let now = at("2026-01-01T23:59:59Z");
        let mut watch = ClockWatch::new(now, 1_000, Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(watch.held_until(now, 1_000), None);
        assert_eq!(ClockWatch::new(now, 1_000, None).held_until(now, 1_000), None);
    }

    #[test]
    fn exactly_a_day_ahead_is_believed_and_a_microsecond_more_is_not() {
        let then = at("2026-01-01T00:00:00Z");
        let later = |micros: i64| Timestamp::from_micros(then.micros() + micros);
        let opened = |now| ClockWatch::new(now, 1_000, Some(then)).held_until(now, 1_000);
        assert_eq!(opened(later(A_DAY)), None);
        assert_eq!(opened(later(A_DAY + 1)), Some(3_601_000));
        let watched = |now| ClockWatch::new(then, 1_000, Some(then)).held_until(now, 2_000);
        assert_eq!(watched(later(1_000_000 + A_DAY)), None);
        assert_eq!(watched(later(1_000_001 + A_DAY)), Some(3_602_000));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up_and_does_not_hide_the_jump_ahead_after_it() {
        let now = at("2026-01-01T00:00:00Z");
        let mut watch = ClockWatch::new(now, 1_000, Some(now));
        assert_eq!(watch.held_until(at("2025-01-01T00:00:00Z"), 2_000), None);
        // Ahead of what it should show now, though not of what it once showed.
        assert_eq!(watch.held_until(now, 3_000), Some(3_603_000));
        // Set back during the hour: the hour goes on all the same.
        assert_eq!(watch.held_until(at("2025-01-01T00:00:00Z"), 4_000), Some(3_603_000));
        assert_eq!(watch.held_until(at("2025-01-01T01:00:00Z"), 3_603_000), None);
    }

    #[test]
    fn a_clock_that_jumps_ahead_while_the_log_is_open_is_noticed_too() {
        let now = at("2026-01-01T00:00:00Z");
        let mut watch = ClockWatch::new(now, 1_000, Some(now));
        assert_eq!(watch.held_until(now, 2_000), None);
        let jumped = at("2027-02-05T00:00:00Z");
        assert_eq!(watch.held_until(jumped, 3_000), Some(3_603_000));
        // It stays there, and is believed after the hour.
        assert_eq!(watch.held_until(jumped, 3_603_000), None);
    }
}
