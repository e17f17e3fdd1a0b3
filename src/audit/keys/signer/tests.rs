#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::audit::tree::merkle::leaf_hash;
use crate::audit::tree::merkle::samples::{line, range};
use crate::fsio::{Fs, OpenMode, OsFs};

/// The private key of Go's note package example.
const NEUMANN: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const NEUMANN_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";

fn origin(epoch: u32) -> Origin {
    Origin::of_key("auditctl/5f0c", "5f0c", epoch).unwrap()
}

fn signer() -> Signer {
    Signer::new(SigningKey::generate("auditctl/5f0c").unwrap(), origin(0)).unwrap()
}

fn put(path: &Path, content: &[u8], mode: u32) {
    let file = OsFs.open(path, OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(content, 0).unwrap();
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode)).unwrap();
}

#[test]
fn gos_example_key_signs_as_in_go() {
    let key = SigningKey::parse(NEUMANN).unwrap();
    assert_eq!(
        key.verifier().to_string(),
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    );
    let note = key.sign_note(NEUMANN_TEXT.to_owned()).unwrap();
    assert_eq!(
        note.to_string(),
        format!(
            "{NEUMANN_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        )
    );
    assert!(key.sign_note("no newline".to_owned()).is_err());
    assert!(key.sign_note("a\ttab\n".to_owned()).is_err());
}

#[test]
fn a_key_is_stored_in_gos_form_and_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.key");
    SigningKey::parse(NEUMANN).unwrap().save(&OsFs, &path).unwrap();
    assert_eq!(OsFs.read(&path, 1000).unwrap(), format!("{NEUMANN}\n").into_bytes());
    assert_eq!(OsFs.meta(&path).unwrap().mode, 0o600);

    let key = SigningKey::generate("auditctl/5f0c").unwrap();
    let other = directory.path().join("other.key");
    key.save(&OsFs, &other).unwrap();
    assert_eq!(SigningKey::load(&OsFs, &other).unwrap().verifier(), key.verifier());
    assert_ne!(SigningKey::generate("auditctl/5f0c").unwrap().verifier(), key.verifier());

    let public = directory.path().join("audit.pub");
    key.verifier().save(&OsFs, &public, "auditctl/5f0c").unwrap();
    assert_eq!(&VerifierKey::load(&OsFs, &public).unwrap(), key.verifier());
}

#[test]
fn a_key_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.key");
    put(&path, b"precious", 0o600);
    let error = SigningKey::generate("a").unwrap().save(&OsFs, &path).unwrap_err();
    assert!(matches!(error, KeyError::Exists { .. }), "{error}");
    assert_eq!(OsFs.read(&path, 100).unwrap(), b"precious");
}

#[test]
fn a_private_key_that_others_can_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.key");
    // Root may hand a key to a group: C15.
    let root = rustix::process::geteuid().is_root();
    for (mode, allowed) in [
        (0o600, true),
        (0o400, true),
        (0o640, root),
        (0o440, root),
        (0o604, false),
        (0o620, false),
        (0o660, false),
    ] {
        put(&path, NEUMANN.as_bytes(), mode);
        match SigningKey::load(&OsFs, &path) {
            Ok(_) => assert!(allowed, "{mode:o}"),
            Err(error) => {
                assert!(!allowed, "{mode:o}: {error}");
                let message = error.to_string();
                assert!(message.contains(&format!("{mode:04o}")), "{message}");
                assert!(message.contains("chmod 600"), "{message}");
            }
        }
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    }
}

#[test]
fn key_material_is_in_no_message() {
    let key = SigningKey::parse(NEUMANN).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(PeterNeumann+c74f20a3)");
    let signer = Signer { key: key.into(), origin: origin(0), signed: Range::empty(0) };
    assert!(!format!("{signer:?}").contains("AYEKFALV"));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.key");
    for bad in [
        "",
        "audit.key",
        &NEUMANN[..NEUMANN.len() - 8],
        &NEUMANN[..NEUMANN.len() - 1],
        &format!("{NEUMANN}AAAA"),
        &format!("{NEUMANN}{NEUMANN}"),
        &NEUMANN.replace("c74f20a3", "c74f20a4"),
        &NEUMANN.replace("+AYEK", "+AoEK"),
        &"A".repeat(5000),
    ] {
        put(&path, bad.as_bytes(), 0o600);
        let error = SigningKey::load(&OsFs, &path).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("audit.key"), "{shown}");
        assert!(!shown.contains("FALVFGyNhPJEMz"), "{shown}");
    }
    let error = SigningKey::load(&OsFs, &directory.path().join("none")).unwrap_err();
    assert!(matches!(error, KeyError::Io { action: "read", .. }), "{error}");
    assert!(SigningKey::load(&OsFs, directory.path()).is_err());
}

#[test]
fn a_growing_tree_is_signed_again_and_again() {
    let mut signer = signer();
    let mut tree = Range::empty(0);
    for size in [0, 1, 1, 7, 8, 100] {
        let grown = range(signer.signed_size(), size);
        tree.extend(&grown).unwrap();
        let signed = signer.sign(&tree, &grown).unwrap();
        let read = SignedCheckpoint::parse(signed.to_string().as_bytes()).unwrap();
        let checkpoint = read.verify(signer.verifier()).unwrap();
        assert_eq!(checkpoint.origin, "auditctl/5f0c");
        assert_eq!((checkpoint.size, checkpoint.root), (size, tree.root().unwrap()));
        assert_eq!(signer.signed_size(), size);
    }
}

#[test]
fn a_tree_that_does_not_extend_the_signed_one_is_refused() {
    let mut signer = signer();
    signer.sign(&range(0, 6), &range(0, 6)).unwrap();
    let mut forged = Range::empty(0);
    for number in 0..9_u64 {
        forged.append(leaf_hash(&line(number + 1)));
    }

    let error = signer.sign(&range(0, 5), &range(5, 5)).unwrap_err();
    assert!(matches!(error, SignError::Shrunk { signed: 6, size: 5, .. }), "{error}");
    let error = signer.sign(&forged, &range(6, 9)).unwrap_err();
    assert!(matches!(error, SignError::Forked { signed: 6, size: 9, .. }), "{error}");
    let mut same_size = range(0, 5);
    same_size.append(leaf_hash(b"altered"));
    let error = signer.sign(&same_size, &Range::empty(6)).unwrap_err();
    assert!(matches!(error, SignError::Forked { signed: 6, size: 6, .. }), "{error}");
    for grown in [range(0, 9), range(5, 9), range(6, 8), range(7, 9)] {
        let error = signer.sign(&range(0, 9), &grown).unwrap_err();
        assert!(matches!(error, SignError::Evidence { .. }), "{error}");
    }
    let error = signer.sign(&range(1, 9), &range(6, 9)).unwrap_err();
    assert!(matches!(error, SignError::Range(_)), "{error}");

    // A refusal changes nothing.
    assert_eq!(signer.signed_size(), 6);
    signer.sign(&range(0, 9), &range(6, 9)).unwrap();
}

#[test]
fn a_signer_goes_on_only_from_its_own_checkpoint_and_records() {
    let mut first = signer();
    let last = first.sign(&range(0, 6), &range(0, 6)).unwrap();
    let resume = |epoch, tree| {
        let key = SigningKey::generate("auditctl/5f0c").unwrap();
        Signer::resume(key, origin(epoch), last.unverified(), tree)
    };
    let mut resumed = resume(0, range(0, 6)).unwrap();
    resumed.sign(&range(0, 9), &range(6, 9)).unwrap();
    for (epoch, tree) in [(1, range(0, 6)), (0, range(0, 5)), (0, range(0, 7))] {
        assert!(matches!(resume(epoch, tree), Err(SignError::Resume { .. })));
    }
    let stranger = SigningKey::generate("auditctl/other").unwrap();
    let error = Signer::new(stranger, origin(0)).unwrap_err();
    assert!(matches!(&error, SignError::Key { expected, .. } if expected == "auditctl/5f0c"));
}

#[test]
fn every_epoch_signs_under_the_logs_key_and_no_other_logs() {
    let key = SigningKey::generate("auditctl/5f0c").unwrap();
    let sign = |origin: String| {
        let text = Checkpoint { origin, size: 1, root: leaf_hash(b"") }.to_string();
        SignedCheckpoint::from_note(key.sign_note(text).unwrap()).unwrap()
    };
    for good in ["auditctl/5f0c", "auditctl/5f0c/e1"] {
        sign(good.to_owned()).verify(key.verifier()).unwrap();
    }
    for bad in ["auditctl/5f0d", "auditctl/5f0c/x", "example.com/log"] {
        let error = sign(bad.to_owned()).verify(key.verifier()).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherLog { .. }), "{error}");
    }
}
