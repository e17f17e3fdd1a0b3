//! `auditctl key`: from the command line, beside a collector and without one.

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, count, json, ok, run};

fn keep_public(dir: &Dir, name: &str) {
    std::fs::copy(dir.log().join("audit.pub"), dir.path().join(name)).expect("copied");
}

#[test]
fn a_key_is_shown_changed_and_followed_from_the_command_line() {
    let dir = Dir::new();
    ok(&dir, &["record", "--type", "login"]);
    keep_public(&dir, "first.pub");
    ok(&dir, &["prove", "0", "--output", "old-proof.json"]);
    std::fs::write(dir.path().join("old-note"), ok(&dir, &["checkpoint"])).expect("written");
    let shown = ok(&dir, &["key", "show"]);
    assert!(shown.contains("the key was never changed"), "{shown}");
    assert!(shown.contains("the key that signs"), "{shown}");

    let planned = ok(&dir, &["key", "rotate", "--dry-run"]);
    assert!(planned.starts_with("nothing was changed"), "{planned}");
    assert_eq!(count(&dir.log(), "audit.key_rotated"), 0);

    let text =
        ok(&dir, &["key", "rotate", "--reason", "left the company", "--keep-old", "old.key"]);
    assert!(text.contains("old.key") && text.contains("public key"), "{text}");
    let mode = std::fs::metadata(dir.path().join("old.key")).expect("kept");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    let (code, changed) = json(&dir, &["key", "rotate"]);
    assert_eq!((code, &changed["changed"]), (0, &Value::Bool(true)), "{changed}");
    let (_, shown) = json(&dir, &["key", "show"]);
    assert_eq!(shown["public_key"], changed["new_key"]);
    assert_eq!(shown["private_key"]["state"], "newest");
    assert_eq!(shown["rotations"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["rotations"][0]["reason"], "left the company");
    assert_eq!(shown["since_seq"], changed["seq"]);
    let text = ok(&dir, &["key", "show"]);
    assert!(text.contains("left the company") && text.contains("before:"), "{text}");

    // Whoever has the first key follows to today's.
    let text = ok(&dir, &["verify", "--public-key", "first.pub", "--against", "old-note"]);
    assert!(text.contains("VERIFIED") && text.contains("to which the key given leads"), "{text}");
    assert!(text.contains("3 keys"), "{text}");
    let (_, report) = json(&dir, &["verify", "--public-key", "first.pub"]);
    assert_eq!(report["keys"].as_array().map(Vec::len), Some(3));
    ok(&dir, &["verify", "--proof", "old-proof.json", "--public-key", "first.pub"]);
    ok(&dir, &["prove", "0", "--output", "new-proof.json"]);
    let text = ok(&dir, &["verify", "--proof", "new-proof.json", "--public-key", "first.pub"]);
    assert!(text.contains("to which the key given leads"), "{text}");
    let (_, note) = json(&dir, &["checkpoint"]);
    assert_eq!(note["public_key"], changed["new_key"]);

    // A key of nobody does not.
    ok(&dir, &["key", "new", "mine.key"]);
    let (_, other) = json(&dir, &["key", "new", "other.key"]);
    std::fs::write(dir.path().join("other.pub"), other["public_key"].as_str().expect("a key"))
        .expect("written");
    let (code, out, _) = run(&dir, &["verify", "--public-key", "other.pub"]);
    assert!(code == 1 && out.contains("not one of the log's keys"), "{out}");
    let (code, _, err) =
        run(&dir, &["verify", "--proof", "new-proof.json", "--public-key", "other.pub"]);
    assert_eq!(code, 1, "{err}");

    let (_, changed) = json(&dir, &["key", "rotate", "--new-key", "other.key"]);
    assert_eq!(changed["new_key"], other["public_key"]);
    ok(&dir, &["verify", "--public-key", "other.pub"]);
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_changed() {
    let dir = Dir::new();
    let (code, error) = json(&dir, &["key", "rotate"]);
    assert_eq!((code, &error["error"]["kind"]), (3, &"no_log".into()), "{error}");
    assert!(!dir.log().join("audit.log").exists(), "no log was made");
    ok(&dir, &["record", "--type", "login"]);
    let before = std::fs::read(dir.log().join("audit.pub")).expect("read");
    for (args, exit, kind) in [
        (&["key", "rotate", "--new-key", "none"][..], 3, "key"),
        (&["key", "rotate", "--keep-old", "auditctl.toml/x"], 3, "key"),
        (&["key", "rotate", "--dry-run", "--keep-old", "nowhere/x"], 3, "io"),
        (&["key", "new", "nowhere/x"], 3, "key"),
    ] {
        std::fs::write(dir.path().join("auditctl.toml"), "").expect("written");
        let (code, error) = json(&dir, args);
        assert_eq!((code, &error["error"]["kind"]), (exit, &kind.into()), "{args:?}: {error}");
    }
    std::fs::write(dir.path().join("taken"), "").expect("written");
    let (code, error) = json(&dir, &["key", "rotate", "--keep-old", "taken"]);
    assert_eq!((code, &error["error"]["kind"]), (4, &"refused".into()), "{error}");
    let long = "x".repeat(257);
    let (code, _, err) = run(&dir, &["key", "rotate", "--reason", &long]);
    assert!(code == 2 && err.contains("256"), "{err}");
    assert_eq!(std::fs::read(dir.log().join("audit.pub")).expect("read"), before);
    assert_eq!(count(&dir.log(), "audit.key_rotated"), 0);
    ok(&dir, &["verify"]);
}

#[test]
fn beside_a_collector_the_writer_changes_the_key_and_serves_what_the_new_one_signs() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "checkpoint_interval = \"100ms\"\n");
    let mut peer = collector.connect();
    peer.ask("{\"event_type\":\"login\"}");
    keep_public(&dir, "first.pub");
    let (code, changed) = json(&dir, &["key", "rotate", "--keep-old", "old.key"]);
    assert_eq!(code, 0, "{changed}");
    assert!(dir.path().join("old.key").exists(), "paths are those of who asked");
    let answer = peer.ask("{\"key_rotate\":{\"reason\":\"by hand\"}}");
    assert_eq!(answer["ok"]["key_rotate"]["old_key"], changed["new_key"], "{answer}");
    let answer = peer.ask("{\"key_rotate\":{\"new_key\":\"relative\"}}");
    assert_eq!(answer["error"]["kind"], "usage", "{answer}");
    let answer = peer.ask("{\"key_rotate\":{\"new_key\":\"/nowhere/key\"}}");
    assert_eq!(answer["error"]["kind"], "key", "{answer}");
    let seq = peer.ask("{\"event_type\":\"login\"}")["ok"]["seq"].as_u64().expect("a seq");
    crate::support::eventually("the new key signs", || {
        let (status, _, note) = collector.get("/v1/checkpoint", "");
        std::fs::write(dir.path().join("note"), &note).expect("written");
        status == 200
            && note
                .lines()
                .nth(1)
                .is_some_and(|size| size.parse::<u64>().is_ok_and(|size| size > seq))
    });
    ok(&dir, &["verify", "--against", "note", "--public-key", "first.pub"]);
    let text = ok(&dir, &["key", "show"]);
    assert!(text.contains("by hand"), "{text}");
    collector.terminate();
    ok(&dir, &["verify", "--against", "note", "--public-key", "first.pub"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let python = std::process::Command::new("python3")
        .args([
            script,
            "--checkpoint",
            "note",
            "--public-key",
            "first.pub",
            "--keys",
            "logs/audit.keys",
        ])
        .current_dir(dir.path())
        .output()
        .expect("python3");
    assert!(python.status.success(), "{python:?}");
}
