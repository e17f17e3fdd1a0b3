//! What the writer found of its own files: a part of `integrity`.

use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::write::own_files::{OwnFile, TOLD_FOR};
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::Status;
use crate::health::wording::{age, count, since};

use super::common::Finding;

/// Of a writer that does not run only what is there now counts.
pub(super) fn findings(facts: &Facts, page: &StatusSnapshot, liveness: Liveness) -> Vec<Finding> {
    if !liveness.is_current() {
        return chain(facts).into_iter().collect();
    }
    [gone(page), chain(facts), segments(page), put_back(facts, page)]
        .into_iter()
        .flatten()
        .collect()
}

/// A running writer puts it back within a beat; the next one does not start without it.
fn chain(facts: &Facts) -> Option<Finding> {
    facts.chain_is_short.then(|| {
        let text = "audit.keys is missing or incomplete, so the log's first key does not lead to \
                    today's; the next start restores it from a backup in backup.output_dir"
            .to_owned();
        (Problem::OwnFileGone, Status::Critical, text)
    })
}

/// What to do about them; `None` for the problems of others.
pub(super) fn hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::OwnFileGone => {
            "if a writer runs, it has the file in memory: make the directory writable, or put the \
             file back, before you restart it. If none runs, set backup.output_dir and start one. \
             If no backup has the file, run `serve --accept-corruption` once"
        }
        Problem::OwnFilePutBack => {
            "nothing is lost. Run `auditctl query --type audit.file_replaced` to see what \
             happened, and find out who changed the log's files. The warning ends 15 minutes \
             after the last change"
        }
        Problem::SegmentGone => {
            "run `auditctl verify`, which names the file, and put the file back: this ends within \
             a minute. If it is lost: stop the collector, run `auditctl repair`, start it again"
        }
        _ => return None,
    })
}

/// `audit.key was`; `audit.lock, audit.key were`.
fn names(bits: u64) -> String {
    let names: Vec<&str> = OwnFile::of_bits(bits).into_iter().map(OwnFile::name).collect();
    match &names[..] {
        [] => "a file of the log was".to_owned(),
        [one] => format!("{one} was"),
        more => format!("{} were", more.join(", ")),
    }
}

fn gone(page: &StatusSnapshot) -> Option<Finding> {
    let bits = page.get(Word::OwnFilesGone);
    (bits != 0).then(|| {
        let text = format!("{} deleted or replaced, and cannot be put back", names(bits));
        (Problem::OwnFileGone, Status::Critical, text)
    })
}

fn put_back(facts: &Facts, page: &StatusSnapshot) -> Option<Finding> {
    let ago = since(page.time(Word::OwnFilePutBackAt)?, facts.now);
    (ago < TOLD_FOR).then(|| {
        let names = names(page.get(Word::OwnFilesPutBack));
        let text = format!("{names} deleted or replaced, and put back {} ago", age(ago));
        (Problem::OwnFilePutBack, Status::Warning, text)
    })
}

fn segments(page: &StatusSnapshot) -> Option<Finding> {
    let gone = page.get(Word::SegmentsGone);
    (gone != 0).then(|| {
        let (segments, are) = (count(gone, "sealed segment"), if gone == 1 { "is" } else { "are" });
        let first = page.get(Word::SegmentsGoneFrom);
        let text = format!(
            "{segments} {are} missing or not the file that was sealed, the first from record {first} on"
        );
        (Problem::SegmentGone, Status::Critical, text)
    })
}
