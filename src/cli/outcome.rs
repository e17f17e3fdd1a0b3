//! How a failure is told, and to whom: a message on stderr always; on stdout
//! the JSON document for `--json`, and the plugin's line for `health`.

use std::ffi::OsString;
use std::io;

use clap::CommandFactory;

use super::Cli;
use super::exit::{CliError, Exit};
use crate::ui::printer::Printer;

/// What reads stdout when a command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// People, or a program that reads data: it gets nothing.
    Data,
    /// What asked for JSON: it gets the error document.
    Json,
    /// Nagios, and people who look at `health`: they get one line.
    Plugin,
}

/// Nagios's UNKNOWN: what a plugin that cannot check ends with.
const UNKNOWN: u8 = 3;

/// Says what went wrong, once, where it belongs; the exit code.
pub(super) fn failed(printer: &Printer, error: &CliError, reader: Reader, is_health: bool) -> u8 {
    if error.is_broken_pipe() {
        return Exit::Ok as u8;
    }
    let mut text = format!("auditctl: {}", error.message);
    for cause in &error.causes {
        text.push_str(&format!("\ncause: {cause}"));
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    printer.error(&text);
    tell(printer, error, reader);
    if is_health && error.exit != Exit::Interrupted { UNKNOWN } else { error.exit as u8 }
}

fn tell(printer: &Printer, error: &CliError, reader: Reader) {
    // When stdout fails as well, there is no better place to say so.
    let _ = match reader {
        Reader::Data => Ok(()),
        Reader::Json => printer.data(&error.document().to_string()),
        Reader::Plugin => printer.data(&crate::ui::plugin_failure(error.kind, &error.message)),
    };
}

/// Help and version go to stdout and are no failure; the rest is a usage error.
pub(super) fn not_parsed(printer: &Printer, args: &[OsString], error: &clap::Error) -> u8 {
    let printed = error.print();
    if !error.use_stderr() {
        return match printed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed as u8,
            _ => Exit::Ok as u8,
        };
    }
    let is_health = names_health(args);
    let reader = if wants_json(args) {
        Reader::Json
    } else if is_health && !wants(args, "--format", "prometheus") {
        Reader::Plugin
    } else {
        Reader::Data
    };
    tell(printer, &usage(error), reader);
    if is_health { UNKNOWN } else { Exit::Usage as u8 }
}

/// clap's text: what is wrong, a blank line, tips, usage.
fn usage(error: &clap::Error) -> CliError {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let message = words.join(" ");
    let tips: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: ").or(line.strip_prefix("Usage: ")))
        .collect();
    let hint = if tips.is_empty() { "see `auditctl --help`".to_owned() } else { tips.join("; ") };
    CliError::usage(message.strip_prefix("error: ").unwrap_or(&message)).hint(hint)
}

/// Whether the command line that did not parse was meant for `health`.
fn names_health(args: &[OsString]) -> bool {
    let lenient = Cli::command().ignore_errors(true).try_get_matches_from(args);
    lenient.is_ok_and(|matches| matches.subcommand_name() == Some("health"))
}

fn wants_json(args: &[OsString]) -> bool {
    options(args).any(|arg| arg == "--json") || wants(args, "--format", "json")
}

fn wants(args: &[OsString], option: &str, value: &str) -> bool {
    let joined = format!("{option}={value}");
    let given: Vec<&OsString> = options(args).collect();
    given.iter().any(|arg| **arg == *joined)
        || given.windows(2).any(|pair| pair[0] == option && pair[1] == value)
}

/// The arguments before `--`.
fn options(args: &[OsString]) -> impl Iterator<Item = &OsString> {
    args.iter().skip(1).take_while(|arg| *arg != "--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(line: &str) -> Vec<OsString> {
        std::iter::once("auditctl").chain(line.split_whitespace()).map(OsString::from).collect()
    }

    #[test]
    fn a_broken_command_line_is_healths_only_when_health_is_the_command() {
        for line in [
            "health --wrong",
            "--log-dir health health --wrong",
            "--json health --format nope",
            "health extra",
        ] {
            assert!(names_health(&args(line)), "{line}");
        }
        for line in ["record --actor health --wrong", "--log-dir health serve --wrong", "healthy"] {
            assert!(!names_health(&args(line)), "{line}");
        }
    }

    #[test]
    fn json_is_wanted_anywhere_before_the_double_dash() {
        assert!(wants_json(&args("record --json --wrong")));
        assert!(wants_json(&args("health --format json --wrong")));
        assert!(wants_json(&args("health --format=json --wrong")));
        assert!(!wants_json(&args("record -- --json")));
        assert!(!wants_json(&args("record --wrong")));
    }

    #[test]
    fn a_usage_error_says_all_of_what_is_wrong_on_one_line() {
        let error = Cli::try_parse_from(args("completions")).expect_err("no shell");
        let error = usage(&error);
        assert_eq!(error.message, "the following required arguments were not provided: <SHELL>");
        assert!(error.hint.is_some_and(|hint| hint.contains("auditctl completions")));
        let error = Cli::try_parse_from(args("healt")).expect_err("no such command");
        assert!(usage(&error).hint.is_some_and(|hint| hint.contains("'health'")));
    }

    #[test]
    fn the_command_tree_is_sound_and_every_command_and_argument_has_help() {
        fn helped(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: {argument}", command.get_name());
            }
            for command in command.get_subcommands() {
                assert!(command.get_about().is_some(), "{}", command.get_name());
                helped(command);
            }
        }
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        helped(&command);
    }
}
