//! What is typed to see only some of the newest records.

use crate::audit::read::query::{Filter, Request};
use crate::clock::Timestamp;

/// What may be typed, for whoever does not know.
pub(super) const EXAMPLE: &str = "such as: actor=alice type=login* details.amount>=100 10.0.0.7";

/// Reads it: words with spaces between. `type=`, `actor=`, `source=`, `target=`, `outcome=` and
/// `id=` take a pattern; what begins with `details.` or `origin.` is a condition; any other
/// word is a text that the record contains.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Filter, String> {
    let mut request = Request::default();
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    for word in words {
        let pattern = |name: &str| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let places = [
            ("type", &mut request.event_type),
            ("actor", &mut request.actor),
            ("source", &mut request.source),
            ("target", &mut request.target),
            ("outcome", &mut request.outcome),
            ("id", &mut request.id),
        ];
        let mut places = places.into_iter();
        if let Some((pattern, place)) =
            places.find_map(|(name, place)| Some((pattern(name)?, place)))
        {
            place.push(pattern);
        } else if word.starts_with("details.") || word.starts_with("origin.") {
            request.conditions.push(word);
        } else {
            request.grep.push(word);
        }
    }
    // No time is asked about.
    let query = request.resolve(Timestamp::default()).map_err(|error| error.to_string())?;
    Ok(query.filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_patterns_conditions_and_texts() {
        let query = |json: &str| {
            let request: Request = serde_json::from_str(json).expect("json");
            request.resolve(Timestamp::default()).expect("a query").filter
        };
        assert_eq!(
            parse("actor=alice type=login* 'actor=bob smith' details.n>=5 10.0.0.7"),
            Ok(query(
                r#"{"actor":["alice","bob smith"],"type":"login*","where":"details.n >= 5","grep":"10.0.0.7"}"#
            ))
        );
        assert_eq!(parse("  "), Ok(Filter::default()));
        for bad in ["'open", "details.n>=", "details."] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
