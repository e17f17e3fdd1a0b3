//! The protections, tried: each self-test runs the real thing, in the scratch
//! directory, with what an attacker would send.

use std::path::Path;

use super::bench;
use super::catalogue::Id;
use super::check::Check;
use super::request::Surroundings;
use crate::audit::read::verify::{Request as Verification, verify};
use crate::audit::read::watch::Unwatched;
use crate::audit::record::event::{MAX_EVENT_TYPE_BYTES, MAX_LINE_BYTES};
use crate::audit::record::sanitize::escape_for_terminal;
use crate::audit::{
    AuditLog, Batch, Event, LogPaths, Options, Origin, ParseMode, RateLimit, RecordError, Via,
};
use crate::backup::{BackupId, parse_name};
use crate::fsio::inspect::{self, Kind};
use crate::fsio::{Fs, OpenMode, OsFs};
use crate::store::{BackupStore, Body, Destination, LocalStore, Put};

/// What held; or what is wrong with a protection.
type Tried = Result<String, String>;
type Test = fn(&Surroundings) -> Tried;

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let tests: [(Id, Test); 6] = [
        (Id::PathTraversal, path_traversal),
        (Id::Sanitising, sanitising),
        (Id::SizeLimits, size_limits),
        (Id::RateLimit, rate_limit),
        (Id::FileModes, file_modes),
        (Id::Tampering, tampering),
    ];
    let mut checks = Vec::new();
    for (id, test) in tests {
        if seen.stopping() {
            break;
        }
        checks.push(match (&seen.scratch, test(seen)) {
            (Err(why), _) => Check::skipped(id, format!("not tried: {why}")),
            (_, Ok(message)) => Check::passed(id, message),
            (_, Err(why)) => Check::failed(id, why).hint(
                "do not deploy this build here; report it with the output of `auditctl --version`",
            ),
        });
    }
    checks
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn open(options: Options) -> Result<AuditLog, String> {
    AuditLog::open(options).map_err(|error| format!("no log can be opened: {error}"))
}

/// As the benchmarks' log, but for what would hide what the self-tests look for.
fn scratch_options(seen: &Surroundings, name: &str) -> Result<Options, String> {
    Ok(Options { redact: Vec::new(), ..bench::scratch_options(seen, name)? })
}

/// Names that lead elsewhere.
const HOSTILE_NAMES: [&str; 8] = [
    "../outside",
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../outside",
    "a//b",
    "..",
    "a\\..\\outside",
    "a\0b",
];

fn path_traversal(seen: &Surroundings) -> Tried {
    let root = seen.scratch("store")?;
    let outside = seen.scratch("outside")?;
    OsFs.create_dir_all(&root).map_err(text)?;
    let store = LocalStore::new(&root);
    for name in HOSTILE_NAMES {
        if store.put_new(name, Put::new(Body::Bytes(b"x"), "text/plain")).is_ok() {
            return Err(format!("a store wrote an object called {name:?}"));
        }
        if store.open(name, None, 0).is_ok() || store.remove(name, None).is_ok() {
            return Err(format!("a store read or removed an object called {name:?}"));
        }
        if name.parse::<BackupId>().is_ok() || parse_name(name).is_some() {
            return Err(format!("{name:?} was taken for a backup"));
        }
        let url = format!("s3://bucket-of-ours/{name}");
        if name.contains("..") && Destination::parse_object(&url).is_ok() {
            return Err(format!("{url:?} was taken for an object"));
        }
    }
    if inspect::at(&outside).map_err(text)?.is_some() {
        return Err("something was written outside of a store's directory".to_owned());
    }
    let tried = HOSTILE_NAMES.len();
    Ok(format!("{tried} of {tried} escaping names refused"))
}

/// Its one line in the active segment, by event type.
fn stored(dir: &Path, event_type: &str) -> Result<String, String> {
    const MOST: u64 = 16 << 20;
    let bytes = OsFs.read(&LogPaths::new(dir).active(), MOST).map_err(text)?;
    let wanted = format!("\"event_type\":\"{event_type}\"");
    let log = String::from_utf8(bytes).map_err(text)?;
    let mut lines = log.lines().filter(|line| line.contains(&wanted));
    let line = lines.next().ok_or("what was recorded is not stored")?.to_owned();
    if lines.next().is_some() {
        return Err("one event became two lines".to_owned());
    }
    Ok(line)
}

fn sanitising(seen: &Surroundings) -> Tried {
    const ACTOR: &str = "mal\u{1b}[2Jlory\n{\"seq\":7}";
    let options = scratch_options(seen, "sanitising")?;
    let dir = options.dir.clone();
    let log = open(options)?;
    let details = "{\"note\":\"a\\nb\\u001b[31m\"}";
    let event = Event::new("try").actor(ACTOR).details_json(details).map_err(text)?;
    log.record(event).map_err(text)?.wait_durable().map_err(text)?;
    let line = stored(&dir, "try")?;
    log.close().map_err(text)?;
    let record: serde_json::Value = serde_json::from_str(&line).map_err(text)?;
    let actor = record["actor"].as_str().unwrap_or_default();
    if line.chars().any(char::is_control) || actor.chars().any(char::is_control) {
        return Err("a control character reached the log".to_owned());
    }
    if !actor.contains('\u{fffd}') {
        return Err("a control character vanished without a trace".to_owned());
    }
    let shown = escape_for_terminal("\u{1b}]0;owned\u{7}\u{202e}");
    if shown.chars().any(|c| c.is_control() || c == '\u{202e}') {
        return Err("a control character would reach a terminal".to_owned());
    }
    Ok("control characters replaced in the log, and escaped for a terminal".to_owned())
}

fn size_limits(seen: &Surroundings) -> Tried {
    let options = scratch_options(seen, "limits")?;
    let (log, limit) = (open(options.clone())?, options.max_details_size);
    let session = log.session(&Origin::here(Via::Library), false);
    let refused = |line: String, what: &str| -> Result<(), String> {
        match session.prepare(line.as_bytes(), ParseMode::Strict, &mut Batch::default()) {
            Err(RecordError::Event(error)) if error.kind() == "too_large" => Ok(()),
            Err(error) => Err(format!("{what} was refused for another reason: {error}")),
            Ok(()) => Err(format!("{what} was accepted")),
        }
    };
    let long = |bytes| "x".repeat(bytes);
    let line = format!("{{\"event_type\":\"try\",\"actor\":\"{}\"}}", long(MAX_LINE_BYTES));
    refused(line, "a line beyond the limit")?;
    let details = format!("{{\"event_type\":\"try\",\"details\":{{\"a\":\"{}\"}}}}", long(limit));
    if details.len() <= MAX_LINE_BYTES {
        refused(details, "details beyond max_details_size")?;
    }
    let name = format!("{{\"event_type\":\"{}\"}}", long(MAX_EVENT_TYPE_BYTES + 1));
    refused(name, "an event_type beyond the limit")?;
    let deep = format!(
        "{{\"event_type\":\"try\",\"details\":{}1{}}}",
        "{\"a\":".repeat(200),
        "}".repeat(200)
    );
    if session.prepare(deep.as_bytes(), ParseMode::Strict, &mut Batch::default()).is_ok() {
        return Err("details nested 200 levels deep were accepted".to_owned());
    }
    log.close().map_err(text)?;
    Ok(format!("lines over {MAX_LINE_BYTES} bytes and details over {limit} bytes refused"))
}

fn rate_limit(seen: &Surroundings) -> Tried {
    // So slow that none comes back while this runs.
    const TRIED: RateLimit = RateLimit { per_second: 0.001, burst: 200, max_sources: 100 };
    let options = Options { rate_limit: Some(TRIED), ..scratch_options(seen, "rate")? };
    let log = open(options)?;
    let event = |source: &str| Event::new("try").source(source);
    for nth in 1..=TRIED.burst {
        let receipt = log.record(event("noisy"));
        drop(receipt.map_err(|error| format!("event {nth} was refused: {error}"))?);
    }
    let next = TRIED.burst + 1;
    match log.record(event("noisy")) {
        Err(RecordError::RateLimited { retry_after, .. }) if !retry_after.is_zero() => {}
        Err(error) => return Err(format!("event {next} was refused for another reason: {error}")),
        Ok(_) => return Err(format!("event {next} of a source was accepted")),
    }
    log.record(event("quiet"))
        .map_err(|error| format!("another source was refused too: {error}"))?
        .wait_durable()
        .map_err(text)?;
    log.close().map_err(text)?;
    let configured = match seen.request.options.rate_limit {
        Some(limit) => {
            format!("the settings allow {} a second, {} at once", limit.per_second, limit.burst)
        }
        None => "but rate_limit.enabled is false".to_owned(),
    };
    Ok(format!("event {next} of a burst refused, another source not affected; {configured}"))
}

fn file_modes(seen: &Surroundings) -> Tried {
    let options = scratch_options(seen, "modes")?;
    let dir = options.dir.clone();
    let log = open(Options { disk_reserve: 4_096, ..options })?;
    // A security event, so that its file is made, too.
    let invalid = log.record(Event::new("audit.forged")).is_err();
    log.record(Event::new("try")).map_err(text)?.wait_durable().map_err(text)?;
    log.close().map_err(text)?;
    let names = OsFs.list(&dir).map_err(text)?;
    let mut files = 0;
    for path in names.iter().map(|name| dir.join(name)).chain([dir.clone()]) {
        let Some(entry) = inspect::at(&path).map_err(text)? else { continue };
        let wanted = if entry.kind == Kind::Directory { 0o700 } else { 0o600 };
        // The public key may be read by all; it is made private all the same.
        if entry.mode != wanted {
            let (name, mode) = (path.display(), entry.mode);
            return Err(format!("{name} was made with mode {mode:04o}, not {wanted:04o}"));
        }
        files += 1;
    }
    if !invalid {
        return Err("an event type of the log's own was accepted".to_owned());
    }
    Ok(format!("{files} of {files} files and directories of a new log are private (0600, 0700)"))
}

fn tampering(seen: &Surroundings) -> Tried {
    let options = scratch_options(seen, "tampering")?;
    let (dir, fs) = (options.dir.clone(), options.fs.clone());
    let log = open(options)?;
    log.record(Event::new("try").actor("alice")).map_err(text)?.wait_durable().map_err(text)?;
    log.close().map_err(text)?;
    let passed = || verify(&fs, &dir, &Verification::default(), &Unwatched).map_err(text);
    if !passed()?.0.passed() {
        return Err("a log that nobody touched does not verify".to_owned());
    }
    let active = LogPaths::new(&dir).active();
    let bytes = OsFs.read(&active, 1 << 20).map_err(text)?;
    let at = memchr::memmem::find(&bytes, b"alice").ok_or("what was recorded is not stored")?;
    let file = OsFs.open(&active, OpenMode::Write).map_err(text)?;
    file.write_all_at(b"m", at as u64).map_err(text)?;
    let report = passed()?.0;
    if report.passed() || report.findings.is_empty() {
        return Err("a changed byte was not found".to_owned());
    }
    Ok("a changed byte was found and located".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::{surroundings_in, surroundings_of};

    #[test]
    fn all_protections_hold() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let checks = check(&surroundings_in(dir.path()));
        assert_eq!(checks.len(), 6);
        for check in &checks {
            assert_eq!(check.status, Status::Passed, "{check:?}");
        }
        let skipped = check(&surroundings_of(""));
        assert!(skipped.iter().all(|check| check.status == Status::Skipped), "{skipped:?}");
    }

    #[test]
    fn a_protection_that_does_not_hold_is_a_failure() {
        // A directory with a file in it that others may read: what a wrong umask would make.
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = surroundings_in(dir.path());
        let logs = dir.path().join("scratch/modes");
        OsFs.create_dir_all(&logs).expect("directory");
        std::fs::write(logs.join("stray"), "x").expect("write");
        crate::fsio::os::set_mode(&logs.join("stray"), 0o644).expect("mode");
        let why = file_modes(&seen).expect_err("found");
        assert!(why.contains("stray") && why.contains("0644"), "{why}");
        // One event more than there are lines for.
        let stray = dir.path().join("scratch/other");
        OsFs.create_dir_all(&stray).expect("directory");
        let twice = "{\"event_type\":\"try\"}\n{\"event_type\":\"try\"}\n";
        std::fs::write(stray.join("audit.log"), twice).expect("write");
        assert!(stored(&stray, "try").expect_err("found").contains("two lines"));
    }
}
