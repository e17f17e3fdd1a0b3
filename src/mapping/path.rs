//! Paths into foreign objects, and all paths of a mapping found in one pass.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Keys of a path, at most.
const MAX_STEPS: usize = 16;

/// Keys with dots between, from the top of a foreign object: `user.name`, `items.0.id`.
/// A number is also a place in an array, from 0; `\.` is a dot in a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    steps: Vec<String>,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = vec![String::new()];
        let mut chars = text.chars();
        while let (Some(next), Some(step)) = (chars.next(), steps.last_mut()) {
            match next {
                '.' => steps.push(String::new()),
                '\\' => match chars.next() {
                    Some(literal @ ('.' | '\\' | '=' | '{' | '}' | '%')) => step.push(literal),
                    _ => {
                        return Err(format!(
                            "{}: a backslash stands only before . \\ = {{ }} %",
                            shown(text)
                        ));
                    }
                },
                other => step.push(other),
            }
        }
        if steps.iter().any(String::is_empty) {
            return Err(format!("{}: a key of the path is empty", shown(text)));
        }
        if steps.len() > MAX_STEPS {
            return Err(format!("{}: a path has at most {MAX_STEPS} keys", shown(text)));
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.steps
    }
}

/// For messages: short, and fit for a terminal.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// All paths of a mapping, by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree {
    /// Which path ends here.
    path: Option<usize>,
    below: Vec<(String, Tree)>,
}

/// What each path leads to, as it stands in the text.
pub(super) type Values<'a> = Vec<Option<&'a str>>;

impl Tree {
    pub(super) fn of(paths: &[Path]) -> Self {
        let mut new = Self::default();
        for (at, path) in paths.iter().enumerate() {
            let mut node = &mut new;
            for step in &path.steps {
                let known = node.below.iter().position(|(key, _)| key == step);
                let next = known.unwrap_or_else(|| {
                    node.below.push((step.clone(), Self::default()));
                    node.below.len() - 1
                });
                node = &mut node.below[next].1;
            }
            node.path = Some(at);
        }
        new
    }

    fn child(&self, key: &str) -> Option<&Self> {
        self.below.iter().find(|(known, _)| known == key).map(|(_, node)| node)
    }

    /// Finds the paths in a JSON object or array. Of a key that stands twice the last counts;
    /// the log refuses such an object.
    pub(super) fn find<'a>(
        &self,
        json: &'a str,
        found: &mut Values<'a>,
    ) -> Result<(), serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let walk = Walk { tree: self, found };
        match json.trim_ascii_start().as_bytes().first() {
            Some(b'{') => deserializer.deserialize_map(walk)?,
            Some(b'[') => deserializer.deserialize_seq(walk)?,
            _ => return Ok(()),
        }
        deserializer.end()
    }

    fn take<'a>(
        &self,
        value: &'a RawValue,
        found: &mut Values<'a>,
    ) -> Result<(), serde_json::Error> {
        let text = value.get();
        if let Some(path) = self.path {
            found[path] = Some(text);
        }
        if self.below.is_empty() { Ok(()) } else { self.find(text, found) }
    }
}

struct Walk<'t, 'f, 'a> {
    tree: &'t Tree,
    found: &'f mut Values<'a>,
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match self.tree.child(&key) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(child) => {
                    let value: &'de RawValue = map.next_value()?;
                    child.take(value, self.found).map_err(serde::de::Error::custom)?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut place = 0_usize;
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            if let Some(child) = self.tree.child(itoa::Buffer::new().format(place)) {
                child.take(value, self.found).map_err(serde::de::Error::custom)?;
            }
            place += 1;
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}
