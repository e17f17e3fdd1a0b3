//! The bounded queue between those who record and the writer thread.
//!
//! Encoded events are appended to chunks of about 256 KiB under one mutex, and
//! the writer takes whole chunks. A message an event over a channel was measured
//! at half the speed. An event gets its seq here, at acceptance: whatever is
//! accepted is written in this order or not at all, so a seq never changes.
//!
//! The queue is bounded by *unsettled* events and bytes: those that wait here
//! and those the writer has taken but not yet settled (made durable or, with
//! interval durability, written). Memory is bounded with it: chunks are reused.

mod batch;
mod taking;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ids::{IdWindow, Known};
use super::key_change::KeyWish;
use super::own;
use super::own::OwnRecord;
use crate::audit::record::id::Fingerprint;
use crate::audit::record::refusal::RecordError;
use crate::audit::state::status::{Ring, StatusPage, Word};
use crate::audit::state::trouble::Trouble;
use crate::clock::{Clock, ClockWatch, Timestamp};
pub use batch::{Batch, Repeat, Submitted, Taken};
pub(crate) use batch::{Chunk, Entry};
pub(crate) use taking::WakeRule;

/// Chunks are filled up to this.
const CHUNK_BYTES: usize = 256 * 1024;

/// What the writer is asked to do besides writing.
#[derive(Debug)]
pub(crate) enum Command {
    /// Seal the active segment.
    Seal,
    /// Make everything durable and sign a checkpoint over it.
    Checkpoint,
    /// Hand over to another signing key.
    RotateKey(Box<KeyWish>),
    /// Drain, end the log cleanly and stop.
    Close,
}

/// Why nothing is accepted at the moment.
#[derive(Clone, Debug)]
enum Gate {
    Open,
    DiskFull,
    Closed,
    Failed(String),
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Empty ones, to be filled again: memory that is given back and asked for at every turn
    /// grows to twice of what is in use.
    spare: Vec<Chunk>,
    next_seq: u64,
    /// The batch that gathers.
    batch: u64,
    queued_events: usize,
    unsettled_events: usize,
    unsettled_bytes: usize,
    oldest: Option<(Timestamp, Instant)>,
    last_accepted: Timestamp,
    watch: ClockWatch,
    ids: IdWindow,
    gate: Gate,
    commands: VecDeque<Command>,
    /// How many wait for room.
    wait_for_room: usize,
}

/// An event that was accepted, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) seq: u64,
    /// The batch in which the writer takes it; `None` of one that was accepted before.
    pub(crate) batch: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Somebody waits for everything below this to be durable.
    wanted_seq: AtomicU64,
    /// The writer sleeps, or is about to.
    writer_waits: AtomicBool,
    /// How long the writer had nothing to do before it got its last work.
    pause_us: AtomicU64,
    work: Condvar,
    room: Condvar,
    capacity_events: usize,
    capacity_bytes: usize,
    wake: WakeRule,
    overflow_timeout: Duration,
    page: Arc<StatusPage>,
    clock: Arc<dyn Clock>,
}

impl Queue {
    pub(crate) fn new(
        next_seq: u64,
        capacity: (usize, usize),
        wake: WakeRule,
        overflow_timeout: Duration,
        page: Arc<StatusPage>,
        (clock, watch): (Arc<dyn Clock>, ClockWatch),
        ids: IdWindow,
    ) -> Self {
        page.set(Word::NextSeq, next_seq);
        page.set(Word::CapacityEvents, capacity.0 as u64);
        page.set(Word::CapacityBytes, capacity.1 as u64);
        Self {
            wanted_seq: AtomicU64::new(0),
            writer_waits: AtomicBool::new(false),
            pause_us: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                chunks: VecDeque::new(),
                spare: Vec::new(),
                next_seq,
                batch: 0,
                queued_events: 0,
                unsettled_events: 0,
                unsettled_bytes: 0,
                oldest: None,
                last_accepted: Timestamp::from_micros(0),
                watch,
                ids,
                gate: Gate::Open,
                commands: VecDeque::new(),
                wait_for_room: 0,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            capacity_events: capacity.0,
            capacity_bytes: capacity.1,
            wake,
            overflow_timeout,
            page,
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock cannot leave it half-changed: nothing
        // in the critical sections panics but allocation, which aborts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts one event, waiting for room up to the overflow timeout.
    pub(crate) fn push(
        &self,
        body: &[u8],
        caller_time: Option<Timestamp>,
        id: Option<&Fingerprint>,
    ) -> Result<Accepted, RecordError> {
        let mut state = self.lock();
        let mut deadline = None;
        loop {
            check_gate(&state.gate)?;
            if let Some(id) = id {
                let now = self.tell_time(&mut state);
                match self.look(&state, id, now) {
                    Known::Same(seq) => return Ok(Accepted { seq, batch: None }),
                    Known::Other(seq) => return Err(RecordError::Conflict { seq }),
                    Known::New => {}
                }
            }
            if self.has_room(&state, body.len()) {
                let now = self.tell_time(&mut state);
                let seq = append(&mut state, body, caller_time, now);
                if let Some(id) = id {
                    state.ids.add(id, seq, now);
                    self.tell_ids(&state);
                }
                self.after_append(&mut state, 1);
                return Ok(Accepted { seq, batch: Some(state.batch) });
            }
            let now = Instant::now();
            let until = *deadline.get_or_insert(now + self.overflow_timeout);
            if now >= until {
                self.page.add(Word::Busy, 1);
                return Err(RecordError::Busy { retry_after: BUSY_RETRY });
            }
            state.wait_for_room += 1;
            let (guard, _) =
                self.room.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.wait_for_room -= 1;
        }
    }

    /// Accepts what there is room for, from the front, without waiting.
    pub(crate) fn push_batch(&self, batch: &mut Batch) -> Result<Submitted, RecordError> {
        let mut state = self.lock();
        check_gate(&state.gate)?;
        let mut start = 0;
        let mut count = 0;
        let mut repeats = Vec::new();
        let mut ids = batch.ids.iter().peekable();
        // One time for all: nothing of the engine's own may come between their seqs.
        let first = batch.entries.first().map_or(0, |entry| entry.end as usize);
        // A known event needs no room.
        let may_be_known = ids.peek().is_some_and(|(at, _)| *at == 0);
        if batch.is_empty() || !(may_be_known || self.has_room(&state, first)) {
            return Ok(Submitted { first_seq: state.next_seq, ..Submitted::default() });
        }
        let now = self.tell_time(&mut state);
        let first_seq = state.next_seq;
        for (at, entry) in batch.entries.iter().enumerate() {
            let body = &batch.bytes[start..entry.end as usize];
            let id = ids.next_if(|(its, _)| *its == at).map(|(_, id)| id);
            let known = id.map_or(Known::New, |id| self.look(&state, id, now));
            match known {
                Known::New if !self.has_room(&state, body.len()) => break,
                Known::New => {
                    let time = entry.has_timestamp.then_some(entry.event_time);
                    let seq = append(&mut state, body, time, now);
                    if let Some(id) = id {
                        state.ids.add(id, seq, now);
                    }
                }
                Known::Same(seq) => repeats.push(Repeat { at, seq, is_same: true }),
                Known::Other(seq) => repeats.push(Repeat { at, seq, is_same: false }),
            }
            start = entry.end as usize;
            count += 1;
        }
        let new = count - repeats.len();
        if new > 0 {
            if !batch.ids.is_empty() {
                self.tell_ids(&state);
            }
            self.after_append(&mut state, new as u64);
        }
        drop(state);
        if count > 0 {
            batch.remove_front(count);
        }
        Ok(Submitted { first_seq, count, repeats })
    }

    /// Whether an event is recorded already, with this content. It is not counted.
    pub(crate) fn is_recorded(&self, id: &Fingerprint) -> bool {
        let now = self.clock.now();
        matches!(self.lock().ids.look(id, now), Known::Same(_))
    }

    /// Takes over what is known of the time before, once the opening is recorded and before
    /// anybody can hand in an event.
    pub(crate) fn remember(&self, ids: IdWindow) {
        let mut state = self.lock();
        state.ids = ids;
        self.tell_ids(&state);
    }

    /// Whether an event is known, which is counted.
    fn look(&self, state: &State, id: &Fingerprint, now: Timestamp) -> Known {
        let known = state.ids.look(id, now);
        match known {
            Known::New => {}
            Known::Same(_) => self.page.add(Word::Duplicates, 1),
            Known::Other(_) => self.page.add(Word::IdConflicts, 1),
        }
        known
    }

    fn tell_ids(&self, state: &State) {
        self.page.set(Word::Ids, state.ids.len() as u64);
        self.page.set(Word::IdsCrowdedOut, state.ids.crowded_out());
    }

    /// Accepts a record of the engine's own, whatever the room and the gate.
    pub(crate) fn push_own(&self, body: &[u8]) -> u64 {
        let mut state = self.lock();
        let now = self.tell_time(&mut state);
        let seq = append(&mut state, body, None, now);
        self.page.set(Word::NextSeq, state.next_seq);
        seq
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        state.unsettled_events < self.capacity_events
            && (state.unsettled_bytes + bytes <= self.capacity_bytes || state.unsettled_bytes == 0)
    }

    /// What the clock shows, for the next record. It is followed wherever it goes;
    /// that it was set is recorded first. The order of records is that of their seqs.
    fn tell_time(&self, state: &mut State) -> Timestamp {
        let now = self.clock.now();
        if let Some(change) = state.watch.look(now, || self.clock.boot_ms()) {
            let (from, to, by_seconds) = (change.from, change.to, change.seconds());
            state.ids.clock_set(from, to);
            let record = own::encode(&OwnRecord::ClockChanged { from, to, by_seconds });
            append(state, &record, None, now);
            tracing::warn!(code = Trouble::ClockChanged.code(), %from, %to, by_seconds, "the clock was set");
        }
        now
    }

    fn after_append(&self, state: &mut State, count: u64) {
        let page = &self.page;
        page.set(Word::NextSeq, state.next_seq);
        page.add(Word::Accepted, count);
        page.set(Word::BufferEvents, state.unsettled_events as u64);
        page.set(Word::BufferBytes, state.unsettled_bytes as u64);
        page.set(Word::LastEventAt, state.last_accepted.micros() as u64);
        page.count(Ring::Events, state.last_accepted, count);
        // While the writer still holds older events, theirs stays.
        if state.unsettled_events as u64 == count
            && let Some((at, _)) = state.oldest
        {
            page.set(Word::OldestWaitingAt, at.micros() as u64);
        }
        if state.queued_events >= self.wake.events {
            self.wake_writer();
        }
    }

    /// Asks for everything below `seq` to be made durable now.
    pub(crate) fn request_durable(&self, seq: u64) {
        // The lock is only for a writer that may be asleep: it says so under the
        // lock, before it looks at this for the last time.
        if self.wanted_seq.fetch_max(seq, Ordering::SeqCst) < seq
            && self.writer_waits.load(Ordering::SeqCst)
        {
            let _state = self.lock();
            self.wake_writer();
        }
    }

    /// Wakes the writer if it sleeps; the caller holds the lock.
    fn wake_writer(&self) {
        if self.writer_waits.swap(false, Ordering::SeqCst) {
            self.work.notify_one();
        }
    }

    /// Puts a command in front of the writer and wakes it.
    pub(crate) fn command(&self, command: Command) {
        let mut state = self.lock();
        if matches!(command, Command::Close) {
            if matches!(state.gate, Gate::Closed) {
                return;
            }
            if !matches!(state.gate, Gate::Failed(_)) {
                state.gate = Gate::Closed;
            }
        }
        state.commands.push_back(command);
        self.wake_writer();
        self.room.notify_all();
    }

    /// Nothing is accepted until [`open_gate`](Self::open_gate): the disk is full.
    pub(crate) fn close_for_full_disk(&self) {
        let mut state = self.lock();
        if matches!(state.gate, Gate::Open) {
            state.gate = Gate::DiskFull;
            self.room.notify_all();
        }
    }

    /// There is space again.
    pub(crate) fn open_gate(&self) {
        let mut state = self.lock();
        if matches!(state.gate, Gate::DiskFull) {
            state.gate = Gate::Open;
        }
    }

    /// The writer died: nothing is accepted any more.
    pub(crate) fn poison(&self, reason: &str) {
        let mut state = self.lock();
        state.gate = Gate::Failed(reason.to_owned());
        self.room.notify_all();
    }

    /// The seq that the next event would get.
    pub(crate) fn next_seq(&self) -> u64 {
        self.lock().next_seq
    }
}

fn append(
    state: &mut State,
    body: &[u8],
    caller_time: Option<Timestamp>,
    accepted_at: Timestamp,
) -> u64 {
    state.last_accepted = accepted_at;
    let seq = state.next_seq;
    let full = state.chunks.back().is_none_or(|chunk| chunk.bytes.len() + body.len() > CHUNK_BYTES);
    if full {
        let mut chunk = state.spare.pop().unwrap_or_default();
        // Once for all: a buffer that grows leaves the smaller ones behind.
        chunk.bytes.reserve_exact(CHUNK_BYTES.max(body.len()));
        chunk.first_seq = seq;
        chunk.batch = state.batch;
        state.chunks.push_back(chunk);
    }
    if let Some(chunk) = state.chunks.back_mut() {
        chunk.bytes.extend_from_slice(body);
        chunk.entries.push(Entry {
            // Bodies are at most a line (1 MiB) and chunks hold one more at most.
            end: chunk.bytes.len() as u32,
            has_timestamp: caller_time.is_some(),
            event_time: caller_time.unwrap_or(accepted_at),
            accepted_at,
        });
    }
    if state.oldest.is_none() {
        state.oldest = Some((accepted_at, Instant::now()));
    }
    state.next_seq += 1;
    state.queued_events += 1;
    state.unsettled_events += 1;
    state.unsettled_bytes += body.len();
    seq
}

/// How soon a caller refused for want of room may try again.
pub(super) const BUSY_RETRY: Duration = Duration::from_millis(250);
/// How soon a caller refused for want of disk space may try again.
const FULL_RETRY: Duration = Duration::from_secs(1);

fn check_gate(gate: &Gate) -> Result<(), RecordError> {
    match gate {
        Gate::Open => Ok(()),
        Gate::DiskFull => Err(RecordError::DiskFull { retry_after: FULL_RETRY }),
        Gate::Closed => Err(RecordError::Closed),
        Gate::Failed(reason) => Err(RecordError::Failed { reason: reason.clone() }),
    }
}
