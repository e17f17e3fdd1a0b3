//! `prove`: one record with its proof, or the tree's growth, for somebody who has
//! nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::audit::LogPaths;
use crate::audit::read::verify::{
    ProofDocument, ProveError, TlogProof, prove, prove_cosigned, prove_from,
};
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::filed;
use crate::cli::open::shared_fs;
use crate::ui;

/// A running writer signs what it has within its `checkpoint_interval`.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Print one record with the proof that it is in the log; with --from, the proof that the log
/// extends an earlier state.
///
/// The proof is one JSON object: the stored line, the hashes that lead from it to the signed
/// root, the checkpoint and the public key. Anybody can check it with `auditctl verify --proof
/// FILE`, without the log. docs/proofs.md describes the format. If a running writer has the
/// record but has not signed it yet, `prove` waits up to 5 s. If the record does not exist, it
/// fails at once.
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The record's seq
    #[arg(value_name = "SEQ", required_unless_present = "from", conflicts_with = "from")]
    seq: Option<u64>,
    /// Prove that the newest signed tree begins with the first SIZE records. SIZE is the second
    /// line of a checkpoint that somebody kept
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// Format of the proof of a record: a JSON object, C2SP's tlog-proof with the record's line
    /// in `extra`, or an HTML file that checks itself in any current browser, without a network
    #[arg(long, value_enum, default_value_t = Format::Json, conflicts_with = "from")]
    format: Format,
    /// Prove the record under the newest checkpoint that witnesses cosigned, so that the proof
    /// carries their cosignatures. `auditctl verify --proof FILE --policy FILE` checks them
    #[arg(long, conflicts_with = "from")]
    cosigned: bool,
    /// Write the proof to this new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Json,
    TlogProof,
    Html,
}

impl Format {
    /// A proof in this format.
    pub(super) fn of(self, document: &ProofDocument) -> Result<String, CliError> {
        Ok(match self {
            Self::Json => document.encode() + "\n",
            Self::TlogProof => TlogProof::from(document).encode(),
            Self::Html => ui::proof_html(document, &filed::made_by())
                .map_err(|error| filed::cannot_be(&error))?,
        })
    }
}

pub(crate) fn run(context: &Context, args: &ProveArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let (fs, dir) = (shared_fs(), &settings.log_dir);
    let text = if let Some(from) = args.from {
        patiently(dir, from, || prove_from(&fs, dir, from))?.encode() + "\n"
    } else {
        let seq = args.seq.ok_or_else(|| CliError::usage("SEQ or --from SIZE is missing"))?;
        let document = if args.cosigned {
            prove_cosigned(&fs, dir, seq).map_err(|error| under_cosigned(error, seq))?
        } else {
            patiently(dir, seq.saturating_add(1), || prove(&fs, dir, seq))?
        };
        args.format.of(&document)?
    };
    match &args.output {
        None => context.print(&text)?,
        Some(path) => filed::write(path, text.as_bytes())?,
    }
    Ok(0)
}

/// What is to be expected of a record that is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// A writer has it, or is opening the log and may have it.
    Coming,
    /// The log ends after so many records.
    Ends(u64),
    /// No writer runs that would sign it, if it is there at all.
    Nobody,
}

/// By the lock and the status page: hints, on which no proof rests.
fn outlook(dir: &Path, records: u64, signed: u64) -> Outlook {
    let paths = LogPaths::new(dir);
    let runs = paths.writer_runs().unwrap_or(true);
    let Ok(page) = StatusSnapshot::read(&paths.status()) else {
        return if runs { Outlook::Coming } else { Outlook::Nobody };
    };
    let (has, closed) = (page.get(Word::NextSeq), page.get(Word::ClosedAt) != 0);
    match (runs, closed) {
        // The page is the one before's while the log is being opened.
        (true, true) => Outlook::Coming,
        (true, false) if has >= records => Outlook::Coming,
        (true, false) => Outlook::Ends(has.max(signed)),
        // A clean close signs all that there is.
        (false, true) if has == signed => Outlook::Ends(signed),
        (false, _) => Outlook::Nobody,
    }
}

/// Waits for a log of so many signed records only where they may come.
fn patiently<T>(
    dir: &Path,
    records: u64,
    mut prove: impl FnMut() -> Result<T, ProveError>,
) -> Result<T, CliError> {
    let begun = Instant::now();
    let mut again = true;
    loop {
        let error = match prove() {
            Ok(proof) => return Ok(proof),
            Err(error) => error,
        };
        let (ProveError::NotYet { signed, .. } | ProveError::TooFew { signed, .. }) = error else {
            return Err(error.into());
        };
        let outlook = outlook(dir, records, signed);
        match outlook {
            Outlook::Coming if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
            // Signed and closed between the two looks: looked for once more.
            Outlook::Ends(_) | Outlook::Nobody if again => again = false,
            Outlook::Ends(has) if has < records => return Err(not_there(&error, has)),
            _ => return Err(error.into()),
        }
    }
}

/// What witnesses have cosigned ends before what is signed.
fn under_cosigned(error: ProveError, seq: u64) -> CliError {
    let ProveError::NotYet { signed, .. } = error else { return error.into() };
    let text = format!(
        "no cosigned checkpoint covers record {seq}: the newest one that witnesses cosigned covers \
         {signed} records"
    );
    CliError::new("not_cosigned", Exit::Failed, text)
        .hint("a running collector asks its witnesses every `witness.interval`: try again")
}

fn not_there(error: &ProveError, has: u64) -> CliError {
    let log = match has {
        0 => "the log has no records".to_owned(),
        1 => "the log has 1 record, record 0".to_owned(),
        has => format!("the log has {has} records, 0 to {}", has - 1),
    };
    match error {
        ProveError::TooFew { from, .. } => {
            let text = format!("by its own account the log never had {from} records: {log}");
            // Whoever has a checkpoint over more of them has found something bad.
            CliError::new("no_record", Exit::Found, text).hint(
                "if the size is that of a checkpoint that somebody kept, records are missing: run \
                 `auditctl verify --against FILE` with that checkpoint",
            )
        }
        ProveError::NotYet { seq, .. } => {
            CliError::new("no_record", Exit::Usage, format!("there is no record {seq}: {log}"))
                .hint("`auditctl query` shows records with their seq")
        }
        error => CliError::new("no_record", Exit::Usage, format!("{error}: {log}")),
    }
}

impl From<ProveError> for CliError {
    fn from(error: ProveError) -> Self {
        let message = error.to_string();
        let (kind, exit, hint) = match error {
            ProveError::Verify(error) => return error.into(),
            ProveError::Checkpoint(_) | ProveError::Unsigned => (
                "bad_signature",
                Exit::Found,
                "run `auditctl verify` to see what is wrong with \
                                                the log",
            ),
            ProveError::NotCosigned => (
                "not_cosigned",
                Exit::Failed,
                "set `witness.policy` and start the collector; `auditctl health` shows how it goes \
                 with the witnesses",
            ),
            ProveError::Damaged { .. } => {
                ("damaged", Exit::Found, "run `auditctl verify` to see what is wrong with the log")
            }
            ProveError::GivenUp { .. } => (
                "given_up",
                Exit::Found,
                "an earlier backup may hold it: bring it back with `auditctl repair`, or restore \
                 that backup with `auditctl restore ID --target DIR` and prove the record with \
                 --log-dir DIR",
            ),
            ProveError::NotYet { .. } => (
                "not_signed",
                Exit::Failed,
                "no writer runs, or it cannot sign: run `auditctl health` to see which. A running \
                 collector signs within a second",
            ),
            ProveError::TooFew { .. } => (
                "not_signed",
                Exit::Failed,
                "a checkpoint of that size would be ahead of this log: compare it with `auditctl \
                 verify --against FILE`",
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
