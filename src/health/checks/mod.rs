//! The checks: each from what was seen to a judgement, in a file of its own.

mod alerts;
pub(crate) mod archive;
mod backup;
mod certificate;
mod common;
mod disk_space;
mod histories;
mod integrity;
mod log_file;
mod noted;
mod own_files;
mod query_cache;
mod rate_limiting;
mod security;
mod witness;
mod worker_thread;
mod write_buffer;

use crate::audit::LogPaths;
use crate::audit::state::status::{Mode, Word};
use crate::config::{HealthCheckName as Name, Settings};

use super::gather::Facts;
use super::liveness::Liveness;
use super::report::{Check, Metadata};

/// All checks, in the order of the report.
pub(super) fn all(facts: &Facts, settings: &Settings, liveness: Liveness) -> Vec<Check> {
    let made = |name: &Name| made(*name, (facts, settings, liveness));
    let mut checks: Vec<Check> = Name::ALL.iter().filter_map(made).collect();
    for check in checks.iter_mut().filter(|check| check.hint.is_none()) {
        check.hint = check.problem().and_then(common::unseen_hint).map(str::to_owned);
    }
    checks
}

/// The check of that name, where it is made: a name without a check does not compile.
fn made(name: Name, (facts, settings, liveness): (&Facts, &Settings, Liveness)) -> Option<Check> {
    match name {
        Name::WriteBuffer => Some(write_buffer::check(facts, settings, liveness)),
        Name::WorkerThread => Some(worker_thread::check(facts, settings, liveness)),
        Name::LogFile => Some(log_file::check(facts, settings, liveness)),
        Name::RateLimiting => Some(rate_limiting::check(facts, settings, liveness)),
        Name::Security => Some(security::check(facts, settings, liveness)),
        Name::QueryCache => Some(query_cache::check(facts, liveness)),
        Name::DiskSpace => Some(disk_space::check(facts, settings, liveness)),
        Name::Integrity => Some(integrity::check(facts, settings, liveness)),
        Name::Backup => Some(backup::check(facts, settings)),
        Name::Witness => witness::check(facts, settings, liveness),
        Name::Certificate => certificate::check(facts, settings, liveness),
        Name::Alerts => alerts::check(facts, settings, liveness),
        Name::Archive => archive::check(facts, settings),
    }
}

pub(super) fn metadata(facts: &Facts, settings: &Settings, liveness: Liveness) -> Metadata {
    let page = facts.page();
    let word = |word| page.map(|page| page.get(word));
    let time = |word| page.and_then(|page| page.time(word));
    Metadata {
        audit_file: LogPaths::new(&settings.log_dir).active(),
        last_event_time: time(Word::LastEventAt),
        version: env!("CARGO_PKG_VERSION"),
        pid: word(Word::Pid).filter(|pid| *pid != 0),
        state: liveness.name(),
        log_dir: settings.log_dir.clone(),
        mode: page.and_then(|page| page.mode()).map(Mode::as_str),
        started_at: time(Word::StartedAt),
        next_seq: word(Word::NextSeq),
        durable_seq: word(Word::DurableSeq),
        heartbeat_at: time(Word::HeartbeatAt),
    }
}
