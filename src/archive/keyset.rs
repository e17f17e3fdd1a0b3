//! The keys of a log that an archive holds.

use std::cmp::Reverse;

use super::bucket::{Bucket, unless_foreign};
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::marks::Planner;
use super::names::Proofs;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::watch::Unwatched;

/// So many objects that hold no keys of the log are named.
const MOST_FOREIGN: usize = 100;

/// Keys that an archive holds.
pub(crate) struct KeySet {
    pub(crate) document: KeysDocument,
    pub(crate) keys: Keyring,
    object: ObjectName,
}

/// All of them.
pub(crate) struct KeySets {
    /// The best first: those to which most signatures lead from a key that is known from
    /// elsewhere. Never empty.
    pub(crate) sets: Vec<KeySet>,
    /// A key that is known from elsewhere, or one that it leads to, named two keys to follow it.
    pub(crate) split: Option<ArchiveError>,
    /// What a key signed that took the place of another without its signature, where that one
    /// is the last that the known key leads to.
    pub(crate) unauthorised: Option<ArchiveError>,
    /// The first objects of the name of keys that hold none of the log's, and why not.
    pub(crate) foreign: Vec<(ObjectName, String)>,
}

/// All keys that are there and, where a key is known from elsewhere, lead to it. What others
/// may have put there is passed over, and so are keys of which others have all, and more that
/// is signed: an older document hides no newer one. `here` are the keys of the log that is
/// here: of several, those come first that lead to them.
///
/// # Errors
/// There are none: why one that was looked at is none.
pub(crate) fn keysets(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    believed: Option<&VerifierKey>,
    here: Option<&Keyring>,
) -> Result<KeySets, ArchiveError> {
    let mut names: Vec<_> = proofs.keys.iter().map(|(e, n, nth)| (*n, *e, *nth)).collect();
    names.sort_unstable();
    let mut refused: Option<ArchiveError> = None;
    let (sets, foreign) = (Vec::new(), Vec::new());
    let mut found = KeySets { sets, split: None, unauthorised: None, foreign };
    for (changes, epoch, nth) in names.into_iter().rev() {
        let object = ObjectName::Keys(log.in_epoch(epoch), changes, nth);
        match unless_foreign(read(bucket, log, &object, changes, believed))? {
            Ok((document, keys)) => found.add(KeySet { document, keys, object }),
            Err(error) => {
                if found.foreign.len() < MOST_FOREIGN {
                    found.foreign.push((object, error.what()));
                }
                // One that cannot be read may be the log's.
                if refused.as_ref().is_none_or(|it| !it.is_unread()) {
                    refused = Some(error);
                }
            }
        }
    }
    if found.sets.is_empty() {
        return Err(refused.unwrap_or_else(|| ArchiveError::Missing {
            object: bucket.url(&ObjectName::Keys(log.clone(), 0, 0)),
            what: "the log's keys have to be there".to_owned(),
        }));
    }
    // Stable: the newest stay first among the others.
    found.sets.sort_by_key(|set| Reverse(rank(&set.keys, believed, here)));
    let anchor = believed.or(here.map(Keyring::newest));
    found.split = anchor.and_then(|anchor| found.divergence(bucket, anchor));
    found.look_beyond(bucket, proofs, log)?;
    Ok(found)
}

fn read(
    bucket: &Bucket,
    log: &LogName,
    object: &ObjectName,
    changes: u32,
    believed: Option<&VerifierKey>,
) -> Result<(KeysDocument, Keyring), ArchiveError> {
    let bytes = bucket.fetch(object, MAX_DOCUMENT_BYTES)?;
    let read = KeysDocument::read(&bytes, log.id());
    let (document, ring) = read.map_err(|error| error.of(bucket.url(object)))?;
    let there = document.rotations.len();
    if usize::try_from(changes) != Ok(there) {
        let what = format!("it holds {there} changes of the key, and its name says {changes}");
        return Err(bucket.wrong(object, what));
    }
    let Some(key) = believed else { return Ok((document, ring)) };
    match Keyring::new(key.clone(), &document.rotations) {
        Ok(believed) if ring.contains(key) => Ok((document, believed)),
        _ => Err(bucket.wrong(object, "its keys do not lead to the one that you named")),
    }
}

/// Which keys are tried first: those that lead to the known key, then those to which most
/// signatures lead from it, then those that nobody's word alone goes beyond, then the most.
fn rank(
    keys: &Keyring,
    believed: Option<&VerifierKey>,
    here: Option<&Keyring>,
) -> (bool, usize, bool, usize) {
    let count = keys.keys().len();
    let anchor = believed.or(here.map(Keyring::newest));
    let anchored = anchor.and_then(|anchor| anchored(keys, anchor));
    match anchored {
        Some(keys) => (true, keys.signed_after(), keys.unauthorised().is_none(), count),
        None => (here.is_some_and(|here| here.contains(keys.newest())), 0, true, count),
    }
}

fn anchored(keys: &Keyring, anchor: &VerifierKey) -> Option<Keyring> {
    let ring = keys.contains(anchor).then(|| Keyring::new(anchor.clone(), keys.rotations()));
    ring.and_then(Result::ok)
}

impl KeySets {
    fn add(&mut self, new: KeySet) {
        let same = |it: &KeySet| it.keys.is_same_as(&new.keys) || new.keys.is_within(&it.keys);
        if self.sets.iter().any(same) {
            return;
        }
        self.sets.retain(|it| !it.keys.is_within(&new.keys));
        self.sets.push(new);
    }

    /// Anybody can write that his key took over, and is nobody as long as he signs nothing.
    fn look_beyond(
        &mut self,
        bucket: &Bucket,
        proofs: &Proofs,
        log: &LogName,
    ) -> Result<(), ArchiveError> {
        for set in &self.sets {
            let Some(handover) = set.keys.unauthorised() else { continue };
            let (new, old) = (handover.new.label(), handover.old.label());
            let what = format!(
                "{new} took over from {old} without its signature: what it signed is not believed"
            );
            let keys = &set.keys.by_the_last();
            let planner = |keys| Planner { bucket, proofs, keys, watch: &Unwatched, from: None };
            let mut signed = None;
            for epoch in proofs.epochs().into_iter().filter(|it| *it >= handover.place.epoch) {
                let log = log.in_epoch(epoch);
                let Some(mark) = planner(keys).last_signed(&log)? else { continue };
                let before = planner(&set.keys).last_signed(&log)?;
                if before.is_none_or(|before| before.object != mark.object) {
                    signed = Some(mark);
                    break;
                }
            }
            match signed {
                Some(mark) => {
                    let object = bucket.url(&mark.object);
                    self.unauthorised = Some(ArchiveError::Incomplete { object, what });
                    return Ok(());
                }
                None if self.foreign.len() < MOST_FOREIGN => {
                    self.foreign.push((set.object.clone(), what));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn divergence(&self, bucket: &Bucket, anchor: &VerifierKey) -> Option<ArchiveError> {
        let with = |set: &KeySet| Some((anchored(&set.keys, anchor)?, set.object.clone()));
        let rings: Vec<_> = self.sets.iter().filter_map(with).collect();
        for (at, (ring, object)) in rings.iter().enumerate() {
            for (other, _) in &rings[at + 1..] {
                let Some((ours, theirs)) = ring.divergence(other) else { continue };
                let what = format!(
                    "{} handed over to {} at {} records, and to {} at {}: a key of the log signed \
                     two successions",
                    ours.old.label(),
                    ours.new.label(),
                    ours.place.size,
                    theirs.new.label(),
                    theirs.place.size
                );
                let note = |ring: &Keyring, at: &crate::audit::keys::Handover| {
                    let at = ring.handovers().iter().position(|it| it == at)?;
                    Some(ring.rotations().get(at)?.checkpoint.clone())
                };
                let notes = note(ring, ours).into_iter().chain(note(other, theirs)).collect();
                return Some(ArchiveError::SplitView { object: bucket.url(object), what, notes });
            }
        }
        None
    }
}
