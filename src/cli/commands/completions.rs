//! `completions`: for packagers and shells.

use clap::Args;
use clap_complete::Shell;

use crate::cli::context::Context;
use crate::cli::exit::CliError;

/// Print a completion script for a shell.
///
/// Install it under another name than auditctl(8)'s own, for instance
/// `/usr/share/bash-completion/completions/auditlog`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "auditctl", &mut script);
    context.print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
