//! The shape of the sources: which floor uses which, and what stands only in
//! one place. The rules are in `floors` and `rules`; here they judge the real tree, and one
//! bad sample each, so that no rule can fall silent.

mod floors;
mod paths;
mod rules;
mod samples;
mod source;

use std::path::Path;

use paths::{Mention, mentions};
use rules::Finding;
use source::Source;

/// All `.rs` files under a folder of the package, by path.
fn files_under(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                let name = path.strip_prefix(root).expect("it is under the root");
                found.push(Source::new(name.to_string_lossy(), text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Without the files that only test builds contain (`#[cfg(test)] mod tests;`).
fn production_files(sources: Vec<Source>) -> Vec<Source> {
    let test_only: Vec<Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            let module = source.module();
            source
                .test_modules
                .iter()
                .map(move |name| [&module[..], std::slice::from_ref(name)].concat())
        })
        .collect();
    let is_test = |source: &Source| {
        let module = source.module();
        test_only.iter().any(|tests| module.starts_with(tests))
    };
    sources.into_iter().filter(|source| !is_test(source)).collect()
}

/// Every rule about `src/`, on the given files.
fn judge(sources: Vec<Source>) -> Vec<Finding> {
    let mut found = rules::every_file_is_declared(&sources, &["src/lib.rs", "src/main.rs"]);
    found.extend(rules::nothing_is_unsafe(&sources));
    let sources = production_files(sources);
    let mentions: Vec<Mention<'_>> = mentions(&sources);
    found.extend(floors::every_folder_is_a_known_floor(&sources));
    found.extend(floors::floors_use_only_what_is_below(&mentions));
    found.extend(floors::the_engine_keeps_to_its_floors(&sources, &mentions));
    found.extend(floors::the_collector_renders_without_a_terminal(&sources, &mentions));
    found.extend(floors::no_glob_import_of_own_modules(&sources, &mentions));
    found.extend(floors::no_cycles(&sources, &mentions));
    found.extend(rules::only_fsio_touches_files(&sources, &mentions));
    found.extend(rules::nothing_is_opened_in_a_way_of_its_own(&sources));
    found.extend(rules::only_the_top_talks_to_the_process(&sources, &mentions));
    found.extend(rules::crates_stay_on_their_floors(&mentions));
    found.extend(rules::one_file_of_cli_starts_the_runtime(&mentions));
    found.extend(rules::no_unwrap_outside_tests(&sources));
    found.extend(rules::main_is_short(&sources));
    found.sort();
    found.dedup();
    found
}

fn assert_clean(found: &[Finding]) {
    let list: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n\n{}\n", list.len(), list.join("\n"));
}

#[test]
fn the_sources_keep_to_the_house_rules() {
    let sources = files_under("src");
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the tree was read");
    assert_clean(&judge(sources));
}

#[test]
fn no_integration_test_file_is_forgotten() {
    let sources = files_under("tests/it");
    assert!(sources.len() > 1, "the tree was read");
    assert_clean(&rules::every_file_is_declared(&sources, &["tests/it/main.rs"]));
}
