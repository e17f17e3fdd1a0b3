//! Telling somebody: webhooks, chat and e-mail when records or health ask for it.
//!
//! [`Plan`] is made of the settings, [`Alerts`] runs it beside a log, off the hot
//! path: one thread reads on in what is durable and finds what triggers an alert;
//! one thread for each alert delivers. How far was read and what waits change
//! together, in one journal: so an outage or a crash loses no alert, and repeats
//! none but the one whose delivery was not stored yet, which has the same id.
//!
//! Every connection goes through [`guard`].
//!
//! Without the cargo feature `alerts` there is only [`AlertsStatus`], for those
//! who look at what another build delivers.

mod notice;
mod status;

#[cfg(feature = "alerts")]
mod courier;
#[cfg(feature = "alerts")]
mod follow;
#[cfg(feature = "alerts")]
pub mod guard;
#[cfg(feature = "alerts")]
mod journal;
#[cfg(feature = "alerts")]
mod occurrence;
#[cfg(feature = "alerts")]
mod once;
#[cfg(feature = "alerts")]
mod payload;
#[cfg(feature = "alerts")]
mod plan;
#[cfg(feature = "alerts")]
mod position;
#[cfg(feature = "alerts")]
mod problem;
#[cfg(feature = "alerts")]
mod route;
#[cfg(feature = "alerts")]
mod running;
#[cfg(feature = "alerts")]
mod send;
#[cfg(feature = "alerts")]
mod shared;
#[cfg(feature = "alerts")]
mod state;
#[cfg(feature = "alerts")]
mod store;
#[cfg(feature = "alerts")]
mod trigger;
#[cfg(feature = "alerts")]
mod watch;

pub(crate) use status::MAX_STATUS_BYTES;

/// No header line of a journal is longer.
pub(crate) const MAX_JOURNAL_HEADER_BYTES: u64 = 4 << 10;
/// A journal may always be so large.
pub(crate) const MIN_JOURNAL_BYTES: u64 = 256 << 20;

pub use notice::Notice;
pub use status::{AlertFailure, AlertStatus, AlertsStatus};

#[cfg(feature = "alerts")]
pub use journal::JournalError;
#[cfg(feature = "alerts")]
pub use occurrence::HealthCheck;
#[cfg(feature = "alerts")]
pub use once::{PushError, PushTarget, TestError, TestOutcome, send_test};
#[cfg(feature = "alerts")]
pub use plan::Plan;
#[cfg(feature = "alerts")]
pub use problem::{PlanError, PlanErrors};
#[cfg(feature = "alerts")]
pub use running::{Alerts, AlertsError};
#[cfg(feature = "alerts")]
pub use shared::Warn;
#[cfg(feature = "alerts")]
pub use trigger::{ERROR_OUTCOMES, Health};
#[cfg(feature = "alerts")]
pub use watch::Probe;
