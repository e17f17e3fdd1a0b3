//! Reading `auditctl.toml`, with the line of each key.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::origin::Origin;
use super::parsed::{self, Entry};

/// All keys of the file in the order of their lines.
pub(super) fn entries(path: &Path, content: &str) -> Result<Vec<Entry>, ConfigError> {
    parsed::entries(path, content, &|name| {
        super::section(name).is_some() && super::keys::find(name).is_none()
    })
}

/// Where to look for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidatePaths {
    /// The user named it: it must exist.
    Required {
        /// The file.
        path: PathBuf,
        /// Who named it: `--config` or `AUDITCTL_CONFIG`.
        named_by: Origin,
    },
    /// The first that exists; none is fine too.
    FirstOf(Vec<PathBuf>),
}

/// The search order: `--config` (`explicit`), `$AUDITCTL_CONFIG`, then
/// `auditctl.toml` in the working directory, in
/// `$XDG_CONFIG_HOME/auditctl` (unless set, `$HOME/.config/auditctl`) and in
/// `/etc/auditctl`. Looks at nothing but its arguments; an empty variable, or
/// an `XDG_CONFIG_HOME` or `HOME` that is not absolute, counts as unset.
#[must_use]
pub fn candidate_paths<Text: AsRef<OsStr>>(
    explicit: Option<&Path>,
    env: &[(Text, Text)],
) -> CandidatePaths {
    let variable = |name: &str| {
        let found = env.iter().find(|(variable, _)| variable.as_ref() == name);
        found
            .map(|(_, value)| PathBuf::from(value.as_ref()))
            .filter(|path| !path.as_os_str().is_empty())
    };
    if let Some(path) = explicit {
        let named_by = Origin::Flag("--config".to_owned());
        return CandidatePaths::Required { path: path.to_owned(), named_by };
    }
    if let Some(path) = variable("AUDITCTL_CONFIG") {
        let named_by = Origin::Env("AUDITCTL_CONFIG".to_owned());
        return CandidatePaths::Required { path, named_by };
    }
    let user_folder = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).or_else(|| {
        variable("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".config"))
    });
    let mut paths = vec![PathBuf::from("auditctl.toml")];
    paths.extend(user_folder.map(|folder| folder.join("auditctl/auditctl.toml")));
    paths.push(PathBuf::from("/etc/auditctl/auditctl.toml"));
    CandidatePaths::FirstOf(paths)
}
