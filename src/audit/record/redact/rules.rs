//! The settings' paths, made ready for looking at many keys.

use crate::field_path::{FieldPath, MAX_FIELD_PATHS, Step};

/// Which of the paths a place is still on: a bit each.
pub(super) type OnPath = u128;
const _: () = assert!(MAX_FIELD_PATHS <= OnPath::BITS as usize);

/// What is replaced.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether `actor`, `source`, `target` and `outcome` are.
    pub(super) texts: [bool; 4],
    /// Whether the event's `id` is.
    pub(super) id: bool,
    /// Whether all of `details` is.
    pub(super) all_details: bool,
    /// Names in lower case, by their length in bytes.
    names: Vec<Vec<Box<str>>>,
    globs: Vec<Step>,
    /// The paths' keys below `details`.
    paths: Vec<Box<[Step]>>,
    /// Keys of which one is there wherever something is replaced; by their last bytes.
    /// `None` where that cannot be said.
    signs: Option<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    keys: Vec<Box<str>>,
    last: Vec<bool>,
}

impl Rules {
    /// Of [`MAX_FIELD_PATHS`] at most.
    pub(super) fn new(all: &[FieldPath]) -> Self {
        let mut rules = Self::default();
        for path in all {
            if let Some(below) = path.below_details() {
                rules.paths.push(below.into());
            }
            let Some(name) = path.name() else { continue };
            for (is_named, text) in
                rules.texts.iter_mut().zip(["actor", "source", "target", "outcome"])
            {
                *is_named |= name.matches(text);
            }
            rules.id |= name.matches("id");
            rules.all_details |= name.matches("details");
            match name {
                Step::Exact(exact) => {
                    if rules.names.len() <= exact.len() {
                        rules.names.resize_with(exact.len() + 1, Vec::new);
                    }
                    rules.names[exact.len()].push(exact.as_str().into());
                }
                other => rules.globs.push(other.clone()),
            }
        }
        rules.signs = rules.signs();
        rules
    }

    fn signs(&self) -> Option<Signs> {
        if self.all_details || !self.globs.is_empty() {
            return None;
        }
        let mut keys: Vec<Box<str>> = self.names.iter().flatten().cloned().collect();
        for steps in &self.paths {
            // A number may be a place in an array.
            let key = steps.iter().find_map(|step| match step {
                Step::Exact(key) if key.parse::<usize>().is_err() => Some(key.as_str()),
                _ => None,
            });
            keys.push(key?.into());
        }
        let mut last = vec![false; 256];
        for key in &keys {
            let end = *key.as_bytes().last().filter(|_| key.is_ascii())?;
            last[usize::from(end)] = true;
            last[usize::from(end.to_ascii_uppercase())] = true;
        }
        Some(Signs { keys, last })
    }

    /// Whether something may have to be replaced in compact JSON: a look at what stands
    /// before its colons, at a fraction of the cost of going through it.
    pub(super) fn may_concern(&self, json: &str) -> bool {
        let Some(signs) = &self.signs else { return true };
        let bytes = json.as_bytes();
        // With escapes, or letters that have ASCII ones as lower case, a key may be
        // spelt otherwise.
        if !json.is_ascii() || memchr::memchr(b'\\', bytes).is_some() {
            return true;
        }
        memchr::memchr_iter(b':', bytes).any(|colon| {
            // `key":`, of which the key's end is told by a table.
            let Some(end) = colon.checked_sub(2).filter(|end| bytes[end + 1] == b'"') else {
                return false;
            };
            signs.last[usize::from(bytes[end])]
                && signs.keys.iter().any(|key| {
                    let quote = end.checked_sub(key.len()).filter(|quote| bytes[*quote] == b'"');
                    quote.is_some_and(|quote| {
                        bytes[quote + 1..=end].eq_ignore_ascii_case(key.as_bytes())
                    })
                })
        })
    }

    /// The paths, all of which begin at `details`.
    pub(super) fn at_details(&self) -> OnPath {
        (0..self.paths.len()).fold(0, |on, path| on | 1 << path)
    }

    /// Whether keys matter below a place that is on these paths.
    pub(super) fn look_at_keys(&self, on: OnPath) -> bool {
        on != 0 || !self.names.is_empty() || !self.globs.is_empty()
    }

    /// Whether the value of a key is replaced wherever the key is.
    pub(super) fn names(&self, key: Key<'_>) -> bool {
        let key = key.0;
        let mut names = self.names.get(key.len()).into_iter().flatten();
        names.any(|name| name.eq_ignore_ascii_case(key))
            || self.globs.iter().any(|glob| glob.matches(key))
    }

    /// Whether what stands at a path below `details` may be replaced, or in part, or be
    /// part of what is. `None` in the path is any key. Rather too often than too seldom.
    pub(super) fn may_touch(&self, path: &[Option<&str>]) -> bool {
        let lower: Vec<_> = path.iter().map(|key| key.map(str::to_lowercase)).collect();
        let named = lower.iter().any(|key| match key {
            Some(key) => self.names(Key(key)),
            None => !self.names.is_empty() || !self.globs.is_empty(),
        });
        let followed = self.paths.iter().any(|steps| {
            let mut pairs = steps.iter().zip(&lower);
            pairs.all(|(step, key)| key.as_deref().is_none_or(|key| step.matches(key)))
        });
        self.all_details || named || followed
    }

    /// Whether a path leads to just this place below `details`, or to all that is beside
    /// it.
    pub(super) fn has_path(&self, place: &[&str]) -> bool {
        self.paths.iter().any(|steps| {
            steps.first().is_some_and(|first| *first != Step::Any)
                && steps.iter().zip(place).all(|(step, key)| step.matches(key))
                && steps.len() <= place.len()
        })
    }

    /// Whether a path may lead to something inside that key of `details`.
    pub(super) fn has_path_into(&self, key: &str) -> bool {
        self.paths.iter().any(|steps| steps.first().is_some_and(|first| first.matches(key)))
    }

    /// Where a key, `depth` keys below `details`, leads to from the paths it is on;
    /// whether one of them ends there.
    pub(super) fn follow(&self, on: OnPath, depth: usize, key: Key<'_>) -> (OnPath, bool) {
        let (mut next, mut ends, mut left) = (0, false, on);
        while left != 0 {
            let path = left.trailing_zeros() as usize;
            left &= left - 1;
            let steps = &self.paths[path];
            if steps.get(depth).is_some_and(|step| step.matches(key.0)) {
                ends |= steps.len() == depth + 1;
                next |= OnPath::from(steps.len() > depth + 1) << path;
            }
        }
        (next, ends)
    }
}

/// A key, its escapes resolved, in lower case unless it is all ASCII.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// Of what stands between a key's quotes. `room` is for what has to be written
    /// anew.
    pub(super) fn new(raw: &'a str, has_escapes: bool, room: &'a mut String) -> Self {
        if !has_escapes && raw.is_ascii() {
            return Self(raw);
        }
        // Escapes were checked when the event was read.
        let resolved = serde_json::from_str::<String>(&format!("\"{raw}\""));
        *room = resolved.as_deref().unwrap_or(raw).to_lowercase();
        Self(room)
    }

    /// Of an element's place.
    pub(super) fn of_place(place: &'a str) -> Self {
        Self(place)
    }
}
