//! Where backups are sent to: credentials, whether the bucket answers, and with
//! `--probe` whether an object can be written and removed.

use std::io::Read;
use std::time::Duration;

use super::catalogue::Id;
use super::check::Check;
use super::outcome::Status;
use super::request::{CloudTarget, Surroundings};
use crate::clock::{Clock, SystemClock};
use crate::store::{
    BackupStore, Body, Credentials, Limits, Provider, Put, Removed, RetryPolicy, StoreError,
    StoreErrorKind, connect, credentials,
};

/// A destination gets so long to answer, with one more try.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
const PROBE: &[u8] = b"auditctl validate wrote this to see whether it can; it may be removed\n";

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let request = &seen.request;
    let mut checks = Vec::new();
    for target in &request.clouds {
        match target {
            Ok(target) => checks.extend(destination(target, seen)),
            Err(why) => checks.push(
                Check::failed(Id::CloudDestination, why.clone())
                    .hint(format!("write {}", Provider::destinations("/PREFIX"))),
            ),
        }
    }
    if request.clouds.is_empty() {
        let message = match &request.settings.backup.destination {
            Some(named) => format!(
                "backup.destination = {named} names no provider, so `auditctl backup` refuses to \
                 run without --cloud: write {}; or --cloud {} checks it",
                Provider::each_with(named),
                Provider::names()
            ),
            None => "no cloud destination is configured: backups stay on this machine".to_owned(),
        };
        checks.push(Check::skipped(Id::CloudDestination, message));
    }
    checks
}

fn destination(target: &CloudTarget, seen: &Surroundings) -> Vec<Check> {
    let provider = target.provider;
    let url = target.destination.url(provider, "");
    if !provider.is_built_in() {
        let message = format!("{url}: this build cannot talk to {provider}");
        return vec![
            Check::failed(Id::CloudDestination, message)
                .hint(format!("use a build with the cargo feature \"{provider}\"")),
        ];
    }
    let mut checks = vec![
        Check::passed(Id::CloudDestination, format!("{url}: this build can talk to {provider}"))
            .metric("destination", url.clone()),
        means(target, seen),
    ];
    let patience = RetryPolicy {
        give_up_after: Duration::from_secs(15),
        give_up_unheard: Duration::from_secs(10),
        ..RetryPolicy::default()
    };
    let limits = Limits {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(15),
        retry: patience,
        ..Limits::default()
    };
    match connect(provider, &target.destination, &limits, &seen.request.environment) {
        Ok(store) => checks.extend(ask(&*store, seen.request.probe)),
        Err(error) => checks.push(refused(Id::CloudReachable, &error)),
    }
    checks
}

fn means(target: &CloudTarget, seen: &Surroundings) -> Check {
    let provider = target.provider;
    let check = match credentials(provider, &seen.request.environment) {
        Credentials::Found(means) => {
            Check::passed(Id::CloudCredentials, format!("{provider}: {means}"))
                .metric("means", means)
        }
        Credentials::OfTheHost(means) => Check::passed(
            Id::CloudCredentials,
            format!("{provider}: no credentials are set, so {means} will be asked"),
        )
        .metric("means", means),
        Credentials::Unusable { why, hint } => {
            Check::failed(Id::CloudCredentials, format!("{provider}: {why}")).hint(hint)
        }
    };
    check.metric("provider", provider.name())
}

/// Asks a store.
fn ask(store: &dyn BackupStore, probe: bool) -> Vec<Check> {
    let url = store.url("");
    // One page: that it answers is seen by that, and there may be millions.
    let page = match store.page("", None) {
        Ok(page) => page,
        Err(error) => {
            let skipped = Check::skipped(Id::CloudWrite, format!("{url}: it does not answer"));
            return vec![refused(Id::CloudReachable, &error), skipped];
        }
    };
    let (count, more) = (page.objects.len(), if page.next.is_some() { " or more" } else { "" });
    let message = format!("{url} answers and can be listed; {count}{more} objects");
    let reachable = Check::passed(Id::CloudReachable, message).metric("objects", count);
    let write = if probe {
        try_writing(store)
    } else {
        Check::skipped(
            Id::CloudWrite,
            format!("{url}: not tried; --probe writes an object and removes it"),
        )
    };
    vec![reachable, write]
}

fn try_writing(store: &dyn BackupStore) -> Check {
    let stamp = SystemClock.now().file_stamp();
    let name = format!("auditctl-validate-{stamp}-{}.txt", std::process::id());
    let url = store.url(&name);
    match write_read_remove(store, &name) {
        Ok(Removed::Gone) => Check::passed(
            Id::CloudWrite,
            format!("{url}: an object was written, read back and removed"),
        ),
        Ok(left) => Check::warning(
            Id::CloudWrite,
            format!("{url}: an object was written and removed, but the bucket keeps it ({left:?})"),
        )
        .hint("the lifecycle rules of a bucket remove its old versions"),
        Err(error) if matches!(error.kind, StoreErrorKind::Locked(_)) => Check::new(
            Id::CloudWrite,
            Status::Warning,
            format!("{url}: an object was written, and the bucket keeps it: {}", error.message),
        )
        .hint(
            "a retention lock does that; `auditctl cleanup` cannot remove backups before it ends",
        ),
        Err(error) => refused(Id::CloudWrite, &error),
    }
}

fn write_read_remove(store: &dyn BackupStore, name: &str) -> Result<Removed, StoreError> {
    let object = store.put_new(name, Put::new(Body::Bytes(PROBE), "text/plain"))?;
    let version = object.version.as_deref();
    let mut found = Vec::new();
    let read = store
        .open(name, version, 0)
        .map(|reader| reader.take(PROBE.len() as u64 + 1).read_to_end(&mut found));
    // Whatever came of reading, it must not stay.
    let removed = store.remove(name, version);
    match read? {
        Ok(_) if found == PROBE => removed,
        Ok(_) => {
            let message = "the store returned something other than what was written";
            Err(StoreError::new(StoreErrorKind::ChecksumMismatch, store.url(name), message))
        }
        Err(error) => {
            let message = "the object that was written cannot be read";
            Err(StoreError::new(StoreErrorKind::Other, store.url(name), message).caused_by(&error))
        }
    }
}

fn refused(id: Id, error: &StoreError) -> Check {
    let mut message = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        message.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    let check = Check::failed(id, message).metric("kind", error.kind.name());
    match &error.hint {
        Some(hint) => check.hint(hint.clone()),
        None => check.hint("check the network, the bucket's name and what the credentials allow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Destination, LocalStore};
    use crate::validate::request::tests::surroundings_of;

    fn status(checks: &[Check], id: Id) -> Status {
        checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("{id:?}")).status
    }

    #[test]
    fn a_store_is_listed_and_only_when_asked_for_written_to() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = LocalStore::new(directory.path());
        let asked = ask(&store, false);
        assert_eq!(status(&asked, Id::CloudReachable), Status::Passed);
        assert_eq!(status(&asked, Id::CloudWrite), Status::Skipped);
        let probed = ask(&store, true);
        assert_eq!(status(&probed, Id::CloudWrite), Status::Passed, "{probed:?}");
        assert_eq!(store.list().expect("listed"), []);
    }

    #[test]
    fn a_store_that_is_not_there_or_may_not_be_written_fails_with_what_to_do() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let gone = LocalStore::new(directory.path().join("none"));
        let checks = ask(&gone, true);
        assert_eq!(status(&checks, Id::CloudReachable), Status::Failed);
        assert_eq!(status(&checks, Id::CloudWrite), Status::Skipped);
        assert!(checks[0].hint.is_some() && checks[0].metrics["kind"] == "no_bucket");
    }

    #[test]
    fn what_is_no_destination_and_what_this_build_lacks_are_failures() {
        let mut seen = surroundings_of("");
        assert_eq!(status(&check(&seen), Id::CloudDestination), Status::Skipped);
        seen.request.clouds = vec![Err("it names no bucket".into())];
        assert_eq!(status(&check(&seen), Id::CloudDestination), Status::Failed);
        for provider in Provider::ALL.iter().copied().filter(|provider| !provider.is_built_in()) {
            let destination = Destination::parse(provider, "acme-audit").expect("a bucket");
            seen.request.clouds = vec![Ok(CloudTarget { provider, destination })];
            let checks = check(&seen);
            assert_eq!((checks.len(), checks[0].status), (1, Status::Failed), "{provider}");
        }
    }
}
