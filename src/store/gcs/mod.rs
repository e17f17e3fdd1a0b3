//! Google Cloud Storage, by its JSON API: the vendor's library for it lists and
//! deletes by gRPC only, which emulators lack.
//!
//! The object's CRC-32C is sent before its bytes; Google compares, and what does
//! not match never becomes an object.

mod client;
mod resumable;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::backup_store::{BackupStore, Reading};
use super::confirm::put_once;
use super::destination::Destination;
use super::error::{StoreError, StoreErrorKind};
use super::limits::{Environment, Limits};
use super::listing::{Page, VersionsPage};
use super::object::{Checksum, LockMode, Object, Removed};
use super::provider::Provider;
use super::put::Put;
use super::wire::{self, Download, Place};
use crate::clock::Timestamp;
use client::{Client, Failure, fetch, send};

/// What is asked about objects.
const FIELDS: &str = "name,size,updated,generation,crc32c,metadata,retention,retentionExpirationTime,temporaryHold,\
    eventBasedHold";

/// How many are listed at a time: Google's own limit.
const PAGE_ITEMS: u32 = 1_000;

/// A bucket, or a part of one.
pub(crate) struct GcsStore {
    place: Place,
    environment: Environment,
    client: OnceLock<Client>,
}

impl fmt::Debug for GcsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsStore")
            .field("destination", &self.place.destination)
            .finish_non_exhaustive()
    }
}

impl GcsStore {
    #[expect(clippy::unnecessary_wraps, reason = "the other providers can fail here")]
    pub(crate) fn connect(
        destination: &Destination,
        limits: &Limits,
        environment: &Environment,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            place: Place::new(Provider::Gcs, destination, limits),
            environment: environment.clone(),
            client: OnceLock::new(),
        })
    }

    fn client(&self) -> Result<&Client, StoreError> {
        let url = self.url("");
        let load = Client::load(&url, &self.environment, &self.place.limits);
        self.place.client(&self.client, load)
    }

    /// An object's address; of one generation, if one is named.
    fn object_address(
        &self,
        client: &Client,
        name: &str,
        version: Option<&str>,
    ) -> Result<Url, StoreError> {
        let key = self.place.key(name);
        let parts = ["storage", "v1", "b", self.place.destination.bucket(), "o", &key];
        let mut address = client.address(&self.url(name), &parts)?;
        if let Some(generation) = version {
            address.query_pairs_mut().append_pair("generation", generation);
        }
        Ok(address)
    }

    async fn document(
        &self,
        client: &Client,
        below: &str,
        token: Option<&str>,
        most: u32,
    ) -> Result<Listed, StoreError> {
        let url = self.url("");
        let parts = ["storage", "v1", "b", self.place.destination.bucket(), "o"];
        let mut address = client.address(&url, &parts)?;
        {
            let mut query = address.query_pairs_mut();
            query.append_pair("prefix", &self.place.key(below));
            query.append_pair("fields", &format!("nextPageToken,items({FIELDS})"));
            if let Some(token) = token {
                query.append_pair("pageToken", token);
            }
            query.append_pair("maxResults", &most.to_string());
        }
        let request = client.request(&url, Method::GET, address).await?;
        fetch(&url, request).await.map_err(|Failure { status, mut error }| {
            // What is listed is the bucket: nothing else can be missing.
            if status == Some(404) {
                error.kind = StoreErrorKind::NoBucket;
                "there is no such bucket".clone_into(&mut error.message);
                error = error.hint(
                    "make the bucket, or correct its name; auditctl does not make \
                                    buckets",
                );
            }
            error
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    items: Vec<Item>,
    next_page_token: Option<String>,
}

/// An object as the JSON API shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Item {
    name: String,
    size: String,
    updated: Option<String>,
    generation: Option<String>,
    crc32c: Option<String>,
    metadata: BTreeMap<String, String>,
    retention: Option<Retention>,
    retention_expiration_time: Option<String>,
    temporary_hold: bool,
    event_based_hold: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Retention {
    mode: String,
    retain_until_time: Option<String>,
}

impl Item {
    fn into_object(self, name: &str, url: &str) -> Result<Object, StoreError> {
        let size = self.size.parse().map_err(|_| {
            let message = format!("the store does not give the size of {name}");
            StoreError::new(StoreErrorKind::Other, url, message)
        })?;
        let time = |text: &String| text.parse::<Timestamp>().ok();
        let crc = self.crc32c.and_then(|text| STANDARD.decode(text).ok());
        let crc = crc.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
        let own = self
            .retention
            .as_ref()
            .and_then(|retention| time(retention.retain_until_time.as_ref()?));
        // A bucket's policy binds everybody, like a locked one.
        let of_bucket = self.retention_expiration_time.as_ref().and_then(time);
        let mode = self.retention.map(|retention| match retention.mode.as_str() {
            "Locked" => LockMode::Compliance,
            _ => LockMode::Governance,
        });
        Ok(Object {
            name: name.to_owned(),
            size,
            modified: self.updated.as_ref().and_then(time),
            version: self.generation,
            checksum: crc.map(Checksum::Crc32c),
            locked_until: own.max(of_bucket),
            lock_mode: mode.or(of_bucket.map(|_| LockMode::Compliance)),
            held: self.temporary_hold || self.event_based_hold,
            metadata: self.metadata,
        })
    }
}

impl BackupStore for GcsStore {
    fn url(&self, name: &str) -> String {
        self.place.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(self.client()?.emulator())
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let client = self.client()?;
        let url = self.url("");
        let listed = self.place.run("", self.document(client, below, after, PAGE_ITEMS))?;
        let mut objects = Vec::with_capacity(listed.items.len());
        for item in listed.items {
            let Some(name) = self.place.name_of(&item.name) else { continue };
            let name = name.to_owned();
            objects.push(item.into_object(&name, &url)?);
        }
        Ok(Page { objects, next: listed.next_page_token.filter(|token| !token.is_empty()) })
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
        let mut address = self.object_address(client, name, version)?;
        address.query_pairs_mut().append_pair("fields", FIELDS);
        self.place.run(name, async {
            let request = client.request(&url, Method::GET, address).await?;
            match fetch::<Item>(&url, request).await {
                Ok(item) => item.into_object(name, &url).map(Some),
                // It may be the bucket that is missing.
                Err(Failure { status: Some(404), .. }) => {
                    self.document(client, "", None, 1).await.map(|_| None)
                }
                Err(Failure { error, .. }) => Err(error),
            }
        })
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let mut address = self.object_address(client, name, version)?;
        address.query_pairs_mut().append_pair("alt", "media");
        let answer = self.place.run(name, async {
            let mut request = client.request(&url, Method::GET, address).await?;
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            match send(&url, request).await {
                Ok(answer) => Ok(Some(answer)),
                Err(Failure { status: Some(416), .. }) => Ok(None),
                Err(Failure { error, .. }) => Err(error),
            }
        })?;
        let Some(answer) = answer else { return Ok(Box::new(std::io::empty())) };
        if from > 0 {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            wire::begins_at(&url, range, from)?;
        }
        let length = answer.content_length();
        let broken = url.clone();
        let pieces = answer
            .bytes_stream()
            .map(move |piece| piece.map_err(|error| client::without_answer(&broken, error).error));
        Ok(Box::new(Download::new(url, &self.place.limits, length, pieces)))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        put_once(self, name, put, |put| self.put_resumable(name, put))
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let address = self.object_address(client, name, version)?;
        let result = self.place.run(name, async {
            let request = client.request(&url, Method::DELETE, address).await?;
            match send(&url, request).await {
                Ok(_) => Ok(Ok(())),
                Err(Failure { status: Some(404), error })
                    if error.kind == StoreErrorKind::NotFound =>
                {
                    Ok(Ok(()))
                }
                Err(Failure { error, .. }) if matches!(error.kind, StoreErrorKind::Locked(_)) => {
                    Ok(Err(error))
                }
                Err(Failure { error, .. }) => Err(error),
            }
        })?;
        let Err(mut error) = result else { return Ok(Removed::Gone) };
        let there = self.stat_version(name, version).ok().flatten();
        if let Some(until) = there.and_then(|object| object.locked_until) {
            error.kind = StoreErrorKind::Locked(Some(until));
            error.message = format!("is locked until {until}");
        }
        Err(error)
    }

    fn abort_stale_uploads(&self, _older_than: Duration) -> Result<u64, StoreError> {
        // Google forgets a session after a week, and shows them to nobody.
        Ok(0)
    }
}
