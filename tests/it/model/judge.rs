//! What must be so in every state.

use std::sync::Arc;

use auditctl::audit::files::manifest::Manifest;
use auditctl::audit::keys::checkpoint::SignedCheckpoint;
use auditctl::audit::read::verify::{Anchor, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::tree::merkle::{Range, leaf_hash};
use auditctl::fsio::{OsFs, SharedFs};

use super::actions::{Action, FORGED};
use super::world::{Place, State, Truth, lines, seq_of};

/// What a verdict vouches for.
pub(super) struct Passed {
    /// Records before this are said to be those that were recorded.
    pub(super) proven_to: u64,
    /// But for these, which the log itself says an opening adopted unsigned.
    pub(super) adopted: Vec<(u64, u64)>,
}

impl Passed {
    /// It vouches for whatever is there.
    pub(super) fn all() -> Self {
        Self { proven_to: u64::MAX, adopted: Vec::new() }
    }
}

/// What of a directory passes, without and with the copy of a tree head; nothing where
/// it does not.
pub(super) type Verdict = fn(&Place, Option<&[u8]>) -> Option<Passed>;

/// The program's own verdict, the one that is judged.
pub(super) fn own(place: &Place, kept: Option<&[u8]>) -> Option<Passed> {
    let fs: SharedFs = Arc::new(OsFs);
    let anchors = kept.map(|note| Anchor::parse("kept", note).expect("a checkpoint"));
    let request = Request { anchors: anchors.into_iter().collect(), ..Request::default() };
    let (report, _) = verify(&fs, &place.log(), &request, &Unwatched).ok()?;
    report.passed().then(|| Passed {
        proven_to: report.ranges.signed.end_seq,
        adopted: report.adopted.iter().map(|range| (range.first_seq, range.end_seq)).collect(),
    })
}

/// A verdict that believes the manifest about what retention removed, as a build of old
/// did: it computes the root from what is there, and compares it with what was signed.
pub(super) fn believes_the_manifest(place: &Place, _: Option<&[u8]>) -> Option<Passed> {
    let files = place.files();
    let manifest = files.get("audit.manifest.json").and_then(|text| Manifest::parse(text).ok());
    let mut tree = manifest?.pruned;
    let note = SignedCheckpoint::parse(files.get("audit.checkpoint")?).ok()?;
    for line in lines(&files) {
        if seq_of(&line) != Some(tree.end()) {
            return None;
        }
        tree.append(leaf_hash(line.as_bytes()));
    }
    let signed = note.unverified();
    (tree.end() == signed.size && tree.root() == Ok(signed.root)).then(Passed::all)
}

/// One that looks at what was signed, and at nothing behind it.
pub(super) fn overlooks_the_tail(place: &Place, _: Option<&[u8]>) -> Option<Passed> {
    let files = place.files();
    let note = SignedCheckpoint::parse(files.get("audit.checkpoint")?).ok()?;
    let signed = note.unverified();
    let mut tree = Range::empty(0);
    let all = lines(&files);
    let size = usize::try_from(signed.size).unwrap_or(usize::MAX);
    all.iter().take(size).for_each(|line| tree.append(leaf_hash(line.as_bytes())));
    (tree.root() == Ok(signed.root)).then(Passed::all)
}

/// The invariants of a state.
pub(super) fn check(state: &State, verdict: Verdict) -> Result<(), String> {
    let place = Place::new(&state.files);
    let stored = state.lines();
    let passes = verdict(&place, None);
    if let Some(passed) = &passes {
        records(&state.truth, &stored, passed)?;
        let end = stored.last().and_then(|line| seq_of(line)).map_or(0, |seq| seq + 1);
        let end = end.min(passed.proven_to);
        if !state.truth.replayed && end < state.truth.end {
            return Err(format!("it passes with {end} of {} records", state.truth.end));
        }
    }
    let sessions = state.path.iter().rev().filter(|a| a.is_honest() && **a != Action::Backup);
    let at_rest = !matches!(sessions.clone().next(), Some(Action::Kill | Action::PowerLoss));
    if !state.truth.tampered && at_rest && passes.is_none() {
        return Err("an honest log that was closed does not pass".to_owned());
    }
    if let Some(kept) = &state.truth.kept
        && let Some(passed) = verdict(&place, Some(&kept.note))
    {
        records(&state.truth, &stored, &passed)?;
        let begin = stored.first().and_then(|line| seq_of(line)).unwrap_or(0);
        for (seq, line) in kept.lines.range(begin..kept.size) {
            if !stored.contains(line) {
                return Err(format!("it passes against a copy that has record {seq}"));
            }
        }
    }
    Ok(())
}

/// Records that pass are those that were recorded: each by a writer of ours, none
/// twice, none missing but what retention removed. Lines of the attacker's may be among
/// them only in a range that the log itself names as unsigned.
pub(super) fn records(truth: &Truth, stored: &[String], passed: &Passed) -> Result<(), String> {
    let named: Vec<(u64, u64)> = stored
        .iter()
        .filter(|line| truth.honest.contains(*line) && line.contains("\"audit.recovered\""))
        .filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            let details = &record["details"];
            Some((details["unsigned_first"].as_u64()?, details["unsigned_end"].as_u64()?))
        })
        .collect();
    // What nobody signed is not vouched for.
    let vouched = |line: &&String| seq_of(line).is_none_or(|seq| seq < passed.proven_to);
    let mut next = None;
    for line in stored.iter().filter(vouched) {
        let seq = seq_of(line).ok_or_else(|| format!("it passes with {line:?} in it"))?;
        let first = next.is_none();
        if first && seq > truth.pruned_to {
            return Err(format!(
                "it passes from record {seq} on; retention removed {}",
                truth.pruned_to
            ));
        }
        if next.is_some_and(|next| next != seq) {
            return Err(format!(
                "it passes with record {seq} after {:?}",
                next.map(|n: u64| n - 1)
            ));
        }
        next = Some(seq + 1);
        let is_named = named.iter().any(|(begin, end)| {
            (*begin..*end).contains(&seq)
                && (passed.proven_to == u64::MAX || passed.adopted.contains(&(*begin, *end)))
        });
        if !truth.honest.contains(line) && !is_named {
            let what = if line.contains(FORGED) { "a forged record" } else { "an altered record" };
            return Err(format!("it passes with {what}: {line}"));
        }
    }
    Ok(())
}
