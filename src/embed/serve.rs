//! The collector within a service: other processes send to its log, over a Unix socket and HTTP.
//!
//! [`run`] needs a tokio runtime with I/O and time enabled. HTTP listens on 127.0.0.1:9750 unless
//! [`CollectorOptions::http`] says otherwise; `.http(None)` switches it off.

pub use crate::access::TokenFileError;
pub use crate::access::tls::{Pair, TlsError};
pub use crate::collector::{
    CollectorError, CollectorOptions, HealthFormat, Prepared, Push, Ready, Reloaded, Stopped,
    TokenOptions, prepare, run,
};
