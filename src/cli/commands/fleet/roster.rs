//! `fleet roster`: the roster of the logs that there have to be: drafted, signed, shown.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{PlaceArgs, public_key, signed_roster};
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::cli::archives::Archive;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::filed;
use crate::cli::progress::Progress;
use crate::clock::{Clock, SystemClock};
use crate::fleet::{self, MAX_ROSTER_BYTES, Roster, RosterError, check_name};
use crate::fsio::{Fs, OsFs};
use crate::ui;

/// Draft, sign and show the roster: the list of the logs that there have to be.
///
/// An operator signs it with a key of their own, which belongs on no host that ships.
#[derive(Debug, Args)]
pub(super) struct RosterArgs {
    #[command(subcommand)]
    command: RosterCommand,
}

#[derive(Debug, Subcommand)]
enum RosterCommand {
    NewKey(NewKeyArgs),
    Draft(DraftArgs),
    Sign(SignArgs),
    Show(ShowArgs),
}

/// Make a key to sign rosters with, in a new file, and print its public key.
#[derive(Debug, Args)]
struct NewKeyArgs {
    /// The name of the key, such as acme.example/roster
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The new file, for you alone
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Draft a roster from what an archive holds.
///
/// The keys in it come from the archive: compare each with the one on its host (`auditctl key
/// show`) before you sign it.
#[derive(Debug, Args)]
struct DraftArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The roster's name
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    name: String,
    /// The roster's number, larger than that of the one before
    #[arg(long, value_name = "N", default_value_t = 1)]
    sequence: u64,
    /// Write it to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Sign a roster, as of now.
///
/// Raise its number (`sequence`) each time: `fleet verify` refuses one that is older than one
/// that it has seen. Remarks (lines with #) and earlier signatures are left out.
#[derive(Debug, Args)]
struct SignArgs {
    /// The private key to sign with
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The roster, signed or not
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Write it to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Show a roster, if that key signed it.
#[derive(Debug, Args)]
struct ShowArgs {
    /// The roster
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The public key of whoever signs it
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

pub(super) fn run(context: &Context, args: &RosterArgs) -> Result<u8, CliError> {
    match &args.command {
        RosterCommand::NewKey(args) => new_key(context, args),
        RosterCommand::Draft(args) => draft(context, args),
        RosterCommand::Sign(args) => sign(context, args),
        RosterCommand::Show(args) => show(context, args),
    }
}

/// What is wrong with a roster's file.
pub(super) fn refused(path: &Path, error: &RosterError) -> CliError {
    let exit = match error {
        RosterError::Note(_) => Exit::Found,
        RosterError::Line { .. } => Exit::Usage,
    };
    let mut new = CliError::new("roster", exit, format!("{}: {error}", path.display()));
    new.path = Some(path.to_path_buf());
    new.hint(match error {
        RosterError::Note(_) => {
            "nothing in it is believed. Compare the public key with the one of whoever signs the \
             roster, or get the roster from them again"
        }
        RosterError::Line { .. } => {
            "docs/fleet.md describes a roster; correct it, and sign it again"
        }
    })
}

fn key_error(path: &Path, error: &KeyError) -> CliError {
    let mut new = CliError::new("key", Exit::Failed, error.to_string());
    new.path = Some(path.to_path_buf());
    new
}

fn new_key(context: &Context, args: &NewKeyArgs) -> Result<u8, CliError> {
    let key = SigningKey::generate(&args.name)
        .map_err(|error| CliError::usage(format!("--name: {error}")))?;
    if key.verifier().log_id().is_some_and(|_| args.name.matches('/').count() > 1) {
        let text = format!("--name {}: that reads like the name of a log's key", args.name);
        return Err(CliError::usage(text).hint("use a name such as acme.example/roster"));
    }
    key.save(&OsFs, &args.file).map_err(|error| key_error(&args.file, &error))?;
    let public = key.verifier().to_string();
    context.print(&match context.json {
        true => {
            format!("{}\n", json!({ "file": args.file.to_string_lossy(), "public_key": public }))
        }
        false => format!("{public}\n"),
    })?;
    Ok(Exit::Ok as u8)
}

fn put(context: &Context, output: Option<&PathBuf>, text: &str) -> Result<(), CliError> {
    match output {
        None => context.print(text),
        Some(path) => filed::write(path, text.as_bytes()),
    }
}

fn draft(context: &Context, args: &DraftArgs) -> Result<u8, CliError> {
    check_name(&args.name).map_err(|error| CliError::usage(format!("--name: {error}")))?;
    let archive = Archive::parse(&args.place.destination)?;
    let progress = Progress::new(context)?;
    let (store, now) = (archive.connect(&progress)?, SystemClock.now());
    let drafted = fleet::draft(store, &args.name, args.sequence, now, &progress);
    progress.finish();
    let drafted = drafted?;
    context.printer.note(&ui::fleet_drafted_text(&drafted));
    if context.json {
        let document = json!({ "roster": { "text": drafted.text(), "signed": false } });
        put(context, args.output.as_ref(), &format!("{document}\n"))?;
    } else {
        put(context, args.output.as_ref(), &drafted.text())?;
    }
    Ok(Exit::Ok as u8)
}

fn sign(context: &Context, args: &SignArgs) -> Result<u8, CliError> {
    let key = SigningKey::load(&OsFs, &args.key).map_err(|error| key_error(&args.key, &error))?;
    let (bytes, _) = OsFs
        .read_given(&args.input, MAX_ROSTER_BYTES as u64)
        .map_err(|error| CliError::io("read the roster", &args.input, &error))?;
    let mut roster = Roster::read_text(&bytes).map_err(|error| refused(&args.input, &error))?;
    roster.date = SystemClock.now();
    let signed = roster.sign(&key).map_err(|error| refused(&args.input, &error.into()))?;
    if context.json {
        let document = json!({ "roster": {
            "text": signed, "signed": true, "sequence": roster.sequence,
            "logs": roster.logs.len(), "key": key.verifier().to_string(),
        }});
        put(context, args.output.as_ref(), &format!("{document}\n"))?;
    } else {
        put(context, args.output.as_ref(), &signed)?;
    }
    Ok(Exit::Ok as u8)
}

fn show(context: &Context, args: &ShowArgs) -> Result<u8, CliError> {
    let key = public_key("--public-key", &args.public_key)?;
    let roster = signed_roster(&args.file, &key)?;
    context.print(&match context.json {
        true => {
            let logs: Vec<_> = roster
                .logs
                .iter()
                .map(|(id, it)| {
                    json!({
                        "log_id": id,
                        "key": it.key.to_string(),
                        "hosts": it.hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>(),
                        "epoch": it.epoch,
                    })
                })
                .collect();
            let document = json!({ "roster": {
                "name": roster.name, "sequence": roster.sequence, "date": roster.date,
                "signed_by": key.label(), "logs": logs,
            }});
            format!("{document}\n")
        }
        false => format!("{roster}signed by {}\n", key.label()),
    })?;
    Ok(Exit::Ok as u8)
}
