//! Records that an epoch left behind: put together from copies and from what was set
//! aside, where they hash to a head that the log signed in that epoch.

use std::collections::BTreeMap;

use super::copy::Judged;
use super::{Case, RepairError};
use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::lines::lines_of_file;
use crate::audit::files::salvage::active::leaves_among;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::audit::read::verify::Abandoned;
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};
use crate::fsio::OpenMode;

/// What was set aside is read if it is no larger.
const MOST_BYTES: u64 = 1 << 30;
/// Of one seq, so many different lines are looked at.
const CANDIDATES: usize = 4;

/// What becomes of the copy beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejoined {
    /// The epoch.
    pub epoch: u32,
    /// The first record.
    pub first_seq: u64,
    /// One after the last that is proven.
    pub end_seq: u64,
    /// One after the last that was left behind.
    pub wanted_end: u64,
    /// The copies and files that they are from.
    pub from: Vec<String>,
    /// The file that they are put into.
    pub file: String,
    pub(super) head_file: String,
    pub(super) lines: Vec<u8>,
    pub(super) note: String,
}

/// Records that were left behind, and of which no copy can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRejoined {
    /// The epoch.
    pub epoch: u32,
    /// The first record that no proven copy beside the log holds.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// Why.
    pub why: String,
    /// A copy beside the log that proves nothing, which is set aside.
    pub sets_aside: Option<String>,
    pub(super) head_file: String,
}

/// A line that says that it is one of the wanted records.
struct Candidate {
    leaf: Hash,
    line: Vec<u8>,
    from: usize,
}

/// All of them, by seq, and the names of where they are from.
struct Candidates {
    first: u64,
    end: u64,
    lines: BTreeMap<u64, Vec<Candidate>>,
    names: Vec<String>,
}

impl Candidates {
    fn add(&mut self, name: &str, text: &[u8]) {
        let from = self.names.len();
        self.names.push(name.to_owned());
        let whole = text.split_inclusive(|byte| *byte == b'\n');
        for line in whole.filter_map(|line| line.strip_suffix(b"\n")) {
            let Some(seq) = peek_seq(line).filter(|seq| (self.first..self.end).contains(seq))
            else {
                continue;
            };
            let leaf = leaf_hash(line);
            let known = self.lines.entry(seq).or_default();
            if known.len() < CANDIDATES && known.iter().all(|known| known.leaf != leaf) {
                known.push(Candidate { leaf, line: line.to_vec(), from });
            }
        }
    }

    /// The first record of which no line is known.
    fn reach(&self) -> u64 {
        (self.first..self.end).find(|seq| !self.lines.contains_key(seq)).unwrap_or(self.end)
    }

    /// The lines that hash to a head, and where they are from.
    fn under(&self, before: &Range, head: &Checkpoint) -> Option<(Vec<u8>, Vec<String>)> {
        let choices = |seq: u64| -> Vec<Hash> {
            self.lines.get(&seq).into_iter().flatten().map(|one| one.leaf).collect()
        };
        let leaves = leaves_among(before, (head.size, head.root), choices)?;
        let (mut text, mut from) = (Vec::new(), Vec::new());
        for (seq, leaf) in (self.first..).zip(&leaves) {
            let found = self.lines.get(&seq)?.iter().find(|one| one.leaf == *leaf)?;
            text.extend_from_slice(&found.line);
            text.push(b'\n');
            let name = &self.names[found.from];
            if !from.contains(name) {
                from.push(name.clone());
            }
        }
        Some((text, from))
    }
}

impl Case<'_> {
    /// What can be put together of all that was left behind, and what cannot.
    pub(super) fn rejoin(
        &self,
        abandoned: &[Abandoned],
    ) -> Result<(Vec<Rejoined>, Vec<NotRejoined>), RepairError> {
        let (mut done, mut not) = (Vec::new(), Vec::new());
        for one in abandoned {
            let has = one.kept.as_ref().map_or(one.first_seq, |kept| kept.end_seq);
            if has == one.end_seq {
                continue;
            }
            match self.rejoin_one(one, has)? {
                Ok(rejoined) => done.push(rejoined),
                Err(why) => not.push(NotRejoined {
                    epoch: one.epoch,
                    first_seq: has,
                    end_seq: one.end_seq,
                    why,
                    sets_aside: one.is_unproven.then(|| one.ended.file()),
                    head_file: one.ended.head_file(),
                }),
            }
        }
        Ok((done, not))
    }

    fn rejoin_one(
        &self,
        one: &Abandoned,
        has: u64,
    ) -> Result<Result<Rejoined, String>, RepairError> {
        let Some(before) = &one.ended.before else {
            return Ok(Err("the tree before them is not known any more".to_owned()));
        };
        let signers = (self.view.manifest.log_id.as_str(), &self.keys);
        let of_epoch: Vec<&Judged<'_>> =
            self.copies.iter().filter(|copy| copy.epoch == one.epoch).collect();
        let mut heads: Vec<(Checkpoint, String)> = std::iter::once(one.ended.checkpoint.as_str())
            .chain(of_epoch.iter().map(|copy| copy.copy.note()))
            .filter_map(|note| {
                Some((one.ended.head(note, signers).ok()?, clean(note, &self.keys)?))
            })
            .filter(|(head, _)| head.size > has)
            .collect();
        heads.sort_by_key(|(head, _)| std::cmp::Reverse(head.size));
        let candidates = self.candidates(&one.ended, &of_epoch)?;
        for (head, note) in heads {
            let Some((lines, from)) = candidates.under(before, &head) else { continue };
            return Ok(Ok(Rejoined {
                epoch: one.epoch,
                first_seq: one.first_seq,
                end_seq: head.size,
                wanted_end: one.end_seq,
                from,
                file: one.ended.file(),
                head_file: one.ended.head_file(),
                lines,
                note,
            }));
        }
        let reach = candidates.reach();
        Ok(Err(match reach < one.end_seq {
            true => {
                format!("no copy that was read, and no file that was set aside, has record {reach}")
            }
            false => {
                "what the copies and the files that were set aside hold does not hash to what \
                      the log had signed"
                    .to_owned()
            }
        }))
    }

    /// Copies first: they are whole.
    fn candidates(
        &self,
        ended: &EndedEpoch,
        copies: &[&Judged<'_>],
    ) -> Result<Candidates, RepairError> {
        let (first, end) = (ended.first_seq, ended.end_seq);
        let (lines, names) = (BTreeMap::new(), Vec::new());
        let mut all = Candidates { first, end, lines, names };
        let file = ended.file();
        for copy in copies {
            let failed = || self.io("read a copy for", &file);
            let reach = copy.reach(first, end).map_err(failed())?;
            if let Some(text) = copy.lines(first, reach).map_err(failed())? {
                all.add(copy.copy.name(), &text);
            }
        }
        let dir = &self.view.log.paths.dir;
        let mut names = self.view.log.fs.list(dir).map_err(self.io("list", "."))?;
        names.sort_unstable();
        let is_aside = |name: &&String| name.starts_with("audit.") && name.contains(".damaged-");
        // What the log has gone on with may be some of them; it comes last.
        let here = [ended.file(), "audit.log".to_owned()];
        for name in here[..1].iter().chain(names.iter().filter(is_aside)).chain(&here[1..]) {
            // What cannot be read has none of them.
            let Ok(file) = self.view.log.fs.open(&dir.join(name), OpenMode::ReadOwn) else {
                continue;
            };
            if file.meta().is_ok_and(|meta| meta.len <= MOST_BYTES)
                && let Ok(text) = lines_of_file(name.contains(".log.gz"), &*file)
            {
                all.add(name, &text);
            }
        }
        Ok(all)
    }
}

/// The note with the log's own signature only.
fn clean(note: &str, keys: &Keyring) -> Option<String> {
    let note = SignedCheckpoint::parse(note.as_bytes()).ok()?;
    let (_, key) = keys.verify(&note).ok()?;
    Some(note.only_by(key).to_string())
}
