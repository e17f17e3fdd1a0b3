//! Integration tests, one binary: each file here is a module of it.

mod architecture;
mod cli;
mod crash;
mod documents;
mod engine;
mod faults;
mod record_cli;
mod serve;
mod serve_http;
mod serve_peers;
mod serving;
mod support;
