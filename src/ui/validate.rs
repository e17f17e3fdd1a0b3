//! What `validate` found, for people and for programs.

use std::fmt::Write as _;

use super::style::{Style, escape, paint};
use crate::validate::{Check, Id, Report, SectionReport, Status};

/// How it is shown to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// In colour.
    pub colour: bool,
    /// Without characters beyond ASCII.
    pub ascii: bool,
    /// Problems and the verdict, nothing else.
    pub only_problems: bool,
    /// Also what is as usual.
    pub everything: bool,
}

/// A line for each check, by section, each problem with what to do about it; ends in a
/// line end.
#[must_use]
pub fn validate_text(report: &Report, shown: Shown) -> String {
    let mut text = String::new();
    for section in &report.sections {
        text.push_str(&section_text(section, shown));
    }
    let summary = report.summary;
    let counts = [
        (summary.passed, "passed"),
        (summary.warning, if summary.warning == 1 { "warning" } else { "warnings" }),
        (summary.failed, "failed"),
        (summary.skipped, "skipped"),
    ];
    let counts = counts.map(|(count, word)| format!("{count} {word}")).join(", ");
    let style = if report.is_good() { Style::Good } else { Style::Bad };
    let style =
        if report.status == Status::Warning && report.is_good() { Style::Warning } else { style };
    if !shown.only_problems {
        text.push_str(&format!("{counts}\n"));
    }
    text.push_str(&format!("{}\n", paint(&escape(&report.verdict), style, shown.colour)));
    text
}

/// The report as pretty JSON, without a line end.
#[must_use]
pub fn validate_json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has text keys and finite numbers only")
}

fn section_text(section: &SectionReport, shown: Shown) -> String {
    let (mut lines, mut usual) = (String::new(), 0);
    for check in &section.checks {
        if shown.only_problems && !check.status.is_problem() {
            continue;
        }
        if !shown.everything && is_usual(check) {
            usual += 1;
        } else {
            lines.push_str(&check_lines(check, shown));
        }
    }
    if usual > 0 {
        let more = format!("{usual} more passed (--verbose lists them)");
        let line = paint(&more, Style::Faint, shown.colour);
        // Writing to a string does not fail.
        let _ = writeln!(lines, "  {} {line}", mark(Status::Passed, shown));
    }
    if lines.is_empty() {
        return lines;
    }
    format!("{}\n{lines}\n", paint(section.name.as_str(), Style::Strong, shown.colour))
}

/// Passed, one of many of its kind, and nothing to learn from.
fn is_usual(check: &Check) -> bool {
    let of_default = || check.metrics.get("origin").is_some_and(|origin| origin == "default");
    let usual = match check.id {
        Id::SettingsValue => of_default() && !check.metrics.contains_key("recommended"),
        Id::PermissionsMode | Id::PermissionsAccess => true,
        _ => false,
    };
    usual && check.status == Status::Passed
}

fn mark(status: Status, shown: Shown) -> String {
    let (sign, word, style) = match status {
        Status::Passed => ("✓", "ok  ", Style::Good),
        Status::Warning => ("!", "warn", Style::Warning),
        Status::Failed => ("✗", "FAIL", Style::Bad),
        Status::Skipped => ("-", "skip", Style::Faint),
    };
    paint(if shown.ascii { word } else { sign }, style, shown.colour)
}

fn check_lines(check: &Check, shown: Shown) -> String {
    let message = format!("{}: {}", check.id.title(), escape(&check.message));
    let message = match check.status {
        Status::Skipped => paint(&message, Style::Faint, shown.colour),
        _ => message,
    };
    let mut lines = format!("  {} {message}\n", mark(check.status, shown));
    if check.status.is_problem() {
        let indent = if shown.ascii { 7 } else { 4 };
        let hint = check.hint.as_deref().unwrap_or("the message says what is wrong");
        let told = format!("[{}] {}", check.id.as_str(), escape(hint));
        let _ = writeln!(lines, "{:indent$}{}", "", paint(&told, Style::Faint, shown.colour));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::validate::Metadata;

    fn report(strict: bool) -> Report {
        let metadata = Metadata {
            timestamp: Timestamp::from_micros(1_770_239_380_000_000),
            duration_ms: 1_234,
            version: "0.1.0",
            log_dir: "logs".into(),
            settings_file: Some("auditctl.toml".into()),
            user: "auditctl".into(),
            quick: false,
            strict,
        };
        let value = |key: &str, origin: &str| {
            Check::passed(Id::SettingsValue, format!("{key} = 1 ({origin})"))
                .metric("key", key)
                .metric("origin", origin)
        };
        Report::new(
            vec![
                value("log_dir", "--log-dir"),
                value("disk_reserve", "default"),
                value("audit_reads", "default"),
                Check::warning(Id::SettingsValue, "write_buffer_size = 5 (auditctl.toml:1)")
                    .hint("set it to 100 to 1000"),
                Check::failed(Id::PermissionsMode, "the signing key may be read by others")
                    .hint("chmod 600 logs/audit.key")
                    .path("logs/audit.key"),
                Check::passed(Id::PermissionsAccess, "auditctl may read and write audit.log"),
                Check::skipped(Id::DiskGrowth, "there is no log\u{1b}[2J yet"),
            ],
            metadata,
        )
    }

    #[test]
    fn people_see_sections_marks_hints_and_one_verdict() {
        let expected = "\
Settings
  ✓ Setting: log_dir = 1 (--log-dir)
  ! Setting: write_buffer_size = 5 (auditctl.toml:1)
    [settings.recommended] set it to 100 to 1000
  ✓ 2 more passed (--verbose lists them)

Permissions
  ✗ Mode: the signing key may be read by others
    [permissions.mode] chmod 600 logs/audit.key
  ✓ 1 more passed (--verbose lists them)

Environment
  - Disk growth: there is no log\\u{1b}[2J yet

4 passed, 1 warning, 1 failed, 1 skipped
not ready: fix the failed checks first
";
        assert_eq!(validate_text(&report(false), Shown::default()), expected);
    }

    #[test]
    fn ascii_terminals_get_words() {
        let ascii = Shown { ascii: true, everything: true, ..Shown::default() };
        let text = validate_text(&report(true), ascii);
        assert!(text.is_ascii(), "{text}");
        for line in [
            "  ok   Setting: disk_reserve = 1 (default)",
            "  warn Setting: write_buffer_size = 5 (auditctl.toml:1)",
            "       [settings.recommended] set it to 100 to 1000",
            "  FAIL Mode: the signing key may be read by others",
            "  skip Disk growth: there is no log\\u{1b}[2J yet",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn quiet_is_problems_and_the_verdict() {
        let quiet = Shown { only_problems: true, ..Shown::default() };
        let text = validate_text(&report(false), quiet);
        assert!(!text.contains("passed") && !text.contains("skip"), "{text}");
        assert_eq!(text.lines().last(), Some("not ready: fix the failed checks first"));
        assert!(text.contains("[permissions.mode] chmod 600"), "{text}");
    }

    #[test]
    fn programs_get_one_document() {
        let document: serde_json::Value =
            serde_json::from_str(&validate_json(&report(false))).expect("JSON");
        let settings = &document["sections"][0];
        assert_eq!(
            (&settings["name"], &settings["status"]),
            (&"Settings".into(), &"warning".into())
        );
        let expected = serde_json::json!({
            "id": "permissions.mode",
            "status": "failed",
            "message": "the signing key may be read by others",
            "hint": "chmod 600 logs/audit.key",
            "path": "logs/audit.key",
        });
        assert_eq!(document["sections"][1]["checks"][0], expected);
        assert_eq!(document["summary"]["total_checks"], 7);
        assert_eq!(document["metadata"]["timestamp"], "2026-02-04T21:09:40.000000Z");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = validate_text(&report(false), Shown { colour: true, ..Shown::default() });
        let plain = validate_text(&report(false), Shown::default());
        assert!(coloured.contains('\u{1b}') && !plain.contains('\u{1b}'));
        let stripped = anstyle_free(&coloured);
        assert_eq!(stripped, plain);
    }

    /// Without the escapes that colour.
    fn anstyle_free(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            out.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        out + rest
    }
}
