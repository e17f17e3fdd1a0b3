//! The checkpoint's signature, and whose key it is.

use serde::Deserialize;

use super::pieces::{self, Pieces};
use super::report::{Finding, KeySource, KeyStretch, Kind, ReplacedBy, TreePlace};
use super::tally::Tally;
use super::view::View;
use crate::audit::files::facts::NamedKeys;
use crate::audit::keys::checkpoint::{
    Checkpoint, CheckpointError, NoteError, Origin, OriginError, SignedCheckpoint, VerifierKey,
};
use crate::audit::keys::signed_document::Unsigned;
use crate::audit::keys::{Keyring, KeyringError, Rotation};
use crate::audit::read::error::ReadError;
use crate::audit::record::Record;
use crate::audit::tree::document;

const CHECKPOINT: &str = "audit.checkpoint";
const HEAD: &str = "audit.head";
const KEYS: &str = "audit.keys";
const PUBLIC: &str = "audit.pub";

/// The keys that signatures are checked with.
pub(super) struct Keys {
    pub(super) keys: Option<Keyring>,
    pub(super) source: KeySource,
    /// The key that was handed in, if it is not the one that signs now.
    pub(super) given: Option<String>,
}

/// The head that says what the log was, by a key that is believed.
pub(super) enum Newest {
    /// The log's own newest.
    Own(Checkpoint),
    /// The last one before a key took over that the believed one never authorised.
    BeforeAnother(Checkpoint),
    None,
}

impl Newest {
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Own(checkpoint) | Self::BeforeAnother(checkpoint) => Some(checkpoint),
            Self::None => None,
        }
    }
}

/// What the believed key never authorised is told once; what it signed before is what
/// the records are compared with.
pub(super) fn before_another(view: &View, keys: &Keyring, tally: &mut Tally) -> Newest {
    let Some(handover) = keys.unauthorised() else { return Newest::None };
    let Some(replaced) = &handover.replaced else { return Newest::None };
    let rotation = keys.rotations().iter().find(|it| it.new_key == handover.new.to_string());
    let note = rotation.and_then(|it| SignedCheckpoint::parse(it.checkpoint.as_bytes()).ok());
    let head = note.map(|note| note.unverified().clone());
    let size = replaced.signed.size;
    let notes = [&view.note, &view.head].into_iter().flatten();
    let notes = notes.filter_map(|note| SignedCheckpoint::parse(note).ok());
    let end = notes.map(|note| note.unverified().size).max().unwrap_or(size);
    let text = format!(
        "from record {size} on the log is signed by {}, which {} never authorised: it took that \
         key's place {}, without its signature",
        handover.new.label(),
        handover.old.label(),
        replaced.told()
    );
    let finding = Finding::new(Kind::WrongKey, KEYS, text);
    tally.found(if end > size { finding.records(size, end) } else { finding });
    head.map_or(Newest::None, Newest::BeforeAnother)
}

/// Whether a note is by a key that the believed one does not lead to, though the log's
/// own last key does.
fn is_by_another(keys: &Keyring, note: &SignedCheckpoint) -> bool {
    let another = |error| matches!(error, CheckpointError::Note(NoteError::NotAuthorised { .. }));
    keys.verify(note).is_err_and(another) && keys.by_the_last().verify(note).is_ok()
}

/// Whether the log is under a key now that the believed one never authorised.
pub(super) fn is_under_another(view: &View, keys: &Keyring) -> bool {
    let notes = [&view.note, &view.head].into_iter().flatten();
    let mut parsed = notes.filter_map(|note| SignedCheckpoint::parse(note).ok());
    keys.unauthorised().is_some() && parsed.any(|note| is_by_another(keys, &note))
}

/// The key that was given, or the one beside the log, and those that it leads to.
pub(super) fn keys(view: &View, given: Option<&VerifierKey>, tally: &mut Tally) -> Keys {
    let history = history(view, tally);
    let beside = match &view.public {
        Ok(text) => read_key(text, tally),
        Err(error) => Err(error.clone()),
    };
    let (believed, source) = match (given, &beside) {
        (Some(given), _) => (given.clone(), KeySource::Given),
        (None, Ok(key)) => (key.clone(), KeySource::BesideTheLog),
        (None, Err(error)) => {
            let text = format!("the public key cannot be read: {error}");
            tally.found(Finding::new(Kind::BadSignature, PUBLIC, text));
            return Keys { keys: None, source: KeySource::None, given: None };
        }
    };
    let keys = match Keyring::new(believed.clone(), &history) {
        Ok(keys) => keys,
        Err(error) => {
            let kind = match error {
                KeyringError::Stranger { .. } => Kind::WrongKey,
                _ => Kind::BadSignature,
            };
            tally.found(Finding::new(kind, KEYS, error.to_string()));
            believed.clone().into()
        }
    };
    if let (Some(given), Ok(beside)) = (given, &beside)
        && !keys.contains(beside)
    {
        let text = format!("it is {}, not the key given, {}", beside.label(), given.label());
        tally.found(Finding::new(Kind::WrongKey, PUBLIC, text));
    }
    let older = given.filter(|given| *given != keys.newest()).map(VerifierKey::label);
    Keys { keys: Some(keys), source, given: older }
}

fn read_key(text: &[u8], tally: &mut Tally) -> Result<VerifierKey, String> {
    let key: VerifierKey = std::str::from_utf8(text)
        .map_err(|_| "it is not text".to_owned())
        .and_then(|text| VerifierKey::parse_file(text).map_err(|error| error.to_string()))?;
    // Lines below it may be for readers to come.
    if !text.starts_with(format!("{key}\n").as_bytes()) {
        let text = "it holds the key, but not in the form that the log writes";
        tally.found(Finding::new(Kind::Altered, PUBLIC, text));
    }
    Ok(key)
}

/// What `audit.keys` says, as far as it can be used.
fn history(view: &View, tally: &mut Tally) -> Vec<Rotation> {
    let mut altered = |text: String| tally.found(Finding::new(Kind::Altered, KEYS, text));
    match &view.keys {
        Ok(None) => Vec::new(),
        Ok(Some(history)) => {
            if history.log_id != view.manifest.log_id {
                altered(format!("it is of log {}, not of this one", history.log_id));
            }
            history.rotations.clone()
        }
        Err(error) => {
            altered(format!("it cannot be used: {error}"));
            Vec::new()
        }
    }
}

/// The keys and what each signs for; nothing when there was ever only one.
pub(super) fn stretches(keys: &Keyring) -> Vec<KeyStretch> {
    if keys.rotations().is_empty() { Vec::new() } else { key_stretches(keys) }
}

/// The keys and what each signs for, oldest first.
#[must_use]
pub fn key_stretches(keys: &Keyring) -> Vec<KeyStretch> {
    let place = |index: usize| {
        let handover = keys.handovers().get(index)?;
        // Of a key that was replaced it is what it signed last.
        let place = handover.replaced.as_ref().map_or(handover.place, |it| it.signed);
        Some(TreePlace { epoch: place.epoch, tree_size: place.size })
    };
    let all = keys.keys().iter().enumerate();
    all.map(|(index, key)| KeyStretch {
        key: key.label(),
        fingerprint: key.fingerprint(),
        from: index.checked_sub(1).and_then(place),
        to: place(index),
        replaced: index
            .checked_sub(1)
            .and_then(|before| keys.handovers()[before].replaced.as_ref())
            .map(|replaced| ReplacedBy {
                at: replaced.at,
                uid: replaced.uid,
                user: replaced.user.clone(),
                reason: replaced.reason.clone(),
            }),
    })
    .collect()
}

/// The checkpoint, if the key signed it and it is this log's.
pub(in crate::audit) fn checkpoint(
    view: &View,
    keys: Option<&Keyring>,
    tally: &mut Tally,
) -> Option<Checkpoint> {
    let mut bad = |kind, text: String| {
        tally.found(Finding::new(kind, CHECKPOINT, text));
        None
    };
    let Some(note) = &view.note else {
        return bad(
            Kind::BadSignature,
            "it is missing, so nothing shows what was recorded".to_owned(),
        );
    };
    let signed = match SignedCheckpoint::parse(note) {
        Ok(signed) => signed,
        Err(error) => return bad(Kind::BadSignature, error.to_string()),
    };
    let checkpoint = match keys?.verify(&signed) {
        Ok((checkpoint, _)) => checkpoint.clone(),
        Err(CheckpointError::Note(
            error @ (NoteError::WrongKey { .. } | NoteError::NotAuthorised { .. }),
        )) => {
            return bad(Kind::WrongKey, error.to_string());
        }
        Err(error @ CheckpointError::OutOfTurn { .. }) => {
            return bad(Kind::WrongKey, error.to_string());
        }
        Err(error) => return bad(Kind::BadSignature, error.to_string()),
    };
    if signed.to_string().as_bytes() != note.as_slice() {
        return bad(Kind::BadSignature, "it is not in the form that the log writes".to_owned());
    }
    let own = own_origin(view, keys).map(|origin| origin.to_string());
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

/// What the log is called now, by the name of its keys and the manifest.
fn own_origin(view: &View, keys: Option<&Keyring>) -> Result<Origin, OriginError> {
    let name = keys.map_or("", |keys| keys.newest().name());
    Origin::of_key(name, &view.manifest.log_id, view.manifest.epoch)
}

/// The newest signed head: that of `audit.head` where it goes further than the
/// checkpoint.
pub(in crate::audit) fn newest(
    view: &View,
    keys: Option<&Keyring>,
    checkpoint: Option<Checkpoint>,
    (last, tally): (bool, &mut Tally),
) -> Option<Checkpoint> {
    let Some(text) = &view.head else { return checkpoint };
    let own = own_origin(view, keys).map(|origin| origin.to_string());
    let verified = SignedCheckpoint::parse(text).map_err(|error| error.to_string());
    let verified = verified.and_then(|signed| {
        let keys = keys.ok_or_else(|| "there is no key to check it with".to_owned())?;
        let (head, _) = keys.verify(&signed).map_err(|error| error.to_string())?;
        match own.as_ref() {
            Ok(own) if *own == head.origin => Ok(head.clone()),
            _ => Err(format!("it is of {}", head.origin)),
        }
    });
    let head = match verified {
        Ok(head) => head,
        Err(_) if keys.is_none() => return checkpoint,
        // Beside a writer it may be read in mid-write, once.
        Err(_) if view.live && !last => {
            tally.disturbed = true;
            return checkpoint;
        }
        Err(reason) => {
            let text = format!(
                "it is not a signed head of this log ({reason}). A power loss can cause that; the \
                 next start writes it again"
            );
            tally.of_end.push(Finding::new(Kind::Unclean, HEAD, text));
            return checkpoint;
        }
    };
    match checkpoint {
        Some(checkpoint) if checkpoint.size == head.size && checkpoint.root != head.root => {
            let text = format!(
                "it and audit.checkpoint are both signed over {} records, with different roots: two \
                 copies of this log were written to",
                head.size
            );
            tally.of_end.push(Finding::new(Kind::Diverged, HEAD, text));
            Some(checkpoint)
        }
        Some(checkpoint) if checkpoint.size >= head.size => Some(checkpoint),
        _ => Some(head),
    }
}

/// What is wrong with the manifest's signature, and whether that is more than its
/// absence.
pub(in crate::audit) fn manifest(
    view: &View,
    keys: Option<&Keyring>,
) -> Result<(), (String, bool)> {
    let Some(signature) = &view.signature else {
        return Err(("it cannot be used".to_owned(), false));
    };
    let Some(keys) = keys else {
        return Err(("there is no key to check it with".to_owned(), false));
    };
    if keys.unauthorised().is_some()
        && view.manifest.check_signature(signature, &keys.by_the_last()).is_ok()
        && view.manifest.check_signature(signature, keys).is_err()
    {
        return Err(("a key signed it that the one given never authorised".to_owned(), false));
    }
    view.manifest.check_signature(signature, keys).map_err(|error| match error {
        Unsigned::Absent => (error.to_string(), false),
        Unsigned::Wrong(reason) => (reason, true),
    })
}

#[derive(Deserialize)]
struct Created<'a> {
    log_id: &'a str,
    origin: Option<&'a str>,
    public_key: &'a str,
    format: u64,
}

/// The first record says which key the log began with; it is in the tree, so
/// whoever put another key beside the log had to change it as well. Returns that key.
fn first_record(
    view: &View,
    pieces: &Pieces,
    keys: &Keyring,
    tally: &mut Tally,
) -> Result<Option<String>, ReadError> {
    let Some(piece) = pieces.piece_of(0) else { return Ok(None) };
    let Some(raw) = pieces::read(view, piece)? else { return Ok(None) };
    let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else { return Ok(None) };
    let created = record.details.and_then(|details| serde_json::from_str(details.get()).ok());
    let Some(Created { log_id, origin, public_key, format }) = created else { return Ok(None) };
    if format > u64::from(document::Kind::LOG.format()) {
        // Believed once the tree is proven: it may be an altered record that says so.
        tally.newer = Some(format);
    }
    let own = keys.newest().name();
    let origin = origin.unwrap_or(own);
    if log_id != view.manifest.log_id || origin != own {
        let place = match piece.place {
            pieces::Place::Segment(index) => &view.manifest.segments[index].file,
            pieces::Place::Tail(index) => &view.tails[index].name,
        };
        let text = format!(
            "the log began as {log_id}, {origin}; the manifest is of {}, the key is {own}",
            view.manifest.log_id
        );
        tally.found(Finding::new(Kind::WrongKey, place, text).records(0, 1));
    }
    Ok(Some(public_key.to_owned()))
}

/// The keys have to lead from the one that the log's records name as the first to the
/// one that signs; where that was lost, the log itself says that it goes on without.
pub(super) fn check_chain(
    view: &View,
    pieces: &Pieces,
    (keys, named): (&Keyring, &NamedKeys),
    // The key by the word of a signed manifest, where records are not all read.
    noted: Option<&str>,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    let first = first_record(view, pieces, keys, tally)?;
    let mut named = named.clone();
    match (noted, first) {
        (Some(noted), _) => named.first = Some((0, noted.to_owned())),
        (None, Some(first)) if named.first.is_none() => named.first = Some((0, first)),
        _ => {}
    }
    if let Some(what) = named.lacking(keys) {
        let mut finding = Finding::new(Kind::WrongKey, KEYS, what);
        if let Some((seq, first)) = named.first.filter(|_| noted.is_none())
            && !keys.holds(&first)
        {
            finding = finding.records(seq, seq + 1);
        }
        tally.found(finding);
    } else if let Some(seq) = named.cut_by {
        tally.notes.push(format!(
            "the chain from the log's first key to {} is lost, and record {seq} says that this \
             was accepted: only that key and later ones can check this log",
            keys.oldest().label()
        ));
    }
    Ok(())
}
