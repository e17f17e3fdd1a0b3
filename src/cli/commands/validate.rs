//! `validate`: whether this machine and these settings are fit to keep a log.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::demo;
use crate::audit::state::status::Mode;
use crate::cli::cloud::CloudArgs;
use crate::cli::context::{self, Context};
use crate::cli::exit::{CliError, Exit};
use crate::cli::{open, progress};
use crate::fsio;
use crate::ui;
use crate::validate::{Report, Request, validate};

/// Check settings, permissions, environment, speed and protections before a deployment.
///
/// It is safe beside a running collector and changes nothing in the log. Tests that have to write
/// use a scratch directory on the log's file system, which is removed at the end and on Ctrl-C.
///
/// Exit codes: 0 ready to deploy; 1 a check failed (with --strict also a warning); 2 nothing
/// could be checked, because the command line is wrong or the settings file cannot be read.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Skip the benchmarks
    #[arg(long)]
    quick: bool,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
    /// Check permissions for this user, the one that the service runs as [default: the user who
    /// runs this command]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Write a small object to the cloud destination, read it back and remove it
    #[arg(long)]
    probe: bool,
    /// Send one test alert, marked as such, to the target of the [[alerts]] table of that name
    #[arg(long, value_name = "NAME")]
    send_test_alert: Option<String>,
}

pub(crate) fn run(context: &Context, args: &ValidateArgs) -> Result<u8, CliError> {
    let examined = context.examined()?;
    let clouds = args.cloud.targets(&examined.settings)?;
    // What a new log's files keep others out with must be their modes alone.
    fsio::os::clear_umask();
    let request = Request {
        options: open::options(&examined.settings, Mode::Library),
        settings: examined.settings,
        problems: examined.problems,
        settings_file: examined.file,
        passed_over: examined.passed_over,
        environment: context::environment().into_iter().collect(),
        program: std::env::current_exe().ok(),
        user: args.user.clone(),
        quick: args.quick,
        strict: args.strict,
        probe: args.probe,
        clouds,
        test_alert: args.send_test_alert.clone(),
        events: demo::sample_events().into(),
        stop: progress::stop_on_signals()?,
    };
    let report = watched(context, request)?;
    let text = if context.json {
        ui::validate_json(&report)
    } else {
        let shown = ui::Shown {
            colour: context.printer.color(),
            ascii: context.ascii,
            only_problems: context.printer.quiet(),
            everything: context.printer.verbose(),
        };
        ui::validate_text(&report, shown)
    };
    context.print(&text)?;
    Ok(if report.is_good() { Exit::Ok as u8 } else { Exit::Found as u8 })
}

/// With a sign of life for whoever waits at a terminal.
fn watched(context: &Context, request: Request) -> Result<Report, CliError> {
    let stop = Arc::clone(&request.stop);
    let sign = context.printer.progress().then(|| {
        let what = if request.quick { "checking" } else { "checking and measuring" };
        let sign = ProgressBar::new_spinner().with_message(what);
        sign.enable_steady_tick(Duration::from_millis(100));
        sign
    });
    let report = validate(request);
    if let Some(sign) = sign {
        sign.finish_and_clear();
    }
    report.map_err(|_| {
        debug_assert!(stop.load(std::sync::atomic::Ordering::Relaxed));
        CliError::new("interrupted", Exit::Interrupted, "interrupted; nothing was changed")
    })
}
