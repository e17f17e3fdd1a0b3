//! `list`: what backups there are, and what they cover.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::backup::{Inventory, Level, Listed, inventory, parse_name};
use crate::cli::backups::{known_log, overrides};
use crate::cli::cloud::{Cloud, CloudArgs, configured};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::heads;
use crate::cli::open::directory;
use crate::cli::progress::Progress;
use crate::cli::typed::{flag, quoted};
use crate::clock::{Clock, SystemClock};
use crate::ui;

/// List the backups, the newest first, and what they cover.
///
/// The newest backup is the one that reaches furthest (by epoch, records, then time), whatever
/// its name says. If there is no log here, or the backups are in a cloud, the list also shows
/// each backup's log, host and newest record, and the command that restores it. With a log here,
/// all of its backups are listed, whichever host made them.
///
/// For each backup, `list` checks the length, the marker and the signatures; with --cloud also
/// the checksum that the store keeps. With --verify it reads the backup. Then the exit code is 1
/// if a backup is not good, and 3 if a backup could not be checked only because a newer version
/// made it.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// How thoroughly to check each backup [default without a value: content]
    #[arg(
        long,
        value_enum,
        value_name = "LEVEL",
        num_args = 0..=1,
        default_missing_value = "content",
        require_equals = true
    )]
    verify: Option<LevelArg>,
}

/// How far to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelArg {
    /// Lengths, marker and signatures; reads a few KB
    Listed,
    /// The stored bytes have the recorded SHA-256; reads all of it
    Stored,
    /// All records decompress, are whole and without gaps, and hash to the signed root
    Content,
    /// In addition, it extends the backup before it, and the log extends it
    Chain,
}

pub(crate) fn run(context: &Context, args: &ListArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let level = match args.verify {
        None | Some(LevelArg::Listed) => Level::Listed,
        Some(LevelArg::Stored) => Level::Stored,
        Some(LevelArg::Content) => Level::Content,
        Some(LevelArg::Chain) => Level::Chain,
    };
    let cloud = args.cloud.cloud(&settings)?;
    let progress = Progress::new(context)?;
    let known = known_log(context, &settings);
    let dir = directory(&settings);
    let now = SystemClock.now();
    let (listed, place) = match &cloud {
        Some(cloud) => {
            let remote = cloud.remote(&known, &progress)?;
            (remote.inventory(&dir, level, &known, now, &progress), remote.place())
        }
        None => {
            let place = dir.path().display().to_string();
            (inventory(&dir, level, &known, now, &progress), place)
        }
    };
    progress.finish();
    let listed = listed?;
    let contradictions = heads::contradictions(context, &settings);
    let commands = Commands { context, args, cloud: cloud.as_ref(), several: several(&listed) };
    let sent_to = configured(&settings);
    let told = sent_to.as_ref().filter(|_| cloud.is_none()).map(|(url, cloud)| {
        format!(
            "these backups are here; to list those in {url}, run `auditctl list {cloud}{}`",
            context.typed()
        )
    });
    let shown = ui::ListShown {
        place: &place,
        now,
        detailed: cloud.is_some() || known.live.is_none(),
        command: &|listed| commands.one(listed),
        latest: &|log, newest| commands.latest(log, newest),
        orphan: &|name| commands.orphan(name),
        destination: sent_to.as_ref().map(|(url, _)| url.as_str()),
        sent_to: told.as_deref(),
    };
    context.print(&if context.json {
        ui::backup_list_json(&listed, &contradictions, &shown)
    } else {
        ui::backup_list_text(&listed, &contradictions, &shown)
    })?;
    let bad = |backup: &Listed| !backup.is_good() && !backup.is_newer();
    let found = match args.verify {
        None => Exit::Ok,
        Some(_) if !contradictions.is_empty() || listed.backups.iter().any(bad) => Exit::Found,
        Some(_) if listed.backups.iter().any(Listed::is_newer) => Exit::Failed,
        Some(_) => Exit::Ok,
    };
    Ok(found as u8)
}

/// The commands that restore what is listed.
struct Commands<'a> {
    context: &'a Context,
    args: &'a ListArgs,
    cloud: Option<&'a Cloud>,
    several: bool,
}

impl Commands<'_> {
    /// The flags without which it would not be found.
    fn flags(&self) -> String {
        self.context.typed() + &flag("--output-dir", self.args.output_dir.as_deref())
    }

    fn one(&self, listed: &Listed) -> String {
        let which = match self.cloud {
            Some(_) => quoted(&format!("{}{}", listed.place, listed.id)),
            None => listed.id.to_string(),
        };
        format!("auditctl restore {which}{}{}", self.flags(), identity(listed))
    }

    fn latest(&self, log: &str, newest: &Listed) -> String {
        // By its beginning, as long as in the folders' names.
        let log: String = log.chars().take(12).collect();
        let log = if self.several { format!(" --log {}", quoted(&log)) } else { String::new() };
        let cloud = self.args.cloud.typed();
        format!("auditctl restore latest{cloud}{log}{}{}", self.flags(), identity(newest))
    }

    fn orphan(&self, name: &str) -> String {
        let which = match (self.cloud, parse_name(name)) {
            (Some(cloud), _) => quoted(&format!("{}{name}", cloud.url())),
            (None, Some((id, _))) => id.to_string(),
            (None, None) => quoted(name),
        };
        format!("auditctl restore {which}{}", self.flags())
    }
}

fn identity(listed: &Listed) -> &'static str {
    let sealed = listed.metadata.as_ref().is_some_and(|metadata| metadata.encryption.is_some());
    if sealed { " --identity FILE" } else { "" }
}

/// Whether they are of more than one log.
fn several(listed: &Inventory) -> bool {
    let good = listed.backups.iter().filter(|listed| listed.is_good());
    let logs: BTreeSet<&str> =
        good.filter_map(|listed| Some(listed.metadata.as_ref()?.log.id.as_str())).collect();
    logs.len() > 1
}
