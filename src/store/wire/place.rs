//! What the clouds' stores have in common: where they are, and how they are spoken with.

use std::future::Future;
use std::sync::Arc;

use super::throttle::Throttle;
use crate::store::destination::Destination;
use crate::store::error::StoreError;
use crate::store::limits::Limits;
use crate::store::provider::Provider;

/// A bucket or a part of one, at a provider; how much may go there at once and how fast.
#[derive(Debug)]
pub(crate) struct Place {
    provider: Provider,
    pub(crate) destination: Destination,
    pub(crate) limits: Limits,
    pub(crate) throttle: Option<Arc<Throttle>>,
}

impl Place {
    pub(crate) fn new(provider: Provider, destination: &Destination, limits: &Limits) -> Self {
        Self {
            provider,
            destination: destination.clone(),
            limits: limits.clone(),
            throttle: limits.upload_rate.map(|rate| Arc::new(Throttle::new(rate))),
        }
    }

    /// An object's URL, for people.
    pub(crate) fn url(&self, name: &str) -> String {
        self.destination.url(self.provider, name)
    }

    /// The key of an object in the bucket.
    pub(crate) fn key(&self, name: &str) -> String {
        self.destination.key(name)
    }

    /// The name of what has this key; none for what lies elsewhere, and for a key that ends in
    /// "/", which consoles make for a folder.
    pub(crate) fn name_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        self.destination.name_of(key).filter(|name| !name.ends_with('/'))
    }

    /// Runs a request about an object to its answer.
    pub(crate) fn run<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        super::request(&self.url(name), &self.limits, work)
    }

    /// The provider's client, made when it is first needed.
    #[cfg(any(feature = "s3", feature = "gcs"))]
    pub(crate) fn client<'c, C>(
        &self,
        made: &'c std::sync::OnceLock<C>,
        load: impl Future<Output = Result<C, StoreError>>,
    ) -> Result<&'c C, StoreError> {
        if let Some(client) = made.get() {
            return Ok(client);
        }
        let client = self.run("", load)?;
        Ok(made.get_or_init(|| client))
    }

    /// What somebody is told who would remove an object before its time.
    #[cfg(any(feature = "s3", feature = "azure"))]
    pub(crate) fn locked(&self, name: &str, until: crate::clock::Timestamp) -> StoreError {
        use crate::store::error::StoreErrorKind;
        let message = format!("is locked until {until}");
        StoreError::new(StoreErrorKind::Locked(Some(until)), self.url(name), message)
            .hint("it can be removed after that")
    }
}
