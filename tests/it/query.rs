//! Queries: the same answer as a naive reading of all lines, whatever the filter,
//! the rotation and the cache; right beside a writer; and from the command line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditctl::audit::paths::{parse_sealed_name, sealed_name};
use auditctl::audit::read::query::{
    Answer, Bounds, CacheUse, Found, Group, Query, Reader, Request, Summary, Want,
};
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::clock::Timestamp;
use serde_json::{Value, json};

use crate::backups::Home;
use crate::support::{open, records};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

const TYPES: &[&str] = &["login", "logout", "login.failed", "größe", "a\"b"];
const ACTORS: &[&str] = &["alice", "bob", "carol", "mallory@example.com", "back\\slash", "tab"];
const TEXTS: &[&str] = &["plain", "say \"hi\"", "ümlaut", "a/b", "new\nline", "login"];

fn event(dice: &mut Dice, n: u64) -> Event {
    let mut event = Event::new(dice.one_of(TYPES));
    if dice.roll(8) > 0 {
        event = event.actor(dice.one_of(ACTORS));
    }
    if dice.roll(3) > 0 {
        event = event.source(format!("service-{}", dice.roll(4)));
    }
    if dice.roll(2) > 0 {
        event = event.target(format!("acct-{}", n / 7));
    }
    if dice.roll(2) > 0 {
        event = event.outcome(dice.one_of(&["success", "failure"]));
    }
    if dice.roll(3) > 0 {
        let seconds = 1_770_000_000 + dice.roll(200_000) as i64;
        event = event.timestamp(Timestamp::from_micros(seconds * 1_000_000));
    }
    let text = dice.one_of(TEXTS);
    // JSON has several ways to write the same; details are stored as they came.
    let spelled = match dice.roll(3) {
        0 => serde_json::to_string(text).expect("json"),
        1 => format!(
            "\"{}\"",
            text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        ),
        _ => serde_json::to_string(text).expect("json").replace('/', "\\/"),
    };
    let details = match dice.roll(4) {
        0 => format!(r#"{{"n":{},"s":{spelled},"actor":"alice"}}"#, dice.roll(50)),
        1 => format!(r#"{{"n":"{}","tags":["x",{spelled}],"deep":{{"k":{}}}}}"#, dice.roll(50), n),
        2 => format!(r#"{{"s":{spelled},"filler":"{}"}}"#, "f".repeat(dice.roll(600) as usize)),
        _ => return event,
    };
    event.details_json(&details).expect("json")
}

fn request(dice: &mut Dice, seqs: u64) -> Request {
    let mut request = Request::default();
    let some = |dice: &mut Dice, of: &[&str]| -> Vec<String> {
        (0..=dice.roll(2)).map(|_| dice.one_of(of).to_owned()).collect()
    };
    if dice.roll(3) == 0 {
        request.event_type = some(dice, &["login", "log*", "größe", "a\"b", "audit.*", "*"]);
    }
    if dice.roll(3) == 0 {
        request.actor = some(dice, &["alice", "*@example.com", "back\\\\slash", "bob", "nobody"]);
    }
    if dice.roll(5) == 0 {
        request.source = some(dice, &["service-1", "service-*", "auditctl"]);
    }
    if dice.roll(5) == 0 {
        request.target = vec![format!("acct-{}", dice.roll(seqs / 7 + 1))];
    }
    if dice.roll(5) == 0 {
        request.outcome = some(dice, &["success", "failure"]);
    }
    let time = |dice: &mut Dice| {
        let micros = (1_770_000_000 + dice.roll(200_000) as i64) * 1_000_000;
        Some(Timestamp::from_micros(micros).to_string())
    };
    if dice.roll(6) == 0 {
        request.since = time(dice);
    }
    if dice.roll(6) == 0 {
        request.until = time(dice);
    }
    if dice.roll(6) == 0 {
        let from = dice.roll(seqs + 1);
        request.seq = Some(format!("{from}..{}", from + dice.roll(seqs + 1)));
    }
    if dice.roll(4) == 0 {
        let number = dice.roll(50);
        let of = [
            format!("details.n = {number}"),
            format!("details.n >= {number}"),
            format!("details.n = \"{number}\""),
            "details.s = plain".to_owned(),
            "details.s exists".to_owned(),
            "details.tags.* ~ ^new".to_owned(),
            "details.deep.k != 3".to_owned(),
            "details.s = a/b".to_owned(),
        ];
        request.conditions = vec![of[dice.roll(of.len() as u64) as usize].clone()];
    }
    if dice.roll(5) == 0 {
        request.grep = vec![dice.one_of(TEXTS).to_owned()];
    }
    match dice.roll(5) {
        0 => request.count = true,
        4 => {
            request.buckets = Some([1, 5, 60][dice.roll(3) as usize]);
            let by = ["type", "actor", "target", "details.s", "details.n", "hour"];
            request.by = (0..dice.roll(4)).map(|_| dice.one_of(&by).to_owned()).collect();
            request.by.sort();
            request.by.dedup();
            request.top = Some([1, 4, 100][dice.roll(3) as usize]);
            request.series = dice.roll(2) == 0;
        }
        1 => {
            let by = ["type", "actor", "target", "details.s", "details.n", "hour", "day", "minute"];
            request.group_by = Some(dice.one_of(&by).to_owned());
        }
        _ => {
            request.limit = Some([0, 1, 3, 10, 100][dice.roll(5) as usize]);
            request.order = Some(dice.one_of(&["newest", "oldest"]).to_owned());
        }
    }
    request
}

/// Whether a record is one, by reading all of it as JSON.
fn is_wanted(request: &Request, (line, record): &(String, Value)) -> bool {
    let text = |key: &str| record[key].as_str();
    let fits = |patterns: &[String], key: &str| {
        patterns.is_empty()
            || text(key).is_some_and(|text| {
                // The patterns in use have one asterisk at most.
                patterns.iter().map(|pattern| pattern.replace("\\\\", "\\")).any(|pattern| {
                    match pattern.split_once('*') {
                        Some((start, end)) => {
                            text.len() >= start.len() + end.len()
                                && text.starts_with(start)
                                && text.ends_with(end)
                        }
                        None => text == pattern,
                    }
                })
            })
    };
    let at: Timestamp = text("timestamp").expect("timestamp").parse().expect("time");
    let seq = record["seq"].as_u64().expect("seq");
    let (from, to) = request.seq.as_deref().map_or((0, u64::MAX), |range| {
        let (from, to) = range.split_once("..").expect("range");
        (from.parse().expect("number"), to.parse().expect("number"))
    });
    let time =
        |text: &Option<String>| text.as_ref().map(|text| text.parse::<Timestamp>().expect("time"));
    let details = &record["details"];
    let condition = |text: &String| match text.as_str() {
        "details.s = plain" => details["s"] == "plain",
        "details.s = a/b" => details["s"] == "a/b",
        "details.s exists" => details.get("s").is_some(),
        "details.tags.* ~ ^new" => details["tags"].as_array().is_some_and(|tags| {
            tags.iter().any(|tag| tag.as_str().expect("text").starts_with("new"))
        }),
        "details.deep.k != 3" => details["deep"]["k"].as_u64().is_some_and(|k| k != 3),
        other => match other.rsplit_once(' ').expect("a value") {
            ("details.n =", value) => {
                details["n"] == serde_json::from_str::<Value>(value).expect("json")
            }
            ("details.n >=", value) => {
                details["n"].as_u64().is_some_and(|n| n >= value.parse().expect("number"))
            }
            _ => panic!("{other}"),
        },
    };
    fits(&request.event_type, "event_type")
        && fits(&request.actor, "actor")
        && fits(&request.source, "source")
        && fits(&request.target, "target")
        && fits(&request.outcome, "outcome")
        && time(&request.since).is_none_or(|since| at >= since)
        && time(&request.until).is_none_or(|until| at < until)
        && (from..to).contains(&seq)
        && request.conditions.iter().all(condition)
        && request
            .grep
            .iter()
            .all(|wanted| line.contains(wanted) || strings(record).contains(wanted))
}

/// All of a record's texts, one after the other.
fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\u{0}"),
        Value::Array(values) => values.iter().map(strings).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}\u{0}{}", strings(value))).collect()
        }
        _ => String::new(),
    }
}

fn groups(by: &str, lines: &[&(String, Value)]) -> BTreeMap<Group, u64> {
    let mut groups = BTreeMap::new();
    for (_, record) in lines {
        let text = |value: Option<&str>| value.map(|text| Group::Text(text.to_owned()));
        let time = |bytes: usize| text(record["timestamp"].as_str().map(|at| &at[..bytes]));
        let group = match by {
            "type" => text(record["event_type"].as_str()),
            "hour" => time(13),
            "day" => time(10),
            "minute" => time(16),
            path => {
                let value = path.split('.').try_fold(record, |value, key| value.get(key));
                value.map(|value| match value {
                    Value::String(text) => Group::Text(text.clone()),
                    other => Group::Json(other.to_string()),
                })
            }
        };
        *groups.entry(group.unwrap_or(Group::Missing)).or_insert(0) += 1;
    }
    groups
}

/// Brings `known` up to every record that the files hold, while files are sealed, packed and removed.
fn naive_lines(log_dir: &Path, known: &mut BTreeMap<u64, (String, Value)>) {
    use std::io::Read;
    for _ in 0..1_000 {
        let mut names: Vec<String> = std::fs::read_dir(log_dir)
            .expect("log directory")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
            .filter(|name| parse_sealed_name(name).is_some())
            .collect();
        names.sort();
        names.push("audit.log".to_owned());
        let mut lines = BTreeMap::new();
        let whole = names.iter().all(|name| {
            let Ok(bytes) = std::fs::read(log_dir.join(name)) else { return false };
            let mut text = String::new();
            if name.ends_with(".gz") {
                flate2::read::MultiGzDecoder::new(&bytes[..])
                    .read_to_string(&mut text)
                    .expect("gzip");
            } else {
                text = String::from_utf8(bytes).expect("utf-8");
            }
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                let seq = line[7..].split(',').next().expect("seq").parse::<u64>().expect("number");
                lines.insert(seq, line.to_owned());
            }
            true
        });
        let first = lines.keys().next().copied().unwrap_or(0);
        if whole && lines.keys().enumerate().all(|(nth, seq)| *seq == first + nth as u64) {
            // What retention has removed since stays known: an answer that was begun
            // before is about it as well.
            for (seq, line) in lines {
                let parse = || (line.clone(), serde_json::from_str(&line).expect("json"));
                assert_eq!(known.entry(seq).or_insert_with(parse).0, line, "records do not change");
            }
            return;
        }
    }
    panic!("the files never hold still");
}

/// Compares an answer with what all lines, read one by one, say.
fn compare(
    lines: &BTreeMap<u64, (String, Value)>,
    request: &Request,
    query: &Query,
    answer: &Answer,
) {
    let first = lines.keys().next().copied().unwrap_or(0);
    assert!(answer.begin >= first, "the answer begins where the files did");
    let about = lines.range(answer.begin..answer.end).map(|(_, line)| line);
    let mut wanted: Vec<_> = about.filter(|line| is_wanted(request, line)).collect();
    assert_eq!(answer.unreadable, 0);
    assert!(answer.damaged.is_empty(), "{:?}", answer.damaged);
    let named = format!("{} with {:?}", json!(request), answer.effort);
    match (&answer.found, &query.want) {
        (Found::Records(found), Want::Records { limit, .. }) => {
            if request.order.as_deref() != Some("oldest") {
                wanted.reverse();
            }
            let all = wanted.len();
            wanted.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
            if answer.more {
                wanted.truncate(found.len());
            } else {
                // C3: where a limit cuts, there is more.
                assert_eq!(found.len(), all, "{named}");
            }
            let found: Vec<&str> =
                found.iter().map(|line| std::str::from_utf8(line).expect("utf-8")).collect();
            let wanted: Vec<&str> = wanted.iter().map(|(line, _)| &**line).collect();
            assert_eq!(found, wanted, "{named}");
        }
        (Found::Count(count), Want::Count) => assert_eq!(*count, wanted.len() as u64, "{named}"),
        (Found::Groups(found), Want::Groups(by)) => {
            let expected = groups(request.group_by.as_deref().expect("group"), &wanted);
            let found: BTreeMap<_, _> = found.sorted(by).into_iter().collect();
            assert_eq!(found, expected, "{named}");
        }
        (Found::Summary(found), Want::Summary(_)) => {
            compare_summary(request, found, &wanted, &named)
        }
        _ => panic!("an answer to another question: {named}"),
    }
}

/// A summary with what the records that it is about say one by one.
fn compare_summary(request: &Request, found: &Summary, wanted: &[&(String, Value)], named: &str) {
    let time = |record: &Value| -> Timestamp {
        record["timestamp"].as_str().expect("text").parse().expect("a time")
    };
    let times: Vec<Timestamp> = wanted.iter().map(|(_, record)| time(record)).collect();
    assert_eq!(found.records, wanted.len() as u64, "{named}");
    assert_eq!(found.span, times.iter().min().copied().zip(times.iter().max().copied()), "{named}");
    let histogram = &found.histogram;
    assert!(histogram.counts.len() <= request.buckets.expect("buckets"), "{named}");
    assert_eq!(histogram.undated, 0);
    let starts: Vec<Timestamp> = histogram.starts().chain(histogram.end()).collect();
    let over_time = |times: &[Timestamp]| -> Vec<u64> {
        let within = |ends: &[Timestamp]| {
            times.iter().filter(|at| (ends[0]..ends[1]).contains(at)).count() as u64
        };
        starts.windows(2).map(within).collect()
    };
    assert_eq!(histogram.counts, over_time(&times), "{named}");
    let (first, last) = (starts.first(), starts.last());
    let earlier = times.iter().filter(|at| first.is_some_and(|first| *at < first)).count();
    let later = times.iter().filter(|at| last.is_some_and(|last| *at >= last)).count();
    assert_eq!((histogram.earlier, histogram.later), (earlier as u64, later as u64), "{named}");
    assert_eq!(found.by.len(), request.by.len());
    for (counted, by) in found.by.iter().zip(&request.by) {
        let groups = groups(by, wanted);
        assert_eq!((counted.distinct, counted.error), (groups.len() as u64, 0), "{named}");
        let top = request.top.expect("top");
        let listed: u64 = counted.values.iter().map(|value| value.records).sum();
        assert_eq!(listed + counted.other, wanted.len() as u64, "{named}");
        assert_eq!(counted.values.len(), groups.len().min(top), "{named}");
        for value in &counted.values {
            assert_eq!(groups.get(&value.group), Some(&value.records), "{named}");
            if request.series {
                let of_group = wanted
                    .iter()
                    .filter(|line| self::groups(by, &[**line]).contains_key(&value.group));
                let times: Vec<Timestamp> = of_group.map(|(_, record)| time(record)).collect();
                assert_eq!(value.series, over_time(&times), "{named}");
            } else {
                assert!(value.series.is_empty());
            }
        }
        // Those that are listed are the largest.
        let least = counted.values.iter().map(|value| value.records).min().unwrap_or(0);
        let larger = groups.values().filter(|records| **records > least).count();
        assert!(larger < top.max(1), "{named}");
    }
}

/// The manifest says of what times a block is, and the log's key signed it.
#[test]
fn blocks_of_one_stretch_of_time_are_counted_without_being_read_unless_nobody_signed_for_them() {
    let home = Home::new();
    let log = open(Options { max_segment_size: 16 << 10, ..home.options() });
    let day = |nth: i64| (1_770_000_000 + nth * 86_400) * 1_000_000;
    for nth in 0..1_200_i64 {
        // Ten a day, and one whose sender's clock is wrong.
        let at = if nth == 700 { 0 } else { day(nth / 10) + nth % 10 };
        let event = Event::new("login").actor("alice").timestamp(Timestamp::from_micros(at));
        let _seq = log.record(event).expect("queued").wait().expect("durable");
    }
    let block = log.manifest().segments[2].blocks[0].clone();
    log.close().expect("closed");
    let mut reader = Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
    let request = |json: Value| -> Query {
        let request: Request = serde_json::from_value(json).expect("a request");
        request.resolve(Timestamp::default()).expect("a query")
    };
    let since = Timestamp::from_micros(day(-1)).to_string();
    let few = reader.query(&request(json!({ "buckets": 6, "since": since }))).expect("an answer");
    let (effort, found) = (few.effort, few.summary().expect("a summary").clone());
    assert!(effort.blocks > 10, "{effort:?}");
    assert!(effort.blocks_read * 2 < effort.blocks, "{effort:?}");
    assert!(effort.records_read < found.records, "{effort:?}");
    // The same as where all is read.
    let query = json!({ "buckets": 6, "since": since, "grep": "e" });
    let all = reader.query(&request(query)).expect("an answer");
    let read = all.summary().expect("a summary");
    assert_eq!((read.records, &read.histogram), (found.records, &found.histogram));
    assert!(all.effort.records_read >= read.records);
    // What anybody may have written counts for nothing.
    let path = home.log_dir().join("audit.manifest.json");
    let text = std::fs::read_to_string(&path).expect("read");
    // One block is said to be of another month, whole.
    let (min, max) = (block.min_timestamp.to_string(), block.max_timestamp.to_string());
    let forged = text.replace(&min, "2026-05-20T00:00:00.000000Z");
    let forged = forged.replace(&max, "2026-05-20T00:00:01.000000Z");
    assert_ne!(forged, text, "it has such a time");
    std::fs::write(&path, forged).expect("written");
    reader.refresh().expect("looked again");
    let unsigned =
        reader.query(&request(json!({ "buckets": 6, "since": since }))).expect("an answer");
    assert_eq!(unsigned.summary().expect("a summary").histogram, found.histogram);
    assert!(unsigned.effort.records_read >= found.records, "{:?}", unsigned.effort);
}

/// A question whose time is over says from where on it has looked, and is right about that.
#[test]
fn a_summary_that_runs_out_of_time_is_about_the_newest_records_and_says_so() {
    let home = Home::new();
    home.record(2_000);
    let mut reader = Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
    let mut ask = |within: &str| {
        let request = Request {
            by: vec!["actor".to_owned()],
            within: Some(within.to_owned()),
            ..Request::default()
        };
        let query = request.resolve(Timestamp::default()).expect("a query");
        let answer = reader.query(&query).expect("an answer");
        (answer.begin, answer.end, answer.summary().expect("a summary").clone())
    };
    let (begin, end, all) = ask("1h");
    assert_eq!((all.records, all.looked_from), (end - begin, None));
    assert!(all.is_complete());
    let (_, end, none) = ask("0s");
    assert_eq!((none.records, none.looked_from), (0, Some(end)));
    assert!(!none.is_complete());
}

#[test]
fn any_query_in_any_state_of_rotation_and_cache_answers_as_a_naive_scan_does() {
    let home = Home::new();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let requests: Vec<Request> = (0..120).map(|_| request(&mut dice, 1_500)).collect();
    let mut uses: BTreeMap<&str, u32> = BTreeMap::new();
    let mut asked = 0;
    let mut skipped = 0;
    let mut log: Option<AuditLog> = None;
    let mut lines = BTreeMap::new();
    for round in 0..60_u64 {
        if round % 12 == 0 {
            // Every other time retention takes old segments away, at any moment.
            let retention = (round % 24 == 12).then(|| Duration::from_millis(900));
            if let Some(log) = log.take() {
                log.close().expect("closed");
            }
            log = Some(open(Options {
                max_segment_size: 12 << 10,
                query_cache_size: 60,
                retention,
                retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
                ..home.options()
            }));
        }
        let log = log.as_ref().expect("open");
        for n in 0..dice.roll(60) {
            let event = event(&mut dice, round * 30 + n);
            let _seq = log.record(event).expect("queued").wait().expect("durable");
        }
        let acked = log.acked_seq();
        let mut reader =
            Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
        naive_lines(&home.log_dir(), &mut lines);
        for _ in 0..20 {
            let request = &requests[dice.roll(requests.len() as u64) as usize];
            let query = request.resolve(Timestamp::default()).expect("a query");
            for (nth, answer) in [
                log.query(&query).expect("an answer"),
                log.query(&query).expect("the same answer"),
                reader.query(&query).expect("an answer from the files"),
            ]
            .into_iter()
            .enumerate()
            {
                assert!(answer.end >= acked, "what is acknowledged is there to be asked about");
                // The engine may have written since the lines were read.
                if lines.keys().next_back().is_none_or(|last| *last + 1 < answer.end) {
                    naive_lines(&home.log_dir(), &mut lines);
                }
                compare(&lines, request, &query, &answer);
                *uses.entry(answer.effort.cache.as_str()).or_default() += u32::from(nth < 2);
                skipped += answer.effort.skipped_filter;
                asked += 1;
            }
        }
    }
    // All of it has happened.
    assert!(asked > 3_000, "{asked}");
    assert!(skipped > 0, "block filters were of use");
    for way in ["miss", "hit", "completed"] {
        assert!(uses.get(way).is_some_and(|times| *times > 50), "{uses:?}");
    }
}

#[test]
fn p5_a_reader_beside_a_writer_that_rotates_sees_every_acknowledged_record_once() {
    let home = Home::new();
    let log = open(Options { max_segment_size: 8 << 10, ..home.options() });
    let done = AtomicBool::new(false);
    let all = Request { limit: Some(0), order: Some("oldest".to_owned()), ..Request::default() };
    let all = all.resolve(Timestamp::default()).expect("a query");
    let count = Request { count: true, ..Request::default() };
    let count = count.resolve(Timestamp::default()).expect("a query");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let event = Event::new("login").actor("alice").source("web");
                let _seq = log.record(event).expect("queued").wait().expect("durable");
                // The log has to stay small.
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let mut round = 0;
        while round < 300 || log.manifest().segments.len() < 4 {
            round += 1;
            let acked = log.acked_seq();
            let open = || {
                Reader::open(
                    &home.fs,
                    &home.log_dir(),
                    Bounds { page_bytes: 100 << 10, ..Bounds::default() },
                )
            };
            let mut reader = open().expect("a reader");
            let mut rest = Some(all.clone());
            let mut next = 0;
            while let Some(query) = rest.take() {
                let answer = reader.query(&query).expect("an answer");
                for line in answer.lines().expect("records").iter() {
                    let seq = auditctl::audit::record::peek_seq(line);
                    if seq != Some(next) {
                        done.store(true, Ordering::Relaxed);
                        panic!("round {round}: {seq:?} where {next} should be");
                    }
                    next += 1;
                }
                rest = answer.rest(&query);
            }
            let fresh = log.query(&count).expect("a count");
            let counted = matches!(fresh.found, Found::Count(records) if records == fresh.end);
            if next < acked || !counted {
                done.store(true, Ordering::Relaxed);
                panic!("round {round}: {next} of {acked} records, {:?}", fresh.found);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_rare_name_and_a_narrow_time_read_one_block_and_lost_filters_cost_only_speed() {
    let home = Home::new();
    let log = open(Options { max_segment_size: 4 << 20, ..home.options() });
    let filler = "x".repeat(2_000);
    for n in 0..6_000_i64 {
        let at = Timestamp::from_micros((1_770_000_000 + n) * 1_000_000);
        let actor = if n == 3_000 { "rare" } else { "common" };
        let event = Event::new("e").actor(actor).timestamp(at);
        let event = event.details(&json!({ "filler": filler })).expect("details");
        let receipt = log.record(event).expect("queued");
        if n % 500 == 499 {
            let _seq = receipt.wait().expect("durable");
        }
    }
    log.seal();
    crate::support::eventually("all is compressed, and nothing plain is left", || {
        let plain = |segment: &auditctl::audit::files::manifest::Segment| {
            home.log_dir().join(sealed_name(segment.first_seq, false)).exists()
        };
        let manifest = log.manifest();
        manifest.end_seq() > 6_000 && !manifest.segments.iter().any(plain)
    });
    let ask = |request: Request| {
        let query = request.resolve(Timestamp::default()).expect("a query");
        let mut reader =
            Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
        reader.query(&query).expect("an answer")
    };
    let rare = || ask(Request { actor: vec!["rare".to_owned()], ..Request::default() });
    let answer = rare();
    assert_eq!(answer.lines().expect("records").len(), 1);
    assert!(answer.effort.blocks >= 11, "{:?}", answer.effort);
    assert_eq!(answer.effort.blocks_read, 1, "{:?}", answer.effort);
    let narrow = ask(Request {
        since: Some(Timestamp::from_micros(1_770_000_100_000_000).to_string()),
        until: Some(Timestamp::from_micros(1_770_000_110_000_000).to_string()),
        ..Request::default()
    });
    assert_eq!(narrow.lines().expect("records").len(), 10);
    assert_eq!(narrow.effort.blocks_read, 1, "{:?}", narrow.effort);
    // A filter is an index: damaged, lost, or another segment's, it is not believed.
    let filters: Vec<_> = std::fs::read_dir(home.log_dir())
        .expect("log directory")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "filter"))
        .collect();
    assert!(filters.len() >= 3);
    std::fs::copy(&filters[0], &filters[1]).expect("copied");
    std::fs::write(&filters[0], b"AUDFILT1 and no more").expect("written");
    assert_eq!(rare().found, answer.found);
    filters.iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    assert_eq!(rare().effort.blocks_read, 1, "columns tell it as well");
    for filter in &filters {
        std::fs::remove_file(filter.with_extension("columns")).expect("removed");
    }
    let without = rare();
    assert_eq!(without.found, answer.found);
    assert_eq!(without.effort.blocks_read, without.effort.blocks);
    // They are made again for those that have none.
    log.close().expect("closed");
    let log = open(home.options());
    crate::support::eventually("the filters are there again", || {
        filters.iter().all(|path| path.exists())
    });
    assert_eq!(rare().effort.blocks_read, 1);
    assert_eq!(records(&home.log_dir()).len() as u64, log.acked_seq());
}

#[test]
fn a_forged_filter_hides_a_record_from_queries_until_verify_finds_it() {
    let home = Home::new();
    home.record(400);
    let check = || {
        let request = auditctl::audit::read::verify::Request::default();
        let watch = auditctl::audit::read::watch::Unwatched;
        let (report, _) =
            auditctl::audit::read::verify::verify(&home.fs, &home.log_dir(), &request, &watch)
                .expect("a report");
        report
    };
    assert!(check().passed());
    let path = std::fs::read_dir(home.log_dir())
        .expect("log directory")
        .map(|entry| entry.expect("entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "filter"))
        .expect("a filter");
    let whole = std::fs::read(&path).expect("read");
    let mut forged = whole.clone();
    let body = forged.len() - 4;
    // Behind the magic, the SHA-256, two lengths: the first block's bits.
    forged[48..body].fill(0);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &forged[..body]) as u32;
    forged[body..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &forged).expect("written");
    let report = check();
    assert!(!report.passed());
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(report.findings.iter().all(|finding| finding.file == name), "{:?}", report.findings);
    // Damaged so that it is not believed, or lost, it is no finding.
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    assert!(check().passed());
    std::fs::remove_file(&path).expect("removed");
    assert!(check().passed());
}

#[test]
fn a_damaged_block_is_named_and_the_others_are_read() {
    let home = Home::new();
    home.record(400);
    let gz = std::fs::read_dir(home.log_dir())
        .expect("log directory")
        .map(|entry| entry.expect("entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .expect("a compressed segment");
    let mut bytes = std::fs::read(&gz).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&gz, bytes).expect("written");
    let request = Request { limit: Some(0), ..Request::default() };
    let query = request.resolve(Timestamp::default()).expect("a query");
    let mut reader = Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
    let answer = reader.query(&query).expect("an answer");
    assert_eq!(answer.damaged.len(), 1, "{:?}", answer.damaged);
    let name = gz.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(answer.damaged[0].contains(&name), "{:?}", answer.damaged);
    assert!(answer.lines().expect("records").len() > 100);
    assert_eq!(answer.effort.cache, CacheUse::None);
}

#[test]
fn a_damaged_answer_is_not_cached() {
    let home = Home::new();
    home.record(400);
    let log = home.open();
    let segment = log.manifest().segments[0].clone();
    let path = home.log_dir().join(&segment.file);
    let good = std::fs::read(&path).expect("read");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 0xff;
    let query = Request { limit: Some(0), ..Request::default() };
    let query = query.resolve(Timestamp::default()).expect("a query");
    let ask = || log.query(&query).expect("an answer");
    let whole = ask();
    assert_eq!(ask().effort.cache, CacheUse::Hit);
    // The next question has another answer, and the segment is damaged by then.
    std::fs::write(&path, &bad).expect("damaged");
    let query = Request { limit: Some(0), actor: vec!["user-3".to_owned()], ..Request::default() };
    let query = query.resolve(Timestamp::default()).expect("a query");
    let ask = || log.query(&query).expect("an answer");
    for _ in 0..3 {
        let answer = ask();
        assert_eq!(answer.damaged.len(), 1, "each who asks is told: {:?}", answer.damaged);
        assert_eq!(answer.effort.cache, CacheUse::Miss);
    }
    std::fs::write(&path, &good).expect("put back");
    let answer = ask();
    assert!(answer.damaged.is_empty());
    let wanted = whole
        .lines()
        .expect("records")
        .iter()
        .filter(|line| memchr::memmem::find(line, b"\"actor\":\"user-3\"").is_some());
    assert_eq!(answer.lines().expect("records").len(), wanted.count());
    log.close().expect("closed");
}

#[test]
fn since_equal_to_a_blocks_latest_timestamp_finds_it_and_until_excludes_its_earliest() {
    let home = Home::new();
    home.record(400);
    let log = home.open();
    let mut reader = Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
    let mut ask = |since: Option<Timestamp>,
                   until: Option<Timestamp>,
                   segment: &auditctl::audit::files::manifest::Segment| {
        let request = Request {
            since: since.map(|at| at.to_string()),
            until: until.map(|at| at.to_string()),
            limit: Some(0),
            ..Request::default()
        };
        let query = request.resolve(Timestamp::default()).expect("a query");
        let answer = reader.query(&query).expect("an answer");
        let of_segment = answer.lines().expect("records").iter().filter(|line| {
            let seq = serde_json::from_slice::<Value>(line).expect("json")["seq"].as_u64();
            seq.is_some_and(|seq| (segment.first_seq..segment.end_seq()).contains(&seq))
        });
        of_segment.count()
    };
    let a_microsecond = |at: Timestamp, by: i64| Timestamp::from_micros(at.micros() + by);
    let manifest = log.manifest();
    assert!(manifest.segments.len() > 2);
    for segment in &manifest.segments {
        let (first, last) = (segment.min_timestamp, segment.max_timestamp);
        assert!(ask(Some(last), None, segment) > 0, "the last one is there");
        assert_eq!(ask(Some(a_microsecond(last, 1)), None, segment), 0);
        assert_eq!(ask(None, Some(first), segment), 0, "`until` is not included");
        assert!(ask(None, Some(a_microsecond(first, 1)), segment) > 0);
    }
    log.close().expect("closed");
}
