//! What each command costs on logs of many segments, and of many bytes: `cargo bench --bench size`.
//!
//! Makes logs of tiny segments through the engine, as `max_segment_age = "1m"` makes them in 90 days, and logs of segments of
//! the usual size. Runs every command on each, as a process of its own with 1,024 descriptors, and computes from two
//! sizes what more cost. `-- write` puts the tables into docs/performance.md.
//!
//! `SIZE_SEGMENTS` are the numbers of tiny segments (default `1500,15000,150000`), `SIZE_LOG_MB` the lines of the
//! others (default `200,800`), `BENCH_DIR` is where they are made. `SIZE_ONLY` is a part of the names of the commands
//! that are run. `SIZE_AUDITCTL` is another program to be measured.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::{
    AuditLog, Batch, Durability, Event, Options, Origin, ParseMode, RetentionRule, Via,
};

mod support;
use support::{fill, fixture};

/// What a process may open.
const DESCRIPTORS: u32 = 1_024;
/// Records of a tiny segment.
const RECORDS: usize = 10;
/// So many seals are timed.
const SEALS: u64 = 200;
const GB: f64 = 1e9;
/// A second in /proc, on every Linux.
const TICKS: f64 = 100.0;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let home = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    let segments = numbers("SIZE_SEGMENTS", "1500,15000,150000");
    let megabytes = numbers("SIZE_LOG_MB", "200,800");
    let mut tiny: Vec<Size> = segments.iter().map(|n| Size::tiny(home.path(), *n)).collect();
    let mut usual: Vec<Size> = megabytes.iter().map(|mb| Size::usual(home.path(), *mb)).collect();
    tiny.iter_mut().chain(&mut usual).for_each(Size::measure);
    let text = tables(&tiny, &usual);
    println!("{text}");
    if std::env::args().any(|arg| arg == "write") {
        write_into("docs/performance.md", &text);
    }
}

fn numbers(name: &str, default: &str) -> Vec<u64> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// A log of some size, and what the commands cost on it.
struct Size {
    home: PathBuf,
    segments: u64,
    /// Bytes of lines.
    raw: u64,
    rows: Vec<Row>,
}

/// What something cost.
struct Row {
    name: &'static str,
    seconds: f64,
    peak_kib: u64,
    /// It did not do what it should.
    failed: Option<i32>,
}

impl Size {
    fn tiny(home: &Path, segments: u64) -> Self {
        let home = home.join(format!("tiny-{segments}"));
        let begun = Instant::now();
        let log = AuditLog::open(options(&home.join("logs"))).unwrap();
        seal(&log, segments);
        let sealed = begun.elapsed();
        log.close().unwrap();
        println!(
            "{segments} segments: sealed and compressed in {:.1} s, closed after {:.1} s",
            sealed.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        Self::of(home)
    }

    fn usual(home: &Path, megabytes: u64) -> Self {
        let home = home.join(format!("usual-{megabytes}"));
        fill(&home.join("logs"), megabytes, 50 << 20);
        Self::of(home)
    }

    fn of(home: PathBuf) -> Self {
        let log = AuditLog::open(options(&home.join("logs"))).unwrap();
        let manifest = log.manifest();
        let raw = manifest.segments.iter().map(|segment| segment.raw_bytes).sum();
        let segments = manifest.segments.len() as u64;
        log.close().unwrap();
        Self { home, segments, raw, rows: Vec::new() }
    }

    fn log(&self) -> PathBuf {
        self.home.join("logs")
    }

    fn measure(&mut self) {
        let only = std::env::var("SIZE_ONLY").unwrap_or_default();
        let wants = |name: &str| name.contains(&only);
        let middle = (self.segments * RECORDS as u64 / 2).to_string();
        let narrow = format!("{middle}..{}", middle.parse::<u64>().unwrap() + 5);
        for (name, args) in [
            ("record one event", &["record", "--type", "bench.one"][..]),
            ("health, at rest", &["health", "--json"]),
            ("query, by seq", &["query", "--seq", &narrow, "--format", "ndjson"]),
            ("query, a rare type", &["query", "--type", "bench.one", "--count"]),
            ("query, all, grouped", &["query", "--group-by", "event_type"]),
            ("query, all, NDJSON", &["query", "--limit", "0", "--format", "ndjson"]),
            ("verify", &["verify"]),
            ("verify --quick", &["verify", "--quick"]),
            ("backup", &["backup"]),
            ("backup, nothing new", &["backup"]),
            ("list", &["list"]),
            ("record one event", &["record", "--type", "bench.one"]),
            ("backup --incremental", &["backup", "--incremental"]),
            ("restore", &["restore", "latest", "--target", "restored"]),
            ("archive, all", &["archive", "bucket", "--no-parquet"]),
            ("archive, nothing new", &["archive", "bucket", "--no-parquet"]),
        ] {
            if wants(name) && !self.rows.iter().any(|row| row.name == name) {
                if name.starts_with("archive") {
                    std::fs::create_dir_all(self.home.join("bucket")).unwrap();
                }
                self.run(name, args);
            } else if name == "record one event" {
                self.run("", args);
                self.rows.pop();
            }
        }
        if wants("collector") {
            self.beside_a_collector();
        }
        if wants("seal") {
            self.seals();
        }
        if wants("retention") {
            self.retention();
        }
    }

    fn beside_a_collector(&mut self) {
        let begun = Instant::now();
        let mut collector = self.auditctl(&["serve", "--http", "off"]);
        let mut collector = collector.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(collector.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready:") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the collector did not start");
        }
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        self.run("collector: health --json", &["health", "--json"]);
        self.run("collector: monitor --once", &["monitor", "--once"]);
        self.run("collector: query, by seq", &["query", "--seq", "42"]);
        let used = Used::of(&collector);
        let pid = rustix::process::Pid::from_child(&collector);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        collector.wait().unwrap();
        self.row("collector: ready", (seconds, None), used);
    }

    /// What a seal costs: until it is compressed, and in the stored manifest.
    fn seals(&mut self) {
        let log = AuditLog::open(options(&self.log())).unwrap();
        seal(&log, 1);
        let (begun, before) = (Instant::now(), Used::own());
        seal(&log, SEALS);
        let (seconds, used) = (begun.elapsed().as_secs_f64(), Used::own());
        let cpu = (used.cpu - before.cpu) / SEALS as f64;
        self.row("a seal", (seconds / SEALS as f64, None), Used { cpu, ..used });
        log.close().unwrap();
    }

    fn retention(&mut self) {
        let of_log = Options {
            retention: Some(Duration::from_millis(1)),
            retention_rule: RetentionRule::RemovesWithoutBackup,
            ..options(&self.log())
        };
        let (begun, before) = (Instant::now(), Used::own());
        let log = AuditLog::open(of_log).unwrap();
        while !log.manifest().segments.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        log.close().unwrap();
        let (seconds, used) = (begun.elapsed().as_secs_f64(), Used::own());
        self.row(
            "retention removes all",
            (seconds, None),
            Used { cpu: used.cpu - before.cpu, ..used },
        );
    }

    fn auditctl(&self, args: &[&str]) -> Command {
        let program = std::env::var("SIZE_AUDITCTL");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_auditctl").to_owned());
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""))
            .arg(program)
            .args(args)
            .env_clear()
            .env("AUDITCTL_RETENTION_DAYS", "0")
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs the program, and watches how much memory it takes.
    fn run(&mut self, name: &'static str, args: &[&str]) {
        let begun = Instant::now();
        let mut child = self.auditctl(args).spawn().unwrap();
        let mut used = Used::default();
        loop {
            let now = Used::of(&child);
            used = if now.peak_kib > 0 { now } else { used };
            if let Some(ended) = child.try_wait().unwrap() {
                // A collector that is stopped is a warning for `health`.
                let fine = ended.success() || args[0] == "health" && ended.code() == Some(1);
                let failed = (!fine).then(|| ended.code().unwrap_or(-1));
                self.row(name, (begun.elapsed().as_secs_f64(), failed), used);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn row(&mut self, name: &'static str, (seconds, failed): (f64, Option<i32>), used: Used) {
        let Used { cpu, peak_kib } = used;
        let said = failed.map_or(String::new(), |code| format!(" FAILED: {code}"));
        if !name.is_empty() {
            println!(
                "{:7} segments: {name:28} {seconds:9.4} s, {cpu:8.4} s of CPU, {} MiB{said}",
                self.segments,
                peak_kib >> 10
            );
        }
        self.rows.push(Row { name, seconds, peak_kib, failed });
    }
}

/// What a process used until now.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: f64,
    peak_kib: u64,
}

impl Used {
    fn of(child: &Child) -> Self {
        Self::read(&format!("/proc/{}", child.id()))
    }

    fn own() -> Self {
        Self::read("/proc/self")
    }

    fn read(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        let ticks = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = ticks.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Self { cpu: ticks / TICKS, peak_kib: peak.unwrap_or(0) }
    }
}

fn options(dir: &Path) -> Options {
    Options {
        durability: Durability::Interval,
        rate_limit: None,
        // Each batch of a few records fills one.
        max_segment_size: 1_024,
        write_queue_capacity: 100_000,
        retention: None,
        ..Options::new(dir)
    }
}

/// Seals so many more segments, and waits until they are compressed and noted.
fn seal(log: &AuditLog, segments: u64) {
    let wanted = log.manifest().segments.len() as u64 + segments;
    let session = log.session(&Origin::here(Via::Library), true);
    let text = fixture();
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).cycle();
    for _ in 0..segments {
        let mut batch = Batch::new();
        for line in lines.by_ref().take(RECORDS) {
            session.prepare(line, ParseMode::Strict, &mut batch).unwrap();
        }
        while !batch.is_empty() {
            if log.try_submit(&mut batch).unwrap().count == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        session.record(Event::new("bench.mark")).unwrap().wait().unwrap();
    }
    let settled = || {
        let sums = log.manifest().segments.sums();
        sums.segments as u64 >= wanted && sums.plain == 0
    };
    while !settled() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How much more the larger costs, for each unit that it has more.
fn slope(small: (f64, f64), large: (f64, f64)) -> f64 {
    (large.0 - small.0).max(0.0) / (large.1 - small.1)
}

fn tables(tiny: &[Size], usual: &[Size]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{cores} cores; each command is a process that may open {DESCRIPTORS} files. Seconds, and MiB at the peak.\n"
    );
    let heads = |sizes: &[Size], of: fn(&Size) -> String| -> String {
        sizes.iter().map(|size| format!(" {} |", of(size))).collect()
    };
    let rule = |columns: usize| "|---".repeat(columns) + "|";
    let _ = writeln!(
        text,
        "| segments, {RECORDS} records each |{} 1,000 segments more | growth |\n{}",
        heads(tiny, |size| size.segments.to_string()),
        rule(tiny.len() + 3)
    );
    for row in rows(tiny) {
        let at = row.last().zip(row.iter().rev().nth(1));
        let grows = at.map_or(String::new(), |((large, n), (small, m))| {
            let more = slope((small.seconds, *m as f64 / 1e3), (large.seconds, *n as f64 / 1e3));
            let kib = slope(
                (small.peak_kib as f64, *m as f64 / 1e3),
                (large.peak_kib as f64, *n as f64 / 1e3),
            );
            let power = (large.seconds / small.seconds).ln() / (*n as f64 / *m as f64).ln();
            format!(" {:.2} ms, {:.2} MiB | n^{power:.2} |", more * 1e3, kib / 1024.0)
        });
        let _ = writeln!(text, "| {} |{}{grows}", row[0].0.name, cells(&row));
    }
    let _ = writeln!(
        text,
        "\n| lines |{} a GB more | 100 GB, computed |\n{}",
        heads(usual, |size| format!("{} MB, {} segments", size.raw / 1_000_000, size.segments)),
        rule(usual.len() + 3)
    );
    for row in rows(usual) {
        let gb = |nth: usize| usual[nth].raw as f64 / GB;
        let grows = match &row[..] {
            [.., (small, _), (large, _)] => {
                let (m, n) = (gb(usual.len() - 2), gb(usual.len() - 1));
                let more = slope((small.seconds, m), (large.seconds, n));
                let kib = slope((small.peak_kib as f64, m), (large.peak_kib as f64, n));
                let all = large.seconds + more * (100.0 - n);
                let peak = (large.peak_kib as f64 + kib * (100.0 - n)) / 1024.0;
                format!(" {more:.3} s, {:.1} MiB | {all:.1} s, {peak:.0} MiB |", kib / 1024.0)
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "| {} |{}{grows}", row[0].0.name, cells(&row));
    }
    text
}

/// For each thing that was measured, what it cost at each size.
fn rows(sizes: &[Size]) -> Vec<Vec<(&Row, u64)>> {
    let Some(first) = sizes.first() else { return Vec::new() };
    let of = |nth: usize| sizes.iter().map(move |size| (&size.rows[nth], size.segments)).collect();
    (0..first.rows.len()).map(of).collect()
}

fn cells(row: &[(&Row, u64)]) -> String {
    let cell = |(row, _): &(&Row, u64)| match row.failed {
        Some(code) => format!(" fails: exit {code} |"),
        None => format!(" {:.4} s, {} |", row.seconds, row.peak_kib >> 10),
    };
    row.iter().map(cell).collect()
}

/// Puts the text between the page's marks.
fn write_into(page: &str, text: &str) {
    let (begin, end) = ("<!-- begin: size -->\n", "<!-- end: size -->");
    let whole = std::fs::read_to_string(page).unwrap();
    let (head, rest) = whole.split_once(begin).expect("the mark where the tables begin");
    let (_, tail) = rest.split_once(end).expect("the mark where they end");
    std::fs::write(page, format!("{head}{begin}{text}{end}{tail}")).unwrap();
}
