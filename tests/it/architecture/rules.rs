//! What stands only in certain places, and what a finding is.

use std::fmt;

use super::paths::{Mention, Target};
use super::source::{Source, tokens};

/// Something that must not be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    because {}", self.path, self.line, self.what, self.why)
    }
}

pub(crate) fn at(
    source: &Source,
    line: usize,
    what: impl Into<String>,
    why: &'static str,
) -> Finding {
    Finding { path: source.path.clone(), line, what: what.into(), why }
}

/// Whether the file is, or is inside, one of these: `src/cli`, `src/audit/state/status`.
fn within(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| {
        source.path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    })
}

pub(crate) fn only_fsio_touches_files(
    sources: &[Source],
    mentions: &[Mention<'_>],
) -> Vec<Finding> {
    const WHY: &str = "files are touched through fsio, so that tests can make each operation \
                       fail; only fsio and store/local use the operating system's";
    const PLACES: &[&str] = &["src/fsio", "src/store/local"];
    const METHODS: &[&str] = &[
        "exists",
        "try_exists",
        "is_dir",
        "read_dir",
        "canonicalize",
        "symlink_metadata",
        "read_link",
    ];
    let mut found = Vec::new();
    for mention in mentions.iter().filter(|mention| !within(mention.source, PLACES)) {
        if let Target::Outside(path) = &mention.target {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if matches!(
                path[..],
                ["std" | "tokio" | "rustix", "fs", ..] | ["File" | "OpenOptions", _, ..]
            ) {
                found.push(at(mention.source, mention.line, path.join("::"), WHY));
            }
        }
    }
    for source in sources.iter().filter(|source| !within(source, PLACES)) {
        for call in tokens(&source.production).windows(4) {
            let [dot, name, open, close] = call else { continue };
            if (dot.text, open.text, close.text) == (".", "(", ")") && METHODS.contains(&name.text)
            {
                found.push(at(source, name.line, format!(".{}()", name.text), WHY));
            }
        }
    }
    found
}

/// Every place that opens a file by the system's own means, and who may wait for a pipe.
pub(crate) fn nothing_is_opened_in_a_way_of_its_own(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "a pipe or a link that somebody planted is waited for or followed: open and \
                       read through OpenMode, Fs::read, Fs::read_own; what is named on the command \
                       line to be read now through Fs::read_given or fsio::given; the table in this rule lists the \
                       exceptions";
    /// Where, what, how often.
    const OPENS: &[(&str, &str, usize)] = &[
        // OpenMode itself, two directories that are synced, read_given.
        ("src/fsio/os.rs", "OpenOptions::new", 1),
        ("src/fsio/os.rs", "File::open", 3),
        // What `record --file` reads.
        ("src/fsio/given.rs", "File::open", 1),
        // Written with O_NOFOLLOW and O_NONBLOCK; a directory that is synced.
        ("src/store/local.rs", "OpenOptions::new", 2),
        ("src/store/local.rs", "File::open", 1),
    ];
    const GIVEN: &[&str] = &[
        "src/fsio",
        "src/cli/context",
        "src/cli/commands/verify",
        "src/cli/commands/fleet",
        "src/cli/commands/key/escrow",
        "src/cli/commands/query/redacted",
        "src/cli/commands/record/python",
        "src/cli/commands/record/input",
        "src/audit/keys/signer/key",
        "src/backup/encrypt/key_file",
    ];
    let mut found = Vec::new();
    for source in sources {
        let tokens = tokens(&source.production);
        let mut left: Vec<(&str, usize)> = OPENS
            .iter()
            .filter(|(path, ..)| *path == source.path)
            .map(|(_, what, count)| (*what, *count))
            .collect();
        for words in tokens.windows(3) {
            let what = match [words[0].text, words[1].text, words[2].text] {
                // Elsewhere they are found as what only fsio does.
                ["File", "::", "open" | "options" | "create" | "create_new"]
                | ["OpenOptions", "::", "new"]
                | ["fs", "::", "read" | "read_to_string" | "write" | "copy"]
                    if within(source, &["src/fsio", "src/store/local"]) =>
                {
                    format!("{}::{}", words[0].text, words[2].text)
                }
                ["given", "::", "open"] if !within(source, GIVEN) => "given::open".to_owned(),
                [".", "read_given", "("] if !within(source, GIVEN) => ".read_given()".to_owned(),
                _ => continue,
            };
            match left.iter_mut().find(|(allowed, count)| *allowed == what && *count > 0) {
                Some((_, count)) => *count -= 1,
                None => found.push(at(source, words[0].line, what, WHY)),
            }
        }
    }
    found
}

pub(crate) fn only_the_top_talks_to_the_process(
    sources: &[Source],
    mentions: &[Mention<'_>],
) -> Vec<Finding> {
    const WHY: &str = "only cli and ui print, read the environment or end the process; below \
                       them values and errors are returned";
    const PLACES: &[&str] = &["src/cli", "src/ui", "src/main"];
    let mut found = Vec::new();
    for mention in mentions.iter().filter(|mention| !within(mention.source, PLACES)) {
        if let Target::Outside(path) = &mention.target {
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            if matches!(
                words[..],
                ["std", "env", ..]
                    | ["std", "process", "exit" | "abort", ..]
                    | ["std", "io", "stdout" | "stderr", ..]
                    | ["tokio", "io", "stdout" | "stderr", ..]
            ) {
                found.push(at(mention.source, mention.line, path.join("::"), WHY));
            }
        }
    }
    for source in sources.iter().filter(|source| !within(source, PLACES)) {
        for pair in tokens(&source.production).windows(2) {
            let prints =
                matches!(pair[0].text, "println" | "eprintln" | "print" | "eprint" | "dbg");
            if prints && pair[1].text == "!" {
                found.push(at(source, pair[0].line, format!("{}!", pair[0].text), WHY));
            }
        }
    }
    found
}

/// Crates that belong to certain floors.
pub(crate) fn crates_stay_on_their_floors(mentions: &[Mention<'_>]) -> Vec<Finding> {
    type Belongs = (&'static [&'static str], &'static [&'static str], &'static str);
    const BELONGS: &[Belongs] = &[
        (
            &["tokio"],
            &["src/collector", "src/alerts", "src/store", "src/witness", "src/cli"],
            "the engine is synchronous threads and channels: only what speaks over networks is asynchronous",
        ),
        (&["axum", "hyper"], &["src/collector"], "only the collector serves HTTP"),
        (&["jiff"], &["src/zone"], "one module knows time zones, strictly"),
        (&["lettre"], &["src/alerts"], "only alerts write e-mail"),
        (
            &["clap", "clap_complete", "clap_mangen"],
            &["src/cli"],
            "only cli knows what a command line is",
        ),
        (&["indicatif", "anstyle"], &["src/cli", "src/ui"], "only cli and ui know terminals"),
    ];
    let mut found = Vec::new();
    for mention in mentions {
        let Target::Outside(path) = &mention.target else { continue };
        for (crates, places, why) in BELONGS {
            if crates.contains(&path[0].as_str()) && !within(mention.source, places) {
                found.push(at(mention.source, mention.line, path.join("::"), why));
            }
        }
    }
    found
}

/// `cli` starts tokio's runtime in one place.
pub(crate) fn one_file_of_cli_starts_the_runtime(mentions: &[Mention<'_>]) -> Vec<Finding> {
    const WHY: &str = "cli starts the asynchronous runtime in one file, for `serve`; all other \
                       commands start without paying for it";
    let in_cli: Vec<&Mention<'_>> = mentions
        .iter()
        .filter(|mention| within(mention.source, &["src/cli"]))
        .filter(|mention| matches!(&mention.target, Target::Outside(path) if path[0] == "tokio"))
        .collect();
    let Some(first) = in_cli.first() else { return Vec::new() };
    in_cli
        .iter()
        .filter(|mention| mention.source.path != first.source.path)
        .map(|mention| {
            let what = format!("tokio, which {} has already", first.source.path);
            at(mention.source, mention.line, what, WHY)
        })
        .collect()
}

pub(crate) fn nothing_is_unsafe(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "no unsafe code is needed, unit tests included: what the system offers has a safe \
                       wrapper in rustix or nix";
    sources
        .iter()
        .flat_map(|source| {
            tokens(&source.code)
                .into_iter()
                .filter(|token| token.text == "unsafe")
                .map(|token| at(source, token.line, "unsafe", WHY))
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn no_unwrap_outside_tests(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "a panic takes the writer down: return the error, or expect() with the \
                       invariant that makes it impossible";
    let mut found = Vec::new();
    for source in sources {
        for call in tokens(&source.production).windows(4) {
            if call.iter().map(|token| token.text).eq([".", "unwrap", "(", ")"]) {
                found.push(at(source, call[1].line, ".unwrap()", WHY));
            }
        }
    }
    found
}

pub(crate) fn main_is_short(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "main parses, runs and maps to an exit code; the rest has a place in cli";
    const LINES: usize = 40;
    sources
        .iter()
        .filter(|source| source.is_main() && source.text.lines().count() > LINES)
        .map(|source| at(source, LINES + 1, format!("more than {LINES} lines"), WHY))
        .collect()
}

/// A file that no `mod` names is compiled by nobody, and its tests never run.
pub(crate) fn every_file_is_declared(sources: &[Source], roots: &[&str]) -> Vec<Finding> {
    const WHY: &str = "without a `mod` line the compiler skips the file, and its tests with it";
    let declares = |path: &str, name: &str| {
        sources.iter().filter(|source| source.path == path).any(|source| {
            tokens(&source.code).windows(3).any(|words| {
                words[0].text == "mod" && words[1].text == name && words[2].text == ";"
            })
        })
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !roots.contains(&source.path.as_str())) {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let mut parents = vec![format!("{folder}.rs"), format!("{folder}/mod.rs")];
        let in_root = |root: &&&str| root.rsplit_once('/').is_some_and(|(root, _)| root == folder);
        parents.extend(roots.iter().filter(in_root).map(|root| (*root).to_owned()));
        if !parents.iter().any(|parent| declares(parent, name)) {
            found.push(at(source, 1, format!("no `mod {name};` declares it"), WHY));
        }
    }
    found
}
