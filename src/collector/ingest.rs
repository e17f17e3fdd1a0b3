//! `POST /v1/ingest/NAME`: foreign events, in whatever they are wrapped, mapped as they come.
//!
//! As events of `POST /v1/events` they are limited, charged and told of. A sender of foreign
//! events often cannot send a part of a batch again, so what is over its rate is waited for
//! here, a while.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use serde_json::{Map, Value, json};

use super::gate::{self, Caller, Peer};
use super::intake::{Intake, REQUEST_BYTES, Why, cut, guest, no_key, peer, room};
use super::reply::{App, error};
use super::upload::Upload;
use super::{Hub, accept};
use crate::audit::record::event::{MAX_DETAILS_BYTES, MAX_LINE_BYTES};
use crate::audit::{Event, EventError, ParseMode, RecordError};
use crate::mapping::{Found, Mapped, Mapping, Misfit, NotMapped, OnRefusal, Piece, Shape, Target};

/// Misfits that an answer names.
const MAX_NAMED: usize = 10;
/// Pieces until others have their turn.
const TURN: u32 = 64;
/// How long a request may be held up, altogether, for the rate of its events.
const PACED: Duration = Duration::from_secs(5);

pub(super) async fn post_ingest(
    State(app): State<App>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (guest, peer) = (guest(&request), peer(&request));
    let (parts, body) = request.into_parts();
    let hub = &*app.hub;
    let mut upload = Upload::new(body, hub.max_body, hub.limits.read, hub.stopping.clone());
    let begun = async {
        let mapping = mapping(hub, &name, peer)?;
        let is_binary = mapping.draft().shape == Shape::CloudEvents && is_binary(&parts.headers);
        if !is_binary && !is_json(&parts.headers) {
            gate::misdirected(hub, peer, "foreign events whose Content-Type is not JSON");
            let text = "add the header `Content-Type: application/json`, `application/x-ndjson`, or \
                        another that ends in +json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Box::new(error(status, "unsupported_media_type", text)));
        }
        no_key(&parts.headers)?;
        let (coding, share) = room(hub, &parts.headers, (guest, peer), REQUEST_BYTES).await?;
        Ok((mapping, is_binary, coding, share))
    };
    let (response, is_cut) = match begun.await {
        Err(refused) => (*refused, true),
        Ok((mapping, is_binary, coding, share)) => {
            let intake = Intake::new(hub, &caller, guest, (share, coding.bytes()));
            let mut ingest = Ingest::new(intake, &mapping);
            if mapping.draft().on_refusal == OnRefusal::Accept {
                ingest.intake.tally.count_only();
            }
            let done = match upload.unpack(coding) {
                Err(why) => Err(cut(hub, why)),
                Ok(()) if is_binary => ingest.binary(&mut upload, &parts.headers).await,
                Ok(()) if mapping.draft().shape == Shape::Otlp => {
                    Err(Why::new(StatusCode::NOT_FOUND, "not_found", "OTLP is sent to /v1/logs"))
                }
                Ok(()) => ingest.pieces(&mut upload).await,
            };
            let why = done.err();
            let is_cut = why.is_some();
            ingest.intake.settle().await;
            ingest.intake.tell_when();
            (ingest.answer(why), is_cut)
        }
    };
    if is_cut {
        upload.drain(parts.headers.contains_key(header::EXPECT)).await;
    }
    response
}

/// The mapping of a name, if there is one that lets out nothing.
pub(super) fn mapping(
    hub: &Hub,
    name: &str,
    peer: Peer,
) -> Result<std::sync::Arc<Mapping>, Box<Response>> {
    let Some(mapping) = hub.mappings.get(name) else {
        gate::misdirected(hub, peer, "foreign events for a mapping that there is not");
        let text =
            format!("there is no such mapping; there are {}", hub.mappings.names().join(", "));
        return Err(Box::new(error(StatusCode::NOT_FOUND, "not_found", &text)));
    };
    if let Some((target, path)) = mapping.lets_out(&hub.log.redacted_paths()) {
        let name = target.name();
        let hidden = format!("redact has {name:?} as well, or ");
        let hidden = if target.can_be_hidden() { &*hidden } else { "" };
        let text = format!(
            "the mapping {} takes {name} from {path}, which redact hides: nothing is recorded until \
             {hidden}a [mapping] of your own takes {name} from elsewhere",
            mapping.name()
        );
        return Err(Box::new(error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", &text)));
    }
    Ok(mapping)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(media) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let plain = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    ["application/json", "application/x-ndjson", "application/jsonl"]
        .iter()
        .any(|wanted| accept::is_of(media, wanted))
        || (plain.starts_with("application/") && plain.ends_with("+json"))
}

/// A CloudEvent whose attributes are in the headers. No web page sends such unasked.
fn is_binary(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_structured =
        media.is_some_and(|media| media.trim_ascii_start().starts_with("application/cloudevents"));
    headers.contains_key("ce-specversion") && !is_structured
}

/// Foreign events that are being taken.
pub(super) struct Ingest<'a> {
    pub(super) intake: Intake<'a>,
    mapping: &'a Mapping,
    max_details: usize,
    misfits: u64,
    named: Vec<String>,
    /// How long it was held up.
    paced: Duration,
    max_paced: Duration,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(mut intake: Intake<'a>, mapping: &'a Mapping) -> Self {
        intake.is_foreign();
        let max_details = intake.hub.log.options().max_details_size.min(MAX_DETAILS_BYTES);
        Self {
            intake,
            mapping,
            max_details,
            misfits: 0,
            named: Vec::new(),
            paced: Duration::ZERO,
            max_paced: PACED,
        }
    }

    /// What is over its rate is waited for, however long: its sender gets no answer.
    pub(super) fn waits_for_its_rate(&mut self) {
        self.max_paced = Duration::MAX / 4;
    }

    fn apply(&self, object: &[u8]) -> Result<Mapped, NotMapped> {
        // It matters where there is no room for all of it.
        let is_long = object.len() >= self.max_details / 2;
        let redact = if is_long { self.intake.hub.log.redacted_paths() } else { Vec::new() };
        self.mapping.apply(object, self.max_details, &redact)
    }

    /// The line of a foreign event; what is none is refused and counted.
    pub(super) fn line_of(&mut self, found: Found) -> Result<Vec<u8>, RecordError> {
        let error = match found.piece {
            Piece::Object(object) => match self.apply(&object) {
                Ok(mapped) => {
                    self.misfits += mapped.misfits.len() as u64;
                    return Ok(mapped.line);
                }
                Err(error) => refusal(error),
            },
            Piece::TooLong(actual) => EventError::LineTooLong { actual },
            Piece::Bad(what) => EventError::Malformed(what),
        };
        Err(self.intake.session.refuse(error))
    }

    /// Records such a line.
    pub(super) async fn mapped_line(&mut self, line: &[u8]) -> Result<(), Why> {
        let source = Event::from_json(line, ParseMode::Strict).ok();
        self.keep_pace(source.as_ref().and_then(Event::source_name)).await?;
        self.intake.take(line).await
    }

    pub(super) fn max_details(&self) -> usize {
        self.max_details
    }

    /// A body of objects in whatever they are wrapped.
    async fn pieces(&mut self, upload: &mut Upload) -> Result<(), Why> {
        let mut pieces = self.mapping.pieces(MAX_LINE_BYTES);
        loop {
            let part = upload.next().await.map_err(|why| cut(self.intake.hub, why))?;
            let Some(part) = part else { break };
            self.intake.may()?;
            let (mut rest, mut turn) = (&part[..], 0);
            while let Some(found) = pieces.next(&mut rest) {
                self.piece(found).await?;
                turn += 1;
                if turn % TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            self.intake.handed(pieces.bytes()).await?;
        }
        self.intake.may()?;
        while let Some(found) = pieces.end() {
            self.piece(found).await?;
        }
        self.intake.submit().await
    }

    async fn piece(&mut self, found: Found) -> Result<(), Why> {
        match found.piece {
            Piece::Object(object) => self.object(&object).await,
            Piece::TooLong(bytes) => self.intake.too_long(bytes).await,
            Piece::Bad(what) => {
                let text = format!("{what} (line {})", found.line);
                self.intake.refuse(EventError::Malformed(text)).await
            }
        }
    }

    /// One foreign object.
    pub(super) async fn object(&mut self, object: &[u8]) -> Result<(), Why> {
        match self.apply(object) {
            Ok(mapped) => self.mapped(mapped, object.len()).await,
            Err(error) => self.intake.refuse(refusal(error)).await,
        }
    }

    async fn mapped(&mut self, mapped: Mapped, bytes: usize) -> Result<(), Why> {
        self.misfits += mapped.misfits.len() as u64;
        let room = MAX_NAMED.saturating_sub(self.named.len());
        self.named.extend(mapped.misfits.iter().take(room).map(Misfit::to_string));
        if mapped.line.len() > MAX_LINE_BYTES {
            let error = EventError::DetailsTooLarge { limit: self.max_details, actual: bytes };
            return self.intake.refuse(error).await;
        }
        let source = mapped.fields.iter().find(|field| field.target == Target::Source);
        self.keep_pace(source.map(|field| &*field.text)).await?;
        self.intake.take(&mapped.line).await
    }

    /// Waits until the next event is within its rate; what is held up too long is refused.
    async fn keep_pace(&mut self, source: Option<&str>) -> Result<(), Why> {
        let wait = |intake: &Intake<'_>| {
            let own = source.map_or(Duration::ZERO, |source| intake.session.wait_for(source, 1));
            let caller = intake.caller.bucket();
            let caller = caller.map_or(Duration::ZERO, |own| intake.hub.log.caller_wait(own, 1));
            own.max(caller)
        };
        let mut pause = wait(&self.intake);
        if pause.is_zero() || self.paced >= self.max_paced {
            return Ok(());
        }
        // What was taken so far is durable meanwhile.
        self.intake.submit().await?;
        let begun = Instant::now();
        let mut stopping = self.intake.hub.stopping.clone();
        while !pause.is_zero() && self.paced + begun.elapsed() < self.max_paced {
            tokio::select! {
                () = tokio::time::sleep(pause.min(PACED)) => {}
                () = super::stopped(&mut stopping) => break,
            }
            self.intake.may()?;
            pause = wait(&self.intake);
        }
        self.paced += begun.elapsed();
        Ok(())
    }

    /// An event whose attributes are in the headers, and whose data is the body.
    async fn binary(&mut self, upload: &mut Upload, headers: &HeaderMap) -> Result<(), Why> {
        let mut body = Vec::new();
        while let Some(part) = upload.next().await.map_err(|why| cut(self.intake.hub, why))? {
            body.extend_from_slice(&part);
            if body.len() > MAX_LINE_BYTES {
                return self.intake.too_long(upload.taken()).await;
            }
            self.intake.handed(body.capacity()).await?;
        }
        self.intake.may()?;
        let object = structured(headers, &body);
        self.object(object.as_bytes()).await?;
        self.intake.submit().await
    }

    fn answer(self, why: Option<Why>) -> Response {
        let mut more = match self.misfits {
            0 => Vec::new(),
            misfits => vec![("misfits", json!(misfits)), ("first_misfits", json!(self.named))],
        };
        if self.intake.other_ids > 0 {
            more.push(("other_ids", json!(self.intake.other_ids)));
        }
        if self.intake.tally.lines() == 0
            && let Some(why) = &why
        {
            return super::intake::respond(why);
        }
        self.intake.answer_many(why, self.mapping.draft().on_refusal, &more)
    }
}

/// Why the log refuses what is not mapped.
pub(super) fn refusal(error: NotMapped) -> EventError {
    match error {
        NotMapped::NotJson(error) => EventError::NotJson(error),
        NotMapped::NotAnObject(_) => EventError::Malformed(error.to_string()),
        NotMapped::NoType { .. } => EventError::Unmapped(error.to_string()),
    }
}

/// The same event as one JSON object (CloudEvents, HTTP protocol binding).
fn structured(headers: &HeaderMap, body: &[u8]) -> String {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        event.insert(name.to_owned(), json!(percent_decoded(value.as_bytes())));
    }
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(media) = media {
        event.insert("datacontenttype".to_owned(), json!(media));
    }
    let has_none = event.is_empty();
    let mut text = Value::Object(event).to_string();
    if body.is_empty() {
        return text;
    }
    let is_json = is_json(headers) && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let data = match std::str::from_utf8(body) {
        // As it is written.
        Ok(json) if is_json => format!("\"data\":{json}"),
        Ok(plain) => format!("\"data\":{}", json!(plain)),
        Err(_) => {
            let packed = base64::engine::general_purpose::STANDARD.encode(body);
            format!("\"data_base64\":{}", json!(packed))
        }
    };
    text.pop();
    text + if has_none { "" } else { "," } + &data + "}"
}

fn percent_decoded(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let digits = value.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *byte == b'%');
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
