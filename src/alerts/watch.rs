//! The thread that looks at health.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::notice::Notice;
use super::shared::Shared;
use super::state::Change;
use super::trigger::{Health, On};

/// How often health is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Tells how health is.
pub type Probe = dyn Fn() -> Health + Send + Sync;

pub(super) fn run(shared: &Shared, probe: &Probe) {
    let mut before: Option<Health> = None;
    while wait(shared) {
        let wanted =
            shared.store.lock().plan.rules.iter().any(|rule| matches!(rule.on, On::Health(_)));
        if !wanted {
            continue;
        }
        let health = probe();
        // Twice the same: what is over at the next look is no state.
        let same = before.as_ref().is_some_and(|before| statuses(before) == statuses(&health));
        if same {
            judge(shared, &health);
        }
        before = Some(health);
    }
}

/// Waits for the next look; `false` when this thread is to end.
fn wait(shared: &Shared) -> bool {
    let until = Instant::now() + EVERY;
    let mut inner = shared.store.lock();
    loop {
        if inner.stop_at.is_some() {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        inner = shared.store.wait(inner, left);
    }
}

fn statuses(health: &Health) -> Vec<&str> {
    let checks = health.checks.iter().map(|check| check.status.as_str());
    std::iter::once(health.status.as_str()).chain(checks).collect()
}

fn judge(shared: &Shared, health: &Health) {
    let now = shared.moment();
    let mut inner = shared.store.lock();
    let plan = std::sync::Arc::clone(&inner.plan);
    for rule in &plan.rules {
        let before = inner.state.alerts.get(&rule.name).cloned().unwrap_or_default();
        let mut memory = before.clone();
        let told = rule.health(&mut memory, health, (&now, &shared.prefix));
        if memory == before {
            continue;
        }
        let held = memory.suppressed.saturating_sub(before.suppressed);
        let lost = told.as_ref().filter(|one| !inner.has_room(&plan.limits, &[], one)).cloned();
        if let Some(lost) = &lost {
            memory.lose(&rule.name, lost.at, "queue_full");
        }
        let add = told.into_iter().filter(|_| lost.is_none()).collect();
        let alerts = BTreeMap::from([(rule.name.clone(), memory)]);
        let change = Change { alerts, add, ..Change::default() };
        if let Err(error) = inner.commit(&change) {
            // Not made: the next look finds it again.
            tracing::warn!(code = Notice::HealthWaits.code(), %error, alert = rule.name, "cannot \
                                                                                          store a \
                                                                                          change \
                                                                                          of \
                                                                                          health \
                                                                                          yet");
            continue;
        }
        let counts = inner.count(&rule.name);
        counts.suppressed += held;
        counts.dropped += u64::from(lost.is_some());
    }
    drop(inner);
    shared.store.tell();
}
