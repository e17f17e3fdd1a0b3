//! What this build has, and whether a writer runs that is well.

use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::built;
use crate::clock::SystemClock;
use crate::fsio::OsFs;
use crate::health::{self, Status as Health};

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    vec![build(seen), writer(seen)]
}

fn build(seen: &Surroundings) -> Check {
    let message = format!("auditctl {}, features: {}", built::VERSION, built::feature_list());
    let encrypts = !seen.request.settings.backup.encrypt_to.is_empty();
    let check = if encrypts && !cfg!(feature = "encryption") {
        Check::warning(
            Id::Build,
            format!("{message}; backup.encrypt_to is set, but this build cannot encrypt"),
        )
        .hint("use a build with the cargo feature \"encryption\"")
    } else {
        Check::passed(Id::Build, message)
    };
    check.metric("version", built::VERSION).metric("features", built::features())
}

fn writer(seen: &Surroundings) -> Check {
    let health = health::check(&seen.request.settings, &OsFs, &SystemClock);
    let Some(found) = health.report.check("worker_thread") else {
        return Check::skipped(Id::Collector, "health has no such check");
    };
    let state = health.report.metadata.state;
    let message = found.message.clone();
    let check = match found.status {
        Health::Critical if seen.live => Check::failed(Id::Collector, message),
        Health::Critical => Check::warning(Id::Collector, message),
        _ if !seen.live => Check::passed(Id::Collector, format!("no writer runs now: {message}")),
        _ => Check::passed(Id::Collector, message),
    };
    let hint = found.hint.clone().unwrap_or_else(|| "see `auditctl health`".to_owned());
    check.hint(hint).metric("state", state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditLog, Options};
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::surroundings_in;

    #[test]
    fn no_writer_is_well_before_a_deployment_and_a_running_one_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut seen = surroundings_in(dir.path());
        let fresh = writer(&seen);
        assert_eq!((fresh.status, &fresh.metrics["state"]), (Status::Passed, &"no_log".into()));
        let log = AuditLog::open(Options::new(&seen.request.settings.log_dir)).expect("open");
        seen.live = true;
        let running = writer(&seen);
        assert_eq!(running.metrics["state"], "running", "{running:?}");
        log.close().expect("close");
    }

    #[test]
    fn the_features_are_those_of_this_build() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut seen = surroundings_in(dir.path());
        let check = build(&seen);
        assert_eq!(check.message.contains("alerts"), cfg!(feature = "alerts"));
        seen.request.settings.backup.encrypt_to = vec!["age1x".into()];
        let wanted = if cfg!(feature = "encryption") { Status::Passed } else { Status::Warning };
        assert_eq!(build(&seen).status, wanted);
    }
}
