//! What every command needs: settings, output, the machine's clock and files.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::exit::{CliError, Exit};
use super::typed::flag;
use super::{ColorArg, Global};
use crate::config::{self, CandidatePaths, ConfigError, ConfigErrors, Settings, Sources};
use crate::fsio::{Fs, OsFs};
use crate::ui::printer::{ColorChoice, Printer};

/// A settings file larger than this is none.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A setting given as a flag: key, value, flag.
pub(super) type Override = (String, String, String);

/// Settings, looked at.
#[derive(Debug)]
pub(super) struct Examined {
    /// What is wrong is at its value of the layer below.
    pub settings: Settings,
    /// What is wrong.
    pub problems: Vec<ConfigError>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Files that this user may not read, in words.
    pub passed_over: Vec<String>,
}

/// What every command needs.
#[derive(Debug)]
pub(super) struct Context {
    /// Data to stdout, messages to stderr.
    pub printer: Printer,
    /// Whether stdout holds one JSON document.
    pub json: bool,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
    global: Global,
}

impl Context {
    /// From the global flags.
    #[must_use]
    pub(super) fn new(global: Global) -> Self {
        let choice = match global.color {
            ColorArg::Auto => ColorChoice::Auto,
            ColorArg::Always => ColorChoice::Always,
            ColorArg::Never => ColorChoice::Never,
        };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let no_color = set("NO_COLOR") || dumb;
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let printer = Printer::new(global.quiet, global.verbose, choice, no_color);
        let printer = printer.with_columns(columns);
        Self { printer, json: global.json, ascii: !locale_is_utf8(), global }
    }

    /// Whether a person can watch and type: stdin and stdout are a terminal that
    /// can be drawn on.
    #[must_use]
    pub(super) fn is_terminal(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        !dumb && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Whether a person reads what is printed, and no script.
    #[must_use]
    pub(super) fn prints_to_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Where this user's programs keep what is to outlive them (XDG).
    #[must_use]
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        named("XDG_STATE_HOME")
            .filter(absolute)
            .or_else(|| named("HOME").filter(absolute).map(|home| home.join(".local/state")))
            .map(|dir| dir.join("auditctl"))
    }

    /// The flags by which a command to be copied finds the same settings and log.
    #[must_use]
    pub(super) fn typed(&self) -> String {
        let config = flag("--config", self.global.config.as_deref());
        config + &flag("--log-dir", self.global.log_dir.as_deref())
    }

    /// The settings from all layers; `overrides` are this command's flags.
    ///
    /// # Errors
    /// All problems at once, exit 2.
    pub(super) fn settings(&self, overrides: &[Override]) -> Result<Settings, CliError> {
        let (settings, passed_over) = load(&self.global, overrides)?;
        passed_over.iter().for_each(|what| self.printer.note(&format!("warning: {what}")));
        Ok(settings)
    }

    /// The settings as far as they are good, and what is wrong with the rest.
    ///
    /// # Errors
    /// When there is a settings file that cannot be read, exit 2.
    pub(super) fn examined(&self) -> Result<Examined, CliError> {
        let read = Read::now(&self.global, &[]).map_err(|mut error| {
            error.exit = Exit::Usage;
            error
        })?;
        let (settings, errors) = config::examine(&read.sources());
        let problems = read.bad.iter().cloned().chain(errors.into_iter().flat_map(|it| it.0));
        let problems = problems.collect();
        let Read { file, passed_over, .. } = read;
        Ok(Examined { settings, problems, file: file.map(|(path, _)| path), passed_over })
    }

    /// The settings as far as they are good, also where the file cannot be read, and the
    /// places of what is wrong: without values, one of which may be a secret.
    #[must_use]
    pub(super) fn settings_or_defaults(&self) -> (Settings, Vec<String>) {
        match self.examined() {
            Ok(Examined { settings, problems, passed_over, .. }) => {
                let places = problems.iter().map(ConfigError::place).chain(passed_over);
                (settings, places.collect())
            }
            // A file that cannot be used should not hide which log it is about.
            Err(error) => {
                let flags = flags(&self.global, &[]);
                let read = Read { flags, env: environment(), ..Read::default() };
                (config::examine(&read.sources()).0, vec![error.message])
            }
        }
    }

    /// What loads the settings again, for SIGHUP.
    pub(super) fn loader(
        &self,
        overrides: Vec<Override>,
    ) -> impl Fn() -> Result<Settings, CliError> + Send + Sync + 'static {
        let global = self.global.clone();
        move || {
            let (settings, passed_over) = load(&global, &overrides)?;
            passed_over.iter().for_each(|what| tracing::warn!("{what}"));
            Ok(settings)
        }
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When stdout does not take them.
    pub(super) fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.printer.bytes(bytes).map_err(|error| stdout_error(&error))
    }

    /// Prints what came of a command; with `--json` the document, else the text. A reader
    /// that has gone changes nothing of that: the command goes on, and ends with the exit
    /// code that it has to tell.
    ///
    /// # Errors
    /// When stdout does not take it.
    pub(super) fn print(&self, text: &str) -> Result<(), CliError> {
        match self.stream(text) {
            Err(error) if error.is_broken_pipe() => Ok(()),
            printed => printed,
        }
    }

    /// Prints a part of what has no end, or what is worth nothing unread: there it matters
    /// that the reader has gone.
    ///
    /// # Errors
    /// When stdout does not take it, or nobody reads it any more.
    pub(super) fn stream(&self, text: &str) -> Result<(), CliError> {
        self.printer.data(text).map_err(|error| stdout_error(&error))
    }
}

/// By the first of the variables that POSIX asks, in its order.
fn locale_is_utf8() -> bool {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let name = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
    name.and_then(std::env::var_os).is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A reader that went away is no error; a full disk is.
fn stdout_error(error: &std::io::Error) -> CliError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return CliError::broken_pipe();
    }
    CliError::new("stdout", Exit::Failed, format!("cannot write to standard output: {error}"))
}

/// The settings, and what was passed over on the way to them.
fn load(global: &Global, overrides: &[Override]) -> Result<(Settings, Vec<String>), CliError> {
    let read = Read::now(global, overrides)?;
    let (settings, errors) = config::examine(&read.sources());
    let problems = read.bad.into_iter().chain(errors.into_iter().flat_map(|it| it.0));
    let problems: Vec<_> = problems.collect();
    if !problems.is_empty() {
        return Err(ConfigErrors(problems).into());
    }
    Ok((settings, read.passed_over))
}

/// What the layers hold, before anybody judges it.
#[derive(Default)]
struct Read {
    file: Option<(PathBuf, String)>,
    env: Vec<(String, String)>,
    flags: Vec<Override>,
    /// Variables of ours that cannot be read.
    bad: Vec<ConfigError>,
    /// Settings files that this user may not read, in words.
    passed_over: Vec<String>,
}

impl Read {
    fn now(global: &Global, overrides: &[Override]) -> Result<Self, CliError> {
        let all: Vec<_> = std::env::vars_os().collect();
        let ours = |(name, value): &&(OsString, OsString)| {
            let is_ours = name.as_encoded_bytes().starts_with(b"AUDITCTL_");
            is_ours && (name.to_str().is_none() || value.to_str().is_none())
        };
        let bad: Vec<_> = all.iter().filter(ours).map(|(name, _)| config::not_utf8(name)).collect();
        let named = all.iter().filter(|(name, _)| name == "AUDITCTL_CONFIG");
        let mut misquoted =
            named.filter_map(|(_, value)| config::misquoted("AUDITCTL_CONFIG", value.to_str()?));
        if let Some(problem) = misquoted.next().filter(|_| global.config.is_none()) {
            return Err(ConfigErrors(vec![problem]).into());
        }
        if global.config.is_none()
            && let Some(problem) =
                all.iter().filter(ours).find(|(name, _)| name == "AUDITCTL_CONFIG")
        {
            return Err(ConfigErrors(vec![config::not_utf8(&problem.0)]).into());
        }
        let mut passed_over = Vec::new();
        let file = match config::candidate_paths(global.config.as_deref(), &all) {
            CandidatePaths::Required { path, named_by } => {
                let text = given(&path).map_err(|error| {
                    let mut new = CliError::io("read the settings file", &path, &error);
                    new.exit = Exit::Usage;
                    new.kind = "config";
                    new.hint(format!("it was named by {named_by}"))
                })?;
                Some((path, text))
            }
            CandidatePaths::FirstOf(paths) => first_of(paths, &mut passed_over)?,
        };
        let flags = flags(global, overrides);
        Ok(Self { file, env: environment(), flags, bad, passed_over })
    }

    fn sources(&self) -> Sources<'_> {
        Sources { file: self.file.clone(), env: &self.env, flags: &self.flags }
    }
}

/// What was typed, as settings.
fn flags(global: &Global, overrides: &[Override]) -> Vec<Override> {
    let mut flags = overrides.to_vec();
    if let Some(dir) = &global.log_dir {
        let dir = dir.to_string_lossy().into_owned();
        flags.push(("log_dir".to_owned(), dir, "--log-dir".to_owned()));
    }
    flags
}

/// The environment's variables, as far as they are text.
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The first that is there. One that this user may not read is passed over, which is told:
/// HOME and the working directory may be another user's (`sudo -u`, cron, Nagios).
fn first_of(
    paths: Vec<PathBuf>,
    passed_over: &mut Vec<String>,
) -> Result<Option<(PathBuf, String)>, CliError> {
    for path in paths {
        match read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            // A link that leads nowhere: something was meant to be read there.
            Err(error) if is_missing(&error) && OsFs.entry(&path).is_ok() => {
                passed_over.push(format!(
                    "the settings file {} is a symbolic link to nothing and is passed over; mend the \
                     link or remove it, or name the settings file that counts with --config or \
                     AUDITCTL_CONFIG",
                    path.display()
                ));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) if is_out_of_reach(&path, &error) => passed_over.push(format!(
                "the settings file {} cannot be read, so it is ignored: {error}; name the right \
                 one with --config or AUDITCTL_CONFIG",
                path.display()
            )),
            Err(error) => {
                let mut new = CliError::io("read the settings file", path, &error);
                if error.kind() == std::io::ErrorKind::InvalidData {
                    // It could be read, and is no settings file.
                    (new.kind, new.exit) = ("config", Exit::Usage);
                }
                return Err(new);
            }
        }
    }
    Ok(None)
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

/// Whether a path leads nowhere that this user may look, rather than to something that is
/// no settings file.
fn is_out_of_reach(path: &Path, error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, PermissionDenied};
    const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();
    const TOO_LONG: i32 = rustix::io::Errno::NAMETOOLONG.raw_os_error();
    let asked = OsFs.meta(path).err().and_then(|error| error.raw_os_error());
    matches!(error.kind(), PermissionDenied | NotADirectory)
        || matches!(asked, Some(LOOP | TOO_LONG))
}

/// One that is looked for where it usually is.
fn read(path: &Path) -> std::io::Result<String> {
    text(OsFs.read(path, MAX_CONFIG_BYTES)?)
}

/// One that was named: it may be a pipe.
fn given(path: &Path) -> std::io::Result<String> {
    text(OsFs.read_given(path, MAX_CONFIG_BYTES)?.0)
}

fn text(bytes: Vec<u8>) -> std::io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"))
}
