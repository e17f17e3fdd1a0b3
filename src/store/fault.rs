//! A store that fails when told to, for tests: the n-th call of an operation
//! fails, is done but its answer is lost, lists half, or breaks off.

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::backup_store::{BackupStore, Reading};
use super::error::{StoreError, StoreErrorKind};
use super::listing::{Page, VersionsPage};
use super::object::{Object, Removed};
use super::put::Put;
use crate::clock::Timestamp;

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `page`, and with it `visit` and `list`
    List,
    /// `stat` and `stat_version`
    Stat,
    /// `open`
    Open,
    /// `put_new`
    Put,
    /// `remove`
    Remove,
    /// `abort_stale_uploads`
    Abort,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and it says so; a further try may succeed.
    Unreachable,
    /// Nothing is done; the store says when to come back.
    Busy(Duration),
    /// Nothing is done, and no further try will help.
    Denied,
    /// Nothing is done: the credentials cannot be got now.
    NoCredentials,
    /// It is done, and the answer does not arrive.
    AnswerLost,
    /// What is read breaks off after so many bytes, with an error.
    CutAfter(u64),
    /// What is read ends after so many bytes as if it were complete.
    EndsAfter(u64),
}

/// A store that fails when told to.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    plan: Mutex<Vec<(Operation, Fault)>>,
    calls: Mutex<Vec<Operation>>,
}

impl<S> FaultStore<S> {
    /// Fails never, so far.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, plan: Mutex::default(), calls: Mutex::default() }
    }

    /// The next call of the operation that has no fault yet gets this one.
    pub fn next(&self, operation: Operation, fault: Fault) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).push((operation, fault));
    }

    /// How often an operation was called.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> usize {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| **call == operation).count()
    }

    fn fault(&self, operation: Operation) -> Option<Fault> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plan.iter().position(|(planned, _)| *planned == operation)?;
        Some(plan.remove(at).1)
    }
}

impl<S: BackupStore> FaultStore<S> {
    fn with_fault<T>(
        &self,
        operation: Operation,
        name: &str,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let error = |kind, message: &str| StoreError::new(kind, self.inner.url(name), message);
        match self.fault(operation) {
            Some(Fault::Unreachable) => {
                Err(error(StoreErrorKind::Unreachable, "no connection").retryable())
            }
            Some(Fault::Busy(after)) => {
                Err(error(StoreErrorKind::Other, "busy").retryable().retry_after(Some(after)))
            }
            Some(Fault::Denied) => Err(error(StoreErrorKind::AccessDenied, "denied")),
            Some(Fault::NoCredentials) => {
                Err(error(StoreErrorKind::NoCredentials, "no token").retryable())
            }
            Some(Fault::AnswerLost) => {
                run()?;
                Err(error(StoreErrorKind::Timeout, "no answer").retryable())
            }
            Some(Fault::CutAfter(_) | Fault::EndsAfter(_)) | None => run(),
        }
    }
}

impl<S: BackupStore> BackupStore for FaultStore<S> {
    fn url(&self, name: &str) -> String {
        self.inner.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        self.inner.endpoint()
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.with_fault(Operation::List, "", || self.inner.page(below, after))
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.now()
    }

    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        self.with_fault(Operation::List, "", || self.inner.versions_page(below, after))
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        self.with_fault(Operation::Stat, name, || self.inner.stat_version(name, version))
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        let planned = {
            let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.iter().find(|(planned, _)| *planned == Operation::Open).map(|(_, fault)| *fault)
        };
        let body =
            self.with_fault(Operation::Open, name, || self.inner.open(name, version, from))?;
        Ok(match planned {
            Some(Fault::CutAfter(bytes)) => Box::new(body.take(bytes).chain(Broken)),
            Some(Fault::EndsAfter(bytes)) => Box::new(body.take(bytes)),
            _ => body,
        })
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        self.with_fault(Operation::Put, name, || self.inner.put_new(name, put))
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        self.with_fault(Operation::Remove, name, || self.inner.remove(name, version))
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.with_fault(Operation::Abort, "", || self.inner.abort_stale_uploads(older_than))
    }
}

/// A connection that is reset.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}
