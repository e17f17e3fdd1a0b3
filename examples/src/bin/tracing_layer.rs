//! Audit events by `tracing`: what is sent to the target `audit` is recorded in the log, and
//! the macro returns once it is on disk.
//!
//! | field | becomes |
//! |---|---|
//! | `event_type`, `actor`, `source`, `target`, `outcome` | the event's field; without `event_type` the message is its type |
//! | any other, and the message | a member of `details` |
//!
//! A subscriber cannot refuse an event, so the layer does: it waits as long as a refusal passes,
//! and what can never be recorded is handed to a function that the service gives.

use std::error::Error;
use std::fmt;
use std::sync::mpsc;
use std::thread;

use auditctl::query::Found;
use auditctl::{AuditLog, Event, Options, RecordError};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The target of what is recorded.
const TARGET: &str = "audit";

/// What could not be recorded.
#[derive(Debug)]
struct Lost {
    fields: Map<String, Value>,
    error: RecordError,
}

/// Records what is sent to the target `audit`, and passes all else by.
struct AuditLayer {
    log: AuditLog,
    lost: Box<dyn Fn(Lost) + Send + Sync>,
}

impl AuditLayer {
    /// `lost` is called for every event that is not confirmed: an invalid one, or the log is
    /// closed or its writer failed. It has to tell somebody, or to end the service. After
    /// [`RecordError::Unavailable`] the event may still be recorded, so do not send it again.
    fn new(log: AuditLog, lost: impl Fn(Lost) + Send + Sync + 'static) -> Self {
        Self { log, lost: Box::new(lost) }
    }

    fn record(&self, event: &Event) -> Result<u64, RecordError> {
        loop {
            match self.log.record(event.clone()) {
                // On its way: the writer keeps it and tries again. The error that this can end
                // with says so, and it must not be sent a second time.
                Ok(receipt) => return receipt.wait(),
                Err(refused) => match refused.retry_after() {
                    Some(pause) => thread::sleep(pause),
                    None => return Err(refused),
                },
            }
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for AuditLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // Not those of the log itself: they would come back here for ever.
        if event.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let recorded = fields.to_event().and_then(|event| self.record(&event));
        if let Err(error) = recorded {
            (self.lost)(Lost { fields: fields.0, error });
        }
    }
}

/// The fields of an event, as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn to_event(&self) -> Result<Event, RecordError> {
        let mut details = self.0.clone();
        let mut text = |name: &str| match details.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
            None => None,
        };
        let kind = text("event_type").or_else(|| text("message")).unwrap_or_default();
        let mut event = Event::new(kind);
        if let Some(actor) = text("actor") {
            event = event.actor(actor);
        }
        if let Some(source) = text("source") {
            event = event.source(source);
        }
        if let Some(target) = text("target") {
            event = event.target(target);
        }
        if let Some(outcome) = text("outcome") {
            event = event.outcome(outcome);
        }
        if details.is_empty() { Ok(event) } else { Ok(event.details(&details)?) }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into()); // no number: null
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let log = AuditLog::open(Options::new(place.path().join("logs")))?;
    let (tell, told) = mpsc::channel();
    let layer = AuditLayer::new(log.clone(), move |lost| {
        eprintln!("not confirmed: {}: {}", lost.error, Value::Object(lost.fields.clone()));
        tell.send(lost).expect("main listens");
    });
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    tracing::info!(target: "audit", event_type = "login", actor = "alice", outcome = "success");
    tracing::info!(target: "audit", actor = "bob", amount = 4_710, "payment");
    tracing::info!("not of the audit trail");
    // More than a source may send: the layer waits, and all of them are recorded.
    for number in 0..220 {
        tracing::info!(target: "audit", number, event_type = "tick", source = "clock");
    }
    // This can never be recorded, and does not go unnoticed.
    tracing::warn!(target: "audit", event_type = "audit.forged");
    let lost = told.try_recv()?;
    assert_eq!(lost.error.kind(), "invalid", "{lost:?}");

    let mut request = auditctl::query::Request::default();
    request.count = true;
    request.event_type = ["login", "payment", "tick"].map(str::to_owned).to_vec();
    let answer = log.query(&request.resolve(auditctl::Timestamp::now())?)?;
    assert_eq!(answer.found, Found::Count(222));
    log.close()?;
    println!("222 events by tracing, and one that was refused and told");
    Ok(())
}
