//! What a check judges, and how it says that its values are not live.

use super::facts::Facts;
use super::limits::Limits;
use super::metric::Metric;
use super::report::{Check, Component, Status};
use super::span;
use super::state::LogState;
use crate::audit::status::{StatusSnapshot, Word};
use crate::clock::Timestamp;

/// What a check gets.
pub(super) struct View<'a> {
    pub(super) facts: &'a Facts,
    pub(super) limits: &'a Limits,
    pub(super) state: &'a LogState,
}

/// What a check finds in a page.
pub(super) struct Verdict {
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) metrics: Vec<Metric>,
    pub(super) hint: Option<String>,
}

impl Verdict {
    pub(super) fn new(status: Status, message: impl Into<String>, metrics: Vec<Metric>) -> Self {
        Self { status, message: message.into(), metrics, hint: None }
    }

    /// What to do, unless all is well.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.status != Status::Healthy {
            self.hint = Some(hint.into());
        }
        self
    }

    pub(super) fn into_check(self, component: Component) -> Check {
        let Self { status, message, metrics, hint } = self;
        Check { component, status, message, metrics, hint }
    }
}

impl View<'_> {
    pub(super) fn page(&self) -> Option<&StatusSnapshot> {
        self.facts.snapshot()
    }

    /// Milliseconds from a time in the page until now.
    pub(super) fn since(&self, at: Option<Timestamp>) -> u64 {
        at.map_or(0, |at| span::between(at, self.facts.now))
    }

    pub(super) fn uptime_seconds(&self) -> Option<u64> {
        let page = self.page().filter(|_| self.state.has_process())?;
        Some(self.facts.boot_ms.saturating_sub(page.get(Word::StartedBootMs)) / 1_000)
    }

    /// A check of the page's values. Values that are not live get their age, and
    /// what would be healthy by them is unknown; after a clean close they are
    /// final, and stay what they are.
    pub(super) fn of_page(
        &self,
        component: Component,
        judge: impl FnOnce(&StatusSnapshot) -> Verdict,
    ) -> Check {
        let Some(page) = self.page() else {
            let message = match self.state {
                LogState::Unreadable(_) => "not known; the status page cannot be read",
                LogState::PageGone => "not known; the status page is gone",
                _ => "not known; there is no log yet",
            };
            return Verdict::new(Status::Unknown, message, Vec::new()).into_check(component);
        };
        let mut verdict = judge(page);
        if let Some(age) = self.age(page) {
            verdict.message = format!("{}; {age}", verdict.message);
            let is_final = matches!(self.state, LogState::Stopped { .. });
            if verdict.status == Status::Healthy && !is_final {
                verdict.status = Status::Unknown;
            }
        }
        verdict.into_check(component)
    }

    fn age(&self, page: &StatusSnapshot) -> Option<String> {
        let heartbeat = || span::millis(self.since(page.time(Word::HeartbeatAt)));
        Some(match self.state {
            LogState::Hung(hung) => {
                format!("as of {} ago, the writer hangs", span::millis(hung.silent_ms))
            }
            LogState::Died { .. } => format!("as of {} ago, the writer died", heartbeat()),
            LogState::Poisoned { .. } => format!("as of {} ago, the writer failed", heartbeat()),
            LogState::Stopped { at } => {
                format!("as of {} ago, when the log was closed", span::millis(self.since(*at)))
            }
            LogState::Opening => "of the last run; the log is being opened".to_owned(),
            LogState::Unreadable(_) => {
                format!("as of {} ago, whether a writer runs is not known", heartbeat())
            }
            _ => return None,
        })
    }
}
