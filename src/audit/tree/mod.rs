//! The Merkle tree over the records, proofs about it, and how a JSON file says what it is.
//!
//! May use [`record`](super::record). Pure arithmetic over bytes: nothing here reads a file
//! or knows a key.

pub mod document;
pub mod merkle;
pub mod proof;
