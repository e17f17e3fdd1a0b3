//! Alerts: whether they are configured right, whether one arrives, and whether none can
//! be turned against what only this machine reaches.

#[cfg(feature = "alerts")]
mod with;
#[cfg(not(feature = "alerts"))]
mod without;

#[cfg(feature = "alerts")]
pub(super) use with::{configured, guard, test};
#[cfg(not(feature = "alerts"))]
pub(super) use without::{configured, guard, test};
