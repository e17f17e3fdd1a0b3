//! Whether the log's history is the one that signed heads elsewhere tell of.

use super::AuditLog;
use crate::audit::files::roots::roots_at;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::histories::{Contradiction, KnownHead, OwnHistory};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::record::refusal::FORKED;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::trouble::Trouble;

impl AuditLog {
    /// Compares the log with signed heads that are kept elsewhere: those of this log
    /// that do not fit it, the gravest first. Other logs' heads, and those that none of
    /// this log's keys signed, are passed over.
    ///
    /// # Errors
    /// When the log's files cannot be read.
    #[doc(hidden)]
    pub fn compare(&self, heads: &[KnownHead]) -> std::io::Result<Vec<Contradiction>> {
        if self.0.is_forked() {
            return Err(std::io::Error::other(FORKED));
        }
        let shared = &self.0.shared;
        let fs = &*shared.options.fs;
        let keys = self.keys()?;
        let manifest = shared.keeper.manifest();
        let size = shared.progress.durable();
        let own = OwnHistory {
            log_id: &self.0.log_id,
            epoch: manifest.epoch,
            size,
            keys: &keys,
            abandoned: Some(&manifest.abandoned),
        };
        let roots = roots_at(fs, &shared.paths, &manifest, &own.sizes(heads))?;
        Ok(own.contradictions(heads, &roots))
    }

    /// Those of these heads that a key of the log signed in this epoch, and that the log's own
    /// tree bears out: one of which that cannot be told is not among them.
    ///
    /// # Errors
    /// When the log's files cannot be read.
    #[doc(hidden)]
    pub fn agreeing(&self, heads: Vec<KnownHead>) -> std::io::Result<Vec<KnownHead>> {
        let keys = self.keys()?;
        let shared = &self.0.shared;
        let manifest = shared.keeper.manifest();
        let size = shared.progress.durable();
        let own = |head: &KnownHead| {
            let found = head.note.unverified();
            let epoch = found.origin.parse::<Origin>().map(|origin| origin.epoch());
            epoch == Ok(manifest.epoch) && found.size <= size && keys.verify(&head.note).is_ok()
        };
        let heads: Vec<KnownHead> = heads.into_iter().filter(own).collect();
        let sizes = heads.iter().map(|head| head.note.unverified().size).collect();
        let roots = roots_at(&*shared.options.fs, &shared.paths, &manifest, &sizes)?;
        let agrees = |head: &KnownHead| {
            let found = head.note.unverified();
            roots.get(&found.size) == Some(&found.root)
        };
        Ok(heads.into_iter().filter(agrees).collect())
    }

    /// Whether a key of this log, as far as it knows them, signed the head.
    #[must_use]
    #[doc(hidden)]
    pub fn has_signed(&self, note: &SignedCheckpoint) -> bool {
        self.keys().is_ok_and(|keys| keys.verify(note).is_ok())
    }

    /// The log's keys, by the word of the one that signs now.
    ///
    /// # Errors
    /// Not in a forked child.
    #[doc(hidden)]
    pub fn keys(&self) -> std::io::Result<Keyring> {
        if self.0.is_forked() {
            return Err(std::io::Error::other(FORKED));
        }
        let shared = &self.0.shared;
        let verifier = shared.keeper.verifier();
        let signs: VerifierKey = verifier.parse().map_err(std::io::Error::other)?;
        let keys = load_keyring(&*shared.options.fs, &shared.paths, Some(&signs));
        Ok(keys.unwrap_or_else(|_| signs.into()))
    }

    /// Has `health` tell of a head that does not fit, until the log is opened again.
    #[doc(hidden)]
    pub fn report_other_history(&self, found: &Contradiction) {
        if self.0.is_forked() {
            return;
        }
        let shared = &self.0.shared;
        let now = shared.options.clock.now();
        if shared.page.tell_other_history(found.history as u64, found.size, now) {
            tracing::error!(code = Trouble::OtherHistory.code(), "{found}");
            shared.security.report(SecurityKind::LogTampered, None, &found.to_string());
        }
    }
}
