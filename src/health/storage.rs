//! The log's files and the space they have.

use super::{Check, Liveness, Seen, Status};
use crate::audit::status::{DiskStage, Word};
use crate::config::Settings;
use crate::units::human_bytes;

pub(super) fn log_file(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else {
        return match &seen.log_file {
            Some(_) => Check::new(
                "log_file",
                Status::Unknown,
                "audit.log is there, its writer is not known",
            ),
            None => Check::new("log_file", Status::Unknown, "no audit.log"),
        };
    };
    let bytes = page.get(Word::LogBytes);
    let running = seen.liveness == Liveness::Locked;
    let same = seen.log_file.is_some_and(|file| file.inode == page.get(Word::ActiveInode));
    let (status, message) = match &seen.log_file {
        None => (Status::Critical, "audit.log was deleted".to_owned()),
        Some(_) if running && !same => (Status::Critical, "audit.log was replaced".to_owned()),
        Some(file) if running && file.len < page.get(Word::ActiveBytes) => {
            (Status::Critical, "audit.log was truncated".to_owned())
        }
        Some(_) => {
            let limits = &settings.health;
            let status =
                Status::by_limits(bytes, limits.log_bytes_warn.0, limits.log_bytes_critical.0);
            let segments = page.get(Word::Segments);
            (status, format!("{} in {segments} sealed segments and audit.log", human_bytes(bytes)))
        }
    };
    let check = Check::new("log_file", status, message)
        .metric("bytes", bytes)
        .metric("active_bytes", page.get(Word::ActiveBytes))
        .metric("segments", page.get(Word::Segments))
        .metric("compress_backlog", page.get(Word::CompressBacklog))
        .metric("log_file_incidents", page.get(Word::LogFileIncidents));
    match status {
        Status::Healthy => check.last_known(seen),
        _ if seen.log_file.is_none() || running && !same => check.hint(
            "a running writer saves its records within a flush interval; find out who did it",
        ),
        _ => {
            check.hint("shorten retention_days, or raise health.log_bytes_warn where this is meant")
        }
    }
}

pub(super) fn disk_space(seen: &Seen, settings: &Settings) -> Check {
    let Some(space) = seen.space else {
        return Check::new("disk_space", Status::Unknown, "the free space cannot be told");
    };
    let limits = &settings.disk;
    let part = |percent: u8| space.total / 100 * u64::from(percent);
    let running = seen.liveness == Liveness::Locked;
    let full =
        running && seen.page.as_ref().and_then(|page| page.disk_stage()) == Some(DiskStage::Full);
    let status =
        if full || space.available < limits.critical_bytes.0.min(part(limits.critical_percent)) {
            Status::Critical
        } else if space.available < limits.warn_bytes.0.min(part(limits.warn_percent)) {
            Status::Warning
        } else {
            Status::Healthy
        };
    let (available, total) = (human_bytes(space.available), human_bytes(space.total));
    let message = if full {
        format!("disk full: {available} of {total} free, new events are refused")
    } else {
        format!("{available} of {total} free")
    };
    let check = Check::new("disk_space", status, message)
        .metric("available_bytes", space.available)
        .metric("total_bytes", space.total);
    if status == Status::Healthy {
        check
    } else {
        check.hint("free space on the log's file system, or shorten retention_days")
    }
}
