//! Makes `docs/vectors/`: files of this format, good and bad, and `index.json`, which says
//! what a reader has to find in each.
//!
//! They are made once, by the version that is to be read for ever, and not again: a
//! change that would need new ones is another format.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditctl::audit::keys::checkpoint::{Note, NoteSignature, SignedCheckpoint, VerifierKey};
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::read::verify::{prove, prove_from};
use auditctl::audit::record::event::Event;
use auditctl::audit::state::status::{StatusSnapshot, Word};
use auditctl::audit::tree::document::Kind;
use auditctl::audit::tree::merkle::{Hash, Range, leaf_hash};
use auditctl::audit::tree::proof::{consistency_proof, inclusion_proof};
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{LogPaths, Options, RetentionRule};
use auditctl::backup::Wish;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::additive::{format_2, records_of_a_later_version, rewrite, with_unknown};
use crate::backups::{Home, all_compressed, names, read, record_into};
use crate::support::{all_lines, eventually, open, run};

/// Files of a log that say nothing to a reader.
const NOT_TAKEN: &[&str] = &["audit.lock", "audit.reserve", "audit.status", "audit.sock"];

pub(super) struct Maker {
    out: PathBuf,
    cases: Vec<Value>,
}

impl Maker {
    pub(super) fn new(out: &Path) -> Self {
        std::fs::create_dir_all(out).expect("directory");
        Self { out: out.to_path_buf(), cases: Vec::new() }
    }

    pub(super) fn make(mut self) {
        self.trees();
        self.logs();
        self.damaged();
        self.keys();
        self.notes();
        self.proofs();
        self.status_pages();
        self.filters();
        super::make_backups::backups(&mut self);
        super::make_later::later(&mut self);
        self.index();
    }

    /// Only those that came later.
    pub(super) fn make_later(mut self) {
        super::make_later::later(&mut self);
        self.index();
    }

    fn index(&self) {
        let index = json!({"type": "auditctl/vectors", "format": 1, "cases": self.cases});
        let text = serde_json::to_string_pretty(&index).expect("json") + "\n";
        std::fs::write(self.out.join("index.json"), text).expect("written");
    }

    pub(super) fn case(&mut self, name: &str, kind: &str, expect: &str, why: &str, more: Value) {
        let mut case = json!({"name": name, "kind": kind, "expect": expect, "why": why});
        let Value::Object(more) = more else { panic!("an object") };
        case.as_object_mut().expect("an object").extend(more);
        self.cases.push(case);
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.out.join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
        std::fs::write(path, bytes).expect("written");
    }

    /// A log as it is, and that it is good.
    fn log(&mut self, name: &str, dir: &Path, why: &str) {
        self.log_with(name, dir, why, json!({}));
    }

    /// The same, with more to say of it.
    pub(super) fn log_with(&mut self, name: &str, dir: &Path, why: &str, mut more: Value) {
        let note = SignedCheckpoint::parse(&read(&dir.join("audit.head"))).expect("a head");
        let head = note.unverified();
        let whole =
            all_lines(dir).into_iter().filter(|line| line.starts_with('{') && line.ends_with('}'));
        let holes = more["holes"].as_array().cloned().unwrap_or_default();
        let lost = holes.iter().map(|hole| number(&hole[1]) - number(&hole[0])).sum::<u64>();
        let end = whole.count() as u64 + first_record(dir) + lost;
        let key: VerifierKey =
            text(&dir.join("audit.pub")).lines().next().expect("a key").parse().expect("a key");
        self.copy(name, dir);
        let stated = json!({"path": name, "tree_size": head.size, "root_hash": head.root,
            "unsigned": end - head.size, "key": key.label()});
        let Value::Object(stated) = stated else { panic!("an object") };
        more.as_object_mut().expect("an object").extend(stated);
        self.case(name, "log", "ok", why, more);
    }

    /// The same with something wrong, or of a newer format.
    pub(super) fn bad_log(&mut self, name: &str, dir: &Path, expect: &str, why: &str) {
        self.copy(name, dir);
        self.case(name, "log", expect, why, json!({"path": name}));
    }

    fn copy(&self, name: &str, dir: &Path) {
        for file in names(dir) {
            if dir.join(&file).is_file() && !NOT_TAKEN.contains(&file.as_str()) {
                self.write(&format!("{name}/{file}"), read(&dir.join(&file)));
            }
        }
    }

    /// A copy of one of the logs, to be changed.
    pub(super) fn changed(&self, name: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("directory");
        for file in names(&self.out.join(name)) {
            let to = dir.path().join(&file);
            std::fs::copy(self.out.join(name).join(&file), &to).expect("copied");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("private");
        }
        dir
    }

    fn trees(&mut self) {
        let leaves: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n; usize::from(n)]).collect();
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let tree = |size: usize| {
            let mut tree = Range::empty(0);
            hashes[..size].iter().for_each(|hash| tree.append(*hash));
            tree
        };
        let roots: Vec<Hash> = (0..=9).map(|size| tree(size).root().expect("a root")).collect();
        let source = Leaves(&hashes);
        let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
        for size in 1..=9_u64 {
            for index in 0..size {
                let proof = inclusion_proof(&source, index, size).expect("a proof");
                inclusion.push(json!({"index": index, "size": size, "proof": proof, "good": true}));
                let mut bad = proof.clone();
                bad.push(roots[0]);
                inclusion.push(json!({"index": index, "size": size, "proof": bad, "good": false}));
            }
            for first in 0..=size {
                let proof = consistency_proof(&source, first, size).expect("a proof");
                consistency
                    .push(json!({"first": first, "second": size, "proof": proof, "good": true}));
                let bad = match proof.split_last() {
                    Some((_, less)) => less.to_vec(),
                    None => vec![roots[1]],
                };
                consistency
                    .push(json!({"first": first, "second": size, "proof": bad, "good": false}));
            }
        }
        let hex: Vec<String> =
            leaves.iter().map(|leaf| leaf.iter().map(|b| format!("{b:02x}")).collect()).collect();
        let tree = json!({"leaves": hex, "roots": roots, "inclusion": inclusion, "consistency": consistency});
        self.write("tree.json", serde_json::to_string(&tree).expect("json") + "\n");
        let why =
            "roots over the first n leaves (in hex), and all proofs between them, good and bad";
        self.case("tree", "tree", "ok", why, json!({"path": "tree.json"}));
    }

    fn logs(&mut self) {
        let home = Home::new();
        home_of(&home, 12, |options| options);
        self.log("logs/plain", &home.log_dir(), "only an active segment, closed in order");
        let home = Home::new();
        home.record(300);
        self.log("logs/sealed", &home.log_dir(), "compressed segments, and an active one");
        let plain = self.changed("logs/sealed");
        unpack_last(plain.path());
        self.log(
            "logs/plain-segment",
            plain.path(),
            "the last sealed segment is not compressed yet, and not listed",
        );
        let home = Home::new();
        let log = open(Options {
            max_segment_size: 3 << 20,
            max_details_size: 50 << 10,
            ..home.options()
        });
        let blob = "x".repeat(40 << 10);
        for n in 0..80 {
            let details = json!({"n": n, "blob": blob}).to_string();
            let event = Event::new("upload").actor("ann").details_json(&details).expect("details");
            log.record(event).expect("queued").wait_durable().expect("durable");
        }
        all_compressed(&log);
        log.close().expect("closed");
        self.log("logs/blocks", &home.log_dir(), "a segment of several blocks");
        let home = Home::new();
        let log =
            open(Options { ..home.options() }.with_origin("example.com/audit").expect("an origin"));
        record_into(&log, 5);
        log.close().expect("closed");
        self.log("logs/origin", &home.log_dir(), "an origin with a domain");
        let home = Home::new();
        home.record(300);
        let log = open(Options {
            retention: Some(Duration::from_millis(1)),
            retention_rule: RetentionRule::RemovesWithoutBackup,
            ..home.options()
        });
        eventually("segments are removed", || log.manifest().pruned.end() > 0);
        log.close().expect("closed");
        home.record(200);
        self.log("logs/pruned", &home.log_dir(), "retention removed the first segments");
        // Killed: as it is on the disk while its writer runs.
        let home = Home::new();
        let log = open(home.options());
        record_into(&log, 8);
        let dir = home.log_dir();
        self.log(
            "logs/killed",
            &dir,
            "a writer that was killed: no close, all that it acknowledged is signed",
        );
        let torn = self.changed("logs/killed");
        append(&torn.path().join("audit.log"), b"{\"seq\":11,\"timest");
        self.log("logs/torn", torn.path(), "half a line at the end is no part of the log");
        let holes = self.changed("logs/killed");
        append(&holes.path().join("audit.log"), &[0; 700]);
        self.log("logs/holes", holes.path(), "zeros at the end, as a loss of power leaves them");
        let unsigned = self.changed("logs/killed");
        let next = all_lines(unsigned.path()).len();
        append(&unsigned.path().join("audit.log"), format!("{{\"seq\":{next},\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"late\",\"origin\":{{\"via\":\"socket\"}}}}\n").as_bytes());
        self.log("logs/unsigned", unsigned.path(), "a record that nobody signed yet");
        drop(log);
        let home = Home::new();
        home.record(100);
        home.back_up();
        home.record(30);
        home.restore(Wish::Latest).expect("restored");
        home.record(20);
        self.log("logs/epoch", &home.log_dir(), "a restore set signed records aside: epoch 1");
    }

    fn damaged(&mut self) {
        let dir = self.changed("logs/plain");
        replace(&dir.path().join("audit.log"), b"\"user-", b"\"uses-");
        self.bad_log("bad/record", dir.path(), "wrong", "a record was altered");
        let dir = self.changed("logs/sealed");
        let first =
            names(dir.path()).into_iter().find(|name| name.ends_with(".gz")).expect("a segment");
        let path = dir.path().join(&first);
        let mut bytes = read(&path);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&path, bytes).expect("written");
        self.bad_log(
            "bad/segment",
            dir.path(),
            "wrong",
            "a byte of a compressed segment was changed",
        );
        let dir = self.changed("logs/sealed");
        std::fs::remove_file(dir.path().join(&first)).expect("removed");
        self.bad_log("bad/missing", dir.path(), "wrong", "a segment is missing");
        let dir = self.changed("logs/pruned");
        let first =
            names(dir.path()).into_iter().find(|name| name.ends_with(".gz")).expect("a segment");
        std::fs::remove_file(dir.path().join(&first)).expect("removed");
        self.bad_log(
            "bad/removed",
            dir.path(),
            "wrong",
            "one more segment is gone than retention says",
        );
        let dir = self.changed("logs/plain");
        let lines = text(&dir.path().join("audit.log"));
        let cut = lines.trim_end().rfind('\n').expect("lines") + 1;
        std::fs::write(dir.path().join("audit.log"), &lines[..cut]).expect("written");
        self.bad_log("bad/truncated", dir.path(), "wrong", "the last signed record is gone");
        let dir = self.changed("logs/plain");
        let next = lines.lines().count();
        append(&dir.path().join("audit.log"), format!("{{\"seq\":{next},\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"late\",\"origin\":{{\"via\":\"socket\"}}}}\n").as_bytes());
        self.bad_log(
            "bad/appended",
            dir.path(),
            "wrong",
            "a record behind the signed close of the log",
        );
        let dir = self.changed("logs/sealed");
        let path = dir.path().join("audit.manifest.json");
        let mut manifest: Value = serde_json::from_slice(&read(&path)).expect("json");
        manifest["epoch"] = json!(1);
        std::fs::write(&path, manifest.to_string()).expect("written");
        self.bad_log(
            "bad/manifest",
            dir.path(),
            "wrong",
            "a manifest that its signature is not about",
        );
        let dir = self.changed("logs/plain");
        let other = SigningKey::generate(key_of(dir.path()).name()).expect("a key");
        let head =
            SignedCheckpoint::parse(&read(&dir.path().join("audit.checkpoint"))).expect("a note");
        let note = other.sign_note(head.note().text().to_owned()).expect("signed").to_string();
        std::fs::write(dir.path().join("audit.checkpoint"), note).expect("written");
        self.bad_log("bad/checkpoint", dir.path(), "wrong", "a checkpoint that another key signed");
        // What later versions may do, and what they may not without another number.
        let dir = self.changed("logs/plain");
        records_of_a_later_version(dir.path());
        self.log(
            "added/records",
            dir.path(),
            "records with members that format 1 does not have yet",
        );
        let dir = self.changed("logs/sealed");
        let end = sealed_end(dir.path());
        rewrite(dir.path(), Kind::MANIFEST, (0, end), with_unknown);
        self.log("added/manifest", dir.path(), "a signed manifest with unknown members at each level, in another order, with whitespace");
        let dir = self.changed("logs/sealed");
        format_2(&dir.path().join("audit.manifest.json"));
        self.bad_log("newer/manifest", dir.path(), "newer", "a manifest of format 2");
        let dir = self.changed("logs/plain");
        replace(&dir.path().join("audit.log"), b"\"format\":1", b"\"format\":2");
        records_of_a_later_version(dir.path());
        self.bad_log(
            "newer/log",
            dir.path(),
            "newer",
            "a log whose first record says that it is of format 2",
        );
    }

    fn keys(&mut self) {
        let home = Home::new();
        home.record(20);
        home.back_up();
        let dir = home.log_dir();
        let before = read(&dir.join("audit.checkpoint"));
        let retired = key_of(&dir);
        let rotated = rotate(&home);
        home.record(10);
        self.log("logs/rotated", &dir, "the signing key was changed once");
        let at = SignedCheckpoint::parse(
            history(&dir)["rotations"][0]["checkpoint"].as_str().expect("a note").as_bytes(),
        )
        .expect("a note");
        let after = SignedCheckpoint::parse(&read(&dir.join("audit.checkpoint"))).expect("a note");
        let by_retired =
            retired.sign_note(after.note().text().to_owned()).expect("signed").to_string();
        self.write("keys/audit.keys", read(&dir.join("audit.keys")));
        self.write("keys/audit.pub", read(&dir.join("audit.pub")));
        self.write("keys/retired.pub", format!("{}\n", retired.verifier()));
        for (name, note, expect, why) in [
            (
                "before",
                String::from_utf8(before).expect("text"),
                "ok",
                "signed by the first key, before it was changed",
            ),
            ("at", at.to_string(), "ok", "at the place of the change: signed by both keys"),
            ("after", after.to_string(), "ok", "signed by the second key, after the change"),
            (
                "after-by-retired",
                by_retired,
                "wrong",
                "signed by the first key, after it was changed",
            ),
        ] {
            self.write(&format!("keys/{name}"), &note);
            for key in ["audit.pub", "retired.pub"] {
                let more = json!({"path": format!("keys/{name}"), "public_key": format!("keys/{key}"), "keys": "keys/audit.keys"});
                self.case(&format!("keys/{name} by {key}"), "checkpoint", expect, why, more);
            }
        }
        assert_eq!(rotated.old_key, retired.verifier().to_string());
        // A second epoch, and another change in it.
        home.restore(Wish::Latest).expect("restored");
        rotate(&home);
        home.record(5);
        self.log("logs/rotated-epochs", &dir, "keys changed in two epochs");
        let changed = self.changed("logs/rotated");
        rewrite(changed.path(), Kind::KEYS, (0, 0), with_unknown);
        self.log("added/keys", changed.path(), "audit.keys with unknown members at each level");
        let changed = self.changed("logs/rotated");
        format_2(&changed.path().join("audit.keys"));
        self.bad_log("newer/keys", changed.path(), "newer", "audit.keys of format 2");
        let changed = self.changed("logs/rotated");
        std::fs::remove_file(changed.path().join("audit.keys")).expect("removed");
        self.bad_log("bad/keys", changed.path(), "wrong", "how one key followed another is lost");
    }

    fn notes(&mut self) {
        let dir = self.out.join("logs/plain");
        let key = SigningKey::parse(&text(&dir.join("audit.key"))).expect("the key");
        self.write("notes/audit.pub", format!("{}\n", key.verifier()));
        let head = SignedCheckpoint::parse(&read(&dir.join("audit.checkpoint"))).expect("a note");
        let plain = head.note().text().to_owned();
        let extended = format!("{plain}extension line\nanother one\n");
        let witness = SigningKey::generate("witness.example.com/w1").expect("a key");
        let signatures = |notes: &[&Note]| -> Vec<NoteSignature> {
            notes.iter().flat_map(|note| note.signatures().to_vec()).collect()
        };
        let by = |key: &SigningKey, text: &str| key.sign_note(text.to_owned()).expect("signed");
        let note = |text: &str, signatures: Vec<NoteSignature>| {
            Note::new(text.to_owned(), signatures).expect("a note").to_string()
        };
        let own = by(&key, &plain);
        let big = NoteSignature {
            name: "later.example.com".to_owned(),
            key_id: 0x0102_0304,
            signature: vec![7; 2_420],
        };
        let mut spoiled = own.signatures()[0].clone();
        spoiled.signature[10] ^= 1;
        let cases: Vec<(&str, String, &str, &str)> = vec![
            ("plain", own.to_string(), "ok", "as the log signs it"),
            (
                "extension",
                by(&key, &extended).to_string(),
                "ok",
                "with extension lines, which are signed too",
            ),
            (
                "cosigned",
                note(&plain, signatures(&[&own, &by(&witness, &plain)])),
                "ok",
                "with a witness's signature",
            ),
            (
                "later-algorithm",
                note(&plain, [own.signatures(), &[big]].concat()),
                "ok",
                "with a signature of 2,420 bytes by a key of another kind",
            ),
            (
                "spoiled",
                note(&plain, vec![spoiled.clone()]),
                "wrong",
                "the log's signature is wrong",
            ),
            (
                "spoiled-twice",
                note(&plain, [own.signatures(), &[spoiled]].concat()),
                "wrong",
                "one right signature by the log's key, and one that is wrong",
            ),
            ("stranger", by(&witness, &plain).to_string(), "wrong", "only somebody else signed it"),
            (
                "altered",
                own.to_string().replacen('\n', "x\n", 1),
                "wrong",
                "another origin than was signed",
            ),
            (
                "no-end",
                own.to_string().trim_end().to_owned(),
                "wrong",
                "it does not end in a newline",
            ),
            (
                "empty-line",
                by(&key, &format!("{plain}\nx\n")).to_string(),
                "wrong",
                "an empty line in a checkpoint",
            ),
            (
                "leading-zero",
                by(&key, &plain.replacen("\n", "\n0", 1)).to_string(),
                "wrong",
                "a size with a leading zero",
            ),
        ];
        for (name, note, expect, why) in cases {
            self.write(&format!("notes/{name}"), &note);
            let more = json!({"path": format!("notes/{name}"), "public_key": "notes/audit.pub"});
            self.case(&format!("notes/{name}"), "checkpoint", expect, why, more);
        }
        // A file of keys with lines of other algorithms, and the epoch's own name.
        let other = STANDARD.encode([&[6_u8][..], &[1; 1_312]].concat());
        self.write(
            "notes/several.pub",
            format!("later.example.com+01020304+{other}\n\n{}\nno key at all\n", key.verifier()),
        );
        let more = json!({"path": "notes/plain", "public_key": "notes/several.pub"});
        self.case(
            "notes/several keys",
            "checkpoint",
            "ok",
            "lines that are no key of a known kind are passed over",
            more,
        );
    }

    fn proofs(&mut self) {
        let home = Home::new();
        home.record(40);
        rotate(&home);
        home.record(30);
        let dir = home.log_dir();
        self.write("proofs/audit.pub", read(&dir.join("audit.pub")));
        let document = prove(&home.fs, &dir, 7).expect("a proof");
        let good = document.encode();
        let grown = prove_from(&home.fs, &dir, 9).expect("a proof").encode();
        let (code, tlog, error) = run(&home.dir, &["prove", "7", "--format", "tlog-proof"]);
        assert_eq!(code, 0, "{error}");
        let parsed: Value = serde_json::from_str(&good).expect("json");
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut value = parsed.clone();
            change(&mut value);
            value.to_string()
        };
        let cases: Vec<(&str, String, &str, &str)> = vec![
            (
                "good.json",
                good.clone(),
                "ok",
                "a record, its proof, the signed checkpoint, and how the keys followed each other",
            ),
            (
                "added.json",
                changed(&|value| with_unknown_but_keys(value)),
                "ok",
                "the same with unknown members, in another order",
            ),
            ("record.json", good.replacen("user-", "uses-", 1), "wrong", "another record"),
            (
                "hash.json",
                changed(&|value| value["inclusion_proof"][0] = json!("00".repeat(32))),
                "wrong",
                "a hash of the proof is another",
            ),
            (
                "seq.json",
                changed(&|value| value["seq"] = json!(8)),
                "wrong",
                "it says that it is another record",
            ),
            (
                "size.json",
                changed(&|value| {
                    value["tree_size"] = json!(value["tree_size"].as_u64().expect("a size") + 1)
                }),
                "wrong",
                "another tree size than was signed",
            ),
            ("newer.json", changed(&|value| value["format"] = json!(2)), "newer", "of format 2"),
            ("grown.json", grown.clone(), "ok", "the signed tree continues one of 9 records"),
            ("grown-root.json", replace_text(&grown, "from_root"), "wrong", "another earlier root"),
            ("good.tlog-proof", tlog.clone(), "ok", "the same record as a C2SP tlog-proof"),
            ("index.tlog-proof", tlog.replacen("index 7", "index 8", 1), "wrong", "another index"),
        ];
        for (name, proof, expect, why) in cases {
            self.write(&format!("proofs/{name}"), &proof);
            let more = json!({"path": format!("proofs/{name}"), "public_key": "proofs/audit.pub"});
            self.case(&format!("proofs/{name}"), "proof", expect, why, more);
        }
    }

    fn status_pages(&mut self) {
        let home = Home::new();
        let log = open(home.options());
        record_into(&log, 5);
        let path = home.log_dir().join("audit.status");
        eventually("it counts", || {
            StatusSnapshot::read(&path).is_ok_and(|page| {
                words(&read(&path))["DurableSeq"] == json!(page.get(Word::NextSeq))
            })
        });
        let running = read(&path);
        log.close().expect("closed");
        let closed = read(&path);
        let mut torn = running.clone();
        torn[500] ^= 1;
        let mut newer = running.clone();
        newer[..8].copy_from_slice(b"AUDSTAT2");
        for (name, page, expect, why) in [
            (
                "running",
                &running,
                "ok",
                "a writer that runs: with the lock held and the heartbeat fresh it is running, with it 5 s old hung, with the lock free it died",
            ),
            ("closed", &closed, "ok", "a log that was closed: with the lock free it is stopped"),
            ("torn", &torn, "wrong", "its checksum does not fit: read it again"),
            ("newer", &newer, "newer", "of another version"),
        ] {
            self.write(&format!("status/{name}"), page);
            let mut more = json!({"path": format!("status/{name}")});
            if expect == "ok" {
                let words = words(page);
                let beat = words["HeartbeatBootMs"].as_u64().expect("a time");
                let is_closed = words["ClosedAt"] != json!(0);
                let states = [
                    (true, 100, "running"),
                    (true, 6_000, "hung"),
                    (false, 100, if is_closed { "stopped" } else { "died" }),
                ];
                let states = states.iter().filter(|(held, ..)| !(*held && is_closed));
                more["means"] = states.map(|(held, later, means)| json!({"lock_held": held, "now_boot_ms": beat + later, "writer": means})).collect();
                more["words"] = words;
            }
            self.case(&format!("status/{name}"), "status", expect, why, more);
        }
    }

    fn filters(&mut self) {
        let dir = self.out.join("logs/sealed");
        let filter =
            names(&dir).into_iter().find(|name| name.ends_with(".filter")).expect("filters");
        let segment = filter.replace(".filter", ".log.gz");
        let more = json!({"path": format!("logs/sealed/{filter}"), "segment": format!("logs/sealed/{segment}"),
            "block": 0,
            "has": [["event_type", "login"], ["actor", actor_of(&dir, &segment)]],
            "has_not": [["event_type", "logout"], ["actor", "nobody"], ["source", "elsewhere"], ["target", "x-1"]]});
        self.case(
            "filter",
            "filter",
            "ok",
            "which names may be in the first block of the segment, and which are not",
            more,
        );
    }
}

/// The leaves of a tree, for proofs.
struct Leaves<'a>(&'a [Hash]);

impl auditctl::audit::tree::proof::RangeHashes for Leaves<'_> {
    type Error = std::convert::Infallible;

    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, Self::Error> {
        let mut range = Range::empty(begin);
        self.0[begin as usize..end as usize].iter().for_each(|hash| range.append(*hash));
        Ok(range.subtree_hash().expect("a subtree"))
    }
}

fn text(path: &Path) -> String {
    String::from_utf8(read(path)).expect("text")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// The first compressed segment.
pub(super) fn first_sealed(dir: &Path) -> String {
    names(dir).into_iter().find(|name| name.ends_with(".log.gz")).expect("a segment")
}

fn first_record(dir: &Path) -> u64 {
    let manifest: Value =
        serde_json::from_slice(&read(&LogPaths::new(dir).manifest())).expect("json");
    manifest["pruned"]["end"].as_u64().expect("a seq")
}

pub(super) fn sealed_end(dir: &Path) -> u64 {
    let manifest: Value =
        serde_json::from_slice(&read(&LogPaths::new(dir).manifest())).expect("json");
    let last = manifest["segments"].as_array().expect("segments").last().expect("a segment");
    last["first_seq"].as_u64().expect("a seq") + last["records"].as_u64().expect("a number")
}

fn home_of(home: &Home, count: usize, options: impl FnOnce(Options) -> Options) {
    let log = open(options(home.options()));
    record_into(&log, count);
    log.close().expect("closed");
}

pub(super) fn key_of(dir: &Path) -> SigningKey {
    SigningKey::parse(&text(&dir.join("audit.key"))).expect("the key")
}

fn history(dir: &Path) -> Value {
    serde_json::from_slice(&read(&dir.join("audit.keys"))).expect("json")
}

fn rotate(home: &Home) -> auditctl::audit::write::key_change::Rotated {
    let log = home.open();
    let rotated = log.rotate_key(&RotateRequest::default()).expect("changed");
    log.close().expect("closed");
    rotated
}

fn append(path: &Path, bytes: &[u8]) {
    let whole = [&read(path)[..], bytes].concat();
    std::fs::write(path, whole).expect("written");
}

pub(super) fn replace(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = read(path);
    let at = bytes.windows(from.len()).position(|part| part == from).expect("it is there");
    bytes.splice(at..at + from.len(), to.iter().copied());
    std::fs::write(path, bytes).expect("written");
}

fn replace_text(document: &str, member: &str) -> String {
    let mut value: Value = serde_json::from_str(document).expect("json");
    assert!(value[member].is_string(), "{document}");
    value[member] = json!("11".repeat(32));
    value.to_string()
}

/// The members that name keys and notes stay as they are; around them are unknown ones.
fn with_unknown_but_keys(value: &mut Value) {
    with_unknown(value);
}

/// The newest sealed segment as it was before it was compressed: a plain file that the
/// manifest does not list.
fn unpack_last(dir: &Path) {
    use std::io::Read as _;
    let last = names(dir).into_iter().rfind(|name| name.ends_with(".log.gz")).expect("a segment");
    let mut lines = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(&dir.join(&last))[..])
        .read_to_end(&mut lines)
        .expect("gzip");
    std::fs::write(dir.join(last.trim_end_matches(".gz")), lines).expect("written");
    std::fs::remove_file(dir.join(&last)).expect("removed");
    let _ = std::fs::remove_file(dir.join(last.replace(".log.gz", ".filter")));
    let end = {
        let manifest: Value =
            serde_json::from_slice(&read(&LogPaths::new(dir).manifest())).expect("json");
        let segments = manifest["segments"].as_array().expect("segments");
        segments.last().expect("a segment")["first_seq"].as_u64().expect("a seq")
    };
    rewrite(dir, Kind::MANIFEST, (0, end), |value| {
        value["segments"].as_array_mut().expect("segments").pop();
    });
}

/// The words of a status page that are not 0, by name.
fn words(page: &[u8]) -> Value {
    let mut found = serde_json::Map::new();
    for (word, name, _) in Word::TABLE {
        let at = *word as usize * 8;
        let value = u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"));
        if value != 0 {
            found.insert((*name).to_owned(), json!(value));
        }
    }
    found.insert(
        "ClosedAt".to_owned(),
        json!(u64::from_le_bytes(page[57 * 8..58 * 8].try_into().expect("eight bytes"))),
    );
    Value::Object(found)
}

fn actor_of(dir: &Path, segment: &str) -> String {
    use std::io::Read as _;
    let mut lines = String::new();
    flate2::read::MultiGzDecoder::new(&read(&dir.join(segment))[..])
        .read_to_string(&mut lines)
        .expect("gzip");
    let mut actors = lines.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).expect("json");
        record["actor"].as_str().map(str::to_owned)
    });
    actors.next().expect("an actor")
}
