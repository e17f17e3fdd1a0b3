//! The rules themselves. Each gives its findings; none of them is an opinion
//! about style.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::paths::{Mention, Module, Target};
use super::source::{Source, tokens};

/// The floors, each with those it may use. A floor that is missing here is a
/// finding: a new folder has to be given its place.
pub const ALLOWED: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "ui",
            "collector",
            "health",
            "monitor",
            "validate",
            "backup",
            "store",
            "audit",
            "config",
            "units",
            "clock",
            "fsio",
        ],
    ),
    ("ui", &["health", "monitor", "validate", "backup", "audit", "config", "units", "clock"]),
    // `ui`: only what prints nothing; see `collector_renders_without_a_terminal`.
    ("collector", &["ui", "health", "audit", "config", "units", "clock", "fsio"]),
    ("health", &["audit", "config", "units", "clock", "fsio"]),
    ("monitor", &["audit", "config", "units", "clock", "fsio"]),
    ("validate", &["store", "audit", "config", "units", "clock", "fsio"]),
    ("backup", &["store", "audit", "config", "units", "clock", "fsio"]),
    ("store", &["config", "units", "clock", "fsio"]),
    ("audit", &["units", "clock", "fsio"]),
    ("config", &["units"]),
    ("units", &[]),
    ("clock", &[]),
    ("fsio", &[]),
];

/// Something that must not be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
    pub why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    because {}", self.path, self.line, self.what, self.why)
    }
}

fn at(source: &Source, line: usize, what: impl Into<String>, why: &'static str) -> Finding {
    Finding { path: source.path.clone(), line, what: what.into(), why }
}

fn floor_of(module: &[String]) -> Option<&str> {
    module.first().map(String::as_str)
}

/// Whether the file is, or is inside, one of these: `src/cli`, `src/audit/status`.
fn within(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| {
        source.path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    })
}

pub fn floors_use_only_what_is_below(mentions: &[Mention<'_>]) -> Vec<Finding> {
    const WHY: &str = "a floor uses only those below it (docs: the table ALLOWED in this test); \
                       move the shared thing down, or hand it in from above";
    let mut found = Vec::new();
    for mention in mentions {
        let Target::Inside(to, _) = &mention.target else { continue };
        let (from, to) = (floor_of(&mention.from), floor_of(to));
        let what = match (from, to) {
            _ if mention.source.is_main() && matches!(to, None | Some("cli")) => continue,
            _ if mention.source.is_main() => format!("main uses {}", to.unwrap_or_default()),
            (Some(from), Some(to)) if from != to => {
                match ALLOWED.iter().find(|(floor, _)| *floor == from) {
                    Some((_, below)) if below.contains(&to) => continue,
                    Some(_) => format!("{from} uses {to}"),
                    None => format!("{from} is not a known floor"),
                }
            }
            _ => continue,
        };
        found.push(at(mention.source, mention.line, what, WHY));
    }
    found
}

pub fn every_folder_is_a_known_floor(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "every module under src/ has a place in the table ALLOWED in this test";
    let known = |floor: &str| ALLOWED.iter().any(|(name, _)| *name == floor);
    sources
        .iter()
        .filter(|source| floor_of(&source.module()).is_some_and(|floor| !known(floor)))
        .map(|source| at(source, 1, "an unknown floor", WHY))
        .collect()
}

/// Globs of the crate's own modules: with them a name's origin cannot be seen,
/// by a reader or by the rules here.
pub fn no_glob_import_of_own_modules(sources: &[Source], mentions: &[Mention<'_>]) -> Vec<Finding> {
    const WHY: &str = "a glob hides where a name comes from; name what is needed";
    let modules: BTreeSet<Module> = sources.iter().map(Source::module).collect();
    mentions
        .iter()
        .filter(|mention| {
            matches!(&mention.target, Target::Inside(module, rest)
                if rest.len() == 1 && rest[0] == "*" && modules.contains(module))
        })
        .map(|mention| at(mention.source, mention.line, "a glob import", WHY))
        .collect()
}

/// Cycles between the modules of each folder. In `audit` the folder's own
/// `mod.rs` takes part: what its modules share stands in a module of its own.
pub fn no_cycles(sources: &[Source], mentions: &[Mention<'_>]) -> Vec<Finding> {
    let mut folders: BTreeSet<Module> = BTreeSet::new();
    for source in sources {
        let module = source.module();
        folders.extend((1..module.len()).map(|length| module[..length].to_vec()));
    }
    let with_itself = |folder: &Module| folder.len() == 1 && folder[0] == "audit";
    folders.iter().filter_map(|folder| cycle_in(folder, with_itself(folder), mentions)).collect()
}

fn cycle_in(folder: &Module, with_itself: bool, mentions: &[Mention<'_>]) -> Option<Finding> {
    const WHY: &str = "modules that need each other cannot be read, tested or changed one at a \
                       time; move what both need into a third";
    let node = |module: &Module| -> Option<String> {
        let below = module.strip_prefix(&folder[..])?;
        match below.first() {
            Some(name) => Some(name.clone()),
            None => with_itself.then(|| "mod".to_owned()),
        }
    };
    let mut edges: BTreeMap<String, BTreeMap<String, &Mention<'_>>> = BTreeMap::new();
    for mention in mentions.iter().filter(|mention| !mention.facade) {
        let Target::Inside(to, _) = &mention.target else { continue };
        if let (Some(from), Some(to)) = (node(&mention.from), node(to))
            && from != to
        {
            edges.entry(from).or_default().entry(to).or_insert(mention);
        }
    }
    let mut done = BTreeSet::new();
    let starts: Vec<String> = edges.keys().cloned().collect();
    let cycle = starts.iter().find_map(|start| walk(start, &edges, &mut Vec::new(), &mut done))?;
    let place = |from: &str, to: &str| {
        let mention = edges[from][to];
        format!("{to} ({}:{})", mention.source.path, mention.line)
    };
    let steps: Vec<String> = cycle.windows(2).map(|step| place(&step[0], &step[1])).collect();
    let what = format!("a cycle in {}: {} -> {}", folder.join("::"), cycle[0], steps.join(" -> "));
    let first = edges[&cycle[0]][&cycle[1]];
    Some(at(first.source, first.line, what, WHY))
}

/// Depth first; the way round from a node back to it.
fn walk<T>(
    node: &str,
    edges: &BTreeMap<String, BTreeMap<String, T>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|earlier| earlier == node) {
        let mut cycle = way[start..].to_vec();
        cycle.push(node.to_owned());
        return Some(cycle);
    }
    if !done.insert(node.to_owned()) {
        return None;
    }
    way.push(node.to_owned());
    let found =
        edges.get(node).and_then(|next| next.keys().find_map(|next| walk(next, edges, way, done)));
    way.pop();
    found
}

pub fn the_collector_renders_without_a_terminal(
    sources: &[Source],
    mentions: &[Mention<'_>],
) -> Vec<Finding> {
    const WHY: &str = "the collector may use ui's pure renderers (values in, text out), never \
                       what prints, reads the environment or asks about a terminal";
    let mut impure: BTreeSet<Module> = sources
        .iter()
        .filter(|source| {
            let printing = ["println", "eprintln", "print", "eprint", "is_terminal", "IsTerminal"];
            floor_of(&source.module()) == Some("ui")
                && tokens(&source.production).iter().any(|token| printing.contains(&token.text))
        })
        .map(Source::module)
        .collect();
    for mention in mentions {
        if floor_of(&mention.from) == Some("ui") && is_about_terminals(&mention.target) {
            impure.insert(mention.from.clone());
        }
    }
    // A module that uses an impure one is impure; a façade is not.
    while let Some(module) = mentions.iter().find_map(|mention| {
        let Target::Inside(to, _) = &mention.target else { return None };
        let spreads = floor_of(&mention.from) == Some("ui")
            && !mention.facade
            && impure.contains(to)
            && !impure.contains(&mention.from);
        spreads.then(|| mention.from.clone())
    }) {
        impure.insert(module);
    }
    mentions
        .iter()
        .filter(|mention| {
            floor_of(&mention.from) == Some("collector")
                && matches!(&mention.target, Target::Inside(to, _) if impure.contains(to))
        })
        .map(|mention| at(mention.source, mention.line, "collector uses what prints", WHY))
        .collect()
}

fn is_about_terminals(target: &Target) -> bool {
    let Target::Outside(path) = target else { return false };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path[..],
        ["std", "env", ..]
            | ["std", "io", "stdout" | "stderr" | "IsTerminal", ..]
            | ["indicatif", ..]
    )
}

pub fn only_fsio_touches_files(sources: &[Source], mentions: &[Mention<'_>]) -> Vec<Finding> {
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
            // What the status page maps; it comes open from fsio.
            if path == ["std", "fs", "File"] && within(mention.source, &["src/audit/status"]) {
                continue;
            }
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

pub fn only_the_top_talks_to_the_process(
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
pub fn crates_stay_on_their_floors(mentions: &[Mention<'_>]) -> Vec<Finding> {
    type Belongs = (&'static [&'static str], &'static [&'static str], &'static str);
    const BELONGS: &[Belongs] = &[
        (
            &["tokio"],
            &["src/collector", "src/store", "src/cli"],
            "the engine is synchronous threads and channels: only collector and store are asynchronous",
        ),
        (&["axum", "hyper"], &["src/collector"], "only the collector speaks HTTP"),
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
pub fn one_file_of_cli_starts_the_runtime(mentions: &[Mention<'_>]) -> Vec<Finding> {
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

pub fn unsafe_only_in_the_status_page(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "the status page's memory mapping is the only unsafe code, tests included";
    sources
        .iter()
        .filter(|source| !within(source, &["src/audit/status"]))
        .flat_map(|source| {
            tokens(&source.code)
                .into_iter()
                .filter(|token| token.text == "unsafe")
                .map(|token| at(source, token.line, "unsafe", WHY))
                .collect::<Vec<_>>()
        })
        .collect()
}

pub fn no_unwrap_outside_tests(sources: &[Source]) -> Vec<Finding> {
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

pub fn main_is_short(sources: &[Source]) -> Vec<Finding> {
    const WHY: &str = "main parses, runs and maps to an exit code; the rest has a place in cli";
    const LINES: usize = 40;
    sources
        .iter()
        .filter(|source| source.is_main() && source.text.lines().count() > LINES)
        .map(|source| at(source, LINES + 1, format!("more than {LINES} lines"), WHY))
        .collect()
}

/// A file that no `mod` names is compiled by nobody, and its tests never run.
pub fn every_file_is_declared(sources: &[Source], roots: &[&str]) -> Vec<Finding> {
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
