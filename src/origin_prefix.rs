//! Whose log it is: the part of a log's origin before its id, a schema-less URL
//! (<https://c2sp.org/tlog-checkpoint>).

use std::fmt;
use std::str::FromStr;

use crate::defaults;

/// The longest prefix, in bytes. A whole origin then stays below the 255 bytes
/// that cosignatures have room for.
pub const MAX_ORIGIN_PREFIX_BYTES: usize = 128;

/// `example.com/audit`: a host, and perhaps a path. A log that is made under it has
/// the origin `example.com/audit/<log id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginPrefix(String);

/// Why a text cannot begin a log's origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot begin a log's origin: {reason}. Write a host of yours and perhaps a path, \
     without https://, such as \"example.com/audit\""
)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct OriginPrefixError {
    /// What was given, cut when long.
    text: String,
    reason: &'static str,
}

impl OriginPrefixError {
    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl OriginPrefix {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for OriginPrefix {
    /// [`defaults::ORIGIN`]: no domain, so two organizations may share it. Logs that
    /// public witnesses are to know need one of their own.
    fn default() -> Self {
        Self(defaults::ORIGIN.to_owned())
    }
}

impl fmt::Display for OriginPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for OriginPrefix {
    type Err = OriginPrefixError;

    fn from_str(text: &str) -> Result<Self, OriginPrefixError> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => {
                Err(OriginPrefixError { text: text.chars().take(80).collect(), reason })
            }
        }
    }
}

fn fault(text: &str) -> Option<&'static str> {
    let host_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let path_byte = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(host_byte)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_step =
        |step: &str| !step.is_empty() && step != "." && step != ".." && step.bytes().all(path_byte);
    let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > MAX_ORIGIN_PREFIX_BYTES {
        Some("it is longer than 128 bytes")
    } else if text.contains("://") {
        Some("it has a scheme")
    } else if text.contains(char::is_whitespace) || text.contains('+') {
        Some("it has a space or a \"+\"")
    } else if text.ends_with('/') {
        Some("it ends in \"/\"")
    } else if !host.split('.').all(is_label) {
        Some("its host may have a-z, 0-9, \"-\" and single dots, and no port")
    } else if !path.is_none_or(|path| path.split('/').all(is_step)) {
        Some("the parts of its path may have a-z, A-Z, 0-9 and . _ ~ -")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_schemaless_url_begins_an_origin_and_nothing_else_does() {
        let longest = format!("example.com/{}", "a".repeat(MAX_ORIGIN_PREFIX_BYTES - 12));
        for good in ["auditctl", "example.com", "example.com/audit", "a-1.b.c/Logs/x_~.y", &longest]
        {
            assert_eq!(good.parse::<OriginPrefix>().unwrap().as_str(), good);
        }
        assert_eq!(OriginPrefix::default().as_str().parse(), Ok(OriginPrefix::default()));
        for (bad, reason) in [
            ("", "empty"),
            ("https://example.com/audit", "scheme"),
            ("example.com/a b", "space"),
            ("example.com/a+b", "\"+\""),
            ("example.com/audit/", "ends in"),
            ("example.com//audit", "path"),
            ("example.com/../audit", "path"),
            ("example.com/Größe", "path"),
            ("Example.com", "host"),
            ("example..com", "host"),
            ("example.com:8080/audit", "host"),
            ("-example.com", "host"),
            ("/audit", "host"),
            (&format!("{longest}a"), "128"),
        ] {
            let error = bad.parse::<OriginPrefix>().unwrap_err();
            assert!(error.reason().contains(reason), "{bad}: {error}");
            assert!(error.to_string().contains("example.com/audit"), "{error}");
        }
    }
}
