//! Shipping that goes on for as long as its process does: a thread of its own, which reads the log
//! beside the writer and never makes it wait.
//!
//! A pass is made every interval. Where one fails, the pauses grow to a minute, each drawn by
//! chance, so that many hosts do not come back at once; the log itself is the buffer meanwhile.
//! A pass ships everything that is signed, so catching up needs nothing of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::ArchiveError;
use super::layout::HostName;
use super::session::Session;
use super::ship::{Archiver, Cuts};
use super::status::ArchiveStatus;
use crate::audit::read::watch::{Stage, Watch};
use crate::clock::{Clock, Timestamp};
use crate::fsio::SharedFs;
use crate::store::{BackupStore, Pace, RealPace, Stop, StoreError};

/// The longest pause after a pass that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// While nothing is new, that all is shipped is noted so often.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// A last pass to a store that did not answer before gets no longer than this.
const NOT_LONG: Duration = Duration::from_secs(2);
/// So long is waited for a pass that was told to stop.
const TO_STOP: Duration = Duration::from_millis(500);

/// Opens the store: with the credentials of the process, and to end when that is asked.
pub type OpenStore = dyn Fn(Stop) -> Result<Arc<dyn BackupStore>, StoreError> + Send + Sync;

/// What to ship, and where to.
#[derive(Clone)]
pub struct Course {
    /// Opens the archive.
    pub open: Arc<OpenStore>,
    /// The archive's URL, as a position has it.
    pub destination: String,
    /// How often to look for something new.
    pub interval: Duration,
    /// The host, as it stands in the names of objects.
    pub host: HostName,
    /// When what is cut.
    pub cuts: Cuts,
}

impl std::fmt::Debug for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Course").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// What is told to whoever runs it, once for each change.
#[derive(Debug)]
pub enum ShippingNews<'a> {
    /// Passes fail now, or fail otherwise than before.
    Failing(&'a ArchiveError),
    /// They end well again.
    Recovered,
}

type Tell = dyn Fn(ShippingNews<'_>) + Send + Sync;

/// A log that is shipped in the background.
pub struct Shipping {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Shipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipping").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// `None`: nothing is shipped.
    course: Option<Course>,
    /// Counts the changes of it.
    version: u64,
    /// Ends a pass of this course that is at work.
    stop: Arc<AtomicBool>,
    ending: bool,
    failing: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shipping {
    /// Begins. Nothing is shipped without a course.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        (fs, clock): (SharedFs, Arc<dyn Clock>),
        log_dir: &std::path::Path,
        course: Option<Course>,
        tell: impl Fn(ShippingNews<'_>) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let state = State { course, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Worker {
            shared: Arc::clone(&shared),
            fs,
            clock,
            log_dir: log_dir.to_path_buf(),
            tell: Box::new(tell),
            pace: RealPace::default(),
            told: None,
        };
        let thread =
            std::thread::Builder::new().name("archive".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Goes on with another course, or with none, at once.
    pub fn change(&self, course: Option<Course>) {
        let mut state = self.shared.lock();
        state.course = course;
        state.version += 1;
        // A pass that hangs on the old store is not waited for.
        std::mem::take(&mut state.stop).store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    /// Makes one more pass, and ends: within `most`, whatever the store does. What it did not
    /// ship is shipped with the next start.
    pub fn end(&self, most: Duration) {
        let until = {
            let mut state = self.shared.lock();
            state.ending = true;
            self.shared.changed.notify_all();
            Instant::now() + if state.failing { most.min(NOT_LONG) } else { most }
        };
        if !self.ended_by(until) {
            self.shared.lock().stop.store(true, Ordering::Relaxed);
            self.shared.changed.notify_all();
            if !self.ended_by(Instant::now() + TO_STOP) {
                // What hangs is left behind; it holds nothing that others wait for.
                return;
            }
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn ended_by(&self, until: Instant) -> bool {
        let mut state = self.shared.lock();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ending = true;
        state.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.changed.notify_all();
    }
}

struct Worker {
    shared: Arc<Shared>,
    fs: SharedFs,
    clock: Arc<dyn Clock>,
    log_dir: std::path::PathBuf,
    tell: Box<Tell>,
    pace: RealPace,
    /// What was told last.
    told: Option<&'static str>,
}

/// Says that it has ended, also when it panics.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Worker {
    fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let thread = rustix::thread::gettid();
        // The writer and those who wait for it come first.
        let _ = rustix::process::setpriority_process(Some(thread), 10);
        loop {
            let (course, version, stop) = {
                let state = self.shared.lock();
                (state.course.clone(), state.version, Arc::clone(&state.stop))
            };
            match course {
                Some(course) => self.follow(&course, version, &stop),
                None => self.wait_for(version, None),
            }
            if self.is_ending() && self.shared.lock().version == version {
                return;
            }
        }
    }

    /// Ships until the course changes, or it is to end.
    fn follow(&mut self, course: &Course, version: u64, stop: &Arc<AtomicBool>) {
        let mut status = ArchiveStatus::begin(&*self.fs, &self.log_dir, &course.destination);
        let mut at_work: Option<(Archiver, Session)> = None;
        let mut noted = Instant::now();
        loop {
            let is_last = self.is_ending();
            let (began, began_at) = (self.clock.now(), Instant::now());
            let done = self.pass(course, &mut at_work, stop);
            if matches!(done, Err(ArchiveError::Interrupted))
                && self.shared.lock().version != version
            {
                return;
            }
            let news = match &done {
                Ok(shipped) => !shipped.objects.is_empty() || status.failures > 0,
                Err(_) => true,
            };
            status.ended(&done, began, self.clock.now());
            if news || is_last || noted.elapsed() >= NOTE_EVERY || status.at == Timestamp::default()
            {
                noted = Instant::now();
                if let Err(error) = status.store(&*self.fs, &self.log_dir) {
                    tracing::warn!("how the archive is cannot be noted: {error}");
                }
            }
            self.shared.lock().failing = status.failures > 0;
            self.tell_of(&done);
            if is_last {
                return;
            }
            let pause = match status.failures {
                0 => course.interval.saturating_sub(began_at.elapsed()),
                many => self.backoff(course.interval, many),
            };
            self.wait_for(version, Some(pause));
            if self.shared.lock().version != version {
                return;
            }
        }
    }

    fn pass(
        &self,
        course: &Course,
        at_work: &mut Option<(Archiver, Session)>,
        stop: &Arc<AtomicBool>,
    ) -> Result<super::ship::Shipped, ArchiveError> {
        if at_work.is_none() {
            let archiver = Archiver {
                fs: self.fs.clone(),
                clock: Arc::clone(&self.clock),
                store: (course.open)(Stop::when(Arc::clone(stop)))?,
                log_dir: self.log_dir.clone(),
                host: course.host.clone(),
                cuts: course.cuts,
            };
            let session = archiver.begin()?;
            *at_work = Some((archiver, session));
        }
        match at_work {
            Some((archiver, session)) => session.pass(archiver, &Until(stop)),
            None => Err(ArchiveError::Interrupted),
        }
    }

    fn tell_of(&mut self, done: &Result<super::ship::Shipped, ArchiveError>) {
        match done {
            Ok(_) if self.told.take().is_some() => (self.tell)(ShippingNews::Recovered),
            Ok(_) | Err(ArchiveError::Interrupted) => {}
            Err(error) if self.told != Some(error.kind()) => {
                self.told = Some(error.kind());
                (self.tell)(ShippingNews::Failing(error));
            }
            Err(_) => {}
        }
    }

    /// A pause between half of a bound that doubles and all of it.
    fn backoff(&self, interval: Duration, failures: u64) -> Duration {
        let doubled = 1_u32 << failures.saturating_sub(1).min(10);
        let bound = interval.saturating_mul(doubled).min(LONGEST_PAUSE.max(interval));
        bound / 2 + self.pace.jitter(bound / 2)
    }

    fn is_ending(&self) -> bool {
        self.shared.lock().ending
    }

    /// Waits until the course changes, it is to end, or so long.
    fn wait_for(&self, version: u64, most: Option<Duration>) {
        let until = most.map(|most| Instant::now() + most);
        let mut state = self.shared.lock();
        while state.version == version && !state.ending {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return,
                Some(left) => {
                    let waited = self.shared.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Interrupted once it is to stop.
struct Until<'a>(&'a AtomicBool);

impl Watch for Until<'_> {
    fn stage(&self, _: Stage, _: u64) {}
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
