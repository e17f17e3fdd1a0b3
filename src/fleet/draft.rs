//! A draft of a roster, from what a bucket holds. Nobody vouches for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::acknowledged::Acknowledgements;
use super::inventory::{Inventory, SumKey};
use super::report::unread;
use super::roster::{Expected, Roster, Silence};
use super::state::State;
use crate::archive::{ArchiveError, Bucket, LogName, Proofs, keysets};
use crate::audit::read::watch::Watch;
use crate::clock::Timestamp;
use crate::store::BackupStore;

/// A log that records nothing ships nothing: a day without anything is worth a look.
const SILENT_AFTER: Duration = Duration::from_secs(86_400);

/// A draft, and what could not be drafted.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// The roster.
    pub roster: Roster,
    /// Logs without keys that can be read, and why.
    pub without_keys: Vec<(String, String)>,
}

impl Drafted {
    /// The text to be looked through, and then signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.roster.to_string();
        let at = text.match_indices('\n').nth(3).map_or(text.len(), |(at, _)| at + 1);
        let mut remarks = String::from(
            "# A DRAFT. These keys come from the bucket, and nobody vouches for them yet.\n\
             # Compare each with the one on its host (`auditctl key show`), add hosts that are\n\
             # missing, remove what is not yours, and sign it: `auditctl fleet roster sign`.\n",
        );
        for (id, why) in &self.without_keys {
            let why: String = why.chars().filter(|c| !c.is_control()).collect();
            remarks += &format!("# log {id}: it has no keys that can be read: {why}\n");
        }
        text.insert_str(at, &remarks);
        text
    }
}

/// Drafts a roster.
///
/// # Errors
/// The bucket cannot be read.
pub fn draft(
    store: Arc<dyn BackupStore>,
    name: &str,
    sequence: u64,
    date: Timestamp,
    watch: &dyn Watch,
) -> Result<Drafted, ArchiveError> {
    let bucket = Bucket(store);
    let sums = SumKey::random().map_err(|what| ArchiveError::Object {
        object: bucket.place(),
        what: format!("the system gave no randomness: {what}"),
    })?;
    let inventory =
        Inventory::take(&*bucket.0, &sums, &State::default(), &Acknowledgements::default(), watch)?;
    let (mut logs, mut without_keys) = (BTreeMap::new(), Vec::new());
    for (id, listed) in &inventory.logs {
        if watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let Some(log) = LogName::new(id, 0) else { continue };
        let proofs = Proofs::of(&*bucket.0, &log)?;
        let keys = match keysets(&bucket, &proofs, &log, None, None) {
            Ok(mut found) => found.sets.swap_remove(0).keys,
            Err(error) => {
                without_keys.push((id.clone(), unread(error)?.what));
                continue;
            }
        };
        let expected = Expected {
            key: keys.newest().clone(),
            hosts: listed.hosts.iter().cloned().collect(),
            epoch: listed.newest.map(|(epoch, ..)| epoch),
            silent_after: Silence::After(SILENT_AFTER),
        };
        logs.insert(id.clone(), expected);
    }
    let roster = Roster { name: name.to_owned(), sequence, date, logs, acknowledged: Vec::new() };
    Ok(Drafted { roster, without_keys })
}
