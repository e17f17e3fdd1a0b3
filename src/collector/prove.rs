//! `GET /v1/proof/{seq}`: a record with its proof, as `auditctl prove` writes it. It reveals
//! the record, so it is asked for and recorded like a query.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::budget::charged;
use super::gate::{Caller, misdirected};
use super::intake::{guest, peer};
use super::query::{self, Asked, Reader, Reading, Refused};
use super::question::refused_query;
use super::reply::{App, error, with_retry_after};
use super::{Hub, gate};
use crate::access::Right;
use crate::audit::read::verify::{ProofDocument, ProveError, TlogProof, prove};

/// The writer signs what it has within a second.
const SIGNED_SOON: Duration = Duration::from_secs(1);
/// A proof takes a view of the log, the active segment's hashes, and the record.
const PROOF_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Tlog,
}

pub(super) async fn get_proof(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    // As it is written: whatever is encoded in it is no plain seq.
    let seq = request.uri().path().rsplit('/').next().unwrap_or_default();
    let asked = wanted(seq, request.uri().query().unwrap_or_default());
    let (seq, form) = match asked {
        Ok(asked) => asked,
        Err(reason) => {
            misdirected(&app.hub, peer(&request), "a proof that cannot be asked for so");
            return error(StatusCode::BAD_REQUEST, "usage", &reason);
        }
    };
    let reader = caller.reader(guest(&request));
    let guest = reader.guest;
    let asked = query::in_turn(Arc::clone(&app.hub), PROOF_BYTES, guest, move |hub, share| {
        answer(hub, seq, &reader).map(|proven| (proven, share))
    });
    let (document, share) = match asked.await {
        Ok((Ok(document), share)) => (document, share),
        Ok((Err(why), _)) => return no_proof(&app.hub, seq, &why),
        Err(refused) => return refused_query(&app.hub, &refused),
    };
    // It may have taken long.
    if let Err(ended) = gate::still(&app.hub, &caller, Right::Query) {
        return error(ended.status, ended.kind, ended.message);
    }
    let (kind, text) = match form {
        Form::Json => ("application/json", document.encode() + "\n"),
        Form::Tlog => ("text/plain; charset=utf-8", TlogProof::from(&document).encode()),
    };
    let mut response = Body::from(charged(text.into_bytes(), share)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The proof, or why there is none; nobody sees one that the log does not know of.
fn answer(
    hub: &Hub,
    seq: u64,
    reader: &Reader,
) -> Result<Result<ProofDocument, ProveError>, Refused> {
    let options = hub.log.options();
    let document = match prove(&options.fs, &options.dir, seq) {
        Ok(document) => document,
        Err(why) => return Ok(Err(why)),
    };
    let asked = Asked { seq: Some(seq.to_string()), limit: Some(0), ..Asked::default() };
    let question = asked.question(options.clock.now())?;
    query::record(hub, reader, Reading::Proof, (&question, 1))?;
    Ok(Ok(document))
}

/// Which record, and in which form.
fn wanted(seq: &str, query: &str) -> Result<(u64, Form), String> {
    let plain = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
    let seq = seq.parse().ok().filter(|_| plain && (seq == "0" || !seq.starts_with('0')));
    let seq = seq.ok_or_else(|| "a record's seq is expected: /v1/proof/42".to_owned())?;
    match query {
        "" | "format=json" => Ok((seq, Form::Json)),
        "format=tlog-proof" => Ok((seq, Form::Tlog)),
        _ => Err("format=json or format=tlog-proof is expected, and nothing else".to_owned()),
    }
}

fn no_proof(hub: &Hub, seq: u64, refused: &ProveError) -> Response {
    let has = hub.log.acked_seq();
    let (status, kind) = match refused {
        ProveError::NotYet { .. } if seq >= has => {
            let text = format!("there is no record {seq}: the log has {has} records");
            return error(StatusCode::NOT_FOUND, "no_record", &text);
        }
        ProveError::NotYet { .. } => {
            let response =
                error(StatusCode::SERVICE_UNAVAILABLE, "not_signed", &refused.to_string());
            return with_retry_after(response, Some(SIGNED_SOON));
        }
        ProveError::Removed { .. } => (StatusCode::GONE, "removed"),
        ProveError::GivenUp { .. } => (StatusCode::GONE, "given_up"),
        ProveError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
        ProveError::Checkpoint(_) | ProveError::Unsigned => {
            (StatusCode::INTERNAL_SERVER_ERROR, "bad_signature")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "query"),
    };
    error(status, kind, &refused.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_is_plain_digits() {
        assert_eq!(wanted("42", ""), Ok((42, Form::Json)));
        assert_eq!(wanted("0", "format=tlog-proof"), Ok((0, Form::Tlog)));
        for (seq, query) in [
            ("", ""),
            ("-1", ""),
            ("+1", ""),
            ("042", ""),
            ("1e3", ""),
            ("18446744073709551616", ""),
            ("42", "format=html"),
            ("42", "x=1"),
        ] {
            assert!(wanted(seq, query).is_err(), "{seq} {query}");
        }
    }
}
