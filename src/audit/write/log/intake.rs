//! How events come in: checked, limited, encoded, queued.

use std::sync::Arc;
use std::time::Duration;

use super::{AuditLog, Receipt};
use crate::audit::record::event::{Event, EventError, EventLimits, MAX_DETAILS_BYTES, ParseMode};
use crate::audit::record::id::Fingerprint;
use crate::audit::record::refusal::RecordError;
use crate::audit::record::{EncodedOrigin, Origin, encode_body};
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Word;
use crate::audit::write::options::Durability;
use crate::audit::write::queue::{Batch, Submitted};
use crate::audit::write::rate_limit::{Decision, RateLimiter};

impl AuditLog {
    /// Records an event; waits for room up to `overflow_timeout`.
    ///
    /// # Errors
    /// See [`RecordError`]; nothing is recorded then.
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        self.record_as(event, &self.0.origin, false)
    }

    fn record_as(
        &self,
        mut event: Event,
        origin: &EncodedOrigin,
        exempt: bool,
    ) -> Result<Receipt, RecordError> {
        self.0.not_forked()?;
        let mut body = Vec::with_capacity(512);
        let id = self.encode(&mut event, origin, (exempt, None), &mut body)?;
        let pushed = self.0.shared.queue.push(&body, event.timestamp_value(), id.as_ref());
        let accepted = pushed.inspect_err(|error| self.count_refusal(error, 1))?;
        Ok(Receipt {
            log: Arc::clone(&self.0),
            seq: accepted.seq,
            is_duplicate: accepted.batch.is_none(),
            batch: accepted.batch,
        })
    }

    /// Redacts, validates, rate-limits and encodes; counts what is refused. What is recorded
    /// already costs nobody anything of its rate: otherwise who sends a batch again, which
    /// is more than it may send at once, would never come to the end of it.
    fn encode(
        &self,
        event: &mut Event,
        origin: &EncodedOrigin,
        (exempt, caller): (bool, Option<&str>),
        body: &mut Vec<u8>,
    ) -> Result<Option<Fingerprint>, RecordError> {
        let shared = &self.0.shared;
        let limits = self.limits();
        // First of all: what is refused is spoken of as well.
        let redacted = self.redactor().map_or(Ok(()), |redactor| redactor.apply(event, &limits));
        let checked = redacted.and_then(|()| event.check(&limits));
        let sanitized = checked.map_err(|error| self.refuse_event(event.source_name(), error))?;
        if sanitized {
            let detail = "control characters in an identifier were replaced";
            shared.security.report(SecurityKind::Sanitized, event.source_name(), detail);
        }
        let by_source = !exempt && shared.limiter.is_limiting();
        let limited = |event: &Event| {
            caller.map_or(Ok(()), |caller| self.limit_caller(caller))?;
            if !by_source {
                return Ok(());
            }
            let source = event.source_name().unwrap_or_else(|| origin.default_source());
            self.limit(&shared.limiter, Some(origin.sender()), source)
        };
        if event.id_value().is_none() {
            limited(event)?;
            return Ok(self.append(event, origin, body));
        }
        let start = body.len();
        let id = self.append(event, origin, body);
        let is_limited = by_source || caller.is_some();
        if is_limited
            && !id.as_ref().is_some_and(|id| shared.queue.is_recorded(id))
            && let Err(refused) = limited(event)
        {
            body.truncate(start);
            return Err(refused);
        }
        Ok(id)
    }

    /// Encodes an event that is fit to be stored.
    fn append(
        &self,
        event: &Event,
        origin: &EncodedOrigin,
        body: &mut Vec<u8>,
    ) -> Option<Fingerprint> {
        let start = body.len();
        let content = encode_body(event, origin, body);
        let id = event.id_value()?;
        Some(self.0.id_key.of(origin.id_sender(), id, &body[start..start + content]))
    }

    fn limit(
        &self,
        limiter: &RateLimiter,
        sender: Option<&str>,
        source: &str,
    ) -> Result<(), RecordError> {
        let shared = &self.0.shared;
        let (now, now_us) = (shared.options.clock.now(), shared.boot_ms() * 1_000);
        let decision = match sender {
            Some(sender) => limiter.check_of(sender, source, now_us, now),
            None => limiter.check(source, now_us, now),
        };
        let Decision::Refused { retry_after } = decision else { return Ok(()) };
        shared.page.refused(sender, source, now);
        let detail = "over its rate limit";
        shared.security.report(SecurityKind::RateLimited, Some(source), detail);
        Err(RecordError::RateLimited { source_name: source.to_owned(), retry_after })
    }

    /// The limits of those who hand in for several sources; a burst of refusals
    /// there leaves an `audit.rate_limited` record, too.
    #[must_use]
    #[doc(hidden)]
    pub fn callers(&self) -> &RateLimiter {
        &self.0.shared.callers
    }

    /// Takes an event from a caller's bucket among [`callers`](Self::callers),
    /// before anything is made of the event.
    ///
    /// # Errors
    /// [`RecordError::RateLimited`]; it is counted as a source's is.
    #[doc(hidden)]
    pub fn limit_caller(&self, caller: &str) -> Result<(), RecordError> {
        self.0.not_forked()?;
        self.limit(&self.0.shared.callers, None, caller)
    }

    /// How long until a caller among [`callers`](Self::callers) may hand in so many
    /// events.
    #[must_use]
    #[doc(hidden)]
    pub fn caller_wait(&self, caller: &str, events: u64) -> Duration {
        let now_us = self.0.shared.boot_ms() * 1_000;
        self.0.shared.callers.wait_of("", caller, events, now_us)
    }

    fn limits(&self) -> EventLimits {
        let asked = self.0.shared.options.max_details_size;
        EventLimits { max_details_bytes: asked.min(MAX_DETAILS_BYTES) }
    }

    fn refuse_event(&self, source: Option<&str>, error: EventError) -> RecordError {
        let shared = &self.0.shared;
        shared.page.add(Word::Invalid, 1);
        let kind = match error.kind() {
            "malformed" => SecurityKind::Malformed,
            "too_large" => SecurityKind::Oversize,
            _ => SecurityKind::Validation,
        };
        shared.security.report(kind, source, &error.to_string());
        RecordError::Event(error)
    }

    fn count_refusal(&self, error: &RecordError, events: u64) {
        if matches!(error, RecordError::DiskFull { .. } | RecordError::Failed { .. }) {
            self.0.shared.page.add(Word::Unavailable, events);
        }
        if matches!(error, RecordError::Conflict { .. }) {
            self.report_conflicts(events);
        }
    }

    /// An id that comes again with something else: an event that its sender loses, unless
    /// somebody looks.
    fn report_conflicts(&self, events: u64) {
        for _ in 0..events {
            let detail = "an id was used again for an event with other content";
            self.0.shared.security.report(SecurityKind::Validation, None, detail);
        }
    }

    /// For events whose origin somebody attests: a socket's peer, a token.
    /// With `exempt` they are not rate-limited.
    #[must_use]
    #[doc(hidden)]
    pub fn session(&self, origin: &Origin, exempt: bool) -> Session {
        Session { log: self.clone(), origin: EncodedOrigin::new(origin), exempt }
    }

    /// Accepts as many events from the front of the batch as there is room for,
    /// without waiting, and removes them from it.
    ///
    /// # Errors
    /// When nothing is accepted at the moment whatever the room: disk full,
    /// closed, failed, forked. A full buffer is no error: `count` is then 0.
    #[doc(hidden)]
    pub fn try_submit(&self, batch: &mut Batch) -> Result<Submitted, RecordError> {
        self.0.not_forked()?;
        let events = batch.len() as u64;
        let pushed = self.0.shared.queue.push_batch(batch);
        let taken = pushed.inspect_err(|error| self.count_refusal(error, events))?;
        let conflicts = taken.repeats.iter().filter(|repeat| !repeat.is_same).count();
        self.report_conflicts(conflicts as u64);
        Ok(taken)
    }

    /// Counts events that a caller gave up on because the buffer stayed full.
    #[doc(hidden)]
    pub fn count_busy(&self, events: u64) {
        self.0.shared.page.add(Word::Busy, events);
    }

    /// Asks for everything below `seq` to be acknowledged soon; does not wait.
    /// With interval durability it already is, and the disk keeps its time.
    #[doc(hidden)]
    pub fn request_ack(&self, seq: u64) {
        if self.0.is_forked() {
            return;
        }
        let shared = &self.0.shared;
        match shared.options.durability {
            Durability::Commit if shared.progress.durable() < seq => {
                shared.queue.request_durable(seq);
            }
            Durability::Commit => {}
            Durability::Interval => shared.page.publish_accepted(seq.saturating_sub(1)),
        }
    }
}

/// Records for one caller; see [`AuditLog::session`].
#[derive(Clone, Debug)]
pub struct Session {
    log: AuditLog,
    origin: EncodedOrigin,
    exempt: bool,
}

impl Session {
    pub(super) fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Parses, redacts, validates, rate-limits and encodes one NDJSON line into the batch.
    ///
    /// # Errors
    /// What is wrong with the event, or [`RecordError::RateLimited`]; refusals
    /// are counted here. The batch is then as it was.
    pub fn prepare(
        &self,
        line: &[u8],
        mode: ParseMode,
        batch: &mut Batch,
    ) -> Result<(), RecordError> {
        self.prepare_for((None, None), line, mode, batch)
    }

    /// The same, of an event whose id was given beside it, too, and which is taken from the
    /// bucket of a caller among [`callers`](AuditLog::callers) as well.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), and if the line has another id.
    #[doc(hidden)]
    pub fn prepare_for(
        &self,
        (caller, given): (Option<&str>, Option<(&str, &'static str)>),
        line: &[u8],
        mode: ParseMode,
        batch: &mut Batch,
    ) -> Result<(), RecordError> {
        let Some(caller) = caller else {
            return self.prepare_limited((None, given), line, mode, batch);
        };
        // What has no id is taken before anything is made of it.
        let has_id = given.is_some() || memchr::memmem::find(line, b"\"id\"").is_some();
        if !has_id {
            self.log.limit_caller(caller)?;
            return self.prepare_limited((None, given), line, mode, batch);
        }
        let prepared = self.prepare_limited((Some(caller), given), line, mode, batch);
        if matches!(&prepared, Err(error) if !matches!(error, RecordError::RateLimited { .. })) {
            // Looking at it was work, too.
            self.log.limit_caller(caller)?;
        }
        prepared
    }

    fn prepare_limited(
        &self,
        (caller, given): (Option<&str>, Option<(&str, &'static str)>),
        line: &[u8],
        mode: ParseMode,
        batch: &mut Batch,
    ) -> Result<(), RecordError> {
        self.log.0.not_forked()?;
        let refuse = |error| self.log.refuse_event(None, error);
        let mut event = Event::from_json(line, mode).map_err(refuse)?;
        if let Some((id, by)) = given {
            if event.id_value().is_some_and(|own| own != id) {
                return Err(refuse(EventError::OtherId(by)));
            }
            event = event.id(id);
        }
        let limits = (self.exempt, caller);
        let id = self.log.encode(&mut event, &self.origin, limits, &mut batch.bytes)?;
        batch.encoded(event.timestamp_value(), id);
        Ok(())
    }

    /// Prepares an event that was read from a line, if there is nothing to say of it: it is not
    /// refused, not limited, and no control character in it is replaced. Returns whether the event is in the
    /// batch. Otherwise the batch is as it was and nothing is counted: whoever reads ahead hands
    /// the line to [`prepare`](Self::prepare) when its turn comes.
    #[doc(hidden)]
    pub fn prepare_ahead(&self, mut event: Event, batch: &mut Batch) -> bool {
        let log = &self.log;
        if !self.exempt || log.0.is_forked() {
            return false;
        }
        let limits = log.limits();
        let redacted =
            log.redactor().map_or(Ok(()), |redactor| redactor.apply(&mut event, &limits));
        if redacted.is_err() || !matches!(event.check(&limits), Ok(false)) {
            return false;
        }
        let id = log.append(&event, &self.origin, &mut batch.bytes);
        batch.encoded(event.timestamp_value(), id);
        true
    }

    /// How long until so many events of a source may come in, by the rate limit alone.
    #[must_use]
    pub fn wait_for(&self, source: &str, events: u64) -> Duration {
        let shared = &self.log.0.shared;
        if self.exempt {
            return Duration::ZERO;
        }
        shared.limiter.wait_of(self.origin.sender(), source, events, shared.boot_ms() * 1_000)
    }

    /// Refuses and counts a line of so many bytes, more than any may have, of which
    /// the caller did not keep so much.
    #[must_use]
    pub fn refuse_too_long(&self, actual: usize) -> RecordError {
        self.log.refuse_event(None, EventError::LineTooLong { actual })
    }

    /// Refuses and counts what a caller could make no event of.
    #[must_use]
    pub fn refuse(&self, error: EventError) -> RecordError {
        self.log.refuse_event(None, error)
    }

    /// Records one event, as [`AuditLog::record`].
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        self.log.record_as(event, &self.origin, self.exempt)
    }
}
