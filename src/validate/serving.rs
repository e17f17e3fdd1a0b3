//! What `serve` needs at its start: an address and a socket that it may take, tokens,
//! a certificate and a key for what is redacted. What it would refuse fails here.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::catalogue::Id;
use super::check::Check;
use super::outcome::Status;
use super::request::Surroundings;
use crate::access::tls::{Identity, Pair};
use crate::access::{State, Token, read_tokens};
use crate::audit::{RedactKey, RedactKeyError};
use crate::clock::{Clock, SystemClock, Timestamp, display_seconds};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::fsio::socket::{self, MAX_SOCKET_PATH_BYTES};
use crate::health::wording::age;
use crate::units::format_duration;

/// A token that ends within so many days is warned of.
pub const TOKEN_ENDS_WITHIN_DAYS: u64 = 14;
/// So many tokens are named; the rest is counted.
const NAMED: usize = 5;
const AS_SERVICE: &str = "run this as root or as the service's user";

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let settings = &seen.request.settings;
    let now = SystemClock.now();
    vec![
        socket_path(settings),
        http(settings),
        tokens(settings, now),
        certificate(settings, now),
        redaction_key(settings),
    ]
}

fn socket_path(settings: &Settings) -> Check {
    let path = settings.socket_path();
    let bytes = path.as_os_str().as_bytes().len();
    let hint = "set collector.socket to another path, such as /run/auditctl/audit.sock";
    if bytes > MAX_SOCKET_PATH_BYTES {
        let message =
            format!("the path has {bytes} bytes; the system allows {MAX_SOCKET_PATH_BYTES}");
        return Check::failed(Id::Socket, message).hint(hint).path(path);
    }
    match socket::at(&path) {
        Ok(Some(file)) if !file.is_socket => {
            let message =
                "a file that is not a socket stands there, and the collector never removes it";
            Check::failed(Id::Socket, message).hint(hint).path(path)
        }
        // What may not be looked at is told with the permissions.
        _ => Check::passed(Id::Socket, "the path is usable").path(path),
    }
}

/// Both, as `serve` takes them: one alone is none.
fn pair(settings: &Settings) -> Option<Pair> {
    let collector = &settings.collector;
    let (certificate, key) = collector.tls_cert.clone().zip(collector.tls_key.clone())?;
    Some(Pair { certificate, key })
}

fn http(settings: &Settings) -> Check {
    let collector = &settings.collector;
    let Some(address) = collector.http else {
        return Check::passed(Id::Http, "HTTP is off");
    };
    let failed = |message: String, hint: &str| Check::failed(Id::Http, message).hint(hint);
    let far = !address.ip().is_loopback();
    let (tokens, https) = (collector.token_file.is_some(), pair(settings).is_some());
    if far && !tokens {
        return failed(
            format!("HTTP on {address} without tokens: anybody on the network could use the log"),
            "set collector.token_file and make tokens (`auditctl token new --name NAME`), or \
             listen on 127.0.0.1",
        );
    }
    if far && !https && !collector.allow_plain_http {
        return failed(
            format!("HTTP on {address} without TLS: tokens and records could be read on the way"),
            "set collector.tls_cert and collector.tls_key; or, where a proxy on another machine \
             has TLS and the way to it is private, collector.allow_plain_http",
        );
    }
    // At any port: the one that is wanted may be the running collector's.
    if let Err(error) = TcpListener::bind((address.ip(), 0))
        && error.kind() == ErrorKind::AddrNotAvailable
    {
        return failed(
            format!("{} is not an address of this machine: {error}", address.ip()),
            "set collector.http to one that it has (`ip address`), or to 0.0.0.0 for all of them",
        );
    }
    let scheme = if https { "HTTPS" } else { "HTTP" };
    let who = if tokens { "with tokens" } else { "without tokens, for this machine only" };
    let plain = if far && !https { "; a proxy in front of it has to provide TLS" } else { "" };
    Check::passed(Id::Http, format!("{scheme} on {address}, {who}{plain}"))
        .metric("address", address.to_string())
        .metric("https", https)
        .metric("tokens", tokens)
}

fn tokens(settings: &Settings, now: Timestamp) -> Check {
    let Some(path) = &settings.collector.token_file else {
        return Check::skipped(Id::Tokens, "collector.token_file is not set");
    };
    let all = match read_tokens(&OsFs, path) {
        Ok(all) => all,
        Err(error) => {
            let hint = error.hint().unwrap_or_else(|| {
                "docs/access.md describes the file; `auditctl token list` reads it".to_owned()
            });
            return Check::failed(Id::Tokens, error.to_string()).hint(hint).path(path);
        }
    };
    let valid: Vec<&Token> = all.iter().filter(|token| token.state(now) == State::Valid).collect();
    let soon = Duration::from_secs(TOKEN_ENDS_WITHIN_DAYS * 86_400);
    let ends_soon = |token: &&&Token| token.expires.is_some_and(|at| left(at, now) <= soon);
    let ending: Vec<&str> = valid.iter().filter(ends_soon).map(|token| &*token.name).collect();
    let check = if valid.is_empty() {
        let message = match all.len() {
            0 => "the file holds no token: nobody can connect".to_owned(),
            count => format!("none of the {count} tokens is still valid: nobody can connect"),
        };
        Check::failed(Id::Tokens, message)
            .hint("make one for each sender: `auditctl token new --name NAME`")
    } else if !ending.is_empty() {
        let more = ending.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = ending[..ending.len().min(NAMED)].join(", ");
        let message =
            format!("expires within {TOKEN_ENDS_WITHIN_DAYS} days: the token of {names}{more}");
        Check::warning(Id::Tokens, message)
            .hint("make a new token (`auditctl token new`), hand it out, then revoke the old one")
    } else {
        let (valid, all) = (valid.len(), all.len());
        Check::passed(
            Id::Tokens,
            format!("{valid} of {all} tokens are valid, and none expires soon"),
        )
    };
    check
        .path(path)
        .metric("tokens", all.len())
        .metric("valid", valid.len())
        .metric("ending", ending.len())
}

/// How long until then; nothing when it is over.
fn left(then: Timestamp, now: Timestamp) -> Duration {
    let micros = then.micros().saturating_sub(now.micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn certificate(settings: &Settings, now: Timestamp) -> Check {
    let collector = &settings.collector;
    let Some(pair) = pair(settings) else {
        return match collector.tls_cert.as_ref().or(collector.tls_key.as_ref()) {
            None => Check::skipped(Id::Certificate, "no HTTPS: collector.tls_cert is not set"),
            Some(path) => Check::failed(Id::Certificate, "HTTPS needs a certificate and its key")
                .hint("set both collector.tls_cert and collector.tls_key, or none")
                .path(path),
        };
    };
    let identity = match Identity::load(&OsFs, &pair) {
        Ok(identity) => identity,
        Err(error) => {
            let hint = error.hint().unwrap_or(
                "docs/access.md says what the certificate and its key have to be like; run this \
                 as root or as the service's user",
            );
            return Check::failed(Id::Certificate, error.to_string()).hint(hint).path(error.path());
        }
    };
    let (begins, expires) = (identity.begins(), identity.expires());
    let (ends_in, limits) = (left(expires, now), &settings.health);
    let until = format!("until {}", display_seconds(expires));
    let (status, message) = if begins > now {
        let message = format!("not valid before {}: clients refuse it", display_seconds(begins));
        (Status::Failed, message)
    } else if ends_in.is_zero() {
        (Status::Failed, format!("it was valid {until}: clients refuse it"))
    } else if ends_in <= limits.certificate_critical {
        (Status::Failed, format!("valid for {} only, {until}", age(ends_in)))
    } else if ends_in <= limits.certificate_warn {
        (Status::Warning, format!("valid for {} only, {until}", age(ends_in)))
    } else {
        (Status::Passed, format!("certificate and key fit; valid for {}, {until}", age(ends_in)))
    };
    Check::new(Id::Certificate, status, message)
        .hint(format!(
            "install a new certificate and reload the collector; health warns {} before the end",
            format_duration(limits.certificate_warn)
        ))
        .path(pair.certificate)
        .metric("expiry_timestamp_seconds", expires.unix_seconds())
        .metric("seconds_left", ends_in.as_secs())
}

fn redaction_key(settings: &Settings) -> Check {
    if settings.redact.is_empty() {
        return Check::skipped(Id::RedactionKey, "nothing is redacted");
    }
    let path = settings.redact_key_file();
    let check = match RedactKey::load(&OsFs, &path) {
        Ok(Some(key)) => Check::passed(Id::RedactionKey, format!("its id is {}", key.id()))
            .metric("key_id", key.id()),
        Ok(None) => Check::passed(
            Id::RedactionKey,
            "there is none yet; the next opening of the log makes it",
        ),
        Err(error) => Check::failed(Id::RedactionKey, error.to_string()).hint(match error {
            RedactKeyError::Io { .. } => AS_SERVICE,
            _ => "`serve` refuses this key; docs/redaction.md says what it is for",
        }),
    };
    check.path(path)
}

#[cfg(test)]
mod tests;
