//! DEPLOYMENT_GUIDE.md has its sections and the profiles that the program has; docs/codes.md
//! has a row for everything that can go wrong, and for nothing else.

use std::collections::BTreeSet;

use auditctl::cli::catalogue;

const SECTIONS: [&str; 12] = [
    "Prerequisites & Requirements",
    "Pre-deployment Validation",
    "Configuration Tuning",
    "Deployment Steps",
    "Monitoring Setup",
    "Backup Strategy",
    "Troubleshooting Guide",
    "Performance Monitoring",
    "Rollback Procedure",
    "Maintenance Schedule",
    "Security Hardening",
    "Support & Escalation",
];

fn read(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between `<!-- name: begin -->` and `<!-- name: end -->`.
fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<!-- {name}: begin -->\n")).expect(name);
    rest.split_once(&format!("<!-- {name}: end -->")).expect(name).0
}

/// The rows of a group's table: its cells.
fn rows<'a>(codes: &'a str, group: &str) -> Vec<Vec<&'a str>> {
    let marker = format!("<!-- codes: {group} -->\n");
    let (_, rest) = codes.split_once(&marker).unwrap_or_else(|| {
        panic!("docs/codes.md has no table for {group}: <!-- codes: {group} -->")
    });
    let mut lines = rest.lines();
    assert_eq!(lines.next(), Some("| code | symptom | check | fix |"), "{group}");
    assert_eq!(lines.next(), Some("|---|---|---|---|"), "{group}");
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_guide_has_its_twelve_sections_in_order() {
    let guide = read("DEPLOYMENT_GUIDE.md");
    let found: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let expected: Vec<String> =
        SECTIONS.iter().enumerate().map(|(at, title)| format!("{}. {title}", at + 1)).collect();
    assert_eq!(found, expected);
}

#[test]
fn everything_that_can_go_wrong_has_a_row_and_every_row_is_about_something() {
    let codes = read("docs/codes.md");
    for group in catalogue() {
        let name = group.name;
        let rows = rows(&codes, name);
        let known: BTreeSet<&str> = group.codes.iter().copied().collect();
        assert_eq!(known.len(), group.codes.len(), "{name}: a name twice in the code");
        let written: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
        let distinct: BTreeSet<&str> = written.iter().copied().collect();
        assert_eq!(distinct.len(), written.len(), "{name}: a row twice");
        let missing: Vec<_> = known.difference(&distinct).collect();
        let extra: Vec<_> = distinct.difference(&known).collect();
        assert!(missing.is_empty(), "{name}: without a row in docs/codes.md: {missing:?}");
        assert!(extra.is_empty(), "{name}: rows about nothing: {extra:?}");
        for row in rows {
            assert_eq!(row.len(), 4, "{name}: {row:?}");
            assert!(row[0].starts_with('`') && row[0].ends_with('`'), "{name}: {row:?}");
            let said =
                row.iter().all(|cell| cell.chars().filter(|c| c.is_alphabetic()).count() > 1);
            assert!(said, "{name}: an empty cell: {row:?}");
        }
    }
}

#[test]
fn every_table_of_codes_is_one_of_the_catalogue() {
    let codes = read("docs/codes.md");
    let groups: Vec<&str> = catalogue().iter().map(|group| group.name).collect();
    let marked = codes.lines().filter_map(|line| line.strip_prefix("<!-- codes: "));
    let marked: BTreeSet<&str> = marked.filter_map(|line| line.strip_suffix(" -->")).collect();
    let unknown: Vec<_> = marked.iter().filter(|name| !groups.contains(name)).collect();
    assert!(unknown.is_empty(), "not in cli/catalogue.rs: {unknown:?}");
}

/// The timers are set to when the guide says.
#[test]
fn the_timers_run_when_the_guide_says() {
    let guide = read("DEPLOYMENT_GUIDE.md");
    for (timer, when, calendar) in [
        ("auditctl-backup", "every night", "OnCalendar=*-*-* "),
        ("auditctl-verify", "every night", "OnCalendar=*-*-* "),
        ("auditctl-backup-cloud", "Sundays", "OnCalendar=Sun *-*-* "),
        ("auditctl-drill", "every quarter", "OnCalendar=*-01,04,07,10-05 "),
    ] {
        assert!(guide.contains(&format!("| `{timer}.timer` | {when} |")), "{timer}: {when}");
        let unit = read(&format!("packaging/systemd/{timer}.timer"));
        assert!(unit.contains(calendar), "{timer}: {unit}");
        assert!(unit.contains("Persistent=true"), "{timer}: also where the host was off");
    }
}

#[test]
fn the_profiles_of_the_guide_are_those_of_the_settings() {
    let guide = read("DEPLOYMENT_GUIDE.md");
    let profiles = read("docs/configuration.md");
    let profiles = between(&profiles, "profiles");
    assert_eq!(between(&guide, "profiles"), profiles, "should be:\n{profiles}");
}

/// The names in the program's text; a list is only complete if nothing else is said.
#[test]
fn every_kind_that_the_code_can_say_is_in_its_list() {
    let named = regex::Regex::new(r"=> (?:[a-z]+::)*([A-Z_]{3,})").expect("a pattern");
    for (file, function, group) in [
        ("src/audit/record/refusal.rs", "pub fn kind(&self)", "record"),
        ("src/audit/write/recovery/error.rs", "pub fn kind(&self)", "open"),
        ("src/backup/error.rs", "pub fn kind(&self)", "backup"),
        ("src/store/error.rs", "pub fn name(self)", "store"),
        ("src/audit/write/own.rs", "fn event_type(&self)", "own"),
        ("src/audit/read/verify/report.rs", "pub fn as_str(self)", "verify"),
    ] {
        let source = read(file);
        let (_, body) = source.split_once(function).unwrap_or_else(|| panic!("{file}: {function}"));
        let body = body.split_once("\n    }\n").expect("its end").0;
        let mut said: BTreeSet<&str> = body.split('"').skip(1).step_by(2).collect();
        // Some stand in constants, beside what else they are for.
        let constants = [
            read("src/audit/write/own.rs"),
            read("src/audit/keys/succession.rs"),
            read("src/audit/keys/succession/replaced.rs"),
        ];
        for found in named.captures_iter(body) {
            let start = format!("const {}: &str = \"", &found[1]);
            let value = constants.iter().find_map(|text| text.split_once(&start)).expect(&start).1;
            said.insert(value.split('"').next().expect("its end"));
        }
        // An event's own reasons stand with events.
        let event = read("src/audit/record/event.rs");
        if group == "record" {
            let kind = event.split_once("pub fn kind(&self)").expect("event kinds").1;
            let kind = kind.split_once("\n    }\n").expect("its end").0;
            said.extend(kind.split('"').skip(1).step_by(2).map(|name| -> &str {
                ["malformed", "too_large", "invalid"]
                    .into_iter()
                    .find(|known| *known == name)
                    .unwrap_or_else(|| panic!("{name} is a new kind"))
            }));
        }
        let all = catalogue();
        let listed = &all.iter().find(|known| known.name == group).expect(group).codes;
        let listed: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(said, listed, "{file}");
    }
}

/// All sources below a folder, with their texts.
fn sources(below: &str) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("sources") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                found.push((path, text));
            }
        }
    }
    found
}

/// An error of a command is named where it is made; a name that is in no table would only
/// be noticed when it happens.
#[test]
fn every_kind_of_a_command_s_error_is_in_a_table() {
    let made = regex::Regex::new(
        r#"(?:(?:CliError|Self)::new\(\s*|\()"([a-z_]+)",\s*Exit::|new\.kind = "([a-z_]+)""#,
    );
    let made = made.expect("a pattern");
    let all = catalogue();
    let known: BTreeSet<&str> = all.iter().flat_map(|group| group.codes.iter().copied()).collect();
    let mut count = 0;
    for (path, text) in sources("src/cli") {
        for found in made.captures_iter(&text) {
            let kind = found.get(1).or(found.get(2)).expect("one of them").as_str();
            assert!(known.contains(kind), "{}: {kind}: cli/catalogue.rs", path.display());
            count += 1;
        }
    }
    assert!(count > 30, "errors were found");
}

/// What goes to stderr from the engine and the collector has a name, too.
#[test]
fn every_warning_of_the_writer_and_the_collector_has_a_code() {
    let mut count = 0;
    for (path, text) in sources("src") {
        let of_writer = ["src/audit/", "src/collector/", "src/alerts/"];
        if !of_writer.iter().any(|part| path.to_string_lossy().contains(part)) {
            continue;
        }
        for level in ["tracing::warn!(", "tracing::error!("] {
            for said in text.split(level).skip(1) {
                let said = said.trim_start();
                // What the collector passes on to whoever embeds it has its code in the text.
                let passed_on =
                    path.ends_with("src/collector/options.rs") && said.starts_with("\"{text}\")");
                let coded = passed_on || said.starts_with("code = ") || said.starts_with("code, ");
                assert!(coded, "{}: {level}{:.60}", path.display(), said);
                count += 1;
            }
        }
        if path.to_string_lossy().contains("src/audit/") {
            continue;
        }
        for said in text.replace("warn)(", "warn(").split("warn(&").skip(1) {
            // `push` names its own; it says so itself.
            let coded = ["Warning::", "with_hint(Warning::", "Notice::", "said)"]
                .iter()
                .any(|start| said.starts_with(start));
            assert!(coded, "{}: warn(&{:.60}", path.display(), said);
            count += 1;
        }
    }
    assert!(count > 12, "warnings were found");
}
