//! What S3's refusals mean.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::error::{StoreError, StoreErrorKind};
use super::super::wire::{TooMuch, is_passing, retry_after};

/// A failed request.
pub(super) struct Failure {
    pub(super) status: Option<u16>,
    /// The condition that nothing of that name be there was not met.
    pub(super) name_taken: bool,
    /// The upload that was to be gone on with is not known any more.
    pub(super) no_upload: bool,
    pub(super) error: StoreError,
}

/// Reads a failure.
pub(super) fn failure<E>(url: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let SdkError::ServiceError(refusal) = error else {
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let error = without_answer(url, error);
        return Failure { status, name_taken: false, no_upload: false, error };
    };
    let status = refusal.raw().status().as_u16();
    let code = refusal.err().code().unwrap_or_default();
    let said = refusal.err().message().unwrap_or_default();
    let after = refusal.raw().headers().get("retry-after").and_then(retry_after);
    let error = refused(url, status, code, said).retry_after(after);
    Failure {
        status: Some(status),
        name_taken: status == 412 || code == "PreconditionFailed",
        no_upload: code == "NoSuchUpload",
        error,
    }
}

fn without_answer<E>(url: &str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: Error + 'static,
{
    if TooMuch::is_behind(error) {
        return TooMuch::of(url);
    }
    let mut texts = error.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        texts.push_str(&inner.to_string().to_lowercase());
        cause = inner.source();
    }
    let made = |kind, message: &str| StoreError::new(kind, url, message).caused_by(error);
    if texts.contains("credential") || texts.contains("identity") {
        return made(StoreErrorKind::NoCredentials, "no AWS credentials were found").hint(
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the host a role",
        );
    }
    match error {
        SdkError::ConstructionFailure(_) => {
            made(StoreErrorKind::Other, "the request could not be made")
        }
        SdkError::TimeoutError(_) => made(StoreErrorKind::Timeout, "no answer in time").retryable(),
        _ => made(StoreErrorKind::Unreachable, "cannot be reached, or the connection broke")
            .hint("check the network, the name server, a proxy, and AWS_ENDPOINT_URL if it is set")
            .retryable(),
    }
}

fn refused(url: &str, status: u16, code: &str, said: &str) -> StoreError {
    let made = |kind, message: String| {
        let error = StoreError::new(kind, url, message);
        if said.is_empty() { error } else { error.because(said) }
    };
    let named = || {
        let code = if code.is_empty() { "no reason" } else { code };
        format!("the store refused: {code} (HTTP {status})")
    };
    match (code, status) {
        ("NoSuchBucket", _) => made(StoreErrorKind::NoBucket, "there is no such bucket".to_owned())
            .hint("make the bucket, or correct its name; auditctl does not make buckets"),
        ("NoSuchKey" | "NotFound" | "NoSuchVersion" | "NoSuchUpload", _) | (_, 404) => {
            made(StoreErrorKind::NotFound, "there is no such object".to_owned())
        }
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "ExpiredTokenException",
            _,
        )
        | (_, 401) => made(StoreErrorKind::NoCredentials, named())
            .hint("the AWS credentials are wrong or have expired; renew them"),
        ("RequestTimeTooSkewed", _) => made(StoreErrorKind::NoCredentials, named())
            .hint("this host's clock is wrong; set it right"),
        (
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch",
            _,
        ) => made(StoreErrorKind::ChecksumMismatch, named())
            .hint("the data sent is not the data that was backed up; make the backup again"),
        ("InvalidRequest" | "ObjectLockConfigurationNotFoundError", _)
            if said.contains("Lock") || code.contains("Lock") =>
        {
            made(StoreErrorKind::LockNotApplied, "the bucket has no object lock".to_owned())
                .hint("enable Object Lock on the bucket, or do not ask for a lock")
        }
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301) => made(StoreErrorKind::Other, named())
            .hint("the bucket is in another region; set AWS_REGION to it"),
        (_, 302 | 303 | 307 | 308) => made(StoreErrorKind::Other, named()).hint(
            "the store redirects to another host, which auditctl does not follow; set \
             AWS_ENDPOINT_URL_S3 and AWS_REGION to where the bucket is",
        ),
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 403) => {
            made(StoreErrorKind::AccessDenied, named()).hint(
                "the credentials need s3:ListBucket on the bucket, s3:GetObject and s3:PutObject \
                 below the prefix (s3:PutObjectRetention for locks, s3:DeleteObject for cleanup)",
            )
        }
        ("NotImplemented", _) | (_, 501) => made(StoreErrorKind::Unsupported, named())
            .hint("the store lacks a feature of S3 that auditctl needs"),
        ("ConditionalRequestConflict" | "OperationAborted", _) => {
            made(StoreErrorKind::Other, named()).retryable()
        }
        ("SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable", _) => {
            made(StoreErrorKind::Unreachable, named()).retryable()
        }
        (_, 412) => made(StoreErrorKind::ExistsAndDiffers, named()),
        (_, status) if is_passing(status) => made(StoreErrorKind::Unreachable, named()).retryable(),
        _ => made(StoreErrorKind::Other, named()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_pass_is_not_tried_again_and_what_can_is() {
        for (status, code, kind, again) in [
            (404, "NoSuchBucket", StoreErrorKind::NoBucket, false),
            (403, "AccessDenied", StoreErrorKind::AccessDenied, false),
            (403, "", StoreErrorKind::AccessDenied, false),
            (403, "InvalidAccessKeyId", StoreErrorKind::NoCredentials, false),
            (400, "ExpiredToken", StoreErrorKind::NoCredentials, false),
            (400, "BadDigest", StoreErrorKind::ChecksumMismatch, false),
            (301, "PermanentRedirect", StoreErrorKind::Other, false),
            (409, "ConditionalRequestConflict", StoreErrorKind::Other, true),
            (503, "SlowDown", StoreErrorKind::Unreachable, true),
            (500, "", StoreErrorKind::Unreachable, true),
        ] {
            let error = refused("s3://b/k", status, code, "");
            assert_eq!((error.kind, error.retryable), (kind, again), "{status} {code}");
        }
    }
}
