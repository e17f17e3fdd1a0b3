//! Connections without a network, for fuzz targets and tests: the code that
//! serves peers, over streams in memory, on a real log.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::connection::{self, Peer};
use super::gate::Strangers;
use super::places::Place;
use super::seats::Guest;
use super::{
    CollectorError, CollectorOptions, Hub, Prepared, Reloaded, TokenOptions, feed, front, gate,
    http, prepare,
};
use crate::audit::AuditLog;

/// Room in a stream in memory: less than an answer can be, so that both sides wait.
const PIPE_BYTES: usize = 16 * 1024;
/// Events and requests a second: as many as come.
const NO_RATE: u32 = 1_000_000;
/// Nothing here is about time.
const LONG: Duration = Duration::from_secs(3_600);

/// A collector that nobody can reach but its owner.
pub struct Harness {
    runtime: Runtime,
    hub: Arc<Hub>,
    router: axum::Router,
    _stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Harness")
    }
}

impl Harness {
    /// On this log; with a token file HTTP asks for a token, which has no rate to speak of.
    ///
    /// # Errors
    /// See [`CollectorError`].
    pub fn new(log: AuditLog, token_file: Option<PathBuf>) -> Result<Self, CollectorError> {
        let options = CollectorOptions {
            socket: PathBuf::from("audit.sock"),
            http: None,
            tokens: TokenOptions { file: token_file, rate: NO_RATE, requests: NO_RATE },
            audit_reads: false,
            max_connections: 16,
            max_connections_per_uid: 16,
            max_connections_per_address: 16,
            read_timeout: LONG,
            write_timeout: LONG,
            idle_timeout: LONG,
            max_body: 256 * 1024,
            max_memory: super::MIN_BUDGET,
            health: Arc::new(|_| (200, "text/plain".to_owned(), "healthy\n".to_owned())),
            reload: Arc::new(|| Ok(Reloaded::default())),
            warn: Arc::new(|_| ()),
            ..CollectorOptions::new("logs")
        };
        let Prepared { options, access, credentials, .. } = prepare(options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = watch::channel(false);
        let mut hub = Hub::new(log, &options, access, credentials, stopping)?;
        hub.strangers = Strangers::unlimited();
        hub.credentials.tell(&hub.log);
        let hub = Arc::new(hub);
        let router = http::router(Arc::clone(&hub), true);
        Ok(Self { runtime, hub, router, _stop: stop })
    }

    #[cfg(test)]
    pub(super) fn block_on<F: Future>(&self, of: impl FnOnce(Arc<Hub>) -> F) -> F::Output {
        self.runtime.block_on(of(Arc::clone(&self.hub)))
    }

    /// What a peer of the socket, of this process's own user, is answered that
    /// sends these chunks one after the other and then says that it has no more.
    ///
    /// # Errors
    /// The system's; a peer that is hung up on gets what was answered before.
    pub fn socket(&self, chunks: &[&[u8]]) -> io::Result<Vec<u8>> {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        self.runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair()?;
            let place =
                Place::take(&self.hub, uid, true).ok_or(io::ErrorKind::ConnectionRefused)?;
            let peer = Peer { uid, gid, pid: None };
            let served = connection::serve(ours, Arc::clone(&self.hub), place, peer);
            let ((), answers) = tokio::join!(served, talk(theirs, chunks));
            answers
        })
    }

    /// The same over HTTP, on a loopback address, of this process's own user.
    ///
    /// # Errors
    /// As [`socket`](Self::socket).
    pub fn http(&self, chunks: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let (ip, uid) = (IpAddr::from(Ipv4Addr::LOCALHOST), rustix::process::getuid().as_raw());
            let peer = gate::Peer { ip, uid: Some(uid) };
            let seat = self.hub.hall.seats.take(Guest::User(uid));
            let seat = seat.ok_or(io::ErrorKind::ConnectionRefused)?;
            let served = front::converse(ours, peer, &self.hub, self.router.clone(), seat);
            let ((), answers) = tokio::join!(served, talk(theirs, chunks));
            answers
        })
    }

    /// How many events of what a program of this process's own user sends to a listener of
    /// this format are lost; `meanwhile` is called before it sends anything.
    ///
    /// # Errors
    /// As [`socket`](Self::socket), and when there is no such format.
    pub fn listener(
        &self,
        format: &str,
        meanwhile: impl FnOnce(),
        chunks: &[&[u8]],
    ) -> io::Result<usize> {
        let mapping = self.hub.mappings.get(format).ok_or(io::ErrorKind::NotFound)?;
        self.runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair()?;
            let (ip, uid) = (IpAddr::from(Ipv4Addr::LOCALHOST), rustix::process::getuid().as_raw());
            let peer = gate::Peer { ip, uid: Some(uid) };
            let caller = gate::Caller::Listener { uid, groups: Vec::new() };
            let taken = feed::take(ours, &caller, peer, &mapping, &self.hub);
            let sent = async {
                meanwhile();
                talk(theirs, chunks).await
            };
            let (lost, sent) = tokio::join!(taken, sent);
            sent.map(|_| lost.map_or(0, |lost| lost.events))
        })
    }
}

/// Sends the chunks, and takes the answers meanwhile.
async fn talk(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite,
    chunks: &[&[u8]],
) -> io::Result<Vec<u8>> {
    let (mut answers, mut requests) = tokio::io::split(stream);
    let ask = async {
        for chunk in chunks {
            // Hung up on: what was answered before is still to be read.
            if requests.write_all(chunk).await.is_err() {
                return;
            }
            // The other side gets its turn between any two.
            tokio::task::yield_now().await;
        }
        let _ = requests.shutdown().await;
    };
    let listen = async {
        let mut text = Vec::new();
        match answers.read_to_end(&mut text).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(text),
        }
    };
    let ((), text) = tokio::join!(ask, listen);
    text
}
