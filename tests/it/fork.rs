//! A service that forks after it opened its log: the child is told so, at once, and
//! takes nothing from its parent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auditctl::audit::read::query::{Query, Question, Request};
use auditctl::audit::{AuditLog, Batch, Durability, Event, OpenError, Options, ParseMode};
use auditctl::audit::{LogPaths, Origin, RecordError, Tunables, Via};
use auditctl::clock::Timestamp;
use nix::libc;

use crate::support::{Dir, count, eventually, open, options, root_agrees, types};

/// A forked process; killed when dropped.
struct Child(libc::pid_t);

impl Child {
    /// Runs `body` in a fork of this process, which then ends without cleaning up
    /// what is its parent's. A panic is a bad end.
    #[allow(unsafe_code)]
    fn new(body: impl FnOnce()) -> Self {
        // SAFETY: the child runs `body` and ends with `_exit`; what it needs of other
        // threads is what is tested here.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let body = std::panic::AssertUnwindSafe(body);
                let ended = std::panic::catch_unwind(body).is_ok();
                // SAFETY: ends this process only.
                unsafe { libc::_exit(i32::from(!ended)) }
            }
            pid => Self(pid),
        }
    }

    /// Waits until it has ended; it must end by itself, and well.
    #[allow(unsafe_code)]
    fn wait(mut self) {
        let mut status = 0;
        eventually("the forked process ends", || {
            // SAFETY: waits for a child of this process.
            let ended = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
            assert!(ended >= 0, "waitpid: {}", std::io::Error::last_os_error());
            ended > 0
        });
        self.0 = 0;
        assert_eq!(status, 0, "what the forked process found is in its report");
    }

    /// As the kernel's out-of-memory killer would.
    #[allow(unsafe_code)]
    fn kill_nine(self) {
        drop(self);
    }
}

impl Drop for Child {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: a child of this process that nobody has waited for yet.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn locked(outcome: Result<AuditLog, OpenError>) -> bool {
    matches!(outcome, Err(OpenError::Locked { .. }))
}

/// What each call says in a fork; empty when all say what they should.
fn wrong_answers(log: &AuditLog, options: Options) -> Vec<&'static str> {
    let event = || Event::new("child");
    let forked = |error: &RecordError| error.kind() == "forked";
    let session = log.session(&Origin::here(Via::Library), true);
    let mut batch = Batch::new();
    let line = br#"{"event_type":"child"}"#;
    let query: Query = Request::default().resolve(Timestamp::default()).expect("a query");
    let own = log.record_query(auditctl::audit::write::own::Queried {
        what: None,
        user: None,
        via: "socket".to_owned(),
        uid: None,
        pid: None,
        token: None,
        peer: None,
        query: Question::new(query.clone()),
        records: 0,
    });
    let rotated = log.rotate_key(&auditctl::audit::write::key_change::RotateRequest::default());
    let answers = [
        ("record", log.record(event()).is_err_and(|error| forked(&error))),
        (
            "prepare",
            session.prepare(line, ParseMode::Strict, &mut batch).is_err_and(|e| forked(&e)),
        ),
        ("submit", log.try_submit(&mut batch).is_err_and(|error| forked(&error))),
        ("limit_caller", log.limit_caller("x").is_err_and(|error| forked(&error))),
        ("record_query", own.wait().is_err_and(|error| forked(&error))),
        ("reload", log.reload(Tunables::default()).is_err()),
        ("query", log.query(&query).is_err()),
        ("read_on", log.read_on(&query).is_err()),
        ("rotate_key", rotated.is_err()),
        ("status", log.status().is_ok()),
        ("compare", log.compare(&[]).is_err()),
        ("close", log.close().is_err_and(|error| forked(&error))),
        ("open", locked(AuditLog::open(options))),
        ("progress", log.wait_progress(u64::MAX, Duration::from_secs(60)).trouble.is_some()),
        ("checkpoint", log.checkpoint().is_empty() && log.verifier_key().is_empty()),
        ("manifest", log.manifest().segments.is_empty()),
    ];
    log.seal();
    log.request_ack(u64::MAX);
    let _ = log.acked_seq();
    answers.iter().filter(|(_, right)| !right).map(|(name, _)| *name).collect()
}

/// Opens the log, forks while other threads record, and has the child say what it found.
fn forked(durability: Durability) {
    let dir = Dir::new();
    let with = || Options { durability, ..options(&dir) };
    let log = open(with());
    let receipt = log.record(Event::new("before")).expect("accepted");
    let report = dir.path().join("report");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // So that locks are held while the process forks.
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let receipt = log.record(Event::new("parent")).expect("accepted");
                    let _ = receipt.wait().expect("acknowledged");
                }
            });
        }
        let from = log.acked_seq();
        eventually("others record", || log.acked_seq() > from + 20);
        let mut receipt = Some(receipt);
        let child = Child::new(|| {
            // Both of the calls that wait, and the drop of the last handle but one.
            let mut wrong = wrong_answers(&log, with());
            if !receipt.take().is_some_and(|r| r.wait().is_err_and(|e| e.kind() == "forked")) {
                wrong.push("wait");
            }
            std::fs::write(&report, wrong.join(" ")).expect("written");
            drop(log.clone());
        });
        child.wait();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_to_string(&report).expect("a report"), "", "wrong in the fork");
    still_the_writer(&dir, log, with());
}

/// The parent goes on, and nobody else gets in.
fn still_the_writer(dir: &Dir, log: AuditLog, options: Options) {
    assert!(locked(AuditLog::open(options)), "the parent is the writer yet");
    assert!(LogPaths::new(&dir.log()).writer_runs().expect("asked"));
    let receipt = log.record(Event::new("after")).expect("accepted");
    receipt.wait_durable().expect("durable");
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "child"), 0, "nothing of the fork is in the log");
    assert_eq!(count(&dir.log(), "after"), 1);
    assert_eq!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
    root_agrees(&dir.log());
}

#[test]
fn every_call_of_a_fork_fails_at_once_with_commit() {
    forked(Durability::Commit);
}

#[test]
fn every_call_of_a_fork_fails_at_once_with_interval() {
    forked(Durability::Interval);
}

#[test]
fn a_fork_that_drops_the_log_releases_nothing_and_ends_at_once() {
    let dir = Dir::new();
    let mut log = Some(open(options(&dir)));
    // The only handle there is: its drop closes the log, but for in a fork.
    Child::new(|| drop(log.take())).wait();
    let log = log.take().expect("the parent's");
    still_the_writer(&dir, log, options(&dir));
}

#[test]
fn a_fork_that_has_let_go_of_the_log_does_not_keep_it_locked_after_its_parent() {
    let dir = Dir::new();
    let (ready, pid_file) = (dir.path().join("ready"), dir.path().join("pid"));
    let parent = Child::new(|| {
        let mut log = Some(open(options(&dir)));
        let child = Child::new(|| {
            drop(log.take());
            std::fs::write(&ready, "").expect("written");
            std::thread::sleep(Duration::from_secs(120));
        });
        note(&pid_file, child.0);
        std::thread::sleep(Duration::from_secs(120));
    });
    eventually("the fork has let go", || ready.exists() && pid_file.exists());
    let paths = LogPaths::new(&dir.log());
    assert!(paths.writer_runs().expect("asked"));
    parent.kill_nine();
    let grandchild = Orphan(std::fs::read_to_string(&pid_file).expect("pid"));
    assert!(Path::new(&format!("/proc/{}", grandchild.0)).exists(), "the fork lives");
    assert!(!paths.writer_runs().expect("asked"), "and has no lock");
    open(options(&dir)).close().expect("closed");
}

fn note(path: &PathBuf, pid: libc::pid_t) {
    let new = path.with_extension("new");
    std::fs::write(&new, pid.to_string()).expect("written");
    std::fs::rename(&new, path).expect("there at once");
}

struct Orphan(String);

impl Drop for Orphan {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let pid: libc::pid_t = self.0.parse().expect("a number");
        // SAFETY: the process that this test has made.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}
