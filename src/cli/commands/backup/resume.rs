//! `backup resume`: send a backup that was made before.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::send::{SendArgs, Sender, nowhere};
use crate::backup::{BackupDir, BackupId};
use crate::cli::backups::overrides;
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::cli::open::directory;
use crate::ui;

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The id of the backup: YYYYMMDD_HHMMSS
    id: BackupId,
    /// Where backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    sending: SendArgs,
}

pub(super) fn run(context: &Context, args: &ResumeArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let Some(cloud) = args.sending.cloud.sends_to(&settings)? else {
        return Err(nowhere("the backup has no destination"));
    };
    let typed = args.sending.typed(args.output_dir.as_deref(), context);
    let sender = Sender { cloud: &cloud, args: &args.sending, typed };
    resume(context, &directory(&settings), args.id, &sender)
}

/// Sends one that is there.
pub(super) fn resume(
    context: &Context,
    dir: &BackupDir,
    id: BackupId,
    sender: &Sender<'_>,
) -> Result<u8, CliError> {
    let metadata = dir.metadata(id)?;
    let mut value = ui::backup_there_value(&metadata, dir.path());
    let sent = sender.send(context, dir, &metadata, true);
    value["destinations"] = sender.told(context, &metadata, &value, sent)?;
    if context.json {
        context.print(&json!({ "backup": value }).to_string())?;
    }
    Ok(0)
}
