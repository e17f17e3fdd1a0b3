//! Azure Blob Storage.
//!
//! Azure compares checksums block by block and none over the whole: each block is
//! sent with its MD5, and the list that is committed holds exactly those blocks.
//! The MD5 over the whole that is stored beside it is what we said it is.

mod account;
mod blocks;
mod failure;

use std::fmt;
use std::io::Read;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesOptions,
    BlobClientGetPropertiesResultHeaders, BlobContainerClientListBlobsOptions, HttpRange,
    ImmutabilityPolicyMode,
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions,
};
use futures::StreamExt;

use super::backup_store::BackupStore;
use super::confirm::put_once;
use super::destination::{Destination, Provider};
use super::error::{StoreError, StoreErrorKind};
use super::limits::{Environment, Limits};
use super::object::{Checksum, LockMode, Object, Removed};
use super::put::Put;
use super::wire::{self, Download, Throttle};
use crate::clock::{Clock, SystemClock, Timestamp};
use account::Account;
use failure::{Failure, failure};

/// How much is fetched by one request.
const DOWNLOAD_BYTES: usize = 4 << 20;

/// A container, or a part of one.
pub(crate) struct AzureStore {
    destination: Destination,
    limits: Limits,
    account: Account,
    throttle: Option<Arc<Throttle>>,
    transport: OnceLock<Transport>,
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureStore").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl AzureStore {
    pub(crate) fn connect(
        destination: &Destination,
        limits: &Limits,
        environment: &Environment,
    ) -> Result<Self, StoreError> {
        let url = destination.url(Provider::Azure, "");
        Ok(Self {
            destination: destination.clone(),
            limits: limits.clone(),
            account: Account::find(environment, &url)?,
            throttle: limits.upload_rate.map(|rate| Arc::new(Throttle::new(rate))),
            transport: OnceLock::new(),
        })
    }

    /// The library's own would give up on a request after a minute, however fast
    /// it goes, and would try again by itself.
    fn options(&self) -> Result<ClientOptions, StoreError> {
        let transport = match self.transport.get() {
            Some(transport) => transport.clone(),
            None => {
                let client = wire::http_client(&self.url(""), &self.limits)?;
                self.transport.get_or_init(|| Transport::new(Arc::new(client))).clone()
            }
        };
        Ok(ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(transport),
            ..ClientOptions::default()
        })
    }

    /// With a signature made now.
    fn client(&self, name: &str) -> Result<BlobClient, StoreError> {
        let url = self.url(name);
        let key = self.destination.key(name);
        let address = self.account.url(&[self.destination.bucket(), &key]);
        let address = address.map_err(|why| StoreError::new(StoreErrorKind::Usage, &url, why))?;
        let options =
            BlobClientOptions { client_options: self.options()?, ..BlobClientOptions::default() };
        BlobClient::new(address, self.account.credential(), Some(options))
            .map_err(|error| failure(&url, &error).error)
    }

    fn container(&self) -> Result<BlobContainerClient, StoreError> {
        let url = self.url("");
        let address = self.account.url(&[self.destination.bucket()]);
        let address = address.map_err(|why| StoreError::new(StoreErrorKind::Usage, &url, why))?;
        let options = BlobContainerClientOptions {
            client_options: self.options()?,
            ..BlobContainerClientOptions::default()
        };
        BlobContainerClient::new(address, self.account.credential(), Some(options))
            .map_err(|error| failure(&url, &error).error)
    }

    fn run<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        wire::request(&self.url(name), self.limits.stall_timeout, work)
    }

    async fn list_pages(&self, url: &str) -> Result<Vec<Object>, StoreError> {
        let failed = |error: &azure_core::Error| failure(url, error).error;
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(self.destination.prefix().to_owned()),
            ..Default::default()
        };
        let pager = self.container()?.list_blobs(Some(options)).map_err(|error| failed(&error))?;
        let mut pages = pager.into_pages();
        let mut objects = Vec::new();
        loop {
            let page = tokio::time::timeout(self.limits.stall_timeout, pages.next()).await;
            let Some(page) = page.map_err(|_| wire::stalled(url, self.limits.stall_timeout))?
            else {
                break;
            };
            let page = page.and_then(azure_core::http::Response::into_model);
            for blob in page.map_err(|error| failed(&error))?.blob_items {
                let name = blob.name.as_deref().and_then(|key| self.destination.name_of(key));
                let Some(name) = name.filter(|name| !name.ends_with('/')) else { continue };
                let properties = blob.properties.unwrap_or_default();
                objects.push(Object {
                    name: name.to_owned(),
                    size: properties.content_length.unwrap_or_default(),
                    modified: properties.last_modified.map(timestamp),
                    ..Object::default()
                });
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// One that is not there counts as deleted.
    fn delete(&self, name: &str, version: Option<&str>) -> Result<(), StoreError> {
        let url = self.url(name);
        let options = BlobClientDeleteOptions {
            version_id: version.map(str::to_owned),
            ..Default::default()
        };
        self.run(name, async {
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
        let url = self.url("");
        self.run("", async {
            let options = BlobContainerClientListBlobsOptions {
                prefix: Some(self.destination.prefix().to_owned()),
                maxresults: Some(1),
                ..Default::default()
            };
            let pager = self.container()?.list_blobs(Some(options));
            let pager = pager.map_err(|error| failure(&url, &error).error)?;
            match pager.into_pages().next().await {
                Some(Err(error)) => Err(failure(&url, &error).error),
                _ => Ok(()),
            }
        })
    }
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

impl BackupStore for AzureStore {
    fn url(&self, name: &str) -> String {
        self.destination.url(Provider::Azure, name)
    }

    fn list(&self) -> Result<Vec<Object>, StoreError> {
        let url = self.url("");
        // Each page has its own time limit: there may be many.
        wire::runtime()?.block_on(self.list_pages(&url))
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
        let found = self.run(name, async {
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

    fn open(
        &self,
        name: &str,
        version: Option<&str>,
        from: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let url = self.url(name);
        let options = BlobClientDownloadOptions {
            parallel: NonZero::new(1),
            partition_size: NonZero::new(DOWNLOAD_BYTES),
            range: (from > 0).then(|| HttpRange::from_offset(from)),
            version_id: version.map(str::to_owned),
            ..Default::default()
        };
        let answer = self.run(name, async {
            match self.client(name)?.download(Some(options)).await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => match failure(&url, &error) {
                    Failure { status: Some(416), .. } => Ok(None),
                    Failure { error, .. } => Err(error),
                },
            }
        })?;
        let Some(answer) = answer else { return Ok(Box::new(std::io::empty())) };
        let broken = url.clone();
        let pieces = answer.body.map(move |piece| {
            piece.map_err(|error| {
                StoreError::new(StoreErrorKind::Unreachable, &broken, "broke off")
                    .caused_by(&error)
                    .retryable()
            })
        });
        // How much comes is known to whoever asked for the object's length before.
        Ok(Box::new(Download::new(url, self.limits.stall_timeout, None, pieces)))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        put_once(self, name, put, |put| self.put_blocks(name, put))
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        let Some(there) = self.stat_version(name, version)? else { return Ok(Removed::Gone) };
        if let Some(until) = there.locked_until.filter(|until| *until > SystemClock.now()) {
            let message = format!("is locked until {until}");
            let kind = StoreErrorKind::Locked(Some(until));
            return Err(
                StoreError::new(kind, self.url(name), message).hint("it can be removed after that")
            );
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
