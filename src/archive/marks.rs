//! An archive of one log as one set of keys reads it, and the signed checkpoints of an epoch,
//! wherever they stand: how far the log had come.

use super::bucket::{Bucket, unless_foreign};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::names::Proofs;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};

/// A signed checkpoint that the archive holds.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) epoch: u32,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) object: ObjectName,
}

/// An archive of one log, as one set of keys reads it.
#[derive(Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) proofs: &'a Proofs,
    pub(crate) keys: &'a Keyring,
    pub(crate) watch: &'a dyn Watch,
    /// A tree of which it is known already that the archive holds all of it: what lies below
    /// is not looked for again.
    pub(crate) from: Option<&'a Range>,
}

impl Planner<'_> {
    /// The largest checkpoint that the log signed over nothing that lies behind there.
    pub(super) fn committed_up_to(
        self,
        log: &LogName,
        end: u64,
    ) -> Result<Option<Mark>, ArchiveError> {
        for size in self.proofs.sizes(log.epoch()).filter(|size| *size <= end) {
            let read = self.bucket.checkpoint(log, size, self.keys);
            if let Ok((Checkpoint { root, .. }, _)) = unless_foreign(read)? {
                let object = ObjectName::Checkpoint(log.clone(), size);
                return Ok(Some(Mark { epoch: log.epoch(), size, root, object }));
            }
        }
        Ok(None)
    }

    /// The largest size of an epoch that a key of the log committed.
    pub(crate) fn last_committed(self, log: &LogName) -> Result<Option<Mark>, ArchiveError> {
        self.committed_up_to(log, u64::MAX)
    }

    /// The largest checkpoint of an epoch that a key of the log signed.
    pub(crate) fn last_signed(self, log: &LogName) -> Result<Option<Mark>, ArchiveError> {
        let last = self.last_committed(log)?;
        let above = last.as_ref().map_or(0, |mark| mark.size);
        Ok(self.above(log, above)?.signed.or(last))
    }

    /// What there is over more than so many records of an epoch, wherever it stands.
    pub(crate) fn above(self, log: &LogName, above: u64) -> Result<Above, ArchiveError> {
        let mut found = Above { size: above, ..Above::default() };
        for size in self.proofs.sizes(log.epoch()).filter(|size| *size > above) {
            let read =
                self.bucket.checkpoint(log, size, self.keys).map(|(checkpoint, _)| checkpoint);
            if found.see(log, read, ObjectName::Checkpoint(log.clone(), size))? {
                break;
            }
        }
        for there in self.proofs.firsts(log.epoch()).range((above, 0)..) {
            let read = self.bucket.proof(log, *there, self.keys).map(|(_, checkpoint)| checkpoint);
            found.see(log, read, ObjectName::Range(log.clone(), there.0, there.1))?;
        }
        for tail in self.proofs.tails(log.epoch(), above) {
            let read = self.bucket.marker(log, &tail, self.keys).map(|(_, checkpoint)| checkpoint);
            found.see(log, read, tail.name(log))?;
        }
        Ok(found)
    }
}

/// What there is over more than so many records.
#[derive(Debug, Default)]
pub(crate) struct Above {
    size: u64,
    /// The largest checkpoint that a key of the log signed.
    pub(crate) signed: Option<Mark>,
    /// An object that cannot be read: nobody knows what it holds.
    pub(crate) unread: Option<ArchiveError>,
}

impl Above {
    /// Whether it is signed.
    fn see(
        &mut self,
        log: &LogName,
        read: Result<Checkpoint, ArchiveError>,
        object: ObjectName,
    ) -> Result<bool, ArchiveError> {
        match unless_foreign(read)? {
            Ok(Checkpoint { size, root, .. }) => {
                let most = self.signed.as_ref().map_or(self.size, |mark| mark.size);
                if size > most {
                    self.signed = Some(Mark { epoch: log.epoch(), size, root, object });
                }
                Ok(true)
            }
            Err(error) => {
                if error.is_unread() {
                    self.unread.get_or_insert(error);
                }
                Ok(false)
            }
        }
    }
}
