//! The archive that the settings name: whether it is one, has credentials, and takes what is
//! shipped. Nothing is left there.

use std::time::Duration;

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::archive::{ArchiveError, ArchivePlace, Probed, probe};
use crate::fsio::OsFs;
use crate::store::{Limits, RetryPolicy};

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let settings = &seen.request.settings;
    let named = settings.archive.destination.as_deref().filter(|named| !named.is_empty());
    let Some(named) = named else {
        let message = "archive.destination is not set: records leave this host with backups only";
        return vec![Check::skipped(Id::Archive, message)];
    };
    let failed = |error: &ArchiveError, hint: Option<&str>| {
        let hint = hint.unwrap_or("docs/archive.md says what the host has to be allowed");
        let check = Check::failed(Id::Archive, error.to_string()).metric("kind", error.kind());
        vec![check.hint(hint.to_owned())]
    };
    let place = match ArchivePlace::of_setting(named) {
        Ok(place) => place,
        Err(error) => {
            let hint = error.hint.clone();
            return failed(&ArchiveError::from(error), hint.as_deref());
        }
    };
    let retry = RetryPolicy {
        give_up_after: Duration::from_secs(15),
        give_up_unheard: Duration::from_secs(10),
        ..RetryPolicy::default()
    };
    let limits = Limits { connect_timeout: Duration::from_secs(5), retry, ..Limits::default() };
    let probed = place
        .connect(&limits, &seen.request.environment)
        .map_err(ArchiveError::from)
        .and_then(|store| probe(&*store, &OsFs, &settings.log_dir));
    let shown = place.shown();
    let check = match probed {
        Ok(Probed::Takes) => {
            let message = format!("{shown} takes new objects, and keeps those that are there");
            Check::passed(Id::Archive, message)
        }
        Ok(Probed::Answers) => {
            let message = format!(
                "{shown} answers; nothing was shipped there yet, so writing was not tried: \
                 `auditctl archive` tries it"
            );
            Check::passed(Id::Archive, message)
        }
        Err(error) => {
            let hint = match &error {
                ArchiveError::Store(error) => error.hint.clone(),
                _ => None,
            };
            return failed(&error, hint.as_deref());
        }
    };
    vec![check.metric("destination", shown)]
}
