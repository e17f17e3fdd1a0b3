//! When an alert is triggered: from records, in their order, by their own times,
//! so that looking at the same records again gives the same.

use std::time::{Duration, Instant};

use super::occurrence::{Errors, HealthChange, HealthCheck, Occurrence, Suppressed, told};
use super::state::{BootTime, Memory};
use crate::audit::read::query::Filter;
use crate::audit::record::{peek_seq, peek_times};
use crate::audit::write::own::{ALERTS_LOST, ALERTS_POSITION};
use crate::clock::Timestamp;

/// Outcomes that count as an error where an alert does not say which.
pub const ERROR_OUTCOMES: [&str; 10] = [
    "failure",
    "failed",
    "error",
    "denied",
    "refused",
    "rejected",
    "blocked",
    "unauthorized",
    "forbidden",
    "fail",
];

/// Records that trigger nothing: an alert about lost alerts would be lost as well, and
/// so on, and one about how far alerts are would change that.
pub(super) const SILENT_TYPES: [&str; 2] = [ALERTS_LOST, ALERTS_POSITION];

/// What triggers an alert.
#[derive(Clone, Debug)]
pub(super) enum On {
    /// Each record.
    Event(Filter),
    /// So many records within a time.
    Errors(Filter, Errors),
    /// A change of these checks' worst status; of health as a whole where none is named.
    Health(Vec<String>),
}

/// An alert's trigger.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The alert's name.
    pub name: String,
    /// What triggers it.
    pub on: On,
    /// How long it then is silent.
    pub cooldown: Duration,
}

/// Now, by all clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Which boot of the machine this is, if that is known.
    pub boot: Option<u64>,
    /// Milliseconds since then.
    pub boot_ms: u64,
}

/// A record that is no older than this has just come; an older one is being caught
/// up with.
const JUST_NOW: Duration = Duration::from_secs(10);

/// How health is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `healthy`, `warning`, `critical` or `unknown`.
    pub status: String,
    /// Every check.
    pub checks: Vec<HealthCheck>,
}

impl Rule {
    /// The records that it looks at.
    #[must_use]
    pub(super) fn filter(&self) -> Option<&Filter> {
        match &self.on {
            On::Event(filter) | On::Errors(filter, _) => Some(filter),
            On::Health(_) => None,
        }
    }

    /// A record that the filter takes. `prefix` begins ids: the log's.
    #[must_use]
    pub(super) fn record(
        &self,
        memory: &mut Memory,
        line: &[u8],
        (now, prefix): (&Moment, &str),
    ) -> Option<Occurrence> {
        let seq = peek_seq(line)?;
        let (_, at) = peek_times(line)?;
        let errors = match &self.on {
            On::Event(_) => None,
            On::Errors(_, wanted) => {
                let window = micros(Duration::from_secs(wanted.within_seconds));
                memory.recent.push_back(at);
                // Not in order where the clock was set back: those count as well.
                memory.recent.retain(|earlier| at.micros() - earlier.micros() < window);
                if memory.recent.len() < wanted.count as usize {
                    return None;
                }
                memory.recent.clear();
                Some(*wanted)
            }
            On::Health(_) => return None,
        };
        let suppressed = self.fire(memory, at, now)?;
        let (record, record_cut) = told(line);
        Some(Occurrence {
            id: format!("{prefix}/{}/{seq}", self.name),
            alert: self.name.clone(),
            trigger: if errors.is_some() { "errors" } else { "event" }.to_owned(),
            at,
            record,
            record_cut,
            errors,
            health: None,
            suppressed,
            queued: Instant::now(),
        })
    }

    /// How health is now.
    #[must_use]
    pub(super) fn health(
        &self,
        memory: &mut Memory,
        health: &Health,
        (moment, prefix): (&Moment, &str),
    ) -> Option<Occurrence> {
        let at = moment.wall;
        let On::Health(wanted) = &self.on else { return None };
        let checks =
            health.checks.iter().filter(|c| wanted.is_empty() || wanted.contains(&c.component));
        let checks: Vec<HealthCheck> = checks.cloned().collect();
        let now = if wanted.is_empty() { health.status.clone() } else { worst(&checks) };
        let from = memory.health.clone().unwrap_or_else(|| "healthy".to_owned());
        if now == from {
            memory.held = None;
            return None;
        }
        if memory.held.as_ref() == Some(&now) {
            if self.is_silent(memory, at, moment) {
                return None;
            }
            // Was held back, and is told now.
            memory.suppressed = memory.suppressed.saturating_sub(1);
        }
        let Some(suppressed) = self.fire(memory, at, moment) else {
            memory.held = Some(now);
            return None;
        };
        memory.health = Some(now.clone());
        memory.held = None;
        let bad = checks.into_iter().filter(|check| check.status != "healthy").collect();
        Some(Occurrence {
            id: format!("{prefix}/{}/health-{}", self.name, at.micros() / 1_000),
            alert: self.name.clone(),
            trigger: "health".to_owned(),
            at,
            record: None,
            record_cut: false,
            errors: None,
            health: Some(HealthChange { from, to: now, checks: bad }),
            suppressed,
            queued: Instant::now(),
        })
    }

    /// Triggered: what was held back before, or `None` when this is held back too.
    fn fire(&self, memory: &mut Memory, at: Timestamp, now: &Moment) -> Option<Option<Suppressed>> {
        if self.is_silent(memory, at, now) {
            memory.suppressed += 1;
            memory.suppressed_since.get_or_insert(at);
            return None;
        }
        memory.fired_at = Some(at);
        memory.told_at = now.boot.map(|boot| BootTime { boot, ms: now.boot_ms });
        let since = memory.suppressed_since.take();
        let count = std::mem::take(&mut memory.suppressed);
        Some(since.filter(|_| count > 0).map(|since| Suppressed { count, since }))
    }

    /// Within the cooldown. What has just come is judged by the boot clock, so that a
    /// wall clock that stands still or was set back silences nothing for longer; old
    /// records, which are caught up with, by their own times.
    fn is_silent(&self, memory: &Memory, at: Timestamp, now: &Moment) -> bool {
        let Some(fired) = memory.fired_at else { return false };
        let by_times = (at.micros() - fired.micros()).abs() < micros(self.cooldown);
        let is_old = now.wall.micros() - at.micros() > micros(JUST_NOW);
        let cooldown_ms = u64::try_from(self.cooldown.as_millis()).unwrap_or(u64::MAX);
        match (memory.told_at, now.boot) {
            (Some(told), Some(boot)) if !is_old && told.boot == boot => {
                now.boot_ms.saturating_sub(told.ms) < cooldown_ms
            }
            // Before this boot: at least as long ago as the machine is up.
            (Some(_), Some(_)) if !is_old => by_times && now.boot_ms < cooldown_ms,
            _ => by_times,
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn worst(checks: &[HealthCheck]) -> String {
    let rank = |status: &str| match status {
        "critical" => 3,
        "warning" => 2,
        "unknown" => 1,
        _ => 0,
    };
    let worst = checks.iter().map(|check| check.status.as_str()).max_by_key(|s| rank(s));
    worst.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::Request;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros((1_770_000_000 + seconds) * 1_000_000)
    }

    fn line(seq: u64, seconds: i64) -> Vec<u8> {
        format!(
            r#"{{"seq":{seq},"timestamp":"{}","event_type":"login","outcome":"denied","origin":{{}}}}"#,
            at(seconds)
        )
        .into_bytes()
    }

    /// Long after all these records, which are caught up with.
    fn later() -> Moment {
        Moment { wall: at(1_000_000_000), boot: Some(7), boot_ms: 5_000_000 }
    }

    /// As a record comes in: the wall clock shows its time.
    fn live(seconds: i64, boot: u64, boot_seconds: u64) -> Moment {
        Moment { wall: at(seconds), boot: Some(boot), boot_ms: boot_seconds * 1_000 }
    }

    fn filter() -> Filter {
        Request::default().resolve(Timestamp::default()).expect("a request").filter
    }

    fn rule(on: On, cooldown: u64) -> Rule {
        Rule { name: "ops".to_owned(), on, cooldown: Duration::from_secs(cooldown) }
    }

    fn seqs(rule: &Rule, memory: &mut Memory, records: &[(u64, i64)]) -> Vec<String> {
        let fired = records.iter().filter_map(|(seq, seconds)| {
            rule.record(memory, &line(*seq, *seconds), (&later(), "log"))
        });
        fired
            .map(|occurrence| {
                let held = occurrence.suppressed.map_or(0, |suppressed| suppressed.count);
                format!("{}+{held}", occurrence.id)
            })
            .collect()
    }

    #[test]
    fn a_cooldown_holds_back_and_the_next_alert_says_how_many() {
        let rule = rule(On::Event(filter()), 60);
        let records = [(1, 0), (2, 10), (3, 59), (4, 60), (5, 61), (6, 121)];
        let told = seqs(&rule, &mut Memory::default(), &records);
        assert_eq!(told, ["log/ops/1+0", "log/ops/4+2", "log/ops/6+1"]);
    }

    #[test]
    fn a_clock_set_back_a_day_does_not_silence_for_a_day() {
        let rule = rule(On::Event(filter()), 60);
        let told = seqs(&rule, &mut Memory::default(), &[(1, 86_400), (2, 0), (3, 30), (4, 61)]);
        assert_eq!(told, ["log/ops/1+0", "log/ops/2+0", "log/ops/4+1"]);
    }

    #[test]
    fn a_clock_that_stands_or_is_set_silences_for_the_cooldown_and_no_longer() {
        let rule = rule(On::Event(filter()), 60);
        // Seconds of the wall clock, the boot, seconds since then, whether it is told.
        for (what, times) in [
            ("it stands", vec![(0, 7, 100, true), (0, 7, 159, false), (0, 7, 160, true)]),
            ("it was set back", vec![(0, 7, 100, true), (-30, 7, 159, false), (-29, 7, 160, true)]),
            ("it was set ahead", vec![(0, 7, 100, true), (9_000, 7, 159, false)]),
            (
                "every boot begins at the same time",
                vec![(0, 7, 100, true), (0, 8, 59, false), (0, 8, 60, true), (0, 8, 61, false)],
            ),
            ("a boot later", vec![(0, 7, 100, true), (59, 8, 9, false), (60, 8, 10, true)]),
        ] {
            let mut memory = Memory::default();
            for (seq, (wall, boot, up, expected)) in times.into_iter().enumerate() {
                let now = live(wall, boot, up);
                let told = rule.record(&mut memory, &line(seq as u64, wall), (&now, "log"));
                assert_eq!(told.is_some(), expected, "{what}: {wall} {boot} {up}");
            }
        }
    }

    #[test]
    fn errors_are_counted_within_the_time_and_each_trigger_needs_new_ones() {
        let rule = rule(On::Errors(filter(), Errors { count: 3, within_seconds: 10 }), 0);
        let records = [(1, 0), (2, 5), (3, 10), (4, 11), (5, 12), (6, 13), (7, 14), (8, 30)];
        let told = seqs(&rule, &mut Memory::default(), &records);
        // 1 is ten seconds old at 3; 2, 3 and 4 are together; then 5, 6 and 7.
        assert_eq!(told, ["log/ops/4+0", "log/ops/7+0"]);
    }

    #[test]
    fn what_is_remembered_between_two_batches_changes_nothing() {
        let rule = rule(On::Errors(filter(), Errors { count: 3, within_seconds: 40 }), 20);
        let records: Vec<(u64, i64)> = (0..40).map(|n| (n, (n as i64 * 7) % 97)).collect();
        let whole = seqs(&rule, &mut Memory::default(), &records);
        for cut in 0..records.len() {
            let mut memory = Memory::default();
            let mut parts = seqs(&rule, &mut memory, &records[..cut]);
            let stored = serde_json::to_string(&memory).expect("json");
            let mut again: Memory = serde_json::from_str(&stored).expect("json");
            parts.extend(seqs(&rule, &mut again, &records[cut..]));
            assert_eq!(parts, whole, "cut at {cut}");
        }
        assert!(whole.len() > 1);
    }

    fn health(status: &str) -> Health {
        let check = |component: &str, status: &str| HealthCheck {
            component: component.to_owned(),
            status: status.to_owned(),
            code: (status != "healthy").then(|| format!("{component}.wrong")),
            message: "it is so".to_owned(),
            hint: None,
        };
        let checks = vec![check("disk_space", status), check("security", "healthy")];
        Health { status: status.to_owned(), checks }
    }

    #[test]
    fn a_change_of_health_is_told_once_and_one_held_back_is_told_after_the_cooldown() {
        let rule = rule(On::Health(Vec::new()), 60);
        let mut memory = Memory::default();
        let mut told = Vec::new();
        for (seconds, status) in [
            (0, "healthy"),
            (10, "warning"),
            (12, "warning"),
            (20, "critical"),
            (22, "critical"),
            (70, "critical"),
            (72, "critical"),
            (140, "healthy"),
        ] {
            let now = live(seconds, 7, 500 + seconds as u64);
            let occurrence = rule.health(&mut memory, &health(status), (&now, "log"));
            if let Some(change) = occurrence.and_then(|occurrence| occurrence.health) {
                told.push(format!("{seconds}: {} to {}", change.from, change.to));
            }
        }
        assert_eq!(
            told,
            ["10: healthy to warning", "70: warning to critical", "140: critical to healthy"]
        );
    }

    #[test]
    fn only_the_checks_that_were_named_count() {
        let wanted = On::Health(vec!["security".to_owned()]);
        let mut memory = Memory::default();
        let bad = health("critical");
        assert!(rule(wanted, 0).health(&mut memory, &bad, (&later(), "log")).is_none());
        let wanted = On::Health(vec!["disk_space".to_owned()]);
        let told = rule(wanted, 0).health(&mut memory, &bad, (&later(), "log")).expect("told");
        let change = told.health.expect("of health");
        assert_eq!((change.to.as_str(), change.checks.len()), ("critical", 1));
    }
}
