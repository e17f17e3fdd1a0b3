//! The numbers beside a check's message.

use serde::{Serialize, Serializer};

/// A number or text of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name within the check, with the unit: `oldest_wait_ms`.
    pub name: &'static str,
    /// What it is.
    pub value: Value,
    /// How monitoring systems get it; `None` when only people and JSON do.
    pub perf: Option<Perf>,
}

/// A metric's value. In JSON a number, a string, or null.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count or size.
    Count(u64),
    /// A measurement.
    Number(f64),
    /// A name or a time.
    Text(String),
    /// Not known.
    Missing,
}

/// A metric as Nagios performance data: unit, thresholds, range.
#[derive(Clone, Debug, PartialEq)]
pub struct Perf {
    /// Unique among all checks.
    pub label: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// From where on the check warns.
    pub warn: Option<Limit>,
    /// From where on it is critical.
    pub critical: Option<Limit>,
    /// The largest possible value.
    pub max: Option<u64>,
}

/// A unit that the Nagios plugin guidelines know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    None,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Percent.
    Percent,
    /// A counter that only grows.
    Counter,
}

/// Where trouble begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Above this.
    Above(f64),
    /// Below this.
    Below(f64),
}

impl Metric {
    /// A value for people and JSON.
    #[must_use]
    pub fn new(name: &'static str, value: impl Into<Value>) -> Self {
        Self { name, value: value.into(), perf: None }
    }

    /// A value for monitoring systems, too; the label is unique among all checks.
    #[must_use]
    pub fn perf(
        name: &'static str,
        value: impl Into<Value>,
        label: &'static str,
        unit: Unit,
    ) -> Self {
        let perf = Perf { label, unit, warn: None, critical: None, max: None };
        Self { perf: Some(perf), ..Self::new(name, value) }
    }

    /// Adds from where on the check warns and is critical.
    #[must_use]
    pub fn limits(mut self, warn: Limit, critical: Limit) -> Self {
        if let Some(perf) = &mut self.perf {
            perf.warn = Some(warn);
            perf.critical = Some(critical);
        }
        self
    }

    /// Adds the largest possible value.
    #[must_use]
    pub fn max(mut self, max: u64) -> Self {
        if let Some(perf) = &mut self.perf {
            perf.max = Some(max);
        }
        self
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(value) => serializer.serialize_u64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Missing => serializer.serialize_none(),
        }
    }
}

/// A check's metrics as one JSON object, in their order.
pub(super) fn as_object<S: Serializer>(
    metrics: &[Metric],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|metric| (metric.name, &metric.value)))
}
