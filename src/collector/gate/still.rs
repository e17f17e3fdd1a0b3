//! Whether who was let in still may go on.

use std::sync::PoisonError;

use axum::http::StatusCode;

use super::caller::{Caller, Visitor};
use super::refuse::INVALID;
use crate::access::Right;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Word;
use crate::collector::Hub;

/// What a caller hears who was let in and may no more.
pub(in crate::collector) struct Ended {
    pub(in crate::collector) status: StatusCode,
    pub(in crate::collector) kind: &'static str,
    pub(in crate::collector) message: &'static str,
}

/// Whether a caller that was let in still may, by what holds now: asked again and
/// again by what takes its time, so that nobody goes on by having begun early.
pub(in crate::collector) fn still(hub: &Hub, caller: &Caller, right: Right) -> Result<(), Ended> {
    let tokens = hub.credentials.tokens();
    let clock = &hub.log.options().clock;
    let (name, why) = match (caller, &tokens) {
        (Caller::Stranger, _) => return Ok(()),
        (Caller::Person(visitor), _) => return still_person(hub, visitor, right),
        (Caller::Listener { uid, groups }, _) => return still_sends(hub, *uid, groups),
        (Caller::Here { uid, groups }, None) => {
            return match uid {
                Some(uid) if right == Right::Write => still_sends(hub, *uid, groups),
                _ => Ok(()),
            };
        }
        (Caller::Here { .. }, Some(_)) => {
            (None, "a token is required since the last reload".to_owned())
        }
        (Caller::Token(holder), None) => {
            (Some(&holder.known), "no tokens are accepted since the last reload".to_owned())
        }
        (Caller::Token(holder), Some(tokens)) => {
            match tokens.ended(&holder.known.token, right, clock.now()) {
                None => return Ok(()),
                Some(why) => (Some(&holder.known), why),
            }
        }
    };
    hub.log.page().add(Word::RequestsUnauthenticated, 1);
    let detail = match name {
        Some(known) => {
            format!("token \"{}\" is {why}, in the middle of a request", known.token.name)
        }
        None => format!("{why}, in the middle of a request"),
    };
    let source = name.map(|known| known.events.as_str());
    hub.log.security().report_stranger(SecurityKind::Unauthorized, source, &detail);
    Err(Ended { status: StatusCode::UNAUTHORIZED, kind: "unauthorized", message: INVALID })
}

/// A session that has ended, or whose user may not do that any more.
fn still_person(hub: &Hub, visitor: &Visitor, right: Right) -> Result<(), Ended> {
    if !hub.sessions.goes_on(&visitor.session, &*hub.log.options().clock) {
        hub.log.page().add(Word::RequestsUnauthenticated, 1);
        let message = "this session is over; `auditctl open` begins a new one";
        return Err(Ended { status: StatusCode::UNAUTHORIZED, kind: "session_ended", message });
    }
    let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
    if visitor.session.may(right, &access) {
        return Ok(());
    }
    hub.log.page().add(Word::RequestsForbidden, 1);
    let message = "this user may not do that any more";
    Err(Ended { status: StatusCode::FORBIDDEN, kind: "forbidden", message })
}

/// A user of this machine, who is no longer one of those who may send once
/// `collector.allowed_uids` and `allowed_gids` are reloaded.
fn still_sends(hub: &Hub, uid: u32, groups: &[u32]) -> Result<(), Ended> {
    let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
    if access.allows(uid, groups) {
        return Ok(());
    }
    hub.log.page().add(Word::RequestsForbidden, 1);
    let detail = "may not send any more, in the middle of a request";
    let source = format!("uid:{uid}");
    hub.log.security().report_stranger(SecurityKind::Unauthorized, Some(&source), detail);
    let message = "this user may not send events any more";
    Err(Ended { status: StatusCode::FORBIDDEN, kind: "forbidden", message })
}
