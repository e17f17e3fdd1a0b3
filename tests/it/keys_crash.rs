//! A change of key that is ended at any step: the log opens, verifies, and the
//! change has happened or goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditctl::audit::keys::checkpoint::VerifierKey;
use auditctl::audit::read::verify::{Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{AuditLog, Event, OpenError, Options};
use auditctl::backup::Wish;
use auditctl::collector::Trust;
use auditctl::collector::client::{Answer, Client};
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::{Home, copy_dir, record_into, wanted};
use crate::keys::{python, rotate};
use crate::serving::Serving;
use crate::support::{Dir, Moments, count, eventually, failing, open, options, records};

const EIO: i32 = 5;

/// The file operations of a change of key, in order: which, the how many of its kind
/// on files of that name, and on what. By name, since other threads look after their
/// own files meanwhile.
fn steps() -> Vec<(Op, u64, String)> {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(quiet(options));
    let _ = fs.take_log();
    rotate(&log);
    // The keeper stores the manifest when the change is made, beside the one who asked.
    let of_change = fs.take_log().into_iter();
    let of_change = of_change.take_while(|(_, path)| !path.to_string_lossy().contains("manifest"));
    let named = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.find(".tmp-").map_or(name.clone(), |at| name[..at + 5].to_owned())
    };
    let all: Vec<(Op, String)> = of_change.map(|(op, path)| (op, named(&path))).collect();
    let steps = all.iter().enumerate().map(|(at, (op, name))| {
        let before = all[..at].iter().filter(|(o, n)| o == op && n.contains(name.as_str()));
        (*op, before.count() as u64, name.clone())
    });
    let steps: Vec<_> = steps.collect();
    for name in ["audit.key.next", "audit.log", "audit.keys", "audit.checkpoint", "audit.pub"] {
        assert!(steps.iter().any(|(_, _, path)| path.contains(name)), "{name}: {steps:?}");
    }
    assert!(steps.len() >= 25, "{steps:?}");
    steps
}

/// Nothing but the change of key is written.
fn quiet(options: Options) -> Options {
    let never = Duration::from_secs(3_600);
    Options { checkpoint_interval: never, idle_checkpoint_interval: never, ..options }
}

fn planned((op, after, name): &(Op, u64, String), times: u64, how: How) -> Fault {
    Fault { op: *op, name_contains: name.clone(), after: *after, times, how }
}

fn public(dir: &Dir) -> VerifierKey {
    VerifierKey::load(&OsFs, &dir.log().join("audit.pub")).expect("the key")
}

/// With the key of before, and the one beside the log.
fn verifies(dir: &Dir, first: &VerifierKey, context: &str) {
    for key in [None, Some(first.clone())] {
        let request = Request { key, ..Request::default() };
        let fs: auditctl::fsio::SharedFs = std::sync::Arc::new(OsFs);
        let report = verify(&fs, &dir.log(), &request, &Unwatched).expect("a report").0;
        // A writer that was ended leaves records unsigned: that is no fault here.
        let bad: Vec<_> = report
            .findings
            .iter()
            .filter(|f| f.kind != auditctl::audit::read::verify::Kind::Unclean)
            .collect();
        assert!(bad.is_empty(), "{context}: {bad:?}");
    }
}

/// Opens, verifies, changes the key again, verifies.
fn goes_on(dir: &Dir, first: &VerifierKey, context: &str) {
    verifies(dir, first, context);
    let log = match AuditLog::open(options(dir)) {
        Ok(log) => log,
        Err(error) => panic!("{context}: {error}"),
    };
    assert!(!dir.log().join("audit.key.next").exists(), "{context}: nothing is left to be done");
    assert_eq!(log.verifier_key(), public(dir).to_string(), "{context}");
    log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
    rotate(&log);
    log.close().expect("closed");
    verifies(dir, first, context);
    let (code, text) = python(&[&dir.log()]);
    assert_eq!(code, 0, "{context}: {text}");
}

#[test]
fn each_step_of_a_change_of_key_may_fail_once_or_a_few_times() {
    for step in steps() {
        for times in [1, 3] {
            let context = format!("{step:?}, {times} times");
            let dir = Dir::new();
            let (options, fs) = failing(&dir);
            let log = open(quiet(options));
            let first = public(&dir);
            log.record(Event::new("e")).expect("accepted").wait().expect("durable");
            fs.plan(planned(&step, times, How::Errno(EIO)));
            let done = log.rotate_key(&RotateRequest::default());
            eventually(&context, || fs.hits() >= 1);
            // Whatever was said of it, what is acknowledged now is there later.
            let recorded = log.record(Event::new("e")).expect("accepted").wait_durable();
            recorded.unwrap_or_else(|error| panic!("{context}: {error}"));
            fs.heal();
            if done.is_err() && log.rotate_key(&RotateRequest::default()).is_err() {
                // It goes on by itself.
                eventually(&context, || log.verifier_key() != first.to_string());
            }
            assert_ne!(log.verifier_key(), first.to_string(), "{context}");
            log.close().unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(count(&dir.log(), "e"), 2, "{context}");
            goes_on(&dir, &first, &context);
        }
    }
}

#[test]
fn a_process_that_ends_at_any_step_of_a_change_leaves_a_log_that_goes_on() {
    for step in steps() {
        let context = format!("ended at {step:?}");
        // Other threads look at some of these files now and then, and their calls are counted
        // as well. If that makes the step go by, the change is tried again with another log.
        let met = (0..10).find_map(|_| {
            let dir = Dir::new();
            let (options, fs) = failing(&dir);
            let log = open(quiet(options));
            let first = public(&dir);
            log.record(Event::new("e")).expect("accepted").wait().expect("durable");
            fs.plan(planned(&step, 1, How::Panic));
            // Whatever it says: the process has ended there.
            let _ = catch_unwind(AssertUnwindSafe(|| log.rotate_key(&RotateRequest::default())));
            let met = fs.hits() == 1;
            drop(log);
            met.then_some((dir, first))
        });
        let (dir, first) = met.unwrap_or_else(|| panic!("{context}: the step was never met"));
        assert_eq!(count(&dir.log(), "e"), 1, "{context}");
        goes_on(&dir, &first, &context);
    }
}

#[test]
fn p1_keys_that_change_beside_a_collector_survive_kill_nine_at_any_moment() {
    let dir = Dir::new();
    std::fs::write(
        dir.path().join("auditctl.toml"),
        "max_segment_size = \"64KiB\"\ncheckpoint_interval = \"100ms\"\n",
    )
    .expect("settings");
    open(options(&dir)).close().expect("closed");
    let first = public(&dir);
    let acknowledged = std::sync::Mutex::new(Vec::new());
    let mut moments = Moments::up_to(Duration::from_millis(50), 0x5851_f42d);
    let mut changes = 0;
    for round in 0..25 {
        let collector = Serving::start_alone(&dir);
        let delay = moments.next();
        let gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (dir, acknowledged, gone) = (&dir, &acknowledged, &gone);
            scope.spawn(move || {
                let Ok(mut client) =
                    Client::connect(&dir.log().join("audit.sock"), &Trust::owner_of(&dir.log()))
                else {
                    return;
                };
                for n in 0.. {
                    let actor = format!("{round}-{n}");
                    let line = format!("{{\"event_type\":\"e\",\"actor\":\"{actor}\"}}");
                    match client.send(&[line.as_bytes()]).as_deref() {
                        Ok([Answer::Recorded(seq)]) => {
                            acknowledged.lock().expect("lock").push((*seq, actor));
                        }
                        _ => return,
                    }
                }
            });
            let changer = scope.spawn(move || {
                let mut changes = 0;
                while !gone.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::connect(
                        &dir.log().join("audit.sock"),
                        &Trust::owner_of(&dir.log()),
                    ) else {
                        break;
                    };
                    changes += u32::from(client.rotate_key(&RotateRequest::default()).is_ok());
                }
                changes
            });
            std::thread::sleep(delay);
            collector.kill_nine();
            gone.store(true, Ordering::Relaxed);
            let changed = changer.join().expect("no panic");
            moments.happened(changed > 0);
            changes += changed;
        });
        verifies(&dir, &first, &format!("round {round}"));
    }
    assert!(changes > 0, "keys did change");
    goes_on(&dir, &first, "in the end");
    let stored = records(&dir.log());
    for (seq, actor) in acknowledged.into_inner().expect("lock") {
        assert_eq!(stored[seq as usize].1["actor"], actor.as_str());
    }
}

/// A log from before the change, today's key, and a backup from after it: the
/// restore has to bring the keys with the records, all or nothing.
#[test]
fn whatever_operation_of_a_restore_fails_the_keys_come_with_the_records_or_not_at_all() {
    let home = Home::new();
    home.record(20);
    let early = home.dir.path().join("early");
    copy_dir(&home.log_dir(), &early);
    let first = public(&home.dir);
    let log = home.open();
    rotate(&log);
    record_into(&log, 20);
    log.close().expect("closed");
    home.back_up();
    std::fs::copy(home.log_dir().join("audit.key"), early.join("audit.key")).expect("copied");
    let (mut stayed, mut changed) = (0, 0);
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::SyncDir, Op::Remove] {
        for after in 0.. {
            let context = format!("{op:?} {after}");
            std::fs::remove_dir_all(home.log_dir()).expect("removed");
            copy_dir(&early, &home.log_dir());
            let fs = FaultFs::new(Arc::new(OsFs));
            let how = How::Errno(EIO);
            let name_contains = String::new();
            fs.plan(Fault { op, name_contains, after, times: u64::MAX, how });
            let mut restorer = home.restorer();
            restorer.fs = Arc::new(fs.clone());
            let outcome = restorer.restore(&wanted(), &mut |_| Ok(()), &Unwatched);
            if fs.hits() == 0 {
                break;
            }
            // The next process finds a working disk, and today's key: what was not
            // restored does not open with it, and is restored now.
            let opened = AuditLog::open(home.options());
            match &opened {
                Ok(_) => changed += 1,
                Err(OpenError::Corrupt(_)) => {
                    stayed += 1;
                    assert!(outcome.is_err(), "{context}: said to be restored, and is not");
                    assert!(!home.log_dir().join("audit.keys").exists(), "{context}");
                }
                Err(error) => panic!("{context}: {error}"),
            }
            drop(opened);
            home.restore(Wish::Latest).unwrap_or_else(|error| panic!("{context}: {error}"));
            home.record(1);
            verifies(&home.dir, &first, &context);
            let history = std::fs::read(home.log_dir().join("audit.keys"));
            assert!(history.is_ok(), "{context}");
        }
    }
    assert!(stayed > 20 && changed > 2, "{stayed} {changed}");
}
