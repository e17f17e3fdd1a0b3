//! Whether a backup can build on the one before it, and on which archives it then does.

use super::{Creator, Request};
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::read::watch::{Stage, Watch};

use crate::backup::catalog::Catalog;
use crate::backup::error::BackupError;
use crate::backup::joined::{find_bases, reread_stored};
use crate::backup::metadata::Metadata;
use crate::backup::pack::Basis;

/// What a backup builds on; or why it is a full one, in words.
pub(super) type Choice = Result<Basis, String>;

impl Creator {
    /// What a backup of the snapshot can build on, every archive of which has been read from the
    /// disk just now. A full backup is made wherever there is a doubt.
    ///
    /// # Errors
    /// An interruption.
    pub(super) fn basis(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        previous: Option<&Metadata>,
        watch: &dyn Watch,
    ) -> Result<Choice, BackupError> {
        let Some(most) = request.chain else {
            return Ok(Err("a full one is asked for".to_owned()));
        };
        let Some(previous) = previous else {
            return Ok(Err("there is no backup of this log to build on".to_owned()));
        };
        if let Some(why) = unfit(snapshot, request, previous, most) {
            return Ok(Err(why));
        }
        let id = previous.id;
        let size = previous.range.tree_size;
        let tree = match snapshot.tree_at(size) {
            Ok(Some(tree)) if tree.root() == Ok(previous.root_hash) => tree,
            // Whether that is damage, or another history, is found by reading everything.
            _ => return Ok(Err(format!("the log's first {size} records are not backup {id}'s"))),
        };
        let links = match find_bases(&self.dir, &id.to_string(), &previous.bases) {
            Ok(links) => links,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let all = || links.iter().map(|link| &*link.metadata).chain([previous]);
        let catalog = Catalog::peek(&*self.dir.fs, self.dir.path()).ok().flatten();
        watch.stage(Stage::Verify, all().map(|metadata| metadata.stored().bytes).sum());
        for metadata in all() {
            let id = metadata.id;
            if let Err(what) = metadata.verify(&snapshot.keys) {
                return Ok(Err(format!("backup {id} is not good: {what}")));
            }
            let noted = catalog.as_ref().and_then(|catalog| catalog.backups.get(&id));
            if let Some(damage) = noted.and_then(|noted| noted.damage.as_ref()) {
                return Ok(Err(format!("backup {id} is not good: {damage}")));
            }
            if let Err(what) = reread_stored(&self.dir, metadata, watch)? {
                return Ok(Err(format!("backup {id} is not good: {what}")));
            }
        }
        let bases = all().map(Metadata::as_base).collect();
        Ok(Ok(Basis { bases, tree }))
    }
}

/// Why nothing is built on a backup, whatever its archive holds.
fn unfit(
    snapshot: &Snapshot,
    request: &Request,
    previous: &Metadata,
    most: usize,
) -> Option<String> {
    let id = previous.id;
    let size = previous.range.tree_size;
    let archives = previous.bases.len() + 1;
    let mut recipients =
        previous.encryption.as_ref().map_or_else(Vec::new, |it| it.recipients.clone());
    let mut wanted = request.encrypt_to.clone();
    recipients.sort();
    wanted.sort();
    // A hole in which the new one would begin.
    let in_hole = snapshot.parts.iter().any(|part| {
        matches!(part, Part::Left(_))
            && part.first_seq() < size
            && size < part.first_seq() + part.records()
    });
    let why = if archives >= most {
        format!("backup {id} is the last of {archives} that build on each other (full_every)")
    } else if previous.log.epoch != snapshot.manifest.epoch {
        format!("backup {id} is of an earlier epoch")
    } else if previous.signature.is_none() {
        format!("backup {id} is not signed")
    } else if !previous.holes.is_empty() || in_hole {
        format!("the log lacked records at backup {id}")
    } else if recipients != wanted {
        format!("backup {id} is encrypted to other keys")
    } else if size >= snapshot.checkpoint.size {
        format!("nothing was signed since backup {id}")
    } else {
        return None;
    };
    Some(why)
}
