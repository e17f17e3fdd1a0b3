//! Shipping to an archive while the collector runs: how the settings, the shipping and the
//! operator come together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::archive::{ArchiveError, Course, Shipping, ShippingNews};
use crate::cli::archives::Archive;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::clock::SystemClock;
use crate::collector::Warning;
use crate::config::Settings;
use crate::store::StoreErrorKind;
use crate::ui::printer::Printer;

/// How long the last pass may take, once the log is closed.
const LAST_PASS: Duration = Duration::from_secs(10);

/// The shipping of a running collector, from its first need on.
pub(super) struct Archiving {
    printer: Printer,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    shipping: Option<Shipping>,
    /// By what it ships: the settings that it was made of.
    by: Option<(String, Duration, u32, bool)>,
}

impl Archiving {
    /// # Errors
    /// Config: the settings name no place that could be an archive.
    pub(super) fn new(context: &Context, settings: &Settings) -> Result<Self, CliError> {
        Self::check(settings)?;
        Ok(Self { printer: context.printer, running: Mutex::default() })
    }

    /// # Errors
    /// As [`Self::new`].
    pub(super) fn check(settings: &Settings) -> Result<(), CliError> {
        Archive::of_settings(settings).map(|_| ())
    }

    /// Ships by these settings from now on.
    ///
    /// # Errors
    /// As [`Self::new`]; the thread cannot be started.
    pub(super) fn go_on(&self, settings: &Settings) -> Result<(), CliError> {
        let archive = Archive::of_settings(settings)?;
        let course: Option<Course> = archive.map(|archive| archive.course(settings));
        let by = course.as_ref().map(|course| {
            (course.destination.clone(), course.interval, course.cuts.level, course.cuts.parquet)
        });
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.by == by {
            return Ok(());
        }
        match &running.shipping {
            Some(shipping) => shipping.change(course),
            None => {
                let printer = self.printer;
                let started = Shipping::start(
                    (shared_fs(), Arc::new(SystemClock)),
                    &settings.log_dir,
                    course,
                    move |news| tell(printer, &news),
                );
                let shipping = started.map_err(|error| {
                    let message = format!("cannot start shipping to the archive: {error}");
                    CliError::new("io", Exit::Failed, message)
                })?;
                running.shipping = Some(shipping);
            }
        }
        running.by = by;
        Ok(())
    }

    /// Ships what was recorded last, and ends.
    pub(super) fn end(&self) {
        let shipping = self.running.lock().unwrap_or_else(PoisonError::into_inner).shipping.take();
        if let Some(shipping) = shipping {
            shipping.end(LAST_PASS);
        }
    }
}

fn tell(printer: Printer, news: &ShippingNews<'_>) {
    match news {
        ShippingNews::Failing(error) => {
            let code = error.kind();
            let text = format!("auditctl: the log is not shipped to the archive ({code}): {error}");
            printer.error(&Warning::ArchiveFailing.says_with(&text, Some(hint(error))));
        }
        ShippingNews::Recovered => {
            let text = "auditctl: the log is shipped to the archive again";
            printer.error(&Warning::ArchiveRecovered.says(text));
        }
    }
}

fn hint(error: &ArchiveError) -> &'static str {
    match error {
        ArchiveError::Contradicted { .. } => {
            "nothing is shipped until that is settled. docs/codes.md says what to do about \
             archive_contradicted"
        }
        ArchiveError::LogDamaged(_) | ArchiveError::Log(_) => {
            "run `auditctl verify`; `auditctl repair` puts back what a copy holds"
        }
        ArchiveError::Store(error) if error.kind == StoreErrorKind::AccessDenied => {
            "compare the credentials' policy with that in docs/archive.md, under Permissions. Events \
             are taken as before, and what is missing is shipped once it is allowed"
        }
        ArchiveError::Locked { .. } => "another process ships this log; it is tried again",
        _ => {
            "events are taken as before, and what is missing is shipped when the archive can be \
             reached again. `auditctl health` says how much that is"
        }
    }
}
