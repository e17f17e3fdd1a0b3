//! The internal targets that an operator has allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    "{entry:?} is not a target: {reason}; write a name (\"hooks.internal\"), an address \
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
        return network_of(network, prefix);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Entry::Address(canonical(address), None));
    }
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => {
            (host, Some(port_of(port).ok_or("there is no port (1 to 65535) after the last \":\"")?))
        }
        None => (text, None),
    };
    if let Some(bare) = host.strip_prefix('[') {
        let six = bare.strip_suffix(']').and_then(|six| six.parse::<Ipv6Addr>().ok());
        let six = six.ok_or("only an IPv6 address may stand between \"[\" and \"]\"")?;
        return Ok(Entry::Address(canonical(six.into()), port));
    }
    if let Ok(four) = host.parse::<Ipv4Addr>() {
        return Ok(Entry::Address(four.into(), port));
    }
    let name = host.to_ascii_lowercase();
    if !is_name(&name) {
        return Err("it is neither a name nor an address");
    }
    Ok(Entry::Name(name, port))
}

fn network_of(network: &str, prefix: &str) -> Result<Entry, &'static str> {
    let network: IpAddr = network.parse().map_err(|_| "before the \"/\" is not an address")?;
    if canonical(network) != network {
        return Err("an IPv4 network is written as one (\"127.0.0.0/8\")");
    }
    let (bits, width) = match network {
        IpAddr::V4(four) => (u128::from(u32::from(four)), 32),
        IpAddr::V6(six) => (u128::from(six), 128),
    };
    let prefix = digits(prefix).filter(|prefix| *prefix <= width);
    match prefix {
        None => Err("after the \"/\" there is no prefix length"),
        Some(0) => Err("this network is all of the internet"),
        // Less than a whole shift: the prefix is not 0.
        Some(prefix) if bits & ((1 << (width - prefix)) - 1) != 0 => {
            Err("the address before the \"/\" lies inside the network: write the network's first \
             address")
        }
        Some(prefix) => Ok(Entry::Network(network, prefix)),
    }
}

/// A port that can be connected to.
pub(super) fn port_of(text: &str) -> Option<u16> {
    digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// A number of digits and nothing else: no sign.
fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
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
        for entry in [
            "",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "x/8",
            "a b",
            "0x7f.1",
            "127.1",
            "a:b",
            "a..b",
            // Not what they look like.
            "127.0.0.1:0",
            "hooks.internal:0",
            "[::1]:0",
            "::1]",
            "[::1",
            "[127.0.0.1]",
            "[::1]x",
            "[::1]:",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "hooks.internal:+80",
            "127.0.0.1:65536",
            "::ffff:127.0.0.1/104",
            "::ffff:127.0.0.0/104",
            "::ffff:0.0.0.0/96",
            "127.0.0.1/8",
            "fd00::1/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "/8",
            "[fe80::1%1]:80",
            "fe80::1%eth0",
            "[[::1]]",
            "[::1]:1:2",
            "a:1:2",
            "*",
            "*.internal",
            "http://a",
            "a/",
            "0177.0.0.1",
        ] {
            let error = list(entry).expect_err(entry).to_string();
            assert!(error.contains("10.1.2.0/24"), "{error}");
        }
    }
}
