//! The room on the disk: how much is left, what is given up when there is none, and
//! when recording resumes.

use super::{Writer, is_full};
use crate::audit::files::room;
use crate::audit::state::status::{DiskStage, Word, WriterState};
use crate::audit::state::trouble::Trouble;
use crate::audit::write::own::OwnRecord;
use crate::fsio::{OpenMode, Space};

/// Below this the disk counts as full even before a write fails.
const FULL_BYTES: u64 = 64 * 1024;

impl Writer {
    pub(super) fn check_disk(&mut self) {
        let shared = self.shared.clone();
        let options = &shared.options;
        let Ok(space) = options.fs.space(&options.dir) else { return };
        let page = &shared.page;
        page.set(Word::DiskAvailable, space.available);
        page.set(Word::DiskTotal, space.total);
        if !self.upkeep.full && space.available < FULL_BYTES {
            self.disk_is_full();
        }
        if self.upkeep.full {
            self.try_resume(space);
        }
        if !self.upkeep.full {
            page.set(Word::DiskStage, self.stage(space) as u64);
        }
    }

    fn stage(&self, space: Space) -> DiskStage {
        let limits = self.shared.options.disk;
        let part = |percent: u8| space.total / 100 * u64::from(percent);
        let files = room::file_limits(space, (limits.warn_percent, limits.critical_percent));
        let few = |below: fn((u64, u64)) -> u64| {
            files.is_some_and(|limits| space.files_available < below(limits))
        };
        let critical = limits.critical_bytes.min(part(limits.critical_percent));
        if space.available < critical || few(|(_, critical)| critical) {
            DiskStage::Critical
        } else if space.available < limits.warn_bytes.min(part(limits.warn_percent))
            || few(|(warn, _)| warn)
        {
            DiskStage::Warn
        } else {
            DiskStage::Ok
        }
    }

    /// Gives up the reserve, so that what was accepted, the record about it, the
    /// checkpoint and a clean close can be written; refuses everything new. Its bytes
    /// and its inode both are room for what replaces the checkpoint.
    pub(crate) fn disk_is_full(&mut self) {
        if self.upkeep.full {
            return;
        }
        self.upkeep.full = true;
        let shared = &self.shared;
        let space = shared.options.fs.space(&shared.options.dir).unwrap_or_default();
        tracing::error!(
            code = Trouble::DiskFull.code(),
            available_bytes = space.available,
            available_inodes = space.files_left(),
            "the disk is full; new events are refused until there is space"
        );
        shared.queue.close_for_full_disk();
        let reserve = shared.paths.reserve();
        if let Err(error) = shared.options.fs.remove(&reserve)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(code = Trouble::ReserveKept.code(), %error, "the disk reserve could not be given up");
        }
        let now = shared.options.clock.now();
        shared.page.set(Word::DiskStage, DiskStage::Full as u64);
        shared.page.state(WriterState::DiskFull, now);
        self.upkeep.refused_before_full = shared.page.get(Word::Unavailable);
        shared.push_own(&OwnRecord::DiskFull {
            available_bytes: space.available,
            available_files: space.files_left(),
        });
    }

    /// Resumes once there is room for a new reserve and as much again, and for the
    /// files that a writer makes.
    fn try_resume(&mut self, space: Space) {
        let shared = self.shared.clone();
        let bytes = room::resume_bytes(shared.options.disk_reserve);
        if !self.pending.is_empty() || space.available < bytes || !room::has_files(space) {
            return;
        }
        if let Err(error) = make_reserve(&shared) {
            tracing::warn!(code = Trouble::ReserveKept.code(), %error, "the disk reserve could not be made again");
            return;
        }
        self.upkeep.full = false;
        // Told once events are taken again.
        shared.queue.open_gate();
        shared.page.state(WriterState::Running, shared.options.clock.now());
        let refused = shared.page.get(Word::Unavailable) - self.upkeep.refused_before_full;
        shared.push_own(&OwnRecord::DiskRecovered { available_bytes: space.available, refused });
        tracing::info!(refused, "there is space again; recording resumes");
    }

    /// Whether a new segment cannot be begun for want of room. The old one is whole
    /// and goes on: what was accepted is written to it.
    pub(super) fn puts_off_sealing(&mut self, failure: &super::Failure) -> bool {
        let puts_off =
            is_full(&failure.error) && self.fresh.as_ref().is_some_and(|f| !f.is_begun());
        if puts_off {
            self.fresh = None;
            self.upkeep.put_off();
            let shared = &self.shared;
            shared.page.add(Word::WriteErrors, 1);
            shared.page.error(&failure.error, failure.activity, shared.options.clock.now());
            self.disk_is_full();
        }
        puts_off
    }
}

/// Makes the reserve file if it is wanted and not there.
pub(crate) fn make_reserve(shared: &super::Shared) -> std::io::Result<()> {
    let options = &shared.options;
    if options.disk_reserve == 0 {
        return Ok(());
    }
    let path = shared.paths.reserve();
    let file = match options.fs.open(&path, OpenMode::Create) {
        // Somebody's link or pipe: the name is ours, what is behind it is not.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            options.fs.remove(&path)?;
            options.fs.open(&path, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    if file.meta()?.len >= options.disk_reserve {
        return Ok(());
    }
    let made = file.allocate(options.disk_reserve);
    if made.is_err() {
        let _ = options.fs.remove(&path);
    }
    made
}
