//! The memory that requests and answers may take over all connections.
//!
//! Connections are bounded in number and each buffer in size, but their product is
//! not: 256 lines of a megabyte are a quarter of a gigabyte. So whatever grows with
//! what a peer sends, or with what it does not take, has a [`Share`] of one budget.
//!
//! No peer may have more than it leaves free for others. One alone has at most half
//! of the budget, two at most a third each, and whoever comes next finds room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::seats::Guest;

/// The smallest budget: half of it is enough for any query.
pub const MIN_BUDGET: u64 = 48 << 20;

/// What may be held, and what is.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<Guest, usize>,
}

/// There was no room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Budget {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, held: Mutex::default(), freed: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share of nothing, to grow later.
    pub(super) fn share(self: &Arc<Self>, guest: Guest) -> Share {
        Share { budget: Arc::clone(self), guest, bytes: 0 }
    }

    /// A share of so many bytes, as soon as there is room.
    pub(super) async fn take(
        self: &Arc<Self>,
        guest: Guest,
        bytes: usize,
        patience: Duration,
    ) -> Result<Share, NoRoom> {
        let mut share = self.share(guest);
        share.grow(bytes, patience).await?;
        Ok(share)
    }

    /// Ends when something is given back after it was enabled.
    pub(super) fn given_back(&self) -> Notified<'_> {
        self.freed.notified()
    }

    #[cfg(test)]
    fn all(&self) -> usize {
        self.held().all
    }
}

/// What one connection or request holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    guest: Guest,
    bytes: usize,
}

impl Share {
    /// Holds at least so many bytes, if there is room at this moment.
    pub(super) fn try_grow(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        let mut held = self.budget.held();
        let free = self.budget.total.saturating_sub(held.all);
        let of_guest = held.by.get(&self.guest).copied().unwrap_or(0);
        // Who has nothing may begin; beyond that nobody has more than it leaves.
        let fair = of_guest == 0 || of_guest + more <= free.saturating_sub(more);
        if more > free || !fair {
            return false;
        }
        held.all += more;
        held.by.insert(self.guest, of_guest + more);
        drop(held);
        self.bytes = bytes;
        true
    }

    /// The same, waiting for room.
    pub(super) async fn grow(&mut self, bytes: usize, patience: Duration) -> Result<(), NoRoom> {
        if self.try_grow(bytes) {
            return Ok(());
        }
        let budget = Arc::clone(&self.budget);
        let wait = async {
            loop {
                let freed = budget.freed.notified();
                tokio::pin!(freed);
                // Before it is tried: what is given back in between is then seen.
                freed.as_mut().enable();
                if self.try_grow(bytes) {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(patience, wait).await.map_err(|_| NoRoom)
    }

    /// Gives back what is beyond so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) else { return };
        let mut held = self.budget.held();
        held.all -= less;
        if let Some(of_guest) = held.by.get_mut(&self.guest) {
            *of_guest -= less;
            if *of_guest == 0 {
                held.by.remove(&self.guest);
            }
        }
        drop(held);
        self.bytes = bytes;
        self.budget.freed.notify_waiters();
    }

    /// Holds what another share of the same peer holds, beside its own.
    pub(super) fn absorb(&mut self, mut other: Self) {
        debug_assert_eq!(self.guest, other.guest, "each peer has its own");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Bytes on their way to a peer, with what they hold of the budget: that is given
/// back when the last of them has been sent.
struct Charged {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes, holding their share for as long as they are in memory.
pub(super) fn charged(bytes: Vec<u8>, mut share: Share) -> bytes::Bytes {
    share.shrink(bytes.capacity());
    bytes::Bytes::from_owner(Charged { bytes, _share: share })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn user(uid: u32) -> Guest {
        Guest::User(uid)
    }

    #[test]
    fn one_peer_alone_has_half_and_each_that_comes_still_finds_room() {
        let budget = Budget::new(1_000);
        let mut shares = Vec::new();
        let mut held = Vec::new();
        for uid in 0..4 {
            let mut share = budget.share(user(uid));
            while share.try_grow(share.bytes() + 10) {}
            held.push(share.bytes());
            shares.push(share);
        }
        assert_eq!(held, [500, 250, 120, 60], "each leaves as much as it takes");
        assert_eq!(budget.all(), 930);
        // More shares do not help the same peer.
        let mut another = budget.share(user(0));
        assert!(!another.try_grow(10));
        // Growing is whole or not at all.
        assert_eq!((another.bytes(), budget.all()), (0, 930));
        drop(shares);
        assert_eq!(budget.all(), 0);
        assert!(budget.held().by.is_empty(), "nobody is remembered who holds nothing");
    }

    #[test]
    fn whoever_holds_nothing_may_begin_with_all_that_is_free() {
        let budget = Budget::new(100);
        let mut one = budget.share(user(1));
        assert!(!one.try_grow(101) && one.try_grow(100));
        let mut two = budget.share(user(2));
        assert!(!two.try_grow(1));
        one.shrink(99);
        assert!(two.try_grow(1));
        assert!(one.try_grow(50), "to shrink is no growing: {one:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_gets_what_is_given_back_or_is_told_in_time() {
        let budget = Budget::new(100);
        let one = budget.take(user(1), 100, SOON).await.expect("room");
        assert_eq!(budget.take(user(2), 10, SOON).await.expect_err("full"), NoRoom);
        let (taken, ()) = tokio::join!(budget.take(user(2), 10, Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            drop(one);
        });
        assert_eq!(taken.expect("room").bytes(), 10);
        assert_eq!(budget.all(), 0);
    }

    #[test]
    fn what_is_on_its_way_holds_its_share_until_it_is_gone() {
        let budget = Budget::new(100);
        let mut share = budget.share(user(1));
        assert!(share.try_grow(50));
        let bytes = charged(vec![7; 20], share);
        assert_eq!(budget.all(), 20);
        let rest = bytes.slice(10..);
        drop(bytes);
        assert_eq!(budget.all(), 20);
        drop(rest);
        assert_eq!(budget.all(), 0);
    }
}
