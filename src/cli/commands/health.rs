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

/// Check the running writer, without disturbing it.
///
/// Reads the writer's status page. Takes no lock, starts no writer and reads no records, so it
/// needs milliseconds whatever the log's size.
///
/// The exit codes are those of Nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for a wrong
/// command line or setting). The overall status is that of the worst check, in the order
/// critical, warning, unknown, healthy.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Output format [default: human; json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check again every SECS seconds, one line each time, until Ctrl-C
    #[arg(long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    watch: Option<Duration>,
    /// Exit with 0 unless the status is at least this bad; unknown always fails
    ///
    /// For a container's health check or a liveness probe, which end what fails: `critical`.
    #[arg(long, value_enum, value_name = "STATUS", default_value = "warning")]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A warning fails
    Warning,
    /// Only what is critical fails
    Critical,
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
                "--watch prints lines, but --format prometheus is a whole file",
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
        let code = exit_code(health.report.status, args.fail_on);
        match context.stream(&text) {
            // A reader that has had enough changes nothing about the log.
            Err(error) if error.is_broken_pipe() => return Ok(code),
            printed => printed?,
        }
        match args.watch {
            None => return Ok(code),
            Some(every) if context.printer.wait_or_reader_gone(every) => return Ok(code),
            Some(_) => {}
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

fn exit_code(status: Status, fail_on: FailOn) -> u8 {
    match status {
        Status::Warning if fail_on == FailOn::Critical => 0,
        Status::Healthy => 0,
        Status::Warning => 1,
        Status::Critical => 2,
        Status::Unknown => 3,
    }
}

fn check_in_time(settings: &Settings) -> Health {
    let (of_thread, of_this) = (settings.clone(), settings.clone());
    in_time(
        settings,
        move || health::check(&of_thread, &OsFs, &SystemClock),
        move || health::check(&of_this, &OsFs, &SystemClock),
    )
}

/// The check in a thread of its own: a file system that hangs must not hang the
/// plugin, whose caller would only learn that it took too long. The thread ends
/// with the process. Without room for a thread, better without a deadline than
/// not at all.
fn in_time(
    settings: &Settings,
    check: impl FnOnce() -> Health + Send + 'static,
    without_thread: impl FnOnce() -> Health,
) -> Health {
    let (sender, receiver) = mpsc::sync_channel(1);
    let deadline = settings.health.deadline;
    let started = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send(check());
    });
    if started.is_err() {
        return without_thread();
    }
    receiver
        .recv_timeout(deadline)
        .unwrap_or_else(|_| health::unanswered(settings, &SystemClock, deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_fails_unless_only_what_is_critical_shall() {
        let all = [Status::Healthy, Status::Warning, Status::Critical, Status::Unknown];
        assert_eq!(all.map(|status| exit_code(status, FailOn::Warning)), [0, 1, 2, 3]);
        assert_eq!(all.map(|status| exit_code(status, FailOn::Critical)), [0, 0, 2, 3]);
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_unknown_after_the_deadline() {
        let mut settings = Settings::default();
        settings.health.deadline = Duration::from_millis(200);
        let (dead, never) = mpsc::sync_channel::<Health>(0);
        let hangs = move || never.recv().expect("the test ends first");
        let health = in_time(&settings, hangs, || panic!("there is room for a thread"));
        assert_eq!(exit_code(health.report.status, FailOn::Critical), 3);
        let document: serde_json::Value =
            serde_json::from_str(&ui::health_json(&health.report)).expect("JSON");
        assert_eq!(document["status"], "unknown");
        assert_eq!(document["summary"]["unknown"], document["summary"]["total_checks"]);
        let nagios = ui::health_nagios(&health.report, &settings);
        assert!(nagios.contains(": no answer from the file system within"), "{nagios}");
        // Let it go only now, so that it hung all the time.
        std::mem::forget(dead);
    }
}
