//! The vectors of backups: archives with their markers, metadata, reports of drills.

use std::path::{Path, PathBuf};

use auditctl::audit::keys::checkpoint::Origin;
use auditctl::audit::keys::signed_document::{About, sign};
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::tree::document::Kind;
use auditctl::backup::{RestoreRequest, Target, Unwatched};
use auditctl::fsio::OsFs;
use serde_json::{Value, json};

use super::make::Maker;
use crate::additive::with_unknown;
use crate::backups::{Home, names, read, wanted};
use crate::support::run;

/// A backup's two files.
#[derive(Clone)]
struct Backup {
    stem: String,
    archive: Vec<u8>,
    metadata: Vec<u8>,
    /// The file of the log's key.
    key: PathBuf,
}

pub(super) fn backups(maker: &mut Maker) {
    let home = Home::new();
    home.record(200);
    let backup = made(&home);
    maker.write("backups/audit.pub", read(&home.log_dir().join("audit.pub")));
    backup.write(maker, "good", "ok", "an archive with its marker, and its signed metadata");
    let archive_only = format!("backups/marker/{}.gz", backup.stem);
    maker.write(&archive_only, &backup.archive);
    let more = json!({"path": archive_only, "public_key": "backups/audit.pub"});
    maker.case(
        "backups/marker",
        "archive",
        "ok",
        "an archive without its metadata: the marker stands in for it",
        more,
    );
    let cut = backup.without_marker();
    maker.write(&format!("backups/cut/{}.gz", backup.stem), cut);
    let more = json!({"path": format!("backups/cut/{}.gz", backup.stem), "public_key": "backups/audit.pub"});
    maker.case(
        "backups/cut",
        "archive",
        "wrong",
        "an archive that was cut at a member's end, before its marker",
        more,
    );
    let mut flipped = backup.archive.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let bad = Backup { archive: flipped, ..backup.clone() };
    bad.write(maker, "flipped", "wrong", "a byte of the archive was changed");
    let host = |value: &mut Value| value["host"] = json!("höst-ü.example.com");
    backup.signed(host).write(maker, "host", "ok", "a host whose name is not ASCII");
    backup.signed(with_unknown).write(
        maker,
        "added",
        "ok",
        "signed metadata with unknown members at each level, in another order, with whitespace",
    );
    let mut altered = backup.clone();
    let text = String::from_utf8(altered.metadata).expect("text");
    altered.metadata = text.replacen("\"tool\": \"auditctl", "\"tool\": \"other", 1).into_bytes();
    assert_ne!(altered.metadata, backup.metadata);
    altered.write(maker, "altered", "wrong", "metadata that its signature is not about");
    let mut newer = backup.clone();
    newer.metadata =
        format!("{}\n", json!({"type": "auditctl/backup", "format": 2, "all": "different"}))
            .into_bytes();
    newer.write(maker, "newer", "newer", "metadata of format 2");
    drills(maker, &home);
    encrypted(maker, &home);
}

impl Maker {
    /// A backup of a log of which records were given up, and its archive alone.
    pub(super) fn later_backup(&mut self, home: &Home) {
        let backup = made(home);
        let folder = "backups/given-up";
        let path = format!("{folder}/{}", backup.stem);
        self.write(&format!("{path}.gz"), &backup.archive);
        self.write(&format!("{path}.json"), &backup.metadata);
        self.write(&format!("{folder}/audit.pub"), read(&home.log_dir().join("audit.pub")));
        for (kind, why) in [
            ("backup", "of a log of which records were given up: the metadata name them"),
            ("archive", "the same without its metadata: the marker names them"),
        ] {
            let mut more = json!({"path": format!("{path}.gz"), "earlier": "wrong",
                "public_key": format!("{folder}/audit.pub")});
            if kind == "backup" {
                let metadata: Value = serde_json::from_slice(&backup.metadata).expect("json");
                more["tree_size"] = metadata["range"]["tree_size"].clone();
                more["root_hash"] = metadata["root_hash"].clone();
            }
            self.case(&format!("{folder} as {kind}"), kind, "ok", why, more);
        }
    }
}

fn made(home: &Home) -> Backup {
    let id = home.back_up().metadata.id;
    let dir = home.backups().path().to_path_buf();
    let stem = format!("audit_backup_{id}");
    Backup {
        archive: read(&dir.join(format!("{stem}.gz"))),
        metadata: read(&dir.join(format!("{stem}.json"))),
        key: home.log_dir().join("audit.key"),
        stem,
    }
}

impl Backup {
    fn write(&self, maker: &mut Maker, name: &str, expect: &str, why: &str) {
        let path = format!("backups/{name}/{}", self.stem);
        maker.write(&format!("{path}.gz"), &self.archive);
        maker.write(&format!("{path}.json"), &self.metadata);
        let mut more = json!({"path": format!("{path}.gz"), "public_key": "backups/audit.pub"});
        if expect == "ok" {
            let metadata: Value = serde_json::from_slice(&self.metadata).expect("json");
            more["tree_size"] = metadata["range"]["tree_size"].clone();
            more["root_hash"] = metadata["root_hash"].clone();
        }
        maker.case(&format!("backups/{name}"), "backup", expect, why, more);
    }

    /// With other metadata, signed anew.
    fn signed(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value: Value = serde_json::from_slice(&self.metadata).expect("json");
        change(&mut value);
        let origin: Origin =
            value["log"]["origin"].as_str().expect("an origin").parse().expect("an origin");
        let size = value["range"]["tree_size"].as_u64().expect("a size");
        value["signature"] = Value::Null;
        let key = SigningKey::load(&OsFs, &self.key).expect("the key");
        let text = format!(" {}\n", serde_json::to_string_pretty(&value).expect("json"));
        let note =
            sign(Kind::BACKUP, text.as_bytes(), &About { origin, size }, &key).expect("signed");
        let note = serde_json::to_string(&note).expect("json");
        let text = text.replacen("\"signature\": null", &format!("\"signature\": {note}"), 1);
        Self { metadata: text.into_bytes(), ..self.clone() }
    }

    fn without_marker(&self) -> &[u8] {
        let metadata: Value = serde_json::from_slice(&self.metadata).expect("json");
        let end: u64 = metadata["segments"]
            .as_array()
            .expect("segments")
            .iter()
            .map(|segment| segment["stored_bytes"].as_u64().expect("a length"))
            .sum();
        &self.archive[..end as usize]
    }
}

fn drills(maker: &mut Maker, home: &Home) {
    let request = RestoreRequest { target: Target::Log, ..wanted() };
    let (report, path) = home.restorer().drill(&request, None, &Unwatched).expect("a report");
    assert!(report.passed, "{report:?}");
    let text = String::from_utf8(read(&path)).expect("text");
    let about = |expect: &str| {
        let mut more =
            json!({"path": format!("drills/{expect}.json"), "public_key": "backups/audit.pub"});
        if expect == "ok" {
            more["signed_text"] = json!(signed_text_of(&text));
        }
        more
    };
    maker.write("drills/ok.json", &text);
    maker.case("drills/ok", "drill", "ok", "the signed report of a restore drill", about("ok"));
    maker.write("drills/wrong.json", text.replacen("\"passed\": true", "\"passed\": false", 1));
    maker.case(
        "drills/wrong",
        "drill",
        "wrong",
        "a report that says something else than was signed",
        about("wrong"),
    );
    maker.write("drills/newer.json", text.replacen("\"format\": 1", "\"format\": 2", 1));
    maker.case("drills/newer", "drill", "newer", "of format 2", about("newer"));
}

/// The text of the note in a report.
fn signed_text_of(report: &str) -> String {
    let value: Value = serde_json::from_str(report).expect("json");
    let note = value["signature"].as_str().expect("a note");
    note.split_once("\n\n").expect("a note").0.to_owned() + "\n"
}

/// An archive that is encrypted, and who can decrypt it.
fn encrypted(maker: &mut Maker, home: &Home) {
    let (identity, recipient) = identity();
    let before: Vec<String> = names(home.backups().path());
    let (code, out, error) =
        run(&home.dir, &["backup", "--output-dir", "backups", "--encrypt-to", &recipient]);
    assert_eq!(code, 0, "{out}{error}");
    let new: Vec<PathBuf> = names(home.backups().path())
        .into_iter()
        .filter(|name| !before.contains(name) && name.starts_with("audit_backup_"))
        .map(|name| home.backups().path().join(name))
        .collect();
    let archive = new
        .iter()
        .find(|path| path.extension().is_some_and(|end| end == "age"))
        .expect("encrypted");
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    for path in &new {
        maker.write(&format!("backups/encrypted/{}", name(path)), read(path));
    }
    maker.write("backups/identity", format!("{identity}\n"));
    let more = json!({"path": format!("backups/encrypted/{}", name(archive)), "public_key": "backups/audit.pub",
        "identity": "backups/identity"});
    maker.case("backups/encrypted", "backup", "ok", "an archive that is encrypted with age", more);
}

#[cfg(feature = "encryption")]
fn identity() -> (String, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

#[cfg(not(feature = "encryption"))]
fn identity() -> (String, String) {
    panic!("the vectors are made with the feature encryption")
}
