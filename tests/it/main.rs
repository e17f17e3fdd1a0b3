//! Integration tests, one binary: each file here is a module of it.

mod architecture;
mod cli;
mod collector;
mod crash;
mod documents;
mod engine;
mod faults;
mod health_cli;
mod support;
