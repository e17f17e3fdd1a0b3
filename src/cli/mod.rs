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
use exit::Exit;
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

#[derive(Debug, Subcommand)]
enum Command {
    Record(record::RecordArgs),
    Serve(serve::ServeArgs),
    Health(health::HealthArgs),
    Monitor(monitor::MonitorArgs),
    Validate(validate::ValidateArgs),
    Backup(backup::BackupArgs),
    Archive(archive::ArchiveArgs),
    Fleet(fleet::FleetArgs),
    List(list::ListArgs),
    Restore(restore::RestoreArgs),
    Repair(repair::RepairArgs),
    Diff(diff::DiffArgs),
    Cleanup(cleanup::CleanupArgs),
    Verify(verify::VerifyArgs),
    Query(query::QueryArgs),
    Open(open_page::OpenArgs),
    Token(token::TokenArgs),
    Prove(prove::ProveArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    SupportBundle(support_bundle::SupportBundleArgs),
    Key(key::KeyArgs),
    Witness(witness::WitnessArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
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
    let parsed = command().try_get_matches_from(args);
    let parsed = parsed.and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
    });
    let Cli { global, command } = match parsed {
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
    let done = match command {
        Command::Record(args) => record::run(&context, &args),
        Command::Serve(args) => serve::run(&context, &args),
        Command::Health(args) => health::run(&context, &args),
        Command::Monitor(args) => monitor::run(&context, &args),
        Command::Validate(args) => validate::run(&context, &args),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Archive(args) => archive::run(&context, &args),
        Command::Fleet(args) => fleet::run(&context, &args),
        Command::List(args) => list::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Repair(args) => repair::run(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::Cleanup(args) => cleanup::run(&context, &args),
        Command::Verify(args) => verify::run(&context, &args),
        Command::Query(args) => query::run(&context, &args),
        Command::Open(args) => open_page::run(&context, &args),
        Command::Token(args) => token::run(&context, &args),
        Command::Prove(args) => prove::run(&context, &args),
        Command::Checkpoint(args) => checkpoint::run(&context, &args),
        Command::SupportBundle(args) => support_bundle::run(&context, &args),
        Command::Key(args) => key::run(&context, &args),
        Command::Witness(args) => witness::run(&context, &args),
        Command::Demo(args) => demo::run(&context, &args),
        Command::Completions(args) => completions::run(&context, &args),
        Command::Man(args) => man::run(&context, &args),
    };
    done.unwrap_or_else(|error| outcome::failed(&context.printer, &error, reader, is_health))
}

/// The clap command: what is parsed, and what completions and manual pages are made of.
fn command() -> clap::Command {
    examples::with_examples(Cli::command())
}
