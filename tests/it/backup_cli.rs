//! `backup`, `list`, `restore`, `cleanup` as operators type them.

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, run, types};

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn recorded(dir: &Dir, count: usize) {
    let lines: String =
        (0..count).map(|n| format!("{{\"event_type\":\"login\",\"actor\":\"u{n}\"}}\n")).collect();
    std::fs::write(dir.path().join("e.ndjson"), lines).expect("written");
    let (code, _, err) = run(dir, &["record", "--file", "e.ndjson"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn the_day_of_an_operator() {
    let dir = Dir::new();
    let (code, out, err) = run(&dir, &["backup", "--json"]);
    assert_eq!(code, 3, "no log yet");
    assert_eq!(json(&out)["error"]["kind"], "not_found");
    assert!(err.contains("there is no log in logs"), "{err}");
    let (code, out, _) = run(&dir, &["list"]);
    assert_eq!((code, out.as_str()), (0, "no backups in backups/audit\n"));

    recorded(&dir, 50);
    let (code, out, err) = run(&dir, &["backup", "--dry-run", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out)["dry_run"]["tree_size"], 53);
    assert!(!dir.path().join("backups").exists(), "a dry run makes nothing");

    let (code, out, err) = run(&dir, &["backup"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for words in ["made and verified", "original", "compressed", "% smaller", "sha256:", ".json"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    recorded(&dir, 50);
    let (code, out, _) = run(&dir, &["backup", "--json"]);
    assert_eq!(code, 0);
    let made = json(&out)["backup"].clone();
    assert_eq!((&made["local"], &made["records"]), (&"verified".into(), &108.into()));
    assert_eq!(made["previous"]["proven"], true);
    let file = made["file"].as_str().expect("a file");
    assert!(dir.path().join(file).is_file() && file.starts_with("backups/audit/audit_backup_2"));

    let (code, out, _) = run(&dir, &["list", "--verify=chain", "--json"]);
    assert_eq!(code, 0);
    let listed = json(&out);
    assert_eq!(listed["backups"][0]["id"], made["id"]);
    assert_eq!(listed["backups"][0]["verified"], "chain");
    // The record of the backup itself, between those of opening and closing the log.
    assert_eq!(listed["coverage"]["lag_records"], 3);
    let (_, out, _) = run(&dir, &["list"]);
    assert!(
        out.contains("every record up to seq 107 is in a good backup; 3 records newer"),
        "{out}"
    );

    recorded(&dir, 10);
    let (code, _, err) = run(&dir, &["restore", "latest"]);
    assert_eq!(code, 4, "no confirmation is possible");
    assert!(err.contains("add --force"), "{err}");
    let (code, out, _) = run(&dir, &["restore", "latest", "--dry-run", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(json(&out)["restore"]["relation"], "backup_is_prefix");
    assert_eq!(json(&out)["restore"]["set_aside_records"], 15);
    let (code, out, err) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 0, "{err}");
    let undo = out.lines().find_map(|line| line.trim().strip_prefix("undo      auditctl "));
    let undo: Vec<&str> = undo.expect("the undo command").split(' ').collect();
    let (code, _, err) = run(&dir, &undo);
    assert_eq!(code, 0, "{err}");
    assert_eq!(types(&dir.log()).iter().filter(|t| *t == "login").count(), 110);

    let (code, out, _) = run(&dir, &["restore", "--drill"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("passed in"), "{out}");

    let (code, out, _) = run(&dir, &["cleanup", "--keep", "1", "--dry-run"]);
    assert_eq!(code, 0);
    assert!(out.contains("would remove") && out.contains("keep"), "{out}");
    let (code, out, _) = run(&dir, &["cleanup", "--keep", "1", "--json"]);
    assert_eq!(code, 0, "{out}");
    let done = json(&out);
    assert_eq!(done["removed"].as_array().map(Vec::len), Some(1));
    assert_eq!(done["keep"][0]["id"], made["id"]);
    assert!(types(&dir.log()).iter().any(|t| t == "audit.backup_removed"));
}

#[test]
fn wrong_command_lines_are_usage_errors_before_anything_is_done() {
    let dir = Dir::new();
    recorded(&dir, 5);
    for args in [
        &["cleanup", "--keep", "0"][..],
        &["cleanup", "--keep-daily", "0"],
        &["cleanup"],
        &["cleanup", "--keep-within", "0s"],
        &["backup", "--level", "0"],
        &["backup", "--level", "10"],
        &["backup", "--encrypt-to", "nonsense"],
        &["backup", "--pin", "yesterday"],
        &["restore"],
        &["restore", "latest", "--to-seq", "1", "--to-time", "2026-01-01T00:00:00Z"],
        &["restore", "latest", "--drill", "--force"],
    ] {
        let (code, _, err) = run(&dir, args);
        assert_eq!(code, 2, "{args:?}: {err}");
        let (code, out, _) = run(&dir, &[args, &["--json"]].concat());
        assert_eq!(code, 2, "{args:?}");
        assert!(json(&out)["error"]["message"].is_string(), "{args:?}");
    }
    let left = crate::backups::names(&dir.path().join("backups/audit"));
    assert!(!left.iter().any(|name| name.starts_with("audit_backup_")), "{left:?}");
}

#[test]
fn beside_a_collector_backups_are_made_and_removals_are_recorded_by_it() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    for _ in 0..3 {
        peer.ask(r#"{"event_type":"login"}"#);
        let (code, out, err) = run(&dir, &["backup"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    let (code, out, _) = run(&dir, &["list", "--verify=chain"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, err) = run(&dir, &["cleanup", "--keep", "1"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("1 kept, 2 removed"), "{out}");
    let (code, _, err) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("a writer has the log open"), "{err}");
    // From the very next event on they are in the log.
    peer.ask(r#"{"event_type":"login"}"#);
    let types = types(&dir.log());
    assert_eq!(types.iter().filter(|t| *t == "audit.backup_removed").count(), 2);
    let (_, out, _) = run(&dir, &["health", "--json"]);
    let checks = json(&out)["checks"].clone();
    let backup = checks.as_array().into_iter().flatten().find(|c| c["component"] == "backup");
    let backup = backup.expect("a backup check");
    assert_eq!(backup["status"], "healthy", "{backup}");
    assert!(backup["metrics"]["age_seconds"].is_number(), "{backup}");
    assert!(backup["metrics"]["last_success_timestamp_seconds"].is_number());
}

#[test]
fn a_pinned_backup_stays_until_it_is_unpinned() {
    let dir = Dir::new();
    recorded(&dir, 5);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let (_, out, _) = run(&dir, &["backup", "--full", "--json"]);
            json(&out)["backup"]["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let (code, _, err) = run(&dir, &["backup", "--pin", &ids[0]]);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = run(&dir, &["cleanup", "--keep", "1", "--json"]);
    assert_eq!(json(&out)["removed"].as_array().map(Vec::len), Some(1));
    assert_eq!(json(&out)["removed"][0]["id"], ids[1].as_str());
    let (code, _, _) = run(&dir, &["backup", "--unpin", &ids[0]]);
    assert_eq!(code, 0);
    let (_, out, _) = run(&dir, &["cleanup", "--keep", "1", "--json"]);
    assert_eq!(json(&out)["removed"][0]["id"], ids[0].as_str());
    let (code, _, err) = run(&dir, &["backup", "--pin", &ids[0]]);
    assert_eq!(code, 3, "{err}");
}

#[test]
fn more_than_max_delete_removes_nothing() {
    let dir = Dir::new();
    recorded(&dir, 5);
    for _ in 0..4 {
        run(&dir, &["backup", "--full"]);
    }
    let (code, _, err) = run(&dir, &["cleanup", "--keep", "1", "--max-delete", "2"]);
    assert_eq!(code, 4, "{err}");
    let (_, out, _) = run(&dir, &["list", "--json"]);
    assert_eq!(json(&out)["backups"].as_array().map(Vec::len), Some(4));
    let (code, out, _) = run(&dir, &["cleanup", "--keep", "1", "--max-delete", "3"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_bad_backup_is_exit_one_when_it_is_asked_for_and_health_says_so_from_then_on() {
    let dir = Dir::new();
    recorded(&dir, 20);
    let (_, out, _) = run(&dir, &["backup", "--json"]);
    let file = dir.path().join(json(&out)["backup"]["file"].as_str().expect("a file"));
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let (code, _, _) = run(&dir, &["list"]);
    assert_eq!(code, 0, "from outside nothing is to be seen");
    let (code, out, _) = run(&dir, &["list", "--verify"]);
    assert_eq!(code, 1);
    assert!(out.contains("BAD"), "{out}");
    let output = auditctl(&dir, &["health"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 backup damaged"));
    let (code, _, err) = run(&dir, &["restore", "latest", "--target", "side"]);
    assert_eq!(code, 3, "{err}");
    assert!(!dir.path().join("side").exists(), "nothing is left of it");
}

#[test]
fn backup_of_a_changed_log_exits_1() {
    let dir = Dir::new();
    recorded(&dir, 50);
    let path = dir.path().join("logs/audit.log");
    let text = std::fs::read_to_string(&path).expect("read");
    let change = || std::fs::write(&path, text.replacen("\"u7\"", "\"u8\"", 1)).expect("changed");
    change();
    let (code, out, err) = run(&dir, &["backup", "--json"]);
    assert_eq!(
        (code, json(&out)["backup"]["holes"].as_array().map(Vec::len)),
        (1, Some(1)),
        "{out}"
    );
    assert!(
        err.contains("1 record of it is not in this backup") && err.contains("repair"),
        "{err}"
    );
    // Where an earlier backup holds what it was, that is said.
    std::fs::write(&path, &text).expect("as it was");
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, text.replacen("\"u7\"", "\"u8\"", 1)).expect("changed");
    let (code, out, err) = run(&dir, &["backup", "--json"]);
    assert_eq!(code, 1, "{out}");
    let held_by = json(&out)["backup"]["holes"][0]["held_by"].clone();
    assert!(held_by.is_string(), "{out}");
    assert!(err.contains(&format!("repair --from {}", held_by.as_str().unwrap_or("-"))), "{err}");
    let (code, out, _) = run(&dir, &["list", "--json"]);
    assert_eq!((code, json(&out)["backups"].as_array().map(Vec::len)), (0, Some(3)));
}

#[test]
fn backup_query_and_verify_refuse_a_pending_restore() {
    let dir = Dir::new();
    recorded(&dir, 50);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let journal = dir.path().join("logs/audit.restore.json");
    std::fs::write(&journal, "{}").expect("written");
    for args in [&["backup", "--json"][..], &["query", "--json"], &["verify", "--json"]] {
        let (code, out, err) = run(&dir, args);
        assert_eq!(json(&out)["error"]["kind"], "restore_pending", "{args:?}: {out} {err}");
        assert_eq!(code, 3, "{args:?}");
    }
    let (_, out, _) = run(&dir, &["list", "--json"]);
    assert_eq!(json(&out)["backups"].as_array().map(Vec::len), Some(1), "no other was made");
    std::fs::remove_file(&journal).expect("removed");
    for args in [&["backup", "--json"][..], &["query", "--json"], &["verify", "--json"]] {
        assert_eq!(run(&dir, args).0, 0, "{args:?}");
    }
}
