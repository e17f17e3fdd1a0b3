//! What is known and what waits, and the changes that lead from one state to the
//! next. A change is what the journal stores; nothing changes in any other way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::occurrence::Occurrence;
use crate::audit::tree::document::Unknown;
use crate::audit::write::own::AlertsLost;
use crate::clock::Timestamp;

/// Failed deliveries that are kept to be looked at, at most.
pub(super) const MAX_FAILED: usize = 100;

/// What an alert remembers from one record to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// When it was triggered last, cooldown aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<Timestamp>,
    /// The same by a clock that nobody sets: when it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_at: Option<BootTime>,
    /// What the cooldown has held back since.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed_since: Option<Timestamp>,
    /// Times of errors that are counted, in the order of the records.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub recent: VecDeque<Timestamp>,
    /// The health that was told last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The health that the cooldown held back last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Lost, and not yet recorded in the log; one for each reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<AlertsLost>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A time by the machine's boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BootTime {
    /// Which boot.
    pub boot: u64,
    /// Milliseconds since then, also while the machine slept.
    pub ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Memory {
    /// One more is lost.
    pub(super) fn lose(&mut self, alert: &str, at: Timestamp, reason: &str) {
        match self.lost.iter_mut().find(|lost| lost.reason == reason) {
            Some(lost) => {
                lost.count += 1;
                lost.last = at;
            }
            None => self.lost.push(AlertsLost {
                alert: alert.to_owned(),
                count: 1,
                first: at,
                last: at,
                reason: reason.to_owned(),
            }),
        }
    }
}

/// A delivery that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    /// The occurrence's id.
    pub id: String,
    /// The alert's name.
    pub alert: String,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// One step: all of it happens, or nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    /// Records below this seq have been looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u64>,
    /// What these alerts remember from now on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alerts: BTreeMap<String, Memory>,
    /// These wait from now on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Occurrence>,
    /// The ids of those that were delivered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivered: Vec<String>,
    /// Those that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
}

impl Change {
    /// Whether it is worth a write of its own: the same records give the same again.
    #[must_use]
    pub(super) fn is_news(&self) -> bool {
        !(self.add.is_empty() && self.delivered.is_empty() && self.failed.is_empty())
    }
}

/// Everything that outlives the process.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Records below this seq have been looked at.
    pub cursor: Option<u64>,
    /// What each alert remembers.
    pub alerts: BTreeMap<String, Memory>,
    /// What waits to be delivered, oldest first, by alert.
    pub waiting: BTreeMap<String, VecDeque<Arc<Occurrence>>>,
    /// The newest failures, oldest first.
    pub failed: VecDeque<Failed>,
}

impl State {
    /// Makes the change.
    pub(super) fn apply(&mut self, change: &Change) {
        self.cursor = change.cursor.or(self.cursor);
        for (name, memory) in &change.alerts {
            self.alerts.insert(name.clone(), memory.clone());
        }
        for occurrence in &change.add {
            let waiting = self.waiting.entry(occurrence.alert.clone()).or_default();
            waiting.push_back(Arc::new(occurrence.clone()));
        }
        let gone = change.delivered.iter().chain(change.failed.iter().map(|failed| &failed.id));
        for id in gone {
            for waiting in self.waiting.values_mut() {
                // Nearly always the first.
                if let Some(at) = waiting.iter().position(|occurrence| occurrence.id == *id) {
                    waiting.remove(at);
                    break;
                }
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        self.failed.extend(change.failed.iter().cloned());
        while self.failed.len() > MAX_FAILED {
            self.failed.pop_front();
        }
    }

    /// The one change that leads here from nothing.
    #[must_use]
    pub(super) fn snapshot(&self) -> Change {
        Change {
            cursor: self.cursor,
            alerts: self.alerts.clone(),
            add: self.waiting.values().flatten().map(|waiting| (**waiting).clone()).collect(),
            delivered: Vec::new(),
            failed: self.failed.iter().cloned().collect(),
        }
    }
}
