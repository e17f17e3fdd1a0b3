//! From settings to the engine's options, for the commands.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exit::CliError;
use crate::audit::state::status::{Mode, StatusSnapshot, Word};
use crate::audit::{AuditLog, LogPaths, Options};
use crate::backup::BackupDir;
use crate::config::Settings;
use crate::fsio::{OsFs, SharedFs};
use crate::ui::printer::Printer;

/// The options that the settings say.
pub(super) fn options(settings: &Settings, mode: Mode) -> Options {
    let mut options = Options::from(settings);
    options.mode = mode;
    options
}

/// The directory of backups that the settings name.
pub(super) fn directory(settings: &Settings) -> BackupDir {
    BackupDir::new(shared_fs(), &settings.backup.output_dir)
}

/// The operating system's files.
pub(super) fn shared_fs() -> SharedFs {
    Arc::new(OsFs)
}

/// How long a command waits that makes a record of its own.
pub(super) const MOMENT: Duration = Duration::from_secs(5);

/// Opens the log; one that somebody else has open for a moment is waited for.
///
/// # Errors
/// As [`AuditLog::open`].
pub(super) fn patiently(
    options: &Options,
    wait: Duration,
    printer: Option<Printer>,
) -> Result<AuditLog, CliError> {
    let mut waiting = Waiting::new(&options.dir, wait, printer);
    loop {
        match AuditLog::open(options.clone()) {
            Ok(log) => return Ok(log),
            Err(error) => waiting.go_on(error.into())?,
        }
    }
}

/// A wait for a log that somebody else has open for a moment.
pub(super) struct Waiting<'a> {
    log_dir: &'a Path,
    wait: Duration,
    since: Instant,
    printer: Option<Printer>,
    told: bool,
}

/// A log that is held is tried again so often.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// Who waits longer is told for whom.
const SOON: Duration = Duration::from_secs(1);

impl<'a> Waiting<'a> {
    pub(super) fn new(log_dir: &'a Path, wait: Duration, printer: Option<Printer>) -> Self {
        Self { log_dir, wait, since: Instant::now(), printer, told: false }
    }

    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.wait
    }

    /// After a try that failed: waits a little if the log was only held.
    ///
    /// # Errors
    /// The error, when trying again does not help, or was tried for long enough.
    pub(super) fn go_on(&mut self, error: CliError) -> Result<(), CliError> {
        if error.kind != "locked" {
            return Err(error);
        }
        let holder = holder(self.log_dir);
        if self.is_over() {
            let by = holder.map_or(String::new(), |holder| format!(" ({holder})"));
            let waited = match self.wait.as_millis() {
                0 => String::new(),
                wait => format!("; waited {:.1} s", wait as f64 / 1e3),
            };
            return Err(CliError { message: format!("{}{by}{waited}", error.message), ..error });
        }
        if let Some(printer) = self.printer.filter(|_| !self.told && self.since.elapsed() >= SOON) {
            self.told = true;
            let who = holder.unwrap_or_else(|| "another program".to_owned());
            let left = self.wait.as_secs();
            printer.note(&format!("auditctl: {who} has the log open; waiting up to {left} s"));
        }
        std::thread::sleep(TRY_AGAIN);
        Ok(())
    }
}

/// Who has the log open, by the status page: a hint.
fn holder(log_dir: &Path) -> Option<String> {
    let page = StatusSnapshot::read(&LogPaths::new(log_dir).status()).ok()?;
    let command = match page.mode() {
        Some(Mode::Collector) => "auditctl serve, ",
        Some(Mode::Record) => "auditctl record, ",
        _ => "",
    };
    Some(format!("{command}pid {}", page.get(Word::Pid)))
}
