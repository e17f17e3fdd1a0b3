//! `diff`: two copies of a log, record by record.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::LogPaths;
use crate::backup::{DiffSide as Side, Fetched, LogChoice, Remote, Wish, compare};
use crate::cli::backups::{identities, overrides};
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::{directory, shared_fs};
use crate::cli::progress::Progress;
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::ui::DiffShown;

/// Compare two copies of a log, record by record.
///
/// Each copy is `log` (the log in --log-dir), a log directory, `latest`, a backup's id, an
/// archive, or a URL. `diff` shows each record that differs, is missing or was added, with both
/// lines: `-` is A's, `+` is B's. It does not say which copy is right: `auditctl verify` does. It
/// can read beside a running writer.
///
/// Exit codes: 0 the copies are the same; 1 they differ.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first copy
    #[arg(value_name = "A")]
    a: String,
    /// The second copy
    #[arg(value_name = "B")]
    b: String,
    /// Show at most this many differences; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// A file with an age private key, for encrypted backups; may be repeated
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let dir = directory(&settings);
    let identities = identities(&args.identity)?;
    let progress = Progress::new(context)?;
    // Their files are there for as long as these are.
    let (a, _of_a) = side(&args.a, &settings, &progress)?;
    let (b, _of_b) = side(&args.b, &settings, &progress)?;
    let limit = if args.limit == 0 { u64::MAX } else { args.limit };
    let mut shown = DiffShown::new(&args.a, &args.b, limit);
    let compared =
        compare(&shared_fs(), &dir, (&a, &b), &identities, &progress, &mut |difference| {
            shown.add(difference);
        });
    progress.finish();
    let compared = compared?;
    let text = if context.json { shown.json(&compared) } else { shown.text(&compared) };
    context.print(&text)?;
    Ok(if compared.is_same() { Exit::Ok as u8 } else { Exit::Found as u8 })
}

fn side(
    text: &str,
    settings: &Settings,
    progress: &Progress,
) -> Result<(Side, Option<Fetched>), CliError> {
    if text == "log" {
        return Ok((Side::Log(settings.log_dir.clone()), None));
    }
    if let Some((cloud, wish)) = Cloud::of_url(text)? {
        let remote = Remote::everything(cloud.connect(None, progress)?);
        let fetched = remote.fetch(&wish, &LogChoice::default(), &directory(settings), progress)?;
        let wish = Wish::Path(fetched.archive().to_path_buf());
        return Ok((Side::Backup(wish), Some(fetched)));
    }
    let path = Path::new(text);
    let paths = LogPaths::new(path);
    let is_log = [paths.manifest(), paths.active()].iter().any(|file| OsFs.meta(file).is_ok());
    Ok(if is_log {
        (Side::Log(path.to_path_buf()), None)
    } else {
        (Side::Backup(Wish::parse(text)), None)
    })
}
