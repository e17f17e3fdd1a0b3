//! A question as people put it: on the command line, over the socket, over HTTP.

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::filter::{DEFAULT_TOP, Filter, GroupBy, MAX_BY, Order, Overview, Query, Unit, Want};
use super::histogram::{DEFAULT_BUCKETS, MAX_BUCKETS};
use super::path::Path;
use super::pattern::Pattern;
use super::question::Question;
use super::when;
use crate::audit::record::head::Field;
use crate::clock::Timestamp;
use crate::units::parse_duration;

/// Records that are returned when nothing is said.
pub const DEFAULT_LIMIT: u64 = 100;
/// So many patterns, conditions and texts make up a question at most.
pub const MAX_TEXTS: usize = 1_000;
/// So many bytes are in all of them at most: a question has to fit into the record of
/// it, its characters escaped and its values redacted.
pub const MAX_TEXT_BYTES: usize = 64 << 10;

/// Groups that have a series of their own, at most.
const MAX_SERIES: usize = 100;
/// Buckets of each of these, at most.
const MAX_SERIES_BUCKETS: usize = 200;

/// A question, in words. Every key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Request {
    /// Patterns for `event_type`: one of them must fit.
    #[serde(rename = "type", alias = "event_type", skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "one_or_many")]
    pub event_type: Vec<String>,
    /// The same for `actor`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub actor: Vec<String>,
    /// The same for `source`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub source: Vec<String>,
    /// The same for `target`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub target: Vec<String>,
    /// The same for `outcome`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub outcome: Vec<String>,
    /// The same for `id`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub id: Vec<String>,
    /// From this `timestamp` on: RFC 3339, a date, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Before this `timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `A..B` (without B), `A..=B`, `A..`, `..B`, or `A`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<String>,
    /// Conditions such as `details.amount >= 100`: all must hold.
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "one_or_many")]
    pub conditions: Vec<String>,
    /// Texts that the record must contain: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub grep: Vec<String>,
    /// At most so many records; 0 for all of them; default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `newest` (default) or `oldest` first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// How many there are, instead of the records.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
    /// How many there are of each: a field, a path into details or origin,
    /// `minute`, `hour`, `day` or `month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// The largest groups only, so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// How many there are over time, in so many buckets at most: 1 to 1000; default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<usize>,
    /// Beside that, how many there are of each: what `group_by` takes, 8 of them at most.
    /// `top` says how many of each are listed; default 10.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub by: Vec<String>,
    /// Each group that is listed over time as well: 100 groups in 200 buckets at most.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub series: bool,
    /// Looks no longer than that, at the newest records first: a duration such as `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// One of many that go on from each other, each behind the end of the one before: with
    /// `audit_reads` only the first one is recorded, or what is recorded would be followed
    /// for ever.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// A text, or several.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// What is wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct RequestError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub reason: String,
}

impl Request {
    /// What is asked with it, at the time `now`.
    ///
    /// # Errors
    /// The first value that cannot be understood.
    pub fn question(&self, now: Timestamp) -> Result<Question, RequestError> {
        let query = self.resolve(now)?;
        // Of a summary it is part of the query.
        let top = self.top.filter(|_| !matches!(query.want, Want::Summary(_)));
        Ok(Question { query, top, follow: self.follow })
    }

    /// The query of that question.
    ///
    /// # Errors
    /// The first value that cannot be understood.
    pub fn resolve(&self, now: Timestamp) -> Result<Query, RequestError> {
        self.check_size()?;
        let at = |key, text: &Option<String>| {
            let time = text.as_deref().map(|text| when::parse(text, now)).transpose();
            time.map_err(|reason| RequestError { key, reason })
        };
        let fields = [&self.event_type, &self.actor, &self.source, &self.target, &self.outcome]
            .map(|patterns| patterns.iter().map(|text| Pattern::new(text)).collect());
        let conditions = self.conditions.iter().map(|text| Condition::parse(text));
        let conditions = conditions
            .collect::<Result<_, _>>()
            .map_err(|error| RequestError { key: "where", reason: error.to_string() })?;
        let mut filter = Filter {
            fields,
            ids: self.id.iter().map(|text| Pattern::new(text)).collect(),
            since: at("since", &self.since)?,
            until: at("until", &self.until)?,
            seq: self.seq.as_deref().map_or(Ok((0, u64::MAX)), parse_seq)?,
            conditions,
            texts: self.grep.clone(),
        };
        filter.normalize();
        Ok(Query { filter, want: self.want()? })
    }

    /// Whether it is short enough to be asked at all.
    ///
    /// # Errors
    /// The key at which it is too long.
    #[doc(hidden)]
    pub fn check_size(&self) -> Result<(), RequestError> {
        let texts = [
            ("type", &self.event_type),
            ("actor", &self.actor),
            ("source", &self.source),
            ("target", &self.target),
            ("outcome", &self.outcome),
            ("id", &self.id),
            ("where", &self.conditions),
            ("grep", &self.grep),
            ("by", &self.by),
        ];
        let one = [
            ("group_by", &self.group_by),
            ("since", &self.since),
            ("until", &self.until),
            ("within", &self.within),
        ];
        let one = one.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
        let all = texts.iter().flat_map(|(key, texts)| texts.iter().map(move |text| (*key, text)));
        let (mut count, mut bytes) = (0, 0);
        for (key, text) in all.chain(one) {
            count += 1;
            bytes += text.len();
            if count > MAX_TEXTS || bytes > MAX_TEXT_BYTES {
                let reason = format!(
                    "the query is too long: it may have {MAX_TEXTS} texts with {MAX_TEXT_BYTES} \
                     bytes in all; ask in several queries"
                );
                return Err(RequestError { key, reason });
            }
        }
        Ok(())
    }

    /// Whether it asks for many records at once.
    #[must_use]
    #[doc(hidden)]
    pub fn is_summary(&self) -> bool {
        self.buckets.is_some() || !self.by.is_empty() || self.series || self.within.is_some()
    }

    fn want(&self) -> Result<Want, RequestError> {
        if self.buckets.is_some() || !self.by.is_empty() {
            return self.overview().map(Want::Summary);
        }
        for (key, is_given) in [("series", self.series), ("within", self.within.is_some())] {
            if is_given {
                let reason = "belongs to a summary: say buckets or by as well".to_owned();
                return Err(RequestError { key, reason });
            }
        }
        if let Some(by) = &self.group_by {
            if self.count {
                let reason = "asks for more than count does; leave out one of them".to_owned();
                return Err(RequestError { key: "group_by", reason });
            }
            return Ok(Want::Groups(group_by(by)?));
        }
        if self.count {
            return Ok(Want::Count);
        }
        let order = match self.order.as_deref() {
            None | Some("newest") => Order::Newest,
            Some("oldest") => Order::Oldest,
            Some(other) => {
                let reason = format!("\"{}\" is neither newest nor oldest", other.escape_debug());
                return Err(RequestError { key: "order", reason });
            }
        };
        let limit = match self.limit {
            None => DEFAULT_LIMIT,
            Some(0) => u64::MAX,
            Some(limit) => limit,
        };
        Ok(Want::Records { order, limit })
    }
}

impl Request {
    /// What is wanted of a summary.
    fn overview(&self) -> Result<Overview, RequestError> {
        let refuse = |key, reason: String| Err(RequestError { key, reason });
        let others = [("count", self.count), ("group_by", self.group_by.is_some())];
        for (key, is_given) in others {
            if is_given {
                return refuse(key, "excludes buckets and by".to_owned());
            }
        }
        let buckets = self.buckets.unwrap_or(DEFAULT_BUCKETS);
        let most = if self.series { MAX_SERIES_BUCKETS } else { MAX_BUCKETS };
        if !(1..=most).contains(&buckets) {
            let with = if self.series { " with series" } else { "" };
            return refuse("buckets", format!("{buckets} is not one of 1 to {most}{with}"));
        }
        if self.by.len() > MAX_BY {
            return refuse("by", format!("{} are more than the {MAX_BY} at once", self.by.len()));
        }
        let top = self.top.unwrap_or(DEFAULT_TOP);
        if self.series && top > MAX_SERIES {
            return refuse("top", format!("{top} are more than the {MAX_SERIES} with series"));
        }
        let mut by: Vec<GroupBy> = Vec::new();
        for text in &self.by {
            let one = group_by(text).map_err(|error| RequestError { key: "by", ..error })?;
            if !by.contains(&one) {
                by.push(one);
            }
        }
        let within = self.within.as_deref().map(parse_duration).transpose();
        let within =
            within.map_err(|error| RequestError { key: "within", reason: error.to_string() })?;
        Ok(Overview { buckets, by, top, series: self.series, within })
    }
}

fn group_by(text: &str) -> Result<GroupBy, RequestError> {
    Ok(match text {
        "type" | "event_type" => GroupBy::Field(Field::EventType),
        "actor" => GroupBy::Field(Field::Actor),
        "source" => GroupBy::Field(Field::Source),
        "target" => GroupBy::Field(Field::Target),
        "outcome" => GroupBy::Field(Field::Outcome),
        "minute" => GroupBy::Time(Unit::Minute),
        "hour" => GroupBy::Time(Unit::Hour),
        "day" => GroupBy::Time(Unit::Day),
        "month" => GroupBy::Time(Unit::Month),
        path => GroupBy::Path(Path::parse(path).map_err(|reason| RequestError {
            key: "group_by",
            reason: format!(
                "{reason}; or type, actor, source, target, outcome, minute, hour, day, month"
            ),
        })?),
    })
}

fn parse_seq(text: &str) -> Result<(u64, u64), RequestError> {
    let refuse = || RequestError {
        key: "seq",
        reason: format!(
            "\"{}\" is not a range: write 100..200 (without 200), 100..=199, 100.., ..200, or 100",
            text.chars().take(64).flat_map(char::escape_debug).collect::<String>()
        ),
    };
    let number = |text: &str| match text.trim() {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let Some((from, to)) = text.split_once("..") else {
        let only: u64 = number(text).ok_or_else(refuse)?;
        return Ok((only, only.saturating_add(1)));
    };
    let from = if from.trim().is_empty() { 0 } else { number(from).ok_or_else(refuse)? };
    let to = match to.strip_prefix('=') {
        Some(last) => number(last).ok_or_else(refuse)?.saturating_add(1),
        None if to.trim().is_empty() => u64::MAX,
        None => number(to).ok_or_else(refuse)?,
    };
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(json: &str) -> Result<Query, RequestError> {
        let request: Request = serde_json::from_str(json).expect("json");
        request.resolve("2026-02-04T21:09:40Z".parse().expect("time"))
    }

    #[test]
    fn ways_to_ask_the_same_are_the_same_question() {
        let one = resolve(r#"{"type":["b","a"],"where":["details.n=5","details.a exists"]}"#);
        let two = resolve(
            r#"{"event_type":["a","b","a"],"where":["details.a  exists","details.n = 5"],"grep":[""],"limit":100,"order":"newest"}"#,
        );
        assert_eq!(one, two);
        assert_ne!(one, resolve(r#"{"type":"a"}"#));
        assert_eq!(resolve(r#"{"since":"1h"}"#), resolve(r#"{"since":"2026-02-04T20:09:40Z"}"#));
    }

    #[test]
    fn seqs_are_ranges_as_rust_writes_them() {
        for (text, range) in [
            ("5", (5, 6)),
            ("5..7", (5, 7)),
            ("5..=7", (5, 8)),
            ("5..", (5, u64::MAX)),
            ("..7", (0, 7)),
            ("..", (0, u64::MAX)),
        ] {
            assert_eq!(parse_seq(text), Ok(range), "{text}");
        }
        for text in ["", "a", "5-7", "5...7", "-1..", "5..=", "99999999999999999999"] {
            assert!(parse_seq(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_its_key() {
        for (json, key) in [
            (r#"{"since":"soon"}"#, "since"),
            (r#"{"until":"soon"}"#, "until"),
            (r#"{"seq":"x"}"#, "seq"),
            (r#"{"where":"n"}"#, "where"),
            (r#"{"order":"random"}"#, "order"),
            (r#"{"group_by":"colour"}"#, "group_by"),
            (r#"{"group_by":"actor","count":true}"#, "group_by"),
            (r#"{"buckets":10,"count":true}"#, "count"),
            (r#"{"by":"actor","group_by":"actor"}"#, "group_by"),
            (r#"{"buckets":0}"#, "buckets"),
            (r#"{"buckets":1001}"#, "buckets"),
            (r#"{"buckets":201,"series":true}"#, "buckets"),
            (r#"{"by":"actor","series":true,"top":101}"#, "top"),
            (r#"{"by":"colour"}"#, "by"),
            (r#"{"by":["type","type","type","type","type","type","type","type","type"]}"#, "by"),
            (r#"{"buckets":10,"within":"soon"}"#, "within"),
            (r#"{"series":true}"#, "series"),
            (r#"{"within":"1s"}"#, "within"),
        ] {
            assert_eq!(resolve(json).expect_err(json).key, key);
        }
        assert!(serde_json::from_str::<Request>(r#"{"actr":"a"}"#).is_err());
    }
}
