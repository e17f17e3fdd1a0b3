//! The collector: one process that owns the log and takes events from others,
//! over a Unix socket (NDJSON both ways, pipelined) and HTTP.
//!
//! The engine stays synchronous: a plain thread watches how far acknowledgement
//! is and tells the connections, which never wait for the writer in any other way.

pub mod client;
#[doc(hidden)]
#[cfg(any(test, feature = "testing"))]
pub mod harness;

mod accept;
mod auth;
mod budget;
mod connection;
mod coverage;
mod credentials;
mod decode;
mod door;
mod feed;
mod followed;
mod front;
mod gate;
mod hangup;
mod headers;
mod http;
mod imports;
mod ingest;
mod intake;
mod listen;
mod notify;
mod options;
mod otlp;
mod page;
mod patient;
mod pieces;
mod places;
mod presence;
mod protocol;
mod prove;
mod push;
mod pushed;
mod query;
mod question;
mod rates;
mod reader;
mod reply;
mod root;
mod routes;
mod seats;
mod server;
mod sessions;
mod socket;
mod stops;
mod tally;
mod tls;
mod tokens;
mod turns;
mod upload;
mod verification;
mod vitals;
mod warning;
#[cfg(feature = "application")]
mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::access::TokenFileError;
use crate::access::tls::{Pair, TlsError};
use crate::audit::{AuditLog, Durability, RecordError};
use crate::config::Settings;

pub use crate::fsio::socket::MAX_SOCKET_PATH_BYTES;
pub use budget::MIN_BUDGET;
pub(crate) use connection::MAX_ASKED;
pub use credentials::{TOKENS_LOOKED_AT_EVERY, TokenOptions};
pub use options::CollectorOptions;
pub(crate) use protocol::MAX_IN_FLIGHT;
pub use protocol::{FEATURES, PROTOCOL, REFUSALS, REQUESTS};
pub use push::{PostCheckpoint, Push, PushUrl};
pub use routes::routes;
pub use server::Trust;
pub use warning::Warning;
#[cfg(feature = "application")]
pub use witness::{WitnessOptions, listen_for_witness, run_witness};

/// How health is wanted over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum HealthFormat {
    /// As `health --json`.
    Json,
    /// Prometheus's text format.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

/// What may change while the collector runs.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Reloaded {
    /// Users who may write, besides root and the collector's own.
    pub allowed_uids: Vec<u32>,
    /// Groups that may write.
    pub allowed_gids: Vec<u32>,
    /// Users who may query, besides root and the collector's own.
    pub read_uids: Vec<u32>,
    /// Groups that may query.
    pub read_gids: Vec<u32>,
    /// The tokens for HTTP.
    pub tokens: TokenOptions,
    /// The certificate for HTTPS and its key.
    pub tls: Option<Pair>,
}

/// Renders health: HTTP status, content type, body.
pub type RenderHealth = dyn Fn(HealthFormat) -> (u16, String, String) + Send + Sync;
/// Reads the settings again.
pub type Reload = dyn Fn() -> Result<Reloaded, String> + Send + Sync;
/// The settings as they are now.
pub(crate) type Current = dyn Fn() -> Settings + Send + Sync;
/// Told what an operator should know.
pub type Warn = dyn Fn(&str) + Send + Sync;
/// Called before the log is closed, or after.
pub type BeforeClose = dyn Fn() + Send + Sync;
/// Told once events can be taken.
pub type OnReady = dyn Fn(&Ready) + Send + Sync;

/// Where events are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Ready {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The bound address.
    pub http: Option<SocketAddr>,
    /// Whether HTTP is HTTPS.
    pub https: bool,
}

/// How the collector ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Stopped {
    /// Everything read was answered, and the log closed.
    Drained,
    /// Another signal came, and not just the first one twice. The log is not closed, and
    /// what hangs may be just that: nothing should be waited for. What was acknowledged is
    /// durable.
    Forced,
}

/// Why the collector did not start.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum CollectorError {
    /// The socket cannot be made.
    #[error("socket {path}: {reason}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The socket's path does not fit into its address.
    #[error(
        "the socket's path {path} has {bytes} bytes; the system allows {MAX_SOCKET_PATH_BYTES}"
    )]
    SocketPath {
        /// Where.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Somebody listens on the socket.
    #[error("another collector listens at {path}")]
    SocketInUse {
        /// Where.
        path: PathBuf,
    },
    /// Somebody's file is where the socket is wanted.
    #[error("{path} exists and is not a socket, so the collector leaves it alone")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The HTTP address cannot be taken.
    #[error("HTTP on {address}: {source}")]
    Http {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A listener cannot be made.
    #[error("[listener.{name}]: {reason}")]
    Listener {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Anything but loopback needs a token.
    #[error("HTTP on {0} needs a token: set collector.token_file, or listen on 127.0.0.1")]
    NeedsToken(SocketAddr),
    /// Anything but loopback needs TLS, here or before it.
    #[error(
        "HTTP on {0} needs TLS: set collector.tls_cert and collector.tls_key, or, if a proxy on \
         another machine provides it, collector.allow_plain_http"
    )]
    NeedsTls(SocketAddr),
    /// The tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The process cannot be set up.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The log did not close cleanly.
    #[error(transparent)]
    Close(RecordError),
}

/// How far acknowledgement is, as the connections see it.
#[derive(Clone, Debug)]
struct Seen {
    acked_seq: u64,
    trouble: Option<RecordError>,
}

/// What every connection shares.
struct Hub {
    log: AuditLog,
    progress: watch::Receiver<Seen>,
    stopping: watch::Receiver<bool>,
    access: RwLock<auth::Access>,
    credentials: credentials::Credentials,
    strangers: gate::Strangers,
    limits: connection::Limits,
    counts: places::Counts,
    hall: front::Hall,
    max_body: usize,
    budget: Arc<budget::Budget>,
    turns: Arc<turns::Turns>,
    imports: Arc<imports::Imports>,
    queries: Arc<Semaphore>,
    /// Turns of queries that summaries may take.
    summaries: Arc<Semaphore>,
    audit_reads: bool,
    /// Tokens of an hour, for the page.
    sessions: sessions::Sessions,
    /// Where HTTP is, if anywhere.
    door: Option<door::Door>,
    rates: Arc<rates::Rates>,
    page: page::Looks,
    mappings: crate::config::Mappings,
    vitals: vitals::Vitals,
    coverage: coverage::Coverage,
    verification: verification::Verification,
    warn: Arc<Warn>,
}

impl Hub {
    fn new(
        log: AuditLog,
        options: &CollectorOptions,
        access: auth::Access,
        credentials: credentials::Credentials,
        stopping: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            progress: watch_progress(&log)?,
            stopping,
            access: RwLock::new(access),
            credentials,
            strangers: gate::Strangers::new(),
            limits: connection::Limits {
                read: options.read_timeout,
                write: options.write_timeout,
                idle: options.idle_timeout,
            },
            counts: places::Counts::new(options.max_connections, options.max_connections_per_uid),
            hall: front::Hall::new(
                options.max_connections,
                options.max_connections_per_uid,
                options.max_connections_per_address,
            ),
            queries: Arc::new(Semaphore::new(query::AT_ONCE)),
            summaries: Arc::new(Semaphore::new(query::AT_ONCE / 2)),
            audit_reads: options.audit_reads,
            sessions: sessions::Sessions::new(),
            door: None,
            rates: rates::Rates::begin(&log),
            page: page::Looks::new(Arc::clone(&options.settings)),
            mappings: options.mappings.clone(),
            max_body: usize::try_from(options.max_body).unwrap_or(usize::MAX),
            budget: budget::Budget::new(
                usize::try_from(options.max_memory.max(MIN_BUDGET)).unwrap_or(usize::MAX),
            ),
            turns: Arc::default(),
            imports: Arc::default(),
            vitals: vitals::Vitals::new(Arc::clone(&options.health)),
            coverage: coverage::Coverage::new(
                options.push.as_ref().and_then(|push| push.to.clone()),
                options.elsewhere.clone(),
            ),
            verification: verification::Verification::default(),
            warn: Arc::clone(&options.warn),
            log,
        })
    }
}

/// How long a drained stop may take.
const DRAIN: Duration = Duration::from_secs(10);

/// Options found good, with what had to be had before the log is opened.
#[derive(Debug)]
pub struct Prepared {
    options: CollectorOptions,
    access: auth::Access,
    credentials: credentials::Credentials,
    http: Option<std::net::TcpListener>,
    listeners: Vec<listen::Bound>,
}

/// Checks the options and takes HTTP's address, so that what is wrong with them
/// is said before the log is opened.
///
/// # Errors
/// See [`CollectorError`].
pub fn prepare(options: CollectorOptions) -> Result<Prepared, CollectorError> {
    socket::check_path(&options.socket)?;
    let access = auth::Access::new(
        (&options.allowed_uids, &options.allowed_gids),
        (&options.read_uids, &options.read_gids),
    );
    if let Some(far) = options.http.filter(|address| !address.ip().is_loopback()) {
        if options.tokens.file.is_none() {
            return Err(CollectorError::NeedsToken(far));
        }
        if options.tls.is_none() && !options.allow_plain_http {
            return Err(CollectorError::NeedsTls(far));
        }
    }
    let credentials = credentials::Credentials::load(&options.tokens, options.tls.as_ref())?;
    let http = options.http.map(listen).transpose()?;
    let listeners = options.listeners.iter();
    let listeners = listeners.map(|one| listen::Bound::new(one.clone(), &options.mappings));
    let listeners = listeners.collect::<Result<_, _>>()?;
    Ok(Prepared { options, access, credentials, http, listeners })
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, CollectorError> {
    bind_tcp(address).map_err(|source| CollectorError::Http { address, source })
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Runs until SIGTERM or SIGINT, answers what was read and closes the log. Another one ends it
/// at once, unless it is the same signal within half a second: that is the first, sent twice.
///
/// # Errors
/// When it cannot start: nothing was taken then, and closing the log is the
/// caller's. Or when the log did not close cleanly.
pub async fn run(log: AuditLog, prepared: Prepared) -> Result<Stopped, CollectorError> {
    let Prepared { options, access, credentials, http, listeners } = prepared;
    socket::raise_file_limit();
    let open_to_others = access.open_to_others();
    let (stop, stopping) = watch::channel(false);
    let mut hub = Hub::new(log, &options, access, credentials, stopping)?;
    let address = http.as_ref().and_then(|listener| listener.local_addr().ok());
    hub.door = address.map(door::Door);
    let hub = Arc::new(hub);
    let mut stops = stops::Stops::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let http = http.map(tokio::net::TcpListener::from_std).transpose()?;
    let (listener, guard) = socket::bind(&options.socket, open_to_others)?;
    let guard = Arc::new(guard);
    let ready = Ready {
        socket: options.socket.clone(),
        http: http.as_ref().and_then(|listener| listener.local_addr().ok()),
        https: hub.credentials.tls().is_some(),
    };
    hub.credentials.tell(&hub.log);
    hub.credentials.warn_of_certificate(&hub.log, &*options.warn);
    warn_of_unknown_users(&hub, ready.http, &*options.warn);
    let mut presence = presence::Presence::new(Arc::clone(&guard));
    let look = move |hub: &Hub| presence.look(hub);
    let listeners = listeners.into_iter().map(|listener| listener.serve(&hub));
    let mut servers = listeners.collect::<Result<Vec<_>, _>>()?;
    servers.push(tokio::spawn(socket::serve(listener, look, Arc::clone(&hub))));
    if let Some(listener) = http {
        servers.push(tokio::spawn(front::serve(listener, Arc::clone(&hub))));
    }
    // Who is told that it is ready finds on the page what stands there.
    hub.log.page().publish();
    (options.ready)(&ready);
    let manager = notify::Manager::at(options.notify_socket.clone());
    manager.ready();
    let watchdog = tokio::spawn(notify::watchdog(manager.clone(), hub.log.clone()));
    let watching = tokio::spawn(credentials::watch(Arc::clone(&hub), Arc::clone(&options.warn)));
    let counting = tokio::spawn(rates::count(Arc::clone(&hub)));
    let pushing = options.push.as_ref().map(|push| {
        let pusher = Arc::new(Mutex::new(push::Pusher::new(push)));
        let every =
            push_every(push.every, hub.log.clone(), Arc::clone(&pusher), Arc::clone(&options.warn));
        (pusher, tokio::spawn(every))
    });
    loop {
        tokio::select! {
            () = stops.first() => break,
            _ = hangup.recv() => reload(&hub, &guard, &options.reload, &options.warn).await,
        }
    }
    manager.stopping();
    watchdog.abort();
    watching.abort();
    counting.abort();
    // Receivers live in the hub, so this cannot fail.
    let _ = stop.send(true);
    let ended = async {
        for server in servers {
            let _ = server.await;
        }
        let until = tokio::time::Instant::now() + DRAIN;
        while hub.counts.open() + hub.hall.open() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(guard);
        let log = hub.log.clone();
        let warn = Arc::clone(&options.warn);
        let (before_close, after_close) = (options.before_close, options.after_close);
        tokio::task::spawn_blocking(move || {
            before_close();
            let closed = log.close();
            // The last one covers the end itself.
            if let Some((pusher, _)) = pushing {
                push_once(&log, &pusher, &warn);
            }
            after_close();
            closed
        })
        .await
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

/// Without tokens only users who are known may send over HTTP.
fn warn_of_unknown_users(hub: &Hub, http: Option<SocketAddr>, warn: &Warn) {
    let Some(address) = http.filter(|_| hub.credentials.tokens().is_none()) else { return };
    if let Some(error) = front::cannot_tell_users(address) {
        let text = format!(
            "the kernel does not say who connects to http://{address} ({error}), so nobody can \
             send events there"
        );
        let hint = "use the socket, or set collector.token_file. Under systemd, add AF_NETLINK to \
                    RestrictAddressFamilies=";
        warn(&Warning::UsersUnknown.says_with(&text, Some(hint)));
    }
}

async fn push_every(
    every: Duration,
    log: AuditLog,
    pusher: Arc<Mutex<push::Pusher>>,
    warn: Arc<Warn>,
) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let (log, pusher, warn) = (log.clone(), Arc::clone(&pusher), Arc::clone(&warn));
        // May hang where the other end is a network's: nobody else waits for it.
        let _ = tokio::task::spawn_blocking(move || push_once(&log, &pusher, &warn)).await;
    }
}

fn push_once(log: &AuditLog, pusher: &Mutex<push::Pusher>, warn: &Arc<Warn>) {
    // Held by one that hangs: to wait for it would hang as well.
    let said = pusher.try_lock().map(|mut pusher| pusher.push(log)).unwrap_or_default();
    said.iter().for_each(|said| warn(said));
}

async fn reload(
    hub: &Arc<Hub>,
    guard: &socket::SocketGuard,
    reload: &Arc<Reload>,
    warn: &Arc<Warn>,
) {
    let (reload, reloading, told) = (Arc::clone(reload), Arc::clone(hub), Arc::clone(warn));
    let outcome = tokio::task::spawn_blocking(move || {
        let new = reload()?;
        let tokens = new.tokens.clone();
        reloading.credentials.reload(&reloading.log, tokens, new.tls.as_ref(), &*told);
        Ok(new)
    });
    match outcome.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(new) => {
            let writers = (&new.allowed_uids[..], &new.allowed_gids[..]);
            let access = auth::Access::new(writers, (&new.read_uids[..], &new.read_gids[..]));
            if let Err(error) = guard.open_to_others(access.open_to_others()) {
                let text = format!("cannot change the socket's mode: {error}");
                warn(&Warning::SocketMode.says(&text));
            }
            *hub.access.write().unwrap_or_else(std::sync::PoisonError::into_inner) = access;
        }
        Err(error) => {
            let text = format!("cannot reload the settings, so the old ones stay in use: {error}");
            warn(&Warning::SettingsKept.says(&text));
        }
    }
}

/// Ends when the collector is told to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives as long as `run`; without it there is nothing to stop.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A plain thread that waits for the writer and tells the connections.
fn watch_progress(log: &AuditLog) -> Result<watch::Receiver<Seen>, std::io::Error> {
    let (tell, seen) = watch::channel(Seen { acked_seq: log.acked_seq(), trouble: None });
    let log = log.clone();
    // With interval durability what is accepted is acknowledged: waiting for that
    // would return at once, again and again, as long as anybody sends. Only
    // trouble is news then.
    let interval = log.options().durability == Durability::Interval;
    std::thread::Builder::new().name("collector-progress".to_owned()).spawn(move || {
        let mut last = 0;
        // Ends once everyone who could wait has gone.
        while !tell.is_closed() {
            let beyond = if interval { u64::MAX } else { last };
            let progress = log.wait_progress(beyond, Duration::from_millis(250));
            let closed = matches!(progress.trouble, Some(RecordError::Closed));
            last = progress.acked_seq;
            tell.send_if_modified(|seen| {
                let changed = seen.acked_seq != progress.acked_seq
                    || seen.trouble.is_some() != progress.trouble.is_some();
                *seen = Seen { acked_seq: progress.acked_seq, trouble: progress.trouble };
                changed
            });
            if closed {
                return;
            }
        }
    })?;
    Ok(seen)
}
