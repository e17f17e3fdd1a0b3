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
pub use sample::{
    Alerts, Archive, Backup, Cache, CheckpointInfo, Disk, Events, Finding, Log, RateLimiting,
    Sample, Security, Sync, TopBlocked, WriteBuffer, Writer,
};

use crate::backup;
use crate::clock::Clock;
use crate::config::Settings;
use crate::fsio::Fs;
use crate::health;

/// Looks once. Never fails: what cannot be seen is `None`, and
/// [`Writer::state`] says why.
#[must_use]
pub fn sample(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Sample {
    let health = health::check(settings, fs, clock);
    let newest = backup::newest(fs, &settings.backup.output_dir);
    Sample::of(&health, newest)
}
