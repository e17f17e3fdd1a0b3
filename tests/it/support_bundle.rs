//! `support-bundle`: what it holds, what it never holds, and that it comes about
//! whatever the log is like.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, run};

/// Every text that must not be in a bundle, with where it was put.
const SECRETS: &[(&str, &str)] = &[
    ("the token file", "5f3a9c1e77d24b085f3a9c1e77d24b085f3a9c1e77d24b085f3a9c1e77d24b08"),
    ("an actor", "actor-mallory-4711"),
    ("a target", "target-vault-door-9"),
    ("a source", "source-billing-secret"),
    ("details", "details-card-4929-0000-1111"),
    ("a malformed line", "malformed-line-content-77"),
    ("an unknown key", "unknown-key-content-88"),
    ("a credential of the cloud", "AKIAZZSECRETKEYID99"),
    ("a secret of the cloud", "wJalrXUtnFEMI/K7MDENG/secretsecret"),
    ("a connection string", "AccountKey=c2VjcmV0c2VjcmV0"),
    ("a webhook", "hooks.example.com/T000/B000/xoxb-token"),
    ("a destination", "acme-private-bucket"),
    ("a query", "queried-actor-1234"),
];

fn secret(what: &str) -> &'static str {
    SECRETS.iter().find(|(name, _)| *name == what).expect(what).1
}

/// The files of an archive, by name; checks that all lie in one directory.
fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        assert_eq!(entry.header().mode().expect("mode"), 0o600);
        let path = entry.path().expect("path").display().to_string();
        let (dir, name) = path.split_once('/').expect("in a directory");
        assert!(dir.starts_with("auditctl-support-"), "{path}");
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        files.insert(name.to_owned(), text);
    }
    files
}

fn bundle(dir: &Dir, args: &[&str]) -> (BTreeMap<String, String>, Value) {
    let file = dir.path().join("bundle.tar.gz");
    let _ = std::fs::remove_file(&file);
    let mut all = vec!["--json", "support-bundle", "--output", "bundle.tar.gz"];
    all.extend(args);
    let (code, out, err) = run(dir, &all);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let files = unpacked(&std::fs::read(&file).expect("read"));
    (files, serde_json::from_str(&out).expect("one document"))
}

fn json(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Why a part is not there.
fn problem<'a>(told: &'a Value, name: &str) -> Option<&'a str> {
    let parts = told["parts"].as_array().expect("parts");
    parts.iter().find(|part| part["name"] == name).expect(name)["problem"].as_str()
}

fn assert_nothing_leaked(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        for (what, secret) in SECRETS {
            assert!(!text.contains(secret), "{name} holds {what}:\n{text}");
        }
        assert!(!text.contains("PRIVATE KEY"), "{name}");
    }
}

/// An alert to a secret address, where the program has alerts.
fn alert() -> String {
    if !cfg!(feature = "alerts") {
        return String::new();
    }
    let url = format!("https://{}", secret("a webhook"));
    format!("[[alerts]]\nname = \"a\"\non = \"event\"\ntype = [\"never\"]\nurl = \"{url}\"\n")
}

/// A collector that was sent secrets in every way there is.
fn full_of_secrets(dir: &Dir) -> Serving {
    let hash = secret("the token file");
    let token = format!(
        "{{\"name\":\"web\",\"role\":\"write\",\"created\":\"2026-02-04T00:00:00Z\",\"sha256\":\"{hash}\"}}"
    );
    std::fs::write(dir.path().join("token"), token).expect("token");
    let set_mode =
        std::fs::set_permissions(dir.path().join("token"), std::fs::Permissions::from_mode(0o600));
    set_mode.expect("mode");
    let config = format!(
        "audit_reads = true\nhealth.blocked_warn = 0\n\
         [collector]\ntoken_file = \"token\"\n\
         [backup]\ndestination = \"{}/prefix\"\n\
         [rate_limit]\nper_second = 1\nburst = 1\n{}",
        secret("a destination"),
        alert(),
    );
    let collector = Serving::start(dir, &config);
    let mut peer = collector.connect();
    let event = format!(
        r#"{{"event_type":"login","actor":"{}","target":"{}","source":"{}","details":{{"x":"{}"}}}}"#,
        secret("an actor"),
        secret("a target"),
        secret("a source"),
        secret("details"),
    );
    for _ in 0..5 {
        peer.ask(&event);
    }
    peer.ask(&format!("no json {}", secret("a malformed line")));
    peer.ask(&format!(r#"{{"event_type":"x","{}":1}}"#, secret("an unknown key")));
    peer.ask(&format!(r#"{{"query":{{"actor":"{}"}}}}"#, secret("a query")));
    collector
}

#[test]
fn no_secret_and_nothing_of_an_event_is_in_a_bundle() {
    let dir = Dir::new();
    let collector = full_of_secrets(&dir);
    let (code, out, err) = run(&dir, &["backup", "--local"]);
    assert_eq!(code, 0, "{out}{err}");
    let key = std::fs::read_to_string(dir.log().join("audit.key")).expect("key");
    let key_line = key.split_whitespace().max_by_key(|word| word.len()).expect("key").to_owned();
    let file = dir.path().join("b.tar.gz");
    let mut command = auditctl(&dir, &["support-bundle", "--output", "b.tar.gz"]);
    command
        .env("AWS_ACCESS_KEY_ID", secret("a credential of the cloud"))
        .env("AWS_SECRET_ACCESS_KEY", secret("a secret of the cloud"))
        .env("AZURE_STORAGE_CONNECTION_STRING", secret("a connection string"))
        .env("ALERT_WEBHOOK_URL", format!("https://{}", secret("a webhook")));
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let files = unpacked(&std::fs::read(&file).expect("read"));
    assert_nothing_leaked(&files);
    for (name, text) in &files {
        assert!(!text.contains(&key_line), "{name} holds the signing key");
    }
    // It is not empty because everything was withheld: each part that needs the log is there.
    let settings = json(&files, "settings.json");
    assert_eq!(settings["settings"]["backup.destination"]["value"], "(set, not shown)");
    assert_eq!(settings["settings"]["rate_limit.burst"]["value"], "1");
    let variables = settings["variables_set"].as_array().expect("a list");
    assert!(variables.contains(&"AWS_SECRET_ACCESS_KEY".into()), "{variables:?}");
    let health = json(&files, "health.json");
    let blocked = health["checks"].as_array().expect("checks").iter();
    let blocked = blocked.clone().find(|check| check["component"] == "rate_limiting").expect("one");
    assert_eq!(blocked["metrics"]["top_source"], "(a source)", "{blocked}");
    assert!(json(&files, "monitor.json")["events"]["total"].as_u64() > Some(0));
    assert!(files["status_page.txt"].contains("DurableSeq = "));
    assert_eq!(json(&files, "security_counts.json")["since_the_log_was_opened"]["malformed"], 1);
    assert!(files["own_records.ndjson"].contains("audit.log_created"));
    assert!(files["own_records.ndjson"].contains("audit.query"));
    assert_eq!(json(&files, "backups.json")["backups"], 1);
    assert_eq!(json(&files, "verify.json")["findings"], serde_json::json!([]));
    assert!(files["checkpoint.txt"].contains("auditctl/"));
    assert!(files["README.txt"].contains("Not in it:"));
    for name in ["version.json", "machine.json", "filesystems.json", "writer_process.txt"] {
        assert!(files.contains_key(name), "{name}: {said}");
    }
    collector.terminate();
}

#[test]
fn without_a_log_there_is_a_bundle_that_says_so() {
    let dir = Dir::new();
    let (files, told) = bundle(&dir, &[]);
    assert_eq!(json(&files, "health.json")["metadata"]["state"], "no_log");
    for name in ["status_page.txt", "manifest.json", "verify.json", "own_records.ndjson"] {
        assert!(problem(&told, name).is_some(), "{name}: {told}");
        assert!(files["README.txt"].contains(&format!("- {name}: ")), "{}", files["README.txt"]);
    }
    assert!(!dir.log().exists(), "nothing was made");
}

#[test]
fn a_damaged_log_and_broken_settings_are_told_and_quote_nothing() {
    let dir = Dir::new();
    full_of_secrets(&dir).terminate();
    let active = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&active).expect("log");
    std::fs::write(&active, text.replacen("\"login\"", "\"nigol\"", 1)).expect("written");
    std::fs::write(dir.log().join("audit.manifest.json"), "{ no manifest").expect("written");
    let destination = secret("a destination");
    let broken = format!("webhook = \"https://{0}\"\nbackup.destinatoin = \"{0}\"\n", destination);
    std::fs::write(dir.path().join("auditctl.toml"), broken).expect("written");
    let (files, told) = bundle(&dir, &[]);
    assert_nothing_leaked(&files);
    let problems = json(&files, "settings.json")["problems"].clone();
    assert_eq!(problems.as_array().map(Vec::len), Some(2), "{problems}");
    assert!(problem(&told, "manifest.json").is_some(), "{told}");
    assert!(files["own_records.ndjson"].contains("audit.opened"), "from the end of audit.log");
    assert!(files.contains_key("directory.json"));
}

#[test]
fn beside_a_collector_that_hangs_there_is_a_bundle() {
    let dir = Dir::new();
    let collector = full_of_secrets(&dir);
    collector.signal(rustix::process::Signal::STOP);
    let (files, told) = bundle(&dir, &[]);
    collector.signal(rustix::process::Signal::CONT);
    assert_nothing_leaked(&files);
    assert!(files["writer_process.txt"].contains("T (stopped)"), "{told}");
    assert!(files.contains_key("verify.json"), "{told}");
    collector.terminate();
}

/// A limit on the size of files is what a full disk looks like to a program.
#[test]
fn where_nothing_can_be_written_it_says_so_leaves_nothing_and_stdout_takes_it() {
    let dir = Dir::new();
    drop(crate::support::open(crate::support::options(&dir)));
    let limited = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_auditctl");
        Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f 1; exec {program} support-bundle {arguments}"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("sh")
    };
    let output = limited("--output full.tar.gz");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot write full.tar.gz") && said.contains("--output -"), "{said}");
    let left = std::fs::read_dir(dir.path()).expect("list").count();
    assert_eq!(left, 1, "the log, and no leftover");
    let output = limited("--output -");
    assert_eq!(output.status.code(), Some(0));
    assert!(unpacked(&output.stdout).contains_key("health.json"));
}

#[test]
fn the_list_says_what_would_be_in_it_and_writes_nothing() {
    let dir = Dir::new();
    let (code, out, _) = run(&dir, &["support-bundle", "--list"]);
    assert_eq!(code, 0);
    assert!(out.contains("- health.json ") && out.contains("Not in it:"), "{out}");
    let (code, out, _) = run(&dir, &["--json", "support-bundle", "--list"]);
    let told: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(code, 0);
    assert!(told["parts"].as_array().is_some_and(|parts| parts.len() > 10));
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("mine.tar.gz"), "mine").expect("written");
    let (code, _, err) = run(&dir, &["support-bundle", "--output", "mine.tar.gz"]);
    assert_eq!((code, err.contains("is there already")), (2, true), "{err}");
    assert_eq!(std::fs::read(Path::new(&dir.path().join("mine.tar.gz"))).expect("read"), b"mine");
}
