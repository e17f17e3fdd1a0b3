//! `disk_space`: what the file system below the log has left, in bytes and in inodes.

use crate::audit::files::room;
use crate::audit::files::room::RESUME_FILES;
use crate::audit::state::status::DiskStage;
use crate::config::{DiskSettings, Settings};
use crate::fsio::Space;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{count, percent};
use crate::units::human_bytes;

use super::common::{unseen, worse};

const NAME: &str = "disk_space";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let space = match &facts.space {
        Ok(space) => *space,
        Err(_) if liveness == Liveness::NoLog => return unseen(NAME, facts),
        Err(why) => {
            let message = format!("{}: {why}", settings.log_dir.display());
            return Check::found(NAME, Problem::DiskUnknown, Status::Unknown, message);
        }
    };
    let (warn, critical) = limits(&settings.disk, space);
    let percent_limits = (settings.disk.warn_percent, settings.disk.critical_percent);
    let files = room::file_limits(space, percent_limits);
    // The writer gives up its reserve at "full": there is then space to see that
    // events cannot have.
    let full = liveness.is_current()
        && facts.page().and_then(|page| page.disk_stage()) == Some(DiskStage::Full);
    let bytes_stage = stage(space.available, (warn, critical));
    let files_stage = files.map_or(DiskStage::Ok, |limits| stage(space.files_available, limits));
    let resume = room::resume_bytes(settings.disk_reserve.0);
    let found = if full {
        let of_files = !room::has_files(space) && space.available >= resume;
        let problem = if of_files { Problem::FilesLow } else { Problem::DiskFull };
        Some((problem, Status::Critical))
    } else {
        worse(
            judged(bytes_stage).map(|status| (Problem::DiskLow, status)),
            judged(files_stage).map(|status| (Problem::FilesLow, status)),
        )
    };
    let stage = if full { DiskStage::Full } else { bytes_stage.max(files_stage) };
    let share = percent(space.available, space.total);
    let mut message = free_text(space, share);
    if files_stage > DiskStage::Ok || (full && !room::has_files(space)) {
        message = format!("{}; {message}", files_text(space));
    }
    if full {
        message = format!("full for new events: {message}; {}", until(space, resume));
    }
    let mut check = Check::either(NAME, found, message)
        .metric("available_bytes", space.available)
        .metric("total_bytes", space.total)
        .metric("available_percent", share)
        .metric("warn_below_bytes", warn)
        .metric("critical_below_bytes", critical)
        .metric("available_inodes", space.files_left())
        .metric("total_inodes", space.files_left().map(|_| space.files_total))
        .metric("warn_below_inodes", files.map(|(warn, _)| warn))
        .metric("critical_below_inodes", files.map(|(_, critical)| critical))
        .metric("stage", stage.as_str());
    if let Some(hint) = check.problem().and_then(hint) {
        check = check.hint(hint);
    }
    check
}

fn hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::FilesLow => {
            "remove files that nobody needs, but none of the log's (`df -i` counts inodes, `du \
             --inodes -x` shows who uses them). Recording resumes by itself"
        }
        Problem::DiskLow | Problem::DiskFull => {
            "remove files that nobody needs, but none of the log's; or lower retention_days, so \
             that old segments go. Once there is space, recording resumes by itself"
        }
        _ => return None,
    })
}

fn stage(available: u64, (warn, critical): (u64, u64)) -> DiskStage {
    if available < critical {
        DiskStage::Critical
    } else if available < warn {
        DiskStage::Warn
    } else {
        DiskStage::Ok
    }
}

fn judged(stage: DiskStage) -> Option<Status> {
    match stage {
        DiskStage::Ok => None,
        DiskStage::Warn => Some(Status::Warning),
        DiskStage::Critical | DiskStage::Full => Some(Status::Critical),
    }
}

fn free_text(space: Space, share: Option<f64>) -> String {
    let (free, total) = (human_bytes(space.available), human_bytes(space.total));
    let share = share.map_or_else(String::new, |share| format!(" ({share}%)"));
    format!("{free}{share} free of {total}")
}

fn files_text(space: Space) -> String {
    match space.files_available {
        0 => format!("no inodes left of {}", space.files_total),
        left => format!("{} left of {}", count(left, "inode"), space.files_total),
    }
}

/// What has to happen before the writer takes new events again.
fn until(space: Space, resume: u64) -> String {
    let missing = resume.saturating_sub(space.available);
    let files = RESUME_FILES.saturating_sub(space.files_left().unwrap_or(u64::MAX));
    match (missing, files) {
        (0, 0) => "there is enough space again, so recording resumes within seconds".to_owned(),
        (0, files) => format!("recording resumes with {} more", count(files, "inode")),
        (missing, 0) => format!(
            "the log has used its reserve for its own records; recording resumes at {} free, {} \
             more",
            human_bytes(resume),
            human_bytes(missing)
        ),
        (missing, files) => format!(
            "recording resumes with {} and {} more",
            human_bytes(missing),
            count(files, "inode")
        ),
    }
}

/// Below how many bytes it warns and is critical; as the writer reckons, the
/// smaller of each pair counts.
fn limits(disk: &DiskSettings, space: Space) -> (u64, u64) {
    let part = |percent: u8| space.total / 100 * u64::from(percent);
    (
        disk.warn_bytes.0.min(part(disk.warn_percent)),
        disk.critical_bytes.0.min(part(disk.critical_percent)),
    )
}
