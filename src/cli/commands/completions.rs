//! `completions`: for packagers and shells.

use clap::Args;
use clap_complete::Shell;

use crate::cli::context::Context;
use crate::cli::exit::CliError;

/// Print a completion script for a shell.
///
/// Install it under a name other than that of auditctl(8)'s own script, for example
/// `/usr/share/bash-completion/completions/auditlog`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
    /// The name that the program is installed under
    #[arg(long, value_name = "NAME", default_value = "auditctl")]
    name: String,
}

pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), &args.name, &mut script);
    let script = String::from_utf8_lossy(&script);
    if context.json {
        let document = serde_json::json!({ "shell": args.shell.to_string(), "script": script });
        context.print(&document.to_string())?;
    } else {
        context.print(&script)?;
    }
    Ok(0)
}
