//! A log without its private key: what can be done with it, and the ways on.

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use auditctl::audit::write::key_replace::{ReplaceRequest, replace_key};
use auditctl::fsio::fault::{Fault, How, Op};
use serde_json::Value;

use crate::backups::copy_dir;
use crate::support::{Dir, Moments, auditctl, count, failing, json, ok, run};

fn python(args: &[&str]) -> (i32, String) {
    crate::keys::python(&args.iter().map(Path::new).collect::<Vec<_>>())
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
}

fn fails(dir: &Dir, args: &[&str], code: i32, parts: &[&str]) -> String {
    let (found, out, err) = run(dir, args);
    assert_eq!(found, code, "{args:?}: {out}{err}");
    for part in parts {
        assert!(err.contains(part) || out.contains(part), "{args:?}: {part}: {out}{err}");
    }
    err
}

/// A log of some records and a backup of it.
fn backed_up() -> (Dir, PathBuf) {
    let dir = Dir::new();
    for actor in ["alice", "bob", "carol"] {
        ok(&dir, &["record", "--type", "login", "--actor", actor]);
    }
    ok(&dir, &["backup", "--output-dir", "kept"]);
    let names = std::fs::read_dir(dir.path().join("kept")).expect("backups");
    let archive = names
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|it| it == "gz"));
    (dir, archive.expect("an archive"))
}

fn copy_key(from: &Dir, to: &Dir, name: &str) {
    std::fs::copy(from.log().join("audit.pub"), to.path().join(name)).expect("copied");
}

/// The same log restored where there is no key.
fn keyless() -> (Dir, Dir) {
    let (first, archive) = backed_up();
    let dir = Dir::new();
    ok(&dir, &["restore", archive.to_str().expect("a path"), "--force"]);
    copy_key(&first, &dir, "old.pub");
    (first, dir)
}

/// B2.
#[test]
fn a_log_restored_without_its_key_is_read_verified_proven_and_backed_up_at_once() {
    let (_first, dir) = keyless();
    assert_eq!(ok(&dir, &["query", "--type", "login", "--format", "ndjson"]).lines().count(), 3);
    let (code, report) = json(&dir, &["verify", "--public-key", "old.pub"]);
    assert_eq!((code, &report["integrity"]), (0, &Value::from("intact")), "{report}");
    assert_eq!(report["ranges"]["unsigned"]["first_seq"], report["ranges"]["unsigned"]["end_seq"]);
    ok(&dir, &["prove", "1", "--output", "proof.json"]);
    ok(&dir, &["verify", "--proof", "proof.json", "--public-key", "old.pub"]);
    let (code, made, warned) = run(&dir, &["backup"]);
    assert!(code == 0 && warned.contains("not signed"), "{made}{warned}");
    assert!(ok(&dir, &["list"]).contains("unsigned"));
    let text = ok(&dir, &["verify", "latest", "--public-key", "old.pub"]);
    assert!(text.contains("VERIFIED") && text.contains("not signed"), "{text}");
    let shown = ok(&dir, &["key", "show"]);
    assert!(shown.contains("missing") && shown.contains("key replace"), "{shown}");
    for command in [&["record", "--type", "x"][..], &["serve", "--http", "off"]] {
        fails(
            &dir,
            command,
            3,
            &["you can read", "key import", "key replace --reason", "key_path"],
        );
    }
    let (code, health) = json(&dir, &["health"]);
    let codes: Vec<&Value> = health["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|check| check["code"] == "integrity.key_missing")
        .collect();
    assert_eq!((code, codes.len()), (2, 1), "{health}");
    assert!(codes[0]["hint"].as_str().expect("a hint").contains("key replace"), "{health}");
    // A restore over it is no dead end either.
    let backup = dir.path().join("backups/audit");
    assert!(backup.is_dir());
    ok(&dir, &["restore", "latest", "--force"]);
    ok(&dir, &["verify"]);
}

/// B2.
#[test]
fn what_is_altered_without_the_key_is_found_as_it_is_with_it() {
    let (_first, dir) = keyless();
    let segment = std::fs::read_dir(dir.log())
        .expect("the log")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|it| it == "gz"))
        .expect("a segment");
    let packed = std::fs::read(&segment).expect("read");
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(&packed[..]);
    std::io::Read::read_to_string(&mut reader, &mut text).expect("unpacked");
    let forged = text.replace("\"alice\"", "\"mallory\"");
    assert_ne!(forged, text);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, forged.as_bytes()).expect("packed");
    std::fs::write(&segment, packer.finish().expect("packed")).expect("written");
    // Whoever forges has no key, and everything else: also the unsigned manifest.
    std::fs::remove_file(dir.log().join("audit.manifest.json")).expect("removed");
    fails(&dir, &["verify", "--public-key", "old.pub"], 1, &["DAMAGED"]);
    // A new key does not make it the log's own.
    let (code, _, err) = run(&dir, &["key", "replace", "--reason", "forged"]);
    assert_eq!(code, 3, "{err}");
    fails(&dir, &["verify", "--public-key", "old.pub"], 1, &["DAMAGED"]);
}

/// B2.
#[test]
fn a_key_that_was_replaced_is_told_of_by_every_door_and_the_old_one_does_not_lead_to_it() {
    let (_first, dir) = keyless();
    let planned = ok(&dir, &["key", "replace", "--reason", "the host burned", "--dry-run"]);
    assert!(planned.starts_with("nothing was changed") && !dir.log().join("audit.key").exists());
    let (code, replaced) = json(&dir, &["key", "replace", "--reason", "the host burned"]);
    assert_eq!((code, &replaced["epoch"]), (0, &Value::from(1)), "{replaced}");
    assert!(!dir.log().join("audit.key.next").exists());
    assert_eq!(count(&dir.log(), "audit.key_replaced"), 1);
    copy_key(&dir, &dir, "new.pub");
    let record = ok(&dir, &["query", "--type", "audit.key_replaced", "--format", "ndjson"]);
    let record: Value = serde_json::from_str(&record).expect("a record");
    let details = &record["details"];
    for (name, value) in [("old_key", &replaced["old_key"]), ("new_key", &replaced["new_key"])] {
        assert_eq!(&details[name], value, "{record}");
    }
    let user = details["user"].as_str().expect("a user");
    assert_eq!(details["reason"], "the host burned");
    assert_eq!(details["uid"], rustix::process::geteuid().as_raw());
    assert!(details["signed_records"].as_u64() > Some(3) && details["signed_root"].is_string());
    ok(&dir, &["record", "--type", "after"]);

    let said = [user, "the host burned", "without its signature"];
    for args in [
        &["verify"][..],
        &["verify", "--public-key", "new.pub"],
        &["verify", "--quick"],
        &["verify", "--since-last"],
    ] {
        let text = ok(&dir, args);
        assert!(text.contains("VERIFIED") && said.iter().all(|it| text.contains(it)), "{text}");
    }
    let (_, report) = json(&dir, &["verify"]);
    assert_eq!(report["keys"][1]["replaced"]["reason"], "the host burned", "{report}");
    ok(&dir, &["prove", "0", "--output", "proof.json"]);
    let text = ok(&dir, &["verify", "--proof", "proof.json", "--public-key", "new.pub"]);
    assert!(said.iter().all(|it| text.contains(it)), "{text}");
    ok(&dir, &["backup"]);
    let text = ok(&dir, &["verify", "latest"]);
    assert!(said.iter().all(|it| text.contains(it)), "{text}");
    for text in [ok(&dir, &["key", "show"]), run(&dir, &["health"]).1] {
        assert!(text.contains("the host burned") && text.contains("signature"), "{text}");
    }
    let (_, shown) = json(&dir, &["key", "show"]);
    assert_eq!(shown["rotations"][0]["succession"], "replaced", "{shown}");

    // Whoever has only the old key is led as far as that signed, and no further.
    let (code, report) = json(&dir, &["verify", "--public-key", "old.pub"]);
    assert_eq!((code, &report["integrity"]), (1, &Value::from("unproven")), "{report}");
    assert_eq!(report["ranges"]["signed"]["end_seq"], details["signed_records"], "{report}");
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 1, "{report}");
    assert_eq!(findings[0]["kind"], "wrong_key");
    assert_eq!(findings[0]["first_seq"], details["signed_records"]);
    assert!(findings[0]["message"].as_str().expect("text").contains("never authorised"));
    let proof = ["verify", "--proof", "proof.json", "--public-key", "old.pub"];
    fails(&dir, &proof, 1, &["never authorised"]);
    fails(&dir, &["verify", "latest", "--public-key", "old.pub"], 1, &["never authorised"]);
    // A signed change after it is one like any other, and nothing is forgotten.
    ok(&dir, &["key", "rotate", "--reason", "yearly"]);
    let text = ok(&dir, &["verify", "--public-key", "new.pub"]);
    assert!(text.contains("3 keys") && said.iter().all(|it| text.contains(it)), "{text}");
}

/// B2: a reader that was written from the documents alone.
#[test]
fn a_reader_of_the_documents_follows_a_replaced_key_as_far_as_it_leads() {
    let (_first, dir) = keyless();
    let log = dir.log();
    let log = log.to_str().expect("utf-8");
    assert_eq!(python(&[log]).0, 0, "without the key");
    ok(&dir, &["key", "replace", "--reason", "lost"]);
    ok(&dir, &["record", "--type", "after"]);
    copy_key(&dir, &dir, "new.pub");
    ok(&dir, &["prove", "2", "--output", "proof.json"]);
    let at = |name: &str| dir.path().join(name).to_str().expect("utf-8").to_owned();
    let (old, new, proof) = (at("old.pub"), at("new.pub"), at("proof.json"));
    for (args, code) in [
        (&[log][..], 0),
        (&[log, "--public-key", &new], 0),
        (&[log, "--public-key", &old], 1),
        (&["--proof", &proof, "--public-key", &new], 0),
        (&["--proof", &proof, "--public-key", &old], 1),
    ] {
        let (found, said) = python(args);
        assert_eq!(found, code, "{args:?}: {said}");
    }
    // What is said of it is signed.
    let keys = dir.log().join("audit.keys");
    let text = std::fs::read_to_string(&keys).expect("read");
    std::fs::write(&keys, text.replacen("\"reason\": \"lost\"", "\"reason\": \"sold\"", 1))
        .expect("written");
    assert_eq!(python(&[log]).0, 1);
    fails(&dir, &["verify"], 1, &["audit.keys"]);
}

/// B2.
#[test]
fn a_key_is_replaced_only_where_nobody_has_it() {
    let (first, dir) = keyless();
    let replace = ["key", "replace", "--reason", "because"];
    fails(&first, &replace, 4, &["key rotate"]);
    fails(&dir, &["key", "replace", "--reason", "two\nlines"], 4, &["one line"]);
    fails(&dir, &["key", "replace", "--reason", ""], 4, &["say something"]);
    let long = "x".repeat(257);
    fails(&dir, &["key", "replace", "--reason", &long], 4, &["256 bytes"]);
    let empty = Dir::new();
    fails(&empty, &replace, 3, &["no log"]);
    // Another log's key is kept, and not used.
    std::fs::write(dir.log().join("audit.key"), "not a key").expect("written");
    chmod(&dir.log().join("audit.key"), 0o600);
    let (code, replaced) = json(&dir, &replace);
    assert_eq!(code, 0, "{replaced}");
    let aside = replaced["set_aside"].as_str().expect("set aside");
    assert_eq!(std::fs::read_to_string(dir.log().join(aside)).expect("kept"), "not a key");
    // With the old key back in its place the log does not take the new one for a theft.
    std::fs::copy(first.log().join("audit.key"), dir.log().join("audit.key")).expect("copied");
    fails(&dir, &["record", "--type", "x"], 3, &["without its signature", "put the new one back"]);
}

fn replace_request() -> ReplaceRequest {
    ReplaceRequest { reason: "lost".to_owned(), uid: 0, user: None }
}

/// The file operations of a replacement, in order: which, the how many of its kind on
/// files of that name, and on what.
fn steps(ready: &Dir) -> Vec<(Op, u64, String)> {
    let dir = Dir::new();
    copy_dir(&ready.log(), &dir.log());
    let (options, fs) = failing(&dir);
    replace_key(&options, &replace_request()).expect("replaced");
    let named = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.find(".tmp-").map_or(name.clone(), |at| name[..at + 5].to_owned())
    };
    let all: Vec<(Op, String)> =
        fs.take_log().into_iter().map(|(op, path)| (op, named(&path))).collect();
    let steps = all.iter().enumerate().map(|(at, (op, name))| {
        let before = all[..at].iter().filter(|(o, n)| o == op && n.contains(name.as_str()));
        (*op, before.count() as u64, name.clone())
    });
    // What the close does after it is any log's.
    let steps: Vec<_> = steps.collect();
    let done = |(op, _, name): &&(Op, u64, String)| *op == Op::Remove && name == "audit.key.next";
    let last = steps.iter().position(|step| done(&step)).expect("it is forgotten at the end");
    let steps = steps.into_iter().take(last + 1);
    let ours = |(_, _, name): &(Op, u64, String)| {
        ["audit.key", "audit.keys", "audit.pub", "audit.checkpoint", "audit.manifest", "audit.log"]
            .iter()
            .any(|file| name.starts_with(file))
    };
    let steps: Vec<_> = steps.filter(ours).collect();
    for name in ["audit.key.next", "audit.keys", "audit.pub", "audit.checkpoint", "audit.log"] {
        assert!(steps.iter().any(|(_, _, path)| path.starts_with(name)), "{name}: {steps:?}");
    }
    steps
}

/// Readable as it is; then the key is replaced, if it was not, and the log goes on.
fn goes_on(dir: &Dir, context: &str) {
    let (code, out, err) = run(dir, &["verify"]);
    assert!(code == 0 || out.contains("unclean") || out.contains("/e1"), "{context}: {out}{err}");
    assert!(!out.contains("DAMAGED") || out.contains("/e1"), "{context}: {out}{err}");
    ok(dir, &["query", "--type", "login"]);
    let (code, out, err) = run(dir, &["key", "replace", "--reason", "again"]);
    assert!(code == 0 || code == 4 && err.contains("key rotate"), "{context}: {out}{err}");
    ok(dir, &["record", "--type", "after"]);
    let text = ok(dir, &["verify"]);
    assert!(text.contains("without its signature") && text.contains("2 keys"), "{context}: {text}");
    assert!(!dir.log().join("audit.key.next").exists(), "{context}");
    assert!(count(&dir.log(), "audit.key_replaced") >= 1, "{context}");
    assert_eq!(count(&dir.log(), "login"), 3, "{context}");
}

/// B2: whatever file operation is the last one, the key is the old one or the new one.
#[test]
fn a_replacement_that_ends_at_any_step_leaves_the_old_state_or_the_new_one() {
    let (_first, ready) = keyless();
    let mut before = 0;
    for step in steps(&ready) {
        let context = format!("ended at {step:?}");
        let dir = Dir::new();
        copy_dir(&ready.log(), &dir.log());
        let (options, fs) = failing(&dir);
        let (op, after, name_contains) = step;
        fs.plan(Fault { op, name_contains, after, times: 1, how: How::Panic });
        let ended = catch_unwind(AssertUnwindSafe(|| replace_key(&options, &replace_request())));
        assert!(fs.hits() == 1, "{context}: {ended:?}");
        let keys = std::fs::read_to_string(dir.log().join("audit.keys")).unwrap_or_default();
        before += u32::from(!keys.contains("replaced"));
        goes_on(&dir, &context);
    }
    assert!(before > 3, "some end before it is done");
}

/// B2.
#[test]
fn a_replacement_that_is_killed_leaves_the_old_state_or_the_new_one() {
    let (_first, ready) = keyless();
    let mut moments = Moments::up_to(Duration::from_millis(400), 7);
    for round in 0..10 {
        let dir = Dir::new();
        copy_dir(&ready.log(), &dir.log());
        let mut child = auditctl(&dir, &["key", "replace", "--reason", "lost"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(moments.next());
        let ended = child.try_wait().expect("asked").is_some();
        let _ = child.kill();
        child.wait().expect("ended");
        moments.happened(ended);
        goes_on(&dir, &format!("round {round}"));
    }
}

#[cfg(feature = "encryption")]
fn age_key(dir: &Dir, name: &str) -> String {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let path = dir.path().join(name);
    std::fs::write(&path, identity.to_string().expose_secret()).expect("written");
    chmod(&path, 0o600);
    identity.to_public().to_string()
}

/// B2.
#[cfg(feature = "encryption")]
#[test]
fn a_key_from_escrow_lets_a_restored_log_go_on_as_if_nothing_had_happened() {
    let (first, dir) = keyless();
    let (to, other) = (age_key(&first, "id.txt"), age_key(&first, "other.txt"));
    fails(&first, &["key", "export"], 2, &["--encrypt-to"]);
    fails(&first, &["key", "export", "--encrypt-to", "age1nonsense"], 2, &["age1nonsense"]);
    let said = ok(&first, &["key", "export", "--encrypt-to", &to, "--output", "key.age"]);
    let sealed = std::fs::read_to_string(first.path().join("key.age")).expect("written");
    let private = std::fs::read_to_string(first.log().join("audit.key")).expect("read");
    let seed = private.trim().splitn(5, '+').nth(4).expect("a seed");
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{sealed}");
    assert!(!said.contains(seed) && !sealed.contains(seed));
    let shown = ok(&first, &["key", "export", "--encrypt-to", &other, "--encrypt-to", &to]);
    assert!(shown.contains("BEGIN AGE") && !shown.contains(seed));
    fails(&first, &["key", "export", "--encrypt-to", &to, "--output", "key.age"], 3, &["exists"]);

    let from = |name: &str| first.path().join(name).to_str().expect("utf-8").to_owned();
    let (file, id, wrong) = (from("key.age"), from("id.txt"), from("other.txt"));
    let refused = fails(&dir, &["key", "import", &file, "--identity", &wrong], 4, &["key.age"]);
    assert!(!refused.contains("AGE-SECRET"), "{refused}");
    ok(&dir, &["key", "import", &file, "--identity", &id]);
    assert_eq!(std::fs::read_to_string(dir.log().join("audit.key")).expect("read"), private);
    let mode = std::fs::metadata(dir.log().join("audit.key")).expect("there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    ok(&dir, &["record", "--type", "after"]);
    let (code, report) = json(&dir, &["verify", "--public-key", "old.pub"]);
    assert_eq!((code, &report["epoch"]), (0, &Value::from(0)), "{report}");
    assert_eq!(count(&dir.log(), "audit.restored"), 1);
    // Once more changes nothing; another key is never overwritten.
    let again = ok(&dir, &["key", "import", &file, "--identity", &id]);
    assert!(again.contains("already"), "{again}");
    let other = Dir::new();
    ok(&other, &["record", "--type", "x"]);
    fails(&other, &["key", "import", &file, "--identity", &id], 4, &["none of its keys"]);
    std::fs::write(dir.log().join("audit.key"), "mine").expect("written");
    fails(&dir, &["key", "import", &file, "--identity", &id], 4, &["never overwritten"]);
    // The file of any age program is as good, and one that holds something else is not.
    let plain = std::fs::read(first.log().join("audit.pub")).expect("read");
    let recipient: age::x25519::Recipient = to.parse().expect("a recipient");
    let binary = age::encrypt(&recipient, &plain).expect("encrypted");
    std::fs::write(dir.path().join("pub.age"), binary).expect("written");
    fails(&dir, &["key", "import", "pub.age", "--identity", &id], 4, &["holds no key"]);
}
