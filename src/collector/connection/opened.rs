//! `open`: a user of this machine gets a token for HTTP.

use std::sync::PoisonError;

use nix::unistd::{Uid, User};
use serde_json::{Value, json};

use super::rights::{Act, Peer};
use crate::audit::record::event::MAX_IDENTIFIER_BYTES;
use crate::audit::state::security::SecurityKind;
use crate::collector::sessions::{NotBegun, Person, role_of};
use crate::collector::{Hub, protocol};

/// Waits for the system's user database.
pub(super) fn open(hub: &Hub, peer: Peer) -> Value {
    let Some(door) = &hub.door else {
        let text = "there is no HTTP to open: set collector.http to an address, such as \
                    \"127.0.0.1:9750\", and restart the collector";
        return protocol::error_of("no_http", text);
    };
    let role = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        role_of(&access, peer.uid, peer.gid)
    };
    let Some(role) = role else {
        return protocol::error_of("forbidden", Act::Open.denied());
    };
    let person = Person { uid: peer.uid, gid: peer.gid, user: name_of(peer.uid) };
    match hub.sessions.begin(person, role, &*hub.log.options().clock) {
        Ok((token, session)) => json!({ "ok": { "open": {
            "token": token.reveal(),
            "expires": session.expires.to_string(),
            "role": session.role.as_str(),
            "url": door.url(&hub.credentials),
        }}}),
        Err(refused) => {
            let kind = match refused {
                NotBegun::TooOften { .. } | NotBegun::Full => "busy",
                NotBegun::Random(_) => "internal",
            };
            let mut answer = protocol::error_of(kind, &refused.to_string());
            if let NotBegun::TooOften { retry_after } = refused {
                let detail = "begins too many sessions";
                let source = peer.source();
                hub.log.security().report(SecurityKind::RateLimited, Some(&source), detail);
                let millis = retry_after.as_micros().div_ceil(1_000) as u64;
                answer["error"]["retry_after_ms"] = millis.into();
            }
            answer
        }
    }
}

/// A user's name, as records are to say it.
fn name_of(uid: u32) -> Option<String> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(user.name).filter(|name| name.len() <= MAX_IDENTIFIER_BYTES)
}
