//! Trying again: the one place where it is done. The providers' libraries are
//! told not to, so that attempts do not multiply.
//!
//! Waits are drawn from nothing to a bound that doubles ("full jitter", M. Brooker,
//! "Exponential Backoff And Jitter"), so that many hosts do not come back at the
//! same moment. What the store says about when to come back is heeded. What no
//! retry can mend (refused credentials, a missing bucket, a lock) ends at once.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::backup_store::{BackupStore, Reading};
use super::error::{StoreError, StoreErrorKind};
use super::listing::{Page, VersionsPage};
use super::object::{Object, Removed};
use super::pace::{Pace, RealPace};
use super::put::{Put, UploadState};
use super::stop::Stop;
use crate::clock::Timestamp;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The bound of the first wait. Default 250 ms.
    pub first_wait: Duration,
    /// The bound that waits grow to. Default 30 s.
    pub longest_wait: Duration,
    /// For how long to go on since anything last got through. Default 15 min.
    pub give_up_after: Duration,
    /// For how long to go on when nothing has ever been heard of the store: a wrong
    /// name or no network is more likely then than a passing trouble. Default 30 s.
    pub give_up_unheard: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            give_up_after: Duration::from_secs(900),
            give_up_unheard: Duration::from_secs(30),
        }
    }
}

/// A store that tries again what may succeed later.
#[derive(Debug)]
pub struct Retrying<S> {
    inner: Arc<S>,
    policy: RetryPolicy,
    pace: Arc<dyn Pace>,
    stop: Stop,
    heard: Arc<AtomicBool>,
}

impl<S: BackupStore> Retrying<S> {
    /// By the real clock.
    #[must_use]
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self::with_pace(inner, policy, Arc::new(RealPace::default()))
    }

    /// By another clock.
    #[must_use]
    pub fn with_pace(inner: S, policy: RetryPolicy, pace: Arc<dyn Pace>) -> Self {
        let (stop, heard) = (Stop::default(), Arc::default());
        Self { inner: Arc::new(inner), policy, pace, stop, heard }
    }

    /// No further attempt once it is to stop.
    #[must_use]
    pub fn stopping(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    fn patience(&self) -> Patience {
        Patience {
            policy: self.policy,
            since: self.pace.elapsed(),
            attempts: 0,
            pace: Arc::clone(&self.pace),
            stop: self.stop.clone(),
            heard: Arc::clone(&self.heard),
        }
    }

    fn repeat<T>(
        &self,
        mut operation: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut patience = self.patience();
        loop {
            match operation() {
                Err(error) => patience.wait(error, &|| false)?,
                done => {
                    patience.renew();
                    return done;
                }
            }
        }
    }
}

/// How often was tried, and how long it may go on.
#[derive(Debug)]
struct Patience {
    policy: RetryPolicy,
    since: Duration,
    attempts: u32,
    pace: Arc<dyn Pace>,
    stop: Stop,
    heard: Arc<AtomicBool>,
}

impl Patience {
    /// Something got through: from here on it counts anew.
    fn renew(&mut self) {
        self.since = self.pace.elapsed();
        self.attempts = 0;
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Waits before the next attempt, or gives the error back.
    fn wait(&mut self, error: StoreError, stop: &dyn Fn() -> bool) -> Result<(), StoreError> {
        if !error.retryable {
            return Err(error);
        }
        let doubled = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let bound = self.policy.first_wait.saturating_mul(doubled).min(self.policy.longest_wait);
        let wait = self.pace.jitter(bound).max(error.retry_after.unwrap_or_default());
        self.attempts += 1;
        if was_heard(error.kind) {
            self.heard.store(true, Ordering::Relaxed);
        }
        let give_up_after = if self.heard.load(Ordering::Relaxed) {
            self.policy.give_up_after
        } else {
            self.policy.give_up_unheard.min(self.policy.give_up_after)
        };
        let spent = self.pace.elapsed().saturating_sub(self.since);
        if spent.saturating_add(wait) > give_up_after {
            let mut error = error;
            error.message = format!("{}; given up after {} attempts", error.message, self.attempts);
            return Err(error);
        }
        tracing::info!(%error, wait_ms = wait.as_millis() as u64, "tried again after a while");
        if self.pace.wait(wait, &|| stop() || self.stop.asked()) {
            return Ok(());
        }
        let StoreError { url, message, .. } = &error;
        let message = format!("interrupted while waiting to try again; before: {message}");
        Err(StoreError::new(StoreErrorKind::Interrupted, url.clone(), message))
    }
}

/// Whether the store itself has spoken. Who has no credentials, or none that can be got
/// now, has not asked it anything yet.
fn was_heard(kind: StoreErrorKind) -> bool {
    use StoreErrorKind::{NoCredentials, Timeout, Unreachable};
    !matches!(kind, Unreachable | Timeout | NoCredentials)
}

impl<S: BackupStore + 'static> BackupStore for Retrying<S> {
    fn url(&self, name: &str) -> String {
        self.inner.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        self.inner.endpoint()
    }

    /// Each page by itself: what was seen before is not asked for again.
    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.repeat(|| self.inner.page(below, after))
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.repeat(|| self.inner.now())
    }

    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        self.repeat(|| self.inner.versions_page(below, after))
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        self.repeat(|| self.inner.stat_version(name, version))
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        // The length tells a body that ended early from one that is complete; the
        // version keeps a resumed one from going on in another object.
        let Some(object) = self.stat_version(name, version)? else {
            let url = self.inner.url(name);
            return Err(StoreError::new(StoreErrorKind::NotFound, url, "there is no such object"));
        };
        let version = version.map(str::to_owned).or(object.version);
        let mut reader = ResumingReader {
            store: Arc::clone(&self.inner),
            name: name.to_owned(),
            version,
            at: from.min(object.size),
            end: object.size,
            body: None,
            patience: self.patience(),
            since_renewed: 0,
        };
        reader.connect()?;
        Ok(Box::new(reader))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        let Put { body, content_type, metadata, lock, resume, mut on_state, .. } = put;
        let (on_progress, interrupted) = (put.on_progress, put.interrupted);
        let looks_first = put.looks_first;
        let mut patience = self.patience();
        let mut reached: Option<UploadState> = resume;
        let mut progress = UploadProgress::default();
        loop {
            let before = reached.as_ref().map_or(0, |state| state.stored);
            let resume = reached.clone();
            let mut keep = |state: &UploadState| {
                reached = Some(state.clone());
                if let Some(tell) = on_state.as_mut() {
                    tell(state);
                }
            };
            let attempt = Put {
                body,
                content_type,
                metadata: metadata.clone(),
                lock,
                resume,
                on_state: Some(&mut keep),
                on_progress,
                interrupted,
                looks_first,
            };
            let stop = || interrupted.is_some_and(|asked| asked());
            match self.inner.put_new(name, attempt) {
                Err(error) => {
                    let stored = reached.as_ref().map_or(0, |state| state.stored);
                    if progress.is_some(before, stored) {
                        patience.renew();
                    }
                    patience.wait(error, &stop)?;
                }
                done => return done,
            }
        }
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        self.repeat(|| self.inner.remove(name, version))
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.repeat(|| self.inner.abort_stale_uploads(older_than))
    }
}

/// Whether an upload gets on. What a store says of that need not be true: who says less
/// each time than the time before could go on for ever.
#[derive(Debug, Default)]
struct UploadProgress {
    furthest: u64,
    regained: u32,
}

impl UploadProgress {
    /// How often it may come to where it had been before, when a store forgot.
    const MOST_REGAINED: u32 = 100;

    fn is_some(&mut self, before: u64, stored: u64) -> bool {
        if stored < before.saturating_add(PROGRESS_BYTES) {
            return false;
        }
        if stored >= self.furthest.saturating_add(PROGRESS_BYTES) {
            self.furthest = stored;
            return true;
        }
        self.regained += 1;
        self.regained <= Self::MOST_REGAINED
    }
}

/// A body that goes on where it broke off.
struct ResumingReader<S> {
    store: Arc<S>,
    name: String,
    version: Option<String>,
    at: u64,
    end: u64,
    body: Option<Reading>,
    patience: Patience,
    since_renewed: u64,
}

/// What has to get through before it counts anew: one byte an hour is no progress.
const PROGRESS_BYTES: u64 = 64 << 10;

impl<S: BackupStore> ResumingReader<S> {
    fn connect(&mut self) -> Result<(), StoreError> {
        while self.body.is_none() && self.at < self.end {
            match self.store.open(&self.name, self.version.as_deref(), self.at) {
                Ok(body) => self.body = Some(body),
                Err(error) => self.patience.wait(error, &|| false)?,
            }
        }
        Ok(())
    }

    /// What the store itself did not find worth a [`StoreError`] is a broken connection.
    fn broken(&self, error: io::Error) -> StoreError {
        match error.downcast::<StoreError>() {
            Ok(error) => error,
            Err(error) => {
                let url = self.store.url(&self.name);
                let message = format!("broke off after {} of {} bytes", self.at, self.end);
                StoreError::new(StoreErrorKind::Unreachable, url, message)
                    .caused_by(&error)
                    .retryable()
            }
        }
    }
}

impl<S: BackupStore> Read for ResumingReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at < self.end && !buffer.is_empty() {
            self.connect()?;
            let Some(body) = self.body.as_mut() else { break };
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let length = buffer.len().min(left);
            match body.read(&mut buffer[..length]) {
                Ok(0) => {
                    self.body = None;
                    let early = self.broken(io::ErrorKind::UnexpectedEof.into());
                    self.patience.wait(early, &|| false)?;
                }
                Ok(read) => {
                    self.at += read as u64;
                    self.since_renewed += read as u64;
                    if self.since_renewed >= PROGRESS_BYTES {
                        self.since_renewed = 0;
                        self.patience.renew();
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.body = None;
                    let broken = self.broken(error);
                    self.patience.wait(broken, &|| false)?;
                }
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
