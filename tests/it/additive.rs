//! What a later version of format 1 may have added is passed over, and kept where the
//! file is written again; what a newer format has made stops everybody, and nothing is
//! touched. Of the log's own files; `additive_backups.rs` has those of backups.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use auditctl::audit::keys::checkpoint::Origin;
use auditctl::audit::keys::signed_document::{About, sign};
use auditctl::audit::keys::signer::{Signer, SigningKey};
use auditctl::audit::read::verify::{Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::tree::document::Kind;
use auditctl::audit::tree::merkle::Range;
use auditctl::audit::{AuditLog, LogPaths, Options};
use auditctl::fsio::OsFs;
use serde_json::{Map, Value, json};

use crate::backups::{Home, all_compressed, names, read, record_into};
use crate::support::{Dir, all_lines, open, options, records, run, types};
use crate::verify_python::python;

/// Adds a member to every object within, at the place that sorts first and at the one
/// that sorts last.
pub(crate) fn with_unknown(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(with_unknown);
            members.insert("a_later".to_owned(), json!({"deep": [1, null, "x"]}));
            members.insert("z_later".to_owned(), json!(true));
        }
        Value::Array(values) => values.iter_mut().for_each(with_unknown),
        _ => {}
    }
}

/// A file of that kind, changed, and signed anew as the log's key can.
pub(crate) fn rewrite(
    dir: &Path,
    kind: Kind,
    (epoch, size): (u32, u64),
    change: impl FnOnce(&mut Value),
) {
    let file = match kind {
        Kind::MANIFEST => "audit.manifest.json",
        Kind::KEYS => "audit.keys",
        other => panic!("{other} is not written here"),
    };
    let path = dir.join(file);
    let mut value: Value = serde_json::from_slice(&read(&path)).expect("json");
    change(&mut value);
    let is_signed = value.get("signature").is_some();
    if is_signed {
        value["signature"] = Value::Null;
    }
    // Members in another order (serde_json sorts them), and whitespace.
    let mut text = format!("\n {}\n\n", serde_json::to_string_pretty(&value).expect("json"));
    if is_signed {
        let key = SigningKey::load(&OsFs, &dir.join("audit.key")).expect("the key");
        let log_id = value["log_id"].as_str().expect("an id");
        let about =
            About { origin: Origin::of_key(key.name(), log_id, epoch).expect("an origin"), size };
        let note = sign(kind, text.as_bytes(), &about, &key).expect("signed");
        let note = serde_json::to_string(&note).expect("json");
        text = text.replace("\"signature\": null", &format!("\"signature\": {note}"));
    }
    std::fs::write(path, text).expect("written");
}

/// Every file of the directory, but for the one that only says who is there.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = names(dir).into_iter().filter(|name| dir.join(name).is_file());
    names.map(|name| (name.clone(), read(&dir.join(&name)))).collect()
}

/// The log as a later version's writer would have left it: its records have members that
/// this version does not know, before and behind those that it knows.
pub(crate) fn records_of_a_later_version(dir: &Path) {
    let path = dir.join("audit.log");
    let text = String::from_utf8(read(&path)).expect("utf-8");
    let mut tree = Range::empty(0);
    let mut lines = String::new();
    for line in text.lines() {
        let (start, rest) = line.split_at(line.find(",\"event_type\"").expect("a type"));
        let rest = rest.strip_suffix('}').expect("an object");
        let rest = rest.replace("\"details\":{", "\"details\":{\"a_later\":[{}],");
        let rest = rest.replace("\"origin\":{", "\"origin\":{\"a_later\":{\"x\":1},");
        let rest = rest.replace(",\"details\"", ",\"later\":{\"actor\":\"mallory\"},\"details\"");
        let line = format!("{start}{rest},\"z_later\":\"é\"}}").replace(",}", "}");
        tree.append_line(line.as_bytes());
        lines.push_str(&line);
        lines.push('\n');
    }
    std::fs::write(&path, lines).expect("written");
    let key = SigningKey::load(&OsFs, &dir.join("audit.key")).expect("the key");
    let origin: Origin = key.name().parse().expect("an origin");
    let mut signer = Signer::new(key, origin).expect("a signer");
    let note = signer.sign(&tree, &tree).expect("signed").to_string();
    for name in ["audit.checkpoint", "audit.head"] {
        std::fs::write(dir.join(name), &note).expect("written");
    }
}

fn passes(dir: &Dir) {
    let (code, out, _) = run(dir, &["verify"]);
    assert_eq!(code, 0, "{out}");
    let (code, text) = python(&[&dir.log()]);
    assert_eq!(code, 0, "{text}");
}

/// As many records as the program says that there are, by each of these questions.
fn counted(dir: &Dir, question: &[&str]) -> u64 {
    let (code, out, error) = run(dir, &[&["query", "--count"], question].concat());
    assert_eq!(code, 0, "{question:?}: {error}");
    out.trim().replace(',', "").parse().unwrap_or_else(|_| panic!("{question:?}: {out}"))
}

#[test]
fn records_with_members_of_a_later_version_are_read_proven_sealed_backed_up_and_restored() {
    let home = Home::new();
    let log = open(options(&home.dir));
    record_into(&log, 60);
    log.close().expect("closed");
    records_of_a_later_version(&home.log_dir());
    let dir = &home.dir;
    let all = records(&home.log_dir()).len() as u64;
    passes(dir);
    assert_eq!(counted(dir, &[]), all);
    assert_eq!(counted(dir, &["--type", "login"]), 60);
    // Only the actor that is the record's own is one.
    assert_eq!(counted(dir, &["--actor", "mallory"]), 0);
    let (code, out, _) = run(dir, &["query", "--format", "ndjson", "--type", "login"]);
    assert_eq!(code, 0);
    assert!(out.lines().all(|line| line.ends_with(",\"z_later\":\"é\"}")), "{out}");
    let (code, out, _) = run(dir, &["prove", "5"]);
    assert_eq!(code, 0, "{out}");
    // This version goes on with it, seals what the later one wrote, and finds it again.
    home.record(400);
    passes(dir);
    assert!(!types(&home.log_dir()).contains(&"audit.recovered".to_owned()));
    assert_eq!(counted(dir, &["--type", "login"]), 460);
    assert_eq!(counted(dir, &["--actor", "mallory"]), 0);
    let before = all_lines(&home.log_dir());
    assert!(before[5].ends_with(",\"z_later\":\"é\"}"));
    assert_eq!(run(dir, &["backup"]).0, 0);
    let (code, out, error) = run(dir, &["restore", "latest", "--target", "there", "--force"]);
    assert_eq!(code, 0, "{out}{error}");
    let restored = all_lines(&dir.path().join("there"));
    assert_eq!(restored[..60], before[..60]);
}

#[test]
fn what_a_later_version_acknowledged_before_a_crash_is_adopted() {
    let dir = Dir::new();
    let log = open(options(&dir));
    record_into(&log, 3);
    // As after a loss of power: the heads are those of before, the lines are there.
    let heads = ["audit.checkpoint", "audit.head"].map(|name| read(&dir.log().join(name)));
    record_into(&log, 1);
    std::mem::forget(log);
    let path = dir.log().join("audit.log");
    let text = String::from_utf8(read(&path)).expect("utf-8");
    let seq = text.lines().count();
    let added = format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\
         \"event_type\":\"login\",\"origin\":{{\"via\":\"socket\",\"host\":\"h\"}},\"id\":\"x-1\",\"later\":[1]}}\n"
    );
    let copy = Dir::new();
    std::fs::create_dir(copy.log()).expect("directory");
    for name in content(&dir.log()).into_keys() {
        std::fs::copy(dir.log().join(&name), copy.log().join(name)).expect("copied");
    }
    std::fs::write(copy.log().join("audit.log"), text + &added).expect("written");
    for (name, bytes) in ["audit.checkpoint", "audit.head"].iter().zip(heads) {
        std::fs::write(copy.log().join(name), bytes).expect("written");
    }
    open(options(&copy)).close().expect("closed");
    let stored = records(&copy.log());
    assert_eq!(stored[seq].1["id"], "x-1");
    let recovered = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
    let details = &recovered.expect("recovered").1["details"];
    assert_eq!(details["unsigned_end"], json!(seq + 1));
    assert!(details.get("torn_bytes").is_none(), "{details}");
}

#[test]
fn a_manifest_of_a_later_version_is_believed_and_what_it_added_is_kept() {
    let home = Home::new();
    home.record(600);
    let dir = home.log_dir();
    let end = open(home.options()).manifest().end_seq();
    rewrite(&dir, Kind::MANIFEST, (0, end), with_unknown);
    let (code, text) = python(&[&dir]);
    assert_eq!(code, 0, "{text}");
    let report = verify(&home.fs, &dir, &Request::default(), &Unwatched).expect("verified").0;
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(counted(&home.dir, &["--type", "login"]), 600);
    home.record(300);
    assert!(!types(&dir).contains(&"audit.recovered".to_owned()));
    let stored: Value =
        serde_json::from_slice(&read(&dir.join("audit.manifest.json"))).expect("json");
    let segment = &stored["segments"][0];
    for (what, object) in
        [("the manifest", &stored), ("a segment", segment), ("a block", &segment["blocks"][0])]
    {
        assert_eq!(object["a_later"], json!({"deep": [1, null, "x"]}), "{what}");
    }
    assert!(stored["segments"].as_array().expect("segments").len() > 4);
    passes(&home.dir);
}

#[test]
fn a_manifest_with_more_than_any_later_version_adds_is_none_and_takes_no_memory() {
    let home = Home::new();
    home.record(300);
    let path = home.log_dir().join("audit.manifest.json");
    let text = String::from_utf8(read(&path)).expect("utf-8");
    let manifest = |later: &str| text.replacen('{', &format!("{{\"later\":{later},"), 1);
    let parse =
        |later: &str| auditctl::audit::files::manifest::Manifest::parse(manifest(later).as_bytes());
    // What is known counts for nothing, however much of it there is.
    assert!(auditctl::audit::files::manifest::Manifest::parse(text.as_bytes()).is_ok());
    assert!(parse(&format!("[{}1]", "1,".repeat(4_000))).is_ok());
    for much in [
        format!("[{}1]", "[],".repeat(100_000)),
        format!("\"{}\"", "x".repeat(8 << 20)),
        format!("{{{}\"z\":1}}", (0..20_000).map(|n| format!("\"{n}\":1,")).collect::<String>()),
    ] {
        let error = parse(&much).expect_err("too much").to_string();
        assert!(error.contains("does not know"), "{error}");
    }
    std::fs::write(&path, manifest(&format!("[{}1]", "[],".repeat(100_000)))).expect("written");
    assert_eq!(run(&home.dir, &["verify"]).0, 1);
    home.record(1);
    passes(&home.dir);
}

#[test]
fn a_manifest_of_a_later_version_that_nobody_signed_is_made_anew() {
    let home = Home::new();
    home.record(600);
    let path = home.log_dir().join("audit.manifest.json");
    let mut value: Value = serde_json::from_slice(&read(&path)).expect("json");
    with_unknown(&mut value);
    std::fs::write(&path, value.to_string()).expect("written");
    let (code, out, _) = run(&home.dir, &["verify"]);
    assert_eq!(code, 1, "{out}");
    home.record(1);
    let mut recovered = records(&home.log_dir()).into_iter().map(|(_, record)| record);
    let recovered = recovered.rfind(|record| record["event_type"] == "audit.recovered");
    assert!(recovered.expect("recovered")["details"]["manifest_rebuilt"].is_string());
    passes(&home.dir);
}

/// A log whose key was changed, and is to be changed again.
fn rotated() -> Home {
    let home = Home::new();
    home.record(20);
    let (code, out, error) = run(&home.dir, &["key", "rotate"]);
    assert_eq!(code, 0, "{out}{error}");
    home
}

#[test]
fn keys_of_a_later_version_lead_on_and_what_nobody_signed_is_not_carried_on() {
    let home = rotated();
    let dir = home.log_dir();
    rewrite(&dir, Kind::KEYS, (0, 0), with_unknown);
    passes(&home.dir);
    home.record(5);
    let (code, out, error) = run(&home.dir, &["key", "rotate"]);
    assert_eq!(code, 0, "{out}{error}");
    let stored: Value = serde_json::from_slice(&read(&dir.join("audit.keys"))).expect("json");
    assert!(stored.get("z_later").is_none() && stored["rotations"][0].get("z_later").is_none());
    assert_eq!(stored["rotations"].as_array().expect("rotations").len(), 2);
    passes(&home.dir);
    assert!(!types(&dir).contains(&"audit.recovered".to_owned()));
}

#[test]
fn what_was_verified_by_a_later_version_saves_reading_too() {
    let home = Home::new();
    home.record(600);
    let dir = &home.dir;
    assert_eq!(run(dir, &["verify", "--since-last"]).0, 0);
    let path = home.log_dir().join("audit.verified.json");
    let mut value: Value = serde_json::from_slice(&read(&path)).expect("json");
    with_unknown(&mut value);
    std::fs::write(&path, value.to_string()).expect("written");
    let (code, out, error) = run(dir, &["verify", "--since-last"]);
    assert_eq!(code, 0, "{out}");
    assert!(!error.contains("not usable"), "{error}");
}

/// Sets the format of a JSON file; what else a newer format says is unknown.
pub(crate) fn format_2(path: &Path) {
    let value: Value = serde_json::from_slice(&read(path)).expect("json");
    let kind = value["type"].clone();
    let value = json!({"format": 2, "type": kind, "everything": {"is": ["different"]}});
    std::fs::write(path, value.to_string()).expect("written");
}

/// Each command says that a newer version made it, with exit code 3, and changes nothing.
fn stops(home: &Home, file: &str, commands: &[&[&str]]) {
    let before = content(&home.log_dir());
    for command in commands {
        let (code, out, error) = run(&home.dir, &[*command, &["--json"]].concat());
        assert_eq!(code, 3, "{file}, {command:?}: {out}{error}");
        let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
        assert_eq!(told["error"]["kind"], "newer_version", "{file}, {command:?}: {out}");
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("a newer version made it"), "{file}, {command:?}: {out}");
        assert_eq!(content(&home.log_dir()), before, "{file}, {command:?}: something was changed");
    }
}

const RECORD: &[&str] = &["record", "--type", "x"];

#[test]
fn a_manifest_or_keys_of_a_newer_format_stop_every_command() {
    let all: &[&[&str]] = &[
        RECORD,
        &["query"],
        &["verify"],
        &["verify", "--quick"],
        &["prove", "3"],
        &["backup"],
        &["key", "rotate"],
    ];
    let home = rotated();
    format_2(&home.log_dir().join("audit.manifest.json"));
    stops(&home, "audit.manifest.json", all);
    let (code, text) = python(&[&home.log_dir()]);
    assert_eq!(code, 3, "{text}");
    let home = rotated();
    format_2(&home.log_dir().join("audit.keys"));
    let without_query: Vec<&[&str]> = all.iter().filter(|c| c[0] != "query").copied().collect();
    stops(&home, "audit.keys", &without_query);
    let (code, text) = python(&[&home.log_dir()]);
    assert_eq!(code, 3, "{text}");
}

#[test]
fn a_restore_that_a_newer_version_began_is_left_to_it() {
    let home = Home::new();
    home.record(20);
    let journal = json!({"type": "auditctl/restore", "format": 2, "plan": []});
    std::fs::write(home.log_dir().join("audit.restore.json"), journal.to_string())
        .expect("written");
    assert_eq!(run(&home.dir, &["--version"]).0, 0);
    stops(&home, "audit.restore.json", &[RECORD]);
}

#[test]
fn what_a_newer_version_verified_is_not_written_over() {
    let home = Home::new();
    home.record(20);
    assert_eq!(run(&home.dir, &["verify", "--since-last"]).0, 0);
    format_2(&home.log_dir().join("audit.verified.json"));
    stops(&home, "audit.verified.json", &[&["verify", "--since-last"]]);
    // It is a help for that question only.
    assert_eq!(run(&home.dir, &["verify"]).0, 0);
}

#[test]
fn a_log_whose_first_record_is_of_a_newer_format_is_not_gone_on_with() {
    let home = Home::new();
    let dir = home.log_dir();
    open(options(&home.dir)).close().expect("closed");
    // Signed as that version's writer signs: only the first record says so.
    let path = dir.join("audit.log");
    let text = String::from_utf8(read(&path)).expect("utf-8");
    std::fs::write(&path, text.replacen("\"format\":1", "\"format\":2", 1)).expect("written");
    records_of_a_later_version(&dir);
    stops(&home, "audit.log", &[RECORD, &["verify"]]);
    let (code, text) = python(&[&dir]);
    assert_eq!(code, 3, "{text}");
    // Also where the manifest is lost.
    std::fs::remove_file(dir.join("audit.manifest.json")).expect("removed");
    stops(&home, "audit.log", &[RECORD]);
}

#[test]
fn a_lost_manifest_comes_back_the_same() {
    let home = Home::new();
    home.record(500);
    assert_eq!(run(&home.dir, &["backup"]).0, 0);
    home.record(100);
    // Two epochs: a restore that leaves signed records, and one that was told of it.
    assert_eq!(run(&home.dir, &["restore", "latest", "--force"]).0, 0);
    home.record(200);
    assert_eq!(run(&home.dir, &["backup"]).0, 0);
    home.record(100);
    // Some of it is removed: with the records, what they alone said.
    let log = open(Options {
        retention: Some(Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    });
    crate::support::eventually("segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    home.record(300);
    settle(&home);
    let dir = home.log_dir();
    let before = said(&dir);
    assert!(!before["abandoned"].as_array().expect("left heads").is_empty(), "{before}");
    assert!(before["backed_up"].is_u64() && before["pruned_by"].is_u64(), "{before}");
    std::fs::remove_file(dir.join("audit.manifest.json")).expect("removed");
    settle(&home);
    let after = said(&dir);
    for (key, value) in before.as_object().expect("an object") {
        if key != "segments" {
            assert_eq!(&after[key], value, "{key}");
        }
    }
    let (old, new) = (segments(&before), segments(&after));
    assert!(old.len() > 3);
    assert_eq!(new[..old.len()], old[..]);
    passes(&home.dir);
}

/// Opens and closes the log, and waits until its keeper has made what it makes.
fn settle(home: &Home) {
    let log: AuditLog = home.open();
    all_compressed(&log);
    crate::support::eventually("the filters are there", || {
        let manifest = log.manifest();
        manifest.segments.iter().all(|segment| segment.filters_sha256.is_some())
    });
    log.close().expect("closed");
}

/// What a manifest says, but for its signature and what is only a hint of what was read.
fn said(dir: &Path) -> Value {
    let stored =
        serde_json::from_slice::<Map<String, Value>>(&read(&LogPaths::new(dir).manifest()));
    let mut stored = stored.expect("json");
    stored.remove("signature");
    stored.remove("backups");
    Value::Object(stored)
}

fn segments(manifest: &Value) -> Vec<Value> {
    manifest["segments"].as_array().expect("segments").clone()
}
