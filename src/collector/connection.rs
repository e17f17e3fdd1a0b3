//! One peer of the Unix socket.
//!
//! A single task reads, submits, and answers, so that thousands of events are
//! in flight at once. Every buffer is bounded: a peer that does not read its
//! answers is not read from any more, and closed after the write timeout. It
//! costs nobody else anything.

mod answers;
mod asked;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::budget::Share;
use super::imports::Import;
use super::intake::{NO_ROOM, ROOM_RETRY, count_no_room};
use super::places::Place;
use super::protocol::{self, Control};
use super::seats::Guest;
use super::turns::Turn;
use super::{Hub, Seen};
use crate::audit::read::query::Request;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::state::security::SecurityKind;
use crate::audit::write::key_change::RotateRequest;
use crate::audit::{Batch, Origin, ParseMode, RecordError, Session, Via};

/// Read at a time.
const READ_BYTES: usize = 64 * 1024;
/// What a read may come to: its lines, encoded, and their answers.
const READ_COST: usize = 4 * READ_BYTES;
/// Events in flight; reading pauses beyond.
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;
/// Answers not taken yet; reading pauses beyond.
const MAX_UNSENT: usize = 256 * 1024;
/// Queries that a connection may have under way; reading pauses beyond.
pub(crate) const MAX_ASKED: usize = 16;
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
    /// The import that nobody else may go on with as long as this connection lives.
    import: Option<Import>,
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
    /// Its turn while the write buffer is full.
    turn: Turn,
    /// Bytes of the answers in `owed`.
    owed_bytes: usize,
    /// There is no memory to read more.
    starved: bool,
    /// Since when that has been so, now or before, for the line that is half there: what
    /// others give back in between must not let it wait for ever.
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
    let _ = connection.run(&stream, progress.clone(), stopping).await;
    connection.settled(progress).await;
    drop(place);
}

/// Whether a line is longer than any may be; the CR of a line's end is no part of it.
fn is_too_long(line: &[u8]) -> bool {
    line.len() > MAX_LINE_BYTES + usize::from(line.ends_with(b"\r"))
}

fn origin(peer: Peer, import: bool) -> Origin {
    Origin {
        via: Via::Socket,
        uid: Some(peer.uid),
        pid: peer.pid,
        token: None,
        peer: None,
        import,
        import_id: None,
    }
}

impl Connection {
    fn new(hub: Arc<Hub>, peer: Peer) -> Self {
        let session = hub.log.session(&origin(peer, false), false);
        let share = hub.budget.share(Guest::User(peer.uid));
        let turn = hub.turns.of(Guest::User(peer.uid));
        Self {
            hub,
            peer,
            session,
            mode: ParseMode::Strict,
            imports: false,
            import: None,
            input: Vec::new(),
            batch: Batch::new(),
            owed: VecDeque::new(),
            asked: VecDeque::new(),
            running: None,
            share,
            turn,
            owed_bytes: 0,
            starved: false,
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
        let mut has_read = false;
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
            if std::mem::take(&mut has_read) {
                // A peer that always has more to say lets the others speak in between.
                tokio::task::yield_now().await;
            }
            let freed = hub.budget.given_back();
            tokio::pin!(freed);
            if self.starved {
                // Before it is tried: what is given back in between is then seen.
                freed.as_mut().enable();
                if self.share.try_grow(self.bytes() + READ_COST) {
                    self.starved = false;
                    // The peer's time goes on, also when it has nothing more to say.
                    if !self.input.is_empty() {
                        self.line_since.get_or_insert_with(Instant::now);
                    }
                }
            }
            let starved = self.starved;
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
                        has_read = true;
                    } else {
                        self.starved = true;
                        self.starved_since.get_or_insert_with(Instant::now);
                        // Not the peer's doing.
                        self.line_since = None;
                    }
                }
                () = freed, if starved => {}
                ready = stream.writable(), if !self.output.is_empty() => ready?,
                told = asked::next(&mut self.running), if self.running.is_some() => self.answered(told),
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
        let source = format!("uid:{}", self.peer.uid);
        // By now it is a stranger: what it does decides nothing about health.
        let security = self.hub.log.security();
        security.report_stranger(SecurityKind::Unauthorized, Some(&source), text);
        self.owe_line(protocol::line_of(&protocol::error_of("forbidden", text)));
        self.ending = true;
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
        if self.input.is_empty() || start > 0 {
            self.starved_since = None;
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
        if let Some(since) = self.starved_since.filter(|_| self.starved && !self.ending) {
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
        if !self.ending && self.starved && over(self.starved_since, limits.read) {
            (self.starved, self.starved_since) = (false, None);
            self.no_room();
            return true;
        }
        // Being idle is no offence.
        let idle = self.owed.is_empty() && self.output.is_empty();
        !(idle && self.last_read.elapsed() >= limits.idle)
    }
}
