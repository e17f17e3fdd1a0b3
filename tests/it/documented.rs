//! Every command in README.md, DEPLOYMENT_GUIDE.md, docs/tutorial.md, docs/integrations.md,
//! docs/http.md and docs/siem.md is run, in the order of the document, and prints what the document says it prints.
//!
//! A document has a directory of its own, in which `/etc`, `/opt`, `/run`, `/usr/lib`, `/var`,
//! `/mnt` and `/srv` lie too; the program built here comes first on PATH. Blocks of `sh` are
//! run line by line, those of `crontab` without their times and users; those of `toml` are
//! settings that the program takes. A block of `text` right
//! behind is what the commands print on stdout: numbers, hashes and spaces may differ,
//! `…` stands for anything, a line of only `…` for any lines.
//!
//! What cannot be run as it stands is marked in the document, by comments before the block:
//!
//! | `<!-- run: … -->` | |
//! |---|---|
//! | `serve` | a collector is started first |
//! | `units` | `systemctl` starts what the units say, without systemd; users are not made |
//! | ``cloud `TEXT` `` | lines with TEXT talk to a server started here, where built with the clouds |
//! | ``terminal `TEXT` `` | lines with TEXT get a terminal, and `q` typed |
//! | ``exit N `TEXT` `` | lines with TEXT end with N |
//! | ``when `COMMAND` `` | skipped, and said, until the program has that command |
//! | ``setting `KEY` `` | skipped, and said, until the program has that setting |
//! | `needs PROGRAM` | skipped, and said, where that is not installed |
//! | ``not `TEXT`, WHY`` | lines with TEXT are not run |
//! | `no, WHY` | the block is not run |

mod document;
mod sandbox;
mod socket;
mod units;

use std::process::Command;

use document::{Block, Language, Marker, blocks};
use sandbox::Sandbox;

use crate::support::Dir;

/// Of all commands in a document at most so many, of a hundred, may be left out.
const LEFT_OUT_PERCENT: usize = 25;

fn read(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(name: &str) {
    let text = read(name);
    let blocks = blocks(&text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    assert!(!blocks.is_empty(), "{name} has commands");
    let mut sandbox = Sandbox::new(name);
    let (mut all, mut left_out) = (0, 0);
    for block in &blocks {
        all += block.commands.len();
        left_out += block.left_out();
        run_block(&mut sandbox, block);
    }
    sandbox.end();
    assert!(
        left_out * 100 <= all * LEFT_OUT_PERCENT,
        "{name}: {left_out} of {all} commands are not run"
    );
}

fn run_block(sandbox: &mut Sandbox, block: &Block) {
    let missing = |marker: &Marker| match marker {
        Marker::Setting(key) => {
            auditctl::config::find(key).is_none().then(|| format!("the setting {key}"))
        }
        Marker::When(command) => (!sandbox.knows(command)).then(|| format!("`auditctl {command}`")),
        _ => None,
    };
    if block.markers.iter().any(|marker| matches!(marker, Marker::No)) {
        return;
    }
    let needs = |marker: &Marker| match marker {
        Marker::Needs(program) => (!sandbox.has(program)).then(|| program.clone()),
        _ => None,
    };
    if let Some(program) = block.markers.iter().find_map(needs) {
        return crate::support::missing(&program);
    }
    if let Some(what) = block.markers.iter().find_map(missing) {
        crate::support::skipped(&format!("this build lacks {what}, for {}", block.place));
        return;
    }
    if block.markers.contains(&Marker::Serve) {
        sandbox.serve("auditctl serve");
    }
    let mut printed = String::new();
    let mut whole = true;
    for command in &block.commands {
        if block.language == Language::Toml {
            sandbox.settings(&block.place, command);
            continue;
        }
        let marker = block.markers.iter().find(|marker| marker.is_about(command));
        match marker {
            Some(Marker::Not(_)) => whole = false,
            Some(Marker::Cloud(_)) => match sandbox::cloud(command) {
                Some(variables) => {
                    printed += &sandbox.command(&block.place, command, &variables, 0);
                }
                None => whole = false,
            },
            Some(Marker::Terminal(_)) => sandbox.in_terminal(&block.place, command),
            Some(Marker::Exit(code, _)) => {
                printed += &sandbox.command(&block.place, command, &[], *code);
            }
            _ if block.markers.contains(&Marker::Units) && units::is_about(command) => {
                units::run(sandbox, &block.place, command);
            }
            _ => printed += &sandbox.command(&block.place, command, &[], 0),
        }
    }
    if let Some(expected) = block.prints.as_ref().filter(|_| whole) {
        let fits = document::fits(expected, &printed);
        assert!(fits, "{} prints\n{printed}\nand not\n{expected}", block.place);
    }
}

#[test]
fn the_readme_s_commands_do_what_it_says() {
    run("README.md");
}

#[test]
fn the_deployment_guide_s_commands_do_what_it_says() {
    run("DEPLOYMENT_GUIDE.md");
}

#[test]
fn the_tutorial_s_commands_do_what_it_says() {
    run("docs/tutorial.md");
}

#[test]
fn the_commands_of_the_integrations_do_what_they_say() {
    run("docs/integrations.md");
}

#[test]
fn the_requests_of_the_page_about_http_get_the_answers_it_says() {
    run("docs/http.md");
}

#[test]
fn the_commands_for_a_siem_print_what_the_page_says() {
    run("docs/siem.md");
}

#[test]
fn the_picture_in_the_readme_shows_what_the_program_prints() {
    if Command::new("python3").arg("--version").output().is_err() {
        return crate::support::missing("python3");
    }
    let dir = Dir::new();
    let now = dir.path().join("session.svg");
    let program = env!("CARGO_BIN_EXE_auditctl");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/screens/record.py");
    let output = Command::new("python3").args([script, program, "--output"]).arg(&now).output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = "docs/screens/session.svg";
    assert!(read("README.md").contains(&format!("]({picture})")), "the README shows it");
    let (kept, now) = (read(picture), std::fs::read_to_string(now).expect("recorded"));
    let (kept, now) = (document::drawn(&kept), document::drawn(&now));
    let again = "python3 docs/screens/record.py PROGRAM draws it again";
    assert!(document::fits(&kept, &now), "{picture} shows\n{kept}\nnow it is\n{now}\n{again}");
    let tampered = document::drawn(&read(picture)).replace("DAMAGED", "VERIFIED");
    assert!(!document::fits(&tampered, &now), "a difference is noticed");
}

#[test]
fn a_marker_that_is_wrong_or_about_nothing_is_found() {
    let with = |marker: &str| blocks(&format!("<!-- run: {marker} -->\n```sh\nls\n```\n")).err();
    for good in ["units", "serve", "no, it is late", "not `ls`, why not", "exit 1 `l`"] {
        assert_eq!(with(good), None);
    }
    for bad in ["no", "no, ", "not `cp`, why", "not `ls`", "needs", "exit x `ls`", "sometimes"] {
        assert!(with(bad).is_some(), "{bad}");
    }
    let far = "<!-- run: units -->\n\nText.\n\n```sh\nls\n```\n";
    assert!(blocks(far).is_err(), "a marker stands before its block");
    assert!(blocks("```sh\nls\n").is_err(), "a block that does not end");
}

#[test]
fn blocks_are_cut_into_commands_and_what_they_print() {
    let text = "```sh\n# why\na | b \\\n  -c   # so\n\ncat > f <<'EOF'\nx\nEOF\n```\n\n```text\n1 …\n```\n\
                ```crontab\n# m h\n*/5 * * * * me a && b\n```\n```text\nnot right behind\n```\n";
    let blocks = blocks(text).expect("good");
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[0].commands, ["a | b \\\n  -c   # so", "cat > f <<'EOF'\nx\nEOF"]);
    assert_eq!(blocks[0].prints.as_deref(), Some("1 …\n"));
    assert_eq!((&*blocks[1].commands[0], blocks[1].language), ("a && b", Language::Crontab));
}

#[test]
fn what_is_printed_is_compared_but_for_numbers_hashes_and_gaps() {
    let fits = document::fits;
    assert!(fits("4 of 12 at 2026-01-01T00:00:00Z\n", "17  of 3 at 2025-11-02T10:11:12Z\n"));
    assert!(fits(
        "root 0123456789abcdef0123\n…\nend …\n",
        "root fedcba98765432100000\na\nb\nend x\n"
    ));
    assert!(fits("a\n…\nb\n", "a\nb\n"));
    assert!(!fits("a\n", "a\nb\n"));
    assert!(!fits("4 of 12\n", "4 or 12\n"));
    assert!(!fits("a\nb\n", "a\n"));
}
