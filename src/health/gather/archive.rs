//! How far the archive is that the settings name: by the log's files and those of who ships.

use std::path::Path;

use crate::archive::{ArchivePlace, ArchiveStatus, Lag};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// What was seen of it.
#[derive(Clone, Debug)]
pub(in crate::health) struct Archive {
    /// Where it is, for people.
    pub(in crate::health) place: String,
    /// How far it is; `None` where nothing was signed yet.
    pub(in crate::health) lag: Result<Option<Lag>, String>,
    /// How shipping is; none where nobody has shipped there yet.
    pub(in crate::health) status: Option<ArchiveStatus>,
}

/// `None` where the settings name none.
pub(super) fn look(
    named: Option<&str>,
    fs: &dyn Fs,
    log_dir: &Path,
    now: Timestamp,
) -> Option<Archive> {
    let named = named.filter(|named| !named.is_empty())?;
    let place = match ArchivePlace::of_setting(named) {
        Ok(place) => place,
        Err(error) => {
            let lag = Err(format!("archive.destination: {error}"));
            return Some(Archive { place: named.to_owned(), lag, status: None });
        }
    };
    let url = place.url();
    let lag = Lag::look(fs, log_dir, &url, now).map_err(|error| error.to_string());
    let status = ArchiveStatus::read(fs, log_dir);
    let lag = match &status {
        Err(error) => {
            lag.and_then(|_| Err(format!("{}: {error}", ArchiveStatus::path(log_dir).display())))
        }
        Ok(_) => lag,
    };
    let status = status.ok().flatten().filter(|status| status.destination == url);
    Some(Archive { place: place.shown(), lag, status })
}
