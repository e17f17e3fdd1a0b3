//! A witness over HTTP: `POST /add-checkpoint` and `GET /<origin hash>/checkpoint`
//! (<https://c2sp.org/tlog-witness>).
//!
//! Whoever reaches it may ask: what it does rests on signatures alone, and what it
//! answers is signed or public. So there are no tokens, but limits for each address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::patient::Patient;
use super::seats::{Guest, MOMENT, Seat, Seats, network};
use super::{CollectorError, DRAIN, Stopped, Warn, Warning, listen, notify, stopped, stops};
use crate::audit::RateLimit;
use crate::audit::write::rate_limit::{Decision, RateLimiter};
use crate::witness::{Accepted, Answer, MAX_BODY_BYTES, Notary};

/// Requests of one address. On loopback a proxy may speak for everybody: it has limits of
/// its own, if somebody wants them.
const REQUESTS: RateLimit = RateLimit { per_second: 50.0, burst: 200, max_sources: 10_000 };
/// So long a request may take to arrive.
const READ: Duration = Duration::from_secs(15);
/// So long an answer may take to be taken.
const WRITE: Duration = Duration::from_secs(10);
/// So long a connection may be silent.
const IDLE: Duration = Duration::from_secs(120);
const CONNECTIONS: usize = 512;
const CONNECTIONS_EACH: usize = 32;
const BACK_OFF: Duration = Duration::from_millis(50);
const LEAVING: Duration = Duration::from_millis(100);
/// What is read of a connection before it is taken.
const READ_BYTES: usize = 64 << 10;

/// Told once the witness answers.
pub(crate) type OnListening = dyn Fn(SocketAddr) + Send + Sync;
/// Reads again which logs are accepted.
pub(crate) type ReadAccepted = dyn Fn() -> Result<Accepted, String> + Send + Sync;

/// How a witness runs.
pub struct WitnessOptions {
    /// systemd's `$NOTIFY_SOCKET`.
    pub notify_socket: Option<std::ffi::OsString>,
    /// Reads the logs again, for SIGHUP.
    pub reload: Arc<ReadAccepted>,
    /// Told once it answers.
    pub ready: Box<OnListening>,
    /// Told what an operator should know.
    pub warn: Arc<Warn>,
}

impl std::fmt::Debug for WitnessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WitnessOptions").finish_non_exhaustive()
    }
}

/// Takes the address, before the log is opened.
///
/// # Errors
/// [`CollectorError::Http`].
pub fn listen_for_witness(address: SocketAddr) -> Result<std::net::TcpListener, CollectorError> {
    listen(address)
}

struct App {
    notary: Arc<Notary>,
    requests: RateLimiter,
    seats: Arc<Seats>,
    stopping: watch::Receiver<bool>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Asker(std::net::IpAddr);

/// Answers until SIGTERM or SIGINT, and closes the witness's log.
///
/// # Errors
/// When it cannot start, or the log did not close cleanly.
pub async fn run_witness(
    notary: Arc<Notary>,
    listener: std::net::TcpListener,
    options: WitnessOptions,
) -> Result<Stopped, CollectorError> {
    super::socket::raise_file_limit();
    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App {
        notary: Arc::clone(&notary),
        requests: RateLimiter::new(Some(REQUESTS)),
        seats: Seats::new(CONNECTIONS, CONNECTIONS, CONNECTIONS_EACH, MOMENT),
        stopping,
    });
    let mut stops = stops::Stops::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(listener, Arc::clone(&app)));
    notary.log().page().publish();
    (options.ready)(address);
    let manager = notify::Manager::at(options.notify_socket);
    manager.ready();
    let watchdog = tokio::spawn(notify::watchdog(manager.clone(), notary.log().clone()));
    loop {
        tokio::select! {
            () = stops.first() => break,
            _ = hangup.recv() => reload(&notary, &options.reload, &options.warn),
        }
    }
    manager.stopping();
    watchdog.abort();
    // The receiver lives in the app, so this cannot fail.
    let _ = stop.send(true);
    let ended = async {
        let _ = server.await;
        let until = tokio::time::Instant::now() + DRAIN;
        while app.seats.open() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = notary.log().clone();
        tokio::task::spawn_blocking(move || log.close()).await
    };
    let closed = tokio::select! {
        closed = ended => closed,
        () = stops.another() => return Ok(Stopped::Forced),
    };
    match closed {
        Ok(closed) => closed.map(|()| Stopped::Drained).map_err(CollectorError::Close),
        Err(panicked) => Err(CollectorError::Start(std::io::Error::other(panicked))),
    }
}

fn reload(notary: &Notary, read: &Arc<ReadAccepted>, warn: &Arc<Warn>) {
    match read() {
        Ok(accepted) => notary.accept(accepted),
        Err(reason) => {
            let text = format!("the logs stay as they were: {reason}");
            warn(&Warning::SettingsKept.says(&text));
        }
    }
}

async fn serve(listener: TcpListener, app: Arc<App>) {
    let router = router(Arc::clone(&app));
    let mut stopping = app.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => return,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let Some(seat) = app.seats.take(Guest::new(address.ip(), None)) else { continue };
        let (router, stopping) = (router.clone(), app.stopping.clone());
        tokio::spawn(converse(stream, Asker(network(address.ip())), router, (seat, stopping)));
    }
}

/// As the collector does it: see [`front`](super::front).
async fn converse(
    stream: TcpStream,
    asker: Asker,
    router: Router,
    (seat, mut stopping): (Seat, watch::Receiver<bool>),
) {
    let router = TowerToHyperService::new(router);
    let seat = Arc::new(seat);
    let stream = Patient::new(stream, WRITE, Arc::clone(&seat));
    let sitting = Arc::clone(&seat);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(asker);
        let busy = sitting.busy();
        let answer = router.call(request);
        async move {
            let _busy = busy.ok_or(std::io::ErrorKind::ConnectionAborted)?;
            let Ok(response) = answer.await;
            Ok::<_, std::io::Error>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ)
        .half_close(true)
        .max_buf_size(READ_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let rest = tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(IDLE) => READ + WRITE,
        () = seat.over() => LEAVING,
        () = stopped(&mut stopping) => READ + WRITE,
    };
    connection.as_mut().graceful_shutdown();
    // Whoever is not done by then has had long enough.
    let _ = tokio::time::timeout(rest, connection).await;
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(checkpoint))
        .route("/", get(root))
        .with_state(app)
}

impl App {
    /// What is answered to whoever asks too often.
    fn too_often(&self, request: &Request) -> Option<Response> {
        let asker = request.extensions().get::<Asker>().filter(|asker| !asker.0.is_loopback())?;
        let clock = &self.notary.log().options().clock;
        let source = asker.0.to_string();
        match self.requests.check(&source, clock.boot_ms() * 1_000, clock.now()) {
            Decision::Allowed => None,
            Decision::Refused { retry_after } => {
                let seconds = retry_after.as_secs().saturating_add(1);
                let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
                let seconds = HeaderValue::from(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                Some(response)
            }
        }
    }
}

async fn add_checkpoint(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Some(refused) = app.too_often(&request) {
        return refused;
    }
    let body = to_bytes(request.into_body(), MAX_BODY_BYTES);
    let body = match tokio::time::timeout(READ, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("a request has at most {MAX_BODY_BYTES} bytes\n");
            return plain(StatusCode::PAYLOAD_TOO_LARGE, text);
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"),
    };
    let notary = Arc::clone(&app.notary);
    match tokio::task::spawn_blocking(move || notary.add_checkpoint(&body)).await {
        Ok(answer) => response(answer),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n"),
    }
}

async fn checkpoint(
    State(app): State<Arc<App>>,
    Path(origin_hash): Path<String>,
    request: Request,
) -> Response {
    if let Some(refused) = app.too_often(&request) {
        return refused;
    }
    let notary = Arc::clone(&app.notary);
    let found = tokio::task::spawn_blocking(move || notary.checkpoint(&origin_hash)).await;
    match found {
        Ok(Some(note)) => plain(StatusCode::OK, note),
        _ => {
            plain(StatusCode::NOT_FOUND, "this witness has not cosigned a checkpoint of that log\n")
        }
    }
}

async fn root(State(app): State<Arc<App>>) -> Response {
    plain(StatusCode::OK, format!("auditctl witness\n{}\n", app.notary.verifier()))
}

fn response(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if answer.status == 503 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn plain(status: StatusCode, body: impl Into<String>) -> Response {
    let content_type = "text/plain; charset=utf-8";
    response(Answer { status: status.as_u16(), content_type, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::keys::cosignature::CosigningKey;
    use crate::audit::{AuditLog, Options};
    use crate::witness::KeyOf;

    #[test]
    fn an_address_that_asks_without_end_is_asked_to_wait_and_a_proxy_here_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = AuditLog::open(Options::new(dir.path().join("logs"))).expect("open");
        let key = KeyOf::New(CosigningKey::generate("w").expect("a key"));
        let notary = Notary::new(log, key, Accepted::default(), false).expect("a witness");
        let (_stop, stopping) = watch::channel(false);
        let app = App {
            notary: Arc::new(notary),
            requests: RateLimiter::new(Some(REQUESTS)),
            seats: Seats::new(1, 1, 1, MOMENT),
            stopping,
        };
        let asked = |ip: &str| {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(Asker(ip.parse().expect("an address")));
            app.too_often(&request).map(|response| {
                assert!(response.headers().contains_key(header::RETRY_AFTER));
                response.status()
            })
        };
        let refused = (0..1_000).filter_map(|_| asked("192.0.2.7")).next();
        assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(asked("192.0.2.8"), None);
        assert!((0..1_000).all(|_| asked("127.0.0.1").is_none()));
    }
}
