//! `demo`: all of it on real events, in a temporary directory.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use crate::audit::paths::parse_sealed_name;
use crate::audit::{Event, ParseMode};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::fsio::{Fs, OpenMode, OsFs};

/// Real AWS CloudTrail events of an attack simulation (tests/fixtures/README.md).
const SAMPLE: &[u8] = include_bytes!("demo_sample.ndjson.gz");
const SENDERS: usize = 4;

/// Show what auditctl does, with real events in a temporary directory.
///
/// Starts a collector, sends it events from several processes at once, kills it with -9 in the
/// middle, and shows what `health` reports before, during and after. Then it backs the log up,
/// loses it, restores it, and shows that no acknowledged event was lost.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the directory, to look around in
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(context: &Context, args: &DemoArgs) -> Result<u8, CliError> {
    let dir = tempfile::Builder::new()
        .prefix("auditctl-demo-")
        .tempdir()
        .map_err(|error| CliError::io("make a directory in", std::env::temp_dir(), &error))?;
    let path = dir.path().to_path_buf();
    let demo = Demo::new(context, &path)?;
    let result = demo.play();
    if args.keep {
        let _ = dir.keep();
    }
    let facts = result?;
    if context.json {
        context.print(&facts.to_string())?;
    } else {
        demo.say(&what_next(args.keep.then_some(&path)));
    }
    Ok(0)
}

/// The sample, for who needs realistic events.
pub(crate) fn sample_events() -> Vec<Event> {
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(SAMPLE)).lines();
    let event = |line: String| Event::from_json(line.as_bytes(), ParseMode::Strict).ok();
    lines.map_while(Result::ok).filter_map(event).collect()
}

fn what_next(kept: Option<&PathBuf>) -> String {
    let dir = kept.map_or("logs".to_owned(), |path| path.join("logs").display().to_string());
    let kept = match kept {
        Some(path) => format!("The directory was kept: {}\n", path.display()),
        None => "The directory was removed; `auditctl demo --keep` keeps it.\n".to_owned(),
    };
    format!(
        "\n{kept}\nTry next:\n  \
         auditctl serve --log-dir {dir} &\n  \
         auditctl record --log-dir {dir} --type login --actor alice\n  \
         auditctl health --log-dir {dir}\n  \
         auditctl health --log-dir {dir} --format nagios\n  \
         auditctl monitor --log-dir {dir}\n  \
         auditctl query --log-dir {dir} --where 'details.awsRegion = us-east-1' --limit 5\n  \
         auditctl backup --log-dir {dir} && auditctl list --log-dir {dir}\n  \
         tail -f {dir}/audit.log | jq .\n  \
         python3 tests/verify.py {dir}          # check all of it without our code"
    )
}

struct Demo<'a> {
    context: &'a Context,
    program: PathBuf,
    dir: &'a Path,
    logs: PathBuf,
}

impl<'a> Demo<'a> {
    fn new(context: &'a Context, dir: &'a Path) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::io("find", "this program", &error))?;
        Ok(Self { context, program, dir, logs: dir.join("logs") })
    }

    /// For people; with `--json` only the facts at the end are told.
    fn say(&self, text: &str) {
        if !self.context.json {
            // The demo goes on without a reader.
            let _ = self.context.printer.data(text);
        }
    }

    fn play(&self) -> Result<Value, CliError> {
        let begun = Instant::now();
        let events = self.write_samples()?;
        self.say(&format!("Starting a collector in {} …", self.dir.display()));
        let mut collector = Collector::start(self)?;
        self.say(&format!("  {}", collector.ready));
        self.say(&format!("{SENDERS} processes send it {events} real CloudTrail events …"));
        let recorded = self.send_all()?;
        self.say(&format!("  {recorded} recorded, every one durable when it was acknowledged"));
        let running = self.health("while it runs")?;

        self.say("Killing the collector with -9 …");
        collector.kill()?;
        let died = self.health("after kill -9")?;

        self.say("Starting it again, and sending the events once more …");
        let mut collector = Collector::start(self)?;
        let more = self.send_all()?;
        let again = self.health("after the restart")?;
        self.monitor()?;
        self.say("Who did most, and is it what was recorded? …");
        let query = self.tell(&["query", "--group-by", "actor", "--top", "5"], 0)?;
        let verify = self.tell(&["verify"], 0)?;
        self.say("Backing up, beside the running collector …");
        let backup = self.tell(&["backup"], 0)?;
        self.tell(&["list", "--verify=chain"], 0)?;
        collector.stop()?;
        self.say("Losing the log, except for its key …");
        self.lose_log()?;
        self.tell(&["restore", "latest", "--force"], 0)?;
        let stored = self.stored()?;
        self.say(&format!(
            "Acknowledged: {}. In the log: {stored}. Lost: {}.",
            recorded + more,
            (recorded + more).saturating_sub(stored)
        ));
        self.say(&format!("Took {:.1} s.", begun.elapsed().as_secs_f64()));
        if stored != recorded + more {
            let message = format!(
                "{} events were acknowledged, but {stored} are in the log",
                recorded + more
            );
            return Err(CliError::new("demo", Exit::Failed, message));
        }
        Ok(json!({
            "acknowledged": recorded + more,
            "stored": stored,
            "health": { "running": running, "killed": died, "restarted": again },
            "query": query,
            "verify": verify,
            "backup": backup,
        }))
    }

    /// A file of events for each sender.
    fn write_samples(&self) -> Result<usize, CliError> {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(SAMPLE)
            .take(16 << 20)
            .read_to_string(&mut text)
            .map_err(|error| CliError::io("unpack", "the bundled sample", &error))?;
        let lines: Vec<&str> = text.lines().collect();
        for sender in 0..SENDERS {
            let part: String =
                lines.iter().skip(sender).step_by(SENDERS).flat_map(|line| [*line, "\n"]).collect();
            let path = self.part(sender);
            OsFs.open(&path, OpenMode::CreateNew)
                .and_then(|file| file.write_all_at(part.as_bytes(), 0))
                .map_err(|error| CliError::io("write", &path, &error))?;
        }
        Ok(lines.len())
    }

    fn part(&self, sender: usize) -> PathBuf {
        self.dir.join(format!("events-{sender}.ndjson"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--log-dir").arg(&self.logs).current_dir(self.dir);
        // The demo shows the defaults, whatever is set here.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AUDITCTL_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    fn send_all(&self) -> Result<u64, CliError> {
        let started: Vec<Child> = (0..SENDERS)
            .map(|sender| {
                self.command(&["record", "--json"])
                    .arg("--file")
                    .arg(self.part(sender))
                    .stdout(Stdio::piped())
                    .spawn()
                    .map_err(|error| CliError::io("start", &self.program, &error))
            })
            .collect::<Result<_, _>>()?;
        let mut recorded = 0;
        for child in started {
            let output = child
                .wait_with_output()
                .map_err(|error| CliError::io("wait for", &self.program, &error))?;
            let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if !output.status.success() {
                let message = format!("a sender failed: {document}");
                return Err(CliError::new("demo", Exit::Failed, message));
            }
            recorded += document["recorded"].as_u64().unwrap_or(0);
        }
        Ok(recorded)
    }

    fn health(&self, when: &str) -> Result<Value, CliError> {
        let begun = Instant::now();
        let output = self
            .command(&["health", "--json"])
            .output()
            .map_err(|error| CliError::io("start", &self.program, &error))?;
        let took = begun.elapsed();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let status = document["status"].clone();
        self.say(&format!(
            "health {when}: {} (exit {}, {:.1} ms)",
            status.as_str().unwrap_or("?"),
            output.status.code().unwrap_or(-1),
            took.as_secs_f64() * 1e3
        ));
        for check in document["checks"].as_array().into_iter().flatten() {
            if check["status"] != "healthy" || check["component"] == "worker_thread" {
                self.say(&format!(
                    "  {}: {}",
                    check["component"].as_str().unwrap_or("?"),
                    check["message"].as_str().unwrap_or("?")
                ));
            }
        }
        Ok(status)
    }

    /// What another command of this program says; with `--json` its document.
    fn tell(&self, args: &[&str], expected: i32) -> Result<Value, CliError> {
        let mut command = self.command(args);
        if self.context.json {
            command.arg("--json");
        }
        let output =
            command.output().map_err(|error| CliError::io("start", &self.program, &error))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(expected) {
            let message = format!(
                "`auditctl {}` failed: {said}{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
            return Err(CliError::new("demo", Exit::Failed, message));
        }
        let indented: String = said.lines().map(|line| format!("  {line}\n")).collect();
        self.say(&format!("$ auditctl {}\n{}", args.join(" "), indented.trim_end()));
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// What a broken disk takes: everything but the key, which is kept elsewhere.
    fn lose_log(&self) -> Result<(), CliError> {
        let failed =
            |error: std::io::Error| CliError::io("empty the directory", &self.logs, &error);
        for name in OsFs.list(&self.logs).map_err(failed)? {
            if name != "audit.key" {
                OsFs.remove(&self.logs.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// One screen of it.
    fn monitor(&self) -> Result<(), CliError> {
        let output = self
            .command(&["monitor", "--once"])
            .output()
            .map_err(|error| CliError::io("start", &self.program, &error))?;
        self.say(&format!(
            "\nWhat `auditctl monitor` shows:\n{}",
            String::from_utf8_lossy(&output.stdout)
        ));
        Ok(())
    }

    /// Events in the log that are not the engine's own, counted in its text.
    fn stored(&self) -> Result<u64, CliError> {
        let own = memchr::memmem::Finder::new(b"\"event_type\":\"audit.");
        let failed = |error: std::io::Error| CliError::io("read", &self.logs, &error);
        let mut count = 0;
        for name in OsFs.list(&self.logs).map_err(failed)? {
            let sealed = parse_sealed_name(&name);
            if sealed.is_none() && name != "audit.log" {
                continue;
            }
            let mut bytes = OsFs.read(&self.logs.join(&name), 1 << 30).map_err(failed)?;
            if sealed.is_some_and(|(_, compressed)| compressed) {
                let mut lines = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..])
                    .take(1 << 30)
                    .read_to_end(&mut lines)
                    .map_err(failed)?;
                bytes = lines;
            }
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            count += lines.filter(|line| own.find(line).is_none()).count() as u64;
        }
        Ok(count)
    }
}

/// A collector process; killed if the demo ends early.
struct Collector {
    child: Child,
    ready: String,
    /// Kept open: a collector that warns must not meet a closed pipe.
    _messages: BufReader<ChildStderr>,
}

impl Collector {
    fn start(demo: &Demo<'_>) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::io("start", &demo.program, &error);
        let mut child = demo
            .command(&["serve", "--http", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let Some(stderr) = child.stderr.take() else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut messages = BufReader::new(stderr);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if messages.read_line(&mut line).map_err(failed)? == 0 {
                let _ = child.wait();
                let message = format!("the collector did not start: {}", said.trim());
                return Err(CliError::new("demo", Exit::Failed, message));
            }
            if let Some(ready) = line.strip_prefix("auditctl: ready: ") {
                let ready = ready.trim().to_owned();
                return Ok(Self { child, ready, _messages: messages });
            }
            said.push_str(&line);
        }
    }

    fn kill(&mut self) -> Result<(), CliError> {
        let killed = self.child.kill().and_then(|()| self.child.wait().map(|_| ()));
        killed.map_err(|error| CliError::io("kill", "the collector", &error))
    }

    fn stop(&mut self) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::io("stop", "the collector", &error);
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|errno| failed(errno.into()))?;
        }
        self.child.wait().map(|_| ()).map_err(failed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Already gone after `kill` and `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
