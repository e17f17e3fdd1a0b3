//! The `auditctl` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    auditctl::cli::run(std::env::args_os().collect())
}
