//! Azure Blob Storage.
//!
//! Azure compares checksums block by block and none over the whole: each block is
//! sent with its MD5, and the list that is committed holds exactly those blocks.
//! The MD5 over the whole that is stored beside it is what we said it is.

mod account;
mod blocks;
mod failure;
mod transport;
mod versions;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{AsyncResponseBody, ClientOptions};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesOptions,
    BlobClientGetPropertiesResultHeaders, BlobContainerClientListBlobsOptions, HttpRange,
    ImmutabilityPolicyMode, ListBlobsResponse,
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions,
};
use bytes::Bytes;
use futures::StreamExt;

use super::backup_store::{BackupStore, Reading};
use super::confirm::put_once;
use super::destination::Destination;
use super::error::{StoreError, StoreErrorKind};
use super::limits::{Environment, Limits};
use super::listing::{Page, VersionsPage};
use super::object::{Checksum, LockMode, Object, Removed};
use super::provider::Provider;
use super::put::Put;
use super::wire::{Download, Place, TooMuch};
use crate::clock::{Clock, SystemClock, Timestamp};
use account::Account;
use failure::{Failure, failure};

/// How much is fetched by one request.
const DOWNLOAD_BYTES: u64 = 4 << 20;
/// How many are listed at a time; Azure allows 5,000.
const PAGE_BLOBS: i32 = 1_000;

/// A container, or a part of one.
pub(crate) struct AzureStore {
    place: Place,
    account: Account,
    options: ClientOptions,
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureStore")
            .field("destination", &self.place.destination)
            .finish_non_exhaustive()
    }
}

impl AzureStore {
    pub(crate) fn connect(
        destination: &Destination,
        limits: &Limits,
        environment: &Environment,
    ) -> Result<Self, StoreError> {
        let url = destination.url(Provider::Azure, "");
        let options = transport::options(&url, limits)?;
        Ok(Self {
            place: Place::new(Provider::Azure, destination, limits),
            account: Account::find(environment, &url, limits, &options)?,
            options,
        })
    }

    /// With a signature made now.
    fn client(&self, name: &str) -> Result<BlobClient, StoreError> {
        let url = self.url(name);
        let key = self.place.key(name);
        let address = self.account.url(&[self.place.destination.bucket(), &key]);
        let address = address.map_err(|why| StoreError::new(StoreErrorKind::Usage, &url, why))?;
        let options = BlobClientOptions {
            client_options: self.options.clone(),
            ..BlobClientOptions::default()
        };
        BlobClient::new(address, self.account.credential(), Some(options))
            .map_err(|error| unusable(&url, &error))
    }

    fn container(&self) -> Result<BlobContainerClient, StoreError> {
        let url = self.url("");
        let address = self.account.url(&[self.place.destination.bucket()]);
        let address = address.map_err(|why| StoreError::new(StoreErrorKind::Usage, &url, why))?;
        let options = BlobContainerClientOptions {
            client_options: self.options.clone(),
            ..BlobContainerClientOptions::default()
        };
        BlobContainerClient::new(address, self.account.credential(), Some(options))
            .map_err(|error| unusable(&url, &error))
    }

    /// One page, as the store's XML has it.
    async fn listed(
        &self,
        below: &str,
        after: Option<&str>,
        most: i32,
    ) -> Result<Option<ListBlobsResponse>, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(self.place.key(below)),
            marker: after.map(str::to_owned),
            maxresults: Some(most),
            ..Default::default()
        };
        let container = self.container()?;
        let listed = async {
            match container.list_blobs(Some(options))?.into_pages().next().await {
                Some(page) => page?.into_model().map(Some),
                None => Ok(None),
            }
        };
        listed.await.map_err(|error: azure_core::Error| failure(&self.url(""), &error).error)
    }

    /// One that is not there counts as deleted.
    fn delete(&self, name: &str, version: Option<&str>) -> Result<(), StoreError> {
        let url = self.url(name);
        let options = BlobClientDeleteOptions {
            version_id: version.map(str::to_owned),
            ..Default::default()
        };
        self.place.run(name, async {
            match self.client(name)?.delete(Some(options)).await {
                Ok(_) => Ok(()),
                Err(error) => match failure(&url, &error) {
                    Failure { status: Some(404), error, .. }
                        if error.kind == StoreErrorKind::NotFound =>
                    {
                        Ok(())
                    }
                    Failure { error, .. } => Err(error),
                },
            }
        })
    }

    /// A HEAD's 404 does not always say what is missing.
    fn check_container(&self) -> Result<(), StoreError> {
        self.place.run("", self.listed("", None, 1)).map(drop)
    }
}

/// Such as plain HTTP with an identity, which the library does not show to everybody.
fn unusable(url: &str, error: &azure_core::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, url, "the account's endpoint cannot be used")
        .caused_by(error)
        .hint("check AZURE_STORAGE_BLOB_ENDPOINT, or BlobEndpoint in the connection string")
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp::from_micros(i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

fn object(
    name: &str,
    head: &impl BlobClientGetPropertiesResultHeaders,
) -> azure_core::Result<Object> {
    let md5 = head.content_md5()?.and_then(|md5| md5.try_into().ok());
    Ok(Object {
        name: name.to_owned(),
        size: head.content_length()?.unwrap_or_default(),
        modified: head.last_modified()?.map(timestamp),
        version: head.version_id()?,
        checksum: md5.map(Checksum::Md5),
        locked_until: head.immutability_policy_expires_on()?.map(timestamp),
        lock_mode: match head.immutability_policy_mode()? {
            Some(ImmutabilityPolicyMode::Locked) => Some(LockMode::Compliance),
            Some(_) => Some(LockMode::Governance),
            None => None,
        },
        held: head.legal_hold()?.unwrap_or(false),
        metadata: head.metadata()?.into_iter().collect(),
    })
}

/// An object, a stretch at a time: what the library would do by itself, if the store's
/// word for the object's length could be trusted with its memory.
struct Stretches {
    client: Arc<BlobClient>,
    url: String,
    version: Option<String>,
    /// Where the open stretch begins.
    at: u64,
    open: Option<AsyncResponseBody>,
    /// What of it has come.
    came: u64,
}

impl Stretches {
    /// Opens the next stretch; none at the object's end.
    async fn next(mut self) -> Result<Option<Self>, StoreError> {
        let options = BlobClientDownloadOptions {
            parallel: NonZero::new(1),
            partition_size: NonZero::new(DOWNLOAD_BYTES as usize),
            range: Some(HttpRange::new(self.at, DOWNLOAD_BYTES)),
            version_id: self.version.clone(),
            ..Default::default()
        };
        match self.client.download(Some(options)).await {
            Ok(answer) => {
                (self.open, self.came) = (Some(answer.body), 0);
                Ok(Some(self))
            }
            Err(error) => match failure(&self.url, &error) {
                Failure { status: Some(416), .. } => Ok(None),
                Failure { error, .. } => Err(error),
            },
        }
    }

    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            let Some(open) = self.open.as_mut() else { return Ok(None) };
            match open.next().await {
                Some(Ok(piece)) => {
                    self.came += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                Some(Err(error)) if TooMuch::is_behind(&error) => {
                    return Err(TooMuch::of(&self.url));
                }
                Some(Err(error)) => {
                    let broken =
                        StoreError::new(StoreErrorKind::Unreachable, &self.url, "broke off");
                    return Err(broken.caused_by(&error).retryable());
                }
                None if self.came < DOWNLOAD_BYTES => return Ok(None),
                None => {
                    self.at += self.came;
                    let Some(next) = self.next().await? else { return Ok(None) };
                    self = next;
                }
            }
        }
    }
}

impl BackupStore for AzureStore {
    fn url(&self, name: &str) -> String {
        self.place.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(Some(self.account.endpoint()))
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let listed = self.place.run("", self.listed(below, after, PAGE_BLOBS))?;
        let Some(listed) = listed else { return Ok(Page::default()) };
        let mut objects = Vec::with_capacity(listed.blob_items.len());
        for blob in listed.blob_items {
            let name = blob.name.as_deref().and_then(|key| self.place.name_of(key));
            let Some(name) = name else { continue };
            let properties = blob.properties.unwrap_or_default();
            objects.push(Object {
                name: name.to_owned(),
                size: properties.content_length.unwrap_or_default(),
                modified: properties.last_modified.map(timestamp),
                ..Object::default()
            });
        }
        Ok(Page { objects, next: listed.next_marker.filter(|next| !next.is_empty()) })
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
        let url = self.url(name);
        let options = BlobClientGetPropertiesOptions {
            version_id: version.map(str::to_owned),
            ..Default::default()
        };
        let found = self.place.run(name, async {
            match self.client(name)?.get_properties(Some(options)).await {
                Ok(head) => {
                    object(name, &head).map(Some).map_err(|error| failure(&url, &error).error)
                }
                Err(error) => match failure(&url, &error) {
                    Failure { status: Some(404), .. } => Ok(None),
                    Failure { error, .. } => Err(error),
                },
            }
        })?;
        if found.is_none() {
            self.check_container()?;
        }
        Ok(found)
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        let url = self.url(name);
        let stretches = Stretches {
            client: Arc::new(self.client(name)?),
            url: url.clone(),
            version: version.map(str::to_owned),
            at: from,
            open: None,
            came: 0,
        };
        // The first one here, so that what cannot be opened is an error of opening.
        let stretches = self.place.run(name, stretches.next())?;
        let Some(stretches) = stretches else { return Ok(Box::new(std::io::empty())) };
        let pieces = futures::stream::try_unfold(stretches, Stretches::piece);
        // How much comes is known to whoever asked for the object's length before.
        Ok(Box::new(Download::new(url, &self.place.limits, None, pieces)))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        put_once(self, name, put, |put| self.put_blocks(name, put))
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        let Some(there) = self.stat_version(name, version)? else { return Ok(Removed::Gone) };
        if let Some(until) = there.locked_until.filter(|until| *until > SystemClock.now()) {
            return Err(self.place.locked(name, until));
        }
        let Some(version) = version else {
            self.delete(name, None)?;
            // What it was stays as an older version.
            return Ok(match there.version {
                Some(_) => Removed::HiddenByMarker,
                None => Removed::Gone,
            });
        };
        // The current version cannot be removed by its id before it is an older one.
        let current = self.stat(name)?;
        if current.is_some_and(|current| current.version.as_deref() == Some(version)) {
            self.delete(name, None)?;
        }
        self.delete(name, Some(version))?;
        Ok(Removed::Gone)
    }

    fn abort_stale_uploads(&self, _older_than: Duration) -> Result<u64, StoreError> {
        // Azure forgets blocks that were not committed after a week.
        Ok(0)
    }
}
