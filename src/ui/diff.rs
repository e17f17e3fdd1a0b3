//! What `diff` found.

use serde_json::{Value, json};

use super::style::escape;
use crate::backup::{Compared, Difference, Has};
use crate::health::wording::count;

/// Differences, as they come.
#[derive(Debug)]
pub struct DiffShown {
    /// What the sides are called.
    names: (String, String),
    /// So many are shown.
    limit: u64,
    shown: Vec<Difference>,
    all: u64,
}

impl DiffShown {
    /// Nothing yet.
    #[must_use]
    pub fn new(a: &str, b: &str, limit: u64) -> Self {
        Self { names: (a.to_owned(), b.to_owned()), limit, shown: Vec::new(), all: 0 }
    }

    /// One more.
    pub fn add(&mut self, difference: Difference) {
        self.all += 1;
        if self.all <= self.limit {
            self.shown.push(difference);
        }
    }

    /// For people: `-` is the first's line, `+` the second's.
    #[must_use]
    pub fn text(&self, compared: &Compared) -> String {
        let (a, b) = (escape(&self.names.0), escape(&self.names.1));
        let mut lines = Vec::new();
        if !compared.is_same() {
            lines.push(format!("--- {a}\n+++ {b}"));
        }
        for found in &self.shown {
            lines.push(format!("@@ record {}", found.seq));
            lines.extend(line('-', &found.a));
            lines.extend(line('+', &found.b));
        }
        if self.all > self.limit {
            let more = count(self.all - self.limit, "more difference");
            lines.push(format!("… {more}; --limit 0 shows all"));
        }
        for (is_b, first, end, why) in &compared.unreadable {
            let name = if *is_b { &b } else { &a };
            let (last, why) = (end.saturating_sub(1), escape(why));
            lines.push(format!("{name}: records {first} to {last} cannot be read: {why}"));
        }
        lines.push(format!(
            "{} the same, {} altered, {} only in {a}, {} only in {b}",
            count(compared.same, "record"),
            compared.altered,
            compared.only_a,
            compared.only_b
        ));
        lines.push(String::new());
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, compared: &Compared) -> String {
        let differences = self.shown.iter().map(|found| {
            let kind = match (&found.a, &found.b) {
                (Has::Unreadable, _) | (_, Has::Unreadable) => "unreadable",
                (Has::Line(_), Has::Line(_)) => "altered",
                (Has::Line(_), Has::Nothing) => "only_a",
                _ => "only_b",
            };
            json!({ "seq": found.seq, "kind": kind, "a": value(&found.a), "b": value(&found.b) })
        });
        let unreadable = compared.unreadable.iter().map(|(is_b, first, end, why)| {
            let side = if *is_b { "b" } else { "a" };
            json!({ "side": side, "first_seq": first, "end_seq": end, "why": why })
        });
        json!({
            "a": self.names.0,
            "b": self.names.1,
            "identical": compared.is_same(),
            "same": compared.same,
            "altered": compared.altered,
            "only_a": compared.only_a,
            "only_b": compared.only_b,
            "differences": differences.collect::<Vec<_>>(),
            "more": self.all > self.limit,
            "unreadable": unreadable.collect::<Vec<_>>(),
        })
        .to_string()
    }
}

fn line(sign: char, has: &Has) -> Option<String> {
    match has {
        Has::Line(line) => Some(format!("{sign}{}", escape(&String::from_utf8_lossy(line)))),
        Has::Nothing => None,
        Has::Unreadable => Some(format!("{sign}(cannot be read)")),
    }
}

fn value(has: &Has) -> Value {
    match has {
        Has::Line(line) => json!(String::from_utf8_lossy(line)),
        Has::Nothing | Has::Unreadable => Value::Null,
    }
}
