//! The engine: knows nothing of the command line, tokio, clouds or terminals.
pub mod checkpoint;
pub mod event;
pub mod merkle;
pub mod proof;
pub mod rate_limit;
pub mod record;
pub mod sanitize;
pub mod security;
pub mod signer;
pub mod status;
