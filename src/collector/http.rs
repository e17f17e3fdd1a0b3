//! HTTP: for senders without a Unix socket, for probes and for Prometheus. How
//! connections come to it is in [`front`](super::front).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, options, post};
use axum::{Extension, Router};
use serde_json::{Value, json};

use super::accept::{self, Records};
use super::budget::charged;
use super::coverage::get_coverage;
use super::gate::{Caller, misdirected};
use super::ingest::post_ingest;
use super::intake::{guest, peer, post_events};
use super::otlp::post_logs;
use super::prove::get_proof;
use super::question::{Form, refused_query, request_of};
use super::reply::{App, answer, error};
use super::routes::{Endpoint, ROUTES};
use super::verification::{get_verify, post_verify};
use super::vitals::Rendered;
use super::{HealthFormat, Hub, gate, page, query, root};
use crate::access::Right;
use crate::audit;
use crate::audit::read::query::{Answer, Column, Found, Question, Want, csv, ocsf};

pub(super) fn router(hub: Arc<Hub>, loopback: bool) -> Router {
    let app = App { hub, loopback };
    let mut router = Router::new();
    let mut paths: Vec<&str> = Vec::new();
    for route in ROUTES {
        router = router.route(route.path, handler(route.endpoint));
        if !paths.contains(&route.path) {
            paths.push(route.path);
            router = router.route(route.path, options(root::there));
        }
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(app.clone(), gate::guard))
        .with_state(app)
}

fn handler(endpoint: Endpoint) -> MethodRouter<App> {
    match endpoint {
        Endpoint::Page => get(root::page),
        Endpoint::File => get(page::get_file),
        Endpoint::Status => get(page::get_status),
        Endpoint::Summary => get(page::get_summary),
        Endpoint::Record => get(page::get_record),
        Endpoint::EndSession => delete(page::end_session),
        Endpoint::Events => post(post_events),
        Endpoint::Records => get(get_events),
        Endpoint::Ingest => post(post_ingest),
        Endpoint::Logs => post(post_logs),
        Endpoint::Checkpoint => get(checkpoint),
        Endpoint::Proof => get(get_proof),
        Endpoint::Coverage => get(get_coverage),
        Endpoint::Verify => get(get_verify),
        Endpoint::BeginVerify => post(post_verify),
        Endpoint::Health => get(health),
        Endpoint::Metrics => get(metrics),
        Endpoint::OpenApi => get(root::openapi),
    }
}

async fn not_found(State(app): State<App>, request: Request) -> Response {
    // HAProxy and others ask whether the server is there at all.
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return root::there(request).await;
    }
    misdirected(&app.hub, peer(&request), "HTTP for a path that there is not");
    let text = "no such path; GET / lists the paths";
    error(StatusCode::NOT_FOUND, "not_found", text)
}

async fn not_so(State(app): State<App>, request: Request) -> Response {
    misdirected(&app.hub, peer(&request), "HTTP with a method that the path has not");
    let text = "this path does not support the method; the header Allow lists those that it does";
    error(StatusCode::METHOD_NOT_ALLOWED, "method", text)
}

/// A query, its keys in the URL. NDJSON when that is asked for: the stored bytes.
async fn get_events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (asked, form, columns) = match request_of(request.uri().query().unwrap_or_default()) {
        Ok(Form { request, .. }) if request.is_summary() => {
            let text = "buckets, by, series, within: GET /v1/summary takes these";
            return error(StatusCode::BAD_REQUEST, "usage", text);
        }
        Ok(Form { request: asked, records, columns }) => {
            let form =
                records.unwrap_or_else(|| accept::wanted(request.headers(), accept::RECORDS));
            (asked, form, columns.unwrap_or_else(Column::defaults))
        }
        Err(reason) => {
            misdirected(&app.hub, peer(&request), "a query that cannot be read");
            return error(StatusCode::BAD_REQUEST, "usage", &reason);
        }
    };
    let reader = caller.reader(guest(&request));
    let bytes = query::room(&asked, matches!(form, Records::Ocsf | Records::Csv));
    let answered = match query::answer(Arc::clone(&app.hub), (asked, bytes), reader).await {
        Ok(answered) => answered,
        Err(refused) => return refused_query(&app.hub, &refused),
    };
    // It may have taken long.
    if let Err(ended) = gate::still(&app.hub, &caller, Right::Query) {
        return error(ended.status, ended.kind, ended.message);
    }
    let query::Answered { question, answer: found, share } = answered;
    let told = told_in_headers(&found, &question.query);
    // Up to a page of records becomes another form: no work for a thread that serves others.
    let made = tokio::task::spawn_blocking(move || body(&found, &question, form, &columns));
    let (kind, body) = match made.await {
        Ok(Ok(made)) => made,
        Ok(Err(Unmade::TooLarge)) => {
            let text = "fields: this table is too large; name fewer columns, or set a limit";
            return error(StatusCode::BAD_REQUEST, "usage", text);
        }
        Ok(Err(Unmade::Failed(failed))) => {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed);
        }
        Err(failed) => {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string());
        }
    };
    let mut response = (StatusCode::OK, Body::from(charged(body, share))).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().extend(told);
    response
}

/// A table has so many bytes at most: what a query was charged for.
const MAX_TABLE: usize = 12 << 20;

/// Why an answer has no body.
enum Unmade {
    TooLarge,
    Failed(String),
}

/// What is sent of an answer, and as what.
fn body(
    found: &Answer,
    question: &Question,
    form: Records,
    columns: &[Column],
) -> Result<(&'static str, Vec<u8>), Unmade> {
    match (form, found.lines()) {
        (Records::Lines, Some(lines)) => {
            let mut body = Vec::with_capacity(lines.bytes() + lines.len());
            for line in lines.iter() {
                body.extend_from_slice(line);
                body.push(b'\n');
            }
            return Ok((LINES, body));
        }
        (Records::Ocsf, Some(lines)) => {
            return Ok((LINES, ocsf::events(lines.iter(), &found.history).into_bytes()));
        }
        (Records::Csv, Some(lines)) => {
            let table = csv::bounded(lines.iter(), columns, true, MAX_TABLE);
            return Ok((CSV, table.ok_or(Unmade::TooLarge)?.into_bytes()));
        }
        _ => {}
    }
    if let Some(text) = groups_csv(found, question).filter(|_| form == Records::Csv) {
        return Ok((CSV, text.into_bytes()));
    }
    let document = found.to_json(question).map_err(|failed| Unmade::Failed(failed.to_string()))?;
    Ok(("application/json", (document + "\n").into_bytes()))
}

fn groups_csv(answer: &Answer, question: &Question) -> Option<String> {
    match (&answer.found, &question.query.want) {
        (Found::Groups(groups), Want::Groups(by)) => {
            Some(csv::groups(&groups.sorted(by), question.top.unwrap_or(usize::MAX)))
        }
        _ => None,
    }
}

/// What an answer lacks, for those who get only its records.
fn told_in_headers(answer: &Answer, query: &audit::read::query::Query) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let range = |(from, to): (u64, u64)| format!("{from}..{to}");
    let of_number = |number: u64| (number > 0).then(|| number.to_string());
    for (name, value) in [
        (NEXT_HEADER, answer.next(query).map(range)),
        (PRUNED_HEADER, answer.pruned.map(range)),
        (MISSING_HEADER, answer.missing.map(range)),
        (UNREADABLE_HEADER, of_number(answer.unreadable)),
        (DAMAGED_HEADER, of_number(answer.damaged.len() as u64)),
    ] {
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
    }
    headers
}

/// A table, with a header.
const CSV: &str = "text/csv; charset=utf-8; header=present";
/// Records one a line.
const LINES: &str = "application/x-ndjson";
/// There are more records: the `seq` to ask with.
const NEXT_HEADER: &str = "auditctl-next-seq";
/// Records that were asked about and that retention has removed.
const PRUNED_HEADER: &str = "auditctl-pruned";
/// Records that were asked about, that are signed, and that the log's files do not hold.
const MISSING_HEADER: &str = "auditctl-missing";
/// How many lines are no records.
const UNREADABLE_HEADER: &str = "auditctl-unreadable";
/// How many places could not be read.
const DAMAGED_HEADER: &str = "auditctl-damaged";

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
    rendered(app, accept::wanted(&headers, accept::HEALTH)).await
}

/// For whoever may not know more: a load balancer, or anybody.
async fn health_in_a_word(app: App) -> Response {
    let Rendered { status, body, .. } = match app.hub.vitals.get(HealthFormat::Json).await {
        Ok(rendered) => rendered,
        Err(failed) => return error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed),
    };
    let whole: Option<Value> = serde_json::from_slice(&body).ok();
    let word = whole.map_or(Value::from("unknown"), |whole| whole["status"].clone());
    answer(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &json!({ "status": word }))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    rendered(app, accept::wanted(&headers, accept::METRICS)).await
}

async fn rendered(app: App, format: HealthFormat) -> Response {
    match app.hub.vitals.get(format).await {
        Ok(Rendered { status, content_type, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed),
    }
}
