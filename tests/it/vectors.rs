//! `docs/vectors/`: files of format 1, and what every reader has to find in them. The
//! program does, and so does a reader that shares no code with it.
//!
//! They were made by [`make`](make::Maker), and stay as they are: what reads them now
//! has to read them for ever.

mod make;
mod make_backups;
mod make_later;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use auditctl::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use auditctl::audit::keys::{KeyHistory, Keyring};
use auditctl::audit::read::verify::{Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::state::status::StatusSnapshot;
use auditctl::audit::tree::document;
use auditctl::audit::tree::document::{Kind, newer_behind};
use auditctl::audit::tree::merkle::{Hash, Range, leaf_hash};
use auditctl::audit::tree::proof::{verify_consistency, verify_inclusion};
use auditctl::backup::DrillReport;
use auditctl::fsio::{OsFs, SharedFs};
use serde_json::Value;

use crate::backups::read;
use crate::support::{Dir, run};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors")
}

/// Makes them, where `MAKE_VECTORS` says: `docs/vectors/make.sh` does.
#[test]
#[ignore = "makes docs/vectors, which stay as they are"]
fn make_the_vectors() {
    let out = std::env::var_os("MAKE_VECTORS").expect("MAKE_VECTORS names a new directory");
    let maker = make::Maker::new(Path::new(&out));
    match std::env::var("MAKE_VECTORS_OF").as_deref() {
        Ok("later") => maker.make_later(),
        _ => maker.make(),
    }
}

/// A vector, as `index.json` describes it, and where its files are.
pub(crate) struct Case {
    pub(crate) about: Value,
    pub(crate) home: PathBuf,
}

impl Case {
    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.about.get(member).and_then(Value::as_str)
    }

    pub(crate) fn name(&self) -> &str {
        self.text("name").expect("a name")
    }

    fn path(&self, member: &str) -> Option<PathBuf> {
        self.text(member).map(|name| self.home.join(name))
    }

    fn file(&self) -> Vec<u8> {
        read(&self.path("path").expect("a path"))
    }

    fn key(&self) -> VerifierKey {
        VerifierKey::load(&OsFs, &self.path("public_key").expect("a key")).expect("a key")
    }

    /// `ok`, `wrong` or `newer`, as the program has it.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.text("kind").expect("a kind") {
            "tree" => self.tree(),
            "log" => self.log(),
            "checkpoint" => self.checkpoint(),
            "proof" => self.command(&["verify", "--proof"]),
            "status" => self.status(),
            "backup" | "archive" => self.backup(),
            "drill" => self.drill(),
            // Its layout is the engine's own affair: a unit test beside it reads it.
            "filter" => "ok",
            other => panic!("{}: what is {other}?", self.name()),
        }
    }

    fn tree(&self) -> &'static str {
        let tree: Value = serde_json::from_slice(&self.file()).expect("json");
        let list = |of: &Value| -> Vec<Value> { of.as_array().expect("a list").clone() };
        let hash = |of: &Value| -> Hash { of.as_str().expect("hex").parse().expect("a hash") };
        let hashes = |of: &Value| -> Vec<Hash> { list(of).iter().map(hash).collect() };
        let number = |of: &Value| of.as_u64().expect("a number");
        let leaves: Vec<Hash> = list(&tree["leaves"])
            .iter()
            .map(|leaf| leaf_hash(&hex(leaf.as_str().expect("hex"))))
            .collect();
        let roots = hashes(&tree["roots"]);
        let mut whole = Range::empty(0);
        assert_eq!(whole.root().expect("a root"), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            whole.append(*leaf);
            assert_eq!(whole.root().expect("a root"), *root);
        }
        for case in list(&tree["inclusion"]) {
            let (index, size) = (number(&case["index"]), number(&case["size"]));
            let proof = hashes(&case["proof"]);
            let found = verify_inclusion(
                &leaves[index as usize],
                index,
                size,
                &proof,
                &roots[size as usize],
            );
            assert_eq!(found.is_ok(), case["good"] == true, "{case}");
        }
        for case in list(&tree["consistency"]) {
            let (first, second) = (number(&case["first"]), number(&case["second"]));
            let (from, to) = (roots[first as usize], roots[second as usize]);
            let found = verify_consistency(first, second, &from, &to, &hashes(&case["proof"]));
            assert_eq!(found.is_ok(), case["good"] == true, "{case}");
        }
        "ok"
    }

    fn log(&self) -> &'static str {
        let dir = Dir::new();
        copy(&self.path("path").expect("a path"), &dir.log());
        let fs: SharedFs = Arc::new(OsFs);
        let report = match verify(&fs, &dir.log(), &Request::default(), &Unwatched) {
            Ok((report, _)) => report,
            Err(error) if newer_behind(&error).is_some() => return "newer",
            Err(_) => return "wrong",
        };
        if !report.passed() {
            return "wrong";
        }
        if self.text("expect") == Some("ok") {
            let (code, _, error) = run(&dir, &["query", "--count"]);
            assert_eq!(code, 0, "{}: {error}", self.name());
            let size = report.tree_size;
            assert_eq!(Some(size), self.about["tree_size"].as_u64(), "{}", self.name());
            assert_eq!(
                report.root_hash.map(|hash| hash.to_string()).as_deref(),
                self.text("root_hash")
            );
            assert_eq!(report.key.as_deref(), self.text("key"), "{}", self.name());
            let unsigned = report.ranges.unsigned.end_seq - report.ranges.unsigned.first_seq;
            assert_eq!(Some(unsigned), self.about["unsigned"].as_u64(), "{}", self.name());
            let holes: Vec<[u64; 2]> =
                report.holes.iter().map(|hole| [hole.first_seq, hole.end_seq]).collect();
            let stated = self.about.get("holes").cloned().unwrap_or_else(|| serde_json::json!([]));
            assert_eq!(serde_json::json!(holes), stated, "{}", self.name());
        }
        "ok"
    }

    fn checkpoint(&self) -> &'static str {
        let keys = match self.path("keys") {
            Some(path) => match document::decode::<KeyHistory>(Kind::KEYS, &read(&path)) {
                Ok(history) => {
                    let key = self.key();
                    let is_its = key.name().ends_with(&format!("/{}", history.log_id));
                    let is_none = history.rotations.is_empty();
                    if is_its && !is_none { history.ring(key).ok() } else { None }
                }
                Err(error) if error.is_newer() => return "newer",
                Err(_) => None,
            },
            None => Some(Keyring::from(self.key())),
        };
        let Some(keys) = keys else { return "wrong" };
        let note = SignedCheckpoint::parse(&self.file());
        if note.is_ok_and(|note| keys.verify(&note).is_ok()) { "ok" } else { "wrong" }
    }

    /// By a command's exit code.
    fn command(&self, command: &[&str]) -> &'static str {
        let dir = Dir::new();
        let path = self.path("path").expect("a path");
        let key = self.path("public_key").expect("a key");
        let more = [path.as_os_str(), "--public-key".as_ref(), key.as_os_str()];
        let output = crate::support::auditctl(&dir, command).args(more).output().expect("it runs");
        match output.status.code() {
            Some(0) => "ok",
            Some(1) => "wrong",
            Some(3) => "newer",
            other => {
                panic!("{}: {other:?} {}", self.name(), String::from_utf8_lossy(&output.stderr))
            }
        }
    }

    fn status(&self) -> &'static str {
        use auditctl::audit::state::status::StatusError;
        let page = match StatusSnapshot::read(&self.path("path").expect("a path")) {
            Ok(page) => page,
            Err(StatusError::Newer { .. }) => return "newer",
            Err(_) => return "wrong",
        };
        for (word, name, _) in auditctl::audit::state::status::Word::TABLE {
            let told = self.about["words"].get(*name).and_then(Value::as_u64).unwrap_or(0);
            // Rings, histograms and texts are several words.
            assert_eq!(page.get(*word), told, "{}: {name}", self.name());
        }
        "ok"
    }

    fn backup(&self) -> &'static str {
        let Some(identity) = self.path("identity") else {
            return self.command(&["verify"]);
        };
        if !cfg!(feature = "encryption") {
            return "ok";
        }
        let dir = Dir::new();
        copy(self.path("path").expect("a path").parent().expect("a directory"), dir.path());
        let name = self.path("path").expect("a path");
        let name = name.file_name().expect("a name").to_str().expect("text").to_owned();
        std::fs::copy(identity, dir.path().join("identity")).expect("copied");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("identity"), private).expect("private");
        let key = self.path("public_key").expect("a key");
        let args = [
            "restore",
            &name,
            "--target",
            "there",
            "--identity",
            "identity",
            "--public-key",
            key.to_str().expect("text"),
        ];
        match run(&dir, &args) {
            (0, ..) => "ok",
            (code, out, error) => panic!("{}: {code} {out}{error}", self.name()),
        }
    }

    fn drill(&self) -> &'static str {
        match DrillReport::parse(&self.file()) {
            Ok(report) => match report.verify(&Keyring::from(self.key())) {
                Ok(()) => "ok",
                Err(_) => "wrong",
            },
            Err(error) if error.is_newer() => "newer",
            Err(_) => "wrong",
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Private, as a log is.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for name in crate::backups::names(from) {
        let to = to.join(&name);
        std::fs::copy(from.join(&name), &to).expect("copied");
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("private");
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let index: Value = serde_json::from_slice(&read(&home().join("index.json"))).expect("json");
    let cases = index["cases"].as_array().expect("cases");
    assert!(cases.len() > 70, "{} cases", cases.len());
    cases.iter().map(|case| Case { about: case.clone(), home: home() }).collect()
}

#[test]
fn the_program_finds_in_the_published_vectors_what_they_say() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter(|case| Some(case.verdict()) != case.text("expect"))
        .map(|case| {
            format!("{}: {} instead of {:?}", case.name(), case.verdict(), case.text("expect"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reader_that_shares_no_code_finds_the_same_in_them() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_vectors.py");
    let output = Command::new("python3").arg(script).arg(home()).output().expect("python3");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    let said = String::from_utf8_lossy(&text).into_owned();
    assert!(said.contains(&format!("{} vectors", cases().len())), "{said}");
}

/// What the reader of the day on which format 1 was frozen says of a vector.
fn frozen_reader(cases: &Value, directory: &Path) -> String {
    std::fs::write(directory.join("index.json"), cases.to_string()).expect("written");
    let script = "tests/fixtures/reader-1/read_vectors.py";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new("python3").arg(script).arg(directory).output().expect("python3");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn what_this_version_writes_is_read_by_the_reader_of_the_day_on_which_the_format_was_frozen() {
    use crate::backups::Home;
    let home = Home::new();
    home.record(150);
    let backup = home.back_up().metadata.id;
    home.record(60);
    let log = home.open();
    log.rotate_key(&auditctl::audit::write::key_change::RotateRequest::default()).expect("changed");
    log.close().expect("closed");
    // Of before the change of key: so that the log goes on in another epoch.
    home.restore(auditctl::backup::Wish::Id(backup)).expect("restored");
    home.record(80);
    let second = home.back_up().metadata.id;
    let dir = home.dir.path();
    let proof =
        auditctl::audit::read::verify::prove(&home.fs, &home.log_dir(), 100).expect("a proof");
    std::fs::write(dir.join("proof.json"), proof.encode()).expect("written");
    let archive = |id| format!("backups/audit_backup_{id}.gz");
    let of = |name: &str, kind: &str, path: &str| {
        serde_json::json!({"name": name, "kind": kind, "expect": "ok", "path": path,
            "public_key": "logs/audit.pub"})
    };
    let index = serde_json::json!({"type": "auditctl/vectors", "format": 1, "cases": [
        of("the log", "log", "logs"),
        of("its checkpoint", "checkpoint", "logs/audit.checkpoint"),
        of("a proof", "proof", "proof.json"),
        of("the second backup", "backup", &archive(second)),
        of("its archive alone", "archive", &archive(second)),
    ]});
    let said = frozen_reader(&index, dir);
    assert!(said.contains("5 vectors, 0 of them"), "{said}");
}

#[test]
fn the_reader_of_that_day_reads_the_vectors_of_that_day() {
    let mut cases: Vec<Value> = cases().into_iter().map(|case| case.about).collect();
    // What came later it does not know: it must not call that good.
    for case in &mut cases {
        if let Some(earlier) = case.get("earlier").cloned() {
            assert_ne!(earlier, "ok", "{case}");
            case["expect"] = earlier;
        }
    }
    let dir = Dir::new();
    for path in walk(&home()) {
        let to = dir.path().join(path.strip_prefix(home()).expect("below"));
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("made");
        std::fs::copy(&path, to).expect("copied");
    }
    let index = serde_json::json!({"type": "auditctl/vectors", "format": 1, "cases": cases});
    let said = frozen_reader(&index, dir.path());
    assert!(said.contains(&format!("{} vectors, 0 of them", cases.len())), "{said}");
}

#[test]
fn every_file_of_the_vectors_is_named_by_one_of_them() {
    let index = String::from_utf8(read(&home().join("index.json"))).expect("text");
    let mut left = Vec::new();
    for entry in walk(&home()) {
        let name = entry.strip_prefix(home()).expect("below").to_str().expect("text").to_owned();
        let dir = Path::new(&name).parent().and_then(Path::to_str).unwrap_or_default().to_owned();
        let named = [name.clone(), dir].iter().any(|name| index.contains(&format!("\"{name}\"")));
        let archive =
            name.strip_suffix(".json").is_some_and(|stem| index.contains(&format!("\"{stem}.gz")));
        if !named
            && !archive
            && !["index.json", "README.md", "make.sh", ".gitattributes"].contains(&name.as_str())
        {
            left.push(name);
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in crate::backups::names(dir) {
        let path = dir.join(&name);
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
