//! Records of an import ([`FORMAT`]): what they hold of a line once more, under the names
//! that the line had, as its text, or as a digest of it.
//!
//! What is hidden is hidden everywhere: `target` hides the `lead_id` that it was made
//! from, and `lead_id` the `target`. A text of which nobody can tell what is in it is
//! hidden as a whole. And where anything of a line is hidden, so is the old signature
//! over it: whoever has that key, which lies in every old service, could try values of
//! few possible forms until it fits. Whether it did fit was said when it was imported.

use std::borrow::Cow;

use serde::Deserialize;

use super::rules::{Key, Rules};
use crate::field_path::FieldPath;

/// What `details.imported.format` says.
pub const FORMAT: &str = "python-audit";
/// The names of the fields that have another one here: theirs, and ours.
pub const RENAMED: [(&str, &str); 3] =
    [("actor", "actor"), ("workflow", "source"), ("lead_id", "target")];
/// The key in `fields` of what stood in their `details.imported`.
pub const MOVED: &str = "details.imported";

const TEXTS: [&str; 4] = ["actor", "source", "target", "outcome"];

/// An imported record.
pub(super) struct Import {
    /// All of the line is in it, and no text of the line beside it.
    pub(super) is_whole: bool,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    imported: Imported<'a>,
}

#[derive(Deserialize)]
struct Imported<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    #[serde(default)]
    text_parts: Option<u64>,
}

/// Whether the details are those of an imported record.
pub(super) fn of(details: &str) -> Option<Import> {
    // Most lines need no parsing.
    memchr::memmem::find(details.as_bytes(), b"\"imported\"")?;
    let Details { imported } = serde_json::from_str(details).ok()?;
    (imported.format == FORMAT).then_some(Import { is_whole: imported.text_parts.is_none() })
}

/// What is hidden in them beside what the rules name.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// `actor`, `source`, `target`, `outcome`: named as they were called in the line.
    pub(super) texts: [bool; 4],
    /// Values that stand there under another name, and texts that may hold any.
    pub(super) values: Rules,
    /// Digests of what was hidden.
    pub(super) digests: Rules,
}

impl Copies {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut texts = [false; 4];
        let mut values = Vec::new();
        for (theirs, ours) in RENAMED {
            let at = TEXTS.iter().position(|text| *text == ours).unwrap_or_default();
            if rules.texts[at] {
                values.push(format!("details.imported.fields.{theirs}"));
            }
            texts[at] = rules.names(Key::of_place(theirs))
                || rules.has_path(&["imported", "fields", theirs]);
        }
        // Nothing in a text can be told apart; `details` that are no object are one, too.
        for text in ["text", "text_base64", "fields.details"] {
            values.push(format!("details.imported.{text}"));
        }
        if rules.has_path_into("imported") {
            values.push(format!("details.imported.fields.{}", MOVED.replace('.', "\\.")));
        }
        let digests = ["details.imported.hmac", "details.imported.fields.signature"];
        Self { texts, values: of_paths(&values), digests: of_paths(&digests) }
    }

    /// Whether what stands at a path below `details` may be hidden here.
    pub(super) fn may_touch(&self, below: &[Option<&str>]) -> bool {
        self.values.may_touch(below) || self.digests.may_touch(below)
    }
}

fn of_paths(paths: &[impl AsRef<str>]) -> Rules {
    let parse = |path: &str| path.parse::<FieldPath>().expect("a path of ours");
    Rules::new(&paths.iter().map(|path| parse(path.as_ref())).collect::<Vec<_>>())
}
