//! Chance, as whoever verifies draws it: nobody else can foresee what will be read.

use std::fmt;
use std::sync::Arc;

/// Where numbers come from that nobody can foresee.
#[derive(Clone)]
pub struct Chance(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl Chance {
    /// The operating system's, which is the default.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).ok()?;
            Some(u64::from_le_bytes(bytes))
        })
    }

    /// From a function that gives numbers of which every bit is as likely set as not:
    /// for tests, which have to be the same in each run. `None` is "no randomness".
    #[must_use]
    pub fn from_fn(draw: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// A number below `limit`, each as likely as the others; `None` when the system
    /// gives no randomness.
    pub(super) fn below(&self, limit: usize) -> Option<usize> {
        let drawn = u128::from((self.0)()?);
        // The high half of the product: the bias is below 2^-40 for any log's number
        // of segments.
        Some(((drawn * limit as u128) >> 64) as usize)
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}
