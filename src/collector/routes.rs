//! What there is to ask over HTTP: one table, from which the router, the rights, the
//! methods that `OPTIONS` lists and the page at `/` follow. docs/openapi.yaml describes
//! each; a test compares them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::access::Right;

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Page,
    File,
    Status,
    Summary,
    Record,
    EndSession,
    Events,
    Records,
    Ingest,
    Logs,
    Checkpoint,
    Proof,
    Coverage,
    Verify,
    BeginVerify,
    Health,
    Metrics,
    OpenApi,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// Anybody who reaches the collector.
    ToAll,
    /// Whoever has this right; to anybody it says whether all is well, and no more.
    InAWord(Right),
    /// Whoever has this right.
    With(Right),
}

/// A method on a path. `GET` stands for `HEAD` as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static Method,
    /// As in an OpenAPI document: a part in braces stands for any one part.
    pub(super) path: &'static str,
    pub(super) endpoint: Endpoint,
    pub(super) open: Open,
    what: &'static str,
}

const fn route(
    method: &'static Method,
    path: &'static str,
    endpoint: Endpoint,
    open: Open,
    what: &'static str,
) -> Route {
    Route { method, path, endpoint, open, what }
}

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    route(
        &Method::POST,
        "/v1/events",
        Endpoint::Events,
        Open::With(Right::Write),
        "record an event or an array of them (application/json), or one a line \
         (application/x-ndjson)",
    ),
    route(
        &Method::GET,
        "/v1/events",
        Endpoint::Records,
        Open::With(Right::Query),
        "query the records; needs a token",
    ),
    route(
        &Method::GET,
        "/v1/records/{seq}",
        Endpoint::Record,
        Open::With(Right::Query),
        "a record and its neighbours; needs a token",
    ),
    route(
        &Method::GET,
        "/v1/summary",
        Endpoint::Summary,
        Open::With(Right::Query),
        "how many records there are, over time and of what; needs a token",
    ),
    route(
        &Method::POST,
        "/v1/ingest/{name}",
        Endpoint::Ingest,
        Open::With(Right::Write),
        "record foreign events, by the mapping of that name",
    ),
    route(
        &Method::POST,
        "/v1/logs",
        Endpoint::Logs,
        Open::With(Right::Write),
        "record OpenTelemetry logs (OTLP)",
    ),
    route(
        &Method::GET,
        "/v1/checkpoint",
        Endpoint::Checkpoint,
        Open::With(Right::Checkpoint),
        "the newest signed checkpoint",
    ),
    route(
        &Method::GET,
        "/v1/proof/{seq}",
        Endpoint::Proof,
        Open::With(Right::Query),
        "a record with its proof; needs a token",
    ),
    route(
        &Method::GET,
        "/v1/coverage",
        Endpoint::Coverage,
        Open::With(Right::Query),
        "which records are here, signed, held elsewhere, missing; needs a token",
    ),
    route(
        &Method::GET,
        "/v1/verify",
        Endpoint::Verify,
        Open::With(Right::Query),
        "how the verification goes, and what the last one found; needs a token",
    ),
    route(
        &Method::POST,
        "/v1/verify",
        Endpoint::BeginVerify,
        Open::With(Right::Query),
        "begin a verification of the whole log; needs a token",
    ),
    route(
        &Method::GET,
        "/v1/status",
        Endpoint::Status,
        Open::With(Right::Health),
        "how the log and its writer are: what the page shows",
    ),
    route(
        &Method::DELETE,
        "/v1/session",
        Endpoint::EndSession,
        Open::With(Right::Health),
        "end the session whose token is shown",
    ),
    route(
        &Method::GET,
        "/v1/openapi.yaml",
        Endpoint::OpenApi,
        Open::ToAll,
        "this interface as an OpenAPI document",
    ),
    route(
        &Method::GET,
        "/health",
        Endpoint::Health,
        Open::InAWord(Right::Health),
        "the health of the log: JSON, or Prometheus's text format if Accept asks for it",
    ),
    route(
        &Method::GET,
        "/metrics",
        Endpoint::Metrics,
        Open::With(Right::Health),
        "metrics for Prometheus",
    ),
    route(
        &Method::GET,
        "/",
        Endpoint::Page,
        Open::ToAll,
        "what there is to ask; the page for a browser",
    ),
    route(&Method::GET, "/page/{name}", Endpoint::File, Open::ToAll, "the page's files"),
];

/// Method and path of all routes, for who compares them with what is written elsewhere.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method.as_str(), route.path)).collect()
}

impl Route {
    /// The one that answers a request.
    pub(super) fn of(method: &Method, path: &str) -> Option<&'static Self> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        ROUTES.iter().find(|route| route.method == method && fits(route.path, path))
    }

    /// Whether it is one for programs.
    fn is_listed(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Page | Endpoint::File)
    }

    /// What a request needs that asks for it, if anything.
    pub(super) fn right(&self) -> Option<Right> {
        match self.open {
            Open::ToAll => None,
            Open::With(right) | Open::InAWord(right) => Some(right),
        }
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let mut wanted = pattern.split('/');
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part => {}
            (Some(wanted), Some(part)) if wanted.starts_with('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

/// The methods of a path, as `Allow` lists them.
pub(super) fn allowed(path: &str) -> String {
    let mut methods = vec!["OPTIONS"];
    for route in ROUTES.iter().filter(|route| fits(route.path, path)) {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.sort_unstable();
    methods.join(", ")
}

/// For programs that ask what there is.
pub(super) fn document() -> Value {
    let endpoints = ROUTES.iter().filter(|route| route.is_listed()).map(|route| {
        json!({
            "method": route.method.as_str(), "path": route.path, "description": route.what,
        })
    });
    json!({ "name": "auditctl", "endpoints": endpoints.collect::<Vec<_>>() })
}

/// For people.
pub(super) fn listing() -> String {
    let mut text = String::new();
    for route in ROUTES.iter().filter(|route| route.is_listed()) {
        text += &format!("{:6} {:17} {}\n", route.method.as_str(), route.path, route.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_its_route_part_by_part() {
        assert!(fits("/v1/events", "/v1/events") && fits("/", "/"));
        assert!(fits("/v1/ingest/{name}", "/v1/ingest/vault"));
        for path in ["/v1/ingest", "/v1/ingest/", "/v1/ingest/a/b", "/v1/ingest/a/", "//ingest/a"] {
            assert!(!fits("/v1/ingest/{name}", path), "{path}");
        }
        assert!(!fits("/v1/events", "/v1/events/") && !fits("/v1/events", "/V1/events"));
    }

    #[test]
    fn a_request_finds_its_route_and_what_it_needs() {
        let right = |method: &Method, path| Route::of(method, path).and_then(Route::right);
        assert_eq!(right(&Method::POST, "/v1/events"), Some(Right::Write));
        assert_eq!(right(&Method::GET, "/v1/events"), Some(Right::Query));
        assert_eq!(right(&Method::HEAD, "/v1/events"), Some(Right::Query));
        assert_eq!(right(&Method::GET, "/v1/checkpoint"), Some(Right::Checkpoint));
        assert_eq!(right(&Method::GET, "/health"), Some(Right::Health));
        assert_eq!(right(&Method::GET, "/metrics"), Some(Right::Health));
        for (method, path) in [
            (Method::DELETE, "/v1/events"),
            (Method::POST, "/health"),
            (Method::GET, "/nowhere"),
            (Method::GET, "/"),
            (Method::GET, "/v1/openapi.yaml"),
        ] {
            assert_eq!(right(&method, path), None, "{method} {path}");
        }
        assert_eq!(allowed("/v1/events"), "GET, HEAD, OPTIONS, POST");
        assert_eq!(allowed("/health"), "GET, HEAD, OPTIONS");
    }
}
