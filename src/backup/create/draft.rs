//! What a backup leaves while it is made, and how long each stage took.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::audit::read::watch::Stage;
use crate::backup::directory::BackupDir;
use crate::backup::name::BackupId;

/// Files that go when the backup does not come about.
pub(super) struct Draft<'a> {
    pub(super) dir: &'a BackupDir,
    pub(super) id: BackupId,
    /// The metadata last: while it is there, the rest is known to be a leftover.
    pub(super) files: Vec<PathBuf>,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let fs = &self.dir.fs;
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let there = fs.meta(&self.dir.join(&self.id.metadata()));
        if self.files.is_empty() || !there.is_err_and(|error| gone(&error)) {
            // Made; or named and not known to be durable, which is no reason to
            // take it away.
            return;
        }
        let named = [false, true].map(|encrypted| self.dir.join(&self.id.archive(encrypted)));
        for path in named.iter().chain(&self.files) {
            match fs.remove(path) {
                Err(error) if !gone(&error) => return,
                _ => {}
            }
        }
    }
}

pub(super) struct Times {
    since: Instant,
    pub(super) seconds: Vec<(Stage, f64)>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), seconds: Vec::new() }
    }

    pub(super) fn done(&mut self, stage: Stage) {
        self.seconds.push((stage, self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }

    pub(super) fn of(&self, stage: Stage) -> u64 {
        let found = self.seconds.iter().find(|(done, _)| *done == stage);
        found.map_or(0, |(_, seconds)| (seconds * 1e3) as u64)
    }
}
