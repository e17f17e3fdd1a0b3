//! `certificate`: how long the one that the collector shows is still valid. Where
//! it speaks no HTTPS, there is no such check.

use std::time::Duration;

use crate::audit::state::status::Word;
use crate::clock::display_seconds;
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, since};

const NAME: &str = "certificate";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Option<Check> {
    // One that no collector shows any more matters to nobody.
    let page = facts.page().filter(|_| liveness.is_current())?;
    let expires = page.time(Word::TlsNotAfter)?;
    let left = since(facts.now, expires);
    let found = if left == Duration::ZERO {
        Some((Problem::CertificateExpired, Status::Critical))
    } else if left <= settings.health.certificate_critical {
        Some((Problem::CertificateEnding, Status::Critical))
    } else if left <= settings.health.certificate_warn {
        Some((Problem::CertificateEnding, Status::Warning))
    } else {
        None
    };
    let message = if left == Duration::ZERO {
        format!("expired {} ago: clients refuse it", age(since(expires, facts.now)))
    } else {
        format!("valid for {}, until {}", age(left), display_seconds(expires))
    };
    let check = Check::either(NAME, found, message)
        .metric("expiry_timestamp_seconds", expires.unix_seconds())
        .metric("seconds_left", left.as_secs());
    Some(if found.is_none() {
        check
    } else {
        check.hint(
            "install a new certificate (collector.tls_cert, collector.tls_key), and reload the \
             collector",
        )
    })
}
