//! What a look through the records has found so far.

use super::answer::Lines;
use super::filter::{Query, Want};
use super::groups::Groups;
use super::step::Step;
use super::summary::Sketch;

/// What was found so far.
#[derive(Debug)]
pub(super) enum Sofar {
    Records(Lines),
    Count(u64),
    Groups(Groups),
    Summary(Box<Sketch>),
}

impl Sofar {
    pub(super) fn none(want: &Want, step: Step) -> Self {
        match want {
            Want::Records { .. } => Self::Records(Lines::default()),
            Want::Count => Self::Count(0),
            Want::Groups(_) => Self::Groups(Groups::default()),
            Want::Summary(overview) => Self::Summary(Box::new(Sketch::new(overview, step))),
        }
    }

    /// Nothing yet, of the same.
    pub(super) fn empty(&self) -> Self {
        match self {
            Self::Records(_) => Self::Records(Lines::default()),
            Self::Count(_) => Self::Count(0),
            Self::Groups(_) => Self::Groups(Groups::default()),
            Self::Summary(sketch) => Self::Summary(Box::new(sketch.empty())),
        }
    }

    /// What a second look begins with, where one is needed.
    pub(super) fn again(&self, query: &Query) -> Option<Self> {
        match (self, &query.want) {
            // There were more groups than there is room for: those that were kept are counted.
            (Self::Groups(groups), _) if groups.bound > 0 => Some(Self::Groups(Groups::default())),
            // Only now it is known which groups are listed, and which buckets there are.
            (Self::Summary(sketch), Want::Summary(overview))
                if overview.series && !overview.by.is_empty() =>
            {
                Some(Self::Summary(Box::new(sketch.again(query, overview))))
            }
            _ => None,
        }
    }

    /// After the second look: what the first says of groups that were not counted.
    pub(super) fn bounded_as(&mut self, kept: &Self) {
        match (self, kept) {
            (Self::Groups(groups), Self::Groups(kept)) => groups.bound = kept.bound,
            (Self::Summary(sketch), Self::Summary(kept)) => sketch.bounded_as(kept),
            _ => {}
        }
    }
}
