//! What opening the log would do: said before somebody starts the service.

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::{LogPaths, OpenError, foresee};

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let id = Id::Opening;
    let paths = LogPaths::new(&seen.request.settings.log_dir);
    if paths.writer_runs().unwrap_or(false) {
        return vec![Check::skipped(id, "a writer has the log open")];
    }
    vec![match foresee(&seen.request.options) {
        Ok(foreseen) if foreseen.steps.is_empty() => {
            Check::passed(id, "a start goes on after the last record, and changes nothing")
        }
        Ok(foreseen) if foreseen.record.is_none() => {
            Check::passed(id, format!("a start {}", foreseen.steps.join("; it ")))
        }
        Ok(foreseen) => {
            Check::warning(id, format!("a start {}", foreseen.steps.join("; it ")))
                .hint("it does so by itself, and records it; `auditctl verify` tells what is there now")
        }
        Err(error @ (OpenError::Io { .. } | OpenError::Key { .. })) => {
            Check::skipped(id, format!("it cannot be told: {error}"))
        }
        Err(error) => Check::failed(id, error.to_string())
            .hint("`auditctl verify` says what is wrong, `auditctl repair --dry-run` what can be put back"),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditLog, Options};
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::surroundings_in;

    #[test]
    fn what_a_start_would_do_is_said_and_nothing_is_changed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut seen = surroundings_in(dir.path());
        let logs = seen.request.settings.log_dir.clone();
        seen.request.options = Options::new(&logs);
        let found = &check(&seen)[0];
        assert_eq!((found.status, &*found.message), (Status::Passed, "a start makes a new log"));
        assert!(!logs.exists(), "nothing was made");
        AuditLog::open(Options::new(&logs)).expect("open").close().expect("close");
        assert_eq!(check(&seen)[0].status, Status::Passed);
        let manifest = logs.join("audit.manifest.json");
        std::fs::remove_file(&manifest).expect("removed");
        let found = &check(&seen)[0];
        assert_eq!(found.status, Status::Warning, "{}", found.message);
        assert!(!manifest.exists(), "nothing was made");
        std::fs::write(logs.join("audit.log"), "").expect("emptied");
        let found = &check(&seen)[0];
        assert_eq!(found.status, Status::Failed, "{}", found.message);
    }
}
