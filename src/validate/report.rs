//! What a validation says: plain data that serialises as documented.

use std::path::PathBuf;

use serde::Serialize;

use super::check::Check;
use super::outcome::{Section, Status};
use crate::clock::Timestamp;

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All of them.
    pub total_checks: usize,
    /// [`Status::Passed`].
    pub passed: usize,
    /// [`Status::Warning`].
    pub warning: usize,
    /// [`Status::Failed`].
    pub failed: usize,
    /// [`Status::Skipped`].
    pub skipped: usize,
}

/// One part of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SectionReport {
    /// Which.
    pub name: Section,
    /// The worst of its checks.
    pub status: Status,
    /// In order.
    pub checks: Vec<Check>,
}

/// What was looked at, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// When it began.
    pub timestamp: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// Version of the program.
    pub version: &'static str,
    /// The log directory.
    pub log_dir: PathBuf,
    /// The settings file that was read.
    pub settings_file: Option<PathBuf>,
    /// For whom permissions were judged.
    pub user: String,
    /// Whether benchmarks were left out.
    pub quick: bool,
    /// Whether a warning counts as a failure.
    pub strict: bool,
}

/// All of it. Serialises as the document of `validate --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The worst of all checks.
    pub status: Status,
    /// How many ended how.
    pub summary: Summary,
    /// One line.
    pub verdict: String,
    /// Always all, in the same order.
    pub sections: Vec<SectionReport>,
    /// What was looked at.
    pub metadata: Metadata,
}

impl Report {
    /// Of these checks, whatever their order.
    #[must_use]
    pub fn new(checks: Vec<Check>, metadata: Metadata) -> Self {
        let worst = |checks: &[Check]| checks.iter().map(|check| check.status).max();
        let status = worst(&checks).unwrap_or(Status::Skipped);
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let summary = Summary {
            total_checks: checks.len(),
            passed: count(Status::Passed),
            warning: count(Status::Warning),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
        };
        let verdict = verdict(summary, &metadata);
        let mut sections: Vec<SectionReport> = Section::ALL
            .into_iter()
            .map(|name| SectionReport { name, status: Status::Skipped, checks: Vec::new() })
            .collect();
        for check in checks {
            let name = check.id.section();
            if let Some(section) = sections.iter_mut().find(|section| section.name == name) {
                section.checks.push(check);
            }
        }
        for section in &mut sections {
            section.checks.sort_by_key(|check| check.id);
            section.status = worst(&section.checks).unwrap_or(Status::Skipped);
        }
        Self { status, summary, verdict, sections, metadata }
    }

    /// Whether nothing was found that counts.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.status {
            Status::Failed => false,
            Status::Warning => !self.metadata.strict,
            Status::Passed | Status::Skipped => true,
        }
    }

    /// Every check, in order.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.sections.iter().flat_map(|section| &section.checks)
    }
}

fn verdict(summary: Summary, metadata: &Metadata) -> String {
    let without = if metadata.quick { " (benchmarks skipped: --quick)" } else { "" };
    match summary {
        Summary { failed: 0, warning: 0, .. } => format!("ready to deploy{without}"),
        Summary { failed: 0, .. } if metadata.strict => {
            format!("not ready: there are warnings, and --strict counts them{without}")
        }
        Summary { failed: 0, .. } => format!("ready to deploy, with warnings{without}"),
        _ => format!("not ready: fix the failed checks first{without}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::catalogue::{Id, PROBLEMS};

    fn metadata(strict: bool) -> Metadata {
        Metadata {
            timestamp: Timestamp::default(),
            duration_ms: 1,
            version: "0",
            log_dir: "logs".into(),
            settings_file: None,
            user: "root".into(),
            quick: false,
            strict,
        }
    }

    #[test]
    fn warnings_count_only_when_strict_and_failures_always() {
        let warning = || vec![Check::warning(Id::DiskGrowth, "soon full")];
        assert!(Report::new(warning(), metadata(false)).is_good());
        let strict = Report::new(warning(), metadata(true));
        assert!(!strict.is_good() && strict.verdict.contains("--strict"));
        let failed = Report::new(vec![Check::failed(Id::DiskSpace, "full")], metadata(false));
        assert!(!failed.is_good() && failed.verdict.starts_with("not ready"));
        let skipped = Report::new(vec![Check::skipped(Id::DiskGrowth, "new")], metadata(true));
        assert!(skipped.is_good());
    }

    #[test]
    fn sections_and_checks_stand_in_the_table_s_order() {
        let checks = vec![
            Check::passed(Id::Tampering, "found"),
            Check::passed(Id::SettingsRisk, "none"),
            Check::passed(Id::SettingsFile, "none"),
        ];
        let report = Report::new(checks, metadata(false));
        let ids: Vec<&str> = report.checks().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["settings.file", "settings.risk", "security.tampering"]);
        assert_eq!(report.sections.len(), Section::ALL.len());
    }

    #[test]
    fn every_id_is_unique_and_begins_with_its_section() {
        let mut seen = std::collections::BTreeSet::new();
        let mut titles = std::collections::BTreeSet::new();
        for id in Id::ALL {
            let section = format!("{}.", id.section().as_str().to_ascii_lowercase());
            assert!(id.as_str().starts_with(&section) && seen.insert(id.as_str()), "{id:?}");
            assert!(id.worst().is_problem() && !id.about().is_empty(), "{id:?}");
            assert!(!id.title().is_empty() && titles.insert(id.title()), "{id:?}: its own title");
        }
        assert_eq!(PROBLEMS.len(), Id::ALL.len());
    }
}
