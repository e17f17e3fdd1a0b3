//! What whoever runs a collector is told about witnesses, each with a name that stays.

use crate::coded::coded;

coded! {
    /// What is told about witnesses. What to do about each is in the table of
    /// docs/codes.md.
    #[cfg_attr(not(feature = "testing"), non_exhaustive)]
    enum WitnessNotice;
    /// A witness does not cosign.
    Failing = "witness_failing",
    /// A witness has cosigned more than the log has.
    Ahead = "witness_ahead",
    /// The log does not continue what a witness cosigned.
    Contradicted = "witness_contradicted",
    /// What witnesses cosigned cannot be stored.
    Unstored = "witness_unstored",
}

impl WitnessNotice {
    /// A message with its code.
    #[must_use]
    pub fn says(self, text: &str) -> String {
        crate::coded::says(text, self.code())
    }
}
