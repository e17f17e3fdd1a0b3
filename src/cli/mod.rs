//! The command line: what was typed, what it means, and how the process ends.

mod archives;
mod backups;
mod catalogue;
mod cloud;
mod commands;
mod context;
mod examples;
mod exit;
mod filed;
mod found;
mod heads;
mod legacy;
mod open;
mod outcome;
mod progress;
mod reach;
mod support;
mod typed;
mod zone;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use catalogue::{Group, catalogue};
use commands::{
    archive, backup, checkpoint, cleanup, completions, demo, diff, fleet, health, key, list, man,
    monitor, open as open_page, prove, query, record, repair, restore, serve, support_bundle,
    token, validate, verify, witness,
};
use context::Context;
use exit::{CliError, Exit};
use outcome::Reader;

use crate::built;
use crate::ui::printer::Printer;

/// Keeps a service's audit trail: durable, tamper-evident, and visible from any process.
///
/// Not auditctl(8), the Linux kernel audit tool.
#[derive(Debug, Parser)]
#[command(name = "auditctl", version, long_version = built::long_version(), max_term_width = 100, arg_required_else_help = true)]
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
    /// Print nothing on stderr but errors
    #[arg(long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Print more on stderr
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    verbose: bool,
    /// When to use colour
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

macro_rules! commands {
    ($($variant:ident($args:ty) = $name:literal, $run:path;)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $(#[command(name = $name)] $variant($args),)*
        }

        impl Command {
            fn run(&self, context: &Context) -> Result<u8, CliError> {
                match self {
                    $(Self::$variant(args) => $run(context, args),)*
                }
            }
        }

        /// The program with that command only.
        fn alone(name: &str) -> Option<clap::Command> {
            let arguments = match name {
                $($name => <$args as Args>::augment_args,)*
                _ => return None,
            };
            let command = Global::augment_args(clap::Command::new("auditctl"));
            Some(command.subcommand_required(true).subcommand(arguments(clap::Command::new(name.to_owned()))))
        }
    };
}

commands! {
    Record(record::RecordArgs) = "record", record::run;
    Serve(serve::ServeArgs) = "serve", serve::run;
    Health(health::HealthArgs) = "health", health::run;
    Monitor(monitor::MonitorArgs) = "monitor", monitor::run;
    Validate(validate::ValidateArgs) = "validate", validate::run;
    Backup(backup::BackupArgs) = "backup", backup::run;
    Archive(archive::ArchiveArgs) = "archive", archive::run;
    Fleet(fleet::FleetArgs) = "fleet", fleet::run;
    List(list::ListArgs) = "list", list::run;
    Restore(restore::RestoreArgs) = "restore", restore::run;
    Repair(repair::RepairArgs) = "repair", repair::run;
    Diff(diff::DiffArgs) = "diff", diff::run;
    Cleanup(cleanup::CleanupArgs) = "cleanup", cleanup::run;
    Verify(verify::VerifyArgs) = "verify", verify::run;
    Query(query::QueryArgs) = "query", query::run;
    Open(open_page::OpenArgs) = "open", open_page::run;
    Token(token::TokenArgs) = "token", token::run;
    Prove(prove::ProveArgs) = "prove", prove::run;
    Checkpoint(checkpoint::CheckpointArgs) = "checkpoint", checkpoint::run;
    SupportBundle(support_bundle::SupportBundleArgs) = "support-bundle", support_bundle::run;
    Key(key::KeyArgs) = "key", key::run;
    Witness(witness::WitnessArgs) = "witness", witness::run;
    Demo(demo::DemoArgs) = "demo", demo::run;
    Completions(completions::CompletionsArgs) = "completions", completions::run;
    Man(man::ManArgs) = "man", man::run;
}

/// Runs the command line; the process's exit code.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    ExitCode::from(run_to_code(&args))
}

/// A write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`) is to
/// fail, not to end the process. A handler that notes nothing, rather than to
/// ignore the signal: programs that are started from here are not to inherit it.
/// (A closed pipe is an error and not the end in every Rust program.)
fn survive_the_file_size_limit() {
    let noted = std::sync::Arc::default();
    // Cannot fail for a signal that may be handled; the engine blocks it as well.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, noted);
}

fn run_to_code(args: &[OsString]) -> u8 {
    survive_the_file_size_limit();
    if let Some(notice) = legacy::notice(args.get(1).map(OsString::as_os_str)) {
        Printer::plain().error(&notice);
        return Exit::Usage as u8;
    }
    let Cli { global, command } = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => return outcome::not_parsed(&Printer::plain(), args, &error),
    };
    if global.verbose {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    }
    let context = Context::new(global);
    let reader = match &command {
        Command::Health(args) => args.reader(context.json),
        _ if context.json => Reader::Json,
        _ => Reader::Data,
    };
    let is_health = matches!(command, Command::Health(_));
    let done = command.run(&context);
    done.unwrap_or_else(|error| outcome::failed(&context.printer, &error, reader, is_health))
}

/// All commands with their flags take longer to make than `health` takes to look: where the first word is a command, that
/// one alone is tried first. What it does not take is told by all of them.
fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let named = args.get(1).and_then(|word| word.to_str()).and_then(alone);
    let parsed = named.and_then(|command| {
        let matches = command.try_get_matches_from(args).ok()?;
        Cli::from_arg_matches(&matches).ok()
    });
    if let Some(parsed) = parsed {
        return Ok(parsed);
    }
    let matches = command().try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// The clap command: what is parsed, and what completions and manual pages are made of.
fn command() -> clap::Command {
    examples::with_examples(Cli::command())
}
