//! What the holder of a token may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What can be asked of the collector over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Send events.
    Write,
    /// Read records.
    Query,
    /// Read the newest checkpoint: the tree's size and root, no record.
    Checkpoint,
    /// Read health and metrics.
    Health,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Write, Self::Query, Self::Checkpoint, Self::Health];

    /// For messages: "may not ...".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "send events",
            Self::Query => "query",
            Self::Checkpoint => "read the checkpoint",
            Self::Health => "read health and metrics",
        }
    }
}

/// What a token is for. Each may do as little as its holder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sends events: a service. Reads no record.
    Write,
    /// Reads records: an auditor, a report. Writes nothing.
    Read,
    /// Both.
    ReadWrite,
    /// Health, metrics and the checkpoint: Prometheus, a witness. No record.
    Monitor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Write, Self::Read, Self::ReadWrite, Self::Monitor];

    /// As typed and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::ReadWrite => "read-write",
            Self::Monitor => "monitor",
        }
    }

    /// Whether it has the right.
    #[must_use]
    pub fn allows(self, right: Right) -> bool {
        match right {
            Right::Write => matches!(self, Self::Write | Self::ReadWrite),
            Right::Query => matches!(self, Self::Read | Self::ReadWrite),
            Right::Checkpoint => !matches!(self, Self::Write),
            Right::Health => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|role| role.as_str()).collect();
            format!("a role is one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_reads_nothing_and_who_reads_writes_nothing() {
        use Right::{Checkpoint, Health, Query, Write};
        for (role, rights) in [
            (Role::Write, &[Write, Health][..]),
            (Role::Read, &[Query, Checkpoint, Health]),
            (Role::ReadWrite, &[Write, Query, Checkpoint, Health]),
            (Role::Monitor, &[Checkpoint, Health]),
        ] {
            for right in Right::ALL {
                assert_eq!(role.allows(right), rights.contains(&right), "{role}: {right:?}");
            }
        }
    }

    #[test]
    fn a_role_is_written_and_stored_alike() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            let stored = serde_json::to_string(&role).expect("a text");
            assert_eq!(stored, format!("\"{role}\""));
        }
        assert!("admin".parse::<Role>().expect_err("unknown").contains("read-write"));
    }
}
