//! A backup as a copy that a damaged log is repaired from: all of it read and hashed,
//! and any of its blocks at hand.

use std::io;
use std::path::PathBuf;

use super::choice::LogChoice;
use super::content::{self, Content, Source, Wanted};
use super::directory::BackupDir;
use super::encrypt::KeyFile;
use super::error::{ArchiveFault, BackupError, io_error};
use super::source::{About, Found, Wish, find};
use crate::audit::files::gzip::Unpacker;
use crate::audit::files::segment::Block;
use crate::audit::keys::Rotation;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::Range;
use crate::audit::write::repair::{CopiedBlock, Copy};
use crate::fsio::FsFile;

/// A backup.
pub struct BackupCopy {
    name: String,
    path: PathBuf,
    file: Box<dyn FsFile>,
    about: About,
    tree: Range,
    /// In the order of their records; the offsets are the archive's.
    blocks: Vec<Block>,
}

impl BackupCopy {
    /// Reads all of it, and checks all that a restore checks but for the signatures,
    /// which whoever takes something from it checks with the log's keys.
    ///
    /// # Errors
    /// What is wrong with the backup; [`BackupError::Usage`] for an encrypted one that no
    /// identity opens.
    pub fn open(
        dir: &BackupDir,
        wish: &Wish,
        log_id: Option<&str>,
        identities: &[KeyFile],
        watch: &dyn Watch,
    ) -> Result<Self, BackupError> {
        let of = LogChoice { log: log_id.map(str::to_owned), keys: None };
        let found = find(dir, wish, &of, identities)?;
        let file = found.open(&*dir.fs, identities, watch)?;
        let Found { label, archive, about } = found;
        let length = file.meta().map_err(io_error("look at", &archive))?.len;
        watch.stage(Stage::Verify, length);
        let (stretches, pruned) = (about.stretches(), about.pruned());
        let holes = about.holes();
        let source = Source { file: &*file, path: &archive, stretches, pruned, holes };
        let Content { blocks, tree, .. } = {
            let content = content::read(&source, &Wanted::default(), watch, &mut |_, _| Ok(()))?;
            if let About::Metadata(metadata) = &about {
                content::agrees(&content, metadata)
                    .map_err(|what| BackupError::Archive { path: archive.clone(), what })?;
            }
            content
        };
        let offsets = about.stretches().iter().map(|stretch| stretch.offset);
        let of_archive = offsets.zip(blocks).flat_map(|(offset, blocks)| {
            blocks.into_iter().map(move |block| Block { offset: offset + block.offset, ..block })
        });
        let blocks = of_archive.collect();
        Ok(Self { name: label, path: archive, file, about, tree, blocks })
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> &str {
        self.about.log().0
    }
}

impl Copy for BackupCopy {
    fn name(&self) -> &str {
        &self.name
    }

    fn first_seq(&self) -> u64 {
        self.about.pruned().end()
    }

    fn tree(&self) -> &Range {
        &self.tree
    }

    fn note(&self) -> &str {
        self.about.note()
    }

    fn rotations(&self) -> &[Rotation] {
        self.about.key_chain()
    }

    fn block(&self, seq: u64) -> io::Result<Option<CopiedBlock>> {
        let after = self.blocks.partition_point(|block| block.first_seq <= seq);
        let Some(block) = after.checked_sub(1).map(|at| &self.blocks[at]) else { return Ok(None) };
        if block.is_hole() {
            return Ok(None);
        }
        let mut member = vec![0; block.stored_bytes as usize];
        self.file.read_exact_at(&mut member, block.offset)?;
        let mut raw = Vec::new();
        Unpacker::new().unpack(&member, &mut raw).map_err(io::Error::other)?;
        // It was whole a moment ago.
        let same = crate::audit::files::examine::examine(&raw, block.first_seq, (0, 0))
            .is_ok_and(|now| now.tree == block.tree);
        if !same {
            let what = ArchiveFault::Foreign("it was changed while it was read".to_owned());
            let path = self.path.clone();
            return Err(io::Error::other(BackupError::Archive { path, what }));
        }
        Ok(Some(CopiedBlock { first_seq: block.first_seq, raw, member: Some(member) }))
    }
}
