//! `health` and the command line around it: what scripts see on stdout, on
//! stderr, and as exit code.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Dir, open, options};

/// The program, with nothing of this machine's settings.
fn program(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("auditctl"));
    command.env_clear().env("HOME", dir.path()).env("COLUMNS", "100").env("NO_COLOR", "1");
    command.current_dir(dir.path()).stdin(Stdio::null()).args(args);
    command
}

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn json(&self) -> Value {
        let text = &self.stdout;
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("auditctl runs");
    Said {
        code: output.status.code().expect("not killed"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn run(dir: &Dir, args: &[&str]) -> Said {
    said(&mut program(dir, args))
}

fn settings(dir: &Dir, text: &str) {
    std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
}

fn files(path: &Path) -> usize {
    std::fs::read_dir(path).expect("directory").count()
}

#[test]
fn no_log_yet_is_unknown_in_every_format_and_nothing_is_made() {
    let dir = Dir::new();
    let human = run(&dir, &["health"]);
    assert_eq!(human.code, 3);
    assert!(human.stdout.contains("no log yet") && human.stdout.contains("auditctl serve"));

    let json = run(&dir, &["health", "--json"]);
    let document = json.json();
    assert_eq!((json.code, &document["status"]), (3, &Value::from("unknown")));
    assert_eq!(document["metadata"]["state"], "no_log");
    assert_eq!(document["metadata"]["audit_file"], "logs/audit.log");
    assert_eq!(document["uptime_seconds"], Value::Null);

    let nagios = run(&dir, &["health", "--format", "nagios"]);
    assert_eq!(nagios.code, 3);
    assert!(nagios.stdout.starts_with("AUDIT UNKNOWN - worker_thread.no_log: no log yet"));

    let prometheus = run(&dir, &["health", "--format", "prometheus"]);
    assert_eq!(prometheus.code, 3);
    assert!(prometheus.stdout.contains("auditctl_health_status{component=\"worker_thread\"} 3"));
    assert_eq!(files(dir.path()), 0, "nothing was made");
}

#[test]
fn a_log_open_in_another_process_is_seen_running_and_then_stopped() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let json = run(&dir, &["health", "--json"]);
    let document = json.json();
    assert_eq!((json.code, &document["status"]), (0, &Value::from("healthy")), "{document}");
    assert_eq!(document["summary"]["healthy"], 9);
    assert_eq!(document["metadata"]["pid"], std::process::id());
    assert_eq!(document["metadata"]["mode"], "library");
    let nagios = run(&dir, &["health", "--format", "nagios"]);
    assert!(nagios.stdout.starts_with("AUDIT OK - 9 checks healthy | 'write_buffer'=0;500;800;0;"));
    assert_eq!(nagios.stdout.lines().count(), 1);

    log.close().expect("close");
    drop(log);
    let stopped = run(&dir, &["health", "--json"]);
    assert_eq!(stopped.code, 1);
    let document = stopped.json();
    assert_eq!(document["metadata"]["state"], "stopped");
    assert_eq!(document["summary"]["warning"], 1, "{document}");
    let expected = said(program(&dir, &["health"]).env("AUDITCTL_EXPECT_RUNNING", "false"));
    assert_eq!(expected.code, 0, "{}", expected.stdout);
}

#[test]
fn health_takes_the_log_directory_and_its_limits_from_the_settings() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let elsewhere = run(&dir, &["--log-dir", "elsewhere", "health", "--json"]);
    assert_eq!(
        (elsewhere.code, &elsewhere.json()["metadata"]["log_dir"]),
        (3, &"elsewhere".into())
    );
    settings(&dir, "[health]\nlog_bytes_warn = \"1B\"\nlog_bytes_critical = \"2B\"\n");
    let large = run(&dir, &["health", "--format", "nagios"]);
    assert_eq!(large.code, 2, "{}", large.stdout);
    assert!(large.stdout.starts_with("AUDIT CRITICAL - log_file.large: "), "{}", large.stdout);
    log.close().expect("close");
}

#[test]
fn a_wrong_command_line_is_unknown_for_health_and_two_for_the_rest() {
    let dir = Dir::new();
    for wrong in [
        &["health", "--wrong"][..],
        &["health", "--format", "nope"],
        &["health", "--watch", "0"],
        &["health", "extra"],
        &["--log-dir", "record", "health", "--wrong"],
    ] {
        let said = run(&dir, wrong);
        assert_eq!(said.code, 3, "{wrong:?}");
        assert!(said.stdout.starts_with("AUDIT UNKNOWN - ") && said.stdout.lines().count() == 1);
        assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
    }
    for wrong in [
        &["healt"][..],
        &["record", "--wrong"],
        &["completions"],
        &["completions", "nosuchshell"],
        &["--log-dir", "health", "man", "--wrong"],
        &[],
    ] {
        let said = run(&dir, wrong);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(!said.stderr.is_empty());
    }
    let said = run(&dir, &["health", "--json", "--format", "nagios"]);
    assert_eq!((said.code, &said.json()["error"]["kind"]), (3, &"usage".into()));
}

#[test]
fn with_json_a_failure_is_one_document_with_every_promised_key() {
    let dir = Dir::new();
    settings(&dir, "write_bufer_size = 5\n");
    for (args, code, kind) in [
        (&["health", "--json", "--wrong"][..], 3, "usage"),
        (&["health", "--json"], 3, "config"),
        (&["health", "--format=json"], 3, "config"),
        (&["completions", "--json"], 2, "usage"),
        (&["--json"], 2, "usage"),
        (&["record", "--json", "--type", "x"], 2, "config"),
        (&["--config", "none.toml", "record", "--json", "--type", "x"], 2, "config"),
    ] {
        let said = run(&dir, args);
        assert_eq!(said.code, code, "{args:?}");
        let error = &said.json()["error"];
        assert_eq!(error["kind"], kind, "{args:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert!(error["causes"].is_array() && error["hint"].is_string(), "{args:?}: {error}");
        assert!(error.get("path").is_some(), "{args:?}");
        assert!(!said.stderr.is_empty(), "{args:?}: people are told, too");
    }
}

#[test]
fn all_problems_of_the_settings_are_shown_with_their_place() {
    let dir = Dir::new();
    settings(&dir, "write_bufer_size = 5\ncompression_level = 12\n");
    let said = said(program(&dir, &["record", "--type", "x"]).env("AUDITCTL_NOSUCH", "1"));
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    for part in ["auditctl.toml:1", "write_buffer_size", "auditctl.toml:2", "AUDITCTL_NOSUCH"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    let plugin = run(&dir, &["health"]);
    assert!(plugin.stdout.starts_with("AUDIT UNKNOWN - "), "{}", plugin.stdout);
    assert_eq!((plugin.code, plugin.stdout.lines().count()), (3, 1));
    let textfile = run(&dir, &["health", "--format", "prometheus"]);
    assert_eq!((textfile.code, textfile.stdout.as_str()), (3, ""), "metrics or nothing");
}

#[test]
fn flags_of_the_kernels_auditctl_are_pointed_to_it_and_print_nothing_on_stdout() {
    let dir = Dir::new();
    let letters = ["-s", "-l", "-D", "-R", "-w", "-a", "-e", "-f", "-r", "-b", "-d", "-A", "-W"];
    for first in letters.into_iter().chain(["-k", "-q", "-t", "-v", "-e0", "--signal"]) {
        for args in [&[first][..], &[first, "/etc/audit/audit.rules"], &[first, "--json"]] {
            let said = run(&dir, args);
            assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{args:?}");
            assert!(said.stderr.contains("/sbin/auditctl"), "{args:?}: {}", said.stderr);
        }
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let dir = Dir::new();
    for (args, code) in [(&["completions", "bash"][..], 0), (&["man"], 0), (&["health"], 3)] {
        let mut child = program(&dir, args).stdout(Stdio::piped()).spawn().expect("runs");
        drop(child.stdout.take());
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_full_stdout_is_a_failure_that_is_told_on_stderr() {
    let dir = Dir::new();
    for args in [&["completions", "bash"][..], &["man"], &["health"], &["health", "--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let said = said(program(&dir, args).stdout(full));
        assert_eq!(said.code, 3, "{args:?}");
        assert!(said.stderr.contains("standard output"), "{args:?}: {}", said.stderr);
    }
    for args in [&["--version"][..], &["--help"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        assert_eq!(said(program(&dir, args).stdout(full)).code, 3, "{args:?}");
    }
}

#[test]
fn the_version_needs_no_settings() {
    let dir = Dir::new();
    settings(&dir, "this is no TOML");
    let said = run(&dir, &["--version"]);
    assert_eq!(said.code, 0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    let first = format!("auditctl {} (", env!("CARGO_PKG_VERSION"));
    assert!(lines.len() == 3 && lines[0].starts_with(&first), "{}", said.stdout);
    let features = lines[1].strip_prefix("features: ").expect("what is in this build");
    assert_eq!(features.split(", ").any(|name| name == "tls"), cfg!(feature = "tls"), "{features}");
    assert!(lines[2].starts_with(&format!("target: {}-", std::env::consts::ARCH)));
    let short = run(&dir, &["-V"]);
    assert_eq!(short.stdout, format!("auditctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn watching_prints_a_document_a_line_until_it_is_interrupted() {
    let dir = Dir::new();
    let mut child = program(&dir, &["health", "--json", "--watch", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let lines: Vec<String> = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .take(3)
        .map(|line| line.expect("line"))
        .collect();
    let times: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect(line)["timestamp"].clone())
        .collect();
    assert!(times[0].as_str() < times[1].as_str() && times[1].as_str() < times[2].as_str());
    // Its reader is gone now: it ends by itself, with the last status.
    assert_eq!(child.wait().expect("ends").code(), Some(3));

    let mut child =
        program(&dir, &["health", "--watch", "0.1"]).stdout(Stdio::piped()).spawn().expect("runs");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("line");
    assert!(line.contains("AUDIT UNKNOWN - worker_thread.no_log: no log yet"), "{line}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let status = child.wait().expect("ends");
    // 130 to a shell: 128 + SIGINT.
    assert_eq!(status.signal(), Some(2));

    let said = run(&dir, &["health", "--watch", "1", "--format", "prometheus"]);
    assert_eq!((said.code, said.stdout.as_str()), (3, ""));
}

#[test]
fn completions_and_manual_pages_are_made_from_the_command_tree() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run(&dir, &["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(said.stdout.contains("health") && said.stdout.contains("watch"), "{shell}");
        let json = run(&dir, &["completions", shell, "--json"]).json();
        assert_eq!(json["script"].as_str(), Some(said.stdout.as_str()), "{shell}");
    }
    let page = run(&dir, &["man"]);
    assert!(page.stdout.contains(".TH auditctl 1"), "{}", page.stdout);
    let json = run(&dir, &["man", "--dir", "pages", "--json"]).json();
    let written = json["written"].as_array().expect("written").len();
    assert_eq!(written, files(&dir.path().join("pages")));
    let health = std::fs::read_to_string(dir.path().join("pages/auditctl-health.1")).expect("page");
    assert!(health.contains(".TH auditctl-health 1"));
    assert!(health.contains("Takes no lock"), "the long help is in it");
}

#[test]
fn colour_is_only_where_it_was_asked_for() {
    let dir = Dir::new();
    let plain = run(&dir, &["health"]);
    assert!(!plain.stdout.contains('\x1b'));
    let always = run(&dir, &["health", "--color", "always"]);
    assert!(always.stdout.starts_with("\x1b["));
    assert!(!run(&dir, &["health", "--color", "never"]).stdout.contains('\x1b'));
}

#[test]
fn a_pipe_in_the_status_pages_place_is_told_at_once() {
    let dir = Dir::new();
    std::fs::create_dir(dir.log()).expect("directory");
    settings(&dir, "[health]\ndeadline = \"60s\"\n");
    // Opening a pipe waits for a writer, unless it is asked not to.
    let made = Command::new("mkfifo").arg(dir.log().join("audit.status")).status();
    assert!(made.expect("mkfifo").success());
    let said = run(&dir, &["health", "--json"]);
    let text = said.json().to_string();
    assert!(text.contains("is not a regular file"), "{text}");
    assert_ne!(said.code, 0, "{text}");
}
