//! `alerts`: whether what is to be told gets to those who are to know. There only
//! where alerts are set.

use crate::alerts::{AlertFailure, AlertStatus, AlertsStatus};
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, since};

use super::common::last_known;

const NAME: &str = "alerts";
/// A delivery that failed for good is told of for so long.
const FAILURES_SECONDS: u64 = 3_600;

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Option<Check> {
    if settings.alerts.is_empty() {
        return None;
    }
    let known = match &facts.alerts {
        Err(why) => {
            let problem = Problem::AlertsUnknown;
            return Some(Check::found(NAME, problem, Status::Unknown, why.clone()));
        }
        Ok(known) => known.as_ref(),
    };
    let running = facts.page().filter(|_| liveness.is_current());
    let delivers = |status: &&AlertsStatus| {
        running.is_none_or(|page| page.get(Word::Pid) == u64::from(status.pid))
    };
    let Some(status) = known.filter(delivers) else {
        let message = match running {
            Some(_) => "the running writer delivers no alerts",
            None => "no collector has delivered alerts yet",
        };
        let hint = "start `auditctl serve` with these settings to deliver them";
        let problem = Problem::AlertsIdle;
        return Some(Check::found(NAME, problem, Status::Warning, message).hint(hint));
    };
    let mut findings = Vec::new();
    for alert in &status.alerts {
        findings.extend(waiting(alert, status.capacity, facts, settings));
    }
    findings.extend(failures(status, facts));
    findings.extend(running.and_then(|page| behind(page, status, facts, settings)));
    let sum = |value: fn(&AlertStatus) -> u64| status.alerts.iter().map(value).sum::<u64>();
    let text = if findings.is_empty() {
        format!(
            "{}, {} delivered, {} waiting",
            count(status.alerts.len() as u64, "alert"),
            sum(|alert| alert.delivered),
            sum(|alert| alert.queued)
        )
    } else {
        findings.sort_by_key(|(_, status, _)| std::cmp::Reverse(status.rank()));
        findings.iter().map(|(.., text)| text.as_str()).collect::<Vec<_>>().join("; ")
    };
    let worst = findings.first().map(|(problem, status, _)| (*problem, *status));
    let prefix = facts.page().and_then(|page| last_known(facts, page, liveness));
    let prefix = prefix.map_or_else(String::new, |known| known.prefix);
    let mut check = Check::either(NAME, worst, format!("{prefix}{text}"))
        .metric("alerts", status.alerts.len())
        .metric("queued", sum(|alert| alert.queued))
        .metric("capacity_each", status.capacity)
        .metric("delivered", sum(|alert| alert.delivered))
        .metric("failed", sum(|alert| alert.failed))
        .metric("retried", sum(|alert| alert.retried))
        .metric("dropped", sum(|alert| alert.dropped))
        .metric("suppressed", sum(|alert| alert.suppressed))
        .metric("refused", sum(|alert| alert.refused));
    if worst.is_some() {
        check = check.hint(
            "try one with `auditctl validate --send-test-alert NAME`; docs/alerts.md says what \
             else to check",
        );
    }
    Some(check)
}

type Finding = (Problem, Status, String);

fn waiting(
    alert: &AlertStatus,
    capacity: u64,
    facts: &Facts,
    settings: &Settings,
) -> Option<Finding> {
    let waited = alert.oldest.map(|oldest| since(oldest, facts.now));
    let late = waited.filter(|waited| *waited > settings.health.alert_delay_warn);
    let why = alert.problem.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let AlertStatus { name, queued, .. } = alert;
    if *queued >= capacity && capacity > 0 {
        let text = format!("{name}: {queued} wait, and the queue is full{why}");
        Some((Problem::AlertsQueueFilling, Status::Critical, text))
    } else if *queued * 2 > capacity {
        let text = format!("{name}: {queued} of at most {capacity} wait{why}");
        Some((Problem::AlertsQueueFilling, Status::Warning, text))
    } else {
        let late = age(late?);
        let text = format!("{name}: not delivered for {late}{why}");
        Some((Problem::AlertsDelayed, Status::Warning, text))
    }
}

/// Records that nobody looks at: the status is written whenever something is.
fn behind(
    page: &StatusSnapshot,
    status: &AlertsStatus,
    facts: &Facts,
    settings: &Settings,
) -> Option<Finding> {
    let records = page.get(Word::DurableSeq).saturating_sub(status.cursor);
    let silent = since(status.at, facts.now);
    let behind = records > 0 && silent > settings.health.alert_delay_warn;
    behind.then(|| {
        let text =
            format!("{} are not yet examined, for {}", count(records, "record"), age(silent));
        (Problem::AlertsBehind, Status::Warning, text)
    })
}

fn failures(status: &AlertsStatus, facts: &Facts) -> Option<Finding> {
    let recent = |failed: &&AlertFailure| since(failed.at, facts.now).as_secs() < FAILURES_SECONDS;
    let recent: Vec<_> = status.failures.iter().filter(recent).collect();
    let AlertFailure { id, reason, .. } = recent.first()?;
    let failed = match recent.len() {
        1 => "1 delivery".to_owned(),
        many => format!("{many} deliveries"),
    };
    let text = format!("{failed} failed in the last hour, the last one {id}: {reason}");
    Some((Problem::AlertsFailed, Status::Warning, text))
}
