//! `monitor`: printed, as JSON, and live in a real terminal (tmux).

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, eventually, missing, run};

fn once(dir: &Dir) -> Value {
    let (code, stdout, stderr) = run(dir, &["monitor", "--once", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).expect("one JSON document")
}

fn state(dir: &Dir) -> String {
    once(dir)["writer"]["state"].as_str().expect("state").to_owned()
}

#[test]
fn once_prints_eighty_columns_of_plain_text_whatever_the_writers_state() {
    let dir = Dir::new();
    let print = |said: &str| {
        let (code, stdout, stderr) = run(&dir, &["monitor", "--once"]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        assert!(stdout.contains(said), "{said}: {stdout}");
        assert!(stdout.is_ascii(), "this environment's locale is not UTF-8: {stdout}");
        assert!(!stdout.contains(|c: char| c.is_control() && c != '\n'), "{stdout:?}");
        assert!(stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    };
    print("no log yet");
    assert!(!dir.log().exists(), "looking makes nothing");
    let collector = Serving::start(&dir, "");
    print("running (pid");
    collector.kill_nine();
    print("died");
    Serving::start(&dir, "").terminate();
    print("stopped cleanly");
    let output = auditctl(&dir, &["monitor", "--once"]).env("LC_ALL", "C.UTF-8").output();
    let text = String::from_utf8(output.expect("monitor").stdout).expect("UTF-8");
    assert!(text.contains('░') && text.contains('▁'), "{text}");
}

#[test]
fn the_rate_is_what_was_sent_in_the_last_minute() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let mut peer = collector.connect();
    // At once: what takes long would not be of one minute.
    peer.send(&"{\"event_type\":\"login\",\"source\":\"web\"}\n".repeat(600));
    for _ in 0..600 {
        assert!(peer.answer().expect("an answer")["ok"]["seq"].is_u64());
    }
    eventually("the second in which the last one came is over", || {
        let sample = once(&dir);
        let seconds = sample["events"]["last_60_seconds"].as_array().expect("seconds").clone();
        seconds.iter().map(|count| count.as_u64().expect("a number")).sum::<u64>() == 600
    });
    let events = &once(&dir)["events"];
    assert_eq!(events["total"], 600);
    assert_eq!(events["per_second"], 10.0);
    let buffer = &once(&dir)["write_buffer"];
    assert_eq!((&buffer["events"], &buffer["status"]), (&0.into(), &"healthy".into()));
}

#[cfg(feature = "alerts")]
#[test]
fn alerts_that_are_set_have_a_line() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    assert_eq!(once(&dir)["alerts"], Value::Null);
    collector.terminate();
    let receiver = crate::receiver::Receiver::start();
    let settings = crate::alerts::alerting(receiver.address)
        + &format!(
            "[[alerts]]\nname = \"logins\"\non = \"event\"\ntype = [\"login\"]\nurl = \"{}\"\n",
            receiver.url()
        );
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    assert!(peer.ask(r#"{"event_type":"login"}"#)["ok"]["seq"].is_u64());
    eventually("it is told", || once(&dir)["alerts"]["delivered"] == 1);
    let alerts = &once(&dir)["alerts"];
    assert_eq!((&alerts["queued"], &alerts["failed"]), (&0.into(), &0.into()), "{alerts}");
    let (_, stdout, _) = run(&dir, &["monitor", "--once"]);
    assert!(stdout.contains("\nalerts      0 queued  1 delivered  0 failed\n"), "{stdout}");
}

#[test]
fn it_says_which_of_hung_died_and_stopped() {
    let dir = Dir::new();
    let settings = "[health]\nhung_after = \"1s\"\n";
    let collector = Serving::start(&dir, settings);
    eventually("running", || state(&dir) == "running");
    collector.signal(Signal::STOP);
    eventually("hung", || state(&dir) == "hung");
    collector.signal(Signal::CONT);
    eventually("running again", || state(&dir) == "running");
    collector.kill_nine();
    assert_eq!(state(&dir), "died");
    let collector = Serving::start(&dir, settings);
    let last = once(&dir)["events"]["records"].clone();
    collector.terminate();
    assert_eq!(state(&dir), "stopped");
    let sample = once(&dir);
    assert_eq!(sample["writer"]["is_current"], false);
    assert!(sample["events"]["records"].as_u64() > last.as_u64(), "the last known values");
}

#[test]
fn json_without_once_is_a_line_a_sample_until_the_reader_has_had_enough() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "");
    let mut child = auditctl(&dir, &["monitor", "--json", "--refresh", "0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("monitor");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line").expect("read");
        let sample: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(sample["writer"]["state"], "running");
    }
    drop(lines);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_cannot_be_shown_is_said_before_anything_is_looked_at() {
    let dir = Dir::new();
    for refresh in ["0", "0.05", "-1", "3601", "soon"] {
        let (code, _, stderr) = run(&dir, &["monitor", "--once", "--refresh", refresh]);
        assert_eq!(code, 2, "{refresh}: {stderr}");
        assert!(stderr.contains("0.1 to 3600"), "{stderr}");
    }
    let (code, stdout, stderr) = run(&dir, &["monitor"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("terminal") && stderr.contains("--once"), "{stderr}");
}

/// A shell in a terminal of tmux.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn open(dir: &Dir) -> Option<Self> {
        Self::running(dir, "env PS1='$ ' /bin/sh")
    }

    fn running(dir: &Dir, program: &str) -> Option<Self> {
        let socket = dir.path().join("tmux").to_str().expect("utf-8").to_owned();
        let terminal = Self { socket };
        let mut command = terminal.command(&["-f", "/dev/null", "new-session", "-d"]);
        command.args(["-x", "80", "-y", "24", program]);
        command.current_dir(dir.path());
        match command.status() {
            Ok(status) => {
                assert!(status.success());
                Some(terminal)
            }
            Err(_) => {
                missing("tmux");
                None
            }
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        command.args(["-u", "-S", &self.socket]).args(args);
        command
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("tmux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn shows(&self, text: &str) {
        let mut last = String::new();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while std::time::Instant::now() < until {
            last = self.screen();
            if last.contains(text) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("never shown: {text}\n{last}");
    }

    /// What the shell finds the terminal to be after the view has gone.
    fn is_sane(&self) {
        self.line(
            "stty -a | tr ';' '\\n' | grep -o '[-]*icanon\\|[-]*echo ' | tr '\\n' ' '; echo end",
        );
        self.shows("icanon echo  end");
        assert!(!self.screen().contains("-icanon"), "{}", self.screen());
        let cursor = self.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
        assert_eq!(cursor.trim(), "1 0", "the cursor shows, the shell's own screen is back");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}

#[test]
fn live_in_a_terminal_it_follows_the_writer_and_any_resize_and_leaves_it_sane() {
    let dir = Dir::new();
    let Some(terminal) = Terminal::open(&dir) else { return };
    let settings = "[rate_limit]\nenabled = false\n[health]\nhung_after = \"1s\"\n";
    let collector = Serving::start(&dir, settings);
    let program = env!("CARGO_BIN_EXE_auditctl");
    let drawn = dir.path().join("drawn");
    terminal.tmux(&["pipe-pane", "-o", &format!("cat > {}", drawn.display())]);
    terminal.line(&format!("{program} monitor --refresh 0.1; echo left with $?"));
    terminal.shows("running (pid");
    terminal.shows("q quit");

    let mut peer = collector.connect();
    for _ in 0..250 {
        peer.ask(r#"{"event_type":"login","source":"web"}"#);
    }
    terminal.shows("250 since opened");
    for (columns, rows) in [("40", "10"), ("132", "50"), ("20", "5"), ("80", "24")] {
        terminal.tmux(&["resize-window", "-x", columns, "-y", rows]);
        terminal.shows("q quit");
        let widest: usize = columns.parse().expect("number");
        let screen = terminal.screen();
        assert!(screen.lines().all(|line| line.chars().count() <= widest), "{screen}");
    }
    terminal.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    terminal.shows("250 total");
    collector.signal(Signal::STOP);
    terminal.shows("hung");
    collector.signal(Signal::CONT);
    terminal.shows("running");
    collector.kill_nine();
    terminal.shows("died");
    terminal.tmux(&["send-keys", "q"]);
    terminal.shows("left with 0");
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.is_sane();
    // A screen that is cleared to be drawn again flickers: only a resize may.
    let drawn = std::fs::read(&drawn).expect("what was drawn");
    let clears = drawn.windows(4).filter(|bytes| *bytes == b"\x1b[2J").count();
    assert!(clears <= 8, "{clears} clears of the screen");
}

#[test]
fn live_keys_lead_to_the_newest_records_and_what_was_refused_and_to_the_way_out_of_a_finding() {
    let dir = Dir::new();
    let Some(terminal) = Terminal::open(&dir) else { return };
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    for actor in ["alice", "bob", "alice"] {
        peer.ask(&format!(r#"{{"event_type":"login","actor":"{actor}","source":"web"}}"#));
    }
    // Refused, and a security event.
    peer.ask(r#"{"event_type":"audit.forged"}"#);
    let program = env!("CARGO_BIN_EXE_auditctl");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.line(&format!("{program} monitor --refresh 0.1; echo left with $?"));
    terminal.shows("[1 now]");
    let key = |key: &str| terminal.tmux(&["send-keys", key]);
    key("2");
    terminal.shows("newest records, of");
    terminal.shows("bob");
    terminal.shows("invalid 1");
    terminal.shows("validation");
    key("/");
    terminal.shows("filter: _");
    terminal.tmux(&["send-keys", "-l", "actor=bob"]);
    terminal.shows("filter: actor=bob_");
    key("Enter");
    terminal.shows("newest records with \"actor=bob\"");
    eventually("only what the filter takes", || {
        let screen = terminal.screen();
        screen.contains("bob") && !screen.contains("alice")
    });
    // What comes now is shown without a key, unless it is paused.
    peer.ask(r#"{"event_type":"logout","actor":"bob"}"#);
    terminal.shows("logout");
    key("p");
    terminal.shows("PAUSED for");
    key("p");
    eventually("it goes on", || !terminal.screen().contains("PAUSED"));
    key("?");
    terminal.shows("PgDn");
    key("Escape");
    collector.kill_nine();
    key("3");
    terminal.shows("[3 findings]");
    terminal.shows("worker_thread.died");
    terminal.shows("    -> ");
    key("4");
    terminal.shows("no backups are known here");
    terminal.tmux(&["resize-window", "-x", "160", "-y", "50"]);
    key("1");
    terminal.shows("events a second");
    terminal.shows("newest records with");
    key("q");
    terminal.shows("left with 0");
    terminal.is_sane();
}

#[test]
fn live_it_is_left_by_escape_control_c_and_signals_and_the_terminal_is_sane() {
    let dir = Dir::new();
    let Some(terminal) = Terminal::open(&dir) else { return };
    let program = env!("CARGO_BIN_EXE_auditctl");
    for (nth, leave) in ["Escape", "C-c", "TERM", "HUP"].into_iter().enumerate() {
        terminal.line(&format!("clear; {program} monitor; echo left {nth} with $?"));
        terminal.shows("q quit");
        if matches!(leave, "TERM" | "HUP") {
            // By its directory, which no other test's has.
            let script = format!(
                "for p in $(pgrep -x auditctl); do [ \"$(readlink /proc/$p/cwd)\" = '{}' ] && kill -{leave} $p; done",
                dir.path().canonicalize().expect("path").display()
            );
            Command::new("/bin/sh").args(["-c", &script]).status().expect("sh");
        } else {
            terminal.tmux(&["send-keys", leave]);
        }
        terminal.shows(&format!("left {nth} with 0"));
        terminal.is_sane();
    }
}

#[test]
fn it_ends_with_its_terminal() {
    let dir = Dir::new();
    let program = format!("exec {} monitor", env!("CARGO_BIN_EXE_auditctl"));
    let Some(terminal) = Terminal::running(&dir, &program) else { return };
    terminal.shows("q quit");
    let pid = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    // One that has ended may be there until somebody asks how.
    let stat = std::path::Path::new("/proc").join(pid.trim()).join("stat");
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "));
    assert!(lives());
    terminal.tmux(&["kill-server"]);
    eventually("the process has gone", || !lives());
}
