//! What commands find wrong with the log is left where `health` sees it.

use super::exit::{CliError, Exit};
use super::open::shared_fs;
use crate::audit::LogPaths;
use crate::audit::read::verify::Report;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::health::{Found, FoundBy, note_ended, note_verified};

/// Only of a log that is kept here, which its key tells: a copy that somebody looks at, and
/// evidence, stay as they are.
fn is_kept_here(settings: &Settings, paths: &LogPaths) -> bool {
    let key = settings.key_path.clone().unwrap_or_else(|| paths.key());
    shared_fs().meta(&key).is_ok()
}

/// After a verification of the log. `against`: it was compared with copies that were named.
pub(super) fn verified(settings: &Settings, report: &Report, found_by: FoundBy, against: bool) {
    let paths = LogPaths::new(&settings.log_dir);
    if !is_kept_here(settings, &paths) {
        return;
    }
    note_verified(&*shared_fs(), &paths, report, found_by, against);
}

/// All is well again; what only a comparison found, only another one ends.
pub(super) fn ended(settings: &Settings, against: bool) {
    note_ended(&*shared_fs(), &LogPaths::new(&settings.log_dir), against);
}

/// A writer did not start, or a backup was not made, because of what the log is.
pub(super) fn refused(settings: &Settings, error: &CliError, found_by: FoundBy) {
    let paths = LogPaths::new(&settings.log_dir);
    let of_the_log =
        ["corrupt", "damaged", "bad_signature", "key", "key_replaced"].contains(&error.kind);
    if of_the_log && error.exit != Exit::Usage && is_kept_here(settings, &paths) {
        keep(&Found::new(found_by, SystemClock.now(), &error.message), &paths);
    }
}

/// A backup was made, and lacks what is damaged.
pub(super) fn lacks(settings: &Settings, text: &str) {
    let paths = LogPaths::new(&settings.log_dir);
    if is_kept_here(settings, &paths) {
        // What to do stands behind the semicolon; health has it.
        let what = text.split("; ").next().unwrap_or(text);
        keep(&Found::new(FoundBy::Backup, SystemClock.now(), what), &paths);
    }
}

/// Who may only read cannot leave anything.
fn keep(found: &Found, paths: &LogPaths) {
    if let Err(error) = found.store(&*shared_fs(), paths) {
        tracing::info!(%error, "what was found is not kept for `health`");
    }
}
