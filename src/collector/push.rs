//! Checkpoints pushed out, because only a copy elsewhere reveals that a log was cut
//! off or put back. What is there already is compared with the log: a checkpoint of
//! this log that does not fit it is never written over.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pushed::{NotPushed, Pushed};
use super::warning::Warning;
use crate::audit::AuditLog;
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::state::status::Word;

/// Where checkpoints go, and how often.
#[derive(Clone, Debug)]
pub struct Push {
    /// A file, which is replaced; or a directory, where each becomes a file of its own
    /// that is never written again: `<log id>.<tree size, 20 digits>.checkpoint`.
    pub to: Option<PathBuf>,
    /// A web address.
    pub url: Option<PushUrl>,
    /// How often, when there is a new one.
    pub every: Duration,
}

/// Posts a checkpoint: the log, the delivery's id, the signed note. Says why not.
pub type PostCheckpoint = dyn Fn(&AuditLog, String, &str) -> Result<(), String> + Send + Sync;

/// A web address that checkpoints are posted to.
#[derive(Clone)]
pub struct PushUrl {
    /// Its host and port, for messages.
    pub shown: String,
    /// Posts.
    pub post: Arc<PostCheckpoint>,
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushUrl").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Pushes to each place; remembers what it has, and whether it fails.
pub(super) struct Pusher(Vec<Place>);

struct Place {
    to: To,
    pushed: String,
    failing: bool,
    /// The last contradiction that was told.
    told: Option<String>,
}

enum To {
    Path(Pushed),
    Url(PushUrl),
}

impl Pusher {
    pub(super) fn new(push: &Push) -> Self {
        let path = push.to.clone().map(|path| To::Path(Pushed::new(path)));
        let url = push.url.clone().map(To::Url);
        let place = |to| Place { to, pushed: String::new(), failing: false, told: None };
        Self(path.into_iter().chain(url).map(place).collect())
    }

    /// Pushes the newest checkpoint to where it is not yet. What is to be told, if
    /// anything: that it fails, once, and that it works again.
    pub(super) fn push(&mut self, log: &AuditLog) -> Vec<String> {
        let note = log.checkpoint();
        self.0.iter_mut().filter_map(|place| place.push(log, &note)).collect()
    }
}

impl Place {
    fn push(&mut self, log: &AuditLog, note: &str) -> Option<String> {
        if note == self.pushed || note.is_empty() {
            return None;
        }
        let (to, written) = match &mut self.to {
            To::Path(pushed) => {
                (pushed.path().display().to_string(), pushed.write(log, note, &self.pushed))
            }
            To::Url(url) => (url.shown.clone(), post(url, log, note).map_err(NotPushed::Failed)),
        };
        match written {
            Ok(()) => {
                note.clone_into(&mut self.pushed);
                let again = std::mem::take(&mut self.failing);
                again.then(|| format!("pushing checkpoints to {to} works again"))
            }
            Err(NotPushed::Failed(error)) => {
                log.page().add(Word::MaintenanceErrors, 1);
                let first = !std::mem::replace(&mut self.failing, true);
                first.then(|| {
                    let text = format!("cannot push the checkpoint to {to}: {error}");
                    Warning::NotPushed.says(&text)
                })
            }
            Err(NotPushed::Contradicted(found)) => {
                log.report_other_history(&found);
                let text = format!("the checkpoint is not pushed to {to}: {found}");
                let new = self.told.as_ref() != Some(&found.name);
                self.told = Some(found.name.clone());
                new.then(|| Warning::Contradicted.says(&text))
            }
        }
    }
}

fn post(url: &PushUrl, log: &AuditLog, note: &str) -> Result<(), String> {
    let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| error.to_string())?;
    let size = signed.unverified().size;
    (url.post)(log, format!("{}/checkpoint/{size}", log.log_id()), note)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::audit::{Event, Options};

    #[test]
    fn each_checkpoint_is_posted_once_and_again_until_it_was_taken() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = AuditLog::open(Options::new(directory.path().join("logs"))).expect("open");
        // What is posted, and whether the next is taken.
        let posted = Arc::new(Mutex::new((Vec::<String>::new(), true)));
        let seen = Arc::clone(&posted);
        let post: Arc<PostCheckpoint> = Arc::new(move |_, id, _| {
            let mut posted = seen.lock().expect("no test panicked");
            posted.0.push(id);
            posted.1.then_some(()).ok_or_else(|| "503".to_owned())
        });
        let url = PushUrl { shown: "example.com".to_owned(), post };
        let every = Duration::from_secs(300);
        let mut pusher = Pusher::new(&Push { to: None, url: Some(url), every });
        let count = || posted.lock().expect("no test panicked").0.len();
        let takes = |takes| posted.lock().expect("no test panicked").1 = takes;
        for _ in 0..3 {
            assert!(pusher.push(&log).is_empty());
            assert_eq!(count(), 1, "it is there");
        }
        takes(false);
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
        log.close().expect("closed");
        assert_eq!(pusher.push(&log).len(), 1, "that it fails is told");
        assert!(pusher.push(&log).is_empty(), "once");
        takes(true);
        assert_eq!(pusher.push(&log).len(), 1, "and that it works again");
        assert!(pusher.push(&log).is_empty());
        assert_eq!(count(), 4);
        let ids = posted.lock().expect("no test panicked").0.clone();
        assert!(ids[0] != ids[1] && ids[1] == ids[2] && ids[2] == ids[3], "{ids:?}");
    }
    #[test]
    fn beside_a_checkpoint_of_another_history_of_the_log_none_of_this_one_is_put() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| directory.path().join(name);
        let record = |name: &str, events: &[&str]| {
            let log = AuditLog::open(Options::new(at(name))).expect("open");
            for event in events {
                log.record(Event::new(*event)).expect("accepted").wait().expect("durable");
            }
            log.close().expect("closed");
            log
        };
        record("logs", &["e"]);
        std::fs::create_dir(at("copy")).expect("made");
        std::fs::create_dir(at("elsewhere")).expect("made");
        for entry in std::fs::read_dir(at("logs")).expect("listed") {
            let name = entry.expect("an entry").file_name();
            std::fs::copy(at("logs").join(&name), at("copy").join(&name)).expect("copied");
        }
        let push = |log: &AuditLog| {
            let (to, every) = (Some(at("elsewhere")), Duration::from_secs(300));
            Pusher::new(&Push { to, url: None, every }).push(log)
        };
        let count = || std::fs::read_dir(at("elsewhere")).expect("listed").count();
        assert!(push(&record("copy", &["of the copy"])).is_empty());
        assert_eq!(count(), 1);
        let told = push(&record("logs", &["of the log", "and more"]));
        assert!(told.len() == 1 && told[0].contains("is not pushed"), "{told:?}");
        assert_eq!(count(), 1);
    }
}
