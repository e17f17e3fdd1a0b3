//! `health`: what cron and Nagios run.

use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{self, Health, Status};
use crate::ui;

/// Check the running writer, from its status page; never disturbs it.
///
/// Takes no lock, starts no writer, reads no log bodies: milliseconds whatever
/// the log's size. Exit codes as Nagios wants them: 0 OK, 1 WARNING, 2 CRITICAL,
/// 3 UNKNOWN (also for a wrong command line or setting).
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// How to say it [default: human; json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECS", value_parser = seconds)]
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

pub(crate) fn run(context: &Context, args: &HealthArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let format = match (args.format, context.json) {
        (Some(format), true) if format != Format::Json => {
            return Err(CliError::usage("--json and another --format contradict each other"));
        }
        (_, true) => Format::Json,
        (format, false) => format.unwrap_or(Format::Human),
    };
    loop {
        let health = check_in_time(&settings)?;
        let text = match format {
            Format::Human => ui::health_human(&health.report, context.printer.color()),
            // While watching, a line is a sample.
            Format::Json if args.watch.is_some() => compact(&ui::health_json(&health.report)),
            Format::Json => ui::health_json(&health.report),
            Format::Nagios => ui::health_nagios(&health.report, &settings),
            Format::Prometheus => ui::prometheus(&health.report, health.snapshot.as_ref(), false),
        };
        context.print(&text)?;
        match args.watch {
            None => return Ok(exit_code(health.report.status)),
            Some(every) => std::thread::sleep(every),
        }
    }
}

fn compact(json: &str) -> String {
    match serde_json::from_str::<&serde_json::value::RawValue>(json) {
        Ok(raw) => crate::audit::sanitize::compact_object(raw.get())
            .map_or_else(|_| json.to_owned(), std::borrow::Cow::into_owned),
        Err(_) => json.to_owned(),
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
/// plugin, whose caller would only learn that it took too long.
fn check_in_time(settings: &Settings) -> Result<Health, CliError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let deadline = settings.health.deadline;
    let settings = settings.clone();
    std::thread::spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send(health::check(&settings, &OsFs, &SystemClock));
    });
    receiver.recv_timeout(deadline).map_err(|_| {
        CliError::new(
            "deadline",
            Exit::Failed,
            format!("no answer from the file system within {} s", deadline.as_secs_f64()),
        )
        .hint("a network or failing disk below the log directory? see `health.deadline`")
    })
}
