//! auditctl keeps a service's audit trail.
#![deny(unsafe_code)]
pub mod audit;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod fsio;
pub mod health;
pub mod ui;
pub mod units;
