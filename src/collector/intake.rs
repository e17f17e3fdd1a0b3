//! `POST /v1/events`: events are parsed, submitted and told of as the body comes.
//!
//! A body is read no faster than the writer takes what is in it. What a request holds
//! is a line, a batch and the runs of its [`Tally`], all of it a share of the budget.
//! Before each batch it is asked again whether the caller still may.

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
use crate::audit::{Batch, EventError, HandIn, Handed, ParseMode, RecordError, Session};
use crate::mapping::OnRefusal;

/// What a request holds besides a long line and a long answer: what was read of it,
/// a batch, and the connection's buffers.
pub(super) const REQUEST_BYTES: usize = 256 << 10;
/// A line is there as text, as an event and encoded.
const COPIES: usize = 3;
/// Handed to the writer at a time, at most.
const BATCH_EVENTS: usize = 1_024;
/// Memory that is kept for the next line.
const LINE_KEPT: usize = 64 << 10;
/// When a peer that found no room may come again.
pub(super) const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Why nothing more of a request is looked at.
pub(super) struct Why {
    pub(super) status: StatusCode,
    kind: &'static str,
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
        Ok(Begun { ndjson, coding, share }) => {
            let mut intake = Intake::new(hub, &caller, guest, (share, coding.bytes()));
            let why = match upload.unpack(coding) {
                Err(why) => Err(cut(hub, why)),
                Ok(()) if ndjson => intake.lines(&mut upload).await,
                Ok(()) => intake.event(&mut upload).await,
            };
            let why = why.err();
            let cut = why.is_some();
            intake.settle().await;
            intake.tell_when();
            (if ndjson { intake.answer(why) } else { intake.answer_one(why) }, cut)
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
        "{is}; add the header `Content-Type: application/json` for one event (curl: --json instead of -d, \
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
    let (coding, share) = room(hub, headers, (guest, peer), REQUEST_BYTES).await?;
    Ok(Begun { ndjson, coding, share })
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
    last: Option<u64>,
    share: Share,
    /// What unpacking holds of it.
    unpacking: usize,
    /// Its turn while the write buffer is full.
    turn: Turn,
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
        Self { hub, caller, session, batch, tally, last: None, share, unpacking, turn }
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

    /// A body with an event a line.
    async fn lines(&mut self, upload: &mut Upload) -> Result<(), Why> {
        // A line whose end has not come; `passed` bytes of it are not kept, since it is
        // longer than any may be.
        let (mut begun, mut passed) = (Vec::new(), 0);
        loop {
            let part = match upload.next().await {
                Ok(part) => part,
                Err(why) => return Err(cut(self.hub, why)),
            };
            let Some(part) = part else { break };
            self.may()?;
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', &part) {
                let rest = &part[start..end];
                start = end + 1;
                if passed > 0 {
                    self.too_long(std::mem::take(&mut passed) + rest.len()).await?;
                } else if begun.is_empty() {
                    self.take(rest).await?;
                } else {
                    begun.extend_from_slice(rest);
                    self.take(&begun).await?;
                    begun.clear();
                    begun.shrink_to(LINE_KEPT);
                }
            }
            if passed > 0 {
                passed += part.len() - start;
            } else {
                begun.extend_from_slice(&part[start..]);
            }
            // A CR before its LF is no part of it.
            if begun.len() > MAX_LINE_BYTES + 1 {
                passed = begun.len();
                begun = Vec::new();
            }
            self.submit().await?;
            self.batch = Batch::new();
            self.hold(begun.capacity()).await?;
        }
        self.may()?;
        if passed > 0 {
            self.too_long(passed).await?;
        } else {
            // The last line's end may be missing.
            self.take(&begun).await?;
        }
        self.submit().await
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
        if self.batch.len() >= BATCH_EVENTS {
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
        let limit = |bucket| self.hub.log.limit_caller(bucket);
        let allowed = self.caller.bucket().map_or(Ok(()), limit);
        let prepared =
            allowed.and_then(|()| self.session.prepare(line, ParseMode::Strict, &mut self.batch));
        match prepared {
            Ok(()) => self.tally.waits(),
            Err(error) => self.tally.refused(error),
        }
    }

    /// Hands over what was prepared, waiting for room.
    pub(super) async fn submit(&mut self) -> Result<(), Why> {
        let log = &self.hub.log;
        let mut progress = self.hub.progress.clone();
        let mut hand_in = HandIn::new();
        while !self.batch.is_empty() {
            let submit = |batch: &mut Batch| self.turn.submit(log, batch);
            match hand_in.try_by(log, &mut self.batch, submit) {
                Handed::Taken(taken) => {
                    self.tally.accepted(taken.first_seq, taken.count as u64);
                    self.last = Some(taken.end() - 1);
                }
                Handed::Full => {
                    let _ = tokio::time::timeout(HandIn::TRY_AGAIN, progress.changed()).await;
                }
                Handed::Refused(error) => {
                    self.turn.waits(false);
                    self.tally.refuse_waiting(&error);
                    return Err((&error).into());
                }
            }
        }
        self.turn.waits(false);
        Ok(())
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
            (Some(Ok(seq)), _) => answer(StatusCode::CREATED, &json!({ "seq": seq })),
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
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(refused: &RecordError) -> Response {
    let response = answer(status_of(refused), &protocol::error_value(refused));
    with_retry_after(response, refused.retry_after())
}
