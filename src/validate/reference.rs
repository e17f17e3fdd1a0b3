//! docs/validating.md repeats the tables here. When it differs, the failing test prints
//! the text to paste.

use super::bench;
use super::catalogue::Id;
use super::disk::FULL_WITHIN_DAYS;
use super::machine::SPARE_FILES;
use super::serving::TOKEN_ENDS_WITHIN_DAYS;
use super::sync_latency::MOST_SYNC_MS;
use crate::units::human_bytes;

const PAGE: &str = include_str!("../../docs/validating.md");

/// What stands between `<!-- name: begin -->` and `<!-- name: end -->`.
fn marked(name: &str) -> &'static str {
    let begin = format!("<!-- {name}: begin -->\n");
    let after = PAGE.split_once(&begin).expect("the page has the marker").1;
    after.split_once(&format!("<!-- {name}: end -->")).expect("the page has the end marker").0
}

fn checks() -> String {
    let mut table = "| id | at worst | what it is about |\n|---|---|---|\n".to_owned();
    for id in Id::ALL {
        let (name, worst, about) = (id.as_str(), id.worst().as_str(), id.about());
        table.push_str(&format!("| `{name}` | {worst} | {about} |\n"));
    }
    table
}

fn thresholds() -> String {
    let rows = [
        (
            "write_rate",
            format!("at least {} durable events a second", bench::LEAST_EVENTS_A_SECOND),
        ),
        ("query_uncached, query_cached", format!("at most {} ms each", bench::MOST_QUERY_MS)),
        (
            "memory",
            format!(
                "at most {} for {} events, and for {}",
                human_bytes(bench::MOST_MEMORY_BYTES),
                bench::MEMORY_EVENTS[0],
                bench::MEMORY_EVENTS[1]
            ),
        ),
        ("compression", format!("at least {} times smaller", bench::LEAST_COMPRESSION)),
        ("sync_latency", format!("99 of 100 within {} ms", MOST_SYNC_MS)),
        ("disk_growth", format!("without retention, not full within {FULL_WITHIN_DAYS} days")),
        ("tokens", format!("none that is valid ends within {TOKEN_ENDS_WITHIN_DAYS} days")),
        ("file_limit", format!("twice collector.max_connections, and {SPARE_FILES} more")),
    ];
    let mut table = "| what | wanted |\n|---|---|\n".to_owned();
    for (what, wanted) in rows {
        table.push_str(&format!("| {what} | {wanted} |\n"));
    }
    table
}

#[test]
fn the_page_holds_the_table_of_checks() {
    let expected = checks();
    assert!(marked("checks") == expected, "docs/validating.md, checks: paste\n{expected}");
}

#[test]
fn the_page_holds_the_thresholds() {
    let expected = thresholds();
    assert!(marked("thresholds") == expected, "docs/validating.md, thresholds: paste\n{expected}");
}
