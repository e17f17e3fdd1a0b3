//! Amazon S3, and what speaks like it.
//!
//! Up to [`Limits::single_put_bytes`] an object goes in one request with its
//! SHA-256, which S3 compares and keeps. S3 knows no SHA-256 over an object made
//! of parts, so larger ones are checked by a CRC-64/NVME over the whole, which S3
//! puts together from those of the parts.

mod client;
mod failure;
mod multipart;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, EncodingType, ObjectLockLegalHoldStatus, ObjectLockMode,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::backup_store::{BackupStore, Reading};
use super::confirm::{Sent, put_once};
use super::destination::Destination;
use super::error::{StoreError, StoreErrorKind};
use super::limits::{Environment, Limits};
use super::listing::{Page, VersionsPage};
use super::object::{Checksum, LockMode, Object, Removed};
use super::provider::Provider;
use super::put::Put;
use super::wire::{self, Download, Meter, PartBody, Place, Watcher};
use crate::clock::{Clock, SystemClock, Timestamp};
use client::Clients;
use failure::{Failure, failure};

/// How many are listed at a time: S3's own limit.
const PAGE_KEYS: i32 = 1_000;

/// A bucket, or a part of one.
pub(crate) struct S3Store {
    place: Place,
    environment: Environment,
    clients: OnceLock<Clients>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("destination", &self.place.destination)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    #[expect(clippy::unnecessary_wraps, reason = "the other providers can fail here")]
    pub(crate) fn connect(
        destination: &Destination,
        limits: &Limits,
        environment: &Environment,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            place: Place::new(Provider::S3, destination, limits),
            environment: environment.clone(),
            clients: OnceLock::new(),
        })
    }

    fn clients(&self) -> Result<&Clients, StoreError> {
        let url = self.url("");
        let load = client::load(&url, &self.environment, &self.place.limits);
        self.place.client(&self.clients, load)
    }

    fn client(&self) -> Result<&Client, StoreError> {
        Ok(&self.clients()?.documents)
    }

    fn bucket(&self) -> &str {
        self.place.destination.bucket()
    }

    /// The answer to a HEAD has no body, so why it is a 404, 403 or 400 (S3's for an
    /// expired token) is learned by asking for a list, whose answer has one.
    fn check_bucket(&self, client: &Client) -> Result<(), StoreError> {
        let url = self.url("");
        self.place.run("", async {
            let asked = client.list_objects_v2().bucket(self.bucket()).max_keys(1);
            let asked = asked.prefix(self.place.destination.prefix()).send().await;
            asked.map(|_| ()).map_err(|error| failure(&url, &error).error)
        })
    }

    fn put_whole(&self, name: &str, put: &mut Put<'_>) -> Result<Sent, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let digests = *put.body.digests();
        let content = put.body.open()?;
        let meter = Arc::new(Meter::default());
        let throttle = self.place.throttle.clone();
        let body = PartBody::new(content, 0, digests.bytes, Arc::clone(&meter), throttle);
        let mut request = client
            .put_object()
            .bucket(self.bucket())
            .key(self.place.key(name))
            .content_type(put.content_type)
            .content_length(digests.bytes as i64)
            // Some stores want it beside the checksum before they set a lock.
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(STANDARD.encode(digests.sha256))
            .if_none_match("*")
            .set_metadata(Some(put.full_metadata(&url)?.into_iter().collect()))
            .body(ByteStream::from_body_1_x(body));
        if let Some(lock) = put.lock {
            request = request
                .object_lock_mode(lock_mode(lock.mode))
                .object_lock_retain_until_date(DateTime::from_secs(lock.until.unix_seconds()));
        }
        Watcher::of(put).attend(&url, &self.place.limits, &meter, async {
            match request.send().await {
                Ok(answer) => Ok(Sent::As(answer.version_id.and_then(version))),
                Err(error) => match failure(&url, &error) {
                    Failure { name_taken: true, .. } => Ok(Sent::NameTaken),
                    Failure { error, .. } => Err(error),
                },
            }
        })
    }

    fn object(&self, name: &str, head: HeadObjectOutput) -> Object {
        let sha256 = head.checksum_sha256().and_then(decoded).map(Checksum::Sha256);
        let crc64 = head.checksum_crc64_nvme().and_then(decoded);
        let crc64 = crc64.map(|crc| Checksum::Crc64Nvme(u64::from_be_bytes(crc)));
        let metadata: BTreeMap<String, String> =
            head.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Object {
            name: name.to_owned(),
            size: u64::try_from(head.content_length().unwrap_or_default()).unwrap_or_default(),
            modified: head.last_modified().map(timestamp),
            version: head.version_id().map(str::to_owned).and_then(version),
            checksum: sha256.or(crc64),
            locked_until: head.object_lock_retain_until_date().map(timestamp),
            lock_mode: match head.object_lock_mode() {
                Some(ObjectLockMode::Compliance) => Some(LockMode::Compliance),
                Some(ObjectLockMode::Governance) => Some(LockMode::Governance),
                _ => None,
            },
            held: head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On),
            metadata,
        }
    }
}

/// A key as XML can hold any: S3 escapes it as a form does where it is asked to, and says so.
fn unescaped(key: &str, encoding: Option<&EncodingType>) -> String {
    if encoding != Some(&EncodingType::Url) {
        return key.to_owned();
    }
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let escaped = (*first == b'%').then(|| digit(0).zip(digit(1))).flatten();
        (bytes, rest) = match (first, escaped) {
            (_, Some((high, low))) => {
                bytes.push((high * 16 + low) as u8);
                (bytes, &after[2..])
            }
            (b'+', None) => {
                bytes.push(b' ');
                (bytes, after)
            }
            (other, None) => {
                bytes.push(*other);
                (bytes, after)
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// "null" is what S3 calls the version of an object without one.
fn version(id: String) -> Option<String> {
    Some(id).filter(|id| id != "null" && !id.is_empty())
}

fn timestamp(time: &DateTime) -> Timestamp {
    let micros = time.as_nanos() / 1_000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// A checksum over the whole; one over checksums of parts has another length.
fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn lock_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

impl S3Store {
    /// The name of an object by its key in a listing.
    fn named(&self, key: &str, encoding: Option<&EncodingType>) -> Option<String> {
        self.place.name_of(&unescaped(key, encoding)).map(str::to_owned)
    }
}

impl BackupStore for S3Store {
    fn url(&self, name: &str) -> String {
        self.place.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(self.clients()?.endpoint.clone())
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let client = self.client()?;
        let url = self.url("");
        let page = client
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(self.place.key(below))
            .max_keys(PAGE_KEYS)
            .set_continuation_token(after.map(str::to_owned));
        let page = self
            .place
            .run("", async { page.send().await.map_err(|error| failure(&url, &error).error) })?;
        let mut objects = Vec::with_capacity(page.contents().len());
        let encoding = page.encoding_type();
        for object in page.contents() {
            let Some(name) = object.key().and_then(|key| self.named(key, encoding)) else {
                continue;
            };
            objects.push(Object {
                name,
                size: u64::try_from(object.size().unwrap_or_default()).unwrap_or_default(),
                modified: object.last_modified().map(timestamp),
                ..Object::default()
            });
        }
        let next = page.next_continuation_token().map(str::to_owned);
        match (page.is_truncated().unwrap_or(false), next) {
            (false, _) => Ok(Page { objects, next: None }),
            (true, Some(next)) => Ok(Page { objects, next: Some(next) }),
            (true, None) => {
                let message = "the listing is cut off, and the store does not say how to continue";
                Err(StoreError::new(StoreErrorKind::Other, url, message))
            }
        }
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.clock()
    }

    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        self.listed_versions(below, after)
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let head = client
            .head_object()
            .bucket(self.bucket())
            .key(self.place.key(name))
            .checksum_mode(ChecksumMode::Enabled)
            .set_version_id(version.map(str::to_owned));
        let found = self.place.run(name, async {
            match head.send().await {
                Ok(head) => Ok(Ok(Some(self.object(name, head)))),
                Err(error) => match failure(&url, &error) {
                    // 405: that version is a delete marker.
                    Failure { status: Some(404 | 405), .. } => Ok(Ok(None)),
                    Failure { status: Some(400 | 403), error, .. } => Ok(Err(error)),
                    Failure { error, .. } => Err(error),
                },
            }
        })?;
        if !matches!(found, Ok(Some(_))) {
            self.check_bucket(client)?;
        }
        found
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        let url = self.url(name);
        let get = self
            .clients()?
            .objects
            .get_object()
            .bucket(self.bucket())
            .key(self.place.key(name))
            .set_version_id(version.map(str::to_owned))
            .set_range((from > 0).then(|| format!("bytes={from}-")));
        let answer = self.place.run(name, async {
            match get.send().await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => match failure(&url, &error) {
                    Failure { status: Some(416), .. } => Ok(None),
                    Failure { error, .. } => Err(error),
                },
            }
        })?;
        let Some(answer) = answer else { return Ok(Box::new(std::io::empty())) };
        if from > 0 {
            wire::begins_at(&url, answer.content_range(), from)?;
        }
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let broken = url.clone();
        let pieces = futures::stream::unfold(answer.body, move |mut body| {
            let url = broken.clone();
            async move {
                let piece = body.next().await?;
                let piece = piece.map_err(|error| {
                    StoreError::new(StoreErrorKind::Unreachable, url, "broke off")
                        .caused_by(&error)
                        .retryable()
                });
                Some((piece, body))
            }
        });
        Ok(Box::new(Download::new(url, &self.place.limits, length, pieces)))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        put_once(self, name, put, |put| {
            if put.body.digests().bytes <= self.place.limits.single_put_bytes {
                self.put_whole(name, put)
            } else {
                self.put_parts(name, put)
            }
        })
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let delete = client
            .delete_object()
            .bucket(self.bucket())
            .key(self.place.key(name))
            .set_version_id(version.map(str::to_owned));
        let result = self.place.run(name, async {
            match delete.send().await {
                Ok(answer) if version.is_none() && answer.delete_marker() == Some(true) => {
                    Ok(Ok(Removed::HiddenByMarker))
                }
                Ok(_) => Ok(Ok(Removed::Gone)),
                Err(error) => match failure(&url, &error) {
                    Failure { status: Some(404), error, .. }
                        if error.kind == StoreErrorKind::NotFound =>
                    {
                        Ok(Ok(Removed::Gone))
                    }
                    Failure { status: Some(400 | 403), error, .. } => Ok(Err(error)),
                    Failure { error, .. } => Err(error),
                },
            }
        })?;
        result.map_err(|error| {
            // S3 says no more than "access denied" to who removes a locked version.
            let object = self.stat_version(name, version).ok().flatten();
            let until = object.and_then(|object| object.locked_until);
            match until.filter(|until| *until > SystemClock.now()) {
                None => error,
                Some(until) => self.place.locked(name, until),
            }
        })
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.abort_uploads(older_than)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_listing_is_unescaped_where_the_store_says_that_it_escaped_it() {
        let escaped = "folder/b+c%2Bd%252F%01.json";
        assert_eq!(unescaped(escaped, Some(&EncodingType::Url)), "folder/b c+d%2F\u{1}.json");
        assert_eq!(unescaped(escaped, None), escaped);
        assert_eq!(unescaped("100%", Some(&EncodingType::Url)), "100%");
        assert_eq!(unescaped("%ff%4", Some(&EncodingType::Url)), "\u{fffd}%4");
    }
}
