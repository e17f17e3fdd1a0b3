//! Where HTTP is, for people: the address that a browser on this machine opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::credentials::Credentials;

/// The address that HTTP listens on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door(pub(super) SocketAddr);

impl Door {
    /// With HTTPS by the name that the certificate is for, where it has one: a browser
    /// refuses any other.
    pub(super) fn url(&self, credentials: &Credentials) -> String {
        let port = self.0.port();
        match credentials.tls() {
            None => format!("http://{}/", here(self.0)),
            Some(tls) => match tls.host() {
                Some(host) => format!("https://{host}:{port}/"),
                None => format!("https://{}/", here(self.0)),
            },
        }
    }
}

/// An address of this machine, for one that stands for all of them.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Listening on it mostly takes both kinds.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_stands_for_all_is_this_machines() {
        for (address, opened) in [
            ("127.0.0.1:9750", "127.0.0.1:9750"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(here(address.parse().expect("an address")).to_string(), opened);
        }
    }
}
