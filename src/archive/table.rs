//! The Parquet object beside a data object: made from the log, read back, and only then sent.
//!
//! It is derived, and the data object is the evidence: whatever is wrong with the one never
//! keeps the other from being shipped and committed.

use std::sync::Arc;

use super::documents::RangeProof;
use super::error::{ArchiveError, io_error};
use super::layout::{ObjectName, Place};
use super::log::Piece;
use super::members::MAX_OBJECT_BYTES;
use super::names::fetch;
use super::parquet::{Lines, ParquetError, Writer, check};
use super::ship::{NotMade, Pass, PutResult};
use super::spool::Spool;
use crate::fsio::OpenMode;
use crate::store::{Body, Digests};

const PARQUET: &str = "application/vnd.apache.parquet";

impl Pass<'_> {
    /// Puts the Parquet object of a range whose data object is there.
    pub(super) fn put_table(&mut self, proof: &RangeProof) -> Result<(), ArchiveError> {
        if !self.archiver.cuts.parquet {
            return Ok(());
        }
        let Ok(ObjectName::Data(place)) = proof.data.parse() else { return Ok(()) };
        let object = ObjectName::Parquet(place.clone());
        let why = match self.try_table(&object, &place, proof) {
            Ok(()) => return Ok(()),
            // The next pass begins with this range again.
            Err(ArchiveError::Interrupted) => return Err(ArchiveError::Interrupted),
            Err(ArchiveError::Store(error)) if error.retryable => {
                return Err(ArchiveError::Store(error));
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!("{}: no Parquet object there: {why}", self.url(&object));
        self.not_made.push(NotMade { object, why });
        Ok(())
    }

    fn try_table(
        &mut self,
        object: &ObjectName,
        place: &Place,
        proof: &RangeProof,
    ) -> Result<(), ArchiveError> {
        let archiver = self.archiver;
        let spool = Spool::new(&archiver.fs, &archiver.log_dir)?;
        let ((), digests) = spool.fill(|out| {
            let wrong = |error| self.not_so(object, error);
            let mut table = Writer::new(out, place.clone()).map_err(wrong)?;
            for piece in self.log.pieces(place.span.first) {
                if self.watch.interrupted() {
                    return Err(ArchiveError::Interrupted);
                }
                let Piece::Lines(mut lines) = piece? else { continue };
                if lines.first_seq >= place.span.end {
                    break;
                }
                let rest = lines.cut(place.span.end);
                table.add(lines.raw).map_err(wrong)?;
                if rest.is_some() {
                    break;
                }
            }
            table.finish().map(drop).map_err(wrong)
        })?;
        self.send_table(object, place, proof, &spool, &digests)
    }

    /// What was written is read back: what does not give the records again is not sent.
    fn send_table(
        &mut self,
        object: &ObjectName,
        place: &Place,
        proof: &RangeProof,
        spool: &Spool<'_>,
        digests: &Digests,
    ) -> Result<(), ArchiveError> {
        let file = self.archiver.fs.open(&spool.path, OpenMode::Read);
        let file = Arc::from(file.map_err(io_error("open", &spool.path))?);
        let mut lines = Lines::open(file, place).map_err(|error| self.not_so(object, error))?;
        check(&mut lines, proof).map_err(|error| self.not_so(object, error))?;
        let body = Body::File { path: &spool.path, digests };
        if let PutResult::Stored = self.put(object, body, PARQUET)? {
            return Ok(());
        }
        // A pass before this one put it, perhaps of another version, which writes other bytes.
        let there = fetch(&*self.archiver.store, object, MAX_OBJECT_BYTES)?
            .ok_or_else(|| self.gone(object))?;
        Lines::of(there, place)
            .and_then(|mut lines| check(&mut lines, proof))
            .map_err(|error| self.not_so(object, error))
    }

    fn not_so(&self, object: &ObjectName, error: ParquetError) -> ArchiveError {
        ArchiveError::Object { object: self.url(object), what: error.to_string() }
    }
}
