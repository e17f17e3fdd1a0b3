//! What a person who watches wants to see beside the numbers: the newest records, what was
//! refused, and which backups there are.
//!
//! All of it is read from files beside the writer, and what that costs is bounded, whatever the
//! log's size and whatever is in it: so many of the newest records are looked through, a page
//! of them is kept, and of the file of security events only its end is read.

use serde::Deserialize;

use crate::audit::LogPaths;
use crate::audit::read::query::{Bounds, Filter, Order, Query, Reader, Want};
use crate::backup::{Catalog, CopyState};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::fsio::{OpenMode, SharedFs};

/// Records that are shown, at most.
const RECORDS: u64 = 200;
/// Their bytes, at most.
const PAGE_BYTES: usize = 1 << 20;
/// The newest records that are looked through.
pub const LOOKED_THROUGH: u64 = 20_000;
/// Refusals that are shown, at most.
const REFUSALS: usize = 100;
/// The end of the file of security events that is read.
const REFUSAL_BYTES: u64 = 64 << 10;
/// Backups that are shown, at most.
const BACKUPS: usize = 50;

/// What was there at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Newest {
    /// When it was looked.
    pub at: Timestamp,
    /// The newest records that the filter takes, the newest first, as they are stored.
    pub records: Vec<Vec<u8>>,
    /// Those that were looked through: from, and up to but without.
    pub about: (u64, u64),
    /// Why there are no records, if they cannot be read.
    pub problem: Option<String>,
    /// The newest lines of the file of security events, the newest first.
    pub refusals: Vec<Refusal>,
    /// The newest backups that the catalogue knows, the newest first.
    pub backups: Vec<KnownBackup>,
}

/// A line of `security_events.log`, its texts as they are written: escape them for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// When; the first of several.
    pub timestamp: Timestamp,
    /// What kind, such as `rate_limited`.
    pub kind: String,
    /// Whose, by its own word.
    #[serde(default)]
    pub source: Option<String>,
    /// What happened.
    pub detail: String,
    /// How often.
    #[serde(default = "once")]
    pub count: u64,
}

fn once() -> u64 {
    1
}

/// A backup, by the catalogue's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBackup {
    /// Its name.
    pub id: String,
    /// Its first record, and one after its last.
    pub seqs: (u64, u64),
    /// Its length as stored.
    pub bytes: u64,
    /// The highest check that it has passed.
    pub verified: &'static str,
    /// Why the last check failed, if it did.
    pub damage: Option<String>,
    /// In how many places it is confirmed to be, beside this one.
    pub copies: usize,
}

/// Records, and those that were looked through.
type Records = (Vec<Vec<u8>>, (u64, u64));

/// Looks again and again.
#[derive(Debug)]
pub struct Looker {
    fs: SharedFs,
    settings: Settings,
    reader: Option<Reader>,
}

impl Looker {
    /// At the log that the settings name.
    #[must_use]
    pub fn new(settings: Settings, fs: SharedFs) -> Self {
        Self { fs, settings, reader: None }
    }

    /// Looks once.
    pub fn look(&mut self, filter: &Filter, clock: &dyn Clock) -> Newest {
        let mut newest = Newest { at: clock.now(), ..Newest::default() };
        match self.records(filter) {
            Ok((records, about)) => (newest.records, newest.about) = (records, about),
            Err(problem) => {
                self.reader = None;
                newest.problem = Some(problem);
            }
        }
        newest.refusals = self.refusals().unwrap_or_default();
        newest.backups = self.backups();
        newest
    }

    fn records(&mut self, filter: &Filter) -> Result<Records, String> {
        let failed = |error: crate::audit::read::error::ReadError| error.to_string();
        let reader = match &mut self.reader {
            Some(reader) => {
                reader.refresh().map_err(failed)?;
                reader
            }
            none => {
                let bounds = Bounds { page_bytes: PAGE_BYTES, ..Bounds::default() };
                let reader = Reader::open(&self.fs, &self.settings.log_dir, bounds);
                none.insert(reader.map_err(failed)?)
            }
        };
        let end = reader.end();
        let from = end.saturating_sub(LOOKED_THROUGH).max(reader.begin());
        let want = Want::Records { order: Order::Newest, limit: RECORDS };
        let answer =
            reader.query(&Query { filter: filter.within(from, end), want }).map_err(failed)?;
        let lines = answer.lines().into_iter().flat_map(|lines| lines.iter());
        Ok((lines.map(<[u8]>::to_vec).collect(), (from, end)))
    }

    /// The newest lines of the file of security events; none where there is no such file.
    fn refusals(&self) -> std::io::Result<Vec<Refusal>> {
        let path = LogPaths::new(&self.settings.log_dir).security();
        let file = self.fs.open(&path, OpenMode::ReadOwn)?;
        let length = file.meta()?.len;
        let from = length.saturating_sub(REFUSAL_BYTES);
        let mut end = vec![0; (length - from) as usize];
        file.read_exact_at(&mut end, from)?;
        let lines = end.rsplit(|byte| *byte == b'\n');
        // The first one may lack its beginning; it is no JSON then.
        let refusals = lines.filter_map(|line| serde_json::from_slice(line).ok());
        Ok(refusals.take(REFUSALS).collect())
    }

    fn backups(&self) -> Vec<KnownBackup> {
        let catalog = Catalog::peek(&*self.fs, &self.settings.backup.output_dir);
        let Ok(Some(catalog)) = catalog else { return Vec::new() };
        let known = catalog.backups.iter().rev().take(BACKUPS).map(|(id, noted)| KnownBackup {
            id: id.to_string(),
            seqs: (noted.first_seq, noted.tree_size),
            bytes: noted.stored_bytes,
            verified: noted.verified.as_str(),
            damage: noted.damage.clone(),
            copies: noted.copies.values().filter(|copy| copy.state == CopyState::Confirmed).count(),
        });
        known.collect()
    }
}
