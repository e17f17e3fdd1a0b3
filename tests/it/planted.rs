//! Pipes and links that somebody has put where a file of ours, or one that the settings
//! name, is read: said in bounded time, with everything else still working.

use std::path::Path;
use std::process::{Command, Stdio};

use auditctl::backup::{Remote, Unwatched};
use auditctl::clock::SystemClock;
use auditctl::store::LocalStore;
#[cfg(feature = "alerts")]
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::backups::Home;
use crate::serving::Serving;
use crate::support::{Dir, auditctl, eventually, run};

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// Runs to its end, which a pipe must not keep it from.
fn ended(dir: &Dir, args: &[&str]) -> (i32, String, String) {
    let mut child = auditctl(dir, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("auditctl runs");
    eventually(&format!("{args:?} ends"), || child.try_wait().expect("asked").is_some());
    let output = child.wait_with_output().expect("ended");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("utf-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn a_pipe_or_a_link_in_the_place_of_an_uploads_state_is_passed_over() {
    for link in [false, true] {
        let home = Home::new();
        home.record(3);
        let made = home.back_up();
        let metadata = &made.metadata;
        let there = home.dir.path().join("store");
        std::fs::create_dir(&there).expect("a directory");
        let store = std::sync::Arc::new(LocalStore::new(&there));
        let remote = Remote::new(store, &metadata.host, &metadata.log.id);
        let url = format!("{}{}", remote.place(), metadata.archive.file);
        let hash = Sha256::digest(url.as_bytes());
        let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let state = home.backups().path().join(format!("{}.upload-{hash:08x}", metadata.id.stem()));
        let precious = home.dir.path().join("precious");
        std::fs::write(&precious, "{}").expect("written");
        if link {
            std::os::unix::fs::symlink(&precious, &state).expect("a link");
        } else {
            pipe(&state);
        }
        let (home, metadata) = (home, metadata.clone());
        let sent = std::thread::spawn(move || {
            let dir = home.backups();
            (remote.upload(&dir, &metadata, None, &SystemClock, &Unwatched), home)
        });
        eventually("the upload ends", || sent.is_finished());
        let (sent, _home) = sent.join().expect("no panic");
        sent.expect("sent");
        assert!(!state.exists(), "and it is gone");
        assert_eq!(std::fs::read_to_string(precious).expect("there"), "{}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_log_file_stops_the_start_with_what_to_do() {
    for name in ["audit.keys", "audit.checkpoint", "audit.manifest.json"] {
        let dir = Dir::new();
        assert_eq!(run(&dir, &["record", "--type", "x"]).0, 0);
        assert_eq!(run(&dir, &["key", "rotate"]).0, 0);
        assert_eq!(run(&dir, &["backup"]).0, 0);
        let path = dir.log().join(name);
        std::fs::remove_file(&path).expect("removed");
        pipe(&path);
        let (code, _, error) = run(&dir, &["record", "--type", "x"]);
        assert_eq!(code, 3, "{name}: {error}");
        assert!(error.contains(name) && error.contains("move it away"), "{name}: {error}");
        std::fs::rename(&path, dir.path().join("aside")).expect("moved away, as it says");
        let (code, _, error) = run(&dir, &["record", "--type", "x"]);
        assert_eq!(code, 0, "{name}: {error}");
        assert_eq!(run(&dir, &["verify"]).0, 0, "{name}");
    }
}

#[test]
fn what_is_planted_among_the_backups_is_named_and_stops_no_backup() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "x"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let planted = dir.path().join("backups/audit/audit_backup_20200101_000000.json");
    for what in ["a pipe", "a directory", "a link"] {
        match what {
            "a pipe" => pipe(&planted),
            "a directory" => std::fs::create_dir(&planted).expect("a directory"),
            _ => std::os::unix::fs::symlink("/etc/passwd", &planted).expect("a link"),
        }
        assert_eq!(run(&dir, &["record", "--type", "x"]).0, 0);
        let (code, out, error) = run(&dir, &["backup"]);
        assert_eq!(code, 0, "{what}: {out}{error}");
        assert!(error.contains("audit_backup_20200101_000000.json"), "{what}: {error}");
        let (_, out, _) = run(&dir, &["list"]);
        assert!(out.contains("BAD") && out.contains("20200101_000000"), "{what}: {out}");
        if what == "a directory" {
            std::fs::remove_dir(&planted).expect("removed");
        } else {
            std::fs::remove_file(&planted).expect("removed");
        }
    }
}

#[cfg(feature = "alerts")]
#[test]
fn a_pipe_or_a_link_in_the_place_of_the_state_of_alerts_leaves_the_other_checks_known() {
    let dir = Dir::new();
    let settings =
        "[[alerts]]\nname = \"ops\"\non = \"health\"\nurl = \"https://hooks.example.com/x\"\n";
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    let state = dir.log().join("audit.alerts.json");
    let elsewhere = dir.path().join("elsewhere.json");
    std::fs::write(&elsewhere, "{}").expect("written");
    for link in [false, true] {
        let _ = std::fs::remove_file(&state);
        if link {
            std::os::unix::fs::symlink(&elsewhere, &state).expect("a link");
        } else {
            pipe(&state);
        }
        let (_, out, err) = ended(&dir, &["health", "--json"]);
        let report: Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        let checks = report["checks"].as_array().expect("checks");
        let status = |name: &str| {
            let check = checks.iter().find(|check| check["component"] == name);
            check.unwrap_or_else(|| panic!("{name} in {report}"))["status"].clone()
        };
        assert_ne!(status("integrity"), "unknown", "{report}");
        assert_ne!(status("log_file"), "unknown", "{report}");
        assert_ne!(status("alerts"), "healthy", "{report}");
        let said = report.to_string();
        assert!(said.contains("audit.alerts.json"), "{report}");
        assert!(
            said.contains(if link { "symbolic link" } else { "not a regular file" }),
            "{report}"
        );
    }
}

#[test]
fn a_pipe_that_the_settings_name_is_said_at_the_start_and_at_a_reload() {
    let cases: &[(&str, &str)] = &[
        #[cfg(feature = "tls")]
        ("certificate", "[collector]\ntls_cert = \"PIPE\"\ntls_key = \"PIPE\"\n"),
        ("token", "[collector]\ntoken_file = \"PIPE\"\n"),
        #[cfg(feature = "alerts")]
        (
            "push",
            "[collector]\ncheckpoint_push_url = \"https://hooks.example.com/x\"\n\
                  checkpoint_push_secret_file = \"PIPE\"\n",
        ),
        #[cfg(feature = "alerts")]
        (
            "secret",
            "[[alerts]]\nname = \"ops\"\non = \"health\"\n\
                    url = \"https://hooks.example.com/x\"\nsecret_file = \"PIPE\"\n",
        ),
        #[cfg(feature = "alerts")]
        ("url", "[[alerts]]\nname = \"ops\"\non = \"health\"\nurl_file = \"PIPE\"\n"),
        ("key", "key_path = \"PIPE\"\n"),
    ];
    for (what, settings) in cases {
        let dir = Dir::new();
        pipe(&dir.path().join("PIPE"));
        std::fs::set_permissions(
            dir.path().join("PIPE"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("mode");
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        let (code, _, err) = ended(&dir, &["serve", "--http", "127.0.0.1:0"]);
        assert!([2, 3].contains(&code), "{what}: {code} {err}");
        assert!(err.contains("PIPE"), "{what}: {err}");
    }
    // At a reload what was good stays, and events are taken.
    for (what, settings) in cases.iter().filter(|(what, _)| ["secret", "url"].contains(what)) {
        let dir = Dir::new();
        let good =
            if *what == "url" { "https://hooks.example.com/x\n" } else { "sixteen-characters\n" };
        let file = dir.path().join("PIPE");
        std::fs::write(&file, good).expect("written");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("mode");
        let collector = Serving::start(&dir, settings);
        std::fs::remove_file(&file).expect("removed");
        pipe(&file);
        collector.signal(rustix::process::Signal::HUP);
        eventually("it is said", || collector.stderr().contains("PIPE"));
        let answer = collector.connect().ask("{\"event_type\":\"login\"}");
        assert!(answer["ok"].is_object(), "{what}: {answer}");
        collector.terminate();
    }
}

#[test]
fn what_somebody_names_to_be_read_now_may_be_a_pipe() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    let given = dir.path().join("given");
    pipe(&given);
    let (from, to) = (dir.log().join("audit.checkpoint"), given.clone());
    let writer = std::thread::spawn(move || {
        let checkpoint = std::fs::read(from)?;
        std::fs::write(to, checkpoint)
    });
    let (code, out, err) = ended(&dir, &["verify", "--against", "given"]);
    writer.join().expect("ended").expect("written");
    assert_eq!(code, 0, "{out}{err}");
}
