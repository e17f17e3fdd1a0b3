//! Requests to the JSON API, with the credentials of Google's usual chain:
//! `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, the
//! metadata server.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::credentials;
use super::super::error::{StoreError, StoreErrorKind};
use super::super::limits::{Environment, Limits};
use super::super::redact::without_credentials;
use super::super::wire::{self, Bound, TooMuch, is_passing, retry_after};

const ENDPOINT: &str = "https://storage.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.full_control";
const HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a key file, give the host a service \
    account, or sign in with gcloud auth application-default login";
/// An error's text longer than this says nothing more.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// Speaks to the JSON API.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    /// None for an emulator.
    credentials: Option<Credentials>,
    /// How long they are waited for.
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

/// A request that was refused or got no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Option<u16>,
    pub(super) error: StoreError,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { status: None, error }
    }
}

impl Client {
    /// Must be called inside the runtime: the credentials' cache is a task.
    pub(super) async fn load(
        url: &str,
        environment: &Environment,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let http = wire::http_client(url, limits)?;
        let emulator = environment.get("STORAGE_EMULATOR_HOST");
        let endpoint = match emulator {
            Some(host) if host.contains("://") => host.to_owned(),
            Some(host) => format!("http://{host}"),
            None => ENDPOINT.to_owned(),
        };
        let endpoint = Url::parse(&endpoint).map_err(|error| {
            let message = "STORAGE_EMULATOR_HOST is not an address";
            StoreError::new(StoreErrorKind::Usage, url, message).caused_by(&error)
        })?;
        let named =
            environment.get("GOOGLE_APPLICATION_CREDENTIALS").filter(|_| emulator.is_none());
        let unusable =
            named.and_then(|path| credentials::no_file("GOOGLE_APPLICATION_CREDENTIALS", path));
        if let Some(why) = unusable {
            return Err(StoreError::new(StoreErrorKind::NoCredentials, url, why).hint(HINT));
        }
        let credentials = match emulator {
            Some(_) => None,
            None => Some(Builder::default().with_scopes([SCOPE]).build().map_err(|error| {
                let message = "no Google Cloud credentials were found";
                StoreError::new(StoreErrorKind::NoCredentials, url, message)
                    .caused_by(&error)
                    .hint(HINT)
            })?),
        };
        Ok(Self { http, endpoint, credentials, patience: limits.credentials_timeout })
    }

    /// The emulator's address, where it is not Google that is asked.
    pub(super) fn emulator(&self) -> Option<String> {
        self.credentials.is_none().then(|| without_credentials(self.endpoint.as_str()))
    }

    /// An address below the endpoint; the parts are escaped.
    pub(super) fn address(&self, url: &str, parts: &[&str]) -> Result<Url, StoreError> {
        let mut address = self.endpoint.clone();
        let Ok(mut path) = address.path_segments_mut() else {
            let message = "STORAGE_EMULATOR_HOST is not an address that can hold a path";
            return Err(StoreError::new(StoreErrorKind::Usage, url, message));
        };
        path.pop_if_empty().extend(parts);
        drop(path);
        Ok(address)
    }

    /// A request with credentials.
    pub(super) async fn request(
        &self,
        url: &str,
        method: Method,
        address: Url,
    ) -> Result<RequestBuilder, StoreError> {
        let request = self.http.request(method, address);
        let Some(credentials) = &self.credentials else { return Ok(request) };
        let asked = credentials.headers(http::Extensions::new());
        let Ok(answer) = tokio::time::timeout(self.patience, asked).await else {
            let message = format!(
                "no Google Cloud credentials: no source answered within {} s",
                self.patience.as_secs()
            );
            return Err(StoreError::new(StoreErrorKind::NoCredentials, url, message)
                .hint(HINT)
                .retryable());
        };
        match answer {
            Ok(CacheableResource::New { data, .. }) => Ok(request.headers(data)),
            // Only who names a state that he knows is told that it is unchanged.
            Ok(CacheableResource::NotModified) => Ok(request),
            Err(error) => {
                let message = "no Google Cloud credentials, or they cannot be used";
                let failed = StoreError::new(StoreErrorKind::NoCredentials, url, message)
                    .caused_by(&error)
                    .hint(HINT);
                Err(if error.is_transient() { failed.retryable() } else { failed })
            }
        }
    }

    /// A session's address, if it lies where the store does: an answer, or a file of ours
    /// that somebody else has written, shall not have a backup sent elsewhere.
    pub(super) fn session_at(&self, url: &str, address: &str) -> Result<Url, StoreError> {
        let refuse = |message: String| StoreError::new(StoreErrorKind::Other, url, message);
        let session = Url::parse(address)
            .map_err(|_| refuse("the store began an upload but gave it no address".to_owned()))?;
        if session.origin() == self.endpoint.origin() {
            return Ok(session);
        }
        let (wanted, found) = (self.endpoint.origin(), session.origin());
        let (wanted, found) = (wanted.ascii_serialization(), found.ascii_serialization());
        Err(refuse(format!("the store sends uploads to {found}, and it is {wanted}")).hint(
            "an emulator has to know by which address it is reached (fake-gcs-server: -external-url)",
        ))
    }

    /// A request to a session's own address, which is its credential.
    pub(super) fn session(&self, address: Url) -> RequestBuilder {
        self.http.put(address)
    }
}

/// Sends a request; any status but success (and 308, which says that an upload is
/// not complete) is a failure.
pub(super) async fn send(url: &str, request: RequestBuilder) -> Result<Response, Failure> {
    let answer = request.send().await.map_err(|error| without_answer(url, error))?;
    let status = answer.status();
    if status.is_success() || status.as_u16() == 308 {
        return Ok(answer);
    }
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.and_then(retry_after);
    let text = beginning(answer).await;
    let said = Said::read(&text);
    let error = refused(url, status.as_u16(), &said).retry_after(after);
    Err(Failure { status: Some(status.as_u16()), error })
}

/// Sends a request and reads the JSON document of its answer.
pub(super) async fn fetch<T: DeserializeOwned>(
    url: &str,
    request: RequestBuilder,
) -> Result<T, Failure> {
    let answer = send(url, request).await?;
    read(url, answer).await
}

/// The JSON document of an answer.
pub(super) async fn read<T: DeserializeOwned>(url: &str, answer: Response) -> Result<T, Failure> {
    let mut pieces = answer.bytes_stream();
    let (mut bytes, mut left) = (Vec::new(), Bound::DOCUMENT);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| without_answer(url, error))?;
        left.after(&piece).map_err(|_| TooMuch::of(url))?;
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Other, url, "the answer cannot be read")
            .caused_by(&error)
            .into()
    })
}

/// As much of a refusal as says something.
async fn beginning(answer: Response) -> Vec<u8> {
    let (mut text, mut pieces) = (Vec::new(), answer.bytes_stream());
    while let Some(Ok(piece)) = pieces.next().await {
        text.extend_from_slice(&piece);
        if text.len() >= MAX_ERROR_BYTES {
            text.truncate(MAX_ERROR_BYTES);
            break;
        }
    }
    text
}

pub(super) fn without_answer(url: &str, error: reqwest::Error) -> Failure {
    // Addresses hold upload sessions.
    let error = error.without_url();
    let cause: &(dyn Error + 'static) = &error;
    StoreError::new(StoreErrorKind::Unreachable, url, "cannot be reached, or the connection broke")
        .caused_by(cause)
        .hint("check the network, the name server, and a proxy")
        .retryable()
        .into()
}

/// What Google says of a refusal.
#[derive(Debug, Default)]
struct Said {
    reason: String,
    message: String,
}

impl Said {
    fn read(text: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Document {
            error: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            message: String,
            #[serde(default)]
            errors: Vec<Detail>,
        }
        #[derive(Deserialize)]
        struct Detail {
            #[serde(default)]
            reason: String,
        }
        match serde_json::from_slice::<Document>(text) {
            Ok(Document { error }) => Self {
                reason: error
                    .errors
                    .into_iter()
                    .map(|detail| detail.reason)
                    .next()
                    .unwrap_or_default(),
                message: error.message,
            },
            Err(_) => Self { reason: String::new(), message: String::from_utf8_lossy(text).into() },
        }
    }
}

fn refused(url: &str, status: u16, said: &Said) -> StoreError {
    let made = |kind, message: String| {
        let error = StoreError::new(kind, url, message);
        if said.message.trim().is_empty() { error } else { error.because(&said.message) }
    };
    let reason = if said.reason.is_empty() { "no reason" } else { said.reason.as_str() };
    let named = format!("the store refused: {reason} (HTTP {status})");
    let message = said.message.to_ascii_lowercase();
    match (status, said.reason.as_str()) {
        (403, "retentionPolicyNotMet" | "objectUnderActiveHold") => {
            made(StoreErrorKind::Locked(None), "is protected by a retention or a hold".to_owned())
                .hint("it can be removed when that ends")
        }
        (400 | 403 | 412, _) if message.contains("retention") => {
            made(StoreErrorKind::LockNotApplied, named).hint(
                "the bucket needs object retention (gcloud storage buckets create \
                 --enable-per-object-retention), and you the permission \
                 storage.objects.setRetention; or do not ask for a lock",
            )
        }
        (401, _) => made(StoreErrorKind::NoCredentials, named).hint(HINT),
        (403, _) => made(StoreErrorKind::AccessDenied, named).hint(
            "the service account needs the role Storage Object User on the bucket (Storage Object \
             Creator and Viewer suffice without cleanup)",
        ),
        (301 | 302 | 303 | 307, _) => made(StoreErrorKind::Other, named).hint(
            "the store redirects to another host, which auditctl does not follow; check the \
             proxy, and STORAGE_EMULATOR_HOST if it is set",
        ),
        (404, _) if message.contains("bucket") => {
            made(StoreErrorKind::NoBucket, "there is no such bucket".to_owned())
                .hint("make the bucket, or correct its name; auditctl does not make buckets")
        }
        (404 | 410, _) => made(StoreErrorKind::NotFound, "there is no such object".to_owned()),
        (400, _)
            if ["crc32c", "checksum", "hash", "md5"].iter().any(|word| message.contains(word)) =>
        {
            made(StoreErrorKind::ChecksumMismatch, named).hint(
                "the store received something other than what was sent; check memory and \
                       network",
            )
        }
        (412, _) => made(StoreErrorKind::ExistsAndDiffers, named),
        (status, _) if is_passing(status) => made(StoreErrorKind::Unreachable, named).retryable(),
        _ => made(StoreErrorKind::Other, named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_pass_is_not_tried_again_and_what_can_is() {
        for (status, text, kind, again) in [
            (404, "The specified bucket does not exist.", StoreErrorKind::NoBucket, false),
            (404, "No such object: b/o", StoreErrorKind::NotFound, false),
            (401, "Invalid Credentials", StoreErrorKind::NoCredentials, false),
            (403, "no permission", StoreErrorKind::AccessDenied, false),
            (400, "Object Retention is not enabled", StoreErrorKind::LockNotApplied, false),
            (400, "Provided CRC32C does not match", StoreErrorKind::ChecksumMismatch, false),
            (429, "slow down", StoreErrorKind::Unreachable, true),
            (503, "", StoreErrorKind::Unreachable, true),
        ] {
            let document = serde_json::json!({ "error": { "code": status, "message": text } });
            let error = refused("gs://b/o", status, &Said::read(document.to_string().as_bytes()));
            assert_eq!((error.kind, error.retryable), (kind, again), "{status} {text}");
        }
    }
}
