//! What `key` says.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::style::escape;
use crate::audit::keys::{Handover, Keyring};
use crate::audit::record::Record;
use crate::audit::tree::merkle::Hash;
use crate::audit::write::key_change::{RotatePlan, Rotated};
use crate::audit::write::key_replace::Replacing;
use crate::health::wording::count;

/// What `key show` has found.
#[derive(Debug)]
pub struct KeyShown {
    /// The log's id.
    pub log_id: String,
    /// Its keys.
    pub keys: Keyring,
    /// What is known of the private key.
    pub private: PrivateKey,
    /// Its file.
    pub private_path: PathBuf,
    /// Whether a change was begun that is not complete.
    pub pending: bool,
}

/// What a private key's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateKey {
    /// The key that signs.
    Newest,
    /// A retired one.
    Retired,
    /// A key of no such log.
    Stranger,
    /// There is none.
    Missing,
    /// It cannot be read by this user, or is none.
    Unreadable(String),
}

impl PrivateKey {
    fn word(&self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Retired => "retired",
            Self::Stranger => "stranger",
            Self::Missing => "missing",
            Self::Unreadable(_) => "unreadable",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Newest => "the key that signs".to_owned(),
            Self::Retired => "a retired key: the log cannot be opened with it".to_owned(),
            Self::Stranger => "not a key of this log".to_owned(),
            Self::Missing => "missing: you can read the log, but not add to it. Put the key back \
                              (`auditctl key import`), or run `auditctl key replace --reason \
                              TEXT`"
                .to_owned(),
            Self::Unreadable(why) => format!("not readable here: {}", escape(why)),
        }
    }
}

/// `key show`, for people.
#[must_use]
pub fn key_text(shown: &KeyShown) -> String {
    let keys = &shown.keys;
    let mut lines = vec![
        format!("log          {}", escape(&shown.log_id)),
        format!("key          {}", escape(&keys.newest().label())),
        format!("public key   {}", escape(&keys.newest().to_string())),
        format!("fingerprint  {}", in_groups(&keys.newest().fingerprint())),
        format!(
            "private key  {}: {}",
            escape(&shown.private_path.display().to_string()),
            shown.private.text()
        ),
    ];
    lines.push(match (keys.handovers().last(), keys.rotations().last()) {
        (Some(Handover { place, replaced: Some(replaced), old, .. }), _) => format!(
            "since        epoch {}, in the place of {} {}, without its signature",
            place.epoch,
            escape(&old.label()),
            escape(&replaced.told())
        ),
        (Some(handover), Some(rotation)) => format!(
            "since        record {} (both keys signed the first {}, epoch {})",
            rotation.seq,
            count(handover.place.size, "record"),
            handover.place.epoch
        ),
        _ => "since        the beginning; the key was never changed".to_owned(),
    });
    if shown.pending {
        lines.push(
            "pending      a change is not complete: run `auditctl key rotate` to finish it"
                .to_owned(),
        );
    }
    if !keys.rotations().is_empty() {
        lines.push("before:".to_owned());
    }
    for (rotation, handover) in keys.rotations().iter().zip(keys.handovers()).rev() {
        let replaced = handover.replaced.as_ref();
        let place = replaced.map_or(handover.place, |replaced| replaced.signed);
        let how = match replaced {
            Some(it) => format!(", replaced {} without its signature", escape(&it.told())),
            None => told(&rotation.record),
        };
        lines.push(format!(
            "  {} up to {} (epoch {}){how}",
            escape(&handover.old.label()),
            count(place.size, "record"),
            place.epoch,
        ));
    }
    lines.join("\n") + "\n"
}

/// Hex digits in groups of eight, for reading aloud.
pub(super) fn in_groups(hash: &Hash) -> String {
    let digits = hash.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().chunks(8).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// When and why, by the record's word.
fn told(record: &str) -> String {
    let Ok(record) = serde_json::from_str::<Record<'_>>(record) else { return String::new() };
    let details: Value = details_of(&record);
    let why = details["reason"].as_str().map(|reason| format!(": {}", escape(reason)));
    format!(", until {}{}", escape(&record.timestamp.to_string()), why.unwrap_or_default())
}

fn details_of(record: &Record<'_>) -> Value {
    let details = record.details.map(|details| serde_json::from_str(details.get()));
    details.and_then(Result::ok).unwrap_or_default()
}

/// `key show`, for programs.
#[must_use]
pub fn key_json(shown: &KeyShown) -> String {
    let keys = &shown.keys;
    let rotations: Vec<Value> = keys
        .rotations()
        .iter()
        .zip(keys.handovers())
        .map(|(rotation, handover)| {
            let record: Value = serde_json::from_str(&rotation.record).unwrap_or_default();
            if let Some(replaced) = &handover.replaced {
                return json!({
                    "succession": "replaced",
                    "seq": rotation.seq,
                    "epoch": handover.place.epoch,
                    "tree_size": replaced.signed.size,
                    "root_hash": handover.root.to_string(),
                    "old_key": rotation.old_key,
                    "new_key": rotation.new_key,
                    "timestamp": replaced.at,
                    "uid": replaced.uid,
                    "user": replaced.user,
                    "reason": replaced.reason,
                    "checkpoint": rotation.checkpoint,
                });
            }
            json!({
                "succession": "signed",
                "seq": rotation.seq,
                "epoch": handover.place.epoch,
                "tree_size": handover.place.size,
                "root_hash": handover.root.to_string(),
                "old_key": rotation.old_key,
                "new_key": rotation.new_key,
                "timestamp": record["timestamp"],
                "uid": record["details"]["uid"],
                "reason": record["details"]["reason"],
                "checkpoint": rotation.checkpoint,
            })
        })
        .collect();
    json!({
        "log_id": shown.log_id,
        "key": keys.newest().label(),
        "public_key": keys.newest().to_string(),
        "fingerprint": keys.newest().fingerprint(),
        "since_seq": keys.rotations().last().map(|rotation| rotation.seq),
        "private_key": {
            "path": shown.private_path.to_string_lossy(),
            "state": shown.private.word(),
        },
        "rotation_pending": shown.pending,
        "rotations": rotations,
    })
    .to_string()
}

/// A key that was changed, for people.
#[must_use]
pub fn rotated_text(rotated: &Rotated) -> String {
    let old = match &rotated.kept_old {
        Some(path) => format!("kept in {}", escape(&path.display().to_string())),
        None => "destroyed".to_owned(),
    };
    format!(
        "the key is changed: record {} names the new one, both signed the first {}\npublic \
         key   {}\nbefore       {}\nprivate key  {}; the retired one was {old}\nGive the public \
         key to those who verify this log, and back up the private key. The old public key leads \
         to the new one: `auditctl verify --public-key OLD` still works.\n",
        rotated.seq,
        count(rotated.tree_size, "record"),
        escape(&rotated.new_key),
        escape(&rotated.old_key),
        escape(&rotated.key_path.display().to_string()),
    )
}

/// A key that was changed, for programs.
#[must_use]
pub fn rotated_json(rotated: &Rotated) -> String {
    let mut value = serde_json::to_value(rotated).unwrap_or_default();
    value["changed"] = json!(true);
    value.to_string()
}

/// What a rotation would do, for people.
#[must_use]
pub fn rotate_plan_text(plan: &RotatePlan) -> String {
    let next = match (&plan.new_key, plan.resumes) {
        (Some(key), true) => format!("{}, of a change that was begun before", escape(key)),
        (Some(key), false) => escape(key).into_owned(),
        (None, _) => "a new one".to_owned(),
    };
    format!(
        "nothing was changed. Without --dry-run:\nkey now      {}\nkey then     {next}\nprivate key  {}\n",
        escape(&plan.old_key),
        escape(&plan.key_path.display().to_string())
    )
}

/// What a rotation would do, for programs.
#[must_use]
pub fn rotate_plan_json(plan: &RotatePlan) -> String {
    json!({
        "changed": false,
        "old_key": plan.old_key,
        "new_key": plan.new_key,
        "key_path": plan.key_path.to_string_lossy(),
        "resumes": plan.resumes,
    })
    .to_string()
}

/// A key that was replaced, or would be, for people.
#[must_use]
pub fn replacing_text(replacing: &Replacing, planned: bool) -> String {
    let record = &replacing.record;
    let first = match (planned, replacing.resumes) {
        (true, _) => "nothing was changed. Without --dry-run:".to_owned(),
        (false, true) => {
            "the key was replaced before, without its signature; this is recorded now".to_owned()
        }
        (false, false) => format!(
            "the key is replaced, in epoch {}, without the signature of the old one; `auditctl \
             verify` reports that from now on",
            record.epoch
        ),
    };
    let new = match record.new_key.as_str() {
        "" => "a new one",
        key => key,
    };
    let mut text = format!(
        "{first}\npublic key   {}\nbefore       {}, which signed {}\nprivate key  {}\n",
        escape(new),
        escape(&record.old_key),
        count(record.signed_records, "record"),
        escape(&replacing.key_path.display().to_string()),
    );
    if let Some(name) = &replacing.set_aside {
        text.push_str(&format!("set aside    {}\n", escape(name)));
    }
    if !planned {
        text.push_str(
            "Give the public key to those who verify this log, and tell them why: the old one \
             does not lead to it. Keep the private key elsewhere (`auditctl key export`), and \
             back the log up.\n",
        );
    }
    text
}

/// The same, for programs.
#[must_use]
pub fn replacing_json(replacing: &Replacing, planned: bool) -> String {
    let mut value = serde_json::to_value(&replacing.record).unwrap_or_default();
    value["changed"] = json!(!planned);
    value["resumed"] = json!(replacing.resumes);
    value["key_path"] = json!(replacing.key_path.to_string_lossy());
    value["set_aside"] = json!(replacing.set_aside);
    value.to_string()
}
