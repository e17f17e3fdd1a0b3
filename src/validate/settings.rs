//! What is configured: every key with its value, origin and recommendation.

use super::catalogue::Id;
use super::check::Check;
use super::outcome::Status;
use super::request::Surroundings;
use crate::config::{ConfigError, Durability, KEYS, Key, Origin, Settings};
use crate::fsio::inspect;

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let request = &seen.request;
    let settings = &request.settings;
    let mut checks = vec![file(seen)];
    checks.extend(request.passed_over.iter().map(|what| {
        Check::warning(Id::SettingsFile, what.clone())
            .hint("let this user read it, or name the right file with --config")
    }));
    checks.extend(request.problems.iter().map(invalid));
    checks.extend(KEYS.iter().filter_map(|key| {
        let wrong = request.problems.iter().any(|problem| names(problem, key.name));
        (!wrong).then(|| value(key, settings))
    }));
    if request.problems.is_empty() {
        let set = settings.entries().filter(|(.., origin)| **origin != Origin::Default).count();
        let message = format!("all {} settings are valid, {set} of them set", KEYS.len());
        checks.push(Check::passed(Id::SettingsValid, message).metric("set", set));
    }
    checks.extend(risks(settings));
    checks
}

fn file(seen: &Surroundings) -> Check {
    let Some(path) = &seen.request.settings_file else {
        return Check::passed(Id::SettingsFile, "no settings file: defaults and the environment");
    };
    let check = match inspect::behind(path) {
        Ok(Some(entry)) if entry.mode & 0o022 != 0 => Check::warning(
            Id::SettingsFile,
            format!("{} may be written by others (mode {:04o})", path.display(), entry.mode),
        )
        .hint(format!("chmod go-w {}", path.display()))
        .metric("mode", format!("{:04o}", entry.mode)),
        Ok(_) => Check::passed(Id::SettingsFile, format!("read from {}", path.display())),
        Err(error) => Check::warning(Id::SettingsFile, format!("{}: {error}", path.display())),
    };
    check.path(path)
}

fn invalid(problem: &ConfigError) -> Check {
    let check = Check::failed(Id::SettingsValid, problem.to_string())
        .hint("docs/configuration.md lists every setting with its range");
    match problem {
        ConfigError::Syntax { path, line, .. } => {
            check.path(path).metric("origin", format!("{}:{line}", path.display()))
        }
        ConfigError::Unknown { origin, key, .. } => {
            check.metric("key", key.clone()).metric("origin", origin.to_string())
        }
        ConfigError::Invalid { origin, key, .. } => {
            check.metric("key", *key).metric("origin", origin.to_string())
        }
        ConfigError::Variable { variable, .. } => check.metric("key", variable.clone()),
        ConfigError::Conflict { keys, .. } => check.metric("key", keys.join(", ")),
    }
}

fn names(problem: &ConfigError, key: &str) -> bool {
    match problem {
        ConfigError::Invalid { key: wrong, .. } => *wrong == key,
        ConfigError::Conflict { keys, .. } => keys.contains(&key),
        ConfigError::Syntax { .. } | ConfigError::Unknown { .. } | ConfigError::Variable { .. } => {
            false
        }
    }
}

fn value(key: &Key, settings: &Settings) -> Check {
    let (value, origin) = (key.text(settings), settings.origin(key.name));
    let recommended = key.recommended.map(|range| key.show_range(range));
    let unusual =
        key.recommended.zip(key.magnitude(settings)).is_some_and(|(range, at)| !range.holds(at));
    let shown = if value.is_empty() { "(unset)" } else { &value };
    let mut message = format!("{} = {shown} ({origin})", key.name);
    if let Some(range) = &recommended {
        let word = if unusual { "; recommended is " } else { "; recommended " };
        message.push_str(&format!("{word}{range}"));
    }
    let status = if unusual { Status::Warning } else { Status::Passed };
    let mut check = Check::new(Id::SettingsValue, status, message)
        .metric("key", key.name)
        .metric("value", value)
        .metric("origin", origin.to_string())
        .metric("recommended", recommended.clone());
    if let (true, Some(range)) = (unusual, recommended) {
        check = check.hint(match origin {
            Origin::Profile(name) => format!(
                "the profile {name} sets this on purpose; leave it, or set {} to {range}",
                key.name
            ),
            _ => {
                format!("set {} to {range}, or leave it if your measurements support it", key.name)
            }
        });
    }
    check
}

/// A protection that a setting gives up: whether it does, what follows, what to do.
type Risk = (&'static str, fn(&Settings) -> bool, &'static str, &'static str);

const RISKS: [Risk; 4] = [
    (
        "durability",
        |settings| settings.durability == Durability::Interval,
        "acknowledged events are not on disk yet: a crash may lose one write_flush_interval of them",
        "set durability = \"commit\", unless that loss is acceptable",
    ),
    (
        "rate_limit.enabled",
        |settings| !settings.rate_limit.enabled,
        "no source is limited: a faulty one can fill the disk",
        "set enabled = true in [rate_limit], with a per_second that the busiest source needs",
    ),
    (
        "disk_reserve",
        |settings| settings.disk_reserve.0 == 0,
        "no disk space is reserved: on a full disk the log cannot be closed with a checkpoint",
        "set disk_reserve = \"8MiB\"",
    ),
    (
        "retention_requires_backup",
        |settings| settings.retention_days > 0 && !settings.retention_requires_backup,
        "records are removed after retention_days even if no backup holds them",
        "set retention_requires_backup = true",
    ),
];

fn risks(settings: &Settings) -> Vec<Check> {
    let taken = RISKS.iter().filter(|(_, taken, ..)| taken(settings));
    let mut checks: Vec<Check> = taken
        .map(|(key, _, message, hint)| {
            let value = crate::config::find(key).map(|key| key.text(settings)).unwrap_or_default();
            let origin = settings.origin(key);
            Check::warning(Id::SettingsRisk, format!("{key} = {value} ({origin}): {message}"))
                .hint(*hint)
                .metric("key", *key)
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::passed(Id::SettingsRisk, "all protections are on"));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::request::tests::surroundings_of;

    fn statuses(content: &str, id: Id) -> Vec<(Status, String)> {
        let checks = check(&surroundings_of(content));
        let of_id = checks.into_iter().filter(|check| check.id == id);
        of_id.map(|check| (check.status, check.message)).collect()
    }

    #[test]
    fn every_key_is_there_with_its_value_and_origin() {
        let values = statuses("write_buffer_size = 200\n", Id::SettingsValue);
        assert_eq!(values.len(), KEYS.len());
        assert!(values.iter().all(|(status, _)| *status == Status::Passed), "{values:?}");
        let of = |key: &str| {
            let begins = format!("{key} = ");
            values.iter().find(|(_, text)| text.starts_with(&begins)).expect(key).1.clone()
        };
        assert_eq!(
            of("write_buffer_size"),
            "write_buffer_size = 200 (auditctl.toml:1); recommended 100 to 1000"
        );
        assert_eq!(of("collector.token_file"), "collector.token_file = (unset) (default)");
    }

    #[test]
    fn what_is_recommended_is_as_designed_and_outside_warns() {
        for (line, warns) in [
            ("write_buffer_size = 99", true),
            ("write_buffer_size = 100", false),
            ("write_buffer_size = 1000", false),
            ("write_buffer_size = 1001", true),
            ("write_flush_interval = \"999ms\"", true),
            ("write_flush_interval = \"10s\"", false),
            ("query_cache_size = 63", true),
            ("query_cache_size = 257", true),
            ("max_memory_events = 4999", true),
            ("max_memory_events = 20000", false),
            ("max_details_size = \"9KiB\"", true),
            ("max_details_size = \"100KiB\"", false),
            ("compression_level = 9", false),
        ] {
            let values = statuses(&format!("{line}\n"), Id::SettingsValue);
            let warned = values.iter().any(|(status, _)| *status == Status::Warning);
            assert_eq!(warned, warns, "{line}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_each_with_its_place() {
        let content = "write_buffer_size = 0\nwrite_bufer_size = 5\n[disk]\nwarn_percent = 200\n";
        let wrong = statuses(content, Id::SettingsValid);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong.iter().all(|(status, _)| *status == Status::Failed));
        for place in ["toml:1", "toml:2", "toml:4"] {
            assert!(wrong.iter().any(|(_, message)| message.contains(place)), "{place} {wrong:?}");
        }
        // What is wrong has no value to be judged.
        let values = statuses(content, Id::SettingsValue);
        assert!(!values.iter().any(|(_, text)| text.starts_with("write_buffer_size")));
    }

    #[test]
    fn each_protection_given_up_is_named() {
        for line in [
            "durability = \"interval\"",
            "disk_reserve = \"0B\"",
            "retention_requires_backup = false",
            "[rate_limit]\nenabled = false",
        ] {
            let risks = statuses(&format!("{line}\n"), Id::SettingsRisk);
            assert_eq!(risks.len(), 1, "{line}");
            assert_eq!(risks[0].0, Status::Warning, "{line}");
        }
        assert_eq!(statuses("", Id::SettingsRisk)[0].0, Status::Passed);
    }
}
