//! Queries, for the socket and for HTTP: who may ask, how many at once, and the
//! record of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::Hub;
use super::budget::{NoRoom, Share};
use super::followed::Followed;
pub(super) use super::reader::Reader;
use super::seats::Guest;
use crate::audit::RecordError;
use crate::audit::read::error::ReadError;
pub(super) use crate::audit::read::query::Request as Asked;
use crate::audit::read::query::{Answer, Found, Question, Request, RequestError};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::write::own::Queried;

/// Queries that run at the same time; others wait for their turn.
pub(super) const AT_ONCE: usize = 4;
/// What a query and its answer take while it is made: a page, its records as JSON, and
/// the copy for the cache. The blocks that are read belong to the threads that read
/// them.
const QUERY_BYTES: usize = 8 << 20;
/// The same for groups, of which there are `max_memory_events` at most, and for a page of
/// small records as events for a SIEM.
const GROUPS_BYTES: usize = 16 << 20;

/// What the answer to a request takes while it is made.
pub(super) fn room(request: &Request, is_view: bool) -> usize {
    let has_groups = request.group_by.is_some() || !request.by.is_empty();
    if is_view || has_groups { GROUPS_BYTES } else { QUERY_BYTES }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// What was asked cannot be understood.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The log cannot be read.
    #[error(transparent)]
    Query(#[from] ReadError),
    /// The query could not be recorded, so it is not answered.
    #[error("the query cannot be recorded: {0}")]
    Unrecorded(RecordError),
    /// Others' requests and answers fill the memory that there is for them.
    #[error("{}", super::intake::NO_ROOM)]
    NoRoom,
    /// Something that cannot be.
    #[error("{0}")]
    Internal(String),
}

impl Refused {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "usage",
            Self::Query(_) => "query",
            Self::Unrecorded(_) => "unavailable",
            Self::NoRoom => "busy",
            Self::Internal(_) => "internal",
        }
    }
}

/// An answer, with what it holds of the budget.
pub(super) struct Answered {
    pub(super) question: Question,
    pub(super) answer: Answer,
    pub(super) share: Share,
}

/// What is read, in the record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What a query asks for.
    Query,
    /// A record with its neighbours.
    Record,
    /// The proof of a record.
    Proof,
}

impl Reading {
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Query => None,
            Self::Record => Some("record"),
            Self::Proof => Some("proof"),
        }
    }
}

/// Answers a request, which takes so many `bytes` of the budget.
pub(super) async fn answer(
    hub: Arc<Hub>,
    (request, bytes): (Request, usize),
    reader: Reader,
) -> Result<Answered, Refused> {
    let reading = Reading::Query;
    let lane = request.is_summary().then(|| Arc::clone(&hub.summaries));
    in_lane(hub, (bytes, reader.guest), lane, move |hub, share, asker| {
        let question = request.question(hub.log.options().clock.now())?;
        let goes_on = |followed: &Arc<Followed>| followed.goes_on(&request, &question.query);
        let is_known = reader.followed.as_ref().is_some_and(goes_on);
        let answer = hub.log.query_watched(&question.query, asker)?;
        if !is_known {
            record(hub, &reader, reading, (&question, found(&answer)))?;
        }
        if let Some(followed) = &reader.followed {
            followed.answered(&request, &question.query, &answer);
        }
        Ok(Answered { question, answer, share })
    })
    .await
}

/// Has something read in its turn, by a thread that may wait.
pub(super) async fn in_turn<T: Send + 'static>(
    hub: Arc<Hub>,
    bytes: usize,
    guest: Guest,
    read: impl FnOnce(&Hub, Share) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    in_lane(hub, (bytes, guest), None, |hub, share, _| read(hub, share)).await
}

/// Whoever waits for an answer, as the thread sees them that makes it.
#[derive(Clone, Debug, Default)]
struct Asker(Arc<AtomicBool>);

impl Watch for Asker {
    fn stage(&self, _: Stage, _: u64) {}

    fn advance(&self, _: u64) {}

    /// Has hung up: what is read is for nobody.
    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits for it, until this is dropped.
struct Waits(Asker);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The same for what takes long and is soon left alone: it has so many turns as its lane has
/// places, and the others are for others.
async fn in_lane<T: Send + 'static>(
    hub: Arc<Hub>,
    (bytes, guest): (usize, Guest),
    lane: Option<Arc<Semaphore>>,
    read: impl FnOnce(&Hub, Share, &Asker) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let internal = |error: &dyn std::fmt::Display| Refused::Internal(error.to_string());
    // Before the turn: who has no room keeps nobody from one.
    let share = hub.budget.take(guest, bytes, hub.limits.read).await;
    let share = share.map_err(|NoRoom| Refused::NoRoom)?;
    let place = match lane {
        None => None,
        Some(lane) => match tokio::time::timeout(hub.limits.read, lane.acquire_owned()).await {
            Ok(place) => Some(place.map_err(|error| internal(&error))?),
            Err(_) => return Err(Refused::NoRoom),
        },
    };
    let turn = Arc::clone(&hub.queries).acquire_owned().await.map_err(|error| internal(&error))?;
    // Reads files, and may wait for the writer. Turn and share go along: who hangs up begins
    // no other one before this one has seen that, and ended.
    let asker = Asker::default();
    let waits = Waits(asker.clone());
    let done = tokio::task::spawn_blocking(move || {
        let done = read(&hub, share, &asker);
        drop((turn, place));
        done
    });
    let done = done.await;
    drop(waits);
    done.map_err(|error| internal(&error))?
}

/// How many records an answer is made of.
pub(super) fn found(answer: &Answer) -> u64 {
    match &answer.found {
        Found::Records(lines) => lines.len() as u64,
        Found::Count(records) => *records,
        Found::Groups(groups) => groups.records(),
        Found::Summary(summary) => summary.records,
    }
}

/// Records that somebody read that, if reads are recorded. Nobody sees an answer that the
/// log does not know of.
pub(super) fn record(
    hub: &Hub,
    reader: &Reader,
    reading: Reading,
    (question, records): (&Question, u64),
) -> Result<(), Refused> {
    if !hub.audit_reads {
        return Ok(());
    }
    let origin = &reader.origin;
    let queried = Queried {
        via: origin.via.as_str().to_owned(),
        what: reading.as_str().map(str::to_owned),
        uid: origin.uid,
        user: reader.user.clone(),
        pid: origin.pid,
        token: origin.token.clone(),
        peer: origin.peer.clone(),
        query: question.clone(),
        records,
    };
    hub.log.record_query(queried).wait_durable().map(drop).map_err(Refused::Unrecorded)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::{AuditLog, Options};
    use crate::collector::harness::Harness;

    #[test]
    fn who_hangs_up_ends_what_is_read_for_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = AuditLog::open(Options::new(dir.path())).expect("opened");
        let harness = Harness::new(log, None).expect("a collector");
        let (sender, ended) = crossbeam_channel::bounded(2);
        harness.block_on(|hub| async move {
            let read = move |_: &Hub, _: Share, asker: &Asker| {
                sender.send("begun").expect("somebody looks");
                while !asker.interrupted() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                sender.send("ended").expect("somebody looks");
                Ok(())
            };
            let asked = in_lane(Arc::clone(&hub), (1, Guest::Here), None, read);
            let gone = tokio::time::timeout(Duration::from_millis(50), asked).await;
            assert!(gone.is_err(), "nobody waits any more");
            // Its turn is another's.
            let turn = hub.queries.acquire_many(AT_ONCE as u32).await;
            drop(turn.expect("all turns"));
        });
        assert_eq!(ended.iter().collect::<Vec<_>>(), ["begun", "ended"]);
    }

    #[test]
    fn a_query_that_nobody_wants_any_more_reads_no_further() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = AuditLog::open(Options::new(dir.path())).expect("opened");
        let asked = Asked { buckets: Some(3), ..Asked::default() };
        let question = asked.question(log.options().clock.now()).expect("a question");
        let gone = Asker::default();
        drop(Waits(gone.clone()));
        let answer = log.query_watched(&question.query, &gone);
        assert!(matches!(answer, Err(ReadError::Interrupted)), "{answer:?}");
        // Nothing of it is kept: who asks again gets all of it.
        let answer = log.query_watched(&question.query, &Asker::default()).expect("an answer");
        assert!(found(&answer) > 0);
    }
}
