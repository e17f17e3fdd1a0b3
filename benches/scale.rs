//! What many hosts cost: `cargo bench --bench scale`.
//!
//! Measures slopes on archives in a directory: what an hour of one host ships, what `fleet list` and `fleet verify`
//! cost for each log, each object and each record, and how much memory they need. From these it computes what more
//! hosts cost a day. `-- write` puts the tables into docs/scale.md.
//!
//! `SCALE_LOGS` is how many logs the larger simulated bucket has (default 1000).

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auditctl::archive::{Archiver, Cuts, HostName, ObjectName};
use auditctl::audit::{AuditLog, Options, Origin, ParseMode, Via};
use auditctl::backup::Unwatched;
use auditctl::clock::{Clock, ManualClock, Timestamp};
use auditctl::fsio::OsFs;
use auditctl::store::{BackupStore, LocalStore, Object, Page, Put, Reading, Removed, StoreError};

mod support;
use support::{fixture, number};

/// What a host is assumed to do.
const EVENTS_PER_SECOND: u64 = 1;
const INTERVAL_SECONDS: u64 = 10;
const SIZES: [u64; 3] = [100, 10_000, 1_000_000];
const DAY: u64 = 86_400;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let hour = Hour::measure(home.path());
    let many = number("SCALE_LOGS", 1000);
    let few = many / 4;
    let small = Bucket::make(home.path().join("small"), few, 40);
    let large = Bucket::make(home.path().join("large"), many, 40);
    let long = Bucket::make(home.path().join("long"), few / 10, 4_000);
    let short = Bucket::make(home.path().join("short"), few / 10, 40);
    let [small, large, long, short] = [small, large, long, short].map(|bucket| bucket.look());
    let text = tables(cores, &hour, &small, &large, &long, &short);
    println!("{text}");
    if std::env::args().any(|arg| arg == "write") {
        write_into("docs/scale.md", &text);
    }
}

/// A store in a directory that counts what it is asked.
#[derive(Debug)]
struct Counted(LocalStore, Asked);

#[derive(Debug, Default)]
struct Asked {
    puts: AtomicU64,
    stats: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
}

impl BackupStore for Counted {
    fn url(&self, name: &str) -> String {
        self.0.url(name)
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.1.lists.fetch_add(1, Ordering::Relaxed);
        self.0.page(below, after)
    }

    fn stat_version(&self, name: &str, of: Option<&str>) -> Result<Option<Object>, StoreError> {
        self.1.stats.fetch_add(1, Ordering::Relaxed);
        self.0.stat_version(name, of)
    }

    fn open(&self, name: &str, of: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        self.1.gets.fetch_add(1, Ordering::Relaxed);
        self.0.open(name, of, from)
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        self.1.puts.fetch_add(1, Ordering::Relaxed);
        self.0.put_new(name, put)
    }

    fn remove(&self, name: &str, of: Option<&str>) -> Result<Removed, StoreError> {
        self.0.remove(name, of)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.0.abort_stale_uploads(older_than)
    }
}

/// What one host ships in an hour, and what it asks the store for.
struct Hour {
    puts: u64,
    stats: u64,
    gets: u64,
    lists: u64,
    tails: u64,
    events: u64,
    /// Objects that stay, and bytes by kind.
    kept: u64,
    data: u64,
    parquet: u64,
    tail: u64,
    proof: u64,
}

impl Hour {
    fn measure(home: &Path) -> Self {
        let (log_dir, bucket) = (home.join("hour"), home.join("hour-bucket"));
        std::fs::create_dir(&bucket).unwrap();
        let clock = Arc::new(ManualClock::new("2026-02-04T10:00:00Z".parse().unwrap()));
        let log = AuditLog::open(Options {
            clock: clock.clone(),
            rate_limit: None,
            // A pass waits for one. A host's is signed each second, and ten lie between passes.
            checkpoint_interval: Duration::from_millis(1),
            ..Options::new(&log_dir)
        })
        .unwrap();
        let store = Arc::new(Counted(LocalStore::new(&bucket), Asked::default()));
        let archiver = Archiver {
            fs: Arc::new(OsFs),
            clock: clock.clone(),
            store: store.clone(),
            log_dir,
            host: HostName::of("web-1"),
            cuts: Cuts::default(),
        };
        let mut session = archiver.begin().unwrap();
        let text = fixture();
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).cycle();
        let mut pass = |events: u64| {
            submit(&log, &mut lines, events);
            session.pass(&archiver, &Unwatched).unwrap()
        };
        // The keys, and what the log says of itself.
        pass(1);
        let begun: [u64; 4] = store.1.now();
        let before = objects(&bucket);
        for _ in 0..3_600 / INTERVAL_SECONDS {
            clock.advance(Duration::from_secs(INTERVAL_SECONDS));
            pass(EVENTS_PER_SECOND * INTERVAL_SECONDS);
        }
        let asked = store.1.now();
        log.close().unwrap();
        let mut hour = Self {
            puts: asked[0] - begun[0],
            stats: asked[1] - begun[1],
            gets: asked[2] - begun[2],
            lists: asked[3] - begun[3],
            tails: 0,
            events: 3_600 * EVENTS_PER_SECOND,
            kept: 0,
            data: 0,
            parquet: 0,
            tail: 0,
            proof: 0,
        };
        for (name, bytes) in objects(&bucket).into_iter().filter(|object| !before.contains(object))
        {
            match name.parse::<ObjectName>().unwrap() {
                ObjectName::Tail(..) => {
                    hour.tails += 1;
                    hour.tail += bytes;
                    continue;
                }
                ObjectName::Data(..) => hour.data += bytes,
                ObjectName::Parquet(..) => hour.parquet += bytes,
                _ => hour.proof += bytes,
            }
            hour.kept += 1;
        }
        assert!(hour.data > 0, "an hour ends in a data object");
        hour
    }
}

impl Asked {
    fn now(&self) -> [u64; 4] {
        [&self.puts, &self.stats, &self.gets, &self.lists]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

/// Records so many events, and waits until a checkpoint covers them.
fn submit<'a>(log: &AuditLog, lines: &mut impl Iterator<Item = &'a [u8]>, events: u64) {
    hand_in(log, lines, events);
    let session = log.session(&Origin::here(Via::Library), true);
    let last = session.record(auditctl::audit::Event::new("bench.mark")).unwrap().wait().unwrap();
    while signed(log) <= last {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Hands in so many events.
fn hand_in<'a>(log: &AuditLog, lines: &mut impl Iterator<Item = &'a [u8]>, events: u64) {
    let session = log.session(&Origin::here(Via::Library), true);
    let mut batch = auditctl::audit::Batch::new();
    for line in lines.by_ref().take(usize::try_from(events).unwrap()) {
        session.prepare(line, ParseMode::Strict, &mut batch).unwrap();
    }
    while !batch.is_empty() {
        if log.try_submit(&mut batch).unwrap().count == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// How many records the newest checkpoint is over: the note's second line.
fn signed(log: &AuditLog) -> u64 {
    log.checkpoint().lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

fn objects(bucket: &Path) -> Vec<(String, u64)> {
    let listed = LocalStore::new(bucket).list().unwrap();
    listed.into_iter().map(|object| (object.name, object.size)).collect()
}

/// A simulated bucket: so many real logs, each of so many events.
struct Bucket {
    dir: PathBuf,
    logs: u64,
}

/// What looking at one took.
struct Look {
    logs: u64,
    records: u64,
    bytes: u64,
    objects: u64,
    list: Run,
    verify: Run,
    again: Run,
}

/// One run of the program.
struct Run {
    seconds: f64,
    peak_kib: u64,
}

impl Bucket {
    fn make(dir: PathBuf, logs: u64, events: u64) -> Self {
        std::fs::create_dir(&dir).unwrap();
        let text = fixture();
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).cycle();
        let clock: Arc<dyn Clock> = Arc::new(auditctl::clock::SystemClock);
        for host in 0..logs {
            let home = tempfile::tempdir_in(dir.parent().unwrap()).unwrap();
            let log =
                AuditLog::open(Options { rate_limit: None, ..Options::new(home.path()) }).unwrap();
            hand_in(&log, &mut lines, events);
            // Signs what came.
            log.close().unwrap();
            let archiver = Archiver {
                fs: Arc::new(OsFs),
                clock: clock.clone(),
                store: Arc::new(LocalStore::new(&dir)),
                log_dir: home.path().to_owned(),
                host: HostName::of(&format!("host-{host}")),
                cuts: Cuts { data_age: Duration::ZERO, ..Cuts::default() },
            };
            archiver.pass(&Unwatched).unwrap();
        }
        Self { dir, logs }
    }

    fn look(&self) -> Look {
        let listed = objects(&self.dir);
        let state = self.dir.with_extension("state");
        let state = state.to_string_lossy().into_owned();
        let bucket = self.dir.to_string_lossy().into_owned();
        let verify = ["fleet", "verify", &bucket, "--json", "--state", &state, "--trust-mtime"];
        let ends = listed.iter().filter_map(|(name, _)| match name.parse() {
            Ok(ObjectName::Checkpoint(_, size)) => Some(size),
            _ => None,
        });
        Look {
            logs: self.logs,
            records: ends.sum(),
            bytes: listed.iter().map(|object| object.1).sum(),
            objects: listed.len() as u64,
            list: run(&["fleet", "list", &bucket, "--json"]),
            verify: run(&verify),
            again: run(&verify),
        }
    }
}

/// Runs the program, and watches how much memory it takes.
fn run(args: &[&str]) -> Run {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_auditctl"))
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak_kib = 0;
    let status = format!("/proc/{}/status", child.id());
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kib = peak.unwrap_or(0).max(peak_kib);
        if let Some(ended) = child.try_wait().unwrap() {
            // Keys that are known only from the bucket are a finding.
            assert!(matches!(ended.code(), Some(0 | 1)), "{args:?}: {ended}");
            return Run { seconds: begun.elapsed().as_secs_f64(), peak_kib };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How much more the larger costs, for each unit that it has more.
fn slope(small: (f64, u64), large: (f64, u64)) -> f64 {
    (large.0 - small.0).max(0.0) / (large.1 - small.1) as f64
}

fn tables(
    cores: usize,
    hour: &Hour,
    small: &Look,
    large: &Look,
    long: &Look,
    short: &Look,
) -> String {
    let mut text = String::new();
    let today = Timestamp::from_micros(auditctl::clock::SystemClock.now().micros());
    let day = &today.to_string()[..10];
    let _ = writeln!(text, "Measured on {day}, {cores} cores, in a directory.\n");

    let _ = writeln!(
        text,
        "An hour of one host, {EVENTS_PER_SECOND} event/s, `interval` {INTERVAL_SECONDS} s:\n"
    );
    let _ = writeln!(text, "| what | how many | bytes | bytes an event |\n|---|---|---|---|");
    let events = hour.events as f64;
    let mut row = |what: &str, count: u64, bytes: u64| {
        let _ = writeln!(text, "| {what} | {count} | {bytes} | {:.0} |", bytes as f64 / events);
    };
    row("tails", hour.tails, hour.tail);
    row("data", 1, hour.data);
    row("Parquet", u64::from(hour.parquet > 0), hour.parquet);
    row("proof", hour.kept - 1 - u64::from(hour.parquet > 0), hour.proof);
    let _ = writeln!(
        text,
        "\nIt put {} objects, and asked for {} by name, {} to read, {} lists.\n",
        hour.puts, hour.stats, hour.gets, hour.lists
    );

    let _ = writeln!(text, "Simulated buckets:\n");
    let _ = writeln!(
        text,
        "| logs | records | objects | MB | `fleet list` | `fleet verify`, all | the same again | most memory |\n|---|---|---|---|---|---|---|---|"
    );
    for look in [short, long, small, large] {
        let peak = look.list.peak_kib.max(look.verify.peak_kib).max(look.again.peak_kib);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {:.2} s | {:.2} s | {:.2} s | {:.0} MiB |",
            look.logs,
            look.records,
            look.objects,
            look.bytes as f64 / 1e6,
            look.list.seconds,
            look.verify.seconds,
            look.again.seconds,
            peak as f64 / 1024.0
        );
    }

    let per = |cost: fn(&Look) -> f64, of: fn(&Look) -> u64, from: &Look, to: &Look| {
        slope((cost(from), of(from)), (cost(to), of(to)))
    };
    let list_log = per(|l| l.list.seconds, |l| l.logs, small, large);
    let verify_log = per(|l| l.verify.seconds, |l| l.logs, small, large);
    let again_log = per(|l| l.again.seconds, |l| l.logs, small, large);
    let verify_record = per(|l| l.verify.seconds, |l| l.records, short, long);
    let kib_log = per(|l| l.verify.peak_kib as f64, |l| l.logs, small, large);
    let objects_log = large.objects as f64 / large.logs as f64;
    let _ = writeln!(
        text,
        "\nSo a log costs {:.2} ms to list and {:.2} ms to verify ({:.2} ms where nothing is new), with {:.1} KiB of memory and \
         {objects_log:.1} objects; a record costs {:.2} µs to verify.\n",
        list_log * 1e3,
        verify_log * 1e3,
        again_log * 1e3,
        kib_log,
        verify_record * 1e6
    );

    let _ = writeln!(text, "A day, computed from these:\n");
    let _ = writeln!(
        text,
        "| hosts | events | PUT | HEAD | objects kept | data + proof | Parquet | in `tail/` after two days | a day's records verified | memory for it |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for hosts in SIZES {
        let per_day = |of_hour: u64| of_hour * 24 * hosts;
        let records = DAY * EVENTS_PER_SECOND * hosts;
        let seconds = verify_log * hosts as f64 + verify_record * records as f64;
        let _ = writeln!(
            text,
            "| {hosts} | {} | {} | {} | {} | {} | {} | {} objects | {} | {:.0} MiB |",
            short_number(records as f64),
            short_number(per_day(hour.puts) as f64),
            short_number(per_day(hour.puts + hour.stats) as f64),
            short_number(per_day(hour.kept) as f64),
            bytes(per_day(hour.data + hour.proof)),
            bytes(per_day(hour.parquet)),
            short_number(per_day(hour.tails) as f64 * 2.0),
            time(seconds),
            (large.verify.peak_kib as f64 + kib_log * (hosts as f64 - large.logs as f64)).max(0.0)
                / 1024.0
        );
    }
    text
}

fn short_number(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1} billion", n / 1e9),
        n if n >= 1e6 => format!("{:.1} million", n / 1e6),
        n if n >= 1e4 => format!("{:.0} thousand", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e12 => format!("{:.1} TB", b / 1e12),
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.0} MB", b / 1e6),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 172_800.0 => format!("{:.1} days", s / 86_400.0),
        s if s >= 7_200.0 => format!("{:.1} h", s / 3_600.0),
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s => format!("{s:.0} s"),
    }
}

/// Puts the text between the page's marks.
fn write_into(page: &str, text: &str) {
    let (begin, end) = ("<!-- begin: scale -->\n", "<!-- end: scale -->");
    let whole = std::fs::read_to_string(page).unwrap();
    let (head, rest) = whole.split_once(begin).expect("the mark where the tables begin");
    let (_, tail) = rest.split_once(end).expect("the mark where they end");
    std::fs::write(page, format!("{head}{begin}{text}{end}{tail}")).unwrap();
}
