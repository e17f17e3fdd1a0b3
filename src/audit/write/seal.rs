//! The log's signature under what is kept beside the log: so that who may write to
//! the directory, and has no key, cannot write it.
//!
//! A seal is a signed note whose first line says what kind of thing it is about, as it
//! does for files ([`document`](crate::audit::tree::document)), so that it never can be taken for
//! another's, or for a checkpoint:
//!
//! ```text
//! auditctl/alerts-journal v1               the kind, and its format
//! auditctl/5f0c2b9e                        the log, by the name of its keys: whatever its epoch
//! 3f786850e387550fdab836ed7e6dc881de23001b what is sealed: one line
//! ```

use super::keeper::Keeper;
use crate::audit::keys::checkpoint::{Note, VerifierKey};
use crate::audit::tree::document::Kind;

/// Seals one kind of thing.
#[derive(Debug)]
pub struct Seal {
    kind: Kind,
    keeper: Keeper,
    /// Whose seals are known: the key that signs now, and the one before it, which
    /// may have signed what was there when the key was changed.
    known: Vec<VerifierKey>,
}

impl Seal {
    pub(crate) fn new(kind: Kind, keeper: Keeper, known: Vec<VerifierKey>) -> Self {
        Self { kind, keeper, known }
    }

    fn text(&self, about: &str) -> String {
        format!("{}\n{}\n{about}\n", self.kind, self.keeper.key().verifier().name())
    }

    /// Seals a line.
    ///
    /// # Errors
    /// When it is no line, in words.
    pub fn seal(&self, about: &str) -> Result<String, String> {
        let note = self.keeper.key().sign_note(self.text(about));
        note.map(|note| note.to_string()).map_err(|error| error.to_string())
    }

    /// Whether the log's key sealed that line.
    #[must_use]
    pub fn holds(&self, about: &str, seal: &str) -> bool {
        let Ok(note) = Note::parse(seal.as_bytes()) else { return false };
        note.text() == self.text(about) && self.known.iter().any(|key| note.verify(key).is_ok())
    }
}
