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
    let region = "select count(*) from t where details.awsRegion = 'us-east-1'";
    row("DuckDB, the column declared", duckdb(&raw, region), ours);
    let ours = direct(&active, &["--group-by", "details.awsRegion"]);
    row("auditctl query --group-by details", Some(ours), ours);
    let region = "select details.awsRegion, count(*) from t group by 1";
    row("DuckDB, the column declared", duckdb(&raw, region), ours);

    println!("\nall records; plain lines");
    let ours = direct(&active, &["--limit", "0", "--format", "ndjson"]);
    row("auditctl query --format ndjson", Some(ours), ours);
    let csv = direct(&active, &["--limit", "0", "--format", "csv"]);
    row("auditctl query --format csv", Some(csv), ours);

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
    columnar(&raw, &sealed);

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
         columns={{'actor': 'VARCHAR', 'details': 'STRUCT(awsRegion VARCHAR)'}})\")\n\
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

/// What columns answer, beside DuckDB on Parquet of the same records.
fn columnar(raw: &Path, sealed: &Path) {
    println!(
        "\nsealed and compressed, {PAIRS} pairs in turn with DuckDB on Parquet of the records"
    );
    let Some(parquet) = parquet(raw) else { return println!("DuckDB is not installed") };
    let fields = ["event_type", "actor", "source", "outcome", "target"];
    let summary =
        "select date_trunc('hour', timestamp::timestamp), count(*) from t group by 1".to_owned();
    let by = |field: &str| format!("select {field}, count(*) from t group by 1");
    let count = format!("select count(*) from t where actor = '{ACTOR}'");
    let all: Vec<String> =
        std::iter::once(summary.clone()).chain(fields.iter().map(|field| by(field))).collect();
    let asks = |args: &'static [&'static str]| {
        move || auditctl(sealed, &[&["query", "--direct"], args].concat())
    };
    let overview = || overview(sealed, &fields);
    type Question<'a> = (&'a str, &'a dyn Fn() -> Duration, Vec<String>);
    let questions: [Question<'_>; 4] = [
        ("--actor --count", &asks(&["--actor", ACTOR, "--count"]), vec![count]),
        ("--group-by actor", &asks(&["--group-by", "actor"]), vec![by("actor")]),
        ("--histogram", &asks(&["--histogram"]), vec![summary]),
        ("over time and by five fields", &overview, all),
    ];
    for (name, ours, selects) in questions {
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        for _ in 0..PAIRS {
            let took = ours().as_secs_f64();
            let Some(peer) = of_parquet(&parquet, &selects) else { return };
            pairs.push((took, peer.as_secs_f64()));
        }
        let sorted = |mut of: Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of
        };
        let ratios = sorted(pairs.iter().map(|(ours, peer)| ours / peer).collect());
        let ours = sorted(pairs.iter().map(|pair| pair.0).collect())[PAIRS / 2];
        let peer = sorted(pairs.iter().map(|pair| pair.1).collect())[PAIRS / 2];
        println!(
            "{name:32} {ours:.4} s, DuckDB {peer:.4} s: {:.2} of its time ({:.2} to {:.2})",
            ratios[PAIRS / 2],
            ratios[0],
            ratios[PAIRS - 1]
        );
    }
    let bytes = |suffix: &str| -> u64 {
        let files = std::fs::read_dir(sealed).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|file| file.file_name().to_str().unwrap().ends_with(suffix));
        files.map(|file| file.metadata().unwrap().len()).sum()
    };
    let (columns, filters, segments) = (bytes(".columns"), bytes(".filter"), bytes(".log.gz"));
    let percent = |part: u64| part as f64 * 100.0 / segments as f64;
    println!(
        "columns are {:.2}% of the compressed segments, block filters {:.2}%",
        percent(columns),
        percent(filters)
    );
}

/// The engine alone: the command line has no option for it.
fn overview(sealed: &Path, fields: &[&str]) -> Duration {
    let begun = Instant::now();
    let fs: SharedFs = std::sync::Arc::new(OsFs);
    let mut reader = Reader::open(&fs, sealed, Bounds::default()).unwrap();
    let by = fields.iter().map(|field| (*field).to_owned()).collect();
    let request = Request { buckets: Some(60), by, ..Request::default() };
    reader.query(&request.resolve(Default::default()).unwrap()).unwrap();
    begun.elapsed()
}

/// The records of a plain file as Parquet, as DuckDB writes it.
fn parquet(raw: &Path) -> Option<std::path::PathBuf> {
    let target = raw.with_extension("parquet");
    let fields = ["timestamp", "event_type", "actor", "source", "target", "outcome"];
    let declared = fields.map(|field| format!("'{field}': 'VARCHAR'")).join(", ");
    let script = format!(
        "import duckdb\n\
         c = duckdb.connect(config={{'threads': 2}})\n\
         c.execute(\"copy (select * from read_json('{}', format='newline_delimited', \
         columns={{{declared}, 'details': 'JSON'}})) to '{}' (format parquet, compression zstd)\")",
        path(raw),
        path(&target)
    );
    python(&script).map(|_| target)
}

/// The time of the statements alone, one after the other.
fn of_parquet(parquet: &Path, selects: &[String]) -> Option<Duration> {
    let statements: String = selects
        .iter()
        .map(|select| format!("c.execute(\"\"\"{select}\"\"\").fetchall()\n"))
        .collect();
    let script = format!(
        "import duckdb, time\n\
         c = duckdb.connect(config={{'threads': 2}})\n\
         c.execute(\"create view t as select * from read_parquet('{}')\")\n\
         b = time.perf_counter()\n\
         {statements}\
         print(time.perf_counter() - b)",
        path(parquet)
    );
    python(&script)?.trim().parse().ok().map(Duration::from_secs_f64)
}

fn python(script: &str) -> Option<String> {
    let python = std::env::var("DUCKDB_PYTHON").ok()?;
    let output = Command::new(&python).args(["-c", script]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Pairs that are taken in turn.
const PAIRS: usize = 9;

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
