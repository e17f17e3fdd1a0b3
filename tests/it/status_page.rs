//! The status page's file under the hands of others, and beside a writer that
//! cannot say anything any more.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auditctl::audit::state::status::{Activity, StatusPage, StatusSnapshot, Word, WriterState};
use auditctl::audit::{Durability, Event, Options};
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::serving::Serving;
use crate::support::{
    Dir, all_lines, auditctl, count, eventually, failing, missing, open, options, records,
    root_agrees, run, skipped, until_refused,
};

/// What somebody who may write the directory does to the file.
fn meddle(how: &str, path: &Path) {
    let cut = |length| {
        let file = std::fs::File::options().write(true).open(path);
        file.and_then(|file| file.set_len(length)).expect("cut");
    };
    match how {
        "emptied" => return cut(0),
        "cut" => return cut(1_000),
        "longer" => return cut(9_000),
        "altered" => {
            let mut page = std::fs::read(path).expect("page");
            page[16..24].copy_from_slice(&1_u64.to_le_bytes());
            // The file itself, not another in its place.
            return std::fs::write(path, page).expect("altered");
        }
        "renamed" => return std::fs::rename(path, path.with_extension("away")).expect("renamed"),
        _ => std::fs::remove_file(path).expect("removed"),
    }
    match how {
        "removed" => {}
        "another file" => std::fs::write(path, [7; 4096]).expect("put there"),
        "a link" => std::os::unix::fs::symlink("audit.log", path).expect("put there"),
        "a pipe" => {
            assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
        }
        "a directory" => std::fs::create_dir_all(path.join("full")).expect("put there"),
        other => unreachable!("{other}"),
    }
}

fn put_back(log_dir: &Path) -> usize {
    let text = std::fs::read_to_string(log_dir.join("audit.log")).expect("the active segment");
    text.matches("\"event_type\":\"audit.file_replaced\"").count()
}

/// A store into a mapping of the file would end the collector with SIGBUS.
#[test]
fn whatever_is_done_to_the_page_the_collector_records_on_and_puts_it_back() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (pid, path) = (u64::from(collector.pid()), dir.log().join("audit.status"));
    let mut peer = collector.connect();
    let all = [
        "emptied",
        "cut",
        "longer",
        "altered",
        "renamed",
        "removed",
        "another file",
        "a link",
        "a pipe",
        "a directory",
    ];
    let mut told = 0;
    for how in all {
        meddle(how, &path);
        let answer = peer.ask(r#"{"event_type":"e"}"#);
        assert!(answer["ok"]["seq"].is_u64(), "{how}: {answer}");
        // What was altered in place may be overwritten before anybody looks.
        if how == "altered" {
            eventually(how, || {
                let page = StatusSnapshot::read(&path);
                page.is_ok_and(|page| page.get(Word::Pid) == pid)
            });
            continue;
        }
        told += 1;
        eventually(how, || put_back(&dir.log()) >= told);
        let page = StatusSnapshot::read(&path).expect(how);
        assert_eq!((page.get(Word::Pid), page.state()), (pid, Some(WriterState::Running)), "{how}");
    }
    drop(peer);
    collector.terminate();
    let mut told: Vec<String> = records(&dir.log())
        .into_iter()
        .filter(|(_, record)| record["event_type"] == "audit.file_replaced")
        .map(|(_, record)| {
            assert_eq!(record["details"]["file"], "audit.status");
            record["details"]["what"].as_str().expect("what").to_owned()
        })
        .collect();
    told.retain(|what| what != "altered");
    let expected = [vec!["truncated"; 3], vec!["deleted"; 2], vec!["replaced"; 4]].concat();
    assert_eq!(told, expected);
    assert_eq!(count(&dir.log(), "e"), all.len());
    root_agrees(&dir.log());
}

#[test]
fn a_directory_in_the_pages_place_is_set_aside_and_everything_else_replaced_when_it_is_opened() {
    for how in
        ["emptied", "cut", "altered", "removed", "another file", "a link", "a pipe", "a directory"]
    {
        let dir = Dir::new();
        open(options(&dir)).close().expect("closed");
        let path = dir.log().join("audit.status");
        meddle(how, &path);
        let log = open(options(&dir));
        let pid = StatusSnapshot::read(&path).expect(how).get(Word::Pid);
        assert_eq!(pid, u64::from(std::process::id()));
        log.close().expect("closed");
        let aside = std::fs::read_dir(dir.log()).expect("list").filter(|entry| {
            let name = entry.as_ref().expect("entry").file_name();
            name.to_string_lossy().starts_with("audit.status.foreign-")
        });
        assert_eq!(aside.count(), usize::from(how == "a directory"), "{how}");
        root_agrees(&dir.log());
    }
}

#[test]
fn a_writer_that_hangs_in_a_sync_is_seen_from_outside_with_counters_that_go_on() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(Options { durability: Durability::Interval, ..options });
    let hang = Fault {
        op: Op::SyncData,
        name_contains: "audit.log".to_owned(),
        after: 0,
        times: 1,
        how: How::Hang,
    };
    fs.plan(hang);
    // Should anything below fail: closing the log waits for the writer.
    let heal = Heal(fs.clone());
    let _ = log.record(Event::new("e")).expect("accepted");
    let path = dir.log().join("audit.status");
    let seen = || StatusSnapshot::read(&path).expect("page");
    eventually("it hangs", || fs.hits() == 1);
    assert_eq!(seen().activity(), Some(Activity::Syncing), "said before the call");
    let accepted = seen().get(Word::Accepted);
    for _ in 0..3 {
        let _ = log.record(Event::new("e")).expect("accepted");
    }
    eventually("the counters go on", || seen().get(Word::Accepted) == accepted + 3);
    let heart = seen().get(Word::HeartbeatBootMs);
    assert_eq!(heart, log.page().get(Word::HeartbeatBootMs), "the beat is the writer's alone");
    drop(heal);
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), 4);
}

struct Heal(FaultFs);

impl Drop for Heal {
    fn drop(&mut self) {
        self.0.heal();
    }
}

#[test]
fn an_acknowledged_record_is_on_the_page_that_others_read() {
    for durability in [Durability::Commit, Durability::Interval] {
        let dir = Dir::new();
        let log = open(Options { durability, ..options(&dir) });
        for _ in 0..200 {
            let seq = log.record(Event::new("e")).expect("accepted").wait().expect("acknowledged");
            let page = StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
            assert!(page.get(Word::NextSeq) > seq, "{durability:?}");
            if durability == Durability::Commit {
                assert!(page.get(Word::DurableSeq) > seq, "{durability:?}");
            }
        }
        log.close().expect("closed");
    }
}

#[test]
fn a_page_that_is_read_while_it_is_written_is_never_a_mixture() {
    let dir = Dir::new();
    std::fs::create_dir(dir.log()).expect("directory");
    let path = dir.log().join("audit.status");
    let page = Arc::new(StatusPage::create(&path).expect("page"));
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (Arc::clone(&page), Arc::clone(&stop));
    let publishing = std::thread::spawn(move || {
        let mut n = 0;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            writer.together(|page| {
                // Far apart from each other.
                page.set(Word::Pid, n);
                page.set(Word::BytesWritten, n);
                page.set(Word::RefusalsLastAt, n);
            });
            writer.publish();
        }
    });
    let mut last = 0;
    for _ in 0..20_000 {
        let seen = StatusSnapshot::read(&path).expect("page");
        let pid = seen.get(Word::Pid);
        assert_eq!((seen.get(Word::BytesWritten), seen.get(Word::RefusalsLastAt)), (pid, pid));
        assert!(pid >= last, "nor one from before");
        last = pid;
    }
    stop.store(true, Ordering::Relaxed);
    publishing.join().expect("joined");
    assert!(last > 100, "it was written meanwhile");
}

/// Refusals that no record says yet when the collector is killed are recorded by
/// the next one, once.
#[test]
fn p3_a_burst_of_refusals_that_ends_in_kill_nine_is_recorded_once() {
    let dir = Dir::new();
    let settings = "[rate_limit]\nper_second = 1\nburst = 1\n";
    let collector = Serving::start(&dir, settings);
    let mut peer = collector.connect();
    let mut refused = 0;
    peer.send(&"{\"event_type\":\"e\",\"source\":\"billing\"}\n".repeat(300));
    for _ in 0..300 {
        let answer = peer.answer().expect("an answer");
        refused += u64::from(answer["error"]["kind"] == "rate_limited");
    }
    assert!(refused > 200, "{refused}");
    let path = dir.log().join("audit.status");
    eventually("the page knows", || {
        StatusSnapshot::read(&path).expect("page").get(Word::RateLimited) == refused
    });
    collector.kill_nine();
    for _ in 0..2 {
        // The second opening finds nothing left.
        Serving::start(&dir, settings).kill_nine();
        let told: Vec<_> = records(&dir.log())
            .into_iter()
            .filter(|(_, record)| record["event_type"] == "audit.rate_limited")
            .map(|(_, record)| record["details"].clone())
            .collect();
        let sum: u64 = told.iter().map(|told| told["refused"].as_u64().expect("count")).sum();
        assert_eq!(sum, refused, "{told:?}");
        assert!(told.iter().all(|told| told["source"] == "billing"), "{told:?}");
        let last = told.last().expect("at least one");
        assert!(last["first"].is_string() && last["last"].is_string(), "{told:?}");
    }
    root_agrees(&dir.log());
}

#[test]
fn p3_refusals_are_never_recorded_twice_whenever_the_collector_is_killed() {
    let dir = Dir::new();
    let settings = "[rate_limit]\nper_second = 1\nburst = 1\n";
    let mut refused = 0;
    let mut moments = crate::support::Moments::up_to(std::time::Duration::from_millis(1_500), 7);
    for round in 0..6 {
        let collector = Serving::start(&dir, settings);
        let mut peer = collector.connect();
        peer.send(&format!("{{\"event_type\":\"e\",\"source\":\"s{round}\"}}\n").repeat(50));
        for _ in 0..50 {
            refused += u64::from(peer.answer().expect("an answer")["error"].is_object());
        }
        // Around the time at which the writer records the burst, a second later.
        std::thread::sleep(moments.next());
        collector.kill_nine();
    }
    Serving::start(&dir, settings).terminate();
    let told: u64 = all_lines(&dir.log())
        .iter()
        .filter(|line| line.contains("\"event_type\":\"audit.rate_limited\""))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("record"))
        .map(|record| record["details"]["refused"].as_u64().expect("count"))
        .sum();
    assert_eq!(told, refused);
    root_agrees(&dir.log());
}

/// On btrfs overwriting takes new space, unless the file is exempt: a store into
/// the mapped page ended the process here.
#[test]
fn a_full_btrfs_neither_ends_the_collector_nor_looks_healthy() {
    let dir = Dir::new();
    let Some(mount) = Btrfs::mounted(&dir) else { return };
    pages_are_published_without_space(&mount.0);
    let log_dir = mount.0.join("logs");
    let mut options = options(&dir);
    options.dir.clone_from(&log_dir);
    options.disk_reserve = 8 << 20;
    options.overflow_timeout = std::time::Duration::from_millis(400);
    let log = open(options.clone());
    fill(&mount.0);
    let (acknowledged, refused) = until_refused(&log, 40_000, 20_000);
    assert!(["disk_full", "unavailable", "busy"].contains(&refused.kind()), "{refused}");
    eventually("the page that others read says so", || {
        let page = StatusSnapshot::read(&log_dir.join("audit.status")).expect("page");
        page.state() == Some(WriterState::DiskFull)
    });
    let log_dir_text = log_dir.to_string_lossy().into_owned();
    let (code, stdout, stderr) = run(&dir, &["health", "--json", "--log-dir", &log_dir_text]);
    assert_eq!(code, 2, "critical: {stdout}{stderr}");
    assert!(stdout.contains("disk_full") || stdout.contains("full"), "{stdout}");
    std::fs::remove_file(mount.0.join("ballast")).expect("space again");
    eventually("recording resumes", || {
        log.record(Event::new("after")).is_ok_and(|receipt| receipt.wait().is_ok())
    });
    log.close().expect("closed");
    assert!(count(&log_dir, "e") >= acknowledged);
    root_agrees(&log_dir);
}

/// Where every overwritten block needs a new one, only an exempt file is written.
fn pages_are_published_without_space(mount: &Path) {
    let path = mount.join("page");
    let page = StatusPage::create(&path).expect("page");
    fill(mount);
    for n in 1..20 {
        page.set(Word::Pid, n);
        page.publish();
        let file = std::fs::File::open(&path).expect("page");
        file.sync_all().expect("the block is on the disk");
        assert_eq!(StatusSnapshot::read(&path).expect("page").get(Word::Pid), n);
    }
    std::fs::remove_file(mount.join("ballast")).expect("space again");
}

/// Takes all the space there is.
fn fill(mount: &Path) {
    use std::io::Write;
    let mut ballast = std::fs::File::create(mount.join("ballast")).expect("ballast");
    for size in [1 << 20, 64 << 10, 4 << 10] {
        while ballast.write_all(&vec![7; size]).is_ok() && ballast.sync_all().is_ok() {}
    }
}

/// A small btrfs in a file.
struct Btrfs(std::path::PathBuf);

impl Btrfs {
    fn mounted(dir: &Dir) -> Option<Self> {
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&mount).expect("directory");
        std::fs::File::create(&image).and_then(|file| file.set_len(130 << 20)).expect("image");
        let run = |command: &mut Command| {
            let output = command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
            match &output {
                Ok(output) if output.status.success() => Some(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing("mkfs.btrfs");
                    None
                }
                _ => {
                    skipped(&format!("no btrfs can be mounted here: {output:?}"));
                    None
                }
            }
        };
        run(Command::new("mkfs.btrfs").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
        Some(Self(mount))
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn the_monitor_and_health_see_the_running_writer_beside_it() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    collector.connect().ask(r#"{"event_type":"e"}"#);
    let output = auditctl(&dir, &["monitor", "--once", "--json"]).output().expect("monitor");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("running"), "{text}");
    collector.terminate();
}

#[test]
fn the_size_of_the_log_on_the_page_is_that_of_its_records_files() {
    let dir = Dir::new();
    let log = open(Options { max_segment_size: 16 << 10, ..options(&dir) });
    crate::backups::record_into(&log, 300);
    crate::backups::all_compressed(&log);
    let is_right = || {
        let sealed = log.manifest();
        assert!(sealed.segments.len() > 1);
        let files = sealed.segments.iter().map(|segment| dir.log().join(&segment.file));
        let stored: u64 = files.map(|path| std::fs::metadata(path).expect("there").len()).sum();
        let active = std::fs::read(dir.log().join("audit.log")).expect("the active segment");
        let bytes = active.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
        log.page().get(Word::LogBytes) == stored + bytes
    };
    eventually("what is compressed is counted as it is stored", is_right);
    eventually("what is written afterwards adds to it", || {
        crate::backups::record_into(&log, 1);
        is_right()
    });
    log.close().expect("closed");
}
