//! From where on a check warns, and is critical.

use std::time::Duration;

use crate::config::{DiskSettings, HealthSettings, Settings};

/// The settings that the checks judge by.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `[health]`.
    pub health: HealthSettings,
    /// `[disk]`.
    pub disk: DiskSettings,
    /// Whether a writer that was stopped cleanly is a warning.
    pub expect_running: bool,
    /// A writer silent for longer is hung.
    pub hung_after: Duration,
    /// Events that may wait for [`flush_interval`](Self::flush_interval) by design.
    pub flush_events: u64,
    /// How long they may.
    pub flush_interval: Duration,
    /// How often a checkpoint is signed while nothing happens.
    pub idle_checkpoint_interval: Duration,
}

impl Limits {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            health: settings.health.clone(),
            disk: settings.disk.clone(),
            expect_running: settings.expect_running,
            hung_after: settings.health.hung_after,
            flush_events: settings.write_buffer_size as u64,
            flush_interval: settings.write_flush_interval,
            idle_checkpoint_interval: settings.idle_checkpoint_interval,
        }
    }
}
