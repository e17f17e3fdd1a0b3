//! `/` and `OPTIONS`: what there is to ask, for whoever looks, and that somebody is there.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::accept::{self, Page};
use super::reply::answer;
use super::routes;

/// An event, as it can be tried.
const TRY: &str =
    r#"curl --json '{"event_type":"login","actor":"alice"}' http://HOST:PORT/v1/events"#;

pub(super) async fn page(headers: HeaderMap) -> Response {
    match accept::wanted(&headers, accept::PAGE) {
        Page::Html => super::page::index(&headers),
        Page::Json => answer(StatusCode::OK, &routes::document()),
        Page::Text => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (plain, text()).into_response()
        }
    }
}

/// docs/openapi.yaml.
const OPENAPI: &str = include_str!("../../docs/openapi.yaml");

/// The interface, as an OpenAPI document.
pub(super) async fn openapi() -> Response {
    // RFC 9512.
    ([(header::CONTENT_TYPE, "application/yaml")], OPENAPI).into_response()
}

fn text() -> String {
    let text = format!("auditctl: the collector of an audit log\n\n{}", routes::listing());
    text + &format!(
        "\nTry it:\n  {TRY}\n\ndocs/access.md and `auditctl token --help` say who may do what.\n"
    )
}

/// That the collector is there, and which methods the path has. It says nothing of how
/// things are: `GET /health` does.
pub(super) async fn there(request: Request) -> Response {
    debug_assert_eq!(request.method(), Method::OPTIONS);
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(methods) = HeaderValue::from_str(&routes::allowed(request.uri().path())) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}
