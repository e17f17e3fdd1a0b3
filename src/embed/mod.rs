//! The public API: what a service that embeds the log calls. It uses the operating system's files
//! and clock; the modules below take both as arguments, so that tests can make them fail.

#[cfg(feature = "alerts")]
pub mod alerting;
mod backups;
pub mod errors;
pub mod query;
#[cfg(feature = "collector")]
pub mod serve;
pub mod settings;
pub mod verify;

pub use backups::{Backup, BackupFailed, Backups};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{self, HealthReport};

impl Timestamp {
    /// The current time, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemClock.now()
    }
}

/// How the log in `settings.log_dir` is, and its writer, which may be this process or any
/// other. It takes milliseconds, whatever the size of the log, and works beside a writer that
/// hangs and on a full disk. It asks nobody, takes no lock and reads no record.
///
/// What cannot be seen is [`HealthStatus::Unknown`](crate::HealthStatus::Unknown), with the
/// reason.
#[must_use]
pub fn check_health(settings: &Settings) -> HealthReport {
    health::check(settings, &OsFs, &SystemClock).report
}
