//! Backups of a log: made, listed, restored, removed.
//!
//! A backup is an archive, `audit_backup_YYYYMMDD_HHMMSS.gz`, which `zcat` turns
//! into the log's lines, and its metadata, the same name with `.json`. It is said
//! to be made once it has been read back from the disk and its records hash to
//! the root that the log signed. See docs/backup-format.md for the formats.

mod base;
mod catalog;
mod chain;
mod check;
mod choice;
mod compare;
mod content;
mod copy;
mod covered;
mod create;
mod digest;
mod directory;
mod drill;
mod embed;
mod encrypt;
mod error;
mod escrow;
mod found_log;
mod heads;
mod holder;
mod hole;
mod inventory;
mod joined;
mod marker;
mod metadata;
mod name;
mod pack;

mod remote;
mod reread;
mod restore;
mod retention;
mod source;

use std::path::Path;

pub use crate::audit::read::watch::{Stage, Unwatched, Watch};
pub use base::Base;
pub(crate) use catalog::MAX_CATALOG_BYTES;
pub use catalog::{Catalog, Checked, Copied, CopyState, Drill, Failure, Level, Noted, Unchanged};
pub use chain::verify_link;
pub use choice::{LogChoice, keys_at_hand};
pub use compare::{Compared, Difference, Has, Side as DiffSide, compare};
pub use copy::BackupCopy;
pub use covered::Covered;
pub use create::{Creator, Made, Outlook, Request, host};
pub use digest::Digests;
pub(crate) use digest::FileSink;
pub use directory::{BackupDir, Contents, Entry, FetchPlace};
pub(crate) use drill::MAX_DRILL_BYTES;
pub use drill::{DrillReport, DrillStep};
pub use encrypt::KeyFile;
pub use error::{ArchiveFault, BackupError};
pub use escrow::{export_key, import_key};
pub use found_log::FoundLog;
pub(crate) use heads::MAX_HEAD_BYTES;
pub use heads::{Heads, MAX_HEADS, all_heads, heads};
pub use holder::Holder;
pub use hole::Hole;
pub use inventory::{Coverage, Inventory, KnownLog, Listed, inventory};
pub(crate) use marker::MAX_MARKER_BYTES;
pub use marker::{Marker, MarkerError};
pub(crate) use metadata::MAX_METADATA_BYTES;
pub use metadata::{Metadata, MetadataError};
pub use name::{BackupId, BackupIdError, FileKind, parse_name};
pub(crate) use remote::MAX_UPLOAD_STATE_BYTES;
pub use remote::{Fetched, Remote, RemoteWish, Uploaded};
pub use restore::{
    Against, Extent, LogHere, Outcome, Relation, RestorePlan, RestoreRequest, Restorer, Target,
    VerifiedBackup,
};
pub use retention::{Decision, Place, Plan, Policy, Removal, apply, plan};
pub use source::Wish;

use crate::clock::Timestamp;
use crate::fsio::Fs;

/// When the newest local backup was made: by the name of its metadata, which is
/// written last, once the backup is whole. `None` when there is none, or when
/// the directory cannot be read.
#[must_use]
pub fn newest(fs: &dyn Fs, dir: &Path) -> Option<Timestamp> {
    let names = fs.list(dir).ok()?;
    let committed = names.iter().filter_map(|name| match parse_name(name)? {
        (id, FileKind::Metadata) => Some(id.time()),
        _ => None,
    });
    committed.max()
}
