//! Each rule on a small bad tree that breaks it and a good one that does not;
//! and the reading of sources, on text made to mislead it.

use super::floors::ALLOWED;
use super::judge;
use super::paths::{Target, mentions};
use super::rules::{Finding, every_file_is_declared};
use super::source::{Source, blank_comments_and_literals, blank_test_items, tokens};

/// Files as (path, text); every folder's `mod.rs` and the crate root are added
/// with the `mod` lines that make the tree whole.
fn tree(files: &[(&str, &str)]) -> Vec<Source> {
    use std::collections::{BTreeMap, BTreeSet};
    let mut texts: BTreeMap<String, String> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let mut declared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, _) in files.iter().filter(|(path, _)| *path != "src/main.rs") {
        let mut inside = path.trim_end_matches(".rs").trim_end_matches("/mod");
        while let Some((folder, name)) = inside.rsplit_once('/') {
            let parent =
                if folder == "src" { "src/lib.rs".to_owned() } else { format!("{folder}/mod.rs") };
            declared.entry(parent).or_default().insert(name.to_owned());
            inside = folder;
        }
    }
    for (parent, names) in declared {
        let text = texts.entry(parent).or_default();
        let lines =
            names.iter().filter(|name| *name != "lib" && !text.contains(&format!("mod {name};")));
        let lines: String = lines.map(|name| format!("\nmod {name};")).collect();
        text.push_str(&lines);
    }
    texts.into_iter().map(|(path, text)| Source::new(path, text)).collect()
}

fn findings(files: &[(&str, &str)]) -> Vec<String> {
    judge(tree(files)).iter().map(place).collect()
}

fn place(finding: &Finding) -> String {
    format!("{}:{}: {}", finding.path, finding.line, finding.what)
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_floor_that_uses_one_above_it_is_found() {
    for text in [
        "use crate::config::Settings;",
        "use crate::{units::ByteSize, config::{self, Settings}};",
        "fn f(s: &crate::config::Settings) {}",
        "fn f() { <crate::config::Settings as Default>::default(); }",
        "use super::super::super::config;",
        "pub use crate::config::Settings as Other;",
    ] {
        let found = findings(&[("src/audit/write/log.rs", text), ("src/config/mod.rs", "")]);
        assert_eq!(found, ["src/audit/write/log.rs:1: audit uses config"], "{text}");
    }
}

#[test]
fn a_floor_may_use_those_below_it() {
    let found = findings(&[
        (
            "src/audit/write/log.rs",
            "use crate::clock::Clock;\nuse crate::fsio::{self, Fs};\nuse crate::units;",
        ),
        ("src/config/mod.rs", "use crate::units::ByteSize;"),
        ("src/cli/mod.rs", "use crate::{ui, audit::write, config, collector};"),
        ("src/clock.rs", ""),
        ("src/fsio/mod.rs", ""),
        ("src/units.rs", ""),
        ("src/ui/mod.rs", ""),
        ("src/collector/mod.rs", ""),
    ]);
    assert_eq!(found, none());
}

#[test]
fn a_folder_of_the_engine_that_uses_one_above_it_is_found() {
    let found = findings(&[
        ("src/audit/mod.rs", "pub use write::log::AuditLog;"),
        ("src/audit/files/gzip.rs", "use crate::audit::read::query::Query;\nuse super::scan;"),
        ("src/audit/files/scan.rs", "use crate::audit::tree::merkle::Hash;"),
        ("src/audit/read/query.rs", "use crate::audit::AuditLog;"),
        ("src/audit/tree/merkle.rs", ""),
        ("src/audit/write/log.rs", "use crate::audit::tree::merkle;\npub struct AuditLog;"),
        ("src/audit/extra.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "src/audit/extra.rs:1: an unknown folder of the engine",
            "src/audit/files/gzip.rs:1: audit::files uses audit::read",
            "src/audit/read/query.rs:1: audit::read uses audit::write",
        ]
    );
}

#[test]
fn an_edge_hidden_behind_the_crate_root_is_found() {
    let found = findings(&[
        ("src/lib.rs", "pub use config::Settings;"),
        ("src/audit/write/log.rs", "use crate::Settings;"),
        ("src/config/mod.rs", ""),
    ]);
    assert_eq!(found, ["src/audit/write/log.rs:1: audit uses config"]);
}

#[test]
fn an_edge_out_of_an_inline_module_is_found() {
    let text =
        "mod inner {\n use super::super::super::super::config::Settings;\n}\nuse super::other;";
    let found = findings(&[
        ("src/audit/write/log.rs", text),
        ("src/audit/write/other.rs", ""),
        ("src/config/mod.rs", ""),
    ]);
    assert_eq!(found, ["src/audit/write/log.rs:2: audit uses config"]);
}

#[test]
fn main_uses_only_the_command_line() {
    let found = findings(&[
        ("src/main.rs", "use auditctl::cli;\nuse auditctl::audit::AuditLog;"),
        ("src/cli/mod.rs", ""),
        ("src/audit/mod.rs", ""),
    ]);
    assert_eq!(found, ["src/main.rs:2: main uses audit"]);
}

#[test]
fn a_folder_without_a_place_in_the_table_is_found() {
    let found = findings(&[("src/helpers/mod.rs", "use crate::units;"), ("src/units.rs", "")]);
    assert_eq!(
        found,
        [
            "src/helpers/mod.rs:1: an unknown floor",
            "src/helpers/mod.rs:1: helpers is not a known floor"
        ]
    );
}

#[test]
fn the_table_of_floors_has_no_cycle_itself() {
    // Each floor uses only those that stand after it.
    for (at, (floor, below)) in ALLOWED.iter().enumerate() {
        for used in *below {
            let place = ALLOWED.iter().position(|(name, _)| name == used);
            let place =
                place.unwrap_or_else(|| panic!("{floor} may use {used}, which is no floor"));
            // The one edge upwards in the order of floors: collector -> ui's pure renderers.
            assert!(place > at || (*floor, *used) == ("collector", "ui"), "{floor} -> {used}");
            let back = ALLOWED[place].1.contains(floor);
            assert!(!back, "{floor} and {used} may use each other");
        }
    }
}

#[test]
fn the_collector_may_use_only_renderers_that_print_nothing() {
    let files = |text| {
        findings(&[
            ("src/collector/http.rs", text),
            ("src/ui/mod.rs", "pub use json::render;\npub use output::Printer;"),
            ("src/ui/json.rs", "pub fn render() {}"),
            ("src/ui/output.rs", "pub struct Printer;\nfn f() { println!(); }"),
            ("src/ui/live.rs", "use super::output::Printer;"),
            ("src/ui/colour.rs", "use std::env;"),
        ])
    };
    assert_eq!(files("use crate::ui::render;\nuse crate::ui::json;"), none());
    for text in [
        "use crate::ui::Printer;",
        "use crate::ui::live::draw;",
        "fn f() { crate::ui::colour::on(); }",
    ] {
        assert_eq!(files(text), ["src/collector/http.rs:1: collector uses what prints"], "{text}");
    }
}

#[test]
fn a_cycle_in_a_folder_is_found_with_its_places() {
    let found = findings(&[
        ("src/health/a.rs", "use super::b::B;"),
        ("src/health/b.rs", "\nuse crate::health::c;"),
        ("src/health/c.rs", "fn f() { super::a::g(); }"),
    ]);
    assert_eq!(
        found,
        ["src/health/a.rs:1: a cycle in health: a -> b (src/health/a.rs:1) -> \
          c (src/health/b.rs:2) -> a (src/health/c.rs:1)"]
    );
}

#[test]
fn a_cycle_hidden_behind_a_reexport_or_an_alias_is_found() {
    for text in [
        "use super::Writer;",
        "use crate::audit::write;\nfn f() { write::Writer::new(); }",
        "use super::writer as w;",
    ] {
        let found = findings(&[
            ("src/audit/write/mod.rs", "pub use writer::Writer;"),
            ("src/audit/write/queue.rs", text),
            ("src/audit/write/writer.rs", "use super::queue::Queue;"),
        ]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("a cycle in audit::write: queue -> writer"), "{found:?}");
    }
}

#[test]
fn in_audit_the_folder_itself_takes_part_in_cycles() {
    let files = |folder: &str| {
        findings(&[
            (&format!("src/{folder}/mod.rs"), "pub struct Shared;\nfn f() { log::open(); }"),
            (&format!("src/{folder}/log.rs"), "use super::Shared;"),
        ])
    };
    assert_eq!(files("audit/write").len(), 1);
    assert_eq!(files("health"), none());
}

#[test]
fn a_cycle_that_only_tests_close_is_none() {
    let found = findings(&[
        ("src/audit/write/a.rs", "use super::b::B;"),
        (
            "src/audit/write/b.rs",
            "#[cfg(test)]\nmod tests {\n use super::super::a::A;\n}\n#[cfg(test)]\nuse super::a;",
        ),
    ]);
    assert_eq!(found, none());
}

#[test]
fn a_glob_of_an_own_module_is_found_and_one_of_an_enum_is_not() {
    let found = findings(&[
        (
            "src/audit/write/a.rs",
            "use super::b::*;\nuse super::b::Kind::*;\nuse std::io::prelude::*;",
        ),
        ("src/audit/write/b.rs", ""),
    ]);
    assert_eq!(found, ["src/audit/write/a.rs:1: a glob import"]);
}

#[test]
fn files_touched_outside_the_seam_are_found() {
    for (text, what) in [
        ("use std::fs;", "std::fs"),
        ("use std::{fs::File, io};", "std::fs::File"),
        ("fn f() { std::fs::read(p); }", "std::fs::read"),
        ("fn f() { ::std::fs::read(p); }", "std::fs::read"),
        ("fn f() { File::open(p); }", "File::open"),
        ("use rustix::fs;", "rustix::fs"),
        ("fn f() { if path.exists() {} }", ".exists()"),
    ] {
        let expected = format!("src/audit/write/log.rs:1: {what}");
        assert_eq!(findings(&[("src/audit/write/log.rs", text)]), [expected], "{text}");
        // What is opened there has a table of its own, in which this is not.
        let opens = usize::from(text.contains("fs::read"));
        assert_eq!(findings(&[("src/fsio/os.rs", text)]).len(), opens, "{text}");
        assert_eq!(findings(&[("src/store/local.rs", text)]).len(), opens, "{text}");
    }
    let aliased = findings(&[(
        "src/audit/write/log.rs",
        "use std::fs as files;\nfn f() { files::read(p); }",
    )]);
    assert_eq!(
        aliased,
        ["src/audit/write/log.rs:1: std::fs", "src/audit/write/log.rs:2: std::fs::read"]
    );
}

#[test]
fn printing_environment_and_exit_below_the_top_are_found() {
    for (text, what) in [
        ("fn f() { println!(); }", "println!"),
        ("fn f() { eprintln ! (); }", "eprintln!"),
        ("use std::env;", "std::env"),
        ("fn f() { std::env::var(n); }", "std::env::var"),
        ("fn f() { std::process::exit(1) }", "std::process::exit"),
        ("use std::io::{Read, stdout};", "std::io::stdout"),
    ] {
        let expected = format!("src/health/mod.rs:1: {what}");
        assert_eq!(findings(&[("src/health/mod.rs", text)]), [expected], "{text}");
        assert_eq!(findings(&[("src/cli/mod.rs", text)]), none(), "{text}");
        assert_eq!(findings(&[("src/ui/human.rs", text)]), none(), "{text}");
    }
    let fine = "const V: &str = env!(\"CARGO_PKG_VERSION\");\nfn f() { std::process::id(); }";
    assert_eq!(findings(&[("src/health/mod.rs", fine)]), none());
}

#[test]
fn a_crate_on_the_wrong_floor_is_found() {
    for (path, text, what) in [
        ("src/audit/write/log.rs", "use tokio::sync::Mutex;", "tokio::sync::Mutex"),
        ("src/audit/write/log.rs", "fn f() { tokio::select! {} }", ""),
        ("src/health/mod.rs", "#[tokio::main]\nasync fn f() {}", "tokio::main"),
        ("src/cli/mod.rs", "use axum::Router;", "axum::Router"),
        ("src/config/mod.rs", "#[derive(clap::ValueEnum)]\nenum E {}", "clap::ValueEnum"),
        ("src/health/mod.rs", "use indicatif::ProgressBar;", "indicatif::ProgressBar"),
    ] {
        let what = if what.is_empty() { "tokio::select" } else { what };
        assert_eq!(findings(&[(path, text)]), [format!("{path}:1: {what}")]);
    }
    let found = findings(&[
        ("src/collector/mod.rs", "use tokio::net;\nuse axum::Router;"),
        ("src/store/s3.rs", "use tokio::io;"),
        ("src/cli/args.rs", "use clap::Parser;"),
    ]);
    assert_eq!(found, none());
}

#[test]
fn a_second_runtime_in_cli_is_found() {
    let serve =
        ("src/cli/commands/serve.rs", "use tokio::runtime::Builder;\nfn f() { tokio::spawn(x); }");
    assert_eq!(findings(&[serve]), none());
    let found = findings(&[serve, ("src/cli/commands/watch.rs", "use tokio::time;")]);
    assert_eq!(
        found,
        ["src/cli/commands/watch.rs:1: tokio, which src/cli/commands/serve.rs has already"]
    );
}

#[test]
fn unsafe_code_is_found_even_in_tests() {
    let text = "#[cfg(test)]\nmod tests {\n fn f() { unsafe { g() } }\n}";
    assert_eq!(findings(&[("src/audit/write/log.rs", text)]), ["src/audit/write/log.rs:3: unsafe"]);
    assert_eq!(findings(&[("src/audit/write/log.rs", "#![deny(unsafe_code)] // unsafe")]), none());
}

#[test]
fn unwrap_is_found_outside_tests_only() {
    let text = "fn f() { g()\n  .unwrap(); }\n#[cfg(test)]\nmod tests { fn f() { g().unwrap(); } }";
    assert_eq!(findings(&[("src/units.rs", text)]), ["src/units.rs:2: .unwrap()"]);
    let fine = "/// g().unwrap()\nfn f() { g().unwrap_or(\".unwrap()\") }";
    assert_eq!(findings(&[("src/units.rs", fine)]), none());
}

#[test]
fn a_test_module_in_a_file_of_its_own_is_test_code() {
    let tests = ("src/audit/write/log/tests.rs", "fn f() { std::fs::read(p).unwrap(); }");
    let marked =
        ("src/audit/write/log/mod.rs", "#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests;");
    assert_eq!(findings(&[marked, tests]), none());
    assert_eq!(findings(&[("src/audit/write/log/mod.rs", "mod tests;"), tests]).len(), 2);
}

#[test]
fn a_long_main_is_found() {
    let text = "//\n".repeat(41);
    assert_eq!(findings(&[("src/main.rs", &text)]), ["src/main.rs:41: more than 40 lines"]);
    assert_eq!(findings(&[("src/main.rs", &text[..120])]), none());
}

#[test]
fn a_file_that_nothing_declares_is_found() {
    let files = [
        Source::new("tests/it/main.rs", "mod a;\n// mod b;\nmod c;"),
        Source::new("tests/it/a.rs", "mod inner;"),
        Source::new("tests/it/a/inner.rs", ""),
        Source::new("tests/it/a/lost.rs", ""),
        Source::new("tests/it/b.rs", ""),
        Source::new("tests/it/c/mod.rs", ""),
    ];
    let found: Vec<String> =
        every_file_is_declared(&files, &["tests/it/main.rs"]).iter().map(place).collect();
    assert_eq!(
        found,
        [
            "tests/it/a/lost.rs:1: no `mod lost;` declares it",
            "tests/it/b.rs:1: no `mod b;` declares it"
        ]
    );
}

#[test]
fn a_finding_says_where_what_and_why() {
    let found = judge(tree(&[("src/units.rs", "fn f() { x.unwrap() }")]));
    let text = found[0].to_string();
    assert!(text.starts_with("src/units.rs:1: .unwrap()\n    because a panic"), "{text}");
}

#[test]
fn comments_and_literals_become_blanks_of_the_same_lines() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x // \\\" y\") + 1", "f(           ) + 1"),
        ("let s = r#\"un\"safe\n\"#; x", "let s =           \n  ; x"),
        ("b\"x\" br##\"a\"#b\"## c\"y\"", "                      "),
        ("r#type + for_r#\"x\"#", "r#type + for_r#   #"),
        ("let c = '\"'; d", "let c =    ; d"),
        ("let c = '\\''; let q = '\\u{22}'; b'\"'", "let c =     ; let q =         ;     "),
        ("fn f<'a>(x: &'a str, y: &'static str) {}", "fn f<'a>(x: &'a str, y: &'static str) {}"),
        ("\"two\\\nlines\" x", "     \n       x"),
    ];
    for (text, expected) in cases {
        assert_eq!(blank_comments_and_literals(text), expected, "{text}");
    }
}

#[test]
fn test_items_become_blanks_and_what_follows_stays() {
    let kept = |code: &str| {
        let (blanked, modules) = blank_test_items(code);
        (blanked.split_whitespace().collect::<Vec<_>>().join(" "), modules)
    };
    let plain = |code: &str| kept(code).0;
    assert_eq!(
        kept("a #[cfg(test)] mod tests { x { y } } b"),
        ("a b".into(), vec!["tests".into()])
    );
    assert_eq!(
        kept("#[cfg(test)] #[path = 1] pub(crate) mod t; b"),
        ("b".into(), vec!["t".into()])
    );
    assert_eq!(plain("#[cfg(all(test, unix))] fn f<A, B>(a: [A; 2]) -> B { c } d"), "d");
    assert_eq!(plain("#[cfg(test)] use a::b; c"), "c");
    assert_eq!(plain("enum E { A, #[cfg(test)] B, C }"), "enum E { A, C }");
    assert_eq!(plain("enum E { A, #[cfg(test)] B }"), "enum E { A, }");
    assert_eq!(plain("#[cfg(not(test))] fn f() {}"), "#[cfg(not(test))] fn f() {}");
    assert_eq!(plain("#[derive(A)] struct S;"), "#[derive(A)] struct S;");
    assert_eq!(plain("a; #![cfg(test)] b; c"), "a;");
    let lines = blank_test_items("#[cfg(test)]\nmod t {\n}\nx").0;
    assert_eq!(lines.matches('\n').count(), 3);
}

#[test]
fn tokens_know_their_lines() {
    let found = tokens("a::b\n .c(1)");
    let texts: Vec<(&str, usize)> = found.iter().map(|token| (token.text, token.line)).collect();
    assert_eq!(
        texts,
        [("a", 1), ("::", 1), ("b", 1), (".", 2), ("c", 2), ("(", 2), ("1", 2), (")", 2)]
    );
}

#[test]
fn a_path_is_followed_to_the_module_that_holds_the_item() {
    let sources = tree(&[
        ("src/lib.rs", "pub use audit::AuditLog;"),
        ("src/audit/mod.rs", "pub use write::log::{AuditLog, Options as O};"),
        ("src/audit/write/log.rs", "pub struct AuditLog;"),
        ("src/cli/mod.rs", "fn f() { crate::AuditLog::open(crate::audit::O::new()); }"),
    ]);
    let found: Vec<Target> = mentions(&sources)
        .into_iter()
        .filter(|mention| mention.source.path == "src/cli/mod.rs")
        .map(|mention| mention.target)
        .collect();
    let inside = |rest: &[&str]| {
        Target::Inside(
            vec!["audit".into(), "write".into(), "log".into()],
            rest.iter().map(|part| (*part).to_owned()).collect(),
        )
    };
    assert_eq!(found, [inside(&["AuditLog", "open"]), inside(&["Options", "new"])]);
}

#[test]
fn a_plain_open_is_found_wherever_it_stands() {
    for text in [
        "fn f(p: &Path) { let _ = File::open(p); }",
        "fn f(p: &Path) { let _ = OpenOptions::new().read(true).open(p); }",
        "fn f(p: &Path) { let _ = std::fs::read_to_string(p); }",
    ] {
        for path in ["src/fsio/lock.rs", "src/store/local/more.rs"] {
            let found = findings(&[(path, text)]);
            assert_eq!(found.len(), 1, "{path} {text}: {found:?}");
        }
    }
    let given = "fn f(p: &Path) { OsFs.read_given(p, 9); }";
    assert_eq!(findings(&[("src/alerts/route.rs", given)]).len(), 1);
    assert_eq!(findings(&[("src/fsio/os.rs", given)]), none());
}
