//! What others' tools are promised: origins with a prefix of the operator's choice,
//! keys whose name is the origin, lines and signatures that are not ours carried along,
//! and proofs in C2SP's form and ours.

use std::path::{Path, PathBuf};

use auditctl::audit::Options;
use auditctl::audit::files::restore::Journal;
use auditctl::audit::keys::checkpoint::{Note, NoteSignature, SignedCheckpoint, VerifierKey};
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::read::verify::{Anchor, Completeness, Request, prove, verify};
use auditctl::audit::tree::document::Kind;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::backup::{RestoreRequest, Target, Unwatched, Wish};
use serde_json::Value;

use crate::backups::{Home, read, record_into, wanted};
use crate::support::{Dir, all_lines, open, records, run};
use crate::verify_python::python;

const PREFIX: &str = "example.com/audit";

/// A log of its own domain.
fn named() -> (Home, Options) {
    let home = Home::new();
    let options = home.options().with_origin(PREFIX).expect("an origin");
    let log = open(options.clone());
    record_into(&log, 40);
    log.close().expect("closed");
    (home, options)
}

fn text(path: &Path) -> String {
    String::from_utf8(read(path)).expect("text")
}

fn checkpoint(home: &Home) -> String {
    text(&home.log_dir().join("audit.checkpoint"))
}

fn passes(home: &Home, request: &Request) {
    let (report, _) = verify(&home.fs, &home.log_dir(), request, &Unwatched).expect("a report");
    assert!(report.passed(), "{:?}", report.findings);
}

/// What a tool of the specification does, which knows nothing of ours: the signature by
/// the key whose name is the origin.
fn a_c2sp_reader_verifies(note: &str, keys: &str) {
    let note = Note::parse(note.as_bytes()).expect("a note");
    let origin = note.text().lines().next().expect("an origin").to_owned();
    let mut keys = keys.lines().map(|line| line.parse::<VerifierKey>().expect("a key"));
    let key = keys.find(|key| key.name() == origin).expect("a key of that name");
    note.verify(&key).expect("verified");
}

#[test]
fn a_log_keeps_the_origin_that_it_was_made_with_through_settings_backups_and_epochs() {
    let (home, _) = named();
    let dir = home.log_dir();
    let created = &records(&dir)[0].1["details"];
    let log_id = created["log_id"].as_str().expect("an id").to_owned();
    let own = format!("{PREFIX}/{log_id}");
    assert_eq!(created["origin"], own.as_str());
    assert!(checkpoint(&home).starts_with(&format!("{own}\n")));
    let public = text(&dir.join("audit.pub"));
    assert!(public.starts_with(&format!("{own}+")) && public.lines().count() == 1, "{public}");
    a_c2sp_reader_verifies(&checkpoint(&home), &public);

    // Neither another setting nor none changes it.
    for options in [home.options(), home.options().with_origin("other.example").expect("one")] {
        let log = open(options);
        record_into(&log, 5);
        log.close().expect("closed");
        assert!(checkpoint(&home).starts_with(&format!("{own}\n")));
    }
    passes(&home, &Request::default());
    assert_eq!(python(&[&dir]).0, 0);

    // A backup says it, and puts it back; what is set aside begins an epoch.
    let made = home.back_up();
    assert_eq!(made.metadata.log.origin, own);
    home.record(20);
    let outcome = home.restore(Wish::Latest).expect("restored");
    assert!(outcome.plan.new_epoch);
    home.record(3);
    let note = checkpoint(&home);
    assert!(note.starts_with(&format!("{own}/e1\n")), "{note}");
    let signed = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    let names: Vec<_> = signed.note().signatures().iter().map(|s| s.name.clone()).collect();
    assert_eq!(names, [own.clone(), format!("{own}/e1")]);
    let public = text(&dir.join("audit.pub"));
    let names: Vec<_> = public.lines().filter_map(|line| line.split('+').next()).collect();
    assert_eq!(names, [own.clone(), format!("{own}/e1")]);
    a_c2sp_reader_verifies(&note, &public);
    a_c2sp_reader_verifies(&text(&dir.join("audit.head")), &public);
    passes(&home, &Request::default());
    let (code, said) = python(&[&dir]);
    assert_eq!(code, 0, "{said}");

    // A change of key in that epoch: both keys, each under both names.
    let log = open(home.options());
    let request = RotateRequest::default();
    log.rotate_key(&request).expect("changed");
    record_into(&log, 3);
    log.close().expect("closed");
    let public = text(&dir.join("audit.pub"));
    assert_eq!(public.lines().count(), 2, "{public}");
    a_c2sp_reader_verifies(&checkpoint(&home), &public);
    let history: Value = serde_json::from_slice(&read(&dir.join("audit.keys"))).expect("JSON");
    let handover = history["rotations"][0]["checkpoint"].as_str().expect("a note");
    let names: Vec<_> = Note::parse(handover.as_bytes())
        .expect("a note")
        .signatures()
        .iter()
        .map(|s| s.name.clone())
        .collect();
    let both = [own.clone(), format!("{own}/e1")];
    assert_eq!(names, [&both[..], &both[..]].concat());
    passes(&home, &Request::default());
    let (code, said) = python(&[&dir]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn an_origin_survives_that_retention_removed_the_record_of_it() {
    let (home, options) = named();
    let log = open(Options {
        retention: Some(std::time::Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..options
    });
    record_into(&log, 200);
    crate::support::eventually("the first record is removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    // The manifest is only an index; the key's name is what tells.
    std::fs::remove_file(home.log_dir().join("audit.manifest.json")).expect("removed");
    home.record(5);
    assert!(checkpoint(&home).starts_with(PREFIX));
    passes(&home, &Request::default());
    assert_eq!(python(&[&home.log_dir()]).0, 0);
}

#[test]
fn an_origin_that_cannot_be_one_is_refused_with_where_it_is_set() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "origin = \"https://example.com\"\n")
        .expect("written");
    let (code, _, err) = run(&dir, &["record", "--type", "x"]);
    assert_eq!(code, 2);
    assert!(err.contains("auditctl.toml") && err.contains("scheme"), "{err}");
    std::fs::write(dir.path().join("auditctl.toml"), "origin = \"example.com\"\n")
        .expect("written");
    let (code, out, err) = run(&dir, &["record", "--type", "x"]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = run(&dir, &["checkpoint"]);
    assert!(out.starts_with("example.com/"), "{out}");
    // `validate` tells that another one changes nothing.
    std::fs::write(dir.path().join("auditctl.toml"), "origin = \"example.org\"\n")
        .expect("written");
    let (_, out, _) = run(&dir, &["validate", "--quick", "--json"]);
    let said: Value = serde_json::from_str(&out).expect("JSON");
    assert!(said.to_string().contains("settings.origin"), "{out}");
}

/// The newest checkpoint with an extension line, signed by the log's key, and with
/// cosignatures under it, in the place of the log's own.
fn cosigned(home: &Home) -> String {
    let witnesses = [("witness.example.com/w1", 8 + 64), ("witness.example.com/w2", 8 + 2_420)];
    cosigned_by(home, &witnesses)
}

fn cosigned_by(home: &Home, witnesses: &[(&str, usize)]) -> String {
    let dir = home.log_dir();
    let key = SigningKey::load(&*home.fs, &dir.join("audit.key")).expect("the key");
    let signed = SignedCheckpoint::parse(checkpoint(home).as_bytes()).expect("a checkpoint");
    let note = key.sign_checkpoint(format!("{}an extension line\n", signed.note().text()));
    let note = note.expect("signed");
    let cosignature = |name: &str, bytes: usize| NoteSignature {
        name: name.to_owned(),
        key_id: 0x0102_0304,
        signature: vec![7; bytes],
    };
    let mut others: Vec<_> =
        witnesses.iter().map(|(name, bytes)| cosignature(name, *bytes)).collect();
    others.push(cosignature(key.name(), 2_420));
    let all = [note.signatures().to_vec(), others].concat();
    let note = Note::new(note.text().to_owned(), all).expect("a note").to_string();
    std::fs::write(dir.join("audit.checkpoint"), &note).expect("written");
    note
}

#[test]
fn extension_lines_and_cosignatures_are_accepted_everywhere_and_copied_byte_for_byte() {
    let (home, _) = named();
    let dir = home.log_dir();
    let note = cosigned(&home);
    let kept = home.dir.path().join("kept.checkpoint");
    std::fs::write(&kept, &note).expect("kept");
    passes(&home, &Request::default());
    let against = [Path::new("--against"), &kept];
    let (code, said) = python(&[&dir, against[0], against[1]]);
    assert_eq!(code, 0, "{said}");

    let proof = prove(&home.fs, &dir, 7).expect("a proof");
    assert_eq!(proof.signed.checkpoint, note);
    proof.check(None).expect("proven");
    let made = home.back_up();
    assert_eq!(made.metadata.checkpoint, note);
    let (code, out, err) = run(&home.dir, &["checkpoint"]);
    assert_eq!((code, out), (0, note.clone()), "{err}");

    // The log opens and goes on from it; a copy of it stays an anchor.
    home.record(10);
    let anchor = Anchor::parse("kept", note.as_bytes()).expect("a checkpoint");
    let request = Request { anchors: vec![anchor], ..Request::default() };
    let (report, _) = verify(&home.fs, &dir, &request, &Unwatched).expect("a report");
    assert_eq!(report.completeness, Completeness::Anchored, "{:?}", report.findings);

    // A backup with it is restored, beside the log.
    let beside = home.dir.path().join("beside");
    let target = Target::Beside(beside.clone());
    home.restore_as(&RestoreRequest { target, ..wanted() }).expect("restored");
    let logs = if beside.join("audit.checkpoint").exists() { beside } else { beside.join("logs") };
    assert_eq!(text(&logs.join("audit.checkpoint")), note);
    let report = verify(&home.fs, &logs, &Request::default(), &Unwatched).expect("a report").0;
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn a_backup_has_room_for_the_signatures_of_many_witnesses() {
    let (home, _) = named();
    let note = cosigned_by(&home, &[("witness.example.com/w", 8 + 4_627); 14]);
    assert!(note.len() > 65_535);
    passes(&home, &Request::default());
    let made = home.back_up();
    assert_eq!(made.metadata.checkpoint, note);
    home.plan(Wish::Latest).expect("checked");
    // The marker in the archive has the log's own, and stands in for the metadata.
    std::fs::remove_file(&made.metadata_file).expect("removed");
    home.plan(Wish::Path(made.archive)).expect("checked");
}

#[test]
fn a_wrong_signature_by_a_known_key_spoils_a_note_and_one_by_an_unknown_key_does_not() {
    let (home, _) = named();
    let good = cosigned(&home);
    let signed = SignedCheckpoint::parse(good.as_bytes()).expect("a checkpoint");
    let mut signatures = signed.note().signatures().to_vec();
    let own = signatures[0].clone();
    // The right one first, and a wrong one by the same key behind it.
    let mut wrong = own;
    wrong.signature[9] ^= 1;
    signatures.push(wrong);
    let spoiled = Note::new(signed.note().text().to_owned(), signatures).expect("a note");
    let path = home.log_dir().join("audit.checkpoint");
    std::fs::write(&path, spoiled.to_string()).expect("written");
    let (report, _) =
        verify(&home.fs, &home.log_dir(), &Request::default(), &Unwatched).expect("a report");
    assert!(!report.passed());
    assert_eq!(python(&[&home.log_dir()]).0, 1);
    std::fs::write(&path, good).expect("written");
    passes(&home, &Request::default());
}

/// One note of each kind that the program signs, by its name.
fn one_of_each(home: &Home) -> Vec<(&'static str, String)> {
    let dir = home.log_dir();
    let signature = |path: &Path| {
        let file: Value = serde_json::from_slice(&read(path)).expect("JSON");
        file["signature"].as_str().expect("a signature").to_owned()
    };
    let made = home.back_up();
    let (_, drilled) = home.restorer().drill(&wanted(), None, &Unwatched).expect("a report");
    let log = open(home.options());
    let seal = log.seals(Kind::ALERTS_JOURNAL).expect("seals").seal("a line").expect("sealed");
    log.rotate_key(&RotateRequest::default()).expect("changed");
    log.close().expect("closed");
    let history: Value = serde_json::from_slice(&read(&dir.join("audit.keys"))).expect("JSON");
    let handover = history["rotations"][0]["checkpoint"].as_str().expect("a note").to_owned();
    let journal = {
        // Left by a restore that had no key to sign it with: the key signs it here.
        let empty = Home::new();
        let target = Target::Log;
        let from = home.dir.path().join("backups").join(made.metadata.archive.file.clone());
        let wish = Wish::Path(from);
        empty.restore_as(&RestoreRequest { wish, target, ..wanted() }).expect("restored");
        let left = read(&empty.log_dir().join("audit.restore.json"));
        let mut journal: Journal = serde_json::from_slice(&left).expect("a journal");
        let key = SigningKey::load(&*home.fs, &dir.join("audit.key")).expect("the key");
        journal.sign(&key).expect("signed");
        journal.signature.expect("a signature")
    };
    vec![
        ("checkpoint", checkpoint(home)),
        ("head", text(&dir.join("audit.head"))),
        ("handover", handover),
        ("manifest", signature(&dir.join("audit.manifest.json"))),
        ("backup", signature(&made.metadata_file)),
        ("drill", signature(&drilled)),
        ("seal", seal),
        ("restore", journal),
    ]
}

#[test]
fn no_note_that_the_program_signs_passes_for_one_of_another_kind() {
    let (home, _) = named();
    let notes = one_of_each(&home);
    let dir = home.log_dir();
    let is_head = |name: &str| ["checkpoint", "head", "handover"].contains(&name);
    let mut first_lines = Vec::new();
    for (name, note) in &notes {
        let line = note.lines().next().expect("a line").to_owned();
        // An origin has no space; the first line of every other kind has one.
        assert_eq!(line.contains(' '), !is_head(name), "{name}: {line}");
        assert_eq!(SignedCheckpoint::parse(note.as_bytes()).is_ok(), is_head(name), "{name}");
        if !is_head(name) {
            first_lines.push(line);
        }
    }
    first_lines.sort_unstable();
    first_lines.dedup();
    assert_eq!(first_lines.len(), 5, "{first_lines:?}");

    // Each in the place of another.
    let manifest = dir.join("audit.manifest.json");
    let metadata = home.backups().path().to_owned();
    let metadata = crate::backups::names(&metadata)
        .into_iter()
        .find(|name| name.starts_with("audit_backup") && name.ends_with(".json"))
        .map(|name| metadata.join(name))
        .expect("metadata");
    let own = |wanted: &str| &notes.iter().find(|(name, _)| *name == wanted).expect("one").1;
    let quoted = |note: &str| serde_json::to_string(note).expect("JSON");
    let log_passes = || {
        let report = verify(&home.fs, &dir, &Request::default(), &Unwatched).expect("a report").0;
        report.passed()
    };
    let backup_passes = || home.plan(Wish::Latest).is_ok();
    let checkpoint_file = dir.join("audit.checkpoint");
    let (manifest_text, metadata_text) = (text(&manifest), text(&metadata));
    assert!(log_passes() && backup_passes());
    for (name, note) in &notes {
        if !is_head(name) {
            std::fs::write(&checkpoint_file, note).expect("written");
            assert!(!log_passes(), "{name} as checkpoint");
        }
        std::fs::write(&checkpoint_file, own("checkpoint")).expect("written");
        if *name != "manifest" {
            let wrong = manifest_text.replace(&quoted(own("manifest")), &quoted(note));
            assert_ne!(wrong, manifest_text);
            std::fs::write(&manifest, wrong).expect("written");
            assert!(!log_passes(), "{name} as the manifest's signature");
            std::fs::write(&manifest, &manifest_text).expect("written");
        }
        if *name != "backup" {
            let wrong = metadata_text.replace(&quoted(own("backup")), &quoted(note));
            assert_ne!(wrong, metadata_text);
            std::fs::write(&metadata, wrong).expect("written");
            assert!(!backup_passes(), "{name} as the backup's signature");
            std::fs::write(&metadata, &metadata_text).expect("written");
        }
        let log = open(Options { dir: home.dir.path().join("other"), ..home.options() });
        assert!(!log.seals(Kind::ALERTS_JOURNAL).expect("seals").holds("a line", note), "{name}");
        log.close().expect("closed");
    }
    assert!(log_passes() && backup_passes());
    let log = home.open();
    for (name, note) in &notes {
        let holds = log.seals(Kind::ALERTS_JOURNAL).expect("seals").holds("a line", note);
        assert_eq!(holds, *name == "seal", "{name}");
    }
}

/// A name in the log's directory's parent, as an argument.
fn path_text(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

#[test]
fn a_key_file_with_lines_of_algorithms_to_come_is_read_for_the_one_that_is_known() {
    let (home, _) = named();
    let dir = home.log_dir();
    let public = text(&dir.join("audit.pub"));
    let name = public.split('+').next().expect("a name");
    let later = format!("{name}+01234567+{}\n", base64(&[&[6_u8][..], &[7; 1_312]].concat()));
    let file = home.dir.path().join("several.pub");
    std::fs::write(&file, format!("{later}{public}{later}")).expect("written");
    let (code, out, err) = run(&home.dir, &["verify", "--public-key", path_text(&file)]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(python(&[&dir, Path::new("--public-key"), &file]).0, 0);
    // Beside the log as well; the next start writes its own lines again.
    std::fs::write(dir.join("audit.pub"), format!("{public}{later}")).expect("written");
    passes(&home, &Request::default());
    home.record(1);
    assert_eq!(text(&dir.join("audit.pub")), public);
    std::fs::write(&file, &later).expect("written");
    let (code, _, err) = run(&home.dir, &["verify", "--public-key", path_text(&file)]);
    assert_eq!(code, 2, "{err}");
    assert_eq!(python(&[&dir, Path::new("--public-key"), &file]).0, 1);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn said(out: &str) -> Value {
    serde_json::from_str(out).expect(out)
}

/// A proof by the command line, in a file of its own.
fn proven(home: &Home, name: &str, args: &[&str]) -> PathBuf {
    let path = home.dir.path().join(name);
    let args = [&["prove"], args, &["--output", path_text(&path)]].concat();
    let (code, out, err) = run(&home.dir, &args);
    assert_eq!(code, 0, "{out}{err}");
    path
}

#[test]
fn the_growth_since_a_kept_checkpoint_is_proven_to_somebody_without_the_log() {
    let (home, _) = named();
    let kept = home.dir.path().join("kept");
    std::fs::write(&kept, checkpoint(&home)).expect("kept");
    let size = checkpoint(&home).lines().nth(1).expect("the size").to_owned();
    home.record(30);
    let key = home.dir.path().join("key.pub");
    std::fs::copy(home.log_dir().join("audit.pub"), &key).expect("copied");
    let proof = proven(&home, "growth", &["--from", &size]);
    assert!(
        text(&proof)
            .starts_with("{\n  \"type\": \"auditctl/consistency-proof\",\n  \"format\": 1,")
    );

    // Elsewhere.
    let none = Dir::new();
    let (kept_text, proof_text) = (path_text(&kept), path_text(&proof));
    let check =
        ["verify", "--proof", proof_text, "--against", kept_text, "--public-key", path_text(&key)];
    let (code, out, err) = run(&none, &check);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("VERIFIED") && out.contains("that of"), "{out}");
    let (code, out, _) = run(&none, &[&check[..], &["--json"]].concat());
    assert_eq!((code, said(&out)["passed"].as_bool()), (0, Some(true)), "{out}");
    assert_eq!(said(&out)["from_size"].to_string(), size);
    let options = ["--proof", "--against", "--public-key"].map(Path::new);
    let (code, out) = python(&[options[0], &proof, options[1], &kept, options[2], &key]);
    assert_eq!(code, 0, "{out}");

    // Another size, another log, other records, no checkpoint, and another kind of proof.
    let exit = |against: &Path, proof: &Path| {
        let args =
            ["verify", "--proof", path_text(proof), "--against", path_text(against), "--json"];
        let (code, out, _) = run(&none, &args);
        (code, said(&out)["error"]["kind"].as_str().unwrap_or_default().to_owned())
    };
    let now = home.log_dir().join("audit.checkpoint");
    assert_eq!(exit(&now, &proof), (3, "against".to_owned()));
    let (other, _) = named();
    assert_eq!(
        exit(&other.log_dir().join("audit.checkpoint"), &proof),
        (1, "not_earlier".to_owned())
    );
    assert_eq!(exit(&key, &proof), (3, "against".to_owned()));
    let record = proven(&home, "record", &["3"]);
    assert_eq!(exit(&kept, &record), (2, "usage".to_owned()));
    let forged = SigningKey::load(&*home.fs, &home.log_dir().join("audit.key")).expect("the key");
    let lines: Vec<String> = text(&kept).lines().take(3).map(str::to_owned).collect();
    let lied = format!("{}\n{}\n{}\n", lines[0], lines[1], base64(&[9; 32]));
    let lie = home.dir.path().join("lie");
    std::fs::write(&lie, forged.sign_checkpoint(lied).expect("signed").to_string())
        .expect("written");
    assert_eq!(exit(&lie, &proof), (1, "not_earlier".to_owned()));
    for wrong in [&other.log_dir().join("audit.checkpoint"), &lie] {
        assert_eq!(python(&[options[0], &proof, options[1], wrong]).0, 1);
    }

    // From nothing, from all of it, and from more than there is.
    for from in ["0", "1", "2", &size] {
        let proof = proven(&home, &format!("from-{from}"), &["--from", from]);
        let (code, out, err) = run(&none, &["verify", "--proof", path_text(&proof)]);
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(python(&[options[0], &proof]).0, 0);
    }
    let (code, out, _) = run(&home.dir, &["prove", "--from", "100000", "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (1, Some("no_record")), "{out}");
    let (code, _, _) = run(&home.dir, &["prove", "--from", "1", "2"]);
    assert_eq!(code, 2);

    // A member that nobody knows changes nothing; a format to come says so.
    let added =
        text(&proof).replacen("\"format\": 1,", "\"format\": 1, \"later\": {\"x\": []},", 1);
    let newer = text(&proof).replacen("\"format\": 1,", "\"format\": 2,", 1);
    let altered = home.dir.path().join("altered");
    for (text, code) in [(added, 0), (newer, 3)] {
        std::fs::write(&altered, text).expect("written");
        assert_eq!(run(&none, &["verify", "--proof", path_text(&altered)]).0, code);
    }
}

#[test]
fn growth_from_within_what_retention_removed_is_a_clear_error_and_from_later_is_proven() {
    let (home, options) = named();
    let log = open(Options {
        retention: Some(std::time::Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..options
    });
    record_into(&log, 200);
    crate::support::eventually("old segments are removed", || log.manifest().pruned.end() > 8);
    let removed = log.manifest().pruned.end();
    log.close().expect("closed");
    let within = if removed.is_power_of_two() { removed - 1 } else { removed & !1 } - 1;
    let (code, out, _) = run(&home.dir, &["prove", "--from", &within.to_string(), "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (3, Some("removed")), "{out}");
    let proof = proven(&home, "growth", &["--from", &(removed + 1).to_string()]);
    assert_eq!(run(&home.dir, &["verify", "--proof", path_text(&proof)]).0, 0);
}

#[test]
fn a_record_is_proven_in_the_form_that_c2sp_tools_read() {
    let (home, _) = named();
    let line = &all_lines(&home.log_dir())[9];
    let proof = proven(&home, "record.tlog-proof", &["9", "--format", "tlog-proof"]);
    let written = text(&proof);
    assert!(written.ends_with(&format!("\n\n{}", checkpoint(&home))), "{written}");
    assert!(written.contains("\nindex 9\n") && written.contains(&base64(line.as_bytes())));
    let key = home.dir.path().join("key.pub");
    std::fs::copy(home.log_dir().join("audit.pub"), &key).expect("copied");
    let none = Dir::new();
    let check = ["verify", "--proof", path_text(&proof), "--public-key", path_text(&key)];
    let (code, out, err) = run(&none, &check);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("record 9: VERIFIED"), "{out}");
    let (_, out, _) = run(&none, &[&check[..], &["--json"]].concat());
    assert!(out.contains(line.as_str()), "{out}");
    let options = ["--proof", "--public-key", "--record"].map(Path::new);
    assert_eq!(python(&[options[0], &proof, options[1], &key]).0, 0);
    // It names no key.
    assert_eq!(run(&none, &check[..3]).0, 2);

    // Without the record, which is then given.
    let bare: String =
        written.split_inclusive('\n').filter(|line| !line.starts_with("extra ")).collect();
    std::fs::write(&proof, bare).expect("written");
    assert_eq!(run(&none, &check).0, 2);
    let record = home.dir.path().join("line");
    for (content, code) in [(format!("{line}\n"), 0), (line.replace("login", "logon"), 1)] {
        std::fs::write(&record, content).expect("written");
        assert_eq!(run(&none, &[&check[..], &["--record", path_text(&record)]].concat()).0, code);
        assert_eq!(python(&[options[0], &proof, options[1], &key, options[2], &record]).0, code);
    }
}
