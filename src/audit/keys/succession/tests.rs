use super::*;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::keys::signer::SigningKey;

const NAME: &str = "auditctl/5f0c";

fn key() -> SigningKey {
    SigningKey::generate(NAME).expect("a key")
}

fn signed(keys: &[&SigningKey], epoch: u32, size: u64, root: Hash) -> SignedCheckpoint {
    let origin = Origin::of_key(NAME, "5f0c", epoch).expect("an origin").to_string();
    let text = Checkpoint { origin, size, root }.to_string();
    let signatures = keys
        .iter()
        .flat_map(|key| key.sign_note(text.clone()).expect("signed").signatures().to_vec())
        .collect();
    SignedCheckpoint::from_note(Note::new(text, signatures).expect("a note")).expect("a checkpoint")
}

/// A rotation whose record is the last of `size` records.
fn rotation(old: &SigningKey, new: &SigningKey, epoch: u32, size: u64) -> Rotation {
    let seq = size - 1;
    let mut before = Range::empty(0);
    (0..seq).for_each(|n| before.append(leaf_hash(&n.to_le_bytes())));
    let line = format!(
        r#"{{"seq":{seq},"timestamp":"2026-01-01T00:00:00.000000Z","event_type":"audit.key_rotated","details":{{"old_key":"{}","new_key":"{}","uid":0}}}}"#,
        old.verifier(),
        new.verifier()
    );
    let mut tree = before.clone();
    tree.append_line(line.as_bytes());
    let note = signed(&[old, new], epoch, size, tree.root().expect("a root"));
    Rotation::of_last((old.verifier(), new.verifier()), line, &before, &note)
}

fn root() -> Hash {
    leaf_hash(b"x")
}

#[test]
fn a_rotation_is_proven_for_trees_of_any_size() {
    let (old, new) = (key(), key());
    for size in 1..70 {
        let handover = rotation(&old, &new, 0, size).check().expect("good");
        assert_eq!(handover.place, Place { epoch: 0, size });
        assert_eq!((&handover.old, &handover.new), (old.verifier(), new.verifier()));
    }
}

#[test]
fn a_rotation_without_one_of_the_two_signatures_or_with_another_record_is_none() {
    let (old, new, other) = (key(), key(), key());
    let good = rotation(&old, &new, 0, 9);
    let note = SignedCheckpoint::parse(good.checkpoint.as_bytes()).expect("a checkpoint");
    let by = |keys: &[&SigningKey]| signed(keys, 0, 9, note.unverified().root).to_string();
    for keys in [&[&old][..], &[&new], &[&other, &new], &[&old, &other]] {
        let bad = Rotation { checkpoint: by(keys), ..good.clone() };
        assert!(matches!(bad.check(), Err(RotationError::Checkpoint { .. })), "{bad:?}");
    }
    let bad = Rotation { new_key: other.verifier().to_string(), ..good.clone() };
    assert!(bad.check().is_err());
    let bad = Rotation { seq: 7, ..good.clone() };
    assert!(matches!(bad.check(), Err(RotationError::Record(_))));
    let record = good.record.replace("\"uid\":0", "\"uid\":1");
    assert!(matches!(Rotation { record, ..good.clone() }.check(), Err(RotationError::Proof(_))));
    let record = good.record.replace("audit.key_rotated", "login");
    assert!(matches!(Rotation { record, ..good }.check(), Err(RotationError::Record(_))));
}

#[test]
fn a_key_is_valid_by_place_and_both_are_where_one_hands_over() {
    let keys = [key(), key(), key()];
    let rotations = [rotation(&keys[0], &keys[1], 0, 10), rotation(&keys[1], &keys[2], 1, 5)];
    // Whichever key is believed, it leads to the same.
    for believed in &keys {
        let ring = Keyring::new(believed.verifier().clone(), &rotations).expect("a ring");
        assert_eq!(ring.newest(), keys[2].verifier());
        assert_eq!(ring.oldest(), keys[0].verifier());
        let cases = [
            (0, 1, [true, false, false]),
            (0, 10, [true, true, false]),
            (0, 11, [false, true, false]),
            (0, 1_000, [false, true, false]),
            (1, 1, [false, true, false]),
            (1, 5, [false, true, true]),
            (1, 6, [false, false, true]),
            (2, 1, [false, false, true]),
        ];
        for (epoch, size, valid) in cases {
            for (signer, valid) in keys.iter().zip(valid) {
                let note = signed(&[signer], epoch, size, root());
                match ring.verify(&note) {
                    Ok((_, key)) => {
                        assert!(valid, "{epoch}/{size}");
                        assert_eq!(key, signer.verifier());
                    }
                    Err(CheckpointError::OutOfTurn { .. }) => assert!(!valid, "{epoch}/{size}"),
                    Err(error) => panic!("{error}"),
                }
            }
            let stranger = signed(&[&key()], epoch, size, root());
            let refused = ring.verify(&stranger);
            assert!(matches!(refused, Err(CheckpointError::Note(NoteError::WrongKey { .. }))));
        }
        let early = ring.until(Place { epoch: 0, size: 9 });
        assert_eq!(early.keys(), [keys[0].verifier().clone()]);
        assert_eq!(ring.until(Place { epoch: 0, size: 10 }).keys().len(), 2);
    }
}

#[test]
fn a_wrong_signature_by_any_key_of_the_log_spoils_a_note() {
    let (old, new, stranger) = (key(), key(), key());
    let ring =
        Keyring::new(new.verifier().clone(), &[rotation(&old, &new, 0, 10)]).expect("a ring");
    let good = signed(&[&old, &new, &stranger], 0, 12, root());
    ring.verify(&good).expect("signed by the newest");
    for (spoiled, passes) in [(0, false), (1, false), (2, true)] {
        let mut signatures = good.note().signatures().to_vec();
        signatures[spoiled].signature[3] ^= 1;
        let note = Note::new(good.note().text().to_owned(), signatures).expect("a note");
        let note = SignedCheckpoint::from_note(note).expect("a checkpoint");
        assert_eq!(ring.verify(&note).is_ok(), passes, "{spoiled}");
    }
}

#[test]
fn rotations_that_do_not_follow_each_other_make_no_ring() {
    let (a, b, c) = (key(), key(), key());
    let ring = |believed: &SigningKey, rotations: &[Rotation]| {
        Keyring::new(believed.verifier().clone(), rotations)
    };
    let order = |found: Result<Keyring, KeyringError>| {
        assert!(matches!(found, Err(KeyringError::Order { number: 2, .. })), "{found:?}");
    };
    order(ring(&a, &[rotation(&a, &b, 0, 10), rotation(&a, &c, 0, 20)]));
    order(ring(&a, &[rotation(&a, &b, 0, 10), rotation(&b, &a, 0, 20)]));
    order(ring(&a, &[rotation(&a, &b, 0, 10), rotation(&b, &c, 0, 10)]));
    order(ring(&a, &[rotation(&a, &b, 1, 10), rotation(&b, &c, 0, 20)]));
    let stranger = ring(&c, &[rotation(&a, &b, 0, 10)]);
    assert!(matches!(stranger, Err(KeyringError::Stranger { .. })));
}

#[test]
fn what_a_backup_brings_extends_the_keys_that_are_known_and_never_replaces_them() {
    let (a, b, c, thief) = (key(), key(), key(), key());
    let (first, second) = (rotation(&a, &b, 0, 10), rotation(&b, &c, 0, 20));
    let known = |key: &SigningKey, rotations: &[Rotation]| {
        Keyring::new(key.verifier().clone(), rotations).expect("a ring")
    };
    let both = [first.clone(), second.clone()];
    assert_eq!(known(&a, &[]).extended(&both), known(&a, &both));
    assert_eq!(known(&c, &[]).extended(&both), known(&c, &both));
    assert_eq!(known(&a, &both[..1]).extended(&both), known(&a, &both));
    assert_eq!(known(&a, &both).extended(&both[..1]), known(&a, &both));
    // Whoever has a retired key may let it name another successor.
    let fork = [rotation(&a, &thief, 0, 12), rotation(&thief, &key(), 0, 30)];
    assert_eq!(known(&a, &both).extended(&fork), known(&a, &both));
    assert_eq!(known(&c, &[]).extended(&fork), known(&c, &[]));
}

/// That `new` took the place of `old`, which had signed `size` records of epoch 0.
fn replaced(old: &SigningKey, new: &SigningKey, (epoch, size): (u32, u64)) -> Rotation {
    let last = signed(&[old], epoch, size, root());
    let said = Replaced {
        epoch: epoch + 1,
        at: crate::clock::Timestamp::default(),
        uid: 0,
        user: Some("root".to_owned()),
        reason: "the disk burned".to_owned(),
        signature: String::new(),
    };
    Rotation::replacing(old.verifier(), &last, (new, said)).expect("a replacement")
}

/// B2.
#[test]
fn whoever_believes_the_new_key_knows_the_old_one_and_the_old_one_leads_no_further() {
    let (first, old, new, later) = (key(), key(), key(), key());
    let mut chain = vec![rotation(&first, &old, 0, 10), replaced(&old, &new, (0, 20))];
    let (before, after) = (signed(&[&old], 0, 15, root()), signed(&[&new], 1, 25, root()));
    let by_new = Keyring::new(new.verifier().clone(), &chain).expect("a ring");
    assert_eq!(by_new.newest(), new.verifier());
    assert!(by_new.unauthorised().is_none());
    by_new.verify(&before).expect("the new key says who was before");
    by_new.verify(&after).expect("its own");
    let late = signed(&[&old], 1, 25, root());
    let error = by_new.verify(&late).expect_err("the old key is no key of that epoch");
    assert!(matches!(error, CheckpointError::OutOfTurn { .. }), "{error}");

    for believed in [&first, &old] {
        let ring = Keyring::new(believed.verifier().clone(), &chain).expect("a ring");
        assert_eq!(ring.newest(), old.verifier());
        ring.verify(&before).expect("the old key's");
        let error = ring.verify(&after).expect_err("nobody signed that").to_string();
        for part in ["never authorised", "the disk burned", "root (uid 0)", &new.verifier().label()]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        // What is added to it does not make it believe more.
        let more = ring.clone().extended(&chain);
        more.verify(&after).expect_err("still nobody");
        assert_eq!(ring.by_the_last(), by_new);
        // A planted replacement does not retire the key that never agreed.
        ring.verify(&late).expect("the old key knows of no other");
    }
    // What the new key signs later is its own affair.
    chain.push(rotation(&new, &later, 1, 40));
    chain.push(replaced(&later, &key(), (1, 50)));
    let ring = Keyring::new(new.verifier().clone(), &chain).expect("a ring");
    assert_eq!(ring.newest(), later.verifier());
    ring.verify(&before).expect("still who was before");
    ring.verify(&signed(&[&later], 1, 45, root())).expect("the one that it led to");
    let ring = Keyring::new(old.verifier().clone(), &chain).expect("a ring");
    assert_eq!(ring.newest(), old.verifier());
    ring.verify(&signed(&[&later], 1, 45, root())).expect_err("nobody signed that");
}

#[test]
fn a_replacement_says_nothing_that_the_new_key_did_not_sign() {
    let (old, new, other) = (key(), key(), key());
    let good = replaced(&old, &new, (0, 20));
    let said = |change: &dyn Fn(&mut Replaced)| {
        let mut bad = good.clone();
        change(bad.replaced.as_mut().expect("it is one"));
        bad.check()
    };
    good.check().expect("good");
    assert!(said(&|it| it.reason = "because".to_owned()).is_err());
    assert!(said(&|it| it.uid = 1000).is_err());
    assert!(said(&|it| it.user = None).is_err());
    assert!(said(&|it| it.epoch = 2).is_err());
    assert!(said(&|it| it.epoch = 0).is_err());
    assert!(Rotation { seq: 19, ..good.clone() }.check().is_err());
    assert!(Rotation { old_key: other.verifier().to_string(), ..good.clone() }.check().is_err());
    assert!(Rotation { new_key: other.verifier().to_string(), ..good.clone() }.check().is_err());
    let checkpoint = signed(&[&old], 0, 21, root()).to_string();
    assert!(Rotation { checkpoint, ..good.clone() }.check().is_err());
    // It has to come after what led to the key that it replaces.
    let chain = [rotation(&other, &old, 0, 30), good];
    assert!(matches!(
        Keyring::new(new.verifier().clone(), &chain),
        Err(KeyringError::Order { .. })
    ));
}
