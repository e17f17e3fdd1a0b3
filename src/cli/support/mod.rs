//! What `support-bundle` collects: how the log, its writer and the machine are,
//! without secrets and without anything that came in with an event.
//!
//! Each part is made in a thread of its own and waited for no longer than its
//! deadline: one that fails or hangs is noted, and the others go on. Nothing is
//! written but the bundle, no lock is taken, and the writer is not asked.

mod archive;
mod clean;
mod log;
mod machine;
mod own;
mod readme;
mod settings;
mod systemd;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub(super) use archive::pack;
pub(super) use clean::Secrets;
pub(super) use readme::{list, readme};

use crate::clock::Timestamp;
use crate::config::Settings;
use crate::fsio::SharedFs;

/// How long a part may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a part may take that reads segments.
pub(super) const LONG_DEADLINE: Duration = Duration::from_secs(60);
/// A part's largest size; the rest is cut off.
pub(super) const MAX_PART_BYTES: usize = 1 << 20;

/// What parts are made from.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    /// The settings; where they cannot be read, the defaults with what was given by
    /// flag.
    pub(super) settings: Settings,
    /// Why the settings cannot be read: the places, without the values.
    pub(super) settings_problems: Vec<String>,
    /// The environment.
    pub(super) env: Vec<(OsString, OsString)>,
    /// The files.
    pub(super) fs: SharedFs,
    /// When it is.
    pub(super) now: Timestamp,
}

/// A part's text, or why there is none.
pub(super) type Made = Result<String, String>;

/// One file of the bundle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Its name.
    pub(super) name: &'static str,
    /// What is in it, and what is left out.
    pub(super) about: &'static str,
    /// How long it may take.
    pub(super) deadline: Duration,
    make: fn(&Inputs) -> Made,
}

const fn part(name: &'static str, make: fn(&Inputs) -> Made, about: &'static str) -> Part {
    Part { name, about, deadline: DEADLINE, make }
}

const fn long(name: &'static str, make: fn(&Inputs) -> Made, about: &'static str) -> Part {
    Part { name, about, deadline: LONG_DEADLINE, make }
}

/// The parts, in the order of the bundle; `README.txt` comes before and
/// `bundle.json` after them.
pub(super) const PARTS: &[Part] = &[
    part(
        "version.json",
        machine::version,
        "version, compiled features, where it is installed, other programs named auditctl on PATH",
    ),
    part(
        "settings.json",
        settings::settings,
        "each setting with its value and where that comes from; texts and lists of texts \
         (destinations, URLs, patterns) are only said to be set. Names of AUDITCTL_ and cloud \
         variables that are set, never their values",
    ),
    part("health.json", log::health, "as `auditctl health --json`; the name of no source"),
    part(
        "monitor.json",
        log::monitor,
        "as `auditctl monitor --once --json`; the name of no source",
    ),
    part(
        "status_page.txt",
        log::status_page,
        "every word of the status page; the name of no source",
    ),
    part(
        "manifest.json",
        log::manifest,
        "log id, epoch, and the sealed segments' ranges, sizes and times; no records",
    ),
    part("checkpoint.txt", log::checkpoint, "the newest signed checkpoint and the public key"),
    part(
        "backups.json",
        log::backups,
        "the backups with their ranges, sizes and levels of checking, the last failure's kind, the \
         last drill; of copies elsewhere the kind of store and their state, not where they are",
    ),
    part(
        "directory.json",
        log::directories,
        "names, owners, modes, sizes and times of the files in the log and backup directories",
    ),
    part(
        "security_counts.json",
        log::security,
        "how many security events of each kind; nothing of what they say",
    ),
    long(
        "own_records.ndjson",
        own::records,
        "the newest of the log's own records (audit.*), without what in them comes from others: \
         sources, queries, values of settings",
    ),
    long(
        "verify.json",
        log::verify,
        "the outcome of `auditctl verify --quick`: kinds and places of findings",
    ),
    part(
        "machine.json",
        machine::machine,
        "kernel, distribution, processors, memory, load, the limits of this process",
    ),
    part(
        "filesystems.json",
        machine::filesystems,
        "type, mount options and space of the file systems below the log, the key and the backups",
    ),
    part(
        "writer_process.txt",
        machine::writer,
        "state, memory, threads and limits of the writer's process; neither its command line nor \
         its environment",
    ),
    part(
        "systemd.txt",
        systemd::units,
        "state, result and restarts of the auditctl units; not their journal, which can quote \
         what others sent",
    ),
];

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// The file's name.
    pub(super) name: &'static str,
    /// Whether it is in the bundle.
    pub(super) made: bool,
    /// Its size in bytes.
    pub(super) bytes: usize,
    /// How long it took, in milliseconds.
    pub(super) milliseconds: u64,
    /// Why it is not there, or not whole.
    pub(super) problem: Option<String>,
}

/// A file of the bundle.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: String,
}

/// Makes all parts at once, so that one that hangs costs no more than its own
/// deadline. Threads of parts that hang end with the process.
pub(super) fn collect(
    parts: &[Part],
    inputs: &Arc<Inputs>,
    secrets: &Secrets,
) -> (Vec<File>, Vec<Outcome>) {
    let begun = Instant::now();
    let running: Vec<_> = parts.iter().map(|part| (part, start(*part, inputs))).collect();
    let mut files = Vec::new();
    let mut outcomes = Vec::new();
    for (part, receiver) in running {
        let left = part.deadline.saturating_sub(begun.elapsed());
        let made = match receiver {
            Err(why) => Err(why),
            Ok(receiver) => match receiver.recv_timeout(left) {
                Ok(made) => made,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    Err(format!("no answer within {} s", part.deadline.as_secs_f64()))
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    Err("making it ended with a panic".to_owned())
                }
            },
        };
        let (text, problem) = match made.and_then(|text| secrets.withhold(text)) {
            Ok(text) => cut(text),
            Err(why) => (None, Some(clean::text(&why))),
        };
        outcomes.push(Outcome {
            name: part.name,
            made: text.is_some(),
            bytes: text.as_ref().map_or(0, String::len),
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            problem,
        });
        files.extend(text.map(|text| File { name: part.name.to_owned(), text }));
    }
    (files, outcomes)
}

fn start(part: Part, inputs: &Arc<Inputs>) -> Result<mpsc::Receiver<Made>, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let inputs = Arc::clone(inputs);
    let body = move || {
        // Nobody waits any more after the deadline.
        let _ = sender.send((part.make)(&inputs));
    };
    let started = std::thread::Builder::new().name(part.name.to_owned()).spawn(body);
    started.map(|_| receiver).map_err(|error| format!("no thread could be started: {error}"))
}

fn cut(mut text: String) -> (Option<String>, Option<String>) {
    if text.len() <= MAX_PART_BYTES {
        return (Some(text), None);
    }
    let mut end = MAX_PART_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let problem = format!("cut off after {end} of {} bytes", text.len());
    text.truncate(end);
    (Some(text), Some(problem))
}

/// Pretty JSON of something that serialises.
fn json(value: &impl Serialize) -> Made {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// The paths that settings name, with what each is.
fn places(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let key = settings.key_path.clone();
    let mut places =
        vec![("log", settings.log_dir.clone()), ("backups", settings.backup.output_dir.clone())];
    places.extend(key.map(|path| ("key", crate::fsio::parent(&path))));
    places
}
