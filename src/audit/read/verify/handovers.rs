//! Where one key handed over to the next: the tree that both signed has to be the
//! log's, like any copy of a tree head that is kept.

use super::pieces::Pieces;
use super::report::{Finding, Kind};
use super::tally::Tally;
use super::view::View;
use crate::audit::keys::{Handover, Keyring};
use crate::audit::read::error::ReadError;

const KEYS: &str = "audit.keys";

pub(super) fn check(
    view: &View,
    pieces: &Pieces,
    keys: &Keyring,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    for handover in keys.handovers() {
        let now = view.manifest.epoch;
        if let Some(replaced) = &handover.replaced {
            // Its epoch begins when the log is opened next, and goes on from those records
            // unless a restore left it.
            if handover.place.epoch != now {
                continue;
            }
            let size = replaced.signed.size;
            let what = format!("{} had signed {size} records", handover.old.label());
            compare(view, pieces, (handover, size, &what), tally)?;
            continue;
        }
        let (epoch, size) = (handover.place.epoch, handover.place.size);
        let what = format!(
            "{} and {} both signed {size} records",
            handover.old.label(),
            handover.new.label()
        );
        if epoch > now {
            let text = format!("{what} of epoch {epoch}, and the log is of epoch {now}");
            tally.of_end.push(Finding::new(Kind::Diverged, KEYS, text));
            continue;
        }
        // A restore set aside what was signed in an earlier epoch: its word counts for
        // the keys, not for these records.
        if epoch < now {
            continue;
        }
        compare(view, pieces, (handover, size, &what), tally)?;
    }
    Ok(())
}

fn compare(
    view: &View,
    pieces: &Pieces,
    (handover, size, what): (&Handover, u64, &str),
    tally: &mut Tally,
) -> Result<(), ReadError> {
    if size > pieces.end() {
        let text = format!("{what}, and {} are there", pieces.end());
        let finding = Finding::new(Kind::Truncated, KEYS, text).records(pieces.end(), size);
        tally.of_end.push(finding);
        return Ok(());
    }
    // What retention removed cannot be compared any more; the signatures hold.
    if let Some(tree) = pieces.tree_at(view, size)?
        && tree.root() != Ok(handover.root)
    {
        let text = format!("{what}, which are not those that are here: the log was rewritten");
        tally.of_end.push(Finding::new(Kind::Diverged, KEYS, text).records(0, size));
    }
    Ok(())
}
