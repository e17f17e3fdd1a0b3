//! Copies of a tree head that are kept elsewhere: the only thing that a cut or a
//! rewritten log cannot be made to fit.

use super::pieces::Pieces;
use super::report::{Finding, Kind};
use super::tally::Tally;
use super::view::View;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{CheckpointError, NoteError, Origin, SignedCheckpoint};
use crate::audit::read::error::ReadError;
use crate::audit::tree::merkle::Hash;

/// A tree head from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// What it is called in findings: its file's name.
    pub name: String,
    /// Which log, and which epoch of it.
    pub origin: String,
    /// Its number of records.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// Its signed note, when it has one: then the signature is checked.
    pub note: Option<SignedCheckpoint>,
}

impl Anchor {
    /// From a checkpoint's text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, CheckpointError> {
        let note = SignedCheckpoint::parse(text)?;
        let checkpoint = note.unverified();
        let (origin, size, root) = (checkpoint.origin.clone(), checkpoint.size, checkpoint.root);
        Ok(Self { name: name.to_owned(), origin, size, root, note: Some(note) })
    }
}

/// Compares the log with a copy of a tree head; how many records it has proven
/// to be those of then.
pub(super) fn compare(
    view: &View,
    pieces: &Pieces,
    anchor: &Anchor,
    (keys, rooted): (Option<&Keyring>, bool),
    tally: &mut Tally,
) -> Result<Option<u64>, ReadError> {
    let mut tell = |kind, text: String| {
        tally.of_end.push(Finding::new(kind, &anchor.name, text));
        Ok(None)
    };
    let there = anchor.origin.parse::<Origin>().ok();
    let Some(there) = there.filter(|origin| origin.log_id() == view.manifest.log_id) else {
        let text = format!("it is of {}, not of this log", anchor.origin);
        return tell(Kind::Diverged, text);
    };
    if let (Some(note), Some(keys)) = (&anchor.note, keys)
        && let Err(error) = keys.verify(note)
    {
        let kind = match error {
            CheckpointError::OutOfTurn { .. }
            | CheckpointError::Note(NoteError::NotAuthorised { .. }) => Kind::WrongKey,
            _ => Kind::BadSignature,
        };
        return tell(kind, format!("it proves nothing: {error}"));
    }
    let size = anchor.size;
    if let Some(tree) = pieces.tree_at(view, size)?
        && tree.root() == Ok(anchor.root)
    {
        return Ok(Some(size));
    }
    if there.epoch() != view.manifest.epoch {
        let text = format!(
            "the log was restored since then (epoch {} then, {} now), and no longer has all of \
             the {size} records; its `audit.restored` records say what was set aside",
            there.epoch(),
            view.manifest.epoch
        );
        return tell(Kind::Restored, text);
    }
    if size > pieces.end() {
        let text = format!("the log had {size} records then and has {} now", pieces.end());
        tally
            .of_end
            .push(Finding::new(Kind::Truncated, &anchor.name, text).records(pieces.end(), size));
        return Ok(None);
    }
    if size < pieces.begin() {
        let text = format!(
            "retention removed the records before {}, so they cannot be compared; compare a \
             backup that holds them",
            pieces.begin()
        );
        return tell(Kind::Unprovable, text);
    }
    let why = match rooted {
        true => "the log was rewritten",
        false => "they are damaged, as the other findings say, or the log was rewritten",
    };
    tell(Kind::Diverged, format!("the first {size} records are not those of that time: {why}"))
}
