//! Renderers, on health in every state.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{health_human, health_json, health_line, health_nagios, plugin_failure, prometheus};
use crate::audit::state::status::{Damage, Ring, Word};
use crate::clock::Clock;
use crate::health::Problem;
use crate::health::samples::{Sample, every_state};
use crate::health::tests::problems;

/// A log whose names and numbers try to break every format.
fn hostile() -> Sample {
    let sample = Sample::running();
    sample.page().count(Ring::Blocked, sample.clock.now(), 5_000);
    sample.page().top_blocked(None, "a|b\nc\u{1b}[2J'\u{202e}\"; 'x'=1", 5_000);
    sample
}

fn every_sample() -> Vec<(&'static str, Sample)> {
    let mut samples = every_state();
    samples.push(("running", hostile()));
    let damaged = Sample::running();
    damaged.set(Word::Damage, Damage::FileReplaced as u64);
    samples.push(("running", damaged));
    samples
}

fn nagios(sample: &Sample) -> String {
    health_nagios(&sample.health().report, &sample.settings)
}

#[test]
fn nagios_gets_one_line_with_what_matters() {
    let line = nagios(&Sample::running());
    assert!(
        line.starts_with("AUDIT OK - 9 checks healthy | 'write_buffer'=0;500;800;0;1000 "),
        "{line}"
    );
    assert!(line.contains(" 'disk_available'=53687091200B;1073741824:;268435456:;0;107374182400 "));
    assert!(line.contains(" 'log_size'=10B;1073741824;5368709120;0; "), "{line}");
    assert!(line.contains(" 'events'=40c;;;0; ") && line.ends_with(" 'uptime'=3600s;;;0;"));
    let hung = Sample::running().silent_in(crate::audit::state::status::Activity::Syncing, 7);
    let line = nagios(&hung);
    assert!(line.starts_with("AUDIT CRITICAL - worker_thread.hung: hung in fdatasync for 7 s | "));
    assert!(line.contains(" 'heartbeat_age'=7s;;5;0; "), "{line}");
}

#[test]
fn nagios_output_is_short_and_well_formed_in_every_state() {
    for (state, sample) in every_sample() {
        let line = nagios(&sample);
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.matches('|').count() <= 1, "{line}");
        let (text, data) = line.split_once(" | ").unwrap_or((&line, ""));
        assert!(text.chars().count() < 80, "{state}: {text}");
        let word = text.strip_prefix("AUDIT ").and_then(|text| text.split(" - ").next());
        assert!(matches!(word, Some("OK" | "WARNING" | "CRITICAL" | "UNKNOWN")), "{text}");
        data.split_terminator(' ').for_each(well_formed);
    }
}

/// C17: the code leads to what to do, so the cut never takes any of it.
#[test]
fn whatever_the_problem_is_nagios_line_has_its_whole_code() {
    for problem in Problem::ALL {
        if problems::cannot_be_had(*problem) {
            continue;
        }
        let mut report = problems::with(*problem).health().report;
        // A line has room for one: the one that is looked for.
        report.checks.retain(|check| check.problem() == Some(*problem));
        report.status = report.checks[0].status;
        let line = health_nagios(&report, &Sample::running().settings);
        let text = line.split(" | ").next().expect("a text");
        assert!(text.contains(&format!(" - {}: ", problem.code())), "{text}");
        assert!(text.chars().count() < 80, "{text}");
    }
}

/// C17: the same for a plugin that could not look: the kind has a row in the guide.
#[test]
fn whatever_the_error_is_the_plugins_line_has_its_whole_kind() {
    let groups = crate::cli::catalogue();
    let kinds =
        groups.iter().filter(|group| group.name == "command").flat_map(|group| group.codes.clone());
    for kind in kinds {
        let line = plugin_failure(kind, &"a long message ".repeat(20));
        assert!(line.starts_with(&format!("AUDIT UNKNOWN - {kind}: a")), "{line}");
        assert!(line.chars().count() < 80, "{line}");
    }
}

/// `'label'=value[UOM];[warn];[crit];[min];[max]`.
fn well_formed(datum: &str) {
    let (label, rest) = datum.split_once('=').expect(datum);
    let label = label.strip_prefix('\'').and_then(|label| label.strip_suffix('\'')).expect(datum);
    assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{datum}");
    let fields: Vec<&str> = rest.split(';').collect();
    assert_eq!(fields.len(), 5, "{datum}");
    let value = fields[0].trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let unit = &fields[0][value.len()..];
    assert!(value.parse::<f64>().is_ok(), "{datum}");
    assert!(["", "s", "ms", "us", "%", "B", "KB", "MB", "c"].contains(&unit), "{datum}");
    for bound in &fields[1..] {
        let number = bound.strip_suffix(':').unwrap_or(bound);
        assert!(number.is_empty() || number.parse::<f64>().is_ok(), "{datum}");
    }
}

#[test]
fn people_see_each_check_what_to_do_and_no_control_characters() {
    for (state, sample) in every_sample() {
        let report = sample.health().report;
        let text = health_human(&report, false);
        assert!(!text.contains(|c: char| c != '\n' && c.is_control()), "{state}: {text:?}");
        assert!(!text.contains('\u{202e}') && text.ends_with('\n'), "{text}");
        for check in &report.checks {
            assert!(text.contains(check.component), "{text}");
        }
        let hints: std::collections::BTreeSet<_> =
            report.checks.iter().filter_map(|check| check.hint.as_deref()).collect();
        assert_eq!(text.matches("-> ").count(), hints.len(), "each once: {text}");
        assert!(text.contains("9 checks: "), "{text}");
    }
}

#[test]
fn colour_only_adds_colour() {
    let report = hostile().health().report;
    let coloured = health_human(&report, true);
    assert!(coloured.contains("\u{1b}[") && !coloured.contains("[2J'\u{202e}"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').expect("an escape ends in m").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, health_human(&report, false));
}

#[test]
fn json_is_one_document_with_the_keys_in_order() {
    let text = health_json(&Sample::running().health().report);
    let keys = ["status", "timestamp", "uptime_seconds", "checks", "summary", "metadata"];
    let places: Vec<_> =
        keys.map(|key| text.find(&format!("\n  \"{key}\": ")).expect(key)).to_vec();
    assert!(places.is_sorted(), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).expect("one document");
    assert_eq!(value["checks"][1]["component"], "worker_thread");
    assert_eq!(value["checks"][0]["metrics"]["capacity_events"], 1000);
}

fn busy() -> Sample {
    let sample = hostile();
    for micros in [50, 900, 9_000_000] {
        sample.page().sync_took(micros);
    }
    sample.set(Word::RateLimited, 5_000);
    sample
}

fn metrics(sample: &Sample, openmetrics: bool) -> String {
    let health = sample.health();
    prometheus(&health.report, health.snapshot.as_ref(), health.alerts.as_ref(), openmetrics)
}

#[test]
fn prometheus_gets_counters_gauges_and_the_sync_histogram() {
    let text = metrics(&busy(), false);
    for line in [
        "auditctl_up 1.0",
        "auditctl_events_total 40",
        "auditctl_events_durable_total 42",
        "auditctl_events_refused_total{reason=\"rate_limited\"} 5000",
        "auditctl_write_buffer_capacity_events 1000.0",
        "auditctl_health_status{component=\"rate_limiting\"} 2.0",
        "auditctl_health_overall_status 2.0",
        "auditctl_sync_duration_seconds_bucket{le=\"0.0001\"} 1",
        "auditctl_sync_duration_seconds_bucket{le=\"5.0\"} 2",
        "auditctl_sync_duration_seconds_bucket{le=\"+Inf\"} 3",
        "auditctl_sync_duration_seconds_count 3",
        "auditctl_sync_duration_seconds_sum 9.00095",
        "auditctl_security_events_total{kind=\"hostile_peer\"} 0",
        "# TYPE auditctl_events_total counter",
        "# TYPE auditctl_build_info gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("# EOF") && text.ends_with('\n'));
}

#[test]
fn openmetrics_names_families_and_ends_in_a_mark() {
    let text = metrics(&busy(), true);
    assert!(text.contains("# TYPE auditctl_events counter\n"), "{text}");
    assert!(text.contains("# TYPE auditctl_build info\nauditctl_build_info{version=\""), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn without_a_page_there_are_the_metrics_that_need_none() {
    let text = metrics(&Sample::empty(), false);
    assert!(text.contains("auditctl_up 0.0\n"), "{text}");
    assert!(text.contains("auditctl_health_status{component=\"worker_thread\"} 3.0\n"));
    assert!(!text.contains("auditctl_events_total"), "0 would be a value");
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: promtool is not installed");
        return;
    }
    let died = Sample::running().unlocked();
    let samples = [
        ("busy", busy()),
        ("empty", Sample::empty()),
        ("died", died),
        ("closed", Sample::closed()),
    ];
    for (state, sample) in samples {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        let text = metrics(&sample, false);
        let mut stdin = promtool.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).expect("promtool reads");
        drop(stdin);
        let output = promtool.wait_with_output().expect("promtool ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{state}: {said}\n{text}");
    }
}

#[test]
fn a_plugin_that_cannot_check_says_so_on_one_short_line() {
    let line = plugin_failure("config", "bad | setting \u{1b}[2J\nmore");
    assert_eq!(line, "AUDIT UNKNOWN - config: bad / setting \\u{1b}[2J");
    assert!(plugin_failure("usage", &"x".repeat(200)).len() < 80);
}

#[test]
fn a_watched_line_has_its_time_and_nothing_that_commands_a_terminal() {
    for (state, sample) in every_sample() {
        let line = health_line(&sample.health().report);
        assert!(!line.contains(char::is_control), "{state}: {line:?}");
        assert!(line.contains("Z  AUDIT "), "{state}: {line}");
    }
}

/// What of the metrics the dashboard leaves out, and why.
const NOT_ON_THE_DASHBOARD: &[(&str, &str)] = &[];

/// The names that a text has of metrics.
fn metrics_in(text: &str) -> std::collections::BTreeSet<String> {
    let names = text.split("auditctl_").skip(1).map(|found| {
        let end = found.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let name = &found[..end.unwrap_or(found.len())];
        let of_histogram = ["_bucket", "_sum", "_count"];
        of_histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    });
    names.collect()
}

/// Every metric that a collector can export: those of the tables, and those of logs in all states.
fn all_metrics() -> std::collections::BTreeSet<String> {
    let mut samples = every_sample();
    samples.push(("delivering", crate::health::samples::delivering(|_, _| {})));
    samples.push(("archived", problems::with(Problem::ArchiveRemovedUnshipped)));
    let mut names: std::collections::BTreeSet<String> =
        super::prometheus::named().map(str::to_owned).collect();
    for (_, sample) in &samples {
        let text = metrics(sample, false);
        let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE auditctl_"));
        names.extend(typed.filter_map(|line| line.split(' ').next()).map(str::to_owned));
    }
    names
}

#[test]
fn the_dashboard_has_every_metric_and_neither_it_nor_an_alert_names_one_that_is_not_there() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("shipped");
    let (dashboard, alerts) = (read("grafana/auditctl.json"), read("prometheus/alerts.yml"));
    let there = all_metrics();
    assert!(there.len() > 60, "{there:?}");
    for (file, text) in [("dashboard", &dashboard), ("alerts", &alerts)] {
        let unknown: Vec<_> = metrics_in(text).difference(&there).cloned().collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let shown = metrics_in(&dashboard);
    let left_out = |name: &String| NOT_ON_THE_DASHBOARD.iter().any(|(known, _)| known == name);
    let lacking: Vec<_> = there.iter().filter(|name| !shown.contains(*name)).collect();
    assert!(lacking.iter().all(|name| left_out(name)), "not on the dashboard: {lacking:?}");
    assert!(NOT_ON_THE_DASHBOARD.iter().all(|(name, _)| !shown.contains(*name)));
}
