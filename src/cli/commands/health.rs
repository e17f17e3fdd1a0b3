//! `health`: what cron and Nagios run.

use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::cli::outcome::Reader;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{self, Health, Status};
use crate::ui;

/// Check the running writer, from its status page; never disturbs it.
///
/// Takes no lock, starts no writer, reads no log bodies: milliseconds whatever
/// the log's size. Exit codes as Nagios wants them: 0 OK, 1 WARNING, 2 CRITICAL,
/// 3 UNKNOWN (also for a wrong command line or setting). The overall status is
/// the worst check's: critical, warning, unknown, healthy.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// How to say it [default: human; json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check again every so many seconds, a line each time, until Ctrl-C
    #[arg(long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    watch: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One document
    Json,
    /// One line with performance data
    Nagios,
    /// For node_exporter's textfile collector
    Prometheus,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds from 0.1 to 86400".to_owned()),
    }
}

impl HealthArgs {
    /// Who is told on stdout when nothing could be checked.
    pub(crate) fn reader(&self, json: bool) -> Reader {
        match self.format {
            _ if json => Reader::Json,
            Some(Format::Json) => Reader::Json,
            // A textfile must hold metrics or nothing.
            Some(Format::Prometheus) => Reader::Data,
            Some(Format::Human | Format::Nagios) | None => Reader::Plugin,
        }
    }

    fn format(&self, json: bool) -> Result<Format, CliError> {
        let format = match (self.format, json) {
            (Some(format), true) if format != Format::Json => {
                return Err(CliError::usage("--json and another --format contradict each other"));
            }
            (_, true) => Format::Json,
            (format, false) => format.unwrap_or(Format::Human),
        };
        if format == Format::Prometheus && self.watch.is_some() {
            return Err(CliError::usage(
                "--watch prints lines, --format prometheus is a whole file",
            )
            .hint("run it from cron, or scrape the collector's /metrics"));
        }
        Ok(format)
    }
}

pub(crate) fn run(context: &Context, args: &HealthArgs) -> Result<u8, CliError> {
    let format = args.format(context.json)?;
    let settings = context.settings(&[])?;
    loop {
        let health = check_in_time(&settings);
        let text = render(&settings, &health, (format, args.watch.is_some()), context);
        let code = exit_code(health.report.status);
        match context.print(&text) {
            // A reader that has had enough changes nothing about the log.
            Err(error) if error.is_broken_pipe() => return Ok(code),
            printed => printed?,
        }
        match args.watch {
            None => return Ok(code),
            Some(every) => std::thread::sleep(every),
        }
    }
}

/// While watching, a line is a sample.
fn render(
    settings: &Settings,
    health: &Health,
    (format, watching): (Format, bool),
    context: &Context,
) -> String {
    let report = &health.report;
    match format {
        Format::Human if watching => ui::health_line(report),
        Format::Human => ui::health_human(report, context.printer.color()),
        Format::Json if watching => ui::health_json_line(report),
        Format::Json => ui::health_json(report),
        Format::Nagios => ui::health_nagios(report, settings),
        Format::Prometheus => {
            ui::prometheus(report, health.snapshot.as_ref(), health.alerts.as_ref(), false)
        }
    }
}

fn exit_code(status: Status) -> u8 {
    match status {
        Status::Healthy => 0,
        Status::Warning => 1,
        Status::Critical => 2,
        Status::Unknown => 3,
    }
}

/// The check in a thread of its own: a file system that hangs must not hang the
/// plugin, whose caller would only learn that it took too long. The thread ends
/// with the process.
fn check_in_time(settings: &Settings) -> Health {
    let (sender, receiver) = mpsc::sync_channel(1);
    let deadline = settings.health.deadline;
    let thread_settings = settings.clone();
    let started = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send(health::check(&thread_settings, &OsFs, &SystemClock));
    });
    if started.is_err() {
        // No room for a thread: better without a deadline than not at all.
        return health::check(settings, &OsFs, &SystemClock);
    }
    receiver
        .recv_timeout(deadline)
        .unwrap_or_else(|_| health::unanswered(settings, &SystemClock, deadline))
}
