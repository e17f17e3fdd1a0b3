//! How far the writer is, for those who wait for it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::futex;

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

/// Batches whose waiters are told apart. More than are ever under way at a time: who waits for
/// another one in the same place is woken once too often.
const PLACES: usize = 8;

/// Where those sleep who wait for a record of one batch.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place {
    /// Counts what they have been woken for; they sleep as long as it does not change.
    news: AtomicU32,
    /// How many sleep, or are about to.
    waiting: AtomicU32,
}

impl Place {
    /// Whoever looks from now on sees that there is news; whether somebody is to be woken.
    fn announce(&self) -> bool {
        self.news.fetch_add(1, Ordering::SeqCst);
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn wake(&self) {
        // Fails for no address that can be read.
        let _ = futex::wake(&self.news, futex::Flags::PRIVATE, i32::MAX as u32);
    }
}

/// Records that the writer has in hand, and for which somebody may wait.
#[derive(Clone, Copy, Debug, Default)]
struct InHand {
    begin: u64,
    end: u64,
}

#[derive(Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    /// Counts changes of `trouble`.
    changes: u64,
    /// By place.
    in_hand: [InHand; PLACES],
    /// Places that the waker is to wake.
    to_wake: [bool; PLACES],
    waker: Waker,
    /// How many wait for any news.
    listening: usize,
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

/// Whoever waits for a record sleeps at the place of the batch that the record is in: while one
/// batch is synced the next one gathers, and the end of the first is no news to the second. They sleep on
/// a number alone: nobody who is woken has to wait for a lock that all the others want as well.
#[derive(Debug)]
pub(crate) struct ProgressCell {
    durable: AtomicU64,
    is_troubled: AtomicBool,
    state: Mutex<State>,
    places: [Place; PLACES],
    /// Those who wait for any news.
    news: Condvar,
    /// For the waker.
    wake: Condvar,
}

/// To wake as many as this or fewer takes less than to have them woken.
const WAKE_DIRECTLY: u32 = 4;

/// How soon a caller told of trouble may look again.
const RETRY: Duration = Duration::from_secs(1);

impl ProgressCell {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            is_troubled: AtomicBool::new(false),
            state: Mutex::default(),
            places: std::array::from_fn(|_| Place::default()),
            news: Condvar::new(),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// The writer has taken a batch, which ends before `end`; all of it that is not durable
    /// was taken since.
    pub(crate) fn set_taken(&self, batch: u64, (begin, end): (u64, u64)) {
        let mut state = self.lock();
        let in_hand = &mut state.in_hand[place_of(batch)];
        // One that has not become durable so far stays: its waiters have the same place.
        in_hand.begin = if in_hand.end == 0 { begin } else { in_hand.begin.min(begin) };
        in_hand.end = end;
    }

    pub(crate) fn set_durable(&self, seq: u64) {
        // Under the lock, so that nobody looks just before and listens just after.
        let mut state = self.lock();
        self.durable.store(seq, Ordering::SeqCst);
        let mut direct = [false; PLACES];
        let mut delegated = false;
        for (nth, place) in self.places.iter().enumerate() {
            let in_hand = &mut state.in_hand[nth];
            if in_hand.end == 0 || in_hand.begin >= seq {
                continue;
            }
            // Of a batch that is written in parts some may be durable before others.
            *in_hand = if in_hand.end <= seq {
                InHand::default()
            } else {
                InHand { begin: seq, ..*in_hand }
            };
            if !place.announce() {
                continue;
            }
            let many = place.waiting.load(Ordering::SeqCst) > WAKE_DIRECTLY;
            if many && state.waker == Waker::Running {
                state.to_wake[nth] = true;
                delegated = true;
            } else {
                direct[nth] = true;
            }
        }
        let is_heard = state.listening > 0;
        drop(state);
        if delegated {
            self.wake.notify_one();
        }
        self.places
            .iter()
            .zip(direct)
            .filter(|(_, wake)| *wake)
            .for_each(|(place, _)| place.wake());
        if is_heard {
            self.news.notify_all();
        }
    }

    /// The body of a thread that wakes those who wait, where they are many: that
    /// takes as long as a sync, and the writer has the next batch to sync. Ends
    /// when the log is closed or has failed.
    pub(crate) fn run_waker(&self) {
        let mut state = self.lock();
        state.waker = Waker::Running;
        loop {
            let ending = matches!(state.trouble, Some(Trouble::Failed(_) | Trouble::Closed));
            let wake = std::mem::take(&mut state.to_wake);
            if wake == [false; PLACES] {
                if ending {
                    state.waker = Waker::Ending;
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let woken = self.places.iter().zip(wake).filter(|(_, wake)| *wake);
            woken.for_each(|(place, _)| place.wake());
            state = self.lock();
        }
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        let mut state = self.lock();
        if matches!(state.trouble, Some(Trouble::Failed(_) | Trouble::Closed)) {
            return;
        }
        if state.trouble.is_some() || trouble.is_some() {
            self.is_troubled.store(trouble.is_some(), Ordering::SeqCst);
            state.trouble = trouble;
            state.changes += 1;
            drop(state);
            for place in &self.places {
                place.announce();
                place.wake();
            }
            self.news.notify_all();
            self.wake.notify_all();
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

    /// Waits until the record is durable or the writer says that it cannot say when. `batch` is
    /// the one that it is in, where that is known.
    pub(crate) fn wait_for(&self, seq: u64, batch: Option<u64>) -> Result<(), RecordError> {
        let Some(batch) = batch else { return self.listen_for(seq) };
        let place = &self.places[place_of(batch)];
        place.waiting.fetch_add(1, Ordering::SeqCst);
        let outcome = loop {
            // What becomes news after this number was read changes it.
            let news = place.news.load(Ordering::SeqCst);
            if let Some(outcome) = self.outcome_of(seq) {
                break outcome;
            }
            // Ends early where the number has changed, or for a signal.
            let _ = futex::wait(&place.news, futex::Flags::PRIVATE, news, None);
        };
        place.waiting.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    /// The same of a record that was accepted no one knows when.
    fn listen_for(&self, seq: u64) -> Result<(), RecordError> {
        loop {
            if let Some(outcome) = self.outcome_of(seq) {
                return outcome;
            }
            let _ = self.wait_beyond(seq, Duration::from_secs(1));
        }
    }

    fn outcome_of(&self, seq: u64) -> Option<Result<(), RecordError>> {
        if self.durable() > seq {
            return Some(Ok(()));
        }
        if !self.is_troubled.load(Ordering::SeqCst) {
            return None;
        }
        let state = self.lock();
        let error = state.trouble.as_ref().map(|trouble| Self::error(trouble, seq))?;
        // It may have become so before the trouble began.
        Some(if self.durable() > seq { Ok(()) } else { Err(error) })
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
            state.listening += 1;
            let (guard, _) =
                self.news.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.listening -= 1;
        }
        let acked_seq = self.durable();
        let trouble = state.trouble.as_ref().map(|trouble| Self::error(trouble, acked_seq));
        Progress { acked_seq, trouble }
    }
}

fn place_of(batch: u64) -> usize {
    (batch % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Random batches, which become durable in parts and late, and callers that wait for any
    /// record of them: one that slept on would never end.
    #[test]
    fn whoever_waits_for_a_record_is_woken_whatever_becomes_durable_when() {
        let cell = Arc::new(ProgressCell::new(0));
        let waker = std::thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.run_waker()
        });
        let mut random = 7_u64;
        let mut below = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        let mut end = 0;
        for round in 0..150_u64 {
            let begin = end;
            let mut callers = Vec::new();
            let mut batches = Vec::new();
            for batch in 3 * round..3 * round + 1 + below(3) {
                let first = end;
                end += 1 + below(20);
                batches.push((batch, (first, end)));
                for seq in first..end {
                    // Of some it is not known which batch they are in.
                    let batch = (below(10) > 0).then_some(batch);
                    let cell = Arc::clone(&cell);
                    callers.push(std::thread::spawn(move || cell.wait_for(seq, batch)));
                }
            }
            let mut durable = begin;
            for (batch, range) in batches {
                cell.set_taken(batch, range);
                if below(2) == 0 {
                    durable += below(range.1 - durable + 1);
                    cell.set_durable(durable);
                }
            }
            cell.set_durable(end);
            callers.into_iter().for_each(|caller| caller.join().expect("ended").expect("durable"));
        }
        let late = std::thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.wait_for(end, Some(1_000_000))
        });
        cell.closed();
        assert!(late.join().expect("ended").is_err(), "nothing more becomes durable");
        waker.join().expect("the waker ends with the log");
    }
}
