//! A build that delivers them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::alerts::guard::{Policy, SystemLookup};
use crate::alerts::{Plan, send_test};
use crate::clock::SystemClock;
use crate::fsio::OsFs;
use crate::validate::catalogue::Id;
use crate::validate::check::Check;
use crate::validate::request::Surroundings;

/// Each alert's settings, secrets and targets, as `serve` would judge them.
pub(in crate::validate) fn configured(seen: &Surroundings) -> Vec<Check> {
    let settings = &seen.request.settings;
    let count = settings.alerts.len();
    if count == 0 {
        return vec![Check::skipped(Id::Alerts, "no alerts are configured")];
    }
    match Plan::new(settings, &OsFs, Arc::new(SystemLookup)) {
        Ok(_) => {
            let names: Vec<&str> =
                settings.alerts.iter().map(|alert| alert.name.as_str()).collect();
            let message = format!("configured: {}; --send-test-alert tries one", names.join(", "));
            vec![Check::passed(Id::Alerts, message).metric("alerts", count)]
        }
        Err(errors) => {
            let told = errors.0.iter().map(|error| {
                Check::failed(Id::Alerts, error.to_string())
                    .hint("docs/alerts.md says what each kind of alert needs and can reach")
                    .metric("origin", error.origin.to_string())
            });
            told.collect()
        }
    }
}

/// One delivery, when it was asked for.
pub(in crate::validate) fn test(seen: &Surroundings) -> Vec<Check> {
    let Some(name) = &seen.request.test_alert else { return Vec::new() };
    let system = (&OsFs as _, &SystemClock as _);
    let sent = send_test(&seen.request.settings, name, system, Arc::new(SystemLookup));
    let check = match sent {
        Err(error) => Check::failed(Id::AlertTest, error.to_string())
            .hint("name one of the [[alerts]] tables, and see what is wrong with it"),
        Ok(outcome) => {
            let answer = outcome.answer.as_deref().unwrap_or("no answer");
            let (target, took) = (&outcome.target, outcome.took.as_millis());
            let check = match (&outcome.problem, outcome.delivered) {
                (None, true) => Check::passed(
                    Id::AlertTest,
                    format!("{name}: {target} took a test alert ({answer}, {took} ms)"),
                ),
                (problem, _) => {
                    let why = problem.as_deref().unwrap_or(answer);
                    Check::failed(Id::AlertTest, format!("{name}: {target} did not take it: {why}"))
                        .hint(if outcome.refused {
                            "the guard refuses this target; docs/alerts.md says which targets are \
                             allowed, and what alerting.allow permits"
                        } else {
                            "check the target, the network and the secret in its file"
                        })
                }
            };
            check
                .metric("target", target.clone())
                .metric("answer", outcome.answer.clone())
                .metric("took_ms", took as u64)
        }
    };
    vec![check.metric("alert", name.clone())]
}

/// Targets that an attacker, or a slip, would name: none may be reached by default.
const HOSTILE: [&str; 20] = [
    "http://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com:70/_x",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://localhost/",
    "https://metadata.google.internal/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://user:pw@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com:22/",
];
/// What the name of a good target may be made to mean.
const INSIDE: [&str; 6] =
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1", "::ffff:192.168.0.1"];
const GOOD: &str = "https://hooks.example.com/audit";

pub(in crate::validate) fn guard(seen: &Surroundings) -> Vec<Check> {
    let allowed = seen.request.settings.alerting.allow.len();
    vec![match judge(&Policy::default()) {
        Ok(count) => {
            let exceptions = match allowed {
                0 => String::new(),
                some => format!("; alerting.allow makes {some} exceptions"),
            };
            let message = format!("{count} of {count} internal targets refused{exceptions}");
            Check::passed(Id::Ssrf, message).metric("refused", count).metric("allowed", allowed)
        }
        Err(why) => Check::failed(Id::Ssrf, why).hint(
            "do not configure alerts with this build; report it with the output of \
             `auditctl --version`",
        ),
    }]
}

fn judge(policy: &Policy) -> Result<usize, String> {
    if let Some(url) = HOSTILE.iter().find(|url| policy.web(url).is_ok()) {
        return Err(format!("an alert would go to {url}"));
    }
    let good = policy.web(GOOD).map_err(|error| format!("{GOOD} was refused: {error}"))?;
    for text in INSIDE {
        let address: IpAddr = text.parse().map_err(|_| format!("{text} is not an address"))?;
        if policy.address(&good, address).is_ok() {
            return Err(format!("an alert would go to {text}, if a name's look-up said so"));
        }
    }
    Ok(HOSTILE.len() + INSIDE.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::guard::AllowList;
    use crate::validate::outcome::Status;
    use crate::validate::request::tests::surroundings_of;

    fn alert(url: &str) -> String {
        format!(
            "[[alerts]]\nname = \"ops\"\non = \"event\"\ntype = [\"login\"]\n\
             send = \"webhook\"\nurl = \"{url}\"\n"
        )
    }

    #[test]
    fn the_guard_refuses_all_of_them_and_a_guard_that_does_not_fails() {
        assert_eq!(guard(&surroundings_of(""))[0].status, Status::Passed);
        for hole in ["127.0.0.1", "10.0.0.0/8", "localhost"] {
            let allow = AllowList::parse(&[hole.to_owned()]).expect("a target");
            let why = judge(&Policy { allow, allow_http: false }).expect_err(hole);
            assert!(why.starts_with("an alert would go to"), "{why}");
        }
    }

    #[test]
    fn alerts_are_judged_as_serve_judges_them() {
        assert_eq!(configured(&surroundings_of(""))[0].status, Status::Skipped);
        let seen = surroundings_of(&alert("https://hooks.example.com/x"));
        assert_eq!(seen.request.problems, []);
        let well = configured(&seen);
        assert_eq!(well[0].status, Status::Passed, "{well:?}");
        let inside = configured(&surroundings_of(&alert("https://169.254.169.254/x")));
        assert_eq!(inside[0].status, Status::Failed, "{inside:?}");
        assert!(inside[0].message.contains("ops"), "{inside:?}");
    }

    #[test]
    fn a_test_is_sent_only_when_asked_for_and_never_inside() {
        let mut seen = surroundings_of(&alert("https://hooks.example.com/x"));
        assert_eq!(test(&seen), []);
        seen.request.test_alert = Some("nobody".into());
        let unknown = &test(&seen)[0];
        assert!(unknown.status == Status::Failed && unknown.message.contains("nobody"));
        let mut seen = surroundings_of(&alert("https://127.0.0.1/x"));
        seen.request.test_alert = Some("ops".into());
        let refused = &test(&seen)[0];
        assert_eq!(refused.status, Status::Failed, "{refused:?}");
    }
}
