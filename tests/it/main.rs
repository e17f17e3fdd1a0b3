//! Integration tests, one binary: each file here is a module of it.

mod access;
mod access_tokens;
mod architecture;
mod backup_cli;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod backup_cloud;
mod backup_create;
mod backup_damage;
mod backup_kill;
mod backup_restore;
mod backups;
mod cli;
mod corpora;
mod crash;
mod documents;
mod engine;
mod faults;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod gcs_server;
mod health_cli;
mod hostile;
#[cfg(feature = "tls")]
mod https;
mod import_python;
mod monitor;
mod nagios;
mod packaging;
mod paths;
mod power_loss;
mod prometheus;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod proxy;
mod query;
mod query_cli;
mod record_cli;
mod redact;
mod serve;
mod serve_http;
mod serve_peers;
mod serve_push;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod servers;
mod serving;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod store_contract;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod store_faults;
mod support;
mod support_bundle;
mod validate;
mod verify;
mod verify_damage;
mod verify_python;
