//! What every store can do.

use std::fmt::Debug;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use super::error::{StoreError, StoreErrorKind};
use super::listing::{self, MOST_KEPT, Page, Version, VersionsPage};
use super::object::{Object, Removed};
use super::put::Put;
use crate::clock::Timestamp;

/// The bytes of an object, as they come.
pub type Reading = Box<dyn Read + Send>;

/// A place for backups: objects with names below one prefix, each written once.
///
/// All methods block; none may be called from an asynchronous task.
pub trait BackupStore: Send + Sync + Debug {
    /// The URL of an object, for people: `s3://bucket/prefix/name`.
    fn url(&self, name: &str) -> String;

    /// Which service it is at, where that is not the provider's own for everybody: the address
    /// of an endpoint, or of an account. Two services may have a bucket of the same name. Holds
    /// no secret.
    ///
    /// # Errors
    /// The settings that would tell cannot be read.
    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// One page of what is below the prefix and there begins with `below`; `after` is
    /// where the page before said that this one begins. Unfinished uploads are not
    /// in it.
    ///
    /// # Errors
    /// See [`StoreError`]; a missing bucket is an error, not an empty one.
    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError>;

    /// Shows everything that begins with `below`, page by page: all of it or an error.
    /// Nothing is kept.
    ///
    /// # Errors
    /// See [`StoreError`]; what `see` says; a listing that does not come to its end.
    fn visit(
        &self,
        below: &str,
        see: &mut dyn FnMut(Object) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        listing::visit(&self.url(below), &|after| self.page(below, after), see)
    }

    /// As [`visit`](Self::visit), where the objects of many hosts are: up to 250 million of them.
    ///
    /// # Errors
    /// As [`visit`](Self::visit).
    fn visit_of_many(
        &self,
        below: &str,
        see: &mut dyn FnMut(Object) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        listing::visit_of_many(&self.url(below), &|after| self.page(below, after), see)
    }

    /// Everything below the prefix, by name: all of it or an error, never a part.
    ///
    /// # Errors
    /// As [`visit`](Self::visit); more than 200,000 objects.
    fn list(&self) -> Result<Vec<Object>, StoreError> {
        let mut objects = Vec::new();
        self.visit("", &mut |object| {
            if objects.len() == MOST_KEPT {
                let message = format!("there are more than {MOST_KEPT} objects");
                return Err(StoreError::new(StoreErrorKind::Other, self.url(""), message)
                    .hint("name a longer prefix: --destination BUCKET/PREFIX"));
            }
            objects.push(object);
            Ok(())
        })?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// What time it is by the store's clock; `None` where it does not say so.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// One page of the versions of what begins with `below`, as [`page`](Self::page) is one of
    /// what a reader gets.
    ///
    /// # Errors
    /// [`Unsupported`](StoreErrorKind::Unsupported) where the store knows no versions; others as
    /// in [`StoreError`].
    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        let _ = after;
        let message = "this store does not keep versions of objects";
        Err(StoreError::new(StoreErrorKind::Unsupported, self.url(below), message))
    }

    /// Shows every version of everything that begins with `below`: all of them or an error.
    ///
    /// # Errors
    /// As [`versions_page`](Self::versions_page); what `see` says.
    fn visit_versions(
        &self,
        below: &str,
        see: &mut dyn FnMut(Version) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let page = |after: Option<&str>| self.versions_page(below, after);
        listing::visit_versions(&self.url(below), &page, see)
    }

    /// What the store knows of an object; `None` only when it is certainly not
    /// there (and the bucket is).
    ///
    /// # Errors
    /// See [`StoreError`].
    fn stat(&self, name: &str) -> Result<Option<Object>, StoreError> {
        self.stat_version(name, None)
    }

    /// [`Self::stat`] of one version.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn stat_version(&self, name: &str, version: Option<&str>)
    -> Result<Option<Object>, StoreError>;

    /// Reads an object from byte `from` on. What ends early is an error of the
    /// reader, in which [`StoreError::inside`] finds why.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError>;

    /// Puts a new object, and returns it once the store has said to have it: the
    /// size, the checksum, the version, and the lock if one was asked for. Nothing
    /// is ever replaced: if the name is taken by the same content, that counts as
    /// done, and if by another, it is [`ExistsAndDiffers`].
    ///
    /// # Errors
    /// See [`StoreError`].
    ///
    /// [`ExistsAndDiffers`]: super::StoreErrorKind::ExistsAndDiffers
    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError>;

    /// Removes an object, or one version of it. One that is not there counts as
    /// removed.
    ///
    /// # Errors
    /// [`Locked`](super::StoreErrorKind::Locked) when it is to be kept; others as in [`StoreError`].
    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError>;

    /// Throws away what unfinished uploads below the prefix have left and that
    /// is older; how many. Azure and Google forget them by themselves after a week
    /// and cannot be told to: there it is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError>;
}

impl<S: BackupStore + ?Sized> BackupStore for Arc<S> {
    fn url(&self, name: &str) -> String {
        (**self).url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        (**self).endpoint()
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        (**self).page(below, after)
    }

    fn visit(
        &self,
        below: &str,
        see: &mut dyn FnMut(Object) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        (**self).visit(below, see)
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        (**self).now()
    }

    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        (**self).versions_page(below, after)
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        (**self).stat_version(name, version)
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        (**self).open(name, version, from)
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        (**self).put_new(name, put)
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        (**self).remove(name, version)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        (**self).abort_stale_uploads(older_than)
    }
}
