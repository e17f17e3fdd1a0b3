//! Where a document's commands run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Dir, eventually};

/// What every host has.
const DIRECTORIES: &[&str] = &[
    "bin",
    "etc/auditctl",
    "etc/cron.d",
    "etc/nagios4/conf.d",
    "etc/prometheus",
    "etc/systemd/system",
    "mnt",
    "opt/auditctl/bin",
    "run",
    "srv",
    "usr/lib/sysusers.d",
    "usr/local/bin",
    "var/lib/node_exporter",
    "work",
];
/// A command that takes longer hangs.
const LONGEST_SECONDS: &str = "300";
/// So that examples with small numbers find their records.
const EVENTS_BEFORE: usize = 60;

/// A document's directory and what runs in it.
pub(super) struct Sandbox {
    document: String,
    dir: Dir,
    /// What `export` lines have set.
    exported: Vec<(String, String)>,
    running: Vec<(String, Child)>,
    /// Where the collector that was started last answers HTTP.
    http: Option<String>,
}

impl Sandbox {
    pub(super) fn new(document: &str) -> Self {
        let dir = Dir::new();
        for name in DIRECTORIES {
            std::fs::create_dir_all(dir.path().join(name)).expect("directory");
        }
        let program = env!("CARGO_BIN_EXE_auditctl");
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let link = |from: PathBuf, to: &str| {
            std::os::unix::fs::symlink(from, dir.path().join(to)).expect("link");
        };
        link(program.into(), "bin/auditctl");
        link(program.into(), "opt/auditctl/bin/auditctl");
        link(program.into(), "work/auditctl");
        link(sources.join("packaging"), "work/packaging");
        Self {
            document: document.to_owned(),
            dir,
            exported: Vec::new(),
            running: Vec::new(),
            http: None,
        }
    }

    /// Paths of the host become paths here; addresses are those that were taken.
    pub(super) fn here(&self, text: &str) -> String {
        let paths =
            Regex::new(r#"(^|[\s"'=:>(@,-])(/(?:etc|mnt|opt|run|srv|usr/lib|usr/local|var)/)"#);
        let root = self.dir.path().display().to_string();
        let text = paths.expect("a pattern").replace_all(text, format!("${{1}}{root}${{2}}"));
        // No user is made here, so nothing is run as another one, nor given to one.
        let text = text.replace("sudo -u auditctl ", "").replace("-o auditctl -g auditctl ", "");
        match &self.http {
            Some(http) => text.replace("127.0.0.1:9750", http),
            None => text,
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn has(&self, program: &str) -> bool {
        let mut command = self.shell(&format!("command -v {program}"));
        command.stdout(Stdio::null()).status().expect("bash").success()
    }

    /// Whether the program has that command.
    pub(super) fn knows(&self, command: &str) -> bool {
        let mut help = self.shell(&format!("auditctl {command} --help"));
        help.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("bash").success()
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args([LONGEST_SECONDS, "bash", "-o", "pipefail", "-c", script])
            .env_clear()
            .env("HOME", self.dir.path().join("work"))
            .env(
                "PATH",
                format!(
                    "{0}/bin:{0}/usr/local/bin:/usr/local/bin:/usr/bin:/bin",
                    self.dir.path().display()
                ),
            )
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("AUDITCTL_COLLECTOR_HTTP", "127.0.0.1:0")
            // What this machine has left is not what is tested.
            .env("AUDITCTL_DISK_WARN_BYTES", "0B")
            .env("AUDITCTL_DISK_CRITICAL_BYTES", "0B")
            .envs(self.exported.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path().join("work"))
            .stdin(Stdio::null());
        // Where the program looks for it on a host.
        let settings = self.path("etc/auditctl/auditctl.toml");
        if settings.exists() {
            command.env("AUDITCTL_CONFIG", settings);
        }
        command
    }

    /// Runs a line to its end, which has to be with that code; what it printed.
    pub(super) fn command(
        &mut self,
        place: &str,
        line: &str,
        variables: &[(&'static str, String)],
        code: i32,
    ) -> String {
        let without_comment = line.split(" #").next().unwrap_or_default().trim_end();
        if let Some(background) = without_comment.strip_suffix('&').filter(|_| !line.contains("&&"))
        {
            self.serve(background);
            return String::new();
        }
        let script = self.here(line);
        if let Some((name, value)) =
            without_comment.strip_prefix("export ").and_then(|rest| rest.split_once('='))
        {
            let value = self.here(value);
            self.exported.push((name.to_owned(), value));
            return String::new();
        }
        let mut command = self.shell(&script);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("bash");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{} {place}: {script}\n{printed}{said}",
            self.document
        );
        printed
    }

    /// Whether the program takes these settings.
    pub(super) fn settings(&mut self, place: &str, text: &str) {
        let file = self.path("work/snippet.toml");
        std::fs::write(&file, self.here(text)).expect("written");
        let line = "auditctl --config snippet.toml monitor --once";
        let printed = self.command(&format!("{place}: {text}"), line, &[], 0);
        assert!(!printed.is_empty());
    }

    /// With a terminal, on which `q` is typed.
    pub(super) fn in_terminal(&mut self, place: &str, line: &str) {
        if !self.has("script") {
            return crate::support::missing("script");
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        let script = format!("printf q | script -qec '{line}' /dev/null");
        self.command(place, &script, &[], 0);
    }

    /// Starts a collector; returns once it takes events, with some in its log.
    pub(super) fn serve(&mut self, line: &str) {
        // Not below `timeout`, which would get the signals.
        let script = format!("exec {}", self.here(line).trim());
        let mut shell = self.shell(&script);
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env_clear().current_dir(self.dir.path().join("work"));
        for (name, value) in shell.env_remove("").get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("ready:") {
            let read = lines.read_line(&mut said).expect("stderr");
            assert!(read > 0, "{}: {script} ended: {said}", self.document);
        }
        // Read on, or it would have to wait for somebody who does.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let after = |mark: &str| {
            said.split_once(mark).and_then(|(_, rest)| rest.split([',', ' ', '\n']).next())
        };
        self.http = after("http://").map(str::to_owned).or(self.http.take());
        let log = after("ready: log ").expect("where").to_owned();
        self.running.push((line.to_owned(), child));
        let socket = after("socket ").expect("where");
        let events = format!(
            "seq {EVENTS_BEFORE} | sed 's/.*/{{\"event_type\":\"login\",\"actor\":\"alice\"}}/' | \
             AUDITCTL_COLLECTOR_SOCKET={socket} auditctl --log-dir {log} record --file -"
        );
        self.command("before", &events, &[], 0);
    }

    pub(super) fn signal(&self, signal: Signal) {
        let (_, child) = self.running.last().expect("a collector runs");
        kill_process(Pid::from_child(child), signal).expect("signal");
    }

    /// Ends the collector that was started last, in order.
    pub(super) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let (line, mut child) = self.running.pop().expect("a collector runs");
        let mut ended = None;
        eventually("it ends", || {
            ended = child.try_wait().expect("wait");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{line}: {ended:?}");
    }

    pub(super) fn end(mut self) {
        while !self.running.is_empty() {
            self.stop();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a client of a cloud finds in its environment; `None` where none is to be had.
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
pub(super) fn cloud(line: &str) -> Option<Vec<(&'static str, String)>> {
    use crate::servers::{Kind, LOCKED};
    // s3s-fs has no object lock.
    let kind = if line.contains(LOCKED) { Kind::Moto } else { Kind::S3s };
    let mut variables = kind.variables(kind.server()?.address);
    variables.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
    Some(variables)
}

/// What a client of a cloud finds in its environment; `None` where none is to be had.
#[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
pub(super) fn cloud(line: &str) -> Option<Vec<(&'static str, String)>> {
    crate::support::skipped(&format!("this build is without the clouds: {line}"));
    None
}
