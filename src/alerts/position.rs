//! How far alerts are, as the log itself says it.
//!
//! The journal lies where whoever may write to the directory can remove it; what
//! the log says cannot be taken away unseen. So from time to time a record says up
//! to where everything is settled. Without a journal alerts look again from there:
//! what was told since may be told again, and nothing is passed over. A journal that
//! says less than the newest such record is an older one.

use super::state::State;
use crate::audit::AuditLog;
use crate::audit::read::query::{Order, Query, Request, Want};
use crate::audit::record::{Record, peek_seq};
use crate::audit::write::own::{ALERTS_POSITION, AlertsPosition};
use crate::clock::Timestamp;

/// The type of the record that a restore leaves.
const RESTORED: &str = "audit.restored";
/// So many records are looked at together.
const PAGE: u64 = 64;

/// The newest position that the log vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) position: AlertsPosition,
    /// A backup took the log's place since: its journal need not be there.
    pub(super) restored: bool,
}

/// Where alerts are in that state.
pub(super) fn of(state: &State) -> AlertsPosition {
    let cursor = state.cursor.unwrap_or_default();
    let mut position = AlertsPosition { settled_to: cursor, cursor, ..AlertsPosition::default() };
    for (alert, waiting) in &state.waiting {
        position.waiting.insert(alert.clone(), waiting.len() as u64);
        let about_health = waiting.iter().filter(|waiting| waiting.trigger == "health").count();
        if about_health > 0 {
            position.health.insert(alert.clone(), about_health as u64);
        }
        let seqs = waiting.iter().filter_map(|waiting| waiting.seq());
        position.settled_to = seqs.fold(position.settled_to, u64::min);
    }
    position
}

/// What the log says. Lines that an opening took over without a signature say
/// nothing: somebody may have appended them.
///
/// # Errors
/// When the log cannot be read.
pub(super) fn newest(log: &AuditLog) -> Result<Option<Known>, String> {
    let event_type = vec![ALERTS_POSITION.to_owned(), RESTORED.to_owned()];
    let request = Request { event_type, ..Request::default() };
    let asked = request.resolve(Timestamp::default()).map_err(|error| error.reason)?;
    let mut query = Query { want: Want::Records { order: Order::Newest, limit: PAGE }, ..asked };
    let manifest = log.manifest();
    let is_signed = |seq| !manifest.adopted.iter().any(|span| span.contains(seq));
    let mut restored = false;
    loop {
        let answer = log.read_on(&query).map_err(|error| error.to_string())?;
        let Some(lines) = answer.lines() else { return Ok(None) };
        let mut last = None;
        for line in lines.iter() {
            last = peek_seq(line);
            let Some(seq) = last.filter(|seq| is_signed(*seq)) else { continue };
            let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else { continue };
            if record.event_type == RESTORED {
                restored = true;
                continue;
            }
            let details = record.details.map(|details| serde_json::from_str(details.get()));
            if let Some(Ok(position)) = details {
                let position: AlertsPosition = position;
                // It cannot speak of what came after it.
                if position.settled_to <= position.cursor && position.cursor <= seq {
                    return Ok(Some(Known { position, restored }));
                }
            }
        }
        match last {
            Some(last) if answer.more && last > 0 => {
                query.filter = query.filter.within(0, last);
            }
            _ => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::occurrence::Occurrence;
    use crate::alerts::state::Change;

    #[test]
    fn everything_below_the_first_that_waits_is_settled() {
        let waits = |alert: &str, rest: &str, trigger: &str| {
            let text = format!(
                r#"{{"id":"0f/e1/{alert}/{rest}","alert":"{alert}","trigger":"{trigger}","at":"2026-02-04T21:09:40Z"}}"#
            );
            serde_json::from_str::<Occurrence>(&text).expect("an occurrence")
        };
        let mut state = State::default();
        assert_eq!(of(&state), AlertsPosition::default());
        state.apply(&Change { cursor: Some(90), ..Change::default() });
        assert_eq!((of(&state).settled_to, of(&state).cursor), (90, 90));
        let add = vec![
            waits("a.1", "70", "event"),
            waits("b", "41", "errors"),
            waits("b", "80", "errors"),
            waits("c", "health-7", "health"),
        ];
        state.apply(&Change { add, ..Change::default() });
        let position = of(&state);
        assert_eq!((position.settled_to, position.cursor), (41, 90));
        assert_eq!(position.waiting["b"], 2);
        assert_eq!(position.health.into_iter().collect::<Vec<_>>(), [("c".to_owned(), 1)]);
    }
}
