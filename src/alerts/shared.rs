//! What the threads of alerts have in common.

use std::sync::Arc;

use super::payload::Sender;
use super::store::Store;
use super::trigger::Moment;
use crate::audit::AuditLog;
use crate::clock::Clock;

/// Told what an operator should know.
pub type Warn = dyn Fn(&str) + Send + Sync;

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) log: AuditLog,
    pub(super) sender: Sender,
    /// Begins ids: the log's id, and its epoch where that is not the first.
    pub(super) prefix: String,
    pub(super) clock: Arc<dyn Clock>,
    /// Which boot of the machine this is, if that is known.
    pub(super) boot: Option<u64>,
    pub(super) warn: Arc<Warn>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Shared {
    /// Now, by all clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), boot: self.boot, boot_ms: self.clock.boot_ms() }
    }
}

/// Counts a thread while it lives, however it ends.
pub(super) struct Living(Arc<Shared>);

impl Living {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        shared.store.lock().threads += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.store.lock().threads -= 1;
        self.0.store.tell();
    }
}
