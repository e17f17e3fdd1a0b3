//! How far the writer is, for those who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::record::refusal::RecordError;

/// How far acknowledgement is, and what stands in its way.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Records below this are acknowledged.
    pub acked_seq: u64,
    /// What keeps the rest from being acknowledged: [`RecordError::Unavailable`]
    /// while the log cannot be written, [`RecordError::Failed`] or
    /// [`RecordError::Closed`] for good.
    pub trouble: Option<RecordError>,
}

#[derive(Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    /// Counts changes of `trouble`.
    changes: u64,
    /// The batch that the writer has in hand, and where it ends.
    batch: usize,
    taken: u64,
    /// Batches taken since something became durable.
    batches: u32,
    /// How many wait for even and for odd batches.
    waiting: [usize; 2],
    /// Those whom the waker is to wake.
    to_wake: [bool; 2],
    waker: Waker,
}

/// The thread that wakes many.
#[derive(Debug, Default, PartialEq, Eq)]
enum Waker {
    #[default]
    NotThere,
    Running,
    Ending,
}

#[derive(Clone, Debug)]
enum Trouble {
    Unavailable(String),
    Failed(String),
    Closed,
}

#[derive(Debug)]
pub(crate) struct ProgressCell {
    durable: AtomicU64,
    state: Mutex<State>,
    /// Those who wait for a record: of even and of odd batches. While one batch is
    /// synced the next one gathers; the end of the first is no news to the second.
    batches: [Condvar; 2],
    /// Those who wait for any news.
    news: Condvar,
    /// For the waker.
    wake: Condvar,
}

/// To wake as many as this or fewer takes less than to have them woken.
const WAKE_DIRECTLY: usize = 4;

/// How soon a caller told of trouble may look again.
const RETRY: Duration = Duration::from_secs(1);

impl ProgressCell {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            state: Mutex::default(),
            batches: [Condvar::new(), Condvar::new()],
            news: Condvar::new(),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The writer has taken everything below `seq`: those who wait for more wait
    /// for the next batch.
    pub(crate) fn set_taken(&self, seq: u64) {
        let mut state = self.lock();
        state.taken = seq;
        state.batch += 1;
        state.batches += 1;
    }

    pub(crate) fn set_durable(&self, seq: u64) {
        // Under the lock, so that nobody looks just before and sleeps just after.
        let mut state = self.lock();
        self.durable.store(seq, Ordering::Release);
        let one = std::mem::take(&mut state.batches) == 1 && seq >= state.taken;
        let batch = state.batch;
        let mut direct = [batch.is_multiple_of(2) || !one, !batch.is_multiple_of(2) || !one];
        let mut delegated = false;
        for (slot, wake) in direct.iter_mut().enumerate() {
            if *wake && state.waker == Waker::Running && state.waiting[slot] > WAKE_DIRECTLY {
                state.to_wake[slot] = true;
                delegated = true;
                *wake = false;
            }
        }
        drop(state);
        if delegated {
            self.wake.notify_one();
        }
        for (slot, _) in direct.iter().enumerate().filter(|(_, wake)| **wake) {
            self.batches[slot].notify_all();
        }
        self.news.notify_all();
    }

    /// The body of a thread that wakes those who wait, where they are many: that
    /// takes as long as a sync, and the writer has the next batch to sync. Ends
    /// when the log is closed or has failed.
    pub(crate) fn run_waker(&self) {
        let mut state = self.lock();
        state.waker = Waker::Running;
        loop {
            let ending = matches!(state.trouble, Some(Trouble::Failed(_) | Trouble::Closed));
            let slots = std::mem::take(&mut state.to_wake);
            if slots == [false; 2] {
                if ending {
                    state.waker = Waker::Ending;
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            for (slot, _) in slots.iter().enumerate().filter(|(_, wake)| **wake) {
                self.batches[slot].notify_all();
            }
            state = self.lock();
        }
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        let mut state = self.lock();
        if matches!(state.trouble, Some(Trouble::Failed(_) | Trouble::Closed)) {
            return;
        }
        if state.trouble.is_some() || trouble.is_some() {
            state.trouble = trouble;
            state.changes += 1;
            drop(state);
            for waiting in self.batches.iter().chain([&self.news, &self.wake]) {
                waiting.notify_all();
            }
        }
    }

    pub(crate) fn unavailable(&self, reason: String) {
        self.set_trouble(Some(Trouble::Unavailable(reason)));
    }

    pub(crate) fn available(&self) {
        self.set_trouble(None);
    }

    pub(crate) fn failed(&self, reason: &str) {
        self.set_trouble(Some(Trouble::Failed(reason.to_owned())));
    }

    pub(crate) fn closed(&self) {
        self.set_trouble(Some(Trouble::Closed));
    }

    fn error(trouble: &Trouble, seq: u64) -> RecordError {
        match trouble {
            Trouble::Unavailable(reason) => {
                RecordError::Unavailable { seq, reason: reason.clone(), retry_after: RETRY }
            }
            Trouble::Failed(reason) => RecordError::Failed { reason: reason.clone() },
            Trouble::Closed => RecordError::Closed,
        }
    }

    /// Waits until the record is durable or the writer says that it cannot say when.
    pub(crate) fn wait_for(&self, seq: u64) -> Result<(), RecordError> {
        if self.durable() > seq {
            return Ok(());
        }
        let mut state = self.lock();
        loop {
            if self.durable() > seq {
                return Ok(());
            }
            if let Some(trouble) = &state.trouble {
                return Err(Self::error(trouble, seq));
            }
            let slot = (state.batch + usize::from(seq >= state.taken)) % 2;
            state.waiting[slot] += 1;
            state = self.batches[slot].wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting[slot] -= 1;
        }
    }

    /// Waits until more than `beyond` is durable, trouble begins or ends, or
    /// the timeout ends.
    pub(crate) fn wait_beyond(&self, beyond: u64, timeout: Duration) -> Progress {
        let until = Instant::now() + timeout;
        let mut state = self.lock();
        let seen = state.changes;
        while self.durable() <= beyond && state.changes == seen {
            let now = Instant::now();
            if now >= until {
                break;
            }
            let (guard, _) =
                self.news.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
        let acked_seq = self.durable();
        let trouble = state.trouble.as_ref().map(|trouble| Self::error(trouble, acked_seq));
        Progress { acked_seq, trouble }
    }
}
