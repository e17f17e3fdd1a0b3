//! The signed heads of a log that are kept where the settings say: with its backups, where
//! checkpoints are pushed to, and beside the log itself those of its archive and its witnesses.
//! Nothing is asked over a network. What is unreadable proves nothing and stops nothing; it is
//! told.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::pushed;
use crate::archive::kept_head;
use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::keys::histories::{Kept, KnownHead};
use crate::backup::{Heads, all_heads, heads};
use crate::config::Settings;
use crate::fsio::OsFs;

/// A file system that hangs keeps nobody longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many backups are looked at by those who have no time for all, the newest by name.
const MOST: usize = 64;

/// Where a log's heads are kept.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The log's directory.
    pub log_dir: PathBuf,
    /// The directory of backups.
    pub backups: Option<PathBuf>,
    /// A file or a directory that checkpoints are pushed to.
    pub pushed: Option<PathBuf>,
}

/// What is in reach.
#[derive(Debug, Default)]
pub struct InReach {
    /// The heads of this log.
    pub heads: Vec<KnownHead>,
    /// What could not be looked at.
    pub unread: Vec<String>,
}

/// Whose heads they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The archive's, as who ships noted it.
    Archive,
    /// The witnesses', who cosigned it.
    Witnesses,
    /// The backups'.
    Backups,
    /// Whoever checkpoints are pushed to.
    Pushed,
}

impl From<&Settings> for Reach {
    fn from(settings: &Settings) -> Self {
        Self {
            log_dir: settings.log_dir.clone(),
            backups: Some(settings.backup.output_dir.clone()),
            pushed: settings.collector.checkpoint_push_to.clone(),
        }
    }
}

type Found<'a> = &'a mut dyn FnMut(Keeper, InReach) -> ControlFlow<()>;

impl Reach {
    /// The newest of each, of a log or of any, within a few seconds.
    #[must_use]
    pub fn newest(&self, log_id: Option<&str>) -> InReach {
        let mut found = InReach::default();
        found.heads.extend(kept_head(&OsFs, &self.log_dir));
        if let Some(backups) = self.backups.clone() {
            let place = of_backups(&backups);
            let id = log_id.map(str::to_owned);
            match in_time(move || heads(&OsFs, &backups, id.as_deref(), MOST)) {
                Some(Ok(Heads { heads, skipped, .. })) => {
                    found.heads.extend(heads);
                    found.unread.extend(skipped);
                }
                failed => found.unread.extend(why(&place, failed)),
            }
        }
        if let Some(to) = self.pushed.clone() {
            let place = of_checkpoints(&to);
            let id = log_id.map(str::to_owned);
            match in_time(move || pushed::heads(&to, id.as_deref())) {
                Some(Ok(heads)) => found.heads.extend(heads),
                failed => found.unread.extend(why(&place, failed)),
            }
        }
        found.heads.extend(cosigned(&self.log_dir));
        found
    }

    /// All of a log's, some at a time, so that no more than those are in memory. Each part has a
    /// few seconds.
    pub fn each(&self, log_id: &str, found: Found<'_>) -> ControlFlow<()> {
        let beside = |head: Option<KnownHead>| InReach {
            heads: head.into_iter().collect(),
            unread: Vec::new(),
        };
        found(Keeper::Archive, beside(kept_head(&OsFs, &self.log_dir)))?;
        found(Keeper::Witnesses, beside(cosigned(&self.log_dir)))?;
        if let Some(backups) = self.backups.clone() {
            let (place, id) = (of_backups(&backups), log_id.to_owned());
            in_parts(
                &place,
                move |some| {
                    all_heads(&OsFs, &backups, &id, &mut |Heads { heads, skipped, .. }| {
                        some(InReach { heads, unread: skipped })
                    })
                },
                &mut |some| found(Keeper::Backups, some),
            )?;
        }
        if let Some(to) = self.pushed.clone() {
            let (place, id) = (of_checkpoints(&to), log_id.to_owned());
            in_parts(
                &place,
                move |some| {
                    pushed::all_heads(&to, &id, &mut |heads| {
                        some(InReach { heads, unread: Vec::new() })
                    })
                },
                &mut |some| found(Keeper::Pushed, some),
            )?;
        }
        ControlFlow::Continue(())
    }
}

fn of_backups(dir: &Path) -> String {
    format!("the backups in {}", dir.display())
}

fn of_checkpoints(to: &Path) -> String {
    format!("the checkpoints in {}", to.display())
}

/// Why nothing was read; nothing where there is nothing to read.
fn why<T>(place: &str, read: Option<io::Result<T>>) -> Option<String> {
    match read {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Some(Err(error)) => Some(format!("{place}: {error}")),
        None => Some(format!("{place}: they do not answer")),
        Some(Ok(_)) => None,
    }
}

/// What witnesses cosigned of the log, which is kept beside it: an older copy of the log
/// may have been put back without it.
fn cosigned(log_dir: &Path) -> Option<KnownHead> {
    let path = LogPaths::new(log_dir).cosigned();
    let note = SignedCheckpoint::parse(&read_note(&OsFs, &path).ok()??).ok()?;
    let name = path.display().to_string();
    Some(KnownHead { name, kept: Kept::Pushed, note, rotations: Vec::new() })
}

/// What a thread of its own finds within a few seconds; it ends with the process when it hangs.
fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    in_time_of(PATIENCE, look)
}

/// The same with another patience.
pub(crate) fn in_time_of<T: Send + 'static>(
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

/// What a thread of its own reads in parts, each within a few seconds.
fn in_parts(
    place: &str,
    read: impl FnOnce(&mut dyn FnMut(InReach) -> ControlFlow<()>) -> io::Result<()> + Send + 'static,
    found: &mut dyn FnMut(InReach) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (sender, parts) = mpsc::sync_channel(0);
    let started = std::thread::Builder::new().name("heads".to_owned()).spawn(move || {
        let all = read(&mut |some| match sender.send(Ok(some)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        if let Err(error) = all {
            let _ = sender.send(Err(error));
        }
    });
    let unread = |failed: Option<io::Result<()>>| InReach {
        heads: Vec::new(),
        unread: why(place, failed).into_iter().collect(),
    };
    if let Err(error) = started {
        return found(unread(Some(Err(error))));
    }
    loop {
        match parts.recv_timeout(PATIENCE) {
            Ok(Ok(some)) => found(some)?,
            Ok(Err(error)) => return found(unread(Some(Err(error)))),
            Err(RecvTimeoutError::Timeout) => return found(unread(None)),
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_handed_over_until_nobody_wants_more() {
        let part = |nth: u32| InReach { heads: Vec::new(), unread: vec![nth.to_string()] };
        let read = move |some: &mut dyn FnMut(InReach) -> ControlFlow<()>| {
            for nth in 0..200 {
                if some(part(nth)).is_break() {
                    break;
                }
            }
            Ok(())
        };
        let mut seen = Vec::new();
        let all = in_parts("there", read, &mut |some| {
            seen.extend(some.unread);
            ControlFlow::Continue(())
        });
        assert!(all.is_continue() && seen.len() == 200 && seen[199] == "199");
        let mut seen = 0;
        let some = in_parts("there", read, &mut |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(some.is_break() && seen == 3);
    }

    #[test]
    fn what_cannot_be_listed_is_told_and_what_is_not_there_is_not() {
        let told = |kind: io::ErrorKind| {
            let mut told = Vec::new();
            let all = in_parts("the backups", move |_| Err(kind.into()), &mut |some| {
                told.extend(some.unread);
                ControlFlow::Continue(())
            });
            assert!(all.is_continue());
            told
        };
        assert_eq!(told(io::ErrorKind::NotFound), Vec::<String>::new());
        assert_eq!(told(io::ErrorKind::PermissionDenied), ["the backups: permission denied"]);
    }
}
