//! Which module names which: paths in `use` trees and in expressions, resolved
//! through aliases and re-exports to the module that holds the item.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Token, tokens};

/// A module's path from the crate root.
pub(crate) type Module = Vec<String>;

/// A path as it stands in the source.
#[derive(Debug, Clone)]
struct Written {
    segments: Vec<String>,
    line: usize,
    /// Inline modules around it, within the file's module.
    inline: Vec<String>,
    /// The name it gets here, when it stands in a `use`.
    name: Option<String>,
    exported: bool,
}

/// A path's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// In this crate: the module, and the rest of the path within it.
    Inside(Module, Vec<String>),
    /// In another crate, `["std", "fs", "read"]`.
    Outside(Vec<String>),
}

/// One resolved mention.
#[derive(Debug)]
pub(crate) struct Mention<'a> {
    pub(crate) source: &'a Source,
    pub(crate) line: usize,
    /// The module of the file it stands in.
    pub(crate) from: Module,
    pub(crate) target: Target,
    /// A `pub use` of something in a module below: a façade, not a dependency.
    pub(crate) facade: bool,
}

/// All mentions in the production code of `sources`.
pub(crate) fn mentions(sources: &[Source]) -> Vec<Mention<'_>> {
    let written: Vec<(&Source, Vec<Written>)> =
        sources.iter().map(|source| (source, paths(&tokens(&source.production)))).collect();
    let resolver = Resolver::new(&written);
    let mut found = Vec::new();
    for (source, paths) in &written {
        for path in paths {
            let target = resolver.target(source, path);
            let from = source.module();
            let below = matches!(&target, Target::Inside(module, _)
                if module.len() > from.len() && module.starts_with(&from));
            let facade = path.exported && below;
            found.push(Mention { source, line: path.line, from, target, facade });
        }
    }
    found
}

struct Resolver {
    modules: BTreeSet<Module>,
    /// What each module's `use` items call what.
    names: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Resolver {
    fn new(files: &[(&Source, Vec<Written>)]) -> Self {
        let modules = files.iter().map(|(source, _)| source.module()).collect();
        let mut resolver = Self { modules, names: BTreeMap::new() };
        for (source, paths) in files {
            // main.rs shares the root with lib.rs, but none of its names.
            for path in paths.iter().filter(|path| path.inline.is_empty() && !source.is_main()) {
                if let Some(name) = &path.name {
                    let known = resolver.names.entry(source.module()).or_default();
                    known.insert(name.clone(), path.segments.clone());
                }
            }
        }
        resolver
    }

    fn target(&self, source: &Source, path: &Written) -> Target {
        let mut here = source.module();
        here.extend(path.inline.iter().cloned());
        match self.absolute(&here, &path.segments, 0) {
            Some(absolute) => self.locate(absolute, 0),
            None if source.is_main() && path.segments[0] == "auditctl" => {
                self.locate(path.segments[1..].to_vec(), 0)
            }
            None => Target::Outside(self.outside(&here, &path.segments)),
        }
    }

    /// From the crate root, or `None` for another crate's path. `depth` ends
    /// aliases that name themselves.
    fn absolute(&self, here: &Module, path: &[String], depth: usize) -> Option<Module> {
        let joined = |base: &[String], rest: &[String]| [base, rest].concat();
        match path[0].as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => return Some(joined(here, &path[1..])),
            "super" => {
                let parent = &here[..here.len().saturating_sub(1)];
                let rest = &path[1..];
                if rest.first().is_some_and(|next| next == "super") {
                    return self.absolute(&parent.to_vec(), rest, depth);
                }
                return Some(joined(parent, rest));
            }
            _ => {}
        }
        let child = joined(here, &path[..1]);
        if self.modules.contains(&child) {
            return Some(joined(here, path));
        }
        let alias = self.names.get(here)?.get(&path[0])?;
        if depth > 8 || alias[0] == path[0] {
            return None;
        }
        self.absolute(here, alias, depth + 1).map(|base| joined(&base, &path[1..]))
    }

    /// Another crate's path with a leading alias (`fs` for `std::fs`) spelled out.
    fn outside(&self, here: &Module, path: &[String]) -> Vec<String> {
        match self.names.get(here).and_then(|names| names.get(&path[0])) {
            Some(alias) if alias[0] != path[0] => [&alias[..], &path[1..]].concat(),
            _ => path.to_vec(),
        }
    }

    /// The module that holds what the path names, through re-exports.
    fn locate(&self, absolute: Module, depth: usize) -> Target {
        let length = (0..=absolute.len())
            .rev()
            .find(|length| self.modules.contains(&absolute[..*length]))
            .unwrap_or(0);
        let (module, rest) = (absolute[..length].to_vec(), &absolute[length..]);
        let alias = rest.first().and_then(|name| self.names.get(&module)?.get(name));
        if let Some(alias) = alias.filter(|_| depth < 8) {
            let path = [&alias[..], &rest[1..]].concat();
            return match self.absolute(&module, &path, 0) {
                Some(onward) if onward != absolute => self.locate(onward, depth + 1),
                Some(_) => Target::Inside(module, rest.to_vec()),
                None => Target::Outside(path),
            };
        }
        Target::Inside(module, rest.to_vec())
    }
}

/// Every path of two segments or more, and everything in `use`.
fn paths(tokens: &[Token<'_>]) -> Vec<Written> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, i32)> = Vec::new();
    let mut depth = 0_i32;
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        let next = tokens.get(at + 1).map_or("", |token| token.text);
        let names: Vec<String> = inline.iter().map(|(name, _)| name.clone()).collect();
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(_, opened_at)| *opened_at <= depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => {
                inline.push((next.to_owned(), depth + 1));
            }
            // `use<'a>` captures lifetimes.
            "use" if next != "<" => {
                let exported = is_exported(&tokens[..at]);
                let mut tree = UseTree { tokens, at: at + 1, found: Vec::new() };
                tree.parse(&[]);
                at = tree.at;
                found.extend(tree.found.into_iter().map(|(segments, name, line)| Written {
                    segments,
                    line,
                    inline: names.clone(),
                    name: Some(name),
                    exported,
                }));
                continue;
            }
            _ if token.is_word() && next == "::" && !continues(tokens, at) => {
                let mut segments = vec![token.text.to_owned()];
                while tokens.get(at + 1).is_some_and(|token| token.text == "::")
                    && tokens.get(at + 2).is_some_and(Token::is_word)
                {
                    segments.push(tokens[at + 2].text.to_owned());
                    at += 2;
                }
                let line = token.line;
                found.push(Written { segments, line, inline: names, name: None, exported: false });
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the word belongs to something before it: `a::b`, `.method`; not in
/// `::std`, which starts at the list of crates.
fn continues(tokens: &[Token<'_>], at: usize) -> bool {
    let back = |by: usize| at.checked_sub(by).map(|at| tokens[at]);
    match back(1).map_or("", |token| token.text) {
        "." => true,
        "::" => back(2).is_some_and(|token| token.is_word() || token.text == ">"),
        _ => false,
    }
}

/// Whether `pub` or `pub(…)` stands last.
fn is_exported(before: &[Token<'_>]) -> bool {
    let text = |back: usize| before.len().checked_sub(back).map_or("", |at| before[at].text);
    if text(1) == ")" {
        let open = before.iter().rposition(|token| token.text == "(").unwrap_or(0);
        return open > 0 && before[open - 1].text == "pub";
    }
    text(1) == "pub"
}

struct UseTree<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    found: Vec<(Vec<String>, String, usize)>,
}

impl UseTree<'_> {
    fn text(&self) -> &str {
        self.tokens.get(self.at).map_or(";", |token| token.text)
    }

    /// One tree up to its `,`, `}` or `;`.
    fn parse(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut name = None;
        loop {
            match self.text() {
                ";" | "," | "}" => break,
                "{" => {
                    self.at += 1;
                    while self.text() != "}" && self.text() != ";" {
                        self.parse(&path);
                        if self.text() == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    self.at += 1;
                    name = Some(self.text().to_owned());
                }
                "self" if !path.is_empty() => {}
                "::" => {}
                word => path.push(word.to_owned()),
            }
            self.at += 1;
        }
        if let Some(last) = path.last() {
            let name = name.unwrap_or_else(|| last.clone());
            self.found.push((path, name, line));
        }
    }
}
