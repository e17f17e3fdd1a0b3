#![allow(clippy::unwrap_used)]

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::*;
use crate::audit::tree::document::{Layout, encode_file};

#[derive(Serialize)]
struct Example {
    name: &'static str,
    signature: Option<String>,
}

fn example() -> Example {
    Example { name: "x", signature: None }
}

fn key() -> SigningKey {
    SigningKey::generate("auditctl/5f0c").unwrap()
}

fn about(size: u64) -> About {
    About { origin: Origin::of_key("auditctl/5f0c", "5f0c", 0).unwrap(), size }
}

#[test]
fn a_signature_is_over_the_bytes_with_null_in_its_place() {
    let unsigned = encode_file(Kind::DRILL, &example(), Layout::Pretty).unwrap();
    let key = key();
    let keys = Keyring::from(key.verifier().clone());
    let note = sign(Kind::DRILL, &unsigned, &about(7), &key).unwrap();
    let signed = Example { signature: Some(note.clone()), ..example() };
    let signed = encode_file(Kind::DRILL, &signed, Layout::Pretty).unwrap();
    let digest = Hash::from_bytes(Sha256::digest(&unsigned).into());
    assert!(note.starts_with(&format!("auditctl/drill v1\nauditctl/5f0c\n7\n{digest}\n\n")));
    let read = Signature::read(&signed).unwrap();
    assert_eq!(read.check(Kind::DRILL, &about(7), &keys), Ok(()));
    assert!(read.check(Kind::DRILL, &about(8), &keys).is_err(), "another size");
    assert!(read.check(Kind::BACKUP, &about(7), &keys).is_err(), "another kind");
    // Any other byte, a space too, is another file.
    let spaced = [b" ", &signed[..]].concat();
    assert!(Signature::read(&spaced).unwrap().check(Kind::DRILL, &about(7), &keys).is_err());
    assert_eq!(
        Signature::read(&unsigned).unwrap().check(Kind::DRILL, &about(7), &keys),
        Err(Unsigned::Absent)
    );
}

#[test]
fn a_file_laid_out_by_another_writer_can_be_signed_too() {
    let key = key();
    let keys = Keyring::from(key.verifier().clone());
    let text = "{ \"signature\" : null , \"later\":1, \"format\":1, \"name\":\"x\" ,\"type\":\"auditctl/drill\"}";
    let note = sign(Kind::DRILL, text.as_bytes(), &about(7), &key).unwrap();
    let signed = text.replace("null", &serde_json::to_string(&note).unwrap());
    let read = Signature::read(signed.as_bytes()).unwrap();
    assert_eq!(read.check(Kind::DRILL, &about(7), &keys), Ok(()));
    // A second `signature` would let two readers see two files.
    let twice = signed.replace("\"later\"", "\"signature\":null,\"later\"");
    assert!(Signature::read(twice.as_bytes()).is_err());
}
