//! Looking a name up once, and connecting to what was checked.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::target::{Host, Policy, Refusal, Target};

/// Addresses of one name that are looked at, at most.
const MAX_ADDRESSES: usize = 32;

/// How names become addresses.
pub trait Lookup: Send + Sync + fmt::Debug {
    /// The addresses of a name. May block.
    ///
    /// # Errors
    /// When it has none, or nobody knows.
    fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name could not be looked up; later it may be.
    #[error("{host} cannot be looked up: {reason}")]
    Failed {
        /// Which.
        host: String,
        /// Why.
        reason: String,
    },
    /// It has an address that must not be connected to.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A policy with a way to look names up.
#[derive(Clone, Debug)]
pub struct Guard {
    /// What is permitted.
    pub policy: Policy,
    /// How names are looked up.
    pub lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// The addresses that may be connected to: all of the target's, each checked.
    /// A single bad one refuses the target: whoever mixes them in is up to no good.
    ///
    /// # Errors
    /// [`ResolveError::Failed`] also when the look-up takes longer than `timeout`.
    pub async fn resolve(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(name, timeout).await?,
        };
        for address in &addresses {
            self.policy.address(target, *address)?;
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
    }

    async fn look_up(&self, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let failed = |reason: String| ResolveError::Failed { host: name.to_owned(), reason };
        let (lookup, asked) = (Arc::clone(&self.lookup), name.to_owned());
        let looking = tokio::task::spawn_blocking(move || lookup.lookup(&asked));
        let found = match tokio::time::timeout(timeout, looking).await {
            Err(_) => return Err(failed("no answer in time".to_owned())),
            Ok(Err(panicked)) => return Err(failed(panicked.to_string())),
            Ok(Ok(found)) => found.map_err(|error| failed(error.to_string()))?,
        };
        match found.len() {
            0 => Err(failed("it has no address".to_owned())),
            count if count > MAX_ADDRESSES => Err(failed(format!(
                "it has {count} addresses; at most {MAX_ADDRESSES} are checked"
            ))),
            _ => Ok(found),
        }
    }
}

/// A resolver that knows one name, whose addresses were checked, and no other.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The name.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        let found: Result<Addrs, Box<dyn std::error::Error + Send + Sync>> =
            if name.as_str() == self.host {
                Ok(Box::new(self.addresses.clone().into_iter()))
            } else {
                Err(format!("{} was not checked", name.as_str()).into())
            };
        Box::pin(std::future::ready(found))
    }
}
