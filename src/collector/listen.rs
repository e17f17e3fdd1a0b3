//! `[listener.NAME]`: foreign events over TCP on loopback or a Unix socket, without answers,
//! as Vault's socket device sends them.
//!
//! Who may send is asked of the kernel, as at the socket. What becomes of what is sent is in
//! [`feed`].

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::gate::{Peer, unanswered};
use super::places::Place;
use super::warning::Warning;
use super::{CollectorError, Hub, feed, front, socket};
use crate::audit::state::security::SecurityKind;
use crate::config::{Listener, ListenerAddress};
use crate::mapping::Mapping;

const BACK_OFF: Duration = Duration::from_millis(50);

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
fn greet<S: feed::Sender>(
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
        if let Some(lost) = feed::take(stream, &caller, peer, &mapping, &hub).await {
            let text = format!(
                "listener {name}: {} events that had been read were not recorded: {}",
                lost.events, lost.why
            );
            (hub.warn)(&Warning::ListenerLost.says(&text));
        }
    });
}
