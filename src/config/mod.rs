//! Settings in five layers, each overriding the one before: defaults, the
//! profile, the file, the environment, flags. Every value remembers where it
//! comes from.
//!
//! Nothing here touches the environment or the file system: the caller hands
//! in what it read, and gets [`Settings`] or every problem at once.
//!
//! ```
//! use auditctl::config::{Sources, load};
//!
//! let file = ("auditctl.toml".into(), "write_buffer_size = 200".to_owned());
//! let env = [("AUDITCTL_LOG_DIR".to_owned(), "/var/lib/audit".to_owned())];
//! let settings = load(&Sources { file: Some(file), env: &env, flags: &[] })?;
//!
//! assert_eq!(settings.write_buffer_size, 200);
//! assert_eq!(settings.origin("write_buffer_size").to_string(), "auditctl.toml:1");
//! assert_eq!(settings.origin("log_dir").to_string(), "AUDITCTL_LOG_DIR");
//! # Ok::<(), auditctl::config::ConfigErrors>(())
//! ```

mod alert;
mod alert_keys;
mod checks;
mod durability;
mod error;
mod file;
mod keys;
mod kind;
mod layers;
mod listener_keys;
mod mapping_keys;
mod names;
mod origin;
mod parsed;
mod profile;
#[cfg(test)]
mod reference;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod value;

use std::path::{Path, PathBuf};

pub use alert::{AlertKind, AlertSettings, AlertTrigger, HealthCheckName, SecretUrl, SmtpTls};
pub use alert_keys::{ALERT_KEYS, MAX_ALERTS};
pub use durability::Durability;
pub use error::{ConfigError, ConfigErrors};
pub use file::{CandidatePaths, candidate_paths};
pub use keys::{KEYS, Key, Range, find};
pub use kind::Kind;
pub use listener_keys::{LISTENER_KEYS, Listener, ListenerAddress};
pub use mapping_keys::{MAPPING_KEYS, MAX_MAPPINGS, Mappings, PRESETS};
pub use origin::{Layer, Origin};
pub use profile::Profile;
pub use settings::{
    AlertingSettings, ArchiveSettings, BackupSettings, CollectorSettings, DiskSettings,
    HealthSettings, RateLimitSettings, Settings,
};

pub use names::among as suggestion;

use layers::Assignment;
use value::Raw;

/// Variables that begin like a setting's, but are none: where the file is, and
/// what the program logs about itself.
pub const SPECIAL_VARIABLES: [&str; 2] = ["AUDITCTL_CONFIG", "AUDITCTL_LOG"];

/// What the caller has read.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Sources<'a> {
    /// The file, if there is one: its path as it is to be shown, its content.
    pub file: Option<(PathBuf, String)>,
    /// The environment: name, value. All of it; what does not begin with
    /// `AUDITCTL_` is passed over, and so is what Kubernetes sets about a service
    /// of that name.
    pub env: &'a [(String, String)],
    /// What was given on the command line: dotted key, value, and the flag as
    /// typed (`--log-dir`). The last of two for one key counts.
    pub flags: &'a [(String, String, String)],
}

/// Puts the layers together.
///
/// # Errors
/// Everything that is wrong in any layer: broken TOML, unknown keys and
/// `AUDITCTL_` variables, impossible values (also where a higher layer
/// overrides them), values that contradict each other.
pub fn load(sources: &Sources<'_>) -> Result<Settings, ConfigErrors> {
    match examine(sources) {
        (settings, None) => Ok(settings),
        (_, Some(errors)) => Err(errors),
    }
}

/// What [`load`] does, for whoever goes on all the same: what is wrong is left at
/// its value of the layer below.
#[must_use]
pub fn examine(sources: &Sources<'_>) -> (Settings, Option<ConfigErrors>) {
    let mut problems = Vec::new();
    let mut assignments = Vec::new();
    let mut take = |found: Result<Assignment, ConfigError>| match found {
        Ok(assignment) => assignments.push(assignment),
        Err(problem) => problems.push(problem),
    };
    let mut tables = Vec::new();
    if let Some((path, content)) = &sources.file {
        match file::entries(path, content) {
            Ok(entries) => {
                let is_tables = |entry: &parsed::Entry| match entry.raw {
                    Raw::Tables(_) => entry.name == "alerts",
                    Raw::Table(_) => entry.name == "mapping" || entry.name == "listener",
                    _ => false,
                };
                let (found, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_tables);
                tables = found;
                entries.into_iter().map(|entry| from_file(path, entry)).for_each(&mut take)
            }
            Err(problem) => take(Err(problem)),
        }
    }
    sources.env.iter().filter_map(from_env).for_each(&mut take);
    sources.flags.iter().map(from_flag).for_each(&mut take);

    let mut settings = layers::resolve(assignments, &mut problems);
    for parsed::Entry { name, raw, line } in tables {
        let Some((path, _)) = &sources.file else { continue };
        let origin = Origin::File { path: path.clone(), line };
        match raw {
            Raw::Tables(tables) => {
                settings.alerts = alert_keys::read(path, tables, &mut problems);
                settings.origins.set("alerts", origin);
            }
            Raw::Table(table) if name == "listener" => {
                settings.listener = listener_keys::read(path, table, &mut problems);
                settings.origins.set("listener", origin);
            }
            Raw::Table(table) => {
                settings.mapping = mapping_keys::read(path, table, &mut problems);
                settings.origins.set("mapping", origin);
            }
            _ => {}
        }
    }
    if problems.is_empty() {
        // with a value missing, what contradicts it is not known
        checks::reconcile(&mut settings, &mut problems);
    }
    let errors = (!problems.is_empty()).then_some(ConfigErrors(problems));
    (settings, errors)
}

fn from_file(path: &Path, entry: parsed::Entry) -> Result<Assignment, ConfigError> {
    let parsed::Entry { name, raw, line } = entry;
    let origin = Origin::File { path: path.to_owned(), line };
    if let Some(key) = find(&name) {
        return Ok(Assignment { key, raw, origin });
    }
    if let Some(key) = section(&name) {
        let expected = format!("a section: [{name}] on a line of its own, its keys below");
        let found = raw.shown();
        let reason = String::new();
        return Err(ConfigError::Invalid { origin, key, found, expected, reason });
    }
    let hint = suggest::for_key(&name);
    Err(ConfigError::Unknown { origin, key: name, hint })
}

fn from_env((name, value): &(String, String)) -> Option<Result<Assignment, ConfigError>> {
    if !name.starts_with("AUDITCTL_") || SPECIAL_VARIABLES.contains(&name.as_str()) {
        return None;
    }
    if let Some(misquoted) = misquoted(name, value) {
        return Some(Err(misquoted));
    }
    let origin = Origin::Env(name.clone());
    Some(match KEYS.iter().find(|key| key.variable() == *name) {
        None if is_kubernetes_own(name, value) => return None,
        Some(key) => Ok(Assignment { key, raw: Raw::Word(value.clone()), origin }),
        None => {
            let hint = suggest::for_variable(name);
            Err(ConfigError::Unknown { origin, key: name.clone(), hint })
        }
    })
}

/// Kubernetes tells every container of a namespace where each service is, in
/// variables that begin with the service's name: of one named `auditctl`, or
/// `auditctl-…`, they look like settings.
fn is_kubernetes_own(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let address = words.windows(3).any(|part| {
        part[0] == "PORT" && is_number(part[1]) && ["TCP", "UDP", "SCTP"].contains(&part[2])
    });
    let service = words.windows(2).enumerate().any(|(at, part)| {
        part == ["SERVICE", "PORT"] || (part == ["SERVICE", "HOST"] && at + 2 == words.len())
    });
    // A number there is what somebody thought to be a setting.
    let url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    address || service || words.last() == Some(&"PORT") && url
}

/// What is wrong with a variable of ours that `docker --env-file`, a unit or a file from
/// another system has put quotes or a carriage return into: they would be part of the
/// value.
#[must_use]
pub fn misquoted(name: &str, value: &str) -> Option<ConfigError> {
    let plain = value.trim_end_matches('\r');
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let inner = plain.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    });
    let what = match (quoted.is_some(), plain.len() < value.len()) {
        (true, true) => "quotes and a carriage return",
        (true, false) => "quotes",
        (false, true) => "a carriage return at its end",
        (false, false) => return None,
    };
    let wanted: String = quoted.unwrap_or(plain).chars().take(256).collect();
    Some(ConfigError::Variable {
        variable: name.to_owned(),
        reason: format!(
            "its value has {what}, which would be part of it: write {name}={} (an --env-file is \
             read as it stands, without a shell)",
            wanted.escape_debug()
        ),
    })
}

/// A variable of ours that is not UTF-8: neither its name nor its value is shown as it is.
#[must_use]
pub fn not_utf8(name: &std::ffi::OsStr) -> ConfigError {
    ConfigError::Variable {
        variable: name.to_string_lossy().escape_debug().to_string(),
        reason: "it is not UTF-8, so it cannot be read: write it in UTF-8, or unset it".to_owned(),
    }
}

fn from_flag((name, value, flag): &(String, String, String)) -> Result<Assignment, ConfigError> {
    let origin = Origin::Flag(flag.clone());
    match find(name) {
        Some(key) => Ok(Assignment { key, raw: Raw::Word(value.clone()), origin }),
        None => {
            let hint = suggest::for_key(name);
            Err(ConfigError::Unknown { origin, key: name.clone(), hint })
        }
    }
}

/// The table of that name, if keys live in it.
fn section(name: &str) -> Option<&'static str> {
    let sections = KEYS.iter().filter_map(|key| key.name.split_once('.'));
    sections.map(|(section, _)| section).find(|section| *section == name)
}
