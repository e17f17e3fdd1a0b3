//! How many may be connected at once, over all and of one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Hub;
use crate::audit::status::Word;

/// Connections at once.
#[derive(Debug)]
pub(super) struct Counts {
    max: usize,
    max_per_uid: usize,
    open: Mutex<(usize, HashMap<u32, usize>)>,
}

impl Counts {
    pub(super) fn new(max: usize, max_per_uid: usize) -> Self {
        Self { max, max_per_uid, open: Mutex::default() }
    }

    /// Room for one more; HTTP's connections have no user id.
    pub(super) fn enter(&self, uid: Option<u32>) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 >= self.max {
            return false;
        }
        if let Some(uid) = uid {
            let of_uid = open.1.entry(uid).or_default();
            if *of_uid >= self.max_per_uid {
                return false;
            }
            *of_uid += 1;
        }
        open.0 += 1;
        true
    }

    pub(super) fn leave(&self, uid: Option<u32>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 -= 1;
        if let Some(uid) = uid
            && let Some(of_uid) = open.1.get_mut(&uid)
        {
            *of_uid -= 1;
            if *of_uid == 0 {
                open.1.remove(&uid);
            }
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    hub: Arc<Hub>,
    /// `None`: of HTTP, whose peers have no user id and must not take the
    /// socket's places: anybody on this machine can connect there.
    uid: Option<u32>,
}

impl Place {
    pub(super) fn take(hub: &Arc<Hub>, uid: Option<u32>) -> Option<Self> {
        if !Self::counts(hub, uid).enter(uid) {
            hub.log.page().add(Word::ConnectionsRefused, 1);
            return None;
        }
        hub.log.page().add(Word::Connections, 1);
        Some(Self { hub: Arc::clone(hub), uid })
    }

    fn counts(hub: &Hub, uid: Option<u32>) -> &Counts {
        if uid.is_some() { &hub.counts } else { &hub.http_counts }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Self::counts(&self.hub, self.uid).leave(self.uid);
        // Two's complement: minus one.
        self.hub.log.page().add(Word::Connections, u64::MAX);
    }
}
