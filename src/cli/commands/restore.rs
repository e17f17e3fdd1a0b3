//! `restore`: check a backup, compare it with the log, and put it in its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::archive::Wanted;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::state::status::Mode;
use crate::backup::{
    BackupDir, BackupError, Extent, Fetched, FoundLog, LogChoice, Relation, Remote, RestorePlan,
    RestoreRequest, Restorer, Target, Wish, keys_at_hand,
};
use crate::cli::archives::{Archive, FromArchive};
use crate::cli::backups::{ask, identities, known_log, overrides};
use crate::cli::cloud::{Cloud, CloudArgs, configured};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::found;
use crate::cli::heads;
use crate::cli::open;
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::cli::typed::{flag, quoted};
use crate::cli::zone;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::wording::{age, count, since};
use crate::ui;

/// Restore a backup in the log's place, or beside it.
///
/// First `restore` checks everything: archive, records, tree and signatures. Then it says how the
/// backup relates to the log that is there. It replaces all of the log or nothing: a crash leaves
/// the old log or the new one. It keeps the old one in logs/before-restore-<time>/. On a terminal
/// it asks before it changes anything; elsewhere it needs --force (exit 4 without).
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// `latest`, a backup's id, a backup's archive or metadata file, a log directory, a URL
    /// (s3://, az:// or gs://) of a backup or of a folder with /latest; or what `auditctl archive`
    /// ships to: a directory, or a URL of bucket and prefix
    #[arg(value_name = "BACKUP", required_unless_present = "drill")]
    backup: Option<String>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Only try it: restore to a temporary place, open the log, record to it, read and compare
    /// it, and leave a signed report beside the backups. The exit code is 1 if that failed
    /// [default BACKUP: latest]
    #[arg(long, conflicts_with_all = ["target", "to_seq", "to_time", "dry_run", "force"])]
    drill: bool,
    /// A file with an age private key, for an encrypted backup; may be repeated
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Restore into this new or empty directory instead of the log directory
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
    /// Restore only the records up to and including this seq
    #[arg(long, value_name = "SEQ", conflicts_with = "to_time")]
    to_seq: Option<u64>,
    /// Restore only the records accepted at or before this time (RFC 3339; a local time needs
    /// --timezone)
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// Time zone of --to-time: UTC, local, a name such as Europe/Berlin, or an offset such as
    /// +02:00
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, requires = "to_time")]
    timezone: Option<String>,
    /// For `latest`, if there are backups of several logs: the id of the log that you want, or
    /// its first digits
    #[arg(long, value_name = "ID", value_parser = log_id)]
    log: Option<String>,
    /// The log's public key, kept elsewhere [default: audit.pub in the log directory]
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Check and compare everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With an archive: restore what this epoch holds, instead of the newest one
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// Do not ask. Required if the histories differ, and for an archive that proves that there
    /// was more than it holds
    #[arg(long)]
    force: bool,
}

/// The time that `--to-time` means.
fn to_time(args: &RestoreArgs) -> Result<Option<Timestamp>, CliError> {
    let Some(text) = &args.to_time else { return Ok(None) };
    let text = match &args.timezone {
        Some(zone) => zone::in_zone("--to-time", text, &zone::named("--timezone", zone)?)?,
        None => text.clone(),
    };
    let time = text.parse::<Timestamp>().map_err(|error| {
        CliError::usage(format!("--to-time: {error}"))
            .hint("for a local time add --timezone, such as --timezone Europe/Berlin")
    })?;
    Ok(Some(time))
}

pub(crate) fn run(context: &Context, args: &RestoreArgs) -> Result<u8, CliError> {
    let to_time = to_time(args)?;
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let public_key = match &args.public_key {
        Some(path) => Some(
            VerifierKey::load(&OsFs, path)
                .map_err(|error| CliError::usage(format!("--public-key: {error}")))?,
        ),
        None => None,
    };
    let identities = identities(&args.identity)?;
    let dir = directory(&settings);
    let progress = Progress::new(context)?;
    // Its files are there for as long as this is.
    let archived = from_archive(context, &settings, args, public_key.as_ref(), &dir, &progress)?;
    let fetched = match &archived {
        Some(_) => None,
        None => fetch(context, &settings, args, public_key.as_ref(), &dir, &progress)?,
    };
    let request = RestoreRequest {
        wish: match (&archived, &fetched) {
            (Some(archived), _) => archived.wish(),
            (None, Some(fetched)) => Wish::Path(fetched.archive().to_path_buf()),
            (None, None) => args.backup.as_deref().map_or(Wish::Latest, Wish::parse),
        },
        extent: match (args.to_seq, to_time) {
            (Some(seq), _) => Extent::ToSeq(seq),
            (_, Some(time)) => Extent::ToTime(time),
            (None, None) => Extent::Whole,
        },
        target: args.target.clone().map_or(Target::Log, Target::Beside),
        log: args.log.clone(),
        public_key,
        identities,
        dry_run: args.dry_run,
    };
    let restorer = Restorer {
        fs: shared_fs(),
        clock: Arc::new(SystemClock),
        dir,
        options: heads::noted(open::options(&settings, Mode::Record), &settings),
    };
    if args.drill {
        let drilled = restorer.drill(&request, settings.key_path.as_deref(), &progress);
        progress.finish();
        let (report, path) = drilled.map_err(|error| told(context, &settings, args, error))?;
        context.print(&if context.json {
            ui::drill_json(&report, &path)
        } else {
            ui::drill_text(&report, &path)
        })?;
        return Ok(if report.passed { 0 } else { Exit::Found as u8 });
    }
    let mut confirm = |plan: &RestorePlan| {
        progress.finish();
        confirm(context, args, plan)
    };
    let outcome = restorer.restore(&request, &mut confirm, &progress);
    progress.finish();
    let outcome = outcome.map_err(|error| told(context, &settings, args, error))?;
    if outcome.in_place && outcome.changed {
        // All of what is there now was checked.
        found::ended(&settings, true);
    }
    context.print(&if context.json {
        ui::restore_json(&outcome, args.dry_run)
    } else {
        ui::restore_text(&outcome, args.dry_run)
    })?;
    Ok(0)
}

/// Enough of a log's id to mean it.
fn log_id(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() < 4 || !text.chars().all(fine) {
        return Err("a log's id, or at least its first 4 digits, is expected".to_owned());
    }
    Ok(text.to_owned())
}

/// Puts together what an archive holds, when it is asked for from one.
fn from_archive(
    context: &Context,
    settings: &Settings,
    args: &RestoreArgs,
    public_key: Option<&VerifierKey>,
    dir: &BackupDir,
    progress: &Progress,
) -> Result<Option<FromArchive>, CliError> {
    let Some(archive) = args.backup.as_deref().map(Archive::to_restore).transpose()?.flatten()
    else {
        return match args.epoch {
            Some(_) => Err(CliError::usage("--epoch is for an archive, and this names none")),
            None => Ok(None),
        };
    };
    let keys_here = match (public_key, &args.log, &args.target) {
        (None, None, None) => keys_at_hand(&OsFs, &settings.log_dir, settings.key_path.as_deref()),
        _ => None,
    };
    let wanted = Wanted {
        log: args.log.clone(),
        public_key: public_key.cloned(),
        keys_here,
        holds: args.to_seq,
        epoch: args.epoch,
        force: args.force,
    };
    let fetched = archive.fetch(&wanted, dir, progress);
    progress.finish();
    let fetched = fetched?;
    context.printer.note(&fetched.point());
    Ok(Some(fetched))
}

/// Fetches the backup, when it is asked for from elsewhere.
fn fetch(
    context: &Context,
    settings: &Settings,
    args: &RestoreArgs,
    public_key: Option<&VerifierKey>,
    dir: &BackupDir,
    progress: &Progress,
) -> Result<Option<Fetched>, CliError> {
    let wanted = args.backup.as_deref().unwrap_or("latest");
    let (cloud, wish) = match (Cloud::of_url(wanted)?, args.cloud.cloud(settings)?) {
        (Some(found), _) => found,
        (None, Some(cloud)) => {
            let wish = Remote::wish(wanted).ok_or_else(|| {
                CliError::usage(format!("{wanted:?} is no backup's id")).hint(
                    "with --cloud, name latest or an id; `auditctl list --cloud …` shows \
                           the ids",
                )
            })?;
            (cloud, wish)
        }
        (None, None) => return Ok(None),
    };
    let known = known_log(context, settings);
    let by_url = Cloud::of_url(wanted)?.is_some();
    let here = known.live.as_ref().map(|live| live.manifest.log_id.clone());
    // A URL says itself what is wanted; and beside the log any may be restored.
    let here = here.filter(|_| args.log.is_none() && !by_url);
    let remote = match &here {
        Some(_) => cloud.remote(&known, progress)?,
        None => Remote::everything(cloud.connect(None, progress)?),
    };
    let log = args.log.clone().or(here);
    let keys = match public_key {
        Some(key) => Some(key.clone().into()),
        None if args.target.is_some() && log.is_none() => None,
        None => keys_at_hand(&OsFs, &settings.log_dir, settings.key_path.as_deref()).filter(
            |keys: &Keyring| {
                let id = keys.newest().log_id();
                log.as_ref().is_none_or(|log| id.is_some_and(|id| id.starts_with(log.as_str())))
            },
        ),
    };
    let fetched = remote.fetch(&wish, &LogChoice { log, keys }, dir, progress);
    progress.finish();
    fetched.map(Some).map_err(|error| told(context, settings, args, error))
}

/// With what to do next, typed out.
fn told(
    context: &Context,
    settings: &Settings,
    args: &RestoreArgs,
    error: BackupError,
) -> CliError {
    let mut flags = args.cloud.typed();
    flags.push_str(&context.typed());
    flags.push_str(&flag("--output-dir", args.output_dir.as_deref()));
    flags.push_str(&flag("--target", args.target.as_deref()));
    match error {
        BackupError::SeveralLogs { place, logs } => several(args, &place, &logs, &flags),
        error => {
            let nothing = matches!(error, BackupError::NotFound { .. });
            let mut error = CliError::from(error);
            if nothing
                && args.cloud.typed().is_empty()
                && args.output_dir.is_none()
                && let Some((url, cloud)) = configured(settings)
            {
                let wanted = args.backup.as_deref().unwrap_or("latest");
                error.hint = Some(format!(
                    "backups are sent to {url}; to restore from there, run `auditctl restore {} \
                     {cloud}{flags}`",
                    quoted(wanted)
                ));
            }
            error
        }
    }
}

/// Nobody said which log: all of them, each with its command.
fn several(args: &RestoreArgs, place: &Path, logs: &[FoundLog], flags: &str) -> CliError {
    let wanted = args.backup.as_deref().filter(|wanted| *wanted != "latest");
    let now = SystemClock.now();
    let commands: Vec<String> = logs
        .iter()
        .map(|log| {
            // Two of one id are told apart by their keys: one of them is no backup of ours.
            let twice = logs.iter().filter(|other| other.log_id == log.log_id).count() > 1;
            let digits: String = log.log_id.chars().take(12).collect();
            let which = match wanted {
                _ if twice => quoted(&in_place(&log.place, log)),
                Some(wanted) => format!("{} --log {}", quoted(wanted), quoted(&digits)),
                None => format!("latest --log {}", quoted(&digits)),
            };
            let identity = if log.encrypted { " --identity FILE" } else { "" };
            format!("auditctl restore {which}{flags}{identity}")
        })
        .collect();
    let mut hint = String::from("say which one:");
    let hosts = |log: &FoundLog| log.hosts.iter().cloned().collect::<Vec<_>>().join(", ");
    for (log, command) in logs.iter().zip(&commands) {
        hint.push_str(&format!(
            "\n  log {} (key {}), host {}: {}, the newest record {} old\n    {command}",
            log.log_id,
            log.key.split('+').nth(1).unwrap_or("?"),
            hosts(log),
            count(log.backups as u64, "backup"),
            age(since(log.newest_record, now)),
        ));
    }
    let ids: std::collections::BTreeSet<&str> =
        logs.iter().map(|log| log.log_id.as_str()).collect();
    if ids.len() < logs.len() {
        hint.push_str(
            "\n  backups that name one log under different keys count as two logs, because \
             somebody may have put one of them there. Add --public-key FILE to take the one that \
             your kept audit.pub proves",
        );
    }
    let error = BackupError::SeveralLogs { place: place.to_path_buf(), logs: logs.to_vec() };
    let mut told = CliError::from(error);
    told.hint = Some(hint);
    let values = logs.iter().zip(&commands).map(|(log, command)| {
        serde_json::json!({
            "log_id": log.log_id,
            "key": log.key,
            "hosts": log.hosts,
            "backups": log.backups,
            "newest": log.newest,
            "newest_record": log.newest_record,
            "tree_size": log.tree_size,
            "stored_bytes": log.stored_bytes,
            "encrypted": log.encrypted,
            "restore": command,
        })
    });
    told.extra.insert("logs".to_owned(), values.collect());
    told
}

/// The backup's URL, or its file.
fn in_place(place: &str, log: &FoundLog) -> String {
    if place.contains("://") {
        return format!("{place}{}", log.newest);
    }
    Path::new(place).join(log.newest.metadata()).display().to_string()
}

fn confirm(context: &Context, args: &RestoreArgs, plan: &RestorePlan) -> Result<(), BackupError> {
    if args.force || args.target.is_some() {
        return Ok(());
    }
    let refused = |what: &str| Err(BackupError::Refused(what.to_owned()));
    if matches!(plan.relation, Relation::Diverged { .. }) {
        return refused(
            "the log and the backup have different histories. Compare them with --dry-run. Then \
             restore beside the log with --target DIR, or add --force to set the log's own \
             records aside",
        );
    }
    if context.json {
        return refused("--json asks no questions: add --force to restore");
    }
    context.printer.error(&ui::restore_plan_text(plan));
    match ask("Restore?") {
        Some(true) => Ok(()),
        Some(false) => refused("not restored, as you answered"),
        None => refused("not a terminal, so no confirmation is possible: add --force to restore"),
    }
}
