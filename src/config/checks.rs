//! Values that must fit each other.

use super::alert::HealthCheckName;
use super::error::ConfigError;
use super::keys;
use super::origin::Origin;
use super::settings::Settings;

/// Raises the queue to twice the write buffer where nobody chose its capacity;
/// reports values that contradict each other.
pub(super) fn reconcile(settings: &mut Settings, problems: &mut Vec<ConfigError>) {
    let buffer = settings.write_buffer_size;
    let capacity_is_chosen = *settings.origin("write_queue_capacity") != Origin::Default;
    if !capacity_is_chosen && buffer >= settings.write_queue_capacity {
        settings.write_queue_capacity = buffer.saturating_mul(2);
    }
    if capacity_is_chosen && settings.write_queue_capacity < buffer {
        problems.push(conflict(
            settings,
            ["write_queue_capacity", "write_buffer_size"],
            "is smaller than",
            "the buffer could never fill; raise the first, or leave it out",
        ));
    }
    let kept = u64::from(settings.retention_days) * keys::DAY;
    if kept > 0 && settings.dedupe_window.as_millis() > u128::from(kept) {
        problems.push(conflict(
            settings,
            ["dedupe_window", "retention_days"],
            "is longer than",
            "after a restart the ids of removed records are not known; keep records longer, or ids shorter",
        ));
    }
    for [least, most] in ORDERED {
        let magnitude = |name| keys::find(name).and_then(|key| key.magnitude(settings));
        if magnitude(least) > magnitude(most) {
            problems.push(conflict(
                settings,
                [least, most],
                "is larger than",
                "the warning must come before the alarm; set both",
            ));
        }
    }
    reach(settings, problems);
    checks_that_are_there(settings, problems);
    mappings(settings, problems);
}

/// A mapping must not let out what is hidden, and a listener has one that there is.
fn mappings(settings: &Settings, problems: &mut Vec<ConfigError>) {
    for mapping in settings.mapping.own() {
        let Some((target, path)) = mapping.lets_out(&settings.redact) else { continue };
        let (origin, name, field) = (settings.origin("mapping"), mapping.name(), target.name());
        let message = format!(
            "{origin}: [mapping.{name}] takes {field} from {path}, which redact hides: add \
             {field:?} to redact, or take {field} from elsewhere"
        );
        problems.push(ConfigError::Conflict { keys: vec!["mapping", "redact"], message });
    }
    for listener in &settings.listener {
        if settings.mapping.get(&listener.format).is_some() {
            continue;
        }
        let names = settings.mapping.names();
        let hint = super::names::among(&listener.format, &names);
        let message = format!(
            "{}: [listener.{}] format: there is no mapping {:?}; {hint} There are {}",
            settings.origin("listener"),
            listener.name.escape_debug(),
            listener.format,
            names.join(", ")
        );
        problems.push(ConfigError::Conflict { keys: vec!["listener"], message });
    }
}

/// An alert about a check that these settings never make would never fire.
fn checks_that_are_there(settings: &Settings, problems: &mut Vec<ConfigError>) {
    let ships = settings.archive.destination.as_ref().is_some_and(|named| !named.is_empty());
    let needed = [
        (HealthCheckName::Certificate, "collector.tls_cert", settings.collector.tls_cert.is_some()),
        (HealthCheckName::Archive, "archive.destination", ships),
        (HealthCheckName::Witness, "witness.policy", settings.witness.policy.is_some()),
    ];
    for (check, key, _) in needed.into_iter().filter(|(.., is_set)| !is_set) {
        for alert in settings.alerts.iter().filter(|alert| alert.checks.contains(&check)) {
            let message = format!(
                "{}: [[alerts]] {:?}: there is no check {} without {key}; leave it out of checks, \
                 or set that",
                alert.origin("checks"),
                alert.name,
                check.name()
            );
            problems.push(ConfigError::Conflict { keys: vec!["alerts.checks"], message });
        }
    }
}

/// What the network reaches has tokens and TLS.
fn reach(settings: &Settings, problems: &mut Vec<ConfigError>) {
    let collector = &settings.collector;
    let mut refuse = |keys: [&'static str; 2], message: String| {
        problems.push(ConfigError::Conflict { keys: keys.to_vec(), message });
    };
    let far = collector.http.is_some_and(|address| !address.ip().is_loopback());
    if far && collector.token_file.is_none() {
        let message = format!(
            "{} and no collector.token_file: anybody on the network could read and write the log; \
             set collector.token_file = \"/etc/auditctl/tokens\" (`auditctl token new` makes \
             tokens), or collector.http = \"127.0.0.1:9750\"",
            described(settings, "collector.http")
        );
        refuse(["collector.http", "collector.token_file"], message);
    }
    let (certificate, key) = ("collector.tls_cert", "collector.tls_key");
    let missing = match (&collector.tls_cert, &collector.tls_key) {
        (Some(_), None) => Some((certificate, key)),
        (None, Some(_)) => Some((key, certificate)),
        _ => None,
    };
    if let Some((there, missing)) = missing {
        let message = format!("{} and no {missing}: HTTPS needs both", described(settings, there));
        refuse([there, missing], message);
    } else if far && collector.tls_cert.is_none() && !collector.allow_plain_http {
        let message = format!(
            "{} and no collector.tls_cert: tokens and records would cross the network for anybody \
             to read; set collector.tls_cert and collector.tls_key; or, where a proxy on another \
             machine has the certificate and the way to it is private, collector.allow_plain_http \
             = true",
            described(settings, "collector.http")
        );
        refuse(["collector.http", certificate], message);
    }
}

/// The first of each pair is at most the second. Free disk space and what is left
/// of a certificate alarm downwards, everything else upwards.
const ORDERED: [[&str; 2]; 10] = [
    ["disk.critical_percent", "disk.warn_percent"],
    ["disk.critical_bytes", "disk.warn_bytes"],
    ["health.write_buffer_warn", "health.write_buffer_critical"],
    ["health.log_bytes_warn", "health.log_bytes_critical"],
    ["health.blocked_warn", "health.blocked_critical"],
    ["health.validation_errors_warn", "health.validation_errors_critical"],
    ["health.security_warn", "health.security_critical"],
    ["health.backup_age_warn", "health.backup_age_critical"],
    ["health.witness_age_warn", "health.witness_age_critical"],
    ["health.certificate_critical", "health.certificate_warn"],
];

fn conflict(
    settings: &Settings,
    keys: [&'static str; 2],
    relation: &str,
    advice: &str,
) -> ConfigError {
    let [first, second] = keys.map(|name| described(settings, name));
    ConfigError::Conflict {
        keys: keys.to_vec(),
        message: format!("{first} {relation} {second}: {advice}"),
    }
}

/// `write_queue_capacity = 50 (auditctl.toml:3)`
fn described(settings: &Settings, name: &'static str) -> String {
    let value = keys::find(name).map(|key| key.text(settings)).unwrap_or_default();
    format!("{name} = {value} ({})", settings.origin(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_and_its_alarm_are_in_the_table_of_pairs() {
        let mut pairs = 0;
        for warn in keys::KEYS.iter().map(|key| key.name).filter(|name| name.contains("warn")) {
            let critical = warn.replace("warn", "critical");
            let Some(critical) = keys::find(&critical) else { continue };
            let is_pair = |pair: &&[&str; 2]| pair.contains(&warn) && pair.contains(&critical.name);
            assert!(
                ORDERED.iter().any(|pair| is_pair(&pair)),
                "{warn} and {} can cross",
                critical.name
            );
            pairs += 1;
        }
        assert_eq!(pairs, ORDERED.len());
    }
}
