//! How the writer is, for others to see: the status page, security counters, how far it is,
//! and the names of what it met.
//!
//! May use [`record`](super::record) and [`paths`](super::paths). Knows the words and where they
//! are published, not the engine that they describe.

pub(in crate::audit) mod progress;
pub mod security;
pub mod status;
pub mod trouble;
