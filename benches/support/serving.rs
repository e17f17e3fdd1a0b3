//! A collector as a process of its own, and clients that hand it many events.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::temporary;

pub(crate) const CLIENTS: usize = 4;

pub(crate) fn auditctl(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
    command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

pub(crate) struct Collector(pub(crate) Child);

impl Collector {
    pub(crate) fn start(dir: &Path, settings: &str) -> Self {
        Self::start_at(dir, settings, "off")
    }

    /// With HTTP at that address.
    pub(crate) fn start_at(dir: &Path, settings: &str, http: &str) -> Self {
        std::fs::write(dir.join("auditctl.toml"), settings).unwrap();
        let mut child =
            auditctl(dir).args(["serve", "--http", http]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready:") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the collector did not start");
        }
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self(child)
    }

    /// Ends it well.
    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// W1: about 300 bytes a record.
pub(crate) fn line(n: usize) -> String {
    format!(
        "{{\"event_type\":\"data_access\",\"actor\":\"alice\",\"source\":\"service-{}\",\
         \"outcome\":\"success\",\"details\":{{\"index\":{n},\"data\":\"the quick brown fox jumps \
         over the lazy dog\",\"ip\":\"10.248.16.43\",\"user_agent\":\"Mozilla/5.0 (X11; Linux \
         x86_64)\"}}}}\n",
        n % 500
    )
}

/// Settings under which nothing is refused, and no segment ends.
pub(crate) fn settings(durability: &str) -> String {
    format!(
        "durability = \"{durability}\"\nmax_segment_size = \"1GiB\"\n[rate_limit]\nenabled = false\n"
    )
}

/// Events a second over all clients, until the last is acknowledged; the
/// collector's peak memory.
pub(crate) fn pipelined(settings: &str, events: usize) -> (f64, u64) {
    let dir = temporary();
    let collector = Collector::start(dir.path(), settings);
    let rate = hand_in(dir.path(), events, &line);
    (rate, collector.peak_kib())
}

/// Hands so many events to the collector of a directory; events a second.
pub(crate) fn hand_in(dir: &Path, events: usize, line: &(dyn Fn(usize) -> String + Sync)) -> f64 {
    let each = events / CLIENTS;
    let texts: Vec<String> =
        (0..CLIENTS).map(|at| (at * each..(at + 1) * each).map(line).collect()).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for text in &texts {
            let stream = UnixStream::connect(dir.join("logs/audit.sock")).unwrap();
            let mut answers = stream.try_clone().unwrap();
            scope.spawn(move || (&stream).write_all(text.as_bytes()).unwrap());
            scope.spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                let mut answered = 0;
                while answered < each {
                    let read = answers.read(&mut buffer).unwrap();
                    assert!(read > 0, "the collector hung up");
                    answered += memchr::memchr_iter(b'\n', &buffer[..read]).count();
                }
            });
        }
    });
    (each * CLIENTS) as f64 / begun.elapsed().as_secs_f64()
}
