//! Which module may use which.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Mention, Module, Target};
use super::rules::{Finding, at};
use super::source::{Source, tokens};

/// The floors, each with those it may use. A floor that is missing here is a
/// finding: a new folder has to be given its place.
pub(crate) const ALLOWED: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "embed",
            "ui",
            "collector",
            "alerts",
            "witness",
            "health",
            "monitor",
            "validate",
            "fleet",
            "archive",
            "backup",
            "store",
            "access",
            "audit",
            "config",
            "field_path",
            "mapping",
            "json_place",
            "units",
            "zone",
            "clock",
            "built",
            "fsio",
        ],
    ),
    (
        "ui",
        &[
            "access", "alerts", "fleet", "health", "monitor", "validate", "archive", "backup",
            "audit", "config", "units", "clock",
        ],
    ),
    // The face of the library.
    (
        "embed",
        &[
            "collector",
            "health",
            "alerts",
            "backup",
            "access",
            "audit",
            "config",
            "field_path",
            "origin_prefix",
            "json_place",
            "units",
            "clock",
            "fsio",
        ],
    ),
    // One table of what stands on all of them.
    (
        "limits",
        &[
            "collector",
            "health",
            "alerts",
            "backup",
            "access",
            "audit",
            "config",
            "defaults",
            "field_path",
            "origin_prefix",
            "fsio",
        ],
    ),
    // `ui`: only what prints nothing; see `the_collector_renders_without_a_terminal`.
    (
        "collector",
        &[
            "coded",
            "ui",
            "access",
            "alerts",
            "witness",
            "monitor",
            "health",
            "audit",
            "config",
            "mapping",
            "json_place",
            "units",
            "clock",
            "fsio",
        ],
    ),
    (
        "validate",
        &[
            "access", "alerts", "archive", "health", "backup", "store", "audit", "config", "units",
            "zone", "clock", "built", "fsio",
        ],
    ),
    ("monitor", &["alerts", "health", "backup", "audit", "config", "units", "clock", "fsio"]),
    (
        "health",
        &[
            "coded", "alerts", "archive", "witness", "backup", "audit", "config", "units", "clock",
            "fsio",
        ],
    ),
    // A log's witnesses, and a witness of others' logs: `collector` serves it over HTTP.
    ("witness", &["coded", "access", "audit", "clock", "fsio"]),
    // `health` and `monitor` tell how delivery is; delivery knows nothing of them.
    ("alerts", &["coded", "access", "audit", "config", "units", "clock", "fsio"]),
    ("access", &["audit", "units", "clock", "fsio"]),
    // Many logs of one archive.
    ("fleet", &["coded", "archive", "backup", "store", "audit", "units", "clock", "fsio"]),
    // Backups, shipped as they grow: `health`, `cli` and `collector` stand on it.
    ("archive", &["backup", "store", "audit", "origin_prefix", "clock", "fsio"]),
    ("backup", &["store", "audit", "config", "json_place", "units", "clock", "fsio"]),
    ("store", &["config", "units", "clock", "fsio"]),
    (
        "audit",
        &[
            "coded",
            "defaults",
            "field_path",
            "origin_prefix",
            "json_place",
            "units",
            "clock",
            "fsio",
        ],
    ),
    ("config", &["defaults", "field_path", "mapping", "origin_prefix", "units"]),
    // JSON in, JSON out.
    ("mapping", &["field_path", "json_place", "units", "clock"]),
    ("origin_prefix", &["defaults"]),
    // Numbers alone: what the engine and the settings both mean by "default".
    ("built", &[]),
    ("defaults", &[]),
    ("field_path", &[]),
    ("json_place", &[]),
    ("units", &[]),
    ("zone", &["clock", "fsio"]),
    ("clock", &[]),
    ("coded", &[]),
    ("fsio", &[]),
];

/// The engine's own floors, lowest first: each may use those before it. `paths` is where
/// everything lies, and the one file beside the folders.
pub(crate) const ENGINE: &[(&str, &[&str])] = &[
    ("paths", &[]),
    ("record", &[]),
    ("tree", &["record"]),
    ("keys", &["tree", "record", "paths"]),
    ("files", &["keys", "tree", "record", "paths"]),
    ("state", &["record", "paths"]),
    ("read", &["files", "state", "keys", "tree", "record", "paths"]),
    ("write", &["read", "files", "state", "keys", "tree", "record", "paths"]),
];

pub(crate) fn the_engine_keeps_to_its_floors(
    sources: &[Source],
    mentions: &[Mention<'_>],
) -> Vec<Finding> {
    const WHY: &str = "a folder of the engine uses only those below it (the table ENGINE in this \
                       test); move the shared thing down, or hand it in from above";
    let inside = |module: &[String]| match module {
        [audit, folder, ..] if audit == "audit" => Some(folder.clone()),
        _ => None,
    };
    let mut found: Vec<Finding> = sources
        .iter()
        .filter(|source| {
            inside(&source.module())
                .is_some_and(|folder| ENGINE.iter().all(|(name, _)| *name != folder))
        })
        .map(|source| at(source, 1, "an unknown folder of the engine", WHY))
        .collect();
    for mention in mentions {
        let Target::Inside(to, _) = &mention.target else { continue };
        let (Some(from), Some(to)) = (inside(&mention.from), inside(to)) else { continue };
        let below = ENGINE.iter().find(|(name, _)| *name == from).map(|(_, below)| *below);
        if from != to && below.is_some_and(|below| !below.contains(&to.as_str())) {
            let what = format!("audit::{from} uses audit::{to}");
            found.push(at(mention.source, mention.line, what, WHY));
        }
    }
    found
}

fn floor_of(module: &[String]) -> Option<&str> {
    module.first().map(String::as_str)
}

pub(crate) fn floors_use_only_what_is_below(mentions: &[Mention<'_>]) -> Vec<Finding> {
    const WHY: &str = "a floor uses only those below it (the table ALLOWED in this test); \
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

pub(crate) fn every_folder_is_a_known_floor(sources: &[Source]) -> Vec<Finding> {
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
pub(crate) fn no_glob_import_of_own_modules(
    sources: &[Source],
    mentions: &[Mention<'_>],
) -> Vec<Finding> {
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

/// Cycles between the modules of each folder. In `audit` and in its folders the folder's own
/// `mod.rs` takes part: what its modules share stands in a module of its own.
pub(crate) fn no_cycles(sources: &[Source], mentions: &[Mention<'_>]) -> Vec<Finding> {
    let mut folders: BTreeSet<Module> = BTreeSet::new();
    for source in sources {
        let module = source.module();
        folders.extend((1..module.len()).map(|length| module[..length].to_vec()));
    }
    let with_itself = |folder: &Module| folder.len() <= 2 && folder[0] == "audit";
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

pub(crate) fn the_collector_renders_without_a_terminal(
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
