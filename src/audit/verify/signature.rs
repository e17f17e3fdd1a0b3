//! The checkpoint's signature, and whose key it is.

use serde::Deserialize;

use super::VerifyError;
use super::pieces::{self, Pieces};
use super::report::{Finding, KeySource, Kind};
use super::tally::Tally;
use super::view::View;
use crate::audit::checkpoint::{
    Checkpoint, CheckpointError, NoteError, Origin, SignedCheckpoint, VerifierKey,
};
use crate::audit::record::Record;

const CHECKPOINT: &str = "audit.checkpoint";

/// The key that signatures are checked with.
pub(super) struct Key {
    pub(super) key: Option<VerifierKey>,
    pub(super) source: KeySource,
}

/// The key that was given, or the one beside the log.
pub(super) fn key(view: &View, given: Option<&VerifierKey>, tally: &mut Tally) -> Key {
    let beside = VerifierKey::load_own(&*view.fs, &view.paths.public_key());
    if let Some(given) = given {
        if let Ok(beside) = beside
            && beside != *given
        {
            let text = format!("it is {}, not the key given, {}", beside.label(), given.label());
            tally.found(Finding::new(Kind::WrongKey, "audit.pub", text));
        }
        return Key { key: Some(given.clone()), source: KeySource::Given };
    }
    if let Ok(key) = &beside {
        let written = format!("{key}\n").into_bytes();
        if view.fs.read_own(&view.paths.public_key(), 4096).ok() != Some(written) {
            let text = "it holds the key, and is not written as the log writes it";
            tally.found(Finding::new(Kind::Altered, "audit.pub", text));
        }
    }
    match beside {
        Ok(key) => Key { key: Some(key), source: KeySource::BesideTheLog },
        Err(error) => {
            let text = format!("the public key cannot be had: {error}");
            tally.found(Finding::new(Kind::BadSignature, "audit.pub", text));
            Key { key: None, source: KeySource::None }
        }
    }
}

/// The checkpoint, if the key signed it and it is this log's.
pub(super) fn checkpoint(
    view: &View,
    key: Option<&VerifierKey>,
    tally: &mut Tally,
) -> Option<Checkpoint> {
    let mut bad = |kind, text: String| {
        tally.found(Finding::new(kind, CHECKPOINT, text));
        None
    };
    let Some(note) = &view.note else {
        return bad(Kind::BadSignature, "it is missing: nothing says what was recorded".to_owned());
    };
    let signed = match SignedCheckpoint::parse(note) {
        Ok(signed) => signed,
        Err(error) => return bad(Kind::BadSignature, error.to_string()),
    };
    let checkpoint = match signed.verify(key?) {
        Ok(checkpoint) => checkpoint.clone(),
        Err(CheckpointError::Note(error @ NoteError::WrongKey { .. })) => {
            return bad(Kind::WrongKey, error.to_string());
        }
        Err(error) => return bad(Kind::BadSignature, error.to_string()),
    };
    if signed.to_string().as_bytes() != note.as_slice() {
        return bad(Kind::BadSignature, "it is not written as the log writes it".to_owned());
    }
    let manifest = &view.manifest;
    let own = Origin::new(&manifest.log_id, manifest.epoch).map(|origin| origin.to_string());
    if own.as_ref() != Ok(&checkpoint.origin) {
        let text = format!(
            "it is of {}, the manifest is of {}",
            checkpoint.origin,
            own.unwrap_or_else(|error| error.to_string())
        );
        return bad(Kind::Altered, text);
    }
    Some(checkpoint)
}

#[derive(Deserialize)]
struct Created<'a> {
    log_id: &'a str,
    public_key: &'a str,
}

/// The first record says which key the log began with; it is in the tree, so
/// whoever put another key beside the log had to change it as well.
pub(super) fn check_first_record(
    view: &View,
    pieces: &Pieces,
    key: &VerifierKey,
    tally: &mut Tally,
) -> Result<(), VerifyError> {
    let Some(piece) = pieces.piece_of(0) else { return Ok(()) };
    let Some(raw) = pieces::read(view, piece)? else { return Ok(()) };
    let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else { return Ok(()) };
    let created = record.details.and_then(|details| serde_json::from_str(details.get()).ok());
    let Some(Created { log_id, public_key }) = created else { return Ok(()) };
    let place = match piece.place {
        pieces::Place::Segment(index) => &view.manifest.segments[index].file,
        pieces::Place::Tail(index) => &view.tails[index].name,
    };
    if log_id != view.manifest.log_id || public_key != key.to_string() {
        let text = format!(
            "the log began as {log_id} with the key {public_key}, which is not the one that its \
             checkpoint is checked with"
        );
        tally.found(Finding::new(Kind::WrongKey, place, text).records(0, 1));
    }
    Ok(())
}
