//! `backup`: make one that is proven restorable.

mod pin;
mod resume;
mod send;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::backup::{BackupError, BackupId, Covered, Creator, Made, Remote, Request};
use crate::cli::backups::{Recorder, overrides};
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::found;
use crate::cli::heads;
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::health::FoundBy;
use crate::ui;
use pin::PinArgs;
use resume::ResumeArgs;
use send::{SendArgs, Sender};

/// Back up the log, beside a running writer, and prove that it can be restored.
///
/// Writes audit_backup_YYYYMMDD_HHMMSS.gz (UTC), which `zcat` turns into the log's lines, and its
/// metadata (.json). Reports success only after reading the archive back from the disk and
/// checking that its records hash to the signed root and that it extends the backup before.
///
/// If nothing happened since the last backup except that the log was opened, closed, idle or
/// backed up, no backup is made: the command names the last one and exits with 0. --full makes
/// one anyway.
///
/// With --cloud, or if the settings name a destination, the backup is then sent there, and the
/// store has to confirm it.
///
/// Exit codes: 0 done; 1 the log was altered, and no backup was made or what is damaged was left
/// out; 3 the backup was made but not sent, and `backup resume ID` sends it later.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackupArgs {
    /// Where backups are written [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Compression level for what is not compressed yet: 1 fast, 9 small
    #[arg(long, value_name = "1-9", value_parser = clap::value_parser!(u32).range(1..=9))]
    level: Option<u32>,
    /// Encrypt the archive to this age public key. Only the holder of the private key can restore
    /// it. May be repeated
    #[arg(long, value_name = "age1…")]
    encrypt_to: Vec<String>,
    /// Make a full backup, even if nothing is new since the last one
    #[arg(long, conflicts_with = "incremental")]
    full: bool,
    /// Hold only what came after the backup before, which is then needed to restore this one. A
    /// full backup is made if there is none to build on, and after each backup.full_every
    #[arg(long, conflicts_with = "retain_until")]
    incremental: bool,
    /// Show what would be done, and write nothing. With a destination, ask it what is there
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    sending: SendArgs,
    /// Make the backup here only, even if the settings name a destination
    #[arg(long, conflicts_with_all = ["cloud", "destination", "resume", "limit_upload", "retain_until"])]
    local: bool,
    /// As `backup resume ID`
    #[arg(
        long,
        hide = true,
        value_name = "ID",
        conflicts_with_all = ["dry_run", "level", "full", "incremental", "encrypt_to", "pin", "unpin"]
    )]
    resume: Option<BackupId>,
    /// As `backup pin ID`
    #[arg(long, hide = true, value_name = "ID", conflicts_with_all = ["dry_run", "level", "full", "incremental", "unpin", "cloud"])]
    pin: Option<BackupId>,
    /// As `backup unpin ID`
    #[arg(long, hide = true, value_name = "ID", conflicts_with_all = ["dry_run", "level", "full", "incremental", "cloud"])]
    unpin: Option<BackupId>,
    #[command(subcommand)]
    other: Option<Other>,
}

/// What is done with a backup that was made before.
#[derive(Debug, Subcommand)]
enum Other {
    /// Send a backup that was made before, from where an earlier try stopped
    Resume(ResumeArgs),
    /// Protect a backup from cleanup
    Pin(PinArgs),
    /// Let cleanup remove a pinned backup again
    Unpin(PinArgs),
}

impl BackupArgs {
    /// Whether it is asked first if there is anything new. A lock is set on what is sent, so
    /// who asks for one wants that sent.
    fn looks(&self) -> bool {
        !self.full && self.sending.retain_until.is_none()
    }
}

pub(crate) fn run(context: &Context, args: &BackupArgs) -> Result<u8, CliError> {
    match &args.other {
        Some(Other::Resume(other)) => return resume::run(context, other),
        Some(Other::Pin(other)) => return pin::run(context, other, true),
        Some(Other::Unpin(other)) => return pin::run(context, other, false),
        None => {}
    }
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let dir = directory(&settings);
    match (args.pin, args.unpin) {
        (Some(id), _) => return pin::pin(context, &dir, id, true),
        (_, Some(id)) => return pin::pin(context, &dir, id, false),
        (None, None) => {}
    }
    // Before anything is made: what cannot be sent, because nobody said where to.
    let cloud = if args.local { None } else { args.sending.cloud.sends_to(&settings)? };
    let typed = args.sending.typed(args.output_dir.as_deref(), context);
    let sender = cloud.as_ref().map(|cloud| Sender { cloud, args: &args.sending, typed });
    if sender.is_none() {
        let of_resume = args.resume.map(|_| "--resume");
        if let Some(flag) = of_resume.or_else(|| args.sending.only_for_sending()) {
            return Err(send::nowhere(&format!(
                "{flag} needs a destination, because it is about a backup that is sent"
            )));
        }
    }
    if let (Some(id), Some(sender)) = (args.resume, &sender) {
        return resume::resume(context, &dir, id, sender);
    }
    let creator = Creator { fs: shared_fs(), clock: Arc::new(SystemClock), dir };
    let request = request(&settings, args);
    if args.dry_run {
        return dry_run(context, &creator, &request, cloud.as_ref(), args);
    }
    if let Some(found) = heads::contradictions(context, &settings).first() {
        return Err(heads::error(found, Exit::Found, "; no backup was made"));
    }
    if args.looks() {
        let progress = Progress::new(context)?;
        let covered = creator.covered(&request, &progress);
        progress.finish();
        if let Some(covered) = covered? {
            return nothing_new(context, &creator, &covered, sender.as_ref());
        }
    }
    let made = make(context, &creator, &request)
        .inspect_err(|error| found::refused(&settings, error, FoundBy::Backup))?;
    let mut value = ui::backup_made_value(&made);
    // Whether that can be shown decides about nothing: it is recorded and sent all the same.
    let shown = if context.json { Ok(()) } else { context.print(&ui::backup_made_text(&made)) };
    value["recorded"] = recorded(context, &settings, &made);
    if let Some(sender) = &sender {
        let sent = sender.send(context, &creator.dir, &made.metadata, false);
        value["destinations"] = sender.told(context, &made.metadata, &value, sent)?;
    }
    shown.map_err(|error| error.hint(DONE))?;
    if context.json {
        let shown = context.print(&json!({ "backup": value }).to_string());
        shown.map_err(|error| error.hint(DONE))?;
    }
    match ui::backup_lacks_text(&made) {
        // Looked, and found bad: what there is was backed up.
        Some(text) => {
            context.printer.error(&format!("auditctl: {text}"));
            found::lacks(&settings, &text);
            Ok(Exit::Found as u8)
        }
        None => Ok(0),
    }
}

/// For whoever could not be told.
const DONE: &str = "the backup is made all the same; `auditctl list` shows it";

/// The newest backup holds everything: none is made. It is sent if it is not there.
fn nothing_new(
    context: &Context,
    creator: &Creator,
    covered: &Covered,
    sender: Option<&Sender<'_>>,
) -> Result<u8, CliError> {
    if let Err(error) = creator.note_unchanged(covered) {
        let text = format!("warning: the catalog is out of date: {error}");
        context.printer.note(&text);
    }
    let metadata = &covered.metadata;
    let mut value = ui::backup_there_value(metadata, creator.dir.path());
    value["nothing_new"] = json!(true);
    value["idle_records"] = json!(covered.idle_records());
    let shown =
        if context.json { Ok(()) } else { context.print(&ui::backup_nothing_new_text(covered)) };
    if let Some(sender) = sender {
        let progress = Progress::new(context)?;
        let there =
            sender.cloud.connect(None, &progress).map_err(BackupError::from).and_then(|store| {
                Remote::new(store, &metadata.host, &metadata.log.id).holds(metadata)
            });
        progress.finish();
        value["destinations"] = match there {
            Ok(Some(there)) => {
                if !context.json {
                    context.print(&format!("  there       {}", there.url))?;
                }
                let mut value = ui::uploaded_value(&there);
                value["already_there"] = json!(true);
                json!([value])
            }
            Ok(None) => {
                let sent = sender.send(context, &creator.dir, metadata, true);
                sender.told(context, metadata, &value, sent)?
            }
            Err(error) => sender.told(context, metadata, &value, Err(error))?,
        };
    }
    shown?;
    if context.json {
        context.print(&json!({ "backup": value }).to_string())?;
    }
    Ok(0)
}

/// Says what would be done, and asks the store what is there.
fn dry_run(
    context: &Context,
    creator: &Creator,
    request: &Request,
    cloud: Option<&Cloud>,
    args: &BackupArgs,
) -> Result<u8, CliError> {
    let outlook = creator.outlook(request)?;
    let progress = Progress::new(context)?;
    let covered = if args.looks() { creator.covered(request, &progress)? } else { None };
    let there = cloud.map(|cloud| {
        let snapshot = crate::audit::read::snapshot::Snapshot::take(&creator.fs, &request.log_dir)
            .map_err(BackupError::from)?;
        let store = cloud.connect(None, &progress)?;
        let remote = Remote::of_log(store, &crate::backup::host(), &snapshot.manifest.log_id);
        let (backups, newest) = remote.names()?;
        Ok::<_, BackupError>(ui::There { url: cloud.url(), backups, newest })
    });
    progress.finish();
    let there = there.transpose()?;
    let place = creator.dir.path();
    context.print(&if context.json {
        ui::backup_outlook_json(&outlook, place, covered.as_ref(), there.as_ref())
    } else {
        ui::backup_outlook_text(&outlook, place, covered.as_ref(), there.as_ref())
    })?;
    Ok(0)
}

/// Has the log record that it was backed up. The backup is good also where that cannot
/// be done, which is said.
fn recorded(context: &Context, settings: &Settings, made: &Made) -> serde_json::Value {
    // Opening a log that a crash left would change it: that is for whoever starts it.
    match Recorder::record_made(settings, made.to_record(), made.unsigned_tail == 0) {
        Ok(seq) => json!({ "seq": seq }),
        Err(why) => {
            context.printer.note(&format!(
                "warning: the log has no record of this backup: {why}. The backup is good"
            ));
            json!({ "error": why })
        }
    }
}

fn request(settings: &Settings, args: &BackupArgs) -> Request {
    let encrypt_to =
        if args.encrypt_to.is_empty() { &settings.backup.encrypt_to } else { &args.encrypt_to };
    Request {
        log_dir: settings.log_dir.clone(),
        key_path: settings.key_path.clone(),
        level: args.level.unwrap_or(settings.compression_level),
        encrypt_to: encrypt_to.clone(),
        chain: chain(settings, args),
    }
}

/// How many archives a restore may need. A lock on what is sent says that it stays until
/// then; what it builds on may go before.
fn chain(settings: &Settings, args: &BackupArgs) -> Option<usize> {
    let wanted = args.incremental || settings.backup.incremental && !args.full;
    let locked = args.sending.retain_until.is_some();
    (wanted && !locked).then_some(settings.backup.full_every as usize)
}

fn make(context: &Context, creator: &Creator, request: &Request) -> Result<Made, CliError> {
    let progress = Progress::new(context)?;
    let made = creator.create(request, &progress);
    progress.finish();
    let made = made?;
    if let Some(why) = &made.unsigned {
        context.printer.note(&format!("warning: the metadata is not signed: {why}"));
    }
    if let Some(why) = &made.full_because {
        context.printer.note(&format!("a full backup was made, because {why}"));
    }
    if made.unsigned_tail > 0 {
        context.printer.note(&format!(
            "warning: the last {} bytes of the log are not in it, because a crash left them \
             unsigned and no writer runs. Start the collector, and back up again",
            made.unsigned_tail
        ));
    }
    if let Some(error) = &made.catalog_error {
        context.printer.note(&format!("warning: the catalog is out of date: {error}"));
    }
    Ok(made)
}
