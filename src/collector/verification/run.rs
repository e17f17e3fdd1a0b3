//! A verification beside the writer: what it compares the log with, and what it says in the
//! end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Shared;
use crate::audit::LogPaths;
use crate::audit::keys::histories::Contradiction;
use crate::audit::read::error::ReadError;
use crate::audit::read::verify::{Anchor, Report, Request, verify};
use crate::audit::read::watch::{Stage, Watch};
use crate::clock::Timestamp;
use crate::collector::{Hub, coverage};
use crate::health::wording::count;
use crate::health::{Findings, FoundBy, InReach, Keeper, next_steps, note_verified};

/// Of all that runs on the machine it comes last.
const NICE: i32 = 15;
/// So many of the heads that do not fit are held against the log, the gravest ones.
const MOST_FOUND: usize = 64;
/// So many places that could not be read are told.
const MOST_TOLD: usize = 8;

/// What came of one.
pub(super) enum Outcome {
    Verdict(Box<Report>, Compared),
    Failed(String),
    Cancelled,
}

/// With which heads the log was compared, beside its own.
#[derive(Debug, Default)]
pub(super) struct Compared {
    backups: u64,
    pushed: u64,
    archive: bool,
    witnesses: bool,
    unread: Vec<String>,
    more_unread: u64,
}

/// Verifies the whole log, on one thread of low priority.
pub(super) fn run(shared: &Arc<Shared>, hub: &Hub, now: Timestamp) -> Outcome {
    let options = hub.log.options();
    let watch = Progress { shared, hub };
    let verified = on_one_thread(|| {
        let key = hub.log.verifier_key().parse().ok();
        // What is in reach and does not fit is held against it, as by `auditctl verify`.
        let (found, compared) = compare(hub, &watch).map_err(|source| {
            let path = options.dir.clone();
            ReadError::Io { action: "compare", path, source }
        })?;
        let anchors =
            found.iter().filter_map(|it| Anchor::parse(&it.name, it.note.as_bytes()).ok());
        let request = Request { key, now, anchors: anchors.collect(), ..Request::default() };
        let (report, _) = verify(&options.fs, &options.dir, &request, &watch)?;
        Ok((report, compared))
    });
    match verified {
        Ok(Ok((report, compared))) => {
            tell_health(hub, &report);
            Outcome::Verdict(Box::new(report), compared)
        }
        Ok(Err(ReadError::Interrupted)) => Outcome::Cancelled,
        Ok(Err(failed)) => Outcome::Failed(failed.to_string()),
        Err(failed) => Outcome::Failed(failed),
    }
}

/// The heads that do not fit the log, of all that are in reach; some at a time are in memory.
fn compare(hub: &Hub, watch: &Progress<'_>) -> std::io::Result<(Vec<Contradiction>, Compared)> {
    let mut compared = Compared::default();
    let mut found: Vec<Contradiction> = Vec::new();
    let mut failed = None;
    let _ =
        coverage::reach(hub).each(hub.log.log_id(), &mut |keeper, InReach { heads, unread }| {
            compared.note(keeper, heads.len(), unread);
            let compared = if heads.is_empty() { Ok(Vec::new()) } else { hub.log.compare(&heads) };
            match compared {
                Ok(more) => found.extend(more),
                Err(error) => failed = Some(error),
            }
            found.sort_by_key(Contradiction::gravity);
            found.truncate(MOST_FOUND);
            match failed.is_some() || watch.interrupted() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(gravest) = found.first() {
        hub.log.report_other_history(gravest);
    }
    Ok((found, compared))
}

/// What a comparison with copies found, only one with the same copies ends: this run sees
/// those that are in the collector's reach.
fn tell_health(hub: &Hub, report: &Report) {
    let options = hub.log.options();
    let paths = LogPaths::new(&options.dir);
    let of_copies = match Findings::load(&*options.fs, &paths) {
        Findings::Some(found) => found.is_of_copies(),
        _ => false,
    };
    if !(report.passed() && of_copies) {
        note_verified(&*options.fs, &paths, report, FoundBy::Verify, false);
    }
}

impl Compared {
    fn note(&mut self, keeper: Keeper, heads: usize, unread: Vec<String>) {
        match keeper {
            Keeper::Backups => self.backups += heads as u64,
            Keeper::Pushed => self.pushed += heads as u64,
            Keeper::Archive => self.archive |= heads > 0,
            Keeper::Witnesses => self.witnesses |= heads > 0,
        }
        for what in unread {
            match self.unread.len() < MOST_TOLD {
                true => self.unread.push(what),
                false => self.more_unread += 1,
            }
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "backups": self.backups,
            "pushed": self.pushed,
            "archive": self.archive,
            "witnesses": self.witnesses,
            "not_read": self.unread,
            "more_not_read": self.more_unread,
        })
    }

    /// With what it was compared, and with what it was not, though `auditctl verify` would.
    fn sentences(&self, passed: bool) -> String {
        let some = [
            (self.backups > 0).then(|| count(self.backups, "backup")),
            (self.pushed > 0).then(|| count(self.pushed, "pushed checkpoint")),
            self.archive.then(|| "the archive's newest".to_owned()),
            self.witnesses.then(|| "what witnesses cosigned".to_owned()),
        ];
        let some: Vec<String> = some.into_iter().flatten().collect();
        let mut text = match (some.is_empty(), passed) {
            (true, _) => "No signed head that is kept elsewhere was in reach.".to_owned(),
            (false, true) => {
                format!("None of the signed heads in reach ({}) contradicts it.", some.join(", "))
            }
            (false, false) => {
                format!("It was compared with the signed heads in reach ({}).", some.join(", "))
            }
        };
        if !self.unread.is_empty() {
            let more = match self.more_unread {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            text += &format!(" NOT compared with: {}{more}.", self.unread.join("; "));
        }
        if self.witnesses {
            text += " Whether enough witnesses cosigned it was not judged: `auditctl verify \
                     --policy FILE`.";
        }
        text
    }
}

/// When, over how much, by which key, and what was found.
pub(super) fn result(
    (report, compared): (&Report, &Compared),
    (began, ended): (Timestamp, Timestamp),
    by: &str,
) -> Value {
    let mut whole = json!(report);
    whole["passed"] = json!(report.passed());
    whole["next"] = json!(if report.passed() { Vec::new() } else { next_steps(report) });
    // The key is that of the writer itself, and of no file.
    whole["key_source"] = json!("collector");
    json!({
        "verdict": if report.passed() { "verified" } else { "wrong" },
        "passed": report.passed(),
        "at": report.verified_at,
        "started": began,
        "ended": ended,
        "by": by,
        "tree_size": report.tree_size,
        "root_hash": report.root_hash,
        "key": report.key,
        "fingerprint": report.fingerprint,
        "compared": compared.to_json(),
        "sentence": sentence(report, compared),
        "report": whole,
    })
}

fn sentence(report: &Report, compared: &Compared) -> String {
    let size = report.tree_size;
    let with = compared.sentences(report.passed());
    if report.passed() {
        let mut but = Vec::new();
        for (records, why) in [
            (report.given_up(), "were given up"),
            (report.left_behind(), "of an earlier epoch were left behind"),
            (report.ranges.removed.end_seq, "were removed by retention"),
        ] {
            if records > 0 {
                but.push(format!("{records} {why}"));
            }
        }
        let but = match but.is_empty() {
            true => String::new(),
            false => format!(" Not all of them are here: {}.", but.join(", ")),
        };
        return format!(
            "The {size} signed records hash to the root that this collector's key signed.{but} \
             {with} Only a copy that is kept where nobody on this machine can alter it shows that \
             nothing was cut off the end: `auditctl verify --against FILE`."
        );
    }
    let found = report.findings.len();
    let first = report.findings.first().map_or_else(String::new, |it| format!(" The first: {it}."));
    format!("Something is wrong with the log: {}.{first} {with}", count(found as u64, "finding"))
}

/// Verification reads blocks in parallel: here on this thread alone, which gives way.
fn on_one_thread<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, String> {
    let lower = |_| {
        // Only a wish.
        let thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(thread), NICE);
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "collector-verify".to_owned())
        .start_handler(lower)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(pool.install(run))
}

struct Progress<'a> {
    shared: &'a Shared,
    hub: &'a Hub,
}

impl Watch for Progress<'_> {
    fn stage(&self, _: Stage, bytes: u64) {
        self.shared.done.store(0, Ordering::Relaxed);
        self.shared.total.store(bytes, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.shared.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        *self.hub.stopping.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_with_what_the_log_was_compared_and_with_what_it_was_not() {
        let mut compared = Compared::default();
        assert!(compared.sentences(true).starts_with("No signed head that is kept elsewhere"));
        compared.note(Keeper::Archive, 1, Vec::new());
        compared.note(Keeper::Witnesses, 0, Vec::new());
        for _ in 0..3 {
            compared.note(Keeper::Backups, 64, vec!["b.json: it is empty".to_owned(); 4]);
        }
        let text = compared.sentences(true);
        assert!(text.contains("in reach (192 backups, the archive's newest) contradicts it."));
        assert!(
            text.contains("NOT compared with: b.json") && text.contains("and 4 more"),
            "{text}"
        );
        assert!(!text.contains("cosigned"), "{text}");
    }
}
