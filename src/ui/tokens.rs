//! What `token` says.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::access::Token;
use crate::clock::{Timestamp, display_seconds};

/// The list, for people.
#[must_use]
pub fn tokens_text(tokens: &[Token], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "EVENTS/S"]);
    for token in tokens {
        let time = |at: Option<Timestamp>| at.map_or("–".to_owned(), display_seconds);
        table.add_row([
            token.name.clone(),
            token.role.to_string(),
            token.state(now).as_str().to_owned(),
            display_seconds(token.created),
            time(token.expires),
            token.rate.map_or("default".to_owned(), |rate| rate.to_string()),
        ]);
    }
    if let Some(column) = table.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt() + "\n"
}

/// The list, for programs.
#[must_use]
pub fn tokens_json(tokens: &[Token], now: Timestamp) -> String {
    let tokens: Vec<Value> = tokens.iter().map(|token| token_value(token, now)).collect();
    json!({ "tokens": tokens }).to_string()
}

/// One token, without what is stored of its secret.
#[must_use]
pub fn token_value(token: &Token, now: Timestamp) -> Value {
    json!({
        "name": token.name,
        "role": token.role,
        "state": token.state(now).as_str(),
        "created": token.created,
        "expires": token.expires,
        "rate": token.rate,
        "revoked": token.revoked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, digest};

    fn tokens() -> Vec<Token> {
        let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        let token = Token {
            name: "ci".to_owned(),
            role: Role::Write,
            created: at(1),
            expires: Some(at(10)),
            rate: Some(500),
            revoked: None,
            sha256: digest(b"x"),
        };
        let auditor =
            Token { name: "auditor".to_owned(), role: Role::Read, rate: None, ..token.clone() };
        let auditor = Token { expires: None, revoked: Some(at(3)), ..auditor };
        vec![token, auditor]
    }

    #[test]
    fn people_see_a_line_a_token() {
        let text = tokens_text(&tokens(), Timestamp::from_micros(0));
        let lines: Vec<String> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "NAME ROLE STATE CREATED EXPIRES EVENTS/S",
                "ci write valid 1970-01-02T00:00:00Z 1970-01-11T00:00:00Z 500",
                "auditor read revoked 1970-01-02T00:00:00Z – default",
            ]
        );
        assert_eq!(tokens_text(&[], Timestamp::from_micros(0)), "no tokens\n");
    }

    #[test]
    fn programs_get_no_hash() {
        let late = Timestamp::from_micros(11 * 86_400_000_000);
        let document: Value = serde_json::from_str(&tokens_json(&tokens(), late)).expect("JSON");
        assert_eq!(document["tokens"][0]["state"], "expired");
        assert_eq!(document["tokens"][1]["rate"], Value::Null);
        assert!(!document.to_string().contains("sha256"));
    }
}
