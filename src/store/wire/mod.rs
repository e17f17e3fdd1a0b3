//! What the clouds share: one runtime, bodies that stream from a file, and an
//! eye on whether anything still moves.

mod body;
mod bounded;
mod date;
mod download;
mod place;
mod throttle;

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

pub(crate) use body::{Meter, PartBody};
pub(crate) use bounded::{Bound, TooMuch};
pub(crate) use date::http_date;
pub(crate) use download::Download;
pub(crate) use place::Place;
pub(crate) use throttle::Throttle;

use super::error::{StoreError, StoreErrorKind};
use super::limits::Limits;
use super::put::Put;
use super::stop::Stop;

/// How much longer the end of an upload may take, when a provider puts
/// thousands of parts together before it answers.
const FINISHING: u32 = 5;

/// The runtime of all stores, made when the first one is used.
pub(crate) fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_name("store").enable_all().build();
    let runtime = runtime.map_err(|error| {
        let message = "cannot start the threads that talk to it";
        StoreError::new(StoreErrorKind::Other, "the network", message).caused_by(&error)
    })?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a request to its answer; nothing for as long as nothing may move is an error.
pub(crate) fn request<T>(
    url: &str,
    limits: &Limits,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answer = waited(url, limits.stall_timeout, &limits.stop, work)?;
    answer.unwrap_or_else(|| Err(stalled(url, limits.stall_timeout)))
}

/// Waits for something so long; none if it has not come by then.
///
/// # Errors
/// It is to stop.
fn waited<T>(
    url: &str,
    patience: Duration,
    stop: &Stop,
    work: impl Future<Output = T>,
) -> Result<Option<T>, StoreError> {
    let until = Instant::now() + patience;
    runtime()?.block_on(async {
        let mut work = pin!(work);
        loop {
            if stop.asked() {
                return Err(interrupted(url));
            }
            let left = until.saturating_duration_since(Instant::now());
            if let Ok(done) = tokio::time::timeout(left.min(LOOK), &mut work).await {
                return Ok(Some(done));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    })
}

fn interrupted(url: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Interrupted, url, "interrupted")
}

pub(crate) fn stalled(url: &str, stall: Duration) -> StoreError {
    let message = format!("nothing moved for {} s", stall.as_secs());
    StoreError::new(StoreErrorKind::Timeout, url, message)
        .hint("check the network between here and the store")
        .retryable()
}

/// Who follows an upload, apart from the [`Put`] that the upload itself uses.
#[derive(Clone, Copy)]
pub(crate) struct Watcher<'a> {
    on_progress: Option<&'a dyn Fn(u64)>,
    interrupted: Option<&'a dyn Fn() -> bool>,
}

impl<'a> Watcher<'a> {
    pub(crate) fn of(put: &Put<'a>) -> Self {
        Self { on_progress: put.on_progress, interrupted: put.interrupted }
    }

    /// Runs an upload: tells how far it is, stops it when it is to stop or when
    /// nothing moves any more. A dropped upload keeps what the store has.
    pub(crate) fn attend<T>(
        self,
        url: &str,
        limits: &Limits,
        meter: &Meter,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stall = limits.stall_timeout;
        let tell = || {
            if let Some(tell) = self.on_progress {
                tell(meter.bytes());
            }
        };
        runtime()?.block_on(async {
            let mut work = pin!(work);
            let (mut seen, mut since) = (meter.signs_of_life(), Instant::now());
            loop {
                if let Ok(result) = tokio::time::timeout(LOOK, &mut work).await {
                    tell();
                    return result;
                }
                tell();
                if limits.stop.asked() || self.interrupted.is_some_and(|asked| asked()) {
                    return Err(interrupted(url));
                }
                let now = meter.signs_of_life();
                if now != seen {
                    (seen, since) = (now, Instant::now());
                }
                let patience = if meter.is_finishing() { stall * FINISHING } else { stall };
                if since.elapsed() >= patience {
                    return Err(stalled(url, patience));
                }
            }
        })
    }
}

/// A client for HTTP that follows no redirects, unpacks nothing, and leaves it to
/// us to say what is too slow.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) fn http_client(url: &str, limits: &Limits) -> Result<reqwest::Client, StoreError> {
    reqwest::Client::builder()
        .connect_timeout(limits.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("auditctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            let message = "a connection cannot be prepared";
            StoreError::new(StoreErrorKind::Other, url, message).caused_by(&error)
        })
}

/// Whether an answer begins where it was asked to: `bytes FROM-…`.
///
/// # Errors
/// It begins elsewhere, or is not a part at all.
#[cfg(any(feature = "s3", feature = "gcs"))]
pub(crate) fn begins_at(url: &str, range: Option<&str>, from: u64) -> Result<(), StoreError> {
    let first = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next());
    if first.and_then(|first| first.trim().parse().ok()) == Some(from) {
        return Ok(());
    }
    let message = format!("the store ignores ranges: it was asked for the bytes from {from} on");
    Err(StoreError::new(StoreErrorKind::Unsupported, url, message)
        .hint("something between here and the store answers in its place; check the proxy"))
}

/// `Retry-After` in either of its forms.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    (at.to_utc() - chrono::Utc::now()).to_std().ok()
}

/// Whether a status says that the same request may succeed later.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|t| t.as_secs() > 1_000));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }
}
