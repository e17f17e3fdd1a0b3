//! `checkpoint`: the newest signed tree head, for keeping elsewhere.

use std::io::ErrorKind;

use clap::Args;

use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::keys::load_keyring;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit, NO_LOG_HINT};
use crate::cli::open::shared_fs;

/// Print the newest checkpoint: the tree's size and root, signed.
///
/// Keep copies where nobody who can write the log can change them. `auditctl verify --against
/// FILE` then detects a log that was cut off or rewritten, which nothing in the log itself can
/// show. The checkpoint is checked before it is printed.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {}

pub(crate) fn run(context: &Context, _: &CheckpointArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let paths = LogPaths::new(&settings.log_dir);
    let fs = shared_fs();
    let path = paths.checkpoint();
    let text = read_note(&*fs, &path).and_then(|text| text.ok_or(ErrorKind::NotFound.into()));
    let text = text.map_err(|error| CliError::io("read", &path, &error).hint(NO_LOG_HINT))?;
    let bad = |why: String| {
        let message = format!("{}: {why}", path.display());
        CliError::new("bad_signature", Exit::Found, message)
            .hint("run `auditctl verify` to see what is wrong with the log")
    };
    let keys = load_keyring(&*fs, &paths, None).map_err(|error| bad(error.to_string()))?;
    let signed = SignedCheckpoint::parse(&text).map_err(|error| bad(error.to_string()))?;
    let (checkpoint, key) = keys.verify(&signed).map_err(|error| bad(error.to_string()))?;
    if context.json {
        let document = serde_json::json!({
            "origin": checkpoint.origin,
            "tree_size": checkpoint.size,
            "root_hash": checkpoint.root.to_string(),
            "public_key": key.to_string(),
            "checkpoint": signed.to_string(),
        });
        context.print(&document.to_string())?;
    } else {
        context.print(&signed.to_string())?;
    }
    Ok(0)
}
