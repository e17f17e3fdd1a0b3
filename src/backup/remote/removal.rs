//! Removing a backup from a store, by version, so that nothing stays behind a
//! marker.

use super::Remote;
use crate::backup::error::BackupError;
use crate::backup::metadata::MAX_METADATA_BYTES;
use crate::backup::name::BackupId;
use crate::backup::retention::{Decision, Place, Removal};
use crate::clock::{Clock, SystemClock};
use crate::store::{Object, Removed, StoreErrorKind};

impl Place for Remote {
    fn stored_sha256(&self, which: &Decision) -> Result<String, BackupError> {
        let there = self.of_place(&which.removed.place);
        let name = there.name(&which.id.metadata());
        let (metadata, _) = there.metadata(&name, which.id, MAX_METADATA_BYTES)?;
        Ok(metadata.stored().sha256.to_string())
    }

    fn remove(&self, which: &Decision) -> Result<Removal, BackupError> {
        self.of_place(&which.removed.place).remove_id(which.id)
    }
}

impl Remote {
    fn remove_id(&self, id: BackupId) -> Result<Removal, BackupError> {
        let name = self.name(&id.metadata());
        let metadata = self.metadata(&name, id, MAX_METADATA_BYTES)?.0;
        let archive = self.name(&metadata.archive.file);
        // Both are looked at before either goes: a lock on one keeps both.
        let objects = [(&name, self.store.stat(&name)?), (&archive, self.store.stat(&archive)?)];
        let now = SystemClock.now();
        for object in objects.iter().filter_map(|(_, object)| object.as_ref()) {
            if let Some(until) = object.locked_until.filter(|until| *until > now) {
                return Ok(Removal::Locked(format!("{} is locked until {until}", object.name)));
            }
            if object.held {
                return Ok(Removal::Locked(format!("{} is held", object.name)));
            }
        }
        let mut removal = Removal::Gone;
        for (name, object) in &objects {
            let Some(Object { version, .. }) = object else { continue };
            match self.store.remove(name, version.as_deref()) {
                Ok(Removed::Gone) => {}
                Ok(Removed::HiddenByMarker) => removal = Removal::Hidden,
                Err(error) if matches!(error.kind, StoreErrorKind::Locked(_)) => {
                    return Ok(Removal::Locked(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removal)
    }
}
