//! How much room a file system has to have: for the writer, and for health, which says
//! how much is missing.

use crate::fsio::Space;

/// Recording resumes on a disk without reserve when so much is free.
const RESUME_BYTES: u64 = 1 << 20;
/// Recording resumes when so many files can be made: the reserve, a fresh segment, a
/// compressed one, and what replaces a checkpoint.
pub(crate) const RESUME_FILES: u64 = 4;
/// A file system with many files is not low on them while there are so many more.
const WARN_FILES: u64 = 1_000;
const CRITICAL_FILES: u64 = 100;

/// Recording resumes when so many bytes are free: a new reserve, and as much again.
pub(crate) fn resume_bytes(reserve: u64) -> u64 {
    reserve.saturating_mul(2).max(RESUME_BYTES)
}

/// Whether the files are there that a writer needs to go on.
pub(crate) fn has_files(space: Space) -> bool {
    space.files_left().is_none_or(|left| left >= RESUME_FILES)
}

/// Below how many files left it warns and is critical; `None` where the file system
/// sets no limit.
pub(crate) fn file_limits(space: Space, percent: (u8, u8)) -> Option<(u64, u64)> {
    let total = space.files_left().map(|_| space.files_total)?;
    let part = |percent: u8| u64::try_from(u128::from(total) * u128::from(percent) / 100);
    let critical = part(percent.1).unwrap_or(u64::MAX).clamp(RESUME_FILES, CRITICAL_FILES);
    let warn = part(percent.0).unwrap_or(u64::MAX).min(WARN_FILES).max(critical);
    Some((warn, critical))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files_total: u64, files_available: u64) -> Space {
        Space { files_total, files_available, ..Space::default() }
    }

    #[test]
    fn the_smaller_of_share_and_number_counts_and_no_fewer_than_a_writer_needs() {
        for (total, limits) in
            [(10_000_000, (1_000, 100)), (1_000, (100, 50)), (18, (4, 4)), (u64::MAX, (1_000, 100))]
        {
            assert_eq!(file_limits(files(total, 1), (10, 5)), Some(limits), "{total}");
        }
    }

    #[test]
    fn a_file_system_without_a_limit_on_files_is_never_short_of_them() {
        assert_eq!(file_limits(files(0, 0), (10, 5)), None);
        assert!(has_files(files(0, 0)) && has_files(files(18, 4)) && !has_files(files(18, 3)));
    }
}
