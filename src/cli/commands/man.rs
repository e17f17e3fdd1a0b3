//! `man`: manual pages from the help texts.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::built;
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
    /// The name that the program is installed under
    #[arg(long, value_name = "NAME", default_value = "auditctl")]
    name: String,
}

pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<u8, CliError> {
    let command = crate::cli::command().disable_help_subcommand(true).name(args.name.clone());
    let Some(dir) = &args.dir else {
        let page = page(command, &args.name)?;
        let page = String::from_utf8_lossy(&page);
        let text = if context.json { json!({ "page": page }).to_string() } else { page.into() };
        context.print(&text)?;
        return Ok(0);
    };
    OsFs.create_dir_all(dir).map_err(|error| CliError::io("make", dir, &error))?;
    let mut written = Vec::new();
    for (name, command) in pages(command) {
        let path = dir.join(name);
        let text = page(command, &args.name)?;
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
    let program = command.get_name().to_owned();
    let mut built = command.clone();
    built.build();
    let of_subcommand = |subcommand: &clap::Command| {
        let name = format!("{program}-{}", subcommand.get_name());
        let page = subcommand.clone().name(name.clone()).version(built::VERSION);
        (format!("{name}.1"), page)
    };
    let subcommands: Vec<_> = built.get_subcommands().map(of_subcommand).collect();
    std::iter::once((format!("{program}.1"), command)).chain(subcommands).collect()
}

fn page(command: clap::Command, program: &str) -> Result<Vec<u8>, CliError> {
    let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut text = Vec::new();
    let command = command.after_long_help(None::<&'static str>);
    clap_mangen::Man::new(command).render(&mut text).map_err(|error| {
        CliError::new("man", Exit::Failed, format!("cannot make the manual page: {error}"))
    })?;
    text.extend(examples_section(&examples).into_bytes());
    let text = String::from_utf8_lossy(&text);
    Ok(called(&text, program).into_bytes())
}

/// Help texts say `auditctl health`; where the program has another name, a page says that
/// one. Names of files (auditctl.toml) stay.
fn called(page: &str, program: &str) -> String {
    if program == "auditctl" {
        return page.to_owned();
    }
    let mut page = page.to_owned();
    for subcommand in crate::cli::command().get_subcommands() {
        let subcommand = subcommand.get_name().replace('-', r"\-");
        let is_said = format!("auditctl {subcommand}");
        page = page.replace(&is_said, &format!("{} {subcommand}", program.replace('-', r"\-")));
    }
    page
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
        let text = String::from_utf8(page(query, "auditctl").expect("a page")).expect("UTF-8");
        let (_, examples) = text.split_once(".SH EXAMPLES\n.nf\n").expect("the section");
        assert!(examples.contains("auditctl query \\-\\-group\\-by actor"), "{examples}");
        assert!(examples.ends_with("\n.fi\n") && examples.lines().count() >= 5, "{examples}");
    }

    #[test]
    fn a_page_speaks_of_the_name_that_the_program_has() {
        let command = crate::cli::command().disable_help_subcommand(true).name("audit-trail");
        let pages = pages(command);
        assert!(pages.iter().any(|(name, _)| name == "audit-trail-support-bundle.1"));
        for (name, command) in pages {
            let page =
                String::from_utf8(page(command, "audit-trail").expect("page")).expect("text");
            assert!(page.contains(".TH audit-trail"), "{name}");
            for subcommand in ["health", "verify", "record", "backup", r"support\-bundle"] {
                assert!(!page.contains(&format!("auditctl {subcommand}")), "{name}: {subcommand}");
            }
        }
    }
}
