//! `GET /v1/coverage`: which records are here, signed, held elsewhere, missing; keys, backups
//! and the archive beside them. Cheap: nothing is hashed, and what is not signed is named as
//! that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Hub;
use super::reply::{App, error, with_retry_after};
use crate::audit::files::manifest::Manifest;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::keys::histories::{Contradiction, Kept, KnownHead};
use crate::audit::read::verify::key_stretches;
use crate::health::{Elsewhere, Reach, pushed};

/// Who asks again within this gets the same answer.
const STANDS: Duration = Duration::from_secs(1);

/// The last answer, and where to look for the next one.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Where checkpoints are pushed to.
    pushed: Option<PathBuf>,
    elsewhere: Elsewhere,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Coverage {
    pub(super) fn new(pushed: Option<PathBuf>, elsewhere: Elsewhere) -> Self {
        Self { pushed, elsewhere, last: Arc::default() }
    }

    /// `None` where it takes too long: a copy may lie where nobody answers.
    async fn get(hub: &Arc<Hub>) -> Option<Result<Bytes, String>> {
        let within = hub.page.settings().health.deadline;
        tokio::time::timeout(within, Self::look(Arc::clone(hub))).await.ok()
    }

    async fn look(hub: Arc<Hub>) -> Result<Bytes, String> {
        let mut last = Arc::clone(&hub.coverage.last).lock_owned().await;
        if let Some((at, bytes)) = &*last
            && at.elapsed() < STANDS
        {
            return Ok(bytes.clone());
        }
        // The lock goes along: however many ask, one looks, and no second one hangs beside it.
        let looked = tokio::task::spawn_blocking(move || {
            let found = look(&hub).map_err(|error| error.to_string())?;
            let bytes = Bytes::from(format!("{found}\n"));
            *last = Some((Instant::now(), bytes.clone()));
            Ok(bytes)
        });
        looked.await.map_err(|failed| failed.to_string())?
    }
}

pub(super) async fn get_coverage(State(app): State<App>) -> Response {
    match Coverage::get(&app.hub).await {
        Some(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Some(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed),
        None => {
            let text = "the log's files, its backups or its pushed checkpoints do not answer; \
                        `auditctl health` tells more";
            let response = error(StatusCode::SERVICE_UNAVAILABLE, "busy", text);
            with_retry_after(response, Some(Duration::from_secs(10)))
        }
    }
}

/// How things are with a run of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Removed,
    Missing,
    Anchored,
    Signed,
    Unsigned,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Run {
    first_seq: u64,
    end_seq: u64,
    state: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What is known of the records below `next`.
#[derive(Debug)]
struct Known {
    begin: u64,
    next: u64,
    signed: u64,
    anchored: u64,
    /// First, one after the last, why; ascending.
    holes: Vec<(u64, u64, String)>,
}

/// Runs that follow each other, from 0 to `next`.
fn runs(known: &Known) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    let mut add = |first_seq: u64, end_seq: u64, state, reason: Option<String>| {
        if first_seq < end_seq {
            all.push(Run { first_seq, end_seq, state, reason });
        }
    };
    add(0, known.begin, Standing::Removed, None);
    let mut at = known.begin;
    let end = (known.next, known.next, String::new());
    for (first, after, reason) in known.holes.iter().chain([&end]) {
        let upto = (*first).clamp(at, known.next);
        let anchored = known.anchored.clamp(at, upto);
        let signed = known.signed.clamp(anchored, upto);
        add(at, anchored, Standing::Anchored, None);
        add(anchored, signed, Standing::Signed, None);
        add(signed, upto, Standing::Unsigned, None);
        at = (*after).clamp(upto, known.next);
        add(upto, at, Standing::Missing, Some(reason.clone()));
    }
    all
}

fn look(hub: &Hub) -> std::io::Result<Value> {
    let log = &hub.log;
    let (options, elsewhere) = (log.options(), &hub.coverage.elsewhere);
    let now = options.clock.now();
    let next = log.acked_seq();
    let manifest = log.manifest();
    let keys = log.keys()?;
    let note = log.checkpoint();
    let head = SignedCheckpoint::parse(note.as_bytes()).ok();
    let head = head.filter(|head| keys.verify(head).is_ok());
    let signed = head.as_ref().map(|head| head.unverified().clone());
    let contradictions = contradicting(hub)?;
    let anchors = log.agreeing(heads(hub))?;
    let anchored = anchors.iter().map(|anchor| anchor.note.unverified().size).max().unwrap_or(0);
    let holes = manifest
        .holes()
        .map(|(_, hole)| (hole.first_seq, hole.tree.end(), hole.hole.clone().unwrap_or_default()));
    let mut holes: Vec<_> = holes.chain(without_files(hub, &manifest)).collect();
    holes.sort_unstable();
    let ranges = runs(&Known {
        begin: manifest.pruned.end(),
        next,
        signed: signed.as_ref().map_or(0, |signed| signed.size),
        anchored,
        holes,
    });
    let adopted =
        manifest.adopted.iter().map(|span| json!({ "first_seq": span.begin, "end_seq": span.end }));
    let anchors = anchors.iter().map(|anchor| {
        let kind = if anchor.kept == Kept::Backup { "backup" } else { "pushed" };
        json!({ "kind": kind, "name": anchor.name, "tree_size": anchor.note.unverified().size })
    });
    Ok(json!({
        "at": now,
        "log": {
            "id": log.log_id(),
            "name": keys.newest().name(),
            "epoch": manifest.epoch,
        },
        "records": { "first": manifest.pruned.end(), "next": next },
        "signed": signed.map(|signed| json!({
            "tree_size": signed.size,
            "root_hash": signed.root,
            "key": keys.newest().label(),
            "fingerprint": keys.newest().fingerprint(),
        })),
        "ranges": ranges,
        "adopted": adopted.collect::<Vec<_>>(),
        "anchors": anchors.collect::<Vec<_>>(),
        "contradictions": contradictions.iter().map(|it| json!({
            "history": it.history.code(),
            "name": it.name,
            "epoch": it.epoch,
            "tree_size": it.size,
            "message": it.to_string(),
        })).collect::<Vec<_>>(),
        "keys": key_values(&keys),
        "backups": elsewhere.noted(&*options.fs, log.log_id()),
        "archive": elsewhere.shipped(&*options.fs, &options.dir, now),
        "verified": hub.verification.last(),
    }))
}

fn key_values(keys: &Keyring) -> Vec<Value> {
    let stretches = key_stretches(keys).into_iter().zip(keys.keys());
    stretches
        .map(|(stretch, key)| {
            let mut value = json!(stretch);
            value["public_key"] = json!(key.to_string());
            value["signs_now"] = json!(key == keys.newest());
            value
        })
        .collect()
}

/// Signed heads that are kept where the settings say; what cannot be read is none.
fn heads(hub: &Hub) -> Vec<KnownHead> {
    let log_id = hub.log.log_id();
    let pushed = hub.coverage.pushed.as_deref();
    let pushed = pushed.and_then(|to| pushed::heads(to, Some(log_id)).ok());
    let backups = hub.coverage.elsewhere.heads(&*hub.log.options().fs, log_id);
    pushed.into_iter().flatten().chain(backups).collect()
}

/// Those of them that do not fit the log, of which `health` is told at once.
fn contradicting(hub: &Hub) -> std::io::Result<Vec<Contradiction>> {
    let found = hub.log.compare(&heads(hub))?;
    if let Some(gravest) = found.first() {
        hub.log.report_other_history(gravest);
    }
    Ok(found)
}

/// Where signed heads of the log are kept.
pub(super) fn reach(hub: &Hub) -> Reach {
    Reach {
        log_dir: hub.log.options().dir.clone(),
        backups: hub.coverage.elsewhere.backups.clone(),
        pushed: hub.coverage.pushed.clone(),
    }
}

/// The runs of records whose files are not there, though the manifest lists them: what is
/// noted of a file is no word about its bytes.
fn without_files(hub: &Hub, manifest: &Manifest) -> Vec<(u64, u64, String)> {
    let options = hub.log.options();
    let is_gone = |name: &str| {
        let found = options.fs.entry(&options.dir.join(name));
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let stored = manifest.segments.iter().filter(|segment| segment.is_stored());
    // One that is being compressed is there under its other name.
    stored
        .filter(|it| {
            is_gone(&it.file) && is_gone(&format!("{}.gz", it.file.trim_end_matches(".gz")))
        })
        .map(|it| (it.first_seq, it.end_seq(), format!("{} is not there", it.file)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(known: &Known) -> Vec<(u64, u64, Standing)> {
        let all = runs(known);
        let mut next = 0;
        for run in &all {
            assert_eq!(run.first_seq, next, "no gap, none twice: {all:?}");
            next = run.end_seq;
        }
        assert_eq!(next, known.next);
        all.into_iter().map(|run| (run.first_seq, run.end_seq, run.state)).collect()
    }

    #[test]
    fn runs_follow_each_other_from_the_first_record_to_the_last() {
        use Standing::{Anchored, Missing, Removed, Signed, Unsigned};
        let hole = |first, end| (first, end, "damaged".to_owned());
        let known = |holes| Known { begin: 10, next: 100, signed: 90, anchored: 50, holes };
        let plain = [(0, 10, Removed), (10, 50, Anchored), (50, 90, Signed), (90, 100, Unsigned)];
        assert_eq!(told(&known(vec![])), plain);
        assert_eq!(
            told(&known(vec![hole(20, 30), hole(60, 61)])),
            [
                (0, 10, Removed),
                (10, 20, Anchored),
                (20, 30, Missing),
                (30, 50, Anchored),
                (50, 60, Signed),
                (60, 61, Missing),
                (61, 90, Signed),
                (90, 100, Unsigned),
            ]
        );
        assert_eq!(told(&Known { begin: 0, next: 0, signed: 0, anchored: 0, holes: vec![] }), []);
        // What cannot be does not make it fail either.
        told(&known(vec![hole(0, 20), hole(15, 500)]));
        told(&Known { begin: 200, next: 200, signed: 5, anchored: 900, holes: vec![] });
    }
}
