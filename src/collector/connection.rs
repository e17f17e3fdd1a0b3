//! One peer of the Unix socket.
//!
//! A single task reads, submits, and answers, so that thousands of events are
//! in flight at once. Every buffer is bounded: a peer that does not read its
//! answers is not read from any more, and closed after the write timeout. It
//! costs nobody else anything.

mod answers;
mod asked;
mod lines;
mod opened;
mod output;
mod owed;
mod rights;

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::watch;

use super::budget::Share;
use super::imports::Import;
use super::intake::{NO_ROOM, ROOM_RETRY, count_no_room};
use super::places::Place;
use super::protocol::{self, Control, MAX_IN_FLIGHT};
use super::seats::Guest;
use super::turns::Turn;
use super::{Hub, Seen};
use crate::audit::state::security::SecurityKind;
use crate::audit::{Batch, HandIn, Origin, ParseMode, RecordError, Session, Via};
use asked::Asked;
use lines::{Line, Lines};
use output::Output;
use owed::Owed;
use rights::Act;
pub(super) use rights::Peer;

/// Read at a time.
const READ_BYTES: usize = 64 * 1024;
/// What a read may come to: its lines, encoded, and their answers.
const READ_COST: usize = 4 * READ_BYTES;
/// Answers not taken yet; reading pauses beyond.
const MAX_UNSENT: usize = 256 * 1024;
/// Queries that a connection may have under way; reading pauses beyond.
pub(crate) const MAX_ASKED: usize = 16;
/// So many lines in a row that are no JSON: this is no sender of events.
const MAX_MALFORMED: u32 = 100;

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) read: Duration,
    pub(super) write: Duration,
    pub(super) idle: Duration,
}

struct Connection {
    hub: Arc<Hub>,
    peer: Peer,
    session: Session,
    mode: ParseMode,
    /// The import that nobody else may go on with as long as this connection lives.
    import: Option<Import>,
    lines: Lines,
    batch: Batch,
    owed: Owed,
    asked: Asked,
    output: Output,
    /// What the connection holds of the collector's memory.
    share: Share,
    /// Its turn while the write buffer is full.
    turn: Turn,
    /// How long it waits for room in the write buffer.
    hand_in: HandIn,
    /// There is no memory to read more.
    starved: bool,
    /// Since when that has been so, now or before, for the line that is half there: what
    /// others give back in between must not let it wait for ever.
    starved_since: Option<Instant>,
    /// Whether the peer may send events.
    writes: bool,
    /// So many lines in a row were no JSON.
    malformed: u32,
    last_read: Instant,
    /// Nothing more is read; it ends when all is answered.
    ending: bool,
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
            import: None,
            lines: Lines::default(),
            batch: Batch::new(),
            owed: Owed::default(),
            asked: Asked::default(),
            output: Output::default(),
            share,
            turn,
            hand_in: HandIn::new(),
            starved: false,
            starved_since: None,
            writes: false,
            malformed: 0,
            last_read: Instant::now(),
            ending: false,
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
            if self.lines.are_held() && self.takes_lines() {
                self.go_on();
            }
            self.begin_next();
            self.submit();
            self.answer(&progress.borrow_and_update().clone());
            self.output.send(|bytes| stream.try_write(bytes), Instant::now());
            self.settle();
            if self.ending && self.owed.is_empty() && self.output.is_empty() {
                return Ok(());
            }
            if self.lines.are_held() && self.takes_lines() {
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
                    self.lines.resume(Instant::now());
                }
            }
            let starved = self.starved;
            let may_read = !self.ending
                && !self.lines.are_held()
                && self.takes_lines()
                && self.batch.is_empty()
                && self.owed.count() < MAX_IN_FLIGHT;
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
                        self.lines.pause();
                    }
                }
                () = freed, if starved => {}
                ready = stream.writable(), if !self.output.is_empty() => ready?,
                told = self.asked.next(), if self.asked.is_running() => self.answered(told),
                changed = progress.changed(), if self.owed.count() > 0 => {
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
        self.lines.capacity()
            + self.output.capacity()
            + self.owed.memory()
            + self.batch.capacity_bytes()
    }

    /// Bytes of answers that the peer has not taken.
    fn unsent(&self) -> usize {
        self.output.len() + self.owed.bytes()
    }

    /// Whether there is room for the answers to more lines.
    fn takes_lines(&self) -> bool {
        self.asked.has_room() && self.unsent() < MAX_UNSENT
    }

    /// Gives back what is not needed any more.
    fn settle(&mut self) {
        if self.batch.is_empty() && self.batch.capacity_bytes() > READ_COST {
            self.batch = Batch::new();
        }
        self.output.shrink_to(READ_BYTES);
        self.owed.shrink();
        let bytes = self.bytes();
        self.share.shrink(bytes);
        // A line's answer may have been longer than was thought.
        let _ = self.share.try_grow(bytes);
    }

    /// Takes the lines that were held back. Its peer may have been removed meanwhile.
    fn go_on(&mut self) {
        if self.is_welcome() {
            self.take_lines();
        } else {
            self.lines.clear();
            self.unwelcome();
        }
    }

    /// Reads what there is, once, and takes its whole lines.
    fn receive(&mut self, stream: &UnixStream) -> io::Result<()> {
        // Not straight into `lines`: who is silent, or has sent whole lines, keeps nothing.
        let mut buffer = [0; READ_BYTES];
        match stream.try_read(&mut buffer) {
            Ok(0) => {
                // A last line without its end counts if it is whole: only then
                // does it parse.
                self.ending = true;
                if let Some(rest) = self.lines.end() {
                    self.line(&rest);
                }
                return Ok(());
            }
            Ok(read) => {
                self.last_read = Instant::now();
                self.lines.push(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => {
                // It is gone: nothing more comes, what came before counts.
                self.ending = true;
                return Ok(());
            }
        }
        if self.is_welcome() {
            self.take_lines();
        } else {
            self.unwelcome();
        }
        Ok(())
    }

    fn unwelcome(&mut self) {
        let text = "may not use the socket any more";
        let source = self.peer.source();
        // By now it is a stranger: what it does decides nothing about health.
        let security = self.hub.log.security();
        security.report_stranger(SecurityKind::Unauthorized, Some(&source), text);
        self.owe_line(&protocol::error_of("forbidden", text));
        self.ending = true;
    }

    /// Whether the peer still may do anything, as the settings are by now.
    fn is_welcome(&mut self) -> bool {
        let access = self.hub.access.read().unwrap_or_else(PoisonError::into_inner);
        self.writes = self.peer.may(Act::Record, &access);
        self.peer.is_welcome(&access)
    }

    /// Takes the whole lines that there are, as far as there is room for their answers.
    fn take_lines(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        while !self.ending {
            if !self.takes_lines() && lines.has_whole() {
                lines.hold();
                break;
            }
            match lines.next() {
                Some(Line::Whole(line)) => self.line(line),
                Some(Line::TooLong) => {
                    lines.clear();
                    self.too_long();
                }
                None => break,
            }
        }
        if !lines.are_held() && lines.settle(Instant::now()) {
            self.starved_since = None;
        }
        self.lines = lines;
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
                Ok(Control::Open) => return self.open(),
                Ok(control) => self.control(&control),
                Err(error) => protocol::error_of("malformed", &error),
            };
            return self.owe_line(&answer);
        }
        if !self.writes {
            let answer = self.unauthorized(Act::Record);
            return self.owe_line(&answer);
        }
        match self.session.prepare(line, self.mode, &mut self.batch) {
            Ok(()) => {
                self.malformed = 0;
                self.owed.event();
            }
            Err(error) => {
                let malformed = error.kind() == "malformed";
                self.malformed = if malformed { self.malformed + 1 } else { 0 };
                self.owe_line(&protocol::error_value(&error));
                if self.malformed >= MAX_MALFORMED {
                    let text = "a hundred lines in a row that are not JSON";
                    self.hostile(SecurityKind::HostilePeer, "malformed", text);
                }
            }
        }
    }

    fn owe_line(&mut self, answer: &serde_json::Value) {
        self.owed.known(protocol::line_of(answer), self.output.bytes_mut());
    }

    /// Says what is wrong, and ends once everything owed is answered.
    fn hostile(&mut self, kind: SecurityKind, name: &str, detail: &str) {
        let source = self.peer.source();
        self.hub.log.security().report(kind, Some(&source), detail);
        self.owe_line(&protocol::error_of(name, detail));
        self.ending = true;
    }

    /// There is no memory for what the peer sends: it may come again, and has not done
    /// anything wrong.
    fn no_room(&mut self) {
        count_no_room(&self.hub);
        let mut answer = protocol::error_of("busy", NO_ROOM);
        answer["error"]["retry_after_ms"] = (ROOM_RETRY.as_millis() as u64).into();
        self.lines.clear();
        self.owe_line(&answer);
        self.ending = true;
    }

    fn deadline(&self) -> Instant {
        let limits = self.hub.limits;
        let idle = self.owed.is_empty() && self.output.is_empty();
        // Whoever waits for a query is not silent.
        let waits = !self.asked.is_empty();
        let since = if waits { Instant::now() } else { self.last_read };
        let mut deadline = since + if idle { limits.idle } else { limits.idle * 2 };
        if let Some(since) = self.lines.half_since().filter(|_| !self.ending) {
            deadline = deadline.min(since + limits.read);
        }
        if let Some(since) = self.output.unsent_since() {
            deadline = deadline.min(since + limits.write);
        }
        if let Some(since) = self.starved_since.filter(|_| self.starved && !self.ending) {
            deadline = deadline.min(since + limits.read);
        }
        if self.hand_in.is_waiting() {
            deadline = deadline.min(Instant::now() + HandIn::TRY_AGAIN);
        }
        deadline
    }

    /// What a deadline means; false when the peer is to be dropped at once.
    fn timed_out(&mut self) -> bool {
        let limits = self.hub.limits;
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| at.elapsed() >= limit);
        if over(self.output.unsent_since(), limits.write) {
            let source = self.peer.source();
            let detail = "does not read its answers";
            self.hub.log.security().report(SecurityKind::HostilePeer, Some(&source), detail);
            return false;
        }
        if !self.ending && over(self.lines.half_since(), limits.read) {
            self.lines.pause();
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
