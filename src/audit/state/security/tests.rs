use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use super::file::{MAX_FILE_BYTES, MAX_WAITING_BYTES};
use super::floods::MAX_SOURCES;
use super::*;
use crate::clock::ManualClock;
use crate::fsio::{FileMeta, Fs, FsFile, OpenMode, OsFs, Space};

/// The real file system, with a switch for a full disk: half of what is written
/// then still arrives.
#[derive(Debug, Clone, Default)]
struct Filling(Arc<AtomicBool>);

#[derive(Debug)]
struct FillingFile(Box<dyn FsFile>, Arc<AtomicBool>);

impl FsFile for FillingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if !self.1.load(Ordering::SeqCst) {
            return self.0.write_at(bytes, offset);
        }
        if bytes.len() < 10 {
            return Err(io::Error::from_raw_os_error(28)); // ENOSPC
        }
        self.0.write_at(&bytes[..bytes.len() / 2], offset)
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn meta(&self) -> io::Result<FileMeta> {
        self.0.meta()
    }
}

impl Fs for Filling {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(FillingFile(OsFs.open(path, mode)?, Arc::clone(&self.0))))
    }
    crate::fsio::names_and_folders_of_the_system!();
    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        OsFs.meta(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        OsFs.space(path)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        OsFs.read(path, limit)
    }
}

struct Bench {
    dir: tempfile::TempDir,
    fs: Filling,
    clock: Arc<ManualClock>,
    counted: Arc<[AtomicU64; 8]>,
    sink: SecuritySink,
    log: SecurityLog,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs = Filling::default();
        let clock = Arc::new(ManualClock::new("2026-02-04T21:09:40Z".parse().unwrap()));
        let counted: Arc<[AtomicU64; 8]> = Arc::default();
        let counter = Arc::clone(&counted);
        let (sink, log) = SecurityLog::new(
            Arc::new(fs.clone()),
            dir.path().join("security_events.log"),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(move |kind, _, _| {
                counter[kind as usize].fetch_add(1, Ordering::SeqCst);
            }),
        );
        Self { dir, fs, clock, counted, sink, log }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("security_events.log")
    }

    fn disk_is_full(&self, full: bool) {
        self.fs.0.store(full, Ordering::SeqCst);
    }

    fn counted(&self, kind: SecurityKind) -> u64 {
        self.counted[kind as usize].load(Ordering::SeqCst)
    }

    fn refuse(&self, times: u64) {
        for _ in 0..times {
            self.sink.report(SecurityKind::RateLimited, Some("billing"), "over its rate limit");
        }
    }

    fn a_second_later(&self) {
        self.clock.advance(Duration::from_secs(1));
    }

    fn text(&self) -> String {
        String::from_utf8(OsFs.read(&self.path(), 1 << 30).unwrap()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events that the lines stand for.
    fn sum(&self) -> u64 {
        self.lines().iter().map(count_of).sum()
    }
}

fn count_of(line: &Value) -> u64 {
    line.get("count").map_or(1, |count| count.as_u64().unwrap())
}

#[test]
fn an_event_is_counted_and_becomes_one_line() {
    let bench = Bench::new();
    bench.sink.report(SecurityKind::Unauthorized, Some("uid 1000"), "may not write");
    bench.sink.report(SecurityKind::LogTampered, None, "audit.log was deleted");
    bench.log.drain().unwrap();
    assert_eq!(
        bench.text(),
        concat!(
            r#"{"timestamp":"2026-02-04T21:09:40.000000Z","kind":"unauthorized","source":"uid 1000","detail":"may not write"}"#,
            "\n",
            r#"{"timestamp":"2026-02-04T21:09:40.000000Z","kind":"log_tampered","detail":"audit.log was deleted"}"#,
            "\n"
        )
    );
    assert_eq!(bench.counted(SecurityKind::Unauthorized), 1);
    assert_eq!(OsFs.meta(&bench.path()).unwrap().mode, 0o600);
}

#[test]
fn kinds_are_named_once_and_numbered_in_order() {
    for (index, kind) in SecurityKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
        let debug = format!("{kind:?}").to_lowercase();
        assert_eq!(kind.as_str().replace('_', ""), debug);
    }
}

#[test]
fn nothing_to_write_makes_no_file() {
    let bench = Bench::new();
    bench.log.drain().unwrap();
    assert!(OsFs.meta(&bench.path()).is_err());
}

#[test]
fn texts_are_cleaned_and_cut_at_whole_characters() {
    let bench = Bench::new();
    let source = format!("a\u{1b}[2J\n{}", "ä".repeat(300));
    bench.sink.report(SecurityKind::Malformed, Some(&source), &"\u{7f}€\"".repeat(400));
    bench.log.drain().unwrap();
    let lines = bench.lines();
    let (source, detail) =
        (lines[0]["source"].as_str().unwrap(), lines[0]["detail"].as_str().unwrap());
    assert!(source.starts_with("a\u{fffd}[2J\u{fffd}ä"), "{source}");
    assert!(detail.starts_with("\u{fffd}€\""), "{detail}");
    assert!((MAX_SOURCE_BYTES - 3..=MAX_SOURCE_BYTES).contains(&source.len()));
    assert!((MAX_DETAIL_BYTES - 3..=MAX_DETAIL_BYTES).contains(&detail.len()));
    assert!(!bench.text().trim_end().chars().any(char::is_control));
}

#[test]
fn a_flood_becomes_one_line_a_second_and_a_calm_second_ends_it() {
    let bench = Bench::new();
    bench.refuse(5_000);
    bench.log.drain().unwrap();
    assert_eq!(bench.sum(), 10, "the rest waits for the second to end");
    bench.a_second_later();
    bench.log.drain().unwrap();
    let last = bench.lines().pop().unwrap();
    assert_eq!((count_of(&last), bench.lines().len()), (4_990, 11));
    assert_eq!(last["source"], "billing");

    for _ in 0..3 {
        bench.refuse(100);
        bench.a_second_later();
        bench.log.drain().unwrap();
    }
    let counts: Vec<u64> = bench.lines()[11..].iter().map(count_of).collect();
    assert_eq!(counts, [100, 100, 100], "it goes on: one line a second");

    bench.a_second_later();
    bench.refuse(3);
    bench.log.drain().unwrap();
    assert_eq!(bench.lines()[14..].iter().map(count_of).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(bench.counted(SecurityKind::RateLimited), 5_303);
    assert_eq!(bench.sum(), 5_303);
}

#[test]
fn one_kind_or_source_does_not_hide_another() {
    let bench = Bench::new();
    bench.refuse(5_000);
    bench.sink.report(SecurityKind::RateLimited, Some("shop"), "over its rate limit");
    bench.sink.report(SecurityKind::Malformed, Some("billing"), "no JSON");
    bench.log.drain().unwrap();
    assert_eq!(bench.lines().len(), 12);
}

#[test]
fn the_end_writes_floods_that_still_go_on() {
    let bench = Bench::new();
    bench.refuse(50);
    bench.log.finish().unwrap();
    assert_eq!(bench.sum(), 50);
    bench.refuse(50);
    let Bench { dir, log, .. } = bench;
    drop(log);
    let text = OsFs.read(&dir.path().join("security_events.log"), 1 << 20).unwrap();
    assert!(String::from_utf8(text).unwrap().ends_with("\"count\":50}\n"));
}

#[test]
fn sources_without_number_take_bounded_memory_and_are_all_counted() {
    let bench = Bench::new();
    let sources = 10 * MAX_SOURCES as u64;
    for source in 0..sources {
        for _ in 0..12 {
            bench.sink.report(SecurityKind::HostilePeer, Some(&source.to_string()), "flood");
        }
    }
    assert!(bench.sink.0.queue.len() <= QUEUE_LINES);
    bench.log.finish().unwrap();
    assert_eq!(bench.sum(), sources * 12);
    let dropped = bench.lines().into_iter().find(|line| line.get("source").is_none()).unwrap();
    assert_eq!(dropped["kind"], "hostile_peer");
    assert!(count_of(&dropped) > 1_000, "{dropped}");
}

#[test]
fn a_full_disk_keeps_the_lines_and_leaves_no_half_line() {
    let bench = Bench::new();
    bench.sink.report(SecurityKind::Oversize, None, "before");
    bench.log.drain().unwrap();
    let before = bench.text();

    bench.disk_is_full(true);
    bench.sink.report(SecurityKind::Oversize, None, "during");
    let error = bench.log.drain().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("security_events.log"), "{error}");
    assert_eq!(bench.text(), before);

    bench.disk_is_full(false);
    bench.sink.report(SecurityKind::Oversize, None, "after");
    bench.log.drain().unwrap();
    let details: Vec<Value> = bench.lines().iter().map(|line| line["detail"].clone()).collect();
    assert_eq!(details, ["before", "during", "after"]);
}

#[test]
fn a_disk_that_stays_full_costs_bounded_memory_and_no_count() {
    let bench = Bench::new();
    bench.disk_is_full(true);
    let long = "x".repeat(MAX_DETAIL_BYTES);
    let events = 6_000_u64;
    for n in 0..events {
        bench.sink.report(SecurityKind::Validation, Some(&n.to_string()), &long);
        if n % 500 == 0 {
            assert!(bench.log.drain().is_err());
        }
    }
    let longest_line = 2 * (MAX_DETAIL_BYTES + MAX_SOURCE_BYTES) + 128;
    let bound = MAX_WAITING_BYTES + QUEUE_LINES * longest_line;
    assert!(bench.log.file.lock().unwrap().waiting_bytes() < bound);
    bench.disk_is_full(false);
    bench.log.finish().unwrap();
    bench.log.finish().unwrap();
    assert_eq!(bench.sum(), events);
}

#[test]
fn the_file_is_rotated_before_it_grows_past_its_bound() {
    let bench = Bench::new();
    let old = bench.dir.path().join("security_events.log.1");
    let nearly_full = "{}\n".repeat(MAX_FILE_BYTES as usize / 3 - 50);
    for round in ["first", "second"] {
        let file = OsFs.open(&bench.path(), OpenMode::Create).unwrap();
        file.write_all_at(nearly_full.as_bytes(), 0).unwrap();
        let source = Some(round);
        bench.sink.report(SecurityKind::Validation, source, "it still fits");
        bench.log.drain().unwrap();
        assert!(bench.text().starts_with(&nearly_full) && bench.text().contains(round));
        bench.sink.report(SecurityKind::Validation, source, "and this does not");
        bench.log.drain().unwrap();

        let lines = bench.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (&lines[0]["source"], &lines[0]["detail"]),
            (&round.into(), &"and this does not".into())
        );
        let kept = String::from_utf8(OsFs.read(&old, MAX_FILE_BYTES).unwrap()).unwrap();
        assert!(kept.ends_with("\"detail\":\"it still fits\"}\n") && kept.contains(round));
    }
    let names = OsFs.list(bench.dir.path()).unwrap();
    assert_eq!(names, ["security_events.log", "security_events.log.1"]);
}

#[test]
fn a_deleted_or_replaced_file_is_noticed() {
    let bench = Bench::new();
    let note = |detail: &str| {
        bench.sink.report(SecurityKind::LogTampered, None, detail);
        bench.log.drain().unwrap();
    };
    note("one");
    OsFs.remove(&bench.path()).unwrap();
    note("two");
    assert_eq!(bench.lines()[0]["detail"], "two");

    OsFs.rename(&bench.path(), &bench.dir.path().join("elsewhere")).unwrap();
    let other = OsFs.open(&bench.path(), OpenMode::CreateNew).unwrap();
    other.write_all_at(b"{\"half\":", 0).unwrap();
    note("three");
    let text = bench.text();
    let (half, rest) = text.split_once('\n').unwrap();
    assert_eq!(half, "{\"half\":", "what was there stays");
    assert!(rest.contains("three") && rest.ends_with("}\n"), "{rest}");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let bench = Bench::new();
    OsFs.create_dir_all(&bench.path()).unwrap();
    bench.sink.report(SecurityKind::LogTampered, None, "a directory");
    assert!(bench.log.drain().is_err());
}

#[test]
fn strangers_push_neither_others_lines_nor_the_file_away() {
    let bench = Bench::new();
    bench.sink.report(SecurityKind::LogTampered, None, "audit.log replaced");
    // A day of them, each from an address of its own.
    const MINUTES: u64 = 24 * 60;
    const A_MINUTE: u64 = 100;
    for minute in 0..MINUTES {
        for address in 0..A_MINUTE {
            let address = format!("2001:db8::{minute:x}:{address:x}");
            bench.sink.report_stranger(SecurityKind::Unauthorized, Some(&address), "no token");
            if address.ends_with(":0") {
                bench.sink.report(SecurityKind::Malformed, Some("billing"), "no JSON");
            }
            if address.ends_with('f') {
                bench.log.drain().unwrap();
            }
        }
        bench.clock.advance(Duration::from_secs(60));
    }
    bench.log.finish().unwrap();
    let lines = bench.lines();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let times = |kind| of(kind).iter().map(|line| line["count"].as_u64().unwrap_or(1)).sum::<u64>();
    assert_eq!(of("log_tampered").len(), 1, "the first line is still there");
    assert_eq!(of("malformed").len() as u64, MINUTES, "nobody else lost a line");
    assert_eq!(times("unauthorized"), MINUTES * A_MINUTE, "none is uncounted");
    assert_eq!(bench.counted(SecurityKind::Unauthorized), MINUTES * A_MINUTE);
    assert!(of("unauthorized").iter().all(|line| line["stranger"] == true));
    assert!(of("malformed").iter().all(|line| line["stranger"].is_null()));
    let bytes = std::fs::metadata(bench.path()).unwrap().len();
    assert!(bytes < file::MAX_FILE_BYTES / 10, "a tenth of the file in a day: {bytes}");
}

#[test]
fn a_stranger_takes_at_most_half_of_the_queue() {
    let bench = Bench::new();
    for address in 0..5_000 {
        let address = address.to_string();
        bench.sink.report_stranger(SecurityKind::Unauthorized, Some(&address), "no token");
    }
    for source in 0..QUEUE_LINES / 2 {
        bench.sink.report(SecurityKind::Validation, Some(&source.to_string()), "invalid");
    }
    bench.log.finish().unwrap();
    let lines = bench.lines();
    let named = |kind: &str| {
        lines.iter().filter(|line| line["kind"] == kind && !line["source"].is_null()).count()
    };
    assert_eq!(named("validation"), QUEUE_LINES / 2, "each with its source");
    assert_eq!(named("unauthorized"), QUEUE_LINES / 2);
}
