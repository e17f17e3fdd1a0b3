//! Changing the signing key: what the log, its checkpoints, proofs and backups are
//! worth afterwards, to whoever has any of its public keys.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditctl::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::keys::{KeyHistory, Keyring};
use auditctl::audit::read::verify::{
    Anchor, Completeness, Kind, ProofDocument, Report, Request, prove, verify,
};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::write::key_change::{RotateError, RotateRequest, Rotated};
use auditctl::audit::{AuditLog, Event, LogPaths, OpenError, Options};
use auditctl::backup::{Level, RestoreRequest, Target, Wish};

use crate::backups::{Home, copy_dir, names, read, record_into, wanted};
use crate::support::{count, eventually, open, records};

pub(crate) fn rotate(log: &AuditLog) -> Rotated {
    log.rotate_key(&RotateRequest::default()).expect("the key is changed")
}

fn public(home: &Home) -> VerifierKey {
    VerifierKey::load(&*home.fs, &home.log_dir().join("audit.pub")).expect("the key")
}

pub(crate) fn checked(home: &Home, request: &Request) -> Report {
    verify(&home.fs, &home.log_dir(), request, &Unwatched).expect("a report").0
}

fn passes(home: &Home, request: &Request) -> Report {
    let report = checked(home, request);
    assert!(report.passed(), "{:?}", report.findings);
    report
}

pub(crate) fn python(args: &[&Path]) -> (i32, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let output = Command::new("python3").arg(script).args(args).output().expect("python3");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// What somebody kept from the time of one key.
struct Kept {
    key: VerifierKey,
    key_file: PathBuf,
    checkpoint: PathBuf,
    proof: PathBuf,
    backup: auditctl::backup::BackupId,
}

/// Keeps what there is to keep, and changes the key.
fn generation(home: &Home, n: usize) -> Kept {
    home.record(60);
    let at = |what: &str| home.dir.path().join(format!("{what}-{n}"));
    let made = home.back_up();
    let first = made.metadata.range.first_seq;
    let seq = first + (made.metadata.range.tree_size - first) / 2;
    std::fs::copy(home.log_dir().join("audit.pub"), at("key")).expect("copied");
    std::fs::copy(home.log_dir().join("audit.checkpoint"), at("checkpoint")).expect("copied");
    let proof = prove(&home.fs, &home.log_dir(), seq).expect("a proof");
    std::fs::write(at("proof"), proof.encode()).expect("written");
    let kept = Kept {
        key: public(home),
        key_file: at("key"),
        checkpoint: at("checkpoint"),
        proof: at("proof"),
        backup: made.metadata.id,
    };
    let log = home.open();
    record_into(&log, 5);
    let rotated = rotate(&log);
    assert_eq!(rotated.old_key, kept.key.to_string());
    assert_eq!(rotated.new_key, log.verifier_key());
    record_into(&log, 5);
    log.close().expect("closed");
    assert_eq!(rotated.new_key, public(home).to_string());
    kept
}

#[test]
fn five_keys_one_log_and_everything_that_was_kept_from_any_of_them_still_holds() {
    let home = Home::new();
    let mut kept: Vec<Kept> = (0..3).map(|n| generation(&home, n)).collect();
    // Retention removes the records of the first changes.
    let log = open(Options {
        retention: Some(Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    });
    eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    kept.extend((3..5).map(|n| generation(&home, n)));
    let today = public(&home);
    let newest = home.back_up();

    let anchors = || {
        let read = |kept: &Kept| Anchor::parse("kept", &read(&kept.checkpoint)).expect("a note");
        kept[3..].iter().map(read).collect::<Vec<_>>()
    };
    for key in kept.iter().map(|kept| &kept.key).chain([&today]) {
        let report = passes(
            &home,
            &Request { key: Some(key.clone()), anchors: anchors(), ..Request::default() },
        );
        assert_eq!(report.completeness, Completeness::Anchored);
        assert_eq!(report.key, Some(today.label()));
        assert_eq!(report.key_given, (key != &today).then(|| key.label()));
        assert_eq!(report.keys.len(), 6);
        passes(&home, &Request { key: Some(key.clone()), quick: true, ..Request::default() });
    }
    let dir = home.log_dir();
    let last = records(&dir).last().expect("records").0;
    let document = prove(&home.fs, &dir, last).expect("a proof");
    let now = home.dir.path().join("proof-now");
    std::fs::write(&now, document.encode()).expect("written");
    for (n, then) in kept.iter().enumerate() {
        // A proof of today is checked with a key of then, and the other way round as
        // far as it knew.
        let parsed = ProofDocument::parse(&read(&now)).expect("a document");
        assert_eq!(parsed.check(Some(&then.key)).expect("proven").key, today.label());
        let old = ProofDocument::parse(&read(&then.proof)).expect("a document");
        for earlier in &kept[..=n] {
            assert_eq!(old.check(Some(&earlier.key)).expect("proven").key, then.key.label());
        }
        assert!(old.check(Some(&today)).is_err(), "it knew nothing of today's key");
        let option = Path::new("--public-key");
        for args in [
            &[&dir, option, &then.key_file][..],
            &[Path::new("--proof"), &then.proof, option, &then.key_file],
            &[Path::new("--proof"), &now, option, &then.key_file],
        ] {
            let (code, text) = python(args);
            assert_eq!(code, 0, "{args:?}: {text}");
        }
    }
    for then in &kept[3..] {
        let (code, text) = python(&[&dir, Path::new("--against"), &then.checkpoint]);
        assert_eq!(code, 0, "{text}");
    }

    // Every backup is as good as before, and can be restored beside the log.
    let list = home.list(Level::Chain);
    assert_eq!(list.backups.len(), 6);
    for listed in &list.backups {
        assert!(listed.is_good(), "{}: {:?}", listed.id, listed.damage);
        let place = home.dir.path().join(format!("beside-{}", listed.id));
        let target = Target::Beside(place.clone());
        let wish = Wish::Id(listed.id);
        home.restore_as(&RestoreRequest { wish, target, ..wanted() }).expect("restored");
        let report = verify(&home.fs, &place, &Request::default(), &Unwatched).expect("a report").0;
        assert!(report.passed(), "{}: {:?}", listed.id, report.findings);
        let of_then = kept.iter().find(|kept| kept.backup == listed.id).map(|kept| &kept.key);
        assert_eq!(report.key, Some(of_then.unwrap_or(&today).label()));
    }
    assert_eq!(list.backups[0].id, newest.metadata.id);
    home.record(5);
    passes(&home, &Request::default());
}

/// A log whose key was changed once, the retired private key, and today's.
struct Changed {
    home: Home,
    retired: SigningKey,
    today: SigningKey,
}

fn changed() -> Changed {
    let home = Home::new();
    home.record(40);
    let keep = home.dir.path().join("retired");
    let log = home.open();
    let request = RotateRequest {
        keep_old: Some(keep.clone()),
        reason: Some("yearly".to_owned()),
        ..RotateRequest::default()
    };
    let rotated = log.rotate_key(&request).expect("changed");
    assert_eq!(rotated.kept_old, Some(keep.clone()));
    record_into(&log, 40);
    log.close().expect("closed");
    let load = |path: &Path| SigningKey::load(&*home.fs, path).expect("a key");
    let (retired, today) = (load(&keep), load(&home.log_dir().join("audit.key")));
    assert_eq!(retired.verifier().to_string(), rotated.old_key);
    assert_eq!(today.verifier().to_string(), rotated.new_key);
    let record = records(&home.log_dir()).into_iter().nth(rotated.seq as usize).expect("there").1;
    assert_eq!(record["event_type"], "audit.key_rotated");
    assert_eq!(record["details"]["new_key"], rotated.new_key);
    assert_eq!(record["details"]["reason"], "yearly");
    passes(&home, &Request::default());
    Changed { home, retired, today }
}

/// The text of the newest checkpoint, signed by another key.
fn signed_by(home: &Home, key: &SigningKey) -> Vec<u8> {
    let note = SignedCheckpoint::parse(&read(&home.log_dir().join("audit.checkpoint")));
    let text = note.expect("a checkpoint").note().text().to_owned();
    key.sign_note(text).expect("signed").to_string().into_bytes()
}

fn finds(report: &Report, kind: Kind, what: &str) {
    let found =
        |f: &auditctl::audit::read::verify::Finding| f.kind == kind && f.message.contains(what);
    assert!(!report.passed());
    assert!(report.findings.iter().any(found), "{kind:?} {what}: {:?}", report.findings);
}

#[test]
fn what_a_retired_key_signs_after_its_time_is_found_and_what_it_signed_before_is_not_doubted() {
    let Changed { home, retired, today } = changed();
    let dir = home.log_dir();
    // As the log's own checkpoint, with or without today's public key at hand.
    let good = read(&dir.join("audit.checkpoint"));
    let forged = signed_by(&home, &retired);
    std::fs::write(dir.join("audit.checkpoint"), &forged).expect("written");
    for key in [None, Some(retired.verifier()), Some(today.verifier())] {
        let report = checked(&home, &Request { key: key.cloned(), ..Request::default() });
        finds(&report, Kind::WrongKey, "was retired at");
    }
    let (code, text) = python(&[&dir]);
    assert_eq!(code, 1, "{text}");
    let head = read(&dir.join("audit.head"));
    std::fs::remove_file(dir.join("audit.head")).expect("removed");
    let error = AuditLog::open(home.options()).expect_err("not opened");
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
    std::fs::write(dir.join("audit.head"), &head).expect("written");
    std::fs::write(dir.join("audit.checkpoint"), &good).expect("written");

    // As a copy that somebody shows.
    let anchors = vec![Anchor::parse("shown", &forged).expect("a note")];
    let report = checked(&home, &Request { anchors, ..Request::default() });
    finds(&report, Kind::WrongKey, "was retired at");

    // The newer key has no say about what came before it: entries of an older key
    // that are signed again are found (as systemd's CVE-2023-31439 was not).
    let history = KeyHistory::load(&*home.fs, &LogPaths::new(&dir)).expect("read").expect("there");
    let both = SignedCheckpoint::parse(history.rotations[0].checkpoint.as_bytes()).expect("a note");
    let text = both.note().text().replace(
        &format!("\n{}\n", both.unverified().size),
        &format!("\n{}\n", both.unverified().size - 1),
    );
    let early = today.sign_note(text).expect("signed").to_string();
    let anchors = vec![Anchor::parse("early", early.as_bytes()).expect("a note")];
    let report = checked(&home, &Request { anchors, ..Request::default() });
    finds(&report, Kind::WrongKey, "came into use at");

    // At the place itself both are right.
    let anchors =
        vec![Anchor::parse("both", history.rotations[0].checkpoint.as_bytes()).expect("a note")];
    assert_eq!(
        passes(&home, &Request { anchors, ..Request::default() }).completeness,
        Completeness::Anchored
    );
}

#[test]
fn every_changed_byte_of_the_chain_is_found_and_so_is_a_chain_that_is_gone() {
    let Changed { home, retired, .. } = changed();
    let path = home.log_dir().join("audit.keys");
    let good = read(&path);
    let quick = Request { quick: true, ..Request::default() };
    passes(&home, &quick);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 7);
        std::fs::write(&path, &bad).expect("written");
        let report = checked(&home, &quick);
        assert!(!report.passed(), "byte {at}: {:?}", String::from_utf8_lossy(&bad[at..=at]));
    }
    for end in [0, good.len() / 2, good.len() - 2] {
        std::fs::write(&path, &good[..end]).expect("written");
        assert!(!checked(&home, &quick).passed(), "cut at {end}");
    }
    std::fs::remove_file(&path).expect("removed");
    finds(&checked(&home, &quick), Kind::WrongKey, "nothing leads from it");
    finds(
        &checked(&home, &Request { key: Some(retired.verifier().clone()), ..quick.clone() }),
        Kind::WrongKey,
        "not the key given",
    );
    assert_eq!(python(&[&home.log_dir()]).0, 1);
    std::fs::write(&path, &good).expect("written");
    passes(&home, &quick);
    assert_eq!(python(&[&home.log_dir()]).0, 0);
}

#[test]
fn a_chain_that_somebody_made_who_has_not_the_keys_is_found() {
    let Changed { home, retired, today } = changed();
    let dir = home.log_dir();
    let thief = SigningKey::generate(today.name()).expect("a key");
    let path = dir.join("audit.keys");
    let mut history =
        KeyHistory::load(&*home.fs, &LogPaths::new(&dir)).expect("read").expect("there");
    let names = |history: &KeyHistory, from: &SigningKey, by: &[&SigningKey]| {
        let mut forged = history.rotations[0].clone();
        let note = SignedCheckpoint::parse(forged.checkpoint.as_bytes()).expect("a note");
        let text = note.note().text().to_owned();
        let signatures: Vec<_> = by
            .iter()
            .flat_map(|key| key.sign_note(text.clone()).expect("signed").signatures().to_vec())
            .collect();
        forged.record = forged
            .record
            .replace(&today.verifier().to_string(), &thief.verifier().to_string())
            .replace(&retired.verifier().to_string(), &from.verifier().to_string());
        forged.old_key = from.verifier().to_string();
        forged.new_key = thief.verifier().to_string();
        let note = auditctl::audit::keys::checkpoint::Note::new(text, signatures);
        forged.checkpoint = note.expect("a note").to_string();
        forged
    };
    let forgeries = [
        vec![names(&history, &retired, &[&thief])],
        vec![names(&history, &retired, &[&retired, &thief])],
        vec![history.rotations[0].clone(), names(&history, &today, &[&thief])],
        vec![history.rotations[0].clone(), names(&history, &today, &[&today, &thief])],
    ];
    for forged in forgeries {
        history.rotations = forged;
        std::fs::write(&path, history.encode()).expect("written");
        std::fs::write(dir.join("audit.pub"), format!("{}\n", thief.verifier())).expect("written");
        std::fs::write(dir.join("audit.checkpoint"), signed_by(&home, &thief)).expect("written");
        for key in [None, Some(retired.verifier()), Some(today.verifier())] {
            let report = checked(&home, &Request { key: key.cloned(), ..Request::default() });
            assert!(!report.passed());
        }
        assert_eq!(python(&[&dir]).0, 1);
    }
}

#[test]
fn a_log_never_goes_on_with_a_retired_key() {
    let Changed { home, retired, today } = changed();
    let path = home.log_dir().join("audit.key");
    let good = read(&path);
    std::fs::remove_file(&path).expect("removed");
    retired.save(&*home.fs, &path).expect("saved");
    let before = read(&home.log_dir().join("audit.pub"));
    match AuditLog::open(home.options()).expect_err("not opened") {
        OpenError::KeyRetired { found, wanted, .. } => {
            assert_eq!(found, retired.verifier().label());
            assert_eq!(wanted, today.verifier().label());
        }
        error => panic!("{error}"),
    }
    assert_eq!(read(&home.log_dir().join("audit.pub")), before, "nothing was changed");
    std::fs::write(&path, good).expect("written");
    home.record(1);
    passes(&home, &Request::default());
}

#[test]
fn keys_that_cannot_follow_are_refused_and_nothing_is_changed() {
    let Changed { home, retired, today } = changed();
    let log = home.open();
    let file = |name: &str, key: &SigningKey| {
        let path = home.dir.path().join(name);
        key.save(&*home.fs, &path).expect("saved");
        path
    };
    let other = SigningKey::generate("auditctl/other").expect("a key");
    let refused = |request: RotateRequest| match log.rotate_key(&request) {
        Err(error @ (RotateError::Refused(_) | RotateError::Files(_))) => error.to_string(),
        done => panic!("{done:?}"),
    };
    let with = |path: PathBuf| RotateRequest { new_key: Some(path), ..RotateRequest::default() };
    // What is sealed is compressed meanwhile.
    let kept = || {
        let mut names = names(&home.log_dir());
        names.retain(|name| name.starts_with("audit.key") || name == "audit.pub");
        names
    };
    let before = kept();
    assert!(refused(with(file("a", &retired))).contains("was retired"));
    assert!(refused(with(file("b", &today))).contains("signs for this log already"));
    assert!(refused(with(file("c", &other))).contains("has to be"));
    assert!(refused(with(home.dir.path().join("none"))).contains("nothing was changed"));
    let taken = Some(home.dir.path().join("a"));
    assert!(
        refused(RotateRequest { keep_old: taken, ..RotateRequest::default() }).contains("exists")
    );
    let reason = Some("x".repeat(257));
    assert!(refused(RotateRequest { reason, ..RotateRequest::default() }).contains("longer"));
    assert_eq!(kept(), before);
    let mine = SigningKey::generate(today.name()).expect("a key");
    let rotated = log.rotate_key(&with(file("d", &mine))).expect("changed");
    assert_eq!(rotated.new_key, mine.verifier().to_string());
    log.close().expect("closed");
    assert_eq!(count(&home.log_dir(), "audit.key_rotated"), 2);
    passes(&home, &Request { key: Some(retired.verifier().clone()), ..Request::default() });
}

#[test]
fn an_older_backup_over_a_log_with_another_key_goes_on_with_todays_key_in_a_new_epoch() {
    let home = Home::new();
    home.record(40);
    let old = home.back_up();
    let first = public(&home);
    let log = home.open();
    rotate(&log);
    record_into(&log, 20);
    log.close().expect("closed");
    let today = public(&home);
    let newer = home.back_up();

    let outcome = home.restore(Wish::Id(old.metadata.id)).expect("restored");
    assert!(outcome.plan.new_epoch && outcome.unrecorded.is_none(), "{outcome:?}");
    assert_eq!(public(&home), today);
    home.record(20);
    for key in [&first, &today] {
        let report = passes(&home, &Request { key: Some(key.clone()), ..Request::default() });
        assert_eq!((report.epoch, report.key), (1, Some(today.label())));
    }
    assert_eq!(python(&[&home.log_dir()]).0, 0);
    let made = home.back_up();
    assert_eq!(made.unsigned, None);

    // What was set aside is a log of its own, with the keys of then.
    let aside = outcome.kept_in.expect("something was set aside");
    let report = verify(&home.fs, &aside, &Request::default(), &Unwatched).expect("a report").0;
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(report.keys.len(), 2);

    // The key changes in this epoch as well; then the newer backup comes back.
    let log = home.open();
    rotate(&log);
    log.close().expect("closed");
    passes(&home, &Request { key: Some(first.clone()), ..Request::default() });
    home.restore(Wish::Id(newer.metadata.id)).expect("restored");
    home.record(5);
    let report = passes(&home, &Request { key: Some(first), ..Request::default() });
    assert_eq!((report.epoch, report.keys.len()), (2, 3));
    assert!(home.list(Level::Chain).backups.iter().all(|listed| listed.is_good()));
}

#[test]
fn a_backup_brings_the_keys_that_a_new_machine_does_not_have() {
    let home = Home::new();
    home.record(40);
    let first = public(&home);
    let log = home.open();
    rotate(&log);
    record_into(&log, 20);
    log.close().expect("closed");
    let made = home.back_up();
    let key = read(&home.log_dir().join("audit.key"));

    // Nothing is left but the backups and the key; or only the backups, and the
    // public key that an auditor had from the beginning; or the archive alone.
    for (round, with_metadata) in [(0, true), (1, true), (2, false)] {
        let new = Home::new();
        copy_dir(home.backups().path(), new.backups().path());
        let mut wish = Wish::Id(made.metadata.id);
        if !with_metadata {
            let archive = new.backups().path().join(&made.metadata.archive.file);
            std::fs::remove_file(new.backups().path().join(made.metadata.id.metadata()))
                .expect("removed");
            wish = Wish::Path(archive);
        }
        std::fs::create_dir_all(new.log_dir()).expect("directory");
        let path = new.log_dir().join("audit.key");
        std::fs::write(&path, &key).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("mode");
        let public_key = (round == 1).then(|| first.clone());
        let outcome =
            new.restore_as(&RestoreRequest { wish, public_key, ..wanted() }).expect("restored");
        assert!(outcome.unrecorded.is_none(), "{:?}", outcome.unrecorded);
        new.record(10);
        let report = passes(&new, &Request { key: Some(first.clone()), ..Request::default() });
        assert_eq!((report.epoch, report.keys.len()), (0, 2), "round {round}");
    }
}

#[test]
fn a_state_of_before_is_gone_on_from_and_a_log_cut_before_the_change_is_found() {
    let home = Home::new();
    home.record(60);
    let (_, state) =
        verify(&home.fs, &home.log_dir(), &Request::default(), &Unwatched).expect("a report");
    let saved = home.dir.path().join("saved");
    copy_dir(&home.log_dir(), &saved);
    let log = home.open();
    rotate(&log);
    log.close().expect("closed");
    let request = Request { since: state, ..Request::default() };
    let report = passes(&home, &request);
    assert_eq!(report.depth_reason, None);

    // The log of before, put back under the keys of after.
    for name in names(&saved) {
        if name != "audit.pub" && name != "audit.key" {
            std::fs::copy(saved.join(&name), home.log_dir().join(&name)).expect("copied");
        }
    }
    let report = checked(&home, &Request::default());
    assert!(report.findings.iter().any(|f| f.kind == Kind::Truncated && f.file == "audit.keys"));
    assert!(matches!(AuditLog::open(home.options()), Err(OpenError::Corrupt(_))));
}

/// Tells the threads of a test to end, also when it panics.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn p5_keys_change_under_load_while_others_verify_back_up_and_query_without_an_alarm() {
    let home = Home::new();
    home.record(30);
    let first = public(&home);
    let log = open(Options {
        max_segment_size: 32 << 10,
        checkpoint_interval: Duration::from_millis(5),
        ..home.options()
    });
    let done = AtomicBool::new(false);
    let acknowledged = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // A failure below ends the others as well, instead of waiting for them for ever.
        let _end = Ended(&done);
        for thread in 0..2 {
            let (log, done, acknowledged) = (&log, &done, &acknowledged);
            scope.spawn(move || {
                let mut n = 0;
                while !done.load(Ordering::Relaxed) {
                    let actor = format!("{thread}-{n}");
                    let receipt = log.record(Event::new("e").actor(&*actor)).expect("accepted");
                    let seq = receipt.wait_durable().expect("durable");
                    acknowledged.lock().expect("lock").push((seq, actor));
                    n += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let changer = scope.spawn(|| {
            for n in 0..25 {
                let rotated = rotate(&log);
                assert_eq!(rotated.unfinished, None, "change {n}");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut rounds = 0;
        while !changer.is_finished() || rounds < 40 {
            let key = (rounds % 2 == 0).then(|| first.clone());
            let report =
                checked(&home, &Request { key, quick: rounds % 3 == 0, ..Request::default() });
            assert!(report.passed(), "round {rounds}: {:?}", report.findings);
            if rounds % 8 == 0 {
                let made = home.back_up();
                assert_eq!(made.unsigned, None);
            }
            let end = report.tree_size - 1;
            let document = prove(&home.fs, &home.log_dir(), end).expect("a proof");
            document.check(Some(&first)).expect("proven");
            rounds += 1;
        }
        done.store(true, Ordering::Relaxed);
        changer.join().expect("changed");
    });
    log.close().expect("closed");
    let stored = records(&home.log_dir());
    for (seq, actor) in acknowledged.into_inner().expect("lock") {
        assert_eq!(stored[seq as usize].1["actor"], actor.as_str());
    }
    let report = passes(&home, &Request { key: Some(first), ..Request::default() });
    assert_eq!(report.keys.len(), 26);
    assert_eq!(python(&[&home.log_dir()]).0, 0);
    assert!(home.list(Level::Chain).backups.iter().all(|listed| listed.is_good()));
    let history = KeyHistory::load(&*home.fs, &LogPaths::new(&home.log_dir())).expect("read");
    let ring = Keyring::new(public(&home), &history.expect("there").rotations).expect("a ring");
    assert_eq!(ring.keys().len(), 26);
}

#[test]
fn keys_change_twice_in_a_row_where_the_writer_syncs_at_intervals() {
    let home = Home::new();
    let durability = auditctl::audit::Durability::Interval;
    let write_flush_interval = Duration::from_secs(60);
    let log = open(Options { durability, write_flush_interval, ..home.options() });
    let first = public(&home);
    let _ = log.record(Event::new("e")).expect("accepted");
    let (one, two) = (rotate(&log), rotate(&log));
    assert_eq!((one.seq + 1, &one.new_key), (two.seq, &two.old_key));
    log.close().expect("closed");
    assert_eq!(count(&home.log_dir(), "e"), 1);
    assert_eq!(passes(&home, &Request { key: Some(first), ..Request::default() }).keys.len(), 3);
}

#[test]
fn a_damaged_chain_is_no_log_to_go_on_with_until_that_is_accepted_or_a_backup_mends_it() {
    let Changed { home, today, retired } = changed();
    home.back_up();
    let path = home.log_dir().join("audit.keys");
    let good = read(&path);
    let damage = || std::fs::write(&path, &good[..good.len() / 2]).expect("written");
    damage();
    let refused = AuditLog::open(home.options()).expect_err("not opened");
    assert!(matches!(&refused, OpenError::Corrupt(what) if what.file == "audit.keys"), "{refused}");

    let outcome = home.restore(Wish::Latest).expect("restored");
    assert!(outcome.unrecorded.is_none(), "{:?}", outcome.unrecorded);
    assert_eq!(read(&path), good);
    home.record(3);
    assert_eq!(passes(&home, &Request::default()).key, Some(today.verifier().label()));

    damage();
    open(Options { accept_corruption: true, ..home.options() }).close().expect("closed");
    assert!(names(&home.log_dir()).iter().any(|name| name.starts_with("audit.log.keys-")));
    home.record(3);
    let log = home.open();
    rotate(&log);
    log.close().expect("closed");
    // What was accepted is not forgotten: nothing leads from the first key any more, which
    // is told, and found by who believes that key alone.
    let report = passes(&home, &Request::default());
    assert!(report.notes.iter().any(|note| note.contains("was accepted")), "{:?}", report.notes);
    let first = Request { key: Some(retired.verifier().clone()), ..Request::default() };
    finds(&checked(&home, &first), Kind::WrongKey, "not the key given");
}

#[test]
fn a_key_that_somebody_else_put_beside_the_log_s_does_not_follow_it() {
    if !rustix::process::getuid().is_root() {
        crate::support::skipped("only root can give a file to another user");
        return;
    }
    let Changed { home, today, .. } = changed();
    let next = home.log_dir().join("audit.key.next");
    let planted = SigningKey::generate(today.name()).expect("a key");
    planted.save(&*home.fs, &next).expect("saved");
    std::os::unix::fs::chown(&next, Some(65_534), None).expect("given away");
    let log = home.open();
    assert_eq!(log.verifier_key(), today.verifier().to_string());
    let error = log.rotate_key(&RotateRequest::default()).expect_err("refused").to_string();
    assert!(error.contains("belongs to user 65534"), "{error}");
    log.close().expect("closed");
    // One of our own goes on: that is what a crash leaves.
    std::os::unix::fs::chown(&next, Some(0), None).expect("taken back");
    let log = home.open();
    assert_eq!(log.verifier_key(), planted.verifier().to_string());
    log.close().expect("closed");
    assert!(!next.exists());
    passes(&home, &Request { key: Some(today.verifier().clone()), ..Request::default() });
}
