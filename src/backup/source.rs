//! What is restored or checked: a backup by its id, the newest one, an archive
//! file whose metadata may be lost, or a log directory.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::base::Base;
use super::choice::{LogChoice, Reach, of_one_log};
use super::content::{Before, Source};
use super::directory::BackupDir;
use super::encrypt::{KeyFile, identities, open_sealed};
use super::error::{ArchiveFault, BackupError, io_error};
use super::hole::Hole;
use super::joined::{self, Joined, Link, find_bases};
use super::marker::{MAX_MARKER_BYTES, Marker};
use super::metadata::{MAX_METADATA_BYTES, Metadata, MetadataError, Stretch, own_keys};
use super::name::{BackupId, FileKind, parse_name};
use super::reread;
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::member_lengths;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::{Fs, FsFile, OpenMode};

/// A segment of a log that is restored without metadata holds at most so many
/// blocks: about what one of the default size does.
const REBUILT_MEMBERS: usize = 48;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The backup that reaches furthest.
    Latest,
    /// A backup in the backup directory.
    Id(BackupId),
    /// An archive, its metadata, or a log directory.
    Path(PathBuf),
    /// An archive that was put together here from elsewhere.
    Made {
        /// The file, which nobody knows by its name.
        archive: PathBuf,
        /// From where: what it is called instead.
        from: String,
    },
}

impl Wish {
    /// From what was typed: `latest`, an id, or a path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(id) => Self::Id(id),
            Err(_) if text == "latest" => Self::Latest,
            Err(_) => Self::Path(PathBuf::from(text)),
        }
    }
}

/// An archive, described.
#[derive(Debug)]
pub(crate) struct Found {
    /// The backup's id, or the path.
    pub(crate) label: String,
    pub(crate) archive: PathBuf,
    pub(crate) about: About,
    /// The archives that it builds on, the full one first.
    bases: Vec<Link>,
    /// Of those and its own, one after the other.
    stretches: Vec<Stretch>,
    reaches: Vec<joined::Reach>,
    holes: Vec<Hole>,
}

/// Where the description comes from.
#[derive(Debug)]
pub(crate) enum About {
    Metadata(Box<Metadata>),
    /// The metadata is lost: the archive speaks for itself.
    Marker {
        marker: Box<Marker>,
        stretches: Vec<Stretch>,
    },
}

impl About {
    fn stretches(&self) -> &[Stretch] {
        match self {
            Self::Metadata(metadata) => &metadata.segments,
            Self::Marker { stretches, .. } => stretches,
        }
    }

    /// The tree before its own first record.
    fn pruned(&self) -> &Range {
        match self {
            Self::Metadata(metadata) => &metadata.range.pruned,
            Self::Marker { marker, .. } => &marker.pruned,
        }
    }

    /// Records in between that it does not hold.
    fn holes(&self) -> &[Hole] {
        match self {
            Self::Metadata(metadata) => &metadata.holes,
            Self::Marker { marker, .. } => &marker.holes,
        }
    }

    /// The log's id and epoch.
    pub(crate) fn log(&self) -> (&str, u32) {
        match self {
            Self::Metadata(metadata) => (&metadata.log.id, metadata.log.epoch),
            Self::Marker { marker, .. } => (&marker.log_id, marker.epoch),
        }
    }

    /// The checkpoint's signed note.
    pub(crate) fn note(&self) -> &str {
        match self {
            Self::Metadata(metadata) => &metadata.checkpoint,
            Self::Marker { marker, .. } => &marker.checkpoint,
        }
    }

    /// How the log's keys followed each other, by its word.
    pub(crate) fn key_chain(&self) -> &[Rotation] {
        match self {
            Self::Metadata(metadata) => &metadata.log.key_chain,
            Self::Marker { marker, .. } => &marker.key_chain,
        }
    }

    /// What to do where its keys are not enough; empty when they are all there.
    pub(crate) fn keys_hint(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "",
            Self::Marker { marker, .. } => marker.keys_hint(),
        }
    }

    /// The keys that it names itself.
    pub(crate) fn own_keys(&self) -> Result<Keyring, MetadataError> {
        match self {
            Self::Metadata(metadata) => metadata.own_keys(),
            Self::Marker { marker, .. } => own_keys(&marker.public_key, &marker.key_chain),
        }
    }

    /// Checks every signature that there is.
    fn verify(&self, keys: &Keyring) -> Result<Checkpoint, MetadataError> {
        let marker = match self {
            Self::Metadata(metadata) => {
                super::chain::verify_link(metadata).map_err(MetadataError::Contradiction)?;
                return metadata.verify(keys);
            }
            Self::Marker { marker, .. } => marker,
        };
        let failed = |error: String| {
            let hint = marker.keys_hint();
            MetadataError::Signature(format!("its checkpoint: {error}{hint}"))
        };
        let note = SignedCheckpoint::parse(marker.checkpoint.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
        let keys = keys.clone().extended(&marker.key_chain);
        let (checkpoint, _) = keys.verify(&note).map_err(|error| failed(error.to_string()))?;
        if checkpoint.size != marker.tree_size || checkpoint.root != marker.root_hash {
            return Err(MetadataError::Contradiction("marker and checkpoint".to_owned()));
        }
        Ok(checkpoint.clone())
    }
}

impl Found {
    pub(crate) fn new(label: String, archive: PathBuf, about: About, bases: Vec<Link>) -> Self {
        let (stretches, reaches) = joined::join(&bases, about.stretches());
        let of_bases = bases.iter().flat_map(|link| &link.metadata.holes);
        let holes = of_bases.chain(about.holes()).cloned().collect();
        Self { label, archive, about, bases, stretches, reaches, holes }
    }

    /// All stretches, those of the bases first, as they stand in what [`open`](Self::open)
    /// gives.
    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The tree over everything before the first record.
    pub(crate) fn pruned(&self) -> &Range {
        self.bases.first().map_or(self.about.pruned(), |full| &full.metadata.range.pruned)
    }

    /// Records in between that neither it nor its bases hold.
    pub(crate) fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Where its own archive begins in what is read.
    pub(crate) fn bases_end(&self) -> u64 {
        self.reaches.last().map_or(0, |last| last.end)
    }

    /// To be read from what [`open`](Self::open) gave.
    pub(crate) fn source<'a>(&'a self, file: &'a dyn FsFile) -> Source<'a> {
        let before = match self.reaches.as_slice() {
            [] => Before::Removed,
            bases => Before::Joined { bases, tree: self.about.pruned() },
        };
        let (path, stretches) = (&self.archive, self.stretches());
        Source { file, path, stretches, pruned: self.pruned(), holes: self.holes(), before }
    }

    /// Checks every signature that there is.
    ///
    /// # Errors
    /// What does not verify.
    pub(crate) fn verify(&self, keys: &Keyring) -> Result<Checkpoint, MetadataError> {
        let signed = self.about.verify(keys)?;
        let keys = keys.clone().extended(self.about.key_chain());
        for Link { metadata, .. } in &self.bases {
            metadata.verify(&keys).map_err(|what| match what {
                MetadataError::Signature(why) => {
                    MetadataError::Signature(format!("backup {}: {why}", metadata.id))
                }
                what => what,
            })?;
        }
        Ok(signed)
    }

    /// The archive, to be read; one that is encrypted is decrypted in memory.
    ///
    /// # Errors
    /// It cannot be opened, or no private key that is there opens it; it is not the file that
    /// the metadata says.
    pub(crate) fn open(
        &self,
        fs: &dyn Fs,
        keys: &[KeyFile],
        watch: &dyn Watch,
    ) -> Result<Box<dyn FsFile>, BackupError> {
        let path = &self.archive;
        let own = match &self.about {
            About::Metadata(metadata) => open_one(fs, (path, &self.label), metadata, keys, watch)?,
            About::Marker { .. } => {
                let file = fs.open(path, OpenMode::Read).map_err(io_error("open", path))?;
                match is_sealed(&*file, path)? {
                    true => open_sealed(file, path, &identities(keys)?)?,
                    false => file,
                }
            }
        };
        if self.bases.is_empty() {
            return Ok(own);
        }
        let mut bases = Vec::with_capacity(self.bases.len());
        for Link { metadata, archive } in &self.bases {
            let label = metadata.id.to_string();
            let file = open_one(fs, (archive, &label), metadata, keys, watch)?;
            bases.push((metadata.marker_offset(), file));
        }
        Ok(Box::new(Joined::of(bases, own, path)?))
    }
}

/// An archive that has its metadata; one that is encrypted is compared with them first.
fn open_one(
    fs: &dyn Fs,
    (path, label): (&Path, &str),
    metadata: &Metadata,
    keys: &[KeyFile],
    watch: &dyn Watch,
) -> Result<Box<dyn FsFile>, BackupError> {
    let file = fs.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    let Some(encryption) = &metadata.encryption else { return Ok(file) };
    if keys.is_empty() {
        let to = format!(" to {}", encryption.recipients.join(", "));
        return Err(encrypted(label, &to));
    }
    let keys = identities(keys)?;
    watch.stage(Stage::Decrypt, encryption.digests.bytes);
    let found = reread::digests(&*file, path, watch)?;
    if found != encryption.digests {
        let expected = encryption.digests.sha256.to_string();
        let what = ArchiveFault::Checksum { expected, found: found.sha256.to_string() };
        return Err(BackupError::Archive { path: path.to_path_buf(), what });
    }
    open_sealed(file, path, &keys)
}

fn encrypted(label: &str, to: &str) -> BackupError {
    BackupError::Usage(format!(
        "backup {label} is encrypted{to}: name the file with the private key (--identity FILE)"
    ))
}

/// What an age file begins with.
const SEALED: &[u8] = b"age-encryption.org/v1\n";

fn is_sealed(file: &dyn FsFile, path: &Path) -> Result<bool, BackupError> {
    let mut bytes = [0; SEALED.len()];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(bytes == SEALED),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Finds what is wanted. A log directory is the caller's to pack first. `of` says whose
/// backups count, and the private keys open an archive whose metadata is lost.
///
/// # Errors
/// [`BackupError::NotFound`], and what is wrong with metadata or archive.
pub(crate) fn find(
    dir: &BackupDir,
    wish: &Wish,
    of: &LogChoice,
    keys: &[KeyFile],
) -> Result<Found, BackupError> {
    match wish {
        Wish::Id(id) => match dir.metadata(*id) {
            Err(error @ BackupError::NotFound { .. }) => match orphan(dir, *id) {
                Some(path) => alone(dir, &path, keys),
                None => Err(error),
            },
            metadata => by_metadata(dir, metadata?),
        },
        Wish::Latest => by_metadata(dir, latest(dir, of)?),
        Wish::Path(path) => by_path(dir, path, keys),
        Wish::Made { archive, from } => {
            Ok(Found { label: from.clone(), ..by_path(dir, archive, keys)? })
        }
    }
}

/// Whether there is anything to be found: so that nothing is made for what is not there.
///
/// # Errors
/// Why not.
pub(crate) fn is_there(dir: &BackupDir, wish: &Wish, of: &LogChoice) -> Result<(), BackupError> {
    match wish {
        Wish::Id(id) if orphan(dir, *id).is_some() => Ok(()),
        Wish::Id(id) => dir.metadata(*id).map(|_| ()),
        Wish::Latest => latest(dir, of).map(|_| ()),
        Wish::Path(path) | Wish::Made { archive: path, .. } => {
            dir.fs.meta(path).map(|_| ()).map_err(io_error("open", path))
        }
    }
}

/// The archive of that id.
fn orphan(dir: &BackupDir, id: BackupId) -> Option<PathBuf> {
    let paths = [false, true].map(|encrypted| dir.join(&id.archive(encrypted)));
    paths.into_iter().find(|path| dir.fs.entry(path).is_ok_and(|meta| meta.is_file))
}

fn by_metadata(dir: &BackupDir, metadata: Metadata) -> Result<Found, BackupError> {
    let archive = dir.join(&metadata.archive.file);
    let label = metadata.id.to_string();
    let bases = find_bases(dir, &label, &metadata.bases)?;
    Ok(Found::new(label, archive, About::Metadata(Box::new(metadata)), bases))
}

/// The good backup that reaches furthest: by epoch and records, never by name.
fn latest(dir: &BackupDir, of: &LogChoice) -> Result<Metadata, BackupError> {
    let place = dir.path().display().to_string();
    // Why there is none: what was not counted, or what this version cannot read.
    let (mut refused, mut newer) = (None, None);
    let mut found = Vec::new();
    for entry in dir.contents()?.backups {
        let metadata = match entry.metadata {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::warn!(%error, "not looked at");
                newer = newer.or(error.is_newer().then_some(error));
                continue;
            }
        };
        match of.admits(&metadata) {
            Ok(true) if dir.check_listed(&metadata, of.keys.as_ref()).is_ok() => {
                match find_bases(dir, &metadata.id.to_string(), &metadata.bases) {
                    Ok(_) => found.push(Reach::of(&metadata, &place)),
                    Err(error) => {
                        tracing::warn!(%error, "not counted");
                        refused = Some(error);
                    }
                }
            }
            Ok(_) => {}
            Err(what) => {
                let error = BackupError::metadata(dir.join(&metadata.id.metadata()), what);
                tracing::warn!(%error, "not counted");
                refused = Some(error);
            }
        }
    }
    let furthest = of_one_log(found, dir.path().to_path_buf(), &str::to_owned)?;
    match furthest.first() {
        Some(reach) => dir.metadata(reach.id),
        // That there is none which this version can read says nothing of the rest.
        None => Err(newer.or(refused).unwrap_or_else(|| BackupError::NotFound {
            wanted: of.wanted(),
            place: dir.path().to_path_buf(),
        })),
    }
}

fn by_path(dir: &BackupDir, path: &Path, keys: &[KeyFile]) -> Result<Found, BackupError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = crate::fsio::parent(path);
    let beside = BackupDir::new(dir.fs.clone(), &place);
    let meta = dir.fs.meta(path).map_err(io_error("open", path))?;
    if !meta.is_file {
        let what = ArchiveFault::Foreign("it is not a regular file".to_owned());
        return Err(BackupError::Archive { path: path.to_path_buf(), what });
    }
    match parse_name(&name) {
        Some((id, FileKind::Metadata)) => by_metadata(&beside, beside.metadata(id)?),
        Some((id, FileKind::Archive(_))) => match beside.metadata(id) {
            Ok(metadata) => by_metadata(&beside, metadata),
            Err(BackupError::NotFound { .. }) => alone(dir, path, keys),
            Err(error) => Err(error),
        },
        _ if path.extension().is_some_and(|extension| extension == "json") => {
            named_otherwise(&beside, path)
        }
        _ => alone(dir, path, keys),
    }
}

/// Metadata under another name: what it says of itself tells where it belongs.
fn named_otherwise(beside: &BackupDir, path: &Path) -> Result<Found, BackupError> {
    let bytes = beside.fs.read(path, MAX_METADATA_BYTES).map_err(io_error("read", path))?;
    let bad = |what| BackupError::metadata(path, what);
    let id = Metadata::decode(&bytes).map_err(bad)?.id;
    by_metadata(beside, Metadata::parse(&bytes, id).map_err(bad)?)
}

/// What an archive whose metadata is lost builds on; `None` where that cannot be told without
/// a private key.
///
/// # Errors
/// What is wrong with the archive.
pub(crate) fn bases_of(dir: &BackupDir, path: &Path) -> Result<Vec<Base>, BackupError> {
    let file = dir.fs.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    if is_sealed(&*file, path)? {
        return Ok(Vec::new());
    }
    Ok(last_member(&*file, path)?.0.bases)
}

/// The marker, and the lengths of the members before it.
fn last_member(file: &dyn FsFile, path: &Path) -> Result<(Marker, Vec<u64>), BackupError> {
    let foreign = |what: String| BackupError::Archive {
        path: path.to_path_buf(),
        what: ArchiveFault::Foreign(what),
    };
    let mut lengths = member_lengths(file).map_err(|error| foreign(error.to_string()))?;
    let last = lengths.pop().ok_or_else(|| foreign("it is empty".to_owned()))?;
    let members: u64 = lengths.iter().sum();
    if last > MAX_MARKER_BYTES as u64 {
        return Err(foreign(
            "it does not end in a marker: it was cut off, or auditctl did not make it".into(),
        ));
    }
    let mut bytes = vec![0; last as usize];
    file.read_exact_at(&mut bytes, members).map_err(io_error("read", path))?;
    let marker = Marker::parse(&bytes).map_err(|error| BackupError::marker(path, error))?;
    Ok((marker, lengths))
}

/// An archive without its metadata: where its members begin has to be found by
/// decompressing them, and the marker says what they are.
fn alone(dir: &BackupDir, path: &Path, keys: &[KeyFile]) -> Result<Found, BackupError> {
    let foreign = |what: String| BackupError::Archive {
        path: path.to_path_buf(),
        what: ArchiveFault::Foreign(what),
    };
    let mut file = dir.fs.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    if is_sealed(&*file, path)? {
        if keys.is_empty() {
            return Err(encrypted(&path.display().to_string(), ", and its metadata is lost"));
        }
        file = open_sealed(file, path, &identities(keys)?)?;
    }
    let (marker, lengths) = last_member(&*file, path)?;
    if marker.holes_omitted {
        return Err(foreign(
            "it lacks records, and had no room to name them: its metadata, the .json file beside \
             it, is needed"
                .to_owned(),
        ));
    }
    let range = (marker.pruned.end(), marker.tree_size);
    let stretches = rebuild(&*file, &lengths, range).map_err(foreign)?;
    let label = path.display().to_string();
    let beside = BackupDir::new(dir.fs.clone(), &crate::fsio::parent(path));
    let bases = find_bases(&beside, &label, &marker.bases)?;
    let about = About::Marker { marker: Box::new(marker), stretches };
    Ok(Found::new(label, path.to_path_buf(), about, bases))
}

/// The stretches of an archive of the records in that range.
fn rebuild(
    file: &dyn FsFile,
    lengths: &[u64],
    (begin, end): (u64, u64),
) -> Result<Vec<Stretch>, String> {
    let mut stretches = Vec::new();
    let mut unpacker = Unpacker::new();
    let (mut raw, mut offset) = (Vec::new(), 0_u64);
    for chunk in lengths.chunks(REBUILT_MEMBERS) {
        let mut hasher = Sha256::new();
        let (mut first_seq, at_first) = (None, offset);
        for &length in chunk {
            if length > MAX_MEMBER_BYTES as u64 {
                return Err(format!("the member at byte {offset} is larger than a block can be"));
            }
            let mut member = vec![0; length as usize];
            file.read_exact_at(&mut member, offset).map_err(|error| error.to_string())?;
            hasher.update(&member);
            let at = |error: String| format!("gzip member at byte {offset}: {error}");
            unpacker.unpack(&member, &mut raw).map_err(|error| at(error.to_string()))?;
            let seq = peek_seq(&raw).ok_or_else(|| at("it holds no records".to_owned()))?;
            first_seq.get_or_insert(seq);
            offset += length;
        }
        stretches.push(Stretch {
            first_seq: first_seq.unwrap_or_default(),
            records: 0,
            offset: at_first,
            stored_bytes: offset - at_first,
            sha256: Hash::from_bytes(hasher.finalize().into()),
            members: chunk.iter().map(|length| *length as u32).collect(),
        });
    }
    if stretches.is_empty() && begin < end {
        // Nothing but holes.
        let sha256 = Hash::from_bytes(Sha256::digest([]).into());
        let members = Vec::new();
        let (records, offset, stored_bytes) = (0, 0, 0);
        stretches.push(Stretch {
            first_seq: begin,
            records,
            offset,
            stored_bytes,
            sha256,
            members,
        });
    }
    // What is missing between two of them belongs to the one before.
    if let Some(first) = stretches.first_mut() {
        first.first_seq = begin;
    }
    let mut next = end;
    for stretch in stretches.iter_mut().rev() {
        let records = next.checked_sub(stretch.first_seq).filter(|records| *records > 0);
        stretch.records = records
            .ok_or_else(|| format!("record {} comes after record {next}", stretch.first_seq))?;
        next = stretch.first_seq;
    }
    Ok(stretches)
}
