//! The writer: running, hung, dead, stopped, or unable to write.

use std::io;

use crate::audit::status::{Activity, Ring, StatusSnapshot, Word};
use crate::health::facts::{Found, Page};
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::state::{Hung, LogState};
use crate::health::view::{Verdict, View};

pub(super) fn check(view: &View<'_>) -> Check {
    let (status, message, hint) = judge(view);
    let metrics = view.page().map(|page| metrics(view, page)).unwrap_or_default();
    let verdict = Verdict::new(status, message, metrics);
    let verdict = if hint.is_empty() { verdict } else { verdict.hint(hint) };
    verdict.into_check(Component::WorkerThread)
}

fn judge(view: &View<'_>) -> (Status, String, String) {
    let ago = |at| span::millis(view.since(at));
    let pid = view.page().map_or(0, |page| page.get(Word::Pid));
    match view.state {
        LogState::NoLog => no_log(view),
        LogState::Unreadable(reason) => unreadable(view, reason),
        LogState::Opening => opening(),
        LogState::PageGone => page_gone(),
        LogState::Running => (Status::Healthy, running(view, pid), String::new()),
        LogState::Hung(hung) => hung_writer(hung, pid),
        LogState::Died { at, rebooted } => {
            let how = if *rebooted { "; the machine was rebooted since" } else { "" };
            (
                Status::Critical,
                format!("died {} ago; process {pid} ended without closing the log{how}", ago(*at)),
                "start it again: opening recovers every acknowledged event; the system's journal \
                 may say who ended it"
                    .to_owned(),
            )
        }
        LogState::Stopped { at } => {
            let status =
                if view.limits.expect_running { Status::Warning } else { Status::Healthy };
            let hint = "start it, or set `expect_running = false` if it runs only at times";
            (status, format!("stopped cleanly {} ago", ago(*at)), hint.to_owned())
        }
        LogState::DiskFull { since } => (
            Status::Critical,
            format!("disk full for {}; new events are refused", ago(*since)),
            "make space on the log's file system: recording resumes by itself".to_owned(),
        ),
        LogState::Failing { since } => (
            Status::Critical,
            format!(
                "write failing for {}{}; accepted events are kept and tried again",
                ago(*since),
                last_error(view).map(|error| format!(": {error}")).unwrap_or_default()
            ),
            "look at the disk and the permissions of the log directory: recording resumes by itself"
                .to_owned(),
        ),
        LogState::Poisoned { since } => (
            Status::Critical,
            format!("writer failed {} ago; process {pid} records nothing any more", ago(*since)),
            "restart the process: opening recovers every acknowledged event; its messages say \
             what failed"
                .to_owned(),
        ),
    }
}

fn no_log(view: &View<'_>) -> (Status, String, String) {
    let dir = view.facts.paths.dir.display();
    let message = if view.facts.dir == Found::No {
        format!("no log yet; there is no directory {dir}")
    } else if view.facts.active == Found::No {
        format!("no log yet; {dir} holds none")
    } else {
        format!("no status page; {dir} holds a log that no writer has open")
    };
    let hint =
        "start a writer (`auditctl serve`), or name the right directory (--log-dir, log_dir)";
    (Status::Unknown, message, hint.to_owned())
}

fn unreadable(view: &View<'_>, reason: &str) -> (Status, String, String) {
    let hint = match view.facts.page {
        Page::Unreadable(_) if !reason.contains("ermission") => {
            "use the auditctl that the writer was built with"
        }
        _ => "run health as the log's owner, or as root",
    };
    (Status::Unknown, format!("cannot be told; {reason}"), hint.to_owned())
}

fn opening() -> (Status, String, String) {
    let message = "the log is being opened; a writer holds the lock and has published nothing yet";
    (Status::Warning, message.to_owned(), "look again in a moment".to_owned())
}

fn page_gone() -> (Status, String, String) {
    let message = "a writer runs, its status page is gone; how it is cannot be told";
    let hint = "was audit.status or the log directory deleted? restart the writer: it makes the \
                page again";
    (Status::Critical, message.to_owned(), hint.to_owned())
}

fn running(view: &View<'_>, pid: u64) -> String {
    let uptime = span::millis(view.uptime_seconds().unwrap_or(0) * 1_000);
    let page = view.page();
    let mode = page.and_then(StatusSnapshot::mode).map_or("writer", |mode| mode.as_str());
    let doing = page.and_then(StatusSnapshot::activity).map_or("busy", Activity::as_str);
    format!("running (pid {pid}) for {uptime}; {mode}, {doing}")
}

fn hung_writer(hung: &Hung, pid: u64) -> (Status, String, String) {
    let silent = span::millis(hung.silent_ms);
    let doing = match hung.activity {
        Some((activity, for_ms)) => {
            format!("in {} for {}", activity.as_str(), span::millis(for_ms))
        }
        None => format!("for {silent}"),
    };
    match hung.process.map(|process| process.state) {
        Some('T' | 't') => (
            Status::Critical,
            format!(
                "hung for {silent}, stopped by a signal (SIGSTOP); process {pid}, {}",
                if hung.activity.is_some() { &doing } else { "idle before" }
            ),
            format!("`kill -CONT {pid}` lets it go on, unless a debugger holds it"),
        ),
        Some('D') => (
            Status::Critical,
            format!("hung {doing}; process {pid} waits for the disk, silent for {silent}"),
            "look at the disk (dmesg, iostat): the kernel does not answer the writer".to_owned(),
        ),
        Some(_) => (
            Status::Critical,
            format!("hung {doing}; process {pid}, silent for {silent}"),
            "look at what it does (its stack, the disk) before restarting it".to_owned(),
        ),
        None => (
            Status::Critical,
            format!("hung {doing}; process {pid} is not seen from here, silent for {silent}"),
            "it runs in another container, or another process is opening the log just now: look \
             again in a moment"
                .to_owned(),
        ),
    }
}

/// `Input/output error (os error 5) in fdatasync`.
fn last_error(view: &View<'_>) -> Option<String> {
    let page = view.page()?;
    let errno = i32::try_from(page.get(Word::LastErrno)).ok().filter(|errno| *errno != 0)?;
    let error = io::Error::from_raw_os_error(errno);
    let activity = Activity::from_code(page.get(Word::LastErrorActivity));
    Some(match activity {
        Some(activity) => format!("{error} in {}", activity.as_str()),
        None => error.to_string(),
    })
}

fn metrics(view: &View<'_>, page: &StatusSnapshot) -> Vec<Metric> {
    let same_boot = !view.facts.rebooted();
    let age_ms = match page.get(Word::HeartbeatBootMs) {
        beat if same_boot => view.facts.boot_ms.saturating_sub(beat),
        _ => view.since(page.time(Word::HeartbeatAt)),
    };
    let syncs = page.get(Word::Syncs);
    let hung_after = Limit::Above(view.limits.hung_after.as_secs_f64());
    vec![
        Metric::perf("heartbeat_age_seconds", age_ms as f64 / 1e3, "heartbeat_age", Unit::Seconds)
            .limits(hung_after, hung_after),
        Metric::new("activity", page.activity().map(Activity::as_str)),
        Metric::new("process_state", view.facts.process.map(|process| process.state.to_string())),
        Metric::perf("events", page.get(Word::Accepted), "events", Unit::Counter),
        Metric::new("events_durable", page.get(Word::Durable)),
        Metric::new("events_last_minute", page.recent(Ring::Events, view.facts.now)),
        Metric::new("flushes", page.get(Word::Flushes)),
        Metric::new("syncs", syncs),
        Metric::new("sync_mean_us", page.get(Word::SyncMicrosSum).checked_div(syncs)),
        Metric::perf("sync_max_us", page.get(Word::SyncMicrosMax), "sync_max_us", Unit::None),
        Metric::new("write_errors", page.get(Word::WriteErrors)),
        Metric::new("sync_errors", page.get(Word::SyncErrors)),
        Metric::new("last_error", last_error(view)),
        Metric::new("last_error_time", page.time(Word::LastErrorAt).map(|at| at.to_string())),
    ]
}
