//! The versions of a container's blobs, and Azure's clock.

use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, ListBlobsIncludeItem};
use futures::StreamExt;

use super::super::error::StoreError;
use super::super::listing::{Version, VersionsPage};
use super::super::wire::http_date;
use super::failure::failure;
use super::{AzureStore, PAGE_BLOBS, timestamp};
use crate::clock::Timestamp;

const DATE: HeaderName = HeaderName::from_static("date");

impl AzureStore {
    pub(super) fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(self.place.key("proof/")),
            maxresults: Some(1),
            ..Default::default()
        };
        let container = self.container()?;
        let asked = async {
            let page = container.list_blobs(Some(options))?.into_pages().next().await;
            let page = page.transpose()?;
            let date = page.as_ref().and_then(|page| page.headers().get_optional_str(&DATE));
            Ok(date.and_then(http_date))
        };
        self.place.run("", async {
            asked
                .await
                .map_err(|error: azure_core::Error| failure(&self.place.url(""), &error).error)
        })
    }

    pub(super) fn listed_versions(
        &self,
        below: &str,
        after: Option<&str>,
    ) -> Result<VersionsPage, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(self.place.key(below)),
            marker: after.map(str::to_owned),
            maxresults: Some(PAGE_BLOBS),
            include: Some(vec![ListBlobsIncludeItem::Versions]),
            ..Default::default()
        };
        let container = self.container()?;
        let asked = async {
            match container.list_blobs(Some(options))?.into_pages().next().await {
                Some(page) => page?.into_model().map(Some),
                None => Ok(None),
            }
        };
        let listed = self.place.run("", async {
            asked
                .await
                .map_err(|error: azure_core::Error| failure(&self.place.url(""), &error).error)
        })?;
        let Some(listed) = listed else { return Ok(VersionsPage::default()) };
        let mut versions = Vec::with_capacity(listed.blob_items.len());
        for blob in listed.blob_items {
            let name = blob.name.as_deref().and_then(|key| self.place.name_of(key));
            let Some(name) = name else { continue };
            let properties = blob.properties.unwrap_or_default();
            // Where no versions are kept, what is listed is what a reader gets.
            let is_current = blob.is_current_version.unwrap_or(blob.version_id.is_none());
            versions.push(Version {
                name: name.to_owned(),
                id: blob.version_id,
                is_current,
                is_marker: false,
                modified: properties.last_modified.map(timestamp),
            });
        }
        versions.sort_by(|one, other| one.name.cmp(&other.name));
        let next = listed.next_marker.filter(|next| !next.is_empty());
        Ok(VersionsPage { versions, next })
    }
}
