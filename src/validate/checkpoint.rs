//! The newest checkpoint of the log: whether the log's key signed it.

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::{
    Checkpoint, Origin, SignedCheckpoint, VerifierKey, read_note,
};
use crate::fsio::{Fs, OsFs};

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let paths = LogPaths::new(&seen.request.settings.log_dir);
    let id = Id::Checkpoint;
    let hint = "run `auditctl verify`, and do not continue before you know what happened";
    let path = paths.checkpoint();
    let bytes = match read_note(&OsFs, &path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            return vec![match OsFs.meta(&paths.active()) {
                Ok(_) => Check::failed(id, "there is a log, but no checkpoint").hint(hint),
                Err(_) => Check::skipped(id, "there is no log yet"),
            }];
        }
        Err(error) => {
            return vec![
                Check::failed(id, format!("the checkpoint cannot be read: {error}"))
                    .hint("run this as root or as the service's user")
                    .path(path),
            ];
        }
    };
    let verified = VerifierKey::load_own(&OsFs, &paths.public_key())
        .map_err(|error| error.to_string())
        .and_then(|key| {
            let signed = SignedCheckpoint::parse(&bytes).map_err(|error| error.to_string())?;
            signed.verify(&key).cloned().map_err(|error| error.to_string())
        });
    vec![match verified {
        Ok(checkpoint) => {
            let message = format!(
                "the newest checkpoint, over {} records, is signed by the key beside the log",
                checkpoint.size
            );
            let passed = Check::passed(id, message).metric("tree_size", checkpoint.size);
            return [passed].into_iter().chain(origin(seen, &checkpoint)).collect();
        }
        Err(why) => Check::failed(id, why).hint(hint).path(path),
    }]
}

/// Where an origin is set, whether it is the log's.
fn origin(seen: &Surroundings, checkpoint: &Checkpoint) -> Option<Check> {
    let wanted = seen.request.settings.origin.as_ref()?;
    let own: Origin = checkpoint.origin.parse().ok()?;
    let id = Id::SettingsOrigin;
    Some(if own.prefix() == wanted {
        Check::passed(id, format!("the log's origin is {own}, as the setting says"))
    } else {
        let text = format!("origin is set to {wanted}, and the log was made as {own}");
        Check::warning(id, text).hint(format!(
            "a log keeps its origin, and the setting changes nothing: remove it, or write \
             origin = \"{}\"",
            own.prefix()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditLog, Options};
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::surroundings_in;

    #[test]
    fn an_origin_that_is_set_and_not_the_logs_is_a_warning_that_names_both() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut seen = surroundings_in(dir.path());
        let options = Options::new(&seen.request.settings.log_dir);
        let options = options.with_origin("example.com/audit").expect("an origin");
        AuditLog::open(options).expect("open").close().expect("close");
        assert_eq!(check(&seen).len(), 1, "nothing is set");
        for (set, status) in
            [("example.com/audit", Status::Passed), ("example.com/other", Status::Warning)]
        {
            seen.request.settings.origin = Some(set.parse().expect("an origin"));
            let checks = check(&seen);
            assert_eq!(checks[0].status, Status::Passed);
            assert_eq!((checks[1].status, checks[1].id), (status, Id::SettingsOrigin));
            assert!(checks[1].message.contains("example.com/audit/"), "{}", checks[1].message);
        }
    }

    #[test]
    fn a_signature_that_fits_passes_and_any_other_fails() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = surroundings_in(dir.path());
        assert_eq!(check(&seen)[0].status, Status::Skipped);
        let logs = &seen.request.settings.log_dir;
        let log = AuditLog::open(Options::new(logs)).expect("open");
        log.close().expect("close");
        assert_eq!(check(&seen)[0].status, Status::Passed);
        let path = logs.join("audit.checkpoint");
        let note = std::fs::read_to_string(&path).expect("a note");
        let size = note.lines().nth(1).expect("the size").to_owned();
        std::fs::write(&path, note.replacen(&size, "999", 1)).expect("write");
        assert_eq!(check(&seen)[0].status, Status::Failed);
        std::fs::remove_file(&path).expect("removed");
        let gone = &check(&seen)[0];
        assert!(gone.status == Status::Failed && gone.message.contains("no checkpoint"));
    }
}
