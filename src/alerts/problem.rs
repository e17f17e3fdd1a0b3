//! What is wrong with the settings of alerts.

use crate::config::Origin;

/// What is wrong with one alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {what}: {reason}")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct PlanError {
    /// Where it was set.
    pub origin: Origin,
    /// `[[alerts]] "ops": url`
    pub what: String,
    /// What is wrong.
    pub reason: String,
    /// Whether the guard refused its target.
    pub refused: bool,
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl std::fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = self.0.as_slice() {
            return std::fmt::Display::fmt(only, f);
        }
        write!(f, "{} problems with the alerts:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for PlanErrors {}
