//! How something is, in one word.

use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Healthy,
    /// Somebody should look at it.
    Warning,
    /// Events are refused or at risk, or records are damaged.
    Critical,
    /// It cannot be seen.
    Unknown,
}

impl Status {
    /// As written in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// The worse of both: critical, then warning, then unknown, then healthy.
    /// Something known to be bad outweighs something that is not known.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    /// From 0, healthy, to 3, critical: what [`Status::worst`] goes by.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }
}
