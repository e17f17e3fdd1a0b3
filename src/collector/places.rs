//! How many may be connected at once: to the socket, over all and of one user. The
//! places at HTTP are in [`seats`](super::seats).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Hub;
use crate::audit::state::status::Word;

/// Places beyond `collector.max_connections` that root and the collector's own user find:
/// whoever else may connect must not keep those out who look after the log.
const KEPT: usize = 16;

/// Connections at once.
#[derive(Debug)]
pub(super) struct Counts {
    max: usize,
    max_each: usize,
    open: Mutex<(usize, HashMap<u32, usize>)>,
}

impl Counts {
    pub(super) fn new(max: usize, max_each: usize) -> Self {
        Self { max, max_each, open: Mutex::default() }
    }

    /// Room for one more; `keeper` is root or the collector's own user.
    fn enter(&self, uid: u32, keeper: bool) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 >= self.max + if keeper { KEPT } else { 0 } {
            return false;
        }
        let of_user = open.1.entry(uid).or_default();
        if *of_user >= self.max_each {
            return false;
        }
        *of_user += 1;
        open.0 += 1;
        true
    }

    fn leave(&self, uid: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 -= 1;
        if let Some(of_user) = open.1.get_mut(&uid) {
            *of_user -= 1;
            if *of_user == 0 {
                open.1.remove(&uid);
            }
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A place at the socket, given back when dropped.
pub(super) struct Place {
    uid: u32,
    counted: Counted,
}

impl Place {
    pub(super) fn take(hub: &Arc<Hub>, uid: u32, keeper: bool) -> Option<Self> {
        if !hub.counts.enter(uid, keeper) {
            hub.log.page().add(Word::ConnectionsRefused, 1);
            return None;
        }
        Some(Self { uid, counted: Counted::new(hub) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counted.0.counts.leave(self.uid);
    }
}

/// A connection, counted on the status page until it is dropped.
pub(super) struct Counted(Arc<Hub>);

impl Counted {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        hub.log.page().add(Word::Connections, 1);
        Self(Arc::clone(hub))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Two's complement: minus one.
        self.0.log.page().add(Word::Connections, u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_its_share_and_the_log_s_keepers_find_room_when_all_is_taken() {
        let counts = Counts::new(4, 3);
        assert!((0..3).all(|_| counts.enter(7, false)) && !counts.enter(7, false), "its share");
        assert!(counts.enter(8, false) && !counts.enter(8, false), "over all");
        assert!((0..3).all(|_| counts.enter(0, true)) && !counts.enter(0, true), "its share, too");
        counts.leave(0);
        assert!(!counts.enter(9, false) && counts.enter(0, true));
        assert_eq!(counts.open(), 7);
        for uid in [7, 7, 7, 8, 0, 0, 0] {
            counts.leave(uid);
        }
        assert_eq!(counts.open(), 0);
        let open = counts.open.lock().expect("no test panicked");
        assert!(open.1.is_empty(), "nothing is kept of who has gone");
    }
}
