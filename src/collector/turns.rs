//! Whose turn it is while the write buffer is full.
//!
//! A sender with many connections asks for room many times as often as one with a
//! single connection, and would get it as much more often. So while several senders
//! wait, the one that has waited through the most turns of others goes first: each
//! gets its turn, however many connections any of them has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seats::Guest;
use crate::audit::{AuditLog, Batch, RecordError, Submitted};

/// The senders that are connected.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Connections that wait, over all: as long as none does, nobody is asked for its turn.
    waiting: AtomicUsize,
    senders: Mutex<Senders>,
}

#[derive(Debug, Default)]
struct Senders {
    by: HashMap<Guest, Sender>,
    /// Turns that were had so far.
    turns: u64,
}

#[derive(Debug, Default)]
struct Sender {
    connections: usize,
    waiting: usize,
    /// Its last turn.
    served: u64,
}

impl Turns {
    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one connection or request of that sender.
    pub(super) fn of(self: &Arc<Self>, guest: Guest) -> Turn {
        self.senders().by.entry(guest).or_default().connections += 1;
        Turn { turns: Arc::clone(self), guest, waits: false }
    }
}

/// One connection's part in its sender's turns.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    guest: Guest,
    waits: bool,
}

impl Turn {
    /// Hands over as much of the batch as there is room for; `None`: there is none, or
    /// not for this sender now. It waits from then on, until it says that it does not.
    pub(super) fn submit(
        &mut self,
        log: &AuditLog,
        batch: &mut Batch,
    ) -> Result<Option<Submitted>, RecordError> {
        if self.may_ask() {
            let taken = log.try_submit(batch)?;
            if taken.count > 0 {
                self.served();
                return Ok(Some(taken));
            }
        }
        self.waits(true);
        Ok(None)
    }

    /// Whether it may ask for room now; if not, another sender's turn comes first.
    fn may_ask(&self) -> bool {
        if self.turns.waiting.load(Ordering::Acquire) == usize::from(self.waits) {
            return true;
        }
        let senders = self.turns.senders();
        let served = senders.by.get(&self.guest).map_or(0, |sender| sender.served);
        !senders.by.values().any(|other| other.waiting > 0 && other.served < served)
    }

    /// There was no room for it, or it waits no longer.
    pub(super) fn waits(&mut self, waits: bool) {
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        let mut senders = self.turns.senders();
        let sender = senders.by.entry(self.guest).or_default();
        if waits {
            sender.waiting += 1;
            self.turns.waiting.fetch_add(1, Ordering::Release);
        } else {
            sender.waiting -= 1;
            self.turns.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    /// It was given room.
    fn served(&self) {
        if self.turns.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut senders = self.turns.senders();
        senders.turns += 1;
        let turn = senders.turns;
        senders.by.entry(self.guest).or_default().served = turn;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.waits(false);
        let mut senders = self.turns.senders();
        if let Some(sender) = senders.by.get_mut(&self.guest) {
            sender.connections -= 1;
            if sender.connections == 0 {
                senders.by.remove(&self.guest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_two_wait_each_has_its_turn_however_many_connections_it_has() {
        let turns = Arc::new(Turns::default());
        let mut many: Vec<Turn> = (0..64).map(|_| turns.of(Guest::User(1))).collect();
        let mut one = turns.of(Guest::User(2));
        assert!(many.iter().all(Turn::may_ask) && one.may_ask(), "nobody waits");
        many.iter_mut().for_each(|turn| turn.waits(true));
        one.waits(true);
        let mut had = [0, 0];
        for nth in 0..1_000 {
            let turn = if nth % 65 == 64 { &one } else { &many[nth % 65] };
            if turn.may_ask() {
                turn.served();
                had[usize::from(nth % 65 == 64)] += 1;
            }
        }
        // Whoever asks 64 times as often has one turn more at most between two of the other.
        assert!(had[1] == 15 && had[0] <= had[1] + 1, "{had:?}");
    }

    #[test]
    fn who_waits_alone_or_has_left_keeps_nobody_waiting() {
        let turns = Arc::new(Turns::default());
        let (mut first, mut second) = (turns.of(Guest::User(1)), turns.of(Guest::User(2)));
        first.waits(true);
        second.waits(true);
        first.served();
        assert!(!first.may_ask() && second.may_ask());
        drop(second);
        assert!(first.may_ask());
        first.waits(false);
        drop(first);
        assert!(turns.senders().by.is_empty());
        assert_eq!(turns.waiting.load(Ordering::Acquire), 0);
    }
}
