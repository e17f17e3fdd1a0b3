//! `query --histogram`, groups over time, and tables that fit: from the files, through a
//! collector, on a terminal and off it.

use std::process::Command;

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, missing, run};

/// Three days: 24 logins an hour on the second, one a day else; and a sender whose clock is wrong.
fn filled(dir: &Dir) {
    let mut text = String::new();
    for (day, hours) in [(3, 1), (4, 24), (5, 1)] {
        for hour in 0..hours {
            for nth in 0..(if hours == 24 { 24 } else { 1 }) {
                let actor = if nth == 0 { "alice" } else { "größe\u{202e}" };
                text.push_str(&format!(
                    "{{\"event_type\":\"login\",\"actor\":\"{actor}\",\"timestamp\":\
                     \"2026-02-{day:02}T{hour:02}:{nth:02}:07Z\"}}\n"
                ));
            }
        }
    }
    std::fs::write(dir.path().join("events"), text).expect("written");
    let (code, _, stderr) = run(dir, &["record", "--file", "events"]);
    assert_eq!(code, 0, "{stderr}");
}

fn good(dir: &Dir, args: &[&str]) -> String {
    let (code, stdout, stderr) = run(dir, args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

const LOGINS: [&str; 3] = ["query", "--type", "login"];

#[test]
fn a_histogram_says_its_zone_and_is_the_same_in_every_format_and_by_every_way() {
    let dir = Dir::new();
    filled(&dir);
    let histogram = [&LOGINS[..], &["--histogram=3"]].concat();
    let table = good(&dir, &[&histogram[..], &["--format", "table"]].concat());
    assert_eq!(
        table,
        "UTC, 1d each  RECORDS\n\
         2026-02-03          1  #\n\
         2026-02-04        576  ########################################\n\
         2026-02-05          1  #\n\
         578 records, from 2026-02-03T00:00:07Z to 2026-02-05T00:00:07Z\n"
    );
    let ndjson = good(&dir, &histogram);
    let first = r#"{"end":"2026-02-04T00:00:00.000000Z","records":1,"start":"2026-02-03T00:00:00.000000Z"}"#;
    assert_eq!((ndjson.lines().next(), ndjson.lines().count()), (Some(first), 3), "{ndjson}");
    let csv = good(&dir, &[&histogram[..], &["--format", "csv"]].concat());
    assert!(csv.starts_with("start,end,records\n2026-02-03T00:00:00.000000Z,"), "{csv}");
    let of_json = |args: &[&str]| -> Value {
        let text = good(&dir, &[&histogram[..], &["--json"], args].concat());
        let document: Value = serde_json::from_str(&text).expect("one document");
        document["summary"].clone()
    };
    let json = of_json(&[]);
    assert_eq!(json["histogram"]["counts"], serde_json::json!([1, 576, 1]));
    assert_eq!((&json["total"], &json["histogram"]["step"]), (&578.into(), &"1d".into()));
    let collector = Serving::start(&dir, "");
    assert_eq!(of_json(&[]), json, "through the collector");
    assert_eq!(of_json(&["--direct"]), json, "beside the collector");
    assert_eq!(good(&dir, &[&histogram[..], &["--format", "table"]].concat()), table);
    collector.terminate();
    // Over all of the time that is asked about, with what is empty.
    let all = ["--since", "2026-02-01", "--until", "2026-02-09", "--format", "table"];
    let table = good(&dir, &[&LOGINS[..], &["--histogram=8"], &all].concat());
    assert_eq!(table.lines().count(), 10, "{table}");
    assert!(table.contains("\n2026-02-01          0\n"), "{table}");
}

#[test]
fn what_is_no_histogram_is_refused_with_its_option() {
    let dir = Dir::new();
    filled(&dir);
    for (args, said) in [
        (&["--histogram=0"][..], "--histogram: 0 is not one of 1 to 1000"),
        (&["--histogram=many"], "--histogram"),
        (&["--histogram", "--count"], "--count"),
        (&["--histogram", "--limit", "3"], "--limit"),
        (&["--histogram", "--group-by", "actor"], "--group-by"),
        (&["--histogram", "--format", "ocsf"], "--histogram"),
        (&["--sparkline"], "--group-by"),
        (&["--group-by", "actor", "--sparkline", "--format", "csv"], "--sparkline"),
        (
            &["--group-by", "actor", "--sparkline", "--top", "101"],
            "--top: 101 are more than the 100",
        ),
    ] {
        let (code, stdout, stderr) = run(&dir, &[&["query"], args].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let nothing = good(&dir, &["query", "--type", "nothing", "--histogram", "--format", "table"]);
    assert_eq!(nothing, "0 records\n");
}

#[test]
fn groups_have_a_line_over_time_where_it_is_asked_for() {
    let dir = Dir::new();
    filled(&dir);
    let by_actor = [&LOGINS[..], &["--group-by", "actor"]].concat();
    // A script gets what it always got.
    let plain = good(&dir, &by_actor);
    assert!(plain.ends_with("{\"group\":\"alice\",\"records\":26}\n"), "{plain}");
    let lines = good(&dir, &[&by_actor[..], &["--sparkline"]].concat());
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("json");
    let series = last["series"].as_array().expect("a series");
    let sum: u64 = series.iter().map(|count| count.as_u64().expect("a number")).sum();
    assert_eq!((&last["group"], &last["records"], sum), (&"alice".into(), &26.into(), 26));
    let table = good(&dir, &[&by_actor[..], &["--sparkline", "--format", "table"]].concat());
    assert!(table.is_ascii(), "this environment's locale is not UTF-8: {table}");
    assert!(table.contains(r#""gr\u00f6\u00dfe\u202e""#), "{table}");
    assert!(
        table.contains("over time: 3h each, from 2026-02-03 00:00 to 2026-02-05 03:00 UTC"),
        "{table}"
    );
    let collector = Serving::start(&dir, "");
    let served = good(&dir, &[&by_actor[..], &["--sparkline"]].concat());
    assert_eq!(served, lines, "through the collector");
    collector.terminate();
}

/// What somebody sees who types it: in a terminal of that many columns.
fn on_a_terminal(
    dir: &Dir,
    columns: u16,
    environment: &[(&str, &str)],
    args: &str,
) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_auditctl");
    let command = format!("stty cols {columns} rows 24; {program} {args} 2>/dev/null");
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &command, "/dev/null"]).current_dir(dir.path()).env_clear();
    script.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").env("HOME", dir.path());
    script.envs(environment.iter().copied());
    match script.output() {
        Ok(output) => {
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(output.status.success(), "{text}");
            Some(text.replace("\r\n", "\n"))
        }
        Err(_) => {
            missing("script");
            None
        }
    }
}

#[test]
fn a_table_on_a_terminal_never_wraps_and_groups_have_lines_over_time() {
    let dir = Dir::new();
    filled(&dir);
    let utf8 = [("LC_ALL", "C.UTF-8"), ("NO_COLOR", "1")];
    for columns in [30, 80, 200] {
        for args in ["query --limit 5", "query --group-by actor", "query --histogram"] {
            let Some(text) = on_a_terminal(&dir, columns, &utf8, args) else { return };
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(
                (1..=usize::from(columns)).contains(&widest),
                "{columns} {widest} {args}\n{text}"
            );
            assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text:?}");
        }
    }
    let by_actor =
        on_a_terminal(&dir, 80, &utf8, "query --type login --group-by actor").expect("there");
    assert!(by_actor.contains('▁') && by_actor.contains("over time: 3h each"), "{by_actor}");
    // As for a pager: what the environment says counts.
    let narrow = [("LC_ALL", "C.UTF-8"), ("COLUMNS", "40")];
    let text = on_a_terminal(&dir, 200, &narrow, "query --limit 5").expect("there");
    assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    let ascii = on_a_terminal(&dir, 80, &[("LC_ALL", "C")], "query --group-by actor --color never");
    assert!(ascii.expect("there").is_ascii());
}

#[test]
fn without_a_terminal_a_table_is_whole_unless_the_environment_says_how_wide() {
    let dir = Dir::new();
    let details = "x".repeat(300);
    let event = format!("{{\"event_type\":\"long\",\"details\":{{\"text\":\"{details}\"}}}}\n");
    std::fs::write(dir.path().join("events"), event).expect("written");
    good(&dir, &["record", "--file", "events"]);
    let args = ["query", "--type", "long", "--format", "table"];
    assert!(good(&dir, &args).contains(&details));
    let output = auditctl(&dir, &args).env("COLUMNS", "70").output().expect("query");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.lines().all(|line| line.len() <= 70), "{text}");
}
