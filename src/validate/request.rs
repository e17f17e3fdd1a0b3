//! What is asked, and what the checks have around them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::principal::Principal;
use crate::audit::{Event, Options};
use crate::config::{ConfigError, Settings};
use crate::store::{Destination, Environment, Provider};

/// A place in a cloud for backups.
#[derive(Clone, Debug)]
pub struct CloudTarget {
    /// Who keeps it.
    pub provider: Provider,
    /// Where there.
    pub destination: Destination,
}

/// What is asked. Who asks has read the environment; nothing below does.
#[derive(Clone, Debug)]
pub struct Request {
    /// The settings; what is wrong stands at its value of the layer below.
    pub settings: Settings,
    /// What is wrong with the settings.
    pub problems: Vec<ConfigError>,
    /// The settings file that was read.
    pub settings_file: Option<PathBuf>,
    /// Settings files that this user may not read, in words.
    pub passed_over: Vec<String>,
    /// How the log is opened with these settings: benchmarks open theirs so.
    pub options: Options,
    /// The environment's variables.
    pub environment: Environment,
    /// This program's file.
    pub program: Option<PathBuf>,
    /// For whom permissions are judged; unset, for who runs this.
    pub user: Option<String>,
    /// Leave the benchmarks out.
    pub quick: bool,
    /// Warnings count as failures.
    pub strict: bool,
    /// Write a small object to each cloud destination, and remove it.
    pub probe: bool,
    /// Cloud destinations that are configured or named; or why one is none.
    pub clouds: Vec<Result<CloudTarget, String>>,
    /// Send a test alert to the target of the alert of that name.
    pub test_alert: Option<String>,
    /// Realistic events for the benchmarks; taken again and again. Not empty.
    pub events: Arc<[Event]>,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// What the checks have around them.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) request: Request,
    /// For whom permissions are judged.
    pub(super) principal: Result<Principal, String>,
    /// Where things can be tried; or why nowhere.
    pub(super) scratch: Result<PathBuf, String>,
    /// What an earlier run left and this one removed.
    pub(super) leftovers: Vec<PathBuf>,
    /// Whether a writer holds the log's lock.
    pub(super) live: bool,
}

impl Surroundings {
    /// Whether to end early.
    pub(super) fn stopping(&self) -> bool {
        self.request.stop.load(Ordering::Relaxed)
    }

    /// A name in the scratch directory.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf, String> {
        self.scratch.as_ref().map(|path| path.join(name)).map_err(Clone::clone)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Sources, examine};

    /// With these settings, and nothing else.
    pub(in crate::validate) fn surroundings_of(content: &str) -> Surroundings {
        let file = Some((PathBuf::from("auditctl.toml"), content.to_owned()));
        let (settings, errors) = examine(&Sources { file, ..Sources::default() });
        let problems = errors.map_or_else(Vec::new, |errors| errors.0);
        surroundings(settings, problems)
    }

    pub(in crate::validate) fn surroundings(
        settings: Settings,
        problems: Vec<ConfigError>,
    ) -> Surroundings {
        let details = r#"{"ip":"203.0.113.7","agent":"curl/8.5","bytes":48213}"#;
        let event = Event::new("login").actor("alice").details_json(details).expect("an object");
        let request = Request {
            options: Options::new(&settings.log_dir),
            settings,
            problems,
            settings_file: None,
            passed_over: Vec::new(),
            environment: Environment::default(),
            program: None,
            user: None,
            quick: false,
            strict: false,
            probe: false,
            clouds: Vec::new(),
            test_alert: None,
            events: Arc::new([event]),
            stop: Arc::default(),
        };
        Surroundings {
            request,
            principal: Ok(Principal::of_process()),
            scratch: Err("none in this test".to_owned()),
            leftovers: Vec::new(),
            live: false,
        }
    }

    /// For a log in `dir/logs`, with a scratch directory beside.
    pub(in crate::validate) fn surroundings_in(dir: &std::path::Path) -> Surroundings {
        let mut settings = Settings { log_dir: dir.join("logs"), ..Settings::default() };
        settings.backup.output_dir = dir.join("backups");
        let mut seen = surroundings(settings, Vec::new());
        let scratch = dir.join("scratch");
        std::fs::create_dir(&scratch).expect("scratch directory");
        seen.scratch = Ok(scratch);
        seen
    }
}
