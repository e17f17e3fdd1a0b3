//! Queries, for the socket and for HTTP: who may ask, how many at once, and the
//! record of it.

use std::sync::Arc;

use super::Hub;
use super::budget::{NoRoom, Share};
use super::seats::Guest;
use crate::audit::read::error::ReadError;
pub(super) use crate::audit::read::query::Request as Asked;
use crate::audit::read::query::{Answer, Found, Question, Request, RequestError};
use crate::audit::write::own::Queried;
use crate::audit::{Origin, RecordError};

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
    if is_view || request.group_by.is_some() { GROUPS_BYTES } else { QUERY_BYTES }
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

/// Answers; `reader` is who asks, by the system's word, and whose share of the budget
/// it takes from, so many `bytes`. With `recorded` the log knows of it already.
pub(super) async fn answer(
    hub: Arc<Hub>,
    (request, bytes): (Request, usize),
    (reader, guest): (Origin, Guest),
    recorded: bool,
) -> Result<Answered, Refused> {
    let internal = |error: &dyn std::fmt::Display| Refused::Internal(error.to_string());
    // Before the turn: who has no room keeps nobody from one.
    let share = hub.budget.take(guest, bytes, hub.limits.read).await;
    let share = share.map_err(|NoRoom| Refused::NoRoom)?;
    let asked = Arc::clone(&hub);
    let turn = Arc::clone(&hub.queries).acquire_owned().await.map_err(|error| internal(&error))?;
    // Reads files, and may wait for the writer. Turn and share go along: who hangs up
    // does not end it, and begins no other beside it.
    let done = tokio::task::spawn_blocking(move || {
        let answered = ask(&asked, &request, &reader, recorded);
        drop(turn);
        answered.map(|(question, answer)| Answered { question, answer, share })
    });
    done.await.map_err(|error| internal(&error))?
}

fn ask(
    hub: &Hub,
    request: &Request,
    reader: &Origin,
    recorded: bool,
) -> Result<(Question, Answer), Refused> {
    let question = request.question(hub.log.options().clock.now())?;
    let answer = hub.log.query(&question.query)?;
    if !recorded {
        let records = match &answer.found {
            Found::Records(lines) => lines.len() as u64,
            Found::Count(records) => *records,
            Found::Groups(groups) => groups.records(),
        };
        note(hub, &question, reader, records)?;
    }
    Ok((question, answer))
}

/// Records that somebody read what a query would have shown.
pub(super) fn record(
    hub: &Hub,
    request: &Request,
    reader: &Origin,
    records: u64,
) -> Result<(), Refused> {
    let question = request.question(hub.log.options().clock.now())?;
    note(hub, &question, reader, records)
}

/// Nobody sees an answer that the log does not know of.
fn note(hub: &Hub, question: &Question, reader: &Origin, records: u64) -> Result<(), Refused> {
    if !hub.audit_reads {
        return Ok(());
    }
    let queried = Queried {
        via: reader.via.as_str().to_owned(),
        uid: reader.uid,
        pid: reader.pid,
        token: reader.token.clone(),
        peer: reader.peer.clone(),
        query: question.clone(),
        records,
    };
    let recorded = hub.log.record_query(queried).wait_durable();
    recorded.map(drop).map_err(Refused::Unrecorded)
}
