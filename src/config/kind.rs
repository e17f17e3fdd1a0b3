//! What values can be, in words for messages and documents.

use std::time::Duration;

use crate::units::{ByteSize, format_duration};

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Bool,
    /// A whole number.
    Count,
    /// A number of bytes.
    Size,
    /// A length of time.
    Duration,
    /// A path, or none.
    Path,
    /// Free text, or none.
    Text,
    /// What a log's origin begins with, or nothing.
    OriginPrefix,
    /// A list of numeric ids.
    Ids,
    /// A list of texts.
    Texts,
    /// IP address and port, or `off`.
    Address,
    /// A web address, or none.
    Url,
    /// Tables of the file, each below a line of its own, which is this.
    Tables(&'static str),
    /// One of a few names.
    Choice(&'static [&'static str]),
    /// A list of such names.
    Choices(&'static [&'static str]),
}

impl Kind {
    /// In words, with an example: for "expected …".
    #[must_use]
    pub fn expectation(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Count => "a whole number such as 100".to_owned(),
            Self::Size => "a size such as \"50KiB\"".to_owned(),
            Self::Duration => "a duration such as \"5s\" or \"1h30m\"".to_owned(),
            Self::Path => "a path such as \"/var/lib/auditctl\"".to_owned(),
            Self::Text => "a text such as \"my-bucket/audit\"".to_owned(),
            Self::OriginPrefix => {
                "a host of yours and perhaps a path, without https://, such as \"example.com/audit\""
                    .to_owned()
            }
            Self::Texts => "a list of texts such as [\"one\", \"two\"]".to_owned(),
            Self::Ids => "a list of numeric ids such as [0, 1000]".to_owned(),
            Self::Address => "\"off\" or an address such as \"127.0.0.1:9750\"".to_owned(),
            Self::Url => "an address such as \"https://hooks.example.com/audit\"".to_owned(),
            Self::Tables(line) => format!("tables in the file, each below a line {line} of its own"),
            Self::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Choices(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                format!("a list of names, each one of {}", quoted.join(", "))
            }
        }
    }

    /// A magnitude (count, bytes or milliseconds) as it is written.
    #[must_use]
    pub fn show_magnitude(self, magnitude: u64) -> String {
        match self {
            Self::Size => ByteSize(magnitude).to_string(),
            Self::Duration => format_duration(Duration::from_millis(magnitude)),
            _ => magnitude.to_string(),
        }
    }

    /// Whether the file writes it in quotes.
    #[must_use]
    pub fn quoted(self) -> bool {
        !matches!(
            self,
            Self::Bool | Self::Count | Self::Ids | Self::Texts | Self::Choices(_) | Self::Tables(_)
        )
    }
}
