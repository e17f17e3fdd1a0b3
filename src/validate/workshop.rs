//! The scratch directory: on the log's file system, beside it where that can be.

use std::path::PathBuf;
use std::time::Duration;

use super::Interrupted;
use super::catalogue::Id;
use super::check::Check;
use super::places::nearest;
use super::request::{Request, Surroundings};
use super::runner::{Missing, within};
use crate::fsio::inspect;
use crate::fsio::parent;
use crate::fsio::scratch::{Scratch, leftovers, remove_leftover};

const PATIENCE: Duration = Duration::from_secs(10);

/// The scratch directory, or why there is none.
pub(super) struct Workshop {
    made: Result<Scratch, String>,
    pub(super) leftovers: Vec<PathBuf>,
}

impl Workshop {
    pub(super) fn path(&self) -> Result<PathBuf, String> {
        match &self.made {
            Ok(scratch) => Ok(scratch.path().to_path_buf()),
            Err(why) => Err(why.clone()),
        }
    }

    /// Removes it; says so only when that fails.
    pub(super) fn remove(self) -> Option<Check> {
        let scratch = self.made.ok()?;
        let path = scratch.path().to_path_buf();
        let error = scratch.remove().err()?;
        let message = format!("the scratch directory could not be removed: {error}");
        Some(
            Check::warning(Id::Scratch, message)
                .hint("remove it by hand; the next validate tries again")
                .path(path),
        )
    }
}

/// Removes what earlier runs left, and makes a new one. A file system that does not
/// answer is no reason to wait for ever.
pub(super) fn open(request: &Request) -> Result<Workshop, Interrupted> {
    let places = places(request);
    let made = within(PATIENCE, &request.stop, move || {
        let mut removed = Vec::new();
        for place in &places {
            for path in leftovers(place).unwrap_or_default() {
                if remove_leftover(&path).is_ok() {
                    removed.push(path);
                }
            }
        }
        let mut why = "there is no directory to make it in".to_owned();
        for place in &places {
            match Scratch::new_in(place) {
                Ok(scratch) => return Workshop { made: Ok(scratch), leftovers: removed },
                Err(error) => {
                    why = format!("no directory can be made in {}: {error}", place.display());
                }
            }
        }
        Workshop { made: Err(why), leftovers: removed }
    });
    let none = |why: &str| Workshop { made: Err(why.to_owned()), leftovers: Vec::new() };
    match made {
        Ok(workshop) => Ok(workshop),
        Err(Missing::Stopped) => Err(Interrupted),
        Err(Missing::Late) => Ok(none("the log's file system does not answer")),
        Err(Missing::Broken | Missing::NotStarted(_)) => Ok(none("it could not be tried")),
    }
}

/// Beside the log when that is the same file system, else in it.
fn places(request: &Request) -> Vec<PathBuf> {
    let dir = &request.settings.log_dir;
    let Ok(Some(log)) = inspect::behind(dir) else {
        return nearest(dir).into_iter().collect();
    };
    // A link leads to where the log really is.
    let real = inspect::resolved(dir).unwrap_or_else(|_| dir.clone());
    let beside = parent(&real);
    let same = inspect::behind(&beside).ok().flatten().filter(|it| it.device == log.device);
    same.map(|_| beside).into_iter().chain([real]).collect()
}

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    vec![match (&seen.scratch, seen.leftovers.as_slice()) {
        (Err(why), _) => Check::warning(Id::Scratch, format!("not available: {why}")).hint(
            "run this as the service's user, or as root; checks that need a directory were skipped",
        ),
        (Ok(path), []) => {
            let place = parent(path);
            Check::passed(Id::Scratch, format!("tests run in {}", place.display()))
        }
        (Ok(_), left) => {
            let names: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
            let message = format!("removed what an interrupted run had left: {}", names.join(", "));
            Check::passed(Id::Scratch, message).metric("removed", names)
        }
    }]
}
