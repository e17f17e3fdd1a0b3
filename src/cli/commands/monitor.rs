//! `monitor`: what a person looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::audit::read::query::Filter;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::monitor::{self, Looker, Newest, Sample};
use crate::ui;

/// Watch the running writer, without disturbing it.
///
/// Reads the writer's status page. If no writer runs, it shows the last known values and how old
/// they are. On a terminal the view is live until you press q, Esc or Ctrl-C; `?` shows the
/// keys: tabs with the newest records, with findings and what to do about them, and with files
/// and backups; a filter for the records; pause. With --once it prints one sample, 80 columns
/// wide. With --json it prints one line for each sample, or with
/// --once one document. The exit code is 0 whatever it shows; `auditctl health` is the command
/// that judges.
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Seconds between two samples, from 0.1 to 3600
    #[arg(long, value_name = "SECS", default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    refresh: Duration,
    /// Print one sample and exit
    #[arg(long)]
    once: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds from 0.1 to 3600".to_owned()),
    }
}

pub(crate) fn run(context: &Context, args: &MonitorArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let deadline = settings.health.deadline;
    if !args.once && !context.json && !context.is_terminal() {
        return Err(CliError::usage("the live view needs a terminal")
            .hint("use --once for one screen as text, or --json for a line each sample"));
    }
    let samples = sampler(settings.clone(), (!args.once).then_some(args.refresh))?;
    if !args.once && !context.json {
        let (filter, newest) = looker(settings, args.refresh)?;
        return live(context, args, &ui::Feed { samples, newest, filter }, deadline);
    }
    loop {
        let wait = if args.once { deadline } else { args.refresh + deadline };
        let sample = samples.recv_timeout(wait).map_err(|_| {
            let text = format!("no answer from the file system within {}", deadline.as_secs_f64());
            CliError::new("timeout", Exit::Failed, format!("{text} s"))
                .hint("see the disk or network below the log directory")
        })?;
        let text = match (context.json, args.once) {
            (true, true) => ui::monitor_json(&sample),
            (true, false) => ui::monitor_json_line(&sample),
            (false, _) => ui::monitor_text(&sample, context.ascii, context.printer.color()),
        };
        context.stream(&text)?;
        if args.once || context.printer.wait_or_reader_gone(args.refresh) {
            return Ok(0);
        }
    }
}

/// Samples from a thread of its own: a file system that hangs must not hang what
/// is shown. The thread ends when nobody takes them any more, or with the process.
fn sampler(settings: Settings, again: Option<Duration>) -> Result<Receiver<Sample>, CliError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let body = move || {
        while sender.send(monitor::sample(&settings, &OsFs, &SystemClock)).is_ok() {
            match again {
                Some(refresh) => std::thread::sleep(refresh),
                None => return,
            }
        }
    };
    std::thread::Builder::new()
        .name("sampler".to_owned())
        .spawn(body)
        .map_err(|error| CliError::new("io", Exit::Failed, format!("cannot start: {error}")))?;
    Ok(receiver)
}

/// The newest records and what else takes longer to see, from a thread of its own: how long
/// that takes keeps no sample from coming. It looks when there is another filter, and as often
/// as samples come, but so that it rests much longer than it looked.
fn looker(
    settings: Settings,
    refresh: Duration,
) -> Result<(SyncSender<Filter>, Receiver<Newest>), CliError> {
    let (filters, asked) = mpsc::sync_channel(FILTERS);
    let (sender, newest) = mpsc::sync_channel(1);
    let body = move || {
        let mut looker = Looker::new(settings, shared_fs());
        let mut filter = Filter::default();
        loop {
            let begun = Instant::now();
            if sender.send(looker.look(&filter, &SystemClock)).is_err() {
                return;
            }
            let rest = refresh.max(begun.elapsed() * REST);
            match asked.recv_timeout(rest) {
                Ok(wanted) => filter = wanted,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    let thread = std::thread::Builder::new().name("looker".to_owned()).spawn(body);
    thread.map_err(|error| CliError::new("io", Exit::Failed, format!("cannot start: {error}")))?;
    Ok((filters, newest))
}

/// Filters that may wait for a look: more than anybody types meanwhile.
const FILTERS: usize = 64;
/// So many times as long as a look took nobody looks again.
const REST: u32 = 20;

fn live(
    context: &Context,
    args: &MonitorArgs,
    feed: &ui::Feed,
    deadline: Duration,
) -> Result<u8, CliError> {
    let failed = |error: std::io::Error| {
        CliError::new("terminal", Exit::Failed, format!("the terminal cannot be used: {error}"))
    };
    // So that the terminal is given back when the view is ended from outside.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
    }
    let view = ui::Live {
        refresh: args.refresh,
        deadline,
        ascii: context.ascii,
        color: context.printer.color(),
    };
    ui::live(feed, &view, &stop).map_err(failed)?;
    Ok(0)
}
