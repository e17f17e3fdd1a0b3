//! What a file is that is to be verified, by what it holds. A name may be anything.

use std::path::Path;
use std::time::Duration;

use super::anchor;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::policy::Policy;
use crate::audit::read::verify::{Anchor, TlogProof, Witnessed};
use crate::audit::tree::document::{DocumentError, Kind, check_head};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::clock::{Clock, SystemClock};
use crate::fsio::{Fs, OpenMode};
use crate::ui;

/// A document's kind stands within that; of a proof and a checkpoint no more is larger.
const HEAD_BYTES: usize = 64 << 10;

/// What is to be verified.
#[derive(Debug)]
pub(super) enum What {
    /// The log.
    Log,
    /// A backup: by its name, its archive, or its metadata.
    Backup,
    /// What `auditctl prove` wrote.
    Proof,
    /// A checkpoint, with which the log is to be compared.
    Checkpoint(Box<Anchor>),
}

/// Looks at what is named. What is no file is the name of a backup.
pub(super) fn is(fs: &dyn Fs, path: &Path) -> Result<What, CliError> {
    let there = fs.meta(path).is_ok_and(|meta| meta.is_file);
    if !there {
        return Ok(What::Backup);
    }
    let failed = |error: std::io::Error| CliError::io("read", path, &error);
    let file = fs.open(path, OpenMode::Read).map_err(failed)?;
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64).map_err(failed)? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    if TlogProof::is_one(&head) {
        return Ok(What::Proof);
    }
    if head.starts_with(b"<") {
        let text = fs.read(path, super::MAX_FILE_BYTES).map_err(failed)?;
        if ui::embedded_proof(&text).is_some() {
            return Ok(What::Proof);
        }
    }
    if head.trim_ascii_start().starts_with(b"{") {
        let text = fs.read(path, super::MAX_FILE_BYTES).map_err(failed)?;
        let is =
            |kind| matches!(check_head(kind, &text), Ok(()) | Err(DocumentError::Newer { .. }));
        if is(Kind::PROOF) || is(Kind::CONSISTENCY_PROOF) {
            return Ok(What::Proof);
        }
        return Ok(What::Backup);
    }
    let sealed = head.starts_with(b"\x1f\x8b") || head.starts_with(b"age-encryption.org/");
    if sealed {
        return Ok(What::Backup);
    }
    match anchor(path) {
        Ok(found) => Ok(What::Checkpoint(Box::new(found))),
        Err(_) => {
            let message =
                format!("{} is neither a backup, nor a proof, nor a checkpoint", path.display());
            let mut error = CliError::usage(message).hint(
                "name a backup's archive or its .json, or the output of `auditctl prove` or \
                 `auditctl checkpoint`. To verify a copy of a log, run `auditctl --log-dir DIR \
                 verify`",
            );
            error.path = Some(path.to_path_buf());
            Err(error)
        }
    }
}

/// A checkpoint where no log is: all that can be told is who signed it.
///
/// # Errors
/// Without a key nothing can be told.
pub(super) fn checkpoint(
    context: &Context,
    anchor: &Anchor,
    (key, policy, within): (Option<&VerifierKey>, Option<&Policy>, Option<Duration>),
) -> Result<u8, CliError> {
    let (Some(key), Some(note)) = (key, &anchor.note) else {
        let message =
            format!("{} is a checkpoint, and there is no log to compare it with", anchor.name);
        return Err(CliError::usage(message).hint(
            "name the log with --log-dir DIR; or check who signed the checkpoint with \
             --public-key FILE",
        ));
    };
    let wrong = note.verify(key).err().map(|error| error.to_string());
    let witnessed = policy.map(|policy| Witnessed::of(&anchor.name, note, policy));
    let enough = witnessed.as_ref().is_none_or(|witnessed| witnessed.quorum_met);
    let now = SystemClock.now();
    let old = witnessed.as_ref().zip(within).and_then(|(it, within)| it.too_old(now, within));
    context.print(&if context.json {
        ui::checkpoint_json(anchor, wrong.as_deref(), witnessed.as_ref(), old.as_deref())
    } else {
        let colour = context.printer.color();
        let old = old.as_ref().map(|old| format!("finding: quorum_old: {old}\n"));
        ui::checkpoint_text(anchor, wrong.as_deref(), colour)
            + &ui::witnessed_text(witnessed.as_ref())
            + &old.unwrap_or_default()
    })?;
    let is_well = wrong.is_none() && enough && old.is_none();
    Ok(if is_well { Exit::Ok as u8 } else { Exit::Found as u8 })
}
