//! `POST /v1/events`: events are parsed, submitted and told of as the body comes.
//!
//! A body is read no faster than the writer takes what is in it. What a request holds
//! is a line, a batch and the runs of its [`Tally`], all of it a share of the budget.
//! Before each batch it is asked again whether the caller still may.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::accept;
use super::budget::{NoRoom, Share, charged};
use super::decode::{ACCEPTED, Coding};
use super::gate::{self, Caller, Peer};
use super::pieces::{Piece, Pieces};
use super::reply::{App, answer, error, with_retry_after};
use super::seats::Guest;
use super::tally::{Refused, Tally};
use super::turns::Turn;
use super::upload::{Cut, MAX_RATIO, Upload};
use super::{Hub, protocol};
use crate::access::Right;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Word;
use crate::audit::{
    Batch, EventError, HandIn, Handed, ParseMode, RecordError, Recorded, Session, Submitted, Taken,
};
use crate::mapping::{OnRefusal, with_next_id};

/// What a request holds besides a long line and a long answer: what was read of it,
/// a batch, and the connection's buffers.
pub(super) const REQUEST_BYTES: usize = 256 << 10;
/// A line is there as text, as an event and encoded.
const COPIES: usize = 3;
/// Handed to the writer at a time, at most.
const BATCH_EVENTS: usize = 1_024;
/// Of foreign events, whose lines are kept until they are taken.
const BATCH_BYTES: usize = 64 << 10;
/// When a peer that found no room may come again.
pub(super) const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Why nothing more of a request is looked at.
pub(super) struct Why {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl Why {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None }
    }

    fn value(&self) -> Value {
        let mut value = protocol::error_of(self.kind, &self.message);
        if let Some(retry) = self.retry_after {
            value["error"]["retry_after_ms"] = json!(retry.as_micros().div_ceil(1_000) as u64);
        }
        value
    }
}

impl From<&RecordError> for Why {
    fn from(error: &RecordError) -> Self {
        Self {
            status: status_of(error),
            kind: error.kind(),
            message: error.to_string(),
            retry_after: error.retry_after(),
        }
    }
}

/// Where each event has its own id, or none.
const NO_KEY: &str = "Idempotency-Key is for one event of POST /v1/events; foreign events have the id that the mapping takes \
                      from them. Send the request without it";

/// Refuses a key that would do nothing.
pub(super) fn no_key(headers: &HeaderMap) -> Result<(), Box<Response>> {
    if headers.contains_key(KEY_HEADER) {
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "malformed", NO_KEY)));
    }
    Ok(())
}

pub(super) async fn post_events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (guest, peer) = (guest(&request), peer(&request));
    let (parts, body) = request.into_parts();
    let hub = &*app.hub;
    let mut upload = Upload::new(body, hub.max_body, hub.limits.read, hub.stopping.clone());
    let done = match begin(hub, &parts.headers, (guest, peer)).await {
        Ok(Begun { ndjson, coding, share, id }) => {
            let mut intake = Intake::new(hub, &caller, guest, (share, coding.bytes()));
            intake.id = id;
            let (many, why) = intake.body(&mut upload, ndjson, coding).await;
            let cut = why.is_some();
            intake.settle().await;
            intake.tell_when();
            (if many { intake.answer(why) } else { intake.answer_one(why) }, cut)
        }
        Err(refused) => (*refused, true),
    };
    let (response, cut) = done;
    if cut {
        upload.drain(parts.headers.contains_key(header::EXPECT)).await;
    }
    response
}

/// Whose share of the budget a request takes from.
pub(super) fn guest(request: &Request) -> Guest {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(Guest::Here, |peer| Guest::new(peer.ip, peer.uid))
}

/// Where a request comes from.
pub(super) fn peer(request: &Request) -> Peer {
    request.extensions().get::<Peer>().copied().unwrap_or(Peer::NOBODY)
}

/// What can be said before anything of the body is read.
struct Begun {
    ndjson: bool,
    coding: Coding,
    /// Of the budget.
    share: Share,
    /// The id that a header gives the event.
    id: Option<String>,
}

/// The header that gives an event its id.
const KEY_HEADER: &str = "Idempotency-Key";

/// What a sender is told that sends it with several events.
const ONE_KEY: &str = "Idempotency-Key names one event; give each event of a body an id of its own";

/// The id in the header, if it is there: as it is, or, as the IETF's draft writes it, in
/// quotes, which are no part of it.
fn id_of(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut given = headers.get_all(KEY_HEADER).iter();
    let (Some(value), more) = (given.next(), given.next()) else { return Ok(None) };
    if more.is_some() {
        return Err("there is more than one Idempotency-Key; send one");
    }
    let bytes = value.as_bytes().trim_ascii();
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "Idempotency-Key is not UTF-8; send an id without other bytes")?;
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return Ok(Some(text.to_owned())) };
    let (mut id, mut chars) = (String::new(), quoted.chars());
    while let Some(next) = chars.next() {
        match next {
            '\\' => id.extend(chars.next()),
            '"' => return Err("Idempotency-Key has a quote inside of its quotes"),
            other => id.push(other),
        }
    }
    Ok(Some(id))
}

/// What a sender is told that sends no JSON, or does not say that it is.
fn no_json(content_type: Option<&str>) -> String {
    let is = match content_type {
        None => "there is no Content-Type".to_owned(),
        Some(text) if accept::is_of(text, "application/x-www-form-urlencoded") => {
            "Content-Type is application/x-www-form-urlencoded, as `curl -d` sends".to_owned()
        }
        Some(text) => {
            format!("Content-Type is {:?}", text.chars().take(100).collect::<String>())
        }
    };
    format!(
        "{is}; add the header `Content-Type: application/json` for one event or an array of events (curl: --json instead of -d, \
         or -H 'Content-Type: application/json'), `application/x-ndjson` for an event a line (curl: with \
         --data-binary)"
    )
}

async fn begin(
    hub: &Hub,
    headers: &HeaderMap,
    (guest, peer): (Guest, Peer),
) -> Result<Begun, Box<Response>> {
    let unsupported =
        |text: &str| error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text);
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let media = text(header::CONTENT_TYPE);
    let is_of = |wanted| media.is_some_and(|media| accept::is_of(media, wanted));
    let ndjson = is_of("application/x-ndjson");
    if !ndjson && !is_of("application/json") {
        // A form in a web page can send neither unasked.
        gate::misdirected(hub, peer, "events whose Content-Type is not JSON");
        return Err(Box::new(unsupported(&no_json(media))));
    }
    let wrong = |text| Box::new(error(StatusCode::BAD_REQUEST, "malformed", text));
    let id = id_of(headers).map_err(wrong)?;
    if id.is_some() && ndjson {
        return Err(wrong(ONE_KEY));
    }
    let (coding, share) = room(hub, headers, (guest, peer), REQUEST_BYTES).await?;
    Ok(Begun { ndjson, coding, share, id })
}

/// How a body is packed, and room for reading it; or why it is not read.
pub(super) async fn room(
    hub: &Hub,
    headers: &HeaderMap,
    (guest, peer): (Guest, Peer),
    bytes: usize,
) -> Result<(Coding, Share), Box<Response>> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let coding = Coding::of(headers).map_err(|given| {
        gate::misdirected(hub, peer, "events in a Content-Encoding that is not known");
        let given: String = given.chars().take(100).collect();
        let text = format!(
            "Content-Encoding is {given:?}; send the body as it is, or compressed once, with one of: {ACCEPTED}"
        );
        let mut response =
            error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", &text);
        let accepted = HeaderValue::from_static(ACCEPTED);
        response.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
        Box::new(response)
    })?;
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > hub.max_body as u64) {
        let why = cut(hub, Cut::TooLarge);
        return Err(Box::new(respond(&why)));
    }
    let bytes = bytes + coding.bytes();
    match hub.budget.take(guest, bytes, hub.log.options().overflow_timeout).await {
        Ok(share) => Ok((coding, share)),
        Err(NoRoom) => Err(Box::new(respond(&no_room(hub)))),
    }
}

pub(super) fn respond(why: &Why) -> Response {
    with_retry_after(answer(why.status, &why.value()), why.retry_after)
}

/// Counted: memory is what is short, whoever has it.
pub(super) fn count_no_room(hub: &Hub) {
    hub.log.page().add(Word::RequestsWithoutRoom, 1);
}

/// What a peer is told for which there was no room in time.
pub(super) const NO_ROOM: &str =
    "requests and answers of others fill the memory that collector.max_memory allows; try again";

fn no_room(hub: &Hub) -> Why {
    count_no_room(hub);
    let why = Why::new(StatusCode::SERVICE_UNAVAILABLE, "busy", NO_ROOM);
    Why { retry_after: Some(ROOM_RETRY), ..why }
}

pub(super) fn cut(hub: &Hub, cut: Cut) -> Why {
    let report = |kind, detail| hub.log.security().report(kind, None, detail);
    match cut {
        Cut::TooLarge => {
            report(SecurityKind::Oversize, "HTTP body too large");
            let text = format!(
                "the body is longer than the {} bytes of collector.max_body; send it in parts",
                hub.max_body
            );
            Why::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
        }
        Cut::Bomb => {
            report(SecurityKind::Oversize, "HTTP body that unpacks to far more than was sent");
            let text = format!(
                "the body unpacks to more than {MAX_RATIO} times its size; send it uncompressed"
            );
            Why::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
        }
        Cut::Packed(reason) => {
            report(SecurityKind::Malformed, "HTTP body that is not what Content-Encoding says");
            let text = format!(
                "the body cannot be unpacked as its Content-Encoding says ({reason}); its last, unfinished \
                 line is not taken"
            );
            Why::new(StatusCode::BAD_REQUEST, "malformed", text)
        }
        Cut::Slow => {
            report(SecurityKind::HostilePeer, "HTTP body too slow");
            Why::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")
        }
        Cut::Broken => Why::new(StatusCode::BAD_REQUEST, "malformed", "the body ended early"),
        Cut::Stopping => {
            let why = Why::new(StatusCode::SERVICE_UNAVAILABLE, "closed", "the collector stops");
            Why { retry_after: Some(ROOM_RETRY), ..why }
        }
    }
}

/// A request whose events are being taken.
pub(super) struct Intake<'a> {
    pub(super) hub: &'a Hub,
    pub(super) caller: &'a Caller,
    pub(super) session: Session,
    batch: Batch,
    pub(super) tally: Tally,
    /// The last record accepted.
    pub(super) last: Option<u64>,
    share: Share,
    /// What unpacking holds of it.
    unpacking: usize,
    /// Its turn while the write buffer is full.
    turn: Turn,
    /// What the header gives the event as its id.
    id: Option<String>,
    /// Its events are foreign ones: their ids refuse nothing.
    is_foreign: bool,
    /// Then, the lines of the batch.
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
    /// Events that were recorded with another id than their own.
    pub(super) other_ids: u64,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        hub: &'a Hub,
        caller: &'a Caller,
        guest: Guest,
        (share, unpacking): (Share, usize),
    ) -> Self {
        let session = hub.log.session(&caller.origin(), caller.has_own_rate());
        let (batch, tally) = (Batch::new(), Tally::default());
        let turn = hub.turns.of(guest);
        Self {
            hub,
            caller,
            session,
            batch,
            tally,
            last: None,
            share,
            unpacking,
            turn,
            id: None,
            is_foreign: false,
            kept: VecDeque::new(),
            kept_bytes: 0,
            other_ids: 0,
        }
    }

    /// Its events have ids that others chose: one that comes again with other content is
    /// recorded under another.
    pub(super) fn is_foreign(&mut self) {
        self.is_foreign = true;
    }

    /// A request's body; whether it is one of many events, and why it is not read to its
    /// end, if so.
    async fn body(
        &mut self,
        upload: &mut Upload,
        ndjson: bool,
        coding: Coding,
    ) -> (bool, Option<Why>) {
        let is_array = match upload.unpack(coding) {
            Ok(()) if ndjson => Ok(false),
            Ok(()) => upload.begins_with(b'[').await,
            Err(why) => Err(why),
        };
        let many = ndjson || is_array == Ok(true);
        let taken = match is_array {
            Err(why) => Err(cut(self.hub, why)),
            Ok(true) if self.id.is_some() => {
                Err(Why::new(StatusCode::BAD_REQUEST, "malformed", ONE_KEY))
            }
            Ok(true) => self.many(upload, Pieces::array()).await,
            Ok(false) if ndjson => self.many(upload, Pieces::lines()).await,
            Ok(false) => self.event(upload).await,
        };
        (many, taken.err())
    }

    /// A body that is one event.
    async fn event(&mut self, upload: &mut Upload) -> Result<(), Why> {
        let mut text = Vec::new();
        loop {
            match upload.next().await {
                Ok(Some(part)) => text.extend_from_slice(&part),
                Ok(None) => break,
                Err(why) => return Err(cut(self.hub, why)),
            }
            if text.len() > MAX_LINE_BYTES {
                return Err((&self.session.refuse_too_long(upload.taken())).into());
            }
            self.hold(text.capacity()).await?;
        }
        self.may()?;
        self.line(&text);
        self.submit().await
    }

    /// A body with many events.
    async fn many(&mut self, upload: &mut Upload, mut pieces: Pieces) -> Result<(), Why> {
        loop {
            let part = match upload.next().await {
                Ok(part) => part,
                Err(why) => return Err(cut(self.hub, why)),
            };
            let Some(part) = part else { break };
            self.may()?;
            let mut at = 0;
            loop {
                match pieces.next(&part, &mut at) {
                    Ok(Some(piece)) => self.piece(piece).await?,
                    Ok(None) => break,
                    Err(why) => return self.no_array(why).await,
                }
            }
            self.submit().await?;
            self.batch = Batch::new();
            self.hold(pieces.kept()).await?;
        }
        self.may()?;
        match pieces.end() {
            Ok(Some(last)) => self.piece(last).await?,
            Ok(None) => {}
            Err(why) => return self.no_array(why).await,
        }
        self.submit().await
    }

    async fn piece(&mut self, piece: Piece<'_>) -> Result<(), Why> {
        match piece {
            Piece::Whole(text) => self.take(text).await,
            Piece::TooLong(bytes) => self.too_long(bytes).await,
            Piece::Missing => {
                self.not_full().await?;
                self.line(b"");
                Ok(())
            }
        }
    }

    /// What came before counts; where the array would go on is not known.
    async fn no_array(&mut self, why: &str) -> Result<(), Why> {
        self.submit().await?;
        let detail = "HTTP body that is no JSON array";
        self.hub.log.security().report(SecurityKind::Malformed, None, detail);
        Err(Why::new(StatusCode::BAD_REQUEST, "malformed", why))
    }

    /// Whether the caller still may: what was taken before stays.
    pub(super) fn may(&self) -> Result<(), Why> {
        gate::still(self.hub, self.caller, Right::Write)
            .map_err(|ended| Why::new(ended.status, ended.kind, ended.message))
    }

    /// Has room for a line of so many bytes, beside the rest.
    async fn hold(&mut self, line: usize) -> Result<(), Why> {
        self.hold_bytes(COPIES * line).await
    }

    /// The same of what takes so many bytes in all.
    pub(super) async fn hold_bytes(&mut self, bytes: usize) -> Result<(), Why> {
        let bytes = REQUEST_BYTES + self.unpacking + bytes + self.tally.bytes();
        self.share.shrink(bytes);
        let patience = self.hub.log.options().overflow_timeout;
        self.share.grow(bytes, patience).await.map_err(|NoRoom| no_room(self.hub))
    }

    /// Holds nothing until it holds something again.
    pub(super) fn give_back(&mut self) {
        self.share.shrink(0);
    }

    pub(super) async fn take(&mut self, line: &[u8]) -> Result<(), Why> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        self.not_full().await?;
        if line.len() > MAX_LINE_BYTES {
            self.tally.refused(self.session.refuse_too_long(line.len()));
            return Ok(());
        }
        self.line(line);
        if self.batch.len() >= BATCH_EVENTS || self.kept_bytes >= BATCH_BYTES {
            self.submit().await?;
        }
        Ok(())
    }

    /// What was prepared is on its way, and the memory it took is free.
    pub(super) async fn handed(&mut self, line: usize) -> Result<(), Why> {
        self.submit().await?;
        self.batch = Batch::new();
        self.hold(line).await
    }

    /// What is no event.
    pub(super) async fn refuse(&mut self, error: EventError) -> Result<(), Why> {
        self.not_full().await?;
        self.tally.refused(self.session.refuse(error));
        Ok(())
    }

    pub(super) async fn too_long(&mut self, bytes: usize) -> Result<(), Why> {
        self.not_full().await?;
        self.tally.refused(self.session.refuse_too_long(bytes));
        Ok(())
    }

    /// An answer has its bound too: beyond it, the sender is to look at what was wrong.
    async fn not_full(&mut self) -> Result<(), Why> {
        if !self.tally.is_full() {
            return Ok(());
        }
        self.submit().await?;
        self.tally.compact();
        if !self.tally.is_nearly_full() {
            return Ok(());
        }
        let text = "the outcome of the lines changed too often for one answer; send the remaining \
                    lines again";
        let refused = self.tally.first_error();
        let status = refused.map_or(StatusCode::SERVICE_UNAVAILABLE, |error| status_of(&error));
        Err(Why::new(status, "too_many_refusals", text))
    }

    /// Prepares a line, or has it refused.
    fn line(&mut self, line: &[u8]) {
        let given = self.id.as_deref().map(|id| (id, KEY_HEADER));
        let by = (self.caller.bucket(), given);
        match self.session.prepare_for(by, line, ParseMode::Strict, &mut self.batch) {
            Ok(()) => self.tally.waits(),
            Err(error) => return self.tally.refused(error),
        }
        if self.is_foreign {
            self.kept_bytes += line.len();
            self.kept.push_back(line.to_vec());
        }
    }

    /// Hands over what was prepared, waiting for room.
    pub(super) async fn submit(&mut self) -> Result<(), Why> {
        let mut batch = std::mem::take(&mut self.batch);
        while !batch.is_empty() {
            match self.hand_in(&mut batch).await {
                Ok(taken) if self.is_foreign => self.took(&taken).await,
                Ok(taken) => self.tally.taken(&taken),
                Err(error) => {
                    (self.kept, self.kept_bytes) = (VecDeque::new(), 0);
                    self.tally.refuse_waiting(&error);
                    return Err((&error).into());
                }
            }
        }
        self.batch = batch;
        Ok(())
    }

    /// Hands over what there is room for, of a batch that has something.
    async fn hand_in(&mut self, batch: &mut Batch) -> Result<Submitted, RecordError> {
        let log = &self.hub.log;
        let mut progress = self.hub.progress.clone();
        let mut hand_in = HandIn::new();
        loop {
            let submit = |batch: &mut Batch| self.turn.submit(log, batch);
            match hand_in.try_by(log, batch, submit) {
                Handed::Taken(taken) => {
                    self.turn.waits(false);
                    // Of what was recorded before, too: it need not be durable yet.
                    let before = taken.repeats.iter().filter(|repeat| repeat.is_same);
                    let before = before.map(|repeat| repeat.seq).max();
                    let new = taken.end().checked_sub(1).filter(|last| *last >= taken.first_seq);
                    self.last = self.last.max(before).max(new);
                    return Ok(taken);
                }
                Handed::Full => {
                    let _ = tokio::time::timeout(HandIn::TRY_AGAIN, progress.changed()).await;
                }
                Handed::Refused(error) => {
                    self.turn.waits(false);
                    return Err(error);
                }
            }
        }
    }

    /// What became of foreign events, of which none is refused for its id.
    async fn took(&mut self, submitted: &Submitted) {
        let count = submitted.count.min(self.kept.len());
        let mut lines: Vec<Vec<u8>> = self.kept.drain(..count).collect();
        self.kept_bytes -= lines.iter().map(Vec::len).sum::<usize>();
        let mut conflicts = submitted.repeats.iter().filter(|repeat| !repeat.is_same);
        for taken in submitted.taken() {
            let Taken::Conflict { seq } = taken else {
                self.tally.took(taken);
                continue;
            };
            let line = conflicts.next().and_then(|repeat| lines.get_mut(repeat.at));
            match self.take_otherwise(line.map(std::mem::take).unwrap_or_default(), seq).await {
                Ok(taken) => self.tally.took(taken),
                Err(error) => self.tally.refuse_next(error),
            }
        }
    }

    /// An event whose id is that of another one, of this seq.
    async fn take_otherwise(&mut self, mut line: Vec<u8>, seq: u64) -> Result<Taken, RecordError> {
        self.other_ids += 1;
        // Its rate was asked before.
        let session = self.hub.log.session(&self.caller.origin(), true);
        while let Some(other) = with_next_id(&line) {
            let mut batch = Batch::new();
            session.prepare(&other, ParseMode::Strict, &mut batch)?;
            let taken = self.hand_in(&mut batch).await?;
            match taken.taken().next() {
                Some(Taken::Conflict { .. }) | None => line = other,
                Some(taken) => return Ok(taken),
            }
        }
        Err(RecordError::Conflict { seq })
    }

    /// Waits until what was accepted is acknowledged, or is known not to be.
    pub(super) async fn settle(&mut self) {
        let Some(last) = self.last else { return };
        let mut progress = self.hub.progress.clone();
        loop {
            let seen = progress.borrow_and_update().clone();
            let acked = self.hub.log.acked_seq().max(seen.acked_seq);
            if acked > last {
                return;
            }
            if let Some(trouble) = &seen.trouble {
                return self.tally.unsure(acked, trouble);
            }
            if progress.changed().await.is_err() {
                return self.tally.unsure(self.hub.log.acked_seq(), &RecordError::Closed);
            }
        }
    }

    /// Of what was refused for its rate: each is told when all of it may come again. A
    /// moment alone would do for one of them only.
    pub(super) fn tell_when(&mut self) {
        let mut all = 0;
        let waits: Vec<(String, Duration)> = self
            .tally
            .rate_limited()
            .into_iter()
            .map(|(source, lines)| {
                all += lines;
                let wait = self.session.wait_for(&source, lines);
                (source, wait)
            })
            .collect();
        if all == 0 {
            return;
        }
        // Each costs the caller as well, whatever its source.
        let log = &self.hub.log;
        let caller = self.caller.bucket().map_or(Duration::ZERO, |own| log.caller_wait(own, all));
        for (source, wait) in waits {
            self.tally.put_off(&source, wait.max(caller));
        }
    }

    fn answer(self, why: Option<Why>) -> Response {
        if self.tally.lines() == 0 {
            return match &why {
                Some(why) => respond(why),
                None => error(StatusCode::BAD_REQUEST, "malformed", "no event"),
            };
        }
        self.answer_many(why, OnRefusal::Report, &[])
    }

    /// Of many events, and what else is to be said of them.
    pub(super) fn answer_many(
        self,
        why: Option<Why>,
        on_refusal: OnRefusal,
        more: &[(&str, Value)],
    ) -> Response {
        let status = match (&why, self.tally.same_refusal(|error| status_of(error).as_u16())) {
            // Not all was looked at: no status of success may say otherwise.
            (Some(why), _) => why.status,
            (None, _) if on_refusal == OnRefusal::Accept => {
                self.tally.for_now().map_or(StatusCode::OK, |refused| status_of(&refused))
            }
            (None, Refused::Nothing) => StatusCode::OK,
            (None, Refused::Everything(refused)) => status_of(&refused),
            // Some of it is there, or it was refused for several reasons: see each line.
            (None, Refused::Some) => StatusCode::MULTI_STATUS,
        };
        let retry = why.as_ref().and_then(|why| why.retry_after).max(self.tally.retry_after());
        let mut document = self.tally.document(why.as_ref().map(Why::value));
        for (key, value) in more {
            let end = document.trim_end().len() - 1;
            document.insert_str(end, &format!(",\"{key}\":{value}"));
        }
        let body = Body::from(charged(document.into_bytes(), self.share));
        let mut response = (status, body).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        with_retry_after(response, retry)
    }

    fn answer_one(self, why: Option<Why>) -> Response {
        match (self.tally.only(), why) {
            (Some(Ok(Recorded { seq, is_duplicate: false })), _) => {
                answer(StatusCode::CREATED, &json!({ "seq": seq }))
            }
            (Some(Ok(Recorded { seq, is_duplicate: true })), _) => {
                answer(StatusCode::OK, &json!({ "seq": seq, "duplicate": true }))
            }
            (Some(Err(refused)), _) => refusal(&refused),
            (None, Some(why)) => respond(&why),
            (None, None) => error(StatusCode::BAD_REQUEST, "malformed", "no event"),
        }
    }
}

pub(super) fn status_of(refused: &RecordError) -> StatusCode {
    match refused.kind() {
        "malformed" => StatusCode::BAD_REQUEST,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "conflict" => StatusCode::CONFLICT,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(refused: &RecordError) -> Response {
    let response = answer(status_of(refused), &protocol::error_value(refused));
    with_retry_after(response, refused.retry_after())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(values: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                "idempotency-key",
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        id_of(&headers)
    }

    #[test]
    fn the_headers_id_is_taken_as_it_is_or_out_of_its_quotes() {
        let is = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(id(&[]), Ok(None));
        assert_eq!(id(&["order-7"]), is("order-7"));
        assert_eq!(id(&["bä r"]), is("bä r"));
        assert_eq!(id(&["\"order-7\""]), is("order-7"));
        assert_eq!(id(&[r#""a\"b\\c""#]), is(r#"a"b\c"#));
        assert_eq!(id(&["a\"b"]), is("a\"b"));
        assert_eq!(id(&["\""]), is("\""));
        assert_eq!(id(&["\"\""]), is(""), "which is refused as an empty id");
        assert!(id(&["\"a\"b\""]).is_err());
        assert!(id(&["a", "a"]).is_err());
    }
}
