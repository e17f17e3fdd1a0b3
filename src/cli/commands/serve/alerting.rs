//! Alerts beside the collector, in builds that have them.

#[cfg(feature = "alerts")]
mod with;
#[cfg(not(feature = "alerts"))]
mod without;

#[cfg(feature = "alerts")]
pub(super) use with::Alerting;
#[cfg(not(feature = "alerts"))]
pub(super) use without::Alerting;
