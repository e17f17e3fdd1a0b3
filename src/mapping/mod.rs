//! Foreign objects become events: which path of theirs is which field of ours.
//!
//! A [`Mapping`] is read from the settings (`[mapping.NAME]`, or a preset) and applied to
//! one JSON object at a time. [`Pieces`] cuts an input into those objects, whatever they
//! are wrapped in, without holding more than one of them.
//!
//! Nothing here knows of files, HTTP or the log: JSON comes in, the line of an event goes
//! out, and the log checks, limits and redacts that as any other.

mod apply;
mod draft;
mod other;
pub mod otlp;
mod path;
mod pieces;
mod take;
mod time;

pub use apply::{Field, Mapped, Misfit, NotMapped};
pub use draft::{Draft, OnRefusal, Shape};
pub use other::with_next_id;
pub use pieces::{Found, Piece, Pieces};
pub use time::TimeFormat;

use path::{Path, Tree};
use take::{Table, Take};

/// How foreign objects of one shape become events.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    name: String,
    draft: Draft,
    records: Option<Path>,
    fields: [Vec<Take>; Target::ALL.len()],
    event_types: Table,
    outcomes: Table,
    shed: Vec<usize>,
    paths: Vec<Path>,
    tree: Tree,
}

/// A field of an event that a mapping fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `event_type`.
    EventType,
    /// `actor`.
    Actor,
    /// `source`.
    Source,
    /// `target`.
    Target,
    /// `outcome`.
    Outcome,
    /// `timestamp`.
    Timestamp,
    /// `id`.
    Id,
}

impl Target {
    /// All, in the order of a record.
    pub const ALL: [Self; 7] = [
        Self::EventType,
        Self::Actor,
        Self::Source,
        Self::Target,
        Self::Outcome,
        Self::Timestamp,
        Self::Id,
    ];

    /// Its key in an event, and in a mapping's table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EventType => "event_type",
            Self::Actor => "actor",
            Self::Source => "source",
            Self::Target => "target",
            Self::Outcome => "outcome",
            Self::Timestamp => "timestamp",
            Self::Id => "id",
        }
    }
}

impl Target {
    /// Whether `redact` hides it, if it names it. What an event is known by it does not.
    #[must_use]
    pub fn can_be_hidden(self) -> bool {
        matches!(self, Self::Actor | Self::Source | Self::Target | Self::Outcome)
    }
}

impl Mapping {
    /// Its name, as `--format` and the path in the URL have it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was made of.
    #[must_use]
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Cuts an input of this shape into its objects, each of at most so many bytes.
    #[must_use]
    pub fn pieces(&self, max_bytes: usize) -> Pieces {
        let steps = self.records.as_ref().map_or(&[][..], Path::steps);
        Pieces::new(steps, max_bytes)
    }

    /// A field that is taken from a path that the settings hide (`redact`), while the field
    /// itself is not: it would let out what is hidden in `details`.
    #[must_use]
    pub fn lets_out(&self, redact: &[crate::field_path::FieldPath]) -> Option<(Target, &str)> {
        let is_hidden = |steps: &[String]| redact.iter().any(|path| path.hides(steps));
        Target::ALL.into_iter().find_map(|target| {
            if target.can_be_hidden()
                && redact
                    .iter()
                    .any(|path| path.name().is_some_and(|step| step.matches(target.name())))
            {
                return None;
            }
            let used = self.fields[target as usize].iter().flat_map(Take::paths);
            let hidden = used.map(|at| &self.paths[at]).find(|path| is_hidden(path.steps()));
            hidden.map(|path| (target, path.text()))
        })
    }
}

#[cfg(test)]
mod tests;
