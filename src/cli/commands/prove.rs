//! `prove`: one record with its proof, or the tree's growth, for somebody who has
//! nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::audit::verify::{ProveError, TlogProof, prove, prove_from};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::fsio::OpenMode;

/// A running writer signs what it has within its `checkpoint_interval`.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Print one record with the proof that it is in the log; or, with --from, the proof
/// that the log continues an earlier state of it.
///
/// One JSON object: the stored line, the hashes that lead from it to the signed
/// root, the checkpoint, the public key. `auditctl verify --proof FILE` checks it
/// without the log; the format is in docs/verifying.md. A record that is not
/// signed yet is waited for, up to 5 s.
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The record's seq
    #[arg(value_name = "SEQ", required_unless_present = "from", conflicts_with = "from")]
    seq: Option<u64>,
    /// Prove that the newest signed tree begins with the first SIZE records: the size of
    /// a checkpoint that somebody kept (its second line)
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// How the proof of a record is written: a JSON object, or C2SP's tlog-proof, with
    /// the record's line in `extra`
    #[arg(long, value_enum, default_value_t = Format::Json, conflicts_with = "from")]
    format: Format,
    /// Write it to this new file, and nothing to stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    TlogProof,
}

pub(crate) fn run(context: &Context, args: &ProveArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let (fs, dir) = (shared_fs(), &settings.log_dir);
    let text = if let Some(from) = args.from {
        patiently(|| prove_from(&fs, dir, from))?.encode() + "\n"
    } else {
        let seq = args.seq.ok_or_else(|| CliError::usage("SEQ or --from SIZE is missing"))?;
        let document = patiently(|| prove(&fs, dir, seq))?;
        match args.format {
            Format::Json => document.encode() + "\n",
            Format::TlogProof => TlogProof::from(&document).encode(),
        }
    };
    match &args.output {
        None => context.print(&text)?,
        Some(path) => write(path, &text)?,
    }
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::io("write", path, &error);
    let fs = shared_fs();
    let file = fs.open(path, OpenMode::CreateNew).map_err(failed)?;
    let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Half a proof is none.
        let _ = fs.remove(path);
        return Err(failed(error));
    }
    Ok(())
}

fn patiently<T>(mut prove: impl FnMut() -> Result<T, ProveError>) -> Result<T, ProveError> {
    let begun = Instant::now();
    loop {
        match prove() {
            Err(ProveError::NotYet { .. } | ProveError::TooFew { .. })
                if begun.elapsed() < PATIENCE =>
            {
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
            ProveError::GivenUp { .. } => (
                "given_up",
                Exit::Found,
                "a backup that was made before may hold it: `auditctl repair` brings it back, or \
                 restore that backup with `auditctl restore ID --target DIR` and prove it with \
                 --log-dir DIR",
            ),
            ProveError::NotYet { .. } => (
                "not_signed",
                Exit::Failed,
                "there is no such record, or no writer runs that would sign it: `auditctl health`",
            ),
            ProveError::TooFew { .. } => (
                "not_signed",
                Exit::Failed,
                "a checkpoint of this log over so many records would be ahead of it: compare it \
                 with `auditctl verify --against FILE`",
            ),
            ProveError::TreeRemoved { .. } => (
                "removed",
                Exit::Failed,
                "restore a backup that holds these records with `auditctl restore ID --target DIR`, \
                 and prove it with --log-dir DIR",
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
