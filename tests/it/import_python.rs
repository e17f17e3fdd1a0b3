//! `record --format python-audit`: the logs of the Python utilities, written by real
//! Python and compared by it with what was recorded.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{
    Dir, all_lines, auditctl, eventually, missing, open, options, records, run, skipped,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_audit.py");

fn python(args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("python3").arg(SCRIPT).args(args).output() else {
        missing("python3");
        return None;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Some(String::from_utf8(output.stdout).expect("utf-8"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

/// A key, and a log of `count` lines signed with it.
fn written(dir: &Dir, seed: u32, count: u32) -> Option<(PathBuf, PathBuf)> {
    let (key, log) = (dir.path().join("key"), dir.path().join("audit.log"));
    std::fs::write(&key, "the utilities' key\n").expect("key");
    python(&["write", &seed.to_string(), &count.to_string(), text(&key), text(&log)])?;
    Some((key, log))
}

fn import(dir: &Dir, args: &[&str]) -> (i32, Value, String) {
    let mut all = vec!["record", "--json", "--format", "python-audit", "--file"];
    all.extend(args);
    let (code, stdout, stderr) = run(dir, &all);
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")), stderr)
}

/// The imported records, in order.
fn imported(dir: &Dir) -> Vec<Value> {
    let all = records(&dir.log()).into_iter().map(|(_, record)| record);
    all.filter(|record| record["details"]["imported"].is_object()).collect()
}

fn compared(dir: &Dir, log: &Path) {
    let stored = dir.path().join("stored");
    std::fs::write(&stored, all_lines(&dir.log()).join("\n") + "\n").expect("stored");
    python(&["compare", text(log), text(&stored)]);
}

fn line(object: &Value) -> String {
    format!("{object}\n")
}

#[test]
fn thousands_of_python_s_lines_are_checked_and_can_be_put_together_again() {
    for with_collector in [false, true] {
        let dir = Dir::new();
        let Some((key, log)) = written(&dir, 1 + u32::from(with_collector), 3_000) else { return };
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        let (code, told, stderr) = import(&dir, &[text(&log), "--hmac-key", text(&key)]);
        let python = &told["python_audit"];
        assert_eq!(python["lines"], 3_000, "{stderr}");
        let all = json!({ "valid": 3_000, "invalid": 0, "missing": 0, "unchecked": 0 });
        assert_eq!(python["signatures"], all, "{python}");
        assert!(python["without_time"].as_u64() > Some(0) && python["in_parts"].as_u64() > Some(0));
        assert_eq!(code, 1, "times that cannot be read are to be looked at");
        compared(&dir, &log);
        drop(collector);
    }
}

#[test]
fn every_flipped_byte_is_found_and_its_line_kept() {
    let dir = Dir::new();
    let Some((key, log)) = written(&dir, 7, 300) else { return };
    let mut bytes = std::fs::read(&log).expect("log");
    // In each third line the last digit of a number or letter of a name changes.
    let mut flipped = Vec::new();
    let mut begin = 0;
    for (nth, end) in memchr::memchr_iter(b'\n', &bytes.clone()).enumerate() {
        if nth % 3 == 0 {
            let place =
                begin + memchr::memmem::find(&bytes[begin..end], b"\"signature\"").expect("there");
            let at = place
                + bytes[place..end].iter().rposition(u8::is_ascii_hexdigit).map_or(0, |at| {
                    // Of the signature itself, or of what comes after it.
                    if nth % 2 == 0 { at } else { 16 }
                });
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            flipped.push(nth as u64 + 1);
        }
        begin = end + 1;
    }
    std::fs::write(&log, &bytes).expect("log");
    let (code, told, _) = import(&dir, &[text(&log), "--hmac-key", text(&key)]);
    assert_eq!(code, 1);
    let python = &told["python_audit"];
    let named: Vec<u64> = python["invalid"]
        .as_array()
        .expect("list")
        .iter()
        .map(|place| place["line"].as_u64().expect("line"))
        .collect();
    let unreadable = python["unreadable"].as_u64().expect("count");
    assert!(named.iter().all(|line| flipped.contains(line)), "only what was altered");
    assert_eq!(named.len() as u64 + unreadable, flipped.len() as u64, "all of it: {python}");
    compared(&dir, &log);
    let (code, stdout, _) =
        run(&dir, &["query", "--where", "details.imported.signature = invalid", "--count"]);
    assert_eq!((code, stdout.trim()), (0, &*named.len().to_string()));
}

#[test]
fn keys_become_fields_and_what_has_no_place_stands_in_imported() {
    let dir = Dir::new();
    let log = dir.path().join("audit.log");
    let lines = [
        json!({"timestamp": "2024-01-05T10:00:00.123456", "event_type": "lead.updated", "actor": "alice", "lead_id": 17, "workflow": "nightly", "details": {"n": 1.50}, "signature": "00"}),
        json!({"timestamp": "2024-01-05T11:00:00.000000Z", "event_type": "audit.login", "lead_id": null, "ip": "::1", "details": "text"}),
    ];
    std::fs::write(&log, lines.iter().map(line).collect::<String>() + "{\"event_type\": \"cut of")
        .expect("log");
    let (code, told, _) = import(&dir, &[text(&log), "--assume-timezone", "+02:00"]);
    assert_eq!((code, &told["recorded"]), (1, &json!(3)));
    let found = imported(&dir);
    assert_eq!(found[0]["timestamp"], "2024-01-05T08:00:00.123456Z");
    assert_eq!((&found[0]["source"], &found[0]["target"]), (&json!("nightly"), &json!("17")));
    assert_eq!(
        found[0]["details"],
        json!({ "n": 1.50, "imported": {
            "format": "python-audit", "file": "audit.log", "line": 1, "signature": "unchecked", "hmac": "00",
            "fields": { "timestamp": "2024-01-05T10:00:00.123456", "lead_id": 17 },
        }})
    );
    assert_eq!(found[1]["event_type"], "python.audit.login");
    assert_eq!(found[1]["details"]["imported"]["signature"], "missing");
    assert_eq!(
        found[1]["details"]["imported"]["fields"],
        json!({ "event_type": "audit.login", "lead_id": null, "ip": "::1", "details": "text" })
    );
    assert_eq!(found[2]["event_type"], "import.unreadable");
    assert_eq!(found[2]["details"]["imported"]["text"], "{\"event_type\": \"cut of");
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts_and_the_text_is_kept() {
    let dir = Dir::new();
    let Some((key, log)) = written(&dir, 5, 1) else { return };
    let signed = std::fs::read_to_string(&log).expect("log");
    // Python signed what comes last.
    let twice =
        signed.replacen('{', "{\"actor\": \"mallory\", \"details\": {\"a\": 1, \"a\": 2}, ", 1);
    std::fs::write(&log, &twice).expect("log");
    let (_, told, stderr) = import(&dir, &[text(&log), "--hmac-key", text(&key)]);
    assert_eq!(told["python_audit"]["signatures"]["valid"], 1, "{told} {stderr}");
    assert_eq!((&told["python_audit"]["in_parts"], &told["recorded"]), (&json!(1), &json!(2)));
    assert!(!imported(&dir)[0].to_string().contains("mallory"));
    compared(&dir, &log);
}

#[test]
fn rotations_are_read_in_the_order_in_which_they_were_written() {
    let dir = Dir::new();
    let old = dir.path().join("old");
    std::fs::create_dir(&old).expect("directory");
    let event = |n: u32| {
        line(
            &json!({"timestamp": format!("2024-01-05T10:00:{n:02}Z"), "event_type": "n", "details": {"n": n}}),
        )
    };
    for (name, numbers) in [
        ("audit.log", 8..10),
        ("audit.log.1", 6..8),
        ("audit.log.2.gz", 3..6),
        ("audit.log.10.gz", 0..3),
    ] {
        let content: String = numbers.map(event).collect();
        let mut bytes = content.clone().into_bytes();
        if name.ends_with(".gz") {
            // Two members, as two appended rotations have.
            bytes = Vec::new();
            for half in [&content[..content.len() / 2], &content[content.len() / 2..]] {
                let mut packed = GzEncoder::new(Vec::new(), Compression::default());
                packed.write_all(half.as_bytes()).expect("gzip");
                bytes.extend(packed.finish().expect("gzip"));
            }
        }
        std::fs::write(old.join(name), bytes).expect("log");
    }
    let (code, told, stderr) = import(&dir, &[text(&old)]);
    assert_eq!((code, &told["recorded"]), (0, &json!(10)), "{stderr}");
    let found: Vec<_> = imported(&dir).iter().map(|r| r["details"]["n"].as_u64()).collect();
    assert_eq!(found, (0..10).map(Some).collect::<Vec<_>>());
    // Once more: nothing is recorded twice.
    let (code, told, stderr) = import(&dir, &[text(&old), "--resume"]);
    assert_eq!((code, &told["recorded"]), (0, &json!(0)), "{stderr}");
    assert!(stderr.contains("up to audit.log, line 2"), "{stderr}");
    // Under another name it is another file, which is said.
    std::fs::rename(old.join("audit.log"), old.join("renamed.log")).expect("rename");
    let renamed = old.join("renamed.log");
    let (_, told, stderr) = import(&dir, &[text(&renamed), "--resume"]);
    assert_eq!(told["recorded"], 2);
    assert!(stderr.contains("others up to audit.log, line 2"), "{stderr}");
}

#[test]
fn after_a_kill_resume_goes_on_with_the_line_that_is_missing() {
    let dir = Dir::new();
    let Some((key, log)) = written(&dir, 11, 4_000) else { return };
    let mut collector = Serving::start(&dir, "");
    let args = [
        "record",
        "--format",
        "python-audit",
        "--hmac-key",
        text(&key),
        "--wait",
        "0s",
        "--file",
        text(&log),
    ];
    let mut child =
        auditctl(&dir, &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("record");
    eventually("some are recorded", || {
        std::fs::metadata(dir.log().join("audit.log")).is_ok_and(|meta| meta.len() > 400_000)
    });
    collector.signal(Signal::KILL);
    collector.wait();
    let ended = child.wait().expect("record");
    assert_ne!(ended.code(), Some(0));
    let before = {
        open(options(&dir)).close().expect("close");
        imported(&dir).len()
    };
    assert!(before > 0);
    let collector = Serving::start(&dir, "");
    let (_, told, stderr) = import(&dir, &[text(&log), "--hmac-key", text(&key), "--resume"]);
    assert!(told["error"].is_null(), "{told} {stderr}");
    compared(&dir, &log);
    drop(collector);
    let renamed = dir.path().join("elsewhere").join("audit.log");
    std::fs::create_dir(renamed.parent().expect("parent")).expect("directory");
    let other: String = (0..4_000).map(|_| line(&json!({"event_type": "other"}))).collect();
    std::fs::write(&renamed, other).expect("another log");
    let (code, told, _) = import(&dir, &[text(&renamed), "--resume"]);
    assert_eq!(code, 2, "{told}");
    assert!(
        told["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("is not the line that the log has")),
        "{told}"
    );
}

#[test]
fn what_cannot_be_redacted_is_not_kept_as_text() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "redact = [\"password\"]\n")
        .expect("settings");
    let log = dir.path().join("audit.log");
    let good = line(
        &json!({"event_type": "a", "details": {"password": "hunter2"}, "password": "hunter2"}),
    );
    std::fs::write(&log, format!("{good}{{\"password\": \"hunter2\"\n{good}")).expect("log");
    let (code, told, _) = import(&dir, &[text(&log)]);
    assert_eq!(code, 2, "{told}");
    let (code, told, _) = import(&dir, &[text(&log), "--resume", "--keep-going"]);
    assert_eq!((code, &told["recorded"]), (1, &json!(1)), "{told}");
    assert_eq!(told["rejected"][0]["line"], 2);
    let stored = all_lines(&dir.log()).join("\n");
    assert!(!stored.contains("hunter2"), "{stored}");
    assert_eq!(stored.matches("hmac-sha256:").count(), 4);
}

#[test]
fn a_missing_signature_is_found_when_there_is_a_key_and_flags_are_checked() {
    let dir = Dir::new();
    let (log, key) = (dir.path().join("audit.log"), dir.path().join("key"));
    std::fs::write(&log, line(&json!({"timestamp": "2024-01-05T10:00:00Z", "event_type": "a"})))
        .expect("log");
    std::fs::write(&key, "k").expect("key");
    let (code, told, _) = import(&dir, &[text(&log)]);
    assert_eq!((code, &told["python_audit"]["signatures"]["missing"]), (0, &json!(1)));
    assert_eq!(import(&dir, &[text(&log), "--hmac-key", text(&key)]).0, 1);
    for wrong in [
        &["--hmac-key", "nowhere"][..],
        &["--assume-timezone", "Mars/Olympus"],
        &["--lenient"],
        &["nowhere.log"],
    ] {
        let mut args = vec![text(&log)];
        args.extend(wrong);
        let (code, told, _) = import(&dir, &args);
        assert_eq!(code, 2, "{wrong:?}: {told}");
    }
    let (code, _, stderr) = run(&dir, &["record", "--file", text(&log), "--resume"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn the_fixture_written_by_python_imports_without_a_flaw() {
    let dir = Dir::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python-audit");
    let key = fixtures.join("key");
    let (code, told, stderr) = import(&dir, &[text(&fixtures), "--hmac-key", text(&key)]);
    assert_eq!(code, 0, "{stderr} {told}");
    assert_eq!(told["python_audit"]["signatures"]["valid"], 60);
    let times: Vec<_> = imported(&dir).iter().map(|r| r["timestamp"].to_string()).collect();
    assert!(times.is_sorted(), "in the order in which they happened");
}

#[test]
fn an_import_by_another_user_waits_for_its_rate_and_keeps_its_order() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    if !rustix::process::getuid().is_root() {
        skipped("only root can be another user");
        return;
    }
    let dir = Dir::new();
    let log = dir.path().join("audit.log");
    let lines: String = (0..120)
        .map(|n| line(&json!({"event_type": "n", "workflow": "s", "details": {"n": n}})))
        .collect();
    std::fs::write(&log, lines).expect("log");
    for (path, mode) in [(dir.path(), 0o755), (&log, 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let settings = format!(
        "[collector]\nsocket = \"s.sock\"\nallowed_uids = [{NOBODY}]\n[rate_limit]\nper_second = 100\nburst = 5\n"
    );
    let collector = Serving::start(&dir, &settings);
    let args = ["record", "--json", "--format", "python-audit", "--file", "audit.log"];
    let Ok(output) = auditctl(&dir, &args).uid(NOBODY).gid(NOBODY).output() else {
        skipped("another user cannot run the program here");
        return;
    };
    assert!(
        output.status.code() == Some(1),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    collector.terminate();
    let found: Vec<_> = imported(&dir).iter().map(|r| r["details"]["n"].as_u64()).collect();
    assert_eq!(found, (0..120).map(Some).collect::<Vec<_>>());
    assert!(records(&dir.log()).iter().any(|(_, r)| r["event_type"] == "audit.rate_limited"));
}

#[test]
fn a_cut_gzip_file_gives_all_that_is_whole_and_says_where_it_ends() {
    let dir = Dir::new();
    let lines: String = (0..2_000)
        .map(|n| line(&json!({"timestamp": "2024-01-05T10:00:00Z", "event_type": "n", "details": {"n": n}})))
        .collect();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(lines.as_bytes()).expect("gzip");
    let bytes = packed.finish().expect("gzip");
    let log = dir.path().join("audit.log.1.gz");
    std::fs::write(&log, &bytes[..bytes.len() / 2]).expect("log");
    let (code, told, _) = import(&dir, &[text(&log)]);
    let recorded = told["recorded"].as_u64().expect("count");
    assert_eq!(code, 3, "{told}");
    let message = told["error"]["message"].as_str().expect("message");
    assert!(message.contains("audit.log.1.gz, line"), "{message}");
    assert!(recorded > 0, "what came before is durable: {told}");
    // The whole file comes later.
    std::fs::write(&log, &bytes).expect("log");
    let (code, told, stderr) = import(&dir, &[text(&log), "--resume"]);
    assert_eq!((code, told["recorded"].as_u64()), (0, Some(2_000 - recorded)), "{stderr}");
}
