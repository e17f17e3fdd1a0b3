//! An old copy put back, a machine rolled back to a snapshot, two copies that both
//! record: as real processes, each told by its own name.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::backups::{copy_dir, names};
use crate::serving::Serving;
use crate::support::{Dir, auditctl, eventually, records, run};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const PUSH: &str =
    "[collector]\ncheckpoint_push_to = \"elsewhere\"\ncheckpoint_push_interval = \"1s\"\n";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn recorded(dir: &Dir, actor: &str) {
    let (code, _, err) = run(dir, &["record", "--type", "login", "--actor", actor]);
    assert_eq!(code, 0, "{err}");
}

fn backed_up(dir: &Dir) {
    let (code, _, err) = run(dir, &["backup"]);
    assert_eq!((code, &*err), (0, ""));
}

/// Another state of the log's directory takes its place.
fn put_back(dir: &Dir, copy: &Path) {
    std::fs::remove_dir_all(dir.log()).expect("removed");
    copy_dir(copy, &dir.log());
}

/// The error with which a command ends; one that goes on instead is ended.
fn refused(dir: &Dir, args: &[&str]) -> (i32, Value) {
    let mut command = auditctl(dir, &[args, &["--json"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let until = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > until {
            child.kill().expect("kill");
            panic!("{args:?} was not refused");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it has ended");
    let out = String::from_utf8(output.stdout).expect("utf-8");
    (output.status.code().unwrap_or(-1), json(&out)["error"].clone())
}

fn serve_refused(dir: &Dir) -> Value {
    let (code, error) = refused(dir, &["serve", "--http", "off"]);
    assert_eq!(code, 3, "{error}");
    error
}

fn backup_check(dir: &Dir) -> (String, String, String) {
    let (_, out, _) = run(dir, &["health", "--json"]);
    let report = json(&out);
    let checks = report["checks"].as_array().expect("checks").clone();
    let check = checks.iter().find(|check| check["component"] == "backup").expect("a check");
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("code"), text("message"))
}

#[test]
fn an_old_copy_of_the_directory_put_back_is_noticed_by_everybody() {
    let dir = Dir::new();
    recorded(&dir, "before");
    copy_dir(&dir.log(), &dir.path().join("copy"));
    recorded(&dir, "after");
    backed_up(&dir);
    assert_eq!(backup_check(&dir).0, "healthy");
    put_back(&dir, &dir.path().join("copy"));
    let before = records(&dir.log());

    let (status, code, message) = backup_check(&dir);
    assert_eq!((&*status, &*code), ("critical", "backup.rolled_back"), "{message}");
    for args in [&["record", "--type", "x"][..], &["serve", "--http", "off"]] {
        let (code, error) = refused(&dir, args);
        assert_eq!((code, &error["kind"]), (3, &"rolled_back".into()), "{args:?} {error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("old copy of this log was put back"), "{message}");
        assert!(error["hint"].as_str().expect("a hint").contains("--accept-rollback"));
    }
    let (code, error) = refused(&dir, &["backup"]);
    assert_eq!((code, &error["kind"]), (1, &"rolled_back".into()), "{error}");
    let (code, out, _) = run(&dir, &["list", "--verify"]);
    assert!(code == 1 && out.contains("rolled_back: "), "{code} {out}");
    let (_, out, _) = run(&dir, &["list", "--json"]);
    assert_eq!(json(&out)["contradictions"][0]["history"], "rolled_back");
    let (code, out, _) = run(&dir, &["verify", "--json"]);
    assert_eq!(code, 1);
    assert!(json(&out).to_string().contains("truncated"), "{out}");
    assert_eq!(records(&dir.log()), before, "nothing was changed");

    // Whoever knows what it is goes on, in an epoch that the other never had.
    let collector = Serving::start_with(&dir, "", &["--accept-rollback"], &[]);
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64());
    collector.terminate();
    let stored = records(&dir.log());
    let (_, said) =
        stored.iter().find(|(_, r)| r["event_type"] == "audit.rollback_accepted").expect("told");
    assert_eq!(
        (&said["details"]["history"], &said["details"]["epoch"]),
        (&"rolled_back".into(), &1.into())
    );
    let (_, note, _) = run(&dir, &["checkpoint"]);
    assert!(note.lines().next().expect("an origin").ends_with("/e1"), "{note}");
    recorded(&dir, "again");
    backed_up(&dir);
    assert_eq!(backup_check(&dir).0, "healthy", "{:?}", backup_check(&dir));
    let (code, out, _) = run(&dir, &["verify"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_machine_rolled_back_with_its_backups_is_told_by_what_was_pushed_elsewhere() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("elsewhere")).expect("made");
    let collector = Serving::start(&dir, PUSH);
    collector.connect().ask(EVENT);
    backed_up(&dir);
    collector.terminate();
    copy_dir(&dir.log(), &dir.path().join("copy"));
    copy_dir(&dir.path().join("backups/audit"), &dir.path().join("backups-copy"));

    let collector = Serving::start(&dir, PUSH);
    collector.connect().ask(EVENT);
    collector.terminate();
    backed_up(&dir);
    put_back(&dir, &dir.path().join("copy"));
    std::fs::remove_dir_all(dir.path().join("backups/audit")).expect("removed");
    copy_dir(&dir.path().join("backups-copy"), &dir.path().join("backups/audit"));

    let error = serve_refused(&dir);
    assert_eq!(error["kind"], "snapshot_restored", "{error}");
    assert!(error["message"].as_str().expect("a message").contains("elsewhere"), "{error}");
    let (code, error) = refused(&dir, &["backup"]);
    assert_eq!((code, &error["kind"]), (1, &"snapshot_restored".into()), "{error}");
    let collector = Serving::start_with(&dir, PUSH, &["--accept-rollback"], &[]);
    collector.connect().ask(EVENT);
    collector.terminate();
    let pushed = names(&dir.path().join("elsewhere"));
    assert!(pushed.iter().any(|name| name.contains(".e1.")), "{pushed:?}");
    Serving::start(&dir, PUSH).terminate();
}

#[test]
fn two_copies_that_both_record_are_told_from_a_rollback() {
    let dir = Dir::new();
    recorded(&dir, "before");
    copy_dir(&dir.log(), &dir.path().join("copy"));
    recorded(&dir, "mine");
    backed_up(&dir);
    // The other copy comes as far as this one, and further.
    put_back(&dir, &dir.path().join("copy"));
    std::fs::rename(dir.path().join("backups"), dir.path().join("away")).expect("renamed");
    for _ in 0..4 {
        recorded(&dir, "theirs");
    }
    std::fs::rename(dir.path().join("away"), dir.path().join("backups")).expect("renamed");

    let error = serve_refused(&dir);
    assert_eq!(error["kind"], "cloned", "{error}");
    assert!(error["message"].as_str().expect("a message").contains("another root"), "{error}");
    let (code, error) = refused(&dir, &["backup"]);
    assert_eq!((code, &error["kind"]), (1, &"cloned".into()), "{error}");
    let (code, out, _) = run(&dir, &["verify", "--json"]);
    assert!(code == 1 && out.contains("diverged"), "{code} {out}");
}

#[test]
fn two_copies_that_push_to_one_place_while_they_run_notice_each_other() {
    let (dir, other) = (Dir::new(), Dir::new());
    let place = dir.path().join("elsewhere");
    std::fs::create_dir(&place).expect("made");
    recorded(&dir, "before");
    copy_dir(&dir.log(), &other.log());
    let one = Serving::start(&dir, PUSH);
    // The other one cannot see that place when it starts: it would not start then.
    let two = Serving::start(&other, &PUSH.replace("elsewhere", "mnt/elsewhere"));
    std::os::unix::fs::symlink(dir.path(), other.path().join("mnt")).expect("mounted");
    let (mut to_one, mut to_two) = (one.connect(), two.connect());
    let told = |collector: &Serving| collector.stderr().contains("[checkpoint_contradicted]");
    eventually("one of them is told", || {
        to_one.ask(r#"{"event_type":"login","actor":"one"}"#);
        to_two.ask(r#"{"event_type":"login","actor":"two"}"#);
        told(&one) || told(&two)
    });
    let (told, said) = if told(&one) { (&dir, one.stderr()) } else { (&other, two.stderr()) };
    assert!(said.contains("two copies of this log") || said.contains("earlier state"), "{said}");
    let (status, code, message) = backup_check(told);
    assert_eq!(status, "critical", "{code} {message}");
    assert!(["backup.cloned", "backup.snapshot_restored"].contains(&&*code), "{code} {message}");
}

#[test]
fn a_pushed_checkpoint_that_does_not_fit_is_not_written_over() {
    let dir = Dir::new();
    recorded(&dir, "before");
    copy_dir(&dir.log(), &dir.path().join("copy"));
    recorded(&dir, "after");
    let (_, ahead, _) = run(&dir, &["checkpoint"]);
    put_back(&dir, &dir.path().join("copy"));
    let settings = PUSH.replace("elsewhere", "newest");
    let collector = Serving::start(&dir, &settings);
    let file = dir.path().join("newest");
    eventually("it is pushed", || file.exists());
    std::fs::write(&file, &ahead).expect("written");
    let mut peer = collector.connect();
    eventually("it is told", || {
        peer.ask(EVENT);
        collector.stderr().contains("[checkpoint_contradicted]")
    });
    assert_eq!(std::fs::read_to_string(&file).expect("read"), ahead, "it is evidence");
    let (status, code, message) = backup_check(&dir);
    assert_eq!(status, "critical", "{code} {message}");
}

#[test]
fn heads_that_cannot_be_read_stop_nothing_and_another_logs_do_not_count() {
    let (dir, other) = (Dir::new(), Dir::new());
    recorded(&other, "theirs");
    recorded(&other, "theirs");
    backed_up(&other);
    recorded(&dir, "mine");
    let backups = dir.path().join("backups/audit");
    copy_dir(&other.path().join("backups/audit"), &backups);
    let mark = "\n  \"checkpoint\": \"";
    let hostile: [(&str, Vec<u8>); 4] = [
        ("audit_backup_20300101_000000.json", b"{".to_vec()),
        ("audit_backup_20300101_000001.json", vec![b' '; 1 << 20]),
        ("audit_backup_20300101_000002.json", format!("{mark}{}", "\\u0000".repeat(9999)).into()),
        ("audit_backup_20300101_000003.json", format!("{mark}auditctl/x\\n5\\n\"").into()),
    ];
    for (name, content) in hostile {
        std::fs::write(backups.join(name), content).expect("written");
    }
    std::fs::create_dir(backups.join("audit_backup_20300101_000004.json")).expect("made");
    let (_, code, message) = backup_check(&dir);
    assert_eq!(code, "", "another log's backup is not this log's: {message}");
    assert!(message.starts_with("no backup was made yet"), "{message}");
    let collector = Serving::start(&dir, "");
    let said = collector.stderr();
    assert!(said.contains("20300101_000000.json") && said.contains("[not_compared]"), "{said}");
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64());
    collector.terminate();
}

#[test]
fn an_older_backup_restored_where_nothing_is_goes_on_in_an_epoch_of_its_own() {
    let dir = Dir::new();
    recorded(&dir, "one");
    backed_up(&dir);
    recorded(&dir, "two");
    backed_up(&dir);
    let (_, out, _) = run(&dir, &["list", "--json"]);
    let oldest = json(&out)["backups"][1]["id"].as_str().expect("an id").to_owned();
    let key = std::fs::read(dir.log().join("audit.key")).expect("read");
    std::fs::remove_dir_all(dir.log()).expect("removed");
    std::fs::create_dir(dir.log()).expect("made");
    std::fs::write(dir.log().join("audit.key"), key).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.log().join("audit.key"), mode).expect("mode");
    let (code, out, err) = run(&dir, &["restore", &oldest, "--force"]);
    assert_eq!(code, 0, "{out}{err}");
    recorded(&dir, "three");
    let (_, note, _) = run(&dir, &["checkpoint"]);
    assert!(note.lines().next().expect("an origin").ends_with("/e1"), "{note}");
}

#[test]
fn a_copy_from_before_a_change_of_key_knows_the_later_backups_for_its_own() {
    let dir = Dir::new();
    recorded(&dir, "before");
    copy_dir(&dir.log(), &dir.path().join("copy"));
    let (code, _, err) = run(&dir, &["key", "rotate"]);
    assert_eq!(code, 0, "{err}");
    recorded(&dir, "after");
    backed_up(&dir);
    put_back(&dir, &dir.path().join("copy"));
    assert_eq!(serve_refused(&dir)["kind"], "rolled_back");
    assert_eq!(backup_check(&dir).1, "backup.rolled_back");
}
