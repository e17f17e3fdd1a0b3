//! What an operator has looked at and signed, because it can never be put right: what was
//! overwritten stays so in the bucket's versions, and an object under lock cannot be removed.
//!
//! An acknowledgement names one object and what is there: a digest, or the newest version. If
//! anything else comes under the name, it is a finding again.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::finding::FindingKind as Kind;
use super::roster::{Acknowledgement, Roster, What};
use crate::archive::Bucket;
use crate::units::hex;

/// The largest object that is hashed for an acknowledgement, in bytes.
const MOST_BYTES: u64 = 1 << 30;

/// Something that was found, and that the roster acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// What kind of thing.
    pub kind: Kind,
    /// The object's URL.
    pub object: String,
    /// Why it is acknowledged, in the roster's words.
    pub reason: String,
}

/// The acknowledgements of a roster.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    by_object: HashMap<Kind, HashMap<String, Vec<Acknowledgement>>>,
    used: Mutex<HashSet<(Kind, String)>>,
}

impl Acknowledgements {
    pub(crate) fn of(roster: Option<&Roster>) -> Self {
        let mut all = Self::default();
        for one in roster.into_iter().flat_map(|roster| &roster.acknowledged) {
            let of_kind = all.by_object.entry(one.kind).or_default();
            of_kind.entry(one.object.clone()).or_default().push(one.clone());
        }
        all
    }

    fn get(&self, kind: Kind, object: &str) -> Option<&[Acknowledgement]> {
        Some(self.by_object.get(&kind)?.get(object)?)
    }

    /// Whether there is one of that object, whatever it says that there is.
    pub(crate) fn names(&self, kind: Kind, object: &str) -> bool {
        self.get(kind, object).is_some()
    }

    /// The one of that object and version.
    pub(crate) fn of_version(
        &self,
        bucket: &Bucket,
        kind: Kind,
        object: &str,
        newest: Option<&str>,
    ) -> Option<Acknowledged> {
        let all = self.get(kind, object)?;
        let newest = newest?;
        let one = all.iter().find(|it| matches!(&it.what, What::Version(id) if id == newest))?;
        Some(self.heed(bucket, one))
    }

    /// The one of that object as it is now: it is asked for its version, or read.
    pub(crate) fn of_content(
        &self,
        bucket: &Bucket,
        kind: Kind,
        object: &str,
    ) -> Option<Acknowledged> {
        let all = self.get(kind, object)?;
        if all.iter().any(|it| matches!(it.what, What::Version(_))) {
            let newest = bucket.0.stat(object).ok().flatten().and_then(|it| it.version);
            if let Some(found) = self.of_version(bucket, kind, object, newest.as_deref()) {
                return Some(found);
            }
        }
        if !all.iter().any(|it| matches!(it.what, What::Sha256(_))) {
            return None;
        }
        let digest = digest(bucket, object)?;
        let one = all.iter().find(|it| matches!(&it.what, What::Sha256(of) if *of == digest))?;
        Some(self.heed(bucket, one))
    }

    fn heed(&self, bucket: &Bucket, one: &Acknowledgement) -> Acknowledged {
        let Acknowledgement { kind, object, reason, .. } = one.clone();
        let used = (kind, object.clone());
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(used);
        Acknowledged { kind, object: bucket.0.url(&object), reason }
    }

    /// How many objects are acknowledged of which nothing was found that fits.
    pub(crate) fn unused(&self) -> u64 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).len();
        (self.by_object.values().map(HashMap::len).sum::<usize>() - used) as u64
    }
}

/// Of what cannot be read nothing is acknowledged.
fn digest(bucket: &Bucket, object: &str) -> Option<String> {
    let mut reader = bucket.0.open(object, None, 0).ok()?.take(MOST_BYTES + 1);
    let (mut hasher, mut buffer, mut total) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => break,
            length => {
                hasher.update(&buffer[..length]);
                total += length as u64;
            }
        }
    }
    (total <= MOST_BYTES).then(|| hex(&hasher.finalize()))
}
