//! What the records of an object say: where they are from, and, for a report, who did what when.

use serde::Deserialize;

use crate::archive::{ArchiveError, Take, accepted};
use crate::audit::read::verify::Activity;
use crate::clock::Timestamp;

/// Looks at records as they go by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// The first record of the object that is there.
    pub(crate) first_seq: Option<u64>,
    /// When it was accepted.
    pub(crate) first: Option<Timestamp>,
    /// When the last one was.
    pub(crate) last: Option<Timestamp>,
    pub(crate) records: u64,
    /// When the first record of all was accepted.
    pub(crate) first_of_all: Option<Timestamp>,
    /// The host that the log's first record names.
    pub(crate) host: Option<String>,
    /// What the object's records say, where that is to be counted.
    pub(crate) activity: Option<Activity>,
}

#[derive(Deserialize)]
struct Created {
    event_type: String,
    details: Details,
}

#[derive(Deserialize)]
struct Details {
    host: String,
}

impl Look {
    /// Another object begins.
    pub(crate) fn begin(&mut self) {
        let (first_of_all, host) = (self.first_of_all, self.host.take());
        let activity = self.activity.is_some().then(Activity::default);
        *self = Self { first_of_all, host, activity, ..Self::default() };
    }
}

impl Take for Look {
    fn lines(&mut self, first_seq: u64, raw: &[u8], _: Option<&[u8]>) -> Result<(), ArchiveError> {
        let mut lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        if self.first_seq.is_none() {
            self.first_seq = Some(first_seq);
            let line = lines.clone().next().unwrap_or_default();
            self.first = accepted(line);
            self.first_of_all = self.first_of_all.or(self.first);
            let created = serde_json::from_slice::<Created>(line);
            if let Ok(created) = created
                && first_seq == 0
                && created.event_type == "audit.log_created"
            {
                self.host = Some(created.details.host);
            }
        }
        self.last = raw.rsplit(|byte| *byte == b'\n').find_map(accepted).or(self.last);
        self.records += lines.by_ref().count() as u64;
        if let Some(activity) = &mut self.activity {
            activity.merge(Activity::of(raw, first_seq, u64::MAX));
        }
        Ok(())
    }
}
