//! What is sent, to the letter.

use lettre::message::Mailbox;

use super::letter::{Envelope, letter};
use super::{Sender, chat, json};
use crate::alerts::occurrence::{Errors, HealthChange, HealthCheck, Occurrence, Suppressed, told};
use crate::clock::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn sender() -> Sender {
    Sender { host: "db1".to_owned(), log_id: "5f0c2b9e".to_owned() }
}

fn occurrence(line: &str) -> Occurrence {
    let (record, record_cut) = told(line.as_bytes());
    Occurrence {
        id: "5f0c2b9e/root-logins/42".to_owned(),
        alert: "root-logins".to_owned(),
        trigger: "event".to_owned(),
        at: at("2026-02-04T21:09:40.123456Z"),
        record,
        record_cut,
        errors: None,
        health: None,
        suppressed: None,
        queued: std::time::Instant::now(),
    }
}

fn plain() -> Occurrence {
    occurrence(
        r#"{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","actor":"root","source":"sshd","outcome":"success","details":{"ip":"10.0.0.7","n":1.50},"origin":{"via":"socket"}}"#,
    )
}

/// Every way in which a sender of events could try to be more than text.
fn hostile() -> Occurrence {
    let actor = r"<!channel> @everyone <@U1> *b* _i_ `c` [x](https://evil.example) https://evil.example & ||s|| # h\u000d\u000aBcc: x@evil.example";
    occurrence(&format!(
        r#"{{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","actor":"{actor}","target":"\u202edesrever","origin":{{}}}}"#
    ))
}

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).expect("UTF-8")
}

#[test]
fn the_json_body_is_the_documented_one() {
    let errors = Some(Errors { count: 5, within_seconds: 60 });
    let suppressed = Some(Suppressed { count: 41, since: at("2026-02-04T20:00:00Z") });
    let trigger = "errors".to_owned();
    let occurrence = Occurrence { trigger, errors, suppressed, ..plain() };
    assert_eq!(
        text(json::body(&occurrence, &sender())),
        concat!(
            r#"{"version":1,"id":"5f0c2b9e/root-logins/42","alert":"root-logins","trigger":"errors","#,
            r#""test":false,"at":"2026-02-04T21:09:40.123456Z","host":"db1","log_id":"5f0c2b9e","#,
            r#""record":{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","#,
            r#""actor":"root","source":"sshd","outcome":"success","#,
            r#""details":{"ip":"10.0.0.7","n":1.50},"origin":{"via":"socket"}},"#,
            r#""errors":{"count":5,"within_seconds":60},"#,
            r#""suppressed":{"count":41,"since":"2026-02-04T20:00:00.000000Z"}}"#
        )
    );
}

#[test]
fn a_large_record_is_told_without_its_details() {
    let filler = "x".repeat(20_000);
    let line = format!(
        r#"{{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","details":{{"x":"{filler}"}},"origin":{{"uid":18446744073709551617,"pid":1.10}}}}"#
    );
    let body = text(json::body(&occurrence(&line), &sender()));
    assert!(body.len() < 1_000 && body.contains(r#""record_cut":true"#), "{body}");
    // C4: the rest as it is stored.
    let rest = r#"{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","origin":{"uid":18446744073709551617,"pid":1.10}}"#;
    assert!(body.contains(rest), "{body}");
}

#[test]
fn a_signature_is_the_one_that_openssl_makes() {
    // printf 'log/ops/42\n1770239380\n{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
    let expected =
        "t=1770239380,v1=23ce6d1ec093e2b1f9d10f9454ab0e1da46fe98fa05d368e61b1cf946c06ac47";
    let what = ("log/ops/42", 1_770_239_380);
    assert_eq!(json::signature(b"0123456789abcdef", what, br#"{"a":1}"#), expected);
}

#[test]
fn slack_gets_plain_text_that_mentions_nobody() {
    let body: serde_json::Value =
        serde_json::from_slice(&chat::slack(&hostile(), &sender())).expect("JSON");
    insta::assert_json_snapshot!("slack", body);
    let fallback = body["text"].as_str().expect("a text");
    assert!(!fallback.contains(['<', '>']), "{fallback}");
    for block in body["blocks"].as_array().expect("blocks") {
        assert_eq!(block["text"]["type"], "plain_text");
    }
}

#[test]
fn discord_gets_escaped_text_that_mentions_nobody() {
    let body: serde_json::Value =
        serde_json::from_slice(&chat::discord(&hostile(), &sender())).expect("JSON");
    insta::assert_json_snapshot!("discord", body);
    let content = body["content"].as_str().expect("a text");
    assert!(!content.contains("@everyone") && !content.contains("https://"), "{content}");
    assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
}

#[test]
fn texts_stay_below_the_limits_of_chats() {
    let checks = (0..50).map(|n| HealthCheck {
        component: format!("check_{n}"),
        status: "critical".to_owned(),
        code: Some(format!("check_{n}.bad")),
        message: "*".repeat(5_000),
        hint: Some(format!("{n}{}", "_".repeat(5_000))),
    });
    let health = HealthChange {
        from: "healthy".to_owned(),
        to: "critical".to_owned(),
        checks: checks.collect(),
    };
    let occurrence = Occurrence { health: Some(health), record: None, ..plain() };
    let slack: serde_json::Value =
        serde_json::from_slice(&chat::slack(&occurrence, &sender())).expect("JSON");
    let section = slack["blocks"][1]["text"]["text"].as_str().expect("a text");
    assert!(section.chars().count() <= 3_000);
    let discord: serde_json::Value =
        serde_json::from_slice(&chat::discord(&occurrence, &sender())).expect("JSON");
    assert!(discord["content"].as_str().expect("a text").chars().count() <= 2_000);
    assert!(section.contains("check_0.bad") && section.contains("more: `auditctl health`"));
    assert!(section.contains("log: 5f0c2b9e"), "which log it is is never cut off: {section}");
}

/// C17: whoever is told of a problem is told its code and what to do about it.
#[test]
fn whatever_the_problem_is_every_alert_has_its_code_and_its_hint() {
    use crate::health::{Problem, tests::problems};
    let mailbox = |text: &str| text.parse::<Mailbox>().expect("an address");
    let envelope =
        Envelope { from: mailbox("audit@example.com"), to: vec![mailbox("ops@example.com")] };
    for problem in Problem::ALL {
        if problems::cannot_be_had(*problem) {
            continue;
        }
        let report = problems::with(*problem).health().report;
        let found = report.checks.iter().find(|check| check.code() == Some(problem.code()));
        let found = found.unwrap_or_else(|| panic!("{problem:?}"));
        let hint = found.hint.clone().unwrap_or_else(|| panic!("{problem:?} has no hint"));
        let check = HealthCheck {
            component: found.component.to_owned(),
            status: found.status.as_str().to_owned(),
            code: Some(problem.code().to_owned()),
            message: found.message.clone(),
            hint: Some(hint.clone()),
        };
        let health = HealthChange {
            from: "healthy".to_owned(),
            to: check.status.clone(),
            checks: vec![check],
        };
        let trigger = "health".to_owned();
        let occurrence = Occurrence { trigger, health: Some(health), record: None, ..plain() };
        let json: serde_json::Value =
            serde_json::from_slice(&json::body(&occurrence, &sender())).expect("JSON");
        let check = &json["health"]["checks"][0];
        assert_eq!(
            (&check["code"], &check["hint"]),
            (&problem.code().into(), &hint.clone().into())
        );
        let slack: serde_json::Value =
            serde_json::from_slice(&chat::slack(&occurrence, &sender())).expect("JSON");
        let discord: serde_json::Value =
            serde_json::from_slice(&chat::discord(&occurrence, &sender())).expect("JSON");
        let letter = letter(&occurrence, &sender(), &envelope).expect("a letter");
        // Quoted-printable: a line that goes on ends in `=`.
        let mail = text(letter.formatted()).replace("=\r\n", "").replace("=3D", "=");
        let without_width = |text: &serde_json::Value| {
            text.as_str().expect("a text").replace(['\\', '\u{200b}'], "")
        };
        for (how, said) in [
            ("slack", without_width(&slack["blocks"][1]["text"]["text"])),
            ("discord", without_width(&discord["content"])),
            ("e-mail", mail),
        ] {
            assert!(said.contains(problem.code()), "{how}: {said}");
            assert!(said.contains(&hint), "{how}: {hint}\n{said}");
        }
    }
}

#[test]
fn a_letter_has_the_headers_it_was_given_and_no_others() {
    let mailbox = |text: &str| text.parse::<Mailbox>().expect("an address");
    let envelope = Envelope {
        from: mailbox("auditctl <audit@example.com>"),
        to: vec![mailbox("ops@example.com")],
    };
    let mut occurrence = hostile();
    occurrence.alert = "a\r\nBcc: x@evil.example".to_owned();
    let first = letter(&occurrence, &sender(), &envelope).expect("a letter");
    let formatted = text(first.formatted());
    let (head, _) = formatted.split_once("\r\n\r\n").expect("a head");
    let names: Vec<&str> = head
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().expect("a name"))
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let expected = [
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ];
    assert_eq!(sorted, expected, "{head}");
    let again = letter(&occurrence, &sender(), &envelope).expect("a letter");
    assert_eq!(text(again.formatted()), formatted, "the same each time it is sent");
}
