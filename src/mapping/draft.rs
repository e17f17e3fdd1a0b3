//! A mapping as it is written in the settings, made ready to be applied.

use super::path::{Path, Tree};
use super::take::{self, Table, Take};
use super::{Mapping, Target, TimeFormat};

/// Alternatives for one field, and paths to be left out, at most.
const MAX_ALTERNATIVES: usize = 16;

/// What a sender is told whose events can never be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// A status that says so.
    #[default]
    Report,
    /// Success: it would send all of them again, or give up its queue.
    Accept,
}

/// What kind of input it is, besides JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// JSON objects.
    #[default]
    Json,
    /// The same, and events whose attributes are in the headers of HTTP.
    CloudEvents,
    /// The logs of OpenTelemetry, each with its resource and scope.
    Otlp,
}

/// A mapping's table in the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The path of an envelope's array.
    pub records: Option<String>,
    /// By [`Target`]: paths, templates and constants, the first that is there counts.
    pub fields: [Vec<String>; Target::ALL.len()],
    /// What an event type stands for.
    pub event_type_values: Vec<(String, String)>,
    /// What an outcome stands for.
    pub outcome_values: Vec<(String, String)>,
    /// How times are written.
    pub timestamp_format: TimeFormat,
    /// Paths of what is left out, in this order, while an object is too large for details.
    pub shed: Vec<String>,
    /// What a sender is told of events that can never be taken.
    pub on_refusal: OnRefusal,
    /// What kind of input it is.
    pub shape: Shape,
}

impl Draft {
    /// Makes it ready.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn compile(self, name: &str) -> Result<Mapping, (&'static str, String)> {
        let mut paths = Vec::new();
        let mut fields: [Vec<Take>; Target::ALL.len()] = Default::default();
        for target in Target::ALL {
            let written = &self.fields[target as usize];
            if written.len() > MAX_ALTERNATIVES {
                let text = format!("it has {}, more than {MAX_ALTERNATIVES}", written.len());
                return Err((target.name(), text));
            }
            for written in written {
                let take = Take::parse(written, &mut paths);
                fields[target as usize].push(take.map_err(|reason| (target.name(), reason))?);
            }
        }
        if fields[Target::EventType as usize].is_empty() {
            return Err(("event_type", "it is missing: every event has a type".to_owned()));
        }
        if self.shed.len() > MAX_ALTERNATIVES {
            let text = format!("it has {}, more than {MAX_ALTERNATIVES}", self.shed.len());
            return Err(("shed", text));
        }
        let shed: Result<Vec<usize>, String> =
            self.shed.iter().map(|path| take::index(path, &mut paths)).collect();
        let records = self.records.as_deref().map(Path::parse).transpose();
        Ok(Mapping {
            name: name.to_owned(),
            records: records.map_err(|reason| ("records", reason))?,
            fields,
            event_types: Table::of(&self.event_type_values)
                .map_err(|reason| ("event_type_values", reason))?,
            outcomes: Table::of(&self.outcome_values)
                .map_err(|reason| ("outcome_values", reason))?,
            shed: shed.map_err(|reason| ("shed", reason))?,
            tree: Tree::of(&paths),
            paths,
            draft: self,
        })
    }
}
