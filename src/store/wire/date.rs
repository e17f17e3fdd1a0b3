//! The `Date` of an answer: what time it is by the store's clock.

use crate::clock::Timestamp;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `Sat, 28 Nov 2026 04:49:58 GMT`, the form that HTTP demands (RFC 9110, 5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if zone != "GMT" || words.next().is_some() {
        return None;
    }
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_and_nothing_else() {
        let found = http_date("Sat, 28 Nov 2026 04:49:58 GMT").expect("a date");
        assert_eq!(found.to_string(), "2026-11-28T04:49:58.000000Z");
        for text in
            ["", "Sat, 28 Nov 2026 04:49:58 CET", "2026-11-28T04:49:58Z", "x, 1 Foo 2 3 GMT"]
        {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
