//! One attempt: pack, make durable, read back, prove, and put in place.

use std::collections::BTreeMap;
use std::path::Path;

use super::describe::{describe, link};
use super::draft::{Draft, Times};
use super::log::{altered_block, other_history, own_history, unsigned_tail};
use super::{Creator, Earlier, LEAST_RATIO, Made, Request};
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::{LogPaths, Span};
use crate::backup::chain;
use crate::backup::content::{self, Before, Content, Source, Wanted};
use crate::backup::digest::{Digester, Digests, FileSink};
use crate::backup::encrypt::{Identities, Recipients, Sealing, open_sealed};
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::metadata::{Encryption, MAX_METADATA_BYTES, Metadata, MetadataError};
use crate::backup::name::BackupId;
use crate::backup::pack::{Basis, Packed, holes_of, pack};
use crate::backup::reread;
use crate::fsio::{self, FsFile, OpenMode};

impl Creator {
    /// With `salvage`, what is damaged is left out, and named.
    pub(super) fn attempt(
        &self,
        request: &Request,
        salvage: bool,
        watch: &dyn Watch,
    ) -> Result<Made, BackupError> {
        let mut times = Times::new();
        let recipients = Recipients::parse(&request.encrypt_to)?;
        self.wait_for_checkpoint(request, watch);
        times.done(Stage::Wait);
        let before = Snapshot::take(&self.fs, &request.log_dir)?;
        let heads = self.heads(&before.manifest.log_id);
        // After the heads were read, so that none is ahead by mere chance.
        let mut snapshot = Snapshot::take(&self.fs, &request.log_dir)?;
        drop(before);
        if salvage && !snapshot.salvage()? {
            return Err(BackupError::LogDamaged("nothing shows where it is damaged".to_owned()));
        }
        other_history(&snapshot, &heads, &BTreeMap::new())?;
        let Earlier { newest: previous, id: newest } = self.earlier(&snapshot)?;
        let basis = match salvage {
            true => Err("the log is damaged".to_owned()),
            false => self.basis(&snapshot, request, previous.as_ref(), watch)?,
        };
        let full_because = basis.as_ref().err().filter(|_| request.chain.is_some()).cloned();
        let basis = basis.ok();
        let from = basis.as_ref().map_or(0, |basis| basis.tree.end());
        let expected = self.check_space(&snapshot, from)?;
        let (id, clock_adjusted) = self.next_id(newest)?;
        let encrypts = !request.encrypt_to.is_empty();
        let archive = fsio::temporary_name(&self.dir.join(&id.archive(encrypts)));
        let mut draft = Draft { dir: &self.dir, id, files: vec![archive.clone()] };

        watch.stage(Stage::Pack, expected);
        let file =
            self.fs.open(&archive, OpenMode::CreateNew).map_err(io_error("make", &archive))?;
        let (packed, sealed) = if encrypts {
            let mut sealing = Sealing::begin(&*file, &archive, &recipients)?;
            let packed =
                pack(&snapshot, basis.as_ref(), request.level, &mut sealing, &archive, watch)?;
            (packed, Some(sealing.finish().map_err(io_error("write", &archive))?))
        } else {
            let mut sink = FileSink::new(&*file);
            let level = request.level;
            (pack(&snapshot, basis.as_ref(), level, &mut sink, &archive, watch)?, None)
        };
        times.done(Stage::Pack);
        watch.stage(Stage::Sync, 0);
        file.sync_data().map_err(io_error("sync", &archive))?;
        // So that it is the disk that is read back, not what was written.
        file.drop_cache().map_err(io_error("drop from the cache", &archive))?;
        drop(file);
        times.done(Stage::Sync);

        watch.stage(Stage::Verify, packed.digests.bytes);
        let wanted = Wanted {
            sizes: own_history(&snapshot).sizes(&heads).into_iter().collect(),
            ranges: previous.as_ref().map_or_else(Vec::new, |previous| {
                chain::needed(previous.range.tree_size, snapshot.checkpoint.size)
            }),
            ..Wanted::default()
        };
        let file = self.written(&archive, sealed.as_ref(), watch)?;
        let content = self.read_back(
            (&snapshot, basis.as_ref()),
            &packed,
            (&*file, &archive),
            &wanted,
            watch,
        )?;
        content::leads(&content, &content.tree, &snapshot.keys).map_err(|what| {
            let path = LogPaths::new(&request.log_dir).keys();
            BackupError::KeyChain { path, what }
        })?;
        times.done(Stage::Verify);
        // What lies in the bases was not read; the log's own word for it is signed.
        let before = wanted.sizes.iter().copied().filter(|size| *size < from).collect();
        let mut roots = snapshot.roots(&before);
        roots.extend(
            content.trees.iter().filter_map(|(size, tree)| Some((*size, tree.root().ok()?))),
        );
        other_history(&snapshot, &heads, &roots)?;
        let previous = link(previous.as_ref(), &snapshot, &content)?;
        let held_elsewhere = self.held_elsewhere(&snapshot);

        let unsigned_tail = unsigned_tail(&snapshot, &packed, &content, &request.log_dir);
        let of = (&snapshot, basis);
        let mut metadata = describe(of, packed, &content, request.level, id)?;
        metadata.created_at = self.clock.now();
        metadata.clock_adjusted = clock_adjusted;
        metadata.previous = previous;
        metadata.cosigned = self.cosigned(&snapshot, &request.log_dir);
        metadata.verified.milliseconds = times.of(Stage::Verify);
        if let Some((digests, _)) = sealed {
            metadata.archive.file = id.archive(true);
            metadata.encryption = Some(Encryption {
                format: "age".to_owned(),
                recipients: request.encrypt_to.clone(),
                digests,
            });
        }
        let unsigned = self.sign(request, &mut metadata);

        watch.stage(Stage::Commit, 0);
        let metadata_file = self.dir.join(&id.metadata());
        let bad = |what| BackupError::Metadata { path: metadata_file.clone(), what };
        let sidecar = fsio::temporary_name(&metadata_file);
        let text = metadata.to_bytes().map_err(bad)?;
        // What nobody could read back is no backup.
        if text.len() as u64 > MAX_METADATA_BYTES {
            let what = format!("it would have {} bytes, more than auditctl reads", text.len());
            return Err(bad(MetadataError::Altered(what)));
        }
        Metadata::parse(&text, id).map_err(|what| BackupError::metadata(&metadata_file, what))?;
        draft.files.push(sidecar.clone());
        self.write_new(&sidecar, &text)?;
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        self.dir.commit(&metadata, &archive, &sidecar)?;
        draft.files.clear();
        times.done(Stage::Commit);
        let archive = self.dir.join(&metadata.archive.file);
        let seconds = times.seconds;
        Ok(Made {
            metadata,
            archive,
            metadata_file,
            unsigned_tail,
            unsigned,
            full_because,
            held_elsewhere,
            seconds,
            catalog_error: None,
        })
    }

    /// What witnesses had cosigned of what the backup holds, if a key of the log signed it.
    fn cosigned(&self, snapshot: &Snapshot, log_dir: &Path) -> Option<String> {
        let text = read_note(&*self.fs, &LogPaths::new(log_dir).cosigned()).ok()??;
        let note = SignedCheckpoint::parse(&text).ok()?;
        let checkpoint = snapshot.keys.verify(&note).ok()?.0;
        let fits = checkpoint.origin == snapshot.checkpoint.origin
            && checkpoint.size <= snapshot.checkpoint.size;
        fits.then(|| note.to_string())
    }

    /// Of the records that the log does not have: the newest earlier backup that holds
    /// all of them, for each run that one does.
    fn held_elsewhere(&self, snapshot: &Snapshot) -> Vec<(Span, BackupId)> {
        let Ok(contents) = self.dir.contents() else { return Vec::new() };
        let known: Vec<Metadata> = contents
            .backups
            .into_iter()
            .filter_map(|entry| entry.metadata.ok())
            .filter(|metadata| metadata.log.id == snapshot.manifest.log_id)
            .filter(|metadata| metadata.verify(&snapshot.keys).is_ok())
            .collect();
        let holds = |metadata: &&Metadata, span: Span| metadata.holds(span);
        let spans =
            snapshot.holes().map(|hole| Span { begin: hole.first_seq, end: hole.tree.end() });
        spans
            .filter_map(|span| {
                let held = known.iter().filter(|metadata| holds(metadata, span));
                Some((span, held.map(|metadata| metadata.id).max()?))
            })
            .collect()
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
        let write = || {
            let file = self.fs.open(path, OpenMode::CreateNew)?;
            file.write_all_at(bytes, 0)?;
            file.sync_data()
        };
        write().map_err(io_error("write", path))
    }

    /// The bytes that will be gone through, after asking for space for them.
    fn check_space(&self, snapshot: &Snapshot, from: u64) -> Result<u64, BackupError> {
        let (mut copied, mut compressed) = (0, 0);
        let after = snapshot.parts.iter().filter(|part| part.first_seq() + part.records() > from);
        for part in after {
            match part {
                Part::Stored(segment) => {
                    let blocks = segment.blocks.iter();
                    let after = blocks.filter(|block| block.first_seq + block.records > from);
                    copied += after.map(|block| block.stored_bytes).sum::<u64>();
                }
                Part::Cut { segment, .. } => compressed += segment.raw_bytes,
                Part::Lines(lines) => compressed += lines.bytes(),
                Part::Left(left) => compressed += left.raw_bytes(),
            }
        }
        let needed = copied + compressed / LEAST_RATIO + (1 << 20);
        let available = self.available()?;
        if available < needed {
            let path = self.dir.path().to_path_buf();
            return Err(BackupError::NoSpace { path, needed, available });
        }
        Ok(copied + compressed)
    }

    /// What was written, to be read back; one that is encrypted is what was sealed, and is
    /// decrypted in memory.
    fn written(
        &self,
        path: &Path,
        sealed: Option<&(Digests, Identities)>,
        watch: &dyn Watch,
    ) -> Result<Box<dyn FsFile>, BackupError> {
        let file = self.fs.open(path, OpenMode::ReadOwn).map_err(io_error("open", path))?;
        let Some((digests, key)) = sealed else { return Ok(file) };
        let found = reread::digests(&*file, path, watch)?;
        if found != *digests {
            let what = ArchiveFault::Checksum {
                expected: digests.sha256.to_string(),
                found: found.sha256.to_string(),
            };
            return Err(BackupError::Archive { path: path.to_path_buf(), what });
        }
        open_sealed(file, path, key)
    }

    fn read_back(
        &self,
        (snapshot, basis): (&Snapshot, Option<&Basis>),
        packed: &Packed,
        (file, path): (&dyn FsFile, &Path),
        wanted: &Wanted,
        watch: &dyn Watch,
    ) -> Result<Content, BackupError> {
        let holes = holes_of(snapshot, basis);
        let source = Source {
            file,
            path,
            stretches: &packed.stretches,
            pruned: basis.map_or(&snapshot.manifest.pruned, |basis| &basis.tree),
            holes: &holes,
            before: if basis.is_some() { Before::InBases } else { Before::Removed },
        };
        let content = match content::read(&source, wanted, watch, &mut |_, _| Ok(())) {
            Ok(content) => content,
            // What was written is what the log holds: that is where the damage is,
            // unless the disk returns something else than what was written.
            Err(BackupError::Archive { what, .. }) => {
                return Err(self.whose_fault(file, snapshot, packed, what));
            }
            Err(other) => return Err(other),
        };
        if content.digests != packed.digests {
            let (expected, found) = (&packed.digests, &content.digests);
            let what = ArchiveFault::Checksum {
                expected: expected.sha256.to_string(),
                found: found.sha256.to_string(),
            };
            return Err(BackupError::Archive { path: path.to_path_buf(), what });
        }
        Ok(content)
    }

    fn whose_fault(
        &self,
        file: &dyn FsFile,
        snapshot: &Snapshot,
        packed: &Packed,
        what: ArchiveFault,
    ) -> BackupError {
        let mut digester = Digester::default();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while let Ok(read @ 1..) = file.read_at(&mut buffer, at) {
            digester.update(&buffer[..read]);
            at += read as u64;
        }
        if digester.finish() != packed.digests {
            let path = self.dir.path().to_path_buf();
            return BackupError::Archive { path, what };
        }
        let place = match &what {
            ArchiveFault::Root { .. } => altered_block(snapshot),
            _ => None,
        };
        BackupError::LogDamaged(place.unwrap_or_else(|| what.to_string()))
    }
}
