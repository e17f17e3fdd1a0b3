//! `key replace`: another key where the one that signed is lost.

use clap::Args;
use nix::unistd::{Uid, User};

use super::shared_fs;
use crate::audit::LogPaths;
use crate::audit::keys::is_one_line;
use crate::audit::state::status::Mode;
use crate::audit::write::key_replace::{
    ReplaceError, ReplaceRequest, plan_replacement, replace_key,
};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{heads, open};
use crate::config::Settings;
use crate::ui;

/// Put a new key in the place of one that is lost.
///
/// Use this only if nobody has the private key any more. First look for it in backups of the
/// host, and where you keep the output of `auditctl key export`: with `auditctl key import` the
/// log continues as if nothing had happened.
///
/// The new key begins a new epoch. Nobody signed the succession, so `verify` reports it from then
/// on, with when, by whom and why. Anybody who has only the old public key can check no more than
/// what that key signed. The log must not be open.
#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    /// The reason, for the record: one line of at most 256 bytes
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Show what would be done and whether it can be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(
    context: &Context,
    settings: &Settings,
    args: &ReplaceArgs,
) -> Result<u8, CliError> {
    let uid = rustix::process::geteuid().as_raw();
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    let request = ReplaceRequest {
        reason: args.reason.clone(),
        uid,
        user: user.filter(|name| is_one_line(name)),
    };
    let options = heads::noted(open::options(settings, Mode::Record), settings);
    let replacing = match args.dry_run {
        true => plan_replacement(&options, &request),
        false => replace_key(&options, &request),
    };
    let replacing = replacing.map_err(|error| told(error, settings))?;
    context.print(&if context.json {
        ui::replacing_json(&replacing, args.dry_run)
    } else {
        ui::replacing_text(&replacing, args.dry_run)
    })?;
    Ok(0)
}

fn told(error: ReplaceError, settings: &Settings) -> CliError {
    let (kind, message) = (error.kind(), error.to_string());
    match error {
        // The key is there now, so what an opening says to do can be done.
        ReplaceError::Open(open) => {
            let mut new = CliError::from(open);
            new.message = message;
            new
        }
        ReplaceError::NoLog { dir } => {
            let mut new = CliError::new(kind, Exit::Failed, message).hint(
                "name the log directory with --log-dir; `auditctl restore` puts a backup \
                       there",
            );
            new.path = Some(dir);
            new
        }
        ReplaceError::Writer | ReplaceError::Present { .. } => {
            CliError::new(kind, Exit::Busy, message)
                .hint("use `auditctl key replace` only for a key that nobody has any more")
        }
        ReplaceError::Refused(_) => CliError::new(kind, Exit::Busy, message),
        ReplaceError::Files(_) => {
            let mut new = CliError::new(kind, Exit::Failed, message);
            // Without the public key nothing says which key is replaced.
            let public = LogPaths::new(&settings.log_dir).public_key();
            if shared_fs().meta(&public).is_err() {
                new.hint = Some(
                    "audit.pub names the key to replace: put it back, or restore a backup, which \
                     contains it"
                        .to_owned(),
                );
            }
            new
        }
    }
}
