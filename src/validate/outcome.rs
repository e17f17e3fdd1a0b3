//! How checks end, and the sections that they stand in.

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It could not be looked at, or was not asked for; the message says why.
    Skipped,
    /// As it should be.
    Passed,
    /// It works, and somebody should look at it.
    Warning,
    /// It must be put right first.
    Failed,
}

impl Status {
    /// As written in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether somebody has to do something.
    #[must_use]
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Warning | Self::Failed)
    }
}

/// The parts of the report, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Section {
    /// What is configured.
    Settings,
    /// Who may do what with the files.
    Permissions,
    /// What is around the program.
    Environment,
    /// Measured here and now.
    Performance,
    /// The protections, tried.
    Security,
}

impl Section {
    /// In the report's order.
    pub const ALL: [Self; 5] =
        [Self::Settings, Self::Permissions, Self::Environment, Self::Performance, Self::Security];

    /// Its heading.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Permissions => "Permissions",
            Self::Environment => "Environment",
            Self::Performance => "Performance",
            Self::Security => "Security",
        }
    }
}
