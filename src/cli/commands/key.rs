//! `key`: the log's signing keys: which there are, and changing to another.

mod escrow;
mod replace;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::audit::LogPaths;
use crate::audit::files::manifest::Manifest;
use crate::audit::keys::signer::{KeyError, SigningKey, VerifierKey};
use crate::audit::keys::{KeyFiles, Keyring, KeysError, load_keyring};
use crate::audit::state::status::Mode;
use crate::audit::write::key_change::{
    MAX_REASON_BYTES, RotateError, RotateRequest, Rotated, plan_rotation,
};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit, NO_LOG_HINT};
use crate::cli::open::{self, shared_fs};
use crate::cli::{heads, reach};
use crate::collector::client::ClientError;
use crate::config::Settings;
use crate::fsio::{self, SharedFs, os};
use crate::ui::{self, KeyShown, PrivateKey};

/// Show, change, export and replace the key that signs the log.
///
/// A key is valid up to a record, and its successor from there on, whatever the clock says.
/// docs/keys.md says how that is checked, and docs/threat-model.md what to do when a key was
/// stolen.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Show(ShowArgs),
    Rotate(RotateArgs),
    New(NewArgs),
    Replace(replace::ReplaceArgs),
    Export(escrow::ExportArgs),
    Import(escrow::ImportArgs),
}

/// Show the public key, and every key that the log had before.
///
/// All of it is checked: each key has to have signed the record that names its successor, and the
/// successor has to have signed it as well. If a key was replaced without the signature of the
/// old one, `show` says by whom, when and why.
#[derive(Debug, Args)]
struct ShowArgs {}

/// Change the signing key, with or without a running collector.
///
/// The old key signs a record that names the new one (`audit.key_rotated`). Both keys sign the
/// tree that ends with that record. From there on only the new key is valid. Anybody who has the
/// old public key can follow to the new one. Only root and the collector's user may change the
/// key.
#[derive(Debug, Args)]
struct RotateArgs {
    /// Show what would be done and whether it can be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// A private key made with `auditctl key new` [default: make a new one]
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Keep the old private key in this new file [default: destroy it]
    #[arg(long, value_name = "FILE")]
    keep_old: Option<PathBuf>,
    /// The reason, for the record; at most 256 bytes
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Make a private key for this log in a new file, to change to later.
///
/// Prints its public key, which you can then hand out before the new key is used.
#[derive(Debug, Args)]
struct NewArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(context: &Context, args: &KeyArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    match &args.command {
        KeyCommand::Show(_) => show(context, &settings),
        KeyCommand::Rotate(args) => rotate(context, &settings, args),
        KeyCommand::New(args) => new(context, &settings, args),
        KeyCommand::Replace(args) => replace::run(context, &settings, args),
        KeyCommand::Export(args) => escrow::export(context, &settings, args),
        KeyCommand::Import(args) => escrow::import(context, &settings, args),
    }
}

fn show(context: &Context, settings: &Settings) -> Result<u8, CliError> {
    let fs = shared_fs();
    let paths = LogPaths::new(&settings.log_dir);
    let manifest = manifest(&fs, &paths)?;
    let keys = load_keyring(&*fs, &paths, None).map_err(|error| unusable(&error))?;
    if let Some(first) = manifest.first_key.as_ref().filter(|first| !keys.holds(first)) {
        let first = first.parse::<VerifierKey>().map_or_else(|_| first.clone(), |key| key.label());
        let text = format!(
            "audit.keys is missing or incomplete: nothing leads from the log's first key {first} \
             to {}",
            keys.newest().label()
        );
        return Err(CliError::new("keys", Exit::Found, text).hint(UNUSABLE));
    }
    let log_id = manifest.log_id;
    let files = KeyFiles::new(&paths, settings.key_path.as_deref());
    let shown = KeyShown {
        log_id,
        private: private(&fs, &files, &keys),
        private_path: files.key.clone(),
        pending: fs.meta(&files.next()).is_ok(),
        keys,
    };
    context.print(&if context.json { ui::key_json(&shown) } else { ui::key_text(&shown) })?;
    Ok(0)
}

/// What the private key's file holds, as far as this user may know.
fn private(fs: &SharedFs, files: &KeyFiles, keys: &Keyring) -> PrivateKey {
    match SigningKey::load(&**fs, &files.key) {
        Ok(key) if key.verifier() == keys.newest() => PrivateKey::Newest,
        Ok(key) if keys.contains(key.verifier()) => PrivateKey::Retired,
        Ok(_) => PrivateKey::Stranger,
        Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            PrivateKey::Missing
        }
        Err(error) => PrivateKey::Unreadable(error.to_string()),
    }
}

fn unusable(error: &KeysError) -> CliError {
    CliError::new("keys", Exit::Found, error.to_string()).hint(UNUSABLE)
}

const UNUSABLE: &str = "run `auditctl verify` to see what is wrong. The next start restores \
                        audit.keys from a backup in backup.output_dir";

fn log_id(fs: &SharedFs, paths: &LogPaths) -> Result<String, CliError> {
    manifest(fs, paths).map(|manifest| manifest.log_id)
}

fn manifest(fs: &SharedFs, paths: &LogPaths) -> Result<Manifest, CliError> {
    let manifest = Manifest::load(&**fs, &paths.manifest()).map_err(|error| {
        let damaged = || CliError::new("damaged", Exit::Failed, error.to_string());
        CliError::of_newer(&error).unwrap_or_else(damaged)
    })?;
    manifest.ok_or_else(|| {
        let text = format!("there is no log in {}", paths.dir.display());
        CliError::new("no_log", Exit::Failed, text).hint(NO_LOG_HINT)
    })
}

fn new(context: &Context, settings: &Settings, args: &NewArgs) -> Result<u8, CliError> {
    let fs = shared_fs();
    let paths = LogPaths::new(&settings.log_dir);
    log_id(&fs, &paths)?;
    // A key is of the log by its name, which the key at hand has.
    let public = paths.public_key();
    let named = VerifierKey::load_own(&*fs, &public).map_err(|error| key_file(error, &public))?;
    let key = SigningKey::generate(named.name())
        .and_then(|key| key.save(&*fs, &args.file).map(|()| key))
        .map_err(|error| key_file(error, &args.file))?;
    let public = key.verifier().to_string();
    context.print(&if context.json {
        serde_json::json!({ "file": args.file.to_string_lossy(), "public_key": public }).to_string()
    } else {
        format!("{public}\n")
    })?;
    Ok(0)
}

fn key_file(error: KeyError, path: &Path) -> CliError {
    let mut new = CliError::new("key", Exit::Failed, error.to_string());
    new.path = Some(path.to_path_buf());
    new
}

fn rotate(context: &Context, settings: &Settings, args: &RotateArgs) -> Result<u8, CliError> {
    let fs = shared_fs();
    let paths = LogPaths::new(&settings.log_dir);
    log_id(&fs, &paths)?;
    if args.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        let text = format!("--reason: at most {MAX_REASON_BYTES} bytes");
        return Err(CliError::usage(text));
    }
    let request = RotateRequest {
        new_key: args.new_key.as_deref().map(absolute).transpose()?,
        keep_old: args.keep_old.as_deref().map(absolute).transpose()?,
        reason: args.reason.clone(),
        uid: rustix::process::geteuid().as_raw(),
    };
    if args.dry_run {
        return dry_run(context, settings, &request);
    }
    let rotated = match reach::collector(settings) {
        Ok(mut client) => client.rotate_key(&request).map_err(of_collector)?,
        Err(ClientError::NotRunning { .. }) => directly(settings, &request)?,
        Err(error) => return Err(error.into()),
    };
    if let Some(reason) = &rotated.unfinished {
        context.printer.error(&format!(
            "warning: the key was changed, but not all of its files are in place: {reason}. The \
             next opening of the log completes this"
        ));
    }
    context.print(&if context.json {
        ui::rotated_json(&rotated)
    } else {
        ui::rotated_text(&rotated)
    })?;
    Ok(0)
}

/// Relative to where this process is: the collector is somewhere else.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::io("find", path, &error))
}

fn directly(settings: &Settings, request: &RotateRequest) -> Result<Rotated, CliError> {
    let options = heads::noted(open::options(settings, Mode::Record), settings);
    let log = open::patiently(&options, open::MOMENT, None)?;
    let rotated = log.rotate_key(request);
    // Closed whatever came of it.
    let closed = log.close();
    let rotated = rotated?;
    closed?;
    Ok(rotated)
}

fn dry_run(
    context: &Context,
    settings: &Settings,
    request: &RotateRequest,
) -> Result<u8, CliError> {
    let fs = shared_fs();
    let key_path = settings.key_path.as_deref();
    let plan = plan_rotation(&*fs, &settings.log_dir, key_path, request)?;
    let places = [Some(&plan.key_path), request.keep_old.as_ref()];
    for path in places.into_iter().flatten() {
        let dir = fsio::parent(path);
        os::may_write(&dir).map_err(|error| {
            CliError::io("write into", &dir, &error).hint(
                "the new key is stored beside the old one, so key_path has to be in a writable \
                 directory",
            )
        })?;
    }
    context.print(&if context.json {
        ui::rotate_plan_json(&plan)
    } else {
        ui::rotate_plan_text(&plan)
    })?;
    Ok(0)
}

fn of_collector(error: ClientError) -> CliError {
    let ClientError::Refused { kind, message, .. } = &error else { return error.into() };
    let new = |kind, exit| CliError::new(kind, exit, message.clone());
    match kind.as_str() {
        "key" => new("key", Exit::Failed),
        "unavailable" => new("unavailable", Exit::Failed),
        "usage" => new("usage", Exit::Usage),
        "forbidden" => new("forbidden", Exit::Busy),
        "refused" => new("refused", Exit::Busy),
        _ => error.into(),
    }
}

impl From<RotateError> for CliError {
    fn from(error: RotateError) -> Self {
        let exit = match &error {
            RotateError::Refused(_) => Exit::Busy,
            RotateError::Files(_) | RotateError::NotYet(_) => Exit::Failed,
        };
        Self::new(error.kind(), exit, error.to_string())
    }
}
