//! How many may be connected at once, over all and of one user or address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::Hub;
use crate::audit::status::Word;

/// Who wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guest {
    /// A user, at the socket.
    User(u32),
    /// An address, at HTTP: see [`network`].
    Network(IpAddr),
    /// This machine, at HTTP: who that is, is not known.
    Here,
}

impl Guest {
    pub(super) fn at_http(address: IpAddr) -> Self {
        let network = network(address);
        if network.is_loopback() { Self::Here } else { Self::Network(network) }
    }
}

/// What one peer has for itself: an IPv4 address, or an IPv6 network of 64 bits,
/// of which every host can use every address.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// Connections at once.
#[derive(Debug)]
pub(super) struct Counts {
    max: usize,
    max_each: usize,
    open: Mutex<(usize, HashMap<Guest, usize>)>,
}

impl Counts {
    pub(super) fn new(max: usize, max_each: usize) -> Self {
        Self { max, max_each, open: Mutex::default() }
    }

    /// Room for one more.
    pub(super) fn enter(&self, guest: Guest) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 >= self.max {
            return false;
        }
        if guest != Guest::Here {
            let of_guest = open.1.entry(guest).or_default();
            if *of_guest >= self.max_each {
                return false;
            }
            *of_guest += 1;
        }
        open.0 += 1;
        true
    }

    pub(super) fn leave(&self, guest: Guest) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 -= 1;
        if let Some(of_guest) = open.1.get_mut(&guest) {
            *of_guest -= 1;
            if *of_guest == 0 {
                open.1.remove(&guest);
            }
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    hub: Arc<Hub>,
    guest: Guest,
}

impl Place {
    pub(super) fn take(hub: &Arc<Hub>, guest: Guest) -> Option<Self> {
        if !Self::counts(hub, guest).enter(guest) {
            hub.log.page().add(Word::ConnectionsRefused, 1);
            return None;
        }
        hub.log.page().add(Word::Connections, 1);
        Some(Self { hub: Arc::clone(hub), guest })
    }

    /// HTTP's peers must not take the socket's places: anybody can connect there.
    fn counts(hub: &Hub, guest: Guest) -> &Counts {
        if matches!(guest, Guest::User(_)) { &hub.counts } else { &hub.http_counts }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Self::counts(&self.hub, self.guest).leave(self.guest);
        // Two's complement: minus one.
        self.hub.log.page().add(Word::Connections, u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_this_machine_all_there_is() {
        let counts = Counts::new(5, 2);
        let guest = |address: &str| Guest::at_http(address.parse().expect("an address"));
        let one = guest("10.0.0.1");
        assert!(counts.enter(one) && counts.enter(one) && !counts.enter(one));
        assert_eq!(guest("::ffff:10.0.0.1"), one, "the same address");
        for here in ["127.0.0.1", "::1", "127.8.8.8"] {
            assert_eq!(guest(here), Guest::Here);
            assert!(counts.enter(Guest::Here));
        }
        assert!(!counts.enter(Guest::Here), "over all");
        counts.leave(one);
        assert!(counts.enter(guest("10.0.0.2")));
        assert_eq!(counts.open(), 5);
    }

    #[test]
    fn the_addresses_of_one_host_count_together() {
        let guest = |address: &str| Guest::at_http(address.parse().expect("an address"));
        assert_eq!(guest("2001:db8:1:2::1"), guest("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(guest("2001:db8:1:2::1"), guest("2001:db8:1:3::1"));
    }
}
