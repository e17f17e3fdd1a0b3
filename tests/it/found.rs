//! What commands find wrong with a log is told by `health`, until it is right again; what is
//! missing is told by `query`; and every finding has a next step.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::backups::{Home, names, read};
use crate::support::run;

/// A closed log of several segments, and a backup of it where one is wanted.
fn closed(backed_up: bool) -> Home {
    let home = Home::new();
    home.record(240);
    // Some of it is in the active segment.
    let active = || {
        let lines = read(&home.log_dir().join("audit.log"));
        lines.iter().filter(|byte| **byte == b'\n').count()
    };
    while !(8..30).contains(&active()) {
        home.record(1);
    }
    if backed_up {
        assert_eq!(told(&home, &["backup"]).0, 0);
    }
    home
}

fn told(home: &Home, args: &[&str]) -> (i32, String, String) {
    let (log, backups) = (home.log_dir(), home.backups().path().to_path_buf());
    let settings = home.dir.path().join("found.toml");
    let text = format!(
        "log_dir = {log:?}\nexpect_running = false\n[backup]\noutput_dir = {backups:?}\n\
         [health]\ndrill_age_warn = \"0s\"\n[collector]\nhttp = \"127.0.0.1:0\"\n"
    );
    fs::write(&settings, text).expect("written");
    let config = settings.to_str().expect("text");
    run(&home.dir, &[&["--config", config], args].concat())
}

fn json(home: &Home, args: &[&str]) -> Value {
    let (_, out, err) = told(home, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

fn integrity(home: &Home) -> Value {
    let health = json(home, &["health"]);
    let checks = health["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["component"] == "integrity").expect("the check").clone()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = read(path);
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn damage_a_segment(home: &Home) {
    let sealed = names(&home.log_dir()).into_iter().find(|name| name.ends_with(".log.gz"));
    flip(&home.log_dir().join(sealed.expect("a segment")), 700);
}

fn damage_the_active(home: &Home) {
    let path = home.log_dir().join("audit.log");
    let text = String::from_utf8(read(&path)).expect("text");
    flip(&path, text.find("user-").expect("an event"));
}

#[test]
fn health_tells_what_verify_found_until_the_log_is_right_again() {
    let home = closed(true);
    damage_a_segment(&home);
    assert_eq!(integrity(&home)["status"], "healthy", "nobody has looked");
    let (code, out, _) = told(&home, &["verify"]);
    assert_eq!(code, 1);
    assert!(out.contains("next: stop the collector, then run `auditctl repair`"), "{out}");
    let found = integrity(&home);
    assert_eq!(found["code"], "integrity.found_wrong", "{found}");
    assert_eq!(found["status"], "critical", "{found}");
    let message = found["message"].as_str().expect("a message");
    assert!(message.starts_with("verify found ") && message.contains("altered: "), "{message}");
    assert!(found["hint"].as_str().is_some_and(|hint| hint.contains("`auditctl repair`")));
    let (code, plugin, _) = told(&home, &["health", "--format", "nagios"]);
    assert_eq!(code, 2);
    assert!(plugin.starts_with("AUDIT CRITICAL - integrity.found_wrong: "), "{plugin}");
    let monitor = json(&home, &["monitor", "--once"]).to_string();
    assert!(monitor.contains("integrity.found_wrong"), "{monitor}");

    // What does not read everything ends nothing.
    let _ = told(&home, &["verify", "--quick"]);
    assert_eq!(integrity(&home)["code"], "integrity.found_wrong");
    let (code, out, err) = told(&home, &["repair"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(integrity(&home)["status"], "healthy", "all of it was verified");
}

#[test]
fn a_verification_that_passes_ends_what_an_earlier_one_found() {
    let home = closed(false);
    let path = home.log_dir().join("audit.log");
    let good = read(&path);
    damage_the_active(&home);
    assert_eq!(told(&home, &["verify"]).0, 1);
    fs::write(&path, good).expect("put back");
    assert_eq!(integrity(&home)["code"], "integrity.found_wrong");
    assert_eq!(told(&home, &["verify", "--quick"]).0, 0);
    assert_eq!(integrity(&home)["code"], "integrity.found_wrong", "not all of it was read");
    assert_eq!(told(&home, &["verify"]).0, 0);
    assert_eq!(integrity(&home)["status"], "healthy");
}

#[test]
fn health_tells_what_kept_a_writer_a_backup_or_a_repair_from_its_work() {
    type Case = (&'static [&'static str], &'static str, &'static str);
    let cases: &[Case] = &[
        (&["record", "--type", "probe"], "integrity.start_refused", "a writer could not start"),
        (&["serve"], "integrity.start_refused", "a writer could not start"),
        (&["repair", "--dry-run"], "integrity.found_wrong", "repair found "),
        (&["backup", "--full"], "integrity.found_wrong", "backup found "),
    ];
    for (command, wanted, said) in cases {
        let home = closed(false);
        let path = home.log_dir().join("audit.log");
        let good = read(&path);
        damage_the_active(&home);
        let (code, out, err) = told(&home, command);
        assert_ne!(code, 0, "{command:?}: {out}{err}");
        let found = integrity(&home);
        assert_eq!(found["code"], *wanted, "{command:?}: {found}");
        assert!(found["message"].as_str().is_some_and(|text| text.contains(said)), "{found}");
        assert!(found["hint"].as_str().is_some_and(|hint| hint.contains("auditctl ")), "{found}");
        fs::write(&path, good).expect("put back");
        if *wanted == "integrity.start_refused" {
            assert_eq!(told(&home, &["record", "--type", "probe"]).0, 0);
        } else {
            assert_eq!(told(&home, &["verify"]).0, 0);
        }
        assert_eq!(integrity(&home)["status"], "healthy", "{command:?}");
    }
}

/// An auditor's copy has no private key, and stays as it is.
#[test]
fn a_copy_that_is_looked_at_is_not_written_to() {
    let home = closed(false);
    damage_a_segment(&home);
    fs::remove_file(home.log_dir().join("audit.key")).expect("removed");
    let before = names(&home.log_dir());
    assert_eq!(told(&home, &["verify"]).0, 1);
    assert_eq!(names(&home.log_dir()), before);
}

#[test]
fn what_was_found_against_a_copy_only_another_comparison_ends() {
    let home = closed(false);
    let elsewhere = home.dir.path().join("elsewhere");
    let (code, note, _) = told(&home, &["checkpoint"]);
    assert_eq!(code, 0);
    let other = Home::new();
    other.record(3);
    let (code, foreign, _) = told(&other, &["checkpoint"]);
    assert_eq!(code, 0);
    fs::write(&elsewhere, foreign).expect("written");
    let against = ["verify", "--against", elsewhere.to_str().expect("text")];
    assert_eq!(told(&home, &against).0, 1);
    assert_eq!(integrity(&home)["code"], "integrity.found_wrong");
    assert_eq!(told(&home, &["verify"]).0, 0);
    let found = integrity(&home);
    assert_eq!(found["code"], "integrity.found_wrong", "{found}");
    assert!(found["hint"].as_str().is_some_and(|hint| hint.contains("--against FILE")), "{found}");
    fs::write(&elsewhere, note).expect("written");
    assert_eq!(told(&home, &against).0, 0);
    assert_eq!(integrity(&home)["status"], "healthy");
}

#[test]
fn a_key_that_is_none_is_told_before_a_writer_needs_it() {
    for content in [&b""[..], b"nothing"] {
        let home = closed(false);
        let key = home.log_dir().join("audit.key");
        let good = read(&key);
        fs::write(&key, content).expect("written");
        let found = integrity(&home);
        assert_eq!(found["code"], "integrity.key_unusable", "{found}");
        let (code, _, err) = told(&home, &["record", "--type", "probe"]);
        assert_ne!(code, 0);
        assert!(err.contains("hint: ") && err.contains("auditctl key replace"), "{err}");
        fs::write(&key, good).expect("put back");
        assert_eq!(told(&home, &["record", "--type", "probe"]).0, 0);
        assert_eq!(integrity(&home)["status"], "healthy");
    }
    let home = closed(false);
    let planted = home.log_dir().join("audit.keys");
    fs::write(&planted, "{}").expect("written");
    let found = integrity(&home);
    assert_eq!(found["code"], "integrity.keys_unusable", "{found}");
    fs::remove_file(&planted).expect("moved away");
    assert_eq!(integrity(&home)["status"], "healthy");
}

#[test]
fn query_says_how_many_signed_records_are_missing_at_the_logs_end() {
    type Cut = (&'static str, fn(&Path));
    let cuts: &[Cut] = &[
        ("deleted", |path| fs::remove_file(path).expect("removed")),
        ("emptied", |path| fs::write(path, b"").expect("emptied")),
        ("cut", |path| {
            let bytes = read(path);
            fs::write(path, &bytes[..bytes.len() / 2]).expect("cut");
        }),
        ("a directory", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("made");
        }),
    ];
    for (what, cut) in cuts {
        let home = closed(false);
        let (code, all, err) = told(&home, &["query", "--count"]);
        assert_eq!((code, &*err), (0, ""));
        let all: u64 = all.trim().parse().expect("a number");
        cut(&home.log_dir().join("audit.log"));
        let (code, left, err) = told(&home, &["query", "--count"]);
        let left: u64 = left.trim().parse().expect("a number");
        assert!(left < all, "{what}");
        assert_eq!(code, 1, "{what}: {err}");
        let missing = format!("{} signed records at the log's end are not here", all - left);
        assert!(err.contains(&missing) && err.contains("`auditctl repair`"), "{what}: {err}");
        let document = json(&home, &["query", "--limit", "1"]);
        assert_eq!(document["missing"], serde_json::json!({ "begin": left, "end": all }));
        // Who asks about others has all of them.
        let (code, _, err) = told(&home, &["query", "--count", "--seq", "0..5"]);
        assert_eq!((code, &*err), (0, ""), "{what}");
        let (code, _, err) = told(&home, &["query", "--follow", "--seq", &format!("0..{left}")]);
        assert_eq!((code, &*err), (0, ""), "{what}");
    }
}

/// Behind them may stand whatever a crash, or somebody, has left.
#[test]
fn query_finds_the_last_records_before_seventy_megabytes_of_zeros() {
    let home = closed(false);
    let (_, all, _) = told(&home, &["query", "--count"]);
    let path = home.log_dir().join("audit.log");
    let file = fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.set_len(file.metadata().expect("length").len() + (70 << 20)).expect("longer");
    let (code, found, err) = told(&home, &["query", "--limit", "0", "--format", "ndjson"]);
    assert_eq!(found.lines().count().to_string(), all.trim(), "{code}: {err}");
    let (code, out, _) = told(&home, &["verify"]);
    assert_eq!(code, 1);
    assert!(out.contains("next: ") && out.contains("start the collector"), "{out}");
}

#[test]
fn a_backup_counts_for_the_records_that_it_holds_and_no_others() {
    let home = closed(false);
    damage_a_segment(&home);
    let (code, out, err) = told(&home, &["backup"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains(" of ") && out.contains("lacks"), "{out}");
    let listed = json(&home, &["list"]);
    let backup = &listed["backups"][0];
    let lacking = backup["lacking_records"].as_u64().expect("a number");
    assert!(lacking > 0, "{listed}");
    let (begin, end) = (&backup["holes"][0]["first_seq"], &backup["holes"][0]["end_seq"]);
    let gap = &listed["coverage"]["gaps"][0];
    assert_eq!(&gap["first_seq"], begin, "{listed}");
    assert_eq!(gap["last_seq"].as_u64().map(|last| last + 1), end.as_u64(), "{listed}");
    let (_, out, _) = told(&home, &["list"]);
    assert!(out.contains("LACKS ") && out.contains(", but for "), "{out}");

    // Given up: health is content, and says all the same what is not there.
    let config = home.dir.path().join("found.toml");
    let mut child = crate::support::auditctl(
        &home.dir,
        &["--config", config.to_str().expect("text"), "serve", "--accept-corruption"],
    )
    .spawn()
    .expect("runs");
    let socket = home.log_dir().join("audit.sock");
    crate::support::eventually("the collector runs", || socket.exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    assert!(child.wait().expect("ended").success());
    assert_eq!(told(&home, &["backup", "--full"]).0, 0);
    let health = json(&home, &["health"]);
    let checks = health["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["component"] == "backup").expect("the check");
    let lacking = check["metrics"]["lacking_records"].as_u64().expect("a number");
    assert!(lacking > 0, "{check}");
    let message = check["message"].as_str().expect("a message");
    assert!(message.contains(&format!("lacks {lacking} record")), "{message}");
}

/// Of a damaged log `repair` does more than a restore, and a backup that lacks records is not
/// put in its place unsaid.
#[test]
fn a_restore_over_a_damaged_log_names_repair_and_the_backup_that_holds_what_it_lacks() {
    let home = closed(true);
    let first = json(&home, &["list"])["backups"][0]["id"].clone();
    home.record(5);
    damage_a_segment(&home);
    assert_eq!(told(&home, &["backup"]).0, 1);
    let plan = json(&home, &["restore", "latest", "--dry-run"]);
    let plan = &plan["restore"];
    assert_eq!(plan["held_elsewhere"][0]["backup"], first, "{plan}");
    assert!(
        plan["instead"].as_str().is_some_and(|text| text.contains("auditctl repair")),
        "{plan}"
    );
    let (_, out, _) = told(&home, &["restore", "latest", "--dry-run"]);
    assert!(out.contains("instead") && out.contains(first.as_str().expect("an id")), "{out}");
    assert_eq!(told(&home, &["repair"]).0, 0);
    let plan = json(&home, &["restore", "latest", "--dry-run"]);
    assert!(
        plan["restore"]["instead"]
            .as_str()
            .is_none_or(|text| text.contains("and then run `auditctl repair`"))
    );
}
