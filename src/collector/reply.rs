//! What HTTP's handlers share: the collector behind them, and how they answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{Hub, protocol};

#[derive(Clone)]
pub(super) struct App {
    pub(super) hub: Arc<Hub>,
    /// Bound to loopback: reachable from this machine alone.
    pub(super) loopback: bool,
}

pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    answer(status, &protocol::error_of(kind, message))
}

pub(super) fn answer(status: StatusCode, value: &Value) -> Response {
    let mut response = (status, format!("{value}\n")).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(super) fn with_retry_after(mut response: Response, retry_after: Option<Duration>) -> Response {
    if let Some(retry) = retry_after {
        let seconds = retry.as_secs() + u64::from(retry.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}
