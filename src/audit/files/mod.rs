//! The log's files: segments, blocks, the manifest, block filters, columns, leaf hashes, the restore
//! journal, and what the log's own records in them say about the log.
//!
//! May use [`keys`](super::keys) and what is below. Everything here reads or writes the
//! format of one file; what several files together mean is decided in
//! [`read`](super::read) and [`write`](super::write).

pub(crate) mod block_filter;
pub(crate) mod columns;
pub(crate) mod digest;
pub mod ended;
pub mod examine;
pub(crate) mod facts;
pub mod gzip;
pub(crate) mod leaves;
pub(in crate::audit) mod lines;
pub mod manifest;
pub mod restore;
pub(crate) mod room;
pub(in crate::audit) mod roots;
pub(crate) mod salvage;
pub(in crate::audit) mod scan;
pub mod segment;
