//! From what was written to a typed value, and back to text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::durability::Durability;
use super::kind::Kind;
use super::names;
use super::profile::Profile;
use crate::field_path::{FieldPath, FieldPathError, MAX_FIELD_PATHS};
use crate::origin_prefix::{OriginPrefix, OriginPrefixError};
use crate::units::{ByteSize, format_duration, parse_duration};

/// A value as it was written, before its key says what it must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// From the environment or a flag, where everything is text.
    Word(String),
    /// A string in the file.
    Text(String),
    /// An integer in the file.
    Integer(i128),
    /// A boolean in the file.
    Bool(bool),
    /// An array in the file.
    List(Vec<Raw>),
    /// Tables in the file.
    Tables(Vec<RawTable>),
    /// A table in the file.
    Table(RawTable),
    /// Anything else in the file: what it is, in words.
    Other(String),
}

/// A table in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawTable {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// Its keys: name, value, line.
    pub(super) entries: Vec<(String, Raw, usize)>,
}

impl Raw {
    /// For messages: as it was written, quoted where it is text, cut when long.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Text(text) => {
                let cut: String = text.chars().take(64).collect();
                if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
            }
            Self::Integer(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(what) => what.clone(),
        }
    }

    pub(super) fn word_or_text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text.trim()),
            _ => None,
        }
    }
}

/// A type that a setting can have.
pub(super) trait Field: Sized {
    const KIND: Kind;
    /// On failure what is wrong beyond "not what was expected"; may be empty.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// As written in the file, without quotes; empty when unset.
    fn text(&self) -> String;
    /// Count, bytes or milliseconds: what ranges compare.
    fn magnitude(&self) -> Option<u64> {
        None
    }
}

pub(super) fn no_reason() -> String {
    String::new()
}

macro_rules! counts {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Count;
            fn read(raw: &Raw) -> Result<Self, String> {
                match raw {
                    Raw::Integer(number) => Self::try_from(*number).map_err(|_| no_reason()),
                    Raw::Word(text) => text.trim().parse().map_err(|_| no_reason()),
                    Raw::Text(text) if text.trim().parse::<Self>().is_ok() => {
                        Err("a number is written without quotes".to_owned())
                    }
                    _ => Err(no_reason()),
                }
            }
            fn text(&self) -> String {
                self.to_string()
            }
            fn magnitude(&self) -> Option<u64> {
                Some(*self as u64)
            }
        }
    )*};
}
counts!(u8, u32, u64, usize);

impl Field for bool {
    const KIND: Kind = Kind::Bool;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Word(text) => text.trim().to_ascii_lowercase().parse().map_err(|_| no_reason()),
            Raw::Text(text) if text.parse::<Self>().is_ok() => {
                Err("true and false are written without quotes".to_owned())
            }
            _ => Err(no_reason()),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Field for ByteSize {
    const KIND: Kind = Kind::Size;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(bytes) => u64::try_from(*bytes).map(Self).map_err(|_| no_reason()),
            other => other
                .word_or_text()
                .ok_or_else(no_reason)?
                .parse()
                .map_err(|error: crate::units::UnitError| error.reason().to_owned()),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn magnitude(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Field for Duration {
    const KIND: Kind = Kind::Duration;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(number) => {
                Err(format!("the number has no unit; for seconds write \"{number}s\""))
            }
            other => parse_duration(other.word_or_text().ok_or_else(no_reason)?)
                .map_err(|error| error.reason().to_owned()),
        }
    }
    fn text(&self) -> String {
        format_duration(*self)
    }
    fn magnitude(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }
}

impl Field for PathBuf {
    const KIND: Kind = Kind::Path;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            // not trimmed: a path may end in a space
            Raw::Word(text) | Raw::Text(text) if text.contains('\0') => {
                Err("a path holds no NUL character".to_owned())
            }
            Raw::Word(text) | Raw::Text(text) if text.is_empty() => Err("it is empty".to_owned()),
            Raw::Word(text) | Raw::Text(text) => Ok(Self::from(text)),
            _ => Err(no_reason()),
        }
    }
    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Field for String {
    const KIND: Kind = Kind::Text;
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.word_or_text().map(str::to_owned).ok_or_else(no_reason)
    }
    fn text(&self) -> String {
        self.clone()
    }
}

impl Field for OriginPrefix {
    const KIND: Kind = Kind::OriginPrefix;
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.word_or_text().ok_or_else(no_reason)?;
        text.parse().map_err(|error: OriginPrefixError| error.reason().to_owned())
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

const DURABILITIES: &[&str] = &["commit", "interval"];

impl Field for Durability {
    const KIND: Kind = Kind::Choice(DURABILITIES);
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.word_or_text() {
            Some("commit") => Ok(Self::Commit),
            Some("interval") => Ok(Self::Interval),
            Some(other) => Err(names::among(other, DURABILITIES)),
            None => Err(no_reason()),
        }
    }
    fn text(&self) -> String {
        match self {
            Self::Commit => "commit".to_owned(),
            Self::Interval => "interval".to_owned(),
        }
    }
}

const PROFILES: &[&str] = &["production", "high-traffic", "low-latency", "storage-optimized"];

impl Field for Profile {
    const KIND: Kind = Kind::Choice(PROFILES);
    fn read(raw: &Raw) -> Result<Self, String> {
        let name = raw.word_or_text().ok_or_else(no_reason)?;
        let known = Self::ALL.into_iter().find(|profile| profile.name() == name);
        known.ok_or_else(|| names::among(name, PROFILES))
    }
    fn text(&self) -> String {
        self.name().to_owned()
    }
}

/// Optional settings: an empty text unsets what a lower layer has set.
macro_rules! optional {
    ($($type:ty),*) => {$(
        impl Field for Option<$type> {
            const KIND: Kind = <$type as Field>::KIND;
            fn read(raw: &Raw) -> Result<Self, String> {
                if raw.word_or_text() == Some("") { return Ok(None); }
                <$type as Field>::read(raw).map(Some)
            }
            fn text(&self) -> String {
                self.as_ref().map(Field::text).unwrap_or_default()
            }
        }
    )*};
}
optional!(PathBuf, String, Profile, OriginPrefix);

impl Field for Option<SocketAddr> {
    const KIND: Kind = Kind::Address;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.word_or_text().ok_or_else(no_reason)? {
            "off" => Ok(None),
            text => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(_) if text.starts_with("localhost:") => {
                    Err("a name is not looked up; write its IP address".to_owned())
                }
                Err(_) => Err(no_reason()),
            },
        }
    }
    fn text(&self) -> String {
        self.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

impl Field for Vec<String> {
    const KIND: Kind = Kind::Texts;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(items) => items.iter().map(String::read).collect(),
            Raw::Word(text) if text.trim().is_empty() => Ok(Self::new()),
            Raw::Word(text) => Ok(text.split(',').map(|item| item.trim().to_owned()).collect()),
            _ => Err(no_reason()),
        }
    }
    fn text(&self) -> String {
        let quoted: Vec<String> = self.iter().map(|item| format!("{item:?}")).collect();
        format!("[{}]", quoted.join(", "))
    }
}

impl Field for Vec<FieldPath> {
    const KIND: Kind = Kind::Texts;
    fn read(raw: &Raw) -> Result<Self, String> {
        let texts = <Vec<String>>::read(raw)?;
        if texts.len() > MAX_FIELD_PATHS {
            return Err(format!("it has {}, more than {MAX_FIELD_PATHS}", texts.len()));
        }
        let parse = |text: &String| text.parse().map_err(|error: FieldPathError| error.to_string());
        texts.iter().map(parse).collect()
    }
    fn text(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().text()
    }
}

impl Field for Vec<u32> {
    const KIND: Kind = Kind::Ids;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(items) => items.iter().map(u32::read).collect(),
            Raw::Word(text) if text.trim().is_empty() => Ok(Self::new()),
            Raw::Word(text) => {
                text.split(',').map(|id| id.trim().parse().map_err(|_| no_reason())).collect()
            }
            _ => Err(no_reason()),
        }
    }
    fn text(&self) -> String {
        let ids: Vec<String> = self.iter().map(u32::to_string).collect();
        format!("[{}]", ids.join(", "))
    }
}
