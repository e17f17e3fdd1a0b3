//! What several tests need.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auditctl::audit::{AuditLog, Options};
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::FaultFs;

pub(crate) use crate::tools::{missing, skipped};

/// A log directory that goes with the test.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    /// Left behind, to be looked at.
    pub(crate) fn keep(self) -> PathBuf {
        self.0.keep()
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Options without rate limit and with short times, so that tests need not wait.
pub(crate) fn options(dir: &Dir) -> Options {
    Options {
        rate_limit: None,
        overflow_timeout: Duration::from_secs(20),
        write_flush_interval: Duration::from_millis(50),
        checkpoint_interval: Duration::from_millis(100),
        disk_reserve: 1 << 20,
        ..Options::new(dir.log())
    }
}

/// The same on a file system that fails when told to.
pub(crate) fn failing(dir: &Dir) -> (Options, FaultFs) {
    let fs = FaultFs::new(Arc::new(OsFs));
    // Short, for those who wait for what fails.
    let overflow_timeout = Duration::from_millis(400);
    (Options { fs: Arc::new(fs.clone()), overflow_timeout, ..options(dir) }, fs)
}

/// All stored records as (seq, line), from every segment.
pub(crate) fn records(log_dir: &Path) -> Vec<(u64, serde_json::Value)> {
    all_lines(log_dir)
        .iter()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect(line);
            (value["seq"].as_u64().expect("seq"), value)
        })
        .collect()
}

/// The text of every segment, in order.
pub(crate) fn all_lines(log_dir: &Path) -> Vec<String> {
    use std::io::Read;
    let mut names: Vec<String> = std::fs::read_dir(log_dir)
        .expect("log directory")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .filter(|name| auditctl::audit::paths::parse_sealed_name(name).is_some())
        .collect();
    names.sort();
    // A plain file beside its compressed form is a leftover of a crash.
    names.dedup_by(|later, kept| later.trim_end_matches(".gz") == kept.trim_end_matches(".gz"));
    // What was restored and not opened yet has none.
    names.extend(log_dir.join("audit.log").exists().then(|| "audit.log".to_owned()));
    let mut text = String::new();
    for name in names {
        let bytes = std::fs::read(log_dir.join(&name)).expect("segment");
        if name.ends_with(".gz") {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
        } else {
            text.push_str(std::str::from_utf8(&bytes).expect("utf-8"));
        }
    }
    text.lines().map(str::to_owned).collect()
}

/// The event types of the stored records, in order; checks that the seqs have no gap.
pub(crate) fn types(log_dir: &Path) -> Vec<String> {
    let records = records(log_dir);
    for (expected, (seq, _)) in records.iter().enumerate() {
        assert_eq!(*seq, expected as u64, "seqs without gaps");
    }
    records
        .into_iter()
        .map(|(_, value)| value["event_type"].as_str().expect("event_type").to_owned())
        .collect()
}

/// How often a type is in the log.
pub(crate) fn count(log_dir: &Path, event_type: &str) -> usize {
    types(log_dir).iter().filter(|found| *found == event_type).count()
}

/// How long anything may take before it counts as not happening: long, since it is waited for
/// only where a test fails, and other programs may have the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something is so; fails after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// When to kill a process: at random moments up to a time that becomes longer on a
/// machine on which nothing happens by then.
pub(crate) struct Moments {
    random: u64,
    least: Duration,
    most: Duration,
}

impl Moments {
    pub(crate) fn up_to(most: Duration, seed: u64) -> Self {
        Self { random: seed, least: most, most }
    }

    pub(crate) fn next(&mut self) -> Duration {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_micros(1_000 + (self.random >> 33) % self.most.as_micros() as u64)
    }

    /// Whether what was to be cut short had begun in the last round.
    pub(crate) fn happened(&mut self, it_did: bool) {
        let longest = self.least * 50;
        self.most = if it_did { self.most * 9 / 10 } else { self.most * 5 / 4 };
        self.most = self.most.clamp(self.least, longest);
    }
}

/// Has the log checked by the independent Python program.
pub(crate) fn root_agrees(log_dir: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let output = Command::new("python3").arg(script).arg(log_dir).output().expect("python3");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn open(options: Options) -> AuditLog {
    AuditLog::open(options).expect("open")
}

/// The program, in a hermetic environment.
pub(crate) fn auditctl(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
    command
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", "/usr/bin:/bin")
        .env("NO_COLOR", "1")
        .current_dir(dir.path())
        .args(args);
    command
}

/// Runs it to its end: exit code, stdout, stderr.
pub(crate) fn run(dir: &Dir, args: &[&str]) -> (i32, String, String) {
    let output = auditctl(dir, args).output().expect("auditctl runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).expect("utf-8"),
        String::from_utf8(output.stderr).expect("utf-8"),
    )
}

/// The same with `--json`: its exit code and its one document.
pub(crate) fn json(dir: &Dir, args: &[&str]) -> (i32, serde_json::Value) {
    let (code, out, err) = run(dir, &[&["--json"], args].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

/// What it prints; it has to succeed.
pub(crate) fn ok(dir: &Dir, args: &[&str]) -> String {
    let (code, out, err) = run(dir, args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

/// Records large events until one is refused: how many were acknowledged, and why that one
/// was not.
pub(crate) fn until_refused(
    log: &AuditLog,
    event_bytes: usize,
    most: usize,
) -> (usize, auditctl::audit::RecordError) {
    let details = serde_json::json!({ "blob": "x".repeat(event_bytes) });
    for acknowledged in 0..most {
        let event = auditctl::audit::Event::new("e").details(&details).expect("details");
        if let Err(error) = log.record(event).and_then(auditctl::audit::Receipt::wait) {
            return (acknowledged, error);
        }
    }
    panic!("{most} events of {event_bytes} bytes found room")
}

/// What was measured, for the tables in the documents: `--no-capture` shows it.
#[allow(clippy::print_stdout)]
pub(crate) fn measured(text: &str) {
    println!("{text}");
}

/// How much memory a process of ours has had at most. `None` before it is ours: until
/// `exec` is over, a child's figures are those of the tests' own process.
pub(crate) fn peak_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let (_, text) = text.split_once("Name:\tauditctl\n")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
/// Bytes that no server can shorten, the same each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
