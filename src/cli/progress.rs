//! A progress bar with stages on a terminal, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::context::Context;
use super::exit::{CliError, Exit};
use crate::backup::{Stage, Watch};
use crate::store::Stop;

/// Shows how far a long operation is, and passes Ctrl-C on to it.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    verbose: bool,
    printer: crate::ui::printer::Printer,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Begins to listen for SIGINT and SIGTERM: the first one ends the operation
    /// in order, a second one the process.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub(super) fn new(context: &Context) -> Result<Self, CliError> {
        let stop = stop_on_signals()?;
        let bar = context.printer.progress().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{msg:8} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            );
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let verbose = context.printer.verbose() && bar.is_none();
        Ok(Self { bar, verbose, printer: context.printer, stop })
    }

    /// For a store that the operation talks to.
    pub(super) fn stop(&self) -> Stop {
        Stop::when(Arc::clone(&self.stop))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is set by SIGINT and SIGTERM; a second one ends the process.
///
/// # Errors
/// When signals cannot be handled.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| {
                CliError::new("io", Exit::Failed, format!("cannot handle signals: {error}"))
            })?;
    }
    Ok(stop)
}

impl Watch for Progress {
    fn stage(&self, stage: Stage, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(bytes);
            bar.set_message(stage.as_str());
        } else if self.verbose {
            self.printer.note(stage.as_str());
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
