//! Every file that the program owns in a log directory, changed in every way, at rest,
//! across a start, and under a running writer.
//!
//! The invariant of each cell: what passes has every record that was acknowledged, as
//! it was; nothing waits for ever; no process dies. Beyond it each cell has the
//! outcomes that are allowed ([`allowed`]).

mod cells;
mod changes;
mod collectors;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use auditctl::audit::paths::LogPaths;
use cells::{Cell, Outcome, Situation};
use changes::{Change, Exercised};

/// The files of a log directory, by what is done when they are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// Holds records.
    Records,
    /// Signed by the log's key, or rebuilt from what is.
    Manifest,
    Checkpoint,
    Head,
    /// The private key: nobody but the writer reads it.
    Key,
    PublicKey,
    Keys,
    /// The key of redacted values.
    RedactKey,
    /// Nothing rests on it.
    Hint,
}

/// Every file that there is once everything was done, and what it is.
fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "audit.log" => Kind::Records,
        "audit.manifest.json" => Kind::Manifest,
        "audit.checkpoint" => Kind::Checkpoint,
        "audit.head" => Kind::Head,
        "audit.key" => Kind::Key,
        "audit.pub" => Kind::PublicKey,
        "audit.keys" => Kind::Keys,
        "audit.redact_key" => Kind::RedactKey,
        "audit.status"
        | "audit.lock"
        | "audit.reserve"
        | "audit.leaves"
        | "audit.verified.json"
        | "audit.findings.json"
        | "security_events.log" => Kind::Hint,
        name if name.ends_with(".filter") || name.ends_with(".columns") => Kind::Hint,
        name if name.ends_with(".log") || name.ends_with(".log.gz") => Kind::Records,
        _ => return None,
    })
}

/// What may come of a change. A change that makes no regular file of it is refused by
/// whoever has to read it: nothing planted is followed or waited for.
fn allowed(kind: Kind, change: Change, situation: Situation) -> &'static [Outcome] {
    let is_planted = matches!(change, Change::Symlink | Change::Directory | Change::Fifo);
    match situation {
        Situation::AtRest => at_rest(kind, change, is_planted),
        Situation::AcrossAStart => across_a_start(kind, change, is_planted),
        Situation::Running => running(kind),
    }
}

fn at_rest(kind: Kind, change: Change, is_planted: bool) -> &'static [Outcome] {
    use Outcome::{Found, Refused, Whole};
    match (kind, change) {
        // An older key of the log leads to the newest; the checkpoint of a closed log
        // covers what the head covers.
        (Kind::PublicKey, Change::PutBackOlder) => &[Whole],
        (Kind::Head, Change::PutBackOlder | Change::Removed) => &[Whole],
        (Kind::PublicKey | Kind::Head, _) => &[Found],
        // Nobody reads it but the writer; nothing rests on it.
        (Kind::Key | Kind::RedactKey | Kind::Hint, _) => &[Whole],
        // What is in a segment's place is no segment: its records are missing.
        (Kind::Records, _) => &[Found],
        _ if is_planted => &[Refused],
        _ => &[Found],
    }
}

fn across_a_start(kind: Kind, change: Change, is_planted: bool) -> &'static [Outcome] {
    use Outcome::{Found, Refused, Whole};
    match (kind, change) {
        (Kind::Records | Kind::Manifest | Kind::Checkpoint, _) if is_planted => &[Refused],
        (Kind::Records | Kind::Keys, _) => &[Found, Refused],
        // Made anew from what is signed, or from the private key.
        (Kind::Manifest | Kind::Checkpoint | Kind::Head, _) => &[Whole],
        (Kind::PublicKey, _) if is_planted => &[Whole, Refused],
        (Kind::PublicKey, _) => &[Whole],
        // Its path is the operator's choice, and a link in it as well.
        (Kind::Key, Change::Symlink) => &[Whole],
        (Kind::Key, _) => &[Refused],
        // One that is none is not replaced behind anybody's back; another one serves.
        (Kind::RedactKey, _) => &[Whole, Refused],
        (Kind::Hint, _) if is_planted => &[Whole, Refused],
        (Kind::Hint, _) => &[Whole],
    }
}

fn running(kind: Kind) -> &'static [Outcome] {
    use Outcome::{Found, Refused, Whole};
    match kind {
        // Of the active segment the writer has what it holds open.
        Kind::Records | Kind::Head => &[Whole, Found],
        Kind::Manifest | Kind::Checkpoint | Kind::PublicKey | Kind::Keys => {
            &[Whole, Found, Refused]
        }
        Kind::Key | Kind::RedactKey | Kind::Hint => &[Whole],
    }
}

/// Most of a cell's time is waiting: more of them at once than there are processors.
fn in_parallel<T: Sync, R: Send>(all: &[T], look: impl Fn(&T) -> Option<R> + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = look(one);
                    found.lock().expect("no test panicked").extend(outcome);
                }
            });
        }
    });
    found.into_inner().expect("no test panicked")
}

fn outcomes(situation: Situation) {
    let exercised = Exercised::new();
    let names: Vec<&String> = exercised.files.keys().collect();
    let cells: Vec<Cell<'_>> = names
        .iter()
        .flat_map(|name| Change::ALL.map(|change| Cell { name, change, situation }))
        .collect();
    let looked = in_parallel(&cells, |cell| {
        let outcome = exercised.look(cell)?;
        let told = |error: String| format!("{cell:?}: {error}");
        Some(outcome.map_err(told).and_then(|outcome| {
            let kind = kind_of(cell.name).ok_or_else(|| told("is no known file".into()))?;
            let fits = allowed(kind, cell.change, situation).contains(&outcome);
            if fits { Ok(()) } else { Err(told(format!("{outcome:?}"))) }
        }))
    });
    let wrong: Vec<_> = looked.iter().filter_map(|cell| cell.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), looked.len());
    assert!(looked.len() >= 80, "{} cells", looked.len());
}

#[test]
fn no_file_is_forgotten() {
    let exercised = Exercised::new();
    for name in exercised.files.keys() {
        assert!(kind_of(name).is_some(), "{name} is not in the table");
    }
    // Those that LogPaths names are there, but for what comes and goes.
    let paths = LogPaths::new(Path::new("/d"));
    let named: BTreeSet<String> = [
        paths.active(),
        paths.manifest(),
        paths.checkpoint(),
        paths.key(),
        paths.redact_key(),
        paths.public_key(),
        paths.keys(),
        paths.status(),
        paths.lock(),
        paths.security(),
        paths.compressed(0),
        paths.filters(0),
        paths.columns(0),
    ]
    .iter()
    .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
    .collect();
    let there: BTreeSet<String> = exercised.files.keys().cloned().collect();
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} of {there:?}");
}

#[test]
fn whatever_is_done_to_a_file_at_rest_no_verdict_passes_over_a_record() {
    outcomes(Situation::AtRest);
}

#[test]
fn whatever_was_done_to_a_file_before_a_start_no_record_is_lost_unseen() {
    outcomes(Situation::AcrossAStart);
}

#[test]
fn whatever_is_done_to_a_file_under_a_running_writer_no_record_is_lost_unseen() {
    outcomes(Situation::Running);
}
