//! `GET /v1/records/{seq}`: a record as it is stored, and its neighbours.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::access::Right;
use crate::audit::read::query::{Answer, Lines, Order, Question, Want};
use crate::collector::Hub;
use crate::collector::budget::charged;
use crate::collector::gate::{self, Caller, misdirected};
use crate::collector::intake::{guest, peer};
use crate::collector::protocol;
use crate::collector::query::{self, Asked, Reader, Reading, Refused};
use crate::collector::question::refused_query;
use crate::collector::reply::{App, answer, error};

/// Neighbours on each side, unless it is said how many.
const AROUND: u64 = 5;
const MAX_AROUND: u64 = 50;

/// What may be said of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    around: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    record: Option<&'a RawValue>,
    /// Both in the order of the log.
    before: Vec<&'a RawValue>,
    after: Vec<&'a RawValue>,
    /// There are more of those that were asked for: they are large.
    before_cut: bool,
    after_cut: bool,
    /// The records that the log has: from, and up to but without.
    begin: u64,
    end: u64,
    log_id: &'a str,
    epoch: u32,
}

/// A record that is there, or why it is not.
enum Looked {
    /// What comes before it, the record itself, and what comes after it.
    Found(Box<[Answer; 3]>),
    Gone {
        reason: &'static str,
        text: String,
    },
}

pub(in crate::collector) async fn get_record(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(seq): Path<String>,
    request: Request,
) -> Response {
    let (seq, around) = match asked(&seq, &request) {
        Ok(asked) => asked,
        Err(reason) => {
            misdirected(&app.hub, peer(&request), "a record that cannot be read");
            return error(StatusCode::BAD_REQUEST, "usage", &reason);
        }
    };
    let reader = caller.reader(guest(&request));
    let bytes = query::room(&Asked::default(), false);
    let guest = reader.guest;
    let looked = query::in_turn(Arc::clone(&app.hub), bytes, guest, move |hub, share| {
        look(hub, &reader, seq, around).map(|looked| (looked, share))
    });
    let (looked, share) = match looked.await {
        Ok(looked) => looked,
        Err(refused) => return refused_query(&app.hub, &refused),
    };
    // It may have taken long.
    if let Err(ended) = gate::still(&app.hub, &caller, Right::Query) {
        return error(ended.status, ended.kind, ended.message);
    }
    let found = match looked {
        Looked::Found(found) => found,
        Looked::Gone { reason, text } => {
            let mut value = protocol::error_of("not_found", &text);
            value["error"]["reason"] = json!(reason);
            return answer(StatusCode::NOT_FOUND, &value);
        }
    };
    let [before, record, after] = &*found;
    match document(before, record, after) {
        Ok(text) => {
            let body = charged((text + "\n").into_bytes(), share);
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}

fn asked(seq: &str, request: &Request) -> Result<(u64, u64), String> {
    let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
    let number = seq.parse::<u64>().ok().filter(|_| digits);
    let number = number.ok_or("seq: a record's number is expected, such as /v1/records/42")?;
    let Query(Asking { around }) =
        Query::try_from_uri(request.uri()).map_err(|error| error.to_string())?;
    match around.unwrap_or(AROUND) {
        around @ 0..=MAX_AROUND => Ok((number, around)),
        _ => Err(format!("around: at most {MAX_AROUND}")),
    }
}

/// Reads all three, and has recorded that they were.
fn look(hub: &Hub, reader: &Reader, seq: u64, around: u64) -> Result<Looked, Refused> {
    let ask = |range, order| {
        let mut question = about(hub, range)?;
        question.query.want = Want::Records { order, limit: u64::MAX };
        hub.log.query(&question.query).map_err(Refused::from)
    };
    let end = seq.saturating_add(1);
    let record = ask((seq, end), Order::Oldest)?;
    if query::found(&record) == 0 {
        return Ok(gone(seq, &record));
    }
    let before = ask((seq.saturating_sub(around), seq), Order::Newest)?;
    let after = ask((end, end.saturating_add(around)), Order::Oldest)?;
    let read = [&before, &record, &after].into_iter().map(query::found).sum();
    let around = (seq.saturating_sub(around), end.saturating_add(around));
    query::record(hub, reader, Reading::Record, (&about(hub, around)?, read))?;
    Ok(Looked::Found(Box::new([before, record, after])))
}

/// The question for all records from, and up to but without.
fn about(hub: &Hub, (from, to): (u64, u64)) -> Result<Question, Refused> {
    let asked = Asked { seq: Some(format!("{from}..{to}")), limit: Some(0), ..Asked::default() };
    Ok(asked.question(hub.log.options().clock.now())?)
}

/// Why a record is not there.
fn gone(seq: u64, answer: &Answer) -> Looked {
    let (reason, text) = if seq >= answer.end && answer.missing.is_none() {
        ("not_yet", format!("there is no record {seq} yet: the next one is {}", answer.end))
    } else if seq < answer.begin {
        (
            "removed",
            format!("record {seq} was removed by retention; the first one is {}", answer.begin),
        )
    } else {
        let why = answer.given_up.first().map(|hole| hole.reason.clone());
        let why = why.or_else(|| answer.damaged.first().cloned());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        ("lost", format!("record {seq} cannot be read{why}; `auditctl verify` says more"))
    };
    Looked::Gone { reason, text }
}

fn document(before: &Answer, record: &Answer, after: &Answer) -> serde_json::Result<String> {
    let texts = |answer: &Answer| answer.lines().map_or(Ok(Vec::new()), Lines::to_json);
    let (mut before_texts, texts_of_it, after_texts) =
        (texts(before)?, texts(record)?, texts(after)?);
    before_texts.reverse();
    serde_json::to_string(&Document {
        record: texts_of_it.first().map(|text| &**text),
        before: before_texts.iter().map(|text| &**text).collect(),
        after: after_texts.iter().map(|text| &**text).collect(),
        before_cut: before.more,
        after_cut: after.more,
        begin: record.begin,
        end: record.end.max(after.end),
        log_id: &record.history.log_id,
        epoch: record.history.epoch,
    })
}
