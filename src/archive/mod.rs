//! The archive: a log's records off the host within seconds, provable there by themselves.
//!
//! What the writer has signed is shipped to a store as objects that are written once:
//!
//! - `tail/`: what is new, every few seconds, with the signed checkpoint at its end
//! - `data/`: the same records in large objects, for good, which engines read as they are
//! - `parquet/`: the same as Parquet files
//! - `proof/`: which records each data object holds, the log's keys, and the signed
//!   checkpoints; a checkpoint there commits everything below its size
//!
//! [`Archiver`] ships, beside any writer, and asks the store for no list. [`Reader`] puts a
//! committed point together as a backup's archive, which [`crate::backup::Restorer`] restores.
//! docs/archive.md has the layout.

mod assemble;
mod bucket;
mod destination;
mod documents;
mod error;
mod find;
mod heads;
mod holder;
mod keyset;
mod layout;
mod log;
mod marks;
mod members;
mod names;
mod pack;
#[cfg(feature = "parquet")]
pub mod parquet;
mod plan;
mod position;
mod probe;
mod session;
mod ship;
mod shipping;
mod spool;
mod status;
#[cfg(feature = "parquet")]
mod table;
mod taken;
mod walk;

pub use assemble::{Assembled, Reader, Wanted};
pub(crate) use bucket::{Bucket, unless_foreign};
pub use destination::ArchivePlace;
pub(crate) use documents::signed;
pub use documents::{KeysDocument, ProofError, RangeProof};
pub use error::ArchiveError;
pub use heads::{heads, kept_head};
pub use holder::{ArchiveHolder, OpenArchive};
pub(crate) use keyset::{KeySet, keysets};
pub use layout::{Day, ForeignName, HostName, LogName, Nth, ObjectName, Place, Span};
pub(crate) use marks::{Mark, Planner};
pub(crate) use members::{MAX_OBJECT_BYTES, Members, Tail};
pub(crate) use names::{Proofs, TailThere};
pub(crate) use pack::accepted;
pub(crate) use plan::{Plan, Step};
pub use position::{FILE as POSITION_FILE, Position};
pub use probe::{Probed, probe};
pub use session::Session;
pub use ship::{Archiver, Cuts, NotMade, Shipped};
pub use shipping::{Course, OpenStore, Shipping, ShippingNews};
pub use status::{ArchiveFailure, ArchiveStatus, Lag, STATUS_FILE};
pub(crate) use walk::{Lacks, Take, Walk};
