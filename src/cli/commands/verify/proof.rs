//! `verify --proof`: what `prove` wrote, in any of its forms.

use std::path::Path;
use std::time::Duration;

use super::{MAX_FILE_BYTES, VerifyArgs, anchor};
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::keys::policy::Policy;
use crate::audit::read::verify::{
    Anchor, ConsistencyDocument, DocumentError, NotEarlier, ProofDocument, SignedTree, TlogProof,
    Witnessed,
};
use crate::audit::tree::document;
use crate::audit::tree::document::Kind;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::clock::{Clock, SystemClock};
use crate::ui::{self, ProofKey};

pub(super) fn check(
    context: &Context,
    path: &Path,
    args: &VerifyArgs,
    (key, policy): (Option<&VerifierKey>, Option<&Policy>),
) -> Result<u8, CliError> {
    let text = read(path)?;
    // `prove --format html` carries the document in it.
    let text = match ui::embedded_proof(&text) {
        Some(found) => {
            if !found.is_whole {
                context.printer.error(&format!(
                    "warning: {} is not the file that this version of auditctl writes for the proof \
                     in it. Only that proof was checked; what a browser shows of the file may be \
                     something else",
                    path.display()
                ));
            }
            found.document
        }
        None => text,
    };
    let is_growth = matches!(
        document::check_head(Kind::CONSISTENCY_PROOF, &text),
        Ok(()) | Err(document::DocumentError::Newer { .. })
    );
    if !args.against.is_empty() && !is_growth {
        return Err(CliError::usage("--against needs a proof of growth, and this is not one")
            .hint(
                "make one with `auditctl prove --from SIZE`, where SIZE is the checkpoint's \
                 second line",
            ));
    }
    let is_tlog = TlogProof::is_one(&text);
    if args.record.is_some() && !is_tlog {
        return Err(CliError::usage("--record needs a tlog-proof, and this is not one"));
    }
    let refused = |error: DocumentError| refused(path, &error);
    let mut checkpoint = None;
    let said = if is_growth {
        let anchors =
            args.against.iter().map(|path| anchor(path)).collect::<Result<Vec<_>, _>>()?;
        let document = ConsistencyDocument::parse(&text).map_err(refused)?;
        checkpoint.get_or_insert(document.signed.checkpoint.clone());
        growth(context, path, &document, &anchors, key)?
    } else if is_tlog {
        let key = key.ok_or_else(|| {
            CliError::usage("a tlog-proof names no key, so --public-key FILE is required")
                .hint("give the log's audit.pub, from someone you trust")
        })?;
        let record = args.record.as_deref().map(read).transpose()?;
        let proof = TlogProof::parse(&text).map_err(refused)?;
        let (record, proven) = proof.check(key, record.as_deref()).map_err(refused)?;
        checkpoint.get_or_insert(proof.checkpoint.clone());
        let record = (proof.index, record.as_str());
        if context.json {
            ui::proof_json(record, &proven, ProofKey::Given)
        } else {
            ui::proof_text(record, &proven, ProofKey::Given, context.printer.color())
        }
    } else {
        let document = ProofDocument::parse(&text).map_err(refused)?;
        let proven = document.check(key).map_err(refused)?;
        checkpoint.get_or_insert(document.signed.checkpoint.clone());
        let (record, key) =
            ((document.seq, document.record.as_str()), source(&document.signed, key));
        if context.json {
            ui::proof_json(record, &proven, key)
        } else {
            ui::proof_text(record, &proven, key, context.printer.color())
        }
    };
    let witnessed = match (policy, checkpoint) {
        (Some(policy), Some(checkpoint)) => {
            Some(witnessed(path, &checkpoint, policy, args.cosigned_within)?)
        }
        _ => None,
    };
    let said = match (&witnessed, context.json) {
        (None, _) => said,
        (Some(witnessed), true) => ui::with_witnessed(&said, witnessed),
        (Some(_), false) => said + &ui::witnessed_text(witnessed.as_ref()),
    };
    context.print(&said)?;
    Ok(Exit::Ok as u8)
}

/// What witnesses say of the proof's checkpoint; an error unless that is enough.
fn witnessed(
    path: &Path,
    checkpoint: &str,
    policy: &Policy,
    within: Option<Duration>,
) -> Result<Witnessed, CliError> {
    let note = SignedCheckpoint::parse(checkpoint.as_bytes())
        .map_err(|error| refused(path, &error.into()))?;
    let file = path.display().to_string();
    let witnessed = Witnessed::of(&file, &note, policy);
    let old = within.and_then(|within| witnessed.too_old(SystemClock.now(), within));
    let error = match (witnessed.quorum_met, old) {
        (true, None) => return Ok(witnessed),
        (true, Some(old)) => CliError::new("quorum_old", Exit::Found, format!("{file}: {old}")),
        (false, _) => {
            let message = format!("{file}: {}", witnessed.why_not());
            CliError::new("no_quorum", Exit::Found, message)
        }
    };
    let mut error = error
        .hint("ask the owner of the log for a proof made with `auditctl prove SEQ --cosigned`");
    error.path = Some(path.to_path_buf());
    Err(error)
}

fn growth(
    context: &Context,
    path: &Path,
    document: &ConsistencyDocument,
    anchors: &[Anchor],
    key: Option<&VerifierKey>,
) -> Result<String, CliError> {
    let grown = document.check(key).map_err(|error| refused(path, &error))?;
    for anchor in anchors {
        document.begins_with(anchor, &grown).map_err(|error| not_earlier(anchor, &error))?;
    }
    let names: Vec<&str> = anchors.iter().map(|anchor| anchor.name.as_str()).collect();
    let names = names.join(", ");
    let by =
        (source(&document.signed, key), Some(names.as_str()).filter(|names| !names.is_empty()));
    Ok(if context.json {
        ui::growth_json(document, &grown, by)
    } else {
        ui::growth_text(document, &grown, by, context.printer.color())
    })
}

fn source(signed: &SignedTree, given: Option<&VerifierKey>) -> ProofKey {
    match given {
        None => ProofKey::OfDocument,
        Some(_) if signed.key_chain.is_empty() => ProofKey::Given,
        Some(_) => ProofKey::Chain,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let read = shared_fs().read_given(path, MAX_FILE_BYTES);
    read.map(|(text, _)| text).map_err(|error| CliError::io("read", path, &error))
}

fn refused(path: &Path, error: &DocumentError) -> CliError {
    let message = format!("{}: {error}", path.display());
    let mut new = match error {
        DocumentError::Form(error) if error.is_newer() => return CliError::newer(path, error),
        DocumentError::NoRecord => {
            CliError::usage(message).hint("give the record's stored line with --record FILE")
        }
        _ => CliError::new("proof", Exit::Found, message)
            .hint("it proves nothing; ask the owner of the log for a new one"),
    };
    new.path = Some(path.to_path_buf());
    new
}

fn not_earlier(anchor: &Anchor, error: &NotEarlier) -> CliError {
    let message = format!("--against {}: {error}", anchor.name);
    if error.is_open() {
        return CliError::new("against", Exit::Failed, message)
            .hint("this proof says nothing about that checkpoint, good or bad");
    }
    CliError::new("not_earlier", Exit::Found, message)
        .hint("the log does not continue that checkpoint; keep both files, and find out why")
}
