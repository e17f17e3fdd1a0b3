//! A summary as JSON.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::groups::Group;
use super::histogram::Histogram;
use super::step::Step;
use super::summary::{Counted, Summary, Value};
use crate::clock::{Timestamp, display_seconds};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SummaryDocument {
    total: u64,
    complete: bool,
    /// The records from this seq on were looked at; then the time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    looked_from: Option<u64>,
    /// The earliest and the latest time.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    histogram: HistogramDocument,
    by: ByDocument,
}

#[derive(Debug, Serialize, Deserialize)]
struct HistogramDocument {
    step: String,
    /// `null` where it depends on the month.
    step_seconds: Option<u64>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    counts: Vec<u64>,
    /// Where each bucket begins.
    starts: Vec<String>,
    earlier: u64,
    later: u64,
    undated: u64,
}

/// In the order asked for, by what was asked.
#[derive(Debug)]
struct ByDocument(Vec<(String, CountedDocument)>);

#[derive(Debug, Serialize, Deserialize)]
struct CountedDocument {
    values: Vec<ValueDocument>,
    other: u64,
    distinct: u64,
    exact: bool,
    error: u64,
    beyond_each: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ValueDocument {
    value: Box<RawValue>,
    /// For records that have no such field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missing: bool,
    count: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    series: Vec<u64>,
}

impl SummaryDocument {
    pub(super) fn of(summary: &Summary) -> serde_json::Result<Self> {
        let by = summary.by.iter().map(|counted| {
            let values = counted.values.iter().map(|value| {
                Ok(ValueDocument {
                    value: RawValue::from_string(value.group.json().into_owned())?,
                    missing: value.group == Group::Missing,
                    count: value.records,
                    series: value.series.clone(),
                })
            });
            let document = CountedDocument {
                values: values.collect::<serde_json::Result<_>>()?,
                other: counted.other,
                distinct: counted.distinct,
                exact: counted.error == 0,
                error: counted.error,
                beyond_each: counted.bound,
            };
            Ok((counted.by.clone(), document))
        });
        let histogram = &summary.histogram;
        Ok(Self {
            total: summary.records,
            complete: summary.is_complete(),
            looked_from: summary.looked_from,
            from: summary.span.map(|span| span.0),
            to: summary.span.map(|span| span.1),
            histogram: HistogramDocument {
                step: histogram.step.as_str().to_owned(),
                step_seconds: histogram.step.seconds(),
                start: histogram.start,
                end: histogram.end(),
                counts: histogram.counts.clone(),
                starts: histogram.starts().map(display_seconds).collect(),
                earlier: histogram.earlier,
                later: histogram.later,
                undated: histogram.undated,
            },
            by: ByDocument(by.collect::<serde_json::Result<_>>()?),
        })
    }

    pub(super) fn summary(self) -> Summary {
        let by = self.by.0.into_iter().map(|(by, counted)| Counted {
            by,
            values: counted
                .values
                .into_iter()
                .map(|value| Value {
                    group: Group::written(value.value.get(), value.missing),
                    records: value.count,
                    series: value.series,
                })
                .collect(),
            other: counted.other,
            distinct: counted.distinct,
            error: counted.error,
            bound: counted.beyond_each,
        });
        let histogram = self.histogram;
        Summary {
            records: self.total,
            span: self.from.zip(self.to),
            histogram: Histogram {
                step: Step::named(&histogram.step).unwrap_or(Step::NARROWEST),
                start: histogram.start,
                counts: histogram.counts,
                earlier: histogram.earlier,
                later: histogram.later,
                undated: histogram.undated,
            },
            by: by.collect(),
            looked_from: self.looked_from,
            sketch: None,
        }
    }
}

impl Serialize for ByDocument {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (by, counted) in &self.0 {
            map.serialize_entry(by, counted)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ByDocument {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = ByDocument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("what is counted, by its name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ByDocument, M::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(ByDocument(all))
            }
        }

        from.deserialize_map(InOrder)
    }
}
