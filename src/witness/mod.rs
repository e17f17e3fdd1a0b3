//! Witnesses: others who look on, and sign that a log only grew (C2SP tlog-witness).
//!
//! `Notary` is a witness: it checks checkpoints of logs that it accepts, and cosigns
//! them. It is synchronous and knows nothing of HTTP. `Client` is the other side: it has
//! a log's checkpoints cosigned by the witnesses of a policy. It needs the feature
//! `witness`; without it there is only `WitnessStatus`, for those who look at what
//! another build does.

#[cfg(feature = "application")]
mod accept;
#[cfg(feature = "application")]
mod book;
#[cfg(feature = "witness")]
mod client;
#[cfg(feature = "witness")]
mod http;
#[cfg(feature = "application")]
mod notary;
#[cfg(feature = "application")]
mod notice;
#[cfg(feature = "application")]
mod protocol;
#[cfg(feature = "witness")]
mod round;
mod status;

#[cfg(feature = "application")]
pub use accept::{AcceptError, Accepted};
#[cfg(feature = "application")]
pub use book::BookError;
#[cfg(feature = "witness")]
pub use client::{Client, ClientError, ClientOptions};
#[cfg(feature = "application")]
pub use notary::{Answer, KeyOf, Notary};
#[cfg(feature = "application")]
pub use notice::WitnessNotice;
#[cfg(feature = "application")]
pub(crate) use protocol::MAX_BODY_BYTES;
pub use status::{StandingOf, WitnessStatus};
