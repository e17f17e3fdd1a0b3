//! What several checks say alike.

use std::time::Duration;

use crate::audit::status::{StatusSnapshot, Word};
use crate::health::gather::{Facts, Page};
use crate::health::liveness::Liveness;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, since};

/// Warning or critical above a threshold each; the threshold itself is still well.
pub(super) fn above<T: PartialOrd>(value: T, warn: T, critical: T) -> Status {
    if value > critical {
        Status::Critical
    } else if value > warn {
        Status::Warning
    } else {
        Status::Healthy
    }
}

/// A check that needs the page, without one.
pub(super) fn unseen(component: &'static str, facts: &Facts) -> Check {
    let message = match &facts.page {
        Page::Denied(_) => "the status page may not be read",
        Page::Unusable(_) => "the status page cannot be used",
        Page::Missing | Page::Read(_) => "no status page: nothing is known yet",
    };
    Check::new(component, Status::Unknown, message)
}

/// Numbers of a writer that no longer runs, or does not run yet.
pub(super) struct LastKnown {
    /// What may be said of them: nothing bad when the log was closed, nothing at
    /// all when its writer died.
    pub(super) status: Status,
    /// Begins a message: `no writer runs; 3 min ago: `.
    pub(super) prefix: String,
}

/// Whether the page's numbers are old ones.
pub(super) fn last_known(
    facts: &Facts,
    page: &StatusSnapshot,
    liveness: Liveness,
) -> Option<LastKnown> {
    if liveness.is_current() {
        return None;
    }
    let (status, what) = match liveness {
        Liveness::Opening => (Status::Healthy, "the log is being opened"),
        Liveness::Stopped => (Status::Healthy, "no writer runs"),
        Liveness::Died => (Status::Unknown, "no writer runs"),
        _ => (Status::Unknown, "it is not known whether a writer runs"),
    };
    Some(LastKnown { status, prefix: format!("{what}; {} ago: ", age(page_age(facts, page))) })
}

/// How old the page is by the wall clock: the page of an earlier boot has no
/// other that could be compared.
pub(super) fn page_age(facts: &Facts, page: &StatusSnapshot) -> Duration {
    let last = page.time(Word::ClosedAt).or_else(|| page.time(Word::HeartbeatAt));
    last.map_or(Duration::ZERO, |last| since(last, facts.now))
}
