//! Limits for those who show no valid token.

use std::time::Duration;

use super::caller::{Peer, source_of};
use crate::audit::RateLimit;
use crate::audit::write::rate_limit::{Decision, RateLimiter};
use crate::collector::Hub;
use crate::collector::reply::App;
use crate::collector::seats::network;

/// Requests without a valid token that an address may make.
const FAILURES: RateLimit = RateLimit { per_second: 1.0, burst: 10, max_sources: 10_000 };

/// Questions whether all is well, without a token, of an address.
const PROBES: RateLimit = RateLimit { per_second: 10.0, burst: 20, max_sources: 10_000 };

/// The page's files, without a token, of an address: a page is a dozen of them.
const FILES: RateLimit = RateLimit { per_second: 50.0, burst: 200, max_sources: 10_000 };

/// Messages about them to whoever runs the collector.
const TOLD: RateLimit = RateLimit { per_second: 0.2, burst: 20, max_sources: 1 };

/// Limits for those who show no valid token. Nothing of theirs is recorded in the
/// log: it is counted, and a security event.
#[derive(Debug)]
pub(in crate::collector) struct Strangers {
    pub(super) failures: RateLimiter,
    pub(super) probes: RateLimiter,
    pub(super) files: RateLimiter,
    told: RateLimiter,
}

impl Strangers {
    pub(in crate::collector) fn new() -> Self {
        Self {
            failures: RateLimiter::new(Some(FAILURES)),
            probes: RateLimiter::new(Some(PROBES)),
            files: RateLimiter::new(Some(FILES)),
            told: RateLimiter::new(Some(TOLD)),
        }
    }

    #[cfg(any(test, feature = "testing"))]
    /// Without limits: where nothing is about time.
    pub(in crate::collector) fn unlimited() -> Self {
        let none = || RateLimiter::new(None);
        Self { failures: none(), probes: none(), files: none(), told: none() }
    }

    /// Whether a message about one of them may be written now: they must not flood what
    /// the system keeps of this process's messages.
    pub(in crate::collector) fn may_be_told(&self, hub: &Hub) -> bool {
        limited(hub, &self.told, "").is_none()
    }
}

pub(super) fn limited_by_address(app: &App, limiter: &RateLimiter, peer: Peer) -> Option<Duration> {
    // Users of one machine are told apart where that is possible.
    let source = match peer.uid {
        Some(_) => source_of(peer),
        None => network(peer.ip).to_string(),
    };
    limited(&app.hub, limiter, &source)
}

pub(super) fn limited(hub: &Hub, limiter: &RateLimiter, source: &str) -> Option<Duration> {
    let clock = &hub.log.options().clock;
    match limiter.check(source, clock.boot_ms() * 1_000, clock.now()) {
        Decision::Allowed => None,
        Decision::Refused { retry_after } => Some(retry_after),
    }
}
