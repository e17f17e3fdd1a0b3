//! The collector inside of a service: other processes send to its log, over a Unix socket and
//! HTTP.

pub use crate::access::TokenFileError;
pub use crate::access::tls::{Pair, TlsError};
pub use crate::collector::{
    CollectorError, CollectorOptions, HealthFormat, Prepared, Push, Ready, Reloaded, Stopped,
    TokenOptions, prepare, run,
};
