//! The third step: the files are made what was decided.

use std::sync::Arc;

use super::decide::{Course, Plan, Tail};
use super::epoch::Signing;
use super::files::{Continued, Remains};
use super::give_up::GivenUp;
use super::inspect::Evidence;
use super::keys::KeyTask;
use super::opened::Aside;
use super::records::{Reached, Records};
use super::{OpenError, Opened, Opening};
use crate::audit::files::ended::{self, EndedEpoch};
use crate::audit::files::facts::Span;
use crate::audit::files::leaves::LeavesFile;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::Restored;
use crate::audit::files::segment::Active;
use crate::audit::keys::signer::SigningKey;
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::merkle::Hash;
use crate::audit::write::head_file::HeadFile;
use crate::audit::write::own::{self, KeyReplaced, Recovered};
use crate::fsio::lock::WriterLock;

/// The log's records, in their files.
struct Placed {
    manifest: Manifest,
    active: Active,
    /// The leaves of the active segment's records, as far as they are known.
    leaves: Vec<Hash>,
    /// What stood behind the last good record.
    aside: Option<Aside>,
    reached: Option<Reached>,
    /// Epochs that ended and are still to be recorded.
    ended: Vec<EndedEpoch>,
}

impl Opening<'_> {
    /// Makes the files what was decided.
    pub(super) fn apply(&self, plan: Plan, lock: WriterLock) -> Result<Opened, OpenError> {
        let told = plan.told();
        let Plan { evidence, records, given_up, course } = plan;
        let log_id = records.manifest.log_id.clone();
        if evidence.is_new {
            // Before the key: a crash in between leaves a log without a key, which
            // is told from one whose key was lost, not a key without a log.
            Manifest::new(log_id.clone()).store(self.fs, &self.paths.manifest())?;
        }
        let keys = self.place_keys(&evidence.keys, &log_id)?;
        let key = &evidence.keys.key;
        let mut placed = self.place_records(records, given_up, &course, key)?;
        self.enter_epoch(&mut placed, &evidence, &course)?;
        let Signing { signer, grown, checkpoint } = self.sign(&mut placed, &evidence, &course)?;
        if evidence.stored.as_ref() != Some(&placed.manifest) {
            self.store_manifest(&mut placed.manifest, key)?;
        }
        // Once the stored manifest lists none of it.
        self.clear_leftovers(&placed.manifest);
        self.clear_given_up(&placed.manifest);
        let told = Recovered { keys_file: keys.aside, ..told };
        let recovered = self.recovered(told, &mut placed, &course);
        let replacement = keys.history.replacement().and_then(KeyReplaced::of);
        let task = evidence.keys.task;
        Ok(Opened {
            lock: Arc::new(lock),
            leaves: self.noted_leaves(&placed),
            head: HeadFile::open(self.fs, self.paths, &self.options.clock.now().file_stamp()),
            lost: self.lost(&placed.active),
            refused: self.refused(&placed.active),
            watch: self.last_times(&placed.manifest, &placed.active),
            last_event: self.last_event(&placed.manifest, &placed.active),
            recovered: Some(recovered).filter(|told| *told != Recovered::default()),
            foreign: matches!(course.tail, Tail::Foreign { suspicious: true }),
            uncovered: course.tail.adopted().map_or(evidence.uncovered, |span| span.end),
            restored: self.restored(evidence.signed()),
            verifier_key: key.verifier().to_string(),
            keys: keys.history,
            rotates: task == KeyTask::Rotate,
            replaced: replacement.filter(|_| task == KeyTask::RecordReplacement),
            clean: course.clean,
            damage: course.damage,
            rollback: course.rollback,
            manifest: placed.manifest,
            active: placed.active,
            ended: placed.ended,
            signer,
            grown,
            checkpoint,
        })
    }

    /// Makes the segments' files what was decided. What was damaged, and what stood behind
    /// the last good record, stays beside them.
    fn place_records(
        &self,
        mut records: Records,
        given_up: GivenUp,
        course: &Course,
        key: &SigningKey,
    ) -> Result<Placed, OpenError> {
        if course.accepted.is_some() {
            self.keep_what_is_left_out(&mut records.manifest)?;
        }
        self.unpack(&records.manifest)?;
        let mut kept = None;
        if course.gives_up {
            kept = self.store_given_up(given_up, &mut records)?;
            // Before the damaged file is cut: it is what this could be done again from.
            self.store_manifest(&mut records.manifest, key)?;
        }
        let why = match course.tail {
            _ if course.accepted.is_some() || course.gives_up => "damaged",
            Tail::Foreign { .. } => "foreign",
            Tail::AsItIs | Tail::Adopt(_) => "torn",
        };
        let Records { manifest, base, active, reached } = records;
        let Continued { active, leaves, aside } =
            self.continued(active, base, Remains { why, kept })?;
        Ok(Placed { manifest, active, leaves, aside, reached, ended: Vec::new() })
    }

    /// Notes in the manifest in which epoch the log goes on, and with what.
    fn enter_epoch(
        &self,
        placed: &mut Placed,
        evidence: &Evidence,
        course: &Course,
    ) -> Result<(), OpenError> {
        let key = &evidence.keys.key;
        let Placed { manifest, active, ended, .. } = placed;
        let signed = evidence.signed();
        let unrecorded = |one: &&EndedEpoch| one.record.is_none_or(|record| record >= signed);
        ended.extend(manifest.ended.iter().filter(unrecorded).cloned());
        if let Some(accepted) = &course.accepted
            && let Some(left) = self.left_behind(accepted, manifest, active, course.covered)?
        {
            ended::note(&mut manifest.ended, left.clone());
            ended::note(ended, left);
        }
        if let Some(begins) = &course.begins {
            manifest.epoch = begins.epoch;
            manifest.abandon(begins.abandons.iter().cloned(), &evidence.keys.ring);
        }
        self.publish_key(key, manifest.epoch)?;
        if let Some(span) = course.tail.adopted() {
            adopt(manifest, span);
        }
        manifest.first_key = Some(evidence.keys.first_key());
        if manifest.ids_from.is_none() {
            // Before the first event of this version: what a manifest that was signed without
            // it does not count, others sealed. One that nobody signed tells nothing, nor does
            // one that an older version made anew, of a log that had ids before.
            let mut blocks = manifest.segments.iter().flat_map(|segment| &segment.blocks);
            let had_ids = blocks.any(|block| block.ids.is_some());
            let end = manifest.segments.last().map(Segment::end_seq);
            let is_told = evidence.was_signed && !had_ids;
            manifest.ids_from = Some(end.filter(|_| is_told).unwrap_or(0));
        }
        if !ended.is_empty() {
            // Before the epoch's first head: whatever happens until the record is written,
            // what was left behind is known.
            self.store_manifest(manifest, key)?;
        }
        Ok(())
    }

    /// The signer, and the head that it goes on from.
    fn sign(
        &self,
        placed: &mut Placed,
        evidence: &Evidence,
        course: &Course,
    ) -> Result<Signing, OpenError> {
        let key = Arc::clone(&evidence.keys.key);
        let (manifest, active) = (&placed.manifest, &placed.active);
        let head = evidence.head.as_ref().zip(placed.reached.take());
        match head.filter(|_| course.begins.is_none()) {
            Some((head, reached)) => self.resume(key, manifest, head, reached),
            None if course.begins.is_some() => {
                // Over what signatures of the epoch before vouch for, and no more: what
                // stands behind is named as unsigned, also when a crash makes the next
                // opening begin here again.
                let vouched = self.split(manifest, active, course.covered)?;
                self.first_head(key, manifest, vouched)
            }
            None => self.first_head(key, manifest, Reached::end(active.layout.tree())),
        }
    }

    fn store_manifest(&self, manifest: &mut Manifest, key: &SigningKey) -> Result<(), OpenError> {
        manifest.store_signed(
            self.fs,
            &self.paths.manifest(),
            Some(key),
            self.options.in_one_file,
        )?;
        Ok(())
    }

    /// What is recorded of the opening, with what is only known now.
    fn recovered(&self, told: Recovered, placed: &mut Placed, course: &Course) -> Recovered {
        let missed = self.missed_by_page(&placed.active);
        let mut recovered = Recovered {
            holes: if course.gives_up { own::GivenUp::of(&placed.manifest) } else { Vec::new() },
            missed_by_status_page: missed.filter(|_| course.accepted.is_none()),
            ..told
        };
        if let Some(Aside { bytes, file }) = placed.aside.take() {
            match course.tail {
                Tail::Foreign { .. } => {
                    recovered.foreign_bytes = Some(bytes);
                    recovered.foreign_file = Some(file);
                }
                _ if course.gives_up && course.accepted.is_none() => {
                    recovered.damaged_file = Some(file);
                }
                _ => {
                    recovered.torn_bytes = bytes;
                    recovered.torn_file = Some(file);
                }
            }
        }
        warn_of(&recovered);
        recovered
    }

    /// A restore that is complete but for its record. Its journal speaks of the log as the
    /// restore left it, and of no later state.
    fn restored(&self, signed: u64) -> Option<Restored> {
        let settled = self.settled.as_ref()?;
        let unproven = !settled.is_signed || signed != settled.restored.tree_size;
        Some(Restored { unproven, ..settled.restored.clone() })
    }

    /// `audit.leaves`, with what is known of the active segment.
    fn noted_leaves(&self, placed: &Placed) -> LeavesFile {
        let Placed { manifest, active, leaves, .. } = placed;
        let segment = (active.layout.first_seq, &leaves[..]);
        let (file, noted) = LeavesFile::open(self.fs, self.paths, &manifest.log_id, segment);
        if let Err(error) = noted {
            tracing::warn!(code = Trouble::NoLeaves.code(), %error, "audit.leaves cannot be written");
        }
        file
    }
}

fn warn_of(recovered: &Recovered) {
    if let Some(reason) = &recovered.manifest_rebuilt {
        let code = Trouble::ManifestRebuilt.code();
        tracing::warn!(code, reason, "the manifest was rebuilt from the segments");
    }
    if let Some(from) = &recovered.keys_put_back {
        tracing::error!(
            code = Trouble::OwnFilePutBack.code(),
            from,
            "audit.keys did not lead from the log's first key to the one that signs; it is put back"
        );
    }
}

/// Notes what was adopted. A crash before the record of it makes the next opening
/// adopt the same again, perhaps less of it.
fn adopt(manifest: &mut Manifest, span: Span) {
    manifest.adopted.retain(|known| known.begin < span.begin);
    manifest.adopted.push(span);
}
