//! What may be written as a target, and which addresses it may have.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use reqwest::Url;

use super::address::{Class, classify};
use super::allow::{AllowList, is_name, port_of};

/// Longer addresses are no webhooks.
const MAX_URL_BYTES: usize = 2_048;
/// Ports below 1024 that webhooks have.
const WEB_PORTS: [u16; 2] = [80, 443];
/// Ports that mail servers take mail at.
const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2_525];
/// Names that never are on the public internet (RFC 6761, RFC 6762, RFC 8375 and
/// ICANN's reservation of `internal`), and their endings.
const OWN_NAMES: [&str; 7] =
    ["localhost", "local", "internal", "home.arpa", "localdomain", "lan", "intranet"];

/// Why a target is refused. Tells the host, never what follows it: that may be
/// a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read, or in two ways.
    #[error("the address cannot be used: {0}")]
    Malformed(String),
    /// Not https.
    #[error(
        "{scheme}:// is refused: only https is allowed. To use http, add the target to \
         alerting.allow and set alerting.allow_http = true"
    )]
    Scheme {
        /// What was asked for.
        scheme: String,
    },
    /// A name or password in the address.
    #[error(
        "a name or password in the address is refused; put it into the path, or use a secret_file"
    )]
    Credentials,
    /// A port that no such service has.
    #[error(
        "port {port} of {host} is refused: it is not a port for this purpose. To allow it, \
             add the target to alerting.allow"
    )]
    Port {
        /// Where.
        host: String,
        /// Which.
        port: u16,
    },
    /// A name that is only known inside.
    #[error(
        "{host} is refused: it is the name of an internal host. To allow it, add it to \
             alerting.allow"
    )]
    OwnName {
        /// Which.
        host: String,
    },
    /// An address that is not public.
    #[error(
        "{host} is refused: its address {address} is {what}. To allow it, add it to \
             alerting.allow"
    )]
    Address {
        /// Where.
        host: String,
        /// Which.
        address: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// In the clear to somebody who is not in the list.
    #[error(
        "{host} ({address}) is refused: without TLS, only targets in alerting.allow are allowed"
    )]
    Plain {
        /// Where.
        host: String,
        /// Which.
        address: IpAddr,
    },
}

/// A host as it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// To be looked up.
    Name(String),
    /// Needs no looking up.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Somewhere to connect to, found good as it is written.
#[derive(Clone)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Whether nothing protects the connection.
    pub plain: bool,
    /// The web address; `None` for a mail server.
    pub(crate) url: Option<Url>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Host and port.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Address(IpAddr::V6(six)) => write!(f, "[{six}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What an operator permits.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Internal targets.
    pub allow: AllowList,
    /// Whether they may be reached without TLS.
    pub allow_http: bool,
}

impl Policy {
    /// Checks a web address as it is written; its name's addresses are checked
    /// when it is connected to.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn web(&self, text: &str) -> Result<Target, Refusal> {
        let malformed = |why: &str| Refusal::Malformed(why.to_owned());
        if text.len() > MAX_URL_BYTES {
            return Err(malformed("it is longer than 2048 bytes"));
        }
        // Readers differ in what they make of these: some drop them, some end there.
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(malformed("it holds a space, a control character or a backslash"));
        }
        let url = Url::parse(text).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let plain = match url.scheme() {
            "https" => false,
            "http" if self.allow_http => true,
            scheme => return Err(Refusal::Scheme { scheme: scheme.to_owned() }),
        };
        let authority = authority(text);
        if !url.username().is_empty() || url.password().is_some() || authority.contains('@') {
            return Err(Refusal::Credentials);
        }
        let host = url.host_str().ok_or_else(|| malformed("it has no host"))?;
        let host = host_of(host).ok_or_else(|| malformed("its host is not a name"))?;
        if let Host::Address(_) = host {
            // 0x7f.1, 2130706433, 127.1, full-width digits: an address that hides.
            let written = authority.rsplit_once(':').map_or(authority, |(host, port)| {
                if port.ends_with(']') { authority } else { host }
            });
            let plainly = written.trim_start_matches('[').trim_end_matches(']');
            if plainly.parse::<IpAddr>().ok().map(Host::Address) != Some(host.clone()) {
                return Err(malformed("its host is an address in an odd notation"));
            }
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let target = Target { host, port, plain, url: Some(url) };
        self.judge(&target, port >= 1_024 || WEB_PORTS.contains(&port))?;
        Ok(target)
    }

    /// Checks a mail server, `host:port`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn mail(&self, text: &str, plain: bool) -> Result<Target, Refusal> {
        let refuse = || Refusal::Malformed(format!("{text:?} is not host:port"));
        if plain && !self.allow_http {
            return Err(Refusal::Scheme { scheme: "smtp_tls = \"none\": smtp".to_owned() });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port_of(port).ok_or_else(refuse)?;
        let host = host_of(&host.to_ascii_lowercase()).ok_or_else(refuse)?;
        let target = Target { host, port, plain, url: None };
        self.judge(&target, MAIL_PORTS.contains(&port))?;
        Ok(target)
    }

    /// What can be said before a look-up.
    fn judge(&self, target: &Target, usual_port: bool) -> Result<(), Refusal> {
        let Target { host, port, .. } = target;
        let allowed = match host {
            Host::Name(name) => self.allow.has_name(name, *port),
            Host::Address(address) => self.allow.has_address(*address, *port),
        };
        if *port == 0 || !usual_port && !allowed {
            return Err(Refusal::Port { host: host.to_string(), port: *port });
        }
        match host {
            Host::Address(address) => self.address(target, *address),
            Host::Name(name) => {
                let own = !name.contains('.')
                    || OWN_NAMES.iter().any(|own| {
                        let rest = name.strip_suffix(own);
                        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    });
                if own && !allowed {
                    return Err(Refusal::OwnName { host: name.clone() });
                }
                Ok(())
            }
        }
    }

    /// Checks an address that the target has.
    ///
    /// # Errors
    /// Why it is not connected to.
    pub fn address(&self, target: &Target, address: IpAddr) -> Result<(), Refusal> {
        let host = || target.host.to_string();
        let explicit = self.allow.has_address(address, target.port);
        let named = match &target.host {
            Host::Name(name) => self.allow.has_name(name, target.port),
            Host::Address(_) => false,
        };
        match classify(address) {
            _ if explicit => Ok(()),
            Class::Internal(_) if named => Ok(()),
            Class::Public if named || !target.plain => Ok(()),
            Class::Public => Err(Refusal::Plain { host: host(), address }),
            Class::Internal(what) | Class::Special(what) => {
                Err(Refusal::Address { host: host(), address, what })
            }
        }
    }
}

/// What stands between `://` and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn host_of(text: &str) -> Option<Host> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(six) = bare {
        return six.parse::<Ipv6Addr>().ok().map(|six| Host::Address(six.into()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Address(address));
    }
    is_name(text).then(|| Host::Name(text.to_owned()))
}
