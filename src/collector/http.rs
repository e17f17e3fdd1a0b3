//! HTTP: for senders without a Unix socket, for probes and for Prometheus. How
//! connections come to it is in [`front`](super::front).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};

use super::gate::Caller;
use super::query::Refused;
use super::reply::{App, answer, error, with_retry_after};
use super::{HealthFormat, Hub, gate, protocol, query};
use crate::audit::security::SecurityKind;
use crate::audit::{Batch, Durability, ParseMode, RecordError};

/// Health as JSON is a few KB.
const MAX_HEALTH_BYTES: usize = 1 << 20;

pub(super) fn router(hub: Arc<Hub>, loopback: bool) -> Router {
    let max_body = hub.max_body;
    let app = App { hub, loopback };
    Router::new()
        .route("/v1/events", post(post_events).get(get_events))
        .route("/v1/checkpoint", get(checkpoint))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(async || error(StatusCode::NOT_FOUND, "not_found", "no such path"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "method", "not with this method")
        })
        .layer(middleware::from_fn_with_state(app.clone(), gate::guard))
        .layer(DefaultBodyLimit::max(max_body))
        .with_state(app)
}

/// A query, its keys in the URL. NDJSON when that is asked for: the stored bytes.
async fn get_events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let request = match request_of(uri.query().unwrap_or_default()) {
        Ok(request) => request,
        Err(reason) => return error(StatusCode::BAD_REQUEST, "usage", &reason),
    };
    let top = request.top;
    let reader = caller.origin();
    let (query, found) = match query::answer(Arc::clone(&app.hub), request, reader, false).await {
        Ok(answered) => answered,
        Err(refused) => {
            let status = match &refused {
                Refused::Request(_) => StatusCode::BAD_REQUEST,
                Refused::Query(_) | Refused::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Refused::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            return error(status, refused.kind(), &refused.to_string());
        }
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let Some(lines) = found.lines()
        && accept.contains("application/x-ndjson")
    {
        let mut body = Vec::with_capacity(lines.bytes() + lines.len());
        for line in lines.iter() {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        let rest = found.rest(&query);
        let mut response = (StatusCode::OK, body).into_response();
        let kind = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(rest) = rest {
            let seq = format!("{}..{}", rest.filter.first_seq(), rest.filter.end_seq());
            if let Ok(value) = HeaderValue::from_str(&seq) {
                response.headers_mut().insert("auditctl-next-seq", value);
            }
        }
        return response;
    }
    match found.to_json(&query, top) {
        Ok(document) => {
            let mut response = (StatusCode::OK, document + "\n").into_response();
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}

/// `?type=login&actor=alice&limit=10`: keys that take several may be repeated.
fn request_of(text: &str) -> Result<crate::audit::query::Request, String> {
    let mut object = serde_json::Map::new();
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(
        &format!("/?{text}")
            .parse()
            .map_err(|error: axum::http::uri::InvalidUri| error.to_string())?,
    )
    .map_err(|error| error.to_string())?;
    for (key, value) in pairs.0 {
        let value = match &*key {
            "limit" | "top" => match value.parse::<u64>() {
                Ok(number) => json!(number),
                Err(_) => return Err(format!("{key}: a number is expected")),
            },
            "count" => match &*value {
                "" | "true" => json!(true),
                "false" => json!(false),
                _ => return Err("count: true or false is expected".to_owned()),
            },
            "since" | "until" | "seq" | "order" | "group_by" => json!(value),
            _ => {
                let values = object.entry(key).or_insert_with(|| json!([]));
                if let Value::Array(values) = values {
                    values.push(json!(value));
                }
                continue;
            }
        };
        if object.insert(key.clone(), value).is_some() {
            return Err(format!("{key}: only once"));
        }
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

async fn checkpoint(State(app): State<App>) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (plain, app.hub.log.checkpoint()).into_response()
}

async fn health(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if matches!(caller, Caller::Stranger) {
        return health_in_a_word(app).await;
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = if accept.contains("application/openmetrics-text") {
        HealthFormat::OpenMetrics
    } else if accept.contains("text/plain") {
        HealthFormat::Prometheus
    } else {
        HealthFormat::Json
    };
    rendered(app, format).await
}

/// For whoever may not know more: a load balancer, or anybody.
async fn health_in_a_word(app: App) -> Response {
    let response = rendered(app, HealthFormat::Json).await;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), MAX_HEALTH_BYTES).await;
    let whole: Option<Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let word = whole.map_or(Value::from("unknown"), |whole| whole["status"].clone());
    answer(status, &json!({ "status": word }))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let openmetrics = accept.contains("application/openmetrics-text");
    let format = if openmetrics { HealthFormat::OpenMetrics } else { HealthFormat::Prometheus };
    rendered(app, format).await
}

async fn rendered(app: App, format: HealthFormat) -> Response {
    let render = Arc::clone(&app.hub.health);
    match tokio::task::spawn_blocking(move || render(format)).await {
        Ok((status, content_type, body)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}

async fn post_events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let content_type =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let ndjson = media.eq_ignore_ascii_case("application/x-ndjson");
    if !ndjson && !media.eq_ignore_ascii_case("application/json") {
        // A form in a web page can send neither unasked.
        return error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Content-Type: application/json for one event, application/x-ndjson for an event a line",
        );
    }
    let read = axum::body::to_bytes(body, app.hub.max_body);
    let body = match tokio::time::timeout(app.hub.limits.read, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            app.hub.log.security().report(SecurityKind::Oversize, None, "HTTP body too large");
            let text = format!("the body may have {} bytes", app.hub.max_body);
            return error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text);
        }
        Err(_) => {
            app.hub.log.security().report(SecurityKind::HostilePeer, None, "HTTP body too slow");
            return error(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long");
        }
    };
    // Waits for durability: not on a thread that serves others.
    let outcome =
        tokio::task::spawn_blocking(move || record_all(&app.hub, &caller, &body, ndjson)).await;
    match outcome {
        Ok(response) => response,
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}

fn record_all(hub: &Hub, caller: &Caller, body: &Bytes, ndjson: bool) -> Response {
    if !ndjson {
        return match record_lines(hub, caller, &[&body[..]]).pop() {
            Some(Ok(seq)) => answer(StatusCode::CREATED, &json!({ "seq": seq })),
            Some(Err(refused)) => refusal(&refused),
            None => error(StatusCode::BAD_REQUEST, "malformed", "no event"),
        };
    }
    let lines: Vec<&[u8]> = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return error(StatusCode::BAD_REQUEST, "malformed", "no event");
    }
    let outcomes = record_lines(hub, caller, &lines);
    let recorded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let results: Vec<Value> = outcomes
        .iter()
        .enumerate()
        .map(|(index, outcome)| match outcome {
            Ok(seq) => json!({ "seq": seq }),
            Err(refused) => {
                let mut value = protocol::error_value(refused);
                value["line"] = json!(index + 1);
                value
            }
        })
        .collect();
    let rejected = outcomes.len() - recorded;
    let first_error = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    let status = match first_error {
        Some(refused) if recorded == 0 => status_of(refused),
        _ => StatusCode::OK,
    };
    let value = json!({ "recorded": recorded, "rejected": rejected, "results": results });
    let retry_after = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.retry_after());
    with_retry_after(answer(status, &value), retry_after.max())
}

/// Prepares, submits and waits; an outcome for each line, in order.
fn record_lines(hub: &Hub, caller: &Caller, lines: &[&[u8]]) -> Vec<Result<u64, RecordError>> {
    let session = hub.log.session(&caller.origin(), caller.has_own_rate());
    let limit = || caller.bucket().map_or(Ok(()), |bucket| hub.log.limit_caller(bucket));
    let mut batch = Batch::new();
    let mut outcomes: Vec<Result<u64, RecordError>> = lines
        .iter()
        .map(|line| {
            limit()?;
            session.prepare(line, ParseMode::Strict, &mut batch).map(|()| 0)
        })
        .collect();
    let prepared: Vec<usize> =
        (0..outcomes.len()).filter(|index| outcomes[*index].is_ok()).collect();
    let mut next = 0;
    let begun = std::time::Instant::now();
    while !batch.is_empty() {
        match hub.log.try_submit(&mut batch) {
            Ok(taken) if taken.count > 0 => {
                for seq in taken.first_seq..taken.first_seq + taken.count as u64 {
                    outcomes[prepared[next]] = Ok(seq);
                    next += 1;
                }
                if hub.log.options().durability == Durability::Commit {
                    hub.log.request_ack(taken.first_seq + taken.count as u64);
                }
            }
            Ok(_) if begun.elapsed() < hub.log.options().overflow_timeout => {
                let _ = hub.log.wait_progress(hub.log.acked_seq(), Duration::from_millis(20));
            }
            outcome => {
                let refused = outcome.err().unwrap_or_else(|| {
                    hub.log.count_busy(batch.len() as u64);
                    RecordError::Busy { retry_after: Duration::from_millis(250) }
                });
                for index in &prepared[next..] {
                    outcomes[*index] = Err(refused.clone());
                }
                batch.clear();
            }
        }
    }
    let last = prepared[..next].last().and_then(|index| outcomes[*index].as_ref().ok().copied());
    wait_for(hub, last, &mut outcomes);
    outcomes
}

fn wait_for(hub: &Hub, last: Option<u64>, outcomes: &mut [Result<u64, RecordError>]) {
    let Some(last) = last else { return };
    while hub.log.acked_seq() <= last {
        let progress = hub.log.wait_progress(last, Duration::from_secs(1));
        let Some(trouble) = progress.trouble else { continue };
        let acked = progress.acked_seq;
        for outcome in outcomes.iter_mut() {
            if let Ok(seq) = *outcome
                && seq >= acked
            {
                *outcome = Err(match trouble.clone() {
                    RecordError::Unavailable { reason, retry_after, .. } => {
                        RecordError::Unavailable { seq, reason, retry_after }
                    }
                    other => other,
                });
            }
        }
        return;
    }
}

fn status_of(refused: &RecordError) -> StatusCode {
    match refused.kind() {
        "malformed" => StatusCode::BAD_REQUEST,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(refused: &RecordError) -> Response {
    let response = answer(status_of(refused), &protocol::error_value(refused));
    with_retry_after(response, refused.retry_after())
}
