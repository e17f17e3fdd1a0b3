//! Opening a log in three steps: [`inspect`] reads, [`decide`] says what is right about
//! what was read, and [`apply`] changes the files. [`foresee`] tells what the third step
//! would do, after the same two.
//!
//! What was recorded is what the writer signed: the newest signed head, from
//! `audit.checkpoint` or `audit.head`. Heads are only signed over durable records,
//! so anything wrong below the head's size is corruption: the log is not opened
//! for appending, unless that was accepted. Behind it stand
//! - after a signed `audit.closed`: lines that no writer of this log wrote. They are
//!   set aside as `audit.log.foreign-<time>`;
//! - after an unclean stop: records that the writer may have acknowledged a moment
//!   before the end. They are adopted, and `audit.recovered` names them as unsigned;
//! - from the first bad line on: a torn tail, moved to `audit.log.torn-<time>`.
//!
//! The manifest is believed when the log's key signed it and it is of the signed
//! head's epoch; otherwise it is made anew from the segments.

mod apply;
mod decide;
mod epoch;
mod error;
mod files;
mod foresee;
mod give_up;
mod heads;
mod histories;
mod identity;
mod ids;
mod inspect;
mod judge;
mod keys;
mod last_event;
mod left_out;
mod opened;
mod page;
mod rebuild;
mod records;
mod removed;
mod rescan;
mod start;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::options::Options;
use crate::audit::files::restore::Settled;
use crate::audit::files::segment::Block;
use crate::audit::paths::LogPaths;
use crate::audit::record::id::IdKey;
use crate::audit::state::status::StatusSnapshot;
use crate::fsio::Fs;
pub(crate) use crate::fsio::aside::copy_to_new;
pub use error::{Corruption, OpenError, RESTORE_ACTION};
pub use foresee::{Foreseen, foresee};
pub(crate) use ids::KnownIds;
pub(crate) use opened::Opened;

/// A log that is being opened, and what is known before its records are read.
struct Opening<'a> {
    options: &'a Options,
    fs: &'a dyn Fs,
    paths: &'a LogPaths,
    /// What is in its directory.
    names: &'a BTreeSet<String>,
    /// The page of the writer before.
    earlier: Option<StatusSnapshot>,
    /// A restore that is complete but for its record.
    settled: Option<Settled>,
    /// Holes that records name, once they were asked for.
    claimed: OnceLock<Vec<Block>>,
}

/// Opens the log's files. An interrupted restore is settled first; after that, nothing is changed
/// before `decide` has returned.
///
/// What was recorded with an id is told by digests under that key.
pub(crate) fn open(options: &Options, id_key: &IdKey) -> Result<(Opened, KnownIds), OpenError> {
    let paths = LogPaths::new(&options.dir);
    let lock = start::lock(options, &paths)?;
    let settled = start::settle_restore(options, &paths)?;
    let names = start::names(options)?;
    let opening = Opening::new(options, &*options.fs, (&paths, &names), settled);
    let seen = opening.inspect()?;
    let plan = opening.decide(seen)?;
    let opened = opening.apply(plan, lock)?;
    let ids = opening.known_ids(id_key, (&opened.manifest, &opened.active), opened.watch);
    Ok((opened, ids))
}
