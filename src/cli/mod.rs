//! The command line: what was typed, what it means, and how the process ends.

mod commands;
mod context;
mod exit;
mod legacy;
mod open;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use commands::{completions, demo, health, man, record, serve};
use context::Context;
use exit::{CliError, Exit};

/// Keeps a service's audit trail: durable, tamper-evident, and visible from any process.
///
/// Not auditctl(8), the Linux kernel audit tool.
#[derive(Debug, Parser)]
#[command(name = "auditctl", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command has.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Settings file [default: $AUDITCTL_CONFIG, ./auditctl.toml, ~/.config/auditctl/auditctl.toml, /etc/auditctl/auditctl.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Log directory [default: logs]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    log_dir: Option<PathBuf>,
    /// Print exactly one JSON document on stdout, also on failure
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Say more on stderr
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    verbose: bool,
    /// Colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    color: ColorArg,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColorArg {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Record one event, or NDJSON from a file or standard input
    Record(record::RecordArgs),
    /// Run the collector: take events over a Unix socket and HTTP
    Serve(serve::ServeArgs),
    /// Check the running writer, as a Nagios plugin does
    Health(health::HealthArgs),
    /// Show all of it on real events in a temporary directory
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all pages to a directory
    Man(man::ManArgs),
}

/// Runs the command line; the process's exit code.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let first = args.get(1).and_then(|arg| arg.to_str());
    if let Some(notice) = legacy::notice(first) {
        let _ = writeln!(std::io::stderr(), "{notice}");
        return code(Exit::Usage as u8);
    }
    let parsed = match Cli::try_parse_from(&args) {
        Ok(parsed) => parsed,
        Err(error) => return usage_error(&args, &error),
    };
    let is_health = matches!(parsed.command, Command::Health(_));
    if parsed.global.verbose {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    }
    let context = Context::new(parsed.global);
    let outcome = match parsed.command {
        Command::Record(args) => record::run(&context, &args),
        Command::Serve(args) => serve::run(&context, &args),
        Command::Health(args) => health::run(&context, &args),
        Command::Demo(args) => demo::run(&context, &args),
        Command::Completions(args) => completions::run(&context, &args),
        Command::Man(args) => man::run(&context, &args),
    };
    match outcome {
        Ok(exit) => code(exit),
        Err(error) => code(report(&context, &error, is_health)),
    }
}

fn code(exit: u8) -> ExitCode {
    ExitCode::from(exit)
}

/// Says what went wrong, once, where it belongs; the exit code.
fn report(context: &Context, error: &CliError, is_health: bool) -> u8 {
    if error.exit == Exit::Ok {
        return 0;
    }
    let mut text = format!("auditctl: {}", error.message);
    if let Some(hint) = &error.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    context.printer.error(&text);
    if context.json {
        // Its own failure cannot be told in any better way.
        let _ = context.printer.data(&error.document().to_string());
    } else if is_health {
        let line = error.message.lines().next().unwrap_or_default().replace('|', "/");
        let _ = context.printer.data(&format!("AUDIT UNKNOWN - {line}"));
    }
    // Nagios: 3 is UNKNOWN, and what a plugin that cannot check must return.
    if is_health && error.exit != Exit::Interrupted { 3 } else { error.exit as u8 }
}

/// Help and version go to stdout and succeed; the rest is a usage error, which
/// for `health` is UNKNOWN.
fn usage_error(args: &[OsString], error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                code(Exit::Failed as u8)
            }
            _ => code(Exit::Ok as u8),
        };
    }
    let _ = error.print();
    if args.iter().any(|arg| arg == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        // Whoever does not read it has the exit code.
        let _ = writeln!(std::io::stdout(), "{}", CliError::usage(message).document());
    }
    let is_health = args.iter().skip(1).any(|arg| arg == "health");
    code(if is_health { 3 } else { Exit::Usage as u8 })
}

/// The clap command, for completions and manual pages.
fn command() -> clap::Command {
    Cli::command()
}
