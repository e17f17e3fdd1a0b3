//! One peer of the Unix socket.
//!
//! A single task reads, submits, and answers, so that thousands of events are
//! in flight at once. Every buffer is bounded: a peer that does not read its
//! answers is not read from any more, and closed after the write timeout. It
//! costs nobody else anything.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::budget::Share;
use super::intake::{NO_ROOM, ROOM_RETRY, count_no_room};
use super::places::Place;
use super::protocol::{self, Control, SessionWish};
use super::seats::Guest;
use super::{Hub, Seen, query};
use crate::audit::event::MAX_LINE_BYTES;
use crate::audit::key_change::RotateRequest;
use crate::audit::own::{BackupMade, BackupRemoved};
use crate::audit::query::Request;
use crate::audit::security::SecurityKind;
use crate::audit::{Batch, Origin, ParseMode, RecordError, Session, Via};

/// Read at a time.
const READ_BYTES: usize = 64 * 1024;
/// What a read may come to: its lines, encoded, and their answers.
const READ_COST: usize = 4 * READ_BYTES;
/// Events in flight; reading pauses beyond.
const MAX_IN_FLIGHT: usize = 16_384;
/// Answers not taken yet; reading pauses beyond.
const MAX_UNSENT: usize = 256 * 1024;
/// Queries that a connection may have under way; reading pauses beyond.
const MAX_ASKED: usize = 16;
/// So many lines in a row that are no JSON: this is no sender of events.
const MAX_MALFORMED: u32 = 100;
/// While the write buffer is full, it is tried again so often.
const FULL_POLL: Duration = Duration::from_millis(10);

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) read: Duration,
    pub(super) write: Duration,
    pub(super) idle: Duration,
}

/// Who it is, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: Option<u32>,
}

/// Answers owed, in the order of the requests.
enum Owed {
    /// Events in the batch, not accepted yet.
    Waiting(usize),
    /// Events accepted, to be answered once acknowledged.
    Accepted { first_seq: u64, count: u64 },
    /// Known already.
    Line(Vec<u8>),
    /// A query, which is being answered or waits for those before it.
    Asked,
}

/// What another thread has to do for an answer.
enum Task {
    /// A query, and whether the log knows of it already.
    Query(Box<Request>, bool),
    Rotate(RotateRequest),
}

/// An answer by another thread, and what it holds of the budget.
type Told = (Vec<u8>, Option<Share>);

struct Connection {
    hub: Arc<Hub>,
    peer: Peer,
    session: Session,
    mode: ParseMode,
    imports: bool,
    input: Vec<u8>,
    batch: Batch,
    owed: VecDeque<Owed>,
    /// What was asked and is not begun, in the order in which it is owed: one is
    /// answered after the other, so that only one answer is in memory.
    asked: VecDeque<Task>,
    /// What is being answered.
    running: Option<JoinHandle<Told>>,
    /// What the connection holds of the collector's memory.
    share: Share,
    /// Bytes of the answers in `owed`.
    owed_bytes: usize,
    /// Since when there has been no memory to read more.
    starved_since: Option<Instant>,
    /// What the peer follows.
    follows: Option<Request>,
    /// Whether the peer may send events.
    writes: bool,
    in_flight: usize,
    output: Vec<u8>,
    malformed: u32,
    /// Since when the write buffer has had no room.
    full_since: Option<Instant>,
    /// Since when a line has been half there.
    line_since: Option<Instant>,
    /// Since when the peer has not taken what is in `output`.
    unsent_since: Option<Instant>,
    last_read: Instant,
    /// Nothing more is read; it ends when all is answered.
    ending: bool,
    /// The peer takes no answers any more; what it sent still counts.
    deaf: bool,
    /// Whole lines wait in `input` until something has been answered.
    held: bool,
}

/// Serves a peer until it leaves, misbehaves, or the collector stops.
pub(super) async fn serve(stream: UnixStream, hub: Arc<Hub>, place: Place, peer: Peer) {
    let progress = hub.progress.clone();
    let stopping = hub.stopping.clone();
    let mut connection = Connection::new(hub, peer);
    // An error here is the peer's going; nobody is left to tell.
    let _ = connection.run(&stream, progress, stopping).await;
    drop(place);
}

/// Waits for what is being answered.
async fn next(running: &mut Option<JoinHandle<Told>>) -> Told {
    let Some(task) = running else { return std::future::pending().await };
    let told = task.await.unwrap_or_else(|error| {
        (protocol::line_of(&protocol::error_of("internal", &error.to_string())), None)
    });
    *running = None;
    told
}

/// Whether a line is longer than any may be; the CR of a line's end is no part of it.
fn is_too_long(line: &[u8]) -> bool {
    line.len() > MAX_LINE_BYTES + usize::from(line.ends_with(b"\r"))
}

fn origin(peer: Peer, import: bool) -> Origin {
    Origin { via: Via::Socket, uid: Some(peer.uid), pid: peer.pid, token: None, peer: None, import }
}

impl Connection {
    fn new(hub: Arc<Hub>, peer: Peer) -> Self {
        let session = hub.log.session(&origin(peer, false), false);
        let share = hub.budget.share(Guest::User(peer.uid));
        Self {
            hub,
            peer,
            session,
            mode: ParseMode::Strict,
            imports: false,
            input: Vec::new(),
            batch: Batch::new(),
            owed: VecDeque::new(),
            asked: VecDeque::new(),
            running: None,
            share,
            owed_bytes: 0,
            starved_since: None,
            follows: None,
            writes: false,
            in_flight: 0,
            output: Vec::new(),
            malformed: 0,
            full_since: None,
            line_since: None,
            unsent_since: None,
            last_read: Instant::now(),
            ending: false,
            deaf: false,
            held: false,
        }
    }

    async fn run(
        &mut self,
        stream: &UnixStream,
        mut progress: watch::Receiver<Seen>,
        mut stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let hub = Arc::clone(&self.hub);
        loop {
            if self.held && self.takes_lines() {
                self.go_on();
            }
            self.begin_next();
            self.submit();
            self.answer(&progress.borrow_and_update().clone());
            self.send(stream);
            self.settle();
            if self.ending && self.owed.is_empty() && self.output.is_empty() {
                return Ok(());
            }
            if self.held && self.takes_lines() {
                continue;
            }
            let freed = hub.budget.given_back();
            tokio::pin!(freed);
            if self.starved_since.is_some() {
                // Before it is tried: what is given back in between is then seen.
                freed.as_mut().enable();
                if self.share.try_grow(self.bytes() + READ_COST) {
                    self.starved_since = None;
                }
            }
            let starved = self.starved_since.is_some();
            let may_read = !self.ending
                && !self.held
                && self.takes_lines()
                && self.batch.is_empty()
                && self.in_flight < MAX_IN_FLIGHT;
            let deadline = self.deadline();
            tokio::select! {
                ready = stream.readable(), if may_read && !starved => {
                    ready?;
                    if self.share.try_grow(self.bytes() + READ_COST) {
                        self.receive(stream)?;
                    } else {
                        self.starved_since = Some(Instant::now());
                        // Not the peer's doing.
                        self.line_since = None;
                    }
                }
                () = freed, if starved => {}
                ready = stream.writable(), if !self.output.is_empty() => ready?,
                told = next(&mut self.running), if self.running.is_some() => self.answered(told),
                changed = progress.changed(), if self.in_flight > 0 => {
                    if changed.is_err() {
                        self.fail_all(&RecordError::Closed);
                    }
                }
                () = super::stopped(&mut stopping), if !self.ending => self.ending = true,
                () = tokio::time::sleep_until(deadline.into()) => {
                    if !self.timed_out() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What the connection has in memory that grows with what its peer does.
    fn bytes(&self) -> usize {
        self.input.capacity()
            + self.output.capacity()
            + self.owed_bytes
            + self.owed.capacity() * size_of::<Owed>()
            + self.batch.capacity_bytes()
    }

    /// Whether there is room for the answers to more lines.
    fn takes_lines(&self) -> bool {
        self.asked.len() < MAX_ASKED && self.output.len() + self.owed_bytes < MAX_UNSENT
    }

    /// Gives back what is not needed any more.
    fn settle(&mut self) {
        if self.batch.is_empty() && self.batch.capacity_bytes() > READ_COST {
            self.batch = Batch::new();
        }
        if self.output.is_empty() {
            self.output.shrink_to(READ_BYTES);
        }
        if self.owed.is_empty() {
            self.owed.shrink_to(64);
        }
        let bytes = self.bytes();
        self.share.shrink(bytes);
        // A line's answer may have been longer than was thought.
        let _ = self.share.try_grow(bytes);
    }

    /// Takes the lines that were held back. Its peer may have been removed meanwhile.
    fn go_on(&mut self) {
        if self.is_welcome() {
            self.lines(0);
        } else {
            self.held = false;
            self.input = Vec::new();
            self.unwelcome();
        }
    }

    /// Reads what there is, once, and takes its whole lines.
    fn receive(&mut self, stream: &UnixStream) -> io::Result<()> {
        let begin = self.input.len();
        // Not in `input`: who is silent, or has sent whole lines, keeps nothing.
        let mut buffer = [0; READ_BYTES];
        match stream.try_read(&mut buffer) {
            Ok(0) => {
                // A last line without its end counts if it is whole: only then
                // does it parse.
                self.ending = true;
                let rest = std::mem::take(&mut self.input);
                if !rest.trim_ascii().is_empty() {
                    self.line(&rest);
                }
                return Ok(());
            }
            Ok(read) => {
                self.last_read = Instant::now();
                self.input.extend_from_slice(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => {
                // It is gone: nothing more comes, what came before counts.
                self.ending = true;
                return Ok(());
            }
        }
        if self.is_welcome() {
            self.lines(begin);
        } else {
            self.unwelcome();
        }
        Ok(())
    }

    fn unwelcome(&mut self) {
        let text = "may not use the socket any more";
        self.hostile(SecurityKind::Unauthorized, "forbidden", text);
    }

    /// Whether the peer still may do anything, as the settings are by now.
    fn is_welcome(&mut self) -> bool {
        let (uid, gid) = (self.peer.uid, self.peer.gid);
        let access = self.hub.access.read().unwrap_or_else(PoisonError::into_inner);
        self.writes = access.allows(uid, &[gid]);
        self.writes || access.may_read(uid, gid)
    }

    fn lines(&mut self, searched: usize) {
        let input = std::mem::take(&mut self.input);
        let mut start = 0;
        self.held = false;
        for end in memchr::memchr_iter(b'\n', &input[searched..]) {
            let end = searched + end;
            if !self.takes_lines() && !self.ending {
                self.held = true;
                break;
            }
            let line = &input[start..end];
            start = end + 1;
            if self.ending {
                break;
            }
            if is_too_long(line) {
                // As if its end had not come with the rest: what is read at a
                // time must make no difference.
                self.too_long();
            } else if !line.trim_ascii().is_empty() {
                self.line(line.strip_suffix(b"\r").unwrap_or(line));
            }
        }
        self.input = input;
        self.input.drain(..start);
        if self.held {
            // Not the peer's doing.
            self.line_since = None;
            return;
        }
        if self.input.is_empty() {
            self.line_since = None;
            self.input = Vec::new();
        } else if start > 0 || self.line_since.is_none() {
            self.line_since = Some(Instant::now());
        }
        if is_too_long(&self.input) && !self.ending {
            self.input = Vec::new();
            self.too_long();
        }
    }

    fn too_long(&mut self) {
        self.hostile(SecurityKind::Oversize, "too_large", "a line longer than 1 MiB");
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(control) = protocol::control(line) {
            let answer = match control {
                Ok(Control::BackupMade(made)) => return self.backup_made(*made),
                Ok(Control::BackupRemoved(removed)) => return self.backup_removed(*removed),
                Ok(Control::KeyRotate(request)) => return self.rotate_key(*request),
                Ok(Control::Query(request)) => return self.ask(*request),
                Ok(control) => self.control(&control),
                Err(error) => protocol::error_of("malformed", &error),
            };
            return self.owe_line(protocol::line_of(&answer));
        }
        if !self.writes {
            let answer = self.unauthorized("this user may query, not record");
            return self.owe_line(protocol::line_of(&answer));
        }
        match self.session.prepare(line, self.mode, &mut self.batch) {
            Ok(()) => {
                self.malformed = 0;
                self.in_flight += 1;
                match self.owed.back_mut() {
                    Some(Owed::Waiting(count)) => *count += 1,
                    _ => self.owed.push_back(Owed::Waiting(1)),
                }
            }
            Err(error) => {
                let malformed = error.kind() == "malformed";
                self.malformed = if malformed { self.malformed + 1 } else { 0 };
                self.owe_line(protocol::line_of(&protocol::error_value(&error)));
                if self.malformed >= MAX_MALFORMED {
                    let text = "a hundred lines in a row that are not JSON";
                    self.hostile(SecurityKind::HostilePeer, "malformed", text);
                }
            }
        }
    }

    fn owe_line(&mut self, line: Vec<u8>) {
        // Kept with the answers before it, or sent at once.
        if self.owed.is_empty() {
            self.output.extend_from_slice(&line);
        } else {
            self.in_flight += 1;
            self.owe(line);
        }
    }

    fn owe(&mut self, line: Vec<u8>) {
        self.owed_bytes += line.len();
        self.owed.push_back(Owed::Line(line));
    }

    fn control(&mut self, control: &Control) -> serde_json::Value {
        match control {
            Control::Status => match self.hub.log.status() {
                Ok(page) => protocol::status_value(&page),
                Err(error) => protocol::error_of("unavailable", &error.to_string()),
            },
            Control::Session(wish) => self.wish(*wish),
            // Answered later.
            Control::BackupMade(_)
            | Control::BackupRemoved(_)
            | Control::KeyRotate(_)
            | Control::Query(_) => protocol::error_of("malformed", "not here"),
        }
    }

    /// A backup was made; the log is to know.
    fn backup_made(&mut self, made: BackupMade) {
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
    fn backup_removed(&mut self, removed: BackupRemoved) {
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
    fn rotate_key(&mut self, request: RotateRequest) {
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
    fn begin_next(&mut self) {
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
    fn ask(&mut self, request: Request) {
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
    fn answered(&mut self, (line, share): Told) {
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

    fn unauthorized(&self, text: &str) -> serde_json::Value {
        let source = format!("uid:{}", self.peer.uid);
        self.hub.log.security().report(SecurityKind::Unauthorized, Some(&source), text);
        protocol::error_of("forbidden", text)
    }

    fn wish(&mut self, wish: SessionWish) -> serde_json::Value {
        if wish.import && !self.may_import() {
            let text = "only root and the collector's own user may import without a rate limit";
            return self.unauthorized(text);
        }
        self.session = self.hub.log.session(&origin(self.peer, wish.import), wish.import);
        self.imports = wish.import;
        self.mode = if wish.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        serde_json::json!({
            "ok": { "session": { "import": wish.import, "lenient": wish.lenient } }
        })
    }

    /// Says what is wrong, and ends once everything owed is answered.
    fn hostile(&mut self, kind: SecurityKind, name: &str, detail: &str) {
        let source = format!("uid:{}", self.peer.uid);
        self.hub.log.security().report(kind, Some(&source), detail);
        self.owe_line(protocol::line_of(&protocol::error_of(name, detail)));
        self.ending = true;
    }

    /// There is no memory for what the peer sends: it may come again, and has not done
    /// anything wrong.
    fn no_room(&mut self) {
        count_no_room(&self.hub);
        let mut answer = protocol::error_of("busy", NO_ROOM);
        answer["error"]["retry_after_ms"] = (ROOM_RETRY.as_millis() as u64).into();
        self.input = Vec::new();
        self.owe_line(protocol::line_of(&answer));
        self.ending = true;
    }

    /// Hands over what was prepared, as far as there is room.
    fn submit(&mut self) {
        while !self.batch.is_empty() {
            match self.hub.log.try_submit(&mut self.batch) {
                Ok(taken) if taken.count > 0 => {
                    self.full_since = None;
                    self.accepted(taken.first_seq, taken.count as u64);
                }
                Ok(_) => {
                    let since = *self.full_since.get_or_insert_with(Instant::now);
                    // An import waits as long as it takes: what was refused and sent
                    // again would come after what follows it.
                    if self.imports || since.elapsed() < self.hub.log.options().overflow_timeout {
                        return;
                    }
                    self.hub.log.count_busy(self.batch.len() as u64);
                    let retry_after = Duration::from_millis(250);
                    self.refuse_waiting(&RecordError::Busy { retry_after });
                }
                Err(error) => self.refuse_waiting(&error),
            }
        }
        self.full_since = None;
    }

    fn accepted(&mut self, mut first_seq: u64, mut count: u64) {
        self.hub.log.request_ack(first_seq + count);
        let mut at = self.owed.iter().position(|owed| matches!(owed, Owed::Waiting(_)));
        while let Some(index) = at.filter(|_| count > 0) {
            let Some(Owed::Waiting(waiting)) = self.owed.get_mut(index) else {
                at = Some(index + 1).filter(|next| *next < self.owed.len());
                continue;
            };
            let part = (*waiting as u64).min(count);
            let accepted = Owed::Accepted { first_seq, count: part };
            if part == *waiting as u64 {
                self.owed[index] = accepted;
            } else {
                *waiting -= part as usize;
                self.owed.insert(index, accepted);
            }
            first_seq += part;
            count -= part;
            at = Some(index + 1).filter(|next| *next < self.owed.len());
        }
    }

    fn refuse_waiting(&mut self, error: &RecordError) {
        self.batch.clear();
        self.full_since = None;
        let line = protocol::line_of(&protocol::error_value(error));
        for owed in &mut self.owed {
            if let Owed::Waiting(count) = owed {
                let lines = line.repeat(*count);
                self.in_flight -= *count - 1;
                self.owed_bytes += lines.len();
                *owed = Owed::Line(lines);
            }
        }
    }

    fn fail_all(&mut self, error: &RecordError) {
        self.refuse_waiting(error);
        for owed in &mut self.owed {
            if let Owed::Accepted { first_seq, count } = owed {
                let mut lines = Vec::new();
                for seq in *first_seq..*first_seq + *count {
                    let error = match error.clone() {
                        RecordError::Unavailable { reason, retry_after, .. } => {
                            RecordError::Unavailable { seq, reason, retry_after }
                        }
                        other => other,
                    };
                    lines.extend(protocol::line_of(&protocol::error_value(&error)));
                }
                self.in_flight -= *count as usize - 1;
                self.owed_bytes += lines.len();
                *owed = Owed::Line(lines);
            }
        }
    }

    /// Moves what can be answered into the output.
    fn answer(&mut self, seen: &Seen) {
        let acked = seen.acked_seq.max(self.hub.log.acked_seq());
        if let Some(trouble) = &seen.trouble {
            self.answer_acked(acked);
            self.fail_all(trouble);
        }
        self.answer_acked(acked);
    }

    fn answer_acked(&mut self, acked: u64) {
        while let Some(owed) = self.owed.front_mut() {
            match owed {
                Owed::Waiting(_) | Owed::Asked => return,
                Owed::Line(line) => {
                    self.owed_bytes -= line.len();
                    if self.output.is_empty() {
                        self.output = std::mem::take(line);
                    } else {
                        self.output.append(line);
                    }
                    self.in_flight -= 1;
                }
                Owed::Accepted { first_seq, count } => {
                    let part = acked.saturating_sub(*first_seq).min(*count);
                    for seq in *first_seq..*first_seq + part {
                        protocol::push_ok(&mut self.output, seq);
                    }
                    self.in_flight -= part as usize;
                    *first_seq += part;
                    *count -= part;
                    if *count > 0 {
                        return;
                    }
                }
            }
            self.owed.pop_front();
        }
    }

    /// Sends what the peer takes.
    fn send(&mut self, stream: &UnixStream) {
        let mut sent = 0;
        while sent < self.output.len() && !self.deaf {
            match stream.try_write(&self.output[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.deaf = true,
            }
        }
        if self.deaf {
            sent = self.output.len();
        }
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.unsent_since = None;
        } else if sent > 0 || self.unsent_since.is_none() {
            self.unsent_since = Some(Instant::now());
        }
    }

    fn deadline(&self) -> Instant {
        let limits = self.hub.limits;
        let idle = self.owed.is_empty() && self.output.is_empty();
        // Whoever waits for a query is not silent.
        let waits = self.running.is_some() || !self.asked.is_empty();
        let since = if waits { Instant::now() } else { self.last_read };
        let mut deadline = since + if idle { limits.idle } else { limits.idle * 2 };
        if let Some(since) = self.line_since.filter(|_| !self.ending) {
            deadline = deadline.min(since + limits.read);
        }
        if let Some(since) = self.unsent_since {
            deadline = deadline.min(since + limits.write);
        }
        if let Some(since) = self.starved_since.filter(|_| !self.ending) {
            deadline = deadline.min(since + limits.read);
        }
        if self.full_since.is_some() {
            deadline = deadline.min(Instant::now() + FULL_POLL);
        }
        deadline
    }

    /// What a deadline means; false when the peer is to be dropped at once.
    fn timed_out(&mut self) -> bool {
        let limits = self.hub.limits;
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| at.elapsed() >= limit);
        if over(self.unsent_since, limits.write) {
            let source = format!("uid:{}", self.peer.uid);
            let detail = "does not read its answers";
            self.hub.log.security().report(SecurityKind::HostilePeer, Some(&source), detail);
            return false;
        }
        if !self.ending && over(self.line_since, limits.read) {
            self.line_since = None;
            self.hostile(SecurityKind::HostilePeer, "timeout", "a line was not finished in time");
            return true;
        }
        if !self.ending && over(self.starved_since, limits.read) {
            self.starved_since = None;
            self.no_room();
            return true;
        }
        // Being idle is no offence.
        let idle = self.owed.is_empty() && self.output.is_empty();
        !(idle && self.last_read.elapsed() >= limits.idle)
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
