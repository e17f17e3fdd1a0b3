#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::keys::signer::SigningKey;
use crate::audit::tree::merkle::{Range, leaf_hash};
use crate::audit::tree::proof::inclusion_proof;

const LOG: &str = "example.com/audit/5f0c";

fn line(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"timestamp\":\"2026-01-01T00:00:00.000000Z\"}}")
}

/// The proof of a record in a tree of `size`, with a cosignature, and the log's key.
fn proof(seq: u64, size: u64) -> (SigningKey, TlogProof) {
    let key = SigningKey::generate(LOG).unwrap();
    let leaves: Vec<_> = (0..size).map(|seq| leaf_hash(line(seq).as_bytes())).collect();
    let mut tree = Range::empty(0);
    leaves.iter().for_each(|leaf| tree.append(*leaf));
    let root = tree.root().unwrap();
    let text = Checkpoint { origin: LOG.into(), size, root }.to_string();
    let note = key.sign_checkpoint(format!("{text}an extension\n")).unwrap();
    let cosignature = STANDARD.encode(vec![7; 4 + 8 + 64]);
    let proof = TlogProof {
        extra: Some(line(seq).into_bytes()),
        index: seq,
        inclusion_proof: inclusion_proof(&leaves[..], seq, size).unwrap(),
        checkpoint: format!("{note}— witness.example.com/w1 {cosignature}\n"),
    };
    (key, proof)
}

#[test]
fn a_proof_reads_back_and_holds_for_every_record_of_small_trees() {
    for size in 1..=9 {
        for seq in 0..size {
            let (key, proof) = proof(seq, size);
            let text = proof.encode();
            assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
            let read = TlogProof::parse(text.as_bytes()).unwrap();
            assert_eq!(read, proof);
            let (record, proven) = read.check(key.verifier(), None).unwrap();
            assert_eq!(record, line(seq));
            assert_eq!(proven.checkpoint.size, size);
        }
    }
}

#[test]
fn a_record_that_the_proof_does_not_hold_is_given_with_it() {
    let (key, whole) = proof(3, 7);
    let bare = TlogProof { extra: None, ..whole.clone() };
    let read = TlogProof::parse(bare.encode().as_bytes()).unwrap();
    assert_eq!(read, bare);
    assert_eq!(read.check(key.verifier(), None), Err(DocumentError::NoRecord));
    let stored = line(3) + "\n";
    read.check(key.verifier(), Some(stored.as_bytes())).unwrap();
    read.check(key.verifier(), Some(line(3).as_bytes())).unwrap();
    for wrong in [line(4), line(3).replace("2026", "2027")] {
        assert!(read.check(key.verifier(), Some(wrong.as_bytes())).is_err(), "{wrong}");
        assert!(whole.check(key.verifier(), Some(wrong.as_bytes())).is_err(), "{wrong}");
    }
}

#[test]
fn another_key_record_or_place_is_not_proven() {
    let (key, good) = proof(3, 7);
    let refused = |proof: &TlogProof| proof.check(key.verifier(), None).is_err();
    assert!(!refused(&good));
    assert!(refused(&TlogProof { extra: Some(line(2).into_bytes()), ..good.clone() }));
    assert!(refused(&TlogProof { index: 2, ..good.clone() }));
    assert!(refused(&TlogProof { index: 7, ..good.clone() }));
    let mut cut = good.clone();
    cut.inclusion_proof.pop();
    assert!(refused(&cut));
    assert!(refused(&TlogProof { checkpoint: proof(3, 7).1.checkpoint, ..good.clone() }));
    let stranger = SigningKey::generate(LOG).unwrap();
    assert!(good.check(stranger.verifier(), None).is_err());
}

#[test]
fn what_is_no_proof_is_refused_with_the_line() {
    let text = proof(3, 7).1.encode();
    let number = |wrong: &str| match TlogProof::parse(wrong.as_bytes()) {
        Err(DocumentError::Line { line, .. }) => line,
        other => panic!("{wrong}: {other:?}"),
    };
    assert_eq!(number(""), 1);
    assert_eq!(number(&text.replace("@v1", "@v2")), 1);
    assert_eq!(number(&text.replace("extra ", "extra !")), 2);
    assert_eq!(number(&text.replace("extra ", "more ")), 2);
    for index in ["index 03", "index +3", "index -1", "index", "index 3 ", "Index 3"] {
        assert_eq!(number(&text.replace("index 3", index)), 3, "{index}");
    }
    let hash = text.lines().nth(3).unwrap();
    assert_eq!(number(&text.replace(hash, &hash[4..])), 4);
    let many = format!("{hash}\n").repeat(MAX_HASHES + 1);
    assert_eq!(number(&text.replace(&format!("{hash}\n"), &many)), MAX_HASHES + 4);
    assert!(TlogProof::is_one(text.replace("@v1", "@v2").as_bytes()));
    assert!(!TlogProof::is_one(b"{}"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = TlogProof::parse(&bytes);
        let text = [&b"c2sp.org/tlog-proof@v1\n"[..], &bytes].concat();
        if let Ok(read) = TlogProof::parse(&text) {
            prop_assert_eq!(read.encode().into_bytes(), text);
        }
    }
}
