#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::audit::keys::signer::SigningKey;
use crate::audit::tree::merkle::leaf_hash;
use crate::origin_prefix::{MAX_ORIGIN_PREFIX_BYTES, OriginPrefix};

/// The example of Go's note package.
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NEUMANN_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/// The example of the tlog-checkpoint specification.
const SUMDB_LIKE: &str = "example.com/behind-the-sofa\n20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
    \n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

fn neumann() -> VerifierKey {
    NEUMANN.parse().unwrap()
}

#[test]
fn gos_example_note_verifies_and_prints_back() {
    let note = Note::parse(NEUMANN_NOTE.as_bytes()).unwrap();
    note.verify(&neumann()).unwrap();
    assert!(note.text().ends_with("what your problem is.\n"));
    assert_eq!(note.to_string(), NEUMANN_NOTE);
    assert_eq!(neumann().to_string(), NEUMANN);
    assert_eq!(neumann().label(), "PeterNeumann+c74f20a3");
}

#[test]
fn an_altered_text_or_signature_is_refused_by_name() {
    let altered = NEUMANN_NOTE.replace("your problem is", "the problem is");
    let error = Note::parse(altered.as_bytes()).unwrap().verify(&neumann()).unwrap_err();
    assert_eq!(error, NoteError::BadSignature { key: "PeterNeumann+c74f20a3".into() });
    let altered = NEUMANN_NOTE.replace("BwJnAM=", "BwJnAN=");
    assert!(Note::parse(altered.as_bytes()).is_err(), "base64 has one form only");
    let altered = NEUMANN_NOTE.replace("ZJkuBS", "ZJkuBT");
    assert!(Note::parse(altered.as_bytes()).unwrap().verify(&neumann()).is_err());
}

#[test]
fn signatures_by_unknown_keys_are_kept_and_prove_nothing() {
    let stranger = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
    let both = format!("{NEUMANN_NOTE}{stranger}");
    let note = Note::parse(both.as_bytes()).unwrap();
    note.verify(&neumann()).unwrap();
    assert_eq!(note.to_string(), both);
    let (text, _) = NEUMANN_NOTE.split_once("— ").unwrap();
    let only_stranger = format!("{text}{stranger}");
    let error = Note::parse(only_stranger.as_bytes()).unwrap().verify(&neumann()).unwrap_err();
    assert!(matches!(&error, NoteError::WrongKey { found, .. } if found.len() == 1), "{error}");
    assert!(error.to_string().contains("PeterNeumann+c74f20a3"), "{error}");
    // The wanted key's id under another name is another key.
    let renamed = NEUMANN_NOTE.replace("— PeterNeumann", "— PeterNewman");
    let error = Note::parse(renamed.as_bytes()).unwrap().verify(&neumann()).unwrap_err();
    assert!(matches!(error, NoteError::WrongKey { .. }), "{error}");
}

#[test]
fn malformed_notes_are_refused() {
    let many = format!("text\n\n{}", "— a AAAAAAAA\n".repeat(note::MAX_SIGNATURES + 1));
    let large = format!("{}\n\n— a AAAAAAAA\n", "x".repeat(MAX_NOTE_BYTES));
    for bad in [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\n— a AAAAAAAA",
        "text\n\n- a AAAAAAAA\n",
        "text\n\n— AAAAAAAA\n",
        "text\n\n— a+b AAAAAAAA\n",
        "text\n\n—  AAAAAAAA\n",
        "text\n\n— a AAAAAA==\n",
        "text\n\n— a AAAAAAA\n",
        "text\n\n— a AAAAAAAA \n",
        "te\txt\n\n— a AAAAAAAA\n",
        "text\r\n\r\n— a AAAAAAAA\r\n",
        &many,
        &large,
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(Note::parse(b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAAA\n").is_err());
    assert!(Note::parse("text\n\n— a AAAAAAAA\n".as_bytes()).is_ok());
}

#[test]
fn malformed_verifier_keys_are_refused() {
    for (bad, reason) in [
        ("", "three parts"),
        ("PeterNeumann+c74f20a3", "three parts"),
        (&NEUMANN.replace("c74f20a3", "c74f20a4"), "does not belong"),
        (&NEUMANN.replace("c74f20a3", "+74f20a3"), "hex"),
        (&NEUMANN.replace("c74f20a3", "c74f20a3 "), "hex"),
        (&NEUMANN.replace("Peter", "Paul"), "does not belong"),
        (&NEUMANN.replace("+ARpc", "+AhpC"), "type 1"),
        (&NEUMANN[..NEUMANN.len() - 4], "32 bytes"),
        (&format!("{NEUMANN}!"), "base64"),
        ("weak+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "small order"),
    ] {
        let error = bad.parse::<VerifierKey>().unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
    }
    assert_eq!(format!("{NEUMANN}\n").parse::<VerifierKey>().unwrap(), neumann());
}

#[test]
fn the_specifications_example_is_a_checkpoint() {
    let signed = SignedCheckpoint::parse(SUMDB_LIKE.as_bytes()).unwrap();
    let checkpoint = signed.unverified();
    assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert!(checkpoint.root.to_string().starts_with("0ac5186a91863e8e"));
    assert_eq!(signed.to_string(), SUMDB_LIKE);
    assert_eq!(checkpoint.to_string(), signed.note().text());
    assert!(matches!(
        signed.verify(&neumann()),
        Err(CheckpointError::Note(NoteError::WrongKey { .. }))
    ));
}

#[test]
fn malformed_checkpoints_are_refused_with_the_line() {
    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for (text, wrong) in [
        ("".to_owned(), 1),
        (format!("a b\n1\n{ROOT}\n"), 1),
        (format!("a+b\n1\n{ROOT}\n"), 1),
        ("a\n".to_owned(), 2),
        (format!("a\n01\n{ROOT}\n"), 2),
        (format!("a\n+1\n{ROOT}\n"), 2),
        (format!("a\n-1\n{ROOT}\n"), 2),
        (format!("a\n\n{ROOT}\n"), 2),
        (format!("a\n18446744073709551616\n{ROOT}\n"), 2),
        (format!("a\n18446744073709551615\n{ROOT}\n"), 2),
        ("a\n1\n".to_owned(), 3),
        (format!("a\n1\n{}\n", &ROOT[4..]), 3),
        (format!("a\n1\n{}\n", ROOT.trim_end_matches('=')), 3),
        (format!("a\n0\n{ROOT}\n"), 3),
        (format!("a\n1\n{ROOT}\n\n"), 4),
        (format!("a\n1\n{ROOT}\nextension\n\n"), 5),
    ] {
        match Checkpoint::parse(&text) {
            Err(CheckpointError::Text { line, .. }) => assert_eq!(line, wrong, "{text:?}"),
            other => panic!("{text:?} gave {other:?}"),
        }
    }
    assert!(Checkpoint::parse(&format!("a\n1\n{ROOT}\nextension\n")).is_ok());
    let empty = Checkpoint { origin: "a".into(), size: 0, root: empty_root() };
    assert_eq!(Checkpoint::parse(&empty.to_string()).unwrap(), empty);
}

#[test]
fn an_origin_names_log_and_epoch() {
    let origin =
        |prefix: &str, log, epoch| Origin::new(&prefix.parse().unwrap(), log, epoch).unwrap();
    assert_eq!(
        Origin::new(&OriginPrefix::default(), "5f0c", 0).unwrap().to_string(),
        "auditctl/5f0c"
    );
    let third = origin("example.com/audit", "5f0c", 3);
    assert_eq!(third.to_string(), "example.com/audit/5f0c/e3");
    assert_eq!(third.key_name(), "example.com/audit/5f0c");
    assert_eq!(Origin::of_key("example.com/audit/5f0c", "5f0c", 3).unwrap(), third);
    for (key, log) in
        [("example.com/audit/5f0d", "5f0c"), ("example.com/5f0c/e1", "5f0c"), ("5f0c", "5f0c")]
    {
        assert!(Origin::of_key(key, log, 3).is_err(), "{key}");
    }
    for origin in [
        origin("auditctl", "5f0c", 0),
        origin("example.com/e1", "5f0c", 0),
        origin("example.com/e1/x", "e12345678901234567890123456789ab", 1),
        origin("example.com", "a.b_c-D", u32::MAX),
    ] {
        assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
    }
    for bad in [
        "",
        "auditctl",
        "auditctl/",
        "auditctl//e1",
        "auditctl/x/e0",
        "auditctl/x/e01",
        "auditctl/x/e4294967296",
        "auditctl/e1",
        "auditctl/x/e1/e2",
        "auditctl/x y",
        "auditctl/x+y",
        "https://example.com/x",
        "example.com//x",
        "Example.com/x",
    ] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
    let new = |log: &str| Origin::new(&OriginPrefix::default(), log, 0);
    assert!(new(&"x".repeat(MAX_LOG_ID_BYTES + 1)).is_err());
    assert!(new("e7").is_err(), "it would read like an epoch");
    let longest = Origin::new(
        &format!("a.{}", "b".repeat(MAX_ORIGIN_PREFIX_BYTES - 2)).parse().unwrap(),
        &"x".repeat(MAX_LOG_ID_BYTES),
        u32::MAX,
    );
    assert!(longest.unwrap().to_string().len() <= 255, "what a cosignature has room for");
}

/// A checkpoint of epoch 3, signed by a key of the log.
fn of_epoch_3() -> (SigningKey, SignedCheckpoint) {
    let key = SigningKey::generate("example.com/audit/5f0c").unwrap();
    let root = leaf_hash(b"x");
    let text = Checkpoint { origin: "example.com/audit/5f0c/e3".into(), size: 1, root }.to_string();
    let note = key.sign_checkpoint(text).unwrap();
    (key, SignedCheckpoint::from_note(note).unwrap())
}

#[test]
fn a_later_epochs_checkpoint_is_signed_under_its_origin_as_well() {
    let (key, signed) = of_epoch_3();
    let names: Vec<_> = signed.note().signatures().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["example.com/audit/5f0c", "example.com/audit/5f0c/e3"]);
    signed.verify(key.verifier()).unwrap();
    // What a reader of the specification does: look for a key whose name is the origin.
    let text = key.verifier().public_text("example.com/audit/5f0c/e3");
    let lines: Vec<_> = text.lines().collect();
    let [first, second] = lines[..] else { panic!("{text}") };
    assert_eq!(first, key.verifier().to_string());
    let of_epoch: VerifierKey = second.parse().unwrap();
    assert_eq!(of_epoch.name(), signed.unverified().origin);
    signed.note().verify(&of_epoch).unwrap();
    assert_ne!(of_epoch.id(), key.verifier().id());
    // In the first epoch the two names are one.
    assert_eq!(key.verifier().public_text("example.com/audit/5f0c"), format!("{first}\n"));
    assert_eq!(key.verifier().in_epoch("example.com/audit/5f0d/e3"), None);
}

#[test]
fn a_wrong_signature_under_either_name_of_the_key_is_refused() {
    let (key, signed) = of_epoch_3();
    for wrong in 0..2 {
        let mut signatures = signed.note().signatures().to_vec();
        signatures[wrong].signature[7] ^= 1;
        let note = Note::new(signed.note().text().to_owned(), signatures).unwrap();
        let error = SignedCheckpoint::from_note(note).unwrap().verify(key.verifier()).unwrap_err();
        assert!(
            matches!(error, CheckpointError::Note(NoteError::BadSignature { .. })),
            "{wrong}: {error}"
        );
    }
    // Without the second one it is what it was.
    let only = vec![signed.note().signatures()[0].clone()];
    let note = Note::new(signed.note().text().to_owned(), only).unwrap();
    SignedCheckpoint::from_note(note).unwrap().verify(key.verifier()).unwrap();
}

#[test]
fn extension_lines_and_cosignatures_are_carried_byte_for_byte() {
    let key = SigningKey::generate("example.com/audit/5f0c").unwrap();
    let text = format!(
        "example.com/audit/5f0c\n1\n{}\nan extension\nanother +1\n",
        STANDARD.encode(leaf_hash(b"x").as_bytes())
    );
    let mut note = key.sign_checkpoint(text).unwrap().to_string();
    let line = |name: &str, bytes: usize| format!("— {name} {}\n", STANDARD.encode(vec![7; bytes]));
    // A cosignature by Ed25519 and by ML-DSA-44, each with its time; the log's own
    // name with another key's id, as ML-DSA-44 would have it.
    note += &line("witness.example.com/w1", 4 + 8 + 64);
    note += &line("witness.example.com/w2", 4 + 8 + 2_420);
    note += &line("example.com/audit/5f0c", 4 + 2_420);
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    signed.verify(key.verifier()).unwrap();
    assert_eq!(signed.to_string(), note);
    assert!(signed.note().text().ends_with("an extension\nanother +1\n"));
}

#[test]
fn a_note_has_room_for_sixteen_signatures_of_the_largest_algorithms() {
    let key = SigningKey::generate("example.com/audit/5f0c").unwrap();
    let root = leaf_hash(b"x");
    let text = Checkpoint { origin: "example.com/audit/5f0c".into(), size: 1, root }.to_string();
    let mut note = key.sign_checkpoint(text).unwrap().to_string();
    for number in 0..15 {
        let name = format!("witness{number:02}.example.com/{}", "w".repeat(200));
        note += &format!("— {name} {}\n", STANDARD.encode(vec![7; 4 + 8 + 4_627]));
    }
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    signed.verify(key.verifier()).unwrap();
    assert_eq!(signed.to_string(), note);
}

#[test]
fn a_file_of_keys_is_read_for_the_first_usable_one() {
    let key = SigningKey::generate("example.com/audit/5f0c").unwrap().verifier().clone();
    let of_epoch = key.in_epoch("example.com/audit/5f0c/e3").unwrap();
    let foreign = |kind: u8, bytes: usize| {
        let mut packed = vec![kind];
        packed.resize(bytes + 1, 7);
        format!("example.com/audit/5f0c+01234567+{}", STANDARD.encode(packed))
    };
    let ml_dsa = foreign(6, 1_312);
    for good in [
        format!("{key}\n"),
        format!("{key}"),
        format!("{key}\n{of_epoch}\n"),
        format!("{of_epoch}\n{key}\n"),
        format!("{of_epoch}\n"),
        format!("{ml_dsa}\n{}\n\n{key}\n{ml_dsa}\n", foreign(0xff, 40)),
        format!("# the log of the office\n{key}\n"),
    ] {
        assert_eq!(VerifierKey::parse_file(&good).as_ref(), Ok(&key), "{good}");
    }
    // The first one that can be used is meant, and no other.
    let other = SigningKey::generate("example.com/audit/5f0d").unwrap().verifier().clone();
    assert_eq!(VerifierKey::parse_file(&format!("{other}\n{key}\n")), Ok(other));
    let damaged = key.to_string().replace("5f0c+", "5f0d+");
    for (bad, reason) in [
        (String::new(), "empty"),
        ("\n\n".to_owned(), "empty"),
        (format!("{ml_dsa}\n"), "type 1"),
        ("a text\n".to_owned(), "three parts"),
        (format!("{damaged}\n{key}\n"), "does not belong"),
    ] {
        let error = VerifierKey::parse_file(&bad).unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
    }
    let all = format!("{key}\n{}", format!("{}\n", foreign(6, 2_592)).repeat(15));
    assert!(all.len() <= note::MAX_PUBLIC_KEYS_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
        let _ = SignedCheckpoint::parse(&bytes);
        let _ = Checkpoint::parse(&text);
        let _ = text.parse::<VerifierKey>();
        let _ = text.parse::<Origin>();
    }

    #[test]
    fn a_cut_or_altered_checkpoint_is_never_read_as_another(at in 0_usize..SUMDB_LIKE.len(), byte in any::<u8>()) {
        let mut bytes = SUMDB_LIKE.as_bytes().to_vec();
        bytes[at] = byte;
        for candidate in [&bytes[..], &SUMDB_LIKE.as_bytes()[..at]] {
            if let Ok(read) = SignedCheckpoint::parse(candidate) {
                prop_assert_eq!(read.to_string().into_bytes(), candidate);
            }
        }
    }

    #[test]
    fn every_checkpoint_reads_back(size in 1_u64..=MAX_TREE_SIZE, epoch in any::<u32>(), seed in any::<u64>()) {
        let origin = Origin::new(&OriginPrefix::default(), "5f0c2b9e", epoch).unwrap().to_string();
        let checkpoint = Checkpoint { origin, size, root: leaf_hash(&seed.to_be_bytes()) };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()).unwrap(), checkpoint);
    }
}

#[test]
fn a_key_id_is_eight_hex_digits_and_nothing_else() {
    use super::note::parse_key_id;
    assert_eq!(parse_key_id("0012abcd"), Some(0x0012_abcd));
    for text in
        ["", "12abcd", "012abcd", "00012abcd", "+012abcd", "0x12abcd", "0012abcg", "0012abCD"]
    {
        assert_eq!(parse_key_id(text), None, "{text:?}");
    }
}
