//! An answer as one JSON object: over the socket, over HTTP, with `--json`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::{Answer, CacheUse, Effort, Found, GivenUp, History, Lines};
use super::filter::Want;
use super::groups::{Group, Groups};
use super::question::Question;
use super::summary_document::SummaryDocument;

/// A group, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct GroupDocument {
    /// The value as JSON, as it is stored.
    group: Box<RawValue>,
    /// For records that have no such field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missing: bool,
    records: u64,
}

/// A range of seqs, and how it is asked for.
#[derive(Debug, Serialize, Deserialize)]
struct NextDocument {
    seq: String,
}

/// From, and up to but without.
#[derive(Debug, Serialize, Deserialize)]
struct RangeDocument {
    begin: u64,
    end: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Document<'a> {
    /// Each as it is stored; a line that is not JSON as a text.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    records: Option<Vec<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<GroupDocument>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups_total: Option<u64>,
    /// Records in none of the groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond: Option<u64>,
    /// What a group that is not listed has at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond_each: Option<u64>,
    /// Many records at once: how many match, their times, and what is counted of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<SummaryDocument>,
    begin: u64,
    end: u64,
    log_id: String,
    epoch: u32,
    more: bool,
    /// What to ask with to go on, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextDocument>,
    partial: bool,
    /// What retention has removed of the records that were asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pruned: Option<RangeDocument>,
    unreadable: u64,
    damaged: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    given_up: Vec<GivenUp>,
    /// What of the records that were asked about is signed, and missing at the log's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<RangeDocument>,
    effort: EffortDocument,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct EffortDocument {
    cache: String,
    micros: u64,
    segments: u64,
    segments_read: u64,
    blocks: u64,
    blocks_read: u64,
    skipped_seq: u64,
    skipped_time: u64,
    skipped_filter: u64,
    bytes_read: u64,
    bytes_scanned: u64,
    records_read: u64,
}

impl Answer {
    /// The object that answers the question.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which its types rule out.
    pub fn to_json(&self, question: &Question) -> serde_json::Result<String> {
        let query = &question.query;
        let mut texts = Vec::new();
        let mut document = Document {
            begin: self.begin,
            end: self.end,
            log_id: self.history.log_id.clone(),
            epoch: self.history.epoch,
            more: self.more,
            next: self.next(query).map(|(from, to)| NextDocument { seq: format!("{from}..{to}") }),
            partial: self.is_partial(),
            pruned: self.pruned.map(|(begin, end)| RangeDocument { begin, end }),
            unreadable: self.unreadable,
            damaged: self.damaged.clone(),
            given_up: self.given_up.clone(),
            missing: self.missing.map(|(begin, end)| RangeDocument { begin, end }),
            effort: EffortDocument::from(&self.effort),
            ..Document::default()
        };
        match (&self.found, &query.want) {
            (Found::Records(lines), _) => {
                texts.reserve_exact(lines.len());
                for line in lines.iter() {
                    texts.push(as_json(line)?);
                }
            }
            (Found::Count(count), _) => document.count = Some(*count),
            (Found::Groups(groups), Want::Groups(by)) => {
                let all = groups.sorted(by);
                document.groups_total = Some(all.len() as u64);
                document.beyond = Some(groups.beyond);
                document.beyond_each = Some(groups.bound);
                let top = question.top.unwrap_or(usize::MAX);
                let listed = all.into_iter().take(top).map(|(group, records)| {
                    let missing = group == Group::Missing;
                    let group = RawValue::from_string(group.json().into_owned())?;
                    Ok(GroupDocument { group, missing, records })
                });
                document.groups = Some(listed.collect::<serde_json::Result<_>>()?);
            }
            (Found::Groups(_), _) => {}
            (Found::Summary(summary), _) => document.summary = Some(SummaryDocument::of(summary)?),
        }
        if self.lines().is_some() {
            document.records = Some(texts.iter().map(|text| &**text).collect());
        }
        serde_json::to_string(&document)
    }

    /// Reads the object back. Records are the stored bytes again.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        let document: Document<'_> = serde_json::from_str(text)?;
        let found = if let Some(records) = document.records {
            let mut lines = Lines::default();
            for record in records {
                let text = record.get();
                if text.starts_with('"') {
                    lines.push(serde_json::from_str::<String>(text)?.as_bytes());
                } else {
                    lines.push(text.as_bytes());
                }
            }
            Found::Records(lines)
        } else if let Some(listed) = document.groups {
            let mut groups = Groups::default();
            groups.beyond = document.beyond.unwrap_or(0);
            groups.bound = document.beyond_each.unwrap_or(0);
            for GroupDocument { group, missing, records } in listed {
                groups.add_listed(&Group::written(group.get(), missing), records);
            }
            Found::Groups(groups)
        } else if let Some(summary) = document.summary {
            Found::Summary(summary.summary())
        } else {
            Found::Count(document.count.unwrap_or(0))
        };
        Ok(Self {
            found,
            begin: document.begin,
            end: document.end,
            history: History { log_id: document.log_id, epoch: document.epoch },
            more: document.more,
            pruned: document.pruned.map(|range| (range.begin, range.end)),
            unreadable: document.unreadable,
            damaged: document.damaged,
            given_up: document.given_up,
            missing: document.missing.map(|range| (range.begin, range.end)),
            effort: document.effort.into(),
        })
    }
}

impl Lines {
    /// Each as JSON, as it is stored; one that is damaged so that it is not JSON, as a text.
    ///
    /// # Errors
    /// When a text cannot be written as JSON, which its type rules out.
    #[doc(hidden)]
    pub fn to_json(&self) -> serde_json::Result<Vec<Box<RawValue>>> {
        self.iter()
            .map(|line| match as_json(line)? {
                Text::Stored(raw) => Ok(raw.to_owned()),
                Text::Made(raw) => Ok(raw),
            })
            .collect()
    }
}

/// A stored line; one that is damaged so that it is not JSON, as a text.
fn as_json(line: &[u8]) -> serde_json::Result<Text<'_>> {
    match serde_json::from_slice::<&RawValue>(line) {
        // White space around it would be lost.
        Ok(raw) if raw.get().len() == line.len() => Ok(Text::Stored(raw)),
        _ => serde_json::value::to_raw_value(&String::from_utf8_lossy(line)).map(Text::Made),
    }
}

/// A line as JSON; as it is stored it is not copied.
enum Text<'a> {
    Stored(&'a RawValue),
    Made(Box<RawValue>),
}

impl std::ops::Deref for Text<'_> {
    type Target = RawValue;

    fn deref(&self) -> &RawValue {
        match self {
            Self::Stored(raw) => raw,
            Self::Made(raw) => raw,
        }
    }
}

impl From<&Effort> for EffortDocument {
    fn from(effort: &Effort) -> Self {
        Self {
            cache: effort.cache.as_str().to_owned(),
            micros: effort.micros,
            segments: effort.segments,
            segments_read: effort.segments_read,
            blocks: effort.blocks,
            blocks_read: effort.blocks_read,
            skipped_seq: effort.skipped_seq,
            skipped_time: effort.skipped_time,
            skipped_filter: effort.skipped_filter,
            bytes_read: effort.bytes_read,
            bytes_scanned: effort.bytes_scanned,
            records_read: effort.records_read,
        }
    }
}

impl From<EffortDocument> for Effort {
    fn from(document: EffortDocument) -> Self {
        let ways = [CacheUse::None, CacheUse::Miss, CacheUse::Hit, CacheUse::Completed];
        let cache = ways.into_iter().find(|way| way.as_str() == document.cache);
        Self {
            cache: cache.unwrap_or_default(),
            micros: document.micros,
            segments: document.segments,
            segments_read: document.segments_read,
            blocks: document.blocks,
            blocks_read: document.blocks_read,
            skipped_seq: document.skipped_seq,
            skipped_time: document.skipped_time,
            skipped_filter: document.skipped_filter,
            bytes_read: document.bytes_read,
            bytes_scanned: document.bytes_scanned,
            records_read: document.records_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::{Counted, Histogram, Request, Step, Summary, Value};
    use crate::clock::Timestamp;

    #[test]
    fn an_answer_comes_back_from_its_object_with_its_records_byte_for_byte() {
        let lines: [&[u8]; 3] =
            [br#"{"seq":1,"details":{"a" : 1.0e5,"\u0061":2}}"#, b"{\"seq\":2,\"torn", b"{} "];
        let answer = |found| Answer {
            found,
            begin: 3,
            end: 9,
            history: History { log_id: "5f0c".to_owned(), epoch: 2 },
            more: true,
            pruned: Some((0, 3)),
            unreadable: 1,
            damaged: vec!["a \"block\"".to_owned()],
            given_up: vec![GivenUp { first_seq: 5, end_seq: 7, reason: "altered".to_owned() }],
            missing: Some((9, 11)),
            effort: Effort { cache: CacheUse::Completed, blocks: 7, ..Effort::default() },
        };
        let mut groups = Groups::default();
        groups.bound = 1;
        for json in ["\"alice\"", "5.0", "null", "{\"b\":1.10,\"a\":2}", "1e999"] {
            groups.add_listed(&Group::Json(json.to_owned()), 5);
        }
        groups.add_listed(&Group::Missing, 2);
        let question = |json: &str| {
            let request: Request = serde_json::from_str(json).expect("json");
            request.question(Default::default()).expect("question")
        };
        let summary = Summary {
            records: 9,
            span: Some((
                Timestamp::from_micros(3_600_000_001),
                Timestamp::from_micros(7_300_000_000),
            )),
            histogram: Histogram {
                step: Step::named("30m").expect("a step"),
                start: Some(Timestamp::from_micros(3_600_000_000)),
                counts: vec![4, 0, 3],
                earlier: 1,
                later: 1,
                undated: 0,
            },
            by: vec![
                Counted {
                    by: "actor".to_owned(),
                    values: vec![
                        Value {
                            group: Group::Text("alice".to_owned()),
                            records: 5,
                            series: vec![3, 0, 2],
                        },
                        Value { group: Group::Missing, records: 2, series: Vec::new() },
                        Value {
                            group: Group::Json("5.0".to_owned()),
                            records: 1,
                            series: Vec::new(),
                        },
                    ],
                    other: 1,
                    distinct: 4,
                    error: 0,
                    bound: 0,
                },
                Counted {
                    by: "details.\"a.b\"".to_owned(),
                    values: Vec::new(),
                    other: 9,
                    distinct: 9,
                    error: 2,
                    bound: 2,
                },
            ],
            looked_from: Some(4),
            sketch: None,
        };
        for (found, question) in [
            (
                Found::Summary(summary),
                question(r#"{"by":["actor","details.\"a.b\""],"series":true}"#),
            ),
            (Found::Records(lines.into_iter().collect()), question("{}")),
            (Found::Count(12), question(r#"{"count":true}"#)),
            (Found::Groups(groups), question(r#"{"group_by":"actor"}"#)),
        ] {
            let answer = answer(found);
            let text = answer.to_json(&question).expect("json");
            assert_eq!(Answer::from_json(&text).expect("an answer"), answer, "{text}");
        }
    }
}
