//! The Parquet objects beside data objects: each has to give the very records again.

use crate::archive::{ArchiveError, Bucket, Place, RangeProof};

/// What came of comparing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// There is none.
    Absent,
    /// It gives the records.
    Same,
    /// It does not, or would mislead an engine.
    Differs(String),
}

/// Makes the lines again from the columns, and compares them with what was signed.
#[cfg(feature = "parquet")]
pub(crate) fn compare(
    bucket: &Bucket,
    place: &Place,
    proof: &RangeProof,
) -> Result<Option<Compared>, ArchiveError> {
    use crate::archive::parquet::{Lines, check};
    use crate::archive::{MAX_OBJECT_BYTES, ObjectName};

    let name = ObjectName::Parquet(place.clone());
    let bytes = match bucket.fetch(&name, MAX_OBJECT_BYTES) {
        Ok(bytes) => bytes,
        Err(ArchiveError::Missing { .. }) => return Ok(Some(Compared::Absent)),
        Err(ArchiveError::Object { what, .. }) => return Ok(Some(Compared::Differs(what))),
        Err(error) => return Err(error),
    };
    let checked = Lines::of(bytes, place).and_then(|mut lines| check(&mut lines, proof));
    Ok(Some(match checked {
        Ok(()) => Compared::Same,
        Err(error) => Compared::Differs(error.to_string()),
    }))
}

/// This build cannot read Parquet.
#[cfg(not(feature = "parquet"))]
#[expect(clippy::unnecessary_wraps, reason = "builds with the feature can fail here")]
pub(crate) fn compare(
    _: &Bucket,
    _: &Place,
    _: &RangeProof,
) -> Result<Option<Compared>, ArchiveError> {
    let _ = (Compared::Absent, Compared::Same, Compared::Differs);
    Ok(None)
}
