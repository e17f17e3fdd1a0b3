//! The settings' paths, made ready for looking at many keys.

use std::borrow::Cow;

use crate::field_path::{FieldPath, MAX_FIELD_PATHS, Step};

/// Which of the paths a place is still on: a bit each.
pub(super) type OnPath = u128;
const _: () = assert!(MAX_FIELD_PATHS <= OnPath::BITS as usize);

/// What is replaced.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether `actor`, `source`, `target` and `outcome` are.
    pub(super) texts: [bool; 4],
    /// Whether all of `details` is.
    pub(super) all_details: bool,
    /// Names in lower case, by their length in bytes.
    names: Vec<Vec<Box<str>>>,
    globs: Vec<Step>,
    /// The paths' keys below `details`.
    paths: Vec<Box<[Step]>>,
}

impl Rules {
    /// At most [`MAX_FIELD_PATHS`] are heeded, as the settings see to.
    pub(super) fn new(all: &[FieldPath]) -> Self {
        let mut rules = Self::default();
        for path in all.iter().take(MAX_FIELD_PATHS) {
            if let Some(below) = path.below_details() {
                rules.paths.push(below.into());
            }
            let Some(name) = path.name() else { continue };
            for (is_named, text) in
                rules.texts.iter_mut().zip(["actor", "source", "target", "outcome"])
            {
                *is_named |= name.matches(text);
            }
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
        rules
    }

    /// The paths, all of which begin at `details`.
    pub(super) fn at_details(&self) -> OnPath {
        self.below(|_| true)
    }

    fn below(&self, mut holds: impl FnMut(usize) -> bool) -> OnPath {
        (0..self.paths.len()).fold(0, |on, path| on | OnPath::from(holds(path)) << path)
    }

    /// Whether the value of a key is replaced wherever the key is. `key` is what
    /// stands between its quotes.
    pub(super) fn names(&self, key: &str) -> bool {
        let plain = !key.bytes().any(|byte| byte == b'\\' || byte >= 0x80);
        if plain {
            let same = |name: &Box<str>| name.eq_ignore_ascii_case(key);
            let exact = self.names.get(key.len()).is_some_and(|names| names.iter().any(same));
            return exact || !self.globs.is_empty() && self.globs_match(&key.to_ascii_lowercase());
        }
        let lower = lower(key);
        let same = |name: &Box<str>| **name == *lower;
        self.names.get(lower.len()).is_some_and(|names| names.iter().any(same))
            || self.globs_match(&lower)
    }

    fn globs_match(&self, lower: &str) -> bool {
        self.globs.iter().any(|glob| glob.matches(lower))
    }

    /// Where a key, `depth` keys below `details`, leads to from the paths it is on;
    /// whether one of them ends there.
    pub(super) fn follow(&self, on: OnPath, depth: usize, key: &str) -> (OnPath, bool) {
        let lower = lower(key);
        let mut ends = false;
        let next = self.below(|path| {
            let steps = &self.paths[path];
            let fits =
                on >> path & 1 == 1 && steps.get(depth).is_some_and(|step| step.matches(&lower));
            ends |= fits && steps.len() == depth + 1;
            fits && steps.len() > depth + 1
        });
        (next, ends)
    }
}

/// A key with its escapes resolved, in lower case.
fn lower(key: &str) -> Cow<'_, str> {
    let resolved: Cow<'_, str> = if key.contains('\\') {
        // Escapes were checked when the event was read.
        serde_json::from_str::<String>(&format!("\"{key}\"")).map_or(Cow::Borrowed(key), Cow::Owned)
    } else {
        Cow::Borrowed(key)
    };
    if resolved.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return resolved;
    }
    Cow::Owned(resolved.to_lowercase())
}
