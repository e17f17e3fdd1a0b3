//! How the page gets from memory into its file, and that it stays there.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Activity, Changed, Published, StatusPage, Word, aside, encode, locked};
use crate::audit::state::trouble::Trouble;

/// Changes are published so often, the first one after a pause at once.
pub(crate) const EVERY: Duration = Duration::from_millis(10);
/// The file is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The page's file was not what was written, and has been put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What had been done to it.
    pub changed: Changed,
}

/// The publisher's thread; ends, after a last publication, when it is dropped.
#[derive(Debug)]
pub(crate) struct Publisher {
    page: Arc<StatusPage>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. The file is put back only while `at_home` says that the
    /// directory is the log's own: what stands in its place has a page of its own.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn start(
        page: &Arc<StatusPage>,
        at_home: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let body = Arc::clone(page);
        let thread = std::thread::Builder::new()
            .name("audit-status".to_owned())
            .spawn(move || body.run_publisher(&at_home))?;
        Ok(Self { page: Arc::clone(page), thread: Some(thread) })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.page.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been printed; the page stays as it was.
            let _ = thread.join();
        }
    }
}

impl StatusPage {
    /// Overwrites the file with the page as it is now. What cannot be written now is
    /// published later; nobody waits for it.
    pub fn publish(&self) {
        let mut published = locked(&self.file);
        self.publish_into(&mut published);
    }

    /// The same unless nothing has changed since.
    pub(crate) fn publish_changes(&self) {
        let mut published = locked(&self.file);
        if !self.is_published(&published) {
            self.publish_into(&mut published);
        }
    }

    /// Publishes that the writer is about to do what may hang, unless the file says so from a moment ago:
    /// one that syncs again and again has the page of the sync before.
    pub(crate) fn publish_activity(&self, activity: Activity, boot_ms: u64) {
        let mut published = locked(&self.file);
        let since = published.words[Word::ActivitySinceBootMs as usize];
        let is_said = published.words[Word::Activity as usize] == activity as u64
            && boot_ms.saturating_sub(since) < LOOK_EVERY.as_millis() as u64;
        if !is_said || published.failing {
            self.publish_into(&mut published);
        }
    }

    /// The same unless that a record was accepted has been published: were this
    /// process killed, the next one knows that it is missing.
    pub(crate) fn publish_accepted(&self, seq: u64) {
        if self.published_seq.load(Ordering::Acquire) <= seq {
            let mut published = locked(&self.file);
            if self.published_seq.load(Ordering::Acquire) <= seq {
                self.publish_into(&mut published);
            }
        }
    }

    fn publish_into(&self, published: &mut Published) {
        let mut words = self.copy();
        words[Word::Published as usize] = published.words[Word::Published as usize];
        let written = published.file.write(&encode(&mut words));
        if written.is_ok() {
            self.published_seq.store(words[Word::NextSeq as usize], Ordering::Release);
        }
        published.words = words;
        if let Ok(Some(changed)) = written {
            self.remember(changed);
        }
        self.say(&mut published.failing, written.map(drop));
    }

    /// Says once that the page cannot be written or put back, and once that it can
    /// be again.
    fn say(&self, failing: &mut bool, result: std::io::Result<()>) {
        let failed = result.is_err();
        let before = std::mem::replace(failing, failed);
        match result {
            Ok(()) if before => tracing::info!("the status page is written again"),
            Err(error) if !before => {
                let (code, path) = (Trouble::StatusPage.code(), self.path.display());
                tracing::warn!(code, %path, %error, "the status page cannot be written; health sees an old one");
            }
            _ => {}
        }
    }

    fn remember(&self, changed: Changed) {
        let (mut incidents, new) = (locked(&self.incidents), Incident { changed });
        // Who does it again and again fills no log with it.
        if !incidents.contains(&new) {
            incidents.push(new);
        }
    }

    /// Something changed: the publisher is woken if it sleeps.
    pub(super) fn changed(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(publisher) = self.publisher.get()
        {
            publisher.unpark();
        }
    }

    fn is_published(&self, published: &Published) -> bool {
        let now = self.copy();
        // The first and the last two are the publication's own.
        let own = [Word::Published as usize, Word::Checksum as usize];
        let mut pairs = now.iter().zip(published.words.iter()).enumerate();
        !published.failing && pairs.all(|(index, (now, then))| now == then || own.contains(&index))
    }

    /// The publisher's body.
    fn run_publisher(&self, at_home: &dyn Fn() -> bool) {
        self.publisher.get_or_init(std::thread::current);
        let mut looked = Instant::now();
        while !self.ended.load(Ordering::SeqCst) {
            self.publish_changes();
            if looked.elapsed() >= LOOK_EVERY {
                if at_home() {
                    self.look_after_file();
                }
                looked = Instant::now();
            }
            self.pause();
            self.asleep.store(true, Ordering::SeqCst);
            // What changed before it was told to wake is seen here.
            fence(Ordering::SeqCst);
            // The wish to end may have woken the pause, and wakes nothing twice.
            let ended = self.ended.load(Ordering::SeqCst);
            if !ended && self.is_published(&locked(&self.file)) {
                std::thread::park_timeout(LOOK_EVERY);
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
        self.publish();
    }

    fn pause(&self) {
        let until = Instant::now() + EVERY;
        while !self.ended.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Puts the file back if it is not there, or not what was written.
    pub fn look_after_file(&self) {
        let mut published = locked(&self.file);
        let changed = match published.file.look() {
            Ok(None) => return published.homeless = false,
            // After a failed write that is nobody's doing.
            Ok(Some(Changed::Altered | Changed::Resized)) if published.failing => return,
            Ok(Some(changed)) => changed,
            Err(error) => return self.say(&mut published.homeless, Err(error)),
        };
        let put_back = published.file.put_back(changed, &aside(&self.path));
        let done = put_back.is_ok();
        self.say(&mut published.homeless, put_back);
        if done {
            self.remember(changed);
        }
    }

    /// What has been done to the file since this was last asked, each kind once.
    pub fn take_incidents(&self) -> Vec<Incident> {
        std::mem::take(&mut *locked(&self.incidents))
    }
}
