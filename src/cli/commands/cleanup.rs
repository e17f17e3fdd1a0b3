//! `cleanup`: remove backups that no rule keeps.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::backup::{
    Catalog, Decision, Level, Place, Plan, Policy, Removal, apply, inventory, plan,
};
use crate::cli::backups::{Recorder, known_log, overrides};
use crate::cli::cloud::{CloudArgs, configured};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::directory;
use crate::cli::progress::Progress;
use crate::clock::{Clock, SystemClock};
use crate::fsio::{Fs, OsFs};
use crate::ui;

/// Remove backups that no rule keeps.
///
/// A backup stays if one of the rules keeps it. Days, weeks and months are those of UTC. Only
/// good backups count. `cleanup` never removes the newest good backup, a pinned one, the only
/// copy of any record, or a file that is not a backup of this log. Backups under a retention lock
/// are reported, not treated as errors. The log records each removal before it happens.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Keep the newest N backups
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_daily: Option<u32>,
    /// The same for N weeks (ISO 8601)
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_weekly: Option<u32>,
    /// The same for N months
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_monthly: Option<u32>,
    /// The same for N years
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_yearly: Option<u32>,
    /// Keep all backups of at most this age, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep_within: Option<Duration>,
    /// Remove nothing if more than N backups would go
    #[arg(long, value_name = "N")]
    max_delete: Option<u32>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn duration(text: &str) -> Result<Duration, String> {
    match crate::units::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("it has to be greater than 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn run(context: &Context, args: &CleanupArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let policy = Policy {
        last: args.keep,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        yearly: args.keep_yearly,
        within: args.keep_within,
    };
    let cloud = args.cloud.cloud(&settings)?;
    let dir = directory(&settings);
    let known = known_log(context, &settings);
    let progress = Progress::new(context)?;
    // Before anything is looked at: nobody may add or remove until it is done.
    let there = OsFs.meta(dir.path()).is_ok();
    if !args.dry_run {
        // What a newer version noted may be why a backup is to stay.
        Catalog::peek(&OsFs, dir.path())?;
    }
    let lock = if there && !args.dry_run { Some(dir.lock_alone()?) } else { None };
    if lock.is_some() {
        dir.clear_leftovers()?;
    }
    let now = SystemClock.now();
    let remote = match &cloud {
        Some(_) if known.live.is_none() => {
            let message = "there is no log here, and `cleanup` removes only a log's own backups";
            return Err(CliError::usage(message).hint("--log-dir names the log directory"));
        }
        Some(cloud) => Some(cloud.remote(&known, &progress)?),
        None => None,
    };
    let listed = match &remote {
        Some(remote) => remote.inventory(&dir, Level::Listed, &known, now, &progress)?,
        None => inventory(&dir, Level::Listed, &known, now, &progress)?,
    };
    let place: &dyn Place = remote.as_ref().map_or(&dir, |remote| remote);
    let plan = plan(&listed, &policy, known.live.as_ref(), now)?;
    let count = plan.removals().count() as u64;
    if let Some(most) = args.max_delete.filter(|most| count > u64::from(*most)) {
        let message = format!("{count} backups would be removed, more than --max-delete {most}");
        return Err(CliError::new("max_delete", Exit::Busy, message)
            .hint("`auditctl cleanup --dry-run` shows which"));
    }
    let mut removed: Vec<(Decision, Removal)> = Vec::new();
    let applied = if args.dry_run || count == 0 {
        Ok(())
    } else {
        remove(&settings, place, &plan, &mut removed)
    };
    drop(lock);
    let text = if context.json {
        ui::cleanup_json(&plan, &removed, args.dry_run)
    } else {
        ui::cleanup_text(&plan, &removed, args.dry_run)
    };
    if let Err(error) = applied {
        let mut told = error;
        if let Ok(serde_json::Value::Object(document)) =
            serde_json::from_str(&ui::cleanup_json(&plan, &removed, args.dry_run))
        {
            *told.extra = document;
        }
        told.message = format!("{}; {} removed before that", told.message, removed.len());
        return Err(told);
    }
    context.print(&text)?;
    if cloud.is_none()
        && let Some((url, flags)) = configured(&settings)
    {
        context
            .printer
            .note(&format!("these backups are here; to clean up those in {url}, add {flags}"));
    }
    Ok(0)
}

fn remove(
    settings: &crate::config::Settings,
    place: &dyn Place,
    plan: &Plan,
    removed: &mut Vec<(Decision, Removal)>,
) -> Result<(), CliError> {
    let mut recorder = Recorder::open(settings)?;
    let applied =
        apply(place, plan, &mut |what| recorder.record(what), &mut |decision, removal| {
            removed.push((decision.clone(), removal.clone()));
        });
    let closed = recorder.close();
    applied?;
    closed
}
