//! What an accepted corruption leaves out of the log, where no hashes tell which records
//! are good: it is kept beside the log, and its name is free for what comes.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::error::io_error;
use super::rebuild::as_plain;
use super::{OpenError, Opening, copy_to_new};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::paths::{parse_sealed_name, sealed_name};
use crate::fsio::{FileReader, OpenMode, temporary_name};

impl Opening<'_> {
    /// Sealed files that the manifest does not go on with are renamed; of those that are
    /// good up to a damaged place, the good lines become a plain file.
    pub(super) fn keep_what_is_left_out(&self, manifest: &mut Manifest) -> Result<(), OpenError> {
        let stamp = self.options.clock.now().file_stamp();
        let taken = |path: &std::path::Path| self.fs.entry(path).is_ok();
        let aside = |name: &str| self.paths.aside_of(name, "damaged", &stamp, taken);
        let all = manifest.segments.all_mut().iter_mut();
        for segment in all.filter(|segment| segment.damage.is_some()) {
            let path = self.paths.dir.join(&segment.file);
            self.keep_good_lines(segment, &aside(&segment.file))
                .map_err(io_error("make anew", &path))?;
        }
        for name in self.names {
            let Some((first_seq, _)) = parse_sealed_name(name) else { continue };
            let is_ours = manifest.segments.position(first_seq).is_some();
            if is_ours || first_seq < manifest.pruned.end() {
                continue;
            }
            let path = self.paths.dir.join(name);
            let renamed = self.fs.rename(&path, &aside(name));
            renamed
                .and_then(|()| self.fs.sync_dir(&self.paths.dir))
                .map_err(io_error("set aside", &path))?;
        }
        Ok(())
    }

    fn keep_good_lines(&self, segment: &mut Segment, aside: &std::path::Path) -> io::Result<()> {
        let path = self.paths.dir.join(&segment.file);
        let file = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let reader = FileReader { file: &*file, offset: 0 };
        let mut lines = Vec::new();
        // What comes behind the damaged place cannot be read, or is not asked for.
        let _ = if segment.is_compressed() {
            MultiGzDecoder::new(reader).take(segment.raw_bytes).read_to_end(&mut lines)
        } else {
            reader.take(segment.raw_bytes).read_to_end(&mut lines)
        };
        if lines.len() as u64 != segment.raw_bytes {
            return Ok(());
        }
        copy_to_new(self.fs, &*file, 0, file.meta()?.len, aside)?;
        self.fs.sync_dir(&self.paths.dir)?;
        let plain = self.paths.dir.join(sealed_name(segment.first_seq, false));
        let temporary = temporary_name(&plain);
        let out = self.fs.open(&temporary, OpenMode::CreateNew)?;
        out.write_all_at(&lines, 0)?;
        out.sync_data()?;
        self.fs.rename(&temporary, &plain)?;
        self.fs.sync_dir(&self.paths.dir)?;
        if plain != path {
            self.fs.remove(&path)?;
            self.fs.sync_dir(&self.paths.dir)?;
        }
        *segment = Segment { damage: None, ..as_plain(segment) };
        Ok(())
    }
}
