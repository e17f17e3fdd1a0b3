//! A question that was understood: one value for whoever asks, for its way to the
//! collector, for whoever answers, and for the record of it.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::filter::{GroupBy, Order, Query, Want};
use crate::units::format_duration;

/// What is asked. Written as JSON it is a [`Request`](super::Request) that means the same
/// at any time: with times instead of ages, and what was left out filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Question {
    /// Which records, and what of them.
    pub query: Query,
    /// The largest groups only, so many.
    pub top: Option<usize>,
    /// One of many that go on from each other: see [`Request::follow`](super::Request::follow).
    pub follow: bool,
}

impl Question {
    /// One that asks no more than the query does.
    #[must_use]
    pub fn new(query: Query) -> Self {
        Self { query, top: None, follow: false }
    }

    /// The same about other records: the next page, or what came since.
    #[must_use]
    pub fn about(&self, query: Query) -> Self {
        Self { query, top: self.top, follow: self.follow }
    }
}

impl Serialize for Question {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let filter = &self.query.filter;
        let mut map = to.serialize_map(None)?;
        for (key, patterns) in
            ["type", "actor", "source", "target", "outcome"].iter().zip(&filter.fields)
        {
            let texts: Vec<&str> = patterns.iter().map(|pattern| pattern.as_written()).collect();
            several(&mut map, key, &texts)?;
        }
        let ids: Vec<&str> = filter.ids.iter().map(|pattern| pattern.as_written()).collect();
        several(&mut map, "id", &ids)?;
        for (key, time) in [("since", filter.since), ("until", filter.until)] {
            if let Some(time) = time {
                map.serialize_entry(key, &time.to_string())?;
            }
        }
        if !filter.is_about_all() {
            map.serialize_entry("seq", &format!("{}..{}", filter.seq.0, filter.seq.1))?;
        }
        let conditions: Vec<&str> = filter.conditions.iter().map(|one| one.as_written()).collect();
        several(&mut map, "where", &conditions)?;
        let texts: Vec<&str> = filter.texts.iter().map(String::as_str).collect();
        several(&mut map, "grep", &texts)?;
        match &self.query.want {
            Want::Records { order, limit } => {
                map.serialize_entry("limit", if *limit == u64::MAX { &0 } else { limit })?;
                if *order == Order::Oldest {
                    map.serialize_entry("order", "oldest")?;
                }
            }
            Want::Count => map.serialize_entry("count", &true)?,
            Want::Groups(by) => map.serialize_entry("group_by", &by.to_string())?,
            Want::Summary(overview) => {
                map.serialize_entry("buckets", &overview.buckets)?;
                let by: Vec<String> = overview.by.iter().map(GroupBy::to_string).collect();
                let by: Vec<&str> = by.iter().map(String::as_str).collect();
                several(&mut map, "by", &by)?;
                map.serialize_entry("top", &overview.top)?;
                if overview.series {
                    map.serialize_entry("series", &true)?;
                }
                if let Some(within) = overview.within {
                    map.serialize_entry("within", &format_duration(within))?;
                }
            }
        }
        if let Some(top) = self.top {
            map.serialize_entry("top", &top)?;
        }
        if self.follow {
            map.serialize_entry("follow", &true)?;
        }
        map.end()
    }
}

fn several<M: SerializeMap>(map: &mut M, key: &str, texts: &[&str]) -> Result<(), M::Error> {
    if texts.is_empty() { Ok(()) } else { map.serialize_entry(key, texts) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::read::query::Request;
    use crate::clock::Timestamp;

    fn texts(of: &'static str) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(of, 0..3)
    }

    fn condition() -> impl Strategy<Value = String> {
        let path =
            prop::sample::select(vec!["details.a", "details.\"b.=c\"", "origin.*.x", "details.0"]);
        let rest = prop_oneof![
            Just(" exists".to_owned()),
            "( = |!=|  = )[a-z\"\\\\ 0-9]{1,6}z",
            "(<|>=) ?-?[0-9]{1,4}(\\.[0-9]{1,3})?",
            " ~ \\^?[a-z]{0,4}",
        ];
        (path, rest).prop_map(|(path, rest)| format!("{path}{rest}"))
    }

    fn time() -> impl Strategy<Value = Option<String>> {
        prop::option::of(prop::sample::select(vec![
            "1h".to_owned(),
            "now".to_owned(),
            "2026-02-04".to_owned(),
            "2026-02-04T21:09:40.1234567+01:00".to_owned(),
        ]))
    }

    prop_compose! {
        fn request()(
            event_type in texts("[a-z.*\"\\\\]{0,8}"),
            actor in texts("\\PC{0,6}"),
            grep in texts("\\PC{0,6}"),
            conditions in prop::collection::vec(condition(), 0..3),
            (since, until) in (time(), time()),
            seq in prop::option::of(prop::sample::select(vec!["3", "3..", "..9", "2..=7", "..", "9..3"])),
            limit in prop::option::of(0..1_000_u64),
            order in prop::option::of(prop::sample::select(vec!["newest", "oldest"])),
            (count, group_by, top) in prop_oneof![
                Just((false, None, None)),
                Just((true, None, None)),
                (prop::sample::select(vec!["type", "actor", "source", "target", "outcome", "event_type",
                    "minute", "hour", "day", "month", "details.ip", "origin.\"a.b\""]),
                    prop::option::of(0..9_usize)).prop_map(|(by, top)| (false, Some(by), top)),
            ],
            follow: bool,
            (buckets, by) in (prop::option::of(1..=200_usize), prop::collection::vec(prop::sample::select(
                vec!["type", "event_type", "actor", "hour", "details.\"a.b\""]).prop_map(str::to_owned), 0..3)),
            (series, within) in (any::<bool>(), prop::option::of(prop::sample::select(vec!["1s", "0s", "1m30s"]))),
        ) -> Request {
            let is_summary = !count && group_by.is_none() && (buckets.is_some() || !by.is_empty());
            let (buckets, by) = if is_summary { (buckets, by) } else { (None, Vec::new()) };
            Request {
                buckets, by, series: series && is_summary,
                within: within.filter(|_| is_summary).map(str::to_owned),
                event_type, actor, grep, conditions, since, until, limit, count, top, follow,
                seq: seq.map(str::to_owned),
                order: order.map(str::to_owned),
                group_by: group_by.map(str::to_owned),
                ..Request::default()
            }
        }
    }

    proptest! {
        /// What the collector understands, whenever it is asked, is what was meant.
        #[test]
        fn a_question_is_understood_as_it_was_meant(request in request(), later in 0..10_i64.pow(12)) {
            let now: Timestamp = "2026-02-04T21:09:40.5Z".parse().expect("time");
            let Ok(question) = request.question(now) else { return Ok(()) };
            let sent = serde_json::to_string(&question).expect("json");
            let received: Request = serde_json::from_str(&sent).expect(&sent);
            let later = Timestamp::from_micros(now.micros() + later);
            let understood = received.question(later).expect(&sent);
            prop_assert_eq!(&understood, &question, "{}", sent);
            prop_assert_eq!(serde_json::to_string(&understood).expect("json"), sent);
        }
    }

    #[test]
    fn a_question_has_the_keys_of_a_request() {
        let request: Request = serde_json::from_str(
            r#"{"actor":"a*","since":"1h","until":"2026-02-04","where":"details.n=5","grep":["x"],"group_by":"event_type","top":3,"follow":true}"#,
        )
        .expect("a request");
        let now = "2026-02-04T21:09:40.5Z".parse().expect("time");
        let question = request.question(now).expect("understood");
        assert_eq!(
            serde_json::to_string(&question).expect("json"),
            r#"{"actor":["a*"],"since":"2026-02-04T20:09:40.000000Z","until":"2026-02-04T00:00:00.000000Z","where":["details.n=5"],"grep":["x"],"group_by":"type","top":3,"follow":true}"#
        );
        let all = Question::new(Request::default().resolve(now).expect("understood"));
        assert_eq!(serde_json::to_string(&all).expect("json"), r#"{"limit":100}"#);
    }
}
