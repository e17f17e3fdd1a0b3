//! Runs checks so that none can hang, panic or stop the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::catalogue::Id;
use super::check::Check;
use crate::units::format_duration;

/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(20);
/// What was told to stop gets so long to end.
const ENDING: Duration = Duration::from_secs(2);

/// Checks that belong together and need each other's results.
pub(super) struct Task<S> {
    /// What is reported when it does not end.
    pub(super) id: Id,
    /// How long it may take.
    pub(super) deadline: Duration,
    /// What it does.
    pub(super) run: fn(&S) -> Vec<Check>,
}

/// It was told to stop.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It was told to stop.
    Stopped,
    /// It takes too long; it is left behind, and ends with the process.
    Late,
    /// It panicked.
    Broken,
    /// There was no room for a thread.
    NotStarted(String),
}

/// Does something in a thread of its own, for at most so long.
pub(super) fn within<T: Send + 'static>(
    deadline: Duration,
    stop: &AtomicBool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Missing> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("validate".to_owned());
    let started = thread.spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send(work());
    });
    started.map_err(|error| Missing::NotStarted(error.to_string()))?;
    let until = Instant::now() + deadline;
    loop {
        if stop.load(Ordering::Relaxed) {
            let _ = receiver.recv_timeout(ENDING);
            return Err(Missing::Stopped);
        }
        match receiver.recv_timeout(LOOK) {
            Ok(_) if stop.load(Ordering::Relaxed) => return Err(Missing::Stopped),
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(Missing::Broken),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return Err(Missing::Late),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Runs one task; what does not end is reported as such.
pub(super) fn run<S: Send + Sync + 'static>(
    task: &Task<S>,
    surroundings: &Arc<S>,
    stop: &AtomicBool,
) -> Result<Vec<Check>, Stopped> {
    let (run, seen) = (task.run, Arc::clone(surroundings));
    let check = match within(task.deadline, stop, move || run(&seen)) {
        Ok(checks) => return Ok(checks),
        Err(Missing::Stopped) => return Err(Stopped),
        Err(Missing::Late) => {
            let why = format!("no answer within {}", format_duration(task.deadline));
            Check::failed(task.id, why)
                .hint("check the disk or network that it asks; the other checks continued")
        }
        Err(Missing::Broken) => {
            Check::failed(task.id, "the check itself broke down; stderr has its message")
                .hint("report this as a bug")
        }
        Err(Missing::NotStarted(error)) => {
            Check::failed(task.id, format!("no thread could be started: {error}"))
        }
    };
    Ok(vec![check])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;

    fn run_for(deadline: Duration, run: fn(&()) -> Vec<Check>) -> Result<Vec<Check>, Stopped> {
        let task = Task { id: Id::CloudReachable, deadline, run };
        super::run(&task, &Arc::new(()), &AtomicBool::new(false))
    }

    #[test]
    fn what_hangs_fails_after_its_deadline_and_what_panics_at_once() {
        let hung = run_for(Duration::from_millis(60), |()| {
            loop {
                std::thread::park()
            }
        })
        .expect("not stopped");
        assert_eq!(hung[0].status, Status::Failed);
        assert!(hung[0].message.contains("no answer"), "{hung:?}");
        let broken =
            run_for(Duration::from_secs(60), |()| panic!("on purpose")).expect("not stopped");
        assert!(broken[0].message.contains("broke down"), "{broken:?}");
        let well =
            run_for(Duration::from_secs(60), |()| vec![Check::passed(Id::CloudReachable, "here")]);
        assert_eq!(well.expect("not stopped")[0].status, Status::Passed);
    }

    #[test]
    fn who_stops_gets_no_result() {
        let stop = AtomicBool::new(true);
        let task = Task { id: Id::Scratch, deadline: LOOK, run: |()| Vec::new() };
        let stopped = super::run(&task, &Arc::new(()), &stop);
        assert_eq!(stopped, Err(Stopped));
    }
}
