//! Metric families as text: OpenMetrics 1.0, or the older Prometheus text
//! format 0.0.4, which node_exporter's textfile collector and `promtool check
//! metrics` read.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{Family, Label, Samples, families};
use crate::audit::status::StatusSnapshot;
use crate::health::HealthReport;

/// The report, and what the status page counts, for Prometheus: the same for a
/// textfile and over HTTP. `openmetrics` chooses the format
/// (`application/openmetrics-text; version=1.0.0`, else `text/plain; version=0.0.4`).
#[must_use]
pub fn prometheus(
    report: &HealthReport,
    page: Option<&StatusSnapshot>,
    openmetrics: bool,
) -> String {
    let mut registry = Registry::with_prefix("auditctl");
    registry.register_collector(Box::new(Families(families(report, page))));
    let mut text = String::with_capacity(16 * 1024);
    text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    if openmetrics { text } else { as_text_format(&text) }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, samples } in &self.0 {
            match samples {
                Samples::Counter(samples) => {
                    let mut metric =
                        encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    for (label, value) in samples {
                        labelled(&mut metric, *label, |metric| {
                            metric.encode_counter::<NoLabelSet, u64, f64>(value, None)
                        })?;
                    }
                }
                Samples::Gauge(samples) => {
                    let mut metric =
                        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    for (label, value) in samples {
                        labelled(&mut metric, *label, |metric| metric.encode_gauge(value))?;
                    }
                }
                Samples::Histogram { sum, count, buckets } => {
                    encoder
                        .encode_descriptor(name, help, None, MetricType::Histogram)?
                        .encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

fn labelled(
    metric: &mut MetricEncoder<'_>,
    label: Option<Label>,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    match label {
        Some(label) => encode(&mut metric.encode_family(&[label])?),
        None => encode(metric),
    }
}

/// The older format names a counter's family with its `_total`, and has no end mark.
fn as_text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 256);
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{total} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
