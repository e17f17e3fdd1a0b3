//! The `auditctl` binary: everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    auditctl::cli::run(std::env::args_os().collect())
}
