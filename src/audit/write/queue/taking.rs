//! The writer's side of the queue: it sleeps until there is something to do, takes all that
//! waits, and gives back what is settled.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{CHUNK_BYTES, Chunk, Command, Queue, State, append};
use crate::audit::state::status::Word;

/// So long the writer stays awake for the next event,
const LINGER: Duration = Duration::from_micros(60);
/// if it had no more than so long to wait for the one before.
const LAST_PAUSE: Duration = Duration::from_micros(100);
/// Ids whose memory is given back at a time.
const FORGOTTEN_AT_ONCE: usize = 4_096;
/// Empty chunks kept for reuse, once there has been nothing to do for a while.
const SPARE_CHUNKS: usize = 4;

/// When the writer wants to be woken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeRule {
    /// As soon as so many events wait.
    pub(crate) events: usize,
    /// As soon as the oldest waited so long.
    pub(crate) age: Duration,
}

/// What the writer got.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) commands: Vec<Command>,
    pub(crate) wanted_seq: u64,
}

impl Queue {
    /// For the writer: waits for work by the wake rule, at most `timeout`. What
    /// waits is taken when the rule, a wish for durability or a command says so.
    pub(crate) fn wait(&self, timeout: Duration, settled_seq: u64) -> Work {
        let begun = Instant::now();
        let until = begun + timeout;
        self.linger(begun, settled_seq);
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let due = state.oldest.is_some_and(|(_, since)| now - since >= self.wake.age);
            self.writer_waits.store(true, Ordering::SeqCst);
            let wanted_seq = self.wanted_seq.load(Ordering::SeqCst);
            let wanted = wanted_seq > settled_seq;
            let take = state.queued_events >= self.wake.events
                || due
                || wanted
                || !state.commands.is_empty();
            if take || now >= until {
                self.writer_waits.store(false, Ordering::SeqCst);
                let pause = begun.elapsed().as_micros() as u64;
                self.pause_us.store(pause, Ordering::Relaxed);
                let mut work = Work { wanted_seq, ..Work::default() };
                if take {
                    work.commands = state.commands.drain(..).collect();
                    work.chunks = take_all(&mut state);
                }
                return work;
            }
            let mut wait = until - now;
            if let Some((_, since)) = state.oldest {
                wait = wait.min((since + self.wake.age).saturating_duration_since(now));
            }
            let (guard, _) =
                self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
    }

    /// Stays awake for a moment where the last wish came within one: to fall asleep and to be
    /// woken takes longer than who waits for each event takes to hand in the next one. Others
    /// that have something to do go first.
    fn linger(&self, begun: Instant, settled_seq: u64) {
        if Duration::from_micros(self.pause_us.load(Ordering::Relaxed)) > LAST_PAUSE {
            return;
        }
        while self.wanted_seq.load(Ordering::SeqCst) <= settled_seq && begun.elapsed() < LINGER {
            std::thread::yield_now();
        }
    }

    /// For the writer: whatever waits.
    pub(crate) fn take(&self) -> Vec<Chunk> {
        take_all(&mut self.lock())
    }

    /// For the writer: these chunks are settled; their room and memory are free.
    pub(crate) fn settled(&self, chunks: Vec<Chunk>) {
        let most_spare = (self.capacity_bytes / CHUNK_BYTES).max(SPARE_CHUNKS);
        let mut state = self.lock();
        for mut chunk in chunks {
            state.unsettled_events -= chunk.entries.len();
            state.unsettled_bytes -= chunk.bytes.len();
            if state.spare.len() < most_spare && chunk.bytes.capacity() <= 2 * CHUNK_BYTES {
                chunk.bytes.clear();
                chunk.entries.clear();
                state.spare.push(chunk);
            }
        }
        let page = &self.page;
        page.set(Word::BufferEvents, state.unsettled_events as u64);
        page.set(Word::BufferBytes, state.unsettled_bytes as u64);
        let oldest = state.oldest.map_or(0, |(at, _)| at.micros() as u64);
        page.set(Word::OldestWaitingAt, oldest);
        let somebody_waits = state.wait_for_room > 0;
        drop(state);
        if somebody_waits {
            self.room.notify_all();
        }
    }

    /// Accepts a record of the engine's own and takes everything: what waited
    /// before it, and the record, which nothing follows.
    pub(crate) fn take_before_own(&self, body: &[u8]) -> (Vec<Chunk>, Chunk) {
        let mut state = self.lock();
        let now = self.tell_time(&mut state);
        let before = take_all(&mut state);
        append(&mut state, body, None, now);
        self.page.set(Word::NextSeq, state.next_seq);
        let last = take_all(&mut state).pop().unwrap_or_default();
        (before, last)
    }

    /// Gives back memory that is not needed now: chunks, and ids that are too old, a part at a
    /// time.
    pub(crate) fn give_back(&self) {
        let mut state = self.lock();
        if state.unsettled_events == 0 {
            state.spare.truncate(SPARE_CHUNKS);
        }
        if state.ids.len() > 0 {
            let now = self.clock.now();
            state.ids.forget_old(FORGOTTEN_AT_ONCE, now);
            self.tell_ids(&state);
        }
    }
}

/// What waits is a batch, and what comes next is another.
fn take_all(state: &mut State) -> Vec<Chunk> {
    if !state.chunks.is_empty() {
        state.batch += 1;
    }
    state.queued_events = 0;
    state.oldest = None;
    state.chunks.drain(..).collect()
}
