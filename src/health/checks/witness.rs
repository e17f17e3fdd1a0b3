//! `witness`: whether the log's checkpoints are cosigned by those who should. There only
//! where a policy is set.

use std::time::Duration;

use crate::audit::state::status::Word;
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, since};
use crate::witness::{StandingOf, WitnessStatus};

use super::common::last_known;

const NAME: &str = "witness";
/// Who asks writes how it goes far more often.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Option<Check> {
    settings.witness.policy.as_ref()?;
    let known = match &facts.witness {
        Err(why) => {
            let problem = Problem::WitnessUnknown;
            return Some(Check::found(NAME, problem, Status::Unknown, why.clone()));
        }
        Ok(known) => known.as_ref(),
    };
    let running = facts.page().filter(|_| liveness.is_current());
    let asks = |status: &&WitnessStatus| {
        running.is_none_or(|page| page.get(Word::Pid) == u64::from(status.pid))
    };
    // Nobody asks: as bad as a quorum that is as old.
    let idle = |message: String, hint: &str| {
        let since_quorum =
            |one: &WitnessStatus| since(one.quorum_at.unwrap_or(one.since), facts.now);
        let is_critical = running.is_some()
            && known.is_some_and(|one| since_quorum(one) >= settings.health.witness_age_critical);
        let (problem, status) = match is_critical {
            true => (Problem::WitnessNoQuorum, Status::Critical),
            false => (Problem::WitnessIdle, Status::Warning),
        };
        Some(Check::found(NAME, problem, status, message).hint(hint))
    };
    let Some(status) = known.filter(asks) else {
        let message = match running {
            Some(_) => "the running writer asks no witnesses",
            None => "no collector has asked witnesses yet",
        };
        let hint = "start `auditctl serve` with these settings to have checkpoints cosigned";
        return idle(message.to_owned(), hint);
    };
    let silent = since(status.at, facts.now);
    if running.is_some() && silent > settings.witness.interval * 2 + PATIENCE {
        let message = format!("witnesses have not been asked for {}", age(silent));
        let hint = "restart the collector; if this comes again, send a support bundle";
        return idle(message, hint);
    }
    let mut findings: Vec<Finding> = status.witnesses.iter().filter_map(of_one).collect();
    findings.extend(quorum(status, facts, settings));
    findings.sort_by_key(|(_, status, _)| std::cmp::Reverse(status.rank()));
    let text = if findings.is_empty() {
        let since = status.quorum_at.map(|at| age(since(at, facts.now)));
        format!(
            "{} cosigned by a quorum (witnesses: {}), {} ago",
            count(status.quorum_size, "record"),
            status.witnesses.len(),
            since.unwrap_or_default()
        )
    } else {
        findings.iter().map(|(.., text)| text.as_str()).collect::<Vec<_>>().join("; ")
    };
    let worst = findings.first().map(|(problem, status, _)| (*problem, *status));
    let prefix = facts.page().and_then(|page| last_known(facts, page, liveness));
    let prefix = prefix.map_or_else(String::new, |known| known.prefix);
    let behind = status.witnesses.iter().filter(|one| one.size < status.tree_size).count();
    let mut check = Check::either(NAME, worst, format!("{prefix}{text}"))
        .metric("witnesses", status.witnesses.len())
        .metric("witnesses_behind", behind)
        .metric("quorum_records", status.quorum_size)
        .metric("records_behind", status.tree_size.saturating_sub(status.quorum_size));
    if let Some(at) = status.quorum_at {
        check = check.metric("quorum_age_seconds", since(at, facts.now).as_secs());
    }
    Some(match worst {
        Some((Problem::WitnessAhead | Problem::WitnessContradicted, _)) => check.hint(
            "the log was put back to an earlier state, or two copies of it record: keep everything, \
             and compare the log with `auditctl verify --against FILE` and what audit.witness.* \
             beside it holds; docs/witnesses.md says what to do",
        ),
        Some(_) => check.hint(
            "events are recorded all the same; what is recorded now is proven by nobody else until \
             a witness cosigns again",
        ),
        None => check,
    })
}

type Finding = (Problem, Status, String);

fn of_one(one: &StandingOf) -> Option<Finding> {
    let why = one.problem.as_deref()?;
    let text = format!("{}: {why}", one.name);
    Some(match one.alarm.as_deref() {
        Some("ahead") => (Problem::WitnessAhead, Status::Critical, text),
        Some(_) => (Problem::WitnessContradicted, Status::Critical, text),
        None => (Problem::WitnessBehind, Status::Warning, text),
    })
}

/// A quorum that is old: since it was had, or since the collector began to ask.
fn quorum(status: &WitnessStatus, facts: &Facts, settings: &Settings) -> Option<Finding> {
    if status.quorum_at.is_some() && status.quorum_size == status.tree_size {
        // What the collector says is old itself if it hangs: another check tells.
        return None;
    }
    let waited = since(status.quorum_at.unwrap_or(status.since), facts.now);
    let severity = match waited {
        _ if waited >= settings.health.witness_age_critical => Status::Critical,
        _ if waited >= settings.health.witness_age_warn => Status::Warning,
        _ => return None,
    };
    let text = format!("no quorum for {}", age(waited));
    Some((Problem::WitnessNoQuorum, severity, text))
}
