use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn draft(fields: &[(Target, &[&str])]) -> Draft {
    let mut draft = Draft::default();
    for (target, written) in fields {
        draft.fields[*target as usize] = written.iter().map(|text| (*text).to_owned()).collect();
    }
    draft
}

fn mapping(fields: &[(Target, &[&str])]) -> Mapping {
    draft(fields).compile("mine").expect("a mapping")
}

fn event(mapping: &Mapping, object: &Value) -> (Value, Mapped) {
    let mapped = mapping.apply(object.to_string().as_bytes(), 50 << 10, &[]).expect("mapped");
    (serde_json::from_slice(&mapped.line).expect("an event"), mapped)
}

/// What comes out of an input that comes in parts of so many bytes.
fn cut(records: &str, max: usize, input: &[u8], step: usize) -> Vec<(u64, Piece)> {
    let steps: Vec<String> =
        records.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
    let mut pieces = Pieces::new(&steps, max);
    let mut found = Vec::new();
    for mut part in input.chunks(step) {
        loop {
            let next = pieces.next(&mut part);
            assert!(
                pieces.bytes() <= 4 * max + 4 * step + 1_024,
                "{} bytes are held",
                pieces.bytes()
            );
            match next {
                Some(next) => found.push((next.line, next.piece)),
                None => break,
            }
        }
    }
    while let Some(next) = pieces.end() {
        found.push((next.line, next.piece));
    }
    found
}

fn objects(records: &str, input: &str) -> Vec<String> {
    let whole = cut(records, 1 << 10, input.as_bytes(), input.len().max(1));
    for step in [1, 2, 3, 7] {
        assert_eq!(cut(records, 1 << 10, input.as_bytes(), step), whole, "by {step}: {input}");
    }
    let text = |piece: Piece| match piece {
        Piece::Object(text) => String::from_utf8(text).expect("UTF-8"),
        Piece::TooLong(bytes) => format!("too long: {bytes}"),
        Piece::Bad(what) => format!("bad: {what}"),
    };
    whole.into_iter().map(|(_, piece)| text(piece)).collect()
}

#[test]
fn objects_are_found_in_lines_arrays_and_envelopes() {
    let one_two = vec![r#"{"a":1}"#, r#"{"a":{"items":[{}]}}"#];
    for input in [
        "{\"a\":1}\n{\"a\":{\"items\":[{}]}}\n",
        "{\"a\":1}{\"a\":{\"items\":[{}]}}",
        "[{\"a\":1},\n {\"a\":{\"items\":[{}]}}]",
        "{\"kind\":\"List\",\"items\":[{\"a\":1},{\"a\":{\"items\":[{}]}}],\"more\":[{}]}",
        "{\"items\":[{\"a\":1}]}\r\n{\"items\":[{\"a\":{\"items\":[{}]}}]}\n",
        "{ \"x\": \"items\", \"y\": {\"items\": [{\"n\":1}]}, \"items\" :\n[ {\"a\":1} , {\"a\":{\"items\":[{}]}} ] }",
    ] {
        assert_eq!(objects("items", input), one_two, "{input}");
    }
    assert_eq!(objects("data.events", r#"{"data":{"x":[1],"events":[{"a":1}]}}"#), [r#"{"a":1}"#]);
    assert_eq!(objects("", r#"{"items":[{"a":1}]}"#), [r#"{"items":[{"a":1}]}"#], "no envelope");
    assert_eq!(objects("items", r#"{"a":"}\"]{","b":"\\"}"#), [r#"{"a":"}\"]{","b":"\\"}"#]);
    for object in ["{\"items\":null}", "{\"data\":\"x\"}", "{\"data\":{\"events\":null}}"] {
        assert_eq!(objects("items", object), [object]);
        assert_eq!(objects("data.events", object), [object]);
    }
    for nothing in ["", "\n\n", "[]", "{\"items\":[]}", "[]\n[]"] {
        assert_eq!(objects("items", nothing), Vec::<String>::new(), "{nothing}");
    }
}

#[test]
fn a_broken_line_costs_no_other_line() {
    let comma = "bad: a comma or } is expected here";
    for (input, expected) in [
        (
            "{\"a\":1\n{\"b\":2}\n",
            vec!["bad: a comma or } is expected here (line 2)", r#"{"b":2}"#],
        ),
        ("{\"a\" 1}\n{\"b\":2}\n", vec!["bad: a colon is expected here", r#"{"b":2}"#]),
        ("{\"a\":1 2}\n{\"b\":2}", vec![comma, r#"{"b":2}"#]),
        ("{\"a\":\"x\n{\"b\":2}", vec!["bad: a text is not closed on its line", r#"{"b":2}"#]),
        ("hello\n{\"b\":2}", vec!["bad: a JSON object is expected here", r#"{"b":2}"#]),
        (
            "{\"a\":{\"n\":[1\n{\"b\":2}\n{\"c\":3}",
            vec!["bad: a comma or ] is expected here (line 2)", r#"{"b":2}"#, r#"{"c":3}"#],
        ),
        ("{\"a\":1", vec!["bad: the input ends before this JSON document does"]),
        (
            "[{\"a\":1},2,\"x\",null,{\"b\":2}]",
            vec![
                r#"{"a":1}"#,
                "bad: this is a number, not an object",
                "bad: this is a string, not an object",
                "bad: this is null, not an object",
                r#"{"b":2}"#,
            ],
        ),
        (
            "{\"items\":{\"a\":1}}\n{\"b\":2}",
            vec!["bad: items is an object, not an array", r#"{"b":2}"#],
        ),
        ("{\"items\":7}", vec!["bad: items is a number, not an array"]),
        ("}{", vec!["bad: a JSON object is expected here"]),
    ] {
        assert_eq!(objects("items", input), expected, "{input}");
    }
    let deep = format!("{{\"a\":{}}}\n{{\"b\":2}}", "[".repeat(300));
    assert_eq!(objects("items", &deep), ["bad: it is nested deeper than 256 levels", r#"{"b":2}"#]);
}

#[test]
fn a_line_that_was_not_finished_costs_none_of_those_behind_it() {
    let comma = |line| format!("bad: a comma or }} is expected here (line {line})");
    for (input, expected) in [
        ("{\"a\":\n{\"b\":1}\n{\"c\":1}\n", vec![&*comma(3), r#"{"b":1}"#, r#"{"c":1}"#]),
        (
            "{\"a\":\n{\"b\":1}\n",
            vec!["bad: the input ends before this JSON document does", r#"{"b":1}"#],
        ),
        (
            "{\"a\":\n{\"a\":\n{\"b\":1}\n{\"c\":1}\n",
            vec![&*comma(4), &*comma(4), r#"{"b":1}"#, r#"{"c":1}"#],
        ),
        (
            "{\"items\":[{\"n\":1},\n{\"a\":\n{\"b\":1}\n{\"c\":1}\n",
            vec![r#"{"n":1}"#, &*comma(4), r#"{"b":1}"#, r#"{"c":1}"#],
        ),
        (
            "{\"a\":\n{\"b\":\"x\n{\"c\":1}\n",
            vec![
                "bad: a text is not closed on its line (line 2)",
                "bad: a text is not closed on its line",
                r#"{"c":1}"#,
            ],
        ),
    ] {
        assert_eq!(objects("items", input), expected, "{input}");
    }
    let found = cut("items", 1 << 10, b"{\"a\":\n\n{\"b\":1}\n{\"c\":1}\n7\n", 4);
    let lines: Vec<u64> = found.into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 3, 4, 5], "and each is told with its own line");
}

#[test]
fn no_input_costs_more_than_a_few_times_its_length() {
    // A document of nothing but numbers, read a second time because of its end.
    let stray = format!("{{\"a\":\n[{}}}\n{{\"b\":1}}", "1,".repeat(100_000));
    let found = cut("", 1 << 20, stray.as_bytes(), 1 << 16);
    assert_eq!(found.len(), 1 + 10_000 + 1 + 1);
    assert_eq!(found[10_002], (3, Piece::Object(b"{\"b\":1}".to_vec())));

    // Lines of which each begins another object, and none is finished.
    let begun = format!("{{\"{}\":\n", "k".repeat(1_000));
    let input = begun.repeat(200) + "}\n{\"b\":1}\n";
    let mut pieces = Pieces::new(&[], 1 << 20);
    let (mut rest, mut objects) = (input.as_bytes(), 0);
    while let Some(found) = pieces.next(&mut rest) {
        objects += usize::from(matches!(found.piece, Piece::Object(_)));
    }
    let (came, reread) = pieces.effort();
    assert_eq!((objects, came), (1, input.len() as u64));
    assert!(reread > 0 && reread <= 8 * came, "{reread} of {came} bytes again");
}

#[test]
fn what_has_begun_is_told_from_what_lies_between_two_objects() {
    for (input, is_within) in [
        ("", false),
        ("{\"a\":1}\n", false),
        ("{\"a\":1", true),
        ("{", true),
        ("[{\"a\":1},", false),
        ("[{\"a\":1},{", true),
        ("{\"items\":", true),
        ("{\"items\":[", false),
        ("{\"items\":[{}]", true),
        ("no JSON", false),
    ] {
        let mut pieces = Pieces::new(&["items".to_owned()], 1 << 10);
        let mut rest = input.as_bytes();
        while pieces.next(&mut rest).is_some() {}
        assert_eq!(pieces.is_within(), is_within, "{input}");
    }
}

#[test]
fn an_envelope_of_any_size_passes_through_and_no_object_is_held_that_is_too_long() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3_000));
    let record = format!("{{\"a\":\"{}\"}}", "y".repeat(900));
    let before = "z".repeat(5_000);
    let input = format!(
        "{{\"before\":\"{before}\",\"items\":[{}],\"after\":\"{before}\"}}",
        std::iter::repeat_n(&*record, 200)
            .chain([&*long])
            .chain([&*record])
            .collect::<Vec<_>>()
            .join(",")
    );
    for step in [1, 100, 4_096] {
        let found = cut("items", 1_000, input.as_bytes(), step);
        assert_eq!(found.len(), 202);
        assert_eq!(found[200].1, Piece::TooLong(long.len()));
        assert_eq!(found[201].1, Piece::Object(record.clone().into_bytes()));
    }
    // Without the array it was an object, and too long.
    let found = cut("items", 1_000, format!("{{\"b\":\"{before}\"}}").as_bytes(), 64);
    assert_eq!(found, [(1, Piece::TooLong(5_008))]);
}

proptest! {
    #[test]
    fn whatever_comes_is_cut_the_same_in_any_parts(
        parts in prop::collection::vec(
            prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\""), Just("\\"),
                Just("\n"), Just(" "), Just("\"items\""), Just("1"), Just("null"), Just("{\"a\":1}"),
            ],
            0..60,
        ),
        step in 1..9_usize,
    ) {
        let input: String = parts.concat();
        let whole = cut("items", 40, input.as_bytes(), input.len().max(1));
        prop_assert_eq!(cut("items", 40, input.as_bytes(), step), whole);
    }

    #[test]
    fn lines_of_objects_are_all_found(values in prop::collection::vec(any::<(String, i64)>(), 0..20)) {
        let lines: Vec<String> =
            values.iter().map(|(text, number)| json!({ "t": text, "n": number }).to_string()).collect();
        let input = lines.join("\n");
        let found = cut("items", 1 << 20, input.as_bytes(), 5);
        let found: Vec<Piece> = found.into_iter().map(|(_, piece)| piece).collect();
        let expected: Vec<Piece> =
            lines.into_iter().map(|line| Piece::Object(line.into_bytes())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn fields_come_from_the_first_path_template_or_constant_that_is_there() {
    use Target::{Actor, EventType, Outcome, Source, Target as Object};
    let mut draft = draft(&[
        (EventType, &["{service%.example.com}:{action}", "kind"]),
        (Actor, &["user.name", "user.ids.1", "a\\.b"]),
        (Source, &["=gateway"]),
        (Object, &["{kind}/{missing}", "number"]),
        (Outcome, &["decision"]),
    ]);
    draft.outcome_values = vec![("allow".into(), "success".into()), ("*".into(), "failure".into())];
    let mapping = draft.compile("mine").expect("a mapping");
    let object = json!({
        "service": "s3.example.com", "action": "Get", "kind": "k", "number": 1.50, "decision": "Allow",
        "user": { "name": "", "ids": [1, "two"] },
    });
    let (event, mapped) = event(&mapping, &object);
    assert_eq!(event["event_type"], "s3:Get");
    assert_eq!(event["actor"], "two", "the empty name is not there");
    assert_eq!((&event["source"], &event["target"]), (&json!("gateway"), &json!("1.5")));
    assert_eq!(event["outcome"], "success", "the exact one before *");
    assert_eq!(event["details"], object, "whole");
    assert_eq!(mapped.fields[0].from, "{service%.example.com}:{action}");
    assert_eq!(mapped.misfits, []);
    let (event, _) =
        self::event(&mapping, &json!({ "kind": "audit.opened", "decision": "no", "a.b": true }));
    assert_eq!(event["event_type"], "mine:audit.opened", "not the engine's own");
    assert_eq!((&event["outcome"], &event["actor"]), (&json!("failure"), &json!("true")));
}

#[test]
fn what_does_not_fit_is_told_with_its_path_and_costs_the_field_alone() {
    use Target::{Actor, EventType, Target as Object, Timestamp};
    let mapping = mapping(&[
        (EventType, &["kind"]),
        (Actor, &["user"]),
        (Object, &["things.0", "things"]),
        (Timestamp, &["at"]),
    ]);
    let object =
        json!({ "kind": "k", "user": { "password": "hunter2" }, "things": [[1]], "at": "noon" });
    let (event, mapped) = event(&mapping, &object);
    assert_eq!(event, json!({ "event_type": "k", "details": object }));
    let told: Vec<String> = mapped.misfits.iter().map(ToString::to_string).collect();
    assert_eq!(told[0], "actor from user: it is an object");
    assert_eq!(told[1], "target from things.0: it is an array");
    assert!(told[2].starts_with("timestamp from at: \"noon\" is not an RFC 3339"), "{}", told[2]);
    assert!(!told.join("").contains("hunter2"));
    let error = |object: &str| {
        mapping.apply(object.as_bytes(), 1 << 10, &[]).expect_err(object).to_string()
    };
    assert_eq!(error("{}"), "no event_type: kind are not there");
    assert_eq!(error(r#"{"kind":["a"]}"#), "no event_type: kind (kind: it is an array)");
    assert_eq!(error("[1]"), "an array, not an object");
    assert_eq!(error("7"), "a single value, not an object");
    assert!(error("{\"kind\":}").contains("column 9"), "{}", error("{\"kind\":}"));
    assert!(mapping.apply(b"{\"kind\":\"\xff\"}", 9, &[]).is_err());
}

#[test]
fn numbers_and_texts_stay_as_they_were_written() {
    let mapping = mapping(&[(Target::EventType, &["k"]), (Target::Actor, &["n"])]);
    let object = r#"{"k":"a\u00e9","n":100000000000000000000000000000.10,"x":[1e2]}"#;
    let mapped = mapping.apply(object.as_bytes(), 1 << 10, &[]).expect("mapped");
    let line = String::from_utf8(mapped.line).expect("UTF-8");
    assert!(line.ends_with(&format!("\"details\":{object}}}")), "{line}");
    assert!(line.contains("\"actor\":\"100000000000000000000000000000.10\""), "{line}");
}

#[test]
fn what_is_too_long_is_cut_and_an_id_that_is_too_long_stays_its_own() {
    use Target::{Actor, EventType, Id};
    let mapping = mapping(&[(EventType, &["k"]), (Actor, &["a"]), (Id, &["{i}/{k}"])]);
    let apply = |id: &str| {
        let object = json!({ "k": "ä".repeat(100), "a": "x".repeat(300), "i": id }).to_string();
        mapping.apply(object.as_bytes(), 50 << 10, &[]).expect("mapped")
    };
    let mapped = apply("1");
    let field = |target| mapped.fields.iter().find(|field| field.target == target).expect("there");
    assert!(field(EventType).is_cut && field(EventType).text.len() <= 128);
    assert!(field(EventType).text.ends_with('…'));
    assert_eq!(field(Actor).text.len(), 256);
    let id = &field(Id).text;
    assert_eq!(id.len(), "sha256:".len() + 64);
    let other = apply("2");
    assert!(other.fields.iter().all(|field| field.text != *id));
    assert_eq!(apply("1").fields, mapped.fields);
}

#[test]
fn parts_that_have_no_room_are_left_out_in_their_order_and_only_then() {
    let mut draft = draft(&[(Target::EventType, &["k"])]);
    draft.shed = vec!["response".into(), "request.body".into()];
    let mapping = draft.compile("mine").expect("a mapping");
    let object = |response: usize, request: usize| {
        json!({ "k": "a", "request": { "body": "b".repeat(request), "m": 1 }, "response": ["r".repeat(response)] })
            .to_string()
    };
    let apply = |text: &str| {
        let mapped = mapping.apply(text.as_bytes(), 2_000, &[]).expect("mapped");
        let event: Value = serde_json::from_slice(&mapped.line).expect("an event");
        (mapped.shed, event["details"].clone())
    };
    assert_eq!(apply(&object(500, 500)).0, []);
    let (shed, details) = apply(&object(3_000, 500));
    assert_eq!(shed, [("response".to_owned(), 3_004)]);
    assert_eq!(details["response"]["left_out_bytes"], 3_004);
    assert_eq!(details["request"]["body"].as_str().map(str::len), Some(500));
    let (shed, details) = apply(&object(3_000, 3_000));
    assert_eq!(shed.len(), 2);
    assert_eq!(details["request"]["m"], 1);
}

#[test]
fn of_a_part_that_is_left_out_there_is_no_digest_where_something_of_it_is_hidden() {
    let mut draft = draft(&[(Target::EventType, &["k"])]);
    draft.shed = vec!["request.body".into()];
    let mapping = draft.compile("mine").expect("a mapping");
    let object =
        json!({ "k": "a", "request": { "body": { "pin": "1234", "b": "b".repeat(3_000) } } });
    let left_out = |redact: &[&str]| {
        let redact: Vec<_> = redact.iter().map(|path| path.parse().expect("a path")).collect();
        let mapped = mapping.apply(object.to_string().as_bytes(), 2_000, &redact).expect("mapped");
        let event: Value = serde_json::from_slice(&mapped.line).expect("an event");
        event["details"]["request"]["body"].clone()
    };
    for none in [&["pin"][..], &["p*"], &["details.request.body.pin"], &["details.request"]] {
        let told = left_out(none);
        assert!(told["left_out_bytes"].is_u64() && told["sha256"].is_null(), "{none:?}: {told}");
    }
    for some in [&[][..], &["details.other"]] {
        assert!(left_out(some)["sha256"].is_string(), "{some:?}");
    }
}

#[test]
fn what_is_no_mapping_is_refused_with_its_key() {
    let refused = |fields: &[(Target, &[&str])]| draft(fields).compile("m").expect_err("refused");
    assert_eq!(refused(&[]).0, "event_type");
    for wrong in ["a..b", "", "{a", "a\\b", "{}", "="] {
        let (key, reason) = refused(&[(Target::EventType, &["k"]), (Target::Actor, &[wrong])]);
        assert_eq!(key, "actor", "{wrong}: {reason}");
    }
}

#[test]
fn a_field_may_not_let_out_what_is_hidden_in_details() {
    let mapping = mapping(&[(Target::EventType, &["k"]), (Target::Actor, &["user.email"])]);
    let lets_out = |redact: &[&str]| {
        let redact: Vec<_> = redact.iter().map(|path| path.parse().expect("a path")).collect();
        mapping.lets_out(&redact).map(|(target, path)| (target, path.to_owned()))
    };
    let actor = Some((Target::Actor, "user.email".to_owned()));
    assert_eq!(lets_out(&["email"]), actor);
    assert_eq!(lets_out(&["user"]), actor);
    assert_eq!(lets_out(&["details.user.*"]), actor);
    assert_eq!(lets_out(&["details.user.email.x"]), actor, "some of it");
    assert_eq!(lets_out(&["email", "actor"]), None, "the actor is hidden as well");
    assert_eq!(lets_out(&["password", "details.other"]), None);
    // An id is never hidden, whatever its name.
    let mapping = self::mapping(&[(Target::EventType, &["k"]), (Target::Id, &["id"])]);
    let redact = ["id".parse().expect("a path")];
    assert_eq!(mapping.lets_out(&redact), Some((Target::Id, "id")));
}
