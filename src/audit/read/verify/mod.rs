//! Whether a log is what was recorded: from its stored bytes alone, beside a
//! running writer, with nothing but a public key.
//!
//! Two questions, answered apart. *Integrity*: are the records that are here those
//! that were recorded? The signed root answers for all that it covers. *Completeness*:
//! is all that was recorded here? A log cannot answer that about itself: whoever
//! cuts it and puts an older checkpoint back leaves a log that was once true. Only
//! a tree head that is kept elsewhere, an [`Anchor`], tells.
//!
//! Everything that is wrong is reported, not only the first.

mod active;
mod activity;
mod anchor;
mod chance;
mod consistency;
mod handovers;
mod lines;
mod pieces;
mod proof_document;
mod prove;
mod report;
mod sealed;
pub(in crate::audit) mod signature;
mod state;
mod tail;
pub(in crate::audit) mod tally;
mod tlog_proof;
pub(in crate::audit) mod view;
mod witnessed;

use std::path::Path;
use std::time::Duration;

pub use activity::{Activity, Told};
pub use anchor::Anchor;
pub use chance::Chance;
pub use consistency::{ConsistencyDocument, Grown, NotEarlier};
pub use proof_document::{DocumentError, ProofDocument, Proven, SignedTree};
pub use prove::{ProveError, prove, prove_cosigned, prove_from, prove_growth};
pub use report::{
    Abandoned, Completeness, Counts, Depth, Finding, GivenUp, Integrity, KeptCopy, KeySource,
    KeyStretch, Kind, OldestRead, Ranges, RemovedBy, ReplacedBy, Report, Stretch, TreePlace,
    WitnessStanding, Witnessed,
};
pub use signature::key_stretches;
pub use state::{Reading, State, TURNS};
pub use tlog_proof::TlogProof;

use super::error::ReadError;
use super::view::Stored;
use super::watch::{Stage, Watch};
use crate::audit::files::ended::{self, Kept};
use crate::audit::files::facts::{Authority, Fact, Said, Span, said_in};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint, VerifierKey};
use crate::audit::keys::policy::Policy;
use crate::audit::tree::document;
use crate::clock::Timestamp;
use crate::fsio::SharedFs;
use pieces::{Pieces, Place};
use signature::Newest;
use tally::Tally;
use view::View;

/// How to verify.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Read no more than lengths, stored SHA-256s and the active segment.
    pub quick: bool,
    /// The key to check signatures with; without one, the one beside the log.
    pub key: Option<VerifierKey>,
    /// Tree heads from elsewhere.
    pub anchors: Vec<Anchor>,
    /// Which witnesses have to have cosigned one of these heads, or the one in
    /// `audit.cosigned`.
    pub policy: Option<Policy>,
    /// How old their quorum may be, by their clocks.
    pub cosigned_within: Option<Duration>,
    /// What the last verification had proven: read only what is new, and a part of
    /// the rest. Not together with `quick`.
    pub since: Option<State>,
    /// Draws what of the rest is read again.
    pub chance: Chance,
    /// Count on the way what the records say: for [`Report::activity`].
    pub activity: bool,
    /// When this is.
    pub now: Timestamp,
}

/// Verifies the log in `dir`. The state is there when nothing was found wrong and
/// what is sealed has been read: for the next [`Request::since`].
///
/// # Errors
/// [`ReadError`] when it cannot be told; what is wrong with the log is no error
/// but in the [`Report`].
pub fn verify(
    fs: &SharedFs,
    dir: &Path,
    request: &Request,
    watch: &dyn Watch,
) -> Result<(Report, Option<State>), ReadError> {
    let mut look = 0;
    loop {
        look += 1;
        let view = View::take(fs, dir)?;
        let readings = Vec::new();
        let activity = request.activity.then(Activity::default);
        let tally = Tally { activity, ..Tally::default() };
        let run = Run { view: &view, request, watch, tally, readings };
        if let Some(found) = run.run(look >= LOOKS)? {
            return Ok(found);
        }
    }
}

/// Retention that removes a segment in the middle of a verification makes it begin
/// again, so often at most.
const LOOKS: u32 = 4;
/// So long a writer has to get out of a state that it passes through.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(300);

struct Run<'a> {
    view: &'a View,
    request: &'a Request,
    watch: &'a dyn Watch,
    tally: Tally,
    /// When each sealed segment was read last, this run included.
    readings: Vec<Reading>,
}

impl Run<'_> {
    /// `None` when retention removed meanwhile what was to be read: whether it was
    /// allowed to, only a new look tells.
    fn run(mut self, last: bool) -> Result<Option<(Report, Option<State>)>, ReadError> {
        let (view, request) = (self.view, self.request);
        self.files(last);
        let key = signature::keys(view, self.request.key.as_ref(), &mut self.tally);
        let newest = self.newest(key.keys.as_ref(), last);
        let (foreign, checkpoint) =
            (matches!(newest, Newest::BeforeAnother(_)), newest.checkpoint().cloned());
        let trusted = self.manifest_is_signed(key.keys.as_ref());
        let signed = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        self.tally.signed = signed;
        let mut pieces = Pieces::sealed(view);
        self.watch.stage(Stage::Verify, self.bytes());
        tail::check(view, &mut pieces, signed, self.watch, &mut self.tally)?;

        let label = key.keys.as_ref().map(|keys| keys.newest().label());
        let (mut depth, mut depth_reason) = match (self.request.quick, &self.request.since) {
            (true, _) => (Depth::Quick, None),
            (false, Some(_)) => (Depth::SinceLast, None),
            (false, None) => (Depth::Full, None),
        };
        if let Some(state) = &self.request.since {
            depth_reason =
                state.misfit(view, &pieces, signed, key.keys.as_ref(), self.request.now)?;
            if depth_reason.is_some() {
                depth = Depth::Full;
            }
        }
        if let Err(reason) = &trusted
            && depth != Depth::Full
        {
            depth_reason = Some(format!("the manifest proves nothing: {reason}"));
            depth = Depth::Full;
        }
        let mut authority = self.noted(depth, &pieces, signed)?;
        if authority.is_none() && depth != Depth::Full {
            depth_reason = Some("the manifest does not say which record removed what".to_owned());
            depth = Depth::Full;
        }
        self.sealed(depth)?;
        if self.tally.removed_meanwhile {
            if !last {
                return Ok(None);
            }
            let text = "segments kept disappearing while they were read; run the command again";
            self.tally.of_end.push(Finding::new(Kind::Unprovable, "audit.manifest.json", text));
        }
        let authority = match authority.take() {
            Some(authority) => authority,
            None => self.tally.facts.authority(signed),
        };
        self.removed(&pieces, &authority);
        let holes = self.holes(&authority);
        if let Some(keys) = &key.keys {
            let noted = view.manifest.first_key.as_deref().filter(|_| depth != Depth::Full);
            let named = (keys, &authority.keys);
            signature::check_chain(view, &pieces, named, noted, &mut self.tally)?;
            handovers::check(view, &pieces, keys, &mut self.tally)?;
            self.tally.notes.extend(keys.unsigned_successions());
        }
        let rooted = match &checkpoint {
            Some(checkpoint) => self.root(&mut pieces, checkpoint)?,
            None => false,
        };
        let trusts = trusted.is_ok();
        let abandoned = self.abandoned(&authority, &pieces, (key.keys.as_ref(), trusts))?;
        let mut anchored = None;
        let cosigned = match &request.policy {
            Some(_) => witnessed::cosigned(view)?,
            None => None,
        };
        let mut covers = Vec::new();
        for anchor in request.anchors.iter().chain(&cosigned) {
            let found = anchor::compare(
                view,
                &pieces,
                anchor,
                (key.keys.as_ref(), rooted),
                &mut self.tally,
            )?;
            anchored = anchored.max(found);
            covers.push((anchor, found));
        }
        // What stands behind is another key's.
        let closed = if foreign { false } else { self.end(&pieces, signed, last)? };
        // A writer that has the log open is in this state for a moment at most.
        if self.view.live && !last && self.seems_disturbed() {
            std::thread::sleep(LOOK_AGAIN);
            return Ok(None);
        }
        let state = self.state(depth, label.as_deref(), checkpoint.as_ref());
        let oldest_read = self.oldest_read(depth);
        let newer = self.tally.newer;
        if checkpoint.is_none() && pieces.end() > pieces.begin() {
            self.tally.notes.push(format!(
                "records {} to {} are here, and no signed head that would prove them. A checkpoint \
                 that is kept elsewhere proves what it covers: `auditctl verify --against FILE`, with \
                 --public-key FILE where the key beside the log cannot be trusted. `auditctl repair` \
                 takes the newest signed head from a backup",
                pieces.begin(),
                pieces.end() - 1
            ));
        }
        let mut report = self.report(&pieces, checkpoint.as_ref(), anchored, rooted);
        if foreign {
            // What the believed key signed ends before the log does.
            report.completeness = Completeness::Incomplete;
        }
        (report.depth, report.depth_reason) = (depth, depth_reason);
        report.oldest_read = oldest_read;
        (report.key, report.key_source, report.key_given) = (label, key.source, key.given);
        report.fingerprint = key.keys.as_ref().map(|keys| keys.newest().fingerprint());
        report.keys = key.keys.as_ref().map_or_else(Vec::new, signature::stretches);
        report.closed = closed;
        report.removed_by = authority.removal.map(|(record, removal)| RemovedBy {
            record,
            at: removal.at,
            pruned_to: removal.end,
        });
        let stretch = |span: &Span| Stretch { first_seq: span.begin, end_seq: span.end };
        report.adopted = authority.adopted.iter().map(stretch).collect();
        report.holes = holes;
        report.abandoned = abandoned;
        if let Some(policy) = &request.policy {
            let (keys, size) = (key.keys.as_ref(), report.tree_size);
            let (witnessed, finding) =
                witnessed::judge(request, policy, covers.into_iter(), keys, size);
            report.witnessed = witnessed;
            report.findings.extend(finding);
        }
        if let Some(found) = newer.filter(|_| report.passed()) {
            let source = document::DocumentError::Newer { kind: document::Kind::LOG, found };
            return Err(ReadError::Newer { dir: view.log.paths.dir.clone(), source });
        }
        Ok(Some((report.clone(), state.filter(|_| report.passed()))))
    }

    /// The newest head by a key that is believed.
    fn newest(&mut self, keys: Option<&Keyring>, last: bool) -> Newest {
        let view = self.view;
        if let Some(keys) = keys.filter(|keys| signature::is_under_another(view, keys)) {
            return signature::before_another(view, keys, &mut self.tally);
        }
        let checkpoint = signature::checkpoint(view, keys, &mut self.tally);
        match signature::newest(view, keys, checkpoint, (last, &mut self.tally)) {
            Some(checkpoint) => Newest::Own(checkpoint),
            None => Newest::None,
        }
    }

    fn seems_disturbed(&self) -> bool {
        self.tally.disturbed
    }

    /// Whether the log's key signed the manifest. One that was signed by nobody is
    /// read like any other, and believed nowhere.
    fn manifest_is_signed(&mut self, keys: Option<&Keyring>) -> Result<(), String> {
        let signed = signature::manifest(self.view, keys);
        match &signed {
            Err((reason, true)) => {
                let text = format!("its signature is not the log's: {reason}");
                self.tally.found(Finding::new(Kind::Altered, "audit.manifest.json", text));
            }
            Err((_, false))
                if self.view.no_manifest.is_none()
                    && keys.is_some_and(|keys| !signature::is_under_another(self.view, keys)) =>
            {
                self.tally.notes.push(
                    "audit.manifest.json is not signed: a restore without the key wrote it, or \
                     somebody else did. It was not trusted; the next start rebuilds it from the \
                     segments"
                        .to_owned(),
                );
            }
            _ => {}
        }
        signed.map_err(|(reason, _)| reason)
    }

    /// What the engine's records authorise, by a signed manifest that says where to
    /// look; `None` where all of them are to be read.
    fn noted(
        &self,
        depth: Depth,
        pieces: &Pieces,
        signed: u64,
    ) -> Result<Option<Authority>, ReadError> {
        if depth == Depth::Full {
            return Ok(None);
        }
        let manifest = &self.view.manifest;
        let mut facts = self.tally.facts.clone();
        for seq in [manifest.pruned_by, manifest.holes_by].into_iter().flatten() {
            if let Some(piece) = pieces.piece_of(seq)
                && let Some(raw) = pieces::read_noted(self.view, piece)?
            {
                let said = said_in(&raw).into_iter().filter(|said| said.seq == seq);
                said.for_each(|said| facts.note(said));
            }
        }
        let mut authority = facts.authority(signed);
        authority.adopted.extend(&manifest.adopted);
        authority.adopted.sort_unstable();
        authority.adopted.dedup();
        let adopted = |seq: u64| manifest.adopted.iter().any(|span| span.contains(seq));
        authority.removal = authority.removal.filter(|(seq, _)| !adopted(*seq));
        authority.holes.retain(|named| !adopted(named.record));
        let removed_to = authority.removal.as_ref().map_or(0, |(_, removal)| removal.end);
        let holes =
            manifest.holes().all(|(_, hole)| authority.names_hole(hole.first_seq, hole.tree.end()));
        Ok((removed_to >= pieces.begin() && holes).then_some(authority))
    }

    /// Records that are not here, though retention did not remove them: those of which a
    /// signed record says that they were given up, and others, which are missing.
    fn holes(&mut self, authority: &Authority) -> Vec<GivenUp> {
        let mut told: Vec<GivenUp> = Vec::new();
        for (segment, hole) in self.view.manifest.holes() {
            let (first_seq, end_seq) = (hole.first_seq, hole.tree.end());
            let reason = hole.hole.clone().unwrap_or_default();
            let by = authority
                .holes
                .iter()
                .rev()
                .find(|named| (named.hole.first_seq..named.hole.end_seq).contains(&first_seq));
            let named = authority.names_hole(first_seq, end_seq);
            if !named {
                let text = format!(
                    "they are missing ({reason}), and no signed record says that they were given \
                     up. If a backup holds them, run `auditctl repair`. To give them up, run \
                     `auditctl serve --accept-corruption` once"
                );
                let finding = Finding::new(Kind::Missing, &segment.file, text);
                self.tally.found(finding.records(first_seq, end_seq));
            }
            let by = by.filter(|_| named);
            let (record, at) = (by.map(|named| named.record), by.map(|named| named.at));
            match told.last_mut() {
                Some(last)
                    if last.end_seq == first_seq
                        && (&last.reason, last.record) == (&reason, record) =>
                {
                    last.end_seq = end_seq;
                }
                _ => told.push(GivenUp { first_seq, end_seq, reason, record, at }),
            }
        }
        told
    }

    /// What is missing at the beginning, retention must have been allowed to remove.
    fn removed(&mut self, pieces: &Pieces, authority: &Authority) {
        let removed_to = authority.removal.as_ref().map_or(0, |(_, removal)| removal.end);
        if pieces.begin() > removed_to {
            let text = "they are missing, and no signed audit.pruned record says that retention \
                        removed them";
            let finding = Finding::new(Kind::Missing, "audit.manifest.json", text);
            self.tally.found(finding.records(removed_to, pieces.begin()));
        }
    }

    /// What the directory itself tells.
    fn files(&mut self, last: bool) {
        if let Some(reason) = &self.view.no_manifest {
            let text = format!("it is unusable, so the files were found by their names: {reason}");
            let finding = Finding::new(Kind::Altered, "audit.manifest.json", text);
            self.tally.found(finding);
        }
        for segment in &self.view.manifest.segments {
            let first = segment.blocks.iter().map(|block| block.min_timestamp).min();
            let last = segment.blocks.iter().map(|block| block.max_timestamp).max();
            let noted = (Some(segment.min_timestamp), Some(segment.max_timestamp));
            if !segment.blocks.is_empty() && (first, last) != noted {
                let text = format!("the times of {} differ from those of its blocks", segment.file);
                let finding = Finding::new(Kind::Altered, "audit.manifest.json", text);
                self.tally.found(finding.records(segment.first_seq, segment.end_seq()));
            }
        }
        if self.view.live && !self.view.strays.is_empty() && !last {
            self.tally.disturbed = true;
        } else {
            for name in &self.view.strays {
                let text = "a sealed segment that the log does not have";
                self.tally.found(Finding::new(Kind::Extra, name, text));
            }
        }
    }

    /// Records that earlier epochs left behind, by the log's own signed records and, until
    /// these are written, its signed manifest; and what there is of them beside the log.
    fn abandoned(
        &mut self,
        authority: &Authority,
        pieces: &Pieces,
        (keys, trusts): (Option<&Keyring>, bool),
    ) -> Result<Vec<Abandoned>, ReadError> {
        let view = self.view;
        let mut all = if trusts { view.manifest.ended.clone() } else { Vec::new() };
        authority.ended.iter().for_each(|one| ended::note(&mut all, one.clone()));
        let mut told = Vec::with_capacity(all.len());
        for mut ended in all {
            if ended.before.is_none() && ended.first_seq <= pieces.end() {
                ended.before = pieces.tree_at(view, ended.first_seq)?;
            }
            let place = (&*view.log.fs, &view.log.paths);
            let kept = match keys {
                Some(keys) => {
                    let signers = (view.manifest.log_id.as_str(), keys);
                    ended.kept(place, signers).map_err(|source| {
                        ReadError::io("read", &view.log.paths.dir.join(ended.file()), source)
                    })?
                }
                None => Kept::Nothing,
            };
            if let Kept::Unproven(why) = &kept {
                let text = format!(
                    "it proves nothing of the records that epoch {} left behind: {why}. `auditctl \
                     repair` makes it anew, or sets it aside",
                    ended.epoch
                );
                self.tally.found(Finding::new(Kind::Altered, &ended.file(), text));
            }
            told.push(Abandoned {
                epoch: ended.epoch,
                first_seq: ended.first_seq,
                end_seq: ended.end_seq,
                reason: ended.reason.clone(),
                record: ended.record,
                at: ended.at,
                checkpoint: ended.checkpoint.clone(),
                is_unproven: matches!(kept, Kept::Unproven(_)),
                kept: match kept {
                    Kept::Proven(end_seq) => Some(KeptCopy { file: ended.file(), end_seq }),
                    Kept::Nothing | Kept::Unproven(_) => None,
                },
                ended,
            });
        }
        Ok(told)
    }

    fn bytes(&self) -> u64 {
        let tails: u64 = self.view.tails.iter().map(|tail| tail.length).sum();
        self.view.manifest.stored_bytes().saturating_add(tails)
    }

    fn sealed(&mut self, depth: Depth) -> Result<(), ReadError> {
        let segments = &self.view.manifest.segments;
        let now = self.request.now;
        let skipped = match (depth, &self.request.since) {
            (Depth::SinceLast, Some(state)) => state.choose(segments, now, &self.request.chance),
            _ => vec![None; segments.len()],
        };
        for (index, (segment, skipped)) in segments.iter().zip(skipped).enumerate() {
            if self.watch.interrupted() {
                return Err(ReadError::Interrupted);
            }
            let (first_seq, end_seq) = (segment.first_seq, segment.end_seq());
            self.readings.push(Reading { first_seq, end_seq, at: skipped.unwrap_or(now) });
            if depth == Depth::Quick {
                sealed::check_stored(self.view, index, self.watch, &mut self.tally)?;
            } else if skipped.is_none() {
                sealed::check(self.view, index, self.watch, &mut self.tally)?;
            } else {
                self.tally.counts.blocks_skipped += segment.blocks.len() as u64;
                self.skipped(index)?;
            }
        }
        Ok(())
    }

    /// A segment that is not read this time has to be there all the same.
    fn skipped(&mut self, index: usize) -> Result<(), ReadError> {
        let segment = &self.view.manifest.segments[index];
        if !segment.is_stored() {
            return Ok(());
        }
        let (file, now) = match self.view.open_segment(segment)? {
            Stored::Here(file, now) => (file, now),
            Stored::Removed => {
                self.tally.removed_meanwhile = true;
                return Ok(());
            }
            Stored::Missing(_) => {
                let why = self.view.absence(&segment.file);
                let finding = Finding::new(Kind::Missing, &segment.file, why);
                self.tally.found(finding.records(segment.first_seq, segment.end_seq()));
                return Ok(());
            }
        };
        let length = file.meta().map(|meta| meta.len).ok();
        if length != Some(now.stored_bytes) {
            let text = format!(
                "it has {} bytes, the manifest says {}",
                length.unwrap_or_default(),
                now.stored_bytes
            );
            let cut = length.is_some_and(|length| length < now.stored_bytes);
            let kind = if cut { Kind::Truncated } else { Kind::Altered };
            let finding = Finding::new(kind, &now.file, text);
            self.tally.found(finding.records(segment.first_seq, segment.end_seq()));
        }
        Ok(())
    }

    /// Whether the tree is the one that was signed.
    fn root(&mut self, pieces: &mut Pieces, signed: &Checkpoint) -> Result<bool, ReadError> {
        let size = signed.size;
        let is_signed = |pieces: &Pieces| -> Result<Option<bool>, ReadError> {
            let tree = pieces.tree_at(self.view, size)?;
            Ok(tree.map(|tree| tree.root() == Ok(signed.root)))
        };
        match is_signed(pieces)? {
            Some(true) => return Ok(true),
            None if size > pieces.end() => {
                // What is missing has been found where the records stop.
                let told = self.tally.findings.iter().any(|finding| finding.end_seq == Some(size));
                if !told {
                    let text = format!(
                        "the checkpoint was signed over {size} records, {} are there",
                        pieces.end()
                    );
                    let name = self.view.tails.last().map_or("audit.log", |tail| &tail.name);
                    let finding = Finding::new(Kind::Truncated, name, text);
                    self.tally.found(finding.records(pieces.end(), size));
                }
                active::tell(self.view, pieces, signed, &mut self.tally)?;
                return Ok(false);
            }
            None if size < pieces.begin() => {
                let text = format!(
                    "it covers {size} records, and retention says that it removed {}",
                    pieces.begin()
                );
                self.tally.found(Finding::new(Kind::Altered, "audit.checkpoint", text));
                return Ok(false);
            }
            Some(false) | None => {}
        }
        // Whatever is wrong with sealed segments has been found, and the hashes that were
        // noted of them stand in: then it is the active one.
        if active::tell_exactly(self.view, pieces, signed, &mut self.tally)? {
            return Ok(false);
        }
        // Perhaps the records are right, and the manifest's hashes are not.
        if !self.tally.bad_blocks.is_empty() {
            for bad in &self.tally.bad_blocks {
                let Some(found) = &bad.found else { continue };
                let first = self.view.manifest.segments[bad.segment].blocks[bad.block].first_seq;
                pieces.replace(Place::Segment(bad.segment), first, found.clone());
            }
            if is_signed(pieces)? == Some(true) {
                self.blame_manifest();
                return Ok(true);
            }
        }
        if self.tally.findings.iter().all(|finding| finding.first_seq.is_none()) {
            let sealed = self.view.manifest.end_seq();
            let text = format!(
                "the first {size} records do not hash to the signed root, although each block \
                 matches the manifest"
            );
            let (name, first) = match self.view.tails.last() {
                Some(tail) if size > sealed => (tail.name.as_str(), sealed.max(pieces.begin())),
                _ => ("audit.manifest.json", pieces.begin()),
            };
            self.tally.found(Finding::new(Kind::Altered, name, text).records(first, size));
        }
        active::tell(self.view, pieces, signed, &mut self.tally)?;
        Ok(false)
    }

    /// What was said of blocks is true of the manifest's hashes of them.
    fn blame_manifest(&mut self) {
        for bad in &self.tally.bad_blocks {
            let segment = &self.view.manifest.segments[bad.segment];
            let block = &segment.blocks[bad.block];
            let (first, end) = (block.first_seq, block.first_seq + block.records);
            self.tally.findings.retain(|finding| {
                finding.file != segment.file
                    || finding.block != Some(bad.block as u64)
                    || finding.kind != Kind::Altered
            });
            let text = format!(
                "its hashes of {} block {} are not those of the records, which are as they were signed",
                segment.file, bad.block
            );
            let finding = Finding::new(Kind::Altered, "audit.manifest.json", text);
            self.tally.findings.push(finding.records(first, end).block(bad.block as u64));
        }
    }

    /// Whether the log ends with a signed close. Nothing may follow one.
    fn end(&mut self, pieces: &Pieces, signed: u64, last: bool) -> Result<bool, ReadError> {
        let end = pieces.end();
        let unfinished = self.tally.unfinished.take();
        let closed = signed > 0 && self.closed_at(pieces, signed)?;
        // Who holds the lock need not be a writer.
        if self.view.live && !closed {
            return Ok(false);
        }
        if closed && self.view.live && !last {
            self.tally.disturbed = true;
            return Ok(false);
        }
        if closed && (end > signed || unfinished.is_some()) && self.only_opens(pieces, signed)? {
            let text = "an opening of the log ended before it had signed its first records; the next \
                        start sets them aside";
            let name = self.view.tails.last().map_or("audit.log", |tail| &tail.name);
            let finding = Finding::new(Kind::Unclean, name, text).records(signed, end);
            self.tally.of_end.push(finding);
            return Ok(false);
        }
        if closed && (end > signed || unfinished.is_some()) {
            let text =
                "after the signed close of the log there are lines that none of its writers wrote";
            let name = self.view.tails.last().map_or("audit.log", |tail| &tail.name);
            let finding = Finding::new(Kind::Extra, name, text).records(signed, end);
            self.tally.of_end.push(finding);
            return Ok(false);
        }
        if closed {
            self.closing_checkpoint(signed);
        }
        let unproven = "Either the writer ended before it signed them, or this is a copy made \
                        beside a writer. A change to them would not be found";
        if end > signed && signed > 0 {
            self.tally.notes.push(match end - signed {
                1 => format!("record {signed}, the last, carries no signature. {unproven}"),
                _ => format!("records {signed} to {} carry no signature. {unproven}", end - 1),
            });
        }
        if let Some(found) = unfinished {
            self.tally.notes.push(format!(
                "{} ends with an incomplete line ({}), as a crash or a copy made beside a writer \
                 leaves it; the next start sets it aside",
                found.file, found.message
            ));
        }
        Ok(closed)
    }

    /// Whether behind the close stands nothing but what an opening writes first. It
    /// authorises nothing, whoever wrote it.
    fn only_opens(&self, pieces: &Pieces, signed: u64) -> Result<bool, ReadError> {
        let mut next = signed;
        while next < pieces.end() {
            let Some(piece) = pieces.piece_of(next) else { return Ok(false) };
            let raw = pieces::read(self.view, piece)?.unwrap_or_default();
            let opening = said_in(&raw).into_iter().filter(|said| said.opens && said.seq >= next);
            let found = opening.count() as u64;
            if found == 0 {
                return Ok(false);
            }
            next += found;
        }
        Ok(next == pieces.end() && next > signed)
    }

    /// A close in order stores a checkpoint over it.
    fn closing_checkpoint(&mut self, signed: u64) {
        let note = self.view.note.as_deref().and_then(|note| SignedCheckpoint::parse(note).ok());
        let Some(size) = note.map(|note| note.unverified().size).filter(|size| *size < signed)
        else {
            return;
        };
        let text = format!(
            "it covers {size} records, but the log was closed with a checkpoint over {signed}: \
             somebody put back an older one"
        );
        self.tally.of_end.push(Finding::new(Kind::Altered, "audit.checkpoint", text));
    }

    fn closed_at(&self, pieces: &Pieces, signed: u64) -> Result<bool, ReadError> {
        let Some(piece) = pieces.piece_of(signed - 1) else { return Ok(false) };
        let raw = pieces::read(self.view, piece)?.unwrap_or_default();
        let closes = |said: Said| said.seq + 1 == signed && said.fact == Fact::Closed;
        Ok(said_in(&raw).into_iter().any(closes))
    }

    fn state(
        &self,
        depth: Depth,
        key: Option<&str>,
        checkpoint: Option<&Checkpoint>,
    ) -> Option<State> {
        if depth == Depth::Quick {
            return None;
        }
        let (key, checkpoint) = (key?.to_owned(), checkpoint?);
        let head = (checkpoint.size, checkpoint.root);
        Some(State::of(&self.view.manifest, key, head, &self.readings, self.request.now))
    }

    /// What was read longest ago, when not all of it was read now.
    fn oldest_read(&self, depth: Depth) -> Option<OldestRead> {
        let now = self.request.now;
        let oldest = self.readings.iter().min_by_key(|reading| reading.at)?;
        (depth == Depth::SinceLast && oldest.at < now).then(|| OldestRead {
            first_seq: oldest.first_seq,
            end_seq: oldest.end_seq,
            read_at: oldest.at,
            age_seconds: now.micros().saturating_sub(oldest.at.micros()).cast_unsigned()
                / 1_000_000,
        })
    }

    fn report(
        self,
        pieces: &Pieces,
        checkpoint: Option<&Checkpoint>,
        anchored: Option<u64>,
        rooted: bool,
    ) -> Report {
        let signed = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        let (begin, end) = (pieces.begin(), pieces.end());
        let to = anchored.unwrap_or(0).clamp(begin, end);
        let mid = if rooted { signed.clamp(to, end) } else { to };
        let ranges = Ranges {
            removed: Stretch { first_seq: 0, end_seq: begin },
            anchored: Stretch { first_seq: begin, end_seq: to },
            signed: Stretch { first_seq: to, end_seq: mid },
            unsigned: Stretch { first_seq: mid, end_seq: end },
        };
        let Tally { mut findings, of_end, counts, notes, activity, .. } = self.tally;
        let harmless = |finding: &Finding| finding.kind == Kind::StoredBytes;
        let damaged = findings.iter().any(|finding| {
            !harmless(finding) && !matches!(finding.kind, Kind::BadSignature | Kind::WrongKey)
        });
        let integrity = match (damaged, rooted && findings.iter().all(harmless)) {
            (true, _) => Integrity::Damaged,
            (false, true) => Integrity::Intact,
            (false, false) => Integrity::Unproven,
        };
        let lost = |finding: &Finding| matches!(finding.kind, Kind::Missing | Kind::Truncated);
        let completeness = if !of_end.is_empty() || findings.iter().any(lost) || !rooted {
            Completeness::Incomplete
        } else if anchored.is_some() {
            Completeness::Anchored
        } else {
            Completeness::Signed
        };
        findings.extend(of_end);
        findings.sort_by(|a, b| {
            let place = |f: &Finding| (f.first_seq.unwrap_or(0), f.end_seq.unwrap_or(0));
            place(a).cmp(&place(b)).then_with(|| a.file.cmp(&b.file))
        });
        Report {
            integrity,
            completeness,
            depth: Depth::Full,
            depth_reason: None,
            oldest_read: None,
            verified_at: self.request.now,
            log_id: self.view.manifest.log_id.clone(),
            epoch: self.view.manifest.epoch,
            key: None,
            fingerprint: None,
            key_source: KeySource::None,
            key_given: None,
            keys: Vec::new(),
            tree_size: signed,
            root_hash: checkpoint.map(|checkpoint| checkpoint.root.to_string()),
            writer_runs: self.view.live,
            ranges,
            counts: Counts { segments: self.view.manifest.segments.len() as u64, ..counts },
            closed: false,
            removed_by: None,
            adopted: Vec::new(),
            holes: Vec::new(),
            abandoned: Vec::new(),
            notes,
            witnessed: None,
            activity,
            findings,
        }
    }
}
