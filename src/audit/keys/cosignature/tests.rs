use super::*;
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::keys::signer::SigningKey;
use crate::fsio::OsFs;

const NAME: &str = "witness.example/w1";

fn note(log: &SigningKey) -> Note {
    let root = STANDARD.encode([7; 32]);
    log.sign_checkpoint(format!("{}\n7\n{root}\n", log.name())).expect("signed")
}

fn with(note: &Note, more: Vec<NoteSignature>) -> Note {
    let all = [note.signatures().to_vec(), more].concat();
    Note::new(note.text().to_owned(), all).expect("a note")
}

#[test]
fn a_cosignature_is_checked_with_its_time_and_the_whole_text() {
    let log = SigningKey::generate("auditctl/0123456789abcdef0123456789abcdef").expect("a key");
    let witness = CosigningKey::generate(NAME).expect("a key");
    let key = witness.verifier();
    let note = note(&log);
    assert_eq!(key.cosigned_at(&note), Ok(None));
    let cosignature = witness.cosign(note.text(), 1_679_315_147);
    assert_eq!(cosignature.signature.len(), 72);
    let cosigned = with(&note, vec![cosignature.clone()]);
    assert_eq!(key.cosigned_at(&cosigned), Ok(Some(1_679_315_147)));
    // The latest counts, in any order.
    let twice = with(&cosigned, vec![witness.cosign(note.text(), 5)]);
    assert_eq!(key.cosigned_at(&twice), Ok(Some(1_679_315_147)));
    // Each byte of it matters, and its length.
    for at in 0..72 {
        let mut wrong = cosignature.clone();
        wrong.signature[at] ^= 1;
        assert!(key.cosigned_at(&with(&note, vec![wrong])).is_err(), "byte {at}");
    }
    let mut short = cosignature.clone();
    short.signature.pop();
    assert!(key.cosigned_at(&with(&cosigned, vec![short])).is_err(), "one that is wrong spoils");
    // Without a time it says nothing of now.
    assert!(key.cosigned_at(&with(&note, vec![witness.cosign(note.text(), 0)])).is_err());
    let late = witness.cosign(note.text(), 1 << 63);
    assert!(key.cosigned_at(&with(&note, vec![late])).is_err());
    // Of another text.
    let other = witness.cosign("another\n1\n\n", 9);
    assert!(key.cosigned_at(&with(&note, vec![other])).is_err());
}

#[test]
fn a_cosignature_is_never_a_log_s_signature_and_the_other_way_round() {
    let log = SigningKey::generate(NAME).expect("a key");
    let seed = log.encode();
    let text = String::from_utf8(seed.0.clone()).expect("text");
    // The same key pair under the same name, as a witness's.
    let (name, _, private) = parse_private(&text, 1).expect("a key");
    let witness = CosigningKey::from_seed(name, &private).expect("a key");
    assert_ne!(witness.verifier.id, log.verifier().id());
    let note = note(&log);
    let lines = vec![witness.cosign(note.text(), 9)];
    let only = Note::new(note.text().to_owned(), lines).expect("a note");
    assert!(matches!(only.verify(log.verifier()), Err(NoteError::WrongKey { .. })));
    assert_eq!(witness.verifier().cosigned_at(&note), Ok(None));
    // Nor does one kind of key read as the other.
    assert!(log.verifier().to_string().parse::<WitnessKey>().is_err());
    assert!(witness.verifier().to_string().parse::<VerifierKey>().is_err());
    assert!(CosigningKey::parse(&text).is_err());
}

#[test]
fn signatures_of_unknown_types_are_carried_along_and_prove_nothing() {
    let log = SigningKey::generate("auditctl/0123456789abcdef0123456789abcdef").expect("a key");
    let witness = CosigningKey::generate(NAME).expect("a key");
    let note = note(&log);
    // As long as ML-DSA-44's, under the witness's name with the id of another type.
    let ml_dsa = NoteSignature { name: NAME.to_owned(), key_id: 77, signature: vec![1; 8 + 2_420] };
    let all = with(&note, vec![ml_dsa, witness.cosign(note.text(), 9)]);
    assert_eq!(witness.verifier().cosigned_at(&all), Ok(Some(9)));
    SignedCheckpoint::from_note(all).expect("a checkpoint").verify(log.verifier()).expect("good");
}

#[test]
fn a_witness_s_keys_are_stored_and_read_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("witness.key");
    let key = CosigningKey::generate(NAME).expect("a key");
    key.save(&OsFs, &path).expect("saved");
    assert!(matches!(key.save(&OsFs, &path), Err(KeyError::Exists { .. })));
    let read = CosigningKey::load(&OsFs, &path).expect("a key");
    assert_eq!(read.verifier(), key.verifier());
    assert_eq!(key.verifier().to_string().parse(), Ok(key.verifier().clone()));
    assert_eq!(format!("{key:?}"), format!("CosigningKey({})", key.verifier().label()));
    assert!(SigningKey::load(&OsFs, &path).is_err(), "it is no log's key");
    assert!(CosigningKey::generate("a b").is_err());
}

#[test]
fn an_answer_is_lines_of_signatures_and_nothing_else() {
    let witness = CosigningKey::generate(NAME).expect("a key");
    let signature = witness.cosign("x\n", 9);
    let note = Note::new("x\n".to_owned(), vec![signature.clone()]).expect("a note").to_string();
    let line = note.lines().nth(2).expect("a line").to_owned();
    assert_eq!(parse_lines(&format!("{line}\n{line}\n")), Ok(vec![signature.clone(), signature]));
    assert_eq!(parse_lines(""), Ok(Vec::new()));
    for wrong in ["no signature", "— name", "— n AAAA"] {
        assert!(parse_lines(&format!("{line}\n{wrong}\n")).is_err(), "{wrong}");
    }
    assert!(parse_lines(&format!("{line}\n").repeat(101)).is_err(), "too many");
}
