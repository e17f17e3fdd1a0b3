//! What the program advises leads out: whatever was damaged or set wrong, doing what the
//! hint says, and again, ends with a log that is healthy, and nothing acknowledged is gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use regex::Regex;
use serde_json::Value;

use crate::backups::{Home, copy_dir, names, read};
use crate::support::{all_lines, auditctl, eventually, run};

/// So often what is advised is followed.
const FOLLOWED: usize = 4;

/// A place where an operator works.
struct Place {
    home: Home,
    settings: PathBuf,
    told: Vec<String>,
    tried: BTreeSet<String>,
    /// What a command that did not do all of it has advised.
    said: Option<String>,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let settings = home.dir.path().join("auditctl.toml");
        let mut place =
            Self { home, settings, told: Vec::new(), tried: BTreeSet::new(), said: None };
        place.set("");
        place
    }

    /// The settings, and a line more.
    fn set(&mut self, line: &str) {
        let (log, backups) = (self.home.log_dir(), self.home.backups().path().to_path_buf());
        let text = format!(
            "log_dir = {log:?}\nexpect_running = false\n{line}\n[backup]\noutput_dir = {backups:?}\n\
             [health]\ndrill_age_warn = \"0s\"\n[collector]\nhttp = \"127.0.0.1:0\"\n"
        );
        std::fs::write(&self.settings, text).expect("written");
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let config = self.settings.to_str().expect("text");
        [&["--config", config], args].concat()
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(&self.home.dir, &self.args(args))
    }

    /// What an operator's night does; the advice of the first that is not content.
    fn look(&self) -> Result<(), String> {
        let (code, out, err) = self.run(&["record", "--type", "probe", "--json"]);
        if code != 0 {
            return Err(
                advice_of_error(&out).unwrap_or_else(|| format!("record says nothing: {out}{err}"))
            );
        }
        let (code, out, err) = self.run(&["verify"]);
        if code != 0 {
            let lines = out.lines().chain(err.lines());
            let next: Vec<&str> =
                lines.filter(|line| line.starts_with("next:") || line.contains("hint")).collect();
            return Err(if next.is_empty() {
                format!("verify says nothing: {out}{err}")
            } else {
                next.join(" ")
            });
        }
        let (code, out, err) = self.run(&["backup", "--json"]);
        if code != 0 {
            return Err(
                advice_of_error(&out).unwrap_or_else(|| format!("backup says nothing: {out}{err}"))
            );
        }
        let (code, out, err) = self.run(&["health", "--json"]);
        if code != 0 {
            let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
            let checks = report["checks"].as_array().expect("checks");
            let bad = checks.iter().filter(|check| check["status"] != "healthy");
            let hints: Vec<&str> = bad.filter_map(|check| check["hint"].as_str()).collect();
            return Err(format!("{} {out}", hints.join(" ")));
        }
        Ok(())
    }

    /// Does the first thing that is advised and was not done yet.
    fn follow(&mut self, advice: &str) {
        let command = Regex::new("`(auditctl [^`]*)`").expect("a pattern");
        let away = Regex::new(r"move (\S+\.json) away").expect("a pattern");
        let mut wanted: Vec<String> =
            command.captures_iter(advice).map(|found| found[1].to_owned()).collect();
        wanted.extend(away.captures_iter(advice).map(|found| format!("move {}", &found[1])));
        if advice.contains("start the collector") || advice.contains("the next start") {
            wanted.push("auditctl serve".to_owned());
        }
        wanted.retain(|wanted| {
            !self.tried.contains(wanted) && !wanted.contains("FILE") && !wanted.contains("…")
        });
        let Some(wanted) = wanted.into_iter().next() else {
            panic!("nothing is advised that was not done: {advice}\n{:#?}", self.told);
        };
        self.tried.insert(wanted.clone());
        self.told.push(wanted.clone());
        if let Some(name) = wanted.strip_prefix("move ") {
            let path = self.home.log_dir().join(name);
            std::fs::rename(&path, self.home.dir.path().join("moved-away")).expect("moved");
            return;
        }
        let text = wanted.replace("TEXT", "lost").replace("--reason REASON", "--reason lost");
        let mut words: Vec<&str> = text.split_whitespace().skip(1).collect();
        if words.first() == Some(&"serve") {
            return self.serve(&words);
        }
        if words.first() == Some(&"restore") && !words.contains(&"--force") {
            // Somebody at a terminal is asked.
            words.push("--force");
        }
        let (code, out, err) = self.run(&words);
        let lines = out.lines().chain(err.lines());
        let next: Vec<&str> =
            lines.filter(|line| line.contains("next:") || line.contains("hint:")).collect();
        self.said = Some(next.join(" ")).filter(|said| code != 0 && !said.is_empty());
        let said: String = format!("{code}: {out}{err}").chars().take(400).collect();
        self.told.push(said);
    }

    /// Starts the collector, and stops it once it has the log.
    fn serve(&mut self, words: &[&str]) {
        let mut child: Child = auditctl(&self.home.dir, &self.args(words))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        let socket = self.home.log_dir().join("audit.sock");
        eventually("the collector runs, or has ended", || {
            socket.exists() || child.try_wait().expect("a child").is_some()
        });
        if child.try_wait().expect("a child").is_none() {
            let pid = i32::try_from(child.id()).expect("a pid");
            let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        }
        let status = child.wait().expect("ended");
        self.told.push(format!("serve: {status}"));
    }
}

fn advice_of_error(out: &str) -> Option<String> {
    let value: Value = serde_json::from_str(out).ok()?;
    let hint = value["error"]["hint"].as_str()?;
    Some(format!("{hint} ({})", value["error"]["message"]))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = read(path);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

fn sealed(home: &Home) -> Vec<PathBuf> {
    let names = names(&home.log_dir());
    let is_sealed = |name: &&String| name.ends_with(".log.gz");
    names.iter().filter(is_sealed).map(|name| home.log_dir().join(name)).collect()
}

fn falsify_active(home: &Home) {
    let path = home.log_dir().join("audit.log");
    let text = String::from_utf8(read(&path)).expect("text");
    flip(&path, text.find("user-").expect("an event"));
}

fn remove(home: &Home, name: &str) {
    std::fs::remove_file(home.log_dir().join(name)).expect("removed");
}

/// Where the records that a state takes away are still.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    /// In the log, in the end.
    All,
    /// Not in the log: given up, named for ever.
    AllButDamaged,
}

fn segment(home: &Home) -> PathBuf {
    let path = sealed(home).swap_remove(1);
    std::fs::remove_file(&path).expect("removed");
    path
}

fn no_heads(place: &mut Place) {
    remove(&place.home, "audit.checkpoint");
    remove(&place.home, "audit.head");
}

type State = (&'static str, bool, Keeps, fn(&mut Place));

/// What there is, whether it was backed up before, what is left in the end, and what
/// happened.
const STATES: &[State] = &[
    ("nothing", true, Keeps::All, |_| {}),
    ("a damaged segment", true, Keeps::All, |place| flip(&sealed(&place.home)[1], 700)),
    ("a damaged segment and no backup", false, Keeps::AllButDamaged, |place| {
        flip(&sealed(&place.home)[1], 700);
    }),
    ("a segment that is gone", true, Keeps::All, |place| {
        std::fs::remove_file(&sealed(&place.home)[1]).expect("removed");
    }),
    ("a segment that is gone and no backup", false, Keeps::AllButDamaged, |place| {
        std::fs::remove_file(&sealed(&place.home)[1]).expect("removed");
    }),
    ("a damaged active segment", true, Keeps::All, |place| falsify_active(&place.home)),
    ("a damaged active segment and no backup", false, Keeps::AllButDamaged, |place| {
        falsify_active(&place.home);
    }),
    ("a cut active segment", true, Keeps::All, |place| {
        let path = place.home.log_dir().join("audit.log");
        let bytes = read(&path);
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("cut");
    }),
    ("no manifest", true, Keeps::All, |place| remove(&place.home, "audit.manifest.json")),
    ("a manifest that is none", true, Keeps::All, |place| {
        let path = place.home.log_dir().join("audit.manifest.json");
        std::fs::write(path, b"{").expect("written");
    }),
    ("no manifest and a damaged segment", true, Keeps::All, |place| {
        remove(&place.home, "audit.manifest.json");
        flip(&sealed(&place.home)[1], 700);
    }),
    ("no checkpoint", true, Keeps::All, |place| remove(&place.home, "audit.checkpoint")),
    ("a damaged checkpoint", true, Keeps::All, |place| {
        flip(&place.home.log_dir().join("audit.checkpoint"), 90);
    }),
    ("no head", true, Keeps::All, |place| remove(&place.home, "audit.head")),
    ("no public key", true, Keeps::All, |place| remove(&place.home, "audit.pub")),
    ("a public key that is none", true, Keeps::All, |place| {
        std::fs::write(place.home.log_dir().join("audit.pub"), b"nothing").expect("written");
    }),
    ("no private key", true, Keeps::All, |place| remove(&place.home, "audit.key")),
    ("no chain of keys", true, Keeps::All, |place| {
        assert_eq!(place.run(&["key", "rotate"]).0, 0);
        assert_eq!(place.run(&["backup"]).0, 0);
        remove(&place.home, "audit.keys");
    }),
    ("no chain of keys and no backup", false, Keeps::All, |place| {
        assert_eq!(place.run(&["key", "rotate"]).0, 0);
        remove(&place.home, "audit.keys");
    }),
    ("an old copy that was put back", true, Keeps::All, |place| {
        let old = place.home.dir.path().join("old");
        copy_dir(&place.home.log_dir(), &old);
        place.home.record(5);
        assert_eq!(place.run(&["backup"]).0, 0);
        std::fs::remove_dir_all(place.home.log_dir()).expect("removed");
        copy_dir(&old, &place.home.log_dir());
        let key = place.home.log_dir().join("audit.key");
        auditctl::fsio::os::set_mode(&key, 0o600).expect("mode");
    }),
    ("a journal of a restore that nobody made", true, Keeps::All, |place| {
        std::fs::write(place.home.log_dir().join("audit.restore.json"), b"{}").expect("written");
    }),
    ("a killed writer", true, Keeps::All, |place| {
        let path = place.home.log_dir().join("audit.log");
        let mut bytes = read(&path);
        bytes.extend_from_slice(b"{\"seq\":");
        std::fs::write(path, bytes).expect("written");
    }),
    ("a directory in a segment's place", true, Keeps::All, |place| {
        std::fs::create_dir(segment(&place.home)).expect("made");
    }),
    ("a FIFO in a segment's place", true, Keeps::All, |place| {
        let path = segment(&place.home);
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo").success());
    }),
    ("a link in a segment's place", true, Keeps::All, |place| {
        std::os::unix::fs::symlink("elsewhere", segment(&place.home)).expect("linked");
    }),
    ("no active segment", true, Keeps::All, |place| remove(&place.home, "audit.log")),
    ("zeros behind the active segment", true, Keeps::All, |place| {
        let path = place.home.log_dir().join("audit.log");
        let file = std::fs::OpenOptions::new().append(true).open(path).expect("open");
        let length = file.metadata().expect("length").len();
        file.set_len(length + (70 << 20)).expect("longer");
    }),
    ("neither checkpoint nor head", true, Keeps::All, no_heads),
    ("neither checkpoint nor head, and no backup", false, Keeps::All, no_heads),
    ("an empty private key", true, Keeps::All, |place| {
        std::fs::write(place.home.log_dir().join("audit.key"), b"").expect("written");
    }),
    ("an altered private key", true, Keeps::All, |place| {
        flip(&place.home.log_dir().join("audit.key"), 3);
    }),
    ("a chain of keys that somebody put there", true, Keeps::All, |place| {
        let path = place.home.log_dir().join("audit.keys");
        std::fs::write(path, b"{}").expect("written");
    }),
    ("an unknown setting", true, Keeps::All, |place| place.set("retention_dayz = 30")),
];

/// B8 and all that is like it.
#[test]
fn doing_what_is_advised_leads_out_of_every_state() {
    for (what, backed_up, keeps, happens) in STATES {
        let mut place = Place::new();
        place.home.record(240);
        let active = || {
            let lines = read(&place.home.log_dir().join("audit.log"));
            lines.iter().filter(|byte| **byte == b'\n').count()
        };
        while !(8..30).contains(&active()) {
            place.home.record(1);
        }
        if *backed_up {
            assert_eq!(place.run(&["backup"]).0, 0, "{what}");
        }
        // What services have recorded; of what the engine says of itself after the backup no
        // copy knows.
        let mut before: Vec<String> = all_lines(&place.home.log_dir());
        before.retain(|line| line.contains("\"login\""));
        happens(&mut place);
        let mut left = FOLLOWED;
        while let Err(advice) = place.look() {
            let said: String = advice.chars().take(400).collect();
            place.told.push(format!("advised: {said}"));
            assert!(left > 0, "{what}: {:#?}", place.told);
            left -= 1;
            if what.contains("setting") {
                // An editor does it: the error names the key that is meant.
                assert!(advice.contains("retention_days"), "{what}: {advice}");
                place.set("retention_days = 30");
                continue;
            }
            let said = place.said.take();
            place.follow(&said.unwrap_or(advice));
        }
        let now: BTreeSet<String> = all_lines(&place.home.log_dir()).into_iter().collect();
        let gone = before.iter().filter(|line| !now.contains(*line)).count();
        match keeps {
            Keeps::All => assert_eq!(gone, 0, "{what}: {:#?}", place.told),
            Keeps::AllButDamaged => {
                let (_, out, _) = place.run(&["verify"]);
                assert!(gone > 0 && gone < before.len() / 2, "{what}: {gone} {:#?}", place.told);
                assert!(out.contains("given up"), "{what}: {out}");
            }
        }
    }
}
