//! What is wrong with the settings, in words that lead to the place.

use std::fmt;
use std::path::PathBuf;

use super::origin::Origin;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error(
        "{}:{line}:{column}: not valid TOML: {message}; expected lines such as write_buffer_size = 100",
        .path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A key or an environment variable that does not exist.
    #[error("{}: unknown setting{}", place(origin, key), because(hint))]
    Unknown {
        /// Where it was given.
        origin: Origin,
        /// As it was given: a dotted key, or a variable's name.
        key: String,
        /// What was probably meant; may be empty.
        hint: String,
    },
    /// A value that its key cannot have.
    #[error("{}: found {found}, expected {expected}{}", place(origin, key), because(reason))]
    Invalid {
        /// Where it was given.
        origin: Origin,
        /// The dotted key, or the section.
        key: &'static str,
        /// The value as it was written.
        found: String,
        /// What it must be, with an example and the range.
        expected: String,
        /// What exactly is wrong; may be empty.
        reason: String,
    },
    /// A variable whose name or value is not text, or not what somebody meant to write.
    #[error("{variable}: {reason}")]
    Variable {
        /// Its name, as far as it can be shown.
        variable: String,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// Two values that cannot be true together.
    #[error("{message}")]
    Conflict {
        /// The dotted keys, the one to change first.
        keys: Vec<&'static str>,
        /// Both keys, both values, where they come from and what to do.
        message: String,
    },
}

impl ConfigError {
    /// Where it is and what kind of problem, without any value.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Syntax { path, line, column, .. } => {
                format!("{}:{line}:{column}: not valid TOML", path.display())
            }
            // The key may be anything, a secret in the wrong place too.
            Self::Unknown { origin, .. } => format!("{origin}: unknown setting"),
            Self::Invalid { origin, key, .. } => format!("{}: invalid", place(origin, key)),
            Self::Variable { variable, .. } => format!("{variable}: invalid"),
            Self::Conflict { keys, .. } => format!("{}: in conflict", keys.join(", ")),
        }
    }
}

/// `auditctl.toml:12: write_buffer_size`; the variable's name is not said twice.
fn place(origin: &Origin, key: &str) -> String {
    match origin {
        Origin::Env(variable) if variable == key => variable.clone(),
        _ => format!("{origin}: {}", key.escape_debug()),
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!("; {reason}") }
}

/// Everything that is wrong, in the order of the layers; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} problems in the settings:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
