//! Each thing that `serve` would refuse, and what it takes.

use std::path::{Path, PathBuf};

use super::*;
use crate::access::{FirstTokenFor, Role, Secret, add_token, digest, revoke_token};
use crate::fsio::os;
use crate::validate::request::tests::{surroundings_in, surroundings_of};

const DAY: i64 = 86_400_000_000;

fn of(seen: &Surroundings, id: Id) -> Check {
    check(seen).into_iter().find(|check| check.id == id).expect("always there")
}

fn status_of(settings: &str, id: Id) -> Status {
    of(&surroundings_of(settings), id).status
}

fn put(path: &Path, content: &str, mode: u32) -> PathBuf {
    std::fs::write(path, content).expect("written");
    os::set_mode(path, mode).expect("mode");
    path.to_path_buf()
}

#[test]
fn http_beyond_loopback_needs_tokens_and_tls_or_who_has_it() {
    let far = "[collector]\nhttp = \"0.0.0.0:9750\"\n";
    for (settings, expected) in [
        (String::new(), Status::Passed),
        ("[collector]\nhttp = \"off\"\n".to_owned(), Status::Passed),
        (far.to_owned(), Status::Failed),
        (format!("{far}allow_plain_http = true\n"), Status::Failed),
        (format!("{far}token_file = \"tokens\"\n"), Status::Failed),
        (format!("{far}token_file = \"tokens\"\ntls_cert = \"c\"\n"), Status::Failed),
        (format!("{far}token_file = \"tokens\"\nallow_plain_http = true\n"), Status::Passed),
        (
            format!("{far}token_file = \"tokens\"\ntls_cert = \"c\"\ntls_key = \"k\"\n"),
            Status::Passed,
        ),
    ] {
        assert_eq!(status_of(&settings, Id::Http), expected, "{settings}");
        // Also where the contradiction is not told with the settings.
        let other = format!("write_buffer_size = 0\n{settings}");
        assert_eq!(status_of(&other, Id::Http), expected, "{other}");
    }
    // 192.0.2.0/24 is no machine's (RFC 5737).
    let elsewhere =
        "[collector]\nhttp = \"192.0.2.1:9750\"\ntoken_file = \"t\"\nallow_plain_http = true\n";
    let check = of(&surroundings_of(elsewhere), Id::Http);
    assert!(check.status == Status::Failed && check.message.contains("192.0.2.1"), "{check:?}");
}

#[test]
fn a_socket_s_path_is_short_and_no_other_file_s() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    let path = dir.path().join("audit.sock");
    seen.request.settings.collector.socket = Some(path.clone());
    assert_eq!(of(&seen, Id::Socket).status, Status::Passed);
    drop(std::os::unix::net::UnixListener::bind(&path).expect("stale"));
    assert_eq!(of(&seen, Id::Socket).status, Status::Passed);
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "mine").expect("written");
    assert_eq!(of(&seen, Id::Socket).status, Status::Failed);
    for (bytes, expected) in
        [(MAX_SOCKET_PATH_BYTES, Status::Passed), (MAX_SOCKET_PATH_BYTES + 1, Status::Failed)]
    {
        let path = format!("/{}", "x".repeat(bytes - 1));
        seen.request.settings.collector.socket = Some(path.into());
        assert_eq!(of(&seen, Id::Socket).status, expected, "{bytes}");
    }
}

fn add(path: &Path, name: &str, expires: Option<Timestamp>) {
    let token = Token {
        name: name.to_owned(),
        role: Role::Write,
        created: SystemClock.now(),
        expires,
        rate: None,
        revoked: None,
        sha256: digest(name.as_bytes()),
    };
    add_token(path, token, FirstTokenFor::Maker).expect("added");
}

#[test]
fn tokens_are_read_as_serve_reads_them_and_one_must_be_valid_for_a_while() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    assert_eq!(of(&seen, Id::Tokens).status, Status::Skipped);
    let path = dir.path().join("tokens");
    seen.request.settings.collector.token_file = Some(path.clone());
    let now = SystemClock.now();
    let at = |days: i64| Some(Timestamp::from_micros(now.micros() + days * DAY));
    let days = TOKEN_ENDS_WITHIN_DAYS as i64;
    let found = |expected: Status, says: &str| {
        let check = of(&seen, Id::Tokens);
        assert_eq!(check.status, expected, "{check:?}");
        assert!(check.message.contains(says), "{says}: {check:?}");
        assert_eq!(check.hint.is_some(), expected.is_problem(), "{check:?}");
    };
    found(Status::Failed, "no token file");
    add(&path, "old", at(-1));
    found(Status::Failed, "none of the 1 tokens is still valid");
    add(&path, "ci", at(days + 1));
    found(Status::Passed, "1 of 2");
    add(&path, "web", at(days));
    found(Status::Warning, "the token of web");
    revoke_token(&path, "web", now).expect("revoked");
    found(Status::Passed, "1 of 3");
    revoke_token(&path, "ci", now).expect("revoked");
    found(Status::Failed, "none of the 3 tokens");
    os::set_mode(&path, 0o644).expect("mode");
    found(Status::Failed, "0644");
    let secret = Secret::generate().expect("random").reveal().to_owned();
    put(&path, &secret, 0o600);
    found(Status::Failed, "plain token");
    assert!(!of(&seen, Id::Tokens).message.contains(&secret));
    put(&path, "", 0o600);
    found(Status::Failed, "holds no token");
}

#[cfg(feature = "tls")]
fn certificate(begins_days: i64, ends_days: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let at = |days: i64| {
        let seconds = SystemClock.now().unix_seconds() + days * 86_400;
        std::time::UNIX_EPOCH + Duration::from_secs(seconds as u64)
    };
    // An hour more, so that whole days are left.
    parameters.not_before = at(begins_days).into();
    parameters.not_after = (at(ends_days) + Duration::from_secs(3_600)).into();
    let certificate = parameters.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

#[cfg(feature = "tls")]
#[test]
fn a_certificate_fits_its_key_and_is_valid_for_a_while() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    assert_eq!(of(&seen, Id::Certificate).status, Status::Skipped);
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    seen.request.settings.collector.tls_cert = Some(cert.clone());
    assert_eq!(of(&seen, Id::Certificate).status, Status::Failed, "one alone is none");
    seen.request.settings.collector.tls_key = Some(key.clone());
    let found = |pair: &(String, String), mode: u32| {
        put(&cert, &pair.0, 0o644);
        put(&key, &pair.1, mode);
        let check = of(&seen, Id::Certificate);
        assert_eq!(check.hint.is_some(), check.status.is_problem(), "{check:?}");
        (check.status, check.message)
    };
    for (begins, ends, expected, says) in [
        (-1, 90, Status::Passed, "90 days"),
        (-1, 15, Status::Passed, "15 days"),
        (-1, 13, Status::Warning, "13 days"),
        (-1, 2, Status::Failed, "2 days"),
        (-1, 0, Status::Failed, "valid for 59 min"),
        (-9, -1, Status::Failed, "clients refuse it"),
        (1, 90, Status::Failed, "not valid before"),
    ] {
        let (status, message) = found(&certificate(begins, ends), 0o600);
        assert_eq!(status, expected, "{begins} {ends}: {message}");
        assert!(message.contains(says), "{says}: {message}");
    }
    let (one, other) = (certificate(-1, 90), certificate(-1, 90));
    let (status, message) = found(&(one.0.clone(), other.1), 0o600);
    assert!(status == Status::Failed && message.contains("is not that of"), "{message}");
    let (status, message) = found(&one, 0o644);
    assert!(status == Status::Failed && message.contains("0644"), "{message}");
    let (status, _) = found(&("nothing".to_owned(), one.1), 0o600);
    assert_eq!(status, Status::Failed);
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_that_it_speaks_no_https() {
    let settings = "[collector]\ntls_cert = \"c\"\ntls_key = \"k\"\n";
    let check = of(&surroundings_of(settings), Id::Certificate);
    assert!(check.status == Status::Failed && check.message.contains("without"), "{check:?}");
}

#[test]
fn a_redaction_key_is_one_and_nobody_else_s_where_something_is_redacted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    let path = dir.path().join("redaction");
    seen.request.settings.redact_key_path = Some(path.clone());
    put(&path, "no key", 0o644);
    assert_eq!(of(&seen, Id::RedactionKey).status, Status::Skipped, "it is not used");
    seen.request.settings.redact =
        surroundings_of("redact = [\"actor\"]\n").request.settings.redact;
    assert_eq!(of(&seen, Id::RedactionKey).status, Status::Failed);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(of(&seen, Id::RedactionKey).status, Status::Passed);
    assert!(!path.exists(), "looking makes none");
    let made = RedactKey::create(&OsFs, &path).expect("made");
    let good = of(&seen, Id::RedactionKey);
    assert!(good.status == Status::Passed && good.message.contains(&made.id()), "{good:?}");
    os::set_mode(&path, 0o644).expect("mode");
    let exposed = of(&seen, Id::RedactionKey);
    assert!(exposed.status == Status::Failed && exposed.message.contains("0644"), "{exposed:?}");
}
