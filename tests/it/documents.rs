//! What the documents point to is there, and copies of one thing are equal.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn unzipped(path: &str) -> String {
    let file = std::fs::File::open(root().join(path)).expect("the file is part of the sources");
    let mut found = String::new();
    MultiGzDecoder::new(file).take(8 << 20).read_to_string(&mut found).expect("UTF-8 in gzip");
    found
}

/// Targets of `[…](target)` that are files here.
fn links(markdown: &str) -> Vec<&str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .collect()
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let documents = [
        "README.md",
        "CHANGELOG.md",
        "DEPLOYMENT_GUIDE.md",
        "docs/access.md",
        "docs/alerts.md",
        "docs/backups.md",
        "docs/configuration.md",
        "docs/doors.md",
        "docs/glossary.md",
        "docs/format.md",
        "docs/integrations.md",
        "docs/migrating.md",
        "docs/redaction.md",
        "docs/queries.md",
        "docs/testing.md",
        "docs/threat-model.md",
        "docs/validating.md",
        "packaging/README.md",
    ];
    let mut count = 0;
    for document in documents {
        let content = text(document);
        for link in links(&content) {
            let target = link.split('#').next().unwrap_or_default();
            let folder = root().join(document).parent().expect("it is in a folder").to_path_buf();
            assert!(folder.join(target).exists(), "{document} links to {link}");
            count += 1;
        }
    }
    assert!(count > 3, "links were found");
}

#[test]
fn the_format_document_names_every_word_of_the_status_page() {
    let document = text("docs/format.md");
    for (word, name, _) in auditctl::audit::state::status::Word::TABLE {
        let row = format!("| {} | `{name}` |", *word as usize);
        assert!(document.contains(&row), "{row}");
    }
}

#[test]
fn the_format_document_has_every_kind_of_json_file_once() {
    let document = text("docs/format.md");
    for kind in auditctl::audit::tree::document::Kind::ALL {
        let row = format!("\n| `{}` | ", kind.name());
        assert_eq!(document.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn the_screen_in_the_integrations_is_the_one_that_is_kept_up_to_date() {
    assert!(text("docs/integrations.md").contains(&text("docs/screens/monitor.txt")));
}

#[test]
fn the_readme_holds_the_two_commands_that_ci_runs() {
    let readme = text("README.md");
    for (name, start) in [("run", "cargo run --release"), ("test", "cargo test")] {
        let block = format!("<!-- command: {name} -->\n```sh\n{start}");
        assert_eq!(readme.matches(&block).count(), 1, "{name}");
        let rest = readme.split_once(&block).expect("just counted").1;
        assert_eq!(rest.lines().nth(1), Some("```"), "{name}: one line");
    }
}

#[test]
fn the_demo_s_events_are_the_sample_and_the_sample_is_of_the_fixture() {
    let all = unzipped("tests/fixtures/cloudtrail.ndjson.gz");
    let sample = text("tests/fixtures/cloudtrail_sample.ndjson");
    assert_eq!(unzipped("src/cli/commands/demo_sample.ndjson.gz"), sample);
    assert_eq!((all.lines().count(), sample.lines().count()), (2000, 200));
    let mut rest = all.lines();
    for line in sample.lines() {
        assert!(rest.any(|other| other == line), "in the same order: {line}");
    }
}

#[test]
fn every_fixture_line_has_only_the_keys_of_an_event() {
    const KEYS: [&str; 7] =
        ["timestamp", "event_type", "actor", "source", "target", "outcome", "details"];
    for line in unzipped("tests/fixtures/cloudtrail.ndjson.gz").lines() {
        let event: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).expect("an object");
        assert!(event.keys().all(|key| KEYS.contains(&key.as_str())), "{line}");
        assert!(event.contains_key("event_type"), "{line}");
    }
}
