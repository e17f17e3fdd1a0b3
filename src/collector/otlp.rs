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

use super::accept;
use super::gate::{self, Caller};
use super::ingest::{Ingest, mapping};
use super::intake::{Intake, REQUEST_BYTES, Why, cut, guest, peer, room, status_of};
use super::reply::{App, error, with_retry_after};
use super::upload::Upload;
use crate::audit::EventError;
use crate::mapping::otlp::{Encoding, LogError, Logs, response, status};

/// A body is there as a whole; exporters send far less.
const MAX_BODY: usize = 4 << 20;
/// What reading it takes, in bodies.
const COPIES: usize = 6;
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
        let mapping = mapping(hub, NAME, peer)?;
        let (coding, share) = room(hub, &parts.headers, (guest, peer), REQUEST_BYTES).await?;
        Ok((encoding, mapping, coding, share))
    };
    let (response, is_cut) = match begun.await {
        Err(refused) => (*refused, true),
        Ok((encoding, mapping, coding, share)) => {
            let intake = Intake::new(hub, &caller, guest, (share, coding.bytes()));
            let mut ingest = Ingest::new(intake, &mapping);
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
    while let Some(part) = upload.next().await.map_err(|why| cut(hub, why))? {
        body.extend_from_slice(&part);
        ingest.intake.hold_bytes(COPIES * body.capacity()).await?;
    }
    ingest.intake.may()?;
    let broken = |reason: String| Why::new(StatusCode::BAD_REQUEST, "malformed", reason);
    // The whole of it is looked at before anything is taken: half a request is none.
    let max_details = ingest.max_details();
    for log in Logs::new(&body, encoding, 0).map_err(broken)? {
        if let Err(LogError::Broken(reason)) = log {
            return Err(broken(reason));
        }
    }
    for log in Logs::new(&body, encoding, max_details).map_err(broken)? {
        match log {
            Ok(log) => ingest.object(log.as_bytes()).await?,
            Err(LogError::TooLarge(actual)) => {
                let error = EventError::DetailsTooLarge { limit: max_details, actual };
                ingest.intake.refuse(error).await?;
            }
            Err(LogError::Broken(reason)) => return Err(broken(reason)),
        }
        // Others get their turn.
        tokio::task::yield_now().await;
    }
    ingest.intake.submit().await
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
