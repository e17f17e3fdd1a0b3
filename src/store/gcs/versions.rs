//! The versions of a bucket's objects ("generations"), and Google's clock.

use reqwest::Method;
use serde::Deserialize;

use super::super::error::StoreError;
use super::super::listing::{Version, VersionsPage};
use super::super::wire::http_date;
use super::client::{Failure, fetch, send};
use super::{GcsStore, PAGE_ITEMS};
use crate::clock::Timestamp;

const FIELDS: &str = "nextPageToken,items(name,generation,updated,timeDeleted)";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    items: Vec<Generation>,
    next_page_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Generation {
    name: String,
    generation: Option<String>,
    updated: Option<String>,
    time_deleted: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bucket {
    versioning: Versioning,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versioning {
    enabled: bool,
}

impl GcsStore {
    pub(super) fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let client = self.client()?;
        let url = self.place.url("");
        let parts = ["storage", "v1", "b", self.place.destination.bucket(), "o"];
        let mut address = client.address(&url, &parts)?;
        address
            .query_pairs_mut()
            .append_pair("prefix", &self.place.key("proof/"))
            .append_pair("fields", "nextPageToken")
            .append_pair("maxResults", "1");
        self.place.run("", async {
            let request = client.request(&url, Method::GET, address).await?;
            let answer = send(&url, request).await.map_err(|Failure { error, .. }| error)?;
            let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
            Ok(date.and_then(http_date))
        })
    }

    /// Whether the bucket keeps generations that were replaced; who may not ask, is told no.
    fn keeps_versions(&self) -> Result<bool, StoreError> {
        let client = self.client()?;
        let url = self.place.url("");
        let parts = ["storage", "v1", "b", self.place.destination.bucket()];
        let mut address = client.address(&url, &parts)?;
        address.query_pairs_mut().append_pair("fields", "versioning");
        self.place.run("", async {
            let request = client.request(&url, Method::GET, address).await?;
            match fetch::<Bucket>(&url, request).await {
                Ok(bucket) => Ok(bucket.versioning.enabled),
                Err(Failure { status: Some(401 | 403 | 404), .. }) => Ok(false),
                Err(Failure { error, .. }) => Err(error),
            }
        })
    }

    pub(super) fn listed_versions(
        &self,
        below: &str,
        after: Option<&str>,
    ) -> Result<VersionsPage, StoreError> {
        let kept = self.keeps_versions()?;
        let client = self.client()?;
        let url = self.place.url("");
        let parts = ["storage", "v1", "b", self.place.destination.bucket(), "o"];
        let mut address = client.address(&url, &parts)?;
        {
            let mut query = address.query_pairs_mut();
            query.append_pair("prefix", &self.place.key(below));
            query.append_pair("versions", "true");
            query.append_pair("fields", FIELDS);
            query.append_pair("maxResults", &PAGE_ITEMS.to_string());
            if let Some(token) = after {
                query.append_pair("pageToken", token);
            }
        }
        let listed: Listed = self.place.run("", async {
            let request = client.request(&url, Method::GET, address).await?;
            fetch(&url, request).await.map_err(|Failure { error, .. }| error)
        })?;
        let mut versions = Vec::with_capacity(listed.items.len());
        for one in listed.items {
            let Some(name) = self.place.name_of(&one.name) else { continue };
            versions.push(Version {
                name: name.to_owned(),
                id: one.generation.filter(|_| kept),
                is_current: one.time_deleted.is_none(),
                is_marker: false,
                modified: one.updated.and_then(|time| time.parse().ok()),
            });
        }
        versions.sort_by(|one, other| one.name.cmp(&other.name));
        let next = listed.next_page_token.filter(|token| !token.is_empty());
        Ok(VersionsPage { versions, next })
    }
}
