//! One file for each check.

mod disk_space;
mod integrity;
mod log_file;
mod query_cache;
mod rate_limiting;
mod security;
mod worker_thread;
mod write_buffer;

use super::report::Check;
use super::view::View;

pub(super) use log_file::file_incident;

/// In the order of [`Component::ALL`](super::Component::ALL).
pub(super) const ALL: [fn(&View<'_>) -> Check; 8] = [
    write_buffer::check,
    worker_thread::check,
    log_file::check,
    rate_limiting::check,
    security::check,
    query_cache::check,
    disk_space::check,
    integrity::check,
];
