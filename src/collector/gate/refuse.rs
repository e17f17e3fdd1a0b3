//! How a request is refused, counted and told of.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::caller::{Caller, Peer, source_of};
use super::strangers::limited_by_address;
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::Word;
use crate::audit::write::rate_limit::RateLimiter;
use crate::collector::Hub;
use crate::collector::reply::{App, error, with_retry_after};

/// Every refusal of a request moves a counter (P9): these do that have none of their own.
pub(super) fn count(hub: &Hub, status: StatusCode) {
    let has_its_own = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    if status.is_client_error() && !has_its_own {
        hub.log.page().add(Word::RequestsRejected, 1);
    }
}

/// A request that cannot be understood, or is for what there is not. It is told of, and
/// decides nothing: any program may ask, and a sender that is set up wrongly has to be
/// mended, not the log.
pub(in crate::collector) fn misdirected(hub: &Hub, peer: Peer, detail: &str) {
    let source = source_of(peer);
    hub.log.security().report_stranger(SecurityKind::Malformed, Some(&source), detail);
}

/// The same whether it never was one, has expired, or was revoked.
pub(super) const INVALID: &str = "the token is not valid";

/// A page that was left open goes on asking: that is no attack, and has no security event.
pub(super) fn session_ended(app: &App, peer: Peer) -> Box<Response> {
    let text = "this session is over; `auditctl open` begins a new one";
    refused_token(app, peer, "session_ended", text)
}

pub(super) fn forbidden(app: &App, peer: Peer, by: By, detail: &str, text: &str) -> Box<Response> {
    app.hub.log.page().add(Word::RequestsForbidden, 1);
    let source = match by {
        By::Stranger => source_of(peer),
        By::Known => peer.ip.to_canonical().to_string(),
    };
    app.hub.log.security().report_by(by, SecurityKind::Unauthorized, Some(&source), detail);
    Box::new(error(StatusCode::FORBIDDEN, "forbidden", text))
}

/// 401, or 429 for one who keeps trying. Only what fails is held back: a valid token
/// always gets in, as several may share an address (behind a proxy), and 256 random
/// bits are not guessed at any speed.
pub(super) fn unauthenticated(app: &App, peer: Peer, detail: &str, text: &str) -> Box<Response> {
    let source = peer.ip.to_canonical().to_string();
    app.hub.log.security().report_stranger(SecurityKind::Unauthorized, Some(&source), detail);
    refused_token(app, peer, "unauthorized", text)
}

pub(super) fn refused_token(app: &App, peer: Peer, kind: &str, text: &str) -> Box<Response> {
    app.hub.log.page().add(Word::RequestsUnauthenticated, 1);
    if let Some(retry_after) = limited_by_address(app, &app.hub.strangers.failures, peer) {
        app.hub.log.page().add(Word::RequestsThrottled, 1);
        let text = "too many requests without a valid token from this address";
        let mut response = too_many(text, retry_after);
        // Another try costs another connection.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        return Box::new(response);
    }
    let mut response = error(StatusCode::UNAUTHORIZED, kind, text);
    let scheme = HeaderValue::from_static("Bearer realm=\"auditctl\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    Box::new(response)
}

pub(super) fn too_many(text: &str, retry_after: Duration) -> Response {
    let response = error(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text);
    with_retry_after(response, Some(retry_after))
}

/// Whether all is well may be asked by anybody, not as often as they like.
pub(super) fn probe(app: &App, peer: Peer, limiter: &RateLimiter) -> Result<Caller, Box<Response>> {
    match limited_by_address(app, limiter, peer) {
        None => Ok(Caller::Stranger),
        Some(retry_after) => {
            app.hub.log.page().add(Word::RequestsThrottled, 1);
            let text = "too many requests without a token from this address";
            Err(Box::new(too_many(text, retry_after)))
        }
    }
}
