//! The shape of the JSON document.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::health::samples::every_state;

/// The document's shape, as those who read it may rely on it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Document {
    status: String,
    timestamp: Timestamp,
    uptime_seconds: Option<u64>,
    checks: Vec<DocumentCheck>,
    summary: DocumentSummary,
    metadata: DocumentMetadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentCheck {
    component: String,
    status: String,
    code: Option<String>,
    message: String,
    metrics: serde_json::Map<String, serde_json::Value>,
    hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentSummary {
    total_checks: usize,
    healthy: usize,
    warning: usize,
    critical: usize,
    unknown: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct DocumentMetadata {
    audit_file: String,
    last_event_time: Option<Timestamp>,
    version: String,
    pid: Option<u64>,
    state: String,
    log_dir: String,
    mode: Option<String>,
    started_at: Option<Timestamp>,
    next_seq: Option<u64>,
    durable_seq: Option<u64>,
    heartbeat_at: Option<Timestamp>,
}

#[test]
fn the_document_has_its_shape_in_every_state() {
    for (state, sample) in every_state() {
        let text = serde_json::to_string(&sample.health().report).expect("serialises");
        let document: Document = serde_json::from_str(&text).expect(&text);
        assert_eq!(document.metadata.state, state);
        assert!(document.metadata.audit_file.ends_with("logs/audit.log"));
        let summary = &document.summary;
        let sum = summary.healthy + summary.warning + summary.critical + summary.unknown;
        assert_eq!((sum, document.checks.len()), (9, 9));
        assert_eq!(summary.total_checks, 9);
        for check in document.checks {
            assert!(["healthy", "warning", "critical", "unknown"].contains(&check.status.as_str()));
            assert_eq!(check.code.is_some(), check.status != "healthy", "{}", check.component);
            let scalar = |value: &serde_json::Value| !value.is_object() && !value.is_array();
            assert!(check.metrics.values().all(scalar), "{}", check.component);
            assert!(!check.message.is_empty() && check.hint.is_none_or(|hint| !hint.is_empty()));
        }
    }
}
