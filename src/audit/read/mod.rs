//! Reading a log beside its writer: queries, verification and proofs, copies, surveys.
//!
//! May use everything below it, and nothing of [`write`](super::write). Needs no lock and no
//! private key, and changes nothing.

pub mod error;
pub mod query;
pub mod snapshot;
pub mod survey;
pub mod verify;
pub(in crate::audit) mod view;
pub mod walk;
pub mod watch;
