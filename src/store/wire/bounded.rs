//! How much of an answer is taken. The providers' libraries collect whatever a
//! server sends, and then make something many times as large of it: so it is counted
//! below them, as it comes.

use std::error::Error;
use std::fmt;

use super::super::error::{StoreError, StoreErrorKind};

/// How much of an answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    bytes: u64,
    /// XML's `<`, JSON's `{` and `[`: each may become some hundred bytes in memory.
    openings: u64,
}

impl Bound {
    /// Documents: pages of a list, refusals, tokens. A thousand objects with names of the
    /// greatest length, escaped, are less.
    pub(crate) const DOCUMENT: Self = Self { bytes: 4 << 20, openings: 64 << 10 };
    /// The list of an upload's blocks, of which Azure keeps up to 100,000.
    #[cfg(feature = "azure")]
    pub(crate) const BLOCK_LIST: Self = Self { bytes: 16 << 20, openings: 700_000 };

    /// So many bytes, whatever they are.
    #[cfg(feature = "azure")]
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes, openings: u64::MAX }
    }

    /// For the next piece: what is left after it.
    ///
    /// # Errors
    /// It is more than that.
    pub(crate) fn after(&mut self, piece: &[u8]) -> Result<(), TooMuch> {
        self.bytes = self.bytes.checked_sub(piece.len() as u64).ok_or(TooMuch)?;
        if self.openings != u64::MAX {
            let opened = memchr::memchr3_iter(b'<', b'{', b'[', piece).count() as u64;
            self.openings = self.openings.checked_sub(opened).ok_or(TooMuch)?;
        }
        Ok(())
    }
}

/// An answer is longer than any that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the answer is longer than any that makes sense (4 MiB; for a range, its length)",
        )
    }
}

impl Error for TooMuch {}

impl TooMuch {
    /// As the store's failure; trying again would only fetch it again.
    pub(crate) fn of(url: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Other, url, Self.to_string())
            .hint("the store is broken, or not the store that it claims to be")
    }

    /// Whether that is what is behind an error of a library's.
    pub(crate) fn is_behind(error: &(dyn Error + 'static)) -> bool {
        let mut at = Some(error);
        while let Some(error) = at {
            if error.is::<Self>() {
                return true;
            }
            // `io::Error` shows the source of what it wraps, and not that itself.
            let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if inside.is_some_and(|inside| Self::is_behind(inside)) {
                return true;
            }
            at = error.source();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_what_becomes_many_bytes_are_counted_over_all_pieces() {
        let page = b"<Contents><Key>a</Key></Contents>";
        let mut bound = Bound::DOCUMENT;
        let taken = (0..).take_while(|_| bound.after(page).is_ok()).count();
        assert_eq!(taken, (64 << 10) / 4);
        let mut bound = Bound::DOCUMENT;
        let taken = (0..).take_while(|_| bound.after(&[b'x'; 1 << 20]).is_ok()).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn it_is_found_behind_what_libraries_make_of_it() {
        let wrapped = std::io::Error::other(std::io::Error::other(TooMuch));
        assert!(TooMuch::is_behind(&wrapped));
        assert!(!TooMuch::is_behind(&std::io::Error::other("x")));
    }
}
