//! What Azure's refusals mean.

use azure_core::error::ErrorKind;

use super::super::error::{StoreError, StoreErrorKind};
use super::super::wire::{TooMuch, is_passing, retry_after};

/// A failed request.
pub(super) struct Failure {
    pub(super) status: Option<u16>,
    /// The condition that nothing of that name be there was not met.
    pub(super) name_taken: bool,
    pub(super) error: StoreError,
}

/// Reads a failure.
pub(super) fn failure(url: &str, error: &azure_core::Error) -> Failure {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else {
        return Failure { status: None, name_taken: false, error: without_answer(url, error) };
    };
    let status = u16::from(*status);
    let header = |name: &'static str| {
        let headers = raw_response.as_ref()?.headers();
        headers.get_optional_str(&name.into()).map(str::to_owned)
    };
    let code = header("x-ms-error-code").or_else(|| error_code.clone()).unwrap_or_default();
    let said = raw_response.as_ref().map_or_else(String::new, |raw| message_in(raw.body()));
    let after = header("retry-after").as_deref().and_then(retry_after);
    Failure {
        status: Some(status),
        name_taken: code == "BlobAlreadyExists" || status == 412,
        error: refused(url, status, &code, &said).retry_after(after),
    }
}

fn without_answer(url: &str, error: &azure_core::Error) -> StoreError {
    if TooMuch::is_behind(error) {
        return TooMuch::of(url);
    }
    let made = |kind, message: &str| StoreError::new(kind, url, message).caused_by(error);
    match error.kind() {
        ErrorKind::Credential => {
            made(StoreErrorKind::NoCredentials, "no Azure credentials were found").hint(
                "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_KEY, or \
                 AZURE_STORAGE_SAS_TOKEN; or give the host an identity; or sign in with az login",
            )
        }
        ErrorKind::Connection | ErrorKind::Io => {
            made(StoreErrorKind::Unreachable, "cannot be reached, or the connection broke")
                .hint("check the network, the name server, a proxy, and the account's name")
                .retryable()
        }
        _ => made(StoreErrorKind::Other, "the answer cannot be read"),
    }
}

/// What the store says of it: the text of `<Message>`, up to the line with the request's id.
/// Who may write it is not known: it is cut to a few lines, and shown escaped.
fn message_in(body: &[u8]) -> String {
    const MOST: usize = 16 << 10;
    let body = String::from_utf8_lossy(&body[..body.len().min(MOST)]);
    let message = body.split_once("<Message>").map_or("", |(_, rest)| rest);
    let message = message.split_once("</Message>").map_or(message, |(text, _)| text);
    let message = message.split_once("\nRequestId:").map_or(message, |(text, _)| text);
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    let plain = named.iter().fold(message.to_owned(), |text, (name, is)| text.replace(name, is));
    plain.trim().to_owned()
}

fn refused(url: &str, status: u16, code: &str, said: &str) -> StoreError {
    let made = |kind, message: &str| {
        let error = StoreError::new(kind, url, message);
        if said.is_empty() { error } else { error.because(said) }
    };
    let named = {
        let code = if code.is_empty() { "no reason" } else { code };
        format!("the store refused: {code} (HTTP {status})")
    };
    match (code, status) {
        ("ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled", _) => {
            made(StoreErrorKind::NoBucket, "there is no such container")
                .hint("make the container, or correct its name; auditctl does not make containers")
        }
        ("BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold", _) => {
            made(StoreErrorKind::Locked(None), "is protected by an immutability policy or legal \
                                                hold")
                .hint("it can be removed when that ends")
        }
        (code, 400 | 409) if code.contains("Immutab") || code.contains("VersioningNotEnabled") => {
            made(StoreErrorKind::LockNotApplied, &named).hint(
                "the container needs support for version-level immutability, or do not ask for a lock",
            )
        }
        ("Md5Mismatch" | "Crc64Mismatch", _) => made(StoreErrorKind::ChecksumMismatch, &named)
            .hint("the store received something other than what was sent; check memory and \
                   network"),
        ("BlobNotFound" | "ResourceNotFound", _) | (_, 404) => {
            made(StoreErrorKind::NotFound, "there is no such object")
        }
        ("AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation", _)
        | (_, 401) => made(StoreErrorKind::NoCredentials, &named).hint(
            "the key, signature or token is wrong or has expired, or this host's clock is wrong",
        ),
        (_, 301 | 302 | 303 | 307 | 308) => made(StoreErrorKind::Other, &named).hint(
            "the store redirects to another host, which auditctl does not follow; check the proxy \
             and the account's endpoint",
        ),
        (_, 403) => made(StoreErrorKind::AccessDenied, &named).hint(
            "the identity needs the role Storage Blob Data Contributor on the container (or a \
             signature with the permissions r, c, w, l; d and x for cleanup, i for locks)",
        ),
        (_, 412) => made(StoreErrorKind::ExistsAndDiffers, &named),
        ("ServerBusy" | "OperationTimedOut" | "InternalError", _) => {
            made(StoreErrorKind::Unreachable, &named).retryable()
        }
        (_, status) if is_passing(status) => made(StoreErrorKind::Unreachable, &named).retryable(),
        _ => made(StoreErrorKind::Other, &named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_pass_is_not_tried_again_and_what_can_is() {
        for (status, code, kind, again) in [
            (404, "ContainerNotFound", StoreErrorKind::NoBucket, false),
            (404, "BlobNotFound", StoreErrorKind::NotFound, false),
            (403, "AuthenticationFailed", StoreErrorKind::NoCredentials, false),
            (403, "AuthorizationPermissionMismatch", StoreErrorKind::AccessDenied, false),
            (409, "BlobImmutableDueToPolicy", StoreErrorKind::Locked(None), false),
            (400, "Md5Mismatch", StoreErrorKind::ChecksumMismatch, false),
            (503, "ServerBusy", StoreErrorKind::Unreachable, true),
            (500, "", StoreErrorKind::Unreachable, true),
        ] {
            let error = refused("az://c/b", status, code, "");
            assert_eq!((error.kind, error.retryable), (kind, again), "{status} {code}");
        }
    }

    /// F7
    #[test]
    fn the_stores_own_words_are_kept_and_no_more_of_them_than_a_few_lines() {
        use std::error::Error as _;
        let body = "<?xml version=\"1.0\"?><Error><Code>InvalidHeaderValue</Code><Message>The API \
                    version 2099-01-01 is not supported by &quot;Azurite&quot;.\nRequestId:1\nTime:2\
                    </Message></Error>";
        let said = message_in(body.as_bytes());
        assert_eq!(said, "The API version 2099-01-01 is not supported by \"Azurite\".");
        let error = refused("az://c/b", 400, "InvalidHeaderValue", &said);
        assert_eq!(error.source().expect("a cause").to_string(), said);
        for odd in ["", "<Message>", "no XML", "<Message></Message>", "\u{1b}[2J"] {
            assert_eq!(message_in(odd.as_bytes()), "", "{odd:?}");
        }
        let long = format!("<Message>{}sig=SECRET {}", "\u{1b}[2J", "x".repeat(100_000));
        let error = refused("az://c/b", 400, "X", &message_in(long.as_bytes()));
        let kept = error.source().expect("a cause").to_string();
        assert!(kept.len() < 700 && !kept.contains('\u{1b}') && !kept.contains("SECRET"), "{kept}");
    }
}
