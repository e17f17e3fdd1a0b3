//! What an adversary found when the rule was first built: bytes that the live writer
//! once signed, put back at another moment, and lines that claim a place.

use auditctl::audit::read::verify::{Kind, Request};
use auditctl::audit::{AuditLog, Event, LogPaths, OpenError};
use serde_json::{Value, json};

use super::Victim;
use crate::backups::read;
use crate::support::{all_lines, records};

fn line(seq: u64, event_type: &str, via: &str, details: &Value) -> String {
    format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-11-26T21:00:00.000000Z\",\"event_type\":\"{event_type}\",\
         \"actor\":\"auditctl\",\"source\":\"auditctl\",\"details\":{details},\
         \"origin\":{{\"via\":\"{via}\",\"uid\":0,\"pid\":1}}}}\n"
    )
}

fn refused(victim: &Victim, what: &str) -> OpenError {
    let before = crate::backups::names(&victim.home.log_dir());
    let error = AuditLog::open(victim.home.options()).map(|_| ()).expect_err(what);
    let after = crate::backups::names(&victim.home.log_dir());
    assert!(before.iter().all(|name| after.contains(name)), "{what}: nothing is removed");
    error
}

/// The log of an unclean stop: its files, copied while it was open.
fn killed() -> (Victim, u64) {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let log = victim.home.open();
    log.record(Event::new("e")).expect("queued").wait_durable().expect("durable");
    let image = victim.home.dir.path().join("image");
    crate::backups::copy_dir(&dir, &image);
    log.close().expect("closed");
    std::fs::remove_dir_all(&dir).expect("removed");
    std::fs::rename(&image, &dir).expect("put in place");
    let end = all_lines(&dir).len() as u64;
    (victim, end)
}

#[test]
fn c1_a_forged_sealed_file_is_named_as_unsigned_also_with_the_manifest_of_an_earlier_opening() {
    let (victim, end) = killed();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let first: u64 = all_lines(&dir).len() as u64 - lines_of_active(&victim) as u64;
    let mut text = read(&paths.active());
    text.extend(line(end, "approve.payment", "socket", &json!({})).bytes());
    let pruned = json!({"pruned_to": 200});
    text.extend(line(end + 1, "audit.pruned", "engine", &pruned).bytes());
    let attack = || {
        std::fs::write(paths.sealed(first), &text).expect("written");
        std::fs::remove_file(paths.active()).expect("removed");
    };
    let image = victim.home.dir.path().join("image");
    crate::backups::copy_dir(&dir, &image);
    attack();
    AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    let signed = read(&paths.manifest());
    // All as it was before that start, but for the manifest that it signed.
    std::fs::remove_dir_all(&dir).expect("removed");
    std::fs::rename(&image, &dir).expect("put in place");
    attack();
    std::fs::write(paths.manifest(), signed).expect("written");
    AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    let report = victim.report(&Request::default());
    let named = |seq| report.adopted.iter().any(|s| s.first_seq <= seq && seq < s.end_seq);
    assert!(named(end) && named(end + 1), "{:?}", report.adopted);
    // And the forged removal excuses nothing.
    let sealed = crate::backups::names(&dir).into_iter().find(|name| name.ends_with(".log.gz"));
    std::fs::remove_file(dir.join(sealed.expect("a segment"))).expect("removed");
    std::fs::remove_file(paths.manifest()).expect("removed");
    assert!(matches!(refused(&victim, "a removal that nobody signed"), OpenError::Corrupt(_)));
    victim.none_passes("a removal that nobody signed");
}

fn lines_of_active(victim: &Victim) -> usize {
    let text = read(&LogPaths::new(&victim.home.log_dir()).active());
    text.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn c2_a_log_whose_signed_heads_are_gone_does_not_open_whatever_manifest_is_put_back() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    // The manifest of a new epoch's first moment is the one that an attacker keeps.
    let mut text = read(&paths.active());
    text.truncate(text.len() / 2);
    std::fs::write(paths.active(), &text).expect("cut");
    std::fs::remove_file(paths.leaves()).expect("removed");
    let accepting = auditctl::audit::Options { accept_corruption: true, ..victim.home.options() };
    let log = AuditLog::open(accepting).expect("accepted");
    let first = read(&paths.manifest());
    log.record(Event::new("e").actor("alice")).expect("queued").wait_durable().expect("durable");
    log.close().expect("closed");
    let altered = String::from_utf8(read(&paths.active())).expect("text").replace("alice", "mally");
    std::fs::write(paths.active(), altered).expect("written");
    std::fs::write(paths.manifest(), first).expect("written");
    for path in [paths.checkpoint(), paths.head()] {
        std::fs::remove_file(path).expect("removed");
    }
    assert!(matches!(refused(&victim, "no signed head"), OpenError::Corrupt(_)));
}

#[test]
fn c3_a_wiped_log_with_forged_records_of_the_engine_is_not_taken_for_a_new_one() {
    for epoch in [0, 7, u64::from(u32::MAX)] {
        let victim = Victim::new();
        let dir = victim.home.log_dir();
        let paths = LogPaths::new(&dir);
        let log_id: Value = serde_json::from_slice(&read(&paths.manifest())).expect("json");
        for name in crate::backups::names(&dir) {
            let log = name.starts_with("audit.0") || name == "audit.log";
            if log || ["audit.checkpoint", "audit.head"].contains(&name.as_str()) {
                std::fs::remove_file(dir.join(name)).expect("removed");
            }
        }
        let empty = json!({"begin": 0, "end": 0, "hashes": []});
        let manifest = json!({"type": "auditctl/manifest", "format": 1, "log_id": log_id["log_id"], "epoch": epoch,
            "pruned": empty, "segments": [], "signature": null});
        std::fs::write(paths.manifest(), format!("{manifest}\n")).expect("written");
        let created = line(0, "audit.log_created", "engine", &json!({"log_id": "x"}));
        std::fs::write(paths.active(), created).expect("written");
        assert!(matches!(refused(&victim, "a wiped log"), OpenError::Corrupt(_)), "epoch {epoch}");
        assert!(!victim.report(&Request::default()).passed());
    }
}

#[test]
fn c4_the_journal_of_a_restore_that_nobody_with_the_key_wrote_proves_nothing() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let restored = json!({"backup": "approved by the security officer",
        "restored_at": "2026-11-26T21:00:00.000000Z", "uid": 1234, "tree_size": 1,
        "root_hash": "00", "relation": "identical", "set_aside_records": 999});
    let journal = json!({"type": "auditctl/restore", "format": 1, "committed": true, "staging": ".restore-x",
        "aside": "before-restore-x", "old": [], "new": [], "manifest_sha256": "00",
        "restored": restored, "signature": null});
    std::fs::write(paths.restore_journal(), journal.to_string()).expect("written");
    let log = AuditLog::open(victim.home.options()).expect("opens");
    log.close().expect("closed");
    let stored = records(&dir);
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.restored");
    assert_eq!(told.expect("recorded").1["details"]["unproven"], true);
    // One that was only begun moves nothing out of reach.
    let begun = json!({"type": "auditctl/restore", "format": 1, "committed": false, "staging": ".restore-x",
        "aside": "before-restore-x", "old": [], "new": ["audit.log", "audit.checkpoint"],
        "manifest_sha256": "00", "restored": restored, "signature": null});
    std::fs::create_dir(dir.join("before-restore-x")).expect("made");
    std::fs::write(paths.restore_journal(), begun.to_string()).expect("written");
    refused(&victim, "nobody with the key began it");
    std::fs::remove_file(paths.restore_journal()).expect("moved away, as the error says");
    victim.home.record(1);
    victim.all_pass();
}

#[test]
fn c5_a_line_that_only_claims_to_be_a_signed_removal_excuses_nothing() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let first = crate::backups::names(&dir).into_iter().find(|name| name.ends_with(".log.gz"));
    let manifest: Value =
        serde_json::from_slice(&read(&LogPaths::new(&dir).manifest())).expect("json");
    let end = manifest["segments"][1]["first_seq"].as_u64().expect("a seq");
    std::fs::remove_file(dir.join(first.expect("a segment"))).expect("removed");
    let claimed = line(5, "audit.pruned", "engine", &json!({"pruned_to": end}));
    std::fs::write(LogPaths::new(&dir).sealed(1), &claimed).expect("planted");
    assert!(matches!(refused(&victim, "signed manifest"), OpenError::Corrupt(_)));
    std::fs::remove_file(LogPaths::new(&dir).manifest()).expect("removed");
    assert!(matches!(refused(&victim, "no manifest"), OpenError::Corrupt(_)));
    victim.none_passes("a claimed removal");
}

#[test]
fn h1_a_start_that_would_cut_what_a_backup_holds_is_refused() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let (checkpoint, head) = (read(&paths.checkpoint()), read(&paths.head()));
    victim.home.record(5);
    let newest = read(&paths.checkpoint());
    let note = auditctl::audit::keys::checkpoint::SignedCheckpoint::parse(&newest).expect("signed");
    std::fs::write(paths.checkpoint(), checkpoint).expect("put back");
    std::fs::write(paths.head(), head).expect("put back");
    let elsewhere = auditctl::audit::keys::histories::KnownHead {
        name: "a backup".to_owned(),
        kept: auditctl::audit::keys::histories::Kept::Backup,
        note,
        rotations: Vec::new(),
    };
    let options = auditctl::audit::Options { heads: vec![elsewhere], ..victim.home.options() };
    let lines = all_lines(&dir);
    let error = AuditLog::open(options).map(|_| ()).expect_err("refused");
    assert!(matches!(error, OpenError::OtherHistory { .. }), "{error}");
    assert_eq!(all_lines(&dir), lines, "nothing was cut");
}

#[test]
fn h2_who_only_holds_the_lock_hides_no_line_behind_a_signed_close() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let end = all_lines(&dir).len() as u64;
    let mut text = read(&paths.active());
    text.extend(line(end, "approve.payment", "socket", &json!({})).bytes());
    std::fs::write(paths.active(), text).expect("written");
    let held = auditctl::fsio::lock::try_lock(&paths.lock()).expect("asked").expect("free");
    let report = victim.report(&Request::default());
    assert!(report.writer_runs && !report.passed(), "{report:?}");
    assert!(report.findings.iter().any(|finding| finding.kind == Kind::Extra));
    drop(held);
}

#[test]
fn m1_a_line_that_no_writer_writes_is_not_adopted_after_a_crash() {
    let lines: [&[u8]; 6] = [
        b"\"event_type\":\"\xff\",\"origin\":{\"via\":\"socket\"}}\n",
        b"\"event_type\":\"a\",\"event_type\":\"b\",\"origin\":{\"via\":\"socket\"}}\n",
        b"\"event_type\":7,\"origin\":{\"via\":\"socket\"}}\n",
        b"\"event_type\":\"a\",\"origin\":[1]}\n",
        b"\"event_type\":\"a\",\"details\":\"y\",\"origin\":{\"via\":\"socket\"}}\n",
        b"\"event_type\":\"a\",\"origin\":{\"via\":\"socket\"}}\r\n",
    ];
    for rest in lines {
        let (victim, end) = killed();
        let path = LogPaths::new(&victim.home.log_dir()).active();
        let mut text = read(&path);
        text.extend(
            format!("{{\"seq\":{end},\"timestamp\":\"2026-11-26T21:00:00.000000Z\",").bytes(),
        );
        text.extend_from_slice(rest);
        std::fs::write(&path, text).expect("written");
        AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
        let report = victim.report(&Request::default());
        assert!(report.passed() && report.adopted.is_empty(), "{:?}", report.adopted);
        assert_eq!(crate::verify_python::python(&[&victim.home.log_dir()]).0, 0);
    }
}

#[test]
fn n1_what_an_accepted_corruption_keeps_unsigned_is_named_and_authorises_nothing() {
    let (victim, end) = killed();
    let paths = LogPaths::new(&victim.home.log_dir());
    let mut text = read(&paths.active());
    text.extend(line(end, "approve.payment", "socket", &json!({})).bytes());
    text.extend(line(end + 1, "audit.pruned", "engine", &json!({"pruned_to": 200})).bytes());
    std::fs::write(paths.active(), text).expect("written");
    for path in [paths.checkpoint(), paths.head()] {
        std::fs::remove_file(path).expect("removed");
    }
    assert!(matches!(refused(&victim, "no signed head"), OpenError::Corrupt(_)));
    let accepting = auditctl::audit::Options { accept_corruption: true, ..victim.home.options() };
    AuditLog::open(accepting).expect("accepted").close().expect("closed");
    let report = victim.report(&Request::default());
    let named = |seq| report.adopted.iter().any(|s| s.first_seq <= seq && seq < s.end_seq);
    assert!(named(end) && named(end + 1), "{:?}", report.adopted);
    assert_eq!(report.removed_by, None);
}

#[test]
fn n2_the_first_head_of_another_epoch_rolls_nothing_back_past_a_backup() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let then = victim.home.dir.path().join("then");
    crate::backups::copy_dir(&dir, &then);
    // What the live writer signed when it once began an epoch here, kept by somebody.
    let own =
        auditctl::audit::keys::checkpoint::SignedCheckpoint::parse(&read(&paths.checkpoint()));
    let text = own.expect("signed").note().text().replacen('\n', "/e1\n", 1);
    let key = auditctl::audit::keys::signer::SigningKey::load(&auditctl::fsio::OsFs, &paths.key());
    let certificate = key.expect("the key").sign_note(text).expect("signed").to_string();
    // The log goes on where it was, and is backed up.
    victim.home.record(5);
    let note =
        auditctl::audit::keys::checkpoint::SignedCheckpoint::parse(&read(&paths.checkpoint()));
    let known = auditctl::audit::keys::histories::KnownHead {
        name: "a backup".to_owned(),
        kept: auditctl::audit::keys::histories::Kept::Backup,
        note: note.expect("signed"),
        rotations: Vec::new(),
    };
    // Then it is put back to where the other epoch began.
    std::fs::remove_dir_all(&dir).expect("removed");
    crate::backups::copy_dir(&then, &dir);
    std::fs::write(paths.checkpoint(), certificate).expect("written");
    for path in [paths.head(), paths.manifest()] {
        std::fs::remove_file(path).expect("removed");
    }
    let options = auditctl::audit::Options { heads: vec![known], ..victim.home.options() };
    let error = AuditLog::open(options).map(|_| ()).expect_err("refused");
    assert!(matches!(error, OpenError::OtherHistory { .. }), "{error}");
}

/// What opening a log says of itself goes into a record. However much of what an attacker
/// wrote it quotes, what it names as unsigned stays named, and authorises nothing.
#[test]
fn a_long_text_in_a_file_that_nobody_signed_hides_no_adoption() {
    let (victim, end) = killed();
    let paths = LogPaths::new(&victim.home.log_dir());
    let mut text = read(&paths.active());
    text.extend(line(end, "approve.payment", "socket", &json!({})).bytes());
    text.extend(line(end + 1, "audit.pruned", "engine", &json!({"pruned_to": 20})).bytes());
    std::fs::write(paths.active(), text).expect("written");
    let mut manifest: Value = serde_json::from_slice(&read(&paths.manifest())).expect("json");
    manifest["log_id"] = json!(format!("A\n\n\u{2014} {}", "A".repeat(1_000_000)));
    std::fs::write(paths.manifest(), manifest.to_string()).expect("written");
    AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    for _ in 0..2 {
        let report = victim.report(&Request::default());
        let named = |seq| report.adopted.iter().any(|s| s.first_seq <= seq && seq < s.end_seq);
        assert!(named(end) && named(end + 1), "{:?}", report.adopted);
        assert!(report.removed_by.is_none());
        // Nor does it when the manifest has to be made anew from the records.
        std::fs::remove_file(paths.manifest()).expect("removed");
        AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    }
}

#[test]
fn a_journal_that_nobody_signed_excuses_no_head_that_is_kept_elsewhere() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let paths = LogPaths::new(&dir);
    let old = victim.home.dir.path().join("old");
    crate::backups::copy_dir(&dir, &old);
    victim.home.record(30);
    victim.home.back_up();
    let newest = String::from_utf8(read(&paths.checkpoint())).expect("text");
    // The old copy is put back, with a journal that says that a restore did it.
    std::fs::remove_dir_all(&dir).expect("removed");
    std::fs::rename(&old, &dir).expect("put back");
    let journal = json!({"type": "auditctl/restore", "format": 1, "committed": true,
        "staging": ".restore-x", "aside": "before-restore-x", "old": [], "new": [],
        "manifest_sha256": "00", "restored": {"backup": "x",
        "restored_at": "2026-11-26T21:00:00.000000Z", "uid": 0, "tree_size": 1, "root_hash": "00",
        "relation": "identical", "set_aside_records": 0, "abandoned_checkpoint": newest,
        "abandoned": [newest]}, "signature": null});
    std::fs::write(paths.restore_journal(), journal.to_string()).expect("written");
    // While no backup is in reach.
    AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    let heads =
        auditctl::backup::heads(&auditctl::fsio::OsFs, victim.home.backups().path(), None, 9)
            .expect("listed")
            .heads;
    let with_backups =
        || auditctl::audit::Options { heads: heads.clone(), ..victim.home.options() };
    for _ in 0..2 {
        let error = AuditLog::open(with_backups()).expect_err("another history");
        assert!(matches!(error, OpenError::OtherHistory { .. }), "{error}");
        // Nor does it once the manifest is made anew from the records.
        std::fs::remove_file(paths.manifest()).expect("removed");
        AuditLog::open(victim.home.options()).expect("opens").close().expect("closed");
    }
}

#[test]
fn a_head_with_signatures_of_whoever_keeps_it_leaves_only_the_logs_own_in_the_log() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let old = victim.home.dir.path().join("old");
    crate::backups::copy_dir(&dir, &old);
    victim.home.record(30);
    let id = victim.home.back_up().metadata.id;
    std::fs::remove_dir_all(&dir).expect("removed");
    std::fs::rename(&old, &dir).expect("put back");
    let path = victim.home.backups().path().join(format!("audit_backup_{id}.json"));
    let mut metadata: Value = serde_json::from_slice(&read(&path)).expect("json");
    let junk = format!("\u{2014} w {}\n", "QUFB".repeat(1_400)).repeat(20);
    let note = metadata["checkpoint"].as_str().expect("a note").to_owned() + &junk;
    metadata["checkpoint"] = json!(note);
    std::fs::write(&path, metadata.to_string()).expect("written");
    let heads =
        auditctl::backup::heads(&auditctl::fsio::OsFs, victim.home.backups().path(), None, 9)
            .expect("listed")
            .heads;
    assert_eq!(heads.len(), 1);
    let options =
        auditctl::audit::Options { heads, accept_rollback: true, ..victim.home.options() };
    AuditLog::open(options).expect("accepted").close().expect("closed");
    let stored = records(&dir);
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.rollback_accepted");
    let details = &told.expect("recorded").1["details"];
    let kept = details["contradicting"][0]["checkpoint"].as_str().expect("a note");
    assert!(kept.len() < 600 && note.starts_with(kept), "{}", kept.len());
    let manifest: Value =
        serde_json::from_slice(&read(&LogPaths::new(&dir).manifest())).expect("json");
    assert!(manifest["abandoned"].to_string().len() < 2_000);
}
