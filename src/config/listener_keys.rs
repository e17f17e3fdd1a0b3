//! Reading `[listener.NAME]` tables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::kind::Kind;
use super::names;
use super::origin::Origin;
use super::value::{Field, Raw, RawTable, no_reason};

/// Listeners in one file, at most.
const MAX_LISTENERS: usize = 16;

/// The keys of a `[listener.NAME]` table: name, what it is.
pub const LISTENER_KEYS: &[(&str, &str)] = &[
    (
        "address",
        "An address on loopback, such as \"127.0.0.1:9751\", or the absolute path of a Unix socket",
    ),
    ("format", "The mapping of what is sent there, such as \"vault\""),
];

/// What an address has to be, for messages.
const ADDRESS: &str =
    "an address on loopback, such as \"127.0.0.1:9751\", or the absolute path of a Unix socket";

/// Where foreign events come in without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: ListenerAddress,
    /// The mapping's name.
    pub format: String,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerAddress {
    /// On loopback.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Reads the tables; what is wrong is told, each with its line.
pub(super) fn read(
    path: &Path,
    RawTable { entries, .. }: RawTable,
    problems: &mut Vec<ConfigError>,
) -> Vec<Listener> {
    let mut found = Vec::new();
    if entries.len() > MAX_LISTENERS {
        let message =
            format!("{}: {} listeners; at most {MAX_LISTENERS}", path.display(), entries.len());
        problems.push(ConfigError::Conflict { keys: vec!["listener"], message });
    }
    for (name, raw, line) in entries.into_iter().take(MAX_LISTENERS) {
        let Raw::Table(table) = raw else {
            let expected = "a table: [listener.NAME] on a line of its own";
            problems.push(invalid(path, line, &name, &raw, expected));
            continue;
        };
        found.extend(one(path, name, table, problems));
    }
    found
}

fn invalid(path: &Path, line: usize, key: &str, found: &Raw, expected: &str) -> ConfigError {
    ConfigError::Invalid {
        origin: Origin::File { path: path.to_owned(), line },
        key: "listener",
        found: format!("{key} = {}", found.shown()),
        expected: expected.to_owned(),
        reason: String::new(),
    }
}

fn one(
    path: &Path,
    name: String,
    table: RawTable,
    problems: &mut Vec<ConfigError>,
) -> Option<Listener> {
    let (mut address, mut format) = (None, None);
    let before = problems.len();
    for (key, raw, line) in &table.entries {
        match (&**key, raw.word_or_text()) {
            ("address", Some(text)) => match parse(text) {
                Some(parsed) => address = Some(parsed),
                None => problems.push(invalid(path, *line, key, raw, ADDRESS)),
            },
            ("format", Some(text)) => format = Some(text.to_owned()),
            ("address" | "format", None) => {
                problems.push(invalid(path, *line, key, raw, &Kind::Text.expectation()));
            }
            _ => problems.push(ConfigError::Unknown {
                origin: Origin::File { path: path.to_owned(), line: *line },
                key: format!("listener.{name}.{key}"),
                hint: names::for_own_key(key, LISTENER_KEYS.iter().map(|(key, _)| *key)),
            }),
        }
    }
    if problems.len() > before {
        return None;
    }
    match (address, format) {
        (Some(address), Some(format)) => Some(Listener { name, address, format }),
        (address, _) => {
            let missing = if address.is_none() { "address" } else { "format" };
            let at = Origin::File { path: path.to_owned(), line: table.line };
            let name = name.escape_debug();
            let message = format!("{at}: [listener.{name}]: {missing} is missing");
            problems.push(ConfigError::Conflict { keys: vec!["listener"], message });
            None
        }
    }
}

fn parse(text: &str) -> Option<ListenerAddress> {
    if text.starts_with('/') {
        return Some(ListenerAddress::Unix(PathBuf::from(text)));
    }
    let address: SocketAddr = text.parse().ok()?;
    address.ip().is_loopback().then_some(ListenerAddress::Tcp(address))
}

/// For comparing, and for the record of a change.
impl Field for Vec<Listener> {
    const KIND: Kind = Kind::Tables("[listener.NAME]");
    fn read(_: &Raw) -> Result<Self, String> {
        Err(no_reason())
    }
    fn text(&self) -> String {
        let one = |listener: &Listener| {
            let address = match &listener.address {
                ListenerAddress::Tcp(address) => address.to_string(),
                ListenerAddress::Unix(path) => path.display().to_string(),
            };
            format!(
                "{} = {{ address = {address:?}, format = {:?} }}",
                listener.name, listener.format
            )
        };
        let all: Vec<String> = self.iter().map(one).collect();
        if all.is_empty() { String::new() } else { format!("{{ {} }}", all.join(", ")) }
    }
}
