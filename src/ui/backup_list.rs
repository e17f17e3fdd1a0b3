//! What `list` says.

use std::borrow::Cow;
use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::style::escape;
use crate::audit::keys::histories::Contradiction;
use crate::backup::{CopyState, Coverage, Inventory, Listed};
use crate::clock::{Timestamp, display_seconds};
use crate::health::wording::age;
use crate::units::human_bytes;

/// How a list is shown: for which place, and the commands that restore.
pub struct ListShown<'a> {
    /// Where the backups are.
    pub place: &'a str,
    /// Now.
    pub now: Timestamp,
    /// Whether it is shown whose they are: where no log here says that, or not of all.
    pub detailed: bool,
    /// What restores one of them.
    pub command: &'a dyn Fn(&Listed) -> String,
    /// What restores the newest of a log.
    pub latest: &'a dyn Fn(&str, &Listed) -> String,
    /// What restores an archive without metadata, by its name.
    pub orphan: &'a dyn Fn(&str) -> String,
    /// Where backups go by the settings, for programs.
    pub destination: Option<&'a str>,
    /// Where backups go by the settings, and how to look there, where this is not it.
    pub sent_to: Option<&'a str>,
}

/// The list, for people.
#[must_use]
pub fn backup_list_text(
    inventory: &Inventory,
    contradictions: &[Contradiction],
    shown: &ListShown<'_>,
) -> String {
    let mut out = String::new();
    if inventory.backups.is_empty() {
        out.push_str(&format!("no backups in {}\n", escape(shown.place)));
    } else {
        out.push_str(&table(&inventory.backups, shown));
        out.push('\n');
    }
    if shown.detailed {
        for log in logs(&inventory.backups) {
            out.push_str(&log.text(shown));
        }
    }
    for listed in &inventory.backups {
        if let Some(damage) = &listed.damage {
            out.push_str(&format!("{}: {}\n", listed.id, escape(damage)));
        }
    }
    if let Some(newer) = &inventory.newer_catalog {
        let text = escape(&newer.to_string()).into_owned();
        out.push_str(&format!("{text}; its notes about the backups are not shown\n"));
    }
    let others = [
        (&inventory.leftovers, "left by an interrupted run; the next run removes it"),
        (&inventory.foreign, "not ours"),
    ];
    for name in &inventory.orphans {
        let (what, how) = orphan(name, shown);
        out.push_str(&format!("{}: {what} without metadata; read it with `{how}`\n", escape(name)));
    }
    for (names, what) in others {
        for name in names {
            out.push_str(&format!("{}: {what}\n", escape(name)));
        }
    }
    if let Some(coverage) = &inventory.coverage {
        out.push_str(&coverage_text(coverage));
    }
    if let Some(unseen) = &inventory.unseen {
        out.push_str(&format!("{}\n", escape(unseen)));
    }
    if let Some(sent_to) = shown.sent_to {
        out.push_str(&format!("{}\n", escape(sent_to)));
    }
    for found in contradictions {
        out.push_str(&format!("{}: {}\n", found.history.code(), escape(&found.to_string())));
    }
    out
}

fn contradiction_value(found: &Contradiction) -> Value {
    json!({
        "history": found.history.code(),
        "name": found.name,
        "epoch": found.epoch,
        "tree_size": found.size,
        "root_hash": found.root,
        "log_size": found.found,
        "message": found.to_string(),
    })
}

fn table(backups: &[Listed], shown: &ListShown<'_>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["ID", "AGE", "RECORDS", "SEQ", "SIZE", "OF", "VERIFIED", ""];
    if shown.detailed {
        header.splice(2..2, ["NEWEST RECORD", "HOST", "LOG"]);
    }
    let right: &[usize] = if shown.detailed { &[5, 7, 8] } else { &[2, 4, 5] };
    table.set_header(header);
    for listed in backups {
        let mut row = row(listed, shown.now);
        if shown.detailed {
            row.splice(2..2, whose(listed));
        }
        table.add_row(row);
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.trim_fmt();
    if !shown.detailed {
        return text;
    }
    // One line each, so that its command can stand below it.
    let mut lines = text.lines();
    let mut out: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    for (line, listed) in lines.zip(backups) {
        out.push(line.to_owned());
        if listed.is_good() {
            out.push(format!("    {}", (shown.command)(listed)));
        }
    }
    out.join("\n")
}

/// Of which record the newest is, where it was made, and of which log it is.
fn whose(listed: &Listed) -> [String; 3] {
    match &listed.metadata {
        Some(metadata) => [
            display_seconds(metadata.range.max_timestamp),
            escape(&metadata.host).into_owned(),
            escape(&metadata.log.id).into_owned(),
        ],
        None => Default::default(),
    }
}

/// A log that some of the backups are of.
struct ListedLog<'a> {
    newest: &'a Listed,
    id: &'a str,
    key: String,
    hosts: BTreeSet<&'a str>,
    backups: usize,
}

/// Each log of the good backups: those of one id and one first key.
fn logs(backups: &[Listed]) -> Vec<ListedLog<'_>> {
    let mut logs: Vec<ListedLog<'_>> = Vec::new();
    for listed in backups.iter().filter(|listed| listed.is_good()) {
        let Some(metadata) = &listed.metadata else { continue };
        let key = metadata.own_keys().map(|keys| keys.vouching().to_string()).unwrap_or_default();
        let id = metadata.log.id.as_str();
        match logs.iter_mut().find(|log| (log.id, &log.key) == (id, &key)) {
            Some(log) => {
                log.backups += 1;
                log.hosts.insert(&metadata.host);
            }
            None => {
                let hosts = BTreeSet::from([metadata.host.as_str()]);
                logs.push(ListedLog { newest: listed, id, key, hosts, backups: 1 });
            }
        }
    }
    logs
}

impl ListedLog<'_> {
    /// The key's id, as `audit.pub` has it.
    fn key_id(&self) -> &str {
        self.key.split('+').nth(1).unwrap_or("?")
    }

    fn text(&self, shown: &ListShown<'_>) -> String {
        let hosts: Vec<Cow<'_, str>> = self.hosts.iter().map(|host| escape(host)).collect();
        format!(
            "log {} (key {}, {}): {}; the newest: {}\n",
            escape(self.id),
            escape(self.key_id()),
            hosts.join(", "),
            crate::health::wording::count(self.backups as u64, "good backup"),
            (shown.latest)(self.id, self.newest)
        )
    }

    fn value(&self, shown: &ListShown<'_>) -> Value {
        json!({
            "log_id": self.id,
            "key": self.key,
            "hosts": self.hosts,
            "backups": self.backups,
            "newest": self.newest.id,
            "newest_record": self.newest.metadata.as_ref().map(|m| m.range.max_timestamp),
            "restore": (shown.latest)(self.id, self.newest),
        })
    }
}

/// What an archive without metadata is, and the command that reads it.
fn orphan(name: &str, shown: &ListShown<'_>) -> (&'static str, String) {
    if name.ends_with(".age") {
        return ("an encrypted archive", format!("{} --identity FILE", (shown.orphan)(name)));
    }
    ("an archive", (shown.orphan)(name))
}

fn row(listed: &Listed, now: Timestamp) -> Vec<String> {
    let old = age(crate::health::wording::since(listed.id.time(), now));
    let state = match (&listed.damage, listed.level) {
        (Some(_), _) if listed.is_newer() => "NEWER".to_owned(),
        (Some(_), _) => "BAD".to_owned(),
        (None, Some(level)) => level.as_str().to_owned(),
        (None, None) => "-".to_owned(),
    };
    let notes = [
        (listed.pinned, "pinned"),
        (listed.metadata.as_ref().is_some_and(|m| m.signature.is_none()), "unsigned"),
        (listed.metadata.as_ref().is_some_and(|m| m.encryption.is_some()), "encrypted"),
    ];
    let mut notes: Vec<String> =
        notes.iter().filter(|(is, _)| *is).map(|(_, note)| (*note).to_owned()).collect();
    for (place, copied) in &listed.copies {
        let there = shortest(place, &listed.copies);
        notes.push(match copied.state {
            CopyState::Confirmed => format!("in {there}"),
            CopyState::Uploading => format!("incomplete in {there}"),
            CopyState::Failed => format!("NOT in {there}"),
        });
    }
    if let Some(until) = listed.locked_until.filter(|until| *until > now) {
        notes.push(format!("locked until {}", display_seconds(until)));
    }
    if listed.held {
        notes.push("held".to_owned());
    }
    let size = listed.stored_bytes.map_or_else(|| "missing".to_owned(), human_bytes);
    let (records, seqs, raw) = match &listed.metadata {
        Some(metadata) => (
            metadata.range.records.to_string(),
            seqs(metadata.range.first_seq, metadata.range.tree_size),
            human_bytes(metadata.archive.raw_bytes),
        ),
        None => Default::default(),
    };
    vec![listed.id.to_string(), old, records, seqs, size, raw, state, notes.join(", ")]
}

/// As little of a place as tells it from the other ones: the provider, its bucket, all.
fn shortest<'a, T>(place: &'a str, all: &[(String, T)]) -> Cow<'a, str> {
    let scheme = place.split("://").next().unwrap_or_default();
    let after = place.get(scheme.len() + 3..).and_then(|rest| rest.find('/'));
    let bucket = after.map_or(place, |end| &place[..scheme.len() + 3 + end]);
    let alone = |begin: &str| all.iter().filter(|(other, _)| other.starts_with(begin)).count() <= 1;
    let shown = match () {
        () if alone(&format!("{scheme}://")) => scheme,
        () if alone(&format!("{bucket}/")) => bucket,
        () => place,
    };
    escape(shown)
}

pub(super) fn seqs(first_seq: u64, tree_size: u64) -> String {
    format!("{first_seq}-{}", tree_size.saturating_sub(1))
}

fn coverage_text(coverage: &Coverage) -> String {
    if coverage.covered_to == 0 {
        return format!("no record of log {} is in a good backup\n", coverage.log_id);
    }
    let gaps: Vec<String> = coverage.gaps.iter().map(|(a, b)| seqs(*a, *b)).collect();
    let but =
        if gaps.is_empty() { String::new() } else { format!(", but for {}", gaps.join(", ")) };
    format!(
        "every record up to seq {} is in a good backup{but}; {} newer\n",
        coverage.covered_to - 1,
        crate::health::wording::count(coverage.lag(), "record")
    )
}

/// The list, for programs.
#[must_use]
pub fn backup_list_json(
    inventory: &Inventory,
    contradictions: &[Contradiction],
    shown: &ListShown<'_>,
) -> String {
    let backups: Vec<Value> =
        inventory.backups.iter().map(|listed| listed_value(listed, shown)).collect();
    let logs: Vec<Value> = logs(&inventory.backups).iter().map(|log| log.value(shown)).collect();
    let orphans: Vec<Value> = inventory
        .orphans
        .iter()
        .map(|name| json!({ "name": name, "restore": orphan(name, shown).1 }))
        .collect();
    let coverage = inventory.coverage.as_ref().map(|coverage| {
        let gaps: Vec<Value> = coverage
            .gaps
            .iter()
            .map(|(begin, end)| json!({ "first_seq": begin, "last_seq": end - 1 }))
            .collect();
        json!({
            "log_id": coverage.log_id,
            "verified_to_seq": coverage.covered_to.checked_sub(1),
            "live_seq": coverage.live_size.checked_sub(1),
            "lag_records": coverage.lag(),
            "gaps": gaps,
        })
    });
    json!({
        "backups": backups,
        "coverage": coverage,
        "logs": logs,
        "orphans": inventory.orphans,
        "orphan_commands": orphans,
        "not_looked_at": inventory.unseen,
        "destination": shown.destination,
        "leftovers": inventory.leftovers,
        "foreign": inventory.foreign,
        "newer_catalog": inventory.newer_catalog.as_ref().map(ToString::to_string),
        "contradictions": contradictions.iter().map(contradiction_value).collect::<Vec<_>>(),
    })
    .to_string()
}

fn listed_value(listed: &Listed, shown: &ListShown<'_>) -> Value {
    let metadata = listed.metadata.as_ref();
    json!({
        "id": listed.id,
        "created_at": metadata.map(|metadata| metadata.created_at),
        "age_seconds": crate::health::wording::since(listed.id.time(), shown.now).as_secs(),
        "place": listed.place,
        "restore": listed.is_good().then(|| (shown.command)(listed)),
        "newest_record": metadata.map(|metadata| metadata.range.max_timestamp),
        "file": metadata.map(|metadata| &metadata.archive.file),
        "log_id": metadata.map(|metadata| &metadata.log.id),
        "epoch": metadata.map(|metadata| metadata.log.epoch),
        "host": metadata.map(|metadata| &metadata.host),
        "records": metadata.map(|metadata| metadata.range.records),
        "first_seq": metadata.map(|metadata| metadata.range.first_seq),
        "tree_size": metadata.map(|metadata| metadata.range.tree_size),
        "root_hash": metadata.map(|metadata| metadata.root_hash),
        "original_bytes": metadata.map(|metadata| metadata.archive.raw_bytes),
        "stored_bytes": listed.stored_bytes,
        "sha256": metadata.map(|metadata| metadata.stored().sha256),
        "good": listed.is_good(),
        "newer_version": listed.is_newer(),
        "verified": listed.level.map(|level| level.as_str()),
        "verified_at": listed.verified_at,
        "damage": listed.damage,
        "damage_kind": listed.damage_kind,
        "signed": metadata.is_some_and(|metadata| metadata.signature.is_some()),
        "encrypted": metadata.is_some_and(|metadata| metadata.encryption.is_some()),
        "pinned": listed.pinned,
        "version_id": listed.version,
        "locked_until": listed.locked_until,
        "held": listed.held,
        "copies": listed.copies.iter().map(|(place, copied)| json!({
            "place": place,
            "state": copied.state.as_str(),
            "at": copied.at,
            "version_id": copied.archive_version,
            "checksum": copied.checksum,
            "locked_until": copied.locked_until,
            "problem": copied.problem,
        })).collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_provider_are_told_apart() {
        let all = ["s3://a/web/", "s3://b/web/", "s3://b/db/", "gs://a/web/"];
        let all: Vec<(String, ())> = all.iter().map(|place| ((*place).to_owned(), ())).collect();
        let shown: Vec<Cow<'_, str>> =
            all.iter().map(|(place, ())| shortest(place, &all)).collect();
        assert_eq!(shown, ["s3://a", "s3://b/web/", "s3://b/db/", "gs"]);
        // A directory's path, or what somebody has written into the catalog.
        for odd in ["", "/mnt/disk", "s3:", "s3://", "\u{1b}[2J://x/"] {
            let shown = shortest(odd, &[(odd.to_owned(), ())]).into_owned();
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }
}
