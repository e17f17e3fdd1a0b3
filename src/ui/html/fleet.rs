//! What `fleet verify` found, for an auditor's file.

use super::sheet::{Asked, Part, Sheet, Tone, activity, facts, list, own_records, table, text};
use super::visible;
use crate::audit::read::verify::Activity;
use crate::clock::Timestamp;
use crate::fleet::{Finding, Fleet, LogReport};
use crate::health::wording::count;
use crate::ui::fleet::{hosts, limits, sentence, time, verdict};
use crate::ui::key::in_groups;
use crate::units::{human_bytes, records};

/// So many logs are named of which nothing was counted.
const MOST_NAMED: usize = 20;

/// The report as one HTML file, which needs no script.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn fleet_report_html(fleet: &Fleet, asked: &Asked) -> Result<String, askama::Error> {
    let tone = match verdict(fleet) {
        "bad" => Tone::Bad,
        "ok" => Tone::Good,
        _ => Tone::Open,
    };
    let (word, rest) = match sentence(fleet).split_once(": ") {
        Some((word, rest)) => (word.to_owned(), rest.to_owned()),
        None => (sentence(fleet), String::new()),
    };
    let mut sheet = Sheet {
        title: "Verification of a fleet's audit trail".to_owned(),
        word: visible(&word),
        tone,
        sentences: vec![visible(&rest)],
        sections: Vec::new(),
    };
    sheet.section("What was checked", vec![scope(fleet, asked)]);
    let all: Vec<&Finding> = fleet.all_findings().collect();
    if !all.is_empty() {
        sheet.section("What was found", findings(&all));
    }
    if !fleet.acknowledged.is_empty() {
        let known = fleet.acknowledged.iter();
        let rows =
            known.map(|it| vec![it.kind.code().to_owned(), it.object.clone(), it.reason.clone()]);
        sheet.section(
            "Acknowledged in the roster",
            vec![table(&["What", "Object", "Why"], rows.collect())],
        );
    }
    sheet.section("What was not checked", vec![list(not_checked(fleet))]);
    sheet.section("Who checked, and with what", vec![asked.facts()]);
    sheet.section("All logs", vec![overview(fleet)]).on_new_page = true;
    if let Some(found) = &fleet.activity {
        sheet.section("Activity of all logs", figures(fleet, found));
    }
    for log in &fleet.logs {
        sheet.section(&format!("Log {}", log.id), of_log(log));
    }
    sheet.render(&asked.made_by)
}

fn scope(fleet: &Fleet, asked: &Asked) -> Part {
    let firsts = fleet.logs.iter().filter_map(|log| log.first_accepted).min();
    let lasts = fleet.logs.iter().filter_map(|log| log.last_accepted).max();
    let roster = fleet.roster.as_ref().map_or_else(
        || "none".to_owned(),
        |(name, sequence, date)| format!("{name}, number {sequence}, of {date}"),
    );
    let scope = if fleet.is_partial { "a part of its logs" } else { "all of its logs" };
    facts(vec![
        ("Archive", asked.place.clone()),
        ("Scope", scope.to_owned()),
        ("Roster", roster),
        ("Period", format!("{} to {}", time(firsts), time(lasts))),
        ("Listed", format!("{} by the store's clock", time(fleet.at))),
        ("Objects", format!("{}, {}", fleet.objects, human_bytes(fleet.bytes))),
        ("Logs", fleet.logs.len().to_string()),
    ])
}

fn findings(all: &[&Finding]) -> Vec<Part> {
    let rows = all.iter().map(|it| {
        let epoch = it.epoch.map_or_else(String::new, |epoch| format!("epoch {epoch}: "));
        let objects = it.objects.iter().map(|object| format!(" [{object}]")).collect::<String>();
        vec![
            format!("{} ({})", it.severity.as_str(), it.kind.code()),
            it.log.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{epoch}{}{objects}", it.what),
            it.kind.hint().to_owned(),
        ]
    });
    vec![table(&["How bad", "Log", "What and where", "What to do"], rows.collect())]
}

fn not_checked(fleet: &Fleet) -> Vec<String> {
    let mut all = limits(fleet);
    all.push(
        "What a host recorded is its own word until it was signed and shipped: whoever took the \
         host over before that could have recorded anything."
            .to_owned(),
    );
    all
}

/// What was counted, and of what it is.
fn figures(fleet: &Fleet, found: &Activity) -> Vec<Part> {
    let counted = fleet.logs.iter().filter(|log| log.counted.as_ref().is_some_and(has_some));
    let known: u64 = fleet.logs.iter().map(|log| log.records_known).sum();
    let mut parts = vec![text(format!(
        "Counted in the very bytes that were hashed in this run: {} of {}, accepted from {} to {} by \
         their writers' clocks.",
        count(found.records, "record"),
        count(counted.count() as u64, "log"),
        time(found.first),
        time(found.last)
    ))];
    let mut without = Vec::new();
    if known > 0 {
        without.push(format!(
            "{}, which were verified before and are listed unchanged: --full reads them too",
            count(known, "record")
        ));
    }
    let wrong: Vec<String> = fleet
        .logs
        .iter()
        .filter(|log| log.counted.is_none())
        .map(|log| format!("log {} ({})", log.id, hosts(&log.hosts)))
        .collect();
    if !wrong.is_empty() {
        let names = wrong.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = wrong.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        without.push(format!(
            "the records of {names}{more}: something is wrong there, or nobody knows the log"
        ));
    }
    if fleet.logs.iter().any(|log| log.epochs.len() > 1) {
        without.push("records of earlier epochs that were left behind".to_owned());
    }
    if !without.is_empty() {
        parts.push(text("Not counted:"));
        parts.push(list(without));
    }
    if found.records > 0 {
        parts.extend(activity(found));
    }
    parts
}

fn has_some(found: &Activity) -> bool {
    found.records > 0
}

/// What a log recorded of itself, in the records that were counted.
fn own(found: &Activity) -> Vec<Part> {
    if found.records == 0 {
        return Vec::new();
    }
    let mut parts = vec![text(format!(
        "Counted now: {}, accepted from {} to {}.",
        count(found.records, "record"),
        time(found.first),
        time(found.last)
    ))];
    if found.told.is_empty() {
        parts
            .push(text("None of them is about a restore, a repair, a removal or a change of key."));
    } else {
        parts.push(own_records(found));
    }
    if found.told_beyond > 0 {
        parts.push(text(format!("{} more are not listed.", count(found.told_beyond, "record"))));
    }
    parts
}

fn overview(fleet: &Fleet) -> Part {
    let rows = fleet.logs.iter().map(|log| {
        let worst = log.findings.iter().map(|it| it.severity).max();
        vec![
            hosts(&log.hosts),
            log.id.clone(),
            log.records.to_string(),
            time(log.last_accepted),
            worst.map_or("ok", |worst| worst.as_str()).to_owned(),
        ]
    });
    table(&["Host", "Log", "Records", "Last accepted", "Found"], rows.collect())
}

fn of_log(log: &LogReport) -> Vec<Part> {
    let shown = |at: Option<Timestamp>| time(at);
    let mut rows = vec![
        ("Hosts", hosts(&log.hosts)),
        ("Records", log.records.to_string()),
        ("Period", format!("{} to {}", shown(log.first_accepted), shown(log.last_accepted))),
        ("Signed heads", format!("{} compared, {} not", log.heads, log.heads_unchecked)),
        (
            "Read now",
            format!(
                "{}; {} known from before",
                count(log.records_read, "record"),
                log.records_known
            ),
        ),
    ];
    rows.extend(log.root.map(|root| ("Root", root.to_string())));
    let known = if log.key_is_known { "known from elsewhere" } else { "taken from the bucket" };
    let name = format!("Key, {known}");
    for key in &log.keys {
        // As the archive has it: name, id and key.
        let print = key.parse::<crate::audit::keys::checkpoint::VerifierKey>();
        let print = print.map_or_else(|_| key.clone(), |key| in_groups(&key.fingerprint()));
        rows.push((name.as_str(), print));
    }
    for epoch in &log.epochs {
        let held = records(epoch.begins, epoch.records);
        rows.push(("Epoch", format!("{}: {held}, root {}", epoch.epoch, epoch.root)));
        if epoch.begins > 0 {
            rows.push(("Gap", format!("records 0 to {}", epoch.begins - 1)));
        }
        for (first, end) in &epoch.holes {
            rows.push((
                "Gap",
                format!("records {first} to {}: only their hashes are there", end - 1),
            ));
        }
    }
    let mut parts = vec![facts(rows)];
    if log.findings.is_empty() {
        parts.push(text("Nothing was found."));
    }
    parts.extend(log.counted.iter().flat_map(own));
    parts
}
