//! One file for each command: what can be typed, and what it does.

pub(super) mod archive;
pub(super) mod backup;
pub(super) mod checkpoint;
pub(super) mod cleanup;
pub(super) mod completions;
pub(super) mod demo;
pub(super) mod diff;
pub(super) mod fleet;
pub(super) mod health;
pub(super) mod key;
pub(super) mod list;
pub(super) mod man;
pub(super) mod monitor;
pub(super) mod open;
pub(super) mod prove;
pub(super) mod query;
pub(super) mod record;
pub(super) mod repair;
pub(super) mod restore;
pub(super) mod serve;
pub(super) mod support_bundle;
pub(super) mod token;
pub(super) mod validate;
pub(super) mod verify;
pub(super) mod witness;
