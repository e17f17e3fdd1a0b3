//! Trouble, its end, and the end of the log.

use std::time::{Duration, Instant};

use super::{Failure, Writer, failure, is_full};
use crate::audit::state::status::{Activity, Damage, Word, WriterState};
use crate::audit::state::trouble::Trouble;

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LAST_BACKOFF: Duration = Duration::from_millis(250);

impl Writer {
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let shared = &self.shared;
        let now = shared.options.clock.now();
        shared.page.add(Word::WriteErrors, 1);
        shared.page.error(&failure.error, failure.activity, now);
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        let limit = match failure.error.kind() {
            std::io::ErrorKind::FileTooLarge => {
                "; the limit on the size of files is reached (ulimit -f, LimitFSIZE=)"
            }
            _ => "",
        };
        let reason = format!("{}: {}{limit}", failure.activity.as_str(), failure.error);
        if self.backoff.is_none() {
            tracing::warn!(
                code = Trouble::Failing.code(),
                reason,
                "the log cannot be written; trying again"
            );
        }
        if is_full(&failure.error) {
            self.disk_is_full();
        } else if !self.upkeep.full {
            shared.page.state(WriterState::Failing, now);
        }
        if since.elapsed() >= self.shared.options.overflow_timeout {
            self.shared.progress.unavailable(reason);
        }
        self.backoff = Some(match self.backoff {
            None => FIRST_BACKOFF,
            Some(last) => (last * 2).min(LAST_BACKOFF),
        });
    }

    pub(super) fn recovered(&mut self) {
        if self.backoff.take().is_some() {
            self.trouble_since = None;
            self.shared.progress.available();
            if !self.upkeep.full {
                self.shared.page.state(WriterState::Running, self.shared.options.clock.now());
            }
            tracing::info!("the log is written again");
        }
    }

    /// Ends the log cleanly; false when that has to be tried again.
    pub(super) fn close(&mut self) -> bool {
        self.activity(Activity::Closing);
        let begun = *self.upkeep.closing_since.get_or_insert_with(Instant::now);
        let in_time = begun.elapsed() < self.shared.options.overflow_timeout;
        if !self.upkeep.closed_pushed {
            self.look_at_own_files();
            self.record_bursts(true);
        }
        self.take_and_flush();
        if self.shared.queue.next_seq() == self.durable_tree.end() && !self.upkeep.closed_pushed {
            // A batch of its own, of which `audit.head` hears after `audit.checkpoint`: so a
            // head over a close whose checkpoint is older was left by no crash.
            self.upkeep.closed_pushed = true;
            self.shared.push_own(&self.upkeep.closed_record(&self.durable_tree));
            self.take_and_flush();
        }
        // A file that was deleted since the last look exists only as long as it
        // is open: closing it unseen would lose what was acknowledged.
        let repaired = self.fresh.is_none() && self.look_at_file();
        let everything = self.shared.queue.next_seq() == self.durable_tree.end();
        if !everything || repaired {
            if in_time {
                return false;
            }
            let left = self.shared.queue.next_seq() - self.durable_tree.end();
            let reason = format!("closed with {left} records that could not be written");
            self.poison(&reason);
            return true;
        }
        let signed = self.checkpoint();
        if signed {
            self.write_head(&self.shared.keeper.checkpoint());
        }
        let now = self.shared.options.clock.now();
        if signed {
            self.shared.page.set(Word::ClosedAt, now.micros() as u64);
            self.shared.page.state(WriterState::Closed, now);
        }
        self.shared.progress.closed();
        true
    }

    /// Whether the file was not as it should be.
    pub(super) fn look_at_file(&mut self) -> bool {
        let before = self.shared.page.get(Word::LogFileIncidents);
        if let Err(failure) = self.check_file() {
            self.failed(&failure);
            return true;
        }
        self.shared.page.get(Word::LogFileIncidents) != before
    }

    /// Whether the log's directory is where it was when it was locked. Nothing is
    /// written by its name otherwise: another writer may have what is there.
    pub(super) fn at_home(&self) -> Result<(), Failure> {
        let page = &self.shared.page;
        let told = page.get(Word::Damage) == Damage::DirectoryGone as u64;
        match self.own_files.at_home() {
            Ok(()) if told => page.set(Word::Damage, 0),
            Ok(()) => {}
            Err(error) => {
                if !told {
                    tracing::error!(code = Trouble::DirectoryMoved.code(), %error, "the log cannot be written");
                    self.damage(Damage::DirectoryGone);
                }
                return Err(failure(Activity::Checking)(error));
            }
        }
        Ok(())
    }

    /// The program's own files beside the log file.
    pub(super) fn look_at_own_files(&mut self) {
        if self.at_home().is_ok() {
            let fs = std::sync::Arc::clone(&self.shared.options.fs);
            self.own_files.look(&*fs, &self.incidents);
            self.follow_head();
        }
    }

    /// Notes damage for health.
    pub(crate) fn damage(&self, damage: Damage) {
        let now = self.shared.options.clock.now();
        self.shared.page.add(Word::LogFileIncidents, 1);
        self.shared.page.damage(damage, now);
    }
}
