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
        .filter(|target| !target.contains("://"))
        .collect()
}

/// Every document: those at the root, and the pages of docs/ and packaging/.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs", "packaging", "docs/vectors"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("entry").file_name().into_string().expect("UTF-8");
            if name.ends_with(".md") {
                found.push(Path::new(folder).join(name).display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// What GitHub makes of a heading for links: `## 1. A & b` is `1-a--b`.
fn anchors(markdown: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found: Vec<String> = Vec::new();
    for line in markdown.lines() {
        in_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#').strip_prefix(' ');
        let Some(heading) = heading.filter(|_| line.starts_with('#') && !in_code) else { continue };
        let kept = |sign: &char| sign.is_alphanumeric() || "-_ ".contains(*sign);
        let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
        found.push(anchor.replace(' ', "-"));
    }
    found
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut count = 0;
    for document in documents() {
        let content = text(&document);
        for link in links(&content) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(&document).parent().expect("it is in a folder").to_path_buf();
            let target =
                if target.is_empty() { root().join(&document) } else { folder.join(target) };
            assert!(target.exists(), "{document} links to {link}");
            if !anchor.is_empty() && target.extension().is_some_and(|kind| kind == "md") {
                let anchors = anchors(&text(&target));
                assert!(anchors.iter().any(|known| known == anchor), "{document} links to {link}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "links were found");
}

#[test]
fn every_page_is_in_the_index_and_has_at_most_400_lines() {
    // What people look things up in, and the list of what changed.
    let references = ["docs/codes.md", "docs/format.md", "CHANGELOG.md"];
    let index = text("docs/README.md");
    for document in documents() {
        let lines = text(&document).lines().count();
        let is_reference = references.contains(&document.as_str());
        assert!(lines <= 400 || is_reference, "{document} has {lines} lines: split it");
        if let Some(page) = document.strip_prefix("docs/").filter(|page| *page != "README.md") {
            assert!(index.contains(&format!("]({page})")), "docs/README.md does not list {page}");
        }
    }
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
fn the_screen_in_the_documents_is_the_one_that_is_kept_up_to_date() {
    for document in ["README.md", "docs/integrations.md"] {
        assert!(text(document).contains(&text("docs/screens/monitor.txt")), "{document}");
    }
}

#[test]
fn the_readme_holds_the_two_commands_that_ci_runs() {
    let readme = text("README.md");
    // Two words that cargo takes for the whole command.
    let aliases = text(".cargo/config.toml");
    assert!(aliases.contains("\ndemo = \"run --release "), "{aliases}");
    for (name, start) in [("run", "cargo demo"), ("test", "cargo test")] {
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
