//! Who may do what over HTTP.
//!
//! With tokens, every request shows one whose role allows what it asks; but for
//! health and metrics asked from this machine, and for whether all is well, asked
//! from anywhere (a load balancer has no token). Without tokens HTTP is on loopback
//! only: its programs may look at health, those of users who may send at the socket
//! may send, and nobody reads records but in a session, which its user has begun at the
//! socket. A program's user is the kernel's word; where that cannot be had, the program may
//! not send.
//!
//! A session's token is a browser's. Whatever comes with it has to come from the page
//! itself: `Origin` and `Sec-Fetch-Site` say so.

mod caller;
mod origin;
mod refuse;
mod still;
mod strangers;

use std::sync::{Arc, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Hub;
use super::auth::groups_of;
use super::hangup::HangUp;
use super::headers::guarded;
use super::reply::{App, error};
use super::routes::{Endpoint, Open, Route};
use super::sessions::{self, Session};
use super::tokens::Shown;
use crate::access::{Right, is_well_formed};
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::Word;
use crate::audit::write::rate_limit::Decision;
pub(super) use caller::{Caller, Peer};
use caller::{Holder, Visitor, elsewhere};
use origin::{follows_link, is_file_of_page, is_local_host, is_of_other_page, is_of_web_page};
pub(super) use refuse::misdirected;
use refuse::{INVALID, count, forbidden, probe, session_ended, too_many, unauthenticated};
pub(super) use still::still;
pub(super) use strangers::Strangers;

/// What a request asks for; `None` for what there is not.
fn right(method: &Method, path: &str) -> Option<Right> {
    Route::of(method, path).and_then(Route::right)
}

/// Whether anybody may ask it who reaches the collector: whether all is well, whether it
/// is there at all (`OPTIONS`, as HAProxy asks), and what there is to ask (`/`).
pub(super) fn is_probe(method: &Method, path: &str) -> bool {
    let is_open = |route: &Route| {
        matches!(route.open, Open::ToAll | Open::InAWord(_)) && route.endpoint != Endpoint::File
    };
    method == Method::OPTIONS || Route::of(method, path).is_some_and(is_open)
}

/// Whether it is one of the page's files.
fn is_file(method: &Method, path: &str) -> bool {
    Route::of(method, path).is_some_and(|route| route.endpoint == Endpoint::File)
}

/// Lets a request through with its [`Caller`], or answers why not.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::NOBODY);
    let writes = right(request.method(), request.uri().path()) == Some(Right::Write);
    let groups = if writes { groups(&app.hub, peer).await } else { Vec::new() };
    let response = match admit(&app, &request, peer, &groups) {
        Ok(caller) => {
            let hang_up = leaves(&request, &caller);
            request.extensions_mut().insert(caller);
            unless_left(next.run(request), hang_up).await
        }
        Err(refused) => *refused,
    };
    count(&app.hub, response.status());
    guarded(response)
}

/// The end of the connection, where it ends the request: of a page, whose browser hangs up when
/// another question is asked, and of summaries. Other programs may close their side once they
/// have sent all, and wait.
fn leaves(request: &Request, caller: &Caller) -> Option<HangUp> {
    let is_summary = || {
        Route::of(request.method(), request.uri().path())
            .is_some_and(|route| route.endpoint == Endpoint::Summary)
    };
    let hang_up = request.extensions().get::<HangUp>();
    hang_up.filter(|_| matches!(caller, Caller::Person(_)) || is_summary()).cloned()
}

/// The response; whoever has left gets none, and what was being made for them ends.
async fn unless_left(made: impl Future<Output = Response>, hang_up: Option<HangUp>) -> Response {
    let Some(hang_up) = hang_up else { return made.await };
    tokio::select! {
        biased;
        response = made => response,
        () = hang_up.seen() => {
            let text = "the connection was closed on your side before there was an answer: keep it \
                        open, as a summary ends with it";
            error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
        }
    }
}

/// The groups of a peer, where it depends on them whether it may write.
async fn groups(hub: &Hub, peer: Peer) -> Vec<u32> {
    let Some(uid) = peer.uid.filter(|_| hub.credentials.tokens().is_none()) else {
        return Vec::new();
    };
    {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        if access.allows(uid, &[]) || !access.asks_for_groups() {
            return Vec::new();
        }
    }
    tokio::task::spawn_blocking(move || groups_of(uid)).await.unwrap_or_default()
}

/// Whether a program on this machine may send without a token: as at the socket.
fn sends(app: &App, peer: Peer, groups: &[u32]) -> Result<(), Box<Response>> {
    let Some(uid) = peer.uid else {
        let text = "cannot tell which user's program this is, because its connection has ended or \
                    the kernel does not say; use the collector's socket, or a token \
                    (collector.token_file)";
        return Err(forbidden(app, peer, By::Stranger, "events of an unknown user", text));
    };
    let access = app.hub.access.read().unwrap_or_else(PoisonError::into_inner);
    if access.allows(uid, groups) {
        return Ok(());
    }
    let detail = format!("events of user {uid}, who may not send");
    let text = format!(
        "user {uid} may not send events here: add it to collector.allowed_uids or allowed_gids, \
         or use a token (collector.token_file)"
    );
    Err(forbidden(app, peer, By::Stranger, &detail, &text))
}

fn admit(
    app: &App,
    request: &Request,
    peer: Peer,
    groups: &[u32],
) -> Result<Caller, Box<Response>> {
    let (method, path) = (request.method(), request.uri().path());
    let right = right(method, path);
    let (probes, file) = (is_probe(method, path), is_file(method, path));
    // What tells nothing but how things are may be asked for under any address.
    let by_address = probes || file || right == Some(Right::Health);
    let headers = request.headers();
    let clock = &app.hub.log.options().clock;
    if let Some(shown) = bearer(headers) {
        match app.hub.sessions.find(shown, &**clock) {
            sessions::Shown::Valid(session) => return person(app, request, peer, session),
            sessions::Shown::Ended => return Err(session_ended(app, peer)),
            sessions::Shown::Unknown => {}
        }
    }
    let Some(tokens) = app.hub.credentials.tokens() else {
        here(app, request, peer, by_address)?;
        if right == Some(Right::Query) && bearer(headers).is_some() {
            let text = "the token is not valid; `auditctl open` gives a new one";
            return Err(unauthenticated(app, peer, "an unknown token", text));
        }
        if right == Some(Right::Query) {
            // A web page can have its reader's browser ask, and the user would be theirs.
            let text = "queries over HTTP need a token: run `auditctl open`, or set \
                        collector.token_file";
            let detail = "a query without a token";
            return Err(forbidden(app, peer, By::Stranger, detail, text));
        }
        if right == Some(Right::Write) {
            sends(app, peer, groups)?;
        }
        return Ok(Caller::Here { uid: peer.uid, groups: groups.to_vec() });
    };
    let Some(shown) = bearer(headers) else {
        if by_address && app.loopback {
            here(app, request, peer, by_address)?;
            return Ok(Caller::Here { uid: peer.uid, groups: groups.to_vec() });
        }
        if probes {
            return probe(app, peer, &app.hub.strangers.probes);
        }
        if file {
            return probe(app, peer, &app.hub.strangers.files);
        }
        let text = "send the token: Authorization: Bearer <token>";
        return Err(unauthenticated(app, peer, "no token", text));
    };
    let known = match tokens.find(shown, clock.now()) {
        Shown::Valid(known) => known,
        Shown::Ended(known, state) => {
            let detail = format!("token \"{}\" is {}", known.token.name, state.as_str());
            return Err(unauthenticated(app, peer, &detail, INVALID));
        }
        Shown::Unknown if is_well_formed(shown) => {
            return Err(unauthenticated(app, peer, "an unknown token", INVALID));
        }
        Shown::Unknown => {
            let text = "this is not a token of auditctl: it was mistyped or cut off";
            return Err(unauthenticated(app, peer, "no token of ours", text));
        }
    };
    if let Some(right) = right.filter(|right| !known.token.role.allows(*right)) {
        let (name, role) = (&known.token.name, known.token.role);
        let detail = format!("token \"{name}\" ({role}) may not {}", right.as_str());
        let text = format!("a token whose role is {role} may not {}", right.as_str());
        return Err(forbidden(app, peer, By::Known, &detail, &text));
    }
    let decision =
        app.hub.log.callers().check(&known.requests, clock.boot_ms() * 1_000, clock.now());
    if let Decision::Refused { retry_after } = decision {
        app.hub.log.page().add(Word::RequestsRateLimited, 1);
        let detail = "more requests than collector.token_requests allows";
        app.hub.log.security().report(SecurityKind::RateLimited, Some(&known.requests), detail);
        let text = "this token has reached its limit of requests";
        return Err(Box::new(too_many(text, retry_after)));
    }
    Ok(Caller::Token(Arc::new(Holder { known: known.clone(), peer: elsewhere(peer) })))
}

/// A request in a session.
fn person(
    app: &App,
    request: &Request,
    peer: Peer,
    session: Arc<Session>,
) -> Result<Caller, Box<Response>> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    if app.hub.credentials.tokens().is_none() {
        is_local(app, headers, peer, false)?;
    }
    if is_of_other_page(headers) {
        let text = "only the collector's own page may use a session: Origin or Sec-Fetch-Site names \
                    another";
        return Err(forbidden(
            app,
            peer,
            By::Stranger,
            "a session's token from another page",
            text,
        ));
    }
    if let Some(right) = right(method, path) {
        let access = app.hub.access.read().unwrap_or_else(PoisonError::into_inner);
        if !session.may(right, &access) {
            let (uid, what) = (session.uid, right.as_str());
            let detail = format!("user {uid} in a session may not {what}");
            let text = match right {
                Right::Write => "a session may not send events: it is for looking".to_owned(),
                _ => format!(
                    "user {uid} may not {what} here: add it to collector.read_uids or read_gids"
                ),
            };
            return Err(forbidden(app, peer, By::Known, &detail, &text));
        }
    }
    if let Some(retry_after) = app.hub.sessions.limited(&session, &*app.hub.log.options().clock) {
        app.hub.log.page().add(Word::RequestsRateLimited, 1);
        let source = format!("uid:{}", session.uid);
        let detail = "more requests than a session may make";
        app.hub.log.security().report(SecurityKind::RateLimited, Some(&source), detail);
        return Err(Box::new(too_many(
            "this session has reached its limit of requests",
            retry_after,
        )));
    }
    Ok(Caller::Person(Arc::new(Visitor { session, peer: elsewhere(peer) })))
}

/// Who sends to a listener, if the user may write: there are no tokens. `gid` is the group
/// that the program runs with, where the kernel says so; else the user's groups count.
pub(super) async fn unanswered(hub: &Hub, peer: Peer, gid: Option<u32>) -> Option<Caller> {
    let uid = peer.uid?;
    let asks_for_groups = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        !access.allows(uid, &[]) && access.asks_for_groups()
    };
    let groups = match gid {
        Some(gid) => vec![gid],
        None if asks_for_groups => {
            tokio::task::spawn_blocking(move || groups_of(uid)).await.unwrap_or_default()
        }
        None => Vec::new(),
    };
    let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
    access.allows(uid, &groups).then_some(Caller::Listener { uid, groups })
}

/// A program on this machine, not a web page that a browser on it has loaded. `by_address`:
/// it may also name this machine by any of its addresses.
fn here(app: &App, request: &Request, peer: Peer, by_address: bool) -> Result<(), Box<Response>> {
    let headers = request.headers();
    is_local(app, headers, peer, by_address)?;
    if is_of_web_page(headers) && !follows_link(request) && !is_file_of_page(request) {
        let text = "web pages may not use this address: the request has Origin, or Sec-Fetch-Site \
                    says that it comes from another site";
        return Err(forbidden(app, peer, By::Stranger, "HTTP from a web page", text));
    }
    Ok(())
}

/// Whether it was meant for this machine, and comes from it.
fn is_local(
    app: &App,
    headers: &HeaderMap,
    peer: Peer,
    by_address: bool,
) -> Result<(), Box<Response>> {
    let refuse = |detail, text: &str| Err(forbidden(app, peer, By::Stranger, detail, text));
    if !app.loopback {
        let text = "only local programs may use this address";
        return refuse("HTTP from elsewhere, and there are no tokens", text);
    }
    if is_local_host(headers, by_address) {
        return Ok(());
    }
    let text = "only local programs may use this address, but Host names another machine: use \
                localhost or 127.0.0.1, or leave Host out (a health check may name any address)";
    refuse("HTTP for another host", text)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;
    use crate::audit::{AuditLog, Options};
    use crate::collector::harness::Harness;
    use crate::collector::query::AT_ONCE;
    use crate::collector::sessions::Person;

    #[test]
    fn a_browser_that_hangs_up_ends_its_request_and_a_program_that_has_said_all_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = AuditLog::open(Options::new(dir.path())).expect("opened");
        let harness = Harness::new(log, None).expect("a collector");
        // Whatever is asked waits for its turn.
        let (token, turns) = harness.block_on(|hub| async move {
            let (uid, gid) =
                (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            let person = Person { uid, gid, user: None };
            let clock = &*hub.log.options().clock;
            let (secret, _) = hub.sessions.begin(person, Role::Read, clock).expect("begun");
            let turns = Arc::clone(&hub.queries).acquire_many_owned(AT_ONCE as u32).await;
            (secret.reveal().to_owned(), turns.expect("all turns"))
        });
        for path in ["/v1/summary", "/v1/events"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            let answer = harness.http(&[request.as_bytes()]).expect("an answer");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
            assert!(answer.contains("closed on your side"), "{path}: {answer}");
        }
        drop(turns);
        let answer = harness.http(&[b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"]);
        assert!(answer.expect("an answer").starts_with(b"HTTP/1.1 200 "));
    }
}
