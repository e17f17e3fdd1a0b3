//! Whether this machine, these settings and this build are fit to keep a log: looked
//! at and tried before a deployment, and safely beside a running writer.
//!
//! [`validate`] runs every check of the table ([`Id::ALL`]) with a deadline of its own;
//! one that hangs, fails or panics does not stop the others. What has to be tried is
//! tried in a scratch directory on the log's file system, which is gone at the end,
//! also when it is ended early; what a killed run left, the next one removes.
//!
//! Nothing of the log is changed, and no record is written into it.

mod abilities;
mod alert_checks;
mod archive;
mod bench;
mod build;
mod catalogue;
mod check;
mod checkpoint;
mod clock_checks;
mod cloud;
mod disk;
mod machine;
mod opening;
mod outcome;
mod permissions;
mod places;
mod principal;
mod protections;
#[cfg(test)]
mod reference;
mod report;
mod request;
mod runner;
mod serving;
mod settings;
mod sync_latency;
mod volumes;
mod workshop;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use bench::{
    LEAST_COMPRESSION, LEAST_EVENTS_A_SECOND, MEMORY_EVENTS, MOST_MEMORY_BYTES, MOST_QUERY_MS,
};
pub use catalogue::{Id, PROBLEMS, Problem};
pub use check::{Check, Metrics};
pub use disk::FULL_WITHIN_DAYS;
pub use machine::SPARE_FILES;
pub use outcome::{Section, Status};
pub use report::{Metadata, Report, SectionReport, Summary};
pub use request::{CloudTarget, Request};
pub use serving::TOKEN_ENDS_WITHIN_DAYS;
pub use sync_latency::MOST_SYNC_MS;

use crate::audit::LogPaths;
use crate::clock::{Clock, SystemClock};
use principal::Principal;
use request::Surroundings;
use runner::{Stopped, Task};

/// It was told to stop; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl From<Stopped> for Interrupted {
    fn from(_: Stopped) -> Self {
        Self
    }
}

/// What only looks at files.
const LOOKING: Duration = Duration::from_secs(15);
/// What opens logs and writes to them.
const TRYING: Duration = Duration::from_secs(30);
const MEASURING: Duration = Duration::from_secs(75);

fn tasks(request: &Request) -> Vec<Task<Surroundings>> {
    let sending = request.settings.alerting.timeout + LOOKING;
    let mut tasks: Vec<Task<Surroundings>> = vec![
        Task { id: Id::SettingsValue, deadline: LOOKING, run: settings::check },
        Task { id: Id::PermissionsAccess, deadline: LOOKING, run: permissions::check },
        Task { id: Id::PermissionsVolume, deadline: LOOKING, run: abilities::check },
        Task { id: Id::Build, deadline: LOOKING, run: build::check },
        Task { id: Id::Http, deadline: LOOKING, run: serving::check },
        Task { id: Id::CloudReachable, deadline: cloud::DEADLINE, run: cloud::check },
        Task { id: Id::Archive, deadline: cloud::DEADLINE, run: archive::check },
        Task { id: Id::Alerts, deadline: LOOKING, run: alert_checks::configured },
        Task { id: Id::AlertTest, deadline: sending, run: alert_checks::test },
        Task { id: Id::DiskSpace, deadline: LOOKING, run: disk::check },
        Task { id: Id::ClockSane, deadline: LOOKING, run: clock_checks::check },
        Task { id: Id::OtherAuditctl, deadline: LOOKING, run: machine::check },
        Task { id: Id::Scratch, deadline: LOOKING, run: workshop::check },
        Task { id: Id::Tampering, deadline: TRYING, run: protections::check },
        Task { id: Id::Ssrf, deadline: LOOKING, run: alert_checks::guard },
        Task { id: Id::Checkpoint, deadline: LOOKING, run: checkpoint::check },
        Task { id: Id::Opening, deadline: LOOKING, run: opening::check },
    ];
    if !request.quick {
        // First, before freed memory could hide what is taken anew.
        tasks.insert(0, Task { id: Id::WriteRate, deadline: MEASURING, run: bench::log });
        tasks.push(Task { id: Id::SyncLatency, deadline: TRYING, run: sync_latency::check });
    }
    tasks
}

/// Checks everything.
///
/// # Errors
/// [`Interrupted`] when [`Request::stop`] was set; the scratch directory is gone then, too.
pub fn validate(request: Request) -> Result<Report, Interrupted> {
    let begun = (SystemClock.now(), Instant::now());
    let stop = Arc::clone(&request.stop);
    let principal = match &request.user {
        Some(name) => Principal::named(name),
        None => Ok(Principal::of_process()),
    };
    let place = workshop::open(&request)?;
    let live = LogPaths::new(&request.settings.log_dir).writer_runs().unwrap_or(false);
    let metadata = Metadata {
        timestamp: begun.0,
        duration_ms: 0,
        version: env!("CARGO_PKG_VERSION"),
        log_dir: request.settings.log_dir.clone(),
        settings_file: request.settings_file.clone(),
        user: match &principal {
            Ok(principal) => principal.name.clone(),
            Err(_) => request.user.clone().unwrap_or_default(),
        },
        quick: request.quick,
        strict: request.strict,
    };
    let tasks = tasks(&request);
    let surroundings = Arc::new(Surroundings {
        request,
        principal,
        scratch: place.path(),
        leftovers: place.leftovers.clone(),
        live,
    });
    let mut checks = Vec::new();
    for task in &tasks {
        checks.extend(runner::run(task, &surroundings, &stop)?);
    }
    checks.extend(place.remove());
    let duration_ms = begun.1.elapsed().as_millis() as u64;
    Ok(Report::new(checks, Metadata { duration_ms, ..metadata }))
}
