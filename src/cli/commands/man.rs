//! `man`: manual pages from the help texts.

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::fsio::{Fs, OsFs, replace_file};

/// Print the manual page, or write all pages to a directory.
///
/// They are section 1; section 8 is auditctl(8)'s, the Linux kernel audit tool.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write auditctl.1 and a page for each command here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<u8, CliError> {
    let command = crate::cli::command().disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        context.print(&String::from_utf8_lossy(&page(command, dir_of(args))?))?;
        return Ok(0);
    };
    OsFs.create_dir_all(dir).map_err(|error| CliError::io("make", dir, &error))?;
    let mut built = command.clone();
    built.build();
    let mut pages = vec![("auditctl.1".to_owned(), command)];
    for subcommand in built.get_subcommands() {
        let name = format!("auditctl-{}", subcommand.get_name());
        let named = subcommand.clone().name(leak_free(&name)).version(env!("CARGO_PKG_VERSION"));
        pages.push((format!("{name}.1"), named));
    }
    for (name, command) in pages {
        let path = dir.join(name);
        let text = page(command, &path)?;
        replace_file(&OsFs, &path, &text).map_err(|error| CliError::io("write", &path, &error))?;
    }
    Ok(0)
}

fn dir_of(args: &ManArgs) -> &std::path::Path {
    args.dir.as_deref().unwrap_or(std::path::Path::new("stdout"))
}

/// clap takes names as owned text with its `string` feature.
fn leak_free(name: &str) -> clap::builder::Str {
    name.to_owned().into()
}

fn page(command: clap::Command, path: &std::path::Path) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .map_err(|error| CliError::io("render", path, &error))?;
    Ok(text)
}
