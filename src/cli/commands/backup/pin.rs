//! `backup pin`, `backup unpin`: what cleanup keeps whatever its rules say.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::backup::{BackupDir, BackupId};
use crate::cli::backups::overrides;
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::cli::open::directory;

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// The id of the backup: YYYYMMDD_HHMMSS
    id: BackupId,
    /// Where backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &PinArgs, pinned: bool) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    pin(context, &directory(&settings), args.id, pinned)
}

pub(super) fn pin(
    context: &Context,
    dir: &BackupDir,
    id: BackupId,
    pinned: bool,
) -> Result<u8, CliError> {
    let _lock = dir.lock_alone()?;
    dir.pin(id, pinned)?;
    let text = if context.json {
        json!({ "id": id, "pinned": pinned }).to_string()
    } else if pinned {
        format!("backup {id} is kept until it is unpinned")
    } else {
        format!("backup {id} is no longer pinned")
    };
    context.print(&text)?;
    Ok(0)
}
