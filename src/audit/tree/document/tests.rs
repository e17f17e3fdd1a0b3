#![allow(clippy::unwrap_used)]

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Example {
    name: String,
    #[serde(flatten)]
    unknown: Unknown,
    signature: Option<String>,
}

fn example() -> Example {
    Example { name: "x".to_owned(), unknown: Unknown::default(), signature: None }
}

#[test]
fn a_file_begins_with_what_it_is() {
    let text = encode_file(Kind::MANIFEST, &example(), Layout::Compact).unwrap();
    let wanted =
        "{\"type\":\"auditctl/manifest\",\"format\":1,\"name\":\"x\",\"signature\":null}\n";
    assert_eq!(String::from_utf8(text).unwrap(), wanted);
}

#[test]
fn members_in_any_order_with_whitespace_and_unknown_ones_are_read() {
    let text = b" { \"new\": [1, {\"a\": 2}] ,\"signature\":null, \"name\" : \"x\",\"format\": 1,\n\"type\":\"auditctl\\/manifest\" } \n";
    let read: Example = decode(Kind::MANIFEST, text).unwrap();
    assert_eq!(read.name, "x");
    let unknown = read.unknown.without_head();
    assert_eq!(serde_json::to_string(&unknown).unwrap(), r#"{"new":[1,{"a":2}]}"#);
}

#[test]
fn what_a_newer_version_made_is_told_from_what_is_wrong() {
    let read = |text: &str| decode::<Example>(Kind::KEYS, text.as_bytes()).unwrap_err();
    let newer = read(r#"{"type":"auditctl/keys","format":2,"anything":[]}"#);
    assert!(newer.is_newer(), "{newer}");
    assert!(newer.to_string().contains("a newer version made it"), "{newer}");
    let other = read(r#"{"type":"auditctl/manifest","format":2,"name":"x"}"#);
    assert!(matches!(&other, DocumentError::Other { found, .. } if found == "auditctl/manifest"));
    for wrong in [
        r#"{"type":"auditctl/keys","format":0,"name":"x","signature":null}"#,
        r#"{"type":"auditctl/keys","format":"1","name":"x","signature":null}"#,
        r#"{"type":"auditctl/keys","name":"x","signature":null}"#,
        r#"{"format":1,"name":"x","signature":null}"#,
        r#"{"type":"auditctl/keys","format":1,"format":1,"name":"x"}"#,
        "[]",
        "",
    ] {
        assert!(matches!(read(wrong), DocumentError::Malformed(_)), "{wrong}");
    }
}

#[test]
fn a_file_may_be_nested_as_deep_as_any_parser_follows_and_no_deeper() {
    #[derive(Debug, Deserialize)]
    struct Kept {
        #[serde(flatten)]
        unknown: Unknown,
    }
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        // Brackets in texts are no arrays.
        format!(r#"{{"type":"auditctl/catalog","format":1,"t":"\\\"[[{{","new":{open}{close}}}"#)
    };
    for depth in [MAX_JSON_DEPTH - 1, MAX_JSON_DEPTH] {
        let text = nested(depth);
        assert_eq!(check_head(Kind::CATALOG, text.as_bytes()), Ok(()), "{depth}");
        let kept: Kept = decode(Kind::CATALOG, text.as_bytes()).expect("it is kept");
        assert!(!kept.unknown.is_empty());
    }
    let text = nested(MAX_JSON_DEPTH + 1);
    let error = check_head(Kind::CATALOG, text.as_bytes()).expect_err("too deep");
    assert!(error.to_string().contains("nested"), "{error}");
    let text = format!(r#"{{"type":"auditctl/catalog","format":1,"t":"{}"}}"#, "[".repeat(500));
    assert_eq!(check_head(Kind::CATALOG, text.as_bytes()), Ok(()));
}

#[test]
fn no_two_kinds_are_signed_alike_and_none_is_an_origin() {
    let mut lines: Vec<String> = Kind::ALL.iter().map(ToString::to_string).collect();
    for line in &lines {
        assert!(line.parse::<crate::audit::keys::checkpoint::Origin>().is_err(), "{line}");
        assert!(crate::audit::keys::checkpoint::note::check_key_name(line).is_err(), "{line}");
    }
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), Kind::ALL.len());
}
