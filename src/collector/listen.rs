//! `[listener.NAME]`: foreign events over TCP on loopback or a Unix socket, without answers,
//! as Vault's socket device sends them.
//!
//! Whoever gets no answer cannot send again. So nothing is refused that can be taken later:
//! it is not read on until what was read is durable, and the sender waits, or does what it
//! does when it cannot write. Who may send is asked of the kernel, as at the socket.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::gate::{Caller, Peer, unanswered};
use super::ingest::Ingest;
use super::intake::{Intake, REQUEST_BYTES};
use super::places::Place;
use super::seats::Guest;
use super::tally::Tally;
use super::warning::Warning;
use super::{CollectorError, Hub, front, socket};
use crate::audit::state::security::SecurityKind;
use crate::config::{Listener, ListenerAddress};
use crate::mapping::Mapping;

const BACK_OFF: Duration = Duration::from_millis(50);
/// Read at a time.
const PART: usize = 64 << 10;
/// Between two tries of what cannot be taken now.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A listener that was bound before the log was opened.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Listener,
    tcp: Option<std::net::TcpListener>,
    mapping: Arc<Mapping>,
}

impl Bound {
    /// Takes its address, and its mapping.
    pub(super) fn new(
        listener: Listener,
        mappings: &crate::config::Mappings,
    ) -> Result<Self, CollectorError> {
        let unusable =
            |reason: String| CollectorError::Listener { name: listener.name.clone(), reason };
        let mapping = mappings.get(&listener.format).ok_or_else(|| {
            let names = mappings.names().join(", ");
            unusable(format!("there is no mapping {:?}; there are {names}", listener.format))
        })?;
        let tcp = match &listener.address {
            ListenerAddress::Tcp(address) => {
                let bound = super::bind_tcp(*address);
                let bound = bound.map_err(|error| unusable(format!("{address}: {error}")))?;
                Some(bound)
            }
            ListenerAddress::Unix(path) => {
                socket::check_path(path)?;
                None
            }
        };
        Ok(Self { listener, tcp, mapping })
    }

    /// Listens until the collector stops.
    pub(super) fn serve(self, hub: &Arc<Hub>) -> Result<JoinHandle<()>, CollectorError> {
        let Self { listener, tcp, mapping } = self;
        let name: Arc<str> = listener.name.into();
        let hub = Arc::clone(hub);
        if let Some(tcp) = tcp {
            let tcp = TcpListener::from_std(tcp)?;
            return Ok(tokio::spawn(serve_tcp(tcp, name, mapping, hub)));
        }
        let ListenerAddress::Unix(path) = listener.address else {
            return Ok(tokio::spawn(async {}));
        };
        let open_to_others =
            hub.access.read().unwrap_or_else(PoisonError::into_inner).open_to_others();
        let (unix, guard) = socket::bind(&path, open_to_others)?;
        Ok(tokio::spawn(async move {
            serve_unix(unix, name, mapping, hub).await;
            drop(guard);
        }))
    }
}

async fn serve_tcp(listener: TcpListener, name: Arc<str>, mapping: Arc<Mapping>, hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = front::peer_of(&stream, address, true);
                greet(stream, peer, None, (&name, &mapping), &hub);
            }
            Err(error) => back_off(&error).await,
        }
    }
}

async fn serve_unix(listener: UnixListener, name: Arc<str>, mapping: Arc<Mapping>, hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let credentials = stream.peer_cred().ok();
                let uid = credentials.map(|credentials| credentials.uid());
                let gid = credentials.map(|credentials| credentials.gid());
                let peer = Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), uid };
                greet(stream, peer, gid, (&name, &mapping), &hub);
            }
            Err(error) => back_off(&error).await,
        }
    }
}

async fn back_off(error: &std::io::Error) {
    tracing::warn!(code = Warning::NotAccepted.code(), %error, "accept failed");
    tokio::time::sleep(BACK_OFF).await;
}

/// Lets in who may write, and has a place.
fn greet<S: AsyncRead + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    gid: Option<u32>,
    (name, mapping): (&Arc<str>, &Arc<Mapping>),
    hub: &Arc<Hub>,
) {
    let (name, mapping, hub) = (Arc::clone(name), Arc::clone(mapping), Arc::clone(hub));
    tokio::spawn(async move {
        let report = |kind, detail: &str| {
            let source = peer.uid.map(|uid| format!("uid:{uid}"));
            hub.log.security().report_stranger(kind, source.as_deref(), detail);
        };
        let Some(caller) = unanswered(&hub, peer, gid).await else {
            return report(SecurityKind::Unauthorized, "may not send to a listener");
        };
        let Some(uid) = peer.uid else { return };
        let keeper = hub.access.read().unwrap_or_else(PoisonError::into_inner).may_import(uid);
        let Some(_place) = Place::take(&hub, uid, keeper) else {
            return report(SecurityKind::HostilePeer, "too many connections to a listener");
        };
        let lost = take(stream, &caller, peer, &mapping, &hub).await;
        if lost > 0 {
            tracing::warn!(
                code = Warning::ListenerLost.code(),
                listener = &*name,
                events = lost,
                "events that had been read were not recorded before the collector stopped"
            );
        }
    });
}

/// Takes what a peer sends until it leaves or the collector stops; how many events were
/// read and are not recorded.
async fn take<S: AsyncRead + Unpin>(
    mut stream: S,
    caller: &Caller,
    peer: Peer,
    mapping: &Mapping,
    hub: &Hub,
) -> usize {
    let guest = Guest::new(peer.ip, peer.uid);
    let share = loop {
        let patience = hub.log.options().overflow_timeout;
        match hub.budget.take(guest, REQUEST_BYTES, patience).await {
            Ok(share) => break share,
            Err(_) if *hub.stopping.borrow() => return 0,
            Err(_) => tokio::time::sleep(AGAIN.0).await,
        }
    };
    let mut ingest = Ingest::new(Intake::new(hub, caller, guest, (share, 0)), mapping);
    ingest.waits_for_its_rate();
    let mut pieces = mapping.pieces(crate::audit::record::event::MAX_LINE_BYTES);
    let mut stopping = hub.stopping.clone();
    let mut part = vec![0; PART];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut part) => read.unwrap_or(0),
            () = super::stopped(&mut stopping) => return 0,
        };
        if ingest.intake.may().is_err() {
            return 0;
        }
        let mut lines = Vec::new();
        let mut rest = &part[..read];
        while let Some(found) = pieces.next(&mut rest) {
            lines.extend(ingest.line_of(found));
        }
        if read == 0
            && let Some(found) = pieces.end()
        {
            lines.extend(ingest.line_of(found));
        }
        let lost = record(&mut ingest, lines, hub).await;
        if lost > 0 || read == 0 {
            return lost;
        }
        let held = ingest.intake.hold_bytes(3 * pieces.bytes()).await;
        if held.is_err() {
            tokio::time::sleep(AGAIN.0).await;
        }
    }
}

/// Records lines, however long it takes; how many are not when the collector stops.
async fn record(ingest: &mut Ingest<'_>, mut lines: Vec<Vec<u8>>, hub: &Hub) -> usize {
    let mut stopping = hub.stopping.clone();
    while !lines.is_empty() {
        for line in &lines {
            // Why it is not taken is in the tally, or it was not looked at at all.
            if ingest.mapped_line(line).await.is_err() {
                break;
            }
        }
        let _ = ingest.intake.submit().await;
        ingest.intake.settle().await;
        let tally = std::mem::take::<Tally>(&mut ingest.intake.tally);
        let seen = usize::try_from(tally.lines()).unwrap_or(usize::MAX).min(lines.len());
        let again = tally.again();
        let wait = tally.retry_after().unwrap_or_default().clamp(AGAIN.0, AGAIN.1);
        let mut at = 0;
        lines.retain(|_| {
            at += 1;
            at > seen || again.contains(&(at as u64))
        });
        if lines.is_empty() {
            return 0;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = super::stopped(&mut stopping) => return lines.len(),
        }
    }
    0
}
