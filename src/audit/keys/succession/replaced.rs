//! A key that was replaced although nobody had the one before: the new key says so,
//! and says what the old one had signed. Nobody signed the succession.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Handover, Place, Rotation, RotationError};
use crate::audit::keys::checkpoint::{Note, Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::signer::SigningKey;
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// The event type of the record of a key that was replaced.
pub const KEY_REPLACED: &str = "audit.key_replaced";

/// Why a key was replaced and by whom, in `audit.keys`, under the new key's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The epoch that the new key begins.
    pub epoch: u32,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub uid: u32,
    /// That user's name, where the system knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why.
    pub reason: String,
    /// The new key's signature over all of it, as a signed note.
    pub signature: String,
}

/// What a succession that nobody signed rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
    /// Why.
    pub reason: String,
    /// The last head that the key before signed: its epoch and size.
    pub signed: Place,
}

impl Replacement {
    /// "on 2026-… by root (uid 0), because "…"".
    #[must_use]
    pub fn told(&self) -> String {
        let who = match &self.user {
            Some(user) => format!("{user} (uid {})", self.uid),
            None => format!("uid {}", self.uid),
        };
        format!("on {} by {who}, because {:?}", self.at, self.reason)
    }
}

/// Whether a text can stand in a line of what is signed.
#[must_use]
pub fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

impl Rotation {
    /// That `new` takes the place of `old`, whose last head `last` is: signed by `new`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn replacing(
        old: &VerifierKey,
        last: &SignedCheckpoint,
        (new, said): (&SigningKey, Replaced),
    ) -> Result<Self, String> {
        let mut rotation = Self {
            seq: last.unverified().size,
            old_key: old.to_string(),
            new_key: new.verifier().to_string(),
            record: String::new(),
            inclusion_proof: Vec::new(),
            checkpoint: last.to_string(),
            replaced: None,
        };
        let text = rotation.statement(&said, new.name());
        let signature = new.sign_note(text).map_err(|error| error.to_string())?.to_string();
        rotation.replaced = Some(Box::new(Replaced { signature, ..said }));
        rotation.check().map_err(|error| error.to_string())?;
        Ok(rotation)
    }

    /// What the new key signs. The first line has a space in it, which no origin has.
    fn statement(&self, said: &Replaced, name: &str) -> String {
        let digest = Hash::from_bytes(Sha256::digest(self.checkpoint.as_bytes()).into());
        let user = said.user.as_deref().unwrap_or("-");
        format!(
            "auditctl/key-replaced v1\n{name}\n{}\n{}\n{}\n{}\n{}\n{user}\n{}\n{digest}\n",
            self.old_key, self.new_key, said.epoch, said.at, said.uid, said.reason
        )
    }

    /// Checks that the old key signed the last head, and the new one all that is said.
    pub(super) fn check_replaced(
        &self,
        said: &Replaced,
        (old, new): (VerifierKey, VerifierKey),
    ) -> Result<Handover, RotationError> {
        let by = |which| move |source| RotationError::Checkpoint { which, source };
        let last =
            SignedCheckpoint::parse(self.checkpoint.as_bytes()).map_err(by("the old key"))?;
        let head = last.verify(&old).map_err(by("the old key"))?;
        let origin: Origin = head.origin.parse()?;
        let refuse = |reason| Err(RotationError::Replaced(reason));
        if old.name() != new.name() || origin.key_name() != new.name() {
            return refuse("its keys and its last head are not of one log");
        }
        if said.epoch <= origin.epoch() {
            return refuse("it does not begin a later epoch than that of the last head");
        }
        if self.seq != head.size {
            return refuse("it names another number of records than the last head");
        }
        if !is_one_line(&said.reason) || !said.user.as_deref().is_none_or(is_one_line) {
            return refuse("it has control characters in its texts");
        }
        let key = |source| RotationError::Key { which: "the new key", source };
        let note = Note::parse(said.signature.as_bytes()).map_err(key)?;
        note.verify(&new).map_err(key)?;
        if note.text() != self.statement(said, new.name()) {
            return refuse("the new key signed something else");
        }
        let replaced = Replacement {
            at: said.at,
            uid: said.uid,
            user: said.user.clone(),
            reason: said.reason.clone(),
            signed: Place { epoch: origin.epoch(), size: head.size },
        };
        let root = head.root;
        let place = Place { epoch: said.epoch, size: 0 };
        Ok(Handover { old, new, place, root, replaced: Some(replaced) })
    }
}
