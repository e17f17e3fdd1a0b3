//! The change of the signing key, from the outside; what the writer does of it is
//! in [`key_change`](crate::audit::write::key_change).

use std::sync::PoisonError;
use std::time::Duration;

use super::AuditLog;
use crate::audit::keys::{KeyFiles, KeyHistory};
use crate::audit::record::refusal::{FORKED, RecordError};
use crate::audit::state::trouble::Trouble;
use crate::audit::write::key_change::{KeyWish, Preparation, RotateError, RotateRequest, Rotated};
use crate::audit::write::queue::Command;
use crate::audit::write::shelter::Shelter;

/// How long a change of key may take, writer included.
const ROTATION_WAIT: Duration = Duration::from_secs(30);

impl AuditLog {
    /// Changes the signing key: the old key signs a record that names the new one,
    /// and both sign the tree that it ends; see [`key_change`](crate::audit::write::key_change).
    /// Goes on with a change that was begun before.
    ///
    /// # Errors
    /// [`RotateError::Refused`] and [`RotateError::Files`] when nothing was
    /// changed; [`RotateError::NotYet`] when the change goes on by itself.
    #[doc(hidden)]
    pub fn rotate_key(&self, request: &RotateRequest) -> Result<Rotated, RotateError> {
        if self.0.is_forked() {
            return Err(RotateError::Refused(FORKED.to_owned()));
        }
        let _one = self.0.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.0.shared;
        let _shelter = Shelter::enter();
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let files = KeyFiles::new(paths, shared.options.key_path.as_deref());
        let history = KeyHistory::load(fs, paths)
            .map_err(|error| RotateError::Files(error.to_string()))?
            .unwrap_or_else(|| KeyHistory::new(self.log_id()));
        let prepared = Preparation { fs, files: &files, history: &history };
        let next = prepared.prepare(request)?;
        let (answer, answered) = crossbeam_channel::bounded(2);
        shared.queue.command(Command::RotateKey(Box::new(KeyWish {
            next,
            files,
            reason: request.reason.clone(),
            uid: request.uid,
            kept_old: request.keep_old.clone(),
            answer,
        })));
        let until = std::time::Instant::now() + ROTATION_WAIT.max(shared.options.overflow_timeout);
        loop {
            match answered.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return outcome,
                Err(_) if std::time::Instant::now() >= until => {
                    let text = "the log's writer did not answer in time".to_owned();
                    return Err(RotateError::NotYet(text));
                }
                Err(_) => {}
            }
            let trouble = shared.progress.wait_beyond(u64::MAX, Duration::ZERO).trouble;
            if let Some(error @ (RecordError::Failed { .. } | RecordError::Closed)) = trouble {
                return Err(RotateError::NotYet(error.to_string()));
            }
        }
    }

    /// A change of key that a crash interrupted goes on.
    pub(super) fn resume_rotation(&self) {
        let uid = rustix::process::geteuid().as_raw();
        let reason = Some("an interrupted rotation was gone on with".to_owned());
        let request = RotateRequest { uid, reason, ..RotateRequest::default() };
        if let Err(error) = self.rotate_key(&request) {
            tracing::warn!(code = Trouble::RotationUnfinished.code(), %error, "an interrupted rotation of the key is still to be finished");
        }
    }
}
