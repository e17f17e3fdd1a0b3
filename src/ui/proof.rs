//! What `verify --proof` says.

use serde::Serialize;
use serde_json::value::RawValue;

use super::style::{Style, escape, paint};
use crate::audit::read::verify::{ConsistencyDocument, Grown, Proven};
use crate::audit::tree::merkle::Hash;

/// Whose word it is that the key is the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKey {
    /// The document's own: it proves that the document is of one piece.
    OfDocument,
    /// The one that was given.
    Given,
    /// One that was given, from which the document's key chain leads to the one that signed.
    Chain,
}

impl ProofKey {
    fn text(self, key: &str) -> String {
        let key = escape(key);
        match self {
            Self::Chain => format!("{key}, to which the key given leads"),
            Self::Given => format!("{key}, as given"),
            Self::OfDocument => format!(
                "{key}, the document's own; compare it with a key that you had before, or give \
                 that with --public-key"
            ),
        }
    }

    fn word(self) -> &'static str {
        if self == Self::OfDocument { "document" } else { "given" }
    }
}

fn rows(first: String, rows: &[(&str, String)]) -> String {
    let rows = rows.iter().map(|(name, text)| format!("  {name:<13} {text}\n"));
    std::iter::once(first).chain(rows).collect()
}

/// What a record's proof proves, for people.
#[must_use]
pub fn proof_text(
    (seq, record): (u64, &str),
    proven: &Proven,
    key: ProofKey,
    colour: bool,
) -> String {
    let checkpoint = &proven.checkpoint;
    let word = paint("VERIFIED", Style::Good, colour);
    let said = rows(
        format!("record {seq}: {word}\n"),
        &[
            ("log", escape(&checkpoint.origin).into_owned()),
            (
                "in the tree",
                format!("{} of {} records, root {}", seq + 1, checkpoint.size, checkpoint.root),
            ),
            ("key", key.text(&proven.key)),
            ("record", escape(record).into_owned()),
        ],
    );
    said + &noted(&proven.notes)
}

/// What is worth knowing, one a line.
fn noted(notes: &[String]) -> String {
    notes.iter().map(|note| format!("note: {}\n", escape(note))).collect()
}

#[derive(Serialize)]
struct ProofJson<'a> {
    passed: bool,
    seq: u64,
    origin: &'a str,
    tree_size: u64,
    root_hash: Hash,
    leaf_hash: Hash,
    key: &'a str,
    key_source: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    /// As it is stored: its bytes are what was proven.
    record: Option<&'a RawValue>,
}

/// What a record's proof proves, for programs.
#[must_use]
pub fn proof_json((seq, record): (u64, &str), proven: &Proven, key: ProofKey) -> String {
    let document = ProofJson {
        passed: true,
        seq,
        origin: &proven.checkpoint.origin,
        tree_size: proven.checkpoint.size,
        root_hash: proven.checkpoint.root,
        leaf_hash: proven.leaf_hash,
        key: &proven.key,
        key_source: key.word(),
        notes: &proven.notes,
        record: serde_json::from_str(record).ok(),
    };
    serde_json::to_string(&document).unwrap_or_default()
}

/// What a proof of growth proves, for people. `against` is the file whose checkpoint
/// was found to be the earlier tree.
#[must_use]
pub fn growth_text(
    document: &ConsistencyDocument,
    grown: &Grown,
    (key, against): (ProofKey, Option<&str>),
    colour: bool,
) -> String {
    let checkpoint = &grown.checkpoint;
    let word = paint("VERIFIED", Style::Good, colour);
    let said = rows(
        format!("growth from {} to {} records: {word}\n", document.from_size, checkpoint.size),
        &[
            ("log", escape(&checkpoint.origin).into_owned()),
            (
                "earlier tree",
                match against {
                    Some(name) => format!("root {}, that of {}", document.from_root, escape(name)),
                    None => format!(
                        "root {}: compare it with a checkpoint that you kept, or give that with \
                         --against",
                        document.from_root
                    ),
                },
            ),
            ("later tree", format!("root {}", checkpoint.root)),
            ("key", key.text(&grown.key)),
        ],
    );
    said + &noted(&grown.notes)
}

#[derive(Serialize)]
struct GrowthJson<'a> {
    passed: bool,
    origin: &'a str,
    from_size: u64,
    from_root: Hash,
    tree_size: u64,
    root_hash: Hash,
    key: &'a str,
    key_source: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    against: Option<&'a str>,
}

/// What a proof of growth proves, for programs.
#[must_use]
pub fn growth_json(
    document: &ConsistencyDocument,
    grown: &Grown,
    (key, against): (ProofKey, Option<&str>),
) -> String {
    let document = GrowthJson {
        passed: true,
        origin: &grown.checkpoint.origin,
        from_size: document.from_size,
        from_root: document.from_root,
        tree_size: grown.checkpoint.size,
        root_hash: grown.checkpoint.root,
        key: &grown.key,
        key_source: key.word(),
        notes: &grown.notes,
        against,
    };
    serde_json::to_string(&document).unwrap_or_default()
}
