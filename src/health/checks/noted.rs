//! What commands found, and what keeps a writer from starting: a part of `integrity`.

use crate::audit::read::verify::Kind;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::health::found::{Findings, Found, FoundBy, steps};
use crate::health::gather::{Facts, Seen};
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::Status;
use crate::health::wording::{age, count, since};

use super::common::Finding;

/// Findings that a start of the writer, or somebody's look, puts in order: nothing that was
/// signed is altered.
const MILD: &[Kind] = &[Kind::Extra, Kind::Unclean, Kind::Restored, Kind::Unprovable];

pub(super) fn findings(
    facts: &Facts,
    page: Option<&StatusSnapshot>,
    liveness: Liveness,
) -> Vec<Finding> {
    [key(facts, liveness), keys(facts, liveness), found(facts, page)]
        .into_iter()
        .flatten()
        .collect()
}

fn is_open(liveness: Liveness) -> bool {
    liveness.is_current() || liveness == Liveness::Opening
}

fn key(facts: &Facts, liveness: Liveness) -> Option<Finding> {
    let why = facts.key_unusable.as_ref().filter(|_| !is_open(liveness))?;
    let is_log = matches!(facts.manifest, Seen::There(_));
    is_log.then(|| {
        let text = format!("no writer can start: the signing key cannot be used: {why}");
        (Problem::KeyUnusable, Status::Critical, text)
    })
}

fn keys(facts: &Facts, liveness: Liveness) -> Option<Finding> {
    let why = facts.keys_unusable.as_ref().filter(|_| !is_open(liveness))?;
    let text = format!("no writer can start: audit.keys cannot be used: {why}");
    Some((Problem::KeysUnusable, Status::Critical, text))
}

fn found(facts: &Facts, page: Option<&StatusSnapshot>) -> Option<Finding> {
    let found = match &facts.findings {
        Findings::None => return None,
        Findings::Unusable(why) => {
            let text = format!("audit.findings.json cannot be trusted: {why}");
            return Some((Problem::FindingsUnusable, Status::Warning, text));
        }
        Findings::Some(found) => found,
    };
    let ago = age(since(found.found_at, facts.now));
    if found.found_by == FoundBy::Start {
        // Over once one has started.
        let started = page.and_then(|page| page.time(Word::StartedAt));
        if started.is_some_and(|started| started > found.found_at) {
            return None;
        }
        let text = format!("a writer could not start {ago} ago: {}", found.first);
        return Some((Problem::StartRefused, Status::Critical, text));
    }
    let more = match found.findings.saturating_sub(1) {
        0 => String::new(),
        more => format!(", and {}", count(more, "more finding")),
    };
    let by = found.found_by.as_str();
    let text = format!("{by} found {ago} ago: {}{more}", found.first);
    Some((Problem::FoundWrong, severity(found), text))
}

fn severity(found: &Found) -> Status {
    let known = found.known();
    let is_mild = known.len() == found.kinds.len() && known.iter().all(|kind| MILD.contains(kind));
    if is_mild && !known.is_empty() { Status::Warning } else { Status::Critical }
}

/// What to do about them; `None` for the problems of others.
pub(super) fn hint(problem: Problem, facts: &Facts) -> Option<String> {
    Some(match problem {
        Problem::KeyUnusable => {
            "put your copy of the key back over the file, or move the file away and run `auditctl \
             key import`. If nobody has the key any more, run `auditctl key replace --reason TEXT`"
                .to_owned()
        }
        Problem::KeysUnusable => {
            "if the key was never changed, the log needs no audit.keys: keep a copy, find out who \
             wrote it, and move it away. If the key was changed, set backup.output_dir and start the \
             collector: it restores audit.keys from a backup"
                .to_owned()
        }
        Problem::FoundWrong => match &facts.findings {
            Findings::Some(found) => {
                let steps = steps(&found.known(), found.found_by == FoundBy::Backup).join(". ");
                let ends = match found.against {
                    true => "auditctl verify --against FILE",
                    false => "auditctl verify",
                };
                let steps = if steps.is_empty() { String::new() } else { format!("{steps}. ") };
                format!("{steps}Then `{ends}`: when it passes, this is over")
            }
            _ => return None,
        },
        Problem::StartRefused => {
            "start it again to see what it advises. If the log is damaged, `auditctl repair` puts back \
             what a backup holds. To give up what no backup holds, run `auditctl serve \
             --accept-corruption` once. This ends when a writer starts"
                .to_owned()
        }
        Problem::FindingsUnusable => {
            "run `auditctl verify`: it replaces the file. If nobody here changed it, somebody else can \
             write to the log's directory"
                .to_owned()
        }
        _ => return None,
    })
}
