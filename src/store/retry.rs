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

use super::backup_store::BackupStore;
use super::error::{StoreError, StoreErrorKind};
use super::listing::Page;
use super::object::{Object, Removed};
use super::pace::{Pace, RealPace};
use super::put::{Put, UploadState};
use super::stop::Stop;

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

    /// Each page by itself: what was seen before is not asked for again.
    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.repeat(|| self.inner.page(below, after))
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        self.repeat(|| self.inner.stat_version(name, version))
    }

    fn open(
        &self,
        name: &str,
        version: Option<&str>,
        from: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
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
    body: Option<Box<dyn Read + Send>>,
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
mod tests {
    use super::super::fault::{Fault, FaultStore, Operation};
    use super::super::local::LocalStore;
    use super::super::pace::TestPace;
    use super::super::put::Body;
    use super::*;

    struct Bench {
        _dir: tempfile::TempDir,
        pace: Arc<TestPace>,
        faults: Arc<FaultStore<LocalStore>>,
        store: Retrying<Arc<FaultStore<LocalStore>>>,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Arc::new(FaultStore::new(LocalStore::new(dir.path())));
        let pace = Arc::new(TestPace::default());
        let policy = RetryPolicy {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
            give_up_unheard: Duration::from_secs(20),
        };
        let store = Retrying::with_pace(Arc::clone(&faults), policy, pace.clone());
        Bench { _dir: dir, pace, faults, store }
    }

    fn put<'a>(bytes: &'a [u8]) -> Put<'a> {
        Put::new(Body::Bytes(bytes), "application/gzip")
    }

    fn seconds(pace: &TestPace) -> Vec<u64> {
        pace.waits().iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn the_bound_of_the_waits_doubles_up_to_the_longest() {
        let bench = bench();
        for _ in 0..5 {
            bench.faults.next(Operation::List, Fault::Unreachable);
        }
        assert_eq!(bench.store.list().expect("a list"), []);
        assert_eq!(seconds(&bench.pace), [1, 2, 4, 5, 5]);
    }

    #[test]
    fn what_the_store_says_about_when_to_come_back_is_heeded() {
        let bench = bench();
        bench.faults.next(Operation::Put, Fault::Busy(Duration::from_secs(40)));
        bench.store.put_new("a", put(b"a")).expect("put");
        assert_eq!(seconds(&bench.pace), [40]);
    }

    #[test]
    fn what_no_retry_can_mend_ends_at_once() {
        let bench = bench();
        bench.faults.next(Operation::Put, Fault::Denied);
        let error = bench.store.put_new("a", put(b"a")).expect_err("denied");
        assert_eq!(error.kind, StoreErrorKind::AccessDenied);
        assert_eq!(bench.faults.calls(Operation::Put), 1);
        assert_eq!(seconds(&bench.pace), [] as [u64; 0]);
    }

    #[test]
    fn a_put_whose_answer_was_lost_is_found_to_be_done() {
        let bench = bench();
        bench.faults.next(Operation::Put, Fault::AnswerLost);
        let object = bench.store.put_new("a", put(b"content")).expect("put");
        assert_eq!(object.size, 7);
        assert_eq!(bench.faults.calls(Operation::Put), 2);
        assert_eq!(bench.store.list().expect("a list").len(), 1);
    }

    #[test]
    fn a_removal_whose_answer_was_lost_is_found_to_be_done() {
        let bench = bench();
        bench.store.put_new("a", put(b"a")).expect("put");
        bench.faults.next(Operation::Remove, Fault::AnswerLost);
        assert_eq!(bench.store.remove("a", None).expect("removed"), Removed::Gone);
        assert_eq!(bench.faults.calls(Operation::Remove), 2);
    }

    #[test]
    fn a_store_that_was_never_heard_of_is_given_up_sooner_than_one_that_was() {
        for (heard, longest) in [(false, 20), (true, 60)] {
            let bench = bench();
            if heard {
                bench.store.list().expect("a list");
            }
            for _ in 0..100 {
                bench.faults.next(Operation::List, Fault::Unreachable);
            }
            let error = bench.store.list().expect_err("given up");
            assert_eq!(error.kind, StoreErrorKind::Unreachable);
            assert!(error.message.contains("given up after"), "{}", error.message);
            let waited: u64 = seconds(&bench.pace).iter().sum();
            assert!(waited <= longest && waited > longest - 6, "{waited} s of {longest} s");
        }
    }

    #[test]
    fn credentials_that_cannot_be_got_are_given_up_like_a_store_that_was_never_heard_of() {
        let bench = bench();
        for _ in 0..100 {
            bench.faults.next(Operation::List, Fault::NoCredentials);
        }
        let error = bench.store.list().expect_err("given up");
        assert_eq!(error.kind, StoreErrorKind::NoCredentials);
        let waited: u64 = seconds(&bench.pace).iter().sum();
        assert!(waited <= 20, "{waited} s");
    }

    #[test]
    fn an_upload_that_goes_to_and_fro_is_no_progress_for_ever() {
        let mut progress = UploadProgress::default();
        let renewals = (0..1_000).filter(|_| progress.is_some(0, 1 << 20)).count();
        assert_eq!(renewals, 101);
        assert!(!progress.is_some(1 << 20, (1 << 20) + 1), "a byte is none");
        assert!(progress.is_some(1 << 20, 2 << 20), "further than ever is some");
    }

    #[test]
    fn a_body_of_which_a_byte_comes_now_and_then_is_given_up() {
        let bench = bench();
        let bytes = vec![7; 1_000];
        bench.store.put_new("a", put(&bytes)).expect("put");
        for _ in 0..bytes.len() {
            bench.faults.next(Operation::Open, Fault::CutAfter(1));
        }
        let mut body = bench.store.open("a", None, 0).expect("opened");
        body.read_to_end(&mut Vec::new()).expect_err("no progress");
        assert!(bench.faults.calls(Operation::Open) < 100);
    }

    #[test]
    fn every_wait_ends_when_it_is_to_stop() {
        type Call = fn(&dyn BackupStore) -> Result<(), StoreError>;
        let calls: [(Operation, Call); 4] = [
            (Operation::List, |store| store.list().map(drop)),
            (Operation::Stat, |store| store.stat("a").map(drop)),
            (Operation::Remove, |store| store.remove("a", None).map(drop)),
            (Operation::Abort, |store| store.abort_stale_uploads(Duration::ZERO).map(drop)),
        ];
        for (operation, call) in calls {
            let bench = bench();
            let flag = Arc::new(AtomicBool::new(true));
            let store = bench.store.stopping(Stop::when(Arc::clone(&flag)));
            bench.faults.next(operation, Fault::Unreachable);
            let error = call(&store).expect_err("stopped");
            assert_eq!(error.kind, StoreErrorKind::Interrupted, "{operation:?}");
            assert_eq!(bench.faults.calls(operation), 1, "{operation:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_goes_on_where_it_was_however_it_was_cut() {
        for fault in [Fault::CutAfter(10), Fault::EndsAfter(10), Fault::CutAfter(0)] {
            let bench = bench();
            let bytes: Vec<u8> = (0..100).collect();
            bench.store.put_new("a", put(&bytes)).expect("put");
            bench.faults.next(Operation::Open, fault);
            bench.faults.next(Operation::Open, Fault::Unreachable);
            bench.faults.next(Operation::Open, fault);
            let mut read = Vec::new();
            let mut body = bench.store.open("a", None, 5).expect("opened");
            body.read_to_end(&mut read).expect("read");
            assert_eq!(read, bytes[5..], "{fault:?}");
            assert!(bench.faults.calls(Operation::Open) >= 3, "{fault:?}");
        }
    }

    #[test]
    fn a_wait_ends_when_it_is_to_stop() {
        let bench = bench();
        bench.faults.next(Operation::Put, Fault::Unreachable);
        let wanted = Put { interrupted: Some(&|| true), ..put(b"a") };
        let error = bench.store.put_new("a", wanted).expect_err("stopped");
        assert_eq!(error.kind, StoreErrorKind::Interrupted);
        assert_eq!(bench.store.stat("a").expect("a look"), None);
    }

    #[test]
    fn the_real_jitter_is_between_nothing_and_the_bound() {
        let pace = RealPace::default();
        let bound = Duration::from_secs(8);
        let drawn: Vec<Duration> = (0..64).map(|_| pace.jitter(bound)).collect();
        assert!(drawn.iter().all(|wait| *wait <= bound));
        assert!(drawn.iter().any(|wait| *wait < bound / 2));
        assert!(drawn.iter().any(|wait| *wait > bound / 2));
    }
}
