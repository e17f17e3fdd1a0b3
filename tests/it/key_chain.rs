//! `audit.keys`, lost or cut while nobody writes: a log does not go on, and is not backed
//! up, as if its key had never been changed; and there is a way out.

use std::path::Path;
use std::time::Duration;

use auditctl::audit::keys::{KeyHistory, load_keyring};
use auditctl::audit::read::verify::{Kind, Request, State, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, LogPaths, OpenError, Options, RetentionRule};
use auditctl::backup::{BackupError, Level, RestoreRequest, Target, Wish};

use crate::backups::{Home, names, read, record_into, wanted};
use crate::keys::{checked, python, rotate};
use crate::support::{Dir, all_lines, eventually, open, options, records, run};

/// A log whose key was changed twice, closed.
fn changed() -> Home {
    let home = Home::new();
    let log = home.open();
    for _ in 0..2 {
        record_into(&log, 20);
        rotate(&log);
    }
    record_into(&log, 20);
    log.close().expect("closed");
    home
}

fn keys_file(home: &Home) -> std::path::PathBuf {
    home.log_dir().join("audit.keys")
}

fn history(dir: &Path) -> KeyHistory {
    KeyHistory::load(&auditctl::fsio::OsFs, &LogPaths::new(dir)).expect("read").expect("there")
}

/// Everything that somebody could make of the chain, by name.
fn losses(home: &Home) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let good = history(&home.log_dir());
    let with = |rotations: Vec<_>| Some(KeyHistory { rotations, ..good.clone() }.encode());
    let other = changed();
    let foreign = KeyHistory { log_id: good.log_id.clone(), ..history(&other.log_dir()) };
    vec![
        ("removed", None),
        ("emptied", Some(Vec::new())),
        ("cut to a prefix", with(good.rotations[..1].to_vec())),
        ("without its beginning", with(good.rotations[1..].to_vec())),
        ("without a link in the middle", {
            let log = home.open();
            rotate(&log);
            log.close().expect("closed");
            let now = history(&home.log_dir());
            let rotations = vec![now.rotations[0].clone(), now.rotations[2].clone()];
            Some(KeyHistory { rotations, ..now }.encode())
        }),
        ("another log's", Some(read(&keys_file(&other)))),
        ("another log's under this one's name", Some(foreign.encode())),
    ]
}

fn put(home: &Home, content: Option<&[u8]>) {
    let path = keys_file(home);
    match content {
        None => std::fs::remove_file(&path).unwrap_or_default(),
        Some(content) => std::fs::write(&path, content).expect("written"),
    }
}

fn passes(home: &Home) {
    let report = checked(home, &Request::default());
    assert!(report.passed(), "{:?}", report.findings);
    let (code, text) = python(&[&home.log_dir()]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_log_whose_chain_of_keys_was_lost_is_neither_opened_nor_backed_up_nor_verified() {
    let home = changed();
    for (what, content) in losses(&home) {
        let good = read(&keys_file(&home));
        put(&home, content.as_deref());
        match AuditLog::open(home.options()) {
            Err(OpenError::Corrupt(found)) => assert_eq!(found.file, "audit.keys", "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let failed = home.try_back_up();
        let told = failed.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(failed.is_err() && told.contains("audit.keys"), "{what}: {told}");
        assert!(home.list(Level::Listed).backups.is_empty(), "{what}: none was made");
        for quick in [false, true] {
            let report = checked(&home, &Request { quick, ..Request::default() });
            assert!(!report.passed(), "{what}, quick {quick}");
        }
        assert_eq!(python(&[&home.log_dir()]).0, 1, "{what}");
        put(&home, Some(&good));
        passes(&home);
    }
}

#[test]
fn the_backup_of_a_log_without_its_chain_says_what_is_missing_and_what_to_do() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "a"]).0, 0);
    assert_eq!(run(&dir, &["key", "rotate"]).0, 0);
    let keys = dir.log().join("audit.keys");
    let good = read(&keys);
    std::fs::remove_file(&keys).expect("removed");
    for args in [&["backup"][..], &["record", "--type", "b"]] {
        let (code, _, stderr) = run(&dir, args);
        assert_ne!(code, 0, "{args:?}: {stderr}");
        assert!(
            stderr.contains("audit.keys") && stderr.contains("--accept-corruption"),
            "{stderr}"
        );
    }
    assert_eq!(run(&dir, &["verify"]).0, 1);
    let (_, stdout, _) = run(&dir, &["health", "--json"]);
    assert!(
        stdout.contains("integrity.own_file_gone") && stdout.contains("audit.keys"),
        "{stdout}"
    );
    std::fs::write(&keys, good).expect("written");
    assert!(!run(&dir, &["health", "--json"]).1.contains("own_file_gone"));
    assert_eq!(run(&dir, &["backup"]).0, 0);
    assert_eq!(run(&dir, &["verify"]).0, 0);
}

#[test]
fn opening_puts_back_the_chain_that_a_backup_in_reach_holds_and_says_so() {
    for round in 0..7 {
        let home = changed();
        let (what, content) = losses(&home).swap_remove(round);
        let good = read(&keys_file(&home));
        home.back_up();
        put(&home, content.as_deref());
        let log = open(home.options().backups_in(home.backups().path()));
        log.close().expect("closed");
        assert_eq!(read(&keys_file(&home)), good, "{what}");
        let recovered = records(&home.log_dir()).into_iter().map(|(_, record)| record);
        let mut told = recovered.filter(|r| r["details"]["keys_put_back"].is_string());
        assert!(told.next().is_some(), "{what}: a record says it");
        let kept = names(&home.log_dir()).iter().any(|name| name.contains(".keys-"));
        assert_eq!(kept, content.is_some(), "{what}: what stood there is kept");
        let security = std::fs::read_to_string(home.log_dir().join("security_events.log"));
        assert!(security.expect("told").contains("audit.keys"), "{what}");
        passes(&home);
        home.back_up();
    }
}

#[test]
fn serve_puts_it_back_from_the_backups_that_the_settings_name() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "a"]).0, 0);
    assert_eq!(run(&dir, &["key", "rotate"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    std::fs::remove_file(dir.log().join("audit.keys")).expect("removed");
    assert_eq!(run(&dir, &["verify"]).0, 1);
    let collector = crate::serving::Serving::start(&dir, "");
    collector.terminate();
    assert_eq!(run(&dir, &["verify"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
}

#[test]
fn what_no_backup_holds_is_accepted_once_and_then_the_log_is_whole_again() {
    let home = changed();
    let first = load_keyring(&*home.fs, &LogPaths::new(&home.log_dir()), None).expect("keys");
    for (what, content) in losses(&home) {
        put(&home, content.as_deref());
        open(Options { accept_corruption: true, ..home.options() }).close().expect("closed");
        // It is not asked for again, and everything works.
        let log = home.open();
        record_into(&log, 5);
        rotate(&log);
        log.close().expect("closed");
        passes(&home);
        home.back_up();
        let report = checked(&home, &Request::default());
        assert!(report.notes.iter().any(|note| note.contains("was accepted")), "{what}");
        // Who believes only the first key has no way to today's.
        let key = Some(first.oldest().clone());
        let report = checked(&home, &Request { key, ..Request::default() });
        assert!(report.findings.iter().any(|f| f.kind == Kind::WrongKey), "{what}");
    }
    assert!(home.list(Level::Chain).backups[0].is_good(), "the newest is by today's keys");
}

#[test]
fn what_the_newest_head_vouches_for_is_not_named_as_unsigned_when_something_else_is_accepted() {
    let home = changed();
    put(&home, None);
    open(Options { accept_corruption: true, ..home.options() }).close().expect("closed");
    let stored = records(&home.log_dir()).into_iter().map(|(_, record)| record);
    let mut told = stored.filter(|record| record["event_type"] == "audit.recovered");
    let details = told.next().expect("recorded")["details"].clone();
    assert!(details["accepted_corruption"].is_string(), "{details}");
    assert!(details["unsigned_first"].is_null(), "{details}");
}

#[test]
fn a_chain_that_was_accepted_as_lost_comes_back_when_a_backup_with_it_turns_up() {
    let home = changed();
    let good = read(&keys_file(&home));
    home.back_up();
    put(&home, None);
    open(Options { accept_corruption: true, ..home.options() }).close().expect("closed");
    assert!(!keys_file(&home).exists());
    // A new epoch is no other history: it names the head that it leaves.
    open(home.options().backups_in(home.backups().path())).close().expect("closed");
    assert_eq!(read(&keys_file(&home)), good);
    passes(&home);
}

/// Retention has removed the records that say which key the log began with, and how it
/// was changed.
fn without_its_beginning() -> Home {
    let home = changed();
    let changes = records(&home.log_dir()).into_iter();
    let changes = changes.filter(|(_, record)| record["event_type"] == "audit.key_rotated");
    let last = changes.map(|(seq, _)| seq).max().expect("a change");
    let log = open(Options {
        retention: Some(Duration::from_millis(1)),
        retention_rule: RetentionRule::RemovesWithoutBackup,
        max_segment_size: 4 << 10,
        ..home.options()
    });
    // Not for ever: the keeper that is to remove also packs what is sealed.
    let mut seals = 0;
    eventually("the beginning is removed", || {
        if seals < 40 {
            record_into(&log, 20);
            log.seal();
            seals += 1;
        }
        log.manifest().pruned.end() > last
    });
    log.close().expect("closed");
    assert!(!all_lines(&home.log_dir()).iter().any(|line| line.contains("audit.key_rotated")));
    assert!(records(&home.log_dir())[0].0 > 0);
    home
}

#[test]
fn after_retention_removed_the_records_of_the_changes_the_chain_is_demanded_all_the_same() {
    let home = without_its_beginning();
    passes(&home);
    let state = verify(&home.fs, &home.log_dir(), &Request::default(), &Unwatched);
    let state: Option<State> = state.expect("a report").1;
    let good = read(&keys_file(&home));
    let manifest = home.log_dir().join("audit.manifest.json");
    let whole = history(&home.log_dir());
    let suffix = KeyHistory { rotations: whole.rotations[1..].to_vec(), ..whole }.encode();
    for (content, with_manifest) in
        [(None, true), (None, false), (Some(&suffix), true), (Some(&suffix), false)]
    {
        let noted = read(&manifest);
        put(&home, content.map(Vec::as_slice));
        if !with_manifest {
            std::fs::remove_file(&manifest).expect("removed");
        }
        assert!(matches!(AuditLog::open(home.options()), Err(OpenError::Corrupt(_))));
        for request in [
            Request::default(),
            Request { quick: true, ..Request::default() },
            Request { since: state.clone(), ..Request::default() },
        ] {
            let report = checked(&home, &request);
            let told =
                |f: &auditctl::audit::read::verify::Finding| f.message.contains("nothing leads");
            assert!(!report.passed());
            // Without a manifest where the log begins is not known either.
            let found = report.findings.iter().any(told) || !with_manifest;
            assert!(found, "{request:?}: {:?}", report.findings);
        }
        std::fs::write(&manifest, noted).expect("written");
        assert!(matches!(home.try_back_up(), Err(BackupError::KeyChain { .. })));
        assert_eq!(python(&[&home.log_dir()]).0, 1);
        put(&home, Some(&good));
        passes(&home);
    }
    home.back_up();
}

#[test]
fn a_backup_that_was_made_without_the_chain_is_not_good_and_is_not_put_in_the_logs_place() {
    let home = changed();
    let made = home.back_up();
    // As the builds made it that did not ask.
    let mut metadata = made.metadata.clone();
    metadata.log.key_chain.clear();
    let key = auditctl::audit::keys::signer::SigningKey::load(
        &*home.fs,
        &home.log_dir().join("audit.key"),
    );
    metadata.sign(&key.expect("the key")).expect("signed");
    std::fs::write(&made.metadata_file, metadata.to_bytes().expect("json")).expect("written");
    let listed = home.list(Level::Content);
    let damage = listed.backups[0].damage.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(damage.contains("key chain") && damage.contains("back up again"), "{damage}");
    // The log here has the chain: with it the backup is as good as any.
    home.record(20);
    home.restore(Wish::Latest).expect("restored");
    passes(&home);
    // Elsewhere it lacks it.
    let target = Target::Beside(home.dir.path().join("beside"));
    home.restore_as(&RestoreRequest { target, ..wanted() }).expect("to be looked at");
    let private = read(&home.log_dir().join("audit.key"));
    std::fs::remove_dir_all(home.log_dir()).expect("removed");
    std::fs::create_dir(home.log_dir()).expect("made");
    std::fs::write(home.log_dir().join("audit.key"), private).expect("written");
    std::fs::set_permissions(
        home.log_dir().join("audit.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("mode");
    let refused = home.restore(Wish::Latest).expect_err("refused").to_string();
    assert!(refused.contains("--target DIR"), "{refused}");
    // The way out that it names leads out.
    let beside = home.dir.path().join("beside");
    let moved = options(&home.dir);
    std::fs::copy(home.log_dir().join("audit.key"), beside.join("audit.key")).expect("copied");
    let moved = Options { dir: beside.clone(), accept_corruption: true, ..moved };
    open(moved.clone()).close().expect("closed");
    open(Options { accept_corruption: false, ..moved }).close().expect("closed");
    let report = verify(&home.fs, &beside, &Request::default(), &Unwatched).expect("a report").0;
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn a_chain_removed_under_the_running_writer_is_put_back() {
    let home = changed();
    let good = read(&keys_file(&home));
    let log = home.open();
    std::fs::remove_file(keys_file(&home)).expect("removed");
    eventually("it is back", || std::fs::read(keys_file(&home)).is_ok_and(|now| now == good));
    home.back_up();
    log.close().expect("closed");
    passes(&home);
}
