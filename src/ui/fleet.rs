//! What `fleet` says.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::style::escape;
use crate::clock::{Timestamp, display_seconds};
use crate::fleet::{Drafted, Finding, Fleet, FleetList, LogReport, Severity, Versions};
use crate::health::wording::{age, count, since};
use crate::units::{human_bytes, records};

/// So many logs without a finding are shown one by one.
const MOST_ROWS: usize = 50;

fn table(head: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.to_vec());
    for at in numbers {
        if let Some(column) = table.column_mut(*at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn shown(table: &Table) -> String {
    format!("{}\n", table.trim_fmt())
}

pub(super) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), display_seconds)
}

pub(super) fn hosts(hosts: &[String]) -> String {
    if hosts.is_empty() { "-".to_owned() } else { escape(&hosts.join(", ")).into_owned() }
}

fn ago(then: Option<Timestamp>, now: Option<Timestamp>) -> String {
    match then.zip(now) {
        Some((then, now)) => age(since(then, now)),
        None => "-".to_owned(),
    }
}

/// The list of logs, for people.
#[must_use]
pub fn fleet_list_text(list: &FleetList) -> String {
    if list.logs.is_empty() {
        return format!("There is no log in {}\n", escape(&list.place));
    }
    let mut rows = table(
        &["HOST", "LOG", "EPOCH", "RECORDS", "FIRST", "LAST", "CHECKPOINT", "SIZE", "RANGES"],
        &[2, 3, 7, 8],
    );
    for log in &list.logs {
        rows.add_row([
            hosts(&log.hosts),
            escape(&log.id).into_owned(),
            log.epoch.to_string(),
            log.records.to_string(),
            time(log.first_accepted),
            time(log.last_accepted),
            ago(log.newest_put, list.at),
            human_bytes(log.bytes),
            log.ranges.to_string(),
        ]);
    }
    let mut out = shown(&rows);
    let _ = writeln!(
        out,
        "\n{} in {}. Nothing was verified: `auditctl fleet verify` does that.",
        count(list.logs.len() as u64, "log"),
        escape(&list.place)
    );
    if list.foreign > 0 {
        let _ = writeln!(
            out,
            "{} with names that none of an archive has",
            count(list.foreign, "object")
        );
    }
    out
}

/// The same for programs.
#[must_use]
pub fn fleet_list_json(list: &FleetList) -> Value {
    let logs: Vec<Value> = list
        .logs
        .iter()
        .map(|log| {
            json!({
                "log_id": log.id,
                "hosts": log.hosts,
                "epoch": log.epoch,
                "records": log.records,
                "first_accepted": log.first_accepted,
                "last_accepted": log.last_accepted,
                "newest_checkpoint_at": log.newest_put,
                "newest_checkpoint_age_seconds":
                    log.newest_put.zip(list.at).map(|(put, now)| since(put, now).as_secs()),
                "bytes": log.bytes,
                "ranges": log.ranges,
                "tails": log.tails,
            })
        })
        .collect();
    json!({ "fleet": {
        "place": list.place,
        "at": list.at,
        "logs": logs,
        "foreign_objects": list.foreign,
    }})
}

/// What came of it, in a word.
pub(super) fn verdict(fleet: &Fleet) -> &'static str {
    let unread = fleet.all_findings().any(|it| it.kind.code() == "unread");
    let bad =
        fleet.all_findings().any(|it| it.severity == Severity::Bad && it.kind.code() != "unread");
    match (bad, unread, fleet.worst()) {
        (true, ..) => "bad",
        (false, true, _) => "incomplete",
        (false, false, Some(Severity::Warning)) => "warning",
        _ => "ok",
    }
}

fn rows(logs: &[&LogReport], fleet: &Fleet) -> String {
    let mut rows =
        table(&["HOST", "LOG", "EPOCH", "RECORDS", "LAST ACCEPTED", "SHIPPED", "FOUND"], &[2, 3]);
    for log in logs {
        let worst = log.findings.iter().map(|it| it.severity).max();
        rows.add_row([
            hosts(&log.hosts),
            escape(&log.id).into_owned(),
            log.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            log.records.to_string(),
            time(log.last_accepted),
            ago(log.newest_put, fleet.at),
            worst.map_or("ok", Severity::as_str).to_owned(),
        ]);
    }
    shown(&rows)
}

fn finding(out: &mut String, finding: &Finding) {
    let word = match finding.severity {
        Severity::Bad => "BAD",
        Severity::Warning => "WARNING",
        Severity::Note => "NOTE",
    };
    let of = finding.log.as_ref().map_or_else(String::new, |log| format!("log {}: ", escape(log)));
    let epoch = finding.epoch.map_or_else(String::new, |epoch| format!("epoch {epoch}: "));
    let _ = writeln!(out, "{word} {of}{epoch}{} [{}]", escape(&finding.what), finding.kind.code());
    for object in &finding.objects {
        let _ = writeln!(out, "    {}", escape(object));
    }
    let _ = writeln!(out, "    What to do: {}", finding.kind.hint());
}

/// What the roster acknowledges of what was found.
fn acknowledged(out: &mut String, fleet: &Fleet) {
    for known in &fleet.acknowledged {
        let (object, why) = (escape(&known.object), escape(&known.reason));
        let _ = writeln!(out, "ACKNOWLEDGED {object}: {why} [{}]", known.kind.code());
    }
}

/// What limits the verdict, one sentence each.
pub(super) fn limits(fleet: &Fleet) -> Vec<String> {
    let mut limits = Vec::new();
    if fleet.is_partial {
        limits.push("Only a part of the logs was looked at (--log, --host).".to_owned());
    }
    if fleet.roster.is_none() {
        let unknown = fleet.logs.iter().filter(|log| !log.key_is_known).count() as u64;
        limits.push(
            "There is no roster: a host that is missing altogether cannot be seen.".to_owned(),
        );
        if unknown > 0 {
            limits.push(format!(
                "The keys of {} come from the bucket: whoever can write there could have put \
                 another log in its place.",
                count(unknown, "log")
            ));
        }
    }
    if fleet.unused > 0 && !fleet.is_partial {
        limits.push(format!(
            "{} of the roster fit nothing that was found. Compare what they name, and remove them \
             from the roster if it is gone.",
            count(fleet.unused, "acknowledgement")
        ));
    }
    if !fleet.had_state {
        limits.push(
            "There is no saved state of an earlier verification: if the bucket was set back to an \
             older state as a whole, nothing here can tell."
                .to_owned(),
        );
    }
    match &fleet.versions {
        Versions::Unknown => limits.push(
            "The store keeps no versions: an object that was overwritten with the same content, \
             or removed and put again, cannot be seen."
                .to_owned(),
        ),
        Versions::NotKept => limits.push(
            "The bucket keeps no versions: an object that was overwritten with the same content, \
             or removed and put again, cannot be seen. Turn versioning on."
                .to_owned(),
        ),
        Versions::Denied(why) => limits.push(format!(
            "The versions of the objects were not looked at: {why}. The permission to list them \
             is missing."
        )),
        Versions::Seen(_) => {}
    }
    let parquet: u64 = fleet.logs.iter().map(|log| log.parquet_unchecked).sum();
    if parquet > 0 {
        limits.push(format!(
            "{} in parquet/ were not compared with the records: this build of auditctl cannot read \
             them.",
            count(parquet, "object")
        ));
    }
    let known: u64 = fleet.logs.iter().map(|log| log.records_known).sum();
    if known > 0 {
        limits.push(format!(
            "{} were verified before, and the store lists their objects unchanged: they were not \
             read again (--full reads them).",
            count(known, "record")
        ));
    }
    let unchecked: u64 = fleet.logs.iter().map(|log| log.heads_unchecked).sum();
    if unchecked > 0 {
        limits.push(format!(
            "{} could not be compared: the records below are not in the archive, or not readable.",
            count(unchecked, "signed head")
        ));
    }
    limits
}

pub(super) fn sentence(fleet: &Fleet) -> String {
    let records: u64 = fleet.logs.iter().map(|log| log.records).sum();
    let heads: u64 = fleet.logs.iter().map(|log| log.heads).sum();
    let mut all = format!(
        "{}, {}, {}",
        count(fleet.logs.len() as u64, "log"),
        count(records, "record"),
        count(heads, "signed head")
    );
    if !fleet.acknowledged.is_empty() {
        let known = count(fleet.acknowledged.len() as u64, "finding");
        let _ = write!(all, "; {known} acknowledged in the roster");
    }
    match verdict(fleet) {
        "bad" => {
            let bad = fleet.all_findings().filter(|it| it.severity == Severity::Bad).count();
            format!("BAD: {} ({all})", count(bad as u64, "finding"))
        }
        "incomplete" => format!("INCOMPLETE: not everything could be read ({all})"),
        "warning" => format!("OK, with warnings: {all}"),
        _ => format!("OK: {all}"),
    }
}

/// What a verification found, for people.
#[must_use]
pub fn fleet_verify_text(fleet: &Fleet) -> String {
    let mut out = String::new();
    let shown: Vec<&LogReport> = match fleet.logs.len() > MOST_ROWS {
        true => fleet.logs.iter().filter(|log| !log.findings.is_empty()).take(MOST_ROWS).collect(),
        false => fleet.logs.iter().collect(),
    };
    if !shown.is_empty() {
        out += &rows(&shown, fleet);
        if shown.len() < fleet.logs.len() {
            let rest = (fleet.logs.len() - shown.len()) as u64;
            let _ = writeln!(out, "… and {} more", count(rest, "log"));
        }
        out.push('\n');
    }
    fleet.all_findings().for_each(|one| finding(&mut out, one));
    acknowledged(&mut out, fleet);
    limits(fleet).iter().for_each(|limit| {
        let _ = writeln!(out, "Note: {}", escape(limit));
    });
    let _ = writeln!(out, "{}", sentence(fleet));
    out
}

fn finding_value(finding: &Finding) -> Value {
    json!({
        "code": finding.kind.code(),
        "severity": finding.severity.as_str(),
        "log_id": finding.log,
        "epoch": finding.epoch,
        "objects": finding.objects,
        "message": finding.what,
        "hint": finding.kind.hint(),
        "acknowledge": finding.acknowledge,
        "evidence": finding.evidence.iter().map(|one| json!({
            "file": one.name, "note": one.note,
        })).collect::<Vec<_>>(),
    })
}

fn log_value(log: &LogReport) -> Value {
    let epochs: Vec<Value> = log
        .epochs
        .iter()
        .map(|it| {
            json!({
                "epoch": it.epoch,
                "first_seq": it.begins,
                "records": it.records,
                "root_hash": it.root,
                "missing": it.holes.iter().map(|(first, end)| json!({
                    "first_seq": first, "end_seq": end,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "log_id": log.id,
        "hosts": log.hosts,
        "epoch": log.epoch,
        "records": log.records,
        "root_hash": log.root,
        "first_accepted": log.first_accepted,
        "last_accepted": log.last_accepted,
        "newest_put": log.newest_put,
        "keys": log.keys,
        "key_is_known": log.key_is_known,
        "epochs": epochs,
        "signed_heads": log.heads,
        "signed_heads_unchecked": log.heads_unchecked,
        "records_read": log.records_read,
        "records_known": log.records_known,
        "parquet_same": log.parquet_same,
        "parquet_unchecked": log.parquet_unchecked,
        "findings": log.findings.iter().map(finding_value).collect::<Vec<_>>(),
    })
}

/// The same for programs: `{"fleet": …}`.
#[derive(Serialize)]
struct Document<'a> {
    fleet: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    acknowledged: Vec<Value>,
    acknowledgements_unused: u64,
    at: Option<Timestamp>,
    bytes: u64,
    findings: Vec<Value>,
    had_state: bool,
    limits: Vec<String>,
    // One by one: there may be very many.
    #[serde(serialize_with = "log_values")]
    logs: &'a [LogReport],
    objects: u64,
    partial: bool,
    place: &'a str,
    roster: Option<Value>,
    verdict: &'static str,
    versions: Value,
}

fn log_values<S: Serializer>(logs: &[LogReport], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(logs.iter().map(log_value))
}

/// The same for programs.
pub fn fleet_verify_json(fleet: &Fleet) -> impl Serialize {
    let versions = match &fleet.versions {
        Versions::Unknown => json!({ "state": "unknown" }),
        Versions::NotKept => json!({ "state": "not_kept" }),
        Versions::Denied(why) => json!({ "state": "denied", "message": why }),
        Versions::Seen(seen) => json!({ "state": "seen", "versions": seen }),
    };
    let roster = fleet
        .roster
        .as_ref()
        .map(|(name, sequence, date)| json!({ "name": name, "sequence": sequence, "date": date }));
    let acknowledged = fleet.acknowledged.iter().map(|known| {
        json!({ "code": known.kind.code(), "object": known.object, "reason": known.reason })
    });
    Document {
        fleet: Told {
            acknowledged: acknowledged.collect(),
            acknowledgements_unused: fleet.unused,
            at: fleet.at,
            bytes: fleet.bytes,
            findings: fleet.findings.iter().map(finding_value).collect(),
            had_state: fleet.had_state,
            limits: limits(fleet),
            logs: &fleet.logs,
            objects: fleet.objects,
            partial: fleet.is_partial,
            place: &fleet.place,
            roster,
            verdict: verdict(fleet),
            versions,
        },
    }
}

/// The report that is filed, for people.
#[must_use]
pub fn fleet_report_text(fleet: &Fleet, made_by: &str) -> String {
    let mut out = String::from("Verification of a fleet's audit trail\n\n");
    let firsts = fleet.logs.iter().filter_map(|log| log.first_accepted).min();
    let lasts = fleet.logs.iter().filter_map(|log| log.last_accepted).max();
    let roster = fleet.roster.as_ref().map_or_else(
        || "none".to_owned(),
        |(name, sequence, date)| format!("{}, number {sequence}, of {date}", escape(name)),
    );
    let scope = if fleet.is_partial { "a part of its logs" } else { "all of its logs" };
    for (name, value) in [
        ("Archive", escape(&fleet.place).into_owned()),
        ("Scope", scope.to_owned()),
        ("Made at", format!("{} by the store's clock", time(fleet.at))),
        ("Made by", made_by.to_owned()),
        ("Roster", roster),
        ("Period", format!("{} to {}", time(firsts), time(lasts))),
        ("Result", sentence(fleet)),
    ] {
        let _ = writeln!(out, "{name:<9} {value}");
    }
    for log in &fleet.logs {
        let _ = writeln!(out, "\nLog {}", escape(&log.id));
        let _ = writeln!(out, "  Hosts     {}", hosts(&log.hosts));
        let period = format!("{} to {}", time(log.first_accepted), time(log.last_accepted));
        let _ = writeln!(out, "  Records   {}, {period}", log.records);
        if let Some(root) = log.root {
            let _ = writeln!(out, "  Root      {root}");
        }
        let known = if log.key_is_known { "known from elsewhere" } else { "taken from the bucket" };
        for key in &log.keys {
            let _ = writeln!(out, "  Key       {} ({known})", escape(key));
        }
        for epoch in &log.epochs {
            let _ = writeln!(
                out,
                "  Epoch {}   {}, root {}",
                epoch.epoch,
                records(epoch.begins, epoch.records),
                epoch.root
            );
            for (first, end) in &epoch.holes {
                let _ = writeln!(out, "  Gap       records {first} to {}", end - 1);
            }
            if epoch.begins > 0 {
                let _ = writeln!(out, "  Gap       records 0 to {}", epoch.begins - 1);
            }
        }
        let _ = writeln!(out, "  Signed heads compared: {}", log.heads);
        if log.findings.is_empty() {
            out.push_str("  Nothing was found.\n");
        }
        log.findings.iter().for_each(|one| finding(&mut out, one));
    }
    if !fleet.findings.is_empty() {
        out.push_str("\nBeside the logs\n");
        fleet.findings.iter().for_each(|one| finding(&mut out, one));
    }
    if !fleet.acknowledged.is_empty() {
        out.push_str("\nAcknowledged in the roster\n");
        acknowledged(&mut out, fleet);
    }
    out.push_str("\nWhat this does not show\n");
    limits(fleet).iter().for_each(|limit| {
        let _ = writeln!(out, "- {}", escape(limit));
    });
    out.push_str(
        "- What a host recorded is its own word until it was signed and shipped: whoever took the \
         host over before that could have recorded anything.\n",
    );
    out
}

/// What a draft says beside its text.
#[must_use]
pub fn fleet_drafted_text(drafted: &Drafted) -> String {
    let logs = count(drafted.roster.logs.len() as u64, "log");
    format!(
        "Drafted a roster of {logs}. Compare each key with its host's before you sign it: the \
         keys come from the bucket, and nobody vouches for them yet."
    )
}
