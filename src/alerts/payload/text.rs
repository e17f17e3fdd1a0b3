//! An occurrence in words, for people. What came with events is cut and cleaned
//! here, and escaped where it goes.

use super::Sender;
use crate::alerts::occurrence::Occurrence;
use crate::audit::record::Record;
use crate::clock::display_seconds;
use crate::units::format_duration;

/// A value is cut to so many characters.
const MAX_VALUE_CHARS: usize = 200;
/// Checks that are told.
const MAX_CHECKS: usize = 12;

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
        for check in health.checks.iter().take(MAX_CHECKS) {
            let text = format!("{} ({}): {}", check.component, check.status, check.message);
            facts.push(("check", line(&text)));
        }
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

/// One line, without what moves a cursor, ends a line or turns the text round.
fn line(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    cut(
        &text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect::<String>(),
        MAX_VALUE_CHARS,
    )
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
