//! What several checks say alike.

use std::time::Duration;

use crate::audit::state::status::{StatusSnapshot, Word};
use crate::health::gather::{Facts, Page};
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, since};

/// A problem, how bad it is, and what is said of it.
pub(super) type Finding = (Problem, Status, String);

/// A check by what was found, the worst first: one line has to say what matters,
/// and its code is that of the worst. Without findings all is well.
pub(super) fn of_findings(
    component: &'static str,
    mut findings: Vec<Finding>,
    well: impl FnOnce() -> String,
) -> Check {
    findings.sort_by_key(|(_, status, _)| std::cmp::Reverse(status.rank()));
    let Some(&(problem, status, _)) = findings.first() else {
        return Check::healthy(component, well());
    };
    let texts: Vec<String> = findings.into_iter().map(|(_, _, text)| text).collect();
    Check::found(component, problem, status, texts.join("; "))
}

/// Warning or critical above a threshold each; the threshold itself is still well.
pub(super) fn above<T: PartialOrd>(value: T, warn: T, critical: T) -> Option<Status> {
    if value > critical {
        Some(Status::Critical)
    } else if value > warn {
        Some(Status::Warning)
    } else {
        None
    }
}

/// A check that needs the page, without one.
pub(super) fn unseen(component: &'static str, facts: &Facts) -> Check {
    let (problem, message) = match &facts.page {
        Page::Denied(_) => (Problem::PageDenied, "the status page may not be read"),
        Page::Newer(_) => (Problem::NewerVersion, "the status page is of a newer version"),
        Page::Unusable(_) => (Problem::PageUnusable, "the status page cannot be used"),
        Page::Missing | Page::Read(_) => {
            (Problem::PageMissing, "no status page: nothing is known yet")
        }
    };
    Check::found(component, problem, Status::Unknown, message)
}

/// What to do where something cannot be seen, whichever check it is that cannot.
pub(super) fn unseen_hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::PageMissing => {
            "start the service or `auditctl serve`, or name the log directory with --log-dir"
        }
        Problem::PageStale => {
            "start the writer, as worker_thread says; until then these numbers \
                               are old"
        }
        Problem::PageDenied
        | Problem::LogUnknown
        | Problem::DiskUnknown
        | Problem::CheckpointUnknown
        | Problem::ManifestUnknown => {
            "check the permissions and the mount of the log directory; run health as the user who \
             owns it, or as root"
        }
        Problem::PageUnusable | Problem::NewerVersion => {
            "use the version of auditctl that the service runs. If the page is damaged, restart \
             the service, which recreates it"
        }
        Problem::AlertsUnknown | Problem::WitnessUnknown => {
            "if a newer version wrote the file, use that version (`auditctl --version`). \
             Otherwise restart the collector, which recreates it"
        }
        _ => return None,
    })
}

/// Numbers of a writer that no longer runs, or does not run yet.
pub(super) struct LastKnown {
    /// What may be said of them: nothing bad when the log was closed, nothing at
    /// all when its writer died.
    pub(super) found: Option<(Problem, Status)>,
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
    let stale = Some((Problem::PageStale, Status::Unknown));
    let (found, what) = match liveness {
        Liveness::Opening => (None, "the log is being opened"),
        Liveness::Stopped => (None, "no writer runs"),
        Liveness::Died => (stale, "no writer runs"),
        _ => (stale, "it is unknown whether a writer runs"),
    };
    Some(LastKnown { found, prefix: format!("{what}; {} ago: ", age(page_age(facts, page))) })
}

/// The worse of both, the first of equals.
pub(super) fn worse(
    one: Option<(Problem, Status)>,
    other: Option<(Problem, Status)>,
) -> Option<(Problem, Status)> {
    match (one, other) {
        (Some(one), Some(other)) if other.1.rank() > one.1.rank() => Some(other),
        (one, other) => one.or(other),
    }
}

/// How old the page is by the wall clock: the page of an earlier boot has no
/// other that could be compared.
pub(super) fn page_age(facts: &Facts, page: &StatusSnapshot) -> Duration {
    let last = page.time(Word::ClosedAt).or_else(|| page.time(Word::HeartbeatAt));
    last.map_or(Duration::ZERO, |last| since(last, facts.now))
}
