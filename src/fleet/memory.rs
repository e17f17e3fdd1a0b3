//! What was known of a log before, and what is kept of it for the next time.

use std::collections::{BTreeMap, BTreeSet};

use super::exam::Exam;
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::heads::Head;
use super::state::Verified;
use crate::archive::{LogName, Mark, ObjectName};
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
        (subject.skips && same).then(|| saved.clone())
    }

    /// Heads of an epoch that were kept elsewhere.
    pub(super) fn kept(&self, log: &LogName, keys: &Keyring) -> Vec<Head> {
        let saved = self.check.subject.saved.and_then(|saved| saved.heads.get(&log.epoch()));
        let saved = saved.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok());
        let saved = saved.map(|note| ("the saved state".to_owned(), note));
        let kept = self.check.subject.against.iter().cloned().chain(saved);
        kept.filter_map(|(from, note)| Head::kept(from, &note, log, keys)).collect()
    }

    /// What was kept elsewhere of epochs of which nothing is there.
    pub(super) fn elsewhere(&mut self, log: &LogName, keys: &Keyring) {
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
    pub(super) fn mark(&mut self, log: &LogName, heads: &[Head]) {
        let Some(head) = heads.iter().max_by_key(|head| head.size) else { return };
        let Head { size, root, .. } = *head;
        let object = head.name.as_ref().and_then(|name| name.parse().ok());
        let object = object.unwrap_or_else(|| ObjectName::Checkpoint(log.clone(), size));
        self.marks.push(Mark { epoch: log.epoch(), size, root, object });
        // Never a smaller one than before: that is what it is kept for.
        if !self.is_split() {
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
        let settled = listed.last_put.is_none_or(|put| now.micros() - put.micros() > 2_000_000);
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
            host: self.host.clone().or_else(|| known.and_then(|known| known.host.clone())),
            first_accepted: known
                .and_then(|known| known.first_accepted)
                .or(self.report.first_accepted),
            last_accepted: self.report.last_accepted,
        });
    }
}
