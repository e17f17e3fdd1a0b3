//! Health and the status page as Prometheus metrics.
//!
//! The names are documented by their help texts. Counters count since the log
//! was opened; Prometheus knows what to make of their starting again.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::audit::security::SecurityKind;
use crate::audit::status::{SYNC_BUCKETS_MICROS, StatusSnapshot, Word};
use crate::health::{HealthReport, Status};

/// All metrics in the text format 0.0.4, or in OpenMetrics 1.0; ends in a line
/// end. Without a page there are only those that health knows by itself.
#[must_use]
pub fn prometheus(
    report: &HealthReport,
    page: Option<&StatusSnapshot>,
    openmetrics: bool,
) -> String {
    let mut families = Families(of_report(report));
    if let Some(page) = page {
        families.0.extend(of_page(page));
    }
    let mut registry = Registry::with_prefix("auditctl");
    registry.register_collector(Box::new(families));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a string does not fail");
    if openmetrics { out } else { to_text_format(&out) }
}

/// One metric with all its label sets.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Label, Sample)>,
}

/// At most one label: name, value.
type Label = Option<(&'static str, &'static str)>;

#[derive(Debug)]
enum Sample {
    Count(u64),
    Value(f64),
    /// Sum, count, and (upper bound, how many) for each bucket.
    Histogram(f64, u64, Vec<(f64, u64)>),
}

#[derive(Debug)]
struct Families(Vec<Family>);
