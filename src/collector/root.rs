//! `/` and `OPTIONS`: what there is to ask, for whoever looks, and that somebody is there.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::accept::{self, Page};
use super::reply::answer;

/// Method, path, what for.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/v1/events",
        "record an event (application/json), or one a line (application/x-ndjson)",
    ),
    ("POST", "/v1/ingest/NAME", "record foreign events, by the mapping of that name"),
    ("POST", "/v1/logs", "record OpenTelemetry logs (OTLP)"),
    ("GET", "/v1/events", "query the records; needs a token"),
    ("GET", "/v1/checkpoint", "the newest signed checkpoint"),
    (
        "GET",
        "/health",
        "the health of the log: JSON, or Prometheus's text format if Accept asks \
                        for it",
    ),
    ("GET", "/metrics", "metrics for Prometheus"),
];

/// An event, as it can be tried.
const TRY: &str =
    r#"curl --json '{"event_type":"login","actor":"alice"}' http://HOST:PORT/v1/events"#;

pub(super) async fn page(headers: HeaderMap) -> Response {
    match accept::wanted(&headers, accept::PAGE) {
        Page::Json => answer(StatusCode::OK, &document()),
        Page::Text => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (plain, text()).into_response()
        }
    }
}

fn document() -> Value {
    let endpoints = ENDPOINTS
        .iter()
        .map(|(method, path, what)| json!({ "method": method, "path": path, "description": what }));
    json!({ "name": "auditctl", "endpoints": endpoints.collect::<Vec<_>>() })
}

fn text() -> String {
    let mut text = "auditctl: the collector of an audit log\n\n".to_owned();
    for (method, path, what) in ENDPOINTS {
        text += &format!("{method:5} {path:16} {what}\n");
    }
    text + &format!(
        "\nTry it:\n  {TRY}\n\ndocs/access.md and `auditctl token --help` say who may do what.\n"
    )
}

/// That the collector is there, and which methods the path has. It says nothing of how
/// things are: `GET /health` does.
pub(super) async fn there(request: Request) -> Response {
    let methods = match request.uri().path() {
        "/v1/events" => "GET, HEAD, OPTIONS, POST",
        path if path == "/v1/logs" || path.starts_with("/v1/ingest/") => "OPTIONS, POST",
        _ => "GET, HEAD, OPTIONS",
    };
    debug_assert_eq!(request.method(), Method::OPTIONS);
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
