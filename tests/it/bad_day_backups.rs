//! What an operator meets on a bad day with backups, each by the id under which it was found.

use serde_json::Value;

use crate::support::{Dir, run};

fn said(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn path(dir: &Dir, name: &str) -> String {
    dir.path().join(name).to_str().expect("utf-8").to_owned()
}

fn record(dir: &Dir, what: &str, count: usize) {
    let lines: String = (0..count)
        .map(|n| format!("{{\"event_type\":\"{what}\",\"details\":{{\"n\":{n}}}}}\n"))
        .collect();
    std::fs::write(path(dir, "e.ndjson"), lines).expect("written");
    let (code, _, err) = run(dir, &["record", "--file", "e.ndjson"]);
    assert_eq!(code, 0, "{err}");
}

fn backup(dir: &Dir, more: &[&str]) -> Value {
    let (code, out, err) = run(dir, &[&["backup", "--json"], more].concat());
    assert_eq!(code, 0, "{out}{err}");
    said(&out)["backup"].clone()
}

/// B5
#[test]
fn health_counts_only_the_backups_of_its_own_log() {
    let dir = Dir::new();
    let event = ["record", "--type", "x"];
    assert_eq!(run(&dir, &[&["--log-dir", "a"], &event[..]].concat()).0, 0);
    assert_eq!(run(&dir, &["--log-dir", "a", "backup"]).0, 0);
    assert_eq!(run(&dir, &[&["--log-dir", "b"], &event[..]].concat()).0, 0);
    let check = |log: &str| {
        let (_, out, _) = run(&dir, &["--log-dir", log, "health", "--json"]);
        let report = said(&out);
        let checks = report["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["component"] == "backup").expect("the check")
    };
    assert_eq!(check("a")["metrics"]["backups"], 1, "{}", check("a"));
    let other = check("b");
    assert_eq!(other["metrics"]["backups"], 0, "{other}");
    assert!(other["metrics"]["newest"].is_null(), "{other}");
    assert!(!other["message"].as_str().expect("a message").contains("verified"), "{other}");
    // Nor does one that says so itself: the id by which it is counted is that of the signed head.
    let catalog = path(&dir, "backups/audit/.catalog.json");
    let text = std::fs::read_to_string(&catalog).expect("a catalog");
    let (_, out, _) = run(&dir, &["--log-dir", "b", "verify", "--json"]);
    let own = said(&out)["log_id"].as_str().expect("an id").to_owned();
    let there = said(&text)["backups"].as_object().expect("backups").values().next().cloned();
    let id = there.expect("one")["log_id"].as_str().expect("an id").to_owned();
    std::fs::write(&catalog, text.replace(&id, &own)).expect("written");
    assert_eq!(check("b")["metrics"]["backups"], 0, "{}", check("b"));
}

/// B7
#[test]
fn a_backup_is_verified_in_its_own_words_whatever_is_wrong_with_the_log_here() {
    let dir = Dir::new();
    record(&dir, "login", 20);
    let (code, checkpoint, _) = run(&dir, &["checkpoint"]);
    assert_eq!(code, 0);
    std::fs::write(path(&dir, "kept.txt"), &checkpoint).expect("kept");
    std::fs::copy(dir.log().join("audit.pub"), path(&dir, "kept.pub")).expect("kept");
    let made = backup(&dir, &[]);
    let id = made["id"].as_str().expect("an id");

    let (code, out, err) =
        run(&dir, &["verify", id, "--against", "kept.txt", "--public-key", "kept.pub"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&format!("backup {id}: VERIFIED")), "{out}");
    assert!(out.contains("kept.txt is its beginning") && out.contains("--public-key"), "{out}");
    for word in ["estore", "; gains", " sets ", "aside", "dry-run"] {
        assert!(!out.contains(word), "{word}: {out}");
    }
    // A checkpoint of a longer log, and of another one, is a finding.
    record(&dir, "later", 5);
    let (_, checkpoint, _) = run(&dir, &["checkpoint"]);
    std::fs::write(path(&dir, "newer.txt"), checkpoint).expect("kept");
    let (code, out, _) = run(&dir, &["verify", id, "--against", "newer.txt", "--json"]);
    assert_eq!((code, said(&out)["findings"][0]["kind"].as_str()), (1, Some("truncated")), "{out}");
    let other = Dir::new();
    record(&other, "x", 1);
    let (_, checkpoint, _) = run(&other, &["checkpoint"]);
    std::fs::write(path(&dir, "other.txt"), checkpoint).expect("kept");
    let (code, out, _) = run(&dir, &["verify", id, "--against", "other.txt", "--json"]);
    assert_eq!((code, said(&out)["findings"][0]["kind"].as_str()), (1, Some("diverged")), "{out}");
    std::fs::copy(other.log().join("audit.pub"), path(&dir, "other.pub")).expect("kept");
    let (code, _, err) = run(&dir, &["verify", id, "--public-key", "other.pub"]);
    assert_eq!(code, 1, "{err}");

    // The log here is altered: the backup is as good as it was.
    let active = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&active).expect("the log");
    std::fs::write(&active, text.replacen("login", "logim", 1)).expect("altered");
    let (code, out, err) = run(&dir, &["verify", id]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("no fault of the backup"), "{out}");
    assert_eq!(run(&dir, &["verify", "latest"]).0, 0);
    assert_eq!(run(&dir, &["verify"]).0, 1, "the log is what is wrong");
    std::fs::remove_file(&active).expect("removed");
    std::fs::remove_file(dir.log().join("audit.manifest.json")).expect("removed");
    let (code, out, err) = run(&dir, &["verify", "latest"]);
    assert_eq!(code, 0, "{out}{err}");
    // And a backup that is altered is not.
    let archive = made["file"].as_str().expect("a file");
    let archive = dir.path().join(archive);
    let mut bytes = std::fs::read(&archive).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&archive, bytes).expect("altered");
    assert_eq!(run(&dir, &["verify", id]).0, 1);
}

/// B7
#[test]
fn what_is_to_be_verified_is_known_by_what_it_holds() {
    let dir = Dir::new();
    record(&dir, "login", 20);
    let made = backup(&dir, &[]);
    let (_, checkpoint, _) = run(&dir, &["checkpoint"]);
    let file = |name: &str, text: &[u8]| std::fs::write(path(&dir, name), text).expect("written");
    file("checkpoint.txt", checkpoint.as_bytes());
    assert_eq!(run(&dir, &["prove", "3", "--output", "a"]).0, 0);
    assert_eq!(run(&dir, &["prove", "3", "--format", "tlog-proof", "--output", "b"]).0, 0);
    let kept = |name: &str, to: &str| {
        let from = dir.path().join(made[name].as_str().expect("a path"));
        std::fs::copy(from, path(&dir, to)).expect("copied");
    };
    kept("file", "c");
    let verify = |args: &[&str]| run(&dir, &[&["verify"], args].concat());

    let (code, out, err) = verify(&["checkpoint.txt"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("VERIFIED") && !err.contains("gzip"), "{out}{err}");
    let (code, out, err) = verify(&["a"]);
    assert_eq!((code, out.starts_with("record 3: VERIFIED")), (0, true), "{out}{err}");
    std::fs::copy(dir.log().join("audit.pub"), path(&dir, "kept.pub")).expect("kept");
    let (code, out, err) = verify(&["b", "--public-key", "kept.pub"]);
    // It holds no record; that one is wanted is said in a proof's words.
    assert!(code == 0 || err.contains("--record"), "{code}: {out}{err}");
    let (code, out, err) = verify(&["c"]);
    assert_eq!((code, out.contains("metadata      lost")), (0, true), "{out}{err}");
    let metadata = made["metadata"].as_str().expect("a path");
    assert_eq!(verify(&[metadata]).0, 0);

    // A checkpoint that the log does not extend.
    let other = Dir::new();
    record(&other, "x", 1);
    file("other.txt", run(&other, &["checkpoint"]).1.as_bytes());
    let (code, out, _) = verify(&["other.txt", "--json"]);
    assert_eq!(code, 1, "{out}");
    // Where no log is, the key says who signed it.
    let bare = Dir::new();
    let file = path(&dir, "checkpoint.txt");
    let (code, _, err) = run(&bare, &["verify", &file]);
    assert!(code == 2 && err.contains("--public-key"), "{code} {err}");
    let key = path(&dir, "kept.pub");
    let (code, out, err) = run(&bare, &["verify", &file, "--public-key", &key]);
    assert!(code == 0 && out.contains("SIGNED"), "{out}{err}");
    std::fs::copy(other.log().join("audit.pub"), path(&dir, "other.pub")).expect("kept");
    let (code, out, err) = run(&bare, &["verify", &file, "--public-key", &path(&dir, "other.pub")]);
    assert_eq!(code, 1, "{out}{err}");
    // What is none of these.
    std::fs::write(path(&dir, "note.txt"), "nothing of ours\n").expect("written");
    let (code, _, err) = verify(&["note.txt"]);
    assert!(code == 2 && err.contains("neither a backup, nor a proof, nor a checkpoint"), "{err}");
}

/// B9
#[test]
fn an_earlier_epochs_backup_that_a_newer_one_provably_holds_is_no_only_copy() {
    let dir = Dir::new();
    record(&dir, "login", 10);
    let first = backup(&dir, &[])["id"].as_str().expect("an id").to_owned();
    record(&dir, "later", 10);
    let (code, out, err) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 0, "{out}{err}");
    for what in ["a", "b", "c"] {
        record(&dir, what, 2);
        backup(&dir, &[]);
    }
    let (code, out, err) = run(&dir, &["cleanup", "--keep", "2", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let done = said(&out);
    assert_eq!(done["removed"].as_array().map(Vec::len), Some(2), "{done}");
    assert!(done["removed"].to_string().contains(&first), "{done}");

    // One whose records were set aside is kept: nothing else has them.
    let dir = Dir::new();
    record(&dir, "login", 10);
    let kept = backup(&dir, &[])["id"].as_str().expect("an id").to_owned();
    record(&dir, "lost", 10);
    let only = backup(&dir, &[])["id"].as_str().expect("an id").to_owned();
    let (code, out, err) = run(&dir, &["restore", &kept, "--force"]);
    assert_eq!(code, 0, "{out}{err}");
    for what in ["a", "b", "c"] {
        record(&dir, what, 2);
        backup(&dir, &[]);
    }
    let (code, out, err) = run(&dir, &["cleanup", "--keep", "2", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let keep = said(&out)["keep"].clone();
    let reason = keep.as_array().expect("kept").iter().find(|one| one["id"] == only.as_str());
    assert!(
        reason.is_some_and(|one| one.to_string().contains("the only copy of some records")),
        "{out}"
    );
}

/// B13
#[test]
fn small_things_are_said_right() {
    let dir = Dir::new();
    let (code, _, err) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 3, "{err}");
    assert!(!dir.log().exists(), "what is not there makes no log directory");
    // A few records: the archive is larger than they are.
    assert_eq!(run(&dir, &["record", "--type", "x"]).0, 0);
    let (code, out, _) = run(&dir, &["backup"]);
    assert_eq!(code, 0);
    let line = out.lines().find(|line| line.contains("compressed")).expect("a line");
    assert!(line.contains("larger") || line.contains("smaller"), "{line}");
    assert!(!line.contains("(-"), "{line}");
    // One record differs: that is said, and where, as far as it can be told.
    let active = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&active).expect("the log");
    std::fs::write(&active, text.replacen("\"x\"", "\"y\"", 1)).expect("altered");
    let (_, out, err) = run(&dir, &["restore", "latest", "--dry-run"]);
    let said = format!("{out}{err}");
    assert!(said.contains("the first that differs is one of the records 0 to"), "{said}");
    assert!(!said.contains("records differ"), "{said}");
}

/// F6
#[test]
fn a_name_in_the_settings_that_is_on_no_list_is_an_error_with_the_one_that_was_meant() {
    if !cfg!(feature = "alerts") {
        return;
    }
    let dir = Dir::new();
    for (settings, meant) in [
        (
            "[[alerts]]\nname = \"a\"\nurl = \"https://x.example/\"\nchecks = [\"disk_spce\"]\n",
            "disk_space",
        ),
        ("durability = \"comit\"\n", "commit"),
        ("profile = \"prodction\"\n", "production"),
    ] {
        std::fs::write(path(&dir, "auditctl.toml"), settings).expect("written");
        let (code, _, err) = run(&dir, &["health"]);
        assert!(code != 0 && err.contains(meant), "{settings}: {code} {err}");
    }
}

/// F11
#[test]
fn a_log_in_which_nothing_happened_is_not_backed_up_again() {
    let dir = Dir::new();
    record(&dir, "login", 10);
    let first = backup(&dir, &[]);
    let count = || {
        let (_, out, _) = run(&dir, &["list", "--json"]);
        said(&out)["backups"].as_array().map_or(0, Vec::len)
    };
    // It was opened to record the backup, and closed.
    for _ in 0..3 {
        let again = backup(&dir, &[]);
        assert_eq!((&again["id"], &again["nothing_new"]), (&first["id"], &Value::Bool(true)));
    }
    assert_eq!(count(), 1);
    let (code, out, _) = run(&dir, &["backup"]);
    let id = first["id"].as_str().expect("an id");
    assert_eq!(code, 0);
    assert!(out.contains("Nothing new") && out.contains(id) && out.contains("--full"), "{out}");
    let (_, out, _) = run(&dir, &["backup", "--dry-run"]);
    assert!(out.contains("Would make no backup") && out.contains(id), "{out}");
    let (_, out, _) = run(&dir, &["health", "--json"]);
    assert!(out.contains("nothing new"), "{out}");

    // It is made when it is asked for, and as soon as anything happened.
    assert_ne!(backup(&dir, &["--full"])["id"], first["id"]);
    assert_eq!(count(), 2);
    record(&dir, "one", 1);
    assert!(backup(&dir, &[])["nothing_new"].is_null());
    assert_eq!(count(), 3);
    // A backup that is not whole holds nothing.
    let (_, out, _) = run(&dir, &["list", "--json"]);
    let newest = said(&out)["backups"][0].clone();
    let archive = dir.path().join("backups/audit").join(newest["file"].as_str().expect("a file"));
    let bytes = std::fs::read(&archive).expect("read");
    std::fs::write(&archive, &bytes[..bytes.len() - 1]).expect("cut");
    assert!(backup(&dir, &[])["nothing_new"].is_null());
    // Nor is a line believed that somebody made to look like one of the log's own.
    let active = dir.log().join("audit.log");
    record(&dir, "payment", 1);
    let text = std::fs::read_to_string(&active).expect("the log");
    assert!(text.contains("\"payment\""));
    std::fs::write(&active, text.replace("\"payment\"", "\"audit.idle\"")).expect("altered");
    let (code, out, err) = run(&dir, &["backup"]);
    assert_eq!(code, 1, "{out}{err}");
}
