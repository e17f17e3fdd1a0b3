//! What a pass does where a name is taken: it takes over what is the log's, whoever put it there,
//! stops at what contradicts the log, and passes over what is certainly not the log's.

use super::bucket::unless_foreign;
use super::documents::{MAX_DOCUMENT_BYTES, RangeProof};
use super::error::ArchiveError;
use super::layout::{LAST_NAME, ObjectName, Span};
use super::members::{MAX_OBJECT_BYTES, Tail, holds};
use super::names::fetch;
use super::pack::accepted;
use super::position::Position;
use super::ship::Pass;
use crate::audit::tree::merkle::Range;

impl Pass<'_> {
    /// Goes on from a tail that is there under the name of the next one; false where it is
    /// certainly not the log's. It is contradicted where the log signed it with other records.
    pub(super) fn adopts(
        &mut self,
        name: &ObjectName,
        position: &mut Position,
    ) -> Result<bool, ArchiveError> {
        let Some(bytes) = self.there(name, MAX_OBJECT_BYTES)? else { return Ok(false) };
        let first = position.shipped.end();
        let tail = Tail::of(&bytes).and_then(|tail| {
            tail.signed(self.name, first, self.log.keys()).map(|checkpoint| (tail, checkpoint))
        });
        let (tail, checkpoint) = match tail {
            Ok(found) => found,
            Err(what) => return Ok(self.is_foreign(name, &what)),
        };
        if checkpoint.size > self.log.size() {
            let what = format!(
                "a key of the log signed {} records there, and the log has {}",
                checkpoint.size,
                self.log.size()
            );
            return Err(self.contradicted(name, &what));
        }
        let ours = self.log.tree_at(checkpoint.size)?;
        let Some(ours) = ours.filter(|tree| tree.root().is_ok_and(|it| it == checkpoint.root))
        else {
            return Err(self.contradicted(name, "the log has other records there"));
        };
        if let Err(what) = tail.check() {
            return Ok(self.is_foreign(name, &what));
        }
        let mut members = tail.members();
        let lines = members.next_lines().ok().flatten().map(|(lines, _)| lines.raw);
        let since = lines.and_then(|raw| raw.split(|byte| *byte == b'\n').find_map(accepted));
        self.adopted += checkpoint.size - first;
        position.shipped = ours;
        position.tail_since = position.tail_since.or(since);
        position.tail_bytes += bytes.len() as u64;
        self.archiver.keep(position)?;
        Ok(true)
    }

    /// What has a name that is taken; `None` where it is certainly not the log's: too large for
    /// it, or not to be read, while the log's own objects are.
    fn there(&self, name: &ObjectName, most: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        match fetch(&*self.archiver.store, name, most) {
            Ok(there) => there.map(Some).ok_or_else(|| self.gone(name)),
            Err(ArchiveError::Object { what, .. }) => {
                self.is_foreign(name, &what);
                Ok(None)
            }
            Err(error) if error.is_unread() && self.reads_keys()? => {
                self.is_foreign(name, &error.what());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether objects that this host puts can be read at all: its keys are there by now.
    fn reads_keys(&self) -> Result<bool, ArchiveError> {
        let changes = u32::try_from(self.log.keys().rotations().len()).unwrap_or(u32::MAX);
        for nth in 0..=LAST_NAME {
            let name = ObjectName::Keys(self.name.clone(), changes, nth);
            let read = fetch(&*self.archiver.store, &name, MAX_DOCUMENT_BYTES);
            if let Ok(there) = unless_foreign(read)? {
                return Ok(there.is_some());
            }
        }
        Ok(false)
    }

    /// Says that an object is passed over; another name is taken instead.
    pub(super) fn is_foreign(&self, name: &ObjectName, what: &str) -> bool {
        tracing::warn!("{}: {what}; another name is taken", self.url(name));
        false
    }

    pub(super) fn no_name(&self, name: &ObjectName) -> ArchiveError {
        let what = "this name and all before it are taken by what is not the log's".to_owned();
        ArchiveError::Object { object: self.url(name), what }
    }

    /// What is there under the name of a range's proof: good only if the log has the very
    /// records that it names. `None` where it is certainly not the log's.
    pub(super) fn claimed(
        &self,
        name: &ObjectName,
        before: &Range,
    ) -> Result<Option<RangeProof>, ArchiveError> {
        let Some(bytes) = self.there(name, MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        let read = RangeProof::read(&bytes, name, self.log.keys());
        let proof = match unless_foreign(read.map_err(|error| error.of(self.url(name))))? {
            Ok((proof, _)) => proof,
            Err(_) => return Ok(None),
        };
        if proof.before != *before {
            return Err(self.contradicted(name, "the log has other records before it"));
        }
        let Span { end, .. } = proof.span();
        if end > self.log.size() {
            let what = format!(
                "a key of the log signed {end} records there, and the log has {}",
                self.log.size()
            );
            return Err(self.contradicted(name, &what));
        }
        Ok(Some(proof))
    }

    pub(super) fn is_same_data(
        &self,
        name: &ObjectName,
        proof: &RangeProof,
    ) -> Result<(), ArchiveError> {
        let bytes =
            fetch(&*self.archiver.store, name, MAX_OBJECT_BYTES)?.ok_or_else(|| self.gone(name))?;
        match holds(&bytes, proof) {
            Ok(()) => Ok(()),
            Err(what) => Err(ArchiveError::Object { object: self.url(name), what }),
        }
    }

    pub(super) fn url(&self, name: &ObjectName) -> String {
        self.archiver.store.url(&name.to_string())
    }

    pub(super) fn gone(&self, name: &ObjectName) -> ArchiveError {
        let what = "the store said a moment ago that it is there".to_owned();
        ArchiveError::Missing { object: self.url(name), what }
    }

    pub(super) fn contradicted(&self, name: &ObjectName, what: &str) -> ArchiveError {
        ArchiveError::Contradicted { object: self.url(name), what: what.to_owned() }
    }
}
