//! `POST /v1/logs`: OTLP over HTTP, as protobuf or JSON.
//!
//! What is refused for good is counted in `partialSuccess`, and the sender does not send it
//! again. What may be taken later is answered with 429 or 503 and when to come again; then
//! the sender repeats the whole request.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Hub;
use super::accept;
use super::gate::{self, Caller};
use super::ingest::{Ingest, mapping};
use super::intake::{Intake, REQUEST_BYTES, Why, cut, guest, no_key, peer, room, status_of};
use super::reply::{App, error, with_retry_after};
use super::upload::{Cut, Upload};
use crate::audit::EventError;
use crate::mapping::otlp::{
    Encoding, LogError, Logs, MAX_COST, MAX_VALUES, VALUE_BYTES, response, status,
};

/// A body is there as a whole; exporters send far less.
const MAX_BODY: usize = 4 << 20;
/// What reading it takes, in bodies.
const COPIES: usize = 6;
/// After so many records it is asked whether the caller still may.
const ASK_AFTER: usize = 256;
/// The mapping's name.
const NAME: &str = "otlp";

pub(super) async fn post_logs(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (guest, peer) = (guest(&request), peer(&request));
    let (parts, body) = request.into_parts();
    let hub = &*app.hub;
    let max = hub.max_body.min(MAX_BODY);
    let mut upload = Upload::new(body, max, hub.limits.read, hub.stopping.clone());
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_of = |wanted| media.is_some_and(|media| accept::is_of(media, wanted));
    let encoding = if is_of("application/x-protobuf") {
        Some(Encoding::Protobuf)
    } else if is_of("application/json") {
        Some(Encoding::Json)
    } else {
        None
    };
    let begun = async {
        let Some(encoding) = encoding else {
            gate::misdirected(hub, peer, "OTLP whose Content-Type is neither protobuf nor JSON");
            let text = "OTLP has the Content-Type application/x-protobuf or application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Box::new(error(status, "unsupported_media_type", text)));
        };
        no_key(&parts.headers)?;
        let mapping = mapping(hub, NAME, peer)?;
        let (coding, share) = room(hub, &parts.headers, (guest, peer), REQUEST_BYTES).await?;
        Ok((encoding, mapping, coding, share))
    };
    let (response, is_cut) = match begun.await {
        Err(refused) => (*refused, true),
        Ok((encoding, mapping, coding, share)) => {
            let intake = Intake::new(hub, &caller, guest, (share, coding.bytes()));
            let mut ingest = Ingest::new(intake, &mapping);
            ingest.intake.tally.count_only();
            let done = match upload.unpack(coding) {
                Err(why) => Err(cut(hub, why)),
                Ok(()) => logs(&mut ingest, &mut upload, encoding).await,
            };
            let why = done.err();
            let is_cut = why.is_some();
            ingest.intake.settle().await;
            ingest.intake.tell_when();
            (answer(ingest.intake, why, encoding), is_cut)
        }
    };
    if is_cut {
        upload.drain(parts.headers.contains_key(header::EXPECT)).await;
    }
    response
}

async fn logs(ingest: &mut Ingest<'_>, upload: &mut Upload, encoding: Encoding) -> Result<(), Why> {
    let hub = ingest.intake.hub;
    let mut body = Vec::new();
    while let Some(part) = upload.next().await.map_err(|why| too_much(hub, why))? {
        body.extend_from_slice(&part);
        ingest.intake.hold_bytes(COPIES * body.capacity()).await?;
    }
    ingest.intake.may()?;
    let broken = |reason: String| Why::new(StatusCode::BAD_REQUEST, "malformed", reason);
    // The whole of its frame is looked at before anything is taken: half a request is none.
    let max_details = ingest.max_details();
    let logs = || Logs::new(&body, encoding, max_details);
    let cost = logs().and_then(Logs::measure).map_err(broken)?;
    if cost > MAX_COST {
        let text = "with its resource in each of its records the request is too large; send fewer \
                    records in a request, or less in the resource";
        return Err(Why::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
    }
    let values = VALUE_BYTES * MAX_VALUES.min(body.len() / 2);
    ingest.intake.hold_bytes(COPIES * body.capacity() + values).await?;
    for (nth, log) in logs().map_err(broken)?.enumerate() {
        match log {
            Ok(log) => ingest.object(log.as_bytes()).await?,
            Err(LogError::TooLarge(actual)) => {
                let error = EventError::DetailsTooLarge { limit: max_details, actual };
                ingest.intake.refuse(error).await?;
            }
            Err(LogError::Bad(reason)) => {
                ingest.intake.refuse(EventError::Malformed(reason)).await?;
            }
            Err(LogError::Broken(reason)) => return Err(broken(reason)),
        }
        if nth % ASK_AFTER == 0 {
            ingest.intake.may()?;
        }
        // Others get their turn.
        tokio::task::yield_now().await;
    }
    ingest.intake.submit().await
}

/// Why nothing more of a body is read.
fn too_much(hub: &Hub, why: Cut) -> Why {
    if why == Cut::TooLarge && hub.max_body > MAX_BODY {
        let text =
            format!("the body is longer than {MAX_BODY} bytes; send fewer records in a request");
        return Why { message: text, ..cut(hub, why) };
    }
    cut(hub, why)
}

fn answer(intake: Intake<'_>, why: Option<Why>, encoding: Encoding) -> Response {
    let tally = &intake.tally;
    let rejected = tally.lines() - tally.recorded();
    let first = tally.first_error().map(|error| error.to_string());
    if let Some(why) = why {
        return said(why.status, status(encoding, &why.message), encoding, why.retry_after);
    }
    if let Some(refused) = tally.for_now() {
        let text = status(encoding, &refused.to_string());
        let retry = tally.retry_after().or(Some(super::intake::ROOM_RETRY));
        return said(status_of(&refused), text, encoding, retry);
    }
    let body = response(encoding, rejected, first.as_deref());
    said(StatusCode::OK, body, encoding, None)
}

fn said(
    status: StatusCode,
    body: Vec<u8>,
    encoding: Encoding,
    retry: Option<std::time::Duration>,
) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    let kind = match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    with_retry_after(response, retry)
}
