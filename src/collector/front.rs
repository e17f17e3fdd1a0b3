//! HTTP's front door: accepts connections, finds out whose they are, gives them places,
//! and has requests answered by the router.
//!
//! Served by hand from hyper, so that headers and bodies have time limits. When all
//! places are taken by requests, a few are left for health and metrics alone: a
//! collector that is busy must not look like one that is dead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::gate::{Peer, is_probe, misdirected};
use super::hangup::Watched;
use super::patient::{Patient, is_stall};
use super::places::Counted;
use super::reply::{error, with_retry_after};
use super::seats::{Busy, Guest, MOMENT, Seat, Seats};
use super::tls::NoTls;
use super::warning::Warning;
use super::{Hub, http};
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Word;
use crate::fsio::tcp_owner;

const BACK_OFF: Duration = Duration::from_millis(50);
/// What the kernel may keep of an answer that nobody reads, and of a body that is not
/// read yet; it takes twice that, and counts it as this service's. Left to itself it
/// keeps megabytes of each connection.
const SENT_BYTES: usize = 64 << 10;
const RECEIVED_BYTES: usize = 128 << 10;
/// What is read of a connection before it is taken: a request's head, or a part of its
/// body.
const READ_BYTES: usize = 64 << 10;
/// Connections that may ask for health and metrics when there is no place for more.
const RESERVED: usize = 8;
/// Of them those of one user or address.
const RESERVED_EACH: usize = 2;
/// How long they have, from their first byte to the end of the answer.
const RESERVED_FOR: Duration = Duration::from_secs(5);
/// What an idle connection whose place is given away may still have to send.
const LEAVING: Duration = Duration::from_millis(100);

/// The places at HTTP.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) seats: Arc<Seats>,
    reserved: Arc<Seats>,
}

impl Hall {
    pub(super) fn new(max: usize, per_user: usize, per_network: usize) -> Self {
        Self {
            seats: Seats::new(max, per_user, per_network, MOMENT),
            reserved: Seats::new(RESERVED, RESERVED_EACH, RESERVED_EACH, MOMENT),
        }
    }

    pub(super) fn open(&self) -> usize {
        self.seats.open() + self.reserved.open()
    }
}

/// Who is at the other end. `loopback`: nobody but programs of this machine can connect.
pub(super) fn peer_of(stream: &TcpStream, address: SocketAddr, loopback: bool) -> Peer {
    let ip = address.ip();
    let uid = (loopback || ip.to_canonical().is_loopback()).then(|| user_of(stream, address));
    Peer { ip, uid: uid.flatten() }
}

fn user_of(stream: &TcpStream, address: SocketAddr) -> Option<u32> {
    let local = stream.local_addr().ok()?;
    let uid = tcp_owner::of_peer(local, address).ok().flatten()?;
    // The connection still was: had it been reset, its peer's address could have been
    // another program's by the time that the kernel was asked.
    stream.peer_addr().ok().map(|_| uid)
}

/// Why the users of programs on this machine cannot be found out here, if so.
pub(super) fn cannot_tell_users(address: SocketAddr) -> Option<io::Error> {
    // There is no such connection: only whether that is answered matters.
    tcp_owner::of_peer(address, address).err()
}

/// Serves until told to stop.
pub(super) async fn serve(listener: TcpListener, hub: Arc<Hub>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = http::router(Arc::clone(&hub), loopback);
    let mut stopping = hub.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stopping) => return,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        // What cannot be set is as the system has it.
        let _ = set_socket_send_buffer_size(&stream, SENT_BYTES);
        let _ = set_socket_recv_buffer_size(&stream, RECEIVED_BYTES);
        let peer = peer_of(&stream, address, loopback);
        let guest = Guest::new(peer.ip, peer.uid);
        let (hub, router) = (Arc::clone(&hub), router.clone());
        if let Some(seat) = hub.hall.seats.take(guest) {
            tokio::spawn(async move {
                let _counted = Counted::new(&hub);
                greet(stream, peer, &hub, router, seat).await;
            });
        } else if let Some(seat) = hub.hall.reserved.take(guest) {
            tokio::spawn(async move {
                let _counted = Counted::new(&hub);
                let router = for_health_alone(&hub, peer, &router);
                let served = greet(stream, peer, &hub, router, seat);
                let _ = tokio::time::timeout(RESERVED_FOR, served).await;
            });
        } else {
            refused(&hub, peer);
        }
    }
}

/// There was no place.
fn refused(hub: &Hub, peer: Peer) {
    hub.log.page().add(Word::ConnectionsRefused, 1);
    let source = peer.ip.to_canonical().to_string();
    let detail = "too many connections";
    hub.log.security().report_stranger(SecurityKind::HostilePeer, Some(&source), detail);
}

/// The same paths, of which but two are answered with that there is no room.
fn for_health_alone(hub: &Arc<Hub>, peer: Peer, router: &Router) -> Router {
    let hub = Arc::clone(hub);
    let only = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let hub = Arc::clone(&hub);
        async move {
            let (method, path) = (request.method(), request.uri().path());
            let reads = matches!(*method, Method::GET | Method::HEAD);
            let probes = is_probe(method, path) || (reads && path == "/metrics");
            let mut response = if probes {
                next.run(request).await
            } else {
                refused(&hub, peer);
                no_room()
            };
            let close = axum::http::HeaderValue::from_static("close");
            response.headers_mut().insert(axum::http::header::CONNECTION, close);
            response
        }
    };
    router.clone().layer(axum::middleware::from_fn(only))
}

fn no_room() -> Response {
    let text = "the collector has no room for another connection: send more on those that are open";
    let response = error(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", text);
    with_retry_after(response, Some(Duration::from_secs(1)))
}

/// One connection, after its handshake where there is one.
async fn greet(stream: TcpStream, peer: Peer, hub: &Hub, router: Router, seat: Seat) {
    let Some(acceptor) = hub.credentials.tls() else {
        return converse(stream, peer, hub, router, seat).await;
    };
    let mut stopping = hub.stopping.clone();
    let accepted = tokio::select! {
        accepted = acceptor.accept(stream, hub.limits.read) => accepted,
        () = seat.over() => return,
        () = super::stopped(&mut stopping) => return,
    };
    let refused = match accepted {
        Ok(stream) => return converse(stream, peer, hub, router, seat).await,
        Err(NoTls::Left) => return,
        Err(refused) => refused,
    };
    hub.log.page().add(Word::TlsHandshakesFailed, 1);
    let source = peer.ip.to_canonical().to_string();
    let report = |kind, detail| hub.log.security().report_stranger(kind, Some(&source), detail);
    match refused {
        NoTls::Slow => {
            report(SecurityKind::HostilePeer, "a TLS handshake took too long");
        }
        NoTls::Plain => {
            report(SecurityKind::Unauthorized, "plain HTTP to HTTPS: a token may have been read");
        }
        // Mostly a client that does not know the authority: its own log says so.
        NoTls::Failed(reason) if hub.strangers.may_be_told(hub) => {
            tracing::warn!(code = Warning::NoHandshake.code(), peer = %peer.ip, %reason, "a TLS handshake failed");
        }
        NoTls::Failed(_) | NoTls::Left => {}
    }
}

/// Requests and responses, until the peer leaves, is silent for too long, its place is
/// given to another, or the collector stops.
pub(super) async fn converse<S>(stream: S, peer: Peer, hub: &Hub, router: Router, seat: Seat)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = hub.stopping.clone();
    let limits = hub.limits;
    let router = TowerToHyperService::new(router);
    let seat = Arc::new(seat);
    let stream = Watched::new(stream);
    let hang_up = stream.hang_up();
    let stream = Patient::new(stream, limits.write, Arc::clone(&seat));
    let sitting = Arc::clone(&seat);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(hang_up.clone());
        let busy = sitting.busy();
        let answer = router.call(request);
        async move {
            // The place was given away in this very moment: nothing was done.
            let busy = busy.ok_or(io::ErrorKind::ConnectionAborted)?;
            let Ok(response) = answer.await;
            Ok::<_, io::Error>(response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read)
        // Who has said everything may say so, and still gets the answer: but see the gate.
        .half_close(true)
        .max_buf_size(READ_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(limits.idle) => {
            // A request that goes on is answered.
            connection.as_mut().graceful_shutdown();
            let rest = (limits.read + limits.write) * 2;
            tokio::time::timeout(rest, connection).await.unwrap_or(Ok(()))
        }
        () = seat.over() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LEAVING, connection).await.unwrap_or(Ok(()))
        }
        () = super::stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let Err(error) = ended else { return };
    if error.is_parse() {
        // Answered before it was any request.
        hub.log.page().add(Word::RequestsRejected, 1);
        misdirected(hub, peer, "what is no HTTP request");
    }
    // Any other error is the peer's going.
    if is_stall(&error) {
        let source = peer.ip.to_canonical().to_string();
        let detail = "does not read its answers";
        hub.log.security().report_stranger(SecurityKind::HostilePeer, Some(&source), detail);
    }
}

/// An answer's body: as long as it is not taken, the request is in flight.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
