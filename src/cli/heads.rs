//! The signed heads in reach: those of the backups, and the checkpoints that were
//! pushed elsewhere. What is unreadable proves nothing and stops nothing; it is told.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::archives::Archive;
use super::context::Context;
use super::exit::{CliError, Exit, history_hint};
use super::open;
use crate::archive::{heads as archive_heads, kept_head};
use crate::audit::LogPaths;
use crate::audit::Options;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, read_note};
use crate::audit::keys::histories::{Contradiction, Kept, KnownHead};
use crate::audit::read::snapshot::Snapshot;
use crate::backup::{Heads, heads, keys_at_hand};
use crate::collector::pushed_heads;
use crate::config::Settings;
use crate::fsio::OsFs;

/// A file system that hangs keeps nobody longer from starting.
const PATIENCE: Duration = Duration::from_secs(10);
/// The archive is elsewhere, and its first objects tell as well, once they are put: a start waits
/// less for it.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(5);
/// So many backups are looked at, the newest by name.
const MOST: usize = 64;

/// What is in reach.
#[derive(Debug, Default)]
pub(super) struct InReach {
    /// The heads of this log.
    pub(super) heads: Vec<KnownHead>,
    /// What could not be looked at.
    pub(super) unread: Vec<String>,
}

/// The options, with the heads that the log is compared with.
pub(super) fn with_heads(options: Options, settings: &Settings) -> (Options, Vec<String>) {
    let InReach { heads, unread } = in_reach(settings);
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
    let found = in_time(ARCHIVE_PATIENCE, move || {
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
    let log_id = log_id(&settings.log_dir);
    let mut found = InReach::default();
    let backups = settings.backup.output_dir.clone();
    let place = backups.display().to_string();
    let id = log_id.clone();
    found.heads.extend(kept_head(&OsFs, &settings.log_dir));
    match in_time(PATIENCE, move || heads(&OsFs, &backups, id.as_deref(), MOST)) {
        Some(Ok(Heads { heads, skipped, .. })) => {
            found.heads.extend(heads);
            found.unread.extend(skipped);
        }
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Some(Err(error)) => found.unread.push(format!("the backups in {place}: {error}")),
        None => found.unread.push(format!("the backups in {place}: they do not answer")),
    }
    if let Some(to) = settings.collector.checkpoint_push_to.clone() {
        let place = to.display().to_string();
        match in_time(PATIENCE, move || pushed_heads(&to, log_id.as_deref())) {
            Some(Ok(heads)) => found.heads.extend(heads),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Some(Err(error)) => found.unread.push(format!("the checkpoints in {place}: {error}")),
            None => found.unread.push(format!("the checkpoints in {place}: they do not answer")),
        }
    }
    found.heads.extend(cosigned(&settings.log_dir));
    found
}

/// What witnesses cosigned of the log, which is kept beside it: an older copy of the log
/// may have been put back without it.
fn cosigned(log_dir: &Path) -> Option<KnownHead> {
    let path = LogPaths::new(log_dir).cosigned();
    let note = SignedCheckpoint::parse(&read_note(&OsFs, &path).ok()??).ok()?;
    let name = path.display().to_string();
    Some(KnownHead { name, kept: Kept::Pushed, note, rotations: Vec::new() })
}

/// The log's id as its checkpoint has it: a hint, only the heads' signatures count.
fn log_id(log_dir: &Path) -> Option<String> {
    let text = read_note(&OsFs, &LogPaths::new(log_dir).checkpoint()).ok()??;
    let note = SignedCheckpoint::parse(&text).ok()?;
    let origin: Origin = note.unverified().origin.parse().ok()?;
    Some(origin.log_id().to_owned())
}

/// What a thread of its own finds; it ends with the process when it hangs.
fn in_time<T: Send + 'static>(
    patience: Duration,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, found) = mpsc::sync_channel(1);
    let started = std::thread::Builder::new().name("heads".to_owned()).spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send(look());
    });
    started.ok()?;
    found.recv_timeout(patience).ok()
}

/// The heads in reach that do not fit the log as it is; none when there is no log that
/// can be read. What could not be looked at is told.
pub(super) fn contradictions(context: &Context, settings: &Settings) -> Vec<Contradiction> {
    // The heads first: what the log signs meanwhile is no other history.
    let InReach { heads, unread } = in_reach(settings);
    for what in unread {
        context.printer.note(&format!("warning: the log was not compared with {what}"));
    }
    let Ok(snapshot) = Snapshot::take(&open::shared_fs(), &settings.log_dir) else {
        return Vec::new();
    };
    snapshot.compare(&heads).unwrap_or_else(|error| {
        context.printer.note(&format!(
            "warning: the log was not compared with its backups: \
                                       {error}"
        ));
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
