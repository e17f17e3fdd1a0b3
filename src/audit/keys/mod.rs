//! Who signed what: signed checkpoints and their cosignatures, the signing key, the succession of a log's keys,
//! signed JSON files, and signed heads that are kept elsewhere.
//!
//! May use [`record`](super::record), [`tree`](super::tree) and
//! [`paths`](super::paths). A verdict rests on what is here, and on nothing above it.

pub mod checkpoint;
pub mod cosignature;
pub mod histories;
pub mod policy;
pub mod signed_document;
pub mod signer;
mod succession;

pub(crate) use succession::MAX_KEYS_BYTES;
pub use succession::{
    Handover, KEY_REPLACED, KEY_ROTATED, KeyFiles, KeyHistory, Keyring, KeyringError, KeysError,
    MAX_ROTATIONS, Place, Replaced, Replacement, Rotation, RotationError, is_one_line,
    load_keyring,
};
