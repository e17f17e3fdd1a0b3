//! Time zones: the machine's rules, to the second; what is not known is an error.

use std::process::Command;

use auditctl::fsio::OsFs;
use auditctl::zone::{LocalTimeError, Machine};
use serde_json::{Value, json};

use crate::support::{Dir, auditctl, records, run};

const ZONES: [&str; 20] = [
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Moscow",
    "Europe/Istanbul",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Caracas",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
];

/// Says so where the machine knows no zones: its files are asked, and no copy of them.
fn no_zones() -> bool {
    let none = !std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists();
    if none {
        crate::tools::skipped("no time zones: tzdata is not installed");
    }
    none
}

/// C1, C2: both sides of every change of the clocks from 1990 to 2040, as Python reads
/// the same rules.
#[test]
fn local_times_around_every_change_of_twenty_zones_are_what_python_s_zoneinfo_says() {
    if no_zones() {
        return;
    }
    if Command::new("python3").arg("--version").output().is_err() {
        return crate::tools::missing("python3");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zones.py");
    let output = Command::new("python3")
        .arg(script)
        .args(["1990", "2040"])
        .args(ZONES)
        // The machine's files, and not those of a Python package.
        .env("PYTHONTZPATH", "/usr/share/zoneinfo")
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("utf-8");
    let (mut known, mut zone) = ("", None);
    let (mut shown, mut skipped) = (0, 0);
    for line in table.lines() {
        let [name, local, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if name != known {
            zone = Some(Machine::default().zone(&OsFs, name).expect("a zone"));
            known = name;
        }
        let at = zone.as_ref().expect("set above").read(local);
        match (at, expected) {
            (Err(LocalTimeError::Skipped { by_before, by_after, .. }), "skipped") => {
                assert!(by_before > by_after, "{line}");
                skipped += 1;
            }
            (Ok(at), expected) => {
                assert_eq!(Ok(at), expected.parse(), "{line}");
                shown += 1;
            }
            (Err(error), _) => panic!("{line}: {error}"),
        }
    }
    assert!(shown > 20_000 && skipped > 4_000, "{shown} {skipped}");
}

fn python_log(dir: &Dir, times: &[&str]) {
    let lines: String = times
        .iter()
        .map(|time| format!("{}\n", json!({ "timestamp": time, "event_type": "a" })))
        .collect();
    std::fs::write(dir.path().join("old.log"), lines).expect("log");
}

/// An import with times that name no zone, in that environment.
fn import(dir: &Dir, tz: Option<&str>, args: &[&str]) -> (Option<i32>, String) {
    let import = ["record", "--format", "python-audit", "--file", "old.log"];
    let mut command = auditctl(dir, &[&import, args].concat());
    command.envs(tz.map(|tz| ("TZ", tz)));
    let output = command.output().expect("runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("utf-8"))
}

fn times(dir: &Dir) -> Vec<String> {
    let of_type = |(_, record): (u64, Value)| {
        (record["event_type"] == "a")
            .then(|| record["timestamp"].as_str().expect("a time").to_owned())
    };
    records(&dir.log()).into_iter().filter_map(of_type).collect()
}

/// C1: nothing is recorded with a time that is wrong for good.
#[test]
fn an_import_in_an_unknown_zone_is_refused_by_its_name_before_anything_is_recorded() {
    if no_zones() {
        return;
    }
    let dir = Dir::new();
    python_log(&dir, &["2026-07-01T12:00:00"]);
    for (tz, zone) in [
        (Some("Europe/Berln"), "local"),
        (Some("CET-1CEST"), "local"),
        (Some("right/Europe/Berlin"), "local"),
        (None, "Europe/Berln"),
        (Some("Europe/Berlin"), "Mars/Olympus"),
    ] {
        let (code, stderr) = import(&dir, tz, &["--assume-timezone", zone]);
        let named = if zone == "local" { tz.unwrap_or_default() } else { zone };
        assert_eq!(code, Some(2), "{tz:?} {zone}: {stderr}");
        assert!(stderr.contains(named) && stderr.contains("--assume-timezone"), "{stderr}");
    }
    assert!(!dir.log().exists(), "nothing was recorded");
    for (tz, zone) in [
        (Some("Europe/Berlin"), "local"),
        (Some("CET-1CEST,M3.5.0,M10.5.0/3"), "local"),
        (None, "Europe/Berlin"),
        (Some("Asia/Tokyo"), "+02:00"),
    ] {
        let (code, stderr) = import(&dir, tz, &["--assume-timezone", zone]);
        assert_eq!(code, Some(0), "{stderr}");
    }
    assert_eq!(times(&dir), ["2026-07-01T10:00:00.000000Z"; 4]);
}

/// C2: of the hour that is shown twice the first; of the one that is not shown none.
#[test]
fn an_import_takes_the_first_of_a_doubled_hour_and_names_the_choice_for_a_skipped_one() {
    if no_zones() {
        return;
    }
    let dir = Dir::new();
    python_log(&dir, &["2026-10-25T02:30:00", "2026-03-29T02:30:00", "2026-03-29T03:30:00"]);
    let berlin = ["--assume-timezone", "local", "--keep-going"];
    let (code, stderr) = import(&dir, Some("Europe/Berlin"), &berlin);
    assert_eq!(code, Some(1), "{stderr}");
    for part in ["old.log", "2", "2026-03-29T02:30:00+01:00", "2026-03-29T02:30:00+02:00"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(times(&dir), ["2026-10-25T00:30:00.000000Z", "2026-03-29T01:30:00.000000Z"]);
}

#[test]
fn a_query_takes_local_times_where_a_zone_is_named() {
    if no_zones() {
        return;
    }
    let dir = Dir::new();
    let record = |at: &str| {
        assert_eq!(run(&dir, &["record", "--type", "e", "--timestamp", at]).0, 0);
    };
    record("2026-06-30T21:59:59Z");
    record("2026-06-30T22:00:00Z");
    let count = |args: &[&str]| {
        let (code, stdout, stderr) =
            run(&dir, &[&["query", "--type", "e", "--count"], args].concat());
        (code, stdout.trim().to_owned(), stderr)
    };
    for (time, zone, expected) in [
        ("2026-07-01", "Europe/Berlin", "1"),
        ("2026-07-01T00:00", "+02:00", "1"),
        ("2026-07-01 00:00:01", "Europe/Berlin", "0"),
        ("2026-06-30T21:59:59Z", "Europe/Berlin", "2"),
        ("2026-06-30", "UTC", "2"),
    ] {
        let (code, counted, stderr) = count(&["--since", time, "--timezone", zone]);
        assert_eq!((code, &*counted), (0, expected), "{time} {zone}: {stderr}");
    }
    for (time, zone, part) in [
        ("2026-07-01", "Europe/Berln", "--timezone"),
        ("2026-03-29T02:30:00", "Europe/Berlin", "2026-03-29T02:30:00+01:00"),
        ("soon", "Europe/Berlin", "--since"),
    ] {
        let (code, _, stderr) = count(&["--since", time, "--timezone", zone]);
        assert_eq!(code, 2, "{time}");
        assert!(stderr.contains(part), "{stderr}");
    }
    // A time of day without a zone is nobody's.
    assert_eq!(count(&["--since", "2026-07-01T00:00:00"]).0, 2);
}

/// C1: a service whose `TZ` is wrong is told before it matters.
#[test]
fn validate_warns_of_a_tz_that_nobody_knows() {
    if no_zones() {
        return;
    }
    let dir = Dir::new();
    for (tz, status) in [("Europe/Berln", "warning"), ("Europe/Berlin", "passed")] {
        let mut command = auditctl(&dir, &["validate", "--quick", "--json"]);
        let output = command.env("TZ", tz).output().expect("runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("json");
        let text = report.to_string();
        let checks: Vec<&Value> = checks(&report, "environment.time_zone");
        assert_eq!(checks.len(), 1, "{text}");
        assert_eq!(checks[0]["status"], status, "{text}");
    }
}

/// All objects with that id, wherever they are.
fn checks<'a>(value: &'a Value, id: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(map) if map.get("id").is_some_and(|found| found == id) => vec![value],
        Value::Object(map) => map.values().flat_map(|value| checks(value, id)).collect(),
        Value::Array(values) => values.iter().flat_map(|value| checks(value, id)).collect(),
        _ => Vec::new(),
    }
}
