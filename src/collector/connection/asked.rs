//! What a peer asks for that is no event: each is answered in its turn, what takes long
//! by another thread, one after the other.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::rights::{Act, Peer};
use super::{Connection, MAX_ASKED, MAX_UNSENT, opened, origin};
use crate::audit::read::query::Request;
use crate::audit::state::security::SecurityKind;
use crate::audit::write::key_change::RotateRequest;
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::audit::{AuditLog, HandIn, ParseMode, Receipt};
use crate::collector::budget::Share;
use crate::collector::followed::Followed;
use crate::collector::intake::{ROOM_RETRY, count_no_room};
use crate::collector::protocol::{self, Control, SessionWish};
use crate::collector::seats::Guest;
use crate::collector::{Hub, query};

/// When an import may try again to go on.
const IMPORT_RETRY_MS: u64 = 50;

/// What another thread has to do for an answer.
enum Task {
    Query(Box<Request>),
    Rotate(RotateRequest),
    Open,
}

/// An answer by another thread.
pub(super) struct Told {
    line: Vec<u8>,
    /// What it holds of the budget.
    share: Option<Share>,
}

impl Told {
    fn plain(answer: &serde_json::Value) -> Self {
        Self { line: protocol::line_of(answer), share: None }
    }
}

/// What was asked and is not answered, in the order in which it is owed: one is answered
/// after the other, so that only one answer is in memory.
#[derive(Default)]
pub(super) struct Asked {
    waiting: VecDeque<Task>,
    running: Option<JoinHandle<Told>>,
    /// What the peer follows.
    followed: Arc<Followed>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether more may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_ASKED
    }

    /// Waits for what is being answered.
    pub(super) async fn next(&mut self) -> Told {
        let Some(task) = &mut self.running else { return std::future::pending().await };
        let told = task.await.unwrap_or_else(|error| {
            Told::plain(&protocol::error_of("internal", &error.to_string()))
        });
        self.running = None;
        told
    }
}

impl Connection {
    pub(super) fn control(&mut self, control: &Control) -> serde_json::Value {
        match control {
            Control::Hello => protocol::hello_value(self.hub.log.options().durability),
            Control::Unknown(name) => protocol::unknown_request(name),
            Control::Status => match self.hub.log.status() {
                Ok(page) => protocol::status_value(&page),
                Err(error) => protocol::error_of("unavailable", &error.to_string()),
            },
            Control::Session(wish) => self.wish(wish),
            // Answered later.
            Control::BackupMade(_)
            | Control::BackupRemoved(_)
            | Control::KeyRotate(_)
            | Control::Open
            | Control::Query(_) => protocol::error_of("malformed", "not here"),
        }
    }

    /// A backup was made; the log is to know.
    pub(super) fn backup_made(&mut self, made: BackupMade) {
        let made = BackupMade { uid: self.peer.uid, ..made };
        self.record(Act::RecordBackup, |log| log.record_backup_made(made));
    }

    /// A cleanup is about to remove a backup, and wants that recorded first.
    pub(super) fn backup_removed(&mut self, removed: BackupRemoved) {
        let removed = BackupRemoved { uid: self.peer.uid, ..removed };
        self.record(Act::RecordRemoval, |log| log.record_backup_removed(removed));
    }

    /// A record that is no event of the peer's: answered once it is acknowledged.
    fn record(&mut self, act: Act, record: impl FnOnce(&AuditLog) -> Receipt) {
        if !self.may_or_is_told(act) {
            return;
        }
        let seq = record(&self.hub.log).seq();
        self.hub.log.request_ack(seq + 1);
        self.owed.record(seq);
    }

    /// The signing key is changed by another thread, since it waits for the writer.
    pub(super) fn rotate_key(&mut self, request: RotateRequest) {
        if !self.may_or_is_told(Act::ChangeKey) {
            return;
        }
        let paths = [&request.new_key, &request.keep_old];
        if paths.into_iter().flatten().any(|path| path.is_relative()) {
            let answer =
                protocol::error_of("usage", "a path from the file system's root is needed");
            return self.owe_line(&answer);
        }
        let request = RotateRequest { uid: self.peer.uid, ..request };
        self.ask_for(Task::Rotate(request));
    }

    fn ask_for(&mut self, task: Task) {
        self.asked.waiting.push_back(task);
        self.owed.asked();
    }

    /// Has what was asked first answered, once the answer before it is on its way.
    pub(super) fn begin_next(&mut self) {
        if self.asked.is_running() || self.unsent() >= MAX_UNSENT {
            return;
        }
        let Some(task) = self.asked.waiting.pop_front() else { return };
        let hub = Arc::clone(&self.hub);
        self.asked.running = Some(match task {
            Task::Query(request) => {
                let followed = Arc::clone(&self.asked.followed);
                tokio::spawn(query_line(hub, self.peer, request, followed))
            }
            Task::Open => {
                let peer = self.peer;
                tokio::task::spawn_blocking(move || Told::plain(&opened::open(&hub, peer)))
            }
            Task::Rotate(request) => tokio::task::spawn_blocking(move || {
                Told::plain(&match hub.log.rotate_key(&request) {
                    Ok(rotated) => serde_json::json!({ "ok": { "key_rotate": rotated } }),
                    Err(error) => protocol::error_of(error.kind(), &error.to_string()),
                })
            }),
        });
    }

    /// A query is answered in its turn, by another thread.
    pub(super) fn ask(&mut self, request: Request) {
        if !self.may_or_is_told(Act::Query) {
            return;
        }
        if let Err(error) = request.check_size() {
            // It is not kept until its turn comes.
            return self.owe_line(&protocol::error_of("usage", &error.to_string()));
        }
        self.ask_for(Task::Query(Box::new(request)));
    }

    /// A session is begun by another thread, since the user's name may be on another machine.
    pub(super) fn open(&mut self) {
        if self.may_or_is_told(Act::Open) {
            self.ask_for(Task::Open);
        }
    }

    /// What was asked first is answered.
    pub(super) fn answered(&mut self, told: Told) {
        self.last_read = Instant::now();
        if let Some(share) = told.share {
            self.share.absorb(share);
        }
        self.owed.answer_asked(told.line);
    }

    /// Whether the peer may do that. If not, it is answered so.
    fn may_or_is_told(&mut self, act: Act) -> bool {
        let may = self.may(act);
        if !may {
            let answer = self.unauthorized(act);
            self.owe_line(&answer);
        }
        may
    }

    fn may(&self, act: Act) -> bool {
        let access = self.hub.access.read().unwrap_or_else(PoisonError::into_inner);
        self.peer.may(act, &access)
    }

    pub(super) fn unauthorized(&self, act: Act) -> serde_json::Value {
        let (source, text) = (self.peer.source(), act.denied());
        self.hub.log.security().report(SecurityKind::Unauthorized, Some(&source), text);
        protocol::error_of("forbidden", text)
    }

    fn wish(&mut self, wish: &SessionWish) -> serde_json::Value {
        if wish.import && !self.may(Act::Import) {
            return self.unauthorized(Act::Import);
        }
        // What it had before is over: also when it asks for the same again.
        self.import = None;
        let mut origin = origin(self.peer, wish.import);
        if let Some(id) = wish.import_id.as_deref().filter(|_| wish.import) {
            origin.import_id = match id.parse() {
                Ok(id) => Some(id),
                Err(reason) => return protocol::error_of("usage", reason),
            };
            self.import = self.hub.imports.begin(id);
            if self.import.is_none() {
                let text = "the connection that this import had is not over yet; try again";
                let mut answer = protocol::error_of("busy", text);
                answer["error"]["retry_after_ms"] = IMPORT_RETRY_MS.into();
                return answer;
            }
        }
        self.session = self.hub.log.session(&origin, wish.import);
        self.hand_in = if wish.import { HandIn::import() } else { HandIn::new() };
        self.mode = if wish.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        serde_json::json!({
            "ok": { "session": { "import": wish.import, "lenient": wish.lenient } }
        })
    }
}

/// A query's answer; whoever was removed while it was made does not get it.
async fn query_line(
    hub: Arc<Hub>,
    peer: Peer,
    request: Box<Request>,
    followed: Arc<Followed>,
) -> Told {
    let reader = query::Reader {
        origin: origin(peer, false),
        user: None,
        guest: Guest::User(peer.uid),
        followed: Some(followed),
    };
    let bytes = query::room(&request, false);
    let answered = match query::answer(Arc::clone(&hub), (*request, bytes), reader).await {
        Ok(answered) => answered,
        Err(refused) => {
            let mut value = protocol::error_of(refused.kind(), &refused.to_string());
            if matches!(refused, query::Refused::NoRoom) {
                count_no_room(&hub);
                value["error"]["retry_after_ms"] = (ROOM_RETRY.as_millis() as u64).into();
            }
            return Told::plain(&value);
        }
    };
    let may_read = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        peer.may(Act::Query, &access)
    };
    if !may_read {
        return Told::plain(&protocol::error_of("forbidden", "this user may not query any more"));
    }
    let document = match answered.answer.to_json(&answered.question) {
        Ok(document) => document,
        Err(error) => return Told::plain(&protocol::error_of("internal", &error.to_string())),
    };
    let line = protocol::answer_line(&document);
    let mut share = answered.share;
    share.shrink(line.capacity());
    Told { line, share: Some(share) }
}
