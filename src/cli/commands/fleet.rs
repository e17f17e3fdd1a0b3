//! `fleet`: many logs in one archive, checked together.

mod roster;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, SignedCheckpoint, VerifierKey};
use crate::audit::tree::document::{self, Kind, Layout};
use crate::cli::archives::Archive;
use crate::cli::commands::prove::Format;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::filed::{self, Filed};
use crate::cli::progress::Progress;
use crate::fleet::{
    self, FindingKind, Fleet, MAX_ROSTER_BYTES, Most, Request, Roster, Severity, State,
};
use crate::fsio::lock::lock_for_change;
use crate::fsio::{Fs, OpenMode, OsFs};
use crate::store::BackupStore;
use crate::ui;
use crate::units::{ByteSize, hex, parse_duration};

/// Check many logs in one archive.
///
/// An archive (`auditctl archive`) may hold the logs of many hosts. `fleet verify` checks all of
/// them with public keys only, against a roster of the logs that there have to be.
/// docs/fleet.md describes it.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    List(ListArgs),
    Verify(VerifyArgs),
    Report(ReportArgs),
    Prove(ProveArgs),
    Roster(roster::RosterArgs),
}

/// List the logs that an archive holds.
///
/// It shows what the names of the objects say, and verifies nothing.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The archive: s3://BUCKET[/PREFIX], az://CONTAINER[/PREFIX], gs://BUCKET[/PREFIX], or a
    /// directory
    #[arg(value_name = "DEST")]
    destination: String,
    /// How many logs to read at once [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Check all logs of an archive: every record, every signed head, every object.
///
/// Names what is missing, cut off, silent, altered, overwritten, in the wrong place or from
/// somebody else, with the objects. Without --roster it cannot see that a host is missing, and
/// without a key it believes those in the bucket; it says so. Ends with 0 if nothing is
/// bad (it may print warnings), 1 if anything is, and 3 if not everything could be read.
#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// Also write a report for an auditor to this new file: HTML that needs no script and prints
    /// well. It is written whatever the verdict is. Figures in it are counted in the records that
    /// were read: --full reads all
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Check all logs of an archive, and write a report for an auditor.
///
/// The report has the scope, the period, and for each log its records, keys, epochs, gaps and
/// findings, and what the check cannot show. It ends as `fleet verify` does.
#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// Write the report to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The roster of the logs that there have to be
    #[arg(long, value_name = "FILE", requires = "roster_key")]
    roster: Option<PathBuf>,
    /// The public key of whoever signs the roster
    #[arg(long, value_name = "FILE", requires = "roster")]
    roster_key: Option<PathBuf>,
    /// Refuse a roster with a smaller number
    #[arg(long, value_name = "N", requires = "roster")]
    roster_min: Option<u64>,
    /// A log's public key that you have from elsewhere, without a roster; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "roster")]
    public_key: Vec<PathBuf>,
    /// A checkpoint that was kept elsewhere: its log has to extend it. May be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Only the logs whose ids begin so; may be repeated. The answer is then partial
    #[arg(long, value_name = "ID")]
    log: Vec<String>,
    /// Only the logs of this host; may be repeated. The answer is then partial
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// What the last check found, for this one [default: in ~/.local/state/auditctl/fleet, one
    /// file an archive]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Read everything again, also what the store lists unchanged since the last check
    #[arg(long)]
    full: bool,
    /// In a directory: believe that files with the same size and time are unchanged. Whoever can
    /// write the files can set their times
    #[arg(long)]
    trust_mtime: bool,
    /// After how long without anything new a log is silent, where the roster does not say it
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    silent_after: Option<Duration>,
    /// Check a log only so far: so many objects are listed for it, and so many asked for. What is
    /// left is a finding (unread), and other logs are checked all the same
    #[arg(long, value_name = "N", default_value_t = Most::default().objects)]
    log_objects: u64,
    /// The same for the bytes that are read for a log
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Most::default().bytes))]
    log_bytes: ByteSize,
    /// Keep signed notes that prove a finding in this directory
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
}

/// Print the proof of a record that is in an archive.
///
/// For a row that a query engine found: it has the log's id and the record's seq. The proof is
/// that of `auditctl prove`, and anybody can check it with `auditctl verify --proof FILE`. Fetches
/// only the object that has the record, and what proves it.
#[derive(Debug, Args)]
struct ProveArgs {
    /// The archive
    #[arg(value_name = "DEST")]
    destination: String,
    /// The log's id
    #[arg(long, value_name = "ID")]
    log: String,
    /// The record's seq
    #[arg(long, value_name = "SEQ")]
    seq: u64,
    /// The epoch [default: the newest that has such a record]
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// The log's public key, kept elsewhere [default: the one in the archive, which proves only
    /// that the proof is of one piece]
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Format of the proof: a JSON object, C2SP's tlog-proof with the record's line in `extra`, or
    /// an HTML file that checks itself in any current browser, without a network
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Write the proof to this new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &FleetArgs) -> Result<u8, CliError> {
    match &args.command {
        FleetCommand::List(args) => list(context, args),
        FleetCommand::Verify(args) => verify(context, args),
        FleetCommand::Report(args) => report(context, args),
        FleetCommand::Prove(args) => prove(context, args),
        FleetCommand::Roster(args) => roster::run(context, args),
    }
}

fn verify(context: &Context, args: &VerifyArgs) -> Result<u8, CliError> {
    let filed = args.report.as_deref().map(Filed::at).transpose()?;
    let fleet = check(context, &args.check, filed.is_some())?;
    context.print(&match context.json {
        true => json_line(&ui::fleet_verify_json(&fleet))?,
        false => ui::fleet_verify_text(&fleet),
    })?;
    keep_evidence(&args.check, &fleet)?;
    if let Some(filed) = filed {
        let asked = filed.asked(fleet.place.clone(), copies(&args.check));
        filed.write(ui::fleet_report_html(&fleet, &asked))?;
    }
    Ok(exit_code(&fleet))
}

fn json_line(document: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string(document).map_err(|error| {
        CliError::new(
            "internal",
            Exit::Failed,
            format!("the answer cannot be written as JSON: {error}"),
        )
    })?;
    Ok(text + "\n")
}

/// What was given from elsewhere.
fn copies(args: &CheckArgs) -> Vec<(String, String)> {
    let named =
        |kind: &'static str| move |path: &PathBuf| (kind.to_owned(), path.display().to_string());
    let roster = args.roster.iter().map(named("roster"));
    let roster_key = args.roster_key.iter().map(named("the roster's public key"));
    let keys = args.public_key.iter().map(named("public key"));
    let against = args.against.iter().map(named("checkpoint"));
    roster.chain(roster_key).chain(keys).chain(against).collect()
}

fn jobs(place: &PlaceArgs) -> usize {
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    place.jobs.unwrap_or_else(cores)
}

fn list(context: &Context, args: &ListArgs) -> Result<u8, CliError> {
    let archive = Archive::parse(&args.place.destination)?;
    let progress = Progress::new(context)?;
    let listed = fleet::list(archive.connect(&progress)?, jobs(&args.place), &progress);
    progress.finish();
    let listed = listed?;
    context.print(&match context.json {
        true => format!("{}\n", ui::fleet_list_json(&listed)),
        false => ui::fleet_list_text(&listed),
    })?;
    Ok(Exit::Ok as u8)
}

fn exit_code(fleet: &Fleet) -> u8 {
    let unread = |kind| kind == FindingKind::Unread;
    let bad = fleet.all_findings().filter(|it| it.severity == Severity::Bad);
    let (mut is_unread, mut is_bad) = (false, false);
    bad.for_each(|it| if unread(it.kind) { is_unread = true } else { is_bad = true });
    match (is_bad, is_unread) {
        (true, _) => Exit::Found as u8,
        (false, true) => Exit::Failed as u8,
        (false, false) => Exit::Ok as u8,
    }
}

/// A verifier key from a file that was named.
fn public_key(option: &str, path: &Path) -> Result<VerifierKey, CliError> {
    VerifierKey::load(&OsFs, path).map_err(|error| CliError::usage(format!("{option}: {error}")))
}

/// `activity`: what the records say is counted as well.
fn check(context: &Context, args: &CheckArgs, activity: bool) -> Result<Fleet, CliError> {
    let archive = Archive::parse(&args.place.destination)?;
    let roster = match (&args.roster, &args.roster_key) {
        (Some(path), Some(key)) => {
            let roster = signed_roster(path, &public_key("--roster-key", key)?)?;
            let least = args.roster_min.unwrap_or(0);
            if roster.sequence < least {
                let text = format!(
                    "the roster {} has number {}, and --roster-min asks for {least}",
                    path.display(),
                    roster.sequence
                );
                return Err(CliError::new("roster", Exit::Found, text)
                    .hint("somebody put an older roster there; use the newest one"));
            }
            Some(roster)
        }
        _ => None,
    };
    let keys = args.public_key.iter().map(|path| public_key("--public-key", path));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let against = args.against.iter().map(|path| against(path));
    let against = against.collect::<Result<Vec<_>, _>>()?;
    let progress = Progress::new(context)?;
    let store = archive.connect(&progress)?;
    let place = store.url("");
    let path = state_path(context, args, &place)?;
    let state = match &path {
        Some(path) => load_state(path, &place)?,
        None => State::default(),
    };
    let request = Request {
        roster,
        keys,
        against,
        logs: args.log.clone(),
        hosts: args.host.clone(),
        state,
        full: args.full,
        trusts_times: args.trust_mtime || !archive.is_directory(),
        silent_after: args.silent_after,
        jobs: jobs(&args.place),
        most: Most { objects: args.log_objects, bytes: args.log_bytes.0 },
        activity,
    };
    let verified = fleet::verify(store, request, &progress);
    progress.finish();
    let mut fleet = verified?;
    let is_there = |id: &&String| fleet.logs.iter().any(|log| log.id.starts_with(id.as_str()));
    if let Some(id) = args.log.iter().find(|id| !is_there(id)) {
        let text = format!("--log {id}: no log in the archive or the roster begins so");
        return Err(CliError::usage(text));
    }
    if fleet.is_partial && fleet.logs.is_empty() {
        let text = format!("--host {}: no log is of such a host", args.host.join(", --host "));
        return Err(CliError::usage(text));
    }
    if let Some(path) = &path {
        save_state(path, &place, &mut fleet.state)?;
    }
    Ok(fleet)
}

fn signed_roster(path: &Path, key: &VerifierKey) -> Result<Roster, CliError> {
    let (bytes, _) = OsFs
        .read_given(path, MAX_ROSTER_BYTES as u64)
        .map_err(|error| CliError::io("read the roster", path, &error))?;
    Roster::read_signed(&bytes, key).map_err(|error| roster::refused(path, &error))
}

fn against(path: &Path) -> Result<(String, SignedCheckpoint), CliError> {
    let (bytes, _) = OsFs
        .read_given(path, MAX_NOTE_BYTES as u64)
        .map_err(|error| CliError::io("read the checkpoint", path, &error))?;
    let note = SignedCheckpoint::parse(&bytes).map_err(|error| {
        CliError::new("against", Exit::Usage, format!("--against {}: {error}", path.display()))
            .hint("name a signed checkpoint, as `auditctl checkpoint` prints it")
    })?;
    Ok((path.display().to_string(), note))
}

/// Where the state is kept; nowhere where this user has no place for it.
fn state_path(
    context: &Context,
    args: &CheckArgs,
    place: &str,
) -> Result<Option<PathBuf>, CliError> {
    if let Some(path) = &args.state {
        return Ok(Some(path.clone()));
    }
    let Some(dir) = context.state_dir() else { return Ok(None) };
    let dir = dir.join("fleet");
    OsFs.create_dir_all(&dir).map_err(|error| CliError::io("make", &dir, &error))?;
    let digest = Sha256::digest(place.as_bytes());
    Ok(Some(dir.join(format!("{}.json", hex(&digest[..8])))))
}

fn load_state(path: &Path, place: &str) -> Result<State, CliError> {
    let refused = |text: String| {
        CliError::new("fleet_state", Exit::Failed, text).hint(
            "if you do not know who changed the file, keep it, and name another with --state: \
             that check reads everything, and cannot tell whether the bucket was set back",
        )
    };
    let state = State::load(&OsFs, path)
        .map_err(|error| refused(format!("the state {}: {error}", path.display())))?;
    match state {
        Some(state) if state.place != place => Err(refused(format!(
            "the state {} is of {}, not of {place}",
            path.display(),
            state.place
        ))),
        Some(state) => Ok(state),
        None => Ok(State::default()),
    }
}

fn save_state(path: &Path, place: &str, state: &mut State) -> Result<(), CliError> {
    let lock = lock_for_change(path).map_err(|error| CliError::io("lock", path, &error))?;
    if !lock.is_new() {
        // Another check may have ended since this one began.
        state.merge(load_state(path, place)?);
    }
    state.save(&OsFs, path).map_err(|error| {
        let text = format!("the state {} cannot be written: {error}", path.display());
        CliError::new("fleet_state", Exit::Failed, text)
            .hint("name a place that you can write to with --state")
    })
}

fn keep_evidence(args: &CheckArgs, fleet: &Fleet) -> Result<(), CliError> {
    let Some(dir) = &args.evidence else { return Ok(()) };
    let all: Vec<_> = fleet.all_findings().flat_map(|it| &it.evidence).collect();
    if all.is_empty() {
        return Ok(());
    }
    OsFs.create_dir_all(dir).map_err(|error| CliError::io("make", dir, &error))?;
    for one in all {
        let path = dir.join(&one.name);
        match OsFs.open(&path, OpenMode::CreateNew) {
            Ok(file) => file
                .write_all_at(one.note.as_bytes(), 0)
                .and_then(|()| file.sync_data())
                .map_err(|error| CliError::io("write", &path, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let there = OsFs.read_given(&path, MAX_NOTE_BYTES as u64);
                if !there.is_ok_and(|(bytes, _)| bytes == one.note.as_bytes()) {
                    let text = format!("{} holds something else", path.display());
                    return Err(CliError::new("evidence", Exit::Failed, text)
                        .hint("name a new directory with --evidence"));
                }
            }
            Err(error) => return Err(CliError::io("write", &path, &error)),
        }
    }
    Ok(())
}

fn report(context: &Context, args: &ReportArgs) -> Result<u8, CliError> {
    let fleet = check(context, &args.check, false)?;
    let text = if context.json {
        let bytes = document::encode_file(
            Kind::FLEET_REPORT,
            &ui::fleet_verify_json(&fleet),
            Layout::Pretty,
        );
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    } else {
        let made_by = format!("auditctl {}", env!("CARGO_PKG_VERSION"));
        ui::fleet_report_text(&fleet, &made_by)
    };
    match &args.output {
        None => context.print(&text)?,
        Some(path) => filed::write(path, text.as_bytes())?,
    }
    keep_evidence(&args.check, &fleet)?;
    Ok(exit_code(&fleet))
}

fn prove(context: &Context, args: &ProveArgs) -> Result<u8, CliError> {
    let archive = Archive::parse(&args.destination)?;
    let key = args.public_key.as_deref().map(|path| public_key("--public-key", path));
    let wanted = fleet::Wanted {
        log: args.log.clone(),
        seq: args.seq,
        epoch: args.epoch,
        public_key: key.transpose()?,
    };
    let progress = Progress::new(context)?;
    let store: Arc<dyn BackupStore> = archive.connect(&progress)?;
    let proven = fleet::prove(store, &wanted);
    progress.finish();
    let proven = proven?;
    context
        .printer
        .note(&format!("record {} of epoch {}, from {}", args.seq, proven.epoch, proven.object));
    let text = args.format.of(&proven.document)?;
    match &args.output {
        None => context.print(&text)?,
        Some(path) => filed::write(path, text.as_bytes())?,
    }
    Ok(Exit::Ok as u8)
}
