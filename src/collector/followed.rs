//! Questions that are asked again and again, from where they were answered: of each, the
//! beginning is recorded (`audit_reads`), and what goes on from there is not again, or what
//! is recorded would be followed for ever.
//!
//! What goes on is what asks the same about records that were not there yet when the
//! beginning was recorded. Whoever asks for older ones asks for what nobody recorded, page by
//! page, and is recorded like anybody.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::access::digest;
use crate::audit::read::query::{Answer, Query, Request};
use crate::audit::tree::merkle::Hash;

/// Questions that one asker may follow at once.
const AT_ONCE: usize = 8;

/// What one asker follows: which question, and where the log ended when it was recorded.
#[derive(Debug, Default)]
pub(super) struct Followed(Mutex<VecDeque<(Hash, u64)>>);

impl Followed {
    fn table(&self) -> MutexGuard<'_, VecDeque<(Hash, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question goes on with one that was answered: it is about records alone that
    /// were not there when that was recorded.
    pub(super) fn goes_on(&self, request: &Request, query: &Query) -> bool {
        let Some(which) = which(request) else { return false };
        let from = query.filter.first_seq();
        self.table().iter().any(|(known, horizon)| *known == which && *horizon <= from)
    }

    /// It was answered, and if it was to be recorded, it is. What is asked about a range that
    /// has an end is not followed.
    pub(super) fn answered(&self, request: &Request, query: &Query, answer: &Answer) {
        let Some(which) = which(request).filter(|_| query.filter.end_seq() == u64::MAX) else {
            return;
        };
        let mut table = self.table();
        let at = table.iter().position(|(known, _)| *known == which);
        // The first horizon stays: the log knows of all behind it.
        let first = at.and_then(|at| table.remove(at)).unwrap_or((which, answer.end));
        table.push_back(first);
        while table.len() > AT_ONCE {
            table.pop_front();
        }
    }
}

/// What a request follows, wherever in the log, if it does.
fn which(request: &Request) -> Option<Hash> {
    let anywhere = Request { seq: None, limit: None, order: None, ..request.clone() };
    let text = serde_json::to_vec(&anywhere).ok()?;
    request.follow.then(|| digest(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::{Found, History, Lines};
    use crate::clock::Timestamp;

    fn asked(json: &str) -> (Request, Query) {
        let request: Request = serde_json::from_str(json).expect("a request");
        let query = request.resolve(Timestamp::from_micros(0)).expect("understood");
        (request, query)
    }

    /// About the records up to `end`, of which the last that was handed over is `last`.
    fn answer(end: u64, last: Option<u64>) -> Answer {
        let line = last.map(|seq| format!("{{\"seq\":{seq},\"event_type\":\"a\"}}"));
        let lines: Lines = line.iter().map(|line| line.as_bytes()).collect();
        Answer {
            found: Found::Records(lines),
            begin: 0,
            end,
            history: History::default(),
            more: last.is_some(),
            pruned: None,
            unreadable: 0,
            damaged: Vec::new(),
            given_up: Vec::new(),
            missing: None,
            effort: Default::default(),
        }
    }

    fn goes_on(followed: &Followed, json: &str) -> bool {
        let (request, query) = asked(json);
        followed.goes_on(&request, &query)
    }

    #[test]
    fn only_the_same_question_behind_the_last_answers_end_goes_on() {
        let followed = Followed::default();
        let (request, query) = asked(r#"{"follow":true,"type":"a","limit":10}"#);
        assert!(!followed.goes_on(&request, &query), "nothing was asked yet");
        followed.answered(&request, &query, &answer(100, None));
        assert!(goes_on(&followed, r#"{"follow":true,"type":"a","seq":"100..","limit":0}"#));
        assert!(goes_on(
            &followed,
            r#"{"follow":true,"type":"a","seq":"120..","order":"oldest","limit":0}"#
        ));
        for other in [
            r#"{"follow":true,"type":"a","seq":"99..","limit":0}"#,
            r#"{"follow":true,"type":"a","limit":0}"#,
            r#"{"follow":true,"type":"b","seq":"100.."}"#,
            r#"{"follow":true,"type":"a","since":"1h","seq":"100.."}"#,
            r#"{"type":"a","seq":"100.."}"#,
        ] {
            assert!(!goes_on(&followed, other), "{other}");
        }
    }

    /// What a first page left is read page by page, and each is recorded.
    #[test]
    fn what_was_there_already_does_not_go_on_however_small_the_first_page_was() {
        let followed = Followed::default();
        let (request, query) = asked(r#"{"follow":true,"seq":"0..","order":"oldest","limit":1}"#);
        followed.answered(&request, &query, &answer(100, Some(0)));
        for older in ["1..", "99..", "1..100"] {
            let json = format!(r#"{{"follow":true,"seq":"{older}","order":"oldest","limit":0}}"#);
            assert!(!goes_on(&followed, &json), "{older}");
            let (request, query) = asked(&json);
            followed.answered(&request, &query, &answer(200, None));
        }
        assert!(goes_on(&followed, r#"{"follow":true,"seq":"100..","order":"oldest","limit":0}"#));
        let followed = Followed::default();
        let (request, query) = asked(r#"{"follow":true,"seq":"0..2","limit":1}"#);
        followed.answered(&request, &query, &answer(100, Some(0)));
        assert!(!goes_on(&followed, r#"{"follow":true,"seq":"100.."}"#), "a range with an end");
    }

    #[test]
    fn few_are_remembered_and_the_latest_longest() {
        let followed = Followed::default();
        for nth in 0..20 {
            let (request, query) = asked(&format!(r#"{{"follow":true,"type":"t{nth}"}}"#));
            followed.answered(&request, &query, &answer(9, None));
        }
        assert_eq!(followed.table().len(), AT_ONCE);
        assert!(goes_on(&followed, r#"{"follow":true,"type":"t19","seq":"9.."}"#));
        assert!(!goes_on(&followed, r#"{"follow":true,"type":"t0","seq":"9.."}"#));
    }
}
