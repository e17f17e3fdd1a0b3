//! `backup`: make one that is proven restorable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::backup::{
    BackupDir, BackupError, BackupId, Covered, Creator, Made, Metadata, Remote, Request, Uploaded,
};
use crate::cli::backups::{Recorder, overrides};
use crate::cli::cloud::{Cloud, CloudArgs, STALE};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::heads;
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::cli::typed::flag;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Settings;
use crate::store::{Lock, LockMode};
use crate::ui;

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
/// out; 3 the backup was made but not sent, and `--resume ID` sends it later.
#[derive(Debug, Args)]
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
    /// Make a backup even if nothing is new since the last one
    #[arg(long)]
    full: bool,
    /// Show what would be done, and write nothing. With a destination, ask it what is there
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Make the backup here only, even if the settings name a destination
    #[arg(long, conflicts_with_all = ["cloud", "destination", "resume", "limit_upload", "retain_until"])]
    local: bool,
    /// Send a backup that was made before, from where an earlier try stopped. Makes no backup
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["dry_run", "level", "full", "encrypt_to", "pin", "unpin"]
    )]
    resume: Option<BackupId>,
    /// Send at most this much a second, such as 10MiB
    #[arg(long, value_name = "SIZE")]
    limit_upload: Option<crate::units::ByteSize>,
    /// Have the store lock it until a date, a time (RFC 3339), or for a duration such as 30d. At
    /// most ten years ahead
    #[arg(long, value_name = "DATE|DURATION", value_parser = until)]
    retain_until: Option<Timestamp>,
    /// Who can shorten that lock: governance, privileged users; compliance, no one
    #[arg(long, value_name = "MODE", requires = "retain_until", default_value = "governance")]
    retain_mode: LockMode,
    /// Protect this backup from cleanup. Makes no backup
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "level", "full", "unpin", "cloud"])]
    pin: Option<BackupId>,
    /// Let cleanup remove this backup again. Makes no backup
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "level", "full", "cloud"])]
    unpin: Option<BackupId>,
}

impl BackupArgs {
    /// A flag that says how it is to be sent.
    fn only_for_sending(&self) -> Option<&'static str> {
        let flags = [
            (self.resume.is_some(), "--resume"),
            (self.limit_upload.is_some(), "--limit-upload"),
            (self.retain_until.is_some(), "--retain-until"),
        ];
        flags.into_iter().find(|(is, _)| *is).map(|(_, flag)| flag)
    }

    /// Whether it is asked first if there is anything new. A lock is set on what is sent, so
    /// who asks for one wants that sent.
    fn looks(&self) -> bool {
        !self.full && self.retain_until.is_none()
    }

    /// What to type again to send to the same place from the same one.
    fn typed(&self, context: &Context) -> String {
        let there = self.cloud.typed();
        let limit =
            self.limit_upload.map_or_else(String::new, |limit| format!(" --limit-upload {limit}"));
        format!(
            "{there}{limit}{}{}",
            flag("--output-dir", self.output_dir.as_deref()),
            context.typed()
        )
    }
}

/// The longest that a lock may last: a year more by a slip of the finger cannot be
/// taken back where nobody may shorten it. Ten years hold two or three leap days.
const LONGEST_LOCK: Duration = Duration::from_secs((3_650 + 3) * 86_400);

/// A date (the beginning of that day, UTC), a time, or a duration from now on.
fn until(text: &str) -> Result<Timestamp, String> {
    until_from(text, SystemClock.now())
}

fn until_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let after = |length: Duration| {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.micros().saturating_add(micros))
    };
    let until = match crate::units::parse_duration(text) {
        Ok(length) => after(length),
        Err(_) => {
            text.parse().or_else(|_| format!("{text}T00:00:00Z").parse::<Timestamp>()).map_err(
                |_| "a date such as 2027-01-31, a time, or a duration such as 30d is expected",
            )?
        }
    };
    if until <= now {
        return Err("it lies in the past".to_owned());
    }
    if until > after(LONGEST_LOCK) {
        return Err("it is more than ten years ahead (3653d)".to_owned());
    }
    Ok(until)
}

pub(crate) fn run(context: &Context, args: &BackupArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let dir = directory(&settings);
    match (args.pin, args.unpin) {
        (Some(id), _) => return pin(context, &dir, id, true),
        (_, Some(id)) => return pin(context, &dir, id, false),
        (None, None) => {}
    }
    // Before anything is made: what cannot be sent, because nobody said where to.
    let cloud = if args.local { None } else { args.cloud.sends_to(&settings)? };
    if cloud.is_none()
        && let Some(flag) = args.only_for_sending()
    {
        return Err(CliError::usage(format!(
            "{flag} needs a destination, because it is about a \
                                            backup that is sent"
        ))
        .hint(
            "name one: --cloud s3 --destination BUCKET, or destination = \"s3://BUCKET\" in \
                 [backup] of the settings",
        ));
    }
    if let (Some(id), Some(cloud)) = (args.resume, &cloud) {
        return resume(context, &dir, id, cloud, args);
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
            return nothing_new(context, &creator, &covered, cloud.as_ref(), args);
        }
    }
    let made = make(context, &creator, &request)?;
    let mut value = ui::backup_made_value(&made);
    // Whether that can be shown decides about nothing: it is recorded and sent all the same.
    let shown = if context.json { Ok(()) } else { context.print(&ui::backup_made_text(&made)) };
    value["recorded"] = recorded(context, &settings, &made);
    if let Some(cloud) = &cloud {
        let sent = send(context, &creator.dir, &made.metadata, cloud, args, false);
        value["destinations"] = told(context, &made.metadata, cloud, args, &value, sent)?;
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
    cloud: Option<&Cloud>,
    args: &BackupArgs,
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
    if let Some(cloud) = cloud {
        let progress = Progress::new(context)?;
        let there = cloud
            .connect(None, &progress)
            .map_err(BackupError::from)
            .and_then(|store| Remote::new(store, &metadata.host, &metadata.log.id).holds(metadata));
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
                let sent = send(context, &creator.dir, metadata, cloud, args, true);
                told(context, metadata, cloud, args, &value, sent)?
            }
            Err(error) => told(context, metadata, cloud, args, &value, Err(error))?,
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

/// Sends one that is there.
fn resume(
    context: &Context,
    dir: &BackupDir,
    id: BackupId,
    cloud: &Cloud,
    args: &BackupArgs,
) -> Result<u8, CliError> {
    let metadata = dir.metadata(id)?;
    let mut value = ui::backup_there_value(&metadata, dir.path());
    let sent = send(context, dir, &metadata, cloud, args, true);
    value["destinations"] = told(context, &metadata, cloud, args, &value, sent)?;
    if context.json {
        context.print(&json!({ "backup": value }).to_string())?;
    }
    Ok(0)
}

fn send(
    context: &Context,
    dir: &BackupDir,
    metadata: &Metadata,
    cloud: &Cloud,
    args: &BackupArgs,
    recheck: bool,
) -> Result<Uploaded, BackupError> {
    let progress = Progress::new(context).map_err(|error| BackupError::Usage(error.message))?;
    let store = cloud.connect(args.limit_upload.map(|limit| limit.0), &progress)?;
    let remote = Remote::new(store, &metadata.host, &metadata.log.id);
    let lock = args.retain_until.map(|until| Lock { until, mode: args.retain_mode });
    let sent = if recheck {
        remote.resume(dir, metadata, lock, &SystemClock, &progress)
    } else {
        remote.upload(dir, metadata, lock, &SystemClock, &progress)
    };
    progress.finish();
    if sent.is_ok()
        && let Err(error) = remote.store().abort_stale_uploads(STALE)
    {
        tracing::info!(%error, "parts of old uploads were not removed");
    }
    sent
}

/// Says what came of sending it: the JSON of the destinations, or an error that
/// holds the backup that is here all the same.
fn told(
    context: &Context,
    metadata: &Metadata,
    cloud: &Cloud,
    args: &BackupArgs,
    backup: &serde_json::Value,
    sent: Result<Uploaded, BackupError>,
) -> Result<serde_json::Value, CliError> {
    let id = metadata.id;
    let error = match sent {
        Ok(uploaded) => {
            if !context.json {
                context.print(&ui::uploaded_text(&uploaded))?;
            }
            return Ok(json!([ui::uploaded_value(&uploaded)]));
        }
        Err(error) => error,
    };
    let again = format!("`auditctl backup --resume {id}{}` sends it", args.typed(context));
    let mut told = match error {
        BackupError::Interrupted => {
            let message = format!("interrupted: backup {id} is here, but was not sent completely");
            CliError::new("interrupted", Exit::Interrupted, message)
        }
        error => {
            let mut told = CliError::from(error);
            if told.exit == Exit::Usage {
                // Something in the environment: no fault of the command line, and there
                // is a backup.
                told.exit = Exit::Failed;
            }
            told.message = format!("backup {id} is here, but was not sent: {}", told.message);
            told
        }
    };
    told.hint = Some(match told.hint.take() {
        Some(hint) => format!("{hint}; then {again}"),
        None => again,
    });
    let mut backup = backup.clone();
    backup["destinations"] = json!([{
        "place": cloud.url(),
        "state": "failed",
        "error": told.kind,
        "retryable": told.retryable,
    }]);
    told.extra.insert("backup".to_owned(), backup);
    Err(told)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_may_last_ten_years_as_a_calendar_counts_them_and_no_more() {
        // Ten years hold three leap days there.
        for (now, fine, too_long) in [
            ("2026-11-27T01:00:00Z", ["2036-11-26", "2036-11-27", "3653d"], "2036-11-29"),
            ("2024-02-01T00:00:00Z", ["2034-01-31", "2034-02-01", "3650d"], "2034-02-02"),
        ] {
            let now: Timestamp = now.parse().expect("a time");
            for text in fine {
                until_from(text, now).unwrap_or_else(|error| panic!("{text} at {now}: {error}"));
            }
            for text in [too_long, "11y", "20y", "3654d", "9999-01-01"] {
                let error = until_from(text, now).expect_err(text);
                assert!(error.contains("ten years") || error.contains("expected"), "{error}");
            }
        }
        let now: Timestamp = "2026-11-27T01:00:00Z".parse().expect("a time");
        assert!(until_from("2026-11-27", now).expect_err("past").contains("past"));
    }
}
