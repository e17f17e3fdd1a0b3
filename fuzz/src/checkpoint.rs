//! Checkpoints, keys, proofs and what the last verification left: parsing is
//! stable, and nothing but what was signed passes for signed.

use auditctl::audit::keys::checkpoint::{Checkpoint, Note, SignedCheckpoint, VerifierKey};
use auditctl::audit::read::verify::{ConsistencyDocument, ProofDocument, State, TlogProof};

/// Of a log that is no more.
const KEY: &str = include_str!("../genuine/audit.pub");
const NOTE: &str = include_str!("../genuine/audit.checkpoint");

/// As each of them.
pub fn check(data: &[u8]) {
    note(data);
    signed(data);
    if let Ok(state) = State::parse(data) {
        assert_eq!(State::parse(&state.encode()), Ok(state));
    }
    if let Ok(proof) = ProofDocument::parse(data) {
        let text = proof.encode();
        let again = ProofDocument::parse(text.as_bytes()).expect("what was written reads back");
        assert_eq!(again.encode(), text);
        let _ = proof.check(None);
        let key = KEY.trim().parse().expect("a key");
        if proof.check(Some(&key)).is_ok() {
            assert!(proof.signed.checkpoint.starts_with(text_of(NOTE)), "a forged checkpoint");
        }
    }
    growth(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
    }
}

fn growth(data: &[u8]) {
    let key: VerifierKey = KEY.trim().parse().expect("a key");
    if let Ok(growth) = ConsistencyDocument::parse(data) {
        let text = growth.encode();
        let again = ConsistencyDocument::parse(text.as_bytes());
        assert_eq!(again.expect("what was written reads back").encode(), text);
        if growth.check(Some(&key)).is_ok() {
            assert!(growth.signed.checkpoint.starts_with(text_of(NOTE)), "a forged checkpoint");
        }
    }
    if let Ok(proof) = TlogProof::parse(data) {
        assert_eq!(proof.encode().as_bytes(), data);
        if proof.check(&key, None).is_ok() {
            assert!(proof.checkpoint.starts_with(text_of(NOTE)), "a forged checkpoint");
        }
    }
    if let Ok(key) = std::str::from_utf8(data)
        .map_err(|_| ())
        .and_then(|text| VerifierKey::parse_file(text).map_err(|_| ()))
    {
        assert_eq!(VerifierKey::parse_file(&key.to_string()), Ok(key));
    }
}

fn note(data: &[u8]) {
    let Ok(note) = Note::parse(data) else { return };
    assert!(note.to_string().len() <= data.len() + 8);
    assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
}

fn signed(data: &[u8]) {
    let Ok(signed) = SignedCheckpoint::parse(data) else { return };
    let text = signed.to_string();
    let again = SignedCheckpoint::parse(text.as_bytes()).expect("what was written reads back");
    assert_eq!(again.to_string(), text);
    let key: VerifierKey = KEY.trim().parse().expect("a key");
    if signed.verify(&key).is_ok() {
        assert_eq!(signed.note().text(), text_of(NOTE), "a forged checkpoint");
    }
}

/// What is signed of a note.
fn text_of(note: &str) -> &str {
    note.split_inclusive("\n\n").next().map_or("", |text| &text[..text.len() - 1])
}
