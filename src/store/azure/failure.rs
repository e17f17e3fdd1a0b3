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
    let after = header("retry-after").as_deref().and_then(retry_after);
    Failure {
        status: Some(status),
        name_taken: code == "BlobAlreadyExists" || status == 412,
        error: refused(url, status, &code).retry_after(after),
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

fn refused(url: &str, status: u16, code: &str) -> StoreError {
    let made = |kind, message: &str| StoreError::new(kind, url, message);
    let named = {
        let code = if code.is_empty() { "no reason" } else { code };
        format!("the store refused: {code} (HTTP {status})")
    };
    match (code, status) {
        ("ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled", _) => {
            made(StoreErrorKind::NoBucket, "there is no such container")
                .hint("make the container, or correct its name; auditctl makes none")
        }
        ("BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold", _) => {
            made(StoreErrorKind::Locked(None), "is kept by an immutability policy or legal hold")
                .hint("it can be removed once that has ended")
        }
        (code, 400 | 409) if code.contains("Immutab") || code.contains("VersioningNotEnabled") => {
            made(StoreErrorKind::LockNotApplied, &named).hint(
                "the container needs support for version-level immutability, or do not ask for a lock",
            )
        }
        ("Md5Mismatch" | "Crc64Mismatch", _) => made(StoreErrorKind::ChecksumMismatch, &named)
            .hint("what arrived is not what was sent; check memory and network"),
        ("BlobNotFound" | "ResourceNotFound", _) | (_, 404) => {
            made(StoreErrorKind::NotFound, "there is no such object")
        }
        ("AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation", _)
        | (_, 401) => made(StoreErrorKind::NoCredentials, &named).hint(
            "the key, signature or token is wrong or has run out, or this host's clock is wrong",
        ),
        (_, 301 | 302 | 303 | 307 | 308) => made(StoreErrorKind::Other, &named).hint(
            "the store sends elsewhere, where credentials and backups do not follow; see a proxy, \
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
            let error = refused("az://c/b", status, code);
            assert_eq!((error.kind, error.retryable), (kind, again), "{status} {code}");
        }
    }
}
