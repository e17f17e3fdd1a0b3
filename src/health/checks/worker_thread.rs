//! `worker_thread`: whether a writer runs, and how.

use std::io;

use crate::audit::files::room;
use crate::audit::state::status::{Activity, PAGE_BYTES, StatusSnapshot, Word};
use crate::config::Settings;
use crate::health::gather::{Facts, Page, Process, Seen};
use crate::health::liveness::{Liveness, busy_for, silence};
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, seconds, since};

use super::common::{page_age, unseen};

const NAME: &str = "worker_thread";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let check = match (facts.page(), liveness) {
        (Some(page), liveness) => with_page(facts, page, settings, liveness),
        (None, Liveness::Opening) => Check::found(
            NAME,
            Problem::Opening,
            Status::Warning,
            "a writer holds the lock but has no status page: it is opening the log",
        )
        .hint(
            "if this lasts, audit.status was removed and cannot be put back: read the service's \
               messages",
        ),
        (None, Liveness::NoLog) if matches!(facts.manifest, Seen::There(_)) => Check::found(
            NAME,
            Problem::NoLog,
            Status::Unknown,
            format!("no writer has opened the log in {} yet", settings.log_dir.display()),
        )
        .hint("start the service or `auditctl serve`; `auditctl verify` can check it as it is"),
        (None, Liveness::NoLog) => Check::found(
            NAME,
            Problem::NoLog,
            Status::Unknown,
            format!("no log yet in {}", settings.log_dir.display()),
        )
        .hint("start the service or `auditctl serve`, or name the directory with --log-dir"),
        (None, _) => unreadable(facts),
    };
    check.metric("state", liveness.name())
}

fn unreadable(facts: &Facts) -> Check {
    match &facts.page {
        Page::Denied(why) => unknown(Problem::PageDenied, format!("no permission: {why}"))
            .hint("run health as the user who owns the log directory, or as root"),
        Page::Newer(why) => unknown(Problem::NewerVersion, why.clone())
            .hint("use the version of auditctl that the service runs"),
        Page::Unusable(why) => unknown(Problem::PageUnusable, why.clone())
            .hint("use the version of auditctl that the service runs"),
        Page::Missing | Page::Read(_) => unseen(NAME, facts),
    }
}

fn unknown(problem: Problem, message: String) -> Check {
    Check::found(NAME, problem, Status::Unknown, message)
}

fn critical(problem: Problem, message: String) -> Check {
    Check::found(NAME, problem, Status::Critical, message)
}

fn with_page(
    facts: &Facts,
    page: &StatusSnapshot,
    settings: &Settings,
    liveness: Liveness,
) -> Check {
    let pid = page.get(Word::Pid);
    let state_since = page.time(Word::StateSince).map(|at| since(at, facts.now));
    let in_state = state_since.map(age).unwrap_or_default();
    let check = match liveness {
        Liveness::Running => Check::healthy(NAME, format!("running (pid {pid})")),
        Liveness::Hung => hung(facts, page),
        Liveness::DiskFull => {
            let no_files = facts.space.as_ref().is_ok_and(|space| !room::has_files(*space));
            let what = if no_files { "no inodes left" } else { "disk full" };
            let message = format!("{what} for {in_state}: new events are refused");
            let dir = settings.log_dir.display();
            let room = if no_files { "remove files (`df -i`)" } else { "free space" };
            critical(Problem::WriterDiskFull, message).hint(format!(
                "{room} on the file system of {dir}. No acknowledged event is lost, and recording \
                 resumes by itself"
            ))
        }
        Liveness::Failing => {
            let error = last_error(page).map_or_else(String::new, |error| format!(": {error}"));
            let message = format!("write failing for {in_state}{error}");
            critical(Problem::WriteFailing, message).hint(if too_large(page) {
                "raise the limit on the size of files (`prlimit --fsize`, LimitFSIZE= of the \
                 unit). The writer keeps accepted events and tries again"
            } else {
                "check the kernel's messages about the disk (`dmesg`). The writer keeps accepted \
                 events and tries again"
            })
        }
        Liveness::Poisoned => {
            let message = format!("writer failed {in_state} ago: nothing is accepted");
            critical(Problem::WriterFailed, message).hint(
                "read the service's messages, which say why the writer failed, and restart \
                       it",
            )
        }
        Liveness::Strange => {
            let message = format!("state {} is of a newer version", page.get(Word::State));
            unknown(Problem::NewerVersion, message)
                .hint("use the version of auditctl that the service runs")
        }
        Liveness::Opening => {
            let message = "a writer holds the lock and is opening the log";
            Check::found(NAME, Problem::Opening, Status::Warning, message)
                .hint("wait: after a crash a large active segment takes seconds to check")
        }
        Liveness::LockUnknown => {
            let why = facts.locked.as_ref().err().cloned().unwrap_or_default();
            unknown(Problem::LockUnknown, format!("the lock cannot be examined: {why}"))
                .hint("run health as the user who owns the log directory, or as root")
        }
        Liveness::Died => died(facts, page),
        Liveness::Stopped => stopped(facts, page, settings.expect_running),
        Liveness::NoLog | Liveness::Unreadable => unseen(NAME, facts),
    };
    with_metrics(check, facts, page, liveness)
}

fn hung(facts: &Facts, page: &StatusSnapshot) -> Check {
    let silent = age(silence(facts, page));
    let doing = match page.activity() {
        Some(activity @ (Activity::Writing | Activity::Syncing)) => {
            format!("hung in {} for {}", activity.as_str(), age(busy_for(facts, page)))
        }
        None | Some(Activity::Idle) => format!("hung for {silent}"),
        Some(activity) => format!("hung for {silent} while {}", activity.as_str()),
    };
    let pid = page.get(Word::Pid);
    let full = facts.space.as_ref().is_ok_and(|space| space.available < PAGE_BYTES as u64);
    let (why, hint) = match facts.process {
        // The page may be what cannot be written.
        Process::State('R' | 'S') if full => (
            ": the disk is full, so the writer may be unable to report its state".to_owned(),
            "free disk space; a writer that lives then reports within a second".to_owned(),
        ),
        Process::State('T') => (
            format!(": process {pid} is stopped by a signal (SIGSTOP)"),
            format!("run `kill -CONT {pid}` to let it continue"),
        ),
        Process::State('t') => (
            format!(": process {pid} is stopped by a debugger"),
            "let it continue in the debugger".to_owned(),
        ),
        Process::State('D') => (
            format!(": process {pid} waits for the disk"),
            "the disk does not answer: read the kernel's messages (`dmesg`)".to_owned(),
        ),
        Process::Gone => (
            format!(": the lock is held, but process {pid} is not visible"),
            "a new writer may be opening the log, or the writer runs in another container"
                .to_owned(),
        ),
        Process::State(_) | Process::Unknown => (
            String::new(),
            "the disk may not answer: read the kernel's messages (`dmesg`). Nothing new is \
             durable until it does"
                .to_owned(),
        ),
    };
    critical(Problem::Hung, format!("{doing}{why}")).hint(hint)
}

fn died(facts: &Facts, page: &StatusSnapshot) -> Check {
    let ago = age(page_age(facts, page));
    let waiting = match page.get(Word::BufferEvents) {
        0 => String::new(),
        events => format!("; {} waited", count(events, "event")),
    };
    let (what, hint) = if facts.rebooted() {
        (
            "the machine was rebooted since",
            "start the service, which recovers the log when it \
                                            opens it",
        )
    } else {
        ("without closing the log", "start the service, which recovers the log when it opens it")
    };
    let message = format!("writer died {ago} ago, {what}{waiting}");
    critical(Problem::Died, message).hint(hint)
}

fn stopped(facts: &Facts, page: &StatusSnapshot, expected: bool) -> Check {
    let message = format!("stopped cleanly {} ago", age(page_age(facts, page)));
    if expected {
        Check::found(NAME, Problem::Stopped, Status::Warning, message)
            .hint("start the service, or set expect_running = false if none should run")
    } else {
        Check::healthy(NAME, message)
    }
}

/// The last error was that the limit on the size of files was reached.
fn too_large(page: &StatusSnapshot) -> bool {
    i32::try_from(page.get(Word::LastErrno)).is_ok_and(|errno| {
        io::Error::from_raw_os_error(errno).kind() == io::ErrorKind::FileTooLarge
    })
}

/// `fdatasync: Input/output error (os error 5)`.
fn last_error(page: &StatusSnapshot) -> Option<String> {
    let errno = i32::try_from(page.get(Word::LastErrno)).ok().filter(|errno| *errno != 0)?;
    let error = io::Error::from_raw_os_error(errno);
    let activity = Activity::from_code(page.get(Word::LastErrorActivity));
    Some(
        activity.map_or_else(
            || error.to_string(),
            |activity| format!("{}: {error}", activity.as_str()),
        ),
    )
}

fn with_metrics(check: Check, facts: &Facts, page: &StatusSnapshot, liveness: Liveness) -> Check {
    let syncs = page.get(Word::Syncs);
    let milliseconds = |micros: u64| micros as f64 / 1_000.0;
    let mean = (syncs > 0).then(|| milliseconds(page.get(Word::SyncMicrosSum) / syncs));
    let time = |word| page.time(word).map(|at| at.to_string());
    let process = match facts.process {
        Process::State(state) if liveness.is_current() => Some(state.to_string()),
        _ => None,
    };
    // The boot clock says nothing about a page of an earlier boot.
    let silent = liveness.is_current().then(|| seconds(silence(facts, page)));
    let busy = liveness.is_current().then(|| seconds(busy_for(facts, page)));
    check
        .metric("pid", page.get(Word::Pid))
        .metric("process_state", process)
        .metric("heartbeat_age_seconds", silent)
        .metric("activity", page.activity().map(Activity::as_str))
        .metric("activity_seconds", busy)
        .metric("state_since", time(Word::StateSince))
        .metric("accepted", page.get(Word::Accepted))
        .metric("durable", page.get(Word::Durable))
        .metric("flushes", page.get(Word::Flushes))
        .metric("syncs", syncs)
        .metric("sync_mean_ms", mean)
        .metric("sync_max_ms", milliseconds(page.get(Word::SyncMicrosMax)))
        .metric("write_errors", page.get(Word::WriteErrors))
        .metric("sync_errors", page.get(Word::SyncErrors))
        .metric("last_error", last_error(page))
        .metric("last_error_at", time(Word::LastErrorAt))
}
