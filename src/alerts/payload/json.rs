//! The JSON body, and the signature over it.

use hmac::{Hmac, Mac};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use super::Sender;
use crate::alerts::occurrence::{Errors, HealthChange, Occurrence, Suppressed};
use crate::clock::Timestamp;
use crate::units::hex;

/// The body's version; see docs/alerts.md.
pub(crate) const VERSION: u32 = 1;
/// The header with the signature.
pub(crate) const SIGNATURE_HEADER: &str = "auditctl-signature";
/// The header with the id.
pub(crate) const ID_HEADER: &str = "auditctl-id";

#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    id: &'a str,
    alert: &'a str,
    trigger: &'a str,
    test: bool,
    at: Timestamp,
    host: &'a str,
    log_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    record_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Errors>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a HealthChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<Suppressed>,
}

/// The body.
pub(in crate::alerts) fn body(occurrence: &Occurrence, sender: &Sender) -> Vec<u8> {
    let body = Body {
        version: VERSION,
        id: &occurrence.id,
        alert: &occurrence.alert,
        trigger: &occurrence.trigger,
        test: occurrence.trigger == "test",
        at: occurrence.at,
        host: &sender.host,
        log_id: &sender.log_id,
        record: occurrence.record.as_deref(),
        record_cut: occurrence.record_cut,
        errors: occurrence.errors,
        health: occurrence.health.as_ref(),
        suppressed: occurrence.suppressed,
    };
    // Plain structs of numbers and strings always serialize.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over the id, the time and the body, the
/// first two each ended by a line feed. Neither can hold one, so that no other three
/// give the same bytes.
pub(in crate::alerts) fn signature(
    secret: &[u8],
    (id, unix_seconds): (&str, i64),
    body: &[u8],
) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{id}\n{unix_seconds}\n").as_bytes());
    mac.update(body);
    format!("t={unix_seconds},v1={}", hex(&mac.finalize().into_bytes()))
}
