//! What a process keeps between its passes, so that one with nothing new asks nobody anything,
//! and one with little reads little.

use std::time::Duration;

use super::error::{ArchiveError, io_error};
use super::log::{Known, LogView};
use super::position::Position;
use super::ship::{Archiver, Begin, Shipped};
use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::read_note;
use crate::audit::read::watch::Watch;
use crate::fsio::lock::{FileLock, try_lock};

/// An archive that was looked at so long ago is looked at again, for one object that has to be
/// there: somebody may have emptied it meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Holds the lock of who ships a log, and what this process has shipped.
#[derive(Debug)]
pub struct Session {
    _lock: FileLock,
    last: Option<Last>,
}

/// How the last pass ended.
#[derive(Debug)]
struct Last {
    position: Position,
    known: Known,
    /// The checkpoint's note then.
    note: Vec<u8>,
    shipped: Shipped,
    /// When the archive was last seen to hold what it should, by the clock that counts through
    /// suspend.
    seen_ms: u64,
}

impl Archiver {
    /// Takes the lock of who ships this log.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`] when another process has it.
    pub fn begin(&self) -> Result<Session, ArchiveError> {
        let path = self.log_dir.join("audit.archive.lock");
        match try_lock(&path).map_err(io_error("lock", &path))? {
            Some(lock) => Ok(Session { _lock: lock, last: None }),
            None => Err(ArchiveError::Locked { path }),
        }
    }
}

impl Session {
    /// As [`Archiver::pass`]. Where this session has shipped everything that is signed, and no
    /// data object is due, the store is not asked for anything.
    ///
    /// # Errors
    /// See [`ArchiveError`]. The next pass believes nothing of what this one knew.
    pub fn pass(
        &mut self,
        archiver: &Archiver,
        watch: &dyn Watch,
    ) -> Result<Shipped, ArchiveError> {
        // Where a pass fails, what it did is not known: the next one begins by the file.
        let last = self.last.take().filter(|last| {
            last.position.destination == archiver.destination()
                && last.known.dir == archiver.log_dir
        });
        let note = read_note(&*archiver.fs, &LogPaths::new(&archiver.log_dir).checkpoint());
        let note = note.ok().flatten().unwrap_or_default();
        let last = match last {
            Some(last)
                if last.note == note
                    && !is_due(archiver, &last)
                    && is_seen_lately(archiver, last.seen_ms) =>
            {
                let shipped = last.shipped.again();
                self.last = Some(last);
                return Ok(shipped);
            }
            last => last.filter(|last| is_still_there(archiver, last)),
        };
        let seen_ms = last
            .as_ref()
            .map(|last| last.seen_ms)
            .filter(|seen| is_seen_lately(archiver, *seen))
            .unwrap_or_else(|| archiver.clock.boot_ms());
        let (log, begin) = match last {
            Some(last) => {
                let from = last.position.shipped.end();
                let log = match LogView::recent(&last.known, from)? {
                    Some(log) => log,
                    None => LogView::take(&archiver.fs, &archiver.log_dir)?,
                };
                let fits = log.name() == &last.known.name
                    && from <= log.size()
                    && last.position.data.end() >= log.removed().end();
                let begin = match fits {
                    true => Begin { position: last.position, is_certain: false, removed: 0 },
                    false => archiver.position(&log, log.name())?,
                };
                (log, begin)
            }
            None => {
                let log = LogView::take(&archiver.fs, &archiver.log_dir)?;
                let begin = archiver.position(&log, log.name())?;
                (log, begin)
            }
        };
        let (shipped, position) = archiver.pass_over(&log, begin, watch)?;
        let note = log.note().into_bytes();
        let (known, kept) = (log.known(), shipped.clone());
        self.last = Some(Last { position, known, note, shipped: kept, seen_ms });
        Ok(shipped)
    }
}

fn is_due(archiver: &Archiver, last: &Last) -> bool {
    let is_data =
        last.position.committed && last.position.data.end() == last.position.shipped.end();
    !is_data && archiver.is_due(&last.position, last.position.tail_since)
}

fn is_seen_lately(archiver: &Archiver, seen_ms: u64) -> bool {
    archiver.clock.boot_ms() < seen_ms.saturating_add(LOOK_AGAIN.as_millis() as u64)
}

/// Asked once in a while, also where there is nothing new: an archive that was emptied, or that
/// cannot be reached, is not said to have everything.
fn is_still_there(archiver: &Archiver, last: &Last) -> bool {
    if is_seen_lately(archiver, last.seen_ms) {
        return true;
    }
    archiver.is_there(&last.position, &last.known.name).unwrap_or(false)
}
