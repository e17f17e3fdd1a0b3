//! A build that delivers none.

use crate::validate::catalogue::Id;
use crate::validate::check::Check;
use crate::validate::request::Surroundings;

const HINT: &str = "use a build with the cargo feature \"alerts\"";

pub(in crate::validate) fn configured(seen: &Surroundings) -> Vec<Check> {
    vec![match seen.request.settings.alerts.len() {
        0 => Check::skipped(Id::Alerts, "no alerts are configured, and this build delivers none"),
        count => Check::failed(
            Id::Alerts,
            format!("{count} alerts are configured, and this build delivers none"),
        )
        .hint(HINT),
    }]
}

pub(in crate::validate) fn test(seen: &Surroundings) -> Vec<Check> {
    let asked = seen.request.test_alert.iter();
    asked
        .map(|_| Check::failed(Id::AlertTest, "this build delivers no alerts").hint(HINT))
        .collect()
}

pub(in crate::validate) fn guard(_: &Surroundings) -> Vec<Check> {
    vec![Check::skipped(Id::Ssrf, "this build delivers no alerts")]
}
