//! From one file to the next: sealing, and leaving a file that is not trusted.

use std::path::PathBuf;

use super::{Failure, Writer, failure};
use crate::audit::files::segment::{Active, Layout, Staged};
use crate::audit::record;
use crate::audit::state::status::{Activity, Word};
use crate::audit::tree::merkle::Range;
use crate::fsio::{FsFile, OpenMode, temporary_name};

/// The next segment's file.
#[derive(Debug)]
struct Next {
    path: PathBuf,
    file: Box<dyn FsFile>,
    /// It stands where the active segment does.
    placed: bool,
}

/// A segment change under way.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// Made before anything is renamed: without room for one more file the old one
    /// keeps its name.
    next: Option<Next>,
    /// The old file has its sealed name.
    renamed: bool,
    /// What is wrong with the old file, if anything.
    damage: Option<String>,
    /// Lines that were in the old file and are not durable there.
    carry: Vec<u8>,
}

impl Fresh {
    /// The old file is damaged.
    pub(crate) fn damaged(damage: String) -> Self {
        Self { damage: Some(damage), ..Self::default() }
    }

    /// Whether files were made or renamed for it.
    pub(super) fn is_begun(&self) -> bool {
        self.next.is_some() || self.renamed
    }
}

impl Writer {
    /// After a failed sync: what is not durable is written anew to a fresh file.
    pub(super) fn distrust_file(&mut self) -> Result<(), Failure> {
        let (from, to) = (self.active.synced_bytes(), self.active.layout.raw_bytes);
        let mut carry = Vec::new();
        if self.commits() {
            // Still in memory: what was written goes back in front of what was not.
            for chunk in self.written.drain(..).rev() {
                self.pending.push_front(chunk);
            }
        } else {
            // Only the file has it; trusted as far as it hashes to what was written.
            carry = vec![0; (to - from) as usize];
            let read = self.active.file.read_exact_at(&mut carry, from);
            let mut again = Range::empty(self.unsynced.begin());
            for line in carry.split_inclusive(|byte| *byte == b'\n') {
                again.append_line(line.strip_suffix(b"\n").unwrap_or(line));
            }
            if read.is_err() || again != self.unsynced {
                panic!("records written since the last sync cannot be read back after it failed");
            }
        }
        self.active.layout.roll_back(&self.active.synced.clone());
        self.unsynced.reset(self.durable_tree.end());
        self.fresh = Some(Fresh { carry, ..Fresh::default() });
        Ok(())
    }

    /// Seals the active segment if it holds anything, and if there is room for the
    /// next one: without, it goes on, and is sealed when there is.
    pub(crate) fn seal(&mut self) -> Result<(), Failure> {
        if self.upkeep.is_put_off() {
            return Ok(());
        }
        if self.active.layout.raw_bytes > self.active.synced_bytes() {
            self.sync()?;
        }
        if self.active.layout.records() == 0 {
            return Ok(());
        }
        self.checkpoint();
        self.activity(Activity::Sealing);
        self.fresh = Some(Fresh::default());
        match self.start_fresh() {
            Err(failure) if self.puts_off_sealing(&failure) => Ok(()),
            done => done,
        }
    }

    /// Gives the old file its sealed name and starts a fresh one; after a
    /// failure the next attempt goes on where this one stopped.
    pub(crate) fn start_fresh(&mut self) -> Result<(), Failure> {
        let Some(mut fresh) = self.fresh.take() else { return Ok(()) };
        let result = self.try_fresh(&mut fresh);
        if result.is_err() {
            self.fresh = Some(fresh);
        }
        result
    }

    pub(super) fn try_fresh(&mut self, fresh: &mut Fresh) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let path = paths.active();
        let failed = || failure(Activity::Sealing);
        let now = shared.options.clock.now();
        self.at_home()?;
        if fresh.next.is_none() {
            let path = temporary_name(&path);
            let file = fs.open(&path, OpenMode::CreateNew).map_err(failed())?;
            fresh.next = Some(Next { path, file, placed: false });
        }
        if !fresh.renamed {
            // Deleted or replaced since the last look: nothing else looks until this is
            // done, and the open file is all that is left of its records.
            self.check_name()?;
            // Best effort: what is beyond is not durable and will be written anew.
            if fresh.damage.is_none() {
                let _ = self.active.file.set_len(self.active.layout.raw_bytes);
            }
            let to = if self.active.layout.records() > 0 {
                paths.sealed(self.active.layout.first_seq)
            } else {
                paths.aside("failed", &now.file_stamp(), |path| fs.entry(path).is_ok())
            };
            // A directory or a link that somebody put under the name stops nothing.
            if fs.entry(&to).is_ok_and(|meta| !meta.is_file) {
                let stands = paths.aside("foreign", &now.file_stamp(), |p| fs.entry(p).is_ok());
                fs.rename(&to, &stands).map_err(failed())?;
            }
            fs.rename(&path, &to).map_err(failed())?;
            let open = self.active.file.meta().map_err(failed())?;
            if fs.entry(&to).is_ok_and(|named| !named.same_file(&open)) {
                // Somebody was quicker than the look: that was another file.
                let stands = paths.aside("foreign", &now.file_stamp(), |p| fs.entry(p).is_ok());
                fs.rename(&to, &stands).map_err(failed())?;
                let moved = stands.file_name().map(|name| name.to_string_lossy().into_owned());
                self.file_gone("replaced", moved)?;
                fs.rename(&path, &to).map_err(failed())?;
            }
            fresh.renamed = true;
        }
        if let Some(next) = fresh.next.as_mut().filter(|next| !next.placed) {
            if fs.entry(&path).is_ok() {
                // Somebody was quicker: that file is kept, and none of ours.
                let stands = paths.aside("foreign", &now.file_stamp(), |p| fs.entry(p).is_ok());
                fs.rename(&path, &stands).map_err(failed())?;
            }
            fs.rename(&next.path, &path).map_err(failed())?;
            next.placed = true;
        }
        fs.sync_dir(&paths.dir).map_err(failed())?;
        let Some(Next { file, .. }) = fresh.next.take() else { return Ok(()) };
        let tree = self.active.layout.tree();
        let next = Active::new(file, Layout::new(tree));
        let old = std::mem::replace(&mut self.active, next);
        if old.layout.records() > 0 {
            shared.keeper.sealed(&old.layout, fresh.damage.clone());
        }
        self.upkeep.began_segment();
        self.publish_active();
        let begun = self.leaves.restart(self.active.layout.first_seq);
        self.leaves_noted(begun);
        if !fresh.carry.is_empty() {
            self.write_carry(std::mem::take(&mut fresh.carry))?;
        }
        Ok(())
    }

    pub(super) fn write_carry(&mut self, carry: Vec<u8>) -> Result<(), Failure> {
        let mut staged = Staged::after(&self.active.layout, Vec::with_capacity(carry.len()));
        for line in carry.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let time = record::peek_times(line).map(|(time, _)| time).unwrap_or_default();
            staged.line(time, |out| out.extend_from_slice(line));
        }
        let result = self.active.file.write_all_at(&staged.bytes, 0);
        if let Err(error) = result {
            let _ = self.active.file.set_len(0);
            self.fresh = Some(Fresh { carry, ..Fresh::default() });
            return Err(Failure { activity: Activity::Writing, error });
        }
        self.absorb(&staged);
        Ok(())
    }

    /// Says in the status page which file is active.
    pub(crate) fn publish_active(&self) {
        let page = &self.shared.page;
        page.set(Word::ActiveFirstSeq, self.active.layout.first_seq);
        page.set(Word::ActiveBytes, self.active.layout.raw_bytes);
        let inode = self.active.file.meta().map_or(0, |meta| meta.inode);
        page.set(Word::ActiveInode, inode);
        // What an opening after a crash believes of the page depends on the inode.
        page.publish();
    }
}
