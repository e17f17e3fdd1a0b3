//! Where a field's text comes from: a path, a template of several, or a constant; and what
//! stands for what (`allow` for `success`).

use std::borrow::Cow;

use super::path::{Path, Values, shown};
use crate::field_path::Step;

/// One of the alternatives for a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Take {
    /// Which of the mapping's paths.
    Path(usize),
    /// All of its parts, or nothing.
    Template {
        text: String,
        parts: Vec<Part>,
    },
    Constant(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Literal(String),
    /// A path, and an end that is taken off its text.
    Path(usize, String),
}

/// What a path leads to, as a text.
pub(super) enum Text<'a> {
    /// Not there, null or empty.
    Nothing,
    Some(Cow<'a, str>),
    /// Something that is no text: what.
    Misfit(&'static str),
}

impl Take {
    /// Reads `user.name`, `{kind}/{name%.suffix}` or `=constant`.
    pub(super) fn parse(written: &str, paths: &mut Vec<Path>) -> Result<Self, String> {
        if let Some(constant) = written.strip_prefix('=') {
            if constant.is_empty() {
                return Err("a constant after = is empty".to_owned());
            }
            return Ok(Self::Constant(constant.to_owned()));
        }
        if !has_brace(written) {
            return Ok(Self::Path(index(written, paths)?));
        }
        let mut parts = Vec::new();
        let mut rest = written;
        while !rest.is_empty() {
            let (literal, from) = until(rest, '{');
            if !literal.is_empty() {
                parts.push(Part::Literal(literal));
            }
            let Some(from) = from else { break };
            let end =
                from.find('}').ok_or_else(|| format!("{}: a {{ has no }}", shown(written)))?;
            let (inner, after) = (&from[..end], &from[end + 1..]);
            let (path, suffix) = inner.split_once('%').unwrap_or((inner, ""));
            parts.push(Part::Path(index(path, paths)?, suffix.to_owned()));
            rest = after;
        }
        Ok(Self::Template { text: written.to_owned(), parts })
    }

    /// The paths that it reads.
    pub(super) fn paths(&self) -> Vec<usize> {
        match self {
            Self::Path(path) => vec![*path],
            Self::Constant(_) => Vec::new(),
            Self::Template { parts, .. } => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Path(path, _) => Some(*path),
                    Part::Literal(_) => None,
                })
                .collect(),
        }
    }

    /// Its text, and the path that leads to something else.
    pub(super) fn text<'a>(&'a self, found: &Values<'a>) -> (Text<'a>, Option<usize>) {
        match self {
            Self::Constant(text) => (Text::Some(Cow::Borrowed(text)), None),
            Self::Path(path) => (text_of(found[*path]), Some(*path)),
            Self::Template { parts, .. } => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Literal(literal) => text.push_str(literal),
                        Part::Path(path, suffix) => match text_of(found[*path]) {
                            Text::Some(part) => {
                                let part = part.strip_suffix(&**suffix).unwrap_or(&part);
                                text.push_str(part);
                            }
                            other => return (other, Some(*path)),
                        },
                    }
                }
                (Text::Some(Cow::Owned(text)), None)
            }
        }
    }

    /// As it was written.
    pub(super) fn written<'a>(&'a self, paths: &'a [Path]) -> Cow<'a, str> {
        match self {
            Self::Path(path) => Cow::Borrowed(paths[*path].text()),
            Self::Template { text, .. } => Cow::Borrowed(text),
            Self::Constant(text) => Cow::Owned(format!("={text}")),
        }
    }
}

fn has_brace(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|c| {
        let is = c == '{' && !escaped;
        escaped = c == '\\' && !escaped;
        is
    })
}

/// The literal before a brace, and what follows the brace if there is one.
fn until(text: &str, brace: char) -> (String, Option<&str>) {
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '\\' => match chars.next() {
                Some((_, escaped)) => literal.push(escaped),
                None => literal.push('\\'),
            },
            found if found == brace => return (literal, Some(&text[at + 1..])),
            other => literal.push(other),
        }
    }
    (literal, None)
}

pub(super) fn index(text: &str, paths: &mut Vec<Path>) -> Result<usize, String> {
    let path = Path::parse(text)?;
    let known = paths.iter().position(|known| known.steps() == path.steps());
    Ok(known.unwrap_or_else(|| {
        paths.push(path);
        paths.len() - 1
    }))
}

fn text_of(raw: Option<&str>) -> Text<'_> {
    let Some(raw) = raw else { return Text::Nothing };
    match raw.as_bytes().first() {
        Some(b'{') => Text::Misfit("an object"),
        Some(b'[') => Text::Misfit("an array"),
        Some(b'n') | None => Text::Nothing,
        Some(b'"') => {
            let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
            if inner.is_empty() {
                return Text::Nothing;
            }
            if !inner.contains('\\') {
                return Text::Some(Cow::Borrowed(inner));
            }
            match serde_json::from_str::<String>(raw) {
                Ok(text) => Text::Some(Cow::Owned(text)),
                Err(_) => Text::Misfit("a text with half a surrogate pair"),
            }
        }
        Some(_) => Text::Some(Cow::Borrowed(raw)),
    }
}

/// What stands for what: patterns, in which `*` is anything, and upper and lower case are
/// the same. Of several that fit, the one with the most letters counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table(Vec<(Step, String)>);

impl Table {
    pub(super) fn of(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut table = Vec::new();
        for (pattern, value) in pairs {
            let step = Step::of(pattern).ok_or("a pattern is empty")?;
            if value.is_empty() {
                return Err(format!("{} stands for an empty text", shown(pattern)));
            }
            table.push((pattern.chars().filter(|c| *c != '*').count(), step, value.clone()));
        }
        table.sort_by_key(|(letters, ..)| std::cmp::Reverse(*letters));
        Ok(Self(table.into_iter().map(|(_, step, value)| (step, value)).collect()))
    }

    pub(super) fn stands_for<'a>(&'a self, text: &str) -> Option<&'a str> {
        self.0.iter().find(|(step, _)| step.matches(text)).map(|(_, value)| &**value)
    }
}
