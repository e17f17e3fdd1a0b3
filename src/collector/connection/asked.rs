//! What a peer asks for that is no event: each is answered in its turn, what takes long
//! by another thread, one after the other.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::{Connection, MAX_UNSENT, Owed, Peer, Task, Told, origin};
use crate::audit::ParseMode;
use crate::audit::read::query::Request;
use crate::audit::state::security::SecurityKind;
use crate::audit::write::key_change::RotateRequest;
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::collector::intake::{ROOM_RETRY, count_no_room};
use crate::collector::protocol::{self, Control, SessionWish};
use crate::collector::seats::Guest;
use crate::collector::{Hub, query};

/// When an import may try again to go on.
const IMPORT_RETRY_MS: u64 = 50;

/// Waits for what is being answered.
pub(super) async fn next(running: &mut Option<JoinHandle<Told>>) -> Told {
    let Some(task) = running else { return std::future::pending().await };
    let told = task.await.unwrap_or_else(|error| {
        (protocol::line_of(&protocol::error_of("internal", &error.to_string())), None)
    });
    *running = None;
    told
}

impl Connection {
    pub(super) fn control(&mut self, control: &Control) -> serde_json::Value {
        match control {
            Control::Status => match self.hub.log.status() {
                Ok(page) => protocol::status_value(&page),
                Err(error) => protocol::error_of("unavailable", &error.to_string()),
            },
            Control::Session(wish) => self.wish(wish),
            // Answered later.
            Control::BackupMade(_)
            | Control::BackupRemoved(_)
            | Control::KeyRotate(_)
            | Control::Query(_) => protocol::error_of("malformed", "not here"),
        }
    }

    /// A backup was made; the log is to know.
    pub(super) fn backup_made(&mut self, made: BackupMade) {
        if !self.may_import() {
            let text = "only root and the collector's own user may record a backup";
            let answer = self.unauthorized(text);
            return self.owe_line(protocol::line_of(&answer));
        }
        let made = BackupMade { uid: self.peer.uid, ..made };
        let first_seq = self.hub.log.record_backup_made(made).seq();
        self.hub.log.request_ack(first_seq + 1);
        self.in_flight += 1;
        self.owed.push_back(Owed::Accepted { first_seq, count: 1 });
    }

    /// A cleanup is about to remove a backup, and wants that recorded first.
    pub(super) fn backup_removed(&mut self, removed: BackupRemoved) {
        if !self.may_import() {
            let text = "only root and the collector's own user may record a removal";
            let answer = self.unauthorized(text);
            return self.owe_line(protocol::line_of(&answer));
        }
        let removed = BackupRemoved { uid: self.peer.uid, ..removed };
        let first_seq = self.hub.log.record_backup_removed(removed).seq();
        self.hub.log.request_ack(first_seq + 1);
        self.in_flight += 1;
        self.owed.push_back(Owed::Accepted { first_seq, count: 1 });
    }

    /// The signing key is changed by another thread, since it waits for the writer.
    pub(super) fn rotate_key(&mut self, request: RotateRequest) {
        if !self.may_import() {
            let text = "only root and the collector's own user may change the signing key";
            let answer = self.unauthorized(text);
            return self.owe_line(protocol::line_of(&answer));
        }
        let paths = [&request.new_key, &request.keep_old];
        if paths.into_iter().flatten().any(|path| path.is_relative()) {
            let answer =
                protocol::error_of("usage", "a path from the file system's root is needed");
            return self.owe_line(protocol::line_of(&answer));
        }
        let request = RotateRequest { uid: self.peer.uid, ..request };
        self.ask_for(Task::Rotate(request));
    }

    fn ask_for(&mut self, task: Task) {
        self.asked.push_back(task);
        self.in_flight += 1;
        self.owed.push_back(Owed::Asked);
    }

    /// Has what was asked first answered, once the answer before it is on its way.
    pub(super) fn begin_next(&mut self) {
        if self.running.is_some() || self.output.len() + self.owed_bytes >= MAX_UNSENT {
            return;
        }
        let Some(task) = self.asked.pop_front() else { return };
        let hub = Arc::clone(&self.hub);
        self.running = Some(match task {
            Task::Query(request, recorded) => {
                tokio::spawn(query_line(hub, self.peer, *request, recorded))
            }
            Task::Rotate(request) => tokio::task::spawn_blocking(move || {
                let line = match hub.log.rotate_key(&request) {
                    Ok(rotated) => serde_json::json!({ "ok": { "key_rotate": rotated } }),
                    Err(error) => protocol::error_of(error.kind(), &error.to_string()),
                };
                (protocol::line_of(&line), None)
            }),
        });
    }

    /// A query is answered in its turn, by another thread.
    pub(super) fn ask(&mut self, request: Request) {
        let may_read = {
            let access = self.hub.access.read().unwrap_or_else(PoisonError::into_inner);
            access.may_read(self.peer.uid, self.peer.gid)
        };
        if !may_read {
            let answer = self.unauthorized("this user may record, not query");
            return self.owe_line(protocol::line_of(&answer));
        }
        if let Err(error) = request.check_size() {
            // It is not kept until its turn comes.
            let answer = protocol::error_of("usage", &error.to_string());
            return self.owe_line(protocol::line_of(&answer));
        }
        let recorded = self.follows.as_ref().is_some_and(|before| request.follows_as(before));
        self.follows = request.follow.then(|| request.clone());
        self.ask_for(Task::Query(Box::new(request), recorded));
    }

    /// What was asked first is answered.
    pub(super) fn answered(&mut self, (line, share): Told) {
        self.last_read = Instant::now();
        if let Some(share) = share {
            self.share.absorb(share);
        }
        let first = self.owed.iter_mut().find(|owed| matches!(owed, Owed::Asked));
        if let Some(owed) = first {
            self.owed_bytes += line.len();
            *owed = Owed::Line(line);
        }
    }

    fn may_import(&self) -> bool {
        let access = self.hub.access.read().unwrap_or_else(PoisonError::into_inner);
        access.may_import(self.peer.uid)
    }

    pub(super) fn unauthorized(&self, text: &str) -> serde_json::Value {
        let source = format!("uid:{}", self.peer.uid);
        self.hub.log.security().report(SecurityKind::Unauthorized, Some(&source), text);
        protocol::error_of("forbidden", text)
    }

    fn wish(&mut self, wish: &SessionWish) -> serde_json::Value {
        if wish.import && !self.may_import() {
            let text = "only root and the collector's own user may import without a rate limit";
            return self.unauthorized(text);
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
        self.imports = wish.import;
        self.mode = if wish.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        serde_json::json!({
            "ok": { "session": { "import": wish.import, "lenient": wish.lenient } }
        })
    }
}

/// A query's answer; whoever was removed while it was made does not get it.
async fn query_line(hub: Arc<Hub>, peer: Peer, request: Request, recorded: bool) -> Told {
    let top = request.top;
    let reader = (origin(peer, false), Guest::User(peer.uid));
    let answered = match query::answer(Arc::clone(&hub), request, reader, recorded).await {
        Ok(answered) => answered,
        Err(refused) => {
            let mut value = protocol::error_of(refused.kind(), &refused.to_string());
            if matches!(refused, query::Refused::NoRoom) {
                count_no_room(&hub);
                value["error"]["retry_after_ms"] = (ROOM_RETRY.as_millis() as u64).into();
            }
            return (protocol::line_of(&value), None);
        }
    };
    let may_read = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        access.may_read(peer.uid, peer.gid)
    };
    if !may_read {
        let value = protocol::error_of("forbidden", "this user may not query any more");
        return (protocol::line_of(&value), None);
    }
    let line = match answered.answer.to_json(&answered.query, top) {
        Ok(document) => protocol::answer_line(&document),
        Err(error) => protocol::line_of(&protocol::error_of("internal", &error.to_string())),
    };
    let mut share = answered.share;
    share.shrink(line.capacity());
    (line, Some(share))
}
