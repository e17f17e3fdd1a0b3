//! A collector that ships its log: what reaches the archive, what it costs, what is told of it,
//! and what is left when it is killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use auditctl::archive::{ArchiveStatus, Archiver, Position};
use auditctl::backup::Unwatched;
use auditctl::clock::{Clock, ManualClock, SystemClock, Timestamp};
use auditctl::fsio::OsFs;
use auditctl::store::fault::{Fault, Operation};
use auditctl::store::{BackupStore, LocalStore};
use rustix::process::Signal;
use serde_json::Value;

use crate::archive::Fleet;
use crate::backups::record_into;
use crate::rpo::Rpo;
use crate::serving::{Peer, Serving};
use crate::support::{
    Dir, Moments, all_lines, count, eventually, json, measured, ok, open, options, run, types,
};

/// A directory that is shipped to.
pub(crate) fn bucket(dir: &Dir) -> PathBuf {
    let bucket = dir.path().join("bucket");
    std::fs::create_dir_all(&bucket).expect("a directory");
    bucket
}

/// Settings that ship there every second.
pub(crate) fn ships_to(place: &str) -> String {
    format!(
        "[archive]\ndestination = \"{place}\"\ninterval = \"1s\"\n\n[rate_limit]\nenabled = false\n"
    )
}

fn to(bucket: &Path) -> String {
    ships_to(bucket.to_str().expect("UTF-8"))
}

fn send(peer: &mut Peer, n: usize) {
    for n in 0..n {
        let answer = peer.ask(&format!("{{\"event_type\":\"login\",\"actor\":\"a{n}\"}}"));
        assert!(answer.get("ok").is_some(), "{answer}");
    }
}

fn shipped(dir: &Dir) -> u64 {
    let position = Position::load(&OsFs, &dir.log()).expect("readable");
    position.map_or(0, |position| position.shipped.end())
}

fn status(dir: &Dir) -> ArchiveStatus {
    ArchiveStatus::read(&OsFs, &dir.log()).expect("readable").unwrap_or_default()
}

/// What the archive leads to, whatever was lost with the host.
pub(crate) fn restored(dir: &Dir, archive: &str) -> Vec<String> {
    let target = tempfile::tempdir_in(dir.path()).expect("a directory");
    let path = target.path().join("log");
    let path = path.to_str().expect("UTF-8");
    ok(dir, &["restore", archive, "--target", path, "--force"]);
    all_lines(Path::new(path))
}

#[test]
fn an_unknown_scheme_is_named_and_so_are_those_that_there_are() {
    let dir = Dir::new();
    ok(&dir, &["record", "--type", "login"]);
    for command in [&["archive", "ftp://acme/x"][..], &["restore", "ftp://acme/x"]] {
        let (code, said) = json(&dir, command);
        assert_eq!((code, &said["error"]["kind"]), (2, &Value::from("usage")), "{said}");
        let text = said["error"].to_string();
        for part in ["ftp://", "s3://", "az://", "gs://", "directory"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert!(!dir.path().join("ftp:").exists());
}

#[test]
fn a_restore_from_an_archive_names_the_archive() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    ok(&dir, &["record", "--type", "login"]);
    ok(&dir, &["archive", "bucket"]);
    let name = bucket.to_str().expect("UTF-8");
    let (code, out, err) = run(&dir, &["restore", name, "--target", "there"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(name) && !out.contains("auditctl-"), "{out}");
    let (code, said) = json(&dir, &["restore", name, "--dry-run"]);
    assert_eq!((code, &said["restore"]["backup"]), (0, &Value::from(name)), "{said}");
    let recorded = all_lines(&dir.path().join("there")).join("\n");
    assert!(!recorded.contains("audit.restored") || recorded.contains(name), "{recorded}");
}

#[test]
fn archive_without_a_destination_ships_to_the_one_of_the_settings() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    ok(&dir, &["record", "--type", "login"]);
    let (code, said) = json(&dir, &["archive"]);
    assert_eq!((code, &said["error"]["kind"]), (2, &Value::from("usage")), "{said}");
    std::fs::write(dir.path().join("auditctl.toml"), to(&bucket)).expect("settings");
    let (code, said) = json(&dir, &["archive"]);
    assert_eq!((code, &said["archive"]["destination"]), (0, &bucket.to_str().into()), "{said}");
    // How it went is in health, also where no collector ships.
    let (_, health) = json(&dir, &["health"]);
    let checks = health["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["component"] == "archive").expect("the check");
    assert_eq!(check["status"], "healthy", "{check}");
    for wrong in ["relative", "ftp://acme/x", "s3://A"] {
        std::fs::write(dir.path().join("auditctl.toml"), ships_to(wrong)).expect("settings");
        for command in [&["archive"][..], &["serve", "--http", "off"]] {
            let (code, said) = json(&dir, command);
            let kind = &said["error"]["kind"];
            assert_eq!((code, kind), (2, &Value::from("config")), "{wrong}: {said}");
        }
    }
}

/// What is recorded is in the archive soon, and so is the end of the log once it is closed.
#[test]
fn a_collector_ships_what_it_records_and_its_own_end() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let serving = Serving::start(&dir, &to(&bucket));
    send(&mut serving.connect(), 20);
    eventually("it is shipped", || shipped(&dir) >= 21);
    // Who would ship beside it is told why not.
    let (code, said) = json(&dir, &["archive", "bucket"]);
    assert_eq!((code, &said["error"]["kind"]), (4, &Value::from("locked")), "{said}");
    let hint = said["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("auditctl serve") && hint.contains("health"), "{hint}");
    let check = health(&dir);
    assert_eq!((&check["status"], &check["code"]), (&"healthy".into(), &Value::Null), "{check}");
    let metrics = check["metrics"].as_object().expect("metrics");
    for name in ["objects", "bytes", "last_success_timestamp_seconds"] {
        assert!(metrics[name].as_f64().is_some_and(|many| many > 0.0), "{name}: {check}");
    }
    serving.terminate();
    let lines = all_lines(&dir.log());
    assert_eq!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
    assert_eq!(shipped(&dir), lines.len() as u64);
    assert_eq!(restored(&dir, "bucket"), lines);
}

fn health(dir: &Dir) -> Value {
    let (_, health) = json(dir, &["health"]);
    let checks = health["checks"].as_array().expect("checks").clone();
    checks.into_iter().find(|check| check["component"] == "archive").expect("the check")
}

/// An outage: events are taken, it is told once, health knows, and what is missing is shipped
/// when the archive is there again. A stop during it takes no longer for it.
#[test]
fn an_outage_is_told_and_caught_up_with() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let away = dir.path().join("away");
    let serving = Serving::start(&dir, &to(&bucket));
    let mut peer = serving.connect();
    send(&mut peer, 5);
    eventually("it is shipped", || shipped(&dir) >= 6);
    std::fs::rename(&bucket, &away).expect("renamed");
    eventually("it fails", || {
        send(&mut peer, 5);
        status(&dir).failures >= 3
    });
    let check = health(&dir);
    assert_eq!((&check["status"], &check["code"]), (&"warning".into(), &"archive.failing".into()));
    assert_eq!(check["metrics"]["last_error"], "no_bucket", "{check}");
    assert!(check["metrics"]["lag_records"].as_u64().is_some_and(|lag| lag >= 5), "{check}");
    let told = || serving.stderr().matches("[archive_failing]").count();
    assert_eq!(told(), 1, "{}", serving.stderr());
    std::fs::rename(&away, &bucket).expect("renamed");
    eventually("it is caught up with", || shipped(&dir) == all_lines(&dir.log()).len() as u64);
    eventually("it is told", || serving.stderr().contains("[archive_recovered]"));
    assert_eq!(health(&dir)["status"], "healthy");
    std::fs::rename(&bucket, &away).expect("renamed");
    send(&mut peer, 1);
    eventually("it fails again", || status(&dir).failures >= 1);
    serving.terminate();
    assert_eq!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
}

/// SIGHUP: another destination, and none.
#[test]
fn a_reload_changes_where_it_ships_to() {
    let dir = Dir::new();
    let first = bucket(&dir);
    let second = dir.path().join("second");
    std::fs::create_dir(&second).expect("a directory");
    let serving = Serving::start(&dir, "");
    send(&mut serving.connect(), 3);
    let reload = |settings: &str| {
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        serving.signal(Signal::HUP);
    };
    reload(&to(&first));
    eventually("it is shipped", || shipped(&dir) >= 4);
    reload(&to(&second));
    // The tail, with its checkpoint, is what makes it an archive; it comes after the keys.
    eventually("it is shipped there", || {
        let listed = LocalStore::new(&second).list().expect("listed");
        listed.iter().any(|object| object.name.starts_with("tail/"))
    });
    reload(&ships_to("ftp://acme"));
    eventually("it is refused", || serving.stderr().contains("[settings_kept]"));
    reload("");
    send(&mut serving.connect(), 3);
    serving.terminate();
    let lines = all_lines(&dir.log());
    let of_second = restored(&dir, "second");
    assert!(lines.starts_with(&of_second) && of_second.len() < lines.len());
}

/// Nothing new asks nobody; something new costs what it has to, and never a list.
#[test]
fn a_session_with_nothing_new_asks_the_store_nothing() {
    let fleet = Fleet::new();
    fleet.record(10);
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let archiver = Archiver { clock: clock.clone(), ..fleet.archiver() };
    let mut session = archiver.begin().expect("the lock");
    let calls = || {
        [Operation::List, Operation::Stat, Operation::Open, Operation::Put]
            .map(|operation| fleet.store.calls(operation))
    };
    session.pass(&archiver, &Unwatched).expect("shipped");
    let before = calls();
    for _ in 0..5 {
        let shipped = session.pass(&archiver, &Unwatched).expect("nothing new");
        assert!(shipped.objects.is_empty() && shipped.records == 0);
    }
    assert_eq!(calls(), before, "lists, stats, reads, puts");
    fleet.record(10);
    let shipped = session.pass(&archiver, &Unwatched).expect("shipped");
    assert_eq!((shipped.objects.len(), shipped.records), (1, 12));
    let after = calls();
    assert_eq!((after[0], after[2], after[3]), (before[0], before[2], before[3] + 1));
    // The archive is emptied while it runs: it is found before long, and filled again.
    std::fs::remove_dir_all(fleet.bucket()).expect("removed");
    std::fs::create_dir(fleet.bucket()).expect("a directory");
    clock.advance(Duration::from_secs(601));
    fleet.record(1);
    session.pass(&archiver, &Unwatched).expect("shipped");
    drop(session);
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

/// A pass that fails leaves nothing that the next one would believe.
#[test]
fn a_session_goes_on_after_every_failure() {
    let fleet = Fleet::new();
    let archiver = fleet.archiver();
    fleet.record(3);
    let mut session = archiver.begin().expect("the lock");
    let faults = [Fault::AnswerLost, Fault::Unreachable, Fault::Denied, Fault::AnswerLost];
    for fault in faults.into_iter().cycle().take(40) {
        fleet.record(1);
        fleet.store.next(Operation::Put, fault);
        let _ = session.pass(&archiver, &Unwatched);
        session.pass(&archiver, &Unwatched).expect("shipped");
    }
    drop(session);
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

/// A pass reads what is new, however long the active segment is.
#[test]
fn a_pass_reads_what_is_new_and_not_the_segment() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let log = open(options(&dir).max_segment_size(512 << 20));
    record_into(&log, 60_000);
    log.close().expect("closed");
    let size = std::fs::metadata(dir.log().join("audit.log")).expect("there").len();
    assert!(size > 8 << 20, "{size}");
    let settings = format!("max_segment_size = \"512MiB\"\n{}", to(&bucket));
    let serving = Serving::start(&dir, &settings);
    let mut peer = serving.connect();
    send(&mut peer, 1);
    eventually("it is shipped", || shipped(&dir) == all_lines(&dir.log()).len() as u64);
    let read = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", serving.pid())).expect("io");
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
        line.parse::<u64>().expect("a number")
    };
    let (before, puts) = (read(), status(&dir).objects);
    eventually("five passes", || {
        send(&mut peer, 1);
        std::thread::sleep(Duration::from_millis(100));
        status(&dir).objects >= puts + 5
    });
    let passes = status(&dir).objects - puts;
    let each = (read() - before) / passes;
    measured(&format!("{each} bytes read for each of {passes} passes; the segment has {size}"));
    assert!(each < size / 8, "{each} bytes a pass, of a segment of {size}");
    serving.terminate();
}

/// kill -9 of the host at any moment, again and again: what a committed checkpoint covers is
/// there, once, and nothing that was shipped is lost.
#[test]
fn a_hundred_kills_of_a_shipping_host_lose_nothing_that_was_shipped() {
    const KILLS: usize = 100;
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let settings = format!("checkpoint_interval = \"100ms\"\n{}", to(&bucket));
    let mut moments = Moments::up_to(Duration::from_millis(500), 11);
    let rpo = Rpo::of(&dir.log());
    let (mut safe, mut acknowledged) = (0, 0);
    for kill in 0..KILLS {
        let serving = Serving::start_with(&dir, &settings, &["--http", "off"], &[]);
        let mut peer = serving.connect();
        let until = Instant::now() + moments.next();
        while Instant::now() < until {
            (0..3).for_each(|_| rpo.send(&mut peer));
            acknowledged += 3;
        }
        serving.kill_nine();
        let now = shipped(&dir);
        moments.happened(now > safe);
        assert!(now >= safe, "the position went back: {now} after {safe}");
        safe = now;
        if kill % 20 == 19 {
            there_once(&dir, safe);
        }
    }
    assert!(safe > 0, "nothing was shipped");
    assert_eq!(count(&dir.log(), "login"), acknowledged, "P1");
    // One that ends well ships the rest.
    let serving = Serving::start_with(&dir, &settings, &["--http", "off"], &[]);
    serving.terminate();
    let lines = there_once(&dir, all_lines(&dir.log()).len() as u64);
    measured(&format!("{KILLS} kills, {acknowledged} events, {} records archived", lines.len()));
    measured(&format!("interval 1 s, a kill every half second: {}", rpo.told()));
}

/// What is restored is the log's beginning, with at least so many records, and no data object
/// holds a record that another one holds.
fn there_once(dir: &Dir, at_least: u64) -> Vec<String> {
    let lines = all_lines(&dir.log());
    let there = restored(dir, "bucket");
    assert!(there.len() as u64 >= at_least, "{} restored, {at_least} shipped", there.len());
    assert!(lines.starts_with(&there), "other records than the log's");
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut folders = vec![dir.path().join("bucket/data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "gz") {
                continue;
            }
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let range = name.split('.').nth(2).expect("a range").to_owned();
            let (first, end) = range.split_once('-').expect("a range");
            ranges.push((first.parse().expect("first"), end.parse().expect("end")));
        }
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0), "{ranges:?}");
    there
}

/// How old the newest record is that a lost host would lose, looked at again and again: printed,
/// since the machine that runs the tests decides it.
#[test]
fn what_a_lost_host_would_lose_is_measured() {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let serving = Serving::start(&dir, &to(&bucket));
    let mut peer = serving.connect();
    let mut accepted: Vec<Instant> = Vec::new();
    let mut lost: Vec<Duration> = Vec::new();
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        send(&mut peer, 1);
        accepted.push(Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        // The first record is the log's own.
        let safe = shipped(&dir).saturating_sub(1) as usize;
        if let Some(oldest) = accepted.get(safe).filter(|_| safe > 0) {
            lost.push(oldest.elapsed());
        }
    }
    lost.sort_unstable();
    assert!(lost.len() > 100, "{}", lost.len());
    let at = |share: usize| lost[(lost.len() - 1) * share / 100].as_millis();
    measured(&format!(
        "interval 1 s: a lost host loses the last {} ms at the median, {} ms at p99, {} ms at most",
        at(50),
        at(99),
        at(100)
    ));
    serving.terminate();
}

/// An archive that hangs for ever keeps nobody from taking events, and nobody from ending.
#[test]
fn a_store_that_never_answers_slows_neither_the_writer_nor_the_end() {
    let course = auditctl::archive::Course {
        open: Arc::new(|_| {
            std::thread::sleep(Duration::from_secs(3_600));
            unreachable!("the test has ended")
        }),
        destination: "hangs".to_owned(),
        interval: Duration::from_secs(1),
        host: auditctl::archive::HostName::of("web-1"),
        cuts: auditctl::archive::Cuts::default(),
    };
    let dir = Dir::new();
    let log = open(options(&dir));
    record_into(&log, 10);
    let clock = Arc::new(auditctl::clock::SystemClock);
    let shipping = auditctl::archive::Shipping::start(
        (Arc::new(OsFs), clock),
        &dir.log(),
        Some(course),
        |_| (),
    );
    let shipping = shipping.expect("started");
    record_into(&log, 10);
    log.close().expect("closed");
    shipping.end(Duration::from_millis(200));
    assert_eq!(status(&dir).at, Timestamp::default(), "no pass has ended");
}
