//! Whether what is stored fits what was signed.

use super::Corruption;
use super::epoch::begun_by_replacement;
use super::inspect::Evidence;
use super::records::Records;

impl Records {
    /// Whether they fit the newest signed head.
    pub(super) fn against_head(&self, evidence: &Evidence) -> Option<Corruption> {
        let scan = self.active.as_ref().map(|active| &active.scan);
        let end = self.end_seq();
        let bad = scan.and_then(|scan| scan.bad.as_ref());
        let corrupt = |seq, offset, reason| {
            Some(Corruption { file: "audit.log".to_owned(), seq, offset, reason })
        };
        let why = bad.map_or("the log ends there", |bad| bad.reason.as_str());
        let Some(head) = &evidence.head else {
            // A log begins with a signed head, before its first line.
            let lines = scan.is_some_and(|scan| scan.layout.records() > 0 || scan.bad.is_some());
            if lines || evidence.was_signed || !self.manifest.segments.is_empty() {
                return corrupt(None, None, "audit.checkpoint is missing".to_owned());
            }
            return None;
        };
        let signed = head.checkpoint.size;
        if end < signed {
            let reason = format!(
                "the checkpoint was signed over {signed} records, only {end} are whole: {why}"
            );
            return corrupt(Some(end), bad.map(|bad| bad.offset), reason);
        }
        if self.have_root_of(head) {
            return None;
        }
        let first = scan.map_or(0, |scan| scan.layout.first_seq).min(signed);
        let reason =
            format!("records were altered: the first {signed} do not hash to the signed root");
        corrupt(Some(first), None, reason)
    }

    /// Whether they reach the place of the newest change of key: both keys signed so many
    /// records, so they have to be there.
    pub(super) fn against_keys(&self, evidence: &Evidence) -> Option<Corruption> {
        let (ring, manifest) = (&evidence.keys.ring, &self.manifest);
        let end = self.end_seq();
        let place = ring.last_place()?;
        if begun_by_replacement(ring, manifest).is_some() {
            return None;
        }
        let gone =
            place.epoch > manifest.epoch || place.epoch == manifest.epoch && end < place.size;
        gone.then(|| Corruption {
            file: "audit.log".to_owned(),
            seq: Some(end),
            offset: None,
            reason: format!(
                "the key was changed at {} records, epoch {}; only {end} are there, epoch {}",
                place.size, place.epoch, manifest.epoch
            ),
        })
    }
}
