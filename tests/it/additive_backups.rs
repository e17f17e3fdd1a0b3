//! The JSON files of backups may be added to: each is made by the program, changed as a
//! later version might write it, signed anew with the log's key where it is signed, and
//! read by every command that reads it. A newer format stops them, and nothing is touched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::keys::checkpoint::Origin;
use auditctl::audit::keys::signed_document::{About, sign};
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::keys::{Keyring, load_keyring};
use auditctl::audit::tree::document::Kind;
use auditctl::audit::{BackupsHold, LogPaths};
use auditctl::backup::{
    BackupDir, BackupId, DrillReport, Holder, KnownLog, Level, Listed, LogChoice, Marker, Place,
    Policy, Remote, RemoteWish, Unwatched, heads, plan,
};
use auditctl::clock::{Clock, SystemClock};
use auditctl::fsio::OsFs;
use auditctl::store::LocalStore;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Dir, run};

/// How a later version, or another writer, may have written a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// As it was.
    None,
    /// With members that are not known, in every object in it.
    Added,
    /// The members of every object the other way round.
    Reversed,
    /// With whitespace between everything.
    Spaced,
}

const CHANGES: [Change; 4] = [Change::None, Change::Added, Change::Reversed, Change::Spaced];

/// The value's text: `null` for `null`, wherever it stands.
fn render(value: &Value, change: Change) -> String {
    let mut text = String::new();
    write_value(&mut text, value, change);
    text.push('\n');
    text
}

fn write_value(out: &mut String, value: &Value, change: Change) {
    let gap = if change == Change::Spaced { " \n\t " } else { "" };
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            if change == Change::Reversed {
                members.reverse();
            }
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write!(out, "{gap}{}{gap}:{gap}", json!(name)).expect("text");
                write_value(out, member, change);
            }
            write!(out, "{gap}}}").expect("text");
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(gap);
                write_value(out, item, change);
            }
            write!(out, "{gap}]").expect("text");
        }
        other => write!(out, "{other}").expect("text"),
    }
}

/// An unknown member in each object; how many there are. Not where the names of an
/// object's members are data.
fn add_everywhere(value: &mut Value, data: &[&str]) -> usize {
    match value {
        Value::Object(members) => {
            let inside = members.iter_mut().map(|(name, member)| {
                if data.contains(&name.as_str()) {
                    let Value::Object(named) = member else { return 0 };
                    return named.values_mut().map(|one| add_everywhere(one, data)).sum();
                }
                add_everywhere(member, data)
            });
            let added: usize = inside.sum();
            members.insert("added_later".to_owned(), json!({"of": [1, 2.5, null], "more": "é"}));
            added + 1
        }
        Value::Array(items) => items.iter_mut().map(|item| add_everywhere(item, data)).sum(),
        _ => 0,
    }
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON")
}

/// A log of two opens with one backup, and the names of the backup's files.
struct Made {
    dir: Dir,
    backups: PathBuf,
    id: String,
}

impl Made {
    fn new() -> Self {
        let dir = Dir::new();
        let backups = dir.path().join("backups/audit");
        let mut made = Self { dir, backups, id: String::new() };
        made.record();
        made.id = made.back_up();
        made.record();
        made
    }

    fn record(&self) {
        let (code, _, err) = run(&self.dir, &["record", "--type", "login", "--actor", "é"]);
        assert_eq!(code, 0, "{err}");
    }

    fn back_up(&self) -> String {
        let (code, out) = self.run(&["backup"]);
        assert_eq!(code, 0, "{out}");
        out["backup"]["id"].as_str().expect("an id").to_owned()
    }

    /// A command's exit code and what it says in JSON.
    fn run(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, err) = run(&self.dir, &[args, &["--json"]].concat());
        let json = serde_json::from_str(&out);
        (code, json.unwrap_or_else(|error| panic!("{args:?}: {error}: {out} {err}")))
    }

    fn metadata(&self) -> PathBuf {
        self.backups.join(format!("audit_backup_{}.json", self.id))
    }

    fn archive(&self) -> PathBuf {
        self.backups.join(format!("audit_backup_{}.gz", self.id))
    }

    fn key(&self) -> SigningKey {
        SigningKey::load(&OsFs, &LogPaths::new(&self.dir.log()).key()).expect("the key")
    }

    fn keys(&self) -> Keyring {
        load_keyring(&OsFs, &LogPaths::new(&self.dir.log()), None).expect("the keys")
    }

    /// Writes a signed file as it was changed, signed anew.
    fn write_signed(&self, path: &Path, kind: Kind, mut value: Value, change: Change) {
        let (origin, size) = match kind {
            Kind::BACKUP => (&value["log"]["origin"], &value["range"]["tree_size"]),
            _ => (&value["origin"], &value["tree_size"]),
        };
        let origin: Origin = origin.as_str().expect("an origin").parse().expect("an origin");
        let about = About { origin, size: size.as_u64().expect("a size") };
        value["signature"] = Value::Null;
        let unsigned = render(&value, change);
        let note = sign(kind, unsigned.as_bytes(), &about, &self.key()).expect("signed");
        value["signature"] = json!(note);
        fs::write(path, render(&value, change)).expect("written");
    }

    fn write_metadata(&self, change: Change) -> usize {
        let path = self.metadata();
        let mut value = parsed(&path);
        let added = if change == Change::Added { add_everywhere(&mut value, &[]) } else { 0 };
        self.write_signed(&path, Kind::BACKUP, value, change);
        added
    }

    /// The metadata as a newer version would have written it, its signature right.
    fn write_newer_metadata(&self, id: &str) {
        let path = self.backups.join(format!("audit_backup_{id}.json"));
        let value = json!({
            "type": "auditctl/backup", "format": 2, "whatever": [parsed(&path)], "log": 7,
        });
        fs::write(path, render(&value, Change::None)).expect("written");
    }

    /// All files of log and backups, with what is in them.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for dir in [self.dir.log(), self.backups.clone()] {
            for entry in fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    found.insert(path.clone(), fs::read(&path).expect("read"));
                }
            }
        }
        found
    }

    /// Stopped by a newer format, with nothing changed.
    fn stops(&self, args: &[&str]) {
        let before = self.contents();
        let (code, out) = self.run(args);
        assert_eq!((code, &out["error"]["kind"]), (3, &json!("newer_version")), "{args:?}: {out}");
        let message = out["error"]["message"].as_str().expect("a message");
        assert!(
            message.contains("a newer version made it; use that version"),
            "{args:?}: {message}"
        );
        assert!(self.contents() == before, "{args:?} changed something");
    }

    /// Whether retention would believe a backup of it.
    fn holds(&self) -> Vec<String> {
        let holder = Holder::new(BackupDir::new(Arc::new(OsFs), &self.backups));
        let log_id = parsed(&self.dir.log().join("audit.manifest.json"))["log_id"].clone();
        let claims = holder.claims(log_id.as_str().expect("an id"), &self.keys()).expect("claims");
        let ids = claims.into_iter().map(|claim| claim.id);
        ids.filter(|id| holder.is_whole(id, &|| true)).collect()
    }
}

#[test]
fn metadata_may_be_added_to_and_laid_out_otherwise_and_every_command_takes_it() {
    for change in CHANGES {
        let made = Made::new();
        let added = made.write_metadata(change);
        // It has no backup before it.
        assert_eq!(added, if change == Change::Added { 8 } else { 0 });
        let id = made.id.as_str();
        let text = fs::read(made.metadata()).expect("read");
        let (code, out) = made.run(&["list", "--verify=chain"]);
        assert_eq!(
            (code, &out["backups"][0]["verified"]),
            (0, &json!("chain")),
            "{change:?}: {out}"
        );
        assert_eq!(out["backups"][0]["signed"], true, "{change:?}");
        assert_eq!(made.run(&["verify", id]).0, 0, "{change:?}");
        let by_name = made.metadata();
        let by_name = by_name.to_str().expect("UTF-8");
        assert_eq!(made.run(&["verify", "--against", by_name]).0, 0, "{change:?}");
        for wanted in [id, "latest", by_name] {
            let (code, out) = made.run(&["restore", wanted, "--dry-run"]);
            assert_eq!(code, 0, "{change:?}: {out}");
        }
        // Under another name it says itself where it belongs.
        let other = made.backups.join("kept.json");
        fs::copy(made.metadata(), &other).expect("copied");
        let (code, out) =
            made.run(&["restore", other.to_str().expect("UTF-8"), "--target", "there"]);
        assert_eq!(code, 0, "{change:?}: {out}");
        fs::remove_file(other).expect("removed");
        assert_eq!(made.run(&["restore", "latest", "--drill"]).0, 0, "{change:?}");
        assert_eq!(made.run(&["cleanup", "--keep", "1"]).0, 0, "{change:?}");
        let (_, out) = made.run(&["health"]);
        assert!(out.to_string().contains(&format!("{id} made")), "{change:?}: {out}");
        assert_eq!(made.holds(), [id], "{change:?}");
        let heads = heads(&OsFs, &made.backups, None, 9).expect("heads");
        assert_eq!((heads.heads.len(), heads.skipped), (1, Vec::new()), "{change:?}");
        assert_eq!(made.run(&["backup", "--pin", id]).0, 0);
        assert!(fs::read(made.metadata()).expect("read") == text, "it is never changed");
        let (code, out) = made.run(&["backup"]);
        assert_eq!((code, &out["backup"]["previous"]["id"]), (0, &json!(id)), "{change:?}: {out}");
        assert_eq!(made.run(&["list", "--verify=chain"]).0, 0, "{change:?}");
    }
}

#[test]
fn any_byte_of_signed_metadata_that_was_changed_is_found_though_it_means_nothing() {
    let made = Made::new();
    let text = fs::read_to_string(made.metadata()).expect("text");
    let changes: [(&str, &str); 5] = [
        ("\n  \"host\"", "\n   \"host\""),
        ("\n  \"host\"", "\n  \"added\": 1,\n  \"host\""),
        ("\"tool\": \"auditctl ", "\"tool\": \"auditctl\\u0020"),
        ("\"milliseconds\": ", "\"milliseconds\": 1"),
        ("\"verified\": {", "\"verified\": {\"added\": 1, "),
    ];
    for (from, to) in changes {
        let altered = text.replacen(from, to, 1);
        assert_ne!(altered, text, "{from}");
        fs::write(made.metadata(), altered).expect("written");
        let (code, out) = made.run(&["list", "--verify"]);
        let kind = &out["backups"][0]["damage_kind"];
        assert_eq!((code, kind), (1, &json!("bad_signature")), "{to}: {out}");
        assert!(made.holds().is_empty(), "{to}");
    }
    // Without a signature it is taken as far as its checkpoint and the archive go, and
    // is said to be unsigned.
    let mut unsigned = parsed(&made.metadata());
    unsigned["signature"] = Value::Null;
    fs::write(made.metadata(), render(&unsigned, Change::Spaced)).expect("written");
    let (code, out) = made.run(&["list", "--verify"]);
    assert_eq!((code, &out["backups"][0]["signed"]), (0, &json!(false)), "{out}");
}

#[test]
fn a_backup_of_a_newer_format_is_named_and_left_alone_and_the_others_stay_good() {
    let made = Made::new();
    let (old, new) = (made.id.clone(), made.back_up());
    made.record();
    made.write_newer_metadata(&new);
    let before = made.contents();
    let (code, out) = made.run(&["list"]);
    assert_eq!(code, 0, "{out}");
    let of = |out: &Value, id: &str| {
        let all = out["backups"].as_array().expect("a list").clone();
        all.into_iter().find(|listed| listed["id"] == id).expect("it is listed")
    };
    let listed = of(&out, &new);
    assert_eq!((&listed["newer_version"], &listed["good"]), (&json!(true), &json!(false)));
    assert_eq!(listed["damage_kind"], "newer_version");
    assert_eq!((&of(&out, &old)["good"], &out["coverage"]["gaps"]), (&json!(true), &json!([])));
    let (_, text, _) = run(&made.dir, &["list"]);
    assert!(text.contains("NEWER") && text.contains("a newer version made it"), "{text}");
    // Not checked, and not bad.
    assert_eq!(made.run(&["list", "--verify=listed"]).0, 3);
    for args in [
        &["verify", &*new][..],
        &["restore", &new, "--dry-run"],
        &["restore", &new, "--force"],
        &["restore", &new, "--target", "there"],
        &["restore", &new, "--drill"],
        &["restore", &format!("backups/audit/audit_backup_{new}.gz"), "--target", "there"],
        &["restore", &format!("backups/audit/audit_backup_{new}.json"), "--target", "there"],
    ] {
        made.stops(args);
    }
    assert!(!made.dir.path().join("there").exists());
    let (code, out) = made.run(&["restore", "latest", "--dry-run"]);
    assert_eq!((code, &out["restore"]["backup"]), (0, &json!(old)), "the newest that is known");
    assert_eq!(made.holds(), [old.as_str()]);
    let (code, out) = made.run(&["cleanup", "--keep", "1", "--dry-run"]);
    assert_eq!((code, &out["left_alone"][0]["name"]), (0, &json!(new)), "{out}");
    let (_, out) = made.run(&["health"]);
    assert!(out.to_string().contains(&format!("{old} made")), "{out}");
    assert!(made.contents() == before, "nothing was changed");
    assert_eq!(made.run(&["cleanup", "--keep", "1"]).0, 0);
    let third = made.back_up();
    let metadata = parsed(&made.backups.join(format!("audit_backup_{third}.json")));
    assert_eq!(metadata["previous"]["id"], json!(old));
    for (path, content) in &before {
        if path.to_string_lossy().contains(&new) {
            assert!(fs::read(path).is_ok_and(|now| now == *content), "{}", path.display());
        }
    }
    // Where there is no other, that is said of it; and not that there is none.
    for id in [&old, &third] {
        made.write_newer_metadata(id);
    }
    made.stops(&["restore", "latest", "--dry-run"]);
    made.stops(&["verify", "latest"]);
    let (_, out) = made.run(&["health"]);
    assert!(out.to_string().contains("a newer version of auditctl made it"), "{out}");
    assert!(made.holds().is_empty());
}

/// The objects in a catalog whose members' names are data.
const NAMED: [&str; 2] = ["backups", "copies"];

#[test]
fn a_catalog_may_be_added_to_and_keeps_what_was_added() {
    for change in CHANGES {
        let made = Made::new();
        let path = made.backups.join(".catalog.json");
        assert_eq!(made.run(&["restore", "latest", "--drill"]).0, 0);
        let mut value = parsed(&path);
        assert_eq!((&value["type"], &value["format"]), (&json!("auditctl/catalog"), &json!(1)));
        value["backups"][&made.id]["copies"] =
            json!({"s3://b/web/": {"state": "confirmed", "at": "2026-01-01T00:00:00Z"}});
        value["last_failure"] = json!({"at": "2026-01-01T00:00:00Z", "kind": "io", "message": "x"});
        let added = if change == Change::Added { add_everywhere(&mut value, &NAMED) } else { 0 };
        assert_eq!(added, if change == Change::Added { 5 } else { 0 });
        fs::write(&path, render(&value, change)).expect("written");
        let (_, out) = made.run(&["health"]);
        assert!(out.to_string().contains(&format!("{} made", made.id)), "{change:?}: {out}");
        let (code, out) = made.run(&["list"]);
        assert_eq!((code, &out["backups"][0]["copies"][0]["state"]), (0, &json!("confirmed")));
        // Written again by three commands, and still there.
        assert_eq!(made.run(&["list", "--verify=chain"]).0, 0);
        assert_eq!(made.run(&["restore", "latest", "--drill"]).0, 0);
        let next = made.back_up();
        let now = parsed(&path);
        let text = fs::read_to_string(&path).expect("text");
        assert!(
            text.starts_with("{\n  \"type\": \"auditctl/catalog\",\n  \"format\": 1,\n"),
            "{text}"
        );
        assert!(now["backups"][&next].is_object());
        let kept: [&Map<String, Value>; 3] = [
            now.as_object().expect("an object"),
            now["backups"][&made.id].as_object().expect("an object"),
            now["backups"][&made.id]["copies"]["s3://b/web/"].as_object().expect("an object"),
        ];
        for object in kept {
            assert_eq!(object.contains_key("added_later"), change == Change::Added, "{now}");
        }
    }
}

#[test]
fn a_newer_catalog_stops_whoever_would_write_it_and_nobody_else() {
    let made = Made::new();
    let path = made.backups.join(".catalog.json");
    fs::write(&path, r#"{"type":"auditctl/catalog","format":2,"backups":7}"#).expect("written");
    // What a run that was interrupted left is not for this version to clear.
    fs::write(made.backups.join("audit_backup_20200101_000000.json.tmp-1-1"), "").expect("written");
    let before = made.contents();
    for args in [&["backup"][..], &["restore", "latest", "--drill"], &["cleanup", "--keep", "1"]] {
        made.stops(args);
    }
    let (code, out) = made.run(&["list", "--verify=chain"]);
    assert_eq!((code, &out["backups"][0]["good"]), (0, &json!(true)), "{out}");
    assert!(out["newer_catalog"].as_str().is_some_and(|why| why.contains("newer version")));
    assert_eq!(made.run(&["restore", "latest", "--dry-run"]).0, 0);
    assert_eq!(made.run(&["verify", "latest"]).0, 0);
    assert_eq!(made.run(&["cleanup", "--keep", "1", "--dry-run"]).0, 0);
    assert_eq!(made.holds(), [made.id.as_str()]);
    let (_, out) = made.run(&["health"]);
    assert!(out.to_string().contains(".catalog.json: format 2"), "{out}");
    assert!(!out.to_string().contains("backup.gone"), "{out}");
    assert!(made.contents() == before, "nothing was changed");
}

fn report(made: &Made) -> PathBuf {
    let (code, out) = made.run(&["restore", "latest", "--drill"]);
    assert_eq!(code, 0, "{out}");
    made.dir.path().join(out["report"].as_str().expect("a path"))
}

#[test]
fn a_drills_report_is_signed_about_the_log_and_may_be_added_to() {
    let made = Made::new();
    let path = report(&made);
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.starts_with("{\n  \"type\": \"auditctl/drill\",\n  \"format\": 1,\n"), "{text}");
    let value = parsed(&path);
    let note = value["signature"].as_str().expect("signed");
    let origin = value["origin"].as_str().expect("an origin");
    let begin = format!("auditctl/drill v1\n{origin}\n{}\n", value["tree_size"]);
    assert!(note.starts_with(&begin), "{note}");
    for change in CHANGES {
        let mut changed = value.clone();
        if change == Change::Added {
            assert!(add_everywhere(&mut changed, &[]) > 3);
        }
        made.write_signed(&path, Kind::DRILL, changed, change);
        let text = fs::read(&path).expect("read");
        let read = DrillReport::parse(&text).expect("a report");
        assert_eq!(read.verify(&made.keys()), Ok(()), "{change:?}");
        assert!(read.passed);
        // One more space is another file.
        let spaced = [b" ", &text[..]].concat();
        let read = DrillReport::parse(&spaced).expect("a report");
        assert!(read.verify(&made.keys()).is_err(), "{change:?}");
        assert_eq!(made.run(&["list"]).1["foreign"], json!([]), "{change:?}");
    }
    let newer = DrillReport::parse(br#"{"type":"auditctl/drill","format":2}"#);
    assert!(newer.is_err_and(|error| error.is_newer()));
}

/// The archive with its marker changed: other text, other header fields around it.
fn with_marker(archive: &[u8], marker: &str, fields: [&[u8]; 2]) -> Vec<u8> {
    let start = memchr::memmem::rfind(archive, &[0x1f, 0x8b, 8, 4]).expect("a marker");
    let mut extra = fields[0].to_vec();
    extra.extend_from_slice(b"AU");
    extra.extend_from_slice(&u16::try_from(marker.len()).expect("short").to_le_bytes());
    extra.extend_from_slice(marker.as_bytes());
    extra.extend_from_slice(fields[1]);
    let length = u16::try_from(extra.len()).expect("short").to_le_bytes();
    let end = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&archive[..start + 10], &length[..], &extra[..], &end[..]].concat()
}

fn marker_of(archive: &[u8]) -> Value {
    let start = memchr::memmem::rfind(archive, &[0x1f, 0x8b, 8, 4]).expect("a marker");
    Marker::parse(&archive[start..]).expect("a marker");
    serde_json::from_slice(&archive[start + 16..archive.len() - 10]).expect("JSON")
}

#[test]
fn a_marker_may_be_added_to_and_may_have_other_header_fields_beside_it() {
    let made = Made::new();
    let archive = fs::read(made.archive()).expect("read");
    let marker = marker_of(&archive);
    assert_eq!((&marker["type"], &marker["format"]), (&json!("auditctl/marker"), &json!(1)));
    let alone = made.dir.path().join("alone.gz");
    let alone_name = alone.to_str().expect("UTF-8");
    let field: &[u8] = b"Zz\x03\x00abc";
    for change in CHANGES {
        for fields in [[b"" as &[u8], b""], [field, b""], [b"", field]] {
            let mut marker = marker.clone();
            if change == Change::Added {
                assert_eq!(add_everywhere(&mut marker, &[]), 2, "itself, and `pruned`");
            }
            let text = render(&marker, change);
            fs::write(&alone, with_marker(&archive, &text, fields)).expect("written");
            for args in [
                &["verify", alone_name][..],
                &["restore", alone_name, "--dry-run"],
                &["restore", alone_name, "--drill"],
            ] {
                let (code, out) = made.run(args);
                assert_eq!(code, 0, "{change:?}, {args:?}: {out}");
            }
        }
    }
    let mut newer = marker.clone();
    newer["format"] = json!(2);
    fs::write(&alone, with_marker(&archive, &render(&newer, Change::None), [b"", b""]))
        .expect("written");
    made.stops(&["verify", alone_name]);
    made.stops(&["restore", alone_name, "--force"]);
    made.stops(&["restore", alone_name, "--target", "there"]);
    // A chain that had no room is asked for, where it is needed.
    let mut omitted = marker;
    omitted["key_chain_omitted"] = json!(true);
    // Another root than was signed.
    let note = omitted["checkpoint"].as_str().expect("a note").to_owned();
    let at = note.match_indices('\n').nth(1).expect("a root").0 + 1;
    let other = if note[at..].starts_with('A') { "B" } else { "A" };
    omitted["checkpoint"] = json!(format!("{}{other}{}", &note[..at], &note[at + 1..]));
    fs::write(&alone, with_marker(&archive, &render(&omitted, Change::None), [b"", b""]))
        .expect("written");
    let (code, out) = made.run(&["verify", alone_name]);
    assert_eq!(code, 1, "{out}");
    let message = out["error"]["message"].as_str().expect("a message");
    assert!(message.contains("it has no key chain") && message.contains("--public-key"));
}

/// The file below a directory whose name ends so.
fn below(dir: &Path, end: &str) -> PathBuf {
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                return path;
            }
        }
    }
    panic!("there is no {end} in {}", dir.display());
}

#[test]
fn elsewhere_too_a_backup_of_a_newer_format_is_named_and_left_alone() {
    let made = Made::new();
    let (old, new) = (made.id.clone(), made.back_up());
    let dir = BackupDir::new(Arc::new(OsFs), &made.backups);
    let id = |text: &str| text.parse::<BackupId>().expect("an id");
    let there = made.dir.path().join("there");
    fs::create_dir(&there).expect("a directory");
    let store = Arc::new(LocalStore::new(&there));
    let of = |text: &str| dir.metadata(id(text)).expect("metadata");
    let remote = Remote::new(store, &of(&old).host, &of(&old).log.id);
    for each in [&old, &new] {
        remote.upload(&dir, &of(each), None, &SystemClock, &Unwatched).expect("sent");
    }
    let list = || {
        let known = KnownLog::default();
        let now = SystemClock.now();
        let listed = remote.inventory(&dir, Level::Content, &known, now, &Unwatched);
        listed.expect("a list").backups
    };
    assert!(list().iter().all(Listed::is_good));
    let planned = {
        let listed = remote.inventory(
            &dir,
            Level::Listed,
            &KnownLog::default(),
            SystemClock.now(),
            &Unwatched,
        );
        let policy = Policy { last: Some(9), ..Policy::default() };
        plan(&listed.expect("a list"), &policy, None, SystemClock.now()).expect("a plan").decisions
    };
    let decision = planned.iter().find(|decision| decision.id == id(&new)).expect("planned");
    let path = below(&there, &format!("audit_backup_{new}.json"));
    let newer = r#"{"type":"auditctl/backup","format":2}"#;
    fs::write(&path, newer).expect("written");
    let listed = list();
    let one = |text: &str| listed.iter().find(|listed| listed.id == id(text)).expect("listed");
    assert!(one(&old).is_good() && one(&new).is_newer() && !one(&new).is_good());
    let fetch = |wish: RemoteWish| remote.fetch(&wish, &LogChoice::default(), &dir, &Unwatched);
    assert_eq!(fetch(RemoteWish::Latest).expect("fetched").id(), id(&old));
    let error = fetch(RemoteWish::Id(id(&new))).expect_err("newer");
    assert_eq!((error.kind(), error.is_newer()), ("newer_version", true), "{error}");
    let error = Place::remove(&remote, decision).expect_err("newer");
    assert_eq!(error.kind(), "newer_version");
    assert_eq!(fs::read_to_string(&path).expect("there"), newer);
    // How far an upload is, as a newer version notes it: nothing is sent, nothing noted.
    let stem = format!("audit_backup_{old}.upload-");
    let place = format!("{}audit_backup_{old}.gz", remote.place());
    let hash = Sha256::digest(place.as_bytes());
    let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let state = made.backups.join(format!("{stem}{hash:08x}"));
    fs::write(&state, r#"{"type":"auditctl/upload","format":2}"#).expect("written");
    let before = made.contents();
    let error = remote.resume(&dir, &of(&old), None, &SystemClock, &Unwatched).expect_err("newer");
    assert_eq!(error.kind(), "newer_version", "{error}");
    assert!(made.contents() == before, "nothing was noted");
    fs::remove_file(&state).expect("removed");
    fs::write(made.backups.join(".catalog.json"), r#"{"type":"auditctl/catalog","format":9}"#)
        .expect("written");
    let error = remote.resume(&dir, &of(&old), None, &SystemClock, &Unwatched).expect_err("newer");
    assert_eq!(error.kind(), "newer_version", "{error}");
}
