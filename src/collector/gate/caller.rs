//! Who asks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::access::Token;
use crate::audit::{Origin, Via};
use crate::collector::reader::Reader;
use crate::collector::seats::Guest;
use crate::collector::sessions::Session;
use crate::collector::tokens::Known;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(in crate::collector) struct Peer {
    pub(in crate::collector) ip: IpAddr,
    /// The user of this machine whose connection it is, by the kernel's word.
    pub(in crate::collector) uid: Option<u32>,
}

impl Peer {
    /// Nobody that could be told. Every connection's requests carry theirs.
    pub(in crate::collector) const NOBODY: Self =
        Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), uid: None };
}

/// Who asks, and may.
#[derive(Clone, Debug)]
pub(in crate::collector) enum Caller {
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
pub(in crate::collector) struct Holder {
    pub(super) known: Known,
    pub(super) peer: Option<String>,
}

impl Holder {
    pub(in crate::collector) fn token(&self) -> &Token {
        &self.known.token
    }
}

/// A user of this machine, in a session.
#[derive(Debug)]
pub(in crate::collector) struct Visitor {
    pub(in crate::collector) session: Arc<Session>,
    pub(super) peer: Option<String>,
}

impl Caller {
    /// Who reads, and whose share of the memory that takes.
    pub(in crate::collector) fn reader(&self, guest: Guest) -> Reader {
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
    pub(in crate::collector) fn origin(&self) -> Origin {
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
    pub(in crate::collector) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Token(holder) => Some(&holder.known.events),
            Self::Here { .. } | Self::Stranger | Self::Person(_) | Self::Listener { .. } => None,
        }
    }

    /// Whether the limit of each source is not its: a rate was set for it, and that
    /// is its only limit.
    pub(in crate::collector) fn has_own_rate(&self) -> bool {
        matches!(self, Self::Token(holder) if holder.known.token.rate.is_some())
    }
}

/// Whose it is, as far as that is known.
pub(super) fn source_of(peer: Peer) -> String {
    match peer.uid {
        Some(uid) => format!("uid:{uid}"),
        None => peer.ip.to_canonical().to_string(),
    }
}

/// The address of a peer that is not on this machine.
pub(super) fn elsewhere(peer: Peer) -> Option<String> {
    let ip = Some(peer.ip.to_canonical()).filter(|ip| !ip.is_loopback());
    ip.map(|ip| ip.to_string())
}
