//! One thread for each alert that delivers what waits: a slow target holds up
//! nobody but itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::notice::Notice;
use super::occurrence::Occurrence;
use super::plan::Plan;
use super::send::{Attempt, Trouble};
use super::shared::Shared;
use super::state::Change;
use crate::audit::state::security::SecurityKind;

/// The pause before the second try; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long it is waited for something to do at a time.
const WAIT: Duration = Duration::from_secs(10);

pub(super) fn run(shared: &Shared, name: &str) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let text = format!("alert {name}: cannot start its delivery: {error}");
            (shared.warn)(&Notice::NoDelivery.says(&text));
            shared.store.lock().couriers.remove(name);
            return;
        }
    };
    let mut courier = Courier { shared, name, tries: 0, not_before: None };
    while let Some((plan, occurrence)) = courier.next() {
        if let Some(route) = plan.routes.get(name) {
            let with = (&shared.sender, &*shared.clock);
            let attempt = runtime.block_on(plan.deliver(route, &occurrence, with));
            courier.done(&plan, &occurrence, attempt);
        }
    }
    // A look-up that hangs is not waited for.
    runtime.shutdown_background();
}

struct Courier<'a> {
    shared: &'a Shared,
    name: &'a str,
    /// Of the one that waits longest.
    tries: u32,
    not_before: Option<Instant>,
}

impl Courier<'_> {
    /// Waits for something to deliver; `None` when this thread is to end.
    fn next(&mut self) -> Option<(Arc<Plan>, Arc<Occurrence>)> {
        let store = &self.shared.store;
        let mut inner = store.lock();
        loop {
            let plan = Arc::clone(&inner.plan);
            let first = inner.state.waiting.get(self.name).and_then(|w| w.front()).cloned();
            if !plan.routes.contains_key(self.name) {
                let waiting = inner.state.waiting.get(self.name).cloned().unwrap_or_default();
                for occurrence in waiting {
                    let reason = "the alert is not in the settings any more";
                    let change = inner.fail(&occurrence, self.shared.clock.now(), reason);
                    let _ = inner.settle(&change);
                }
                inner.couriers.remove(self.name);
                return None;
            }
            let stop_at = inner.stop_at;
            let pause = self.not_before.map(|at| at.saturating_duration_since(Instant::now()));
            let pause = pause.filter(|pause| !pause.is_zero());
            match (first, stop_at, pause) {
                (None, Some(_), _) if inner.followed => return None,
                (Some(_), Some(stop_at), pause) if pause.is_some() || Instant::now() >= stop_at => {
                    return None;
                }
                (Some(first), _, None) => return Some((plan, first)),
                (_, _, pause) => inner = store.wait(inner, pause.unwrap_or(WAIT).min(WAIT)),
            }
        }
    }

    fn done(&mut self, plan: &Plan, occurrence: &Occurrence, attempt: Attempt) {
        let now = self.shared.clock.now();
        let trouble = match attempt.result {
            Ok(()) => {
                self.delivered(occurrence);
                return;
            }
            Err(trouble) => trouble,
        };
        if let Trouble::Refused(reason) = &trouble {
            let security = self.shared.log.security();
            security.report_stranger(SecurityKind::TargetRefused, Some(self.name), reason);
            self.shared.store.lock().count(self.name).refused += 1;
        }
        // By a clock that nobody sets: a jump ahead gives nothing up.
        let waited = occurrence.queued.elapsed();
        let (asked, give_up) = match &trouble {
            Trouble::Permanent(_) => (None, true),
            Trouble::Temporary { retry_after, .. } => (*retry_after, false),
            Trouble::Refused(_) => (None, false),
        };
        let said = trouble.to_string();
        let mut inner = self.shared.store.lock();
        let first = inner.count(self.name).problem.replace(said.clone()).is_none();
        if give_up || waited >= plan.limits.give_up_after {
            let change = inner.fail(occurrence, now, &said);
            let stored = inner.settle(&change);
            drop(inner);
            self.again();
            let text = format!("alert {}: gave up: {said}", self.name);
            (self.shared.warn)(&Notice::GivenUp.says(&text));
            self.tell_unstored(stored.err());
            return;
        }
        inner.count(self.name).retried += 1;
        drop(inner);
        self.tries = self.tries.saturating_add(1);
        let pause = pause(self.tries, plan.limits.retry_pause_max, asked);
        self.not_before = Some(Instant::now() + pause);
        if first {
            let text = format!("alert {}: not delivered: {said}; trying again", self.name);
            (self.shared.warn)(&Notice::NotDelivered.says(&text));
        }
    }

    fn delivered(&mut self, occurrence: &Occurrence) {
        let mut inner = self.shared.store.lock();
        let change = Change { delivered: vec![occurrence.id.clone()], ..Change::default() };
        let stored = inner.settle(&change);
        let counts = inner.count(self.name);
        counts.delivered += 1;
        let again = counts.problem.take().is_some();
        drop(inner);
        self.again();
        self.tell_unstored(stored.err());
        if again {
            (self.shared.warn)(
                &Notice::Again.says(&format!("alert {}: delivered again", self.name)),
            );
        }
    }

    fn again(&mut self) {
        self.tries = 0;
        self.not_before = None;
    }

    fn tell_unstored(&self, error: Option<super::journal::JournalError>) {
        if let Some(error) = error {
            let text = format!(
                "alert {}: {error}; after a crash the last deliveries may be repeated",
                self.name
            );
            (self.shared.warn)(&Notice::NotNoted.says(&text));
        }
    }
}

/// Doubles from try to try, up to `longest`; between half of it and all of it, so
/// that not everybody comes back at once. At least what the other end asked for.
fn pause(tries: u32, longest: Duration, asked: Option<Duration>) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(longest);
    let mut random = [0; 2];
    // Without randomness the pause is the whole one.
    let share = match getrandom::fill(&mut random) {
        Ok(()) => 0.5 + f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0,
        Err(_) => 1.0,
    };
    doubled.mul_f64(share).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_shorter_than_asked_for() {
        let longest = Duration::from_secs(300);
        for tries in 1..200 {
            let full = Duration::from_secs(1 << (tries - 1).min(9)).min(longest);
            for _ in 0..20 {
                let pause = pause(tries, longest, None);
                assert!(pause <= full && pause * 2 >= full, "{tries}: {pause:?} of {full:?}");
            }
        }
        let asked = Some(Duration::from_secs(900));
        assert_eq!(pause(1, longest, asked), Duration::from_secs(900));
    }
}
