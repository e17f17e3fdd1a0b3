//! The keys of a log that an archive holds.

use super::bucket::{Bucket, unless_foreign};
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::names::Proofs;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;

/// All keys that are there and, where a key is known from elsewhere, lead to it: the newest
/// first, and before them those that lead to the keys that are `here`. What others may have
/// put there is passed over.
///
/// # Errors
/// There are none: why the last one that was looked at is none.
pub(crate) fn keysets(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    believed: Option<&VerifierKey>,
    here: Option<&Keyring>,
) -> Result<Vec<(KeysDocument, Keyring)>, ArchiveError> {
    let mut names: Vec<_> = proofs.keys.iter().map(|(e, n, nth)| (*n, *e, *nth)).collect();
    names.sort_unstable();
    let mut refused = ArchiveError::Missing {
        object: bucket.url(&ObjectName::Keys(log.clone(), 0, 0)),
        what: "the log's keys have to be there".to_owned(),
    };
    let mut found: Vec<(KeysDocument, Keyring)> = Vec::new();
    for (changes, epoch, nth) in names.into_iter().rev() {
        let name = ObjectName::Keys(log.in_epoch(epoch), changes, nth);
        let read = bucket.fetch(&name, MAX_DOCUMENT_BYTES).and_then(|bytes| {
            let read = KeysDocument::read(&bytes, log.id());
            read.map_err(|error| error.of(bucket.url(&name)))
        });
        let (document, ring) = match unless_foreign(read)? {
            Ok(read) => read,
            Err(error) => {
                refused = error;
                continue;
            }
        };
        if found.iter().any(|(other, _)| *other == document) {
            continue;
        }
        let Some(key) = believed else {
            found.push((document, ring));
            continue;
        };
        match Keyring::new(key.clone(), &document.rotations) {
            Ok(_) if !ring.contains(key) => {}
            Ok(believed) => {
                found.push((document, believed));
                continue;
            }
            Err(_) => {}
        }
        refused = bucket.wrong(&name, "its keys do not lead to the one that you named");
    }
    if found.is_empty() {
        return Err(refused);
    }
    if let Some(here) = here {
        // Stable: the newest stay first among the others.
        found.sort_by_key(|(_, ring)| {
            !(ring.contains(here.newest()) || here.contains(ring.newest()))
        });
    }
    Ok(found)
}
