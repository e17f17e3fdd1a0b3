//! `backup`: make one that is proven restorable.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::backup::{BackupDir, BackupId, Creator, Made, Request};
use crate::cli::backups::overrides;
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::ui;

/// Back up the log, beside a running writer, and prove that it can be restored.
///
/// Writes audit_backup_YYYYMMDD_HHMMSS.gz (UTC), which `zcat` turns into the log's
/// lines, and its metadata (.json). Success is said once the archive has been
/// read back from the disk, its records hash to the root that the log signed, and
/// it extends the backup before. Exit 1: the log was altered, and no backup was
/// made.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Where backups are written [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// How hard to compress what is not compressed yet: 1 fast, 9 small
    #[arg(long, value_name = "1-9", value_parser = clap::value_parser!(u32).range(1..=9))]
    level: Option<u32>,
    /// Encrypt the archive to this age public key; may be repeated. Only who has the
    /// private key can restore it
    #[arg(long, value_name = "age1…")]
    encrypt_to: Vec<String>,
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep a backup from being cleaned up; makes none
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "level", "unpin"])]
    pin: Option<BackupId>,
    /// Let a pinned backup be cleaned up again
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "level"])]
    unpin: Option<BackupId>,
}

pub(crate) fn run(context: &Context, args: &BackupArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let dir = directory(&settings);
    match (args.pin, args.unpin) {
        (Some(id), _) => return pin(context, &dir, id, true),
        (_, Some(id)) => return pin(context, &dir, id, false),
        (None, None) => {}
    }
    let creator = Creator { fs: shared_fs(), clock: Arc::new(SystemClock), dir };
    let request = request(&settings, args);
    if args.dry_run {
        let outlook = creator.outlook(&request)?;
        let place = creator.dir.path();
        let text = if context.json {
            ui::backup_outlook_json(&outlook, place)
        } else {
            ui::backup_outlook_text(&outlook, place)
        };
        context.print(&text)?;
        return Ok(0);
    }
    let made = make(context, &creator, &request)?;
    let text = if context.json {
        json!({ "backup": ui::backup_made_value(&made) }).to_string()
    } else {
        ui::backup_made_text(&made)
    };
    context.print(&text)?;
    Ok(0)
}

fn request(settings: &Settings, args: &BackupArgs) -> Request {
    let encrypt_to =
        if args.encrypt_to.is_empty() { &settings.backup.encrypt_to } else { &args.encrypt_to };
    Request {
        log_dir: settings.log_dir.clone(),
        key_path: settings.key_path.clone(),
        level: args.level.unwrap_or(settings.compression_level),
        encrypt_to: encrypt_to.clone(),
    }
}

fn make(context: &Context, creator: &Creator, request: &Request) -> Result<Made, CliError> {
    let progress = Progress::new(context)?;
    let made = creator.create(request, &progress);
    progress.finish();
    let made = made?;
    if let Some(why) = &made.unsigned {
        context.printer.note(&format!("warning: the metadata is not signed: {why}"));
    }
    if made.unsigned_tail > 0 {
        context.printer.note(&format!(
            "warning: the last {} bytes of the log are not in it: a crash left them unsigned, and \
             no writer runs; start it, and back up again",
            made.unsigned_tail
        ));
    }
    if let Some(error) = &made.catalog_error {
        context.printer.note(&format!("warning: the catalog is out of date: {error}"));
    }
    Ok(made)
}

fn pin(context: &Context, dir: &BackupDir, id: BackupId, pinned: bool) -> Result<u8, CliError> {
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
