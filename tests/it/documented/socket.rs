//! The examples of docs/protocol.md: each block on a connection of its own, to a collector
//! with a new log. `>` is sent, `<` is the answer to the letter, but for `…`.

use std::io::Write;

use crate::serving::Serving;
use crate::support::Dir;

const PAGE: &str = "docs/protocol.md";
const BEGIN: &str = "```socket\n";

/// A block's lines, and the settings that the comment before it names.
fn blocks(text: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    let mut before = text;
    while let Some((head, rest)) = before.split_once(BEGIN) {
        let (block, rest) = rest.split_once("```").expect("its end");
        let comment = head.trim_end().lines().last().unwrap_or_default();
        let settings = comment
            .strip_prefix("<!-- settings: ")
            .and_then(|rest| rest.strip_suffix(" -->"))
            .map_or_else(String::new, |settings| settings.replace("; ", "\n"));
        found.push((settings, block));
        before = rest;
    }
    found
}

/// Whether an answer is what the page says, with anything for each `…`.
fn fits(expected: &str, answer: &str) -> bool {
    let parts: Vec<String> = expected.split('…').map(regex::escape).collect();
    let pattern = regex::Regex::new(&format!("^(?s:{})$", parts.join(".*"))).expect("a pattern");
    pattern.is_match(answer)
}

#[test]
fn every_example_of_the_socket_s_protocol_is_answered_as_the_page_says() {
    let text = super::read(PAGE);
    let blocks = blocks(&text);
    assert!(blocks.len() >= 8, "examples were found");
    for (settings, block) in blocks {
        let dir = Dir::new();
        let collector = Serving::start(&dir, &settings);
        let mut peer = collector.connect();
        let mut unsent = String::new();
        for line in block.lines() {
            if let Some(sent) = line.strip_prefix('>') {
                unsent += &format!("{}\n", sent.strip_prefix(' ').unwrap_or(sent));
                continue;
            }
            let expected = line.strip_prefix("< ").unwrap_or_else(|| panic!("{PAGE}: {line}"));
            let sent = std::mem::take(&mut unsent);
            peer.stream().write_all(sent.as_bytes()).expect("sent");
            let answer = peer.line().expect("an answer");
            assert!(fits(expected, &answer), "{PAGE} says\n{expected}\nit is\n{answer}");
        }
        assert!(unsent.trim().is_empty(), "{PAGE}: without an answer: {unsent}");
    }
}

#[test]
fn the_page_names_every_request_feature_and_kind() {
    let text = super::read(PAGE);
    for name in auditctl::collector::REQUESTS {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
    let features = text.split_once("| feature | since |").expect("a table").1;
    let features = features.split_once("\n\n").expect("its end").0;
    for name in auditctl::collector::FEATURES {
        assert!(features.contains(&format!("`{name}`")), "{name}");
    }
    let version = format!("spoken there: version {}.", auditctl::collector::PROTOCOL);
    assert!(text.contains(&version), "{version}");
    let kinds = text.split_once("| kind |").expect("a table").1;
    let kinds = kinds.split_once("\n\n").expect("its end").0;
    // Those of HTTP alone, and of an embedding process's own.
    let elsewhere = [
        "unauthorized",
        "session_ended",
        "no_record",
        "not_signed",
        "removed",
        "given_up",
        "bad_signature",
        "not_found",
        "method",
        "unsupported_media_type",
        "https_required",
        "too_many_refusals",
        "forked",
    ];
    let all = auditctl::audit::RecordError::KINDS.iter().chain(auditctl::collector::REFUSALS);
    for kind in all.filter(|kind| !elsewhere.contains(kind)) {
        assert!(kinds.contains(&format!("`{kind}`")), "{kind}");
    }
}

#[test]
fn an_answer_that_differs_is_noticed() {
    assert!(fits(r#"{"a":…,"b":2}"#, r#"{"a":[1],"b":2}"#));
    assert!(!fits(r#"{"a":1}"#, r#"{"a":2}"#) && !fits("{…}", "{} "));
}
