//! The one writer of a log: opening and recovery, the queue, the writer's threads, rotation,
//! retention, key changes, repair.
//!
//! The highest folder of the engine; may use all others. Whatever changes a file of the log
//! is here.

pub(in crate::audit) mod head_file;
pub(in crate::audit) mod ids;
pub(in crate::audit) mod keeper;
pub mod key_change;
pub mod key_replace;
pub(in crate::audit) mod log;
pub mod options;
pub mod own;
pub mod own_files;
pub(in crate::audit) mod queue;
pub mod rate_limit;
pub(in crate::audit) mod recovery;
pub mod repair;
pub(in crate::audit) mod seal;
pub(in crate::audit) mod shelter;
pub(in crate::audit) mod writer;
