//! Reading `[mapping.NAME]` tables, and those that are built in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::error::ConfigError;
use super::kind::Kind;
use super::names;
use super::origin::Origin;
use super::value::{Field, Raw, RawTable, no_reason};
use crate::mapping::{Draft, Mapping, OnRefusal, Shape, Target, TimeFormat};

/// Mappings in one file, at most.
pub const MAX_MAPPINGS: usize = 64;
/// A mapping's name in characters, at most.
const MAX_NAME_CHARS: usize = 64;
/// Rows of a table of values, at most.
const MAX_VALUES: usize = 256;
/// Formats of `record` that are no mappings.
const TAKEN: [&str; 2] = ["ndjson", "python-audit"];
/// The mappings that are built in, as settings.
pub const PRESETS: &str = include_str!("presets.toml");

/// The keys of a `[mapping.NAME]` table, in the order of the documents: name, what it is.
pub const MAPPING_KEYS: &[(&str, &str)] = &[
    (
        "preset",
        "The mapping that this one begins with; what else is set here takes the place of its own",
    ),
    (
        "records",
        "The path of the array that an envelope has its objects in; objects without an envelope are taken as well",
    ),
    ("event_type", "What happened"),
    ("event_type_values", "A table of what an event type stands for"),
    ("actor", "Who did it"),
    ("source", "Which service or system reports it"),
    ("target", "What it was done to"),
    ("outcome", "How it ended"),
    (
        "outcome_values",
        "A table of what an outcome stands for, such as { allow = \"success\", \"*\" = \"failure\" }",
    ),
    ("timestamp", "When it happened"),
    (
        "timestamp_format",
        "How that is written: rfc3339, unix (seconds), unix_ms, unix_us, unix_ns or audit_id",
    ),
    (
        "id",
        "The sender's own name for the event, so that an event that is sent twice is recorded once",
    ),
    (
        "shed",
        "Paths that are left out of details, in this order, while an object is larger than max_details_size",
    ),
    (
        "on_refusal",
        "What HTTP answers for events that can never be taken: report, a status that says so; accept, success, for senders that would send all of it again",
    ),
];

/// All mappings: the file's own and those built in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mappings(Vec<Arc<Mapping>>);

impl Mappings {
    /// The mapping of that name: the file's own, else the one built in.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Mapping>> {
        let own = self.0.iter().chain(presets()).find(|mapping| mapping.name() == name);
        own.map(Arc::clone)
    }

    /// The names of all, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let all = self.0.iter().chain(presets());
        let mut names: Vec<&str> = all.map(|mapping| mapping.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Those of the file.
    pub fn own(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter().map(|mapping| &**mapping)
    }
}

/// The mappings that are built in.
fn presets() -> &'static [Arc<Mapping>] {
    static BUILT_IN: LazyLock<Vec<Arc<Mapping>>> = LazyLock::new(|| {
        let path = PathBuf::from("presets.toml");
        let mut problems = Vec::new();
        let mut found = Vec::new();
        match super::parsed::entries(&path, PRESETS, &|_| false) {
            Ok(entries) => {
                for entry in entries {
                    if let Raw::Table(table) = entry.raw {
                        found = read_all(&path, table, &[], &mut problems);
                    }
                }
            }
            Err(error) => problems.push(error),
        }
        debug_assert!(problems.is_empty(), "presets.toml: {problems:?}");
        found
    });
    &BUILT_IN
}

/// Reads the tables; what is wrong is told, each with its line.
pub(super) fn read(path: &Path, table: RawTable, problems: &mut Vec<ConfigError>) -> Mappings {
    Mappings(read_all(path, table, presets(), problems))
}

fn read_all(
    path: &Path,
    RawTable { entries, .. }: RawTable,
    presets: &[Arc<Mapping>],
    problems: &mut Vec<ConfigError>,
) -> Vec<Arc<Mapping>> {
    let mut found = Vec::new();
    if entries.len() > MAX_MAPPINGS {
        let message =
            format!("{}: {} mappings; at most {MAX_MAPPINGS}", path.display(), entries.len());
        problems.push(ConfigError::Conflict { keys: vec!["mapping"], message });
    }
    for (name, raw, line) in entries.into_iter().take(MAX_MAPPINGS) {
        let origin = Origin::File { path: path.to_owned(), line };
        let Raw::Table(table) = raw else {
            problems.push(invalid(
                origin,
                &raw,
                "a table: [mapping.NAME] on a line of its own",
                "",
            ));
            continue;
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(plain) {
            let expected = "a name of 1 to 64 small letters, digits, \"_\" and \"-\"";
            problems.push(invalid(origin, &Raw::Text(name), expected, ""));
            continue;
        }
        if TAKEN.contains(&&*name) {
            let expected = "a name that is no format already";
            problems.push(invalid(origin, &Raw::Text(name), expected, ""));
            continue;
        }
        if let Some(mapping) = one(path, &name, table, presets, problems) {
            found.push(Arc::new(mapping));
        }
    }
    found
}

fn invalid(origin: Origin, found: &Raw, expected: &str, reason: &str) -> ConfigError {
    ConfigError::Invalid {
        origin,
        key: "mapping",
        found: found.shown(),
        expected: expected.to_owned(),
        reason: reason.to_owned(),
    }
}

fn one(
    path: &Path,
    name: &str,
    table: RawTable,
    presets: &[Arc<Mapping>],
    problems: &mut Vec<ConfigError>,
) -> Option<Mapping> {
    let before = problems.len();
    let at = |line| Origin::File { path: path.to_owned(), line };
    let lines: Vec<(String, usize)> =
        table.entries.iter().map(|(key, _, line)| (key.clone(), *line)).collect();
    let preset = table.entries.iter().find(|(key, ..)| key == "preset");
    let mut draft = Draft::default();
    if let Some((_, raw, line)) = preset {
        let known = raw
            .word_or_text()
            .and_then(|wanted| presets.iter().find(|preset| preset.name() == wanted));
        match known {
            Some(preset) => draft = preset.draft().clone(),
            None => {
                let names: Vec<&str> = presets.iter().map(|preset| preset.name()).collect();
                let hint = raw.word_or_text().map_or_else(no_reason, |w| names::among(w, &names));
                let expected = one_of(&names);
                problems.push(invalid(at(*line), raw, &expected, &hint));
            }
        }
    }
    for (key, raw, line) in &table.entries {
        if key == "preset" {
            continue;
        }
        // Only what is built in says what shape it has.
        let is_built_in = presets.is_empty() && key == "shape";
        if !MAPPING_KEYS.iter().any(|(known, _)| known == key) && !is_built_in {
            problems.push(ConfigError::Unknown {
                origin: at(*line),
                key: format!("mapping.{name}.{key}"),
                hint: names::for_own_key(key, MAPPING_KEYS.iter().map(|(key, _)| *key)),
            });
            continue;
        }
        if let Err((expected, reason)) = set(&mut draft, key, raw) {
            problems.push(invalid(at(*line), raw, &format!("{expected} for {key}"), &reason));
        }
    }
    if problems.len() > before {
        return None;
    }
    match draft.compile(name) {
        Ok(mapping) => Some(mapping),
        Err((key, reason)) => {
            let line = lines.iter().find(|(known, _)| known == key).map_or(table.line, |(_, l)| *l);
            let message = format!("{}: [mapping.{name}] {key}: {reason}", at(line));
            problems.push(ConfigError::Conflict { keys: vec!["mapping"], message });
            None
        }
    }
}

/// Sets a key, or says what was expected, and why that is none.
fn set(draft: &mut Draft, key: &str, raw: &Raw) -> Result<(), (String, String)> {
    let expected = |text: &str, reason: String| (text.to_owned(), reason);
    let texts = || match raw {
        Raw::Text(text) => Some(vec![text.clone()]),
        Raw::List(_) => <Vec<String>>::read(raw).ok(),
        _ => None,
    };
    if let Some(target) = Target::ALL.into_iter().find(|target| target.name() == key) {
        let wanted = "a path, a template such as \"{kind}/{name}\", a constant such as \"=gateway\", or a list of them";
        draft.fields[target as usize] = texts().ok_or_else(|| expected(wanted, no_reason()))?;
        return Ok(());
    }
    match key {
        "records" => {
            let text = raw.word_or_text().ok_or_else(|| expected("a path", no_reason()))?;
            draft.records = (!text.is_empty()).then(|| text.to_owned());
        }
        "shed" => {
            draft.shed = texts().ok_or_else(|| expected("a list of paths", no_reason()))?;
        }
        "event_type_values" => draft.event_type_values = values(raw)?,
        "outcome_values" => draft.outcome_values = values(raw)?,
        "timestamp_format" => {
            let text = raw.word_or_text().unwrap_or_default();
            draft.timestamp_format = TimeFormat::of_name(text).ok_or_else(|| {
                let wanted = one_of(TimeFormat::NAMES);
                (wanted, names::among(text, TimeFormat::NAMES))
            })?;
        }
        "on_refusal" => {
            draft.on_refusal = match raw.word_or_text() {
                Some("report") => OnRefusal::Report,
                Some("accept") => OnRefusal::Accept,
                _ => return Err((one_of(&["report", "accept"]), no_reason())),
            };
        }
        // Only presets have it.
        _ => {
            draft.shape = match raw.word_or_text() {
                Some("cloudevents") => Shape::CloudEvents,
                Some("otlp") => Shape::Otlp,
                _ => Shape::Json,
            };
        }
    }
    Ok(())
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("one of {}", quoted.join(", "))
}

fn values(raw: &Raw) -> Result<Vec<(String, String)>, (String, String)> {
    let expected = || "a table such as { allow = \"success\", \"*\" = \"failure\" }".to_owned();
    let Raw::Table(table) = raw else { return Err((expected(), no_reason())) };
    if table.entries.len() > MAX_VALUES {
        return Err((expected(), format!("it has more than {MAX_VALUES} rows")));
    }
    let pair = |(key, raw, _): &(String, Raw, usize)| match raw {
        Raw::Text(text) => Ok((key.clone(), text.clone())),
        other => {
            Err((expected(), format!("{} is {}, not a text", key.escape_debug(), other.shown())))
        }
    };
    table.entries.iter().map(pair).collect()
}

/// For comparing, and for the record of a change.
impl Field for Mappings {
    const KIND: Kind = Kind::Tables("[mapping.NAME]");
    fn read(_: &Raw) -> Result<Self, String> {
        Err(no_reason())
    }
    fn text(&self) -> String {
        let one = |mapping: &Arc<Mapping>| format!("{} = {}", mapping.name(), digest(mapping));
        let all: Vec<String> = self.0.iter().map(one).collect();
        if all.is_empty() { String::new() } else { format!("{{ {} }}", all.join(", ")) }
    }
}

/// A table is long: whether it changed is enough.
fn digest(mapping: &Mapping) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{:?}", mapping.draft()));
    format!("\"sha256:{}\"", crate::units::hex(&digest[..8]))
}
