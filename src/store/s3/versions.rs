//! The versions of a bucket's objects, and S3's clock.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::super::error::{StoreError, StoreErrorKind};
use super::super::listing::{Version, VersionsPage};
use super::super::wire::http_date;
use super::failure::{Failure, failure};
use super::{PAGE_KEYS, S3Store, timestamp, unescaped};
use crate::clock::Timestamp;

/// Keeps the `Date` of an answer.
#[derive(Clone, Debug, Default)]
struct DateOf(Arc<Mutex<Option<Timestamp>>>);

impl Intercept for DateOf {
    fn name(&self) -> &'static str {
        "DateOf"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(http_date);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

impl S3Store {
    pub(super) fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let client = self.client()?;
        let url = self.place.url("");
        let date = DateOf::default();
        let asked = client
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(self.place.key("proof/"))
            .max_keys(1)
            .customize()
            .interceptor(date.clone());
        self.place.run("", async {
            asked.send().await.map(drop).map_err(|error| failure(&url, &error).error)
        })?;
        Ok(*date.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn listed_versions(
        &self,
        below: &str,
        after: Option<&str>,
    ) -> Result<VersionsPage, StoreError> {
        let client = self.client()?;
        let url = self.place.url("");
        // Two words of the store's, as one.
        let (key, id) = match after.map(|after| after.split_once('\n')) {
            Some(Some((id, key))) => (Some(key), Some(id).filter(|id| !id.is_empty())),
            _ => (None, None),
        };
        let page = client
            .list_object_versions()
            .bucket(self.bucket())
            .prefix(self.place.key(below))
            .max_keys(PAGE_KEYS)
            .set_key_marker(key.map(str::to_owned))
            .set_version_id_marker(id.map(str::to_owned));
        let page = self.place.run("", async {
            page.send().await.map_err(|error| match failure(&url, &error) {
                Failure { status: Some(405 | 501), .. } => {
                    let message = "this store does not list versions of objects";
                    StoreError::new(StoreErrorKind::Unsupported, &url, message)
                }
                Failure { error, .. } => error,
            })
        })?;
        let mut versions = Vec::new();
        let encoding = page.encoding_type();
        let id = |id: Option<&str>| id.filter(|id| *id != "null").map(str::to_owned);
        for one in page.versions() {
            let Some(name) = one.key().and_then(|key| self.named(key, encoding)) else { continue };
            versions.push(Version {
                name,
                id: id(one.version_id()),
                is_current: one.is_latest().unwrap_or_default(),
                is_marker: false,
                modified: one.last_modified().map(timestamp),
            });
        }
        for one in page.delete_markers() {
            let Some(name) = one.key().and_then(|key| self.named(key, encoding)) else { continue };
            versions.push(Version {
                name,
                id: id(one.version_id()),
                is_current: one.is_latest().unwrap_or_default(),
                is_marker: true,
                modified: one.last_modified().map(timestamp),
            });
        }
        // Markers come in a list of their own.
        versions.sort_by(|one, other| one.name.cmp(&other.name));
        let next = page.next_key_marker().filter(|_| page.is_truncated().unwrap_or_default());
        let next = next.map(|key| unescaped(key, encoding));
        let next =
            next.map(|key| format!("{}\n{key}", page.next_version_id_marker().unwrap_or_default()));
        Ok(VersionsPage { versions, next })
    }
}
