//! How old the newest record is that a lost host would lose: from when an event was acknowledged
//! to when the store has a signed checkpoint that covers it. Printed and never asserted: the
//! machine that runs the tests decides it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use auditctl::archive::Position;
use auditctl::fsio::OsFs;

use crate::serving::Peer;

/// Watches how far a log is shipped, until it is dropped. It looks at the position, which is
/// written after the store has confirmed that it has the checkpoint: never before.
pub(crate) struct Rpo {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    waiting: VecDeque<(u64, Instant)>,
    ages: Vec<Duration>,
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rpo {
    pub(crate) fn of(log_dir: &Path) -> Self {
        let (seen, over) =
            (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (of_thread, is_over) = (Arc::clone(&seen), Arc::clone(&over));
        let log_dir = log_dir.to_path_buf();
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let end = Position::load(&OsFs, &log_dir).ok().flatten();
                let end = end.map_or(0, |position| position.shipped.end());
                let now = Instant::now();
                let mut seen = locked(&of_thread);
                while seen.waiting.front().is_some_and(|(seq, _)| *seq < end) {
                    let (_, then) = seen.waiting.pop_front().expect("one");
                    seen.ages.push(now.saturating_duration_since(then));
                }
                drop(seen);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { seen, over }
    }

    /// Sends an event, which has to be acknowledged.
    pub(crate) fn send(&self, peer: &mut Peer) {
        let answer = peer.ask("{\"event_type\":\"login\",\"actor\":\"alice\"}");
        let seq = answer["ok"]["seq"].as_u64();
        let seq = seq.unwrap_or_else(|| panic!("it is not acknowledged: {answer}"));
        locked(&self.seen).waiting.push_back((seq, Instant::now()));
    }

    /// All of them, once everything is shipped.
    pub(crate) fn ages(&self) -> Vec<Duration> {
        crate::support::eventually("all of it is shipped", || {
            locked(&self.seen).waiting.is_empty()
        });
        locked(&self.seen).ages.clone()
    }

    pub(crate) fn told(&self) -> String {
        told(self.ages())
    }
}

impl Drop for Rpo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// For people.
pub(crate) fn told(mut ages: Vec<Duration>) -> String {
    assert!(ages.len() > 100, "{} events were shipped", ages.len());
    ages.sort_unstable();
    let at = |share: usize| ages[(ages.len() - 1) * share / 100].as_millis();
    format!(
        "from an event's acknowledgement to its checkpoint in the store {} ms at the median, {} ms \
         at p99, {} ms at most, of {} events",
        at(50),
        at(99),
        at(100),
        ages.len()
    )
}
