//! An occurrence in words, for people. What came with events is cut and cleaned
//! here, and escaped where it goes.

use super::Sender;
use crate::alerts::occurrence::{HealthCheck, Occurrence};
use crate::audit::record::Record;
use crate::clock::display_seconds;
use crate::units::format_duration;

/// A value is cut to so many characters.
const MAX_VALUE_CHARS: usize = 200;
/// A hint is cut to so many characters: longer ones are for `health` itself.
const MAX_HINT_CHARS: usize = 400;
/// All checks together are told in about so many characters: whoever is woken reads
/// the worst, and no chat cuts the log's name off.
const MAX_CHECKS_CHARS: usize = 1_200;

/// A line that says what happened, and what belongs to it.
pub(super) struct Told {
    pub(super) title: String,
    /// Name and value, each of one line.
    pub(super) facts: Vec<(&'static str, String)>,
}

pub(super) fn told(occurrence: &Occurrence, sender: &Sender) -> Told {
    let record: Option<Record<'_>> =
        occurrence.record.as_ref().and_then(|record| serde_json::from_str(record.get()).ok());
    let what = match (&occurrence.errors, &occurrence.health, &record) {
        (Some(errors), ..) => {
            let within = std::time::Duration::from_secs(errors.within_seconds);
            format!("{} errors within {}", errors.count, format_duration(within))
        }
        (_, Some(health), _) => format!("health went from {} to {}", health.from, health.to),
        (.., Some(record)) => line(&record.event_type),
        _ => "a test".to_owned(),
    };
    let title = format!("[auditctl] {}: {what}", line(&occurrence.alert));
    let mut facts = vec![("host", line(&sender.host)), ("time", display_seconds(occurrence.at))];
    if let Some(record) = &record {
        facts.push(("event", line(&record.event_type)));
        let fields = [
            ("actor", &record.actor),
            ("source", &record.source),
            ("target", &record.target),
            ("outcome", &record.outcome),
        ];
        for (name, value) in fields {
            facts.extend(value.as_ref().map(|value| (name, line(value))));
        }
        facts.push(("seq", record.seq.to_string()));
    }
    if let Some(health) = &occurrence.health {
        facts.extend(checks_told(&health.checks));
    }
    if let Some(held) = &occurrence.suppressed {
        facts.push((
            "held back",
            format!("{} more since {}", held.count, display_seconds(held.since)),
        ));
    }
    facts.push(("log", line(&sender.log_id)));
    facts.push(("id", line(&occurrence.id)));
    Told { title, facts }
}

/// The worst first, each with its code and with what to do about it. What several
/// checks advise alike is said once.
fn checks_told(checks: &[HealthCheck]) -> Vec<(&'static str, String)> {
    let rank = |check: &&HealthCheck| match check.status.as_str() {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    };
    let mut sorted: Vec<&HealthCheck> = checks.iter().collect();
    sorted.sort_by_key(rank);
    let (mut facts, mut chars, mut told) = (Vec::new(), 0, 0);
    for check in &sorted {
        let code = check.code.as_ref().unwrap_or(&check.component);
        let found = line(&format!("{code} ({}): {}", check.status, check.message));
        let hint = check.hint.as_deref().map(|hint| cut(&cleaned(hint), MAX_HINT_CHARS));
        let hint = hint.filter(|hint| !facts.contains(&("hint", hint.clone())));
        chars += found.chars().count() + hint.as_ref().map_or(0, |hint| hint.chars().count());
        if told > 0 && chars > MAX_CHECKS_CHARS {
            let left = sorted.len() - told;
            facts.push(("checks", format!("{left} more: `auditctl health` shows all of them")));
            break;
        }
        facts.push(("check", found));
        facts.extend(hint.map(|hint| ("hint", hint)));
        told += 1;
    }
    facts
}

/// One line of a value, cut to what a value may have.
fn line(text: &str) -> String {
    cut(&cleaned(text), MAX_VALUE_CHARS)
}

/// Without what moves a cursor, ends a line or turns the text round.
fn cleaned(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

/// At most so many characters; one that was cut ends in `…`.
pub(super) fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars.saturating_sub(1)).collect();
    short.push('…');
    short
}
