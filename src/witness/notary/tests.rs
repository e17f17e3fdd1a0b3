use std::sync::Barrier;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::audit::Options;
use crate::audit::keys::signer::SigningKey;
use crate::audit::tree::merkle::{Range, leaf_hash};
use crate::audit::tree::proof::consistency_proof;
use crate::clock::ManualClock;
use crate::fsio::OsFs;

const LOG: &str = "example.com/audit/0123456789abcdef0123456789abcdef";

/// A log of which only hashes are there.
struct Tree {
    key: SigningKey,
    leaves: Vec<Hash>,
}

impl Tree {
    fn new() -> Self {
        let key = SigningKey::generate(LOG).expect("a key");
        Self { key, leaves: (0..100_u8).map(|at| leaf_hash(&[at])).collect() }
    }

    /// Another history that begins to differ at `from`.
    fn forked(&self, from: usize) -> Self {
        let leaf = |(at, leaf): (usize, &Hash)| if at < from { *leaf } else { leaf_hash(b"x") };
        let leaves = self.leaves.iter().enumerate().map(leaf).collect();
        Self { key: SigningKey::parse(&self.text()).expect("a key"), leaves }
    }

    fn text(&self) -> String {
        String::from_utf8(self.key.encode().0.clone()).expect("text")
    }

    fn root(&self, size: u64) -> Hash {
        let mut range = Range::empty(0);
        self.leaves[..size as usize].iter().for_each(|leaf| range.append(*leaf));
        range.root().expect("a root")
    }

    fn note(&self, size: u64) -> String {
        let text = Checkpoint { origin: LOG.to_owned(), size, root: self.root(size) }.to_string();
        self.key.sign_checkpoint(text).expect("signed").to_string()
    }

    fn proof(&self, old: u64, size: u64) -> Vec<Hash> {
        consistency_proof(&self.leaves[..], old, size).expect("a proof")
    }

    fn request(&self, old: u64, size: u64) -> String {
        body(old, &self.proof(old, size), &self.note(size))
    }
}

fn body(old: u64, proof: &[Hash], note: &str) -> String {
    let lines: String = proof.iter().map(|h| STANDARD.encode(h.as_bytes()) + "\n").collect();
    format!("old {old}\n{lines}\n{note}")
}

/// A witness's place.
struct Place {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        Self { dir, clock }
    }

    fn key(&self) -> std::path::PathBuf {
        self.dir.path().join("witness.key")
    }

    fn open(&self) -> AuditLog {
        let options =
            Options { clock: self.clock.clone(), ..Options::new(self.dir.path().join("logs")) };
        AuditLog::open(options).expect("open")
    }

    fn accepted(&self, tree: &Tree) -> Accepted {
        let path = self.dir.path().join("accepted");
        std::fs::write(&path, format!("{}\n", tree.key.verifier())).expect("written");
        Accepted::load(&OsFs, &path).expect("read")
    }

    /// Starts, and makes the key if there is none.
    fn start(&self, tree: &Tree) -> Notary {
        self.try_start(tree, false).expect("started")
    }

    fn try_start(&self, tree: &Tree, accept: bool) -> Result<Notary, BookError> {
        let key = CosigningKey::load(&OsFs, &self.key()).ok();
        let is_new = key.is_none();
        let key = key.map_or_else(
            || KeyOf::New(CosigningKey::generate("witness.example/w1").expect("a key")),
            KeyOf::Stored,
        );
        let notary = Notary::new(self.open(), key, self.accepted(tree), accept)?;
        if is_new {
            notary.store_key(&OsFs, &self.key()).expect("stored");
        }
        Ok(notary)
    }
}

fn status(notary: &Notary, body: &str) -> u16 {
    notary.add_checkpoint(body.as_bytes()).status
}

/// The cosignature in an answer is one of this text.
fn check(notary: &Notary, answer: &Answer, note: &str) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    let both = Note::parse(format!("{note}{}", answer.body).as_bytes()).expect("a note");
    notary.verifier().cosigned_at(&both).expect("a good one").expect("one")
}

fn recorded(notary: &Notary, kind: &str) -> Vec<serde_json::Value> {
    let request = crate::audit::read::query::Request {
        event_type: vec![kind.to_owned()],
        limit: Some(0),
        order: Some("oldest".to_owned()),
        ..Default::default()
    };
    let query = request.resolve(Timestamp::default()).expect("a query");
    let answer = notary.log().read_on(&query).expect("an answer");
    let lines = answer.lines().expect("records");
    lines.iter().map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[test]
fn every_request_is_answered_as_the_protocol_says() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    let at = check(&notary, &notary.add_checkpoint(tree.request(0, 7).as_bytes()), &tree.note(7));
    assert_eq!(at, 1_700_000_000);
    let other = SigningKey::generate("example.com/other").expect("a key");
    let stranger = SigningKey::generate(LOG).expect("a key");
    let text = Note::parse(tree.note(9).as_bytes()).expect("a note").text().to_owned();
    let by = |key: &SigningKey, text: &str| key.sign_checkpoint(text.to_owned()).expect("signed");
    let wrong = {
        let note = by(&tree.key, &text);
        let mut signatures = note.signatures().to_vec();
        signatures[0].signature[3] ^= 1;
        Note::new(text.clone(), signatures).expect("a note").to_string()
    };
    let both = {
        let all = [by(&stranger, &text).signatures(), by(&tree.key, &text).signatures()].concat();
        Note::new(text.clone(), all).expect("a note").to_string()
    };
    let empty =
        |root: &[u8]| by(&tree.key, &format!("{LOG}\n0\n{}\n", STANDARD.encode(root))).to_string();
    let ahead = tree.proof(7, 9);
    let foreign = by(&other, &text.replace(LOG, "example.com/other")).to_string();
    let no_number = by(&tree.key, &text.replace("\n9\n", "\n09\n")).to_string();
    let long = by(&tree.key, &format!("{text}{}\n", "x".repeat(MAX_TEXT_BYTES))).to_string();
    let cases: Vec<(&str, String, u16)> = vec![
        ("nothing", String::new(), 400),
        ("no note", "old 7\n\nnothing\n".to_owned(), 400),
        ("no number", body(7, &ahead, &no_number), 400),
        ("too large", body(7, &ahead, &long), 413),
        ("an unknown log", body(7, &ahead, &foreign), 404),
        ("an unknown key", body(7, &ahead, &by(&stranger, &text).to_string()), 403),
        ("a wrong signature", body(7, &ahead, &wrong), 403),
        ("an old size beyond the new one", body(10, &[], &tree.note(9)), 400),
        ("an old size before", tree.request(3, 9), 409),
        ("an old size of nothing", tree.request(0, 9), 409),
        ("an old size after", tree.request(8, 9), 409),
        ("a smaller tree", tree.request(3, 5), 409),
        ("no proof", body(7, &[], &tree.note(9)), 422),
        ("half a proof", body(7, &ahead[1..], &tree.note(9)), 422),
        ("a proof where none is needed", body(7, &ahead, &tree.note(7)), 422),
        ("the same size with another root", tree.forked(5).request(7, 7), 422),
        ("another history", tree.forked(5).request(7, 9), 422),
        ("an empty tree with a root", body(7, &[], &empty(&[7; 32])), 422),
        ("an empty tree, after others", body(0, &[], &empty(empty_root().as_bytes())), 409),
        ("the same once more", tree.request(7, 7), 200),
        ("signed by another key as well", body(7, &ahead, &both), 200),
        ("the first one again", tree.request(0, 7), 409),
        ("on from there", tree.request(9, 100), 200),
    ];
    for (what, body, expected) in cases {
        let answer = notary.add_checkpoint(body.as_bytes());
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        if expected == 409 {
            let size = if what == "the first one again" { "9\n" } else { "7\n" };
            assert_eq!((answer.content_type, &*answer.body), ("text/x.tlog.size", size), "{what}");
        }
    }
    // What was cosigned is to be had, with the signature that was checked and no other.
    let hash: [u8; 32] = Sha256::digest(LOG).into();
    let hash = Hash::from_bytes(hash).to_string();
    let note = notary.checkpoint(&hash).expect("a checkpoint");
    let signed = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    assert_eq!(signed.unverified().size, 100);
    signed.verify(tree.key.verifier()).expect("signed");
    assert_eq!(signed.note().signatures().len(), 2);
    assert!(notary.verifier().cosigned_at(signed.note()).expect("good").is_some());
    assert!(notary.checkpoint(&"0".repeat(64)).is_none());
    assert_eq!(notary.logs(), [(LOG.to_owned(), 100)]);
}

#[test]
fn an_empty_tree_is_cosigned_and_then_continued() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    let statuses =
        [(0, 0), (0, 0), (0, 1), (1, 2)].map(|(a, b)| status(&notary, &tree.request(a, b)));
    assert_eq!(statuses, [200; 4]);
}

#[test]
fn both_notes_of_a_split_view_are_kept_once() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    assert_eq!(status(&notary, &tree.request(0, 9)), 200);
    for _ in 0..3 {
        assert_eq!(status(&notary, &tree.forked(5).request(9, 9)), 422);
        assert_eq!(status(&notary, &tree.forked(5).request(9, 20)), 422);
    }
    let kept = recorded(&notary, "audit.cosigning_refused");
    assert_eq!(kept.len(), 2);
    let reasons = [&kept[0], &kept[1]].map(|record| record["details"]["reason"].clone());
    assert_eq!(reasons, ["split_view", "not_consistent"]);
    let proof = |record: &serde_json::Value| {
        let note = record["details"]["checkpoint"].as_str().expect("a note").to_owned();
        let signed = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
        signed.verify(tree.key.verifier()).expect("signed by the log").clone()
    };
    let (cosigned, refused) = (proof(&recorded(&notary, "audit.cosigned")[0]), proof(&kept[0]));
    assert_eq!(cosigned.size, refused.size);
    assert_ne!(cosigned.root, refused.root);
    // More than is kept is refused all the same.
    for at in 0..40 {
        let mut fork = tree.forked(5);
        fork.leaves[8] = leaf_hash(&[at, 1]);
        assert_eq!(status(&notary, &fork.request(9, 9)), 422);
    }
    assert_eq!(recorded(&notary, "audit.cosigning_refused").len(), MAX_REFUSALS);
}

#[test]
fn who_asks_again_at_once_gets_the_same_and_makes_no_record() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    let first = notary.add_checkpoint(tree.request(0, 9).as_bytes());
    for _ in 0..5 {
        assert_eq!(notary.add_checkpoint(tree.request(9, 9).as_bytes()), first);
    }
    assert_eq!(recorded(&notary, "audit.cosigned").len(), 1);
    place.clock.set_wall(Timestamp::from_micros(1_700_000_060_000_000));
    let later = notary.add_checkpoint(tree.request(9, 9).as_bytes());
    assert_eq!(check(&notary, &later, &tree.note(9)), 1_700_000_060);
    assert_eq!(recorded(&notary, "audit.cosigned").len(), 2);
}

#[test]
fn what_was_cosigned_binds_after_a_restart_and_after_the_log_was_sealed() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    assert_eq!(status(&notary, &tree.request(0, 9)), 200);
    let hash: [u8; 32] = Sha256::digest(LOG).into();
    let hash = Hash::from_bytes(hash).to_string();
    let note = notary.checkpoint(&hash);
    for restart in 0..3 {
        notary.log().seal();
        notary.log().close().expect("closed");
        let notary = place.start(&tree);
        assert_eq!(status(&notary, &tree.request(0, 9)), 409, "restart {restart}");
        assert_eq!(status(&notary, &tree.forked(5).request(9, 20)), 422, "restart {restart}");
        assert_eq!(notary.checkpoint(&hash), note, "restart {restart}");
        notary.log().close().expect("closed");
    }
}

/// What is summed up while others cosign never hides what they were answered.
#[test]
fn what_is_cosigned_while_all_is_summed_up_is_known_to_the_next_start() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    for size in 1..60 {
        let body = tree.request(size - 1, size);
        std::thread::scope(|scope| {
            let summed = scope.spawn(|| notary.sum_up());
            assert_eq!(status(&notary, &body), 200);
            summed.join().expect("no panic").expect("recorded");
        });
        let book = Book::read(notary.log(), notary.verifier()).expect("read");
        assert_eq!(book.logs[LOG].size, size);
    }
}

#[test]
fn of_two_who_race_with_different_histories_one_at_most_is_cosigned_for_a_size() {
    for round in 0..8 {
        let (place, tree) = (Place::new(), Tree::new());
        let notary = place.start(&tree);
        assert_eq!(status(&notary, &tree.request(0, 9)), 200);
        let forks = [tree.forked(10), tree.forked(11), tree.forked(12), tree.forked(13)];
        let barrier = Barrier::new(forks.len());
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let ask = |fork: &Tree| {
                let body = fork.request(9, 20);
                let (notary, barrier) = (&notary, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    status(notary, &body)
                })
            };
            let asked: Vec<_> = forks.iter().map(ask).collect();
            asked.into_iter().map(|one| one.join().expect("answered")).collect()
        });
        assert_eq!(
            answers.iter().filter(|status| **status == 200).count(),
            1,
            "{round} {answers:?}"
        );
        assert_eq!(
            answers.iter().filter(|status| **status == 409).count(),
            3,
            "{round} {answers:?}"
        );
    }
}

#[test]
fn a_key_signs_only_with_the_log_that_knows_what_it_signed() {
    let (place, tree) = (Place::new(), Tree::new());
    place.start(&tree).log().close().expect("closed");
    // The log is lost, and the key is not.
    std::fs::rename(place.dir.path().join("logs"), place.dir.path().join("gone")).expect("moved");
    assert!(matches!(place.try_start(&tree, false), Err(BookError::UnknownKey { .. })));
    place.try_start(&tree, true).expect("accepted").log().close().expect("closed");
    place.start(&tree).log().close().expect("closed");
    // Another key in the log's place.
    std::fs::remove_file(place.key()).expect("removed");
    let other = CosigningKey::generate("witness.example/w1").expect("a key");
    other.save(&OsFs, &place.key()).expect("saved");
    assert!(matches!(place.try_start(&tree, false), Err(BookError::UnknownKey { .. })));
}

#[test]
fn a_new_key_on_the_same_log_goes_on_from_what_the_old_one_signed() {
    let (place, tree) = (Place::new(), Tree::new());
    let notary = place.start(&tree);
    assert_eq!(status(&notary, &tree.request(0, 9)), 200);
    notary.log().close().expect("closed");
    std::fs::remove_file(place.key()).expect("removed");
    let notary = place.start(&tree);
    assert_eq!(status(&notary, &tree.request(0, 9)), 409);
    assert_eq!(status(&notary, &tree.request(9, 20)), 200);
}
