//! Repair: what is damaged is put back from copies of the log, and nothing else is
//! touched.
//!
//! First everything is looked at, and a [`Repair`] says what would become of it. What
//! is taken from a copy is proven before anything is written: by the subtree hashes of
//! a signed manifest, by the leaf hashes that were noted of the active segment where they
//! give the signed root, by that root over all of it, or, where a line is lost, by the
//! copy's own checkpoint, if the key that signs now signed it in this epoch and the copy
//! contradicts no line that looks good. What no copy holds
//! stays as it is, and is named.
//!
//! Then each file is written anew beside the old one, and takes its name once the
//! damaged one is kept as `<file>.damaged-<time>`: a crash leaves the one or the other.

mod apply;
mod change;
mod copy;
mod ended;
mod error;
mod log_copy;
mod sealed;
mod tail;

use std::path::PathBuf;
use std::sync::Arc;

pub use change::{Change, Changed};
pub use copy::{CopiedBlock, Copy};
pub use ended::{NotRejoined, Rejoined};
pub use error::RepairError;
pub use log_copy::LogCopy;

use super::own::{Repaired, RepairedFile};
use crate::audit::files::block_filter::MAX_BYTES;
use crate::audit::files::columns::Columns;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::sha256_hex;
use crate::audit::keys::checkpoint::{Checkpoint, Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{KeyHistory, Keyring, Rotation};
use crate::audit::paths::LogPaths;
use crate::audit::read::error::ReadError;
use crate::audit::read::verify::signature;
use crate::audit::read::verify::tally::Tally;
use crate::audit::read::verify::view::View;
use crate::audit::read::verify::{Finding, GivenUp, Kind, Report, Request, verify};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Range;
use crate::clock::Clock;
use crate::fsio::SharedFs;
use change::Told;
use copy::Judged;
use sealed::SealedPlan;
use tail::TailPlan;

/// What is to be repaired, and with what.
pub struct Needs<'a> {
    /// The file system.
    pub fs: SharedFs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The log's directory. Nobody may write to it meanwhile.
    pub dir: PathBuf,
    /// The log's key, where it is known from elsewhere than `audit.pub`.
    pub key: Option<VerifierKey>,
    /// The copies, the best first.
    pub copies: &'a [&'a dyn Copy],
    /// What a verification has just found, if one was made.
    pub report: Option<Report>,
}

/// What stays damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The file.
    pub file: String,
    /// The first record.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// Why.
    pub why: String,
}

/// A file of the log that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The file.
    pub file: &'static str,
    /// What it becomes, in words.
    pub becomes: String,
    pub(crate) text: Vec<u8>,
}

/// What was found, and what would become of it.
#[derive(Debug)]
pub struct Repair {
    /// What a verification finds before.
    pub report: Report,
    /// The records that become others.
    pub changes: Vec<Change>,
    /// What stays damaged.
    pub left: Vec<Left>,
    /// Files beside the segments that are written anew.
    pub others: Vec<Other>,
    /// Block filters that go: queries make do without, and the writer makes new ones.
    pub filters: Vec<String>,
    /// Segments whose stored bytes change, and whose records do not.
    pub stored_anew: Vec<String>,
    /// Copies of which nothing is taken, and why.
    pub rejected: Vec<(String, String)>,
    /// Records that an epoch left behind, of which a copy is put beside the log.
    pub rejoined: Vec<Rejoined>,
    /// Such records of which none can be made.
    pub not_rejoined: Vec<NotRejoined>,
    /// Whether the log's records hash to its signed root then.
    pub is_rooted: bool,
    /// Whether the next opening, with the key, makes the manifest anew.
    pub manifest_is_lost: bool,
    pub(crate) manifest: Manifest,
    sealed: Vec<SealedPlan>,
    tails: Vec<TailPlan>,
}

impl Repair {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.changes.is_empty()
            && self.others.is_empty()
            && self.filters.is_empty()
            && self.rejoined.is_empty()
            && self.not_rejoined.iter().all(|not| not.sets_aside.is_none())
            && self.stored_anew.is_empty()
            && !self.sealed.iter().any(SealedPlan::changes)
            && !self.tails.iter().any(TailPlan::changes)
            && !self.manifest_is_lost
    }

    /// Whether all that is damaged would be mended.
    #[must_use]
    pub fn mends_all(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether another copy could give more: something stays damaged, or was left behind.
    #[must_use]
    pub fn lacks_some(&self) -> bool {
        let is_part = |one: &Rejoined| one.end_seq < one.wanted_end;
        !self.mends_all() || !self.not_rejoined.is_empty() || self.rejoined.iter().any(is_part)
    }
}

/// Ranges of records, those that touch joined.
fn joined(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (first, end) in ranges {
        match all.last_mut() {
            Some((_, before)) if *before == first => *before = end,
            _ => all.push((first, end)),
        }
    }
    all
}

/// What makes a copy's record one of the log's, where no hash of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// That all of it hashes to the signed root in the end.
    Root,
    /// The same, of copies that the key which signs now has signed in this epoch.
    RootAndKey,
    /// The copy's own signature. It may be of another history with the same key, such as
    /// that of a clone: so no line that looks good becomes another, and a copy that
    /// contradicts one is not used.
    Key,
}

/// The log as it is, and the copies that say something of it.
struct Case<'a> {
    view: View,
    keys: Keyring,
    /// Whether a key of the log signed the manifest.
    is_signed: bool,
    /// The newest signed head.
    head: Checkpoint,
    copies: Vec<Judged<'a>>,
    /// Which copies may be used, and how far.
    trust: Trust,
    /// Records that were given up: a copy may hold them all the same.
    given_up: Vec<GivenUp>,
}

impl Case<'_> {
    /// The copies that may be used now, the best first.
    fn copies(&self) -> impl Iterator<Item = &Judged<'_>> {
        self.copies.iter().filter(|copy| copy.is_proof || self.trust == Trust::Root)
    }

    fn io(&self, action: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> RepairError {
        let path = self.view.log.paths.dir.join(name);
        move |source| RepairError::Io { action, path, source }
    }
}

/// Looks at the log, and says what would become of it. Changes nothing.
///
/// # Errors
/// See [`RepairError`].
pub fn look(needs: &Needs<'_>, watch: &dyn Watch) -> Result<Repair, RepairError> {
    let report = match &needs.report {
        Some(report) => report.clone(),
        None => verified(needs, watch)?,
    };
    let view = View::take(&needs.fs, &needs.dir)?;
    let mut tally = Tally::default();
    let (keys, mut others) = keys(needs, &view)?;
    let checkpoint = signature::checkpoint(&view, Some(&keys), &mut tally);
    let is_good = checkpoint.is_some();
    let own = signature::newest(&view, Some(&keys), checkpoint, (true, &mut tally));
    let mut rejected = Vec::new();
    let log_id = keys.newest().log_id().unwrap_or_else(|| view.manifest.log_id.clone());
    let is_signed = signature::manifest(&view, Some(&keys)).is_ok();
    let epoch = match &own {
        Some(head) => head.origin.parse::<Origin>().map_or(0, |origin| origin.epoch()),
        None if is_signed => view.manifest.epoch,
        None => newest_epoch(needs, &keys, &log_id),
    };
    let mut copies = Vec::new();
    for copy in needs.copies {
        match Judged::new(*copy, &keys, (&log_id, epoch)) {
            Ok(judged) => copies.push(judged),
            Err(why) => rejected.push((copy.name().to_owned(), why)),
        }
    }
    copies
        .sort_by_key(|copy| std::cmp::Reverse((copy.is_proof, copy.epoch, copy.copy.tree().end())));
    let own_head = own.is_some();
    let head = match own {
        Some(head) => {
            if !is_good {
                others.extend(note_of_head(&view));
            }
            head
        }
        None => {
            let best = copies.iter().find(|copy| copy.is_proof);
            let dir = needs.dir.clone();
            let best = best.ok_or(RepairError::NoHead { dir })?;
            others.push(Other {
                file: "audit.checkpoint",
                becomes: format!(
                    "the one of {}, over {} records; what follows them is not signed, and the \
                     next start names it",
                    best.copy.name(),
                    best.copy.tree().end()
                ),
                text: best.copy.note().as_bytes().to_vec(),
            });
            let note = SignedCheckpoint::parse(best.copy.note().as_bytes());
            note.map_err(|error| RepairError::NoKey(error.to_string()))?.unverified().clone()
        }
    };
    let given_up = report.holes.clone();
    let is_own = own_head;
    let mut case = Case { view, keys, is_signed, head, copies, trust: Trust::Root, given_up };
    let filters = case.damaged_hints();
    let (rejoined, not_rejoined) = case.rejoin(&report.abandoned)?;
    let is_beside = |found: &Finding| report.abandoned.iter().any(|one| one.is_about(found));
    let only_beside = !report.findings.is_empty() && report.findings.iter().all(is_beside);
    let is_whole = report.holes.is_empty() && (report.passed() || only_beside);
    if is_whole && others.is_empty() && filters.is_empty() {
        return Ok(Repair { rejoined, not_rejoined, ..case.nothing(report, rejected) });
    }
    others.extend(case.chain());
    let mut planned = case.plan(&report, watch)?;
    if planned.root != Some(true) && case.copies.iter().any(|copy| !copy.is_proof) {
        case.trust = Trust::RootAndKey;
        planned = case.plan(&report, watch)?;
    }
    if planned.root != Some(true) {
        case.trust = Trust::Key;
        planned = case.plan(&report, watch)?;
    }
    if let Some((name, seq)) = planned.overrides.filter(|_| !is_own) {
        return Err(RepairError::Contradicts { name, seq });
    }
    Ok(Repair {
        changes: planned.told.changes,
        left: planned.left,
        others,
        filters,
        stored_anew: planned.stored_anew,
        rejected,
        rejoined,
        not_rejoined,
        is_rooted: planned.root == Some(true),
        manifest_is_lost: !case.is_signed,
        manifest: case.view.manifest.clone(),
        sealed: planned.sealed,
        tails: planned.tails,
        report,
    })
}

/// What a verification finds.
///
/// # Errors
/// As [`verify`].
pub fn verified(needs: &Needs<'_>, watch: &dyn Watch) -> Result<Report, ReadError> {
    let now = needs.clock.now();
    let request = Request { key: needs.key.clone(), now, ..Request::default() };
    Ok(verify(&needs.fs, &needs.dir, &request, watch)?.0)
}

/// Writes what was said.
///
/// # Errors
/// A file that cannot be written. What was written before it stays: each file by
/// itself is the old one or the new one.
pub fn apply(
    needs: &Needs<'_>,
    repair: &Repair,
    key: Option<&SigningKey>,
) -> Result<Repaired, RepairError> {
    apply::Applying::new(needs, repair, key).run()
}

/// The epoch of the newest head that a copy has, where the log has none.
fn newest_epoch(needs: &Needs<'_>, keys: &Keyring, log_id: &str) -> u32 {
    let epochs = needs.copies.iter().filter_map(|copy| {
        let judged = Judged::new(*copy, keys, (log_id, 0)).ok()?;
        Some(judged.epoch)
    });
    epochs.max().unwrap_or(0)
}

/// The log's keys; and what its public files become, where they cannot be used.
fn keys(needs: &Needs<'_>, view: &View) -> Result<(Keyring, Vec<Other>), RepairError> {
    let public = view.public.as_ref().map_err(Clone::clone).and_then(|text| {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        VerifierKey::parse_file(text).map_err(|error| error.to_string())
    });
    let mut others = Vec::new();
    let believed = match (&needs.key, public) {
        (Some(key), Ok(public)) if *key == public => public,
        (Some(key), Ok(public)) => {
            // One of the log's keys, of before or after.
            let rotations = all_rotations(needs, view);
            let ring = Keyring::new(public.clone(), &rotations);
            match ring.is_ok_and(|ring| ring.contains(key)) {
                true => public,
                false => {
                    others.push(public_text(view, key));
                    key.clone()
                }
            }
        }
        (Some(key), Err(_)) => {
            others.push(public_text(view, key));
            key.clone()
        }
        (None, Ok(public)) => public,
        (None, Err(why)) => return Err(RepairError::NoKey(format!("audit.pub: {why}"))),
    };
    let own = match &view.keys {
        Ok(Some(history)) => history.rotations.clone(),
        _ => Vec::new(),
    };
    let ring = Keyring::new(believed.clone(), &own).unwrap_or_else(|_| believed.into());
    Ok((ring, others))
}

fn all_rotations(needs: &Needs<'_>, view: &View) -> Vec<Rotation> {
    let own = match &view.keys {
        Ok(Some(history)) => history.rotations.clone(),
        _ => Vec::new(),
    };
    let longest = needs.copies.iter().map(|copy| copy.rotations()).max_by_key(|all| all.len());
    match longest {
        Some(longest) if longest.len() > own.len() => longest.to_vec(),
        _ => own,
    }
}

fn public_text(view: &View, key: &VerifierKey) -> Other {
    let origin = key.name().parse::<Origin>();
    let origin = origin.map(|origin| origin.in_epoch(view.manifest.epoch).to_string());
    let origin = origin.unwrap_or_else(|_| key.name().to_owned());
    let text = key.public_text(&origin).into_bytes();
    Other { file: "audit.pub", becomes: format!("the key {}", key.label()), text }
}

/// `audit.head` stands in for a checkpoint that is lost.
fn note_of_head(view: &View) -> Option<Other> {
    let text = view.head.clone()?;
    Some(Other { file: "audit.checkpoint", becomes: "the head in audit.head".to_owned(), text })
}

/// What is planned of the records.
struct Planned {
    told: Told,
    left: Vec<Left>,
    stored_anew: Vec<String>,
    sealed: Vec<SealedPlan>,
    tails: Vec<TailPlan>,
    /// Whether all of it hashes to the signed root; `None` where that cannot be told.
    root: Option<bool>,
    /// The first line that looks good and becomes another, where no hash says which is
    /// right: from which copy, and its seq.
    overrides: Option<(String, u64)>,
}

impl Case<'_> {
    fn nothing(&self, report: Report, rejected: Vec<(String, String)>) -> Repair {
        Repair {
            report,
            changes: Vec::new(),
            left: Vec::new(),
            others: Vec::new(),
            filters: Vec::new(),
            stored_anew: Vec::new(),
            rejected,
            rejoined: Vec::new(),
            not_rejoined: Vec::new(),
            is_rooted: true,
            manifest_is_lost: false,
            manifest: self.view.manifest.clone(),
            sealed: Vec::new(),
            tails: Vec::new(),
        }
    }

    /// Block filters and columns that are not those which the manifest notes. Nobody believes
    /// them; while they are there, nobody makes new ones.
    fn damaged_hints(&self) -> Vec<String> {
        let (fs, paths) = (&*self.view.log.fs, &self.view.log.paths);
        let filters = |segment: &Segment| {
            let sha256 = segment.filters_sha256.as_ref()?;
            let path = paths.filters(segment.first_seq);
            let file = fs.read_own(&path, MAX_BYTES).ok()?;
            (sha256_hex(&file) != *sha256).then_some(path)
        };
        let columns = |segment: &Segment| {
            segment.columns_sha256.as_ref()?;
            let path = paths.columns(segment.first_seq);
            fs.meta(&path).ok()?;
            let are_whole = Columns::open(fs, paths, segment).is_some_and(|it| it.are_whole());
            (!are_whole).then_some(path)
        };
        let segments = self.view.manifest.segments.iter();
        let damaged = segments.flat_map(|segment| [filters(segment), columns(segment)]);
        let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        damaged.flatten().filter_map(name).collect()
    }

    /// `audit.keys` from a copy, where the one that is there does not lead to the key
    /// that signs.
    fn chain(&self) -> Option<Other> {
        let own = match &self.view.keys {
            Ok(Some(history)) => history.rotations.as_slice(),
            Ok(None) => &[],
            Err(_) => &[],
        };
        let usable = self.view.keys.is_ok() && own == self.keys.rotations();
        let better = self.copies.iter().filter(|copy| copy.is_proof).find(|copy| {
            let ring = Keyring::new(self.keys.newest().clone(), copy.copy.rotations());
            ring.is_ok_and(|ring| ring.newest() == self.keys.newest())
                && (!usable || copy.copy.rotations().len() > own.len())
                && !copy.copy.rotations().is_empty()
        })?;
        let log_id = self.keys.newest().log_id()?;
        let history =
            KeyHistory { rotations: better.copy.rotations().to_vec(), ..KeyHistory::new(&log_id) };
        let becomes = format!("the one of {}", better.copy.name());
        Some(Other { file: "audit.keys", becomes, text: history.encode() })
    }

    fn plan(&self, report: &Report, watch: &dyn Watch) -> Result<Planned, RepairError> {
        let mut planned = Planned {
            told: Told::new(),
            left: Vec::new(),
            stored_anew: Vec::new(),
            sealed: Vec::new(),
            tails: Vec::new(),
            root: None,
            overrides: None,
        };
        let mut tree = Some(self.view.manifest.pruned.clone());
        for (index, segment) in self.view.manifest.segments.iter().enumerate() {
            if watch.interrupted() {
                return Err(ReadError::Interrupted.into());
            }
            let is_found = report.findings.iter().any(|found| {
                found.file == segment.file
                    || found.file == "audit.manifest.json" && found.kind == Kind::Altered
            });
            let has_holes = segment.damage.is_some() || segment.holes().next().is_some();
            if self.is_signed && !is_found && !has_holes {
                segment.blocks.iter().for_each(|block| extend(&mut tree, &block.tree));
                continue;
            }
            let plan = self.plan_sealed(index, &mut planned.told, &mut planned.left)?;
            plan.trees(self.is_signed).for_each(|part| match part {
                Some(part) => extend(&mut tree, part),
                None => tree = None,
            });
            if plan.changes_only_bytes() {
                planned.stored_anew.push(plan.file.clone());
            }
            planned.sealed.push(plan);
        }
        self.plan_tails(&mut planned, tree)?;
        planned.left.sort_by_key(|left| (left.first_seq, left.end_seq));
        Ok(planned)
    }
}

fn extend(tree: &mut Option<Range>, next: &Range) {
    if tree.as_mut().is_some_and(|tree| tree.extend(next).is_err()) {
        *tree = None;
    }
}

/// `<file>.damaged-<time>`, with a number when that name is taken.
fn kept_name(needs: &Needs<'_>, paths: &LogPaths, file: &str, stamp: &str) -> String {
    let first = format!("{file}.damaged-{stamp}");
    let is_free = |name: &String| needs.fs.entry(&paths.dir.join(name)).is_err();
    let numbered = (1_u32..).map(|number| format!("{first}.{number}"));
    let mut names = std::iter::once(first.clone()).chain(numbered);
    names.find(is_free).unwrap_or(first)
}
