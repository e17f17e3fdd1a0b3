//! Queries and verification beside what people use: `cargo bench --bench query`.
//!
//! The log is the real events of the fixture, repeated to `BENCH_LOG_MB` (default
//! 200), in `BENCH_DIR`: once as one plain active segment, once sealed and
//! compressed. All is read once before, so that it is in the page cache. Every
//! program runs in turn, five times; medians, and as a ratio to ours. Peers that are
//! not installed are named, never guessed; `DUCKDB_PYTHON` names a Python that has
//! the package duckdb.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditctl::audit::read::query::{Bounds, CacheUse, Reader, Request};
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::fsio::{OsFs, SharedFs};

mod support;
use support::{ROUNDS, fill, median, number};

/// In one of eleven of the fixture's events.
const ACTOR: &str = "arn:aws:iam::123837392027:user/benjamin";
const SLOW_ROUNDS: usize = 1;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let megabytes = number("BENCH_LOG_MB", 200);
    let home = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let active = home.path().join("active");
    let sealed = home.path().join("sealed");
    fill(&active, megabytes, 4 << 30);
    fill(&sealed, megabytes, 50 << 20);
    rare(&sealed);
    let raw = active.join("audit.log");
    let bytes = raw.metadata().unwrap().len();
    println!("{} MB of W2 as lines, {cores} cores, medians of {ROUNDS}\n", bytes / 1_000_000);

    println!("one actor, counted; plain lines");
    let ours = direct(&active, &["--actor", ACTOR, "--count"]);
    row("auditctl query --actor --count", Some(ours), ours);
    row("rg -c", peer(ROUNDS, &["rg", "-c", &format!("\"actor\":\"{ACTOR}\""), path(&raw)]), ours);
    row("DuckDB", duckdb(&raw, &format!("select count(*) from t where actor = '{ACTOR}'")), ours);
    let select = format!("select(.actor == \"{ACTOR}\")");
    row("jq select", peer(SLOW_ROUNDS, &["jq", "-c", &select, path(&raw)]), ours);

    println!("\ngrouped by actor; plain lines");
    let ours = direct(&active, &["--group-by", "actor"]);
    row("auditctl query --group-by actor", Some(ours), ours);
    row("DuckDB", duckdb(&raw, "select actor, count(*) from t group by actor"), ours);

    println!("\na condition in the details, counted; plain lines");
    let ours = direct(&active, &["--where", "details.awsRegion = us-east-1", "--count"]);
    row("auditctl query --where", Some(ours), ours);

    println!("\nsealed and compressed");
    let ours = direct(&sealed, &["--actor", ACTOR, "--count"]);
    row("auditctl query --actor --count", Some(ours), ours);
    row("... the newest 100", Some(direct(&sealed, &["--actor", ACTOR])), ours);
    row(
        "... a name in one block",
        Some(direct(&sealed, &["--actor", "rare", "--limit", "0"])),
        ours,
    );
    let files = format!("zcat {}/audit.0*.gz | rg -c '\"actor\":\"{ACTOR}\"'", path(&sealed));
    row("zcat | rg -c", peer(ROUNDS, &["sh", "-c", &files]), ours);
    blocks_read(&sealed);

    println!("\nverification");
    let ours = verify(&sealed, &[]);
    row("auditctl verify, sealed", Some(ours), ours);
    row("auditctl verify --quick", Some(verify(&sealed, &["--quick"])), ours);
    row("auditctl verify, plain lines", Some(verify(&active, &[])), ours);
    row("sha256sum of the lines", peer(ROUNDS, &["sha256sum", path(&raw)]), ours);

    println!("\nthe cache, in the engine");
    cached(&sealed);
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn row(name: &str, took: Option<Duration>, ours: Duration) {
    match took {
        Some(took) => {
            let ratio = took.as_secs_f64() / ours.as_secs_f64();
            println!("{name:36} {:9.3} s {ratio:8.2}x", took.as_secs_f64());
        }
        None => println!("{name:36} not installed"),
    }
}

fn peer(rounds: usize, args: &[&str]) -> Option<Duration> {
    Command::new(args[0]).arg("--version").output().ok()?;
    let run = || {
        let begun = Instant::now();
        let status = Command::new(args[0]).args(&args[1..]).stdout(Stdio::null()).status().ok()?;
        status.success().then(|| begun.elapsed())
    };
    if rounds == SLOW_ROUNDS { run() } else { median(run) }
}

/// The time of the statement alone: not Python's, nor that of loading the package.
fn duckdb(raw: &Path, select: &str) -> Option<Duration> {
    let python = std::env::var("DUCKDB_PYTHON").ok()?;
    let script = format!(
        "import duckdb, time\n\
         c = duckdb.connect(config={{'threads': 2}})\n\
         c.execute(\"create view t as select * from read_json('{}', format='newline_delimited', \
         columns={{'actor': 'VARCHAR'}})\")\n\
         b = time.perf_counter(); c.execute(\"\"\"{select}\"\"\").fetchall()\n\
         print(time.perf_counter() - b)",
        path(raw)
    );
    median(|| {
        let output = Command::new(&python).args(["-c", &script]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().ok().map(Duration::from_secs_f64)
    })
}

fn auditctl(log: &Path, args: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_auditctl"))
        .arg("--log-dir")
        .arg(log)
        .args(args)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{args:?}");
    begun.elapsed()
}

fn direct(log: &Path, args: &[&str]) -> Duration {
    let all = [&["query", "--direct"], args].concat();
    median(|| Some(auditctl(log, &all))).unwrap()
}

fn verify(log: &Path, args: &[&str]) -> Duration {
    let all = [&["verify"], args].concat();
    median(|| Some(auditctl(log, &all))).unwrap()
}

/// One event by somebody who does nothing else.
fn rare(log: &Path) {
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(log) }).unwrap();
    let _seq = log.record(Event::new("login").actor("rare")).unwrap().wait().unwrap();
    let end = log.acked_seq();
    log.seal();
    let waits = |log: &AuditLog| {
        let manifest = log.manifest();
        manifest.end_seq() < end || manifest.segments.iter().any(|s| !s.is_compressed())
    };
    while waits(&log) {
        std::thread::sleep(Duration::from_millis(50));
    }
    log.close().unwrap();
}

fn blocks_read(log: &Path) {
    let fs: SharedFs = std::sync::Arc::new(OsFs);
    let mut reader = Reader::open(&fs, log, Bounds::default()).unwrap();
    let request = Request { actor: vec!["rare".to_owned()], ..Request::default() };
    let answer = reader.query(&request.resolve(Default::default()).unwrap()).unwrap();
    let effort = answer.effort;
    println!("{:36} {} of {} blocks read", "", effort.blocks_read, effort.blocks);
}

fn cached(log: &Path) {
    let log = AuditLog::open(Options { rate_limit: None, ..Options::new(log) }).unwrap();
    let request = Request { actor: vec![ACTOR.to_owned()], ..Request::default() };
    let query = request.resolve(Default::default()).unwrap();
    let first = log.query(&query).unwrap();
    assert_eq!(first.effort.cache, CacheUse::Miss);
    let mut hits = Vec::new();
    let mut completed = Vec::new();
    for turn in 0..2_200 {
        if turn % 10 == 9 {
            let _seq = log.record(Event::new("x")).unwrap().wait().unwrap();
        }
        let begun = Instant::now();
        let answer = log.query(&query).unwrap();
        let took = begun.elapsed();
        match answer.effort.cache {
            CacheUse::Hit => hits.push(took),
            _ => completed.push(took),
        }
    }
    for (name, mut times) in [("hit, 100 records", hits), ("completed by one record", completed)] {
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        println!("{name:36} {:9.1} µs median, {:.1} µs at 99%", at(50), at(99));
    }
    println!("{:36} {:9.1} µs", "not in it", first.effort.micros as f64);
    log.close().unwrap();
}
