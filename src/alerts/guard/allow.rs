//! The internal targets that an operator has allowed.

use std::net::{IpAddr, SocketAddr};

use super::address::{canonical, within};

/// One entry of `alerting.allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Name(String, Option<u16>),
    Address(IpAddr, Option<u16>),
    Network(IpAddr, u32),
}

/// The entries of `alerting.allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

/// An entry that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is no target: {reason}; write a name (\"hooks.internal\"), an address \
     (\"10.1.2.3\"), either with a port (\"hooks.internal:8443\", \"[fd00::1]:8443\"), or a \
     network (\"10.1.2.0/24\")"
)]
pub struct AllowError {
    entry: String,
    reason: &'static str,
}

impl AllowList {
    /// Reads the entries.
    ///
    /// # Errors
    /// The first that means nothing.
    pub fn parse(entries: &[String]) -> Result<Self, AllowError> {
        let read = |entry: &String| {
            parse(entry.trim()).map_err(|reason| AllowError { entry: entry.clone(), reason })
        };
        entries.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a host is allowed by its name.
    pub(super) fn has_name(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| match entry {
            Entry::Name(name, only) => name == host && only.is_none_or(|only| only == port),
            _ => false,
        })
    }

    /// Whether an address is allowed as such, or by its network.
    pub(super) fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = canonical(address);
        self.0.iter().any(|entry| match entry {
            Entry::Name(..) => false,
            Entry::Address(allowed, only) => {
                *allowed == address && only.is_none_or(|only| only == port)
            }
            Entry::Network(network, prefix) => match (address, network) {
                (IpAddr::V4(one), IpAddr::V4(net)) => {
                    within(u32::from(one).into(), u32::from(*net).into(), *prefix, 32)
                }
                (IpAddr::V6(one), IpAddr::V6(net)) => {
                    within(one.into(), (*net).into(), *prefix, 128)
                }
                _ => false,
            },
        })
    }
}

fn parse(text: &str) -> Result<Entry, &'static str> {
    if let Some((network, prefix)) = text.split_once('/') {
        let network: IpAddr = network.parse().map_err(|_| "before the \"/\" is no address")?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        return match prefix.parse() {
            Ok(0) => Err("this network is all of the internet"),
            Ok(prefix) if prefix <= width => Ok(Entry::Network(canonical(network), prefix)),
            _ => Err("behind the \"/\" is no prefix length"),
        };
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Entry::Address(canonical(address), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Entry::Address(canonical(address.ip()), Some(address.port())));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => {
            let port: u16 = port.parse().map_err(|_| "behind the \":\" is no port")?;
            (name, Some(port))
        }
        None => (text, None),
    };
    let name = name.to_ascii_lowercase();
    if !is_name(&name) {
        return Err("it is neither a name nor an address");
    }
    Ok(Entry::Name(name, port))
}

/// A host's name as DNS has it, which no reader takes for a number.
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // WHATWG: a host whose last label is a number is an IPv4 address, or nothing.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    name.len() <= 253 && name.split('.').all(label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entry: &str) -> Result<AllowList, AllowError> {
        AllowList::parse(&[entry.to_owned()])
    }

    #[test]
    fn an_entry_allows_what_it_says_and_nothing_beside_it() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (entry, ip, port, allowed) in [
            ("10.1.2.0/24", "10.1.2.255", 1, true),
            ("10.1.2.0/24", "10.1.3.0", 1, false),
            ("10.1.2.0/24", "::ffff:10.1.2.7", 1, true),
            ("127.0.0.1:8080", "127.0.0.1", 8080, true),
            ("127.0.0.1:8080", "127.0.0.1", 8081, false),
            ("127.0.0.1", "127.0.0.1", 9, true),
            ("fd00::/8", "fd12::1", 1, true),
            ("fd00::/8", "fc12::1", 1, false),
            ("fd00::1", "fd00::1", 7, true),
            ("[fd00::1]:7", "fd00::1", 7, true),
            ("[fd00::1]:7", "fd00::1", 8, false),
            ("fe80::/128", "fe80::", 8, true),
            ("hooks.internal", "10.1.2.3", 8, false),
        ] {
            let list = list(entry).expect(entry);
            assert_eq!(list.has_address(address(ip), port), allowed, "{entry} {ip} {port}");
        }
        let named = list("Hooks.Internal:8443").expect("a name");
        assert!(named.has_name("hooks.internal", 8443) && !named.has_name("hooks.internal", 443));
        assert!(!named.has_name("x.hooks.internal", 8443));
    }

    #[test]
    fn an_entry_that_means_nothing_is_refused_with_an_example() {
        for entry in
            ["", "0.0.0.0/0", "::/0", "10.0.0.0/33", "x/8", "a b", "0x7f.1", "127.1", "a:b", "a..b"]
        {
            let error = list(entry).expect_err(entry).to_string();
            assert!(error.contains("10.1.2.0/24"), "{error}");
        }
    }
}
