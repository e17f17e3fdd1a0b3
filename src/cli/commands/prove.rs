//! `prove`: one record with its proof, for somebody who has nothing else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::audit::verify::{ProofDocument, ProveError, prove};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::fsio::OpenMode;

/// A running writer signs what it has within its `checkpoint_interval`.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Print one record with the proof that it is in the log.
///
/// One JSON object: the stored line, the hashes that lead from it to the signed
/// root, the checkpoint, the public key. `auditctl verify --proof FILE` checks it
/// without the log; the format is in docs/verifying.md. A record that is not
/// signed yet is waited for, up to 5 s.
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The record's seq
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// Write it to this new file, and nothing to stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &ProveArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let document = patiently(|| prove(&shared_fs(), &settings.log_dir, args.seq))?;
    let text = document.encode();
    match &args.output {
        None => context.print(&text)?,
        Some(path) => {
            let failed = |error: std::io::Error| CliError::io("write", path, &error);
            let fs = shared_fs();
            let file = fs.open(path, OpenMode::CreateNew).map_err(failed)?;
            let written = file
                .write_all_at(format!("{text}\n").as_bytes(), 0)
                .and_then(|()| file.sync_data());
            if let Err(error) = written {
                // Half a proof is none.
                let _ = fs.remove(path);
                return Err(failed(error));
            }
        }
    }
    Ok(0)
}

fn patiently(
    mut prove: impl FnMut() -> Result<ProofDocument, ProveError>,
) -> Result<ProofDocument, ProveError> {
    let begun = Instant::now();
    loop {
        match prove() {
            Err(ProveError::NotYet { .. }) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            done => return done,
        }
    }
}

impl From<ProveError> for CliError {
    fn from(error: ProveError) -> Self {
        let message = error.to_string();
        let (kind, exit, hint) = match error {
            ProveError::Verify(error) => return error.into(),
            ProveError::Checkpoint(_) | ProveError::Unsigned => {
                ("bad_signature", Exit::Found, "`auditctl verify` says what is wrong with the log")
            }
            ProveError::Damaged { .. } => {
                ("damaged", Exit::Found, "`auditctl verify` says what is wrong with the log")
            }
            ProveError::NotYet { .. } => (
                "not_signed",
                Exit::Failed,
                "there is no such record, or no writer runs that would sign it: `auditctl health`",
            ),
            ProveError::Removed { .. } => (
                "removed",
                Exit::Failed,
                "restore a backup that holds it with `auditctl restore ID --target DIR`, and prove \
                 it with --log-dir DIR",
            ),
        };
        CliError::new(kind, exit, message).hint(hint)
    }
}
