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

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Hub;
use super::auth::groups_of;
use super::headers::guarded;
use super::reader::Reader;
use super::reply::{App, error, with_retry_after};
use super::routes::{Endpoint, Open, Route};
use super::seats::{Guest, network};
use super::sessions::{self, Session};
use super::tokens::{Known, Shown};
use crate::access::{Right, Token, is_well_formed};
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::Word;
use crate::audit::write::rate_limit::{Decision, RateLimiter};
use crate::audit::{Origin, RateLimit, Via};

/// Requests without a valid token that an address may make.
const FAILURES: RateLimit = RateLimit { per_second: 1.0, burst: 10, max_sources: 10_000 };
/// Questions whether all is well, without a token, of an address.
const PROBES: RateLimit = RateLimit { per_second: 10.0, burst: 20, max_sources: 10_000 };
/// The page's files, without a token, of an address: a page is a dozen of them.
const FILES: RateLimit = RateLimit { per_second: 50.0, burst: 200, max_sources: 10_000 };
/// Messages about them to whoever runs the collector.
const TOLD: RateLimit = RateLimit { per_second: 0.2, burst: 20, max_sources: 1 };

/// Limits for those who show no valid token. Nothing of theirs is recorded in the
/// log: it is counted, and a security event.
#[derive(Debug)]
pub(super) struct Strangers {
    failures: RateLimiter,
    probes: RateLimiter,
    files: RateLimiter,
    told: RateLimiter,
}

impl Strangers {
    pub(super) fn new() -> Self {
        Self {
            failures: RateLimiter::new(Some(FAILURES)),
            probes: RateLimiter::new(Some(PROBES)),
            files: RateLimiter::new(Some(FILES)),
            told: RateLimiter::new(Some(TOLD)),
        }
    }

    #[cfg(any(test, feature = "testing"))]
    /// Without limits: where nothing is about time.
    pub(super) fn unlimited() -> Self {
        let none = || RateLimiter::new(None);
        Self { failures: none(), probes: none(), files: none(), told: none() }
    }

    /// Whether a message about one of them may be written now: they must not flood what
    /// the system keeps of this process's messages.
    pub(super) fn may_be_told(&self, hub: &Hub) -> bool {
        limited(hub, &self.told, "").is_none()
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    /// The user of this machine whose connection it is, by the kernel's word.
    pub(super) uid: Option<u32>,
}

impl Peer {
    /// Nobody that could be told. Every connection's requests carry theirs.
    pub(super) const NOBODY: Self = Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), uid: None };
}

/// Who asks, and may.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// A program on this machine.
    Here {
        /// Whose it is, where that is known.
        uid: Option<u32>,
        /// That user's groups, where it depends on them.
        groups: Vec<u32>,
    },
    /// Anybody: told no more than whether all is well.
    Stranger,
    /// The holder of a token.
    Token(Arc<Holder>),
    /// A user of this machine, in a session.
    Person(Arc<Visitor>),
    /// A program on this machine that sends to a listener.
    Listener {
        /// Whose it is.
        uid: u32,
        /// That user's groups, where it depends on them.
        groups: Vec<u32>,
    },
}

/// The holder of a token.
#[derive(Debug)]
pub(super) struct Holder {
    known: Known,
    peer: Option<String>,
}

impl Holder {
    pub(super) fn token(&self) -> &Token {
        &self.known.token
    }
}

/// A user of this machine, in a session.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) session: Arc<Session>,
    peer: Option<String>,
}

impl Caller {
    /// Who reads, and whose share of the memory that takes.
    pub(super) fn reader(&self, guest: Guest) -> Reader {
        let session = match self {
            Self::Person(visitor) => Some(&visitor.session),
            _ => None,
        };
        Reader {
            origin: self.origin(),
            user: session.and_then(|session| session.user.clone()),
            guest,
            followed: session.map(|session| Arc::clone(&session.followed)),
        }
    }

    /// What records say of it.
    pub(super) fn origin(&self) -> Origin {
        let mut origin = Origin {
            via: Via::Http,
            uid: None,
            pid: None,
            token: None,
            peer: None,
            import: false,
            import_id: None,
        };
        match self {
            Self::Here { uid, .. } => origin.uid = *uid,
            Self::Stranger => {}
            Self::Listener { uid, .. } => {
                origin.via = Via::Listener;
                origin.uid = Some(*uid);
            }
            Self::Token(holder) => {
                origin.token = Some(holder.known.token.name.clone());
                origin.peer.clone_from(&holder.peer);
            }
            Self::Person(visitor) => {
                origin.uid = Some(visitor.session.uid);
                origin.peer.clone_from(&visitor.peer);
            }
        }
        origin
    }

    /// Whose bucket its events are taken from, beside that of their source.
    pub(super) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Token(holder) => Some(&holder.known.events),
            Self::Here { .. } | Self::Stranger | Self::Person(_) | Self::Listener { .. } => None,
        }
    }

    /// Whether the limit of each source is not its: a rate was set for it, and that
    /// is its only limit.
    pub(super) fn has_own_rate(&self) -> bool {
        matches!(self, Self::Token(holder) if holder.known.token.rate.is_some())
    }
}

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
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => *refused,
    };
    count(&app.hub, response.status());
    guarded(response)
}

/// Every refusal of a request moves a counter (P9): these do that have none of their own.
fn count(hub: &Hub, status: StatusCode) {
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
pub(super) fn misdirected(hub: &Hub, peer: Peer, detail: &str) {
    let source = source_of(peer);
    hub.log.security().report_stranger(SecurityKind::Malformed, Some(&source), detail);
}

/// Whose it is, as far as that is known.
fn source_of(peer: Peer) -> String {
    match peer.uid {
        Some(uid) => format!("uid:{uid}"),
        None => peer.ip.to_canonical().to_string(),
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

/// The address of a peer that is not on this machine.
fn elsewhere(peer: Peer) -> Option<String> {
    let ip = Some(peer.ip.to_canonical()).filter(|ip| !ip.is_loopback());
    ip.map(|ip| ip.to_string())
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

/// A page that was left open goes on asking: that is no attack, and has no security event.
fn session_ended(app: &App, peer: Peer) -> Box<Response> {
    let text = "this session is over; `auditctl open` begins a new one";
    refused_token(app, peer, "session_ended", text)
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

/// What a caller hears who was let in and may no more.
pub(super) struct Ended {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: &'static str,
}

/// Whether a caller that was let in still may, by what holds now: asked again and
/// again by what takes its time, so that nobody goes on by having begun early.
pub(super) fn still(hub: &Hub, caller: &Caller, right: Right) -> Result<(), Ended> {
    let tokens = hub.credentials.tokens();
    let clock = &hub.log.options().clock;
    let (name, why) = match (caller, &tokens) {
        (Caller::Stranger, _) => return Ok(()),
        (Caller::Person(visitor), _) => return still_person(hub, visitor, right),
        (Caller::Listener { uid, groups }, _) => return still_sends(hub, *uid, groups),
        (Caller::Here { uid, groups }, None) => {
            return match uid {
                Some(uid) if right == Right::Write => still_sends(hub, *uid, groups),
                _ => Ok(()),
            };
        }
        (Caller::Here { .. }, Some(_)) => {
            (None, "a token is required since the last reload".to_owned())
        }
        (Caller::Token(holder), None) => {
            (Some(&holder.known), "no tokens are accepted since the last reload".to_owned())
        }
        (Caller::Token(holder), Some(tokens)) => {
            match tokens.ended(&holder.known.token, right, clock.now()) {
                None => return Ok(()),
                Some(why) => (Some(&holder.known), why),
            }
        }
    };
    hub.log.page().add(Word::RequestsUnauthenticated, 1);
    let detail = match name {
        Some(known) => {
            format!("token \"{}\" is {why}, in the middle of a request", known.token.name)
        }
        None => format!("{why}, in the middle of a request"),
    };
    let source = name.map(|known| known.events.as_str());
    hub.log.security().report_stranger(SecurityKind::Unauthorized, source, &detail);
    Err(Ended { status: StatusCode::UNAUTHORIZED, kind: "unauthorized", message: INVALID })
}

/// A session that has ended, or whose user may not do that any more.
fn still_person(hub: &Hub, visitor: &Visitor, right: Right) -> Result<(), Ended> {
    if !hub.sessions.goes_on(&visitor.session, &*hub.log.options().clock) {
        hub.log.page().add(Word::RequestsUnauthenticated, 1);
        let message = "this session is over; `auditctl open` begins a new one";
        return Err(Ended { status: StatusCode::UNAUTHORIZED, kind: "session_ended", message });
    }
    let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
    if visitor.session.may(right, &access) {
        return Ok(());
    }
    hub.log.page().add(Word::RequestsForbidden, 1);
    let message = "this user may not do that any more";
    Err(Ended { status: StatusCode::FORBIDDEN, kind: "forbidden", message })
}

/// A user of this machine, who is no longer one of those who may send once
/// `collector.allowed_uids` and `allowed_gids` are reloaded.
fn still_sends(hub: &Hub, uid: u32, groups: &[u32]) -> Result<(), Ended> {
    let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
    if access.allows(uid, groups) {
        return Ok(());
    }
    hub.log.page().add(Word::RequestsForbidden, 1);
    let detail = "may not send any more, in the middle of a request";
    let source = format!("uid:{uid}");
    hub.log.security().report_stranger(SecurityKind::Unauthorized, Some(&source), detail);
    let message = "this user may not send events any more";
    Err(Ended { status: StatusCode::FORBIDDEN, kind: "forbidden", message })
}

/// The same whether it never was one, has expired, or was revoked.
const INVALID: &str = "the token is not valid";

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

/// Whether a browser sent it on behalf of a page of another site: they say so, and pages
/// cannot keep them from it.
fn is_of_web_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| !matches!(site, b"none" | b"same-origin"))
}

/// Whether somebody followed a link to the page: then it is the whole window that the answer
/// is for, and whoever set the link gets nothing of it. The page is the same for all.
fn follows_link(request: &Request) -> bool {
    let says = |name, what: &[u8]| {
        request.headers().get(name).is_some_and(|value| value.as_bytes() == what)
    };
    request.method() == Method::GET
        && request.uri().path() == "/"
        && !request.headers().contains_key(header::ORIGIN)
        && says("sec-fetch-mode", b"navigate")
        && says("sec-fetch-dest", b"document")
}

/// Whether the collector's own page asks for one of its files: of scripts that are modules
/// browsers say where they come from.
fn is_file_of_page(request: &Request) -> bool {
    request.uri().path().starts_with("/page/") && !is_of_other_page(request.headers())
}

/// Whether a browser sent it on behalf of any page but the collector's own.
fn is_of_other_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| !matches!(site, b"none" | b"same-origin")) {
        return true;
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
    });
    let is_own = origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
    !is_own || origins.next().is_some()
}

/// Whether all is well may be asked by anybody, not as often as they like.
fn probe(app: &App, peer: Peer, limiter: &RateLimiter) -> Result<Caller, Box<Response>> {
    match limited_by_address(app, limiter, peer) {
        None => Ok(Caller::Stranger),
        Some(retry_after) => {
            app.hub.log.page().add(Word::RequestsThrottled, 1);
            let text = "too many requests without a token from this address";
            Err(Box::new(too_many(text, retry_after)))
        }
    }
}

fn forbidden(app: &App, peer: Peer, by: By, detail: &str, text: &str) -> Box<Response> {
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
fn unauthenticated(app: &App, peer: Peer, detail: &str, text: &str) -> Box<Response> {
    let source = peer.ip.to_canonical().to_string();
    app.hub.log.security().report_stranger(SecurityKind::Unauthorized, Some(&source), detail);
    refused_token(app, peer, "unauthorized", text)
}

fn refused_token(app: &App, peer: Peer, kind: &str, text: &str) -> Box<Response> {
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

fn limited_by_address(app: &App, limiter: &RateLimiter, peer: Peer) -> Option<Duration> {
    // Users of one machine are told apart where that is possible.
    let source = match peer.uid {
        Some(_) => source_of(peer),
        None => network(peer.ip).to_string(),
    };
    limited(&app.hub, limiter, &source)
}

fn limited(hub: &Hub, limiter: &RateLimiter, source: &str) -> Option<Duration> {
    let clock = &hub.log.options().clock;
    match limiter.check(source, clock.boot_ms() * 1_000, clock.now()) {
        Decision::Allowed => None,
        Decision::Refused { retry_after } => Some(retry_after),
    }
}

fn too_many(text: &str, retry_after: Duration) -> Response {
    let response = error(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text);
    with_retry_after(response, Some(retry_after))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether the request was meant for this machine: a name that an attacker's
/// DNS points here is not. Without Host it is no browser's (health checks by HTTP/1.0,
/// HAProxy's among them). An address is no name that DNS could point elsewhere.
fn is_local_host(headers: &HeaderMap, by_address: bool) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return true };
    if hosts.next().is_some() {
        return false;
    }
    let Ok(host) = host.to_str() else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    if let Ok(ip) = address.or_else(|_| bare.parse::<IpAddr>()) {
        return by_address || ip.to_canonical().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    matches!(&*name, "localhost" | "")
}

#[cfg(test)]
mod tests;
