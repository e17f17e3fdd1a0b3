//! `record` and `serve` where somebody else has the log, or the socket; and what `record`
//! prints.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, count, missing, open, options, run, skipped};

/// C11.
#[test]
fn eight_records_at_once_without_a_collector_all_succeed() {
    let dir = Dir::new();
    let children: Vec<_> = (0..8)
        .map(|_| {
            // Longer than by default: this machine may do much else meanwhile.
            auditctl(&dir, &["record", "--type", "parallel", "--wait", "60s"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("record")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("record");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(count(&dir.log(), "parallel"), 8);
}

/// C11.
#[test]
fn a_log_that_stays_held_is_busy_and_says_who_holds_it() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let pid = format!("pid {}", std::process::id());
    for args in [
        &["record", "--type", "x", "--wait", "50ms", "--json"][..],
        &["serve", "--http", "off", "--wait", "0s", "--json"],
    ] {
        let (code, stdout, stderr) = run(&dir, args);
        assert_eq!(code, 4, "{stdout}{stderr}");
        assert!(format!("{stdout}{stderr}").contains(&pid), "{stdout}{stderr}");
    }
    log.close().expect("close");
}

/// C11.
#[test]
fn a_collector_waits_for_a_record_that_has_the_log_and_takes_over() {
    let dir = Dir::new();
    // Its input stays open, and with it the log.
    let mut holder = auditctl(&dir, &["record", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("record");
    crate::support::eventually("the log is held", || {
        auditctl::fsio::lock::is_locked(&dir.log().join("audit.lock")).unwrap_or(false)
    });
    let stdin = holder.stdin.take();
    let waiting = std::thread::spawn(move || {
        // By now the collector has found the log held.
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(stdin);
        holder.wait().expect("ended").success()
    });
    let collector = Serving::start_with(&dir, "", &["--wait", "60s"], &[]);
    assert!(waiting.join().expect("joined"));
    assert_eq!(run(&dir, &["record", "--type", "after"]).0, 0);
    collector.terminate();
}

/// B13.
#[test]
fn a_socket_that_this_user_may_not_use_says_whose_it_is() {
    if !rustix::process::getuid().is_root() {
        return skipped("only root can become another user");
    }
    if !Command::new("setpriv").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return missing("setpriv");
    }
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let program = dir.path().join("auditctl");
    std::fs::copy(env!("CARGO_BIN_EXE_auditctl"), &program).expect("program");
    let open = dir.path().join("open");
    std::fs::create_dir(&open).expect("directory");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("mode");
    let settings = "[collector]\nsocket = \"open/audit.sock\"\n";
    let collector = Serving::start(&dir, settings);
    let events = dir.path().join("events");
    std::fs::write(&events, "{\"event_type\":\"x\"}\n").expect("file");
    let as_nobody = |args: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(args)
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .expect("runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code(), told["error"].clone())
    };
    for args in
        [&["record", "--type", "x", "--json"][..], &["record", "--file", "events", "--json"]]
    {
        // Refused by its mode.
        let (code, error) = as_nobody(args);
        let text = error["message"].as_str().expect("a message");
        assert_eq!((code, &error["kind"]), (Some(3), &"forbidden".into()), "{error}");
        assert!(text.contains("user root (0)") && text.contains("mode 0600"), "{text}");
        assert!(error["hint"].as_str().expect("a hint").contains("allowed_uids"), "{error}");
        // Let in by its mode, and refused by the collector.
        std::fs::set_permissions(&collector.socket, PermissionsExt::from_mode(0o666))
            .expect("mode");
        let (code, error) = as_nobody(args);
        let text = error["message"].as_str().expect("a message");
        assert_eq!((code, &error["kind"]), (Some(4), &"forbidden".into()), "{error}");
        assert!(text.contains("allowed_uids") && !text.contains("went away"), "{text}");
        std::fs::set_permissions(&collector.socket, PermissionsExt::from_mode(0o600))
            .expect("mode");
    }
    // A directory on the way.
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o700)).expect("mode");
    let (code, error) = as_nobody(&["record", "--type", "x", "--json"]);
    let text = error["message"].as_str().expect("a message");
    assert_eq!(code, Some(3), "{error}");
    assert!(text.contains("directory") && text.contains("mode 0700"), "{text}");
}

/// C17.
#[test]
fn on_a_terminal_record_says_what_the_number_is_and_scripts_get_it_alone() {
    let dir = Dir::new();
    let (_, stdout, _) = run(&dir, &["record", "--type", "a"]);
    assert!(stdout.trim_end().bytes().all(|byte| byte.is_ascii_digit()), "{stdout}");
    let command = format!("{} record --type b", env!("CARGO_BIN_EXE_auditctl"));
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return missing("script") };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("recorded seq "), "{said}");
}
