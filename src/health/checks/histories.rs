//! Part of `backup`: a signed head elsewhere that does not fit the log. Seen now in the
//! newest backups, or told by the writer, which compares more.

use crate::audit::keys::histories::History;
use crate::audit::state::status::Word;
use crate::health::gather::Facts;
use crate::health::problem::Problem;
use crate::health::report::Status;

use super::common::Finding;

pub(super) fn other(facts: &Facts) -> Option<Finding> {
    let seen = facts.backups.contradiction.as_ref();
    let (history, text) = match seen {
        Some(found) => (found.history, found.to_string()),
        None => told(facts)?,
    };
    let problem = match history {
        History::SnapshotRestored => Problem::SnapshotRestored,
        History::RolledBack => Problem::RolledBack,
        History::Cloned => Problem::Cloned,
    };
    Some((problem, Status::Critical, text))
}

fn told(facts: &Facts) -> Option<(History, String)> {
    let page = facts.page()?;
    let history = History::from_word(page.get(Word::OtherHistory))?;
    let size = page.get(Word::OtherHistorySize);
    let text = match history {
        History::SnapshotRestored => {
            format!("a pushed checkpoint covers {size} records, more than this log has")
        }
        History::RolledBack => format!("a backup holds {size} records, more than this log has"),
        History::Cloned => {
            format!(
                "another copy of this log, with {size} records, has signed other records in \
                     the same places"
            )
        }
    };
    Some((history, text))
}
