//! A manifest of many segments has pages: files of its own for old segments. Losing one,
//! or putting another in its place, costs speed and raises an alarm; it costs no record.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::files::manifest::{InOneFile, Manifest};
use auditctl::audit::paths::is_page_name;
use auditctl::audit::read::verify::{Report, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, Event, Options, RetentionRule};
use auditctl::clock::ManualClock;
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, How, Op};

use crate::backups::all_compressed;
use crate::support::{Dir, count, eventually, failing, open, options, root_agrees, run, types};

/// Pages from the fifth segment on.
pub(crate) const SMALL: InOneFile = InOneFile { segments: 4, blocks: 8 };

fn small(dir: &Dir) -> Options {
    Options { in_one_file: SMALL, max_segment_size: 2_000, ..options(dir) }
}

fn fill(log: &AuditLog, events: usize) {
    for n in 0..events {
        let event = Event::new("e").actor(format!("{n}")).target("x".repeat(200));
        log.record(event).expect("accepted").wait_durable().expect("durable");
    }
    all_compressed(log);
}

/// A closed log whose manifest has pages.
fn paged() -> Dir {
    let dir = Dir::new();
    let log = open(small(&dir));
    fill(&log, 150);
    log.close().expect("closed");
    assert!(pages(&dir.log()).len() > 5);
    dir
}

fn pages(log_dir: &Path) -> BTreeSet<PathBuf> {
    let names = std::fs::read_dir(log_dir).expect("the log's directory");
    let paths = names.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| is_page_name(&path.file_name().expect("a name").to_string_lossy()))
        .collect()
}

fn listed(log_dir: &Path) -> BTreeSet<PathBuf> {
    let manifest = Manifest::load(&OsFs, &log_dir.join("audit.manifest.json"));
    let manifest = manifest.expect("read").expect("there");
    manifest.segments.entries().map(|page| log_dir.join(&page.file)).collect()
}

fn report(dir: &Dir) -> Report {
    let fs = Arc::new(OsFs) as auditctl::fsio::SharedFs;
    verify(&fs, &dir.log(), &Request::default(), &Unwatched).expect("a report").0
}

fn passes(dir: &Dir) {
    let report = report(dir);
    assert!(report.passed(), "{:?}", report.findings);
    root_agrees(&dir.log());
}

/// What commands say of the log's records.
fn answers(dir: &Dir) -> Vec<String> {
    [
        &["query", "--format", "ndjson", "--limit", "0", "--seq", "1..140"][..],
        &["query", "--actor", "77", "--format", "ndjson"],
        &["query", "--seq", "20..30", "--format", "ndjson"],
        &["query", "--type", "e", "--seq", "1..140", "--count"],
    ]
    .into_iter()
    .map(|args| {
        let (code, stdout, stderr) = run(dir, args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        assert!(!stdout.is_empty(), "{args:?}");
        stdout
    })
    .collect()
}

#[test]
fn a_log_whose_manifest_has_pages_is_the_same_log() {
    let dir = paged();
    passes(&dir);
    assert_eq!(pages(&dir.log()), listed(&dir.log()), "nothing else is left");
    let text = std::fs::read_to_string(dir.log().join("audit.manifest.json")).expect("read");
    assert!(text.starts_with(r#"{"type":"auditctl/manifest","format":2,"#), "{text:.60}");
    let before = answers(&dir);
    // Where the limit is the usual one, few segments need no pages.
    let log = open(Options { max_segment_size: 2_000, ..options(&dir) });
    fill(&log, 20);
    log.close().expect("closed");
    assert!(pages(&dir.log()).is_empty());
    let text = std::fs::read_to_string(dir.log().join("audit.manifest.json")).expect("read");
    assert!(text.starts_with(r#"{"type":"auditctl/manifest","format":1,"#), "{text:.60}");
    assert_eq!(answers(&dir), before);
    passes(&dir);
    let log = open(small(&dir));
    fill(&log, 20);
    log.close().expect("closed");
    assert!(!pages(&dir.log()).is_empty());
    assert_eq!(answers(&dir), before);
    passes(&dir);
}

#[test]
fn a_version_that_knows_no_pages_says_that_a_newer_one_made_the_manifest() {
    let dir = paged();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reader-1/verify.py");
    let python = std::process::Command::new("python3").arg(script).arg(dir.log()).output();
    let python = python.expect("python3");
    let said = String::from_utf8_lossy(&python.stderr).into_owned();
    assert_eq!(python.status.code(), Some(3), "{said}");
    assert!(said.contains("audit.manifest.json"), "{said}");
}

#[test]
fn a_page_that_is_lost_or_forged_costs_no_record() {
    type Deed = (&'static str, fn(&Dir));
    let deeds: [Deed; 6] = [
        ("removed", |dir| {
            let page = pages(&dir.log()).into_iter().nth(2).expect("a page");
            std::fs::remove_file(page).expect("removed");
        }),
        ("all removed", |dir| {
            pages(&dir.log()).iter().for_each(|page| std::fs::remove_file(page).expect("removed"));
        }),
        ("altered", |dir| {
            let page = pages(&dir.log()).into_iter().nth(1).expect("a page");
            let text = std::fs::read_to_string(&page).expect("read");
            std::fs::write(&page, text.replacen("\"sha256\":\"", "\"sha256\":\"0", 1))
                .expect("written");
        }),
        ("cut", |dir| {
            let page = pages(&dir.log()).into_iter().next().expect("a page");
            let text = std::fs::read(&page).expect("read");
            std::fs::write(&page, &text[..text.len() / 2]).expect("written");
        }),
        ("another's", |dir| {
            let pages: Vec<PathBuf> = pages(&dir.log()).into_iter().collect();
            std::fs::copy(&pages[3], &pages[0]).expect("copied");
        }),
        // It would hide the records of its segments from whoever believed it.
        ("emptied of segments", |dir| {
            let page = pages(&dir.log()).into_iter().nth(3).expect("a page");
            let text = std::fs::read_to_string(&page).expect("read");
            let mut value: serde_json::Value = serde_json::from_str(&text).expect("json");
            value["segments"].as_array_mut().expect("segments").truncate(1);
            std::fs::write(&page, value.to_string()).expect("written");
        }),
    ];
    for (what, deed) in deeds {
        let dir = paged();
        let before = answers(&dir);
        let types = types(&dir.log());
        deed(&dir);
        let found = report(&dir);
        assert!(!found.passed(), "{what}: verify tells");
        assert!(
            found.findings.iter().all(|finding| finding.file == "audit.manifest.json"),
            "{what}: {:?}",
            found.findings
        );
        let (code, stdout, _) = run(&dir, &["query", "--actor", "77", "--format", "ndjson"]);
        assert!(code != 0 || stdout == before[1], "{what}: no answer lacks a record");
        let log = open(small(&dir));
        all_compressed(&log);
        log.close().expect("closed");
        assert_eq!(answers(&dir), before, "{what}");
        assert_eq!(self::types(&dir.log())[..types.len()], types, "{what}");
        assert_eq!(count(&dir.log(), "audit.recovered"), 1, "{what}");
        assert_eq!(pages(&dir.log()), listed(&dir.log()), "{what}");
        passes(&dir);
    }
}

#[test]
fn pages_that_go_under_the_running_writer_are_put_back_and_recorded() {
    let dir = Dir::new();
    let log = open(small(&dir));
    fill(&log, 100);
    eventually("it has pages, and all that is compressed stands in what is stored", || {
        let manifest = Manifest::load(&OsFs, &dir.log().join("audit.manifest.json"));
        let segments = manifest.expect("read").expect("there").segments;
        segments.len() == log.manifest().segments.len()
            && segments.iter().all(|segment| segment.sha256.is_some())
            && pages(&dir.log()) == listed(&dir.log())
            && pages(&dir.log()).len() > 5
    });
    let before = pages(&dir.log());
    let (first, second) = (before.first().expect("a page"), before.iter().nth(1).expect("a page"));
    // They have been looked at once.
    std::thread::sleep(std::time::Duration::from_millis(600));
    std::fs::remove_file(first).expect("removed");
    std::fs::write(second, "{}").expect("written");
    let told = || count(&dir.log(), "audit.file_replaced");
    eventually("both are told", || told() >= 2);
    eventually("both are back", || {
        before.iter().all(|page| std::fs::read(page).is_ok_and(|text| text.len() > 10))
    });
    let manifest = Manifest::load(&OsFs, &dir.log().join("audit.manifest.json"));
    assert!(manifest.expect("read").expect("there").segments.len() > 10);
    log.close().expect("closed");
    passes(&dir);
}

#[test]
fn whatever_fails_once_while_a_page_is_stored_costs_nothing() {
    std::thread::scope(|scope| {
        for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::SyncDir] {
            for after in [0, 3] {
                scope.spawn(move || {
                    let dir = Dir::new();
                    let (with, fs) = failing(&dir);
                    let name_contains = if op == Op::SyncDir { "logs" } else { ".page." };
                    let log = open(Options {
                        in_one_file: SMALL,
                        max_segment_size: 2_000,
                        overflow_timeout: std::time::Duration::from_secs(20),
                        ..with
                    });
                    fs.plan(Fault {
                        op,
                        name_contains: name_contains.to_owned(),
                        after: after * if op == Op::SyncDir { 20 } else { 1 },
                        times: 1,
                        how: How::Errno(5),
                    });
                    fill(&log, 60);
                    log.close().expect("closed");
                    let fine = Manifest::load(&OsFs, &dir.log().join("audit.manifest.json"));
                    let end = fine.expect("read").expect("there").end_seq();
                    assert!(end > 50, "{op:?}: {end}");
                    passes(&dir);
                });
            }
        }
    });
}

#[test]
fn retention_takes_pages_out_and_leaves_none_behind() {
    let dir = Dir::new();
    let clock = Arc::new(ManualClock::new("2026-02-04T21:09:40Z".parse().expect("a time")));
    let with = || Options {
        clock: clock.clone(),
        retention_rule: RetentionRule::RemovesWithoutBackup,
        ..small(&dir)
    };
    let log = open(with());
    fill(&log, 100);
    log.close().expect("closed");
    let old = pages(&dir.log());
    assert!(old.len() > 5);
    clock.advance(std::time::Duration::from_secs(60 * 86_400));
    let log = open(with());
    fill(&log, 60);
    log.close().expect("closed");
    clock.advance(std::time::Duration::from_secs(50 * 86_400));
    let log = open(with());
    clock.advance(std::time::Duration::from_secs(3_601));
    eventually("the old ones are removed", || {
        log.record(Event::new("tick")).expect("accepted").wait_durable().expect("durable");
        log.manifest().pruned.end() > 90
    });
    all_compressed(&log);
    log.close().expect("closed");
    assert_eq!(pages(&dir.log()), listed(&dir.log()));
    passes(&dir);
    let log = open(with());
    log.close().expect("closed");
    passes(&dir);
}

#[test]
fn a_log_with_pages_is_backed_up_and_restored() {
    let dir = paged();
    let before = answers(&dir);
    let (code, _, stderr) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(answers(&dir), before);
    let log = open(small(&dir));
    fill(&log, 20);
    log.close().expect("closed");
    assert_eq!(pages(&dir.log()), listed(&dir.log()));
    passes(&dir);
}
