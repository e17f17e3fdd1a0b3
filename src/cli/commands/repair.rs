//! `repair`: put back what is damaged, from copies, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::signer::SigningKey;
use crate::audit::read::verify::Report;
use crate::audit::state::status::Mode;
use crate::audit::write::own::Repaired;
use crate::audit::write::repair::{Copy, LogCopy, Needs, Repair, apply, look, verified};
use crate::audit::{AuditLog, Foreseen, LogPaths, foresee};
use crate::backup::{BackupCopy, BackupDir, Fetched, KeyFile, LogChoice, Remote, Wish};
use crate::cli::backups::{identities, overrides};
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::found;
use crate::cli::heads;
use crate::cli::open::{self, Waiting, directory, shared_fs};
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::fsio::lock::WriterLock;
use crate::fsio::{Fs, OsFs};
use crate::health::FoundBy;
use crate::ui::{self, RepairShown};

/// Replace the damaged records of the log from backups, and change nothing else.
///
/// `repair` replaces only records that are damaged or missing, and only with records that the
/// log's key signed. Newer records stay. It keeps each damaged file beside the log as
/// <file>.damaged-<time>, and records what it did as audit.repaired. Stop the collector first:
/// nobody may write to the log meanwhile.
///
/// Exit codes: 0 the log is good; 1 something is still damaged, and is named.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Where to take good records from: `latest`, a backup's id, an archive, a log directory, or
    /// a URL. May be repeated [default: the backups in backup.output_dir, newest first]
    #[arg(long, value_name = "BACKUP")]
    from: Vec<String>,
    /// Show record by record what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The log's public key, if audit.pub is damaged and the private key is not here
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// A file with an age private key, for encrypted backups; may be repeated
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Where the backups are [default: backups/audit]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Wait so long for a log that another program has open
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::record::duration)]
    wait: Duration,
}

pub(crate) fn run(context: &Context, args: &RepairArgs) -> Result<u8, CliError> {
    let settings = context.settings(&overrides(args.output_dir.as_ref()))?;
    let paths = LogPaths::new(&settings.log_dir);
    let given = match &args.public_key {
        Some(path) => Some(
            VerifierKey::load(&OsFs, path)
                .map_err(|error| CliError::usage(format!("--public-key: {error}")))?,
        ),
        None => None,
    };
    let private = settings.key_path.clone().unwrap_or_else(|| paths.key());
    let signing = SigningKey::load(&OsFs, &private).ok();
    let key = given.or_else(|| signing.as_ref().map(|key| key.verifier().clone()));
    let identities = identities(&args.identity)?;
    let lock = lock(context, &paths, args)?;
    let progress = Progress::new(context)?;
    let mut needs = Needs {
        fs: shared_fs(),
        clock: Arc::new(SystemClock),
        dir: settings.log_dir.clone(),
        key,
        copies: &[],
        report: None,
    };
    needs.report = Some(verified(&needs, &progress)?);
    let passed = needs.report.as_ref().is_some_and(Report::passed);
    let lacks = |report: &Report| !report.holes.is_empty() || report.left_behind() > 0;
    let lacks = needs.report.as_ref().is_some_and(lacks);
    let copies = if passed && !lacks {
        Copies::default()
    } else {
        match Copies::open(context, &settings, (args, identities), (&needs, &progress)) {
            // Nothing is damaged: what was given up comes back where a copy happens to be.
            Err(_) if passed && args.from.is_empty() => Copies::default(),
            opened => opened?,
        }
    };
    let all: Vec<&dyn Copy> = copies.all.iter().map(|copy| &**copy).collect();
    let needs = Needs { copies: &all, ..needs };
    let repair = look(&needs, &progress);
    progress.finish();
    let repair = repair?;
    if args.dry_run || repair.is_nothing() {
        let opening = args.dry_run.then(|| {
            let options = heads::noted(open::options(&settings, Mode::Record), &settings);
            foresee(&options).map_err(|error| error.to_string())
        });
        return only_said(context, &settings, (&repair, opening.as_ref()));
    }
    let done = apply(&needs, &repair, signing.as_ref())?;
    drop(lock);
    let recorded = record(&settings, &done);
    let progress = Progress::new(context)?;
    let after = verified(&Needs { report: None, ..needs }, &progress);
    progress.finish();
    let after = after?;
    found::verified(&settings, &after, FoundBy::Repair, false);
    let unrecorded = recorded.as_ref().err().map(String::as_str);
    let recorded = recorded.as_ref().ok().copied();
    let (dir, done, after) = (settings.log_dir.as_path(), Some(&done), Some(&after));
    let opening = None;
    let repair = &repair;
    show(context, &RepairShown { dir, repair, done, recorded, unrecorded, after, opening })?;
    Ok(if after.is_some_and(Report::passed) { Exit::Ok as u8 } else { Exit::Found as u8 })
}

fn only_said(
    context: &Context,
    settings: &Settings,
    (repair, opening): (&Repair, Option<&Result<Foreseen, String>>),
) -> Result<u8, CliError> {
    found::verified(settings, &repair.report, FoundBy::Repair, false);
    let dir = settings.log_dir.as_path();
    let (done, recorded, unrecorded, after) = (None, None, None, None);
    show(context, &RepairShown { dir, repair, done, recorded, unrecorded, after, opening })?;
    let good = repair.report.passed() || repair.mends_all() && !repair.is_nothing();
    Ok(if good { Exit::Ok as u8 } else { Exit::Found as u8 })
}

fn show(context: &Context, shown: &RepairShown<'_>) -> Result<(), CliError> {
    let text = if context.json { ui::repair_json(shown) } else { ui::repair_text(shown) };
    let printed = context.print(&text);
    if shown.done.is_none() {
        return printed;
    }
    printed.map_err(|error| {
        error.hint("the repair is done all the same; `auditctl verify` shows what stays damaged")
    })
}

/// Keeps writers away. Beside one, a dry run can look all the same.
fn lock(
    context: &Context,
    paths: &LogPaths,
    args: &RepairArgs,
) -> Result<Option<WriterLock>, CliError> {
    if OsFs.meta(&paths.dir).is_err() {
        let message = format!("there is no log in {}", paths.dir.display());
        return Err(CliError::new("no_log", Exit::Failed, message).hint(
            "name the log directory with --log-dir; `auditctl restore` brings back a lost \
                   log",
        ));
    }
    let mut waiting = Waiting::new(&paths.dir, args.wait, Some(context.printer));
    loop {
        match paths.lock_for_writing() {
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) if args.dry_run => {
                context
                    .printer
                    .note("a writer has the log open: what it is writing may look damaged");
                return Ok(None);
            }
            Ok(None) => {
                let message =
                    format!("{} is locked: a writer has the log open", paths.lock().display());
                waiting.go_on(CliError::new("locked", Exit::Busy, message).hint(
                    "stop the collector, repair, and start it again; --dry-run works beside it",
                ))?;
            }
            Err(error) => return Err(CliError::io("lock", paths.lock(), &error)),
        }
    }
}

/// Copies, and the directories of what was fetched.
#[derive(Default)]
struct Copies {
    identities: Vec<KeyFile>,
    all: Vec<Box<dyn Copy>>,
    fetched: Vec<Fetched>,
}

impl Copies {
    fn open(
        context: &Context,
        settings: &Settings,
        (args, identities): (&RepairArgs, Vec<KeyFile>),
        (needs, progress): (&Needs<'_>, &Progress),
    ) -> Result<Self, CliError> {
        let dir = directory(settings);
        let log_id = needs.report.as_ref().map(|report| report.log_id.clone());
        let log_id = log_id.filter(|log_id| !log_id.is_empty());
        let mut copies = Self { identities, ..Self::default() };
        if args.from.is_empty() {
            copies.backups(context, &dir, log_id.as_deref(), (needs, progress))?;
            return Ok(copies);
        }
        for from in &args.from {
            copies.named(from, &dir, log_id.as_deref(), progress)?;
        }
        Ok(copies)
    }

    /// The log's own backups, the newest first, until nothing stays damaged.
    fn backups(
        &mut self,
        context: &Context,
        dir: &BackupDir,
        log_id: Option<&str>,
        (needs, progress): (&Needs<'_>, &Progress),
    ) -> Result<(), CliError> {
        if OsFs.meta(dir.path()).is_err() {
            return Ok(());
        }
        let mut found: Vec<_> = dir
            .contents()?
            .backups
            .into_iter()
            .filter_map(|entry| entry.metadata.ok())
            .filter(|metadata| log_id.is_none_or(|log_id| metadata.log.id == log_id))
            .collect();
        found.sort_by_key(|metadata| {
            std::cmp::Reverse((metadata.log.epoch, metadata.range.tree_size, metadata.id))
        });
        for metadata in found {
            match BackupCopy::open(dir, &Wish::Id(metadata.id), log_id, &self.identities, progress)
            {
                Ok(copy) => self.all.push(Box::new(copy)),
                Err(error) => {
                    context.printer.note(&format!("backup {}: {error}", metadata.id));
                    continue;
                }
            }
            let all: Vec<&dyn Copy> = self.all.iter().map(|copy| &**copy).collect();
            let (fs, clock) = (needs.fs.clone(), needs.clock.clone());
            let (dir, key, report) = (needs.dir.clone(), needs.key.clone(), needs.report.clone());
            let looked = look(&Needs { fs, clock, dir, key, copies: &all, report }, progress);
            if looked.is_ok_and(|repair| !repair.lacks_some()) {
                break;
            }
        }
        Ok(())
    }

    fn named(
        &mut self,
        from: &str,
        dir: &BackupDir,
        log_id: Option<&str>,
        progress: &Progress,
    ) -> Result<(), CliError> {
        if let Some((cloud, wish)) = Cloud::of_url(from)? {
            let remote = Remote::everything(cloud.connect(None, progress)?);
            let of = LogChoice { log: log_id.map(str::to_owned), keys: None };
            let fetched = remote.fetch(&wish, &of, dir, progress)?;
            let wish = Wish::Path(fetched.archive().to_path_buf());
            self.all.push(Box::new(BackupCopy::open(
                dir,
                &wish,
                log_id,
                &self.identities,
                progress,
            )?));
            self.fetched.push(fetched);
            return Ok(());
        }
        let path = Path::new(from);
        if OsFs.meta(&LogPaths::new(path).manifest()).is_ok() {
            let copy = LogCopy::open(&shared_fs(), path, progress)
                .map_err(|error| CliError::from(crate::backup::BackupError::Log(error)))?;
            self.all.push(Box::new(copy));
            return Ok(());
        }
        let copy = BackupCopy::open(dir, &Wish::parse(from), log_id, &self.identities, progress)?;
        self.all.push(Box::new(copy));
        Ok(())
    }
}

/// Has the log record it; the record's seq.
fn record(settings: &Settings, done: &Repaired) -> Result<u64, String> {
    let options = heads::noted(open::options(settings, Mode::Record), settings);
    let log = AuditLog::open(options).map_err(|error| error.to_string())?;
    let seq = log.record_repaired(done.clone()).wait_durable().map_err(|error| error.to_string());
    log.close().map_err(|error| error.to_string())?;
    seq
}

impl From<crate::audit::write::repair::RepairError> for CliError {
    fn from(error: crate::audit::write::repair::RepairError) -> Self {
        use crate::audit::write::repair::RepairError;
        let message = error.to_string();
        match error {
            RepairError::Verify(error) => error.into(),
            RepairError::Io { action, path, source } => Self::io(action, path, &source),
            RepairError::NoKey(_) => Self::new("key", Exit::Failed, message).hint(
                "name the public key that you kept with --public-key FILE, or put the private key \
                 back (key_path)",
            ),
            RepairError::Contradicts { .. } => Self::new("no_head", Exit::Failed, message).hint(
                "run `auditctl diff` to see what differs. `auditctl restore` puts one of the \
                 copies in the log's place, and keeps the old log",
            ),
            RepairError::NoHead { .. } => Self::new("no_head", Exit::Failed, message).hint(
                "name a backup of this log: --from ID, FILE or URL; `auditctl list` shows them. \
                 Where there is none, `auditctl serve --accept-corruption`, once, goes on with the \
                 records that are here, and names them as unsigned",
            ),
        }
    }
}
