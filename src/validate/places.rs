//! Which paths a service has to do with, and what it does there.

use std::path::{Path, PathBuf};

use crate::audit::LogPaths;
use crate::config::{KEYS, Kind as KeyKind, Settings};
use crate::fsio::inspect::{self, Kind};
use crate::fsio::parent;

/// Somewhere that the service has to do something.
pub(super) struct Place {
    /// What it is to an operator.
    pub(super) what: String,
    pub(super) path: PathBuf,
    pub(super) directory: bool,
    /// Whether the service writes there, or only reads.
    pub(super) writes: bool,
    /// Whether it must be there already.
    pub(super) required: bool,
    /// Who else may have it.
    pub(super) privacy: Privacy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// A secret: its owner's alone, or root's handed to a group.
    Secret,
    /// Ours: others should not read it, and must not write it.
    Private,
    /// Anybody's, as far as we are concerned.
    Open,
}

/// Those that the settings name, and the log's own files.
pub(super) fn places(settings: &Settings) -> Vec<Place> {
    let dir = &settings.log_dir;
    let place = |what: &str, path: &Path| Place {
        what: what.to_owned(),
        path: path.to_path_buf(),
        directory: false,
        writes: true,
        required: false,
        privacy: Privacy::Private,
    };
    let directory = |what: &str, path: &Path| Place { directory: true, ..place(what, path) };
    let log = LogPaths::new(dir);
    let mut all = vec![
        directory("the log directory", dir),
        Place {
            required: settings.key_path.is_some() && is_there(&log.active()),
            // One that root hands to a group is only read: changing it is root's.
            writes: !is_handed(&settings.key_file()),
            privacy: Privacy::Secret,
            ..place("the signing key", &settings.key_file())
        },
        directory("the backup directory", &settings.backup.output_dir),
    ];
    for path in
        [log.active(), log.manifest(), log.checkpoint(), log.status(), log.lock(), log.security()]
    {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push(place(&name, &path));
    }
    let redaction_key = settings.redact_key_file();
    if !settings.redact.is_empty() || is_there(&redaction_key) {
        let privacy = Privacy::Secret;
        all.push(Place { privacy, ..place("the redaction key", &redaction_key) });
    }
    let socket_dir = parent(&settings.socket_path());
    if socket_dir != *dir {
        let privacy = Privacy::Open;
        all.push(Place { privacy, ..directory("the socket's directory", &socket_dir) });
    }
    all.extend(named_files(settings));
    all
}

/// Files that settings name for reading: tokens, keys, certificates.
fn named_files(settings: &Settings) -> Vec<Place> {
    const OTHERS: [&str; 6] = [
        "log_dir",
        "key_path",
        "redact_key_path",
        "collector.socket",
        "backup.output_dir",
        PUSH_TO,
    ];
    const PUSH_TO: &str = "collector.checkpoint_push_to";
    let files = KEYS
        .iter()
        .filter(|key| matches!(key.kind, KeyKind::Path) && !OTHERS.contains(&key.name))
        .map(|key| (key.name, key.text(settings)))
        .filter(|(_, path)| !path.is_empty());
    let mut all: Vec<Place> = files
        .map(|(name, path)| {
            let privacy = match name {
                "collector.token_file" => Privacy::Secret,
                _ if ["key", "password", "secret"].iter().any(|w| name.contains(w)) => {
                    Privacy::Secret
                }
                _ => Privacy::Open,
            };
            Place {
                what: name.to_owned(),
                path: path.into(),
                directory: false,
                writes: false,
                required: true,
                privacy,
            }
        })
        .collect();
    for alert in &settings.alerts {
        let files = [
            ("url_file", &alert.url_file, Privacy::Secret),
            ("secret_file", &alert.secret_file, Privacy::Secret),
            ("smtp_password_file", &alert.smtp_password_file, Privacy::Secret),
            ("ca_file", &alert.ca_file, Privacy::Open),
        ];
        all.extend(files.into_iter().filter_map(|(key, path, privacy)| {
            Some(Place {
                what: format!("{key} of the alert {:?}", alert.name),
                path: path.clone()?,
                directory: false,
                writes: false,
                required: true,
                privacy,
            })
        }));
    }
    if let Some(path) = &settings.collector.checkpoint_push_to {
        let directory =
            matches!(inspect::behind(path), Ok(Some(entry)) if entry.kind == Kind::Directory);
        all.push(Place {
            what: PUSH_TO.to_owned(),
            path: path.clone(),
            directory,
            writes: true,
            required: false,
            privacy: Privacy::Open,
        });
    }
    all
}

pub(super) fn is_there(path: &Path) -> bool {
    matches!(inspect::at(path), Ok(Some(_)))
}

/// The nearest directory above that is there.
pub(super) fn nearest(path: &Path) -> Option<PathBuf> {
    let mut above = parent(path);
    loop {
        match inspect::behind(&above) {
            Ok(Some(entry)) if entry.kind == Kind::Directory => return Some(above),
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) if above == Path::new(".") || above.parent().is_none() => return None,
            Ok(None) => above = parent(&above),
        }
    }
}

/// Whether a file is root's, and its group may read it.
fn is_handed(path: &Path) -> bool {
    let entry = inspect::behind(path).ok().flatten();
    entry.is_some_and(|entry| entry.uid == 0 && entry.mode & 0o040 != 0)
}
