//! Is there a writer, and does it move?

use std::io;

use super::{Check, Liveness, Seen, Status};
use crate::audit::status::{Activity, StatusSnapshot, Word, WriterState};
use crate::clock::display_seconds;
use crate::config::Settings;

const NAME: &str = "worker_thread";

pub(super) fn worker_thread(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else { return without_page(seen, settings) };
    let check = match seen.liveness {
        Liveness::Unknown => {
            Check::new(NAME, Status::Unknown, "the writer's lock cannot be asked about")
                .hint("run as the log's owner or root")
        }
        Liveness::Locked => locked(seen, page, settings),
        Liveness::Free => free(seen, page, settings),
    };
    let syncs = page.get(Word::Syncs);
    check
        .metric("alive", seen.liveness == Liveness::Locked)
        .metric("heartbeat_age_ms", seen.silent_ms().unwrap_or(0))
        .metric("syncs", syncs)
        .metric("sync_mean_ms", page.get(Word::SyncMicrosSum) as f64 / syncs.max(1) as f64 / 1e3)
        .metric("sync_max_ms", page.get(Word::SyncMicrosMax) as f64 / 1e3)
        .metric("write_errors", page.get(Word::WriteErrors))
        .metric("sync_errors", page.get(Word::SyncErrors))
}

fn without_page(seen: &Seen, settings: &Settings) -> Check {
    if let Some(error) = &seen.page_error {
        return Check::new(NAME, Status::Unknown, error.clone())
            .hint("run as the log's owner or root");
    }
    if seen.liveness == Liveness::Locked {
        return Check::new(NAME, Status::Critical, "a writer runs but its status page is gone")
            .hint("was the log directory deleted? restart the writer");
    }
    Check::new(NAME, Status::Unknown, format!("no log yet in {}", settings.log_dir.display()))
        .hint("start one with `auditctl serve`, or name the directory with --log-dir")
}

fn locked(seen: &Seen, page: &StatusSnapshot, settings: &Settings) -> Check {
    let silent = seen.silent_ms().unwrap_or(0);
    if silent > settings.health.hung_after.as_millis() as u64 {
        return hung(seen, page, silent);
    }
    let pid = page.get(Word::Pid);
    match page.state() {
        Some(WriterState::Poisoned) => Check::new(
            NAME,
            Status::Critical,
            format!("the writer failed (pid {pid}); nothing is recorded"),
        )
        .hint("see its messages, restart it; what was acknowledged is safe"),
        Some(WriterState::DiskFull) => {
            Check::new(NAME, Status::Critical, "disk full: new events are refused")
                .hint("free space on the log's file system; recording resumes by itself")
        }
        Some(WriterState::Failing) => {
            Check::new(NAME, Status::Critical, format!("write failing: {}", last_error(page)))
                .hint("accepted events are kept in memory and tried again; look at the disk")
        }
        _ => Check::new(NAME, Status::Healthy, format!("running (pid {pid})")),
    }
}

/// What failed last, such as `fdatasync: Input/output error`.
fn last_error(page: &StatusSnapshot) -> String {
    let activity = Activity::from_code(page.get(Word::LastErrorActivity));
    let error = io::Error::from_raw_os_error(page.get(Word::LastErrno) as i32);
    format!("{}: {error}", activity.map_or("unknown", Activity::as_str))
}

fn hung(seen: &Seen, page: &StatusSnapshot, silent: u64) -> Check {
    let pid = page.get(Word::Pid);
    if matches!(seen.process_state, Some('T' | 't')) {
        let message = format!(
            "hung: process {pid} is stopped by a signal (SIGSTOP) for {} s",
            silent / 1_000
        );
        return Check::new(NAME, Status::Critical, message).hint(format!("kill -CONT {pid}"));
    }
    let since = seen.boot_ms.saturating_sub(page.get(Word::ActivitySinceBootMs)) / 1_000;
    let message = match page.activity() {
        Some(Activity::Idle) | None => {
            format!("hung: no sign of life for {} s (pid {pid})", silent / 1_000)
        }
        Some(activity) => format!("hung in {} for {since} s (pid {pid})", activity.as_str()),
    };
    Check::new(NAME, Status::Critical, message)
        .hint("a disk that does not answer? see dmesg; restart the writer when it does")
}

fn free(seen: &Seen, page: &StatusSnapshot, settings: &Settings) -> Check {
    let at = |word| page.time(word).map_or("?".to_owned(), display_seconds);
    if page.get(Word::ClosedAt) != 0 {
        let status = if settings.expect_running { Status::Warning } else { Status::Healthy };
        let check = Check::new(NAME, status, format!("stopped cleanly at {}", at(Word::ClosedAt)));
        return if settings.expect_running {
            check.hint("start it, or set expect_running = false where none should run")
        } else {
            check
        };
    }
    let rebooted = seen.boot_id.is_some_and(|id| id != page.get(Word::BootId));
    let why = if rebooted { "; the machine was rebooted since" } else { "" };
    let message = format!("died (last sign of life {}){why}", at(Word::HeartbeatAt));
    Check::new(NAME, Status::Critical, message)
        .hint("start it again: the next opening recovers the log and says what it found")
}
