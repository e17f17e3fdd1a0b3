//! `man`: manual pages from the help texts.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::fsio::{Fs, OsFs, replace_file};

/// Print the manual page, or write all pages to a directory.
///
/// The pages are in section 1. auditctl(8) in section 8 is the Linux kernel audit tool.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write auditctl.1, and a page for each command, to this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<u8, CliError> {
    let command = crate::cli::command().disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        let page = page(command)?;
        let page = String::from_utf8_lossy(&page);
        let text = if context.json { json!({ "page": page }).to_string() } else { page.into() };
        context.print(&text)?;
        return Ok(0);
    };
    OsFs.create_dir_all(dir).map_err(|error| CliError::io("make", dir, &error))?;
    let mut written = Vec::new();
    for (name, command) in pages(command) {
        let path = dir.join(name);
        let text = page(command)?;
        replace_file(&OsFs, &path, &text).map_err(|error| CliError::io("write", &path, &error))?;
        written.push(path);
    }
    if context.json {
        let written: Vec<_> = written.iter().map(|path| path.to_string_lossy()).collect();
        context.print(&json!({ "written": written }).to_string())?;
    } else {
        context.printer.note(&format!("{} pages written to {}", written.len(), dir.display()));
    }
    Ok(0)
}

/// `auditctl.1`, `auditctl-health.1`, …
fn pages(command: clap::Command) -> Vec<(String, clap::Command)> {
    let mut built = command.clone();
    built.build();
    let of_subcommand = |subcommand: &clap::Command| {
        let name = format!("auditctl-{}", subcommand.get_name());
        let page = subcommand.clone().name(name.clone()).version(env!("CARGO_PKG_VERSION"));
        (format!("{name}.1"), page)
    };
    let subcommands: Vec<_> = built.get_subcommands().map(of_subcommand).collect();
    std::iter::once(("auditctl.1".to_owned(), command)).chain(subcommands).collect()
}

fn page(command: clap::Command) -> Result<Vec<u8>, CliError> {
    let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut text = Vec::new();
    let command = command.after_long_help(None::<&'static str>);
    clap_mangen::Man::new(command).render(&mut text).map_err(|error| {
        CliError::new("man", Exit::Failed, format!("cannot make the manual page: {error}"))
    })?;
    text.extend(examples_section(&examples).into_bytes());
    Ok(text)
}

/// The examples of the long help, line by line as they stand there.
fn examples_section(help: &str) -> String {
    let lines: Vec<&str> = help.lines().skip(1).collect();
    if lines.is_empty() {
        return String::new();
    }
    let lines = lines.join("\n").replace('\\', "\\e").replace('-', "\\-");
    format!(".SH EXAMPLES\n.nf\n{lines}\n.fi\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_the_examples_as_they_are_typed() {
        let mut pages = pages(crate::cli::command().disable_help_subcommand(true)).into_iter();
        let query = pages.find(|(name, _)| name == "auditctl-query.1").expect("a page").1;
        let text = String::from_utf8(page(query).expect("a page")).expect("UTF-8");
        let (_, examples) = text.split_once(".SH EXAMPLES\n.nf\n").expect("the section");
        assert!(examples.contains("auditctl query \\-\\-group\\-by actor"), "{examples}");
        assert!(examples.ends_with("\n.fi\n") && examples.lines().count() >= 5, "{examples}");
    }
}
