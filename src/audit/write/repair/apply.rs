//! Writing what was planned: each file beside the old one, which is kept.

use super::sealed::{SealedPlan, compose};
use super::tail::TailPlan;
use super::{Needs, Repair, RepairError, Repaired, RepairedFile, kept_name};
use crate::audit::files::manifest::{InOneFile, Manifest, Segment};
use crate::audit::keys::signer::SigningKey;
use crate::audit::paths::LogPaths;
use crate::fsio::aside::copy_to_new;
use crate::fsio::{self, FsFile, OpenMode};

/// The gzip level of what no copy has as it was stored.
const LEVEL: u32 = 6;

pub(super) struct Applying<'a> {
    needs: &'a Needs<'a>,
    repair: &'a Repair,
    key: Option<&'a SigningKey>,
    paths: LogPaths,
    stamp: String,
    manifest: Manifest,
    done: Repaired,
}

impl<'a> Applying<'a> {
    pub(super) fn new(
        needs: &'a Needs<'a>,
        repair: &'a Repair,
        key: Option<&'a SigningKey>,
    ) -> Self {
        let left = repair.left.iter().map(|left| (left.first_seq, left.end_seq)).collect();
        let uid = rustix::process::geteuid().as_raw();
        Self {
            needs,
            repair,
            key,
            paths: LogPaths::new(&needs.dir),
            stamp: needs.clock.now().file_stamp(),
            manifest: repair.manifest.clone(),
            done: Repaired { left, uid, ..Repaired::default() },
        }
    }

    pub(super) fn run(mut self) -> Result<Repaired, RepairError> {
        for plan in self.repair.sealed.iter().filter(|plan| plan.changes()) {
            self.sealed(plan)?;
        }
        for plan in self.repair.tails.iter().filter(|plan| plan.changes()) {
            self.tail(plan)?;
        }
        for other in &self.repair.others {
            let kept = self.keep(other.file)?;
            let path = self.paths.dir.join(other.file);
            fsio::replace_file(&*self.needs.fs, &path, &other.text)
                .map_err(self.io("write", other.file))?;
            self.noted(other.file, kept, Vec::new());
        }
        self.rejoin()?;
        for name in &self.repair.filters {
            match self.needs.fs.remove(&self.paths.dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.io("remove", name)(error));
                }
                _ => self.noted(name, None, Vec::new()),
            }
        }
        if self.manifest != self.repair.manifest {
            self.manifest()?;
        }
        self.done.from.sort_unstable();
        self.done.from.dedup();
        Ok(self.done)
    }

    /// The signed head first: lines without it are taken for somebody else's.
    fn rejoin(&mut self) -> Result<(), RepairError> {
        for one in &self.repair.rejoined {
            let kept = self.keep(&one.file)?;
            let _ = self.keep(&one.head_file)?;
            let fs = &*self.needs.fs;
            let head = self.paths.dir.join(&one.head_file);
            fsio::replace_file(fs, &head, one.note.as_bytes())
                .map_err(self.io("write", &one.head_file))?;
            self.write(&one.file, |to| to.write_all_at(&one.lines, 0))?;
            self.done.from.extend(one.from.iter().cloned());
            self.noted(&one.file, kept, vec![(one.first_seq, one.end_seq)]);
        }
        for one in &self.repair.not_rejoined {
            let Some(file) = &one.sets_aside else { continue };
            let kept = self.keep(file)?;
            let _ = self.keep(&one.head_file)?;
            for name in [file, &one.head_file] {
                match self.needs.fs.remove(&self.paths.dir.join(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(self.io("remove", name)(error));
                    }
                    _ => {}
                }
            }
            self.needs.fs.sync_dir(&self.paths.dir).map_err(self.io("sync", "."))?;
            self.noted(file, kept, Vec::new());
        }
        Ok(())
    }

    fn io(&self, action: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> RepairError {
        let path = self.paths.dir.join(name);
        move |source| RepairError::Io { action, path, source }
    }

    fn noted(&mut self, file: &str, kept: Option<String>, records: Vec<(u64, u64)>) {
        self.done.files.push(RepairedFile { file: file.to_owned(), kept, records });
    }

    /// Keeps what a file is now; its name then.
    fn keep(&self, name: &str) -> Result<Option<String>, RepairError> {
        let fs = &*self.needs.fs;
        let file = match fs.open(&self.paths.dir.join(name), OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("open", name)(error)),
        };
        let length = file.meta().map_err(self.io("look at", name))?.len;
        let kept = kept_name(self.needs, &self.paths, name, &self.stamp);
        copy_to_new(fs, &*file, 0, length, &self.paths.dir.join(&kept))
            .map_err(self.io("keep", &kept))?;
        fs.sync_dir(&self.paths.dir).map_err(self.io("sync", "."))?;
        Ok(Some(kept))
    }

    /// Writes a file under another name, durably, and gives it its own.
    fn write(
        &self,
        name: &str,
        write: impl FnOnce(&dyn FsFile) -> std::io::Result<()>,
    ) -> Result<(), RepairError> {
        let fs = &*self.needs.fs;
        let path = self.paths.dir.join(name);
        let temporary = fsio::temporary_name(&path);
        let written = (|| {
            let file = fs.open(&temporary, OpenMode::CreateNew)?;
            write(&*file)?;
            file.sync_data()?;
            self.make_way(name)?;
            fs.rename(&temporary, &path)?;
            fs.sync_dir(&self.paths.dir)
        })();
        written.map_err(|error| {
            let _ = fs.remove(&temporary);
            self.io("write", name)(error)
        })
    }

    /// A directory, a FIFO or a link that stands under a file's name is moved beside it.
    fn make_way(&self, name: &str) -> std::io::Result<()> {
        let fs = &*self.needs.fs;
        let path = self.paths.dir.join(name);
        match fs.entry(&path) {
            Ok(entry) if !entry.is_file => {
                let kept = kept_name(self.needs, &self.paths, name, &self.stamp);
                fs.rename(&path, &self.paths.dir.join(kept))
            }
            _ => Ok(()),
        }
    }

    fn sealed(&mut self, plan: &SealedPlan) -> Result<(), RepairError> {
        let fs = &*self.needs.fs;
        let kept = if plan.is_there { self.keep(&plan.file)? } else { None };
        let own = match plan.is_there {
            true => Some(
                fs.open(&self.paths.dir.join(&plan.file), OpenMode::ReadOwn)
                    .map_err(self.io("open", &plan.file))?,
            ),
            false => None,
        };
        let mut becomes = None;
        let noted = &self.repair.manifest.segments[plan.index];
        self.write(&plan.file, |to| {
            becomes = Some(compose(plan, noted, (own.as_deref(), to), LEVEL)?);
            Ok(())
        })?;
        if let Some(segment) = becomes {
            self.manifest.segments.replace(segment);
        }
        self.done.from.extend(plan.sources().cloned());
        self.noted(&plan.file, kept, plan.put_back());
        Ok(())
    }

    fn tail(&mut self, plan: &TailPlan) -> Result<(), RepairError> {
        let kept = if plan.is_there { self.keep(&plan.file)? } else { None };
        let lines = plan.compose();
        self.write(&plan.becomes, |to| to.write_all_at(&lines, 0))?;
        if plan.becomes != plan.file {
            let fs = &*self.needs.fs;
            fs.remove(&self.paths.dir.join(&plan.file)).map_err(self.io("remove", &plan.file))?;
            fs.sync_dir(&self.paths.dir).map_err(self.io("sync", "."))?;
        }
        let from = plan.edits.iter().map(|edit| edit.from.clone());
        self.done.from.extend(from.filter(|from| !from.is_empty()));
        self.noted(&plan.becomes, kept, plan.put_back());
        Ok(())
    }

    /// The manifest says where each block is now. Without the key nobody signs it, and
    /// whoever reads the log believes nothing that it says beyond what the root proves.
    fn manifest(&mut self) -> Result<(), RepairError> {
        let path = self.paths.manifest();
        let failed = |error: String| RepairError::Io {
            action: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        };
        if self.repair.manifest_is_lost {
            self.manifest.segments.all_mut().iter_mut().for_each(Segment::without_hints);
        }
        let stored =
            self.manifest.store_signed(&*self.needs.fs, &path, self.key, InOneFile::default());
        stored.map_err(|error| failed(error.to_string()))
    }
}
