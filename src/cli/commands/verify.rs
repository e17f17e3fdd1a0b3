//! `verify`: whether a log, a backup or a proof is what was recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::policy::{MAX_POLICY_BYTES, Policy};
use crate::audit::read::verify::{Anchor, Integrity, Kind, Report, Request, State, verify};
use crate::audit::state::status::Mode;
use crate::backup::{BackupError, Extent, RestoreRequest, Restorer, Target, Wish};
use crate::cli::backups::identities;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::filed::Filed;
use crate::cli::found;
use crate::cli::heads;
use crate::cli::open::{self, directory, shared_fs};
use crate::cli::progress::Progress;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::fsio::{self, Fs, OsFs};
use crate::health::FoundBy;
use crate::json_place::JsonError;
use crate::ui;
use crate::units::parse_duration;

mod proof;
mod what;

use what::What;

const MAX_FILE_BYTES: u64 = 64 << 20;

/// Check that the log, a backup, or a proof is what was recorded.
///
/// `verify` only reads, and does not disturb a running writer. It gives two verdicts. Integrity:
/// the records that are here are those that were recorded, because they hash to the signed root.
/// Completeness: no record is missing. Only --against, with a copy kept elsewhere, can show that
/// nothing was cut off the end. `verify` reports every bad range, and says what to do next.
/// `health` shows what was found until a full verification passes.
///
/// Exit codes: 0 verified; 1 something is wrong; 2 wrong usage; 3 it could not be checked, for
/// example because a copy or a document cannot be read.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// What to check instead of the log: a backup (`latest`, its id, its archive or metadata), a
    /// proof, or a checkpoint to compare the log with. `verify` recognises files by their content
    #[arg(value_name = "BACKUP|FILE", conflicts_with_all = ["since_last", "proof"])]
    backup: Option<String>,
    /// Check only the signature, the manifest, lengths, stored SHA-256s and the active segment.
    /// Sealed records are not hashed one by one
    #[arg(long, conflicts_with = "since_last")]
    quick: bool,
    /// A checkpoint, a backup's metadata or a proof that was kept elsewhere. The log, or the
    /// backup, has to extend it. May be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Witnesses that have to have cosigned a checkpoint of the log, as a C2SP tlog-policy. The
    /// checkpoint is audit.cosigned beside the log, or given with --against
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How long ago the witnesses may have cosigned it, by their own clocks. An older quorum fails
    /// (quorum_old)
    #[arg(long, value_name = "TIME", requires = "policy", value_parser = parse_duration)]
    cosigned_within: Option<Duration>,
    /// The log's public key, kept elsewhere [default: audit.pub beside the log]
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Read what is new since the last successful --since-last. Of the rest, read the thirtieth
    /// that was read longest ago, and as much again at random. The first run reads everything
    #[arg(long)]
    since_last: bool,
    /// Where --since-last stores what it has checked [default: audit.verified.json in the log
    /// directory]
    #[arg(long, value_name = "FILE", requires = "since_last")]
    state: Option<PathBuf>,
    /// Check a document that `auditctl prove` wrote. Needs no log. With --against, a proof of
    /// growth has to begin with the tree of that checkpoint
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "since_last"])]
    proof: Option<PathBuf>,
    /// The record's stored line, for a tlog-proof that does not contain it
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Also write a report for an auditor to this new file: HTML that needs no script and prints
    /// well. For the log or a backup. It is written whatever the verdict is; figures in it are
    /// counted in the records that were hashed
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    report: Option<PathBuf>,
    /// A file with an age private key, for an encrypted backup; may be repeated
    #[arg(long, value_name = "FILE", requires = "backup")]
    identity: Vec<PathBuf>,
    /// For `latest`, if there are backups of several logs: the id of the log that you want, or
    /// its first digits
    #[arg(long, value_name = "ID", requires = "backup")]
    log: Option<String>,
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<u8, CliError> {
    let key = match &args.public_key {
        Some(path) => Some(
            VerifierKey::load(&*shared_fs(), path)
                .map_err(|error| CliError::usage(format!("--public-key: {error}")))?,
        ),
        None => None,
    };
    let policy = args.policy.as_deref().map(policy).transpose()?;
    if args.cosigned_within.is_some() && policy.as_ref().is_some_and(|policy| !policy.asks()) {
        let text = "--cosigned-within needs a policy with a quorum, and this one asks for none";
        return Err(CliError::usage(text));
    }
    if let Some(path) = &args.proof {
        return proof::check(context, path, args, (key.as_ref(), policy.as_ref()));
    }
    let named = args.backup.as_deref();
    let what = named.map_or(Ok(What::Log), |named| what::is(&*shared_fs(), Path::new(named)))?;
    if let (What::Proof, Some(path)) = (&what, named) {
        if args.quick {
            return Err(CliError::usage("--quick is for the log, not for a proof"));
        }
        if args.report.is_some() {
            return Err(of_log_only());
        }
        return proof::check(context, Path::new(path), args, (key.as_ref(), policy.as_ref()));
    }
    if args.record.is_some() {
        return Err(CliError::usage("--record needs a tlog-proof (--proof FILE)"));
    }
    let settings = context.settings(&[])?;
    let is_log = OsFs.meta(&LogPaths::new(&settings.log_dir).manifest()).is_ok();
    match (what, named) {
        (What::Checkpoint(_), _) if args.report.is_some() && !is_log => Err(of_log_only()),
        (What::Backup, Some(backup)) if args.quick => {
            let message = format!("--quick is for the log, not for the backup {backup}");
            Err(CliError::usage(message).hint("`auditctl list` checks all backups quickly"))
        }
        (What::Backup, Some(_)) if policy.is_some() => Err(CliError::usage(
            "--policy is for the log, a proof or a checkpoint, not for a backup",
        )),
        (What::Backup, Some(backup)) => of_backup(context, &settings, backup, args, key),
        (What::Checkpoint(anchor), _) => {
            if is_log {
                return log(context, &settings, args, (key, policy), Some(*anchor));
            }
            let within = args.cosigned_within;
            what::checkpoint(context, &anchor, (key.as_ref(), policy.as_ref(), within))
        }
        _ => log(context, &settings, args, (key, policy), None),
    }
}

fn of_log_only() -> CliError {
    CliError::usage("--report is for the log or a backup")
        .hint("for one record, `auditctl prove SEQ --format html` writes a file that checks itself")
}

/// What the log is compared with, for the report.
fn copies(args: &VerifyArgs, anchors: &[Anchor]) -> Vec<(String, String)> {
    let named =
        |kind: &'static str| move |path: &PathBuf| (kind.to_owned(), path.display().to_string());
    let keys = args.public_key.iter().map(named("public key"));
    let policy = args.policy.iter().map(named("witnesses' policy"));
    let anchors = anchors.iter().map(|anchor| {
        let text = format!("{}: {} records, root {}", anchor.name, anchor.size, anchor.root);
        ("checkpoint".to_owned(), text)
    });
    keys.chain(policy).chain(anchors).collect()
}

fn log(
    context: &Context,
    settings: &Settings,
    args: &VerifyArgs,
    (key, policy): (Option<VerifierKey>, Option<Policy>),
    named: Option<Anchor>,
) -> Result<u8, CliError> {
    let fs = shared_fs();
    let filed = args.report.as_deref().map(Filed::at).transpose()?;
    let mut anchors =
        args.against.iter().map(|path| anchor(path)).collect::<Result<Vec<_>, _>>()?;
    anchors.extend(named);
    if policy.is_some() {
        anchors.extend(args.against.iter().filter_map(|path| cosigned(path)));
    }
    // What is in reach and does not fit is held against it, asked for or not.
    let contradicting = match args.quick || args.since_last {
        true => heads::contradictions(context, settings),
        // Beside reading every record, comparing with every backup takes no time.
        false => heads::all_contradictions(context, settings),
    };
    for found in &contradicting {
        anchors.extend(Anchor::parse(&found.name, found.note.as_bytes()));
    }
    let state_file =
        args.state.clone().unwrap_or_else(|| LogPaths::new(&settings.log_dir).verified());
    let since = if args.since_last { last_state(context, &state_file)? } else { None };
    let progress = Progress::new(context)?;
    let now = SystemClock.now();
    let request =
        Request { quick: args.quick, key, anchors, policy, since, now, ..Request::default() };
    let request =
        Request { cosigned_within: args.cosigned_within, activity: filed.is_some(), ..request };
    let verified = verify(&fs, &settings.log_dir, &request, &progress);
    progress.finish();
    let (report, state) = verified?;
    // Damaged records do not fit either, and say nothing of another history.
    for found in contradicting.iter().filter(|_| report.integrity != Integrity::Damaged) {
        context.printer.note(&format!("{}: {found}", found.history.code()));
    }
    // Of a key that was named only its owner can say that it is the log's.
    if args.public_key.is_none() {
        let against = request.anchors.len() > contradicting.len();
        // Which policy is asked about is the asker's: it is nothing that is wrong with the log.
        let mut of_log = report.clone();
        let of_policy = |kind| matches!(kind, Kind::NoQuorum | Kind::QuorumOld);
        of_log.findings.retain(|finding| !of_policy(finding.kind));
        found::verified(settings, &of_log, FoundBy::Verify, against);
    }
    let place = settings.log_dir.display().to_string();
    context.print(&if context.json {
        ui::verify_json(&report)
    } else {
        ui::verify_text(&report, &place, context.printer.color())
    })?;
    let written = filed.map(|filed| {
        let place = std::path::absolute(&settings.log_dir).unwrap_or_default();
        let asked = filed.asked(place.display().to_string(), copies(args, &request.anchors));
        filed.write(ui::verify_html(&report, &asked))
    });
    if let Some(state) = state.filter(|_| args.since_last)
        && let Err(error) = fsio::replace_file(&*fs, &state_file, &state.encode())
    {
        context.printer.error(&format!(
            "warning: {} cannot be written, so the next --since-last reads everything: {error}",
            state_file.display()
        ));
    }
    match written {
        // What was found is worth more than that it could not be filed.
        Some(Err(error)) if !report.passed() => context.printer.error(&error.message),
        Some(written) => written?,
        None => {}
    }
    Ok(code(&report))
}

fn code(report: &Report) -> u8 {
    if report.passed() { Exit::Ok as u8 } else { Exit::Found as u8 }
}

/// What the last verification had proven. Whatever is wrong with the file leads to a
/// full verification, which is said.
fn last_state(context: &Context, path: &Path) -> Result<Option<State>, CliError> {
    use std::io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotFound};
    // Others may have put something under the name: it is neither followed nor waited
    // for, and what is no file of ours proves nothing.
    let text = match shared_fs().read_own(path, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == NotFound => {
            context.printer.note("no earlier verification to continue from: reading everything");
            return Ok(None);
        }
        Err(error) if matches!(error.kind(), InvalidData | InvalidInput | IsADirectory) => {
            let path = path.display();
            context.printer.note(&format!("{path} is not usable ({error}), so everything is read"));
            return Ok(None);
        }
        Err(error) => return Err(CliError::io("read", path, &error)),
    };
    match State::parse(&text) {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.is_newer() => Err(CliError::newer(path, &error)),
        Err(error) => {
            let path = path.display();
            context.printer.note(&format!("{path} is not usable ({error}), so everything is read"));
            Ok(None)
        }
    }
}

fn policy(path: &Path) -> Result<Policy, CliError> {
    let (text, _) = shared_fs()
        .read_given(path, MAX_POLICY_BYTES as u64)
        .map_err(|error| CliError::io("read", path, &error))?;
    Policy::parse(&text).map_err(|error| {
        let mut new = CliError::usage(format!("--policy {}: {error}", path.display()))
            .hint("docs/witnesses.md has an example of a policy");
        new.path = Some(path.to_path_buf());
        new
    })
}

/// A checkpoint, or a JSON object that holds one, as backup metadata and proofs do.
fn anchor(path: &Path) -> Result<Anchor, CliError> {
    let (text, _) = shared_fs()
        .read_given(path, MAX_FILE_BYTES)
        .map_err(|error| CliError::io("read", path, &error))?;
    let name = path.display().to_string();
    // The command line is as it should be: what it names cannot be compared.
    let refused = |error: String| {
        let mut new = CliError::new("against", Exit::Failed, format!("--against {name}: {error}"))
            .hint("a checkpoint (`auditctl checkpoint`), a backup's .json, or a proof is expected");
        new.path = Some(path.to_path_buf());
        new
    };
    let inside = inside(&text).map_err(|error| refused(JsonError::from(&error).to_string()))?;
    let note = inside.checkpoint.as_ref().map_or(&text[..], |note| note.as_bytes());
    Anchor::parse(&name, note).map_err(|error| refused(error.to_string()))
}

/// What a JSON object holds that is compared. A member that stands twice is an error: two readers
/// would see two checkpoints.
#[derive(Default, serde::Deserialize)]
struct Inside {
    checkpoint: Option<String>,
    cosigned: Option<String>,
}

/// Nothing of what is no object.
fn inside(text: &[u8]) -> Result<Inside, serde_json::Error> {
    match text.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(text),
        _ => Ok(Inside::default()),
    }
}

/// The cosigned checkpoint in a backup's metadata.
fn cosigned(path: &Path) -> Option<Anchor> {
    let (text, _) = shared_fs().read_given(path, MAX_FILE_BYTES).ok()?;
    let note = inside(&text).ok()?.cosigned?;
    let name = format!("{} (cosigned)", path.display());
    Anchor::parse(&name, note.as_bytes()).ok()
}

/// A backup is checked as a restore checks it, and compared with what was kept. What is wrong
/// with the log here is no fault of the backup: that is told, and no finding.
fn of_backup(
    context: &Context,
    settings: &Settings,
    backup: &str,
    args: &VerifyArgs,
    public_key: Option<VerifierKey>,
) -> Result<u8, CliError> {
    let filed = args.report.as_deref().map(Filed::at).transpose()?;
    let anchors = args.against.iter().map(|path| anchor(path)).collect::<Result<Vec<_>, _>>()?;
    let identities = identities(&args.identity)?;
    let request = RestoreRequest {
        wish: Wish::parse(backup),
        extent: Extent::Whole,
        target: Target::Log,
        log: args.log.clone(),
        public_key,
        identities,
        dry_run: true,
    };
    let restorer = Restorer {
        fs: shared_fs(),
        clock: Arc::new(SystemClock),
        dir: directory(settings),
        options: open::options(settings, Mode::Record),
    };
    let progress = Progress::new(context)?;
    let verified = restorer.verify_for(&request, &anchors, filed.is_some(), &progress);
    progress.finish();
    let verified = verified.map_err(|error| {
        let bad = matches!(error, BackupError::Archive { .. } | BackupError::Metadata { .. });
        let mut error = CliError::from(error);
        if bad {
            error.exit = Exit::Found;
        }
        error
    });
    let asked = |filed: &Filed| filed.asked(backup.to_owned(), copies(args, &anchors));
    if let (Some(filed), Err(wrong)) = (&filed, &verified)
        && wrong.exit == Exit::Found
    {
        let html =
            ui::bad_backup_html(backup, &wrong.message, wrong.hint.as_deref(), &asked(filed));
        if let Err(error) = filed.write(html) {
            context.printer.error(&error.message);
        }
    }
    let verified = verified?;
    context.print(&if context.json {
        ui::verified_backup_json(&verified)
    } else {
        ui::verified_backup_text(&verified, context.printer.color())
    })?;
    if let Some(filed) = filed {
        filed.write(ui::verified_backup_html(&verified, &asked(&filed)))?;
    }
    Ok(if verified.passed() { Exit::Ok as u8 } else { Exit::Found as u8 })
}
