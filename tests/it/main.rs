//! Integration tests, one binary: each file here is a module of it.

mod access;
mod access_tokens;
mod additive;
mod additive_backups;
#[cfg(feature = "alerts")]
mod alerts;
#[cfg(feature = "alerts")]
mod alerts_faults;
#[cfg(feature = "alerts")]
mod alerts_journal;
#[cfg(all(feature = "alerts", feature = "tls"))]
mod alerts_mail;
#[cfg(feature = "alerts")]
mod alerts_targets;
mod architecture;
mod archive;
mod archive_cli;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs", feature = "parquet"))]
mod archive_cloud;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs", feature = "parquet"))]
mod archive_cut;
mod archive_forged;
mod archive_hostile;
mod archive_known;
mod archive_mended;
#[cfg(feature = "s3")]
mod archive_netns;
#[cfg(feature = "s3")]
mod archive_policy;
mod archive_serve;
mod backup_cli;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod backup_cloud;
mod backup_create;
mod backup_damage;
mod backup_kill;
mod backup_restore;
mod backups;
mod bad_day_backups;
mod bad_days;
mod between_writes;
mod browser;
mod c2sp;
mod callers;
mod cli;
mod clock;
mod columns;
mod corpora;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs", feature = "parquet"))]
mod counting;
mod crash;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs", feature = "parquet"))]
mod cutting;
mod descriptors;
mod differential;
#[cfg(feature = "s3")]
mod disaster;
mod disk;
mod documented;
mod documents;
mod doors;
#[cfg(all(feature = "alerts", feature = "tls"))]
mod doors_alerts;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod doors_stores;
mod durable_order;
#[cfg(feature = "s3")]
mod elsewhere;
mod embedding;
mod empty_root;
mod engine;
#[cfg(all(feature = "parquet", feature = "s3"))]
mod engines;
mod evidence;
mod exact;
mod faults;
mod fetched;
mod fleet;
mod fleet_acknowledged;
mod fleet_attacked;
mod fleet_bounded;
mod fleet_cli;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod fleet_cloud;
mod fleet_forged;
mod fleet_scale;
mod follow;
mod foreseen;
mod forgery;
mod fork;
mod found;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod gcs_server;
mod given_up;
mod guide;
mod health_cli;
mod histories;
mod holes;
mod hostile;
#[cfg(feature = "tls")]
mod https;
mod ids;
mod ids_again;
mod import_python;
mod import_redaction;
mod incremental;
mod key_chain;
mod keyless;
mod keys;
mod keys_cli;
mod keys_crash;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod liar;
mod limits;
mod limits_told;
#[cfg(all(feature = "alerts", feature = "tls"))]
mod mail_server;
#[cfg(feature = "s3")]
mod mapped_cloudtrail;
mod mapped_kubernetes;
mod mappings;
mod measured;
mod model;
mod monitor;
mod nagios;
mod no_reader;
mod ocsf;
mod openapi;
mod other_users;
mod own_files;
mod packaging;
mod page;
mod page_doors;
mod pages;
#[cfg(feature = "parquet")]
mod parquet;
mod paths;
mod planted;
mod power_loss;
mod power_loss_backups;
mod prometheus;
mod promises;
mod proof_browser;
mod proof_http;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod proxy;
mod public_api;
mod query;
mod query_cli;
mod query_over_time;
#[cfg(feature = "alerts")]
mod receiver;
mod record_ahead;
mod record_cli;
mod record_input;
mod record_resume;
mod record_wait;
mod redact;
mod repair;
mod reports;
mod retention;
mod rpo;
#[cfg(feature = "encryption")]
mod sealed;
mod serve;
mod serve_checks;
mod serve_http;
mod serve_peers;
mod serve_push;
mod serve_streams;
#[cfg(feature = "s3")]
#[cfg_attr(not(all(feature = "azure", feature = "gcs")), allow(dead_code))]
mod servers;
mod serving;
mod shown;
mod signals;
mod signed;
mod status_page;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod store_contract;
#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
mod store_faults;
mod support;
mod support_bundle;
mod tools;
mod validate;
mod vectors;
mod verify;
mod verify_damage;
mod verify_python;
mod ways_out;
mod who;
#[cfg(feature = "witness")]
mod witness;
#[cfg(feature = "witness")]
mod witness_others;
#[cfg(all(feature = "witness", feature = "alerts", feature = "tls"))]
mod witness_tls;
mod zones;
