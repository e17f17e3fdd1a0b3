//! `key export` and `key import`: the private key kept elsewhere, encrypted.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{key_file, log_id, shared_fs};
use crate::audit::LogPaths;
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{KeyFiles, load_keyring};
use crate::audit::write::key_replace::{ReplaceError, put_key_back};
use crate::backup::{KeyFile, export_key, import_key};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::fsio::OpenMode;

/// More than any such file has.
const MAX_SEALED_BYTES: u64 = 1 << 20;

/// Write the private key to a file, encrypted to age public keys.
///
/// Keep the file where the loss of this host cannot destroy it. Without the private key you can
/// read a restored log, but not add to it. `auditctl key import` puts the key back. The key is
/// never written or shown unencrypted.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// An age public key that can open it; may be repeated
    #[arg(long, value_name = "age1…", required = true)]
    encrypt_to: Vec<String>,
    /// Write it to this new file [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Put back a private key that `auditctl key export` wrote.
///
/// It has to be the key that signs this log. It works for a log that was just restored without
/// its key, too. An existing key is never overwritten.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file that `auditctl key export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file with an age private key that opens it. May be repeated
    #[arg(long, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
}

pub(super) fn export(
    context: &Context,
    settings: &Settings,
    args: &ExportArgs,
) -> Result<u8, CliError> {
    let fs = shared_fs();
    let paths = LogPaths::new(&settings.log_dir);
    log_id(&fs, &paths)?;
    let path = KeyFiles::new(&paths, settings.key_path.as_deref()).key;
    let key = SigningKey::load(&*fs, &path).map_err(|error| key_file(error, &path))?;
    // A key that does not sign the log would be found useless on the day it is needed.
    let keys = load_keyring(&*fs, &paths, None).map_err(|error| super::unusable(&error))?;
    if key.verifier() != keys.newest() {
        let text = format!(
            "{} holds {}, and the log is signed by {}",
            path.display(),
            key.verifier().label(),
            keys.newest().label()
        );
        return Err(CliError::new("key", Exit::Failed, text).hint(
            "`auditctl key show` lists the \
                                                                  log's keys",
        ));
    }
    let sealed = export_key(&key, &args.encrypt_to, SystemClock.now())?;
    let public = key.verifier().to_string();
    let Some(output) = &args.output else {
        context.print(&if context.json {
            json!({ "public_key": public, "age": sealed }).to_string()
        } else {
            sealed
        })?;
        return Ok(0);
    };
    write_new(output, sealed.as_bytes())?;
    context.print(&if context.json {
        json!({ "file": output.to_string_lossy(), "public_key": public }).to_string()
    } else {
        format!(
            "{}: the key {}, encrypted to {} of yours; `auditctl key import` puts it back\n",
            output.display(),
            key.verifier().label(),
            crate::health::wording::count(args.encrypt_to.len() as u64, "public key")
        )
    })?;
    Ok(0)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::io("write", path, &error);
    let fs = shared_fs();
    let file = fs.open(path, OpenMode::CreateNew).map_err(failed)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Half a key is none.
        let _ = fs.remove(path);
        return Err(failed(error));
    }
    Ok(())
}

pub(super) fn import(
    context: &Context,
    settings: &Settings,
    args: &ImportArgs,
) -> Result<u8, CliError> {
    let fs = shared_fs();
    let paths = LogPaths::new(&settings.log_dir);
    log_id(&fs, &paths)?;
    let (sealed, _) = fs
        .read_given(&args.file, MAX_SEALED_BYTES)
        .map_err(|error| CliError::io("read", &args.file, &error))?;
    let identities = args.identity.iter().map(|path| KeyFile::read(&*fs, path));
    let identities = identities.collect::<Result<Vec<_>, _>>()?;
    let name = args.file.display().to_string();
    let key = import_key(&name, &sealed, &identities)?;
    let key_path = settings.key_path.as_deref();
    let put = put_key_back(&*fs, &paths, key_path, &key).map_err(|error| match error {
        ReplaceError::Files(what) => CliError::new("key", Exit::Failed, what),
        other => CliError::new("refused", Exit::Busy, other.to_string()),
    })?;
    let public = key.verifier().to_string();
    context.print(&if context.json {
        json!({
            "file": put.path.to_string_lossy(),
            "public_key": public,
            "was_there": put.was_there,
        })
        .to_string()
    } else {
        let path = put.path.display();
        match put.was_there {
            true => format!("{path} holds that key already; nothing was changed\n"),
            false => format!(
                "{path}: the key {} is back. The log continues where it ended, with the next \
                 `auditctl record` or start of the collector\n",
                key.verifier().label()
            ),
        }
    })?;
    Ok(0)
}
