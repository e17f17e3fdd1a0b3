//! `restore`: check a backup, compare it with the log, and put it in its place.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::audit::checkpoint::VerifierKey;
use crate::audit::status::Mode;
use crate::backup::{
    BackupDir, BackupError, Extent, Fetched, KeyFile, Relation, Remote, RestorePlan,
    RestoreRequest, Restorer, Target, Wish,
};
use crate::cli::backups::{ask, known_log, overrides};
use crate::cli::cloud::{Cloud, CloudArgs};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::heads;
use crate::cli::open;
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::cli::zone;
use crate::clock::{SystemClock, Timestamp};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::ui;

/// Restore a backup in the log's place, or beside it.
///
/// Checks everything first: archive, records, tree, signatures; then says how the
/// log that is there relates to it. All or nothing: a crash leaves the old log or
/// the new one. What was there is kept in logs/before-restore-<time>/. On a
/// terminal you are asked; elsewhere --force is needed (exit 4 without).
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// `latest`, a backup's id, an archive or metadata file, a log directory, or a
    /// URL: s3://, az:// or gs://, of an archive, or of a folder with /latest
    #[arg(value_name = "BACKUP", required_unless_present = "drill")]
    backup: Option<String>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Only try it: restore to a temporary place, open, record, read and compare,
    /// and leave a signed report beside the backups; exit 1 when it failed
    /// [default BACKUP: latest]
    #[arg(long, conflicts_with_all = ["target", "to_seq", "to_time", "dry_run", "force"])]
    drill: bool,
    /// A file with an age private key, for an encrypted backup; may be repeated
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Restore into this new or empty directory, and leave the log alone
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
    /// Only the records up to and with this seq
    #[arg(long, value_name = "SEQ", conflicts_with = "to_time")]
    to_seq: Option<u64>,
    /// Only the records accepted before or at this time (RFC 3339; without a zone only with
    /// --timezone)
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// Where --to-time is a local time: UTC, local, a name such as Europe/Berlin, or an
    /// offset such as +02:00
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, requires = "to_time")]
    timezone: Option<String>,
    /// The log's public key (audit.pub), when the log's directory has none
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Check and compare everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nobody; needed where the histories differ
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
    // Before signals are waited for: what is named may be a pipe.
    let identities = args.identity.iter().map(|path| KeyFile::read(&OsFs, path));
    let identities = identities.collect::<Result<Vec<_>, _>>()?;
    let dir = directory(&settings);
    let progress = Progress::new(context)?;
    // Its files are there for as long as this is.
    let fetched = fetch(context, &settings, args, &dir, &progress)?;
    let request = RestoreRequest {
        wish: match &fetched {
            Some(fetched) => Wish::Path(fetched.archive().to_path_buf()),
            None => args.backup.as_deref().map_or(Wish::Latest, Wish::parse),
        },
        extent: match (args.to_seq, to_time) {
            (Some(seq), _) => Extent::ToSeq(seq),
            (_, Some(time)) => Extent::ToTime(time),
            (None, None) => Extent::Whole,
        },
        target: args.target.clone().map_or(Target::Log, Target::Beside),
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
        let (report, path) = drilled?;
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
    let outcome = outcome?;
    context.print(&if context.json {
        ui::restore_json(&outcome, args.dry_run)
    } else {
        ui::restore_text(&outcome, args.dry_run)
    })?;
    Ok(0)
}

/// Fetches the backup, when it is asked for from elsewhere.
fn fetch(
    context: &Context,
    settings: &Settings,
    args: &RestoreArgs,
    dir: &BackupDir,
    progress: &Progress,
) -> Result<Option<Fetched>, CliError> {
    let wanted = args.backup.as_deref().unwrap_or("latest");
    let (remote, wish) = match (Cloud::of_url(wanted)?, args.cloud.cloud(settings)?) {
        (Some((cloud, wish)), _) => (Remote::here(cloud.connect(None, progress)?), wish),
        (None, Some(cloud)) => {
            let wish = Remote::wish(wanted).ok_or_else(|| {
                CliError::usage(format!("{wanted:?} is no backup's id"))
                    .hint("with --cloud, say latest or an id; `auditctl list --cloud …` shows them")
            })?;
            let known = known_log(context, settings);
            if known.live.is_none() {
                return Err(CliError::usage(
                    "there is no log here that says which backups are its",
                )
                .hint(
                    "`auditctl list --cloud …` shows all; `auditctl restore URL` takes one of them",
                ));
            }
            (cloud.remote(&known, progress)?, wish)
        }
        (None, None) => return Ok(None),
    };
    let fetched = remote.fetch(&wish, dir, progress);
    progress.finish();
    Ok(Some(fetched?))
}

fn confirm(context: &Context, args: &RestoreArgs, plan: &RestorePlan) -> Result<(), BackupError> {
    if args.force || args.target.is_some() {
        return Ok(());
    }
    let refused = |what: &str| Err(BackupError::Refused(what.to_owned()));
    if matches!(plan.relation, Relation::Diverged { .. }) {
        return refused(
            "the log and the backup are two different histories; look at --dry-run, and restore \
             beside with --target DIR, or say --force to set the log's own aside",
        );
    }
    if context.json {
        return refused("nobody is asked with --json: say --force to restore");
    }
    context.printer.error(&ui::restore_plan_text(plan));
    match ask("Restore?") {
        Some(true) => Ok(()),
        Some(false) => refused("not restored, as you said"),
        None => refused("nobody can be asked here: say --force to restore"),
    }
}
