//! What one sender to a [listener](super::listen) sends, until it leaves or has to.
//!
//! Whoever gets no answer cannot send again. So nothing is refused that can be taken later:
//! it is not read on until what was read is durable, and the sender waits, or does what it
//! does when it cannot write. What was read and is not recorded is counted and told.
//!
//! There is room for what is read before it is read, and who is silent holds none. A sender
//! that has begun an object has `collector.read_timeout` to finish it. One that is silent is
//! hung up on after `collector.idle_timeout` only where it notices: over TCP the first thing
//! that it writes then would be lost.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};

use super::Hub;
use super::gate::{Caller, Peer};
use super::ingest::Ingest;
use super::intake::Intake;
use super::seats::Guest;
use super::tally::Tally;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::state::security::SecurityKind;
use crate::audit::{EventError, RecordError};
use crate::mapping::{Found, Mapping, Piece, Pieces};

/// Read at a time.
const PART: usize = 64 << 10;
/// An object is there as text, taken apart, and as an event.
const COPIES: usize = 3;
/// Recorded at a time: what is read may become several times as long.
const MAX_LINES: usize = 512;
const MAX_BYTES: usize = 128 << 10;
/// Between two tries of what cannot be taken now.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// In a row, as at the socket.
const MAX_MALFORMED: u32 = 100;
/// Pieces until others have their turn.
const TURN: u32 = 64;

const STOPPED: &str = "the collector stopped";
const LOG_IS_OVER: &str = "the log takes no more events";
const MAY_NOT: &str = "their sender may not send any more";
const NOT_FINISHED: &str = "it was not finished in time";
const NO_MEMORY: &str = "others filled the memory that collector.max_memory allows";

/// A sender's stream.
pub(super) trait Sender: Unpin + Send + 'static {
    /// Whether its peer notices at once that it is hung up on.
    const NOTICES: bool;

    /// Waits until there is something to read, or seems to be.
    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there, and waits for nothing.
    fn now(&self, part: &mut [u8]) -> io::Result<usize>;

    /// From now on its peer cannot write; what it has written can be read.
    fn shut(&self);
}

impl Sender for TcpStream {
    const NOTICES: bool = false;

    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }

    fn now(&self, part: &mut [u8]) -> io::Result<usize> {
        self.try_read(part)
    }

    fn shut(&self) {}
}

impl Sender for UnixStream {
    const NOTICES: bool = true;

    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }

    fn now(&self, part: &mut [u8]) -> io::Result<usize> {
        self.try_read(part)
    }

    fn shut(&self) {
        // It fails when the peer has gone: then there is an end to read already.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Read);
    }
}

/// What was read and is not recorded, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) events: usize,
    pub(super) why: &'static str,
}

/// Nothing more is read.
enum End {
    /// Its sender has gone, or was hung up on, and nothing was lost.
    Over,
    Lost(Lost),
}

/// Takes what a peer sends until it leaves, has to, or the collector stops; what of it is
/// lost.
pub(super) async fn take<S: Sender>(
    stream: S,
    caller: &Caller,
    peer: Peer,
    mapping: &Mapping,
    hub: &Hub,
) -> Option<Lost> {
    let guest = Guest::new(peer.ip, peer.uid);
    let intake = Intake::new(hub, caller, guest, (hub.budget.share(guest), 0));
    let mut ingest = Ingest::new(intake, mapping);
    ingest.waits_for_its_rate();
    let mut feed = Feed {
        stream,
        hub,
        ingest,
        pieces: mapping.pieces(MAX_LINE_BYTES),
        source: peer.uid.map(|uid| format!("uid:{uid}")),
        has_begun: false,
        since: Instant::now(),
        malformed: 0,
    };
    loop {
        match feed.part().await {
            Ok(()) => {}
            Err(End::Lost(lost)) if lost.events > 0 => return Some(lost),
            Err(_) => return None,
        }
    }
}

struct Feed<'a, S> {
    stream: S,
    hub: &'a Hub,
    ingest: Ingest<'a>,
    pieces: Pieces,
    source: Option<String>,
    /// It has sent something that is no blank.
    has_begun: bool,
    /// When the last object was whole.
    since: Instant,
    /// In a row.
    malformed: u32,
}

impl<S: Sender> Feed<'_, S> {
    /// Waits for something, and records what is whole of it.
    async fn part(&mut self) -> Result<(), End> {
        self.wait().await?;
        self.room().await?;
        let mut part = vec![0; PART];
        let read = match self.stream.now(&mut part) {
            Ok(read) => read,
            // It only seemed so. A read that waits would have no limit of time.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => 0,
        };
        let mut rest = &part[..read];
        if self.ingest.intake.may().is_err() {
            return Err(self.leaves(0, rest, MAY_NOT));
        }
        if !self.is_json(rest) {
            return Err(End::Over);
        }
        let (mut lines, mut bytes, mut turn) = (Vec::new(), 0, 0);
        loop {
            let next = match self.pieces.next(&mut rest) {
                None if read == 0 => self.pieces.end(),
                next => next,
            };
            let is_last = next.is_none();
            if let Some(line) = next.and_then(|found| self.line(found)) {
                bytes += line.len();
                lines.push(line);
            }
            let is_hostile = self.malformed >= MAX_MALFORMED;
            if is_last || is_hostile || lines.len() >= MAX_LINES || bytes >= MAX_BYTES {
                if let Err((events, why)) = self.record(&mut lines).await {
                    return Err(self.leaves(events, rest, why));
                }
                bytes = 0;
            }
            if is_hostile {
                let text = "a hundred objects in a row that are not JSON, at a listener";
                self.hostile(text);
                return Err(End::Over);
            }
            if is_last {
                return if read == 0 { Err(End::Over) } else { Ok(()) };
            }
            turn += 1;
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until there is something to read.
    async fn wait(&mut self) -> Result<(), End> {
        if self.hub.progress.borrow().trouble.as_ref().is_some_and(is_final) {
            return Err(self.leaves(0, &[], LOG_IS_OVER));
        }
        let limits = self.hub.limits;
        let is_within = self.pieces.is_within();
        if !is_within {
            self.ingest.intake.give_back();
        }
        let mut patience = limits.idle;
        if is_within {
            patience = limits.read.saturating_sub(self.since.elapsed());
            if patience.is_zero() {
                return Err(self.too_slow());
            }
        }
        let mut stopping = self.hub.stopping.clone();
        tokio::select! {
            // What is wrong with it is found when it is read.
            _ = self.stream.wait() => {}
            () = super::stopped(&mut stopping) => return Err(self.leaves(0, &[], STOPPED)),
            () = tokio::time::sleep(patience), if is_within => return Err(self.too_slow()),
            // What came in this moment is still taken, and then the end.
            () = tokio::time::sleep(patience), if S::NOTICES && !is_within => self.stream.shut(),
        }
        if !is_within {
            self.since = Instant::now();
        }
        Ok(())
    }

    /// Waits until there is memory for what comes.
    async fn room(&mut self) -> Result<(), End> {
        let begun = Instant::now();
        let bytes = COPIES * (self.pieces.bytes() + PART);
        let mut stopping = self.hub.stopping.clone();
        loop {
            let held = tokio::select! {
                held = self.ingest.intake.hold_bytes(bytes) => held,
                () = super::stopped(&mut stopping) => return Err(self.leaves(0, &[], STOPPED)),
            };
            if held.is_ok() {
                return Ok(());
            }
            // Those who have begun must not wait for each other for ever.
            if self.pieces.is_within() && begun.elapsed() >= self.hub.limits.read {
                return Err(self.leaves(0, &[], NO_MEMORY));
            }
            tokio::time::sleep(AGAIN.0).await;
        }
    }

    /// Whether it may be JSON: what web pages have a browser send begins with a method.
    fn is_json(&mut self, part: &[u8]) -> bool {
        if self.has_begun {
            return true;
        }
        let Some(first) = part.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return true;
        };
        self.has_begun = matches!(first, b'{' | b'[');
        if !self.has_begun {
            let detail = "what was sent to a listener begins as no JSON does; nothing was taken";
            let source = self.source.as_deref();
            // A browser sends as its user, who need not know.
            self.hub.log.security().report_stranger(SecurityKind::HostilePeer, source, detail);
        }
        self.has_begun
    }

    fn line(&mut self, found: Found) -> Option<Vec<u8>> {
        self.since = Instant::now();
        match self.ingest.line_of(found) {
            Ok(line) => {
                self.malformed = 0;
                Some(line)
            }
            // Counted there; nobody waits for an answer.
            Err(error) => {
                let is_malformed = error.kind() == "malformed";
                self.malformed = if is_malformed { self.malformed + 1 } else { 0 };
                None
            }
        }
    }

    /// Records lines, however long it takes, and takes them away; how many are left, and why,
    /// where that has no end.
    async fn record(&mut self, lines: &mut Vec<Vec<u8>>) -> Result<(), (usize, &'static str)> {
        let mut stopping = self.hub.stopping.clone();
        while !lines.is_empty() {
            for line in &*lines {
                // Why it is not taken is in the tally, or it was not looked at at all.
                if self.ingest.mapped_line(line).await.is_err() {
                    break;
                }
            }
            let _ = self.ingest.intake.submit().await;
            self.settle().await;
            let tally = std::mem::take::<Tally>(&mut self.ingest.intake.tally);
            let left = tally.left();
            let seen = tally.lines();
            let mut at = 0;
            lines.retain(|_| {
                at += 1;
                at > seen || left.lines.contains(&at)
            });
            if lines.is_empty() {
                break;
            }
            if left.is_final {
                return Err((lines.len(), LOG_IS_OVER));
            }
            if self.ingest.intake.may().is_err() {
                return Err((lines.len(), MAY_NOT));
            }
            let wait = tally.retry_after().unwrap_or_default().clamp(AGAIN.0, AGAIN.1);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = super::stopped(&mut stopping) => return Err((lines.len(), STOPPED)),
            }
        }
        self.since = Instant::now();
        Ok(())
    }

    /// Waits until what was accepted is durable, also while the disk fails for a time: the
    /// writer keeps it and tries again.
    async fn settle(&mut self) {
        let (mut progress, mut stopping) = (self.hub.progress.clone(), self.hub.stopping.clone());
        while let Some(last) = self.ingest.intake.last {
            let seen = progress.borrow_and_update().clone();
            let is_durable = self.hub.log.acked_seq().max(seen.acked_seq) > last;
            if is_durable || seen.trouble.as_ref().is_some_and(is_final) {
                break;
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { break },
                () = super::stopped(&mut stopping) => break,
            }
        }
        self.ingest.intake.settle().await;
    }

    fn too_slow(&mut self) -> End {
        let text = "an object for a listener was not finished in time";
        let _ = self.ingest.intake.session.refuse(EventError::Malformed(text.to_owned()));
        self.hostile(text);
        self.leaves(0, &[], NOT_FINISHED)
    }

    fn hostile(&self, detail: &str) {
        let source = self.source.as_deref();
        self.hub.log.security().report(SecurityKind::HostilePeer, source, detail);
    }

    /// The end, with so many lines lost and what else was read: whole objects, and one that
    /// is not whole.
    fn leaves(&mut self, lines: usize, mut rest: &[u8], why: &'static str) -> End {
        let mut events = lines;
        while let Some(found) = self.pieces.next(&mut rest) {
            events += usize::from(matches!(found.piece, Piece::Object(_)));
        }
        events += usize::from(self.pieces.is_within());
        End::Lost(Lost { events, why })
    }
}

/// Whether nothing more is recorded until the log is opened again.
fn is_final(trouble: &RecordError) -> bool {
    trouble.retry_after().is_none()
}
