//! The health report as JSON.

use crate::health::HealthReport;

/// The report, indented, without a line end.
#[must_use]
pub fn health_json(report: &HealthReport) -> String {
    serde_json::to_string_pretty(report).unwrap_or_else(|error| unserializable(&error))
}

/// The report on one line.
#[must_use]
pub fn health_json_line(report: &HealthReport) -> String {
    serde_json::to_string(report).unwrap_or_else(|error| unserializable(&error))
}

/// Only a path that is not UTF-8 comes here; serde_json has no text for it.
fn unserializable(error: &serde_json::Error) -> String {
    let message = error.to_string();
    serde_json::json!({ "status": "unknown", "error": { "kind": "encoding", "message": message } })
        .to_string()
}
