//! Questions, before they are recorded: whoever looks a value up types it, and what
//! must not be kept in an event must not be kept in the question about it either.

use super::{Condition, Field, Pattern, Question};
use crate::audit::record::redact::Redactor;

/// Replaces every text that may hold a value which the rules name: patterns of named
/// fields, what is compared with at a named place, and free texts, which may be
/// about anything.
pub(in crate::audit) fn redact(question: &mut Question, redactor: &Redactor) {
    let filter = &mut question.query.filter;
    let fields = [Field::Actor, Field::Source, Field::Target, Field::Outcome];
    for (at, field) in fields.into_iter().enumerate() {
        if redactor.names_text(at) {
            for pattern in &mut filter.fields[field as usize] {
                *pattern = Pattern::new(&redactor.hidden(pattern.as_written()));
            }
        }
    }
    if redactor.names_id() {
        for pattern in &mut filter.ids {
            *pattern = Pattern::new(&redactor.hidden(pattern.as_written()));
        }
    }
    filter.texts.iter_mut().for_each(|text| *text = redactor.hidden(text));
    let conditions = std::mem::take(&mut filter.conditions);
    filter.conditions = conditions.into_iter().filter_map(|one| redacted(one, redactor)).collect();
}

fn redacted(condition: Condition, redactor: &Redactor) -> Option<Condition> {
    let Some(compared) = condition.compared() else { return Some(condition) };
    let keys: Vec<_> = condition.keys().collect();
    // An object is compared as a whole, whatever names are in it.
    match keys.strip_prefix(&[Some("details")]) {
        Some(below) if condition.is_compound() || redactor.may_touch(below) => {
            // Any text can be compared with; one that could not would not be kept either.
            condition.comparing(&redactor.hidden(compared)).ok()
        }
        _ => Some(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::Request;
    use crate::audit::record::redact::RedactKey;
    use crate::clock::Timestamp;
    use crate::fsio::OsFs;

    fn redactor(paths: &[&str]) -> Redactor {
        let dir = tempfile::tempdir().expect("directory");
        let paths: Vec<_> = paths.iter().map(|text| text.parse().expect("path")).collect();
        let key = RedactKey::create(&OsFs, &dir.path().join("key")).expect("key");
        Redactor::new(&paths, key)
    }

    #[test]
    fn what_is_compared_with_at_a_named_place_is_hidden_and_the_rest_stays() {
        let redactor =
            redactor(&["password", "*_token", "details.card.number", "details.list.*.pin"]);
        for (text, hidden) in [
            ("details.password = S", Some("S")),
            ("details.Password = S", Some("S")),
            ("details.user.password = \"S\"", Some("S")),
            ("details.password.old.1 != S", Some("S")),
            ("details.password ~ ^S", Some("^S")),
            ("details.password > 5", Some("5")),
            ("details.*.x = S", Some("S")),
            ("details.api_token = S", Some("S")),
            ("details.card.number = 4711", Some("4711")),
            ("details.CARD.number = 4711", Some("4711")),
            ("details.card = 4711", Some("4711")),
            ("details.list.0.pin = 1", Some("1")),
            ("details.x = {\"password\":\"S\"}", Some("{\"password\":\"S\"}")),
            ("details.password exists", None),
            ("details.card.holder = S", None),
            ("details.amount >= 100", None),
            ("origin.token = ci", None),
        ] {
            let request = Request { conditions: vec![text.to_owned()], ..Request::default() };
            let mut question = request.question(Timestamp::default()).expect("understood");
            redact(&mut question, &redactor);
            let stored = question.query.filter.conditions[0].as_written();
            match hidden {
                Some(value) => {
                    let hmac = redactor.hidden(value);
                    assert!(stored.ends_with(&format!(" {hmac}")), "{text}: {stored}");
                    assert!(stored.starts_with("details."), "{text}: {stored}");
                    // It can be asked again, and stays as it is.
                    let mut again = question.clone();
                    redact(&mut again, &redactor);
                    assert_eq!(again, question);
                }
                None => assert_eq!(stored, text),
            }
        }
    }

    #[test]
    fn named_fields_and_all_free_texts_are_hidden() {
        let redactor = redactor(&["actor"]);
        let one = |text: &str| vec![text.to_owned()];
        let request = Request {
            actor: one("alice*"),
            source: one("billing"),
            grep: one("alice"),
            conditions: one("details.n = 5"),
            ..Request::default()
        };
        let mut question = request.question(Timestamp::default()).expect("understood");
        redact(&mut question, &redactor);
        let filter = &question.query.filter;
        let patterns = |field: Field| filter.fields[field as usize][0].as_written();
        assert_eq!(patterns(Field::Actor), redactor.hidden("alice*"));
        assert_eq!(filter.texts, [redactor.hidden("alice")]);
        assert_eq!(patterns(Field::Source), "billing");
        assert_eq!(filter.conditions[0].as_written(), "details.n = 5");
    }
}
