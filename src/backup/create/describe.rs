//! The metadata of what was packed and read back.

use super::host;
use crate::audit::Span;
use crate::audit::read::snapshot::Snapshot;
use crate::backup::chain;
use crate::backup::content::Content;
use crate::backup::error::BackupError;
use crate::backup::hole::Hole;
use crate::backup::metadata::{Archive, Held, LogIdentity, Metadata, Previous, Verified};
use crate::backup::name::BackupId;
use crate::backup::pack::{Basis, Packed, holes_of};

pub(super) fn link(
    previous: Option<&Metadata>,
    snapshot: &Snapshot,
    content: &Content,
) -> Result<Option<Previous>, BackupError> {
    let Some(previous) = previous else { return Ok(None) };
    match chain::link(previous, &snapshot.checkpoint, &content.ranges) {
        Ok(link) => Ok(Some(link)),
        // Another epoch begins where signed records were set aside, which its
        // records say: it need not extend what came before.
        Err(BackupError::NotAPrefix { .. }) if previous.log.epoch < snapshot.manifest.epoch => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn describe(
    (snapshot, basis): (&Snapshot, Option<Basis>),
    packed: Packed,
    content: &Content,
    level: u32,
    id: BackupId,
) -> Result<Metadata, BackupError> {
    let (min_timestamp, max_timestamp) = content.times();
    let manifest = &snapshot.manifest;
    let stored = packed.digests.bytes as f64;
    let saved = 100.0 * (1.0 - stored / (content.raw_bytes.max(1) as f64));
    let holes = holes_of(snapshot, basis.as_ref());
    let (pruned, bases) = match basis {
        Some(Basis { bases, tree }) => (tree, bases),
        None => (manifest.pruned.clone(), Vec::new()),
    };
    let first_seq = pruned.end();
    let tree_size = snapshot.checkpoint.size;
    let authority = content.said.authority(tree_size);
    let given_up_by = |span: Span| {
        let named = || authority.holes.iter().rev();
        let by =
            named().find(|named| (named.hole.first_seq..named.hole.end_seq).contains(&span.begin));
        by.filter(|_| authority.names_hole(span.begin, span.end)).map(|named| named.record)
    };
    let holes: Vec<Hole> = holes
        .into_iter()
        .map(|hole| Hole { given_up_by: given_up_by(hole.span()), ..hole })
        .collect();
    let gone: u64 = holes.iter().map(|hole| hole.span().records()).sum();
    Ok(Metadata {
        id,
        tool: format!("auditctl {}", env!("CARGO_PKG_VERSION")),
        host: host(),
        created_at: id.time(),
        clock_adjusted: false,
        log: LogIdentity {
            id: manifest.log_id.clone(),
            epoch: manifest.epoch,
            origin: snapshot.origin()?.to_string(),
            public_key: snapshot.verifier.to_string(),
            key_chain: snapshot.keys.rotations().to_vec(),
        },
        range: Held {
            first_seq,
            tree_size,
            records: tree_size - first_seq,
            min_timestamp,
            max_timestamp,
            pruned,
        },
        root_hash: snapshot.checkpoint.root,
        checkpoint: snapshot.note.to_string(),
        previous: None,
        bases,
        archive: Archive {
            file: id.archive(false),
            digests: packed.digests,
            raw_bytes: content.raw_bytes,
            raw_sha256: content.raw_sha256,
            level,
            compression_percent: (saved * 10.0).round() / 10.0,
        },
        segments: packed.stretches,
        holes,
        cosigned: None,
        encryption: None,
        verified: Verified {
            level: "content".to_owned(),
            records: tree_size - first_seq - gone,
            milliseconds: 0,
        },
        signature: None,
        read_from: None,
    })
}
