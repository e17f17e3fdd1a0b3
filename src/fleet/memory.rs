//! What was known of a log before, and what is kept of it for the next time.

use std::collections::{BTreeMap, BTreeSet};

use super::exam::Exam;
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::heads::Head;
use super::seen_tails::SeenTails;
use super::state::Verified;
use crate::archive::{LogName, Mark, ObjectName, signed};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::tree::merkle::Hash;

impl Exam<'_> {
    /// What was verified before, where the store lists the same objects.
    pub(super) fn known(&self, keys: &Keyring) -> Option<Verified> {
        let subject = self.check.subject;
        let saved = subject.saved.and_then(|saved| saved.verified.as_ref())?;
        let listed = subject.listed?;
        let same = listed.data.same && listed.proof.same && listed.tables.same;
        let same = same && keys.holds(&saved.key);
        // What is kept elsewhere may be of any size: everything is read for it.
        (subject.skips && same && subject.against.is_empty()).then(|| saved.clone())
    }

    /// Heads of an epoch that were kept elsewhere.
    pub(super) fn kept(&self, log: &LogName, keys: &Keyring) -> Vec<Head> {
        let saved = self.check.subject.saved.and_then(|saved| saved.heads.get(&log.epoch()));
        let saved = saved.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok());
        let saved = saved.map(|note| ("the saved state".to_owned(), note));
        let kept = self.check.subject.against.iter().cloned().chain(saved);
        kept.filter_map(|(from, note)| Head::kept(from, &note, log, keys)).collect()
    }

    /// The saved heads that no key of the log signed: their epochs.
    pub(super) fn of_nobody(&self, log: &LogName, keys: &Keyring) -> Vec<u32> {
        let saved = self.check.subject.saved.into_iter().flat_map(|saved| &saved.heads);
        let of_nobody = saved
            .filter(|(epoch, note)| signed(note.as_bytes(), &log.in_epoch(**epoch), keys).is_err());
        of_nobody.map(|(epoch, _)| *epoch).collect()
    }

    /// Whether an epoch has signed more than when it was last looked at.
    pub(super) fn has_grown(&self, log: &LogName, heads: &[Head]) -> bool {
        let saved = self.check.subject.saved.and_then(|saved| saved.heads.get(&log.epoch()));
        let saved = saved.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok());
        let before = saved.map_or(0, |note| note.unverified().size);
        heads.iter().any(|head| head.size > before)
    }

    /// Where an epoch's records begin, which no later run may find farther up.
    pub(super) fn begins(&mut self, epoch: u32, begins: u64, is_known: bool) -> u64 {
        let saved = self.check.subject.saved.and_then(|saved| saved.begins.get(&epoch)).copied();
        if is_known {
            return saved.unwrap_or(0);
        }
        if let Some(before) = saved.filter(|before| *before < begins) {
            let what = format!(
                "the records from {before} to {} were there before, and are not any more",
                begins - 1
            );
            self.push(Finding::new(Kind::RecordsMissing, what).in_epoch(epoch));
        }
        let least = saved.map_or(begins, |before| before.min(begins));
        self.report.saved.begins.insert(epoch, least);
        begins
    }

    /// What was kept elsewhere of epochs of which nothing is there.
    pub(super) fn elsewhere(&mut self, log: &LogName, keys: &Keyring) {
        for epoch in self.of_nobody(log, keys) {
            let what =
                "the saved state has a checkpoint of this log that none of its keys signed: \
                        the keys in the archive are others than before"
                    .to_owned();
            self.push(Finding::new(Kind::KeysUnproven, what).at("the saved state").in_epoch(epoch));
        }
        let there: BTreeSet<u32> = self.report.epochs.iter().map(|it| it.epoch).collect();
        let saved = self.check.subject.saved.into_iter().flat_map(|saved| saved.heads.keys());
        let of = |note: &SignedCheckpoint| {
            let origin = note.unverified().origin.parse::<Origin>();
            origin.map_or(0, |origin| origin.epoch())
        };
        let against = self.check.subject.against.iter().map(|(_, note)| of(note));
        let epochs: BTreeSet<u32> = saved.copied().chain(against).collect();
        for epoch in epochs.difference(&there) {
            for head in self.kept(&log.in_epoch(*epoch), keys) {
                let what = format!(
                    "{} records were signed in epoch {epoch}, and nothing of that epoch can be \
                     read",
                    head.size
                );
                self.push(Finding::new(Kind::Truncated, what).at(head.object).in_epoch(*epoch));
            }
        }
        for (from, note) in &self.check.subject.against {
            if keys.verify(note).is_err() {
                let what = "no key of the log signed this checkpoint".to_owned();
                self.push(Finding::new(Kind::KeysUnproven, what).at(from.clone()));
            }
        }
    }

    /// What an epoch signed last: the next one has to continue it.
    pub(super) fn mark(&mut self, log: &LogName, keys: &Keyring, heads: &[Head]) {
        let Some(head) = heads.iter().max_by_key(|head| head.size) else { return };
        let Head { size, root, .. } = *head;
        let object = head.name.as_ref().and_then(|name| name.parse().ok());
        let object = object.unwrap_or_else(|| ObjectName::Checkpoint(log.clone(), size));
        self.marks.push(Mark { epoch: log.epoch(), size, root, object });
        // Never a smaller one than before: that is what it is kept for.
        let is_of_nobody = self.of_nobody(log, keys).contains(&log.epoch());
        if !self.is_split() && !is_of_nobody {
            self.report.saved.heads.insert(log.epoch(), head.note.clone());
        }
    }

    pub(super) fn is_split(&self) -> bool {
        self.report.findings.iter().any(|it| it.kind == Kind::SplitView)
    }

    pub(super) fn save(&mut self, keys: &Keyring, known: Option<&Verified>) {
        let (Some(listed), Some(now)) = (self.check.subject.listed, self.check.now) else { return };
        let worst = self.report.findings.iter().map(|it| it.severity).max();
        // What was put within the second of the listing may have been put again in it.
        let settled =
            listed.last_put.is_none_or(|put| now.micros().saturating_sub(put.micros()) > 2_000_000);
        let clean = worst.is_none_or(|worst| worst == Severity::Note);
        let complete = self.report.proven.is_none() && self.is_whole && clean;
        self.report.saved.verified = None;
        if !complete {
            return;
        }
        if let Some(known) = known.filter(|_| !settled) {
            self.report.saved.verified = Some(known.clone());
            return;
        }
        let mut trees = known.map_or_else(BTreeMap::new, |known| known.trees.clone());
        trees.append(&mut self.trees);
        self.report.saved.verified = settled.then(|| Verified {
            at: now,
            key: keys.newest().to_string(),
            trees,
            data: (listed.data.count, Hash::from_bytes(listed.data.hash)),
            proof: (listed.proof.count, Hash::from_bytes(listed.proof.hash)),
            tables: (listed.tables.count, Hash::from_bytes(listed.tables.hash)),
            last_proof: listed.proof.last.clone(),
            tails: SeenTails::of(self.proofs, now),
            host: self.host.clone().or_else(|| known.and_then(|known| known.host.clone())),
            first_accepted: known
                .and_then(|known| known.first_accepted)
                .or(self.report.first_accepted),
            last_accepted: self.report.last_accepted,
        });
    }
}
