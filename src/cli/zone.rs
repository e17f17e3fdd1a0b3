//! Which time zone a flag names, by this process's environment.

use super::exit::CliError;
use crate::fsio::OsFs;
use crate::zone::{LocalTimeError, Machine, Zone};

/// What this process's environment says of zones.
pub(super) fn machine() -> Machine {
    Machine { tz: std::env::var_os("TZ"), tzdir: std::env::var_os("TZDIR") }
}

/// The zone that a flag names.
///
/// # Errors
/// One that is not known, exit 2.
pub(super) fn named(flag: &str, text: &str) -> Result<Zone, CliError> {
    machine().zone(&OsFs, text).map_err(|error| CliError::usage(format!("{flag}: {error}")))
}

/// A time as it was given with `flag`, as RFC 3339; one without a zone is in `zone`. What
/// is no local time is left as it is: it may be another one.
///
/// # Errors
/// One that clocks there never showed, exit 2.
pub(super) fn in_zone(flag: &str, text: &str, zone: &Zone) -> Result<String, CliError> {
    match zone.read(text.trim()) {
        Ok(at) => Ok(at.to_string()),
        Err(LocalTimeError::NotATime { .. }) => Ok(text.to_owned()),
        Err(error) => Err(CliError::usage(format!("{flag}: {error}"))),
    }
}
