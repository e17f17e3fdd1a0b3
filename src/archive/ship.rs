//! One pass of shipping: everything that the log has signed and the archive does not have yet.
//!
//! The order of what is put is what makes a kill at any moment harmless: first what the new
//! objects need to be understood (the keys, the proof of a range), then the records, and the
//! signed checkpoint last. Every object is put once, under a name that says what it holds; who
//! finds a name taken looks whether it is the same records, and goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::unless_foreign;
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, MOST_HOLES, RangeProof, signed};
use super::error::ArchiveError;
use super::find::find;
use super::layout::{Day, HostName, LAST_NAME, LogName, ObjectName, Place};
use super::log::{LogView, Pieces};
use super::names::fetch;
use super::pack::{Packed, Until, pack};
use super::position::{FILE as POSITION_FILE, Position};
use super::spool::Spool;
use crate::audit::keys::checkpoint::MAX_NOTE_BYTES;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::{Marker, MarkerError};
use crate::clock::{Clock, Timestamp};
use crate::fsio::SharedFs;
use crate::store::{BackupStore, Body, Put, StoreError, StoreErrorKind};

/// What was accepted later than now by more than that tells that the clock was set back.
const CLOCK_SLACK_MICROS: i64 = 60_000_000;
const GZIP: &str = "application/gzip";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// When a tail becomes a data object, and how large objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// A data object ends with the block that brings it to so many stored bytes. Default 64 MiB.
    pub data_bytes: u64,
    /// What is not in a data object yet becomes one when it is this old. Default one hour.
    pub data_age: Duration,
    /// More than so many stored bytes at once go into a data object instead of a tail. Default
    /// 8 MiB.
    pub tail_bytes: u64,
    /// How hard what the log has not compressed yet is compressed: 1 fast, 9 small. Default 6.
    pub level: u32,
    /// Whether each data object gets a Parquet file beside it. Default true, in a build with the
    /// feature `parquet`; without effect in others.
    pub parquet: bool,
}

impl Default for Cuts {
    fn default() -> Self {
        let data_age = Duration::from_secs(3_600);
        let parquet = cfg!(feature = "parquet");
        Self { data_bytes: 64 << 20, data_age, tail_bytes: 8 << 20, level: 6, parquet }
    }
}

/// Ships a log to an archive.
#[derive(Clone, Debug)]
pub struct Archiver {
    /// The file system.
    pub fs: SharedFs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The archive.
    pub store: Arc<dyn BackupStore>,
    /// The log's directory.
    pub log_dir: PathBuf,
    /// The host, as it stands in the names of objects.
    pub host: HostName,
    /// When what is cut.
    pub cuts: Cuts,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The log.
    pub log: LogName,
    /// How many records are in the archive, under a signed checkpoint that is there as well.
    pub tree_size: u64,
    /// The root over them.
    pub root_hash: Hash,
    /// How many of them came with this pass.
    pub records: u64,
    /// How many bytes were put.
    pub bytes: u64,
    /// The objects that were put, in their order.
    pub objects: Vec<ObjectName>,
    /// Up to which record data objects hold everything.
    pub data_end: u64,
    /// How many records retention removed before a data object held them, as this pass found.
    pub removed_unshipped: u64,
    /// How many there were in all, as far as the position's file reaches back.
    pub removed_unshipped_ever: u64,
    /// The Parquet objects that are not beside their data objects. Nothing else is missing
    /// for it.
    pub not_made: Vec<NotMade>,
}

/// A Parquet object that is not there, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMade {
    /// Its name.
    pub object: ObjectName,
    /// Why.
    pub why: String,
}

impl Shipped {
    /// What a pass after it did that found nothing new.
    pub(super) fn again(&self) -> Self {
        let objects = Vec::new();
        let not_made = Vec::new();
        Self { records: 0, bytes: 0, objects, removed_unshipped: 0, not_made, ..self.clone() }
    }
}

impl Archiver {
    /// Ships what is new. Reads the log beside its writer, without its lock.
    ///
    /// # Errors
    /// See [`ArchiveError`]. What was put stays, and the next pass goes on from there.
    pub fn pass(&self, watch: &dyn Watch) -> Result<Shipped, ArchiveError> {
        // Where there is no log, no lock is left behind.
        LogView::take(&self.fs, &self.log_dir)?;
        self.begin()?.pass(self, watch)
    }

    /// The archive's URL, which a position is of.
    pub(super) fn destination(&self) -> String {
        self.store.url("")
    }

    /// One pass over a log from a position; what came of it, and where it ended.
    pub(super) fn pass_over(
        &self,
        log: &LogView,
        Begin { mut position, is_certain, mut removed }: Begin,
        watch: &dyn Watch,
    ) -> Result<(Shipped, Position), ArchiveError> {
        watch.stage(Stage::Upload, 0);
        let name = log.name();
        let mut before = position.shipped.end();
        let mut pass = Pass {
            archiver: self,
            log,
            name,
            watch,
            objects: Vec::new(),
            bytes: 0,
            adopted: 0,
            not_made: Vec::new(),
        };
        match pass.run(&mut position) {
            // The position may be one of another day: the archive is asked, once.
            Err(ArchiveError::LogDamaged(_)) if !is_certain => {
                Begin { position, removed, .. } = self.found(log, name)?;
                before = position.shipped.end();
                pass.run(&mut position)?;
            }
            done => done?,
        }
        let Pass { objects, bytes, adopted, not_made, .. } = pass;
        let shipped = Shipped {
            tree_size: log.size(),
            root_hash: log.checkpoint().root,
            records: log.size().saturating_sub(before + adopted),
            bytes,
            objects,
            data_end: position.data.end(),
            removed_unshipped: removed,
            removed_unshipped_ever: position.removed_unshipped,
            not_made,
            log: name.clone(),
        };
        Ok((shipped, position))
    }

    /// The position by its file where that fits the log, else by what the archive has.
    pub(super) fn position(&self, log: &LogView, name: &LogName) -> Result<Begin, ArchiveError> {
        let kept = self.kept(name)?.filter(|kept| {
            kept.epoch == name.epoch()
                && kept.shipped.end() <= log.size()
                && kept.data.end() >= log.removed().end()
        });
        match kept {
            Some(kept) if self.is_borne_out(&kept, log)? => {
                Ok(Begin { position: kept, is_certain: false, removed: 0 })
            }
            _ => self.found(log, name),
        }
    }

    /// What the position's file says of this log and this archive.
    fn kept(&self, name: &LogName) -> Result<Option<Position>, ArchiveError> {
        let endpoint = self.store.endpoint()?;
        Ok(Position::load(&*self.fs, &self.log_dir)?.filter(|kept| {
            kept.log_id == name.id()
                && kept.destination == self.destination()
                && kept.endpoint == endpoint
        }))
    }

    /// Whether a position that was read from its file may be believed. Who can write the file
    /// could say that records are in data objects that are in none: the next checkpoint would
    /// commit them. So what it says of data has to be what a checkpoint in the archive says.
    fn is_borne_out(&self, kept: &Position, log: &LogView) -> Result<bool, ArchiveError> {
        if !kept.committed {
            return Ok(kept.data == *log.removed() && self.is_there(kept, log.name())?);
        }
        let name = ObjectName::Checkpoint(log.name().clone(), kept.data.end());
        let note = match unless_foreign(fetch(&*self.store, &name, MAX_NOTE_BYTES as u64))? {
            Ok(note) => note,
            Err(error) => {
                tracing::warn!("{error}: the archive is asked");
                None
            }
        };
        let root = kept.data.root().ok();
        let says_so = note
            .and_then(|note| signed(&note, log.name(), log.keys()).ok())
            .is_some_and(|checkpoint| Some(checkpoint.root) == root);
        if !says_so {
            let object = self.store.url(&name.to_string());
            tracing::warn!("{object} does not say what {POSITION_FILE} does: the archive is asked");
        }
        Ok(says_so)
    }

    /// Whether the archive has what the position implies: it may have been emptied, or be
    /// another one, as where a disk is not mounted. One object is asked for.
    pub(super) fn is_there(&self, kept: &Position, name: &LogName) -> Result<bool, ArchiveError> {
        let implied = match kept.key_changes {
            _ if kept.committed => ObjectName::Checkpoint(name.clone(), kept.data.end()),
            Some(changes) => ObjectName::Keys(name.clone(), changes, 0),
            None => return Ok(false),
        };
        match self.store.stat(&implied.to_string()) {
            Ok(Some(_)) => Ok(true),
            // Who may not list is told "denied" of what is not there.
            Ok(None) | Err(StoreError { kind: StoreErrorKind::AccessDenied, .. }) => {
                let object = self.store.url(&implied.to_string());
                tracing::warn!("{object} should be there and is not: the archive is asked");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn found(&self, log: &LogView, name: &LogName) -> Result<Begin, ArchiveError> {
        let found = find(&self.store, log).map_err(|error| match error {
            ArchiveError::Store(error) => denied(*error, LISTS).into(),
            error => error,
        })?;
        let kept = self.kept(name)?;
        let before = kept.as_ref().map_or(0, |kept| kept.removed_unshipped);
        // What a pass found that then failed is found again, and counted once.
        let counted = kept.filter(|kept| kept.epoch == name.epoch()).map_or(0, |it| it.removed_to);
        let removed_to = log.removed().end();
        let more = found.removed.min(removed_to.saturating_sub(counted));
        let position = Position {
            log_id: name.id().to_owned(),
            epoch: name.epoch(),
            destination: self.destination(),
            endpoint: self.store.endpoint()?,
            shipped: found.data.clone(),
            data: found.data,
            committed: found.committed,
            // Tails would not follow what is there: what comes after a gap is made data at once.
            tail_since: (found.removed > 0).then(Timestamp::default),
            tail_bytes: 0,
            // Put again: that a name is there does not say whose it is.
            key_changes: None,
            shipped_at: self.clock.now(),
            removed_unshipped: before.saturating_add(more),
            removed_to: if found.removed > 0 { removed_to } else { counted.min(removed_to) },
            checkpoint: None,
        };
        Ok(Begin { position, is_certain: true, removed: found.removed })
    }

    /// Whether what is in no data object yet is to become one: by its age, or because a day
    /// has ended.
    pub(super) fn is_due(&self, position: &Position, since: Option<Timestamp>) -> bool {
        let Some(since) = since else { return false };
        let now = self.clock.now();
        let age = now.micros().saturating_sub(since.micros());
        let most = i64::try_from(self.cuts.data_age.as_micros()).unwrap_or(i64::MAX);
        // A clock that was ahead, and was set back since: waiting for that time would take as long.
        let is_ahead = age < -CLOCK_SLACK_MICROS;
        age >= most
            || is_ahead
            || Day::of(now) > Day::of(since)
            || position.tail_bytes >= self.cuts.data_bytes
    }

    /// How large an object may be: the log's own disk is not filled for it.
    fn room(&self, wanted: u64) -> u64 {
        let available = self.fs.space(&self.log_dir).map_or(u64::MAX, |space| space.available);
        wanted.min((available / 4).max(64 << 10))
    }

    pub(super) fn keep(&self, position: &Position) -> Result<(), ArchiveError> {
        position.store(&*self.fs, &self.log_dir)
    }
}

/// Where a pass begins.
pub(super) struct Begin {
    pub(super) position: Position,
    /// Whether it is by what the archive has.
    pub(super) is_certain: bool,
    /// How many records retention removed that no data object holds.
    pub(super) removed: u64,
}

/// A pass at work.
pub(super) struct Pass<'a> {
    pub(super) archiver: &'a Archiver,
    pub(super) log: &'a LogView,
    pub(super) name: &'a LogName,
    pub(super) watch: &'a dyn Watch,
    objects: Vec<ObjectName>,
    bytes: u64,
    /// Records of tails that were there already.
    pub(super) adopted: u64,
    pub(super) not_made: Vec<NotMade>,
}

/// What came of putting an object.
pub(super) enum PutResult {
    Stored,
    /// The name is taken, and by other bytes.
    Taken,
}

impl Pass<'_> {
    fn run(&mut self, position: &mut Position) -> Result<(), ArchiveError> {
        let size = self.log.size();
        if position.shipped.end() >= size {
            // Nothing new; what is old enough is made a table of all the same.
            self.check(&position.shipped)?;
            if position.committed && position.data.end() == size || size == self.log.removed().end()
            {
                return Ok(());
            }
            if !self.archiver.is_due(position, position.tail_since) {
                return Ok(());
            }
            return self.cut(position);
        }
        self.put_keys(position)?;
        if !self.has_begun_data(position) && self.tail(position)? {
            return Ok(());
        }
        self.cut(position)
    }

    /// Whether a data object was put that no checkpoint commits yet.
    fn has_begun_data(&self, position: &Position) -> bool {
        !position.committed && position.data.end() > self.log.removed().end()
    }

    /// The signed tree has to be the one that everything adds up to.
    fn check(&self, tree: &Range) -> Result<(), ArchiveError> {
        let checkpoint = self.log.checkpoint();
        if tree.end() == checkpoint.size && tree.root().is_ok_and(|root| root == checkpoint.root) {
            return Ok(());
        }
        Err(ArchiveError::LogDamaged(format!(
            "the records up to {} are not those under its checkpoint over {}",
            tree.end(),
            checkpoint.size
        )))
    }

    /// Ships what is new as a tail; false where it is to be a data object instead.
    fn tail(&mut self, position: &mut Position) -> Result<bool, ArchiveError> {
        while position.shipped.end() < self.log.size() {
            if !self.next_tail(position)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One tail: a new one, or one that an earlier pass put and whose end was not noted.
    fn next_tail(&mut self, position: &mut Position) -> Result<bool, ArchiveError> {
        let (first, end) = (position.shipped.end(), self.log.size());
        if self.archiver.is_due(position, position.tail_since) {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        let mut pieces = self.log.pieces(first);
        let cuts = self.archiver.cuts;
        let (stored_bytes, holes) = (cuts.tail_bytes, MOST_HOLES);
        let until = Until { end, stored_bytes, holes, at_midnight: false };
        let packed = pack(&mut pieces, first, until, cuts.level, &mut bytes, self.watch)?;
        if packed.tree.end() < end {
            return Ok(false);
        }
        let mut tree = position.shipped.clone();
        join(&mut tree, &packed.tree)?;
        self.check(&tree)?;
        let since = position.tail_since.or(packed.accepted.map(|(first, _)| first));
        if self.archiver.is_due(position, since) {
            return Ok(false);
        }
        // Where keys or holes leave no room in it, a data object is made: its proof has room.
        let Some(marker) = self.marker(&position.shipped, &packed)? else { return Ok(false) };
        bytes.extend_from_slice(&marker);
        let tail = |nth| ObjectName::Tail(self.name.clone(), first, nth);
        for name in (0..=LAST_NAME).map(tail) {
            match self.put(&name, Body::Bytes(&bytes), GZIP)? {
                PutResult::Stored => break,
                PutResult::Taken if self.adopts(&name, position)? => return Ok(true),
                PutResult::Taken if name.is_last() => return Err(self.no_name(&name)),
                PutResult::Taken => {}
            }
        }
        position.shipped = tree;
        position.tail_since = since;
        position.tail_bytes += bytes.len() as u64;
        position.shipped_at = self.archiver.clock.now();
        position.checkpoint = Some(self.log.note());
        self.archiver.keep(position)?;
        Ok(true)
    }

    /// `None` where it is larger than a gzip header can hold.
    fn marker(&self, before: &Range, packed: &Packed) -> Result<Option<Vec<u8>>, ArchiveError> {
        let checkpoint = self.log.checkpoint();
        let marker = Marker {
            log_id: self.name.id().to_owned(),
            epoch: self.name.epoch(),
            pruned: before.clone(),
            bases: Vec::new(),
            tree_size: checkpoint.size,
            root_hash: checkpoint.root,
            members: packed.members,
            holes: packed.holes.clone(),
            holes_omitted: false,
            checkpoint: self.log.note(),
            public_key: self.log.public_key(),
            // They are in `proof/`.
            key_chain: Vec::new(),
            key_chain_omitted: !self.log.keys().rotations().is_empty(),
        };
        match marker.member() {
            Ok(member) => Ok(Some(member)),
            Err(MarkerError::TooLarge(_)) => Ok(None),
            Err(error) => Err(ArchiveError::LogDamaged(error.to_string())),
        }
    }

    /// Everything that no data object holds becomes data objects, up to the checkpoint, which
    /// is put last.
    fn cut(&mut self, position: &mut Position) -> Result<(), ArchiveError> {
        self.put_keys(position)?;
        let size = self.log.size();
        while position.data.end() < size {
            let first = position.data.end();
            let mut pieces = self.log.pieces(first);
            self.data_object(position, &mut pieces)?;
            position.committed = false;
            if position.shipped.end() < position.data.end() {
                position.shipped = position.data.clone();
            }
            if position.data.end() < size {
                self.keep_begun(position)?;
            }
        }
        self.check(&position.data)?;
        self.commit()?;
        position.committed = true;
        position.shipped = position.data.clone();
        position.tail_since = None;
        position.tail_bytes = 0;
        position.shipped_at = self.archiver.clock.now();
        position.checkpoint = Some(self.log.note());
        self.archiver.keep(position)
    }

    /// In the middle of a cut, tails that were shipped before count no more.
    fn keep_begun(&self, position: &Position) -> Result<(), ArchiveError> {
        let shipped = position.data.clone();
        self.archiver.keep(&Position { shipped, ..position.clone() })
    }

    fn data_object(
        &mut self,
        position: &mut Position,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), ArchiveError> {
        let cuts = self.archiver.cuts;
        let end = self.log.size();
        let stored_bytes = self.archiver.room(cuts.data_bytes);
        let until = Until { end, stored_bytes, holes: MOST_HOLES, at_midnight: true };
        let spool = Spool::new(&self.archiver.fs, &self.archiver.log_dir)?;
        let (packed, digests) = spool
            .fill(|out| pack(pieces, position.data.end(), until, cuts.level, out, self.watch))?;
        let proof = self.proof(&position.data, &packed)?;
        let bytes = proof.encode().map_err(ArchiveError::LogDamaged)?;
        let first = packed.span().first;
        let mut claimed = None;
        let range = |nth| ObjectName::Range(self.name.clone(), first, nth);
        for name in (0..=LAST_NAME).map(range) {
            if let PutResult::Stored = self.put(&name, Body::Bytes(&bytes), JSON)? {
                break;
            }
            claimed = self.claimed(&name, &position.data)?.map(|proof| (name.clone(), proof));
            if claimed.is_some() {
                break;
            }
            if name.is_last() {
                return Err(self.no_name(&name));
            }
        }
        let (proof, spool, digests) = match claimed {
            None => (proof, spool, digests),
            Some((name, claimed)) => {
                // An earlier pass began here, or somebody else: the cut is the one that it made.
                let span = claimed.span();
                let (stored_bytes, holes) = (u64::MAX, usize::MAX);
                let until = Until { end: span.end, stored_bytes, holes, at_midnight: false };
                drop(spool);
                let spool = Spool::new(&self.archiver.fs, &self.archiver.log_dir)?;
                let mut pieces = self.log.pieces(span.first);
                let (packed, digests) = spool.fill(|out| {
                    pack(&mut pieces, span.first, until, cuts.level, out, self.watch)
                })?;
                if packed.tree != claimed.tree {
                    return Err(self.contradicted(&name, "the log has other records there"));
                }
                (claimed, spool, digests)
            }
        };
        let object: ObjectName = proof.data.parse().map_err(|error| ArchiveError::Object {
            object: proof.data.clone(),
            what: format!("{error}"),
        })?;
        let body = Body::File { path: &spool.path, digests: &digests };
        if let PutResult::Taken = self.put(&object, body, GZIP)? {
            self.is_same_data(&object, &proof)?;
        }
        // One object at a time takes room beside the log.
        drop(spool);
        #[cfg(feature = "parquet")]
        self.put_table(&proof)?;
        join(&mut position.data, &proof.tree)
    }

    fn proof(&self, before: &Range, packed: &Packed) -> Result<RangeProof, ArchiveError> {
        let size = self.log.size();
        let span = packed.span();
        let after = self.log.range(span.end, size)?.ok_or_else(|| {
            ArchiveError::LogDamaged(format!("record {} cannot be read", span.end))
        })?;
        let mut tree = before.clone();
        join(&mut tree, &packed.tree)?;
        join(&mut tree, &after)?;
        self.check(&tree)?;
        let of_hole = packed.holes.first().map(|hole| (hole.min_timestamp, hole.max_timestamp));
        let (first_accepted, last_accepted) = packed.accepted.or(of_hole).unwrap_or_else(|| {
            let now = self.archiver.clock.now();
            (now, now)
        });
        let place = Place {
            day: Day::of(first_accepted),
            host: self.archiver.host.clone(),
            log: self.name.clone(),
            span,
        };
        Ok(RangeProof {
            log_id: self.name.id().to_owned(),
            epoch: self.name.epoch(),
            data: ObjectName::Data(place).to_string(),
            before: before.clone(),
            tree: packed.tree.clone(),
            after,
            checkpoint: self.log.note(),
            holes: packed.holes.clone(),
            first_accepted,
            last_accepted,
        })
    }

    /// The signed checkpoint: the commit mark.
    fn commit(&mut self) -> Result<(), ArchiveError> {
        let note = self.log.note();
        let name = ObjectName::Checkpoint(self.name.clone(), self.log.size());
        if let PutResult::Stored = self.put(&name, Body::Bytes(note.as_bytes()), TEXT)? {
            return Ok(());
        }
        // Others may have signed it as well since; that changes nothing.
        let there = fetch(&*self.archiver.store, &name, MAX_NOTE_BYTES as u64)?
            .ok_or_else(|| self.gone(&name))?;
        match signed(&there, self.name, self.log.keys()) {
            Ok(found) if found.root == self.log.checkpoint().root => Ok(()),
            Ok(_) => Err(self.contradicted(&name, "a key of the log signed another root there")),
            Err(what) => Err(ArchiveError::Object { object: self.url(&name), what }),
        }
    }

    fn put_keys(&mut self, position: &mut Position) -> Result<(), ArchiveError> {
        let keys = self.log.keys();
        let changes = u32::try_from(keys.rotations().len()).unwrap_or(u32::MAX);
        if position.key_changes == Some(changes) {
            return Ok(());
        }
        let document = KeysDocument {
            log_id: self.name.id().to_owned(),
            public_key: keys.newest().to_string(),
            rotations: keys.rotations().to_vec(),
        };
        let bytes = document.encode().map_err(ArchiveError::LogDamaged)?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            let name = ObjectName::Keys(self.name.clone(), changes, 0);
            let what = format!("{changes} changes of the key are more than an archive can hold");
            return Err(ArchiveError::Object { object: self.url(&name), what });
        }
        let named = |nth| ObjectName::Keys(self.name.clone(), changes, nth);
        for name in (0..=LAST_NAME).map(named) {
            if let PutResult::Stored = self.put(&name, Body::Bytes(&bytes), JSON)? {
                break;
            }
            let there = fetch(&*self.archiver.store, &name, MAX_DOCUMENT_BYTES);
            let read = there.and_then(|there| {
                let read =
                    KeysDocument::read(&there.ok_or_else(|| self.gone(&name))?, self.name.id());
                read.map_err(|error| error.of(self.url(&name)))
            });
            match unless_foreign(read)? {
                Ok((found, _)) if found.public_key == document.public_key => break,
                Ok((_, ring)) if ring.contains(keys.newest()) || keys.contains(ring.newest()) => {
                    return Err(self.contradicted(&name, "it names other keys than the log has"));
                }
                _ if name.is_last() => return Err(self.no_name(&name)),
                _ => {
                    self.is_foreign(&name, "it does not hold the log's keys");
                }
            }
        }
        position.key_changes = Some(changes);
        Ok(())
    }

    pub(super) fn put(
        &mut self,
        name: &ObjectName,
        body: Body<'_>,
        content_type: &'static str,
    ) -> Result<PutResult, ArchiveError> {
        if self.watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let bytes = body.digests().bytes;
        let stopped = || self.watch.interrupted();
        let put =
            Put { interrupted: Some(&stopped), looks_first: false, ..Put::new(body, content_type) };
        match self.archiver.store.put_new(&name.to_string(), put) {
            Ok(_) => {
                self.watch.advance(bytes);
                self.bytes += bytes;
                self.objects.push(name.clone());
                Ok(PutResult::Stored)
            }
            Err(StoreError { kind: StoreErrorKind::ExistsAndDiffers, .. }) => Ok(PutResult::Taken),
            Err(error) => Err(denied(error, PUTS).into()),
        }
    }
}

const PUTS: &str = "put objects under its own names, or ask for them afterwards (on S3: \
                    s3:PutObject; s3:GetObject, which HEAD needs)";
const LISTS: &str = "list its own names, which it needs where its position is lost, or read what \
                     is there (on S3: s3:ListBucket, s3:GetObject)";

/// What a host has to be allowed, where it is not.
fn denied(error: StoreError, needs: &str) -> StoreError {
    if error.kind != StoreErrorKind::AccessDenied {
        return error;
    }
    error.hint(format!(
        "the credentials do not let the host {needs}. docs/archive.md, under Permissions, has the \
         policy that a host needs"
    ))
}

fn join(tree: &mut Range, next: &Range) -> Result<(), ArchiveError> {
    tree.extend(next).map_err(|error| ArchiveError::LogDamaged(error.to_string()))
}
