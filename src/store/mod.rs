//! Where backups live: S3, Azure Blob Storage, Google Cloud Storage, or a
//! directory, all behind [`BackupStore`].
//!
//! What all of them promise:
//! - An object is written once and never replaced. Two who put the same name at
//!   the same moment cannot both believe to have stored different bytes.
//! - `put_new` returns after the store has said to have it: size, a checksum of
//!   its own over the whole, the version, and the lock if one was asked for.
//! - A list is whole or an error. An object is missing only if that is certain.
//! - Memory is bounded, whatever the object's size and whatever the store says. An
//!   interrupted upload goes on where it was, in this run or the next.
//! - Everything ends: what never comes to its end, comes too slowly or goes round in
//!   a circle is an error, and [`Stop`] is looked at in every wait.
//! - Errors say what to do, and hold no secrets.
//!
//! Trying again is in [`Retrying`] and nowhere else: the libraries of the
//! providers are told not to, nor to judge what is too slow.
//!
//! Each provider is a cargo feature (`s3`, `azure`, `gcs`), on by default.
//! Nothing is set up before [`connect`]: other commands do not pay for it.

#[cfg(feature = "azure")]
mod azure;
mod backup_store;
mod confirm;
mod credentials;
mod destination;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
#[cfg(feature = "gcs")]
mod gcs;
mod limits;
mod listing;
pub mod local;
mod object;
mod pace;
mod provider;
mod put;
mod redact;
mod retry;
#[cfg(feature = "s3")]
mod s3;
mod stop;
#[cfg(feature = "cloud")]
mod wire;

pub use backup_store::{BackupStore, Reading};
pub use credentials::{Credentials, credentials};
pub use destination::Destination;
pub(crate) use destination::is_name;
pub use error::{StoreError, StoreErrorKind};
pub use limits::{Environment, Limits};
pub use listing::{Page, Version, VersionsPage};
pub use local::LocalStore;
pub use object::{Checksum, Digests, Lock, LockMode, Object, Removed};
#[cfg(any(test, feature = "testing"))]
pub use pace::TestPace;
pub use pace::{Pace, RealPace};
pub use provider::Provider;
pub use put::{Body, Put, SHA256, UploadState};
pub use retry::{RetryPolicy, Retrying};
pub use stop::Stop;

/// Opens a destination. Credentials are looked for, and the bucket for the first
/// time asked, when something is done with it.
///
/// # Errors
/// A provider that this build does not have; settings in the environment that
/// cannot be read.
pub fn connect(
    provider: Provider,
    destination: &Destination,
    limits: &Limits,
    environment: &Environment,
) -> Result<Box<dyn BackupStore>, StoreError> {
    // In builds without any provider nothing is done with them.
    let _ = (limits, environment);
    match provider {
        #[cfg(feature = "s3")]
        Provider::S3 => {
            let store = s3::S3Store::connect(destination, limits, environment)?;
            Ok(Box::new(Retrying::new(store, limits.retry).stopping(limits.stop.clone())))
        }
        #[cfg(feature = "azure")]
        Provider::Azure => {
            let store = azure::AzureStore::connect(destination, limits, environment)?;
            Ok(Box::new(Retrying::new(store, limits.retry).stopping(limits.stop.clone())))
        }
        #[cfg(feature = "gcs")]
        Provider::Gcs => {
            let store = gcs::GcsStore::connect(destination, limits, environment)?;
            Ok(Box::new(Retrying::new(store, limits.retry).stopping(limits.stop.clone())))
        }
        #[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
        absent => {
            let message = format!("this build of auditctl cannot talk to {absent}");
            let url = destination.url(absent, "");
            Err(StoreError::new(StoreErrorKind::Unsupported, url, message)
                .hint(format!("build it with the cargo feature \"{absent}\"")))
        }
    }
}
