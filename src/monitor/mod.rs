//! What a person watches: samples of a running writer.
//!
//! `sample` looks as [`health::check`] does, once, and
//! turns the same look into numbers: no lock is taken, no record and no manifest
//! read, nobody asked. Beside a hung writer, a dead one or none it gives the last
//! known values, and says of when they are. [`Looker`] looks at the newest records besides, which
//! takes longer. How it is shown is `ui`'s matter.

mod newest;
mod sample;
#[cfg(test)]
mod tests;

pub use newest::{KnownBackup, LOOKED_THROUGH, Looker, Newest, Refusal};
pub(crate) use sample::REFUSED;
pub use sample::{
    Alerts, Archive, Backup, Cache, CheckpointInfo, Disk, Events, Finding, Log, RateLimiting,
    Sample, Security, Sync, TopBlocked, Verdict, WriteBuffer, Writer,
};

use std::time::Duration;

use crate::backup;
use crate::clock::Clock;
use crate::config::Settings;
use crate::fsio::Fs;
use crate::health::{self, Health};

/// Looks once. Never fails: what cannot be seen is `None`, and
/// [`Writer::state`] says why.
#[must_use]
pub fn sample(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Sample {
    look(settings, fs, clock).1
}

/// The same, with the judgement that it was made from.
#[must_use]
pub fn look(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> (Health, Sample) {
    let health = health::check(settings, fs, clock);
    let newest = backup::newest(fs, &settings.backup.output_dir);
    let sample = Sample::of(&health, newest);
    (health, sample)
}

/// What is said when [`look`] has not returned `after` so long. Looks at nothing.
#[must_use]
pub fn unanswered(settings: &Settings, clock: &dyn Clock, after: Duration) -> (Health, Sample) {
    let health = health::unanswered(settings, clock, after);
    let sample = Sample::of(&health, None);
    (health, sample)
}
