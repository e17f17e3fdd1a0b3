//! Whether the clock can be believed: records carry what it says.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::LogPaths;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::clock::{Clock, SystemClock, Timestamp, display_seconds};
use crate::fsio::{Fs, OsFs};
use crate::zone::Machine;

/// No build of this program is older.
const MADE_AFTER: &str = "2026-01-01T00:00:00Z";
/// A record may be so much newer than a look at the clock just after it.
const TOLERANCE_MICROS: i64 = 5_000_000;
/// systemd-timesyncd makes it once the clock is right.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// Tells what the kernel says (`STA_UNSYNC`), whoever keeps the clock.
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let page = StatusSnapshot::read(&LogPaths::new(&seen.request.settings.log_dir).status());
    let newest = page.ok().and_then(|page| page.time(Word::LastEventAt));
    let marked = OsFs.meta(Path::new(SYNCHRONISED)).is_ok();
    let told = if marked { None } else { ask(Path::new(TIMEDATECTL)) };
    let mut checks = vec![synchronised(marked, told.as_deref())];
    let variable = |name| seen.request.environment.get(name).map(Into::into);
    checks.extend(time_zone(&Machine { tz: variable("TZ"), tzdir: variable("TZDIR") }));
    checks.push(sane(SystemClock.now(), newest));
    checks
}

/// Only where it is named: records are in UTC, whatever it is.
fn time_zone(machine: &Machine) -> Option<Check> {
    machine.tz.as_ref()?;
    Some(match machine.local(&OsFs) {
        Ok(zone) => Check::passed(Id::TimeZone, format!("the time zone is {}", zone.name())),
        Err(error) => Check::warning(Id::TimeZone, error.to_string()).hint(
            "set TZ to a zone that the machine knows, or unset it; until then no command accepts \
             the time zone `local`",
        ),
    })
}

fn synchronised(marked: bool, told: Option<&str>) -> Check {
    let id = Id::ClockSynchronised;
    match (marked, told.map(str::trim)) {
        (true, _) => Check::passed(id, "systemd-timesyncd keeps the clock"),
        (false, Some("yes")) => Check::passed(id, "the kernel says that the clock is synchronised"),
        (false, Some("no")) => Check::warning(id, "the clock is not synchronised")
            .hint("run chrony, ntpd or systemd-timesyncd; `timedatectl` shows its state"),
        _ => Check::skipped(
            id,
            "unknown on this machine (no systemd-timesyncd; timedatectl does not answer)",
        ),
    }
}

/// What `timedatectl` prints; nothing when it is not there, fails or takes too long.
fn ask(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                // It may have ended in between.
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let mut text = String::new();
    let mut out = child.stdout.take()?;
    // A few letters, which the pipe holds.
    std::io::Read::read_to_string(&mut out, &mut text).ok()?;
    ended.then_some(text)
}

fn sane(now: Timestamp, newest: Option<Timestamp>) -> Check {
    let made_after: Timestamp = MADE_AFTER.parse().unwrap_or_default();
    let shown = display_seconds(now);
    let hint = "set the clock (chrony, ntpd, systemd-timesyncd) before events are recorded";
    let check = match newest {
        _ if now < made_after => Check::failed(
            Id::ClockSane,
            format!("it shows {shown}, a time before this program existed"),
        ),
        Some(newest) if newest.micros() > now.micros() + TOLERANCE_MICROS => Check::failed(
            Id::ClockSane,
            format!(
                "it shows {shown}, but the newest record is of {}: the clock was set back, or was \
                 wrong before",
                display_seconds(newest)
            ),
        ),
        _ => Check::passed(Id::ClockSane, format!("it shows {shown}")),
    };
    check.hint(hint).metric("now", shown).metric("newest_record", newest.map(display_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_clock_before_the_program_or_the_newest_record_fails() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-26T12:00:00Z");
        for (now, newest, status) in [
            (now, None, Status::Passed),
            (now, Some("2026-11-26T11:59:59Z"), Status::Passed),
            (now, Some("2026-11-26T12:00:04Z"), Status::Passed),
            (now, Some("2026-11-26T12:00:06Z"), Status::Failed),
            (at("1970-01-01T00:00:09Z"), None, Status::Failed),
        ] {
            let check = sane(now, newest.map(at));
            assert_eq!(check.status, status, "{check:?}");
        }
        assert!(MADE_AFTER.parse::<Timestamp>().is_ok());
    }

    #[test]
    fn who_keeps_the_clock_is_believed_and_silence_is_no_failure() {
        for (marked, told, status) in [
            (true, None, Status::Passed),
            (false, Some("yes\n"), Status::Passed),
            (false, Some("no\n"), Status::Warning),
            (false, Some("perhaps"), Status::Skipped),
            (false, None, Status::Skipped),
        ] {
            assert_eq!(synchronised(marked, told).status, status, "{marked} {told:?}");
        }
    }

    #[test]
    fn a_program_is_asked_and_one_that_fails_or_is_missing_says_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let script = |name: &str, body: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("write");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("mode");
            path
        };
        assert_eq!(ask(&script("well", "echo yes")), Some("yes\n".to_owned()));
        assert_eq!(ask(&script("bad", "echo yes; exit 1")), None);
        assert_eq!(ask(&directory.path().join("none")), None);
    }
}
