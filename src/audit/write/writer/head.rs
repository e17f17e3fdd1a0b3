//! Signing the head that follows every durable batch.

use super::{Writer, extend};
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::state::status::Word;
use crate::audit::state::trouble::Trouble;
use crate::audit::write::head_file::HeadFile;
use crate::audit::write::own_files::OwnFile;

impl Writer {
    /// Goes on in the file that has the name, which was put back or could not be had
    /// before.
    pub(super) fn follow_head(&mut self) {
        let (fs, paths) = (&*self.shared.options.fs, &self.shared.paths);
        if !self.head.is_named(fs, paths) {
            let stamp = self.shared.options.clock.now().file_stamp();
            let failing = self.head.failing;
            self.head = HeadFile::open(fs, paths, &stamp);
            // It is told once.
            self.head.failing |= failing && !self.head.is_open();
        }
    }

    /// Whether the head of a batch is signed once it is durable.
    fn signs_heads(&self) -> bool {
        // Until a change of key is stored neither key may sign: the next
        // checkpoint does. Over a close it is the checkpoint that comes first.
        self.keys.pending.is_none() && !self.upkeep.closed_pushed
    }

    /// Has the head signed that is due once everything written is durable.
    pub(super) fn sign_ahead(&mut self) {
        if !self.ahead.is_running() || !self.signs_heads() {
            return;
        }
        let mut grown = self.grown.clone();
        extend(&mut grown, &self.unsynced);
        // What is wrong with it is told when it is due.
        if let Ok(draft) = self.signer.draft(&self.active.layout.tree(), &grown) {
            self.ahead.ask(draft);
        }
    }

    /// Signs the tree over what is durable. `None`, and the writer is poisoned, when
    /// the tree in memory contradicts what was signed.
    pub(super) fn sign_durable(&mut self) -> Option<SignedCheckpoint> {
        let (tree, grown) = (&self.durable_tree, &self.grown);
        let ahead = self.ahead.take();
        let ahead = ahead.and_then(|signed| self.signer.adopt_ahead(signed, tree, grown));
        match ahead.map_or_else(|| self.signer.sign(tree, grown), Ok) {
            Ok(signed) => {
                self.grown.reset(self.durable_tree.end());
                Some(signed)
            }
            Err(error) => {
                self.poison(&error.to_string());
                None
            }
        }
    }

    /// Signs the tree over what is durable; false when it must not be
    /// acknowledged, because it contradicts what was signed.
    pub(super) fn sign_head(&mut self) -> bool {
        if !self.signs_heads() {
            return true;
        }
        let Some(signed) = self.sign_durable() else { return false };
        self.write_head(&signed.to_string());
        true
    }

    /// Writes `audit.head`. What fails of it is told, and stops nothing.
    pub(super) fn write_head(&mut self, text: &str) {
        let written = self.head.write(text.as_bytes());
        if written.is_ok() && self.head.is_open() {
            self.own_files.holds(OwnFile::Head, text.as_bytes());
        } else {
            self.own_files.forget(OwnFile::Head);
        }
        match written {
            Ok(()) => self.head.failing = false,
            Err(error) if !self.head.failing => {
                self.head.failing = true;
                self.shared.page.add(Word::MaintenanceErrors, 1);
                tracing::warn!(code = Trouble::NoHead.code(), %error, "audit.head could not be written");
            }
            Err(_) => {}
        }
    }
}
