use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn all(body: &[u8], encoding: Encoding) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for log in Logs::new(body, encoding, 1 << 20)? {
        match log {
            Ok(text) => found.push(serde_json::from_str(&text).expect("JSON")),
            Err(LogError::Broken(why)) => return Err(why),
            Err(LogError::TooLarge(_) | LogError::Bad(_)) => {}
        }
    }
    Ok(found)
}

fn message(parts: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, bytes) in parts {
        wire::put_bytes(&mut out, *field, bytes);
    }
    out
}

fn fixed(field: u64, value: u64) -> Vec<u8> {
    let mut out = vec![(field << 3 | 1) as u8];
    out.extend_from_slice(&value.to_le_bytes());
    out
}

#[test]
fn both_encodings_give_the_same_objects() {
    let text = |text: &str| message(&[(1, text.as_bytes())]);
    let pair = |key: &str, value: &[u8]| message(&[(1, key.as_bytes()), (2, value)]);
    let mut number = Vec::new();
    wire::put_varint(&mut number, 3, (-5_i64).cast_unsigned());
    let array = message(&[(5, &message(&[(1, &text("x")), (1, &[])]))]);
    let mut record = fixed(1, 1_544_712_660_300_000_009);
    wire::put_varint(&mut record, 2, 9);
    record.extend(message(&[
        (3, b"INFO"),
        (5, &text("hello \u{1}")),
        (6, &pair("user.id", &text("alice"))),
        (6, &pair("n", &number)),
        (6, &pair("list", &array)),
        (9, &[0xab; 16]),
        (12, b"login"),
    ]));
    // The resource comes after what it is the resource of.
    let scope = message(&[(2, &record), (1, &message(&[(1, b"scope"), (2, b"1.0")]))]);
    let resource = message(&[(1, &pair("service.name", &text("shop")))]);
    let body = message(&[(1, &message(&[(2, &scope), (1, &resource)]))]);
    let expected = json!({
        "timeUnixNano": "1544712660300000009", "severityNumber": 9, "severityText": "INFO",
        "eventName": "login", "body": "hello \u{1}", "traceId": "ab".repeat(16),
        "attributes": { "user.id": "alice", "n": -5, "list": ["x", null] },
        "resource": { "attributes": { "service.name": "shop" } },
        "scope": { "name": "scope", "version": "1.0" },
    });
    assert_eq!(all(&body, Encoding::Protobuf), Ok(vec![expected.clone()]));
    let json = json!({ "resourceLogs": [{
        "scopeLogs": [{
            "logRecords": [{
                "timeUnixNano": "1544712660300000009", "severityNumber": 9, "severityText": "INFO",
                "eventName": "login", "body": { "stringValue": "hello \u{1}" }, "traceId": "ab".repeat(16),
                "attributes": [
                    { "key": "user.id", "value": { "stringValue": "alice" } },
                    { "key": "n", "value": { "intValue": "-05" } },
                    { "key": "list", "value": { "arrayValue": { "values": [{ "stringValue": "x" }, {}] } } },
                ],
            }],
            "scope": { "name": "scope", "version": "1.0" },
        }],
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
    }]});
    assert_eq!(all(json.to_string().as_bytes(), Encoding::Json), Ok(vec![expected]));
}

#[test]
fn a_large_resource_is_not_written_out_for_each_of_its_records() {
    let long = message(&[(1, &[b'x'; 5_000][..])]);
    let resource = message(&[(1, &message(&[(1, b"k"), (2, &long)]))]);
    let scope = message(&[(2, b""), (2, b"")]);
    let body = message(&[(1, &message(&[(1, &resource), (2, &scope)]))]);
    let logs = Logs::new(&body, Encoding::Protobuf, 1_000).expect("logs");
    let found: Vec<_> = logs.collect();
    assert_eq!(found.len(), 2);
    assert!(
        found.iter().all(|log| matches!(log, Err(LogError::TooLarge(bytes)) if *bytes > 5_000))
    );
}

#[test]
fn what_is_no_request_is_told_and_values_without_end_are_not_followed() {
    assert!(all(b"\x0a\xff", Encoding::Protobuf).is_err());
    assert!(all(b"[1]", Encoding::Json).is_err());
    assert!(all(br#"{"resourceLogs":[{"scopeLogs":[7]}]}"#, Encoding::Json).is_err());
    assert_eq!(all(b"", Encoding::Protobuf), Ok(vec![]));
    assert_eq!(all(b"{}", Encoding::Json), Ok(vec![]));
}

/// What becomes of each record: its event's name, or what kind of error.
fn outcomes(body: &[u8], encoding: Encoding) -> Vec<String> {
    let outcome = |log: Result<String, LogError>| match log {
        Ok(text) => {
            let log: Value = serde_json::from_str::<Value>(&text).expect("JSON");
            log["eventName"].as_str().unwrap_or("-").to_owned()
        }
        Err(LogError::Bad(why)) => format!("bad: {why}"),
        Err(other) => format!("{other:?}"),
    };
    let logs = Logs::new(body, encoding, 1 << 20).expect("a request");
    logs.map(outcome).collect()
}

#[test]
fn a_record_that_is_too_deep_too_wide_or_wrong_costs_none_but_itself() {
    let deep = (0..10_000).fold(Vec::new(), |inner, _| message(&[(5, &message(&[(1, &inner)]))]));
    let wide = message(&[(5, &[0x0a, 0].repeat(MAX_VALUES))]);
    let good = |name: &str| message(&[(12, name.as_bytes())]);
    let bad = [message(&[(5, &deep)]), message(&[(5, &wide)]), message(&[(2, b"text")])];
    let parts: Vec<Vec<u8>> =
        bad.into_iter().enumerate().flat_map(|(nth, bad)| [good(&nth.to_string()), bad]).collect();
    let parts: Vec<(u64, &[u8])> = parts.iter().map(|part| (2, &part[..])).collect();
    let other = message(&[(2, &message(&[(2, &good("other"))]))]);
    // A resource that is too deep costs its records.
    let pair = message(&[(1, b"k"), (2, &deep)]);
    let lost = message(&[(1, &message(&[(1, &pair)])), (2, &message(&[(2, &good("lost"))]))]);
    let body = message(&[(1, &message(&[(2, &message(&parts))])), (1, &lost), (1, &other)]);
    let told = outcomes(&body, Encoding::Protobuf);
    let is_bad: Vec<bool> = told.iter().map(|one| one.starts_with("bad: ")).collect();
    assert_eq!(is_bad, [false, true, false, true, false, true, true, false], "{told:?}");
    assert_eq!(told[7], "other");

    let deep = format!("{}{}", "{\"arrayValue\":{\"values\":[".repeat(500), "]}}".repeat(500));
    let wide = format!("{{\"arrayValue\":{{\"values\":[{{}}{}]}}}}", ",{}".repeat(MAX_VALUES));
    let record = |body: &str| format!("{{\"body\":{body}}},{{\"eventName\":\"after {{\"}}");
    let records = [record(&deep), record(&wide), record("7")].join(",");
    let body = format!(
        "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{records}]}}]}},{{\"resource\":{{\"attributes\":7}},\
         \"scopeLogs\":[{{\"logRecords\":[{{}}]}}]}},{{\"scopeLogs\":[{{\"logRecords\":[{{\"eventName\":\"other\"}}]}}]}}]}}"
    );
    let told = outcomes(body.as_bytes(), Encoding::Json);
    let is_bad: Vec<bool> = told.iter().map(|one| one.starts_with("bad: ")).collect();
    assert_eq!(is_bad, [true, false, true, false, true, false, true, false], "{told:?}");
}

#[test]
fn what_a_request_costs_counts_its_resource_with_each_record() {
    let long = message(&[(1, &[b'x'; 5_000][..])]);
    let resource = message(&[(1, &message(&[(1, b"k"), (2, &long)]))]);
    let records = [0x12, 0].repeat(1_000);
    let body = message(&[(1, &message(&[(1, &resource), (2, &records)]))]);
    let cost = |max| Logs::new(&body, Encoding::Protobuf, max).expect("logs").measure();
    assert!(cost(50_000).is_ok_and(|cost| cost > 5_000_000));
    assert!(cost(1_000).is_ok_and(|cost| cost < 500_000), "it is not written then");
    let broken = [&body[..], &[0x0a, 0xff]].concat();
    assert!(Logs::new(&broken, Encoding::Protobuf, 9).expect("logs").measure().is_err());
}

#[test]
fn answers_say_how_many_were_refused() {
    assert_eq!(response(Encoding::Json, 0, None), b"{}");
    assert_eq!(response(Encoding::Protobuf, 0, None), b"");
    let json: Value =
        serde_json::from_slice(&response(Encoding::Json, 3, Some("x"))).expect("JSON");
    assert_eq!(json["partialSuccess"]["rejectedLogRecords"], "3");
    let expected = [0x0a, 5, 0x08, 3, 0x12, 1, b'x'];
    assert_eq!(response(Encoding::Protobuf, 3, Some("x")), expected);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let _ = all(&bytes, encoding);
        }
    }
}
