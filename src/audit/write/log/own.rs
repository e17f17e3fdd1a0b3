//! Records that others have the log make about itself: of backups, queries, alerts, and
//! the program's own files.

use std::sync::Arc;

use super::{AuditLog, Receipt};
use crate::audit::read::query::redacted;
use crate::audit::state::status::Word;
use crate::audit::write::own::{
    AlertsLost, AlertsPosition, BackupMade, BackupRemoved, Cosigned, CosigningRefused, OwnRecord,
    Queried, Repaired, WitnessState, fits,
};
use crate::audit::write::own_files::{Incident, OwnFile};

impl AuditLog {
    /// Records that a backup was made: the log knows from then on that it has been
    /// backed up.
    #[doc(hidden)]
    pub fn record_backup_made(&self, made: BackupMade) -> Receipt {
        if self.0.is_forked() {
            return Receipt {
                log: Arc::clone(&self.0),
                seq: u64::MAX,
                is_duplicate: false,
                batch: None,
            };
        }
        let (shared, tree_size) = (&self.0.shared, made.tree_size);
        let seq = shared.push_own(&OwnRecord::BackupMade(made));
        shared.keeper.backed_up(seq, tree_size);
        // What an opening adopted unsigned is in a backup now.
        if tree_size >= shared.page.get(Word::AdoptedEnd) {
            shared.page.set(Word::AdoptedEnd, 0);
        }
        Receipt { log: Arc::clone(&self.0), seq, is_duplicate: false, batch: None }
    }

    /// Records that damaged records were put back.
    #[doc(hidden)]
    pub fn record_repaired(&self, repaired: Repaired) -> Receipt {
        self.record_own(&OwnRecord::Repaired(repaired))
    }

    /// Records that a backup is removed.
    #[doc(hidden)]
    pub fn record_backup_removed(&self, removed: BackupRemoved) -> Receipt {
        self.record_own(&OwnRecord::BackupRemoved(removed))
    }

    /// Records that alerts were not delivered and never will be.
    #[doc(hidden)]
    pub fn record_alerts_lost(&self, lost: AlertsLost) -> Receipt {
        self.record_own(&OwnRecord::AlertsLost(lost))
    }

    /// Records how far alerts are.
    #[doc(hidden)]
    pub fn record_alerts_position(&self, position: AlertsPosition) -> Receipt {
        self.record_own(&OwnRecord::AlertsPosition(position))
    }

    /// Records that a checkpoint of another log is cosigned: `None` if the record would
    /// be too long, and nothing is recorded then.
    #[doc(hidden)]
    pub fn record_cosigned(&self, cosigned: Cosigned) -> Option<Receipt> {
        let own = OwnRecord::Cosigned(Box::new(cosigned));
        fits(&own).then(|| self.record_own(&own))
    }

    /// Records that a signed checkpoint of another log is not cosigned.
    #[doc(hidden)]
    pub fn record_cosigning_refused(&self, refused: CosigningRefused) -> Receipt {
        self.record_own(&OwnRecord::CosigningRefused(Box::new(refused)))
    }

    /// Records all that a witness knows; `None` if that is too much for a record.
    #[doc(hidden)]
    pub fn record_witness_state(&self, state: WitnessState) -> Option<Receipt> {
        let own = OwnRecord::WitnessState(state);
        fits(&own).then(|| self.record_own(&own))
    }

    /// Records that somebody asked; what must not be kept is redacted in the question
    /// as it is in events.
    #[doc(hidden)]
    pub fn record_query(&self, mut queried: Queried) -> Receipt {
        // In a fork the redactor may be locked for ever.
        let redactor = if self.0.is_forked() { None } else { self.redactor() };
        if let Some(redactor) = redactor {
            redacted::redact(&mut queried.query, &redactor);
        }
        self.record_own(&OwnRecord::Queried(Box::new(queried)))
    }

    /// Records that one of the program's own files, which somebody else looks after,
    /// was not as it should be: the collector's socket.
    #[doc(hidden)]
    pub fn record_own_file(&self, file: OwnFile, incident: &Incident) {
        if !self.0.is_forked() {
            self.0.shared.incidents().tell(file, incident);
        }
    }

    /// Says that such a file, which could not be put back, is as it should be again.
    #[doc(hidden)]
    pub fn own_file_is_back(&self, file: OwnFile) {
        if !self.0.is_forked() {
            self.0.shared.incidents().is_back(file);
        }
    }

    /// Records that one of the program's own files was not as it should be, and that
    /// what it held is not, or not all, known; `incident.failed` says what is done.
    #[doc(hidden)]
    pub fn record_own_file_lost(&self, file: OwnFile, incident: &Incident) {
        if !self.0.is_forked() {
            self.0.shared.incidents().lost(file, incident);
        }
    }

    pub(super) fn record_own(&self, own: &OwnRecord) -> Receipt {
        // A fork is told when it waits for it.
        let seq = if self.0.is_forked() { u64::MAX } else { self.0.shared.push_own(own) };
        Receipt { log: Arc::clone(&self.0), seq, is_duplicate: false, batch: None }
    }
}
