//! How the log, its writer and its backups are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::{Inputs, Made, clean, places};
use crate::audit::LogPaths;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey, read_note};
use crate::audit::read::verify;
use crate::audit::read::verify::Request;
use crate::audit::read::watch::Unwatched;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::backup::{self, Catalog};
use crate::clock::SystemClock;
use crate::{health as checks, monitor as samples};

const MAX_SECURITY_BYTES: u64 = 64 << 20;
/// Entries of a directory, segments, backups: the first and the last so many.
const MOST: usize = 200;

pub(super) fn health(inputs: &Inputs) -> Made {
    let health = checks::check(&inputs.settings, &*inputs.fs, &SystemClock);
    without_sources(inputs, &health.report)
}

pub(super) fn monitor(inputs: &Inputs) -> Made {
    let sample = samples::sample(&inputs.settings, &*inputs.fs, &SystemClock);
    without_sources(inputs, &sample)
}

fn page(inputs: &Inputs) -> Result<StatusSnapshot, String> {
    let path = LogPaths::new(&inputs.settings.log_dir).status();
    StatusSnapshot::read(&path).map_err(|error| error.to_string())
}

/// A document in which the most refused source is not named.
fn without_sources(inputs: &Inputs, document: &impl serde::Serialize) -> Made {
    let mut value = serde_json::to_value(document).map_err(|error| error.to_string())?;
    let mut hidden = Vec::new();
    // Also of the document itself: the writer may have named another meanwhile.
    named(&value, &mut hidden);
    if let Some(top) = page(inputs).ok().and_then(|page| page.top_blocked()) {
        hidden.push(top.source);
        // A user's number and how events come in are no names.
        hidden.extend(top.sender.filter(|sender| sender.starts_with("token:")));
    }
    clean::document(&mut value, &hidden);
    super::json(&value)
}

fn named(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(name)
                        if key == "top_source" || key == "source" || name.starts_with("token:") =>
                    {
                        found.push(name.clone());
                    }
                    _ => named(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| named(value, found)),
        _ => {}
    }
}

pub(super) fn status_page(inputs: &Inputs) -> Made {
    let page = page(inputs)?;
    let mut text = String::new();
    let mut words = Word::TABLE.iter().peekable();
    while let Some((word, name, about)) = words.next() {
        if *word == Word::TopBlockedSource {
            continue;
        }
        // A run of words ends where the next begins, or where its kind ends.
        let next = words.peek().map_or(*word as usize + 1, |(next, ..)| *next as usize);
        let run = match word {
            Word::SecurityCounts | Word::SyncHistogram => 16,
            Word::EventRing | Word::BlockedRing | Word::ValidationRing | Word::SecurityRing => 64,
            Word::StrangersRing => 16,
            _ => 1,
        };
        let values: Vec<String> = (0..run.min(next - *word as usize))
            .map(|nth| page.nth(*word, nth))
            .map(|value| match word {
                // A ring's slot holds its time above, the count below.
                Word::EventRing
                | Word::BlockedRing
                | Word::ValidationRing
                | Word::SecurityRing
                | Word::StrangersRing => (value & 0xffff_ffff).to_string(),
                _ => value.to_string(),
            })
            .collect();
        let said =
            in_words(&page, *word, name).map_or_else(String::new, |said| format!(" ({said})"));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name} = {}{said}  #{about}", values.join(" "));
    }
    Ok(text)
}

/// Codes by name, times as such.
fn in_words(page: &StatusSnapshot, word: Word, name: &str) -> Option<String> {
    let said = match word {
        Word::Activity => page.activity()?.as_str(),
        Word::State => page.state()?.as_str(),
        Word::Mode => page.mode()?.as_str(),
        Word::DiskStage => page.disk_stage()?.as_str(),
        Word::Damage => page.damage()?.as_str(),
        // The names of words that hold times end so; no other name does.
        _ if name.ends_with("At") || word == Word::StateSince => {
            return Some(page.time(word)?.to_string());
        }
        _ => return None,
    };
    Some(said.to_owned())
}

pub(super) fn manifest(inputs: &Inputs) -> Made {
    let path = LogPaths::new(&inputs.settings.log_dir).manifest();
    let manifest = Manifest::load(&*inputs.fs, &path).map_err(|error| error.to_string())?;
    let manifest = manifest.ok_or_else(|| format!("{} is missing", path.display()))?;
    let sums = manifest.segments.sums();
    super::json(&json!({
        "log_id": manifest.log_id,
        "epoch": manifest.epoch,
        "abandoned_heads": manifest.abandoned.len(),
        "first_seq": manifest.segments.first().map(|segment| segment.first_seq),
        "end_seq": manifest.end_seq(),
        "segments": manifest.segments.len(),
        "raw_bytes": sums.raw_bytes,
        "stored_bytes": sums.stored_bytes,
        "damaged": manifest.segments.iter().filter(|segment| segment.damage.is_some()).count(),
        "oldest_and_newest": both_ends(&manifest.segments).map(of_segment).collect::<Vec<_>>(),
    }))
}

fn of_segment(segment: &Segment) -> Value {
    json!({
        "file": segment.file,
        "first_seq": segment.first_seq,
        "records": segment.records,
        "raw_bytes": segment.raw_bytes,
        "stored_bytes": segment.stored_bytes,
        "sha256": segment.sha256,
        "min_timestamp": segment.min_timestamp,
        "max_timestamp": segment.max_timestamp,
        "damaged": segment.damage.is_some(),
        "blocks": segment.blocks.len(),
    })
}

/// All of them, or the first and the last so many.
fn both_ends<I>(all: I) -> impl Iterator<Item = I::Item>
where
    I: IntoIterator<IntoIter: ExactSizeIterator + Clone>,
{
    let all = all.into_iter();
    let first = all.len().min(MOST);
    let last = all.len().saturating_sub(MOST).max(first);
    all.clone().take(first).chain(all.skip(last))
}

/// Parsed and written anew: whatever else stands in the files stays out.
pub(super) fn checkpoint(inputs: &Inputs) -> Made {
    let paths = LogPaths::new(&inputs.settings.log_dir);
    let key = match VerifierKey::load_own(&*inputs.fs, &paths.public_key()) {
        Ok(key) => key.to_string(),
        Err(error) => format!("no public key: {error}"),
    };
    let path = paths.checkpoint();
    let bytes = read_note(&*inputs.fs, &path);
    let bytes = bytes.map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = bytes.ok_or_else(|| format!("{}: it is missing", path.display()))?;
    let note = SignedCheckpoint::parse(&bytes).map_err(|_| "it is no checkpoint".to_owned())?;
    Ok(format!("{key}\n\n{note}"))
}

pub(super) fn backups(inputs: &Inputs) -> Made {
    let dir = &inputs.settings.backup.output_dir;
    let catalog = Catalog::peek(&*inputs.fs, dir).map_err(|error| error.to_string())?;
    let newest = backup::newest(&*inputs.fs, dir);
    let known = catalog.is_some();
    let catalog = catalog.unwrap_or_default();
    let all: Vec<Value> = catalog
        .backups
        .iter()
        .rev()
        .take(MOST)
        .map(|(id, noted)| {
            let copies: Vec<Value> = noted
                .copies
                .iter()
                .map(|(place, copied)| {
                    let store = place.split_once("://").map_or("directory", |(scheme, _)| scheme);
                    json!({
                        "store": store, "state": copied.state, "at": copied.at,
                        "locked_until": copied.locked_until, "failed": copied.problem.is_some(),
                    })
                })
                .collect();
            json!({
                "id": id.to_string(), "created_at": noted.created_at,
                "first_seq": noted.first_seq, "tree_size": noted.tree_size,
                "stored_bytes": noted.stored_bytes, "verified": noted.verified,
                "verified_at": noted.verified_at, "damaged": noted.damage.is_some(),
                "copies": copies,
            })
        })
        .collect();
    let failure = catalog.last_failure.as_ref();
    let drill = catalog.last_drill.as_ref();
    super::json(&json!({
        "catalog_there": known,
        "newest_by_name": newest,
        "backups": catalog.backups.len(),
        "newest_backups": all,
        "last_failure": failure.map(|failure| json!({ "at": failure.at, "kind": failure.kind })),
        "last_drill": drill.map(|drill| json!({
            "at": drill.at, "backup": drill.backup.to_string(), "passed": drill.passed,
            "milliseconds": drill.milliseconds,
        })),
    }))
}

pub(super) fn directories(inputs: &Inputs) -> Made {
    let mut all = serde_json::Map::new();
    for (what, dir) in places(&inputs.settings) {
        // Beside the key there is whatever there is.
        if what == "key" {
            continue;
        }
        all.insert(what.to_owned(), listing(inputs, &dir));
    }
    super::json(&all)
}

fn listing(inputs: &Inputs, dir: &Path) -> Value {
    let path = dir.display().to_string();
    let names = match inputs.fs.list(dir) {
        Ok(names) => names,
        Err(error) => return json!({ "path": path, "problem": error.to_string() }),
    };
    let entry = |name: &str, path: &Path| match inputs.fs.meta(path) {
        Ok(meta) => {
            let modified = meta.modified.duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs());
            json!({
                "name": name, "bytes": meta.len, "mode": format!("{:04o}", meta.mode),
                "uid": meta.uid, "links": meta.links, "inode": meta.inode,
                "modified_unix": modified, "is_file": meta.is_file,
            })
        }
        Err(error) => json!({ "name": name, "problem": error.to_string() }),
    };
    json!({
        "path": path,
        "itself": entry(".", dir),
        "entries": names.len(),
        "first_and_last": both_ends(&names)
            .map(|name| entry(name, &dir.join(name)))
            .collect::<Vec<_>>(),
    })
}

/// Of `security_events.log` the kinds and how often each; and what the page counts.
pub(super) fn security(inputs: &Inputs) -> Made {
    use crate::audit::state::security::SecurityKind;
    let mut in_file: BTreeMap<&str, u64> = BTreeMap::new();
    let mut others = 0_u64;
    let path = LogPaths::new(&inputs.settings.log_dir).security();
    let read = inputs.fs.read_own(&path, MAX_SECURITY_BYTES);
    let problem = read.as_ref().err().map(ToString::to_string);
    for line in read.unwrap_or_default().split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        let times = line["count"].as_u64().unwrap_or(1);
        let name = line["kind"].as_str().unwrap_or_default();
        match SecurityKind::ALL.iter().find(|kind| kind.as_str() == name) {
            Some(kind) => *in_file.entry(kind.as_str()).or_default() += times,
            None => others += times,
        }
    }
    let since_open = page(inputs).ok().map(|page| {
        SecurityKind::ALL
            .iter()
            .map(|kind| (kind.as_str(), page.security(*kind)))
            .collect::<BTreeMap<_, _>>()
    });
    super::json(&json!({
        "in_file": in_file, "in_file_of_other_kinds": others, "file_problem": problem,
        "since_the_log_was_opened": since_open,
    }))
}

pub(super) fn verify(inputs: &Inputs) -> Made {
    let request = Request { quick: true, now: inputs.now, ..Request::default() };
    let verified = verify::verify(&inputs.fs, &inputs.settings.log_dir, &request, &Unwatched);
    let (report, _) = verified.map_err(|error| error.to_string())?;
    let mut document: Value = serde_json::from_str(&crate::ui::verify_json(&report))
        .map_err(|error| error.to_string())?;
    // Kinds and places; what a finding says could quote a line.
    if let Some(findings) = document["findings"].as_array_mut() {
        for finding in findings.iter_mut() {
            if let Some(finding) = finding.as_object_mut() {
                finding.remove("message");
            }
        }
    }
    clean::document(&mut document, &[]);
    super::json(&document)
}
