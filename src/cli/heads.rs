//! The signed heads in reach: those of the backups, and the checkpoints that were
//! pushed elsewhere. What is unreadable proves nothing and stops nothing; it is told.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archives::Archive;
use super::context::Context;
use super::exit::{CliError, Exit, history_hint};
use super::open;
use crate::archive::heads as archive_heads;
use crate::audit::LogPaths;
use crate::audit::Options;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, read_note};
use crate::audit::keys::histories::{Contradiction, KnownHead};
use crate::audit::read::snapshot::Snapshot;
use crate::backup::keys_at_hand;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{InReach, Reach, in_time_of};

/// The archive is elsewhere, and its first objects tell as well, once they are put: a start waits
/// less for it.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(5);
/// So many of the heads that do not fit are kept, the gravest ones.
const MOST_FOUND: usize = 64;
/// So many places that could not be read are told.
const MOST_TOLD: usize = 16;

/// The options, with the heads that the log is compared with.
pub(super) fn with_heads(options: Options, settings: &Settings) -> (Options, Vec<String>) {
    let InReach { heads, unread, .. } = in_reach(settings);
    (Options { heads, ..options }, unread)
}

/// The same for a collector, which also asks the archive that the settings name.
pub(super) fn of_collector(options: Options, settings: &Settings) -> (Options, Vec<String>) {
    let (mut options, mut unread) = with_heads(options, settings);
    match of_archive(settings) {
        Some(Ok(heads)) => options.heads.extend(heads),
        Some(Err(why)) => unread.push(format!("the archive: {why}")),
        None => {}
    }
    (options, unread)
}

/// Those that the archive has, within a few seconds; `None` where there is no archive, or no log
/// yet.
fn of_archive(settings: &Settings) -> Option<Result<Vec<KnownHead>, String>> {
    let archive = Archive::of_settings(settings).ok()??;
    let log_id = log_id(&settings.log_dir)?;
    let keys = keys_at_hand(&OsFs, &settings.log_dir, settings.key_path.as_deref())?;
    let found = in_time_of(ARCHIVE_PATIENCE, move || {
        let store = archive.connect_briefly(ARCHIVE_PATIENCE).map_err(|error| error.to_string())?;
        archive_heads(&store, &log_id, &keys).map_err(|error| error.to_string())
    });
    Some(found.unwrap_or_else(|| Err("it does not answer".to_owned())))
}

/// The same for a command that opens the log itself; what could not be looked at is a
/// note.
pub(super) fn noted(options: Options, settings: &Settings) -> Options {
    let (options, unread) = with_heads(options, settings);
    for what in unread {
        tracing::warn!("the log was not compared with {what}");
    }
    options
}

/// The heads in reach, within a few seconds.
pub(super) fn in_reach(settings: &Settings) -> InReach {
    // Without a log the heads of all: a restore knows later which ones count.
    Reach::from(settings).newest(log_id(&settings.log_dir).as_deref())
}

/// The log's id as its checkpoint has it: a hint, only the heads' signatures count.
fn log_id(log_dir: &Path) -> Option<String> {
    let text = read_note(&OsFs, &LogPaths::new(log_dir).checkpoint()).ok()??;
    let note = SignedCheckpoint::parse(&text).ok()?;
    let origin: Origin = note.unverified().origin.parse().ok()?;
    Some(origin.log_id().to_owned())
}

/// The heads in reach that do not fit the log as it is; none when there is no log that
/// can be read. What could not be looked at is told.
pub(super) fn contradictions(context: &Context, settings: &Settings) -> Vec<Contradiction> {
    // The heads first: what the log signs meanwhile is no other history.
    let InReach { heads, unread } = in_reach(settings);
    unread.iter().for_each(|what| not_compared(context, what));
    compared(context, settings, &heads)
}

/// The same of all that are in reach, for who reads the whole log; of those that do not fit the
/// gravest ones.
pub(super) fn all_contradictions(context: &Context, settings: &Settings) -> Vec<Contradiction> {
    let Some(log_id) = log_id(&settings.log_dir) else { return contradictions(context, settings) };
    let (mut found, mut untold) = (Vec::new(), 0);
    let mut told = 0;
    let _ = Reach::from(settings).each(&log_id, &mut |_, InReach { heads, unread }| {
        for what in unread {
            if told < MOST_TOLD {
                not_compared(context, &what);
                told += 1;
            } else {
                untold += 1;
            }
        }
        found.extend(compared(context, settings, &heads));
        found.sort_by_key(Contradiction::gravity);
        found.truncate(MOST_FOUND);
        ControlFlow::Continue(())
    });
    if untold > 0 {
        not_compared(context, &format!("{untold} more"));
    }
    found
}

fn not_compared(context: &Context, with: &str) {
    context.printer.note(&format!("warning: the log was not compared with {with}"));
}

/// Those of the heads that do not fit. The log is looked at after they were read.
fn compared(context: &Context, settings: &Settings, heads: &[KnownHead]) -> Vec<Contradiction> {
    if heads.is_empty() {
        return Vec::new();
    }
    let Ok(snapshot) = Snapshot::take(&open::shared_fs(), &settings.log_dir) else {
        return Vec::new();
    };
    snapshot.compare(heads).unwrap_or_else(|error| {
        not_compared(context, &format!("its backups: {error}"));
        Vec::new()
    })
}

/// As an error of a command.
pub(super) fn error(found: &Contradiction, exit: Exit, and: &str) -> CliError {
    let mut new = CliError::new(found.history.code(), exit, format!("{found}{and}"));
    new.hint = Some(history_hint(found.history).to_owned());
    new.path = Some(PathBuf::from(&found.name)).filter(|path| path.is_absolute());
    new
}
