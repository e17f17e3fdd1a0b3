//! `list`: what backups there are, and what they cover.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::backup::{Level, Listed, inventory};
use crate::cli::backups::{known_log, overrides};
use crate::cli::cloud::CloudArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::heads;
use crate::cli::open::directory;
use crate::cli::progress::Progress;
use crate::clock::{Clock, SystemClock};
use crate::ui;

/// List the backups, the newest first, and what they cover.
///
/// Newest is what reaches furthest (by epoch, records, then time), never what a
/// name says. Each is looked at: its length, its marker, its signatures; with
/// --cloud also the checksum that the store keeps. With --verify it is read; exit
/// 1 when one is not good, 3 when only what a newer version made could not be checked.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Check each backup this far [default without a value: content]
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
    /// Lengths, marker, signatures: reads a few KB
    Listed,
    /// The stored bytes have the recorded SHA-256
    Stored,
    /// Everything decompressed: whole records, gapless, hashing to the signed root
    Content,
    /// And it extends the backup before, and the log extends it
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
    context.print(&if context.json {
        ui::backup_list_json(&listed, &contradictions)
    } else {
        ui::backup_list_text(&listed, &contradictions, &place, now)
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
