//! Sending a backup, and what is said when it did not arrive.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::backup::{BackupDir, BackupError, Metadata, Remote, Uploaded};
use crate::cli::cloud::{Cloud, CloudArgs, STALE};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::progress::Progress;
use crate::cli::typed::flag;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::store::{Lock, LockMode};
use crate::ui;

/// Where a backup is sent, and how.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    pub(super) cloud: CloudArgs,
    /// Send at most this much a second, such as 10MiB
    #[arg(long, value_name = "SIZE")]
    limit_upload: Option<crate::units::ByteSize>,
    /// Have the store lock it until a date, a time (RFC 3339), or for a duration such as 30d. At
    /// most ten years ahead
    #[arg(long, value_name = "DATE|DURATION", value_parser = until)]
    pub(super) retain_until: Option<Timestamp>,
    /// Who can shorten that lock: governance, privileged users; compliance, no one
    #[arg(long, value_name = "MODE", requires = "retain_until", default_value = "governance")]
    retain_mode: LockMode,
}

impl SendArgs {
    /// A flag that says how it is to be sent.
    pub(super) fn only_for_sending(&self) -> Option<&'static str> {
        let flags = [
            (self.limit_upload.is_some(), "--limit-upload"),
            (self.retain_until.is_some(), "--retain-until"),
        ];
        flags.into_iter().find(|(is, _)| *is).map(|(_, flag)| flag)
    }

    /// What to type again to send to the same place from the same one.
    pub(super) fn typed(&self, output_dir: Option<&Path>, context: &Context) -> String {
        let there = self.cloud.typed();
        let limit =
            self.limit_upload.map_or_else(String::new, |limit| format!(" --limit-upload {limit}"));
        format!("{there}{limit}{}{}", flag("--output-dir", output_dir), context.typed())
    }
}

/// That nobody said where to.
pub(super) fn nowhere(message: &str) -> CliError {
    CliError::usage(message.to_owned()).hint(
        "name one: --cloud s3 --destination BUCKET, or destination = \"s3://BUCKET\" in [backup] \
         of the settings",
    )
}

/// The longest that a lock may last: a year more by a slip of the finger cannot be
/// taken back where nobody may shorten it. Ten years hold two or three leap days.
const LONGEST_LOCK: Duration = Duration::from_secs((3_650 + 3) * 86_400);

/// A date (the beginning of that day, UTC), a time, or a duration from now on.
fn until(text: &str) -> Result<Timestamp, String> {
    until_from(text, SystemClock.now())
}

fn until_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let after = |length: Duration| {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.micros().saturating_add(micros))
    };
    let until = match crate::units::parse_duration(text) {
        Ok(length) => after(length),
        Err(_) => {
            text.parse().or_else(|_| format!("{text}T00:00:00Z").parse::<Timestamp>()).map_err(
                |_| "a date such as 2027-01-31, a time, or a duration such as 30d is expected",
            )?
        }
    };
    if until <= now {
        return Err("it lies in the past".to_owned());
    }
    if until > after(LONGEST_LOCK) {
        return Err("it is more than ten years ahead (3653d)".to_owned());
    }
    Ok(until)
}

/// Sends backups to one place.
pub(super) struct Sender<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) args: &'a SendArgs,
    /// What to type again for the same place.
    pub(super) typed: String,
}

impl Sender<'_> {
    pub(super) fn send(
        &self,
        context: &Context,
        dir: &BackupDir,
        metadata: &Metadata,
        recheck: bool,
    ) -> Result<Uploaded, BackupError> {
        let progress = Progress::new(context).map_err(|error| BackupError::Usage(error.message))?;
        let store = self.cloud.connect(self.args.limit_upload.map(|limit| limit.0), &progress)?;
        let remote = Remote::new(store, &metadata.host, &metadata.log.id);
        let lock = self.args.retain_until.map(|until| Lock { until, mode: self.args.retain_mode });
        let sent = if recheck {
            remote.resume(dir, metadata, lock, &SystemClock, &progress)
        } else {
            remote.upload(dir, metadata, lock, &SystemClock, &progress)
        };
        progress.finish();
        if sent.is_ok()
            && let Err(error) = remote.store().abort_stale_uploads(STALE)
        {
            tracing::info!(%error, "parts of old uploads were not removed");
        }
        sent
    }

    /// Says what came of sending it: the JSON of the destinations, or an error that
    /// holds the backup that is here all the same.
    pub(super) fn told(
        &self,
        context: &Context,
        metadata: &Metadata,
        backup: &serde_json::Value,
        sent: Result<Uploaded, BackupError>,
    ) -> Result<serde_json::Value, CliError> {
        let id = metadata.id;
        let error = match sent {
            Ok(uploaded) => {
                if !context.json {
                    context.print(&ui::uploaded_text(&uploaded))?;
                }
                return Ok(json!([ui::uploaded_value(&uploaded)]));
            }
            Err(error) => error,
        };
        let again = format!("`auditctl backup resume {id}{}` sends it", self.typed);
        let mut told = match error {
            BackupError::Interrupted => {
                let message =
                    format!("interrupted: backup {id} is here, but was not sent completely");
                CliError::new("interrupted", Exit::Interrupted, message)
            }
            error => {
                let mut told = CliError::from(error);
                if told.exit == Exit::Usage {
                    // Something in the environment: no fault of the command line, and there
                    // is a backup.
                    told.exit = Exit::Failed;
                }
                told.message = format!("backup {id} is here, but was not sent: {}", told.message);
                told
            }
        };
        told.hint = Some(match told.hint.take() {
            Some(hint) => format!("{hint}; then {again}"),
            None => again,
        });
        let mut backup = backup.clone();
        backup["destinations"] = json!([{
            "place": self.cloud.url(),
            "state": "failed",
            "error": told.kind,
            "retryable": told.retryable,
        }]);
        told.extra.insert("backup".to_owned(), backup);
        Err(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_may_last_ten_years_as_a_calendar_counts_them_and_no_more() {
        // Ten years hold three leap days there.
        for (now, fine, too_long) in [
            ("2026-11-27T01:00:00Z", ["2036-11-26", "2036-11-27", "3653d"], "2036-11-29"),
            ("2024-02-01T00:00:00Z", ["2034-01-31", "2034-02-01", "3650d"], "2034-02-02"),
        ] {
            let now: Timestamp = now.parse().expect("a time");
            for text in fine {
                until_from(text, now).unwrap_or_else(|error| panic!("{text} at {now}: {error}"));
            }
            for text in [too_long, "11y", "20y", "3654d", "9999-01-01"] {
                let error = until_from(text, now).expect_err(text);
                assert!(error.contains("ten years") || error.contains("expected"), "{error}");
            }
        }
        let now: Timestamp = "2026-11-27T01:00:00Z".parse().expect("a time");
        assert!(until_from("2026-11-27", now).expect_err("past").contains("past"));
    }
}
