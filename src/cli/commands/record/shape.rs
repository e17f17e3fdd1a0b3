//! What a line that is no event seems to be: text in another encoding, an array, a part of
//! a document that is written over several lines.

use serde_json::Value;

/// What it seems to be, and what makes events of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) what: String,
    pub(super) hint: String,
}

/// `None` of a line that seems to be nothing but a wrong event.
pub(super) fn of(line: &[u8]) -> Option<Shape> {
    if let Some(encoding) = wide(line) {
        return Some(Shape {
            what: format!("not UTF-8: this looks like {encoding} without a byte order mark"),
            hint: format!(
                "convert it first: `iconv -f {encoding} -t UTF-8 FILE | auditctl record --file -`"
            ),
        });
    }
    let text = std::str::from_utf8(line).ok()?.trim();
    match (text.as_bytes().first()?, serde_json::from_str::<Value>(text)) {
        (b'[', Ok(Value::Array(values))) => Some(Shape {
            what: format!("an array of {} values, not an event", values.len()),
            hint: each(".[]"),
        }),
        (b'[', _) => Some(Shape {
            what: "the beginning of an array: each line has to be one whole event".to_owned(),
            hint: each(".[]"),
        }),
        (b'{', Err(error)) if error.is_eof() => {
            let place = first_key(text).map_or_else(|| ".".to_owned(), |key| format!(".{key}[]"));
            Some(Shape {
                what:
                    "an object that does not end on this line: each line has to be one whole event"
                        .to_owned(),
                hint: if place == "." {
                    format!(
                        "{}; where the events are in a list inside: `jq -c '.NAME[]'`",
                        each(&place)
                    )
                } else {
                    each(&place)
                },
            })
        }
        (b'{', Ok(Value::Object(members))) => {
            let (key, value) = members.iter().next()?;
            let values = value.as_array().filter(|_| members.len() == 1 && is_plain(key))?;
            Some(Shape {
                what: format!(
                    "an object that holds {} values in {key:?}, not an event",
                    values.len()
                ),
                hint: each(&format!(".{key}[]")),
            })
        }
        _ => None,
    }
}

/// What makes one line of each.
fn each(path: &str) -> String {
    format!(
        "`jq -c '{path}' FILE | auditctl record --file -` makes one line of each; each needs an \
         event_type, such as `jq -c '{path} | {{event_type: \"imported\", details: .}}'`"
    )
}

/// Text has a zero byte in no character but NUL; in these encodings each letter of JSON
/// has some.
fn wide(line: &[u8]) -> Option<&'static str> {
    match line.get(..4).or_else(|| line.get(..2))? {
        [0, 0, 0, ..] => Some("UTF-32BE"),
        [_, 0, 0, 0] => Some("UTF-32LE"),
        [0, letter, ..] if *letter != 0 => Some("UTF-16BE"),
        [letter, 0, ..] if *letter != 0 => Some("UTF-16LE"),
        _ => None,
    }
}

/// The first key of an object that goes on with an array: `{"Records": [`.
fn first_key(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('{')?.trim_start().strip_prefix('"')?;
    let (key, rest) = rest.split_once('"')?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    (rest.starts_with('[') && is_plain(key)).then_some(key)
}

/// Whether jq takes it without quotes, and a terminal as it is.
fn is_plain(key: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !key.is_empty() && key.chars().all(fine) && !key.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_seems_to_be_is_told_with_what_makes_events_of_it() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let utf32 = |text: &str| text.chars().flat_map(|c| (c as u32).to_be_bytes()).collect();
        let utf32: Vec<u8> = utf32("{\"a\":1}");
        for (line, what, hint) in [
            (utf16("{\"a\":1}"), "looks like UTF-16LE", "iconv -f UTF-16LE"),
            (utf32, "looks like UTF-32BE", "iconv -f UTF-32BE"),
            (b"[{\"event_type\":\"a\"},{}]".to_vec(), "an array of 2 values", "jq -c '.[]' FILE"),
            (b"[".to_vec(), "the beginning of an array", "jq -c '.[]' FILE"),
            (b"{".to_vec(), "does not end on this line", "jq -c '.' FILE"),
            (b"{ \"Records\": [".to_vec(), "does not end on this line", "jq -c '.Records[]' FILE"),
            (
                b"{\"Records\":[{},{}]}".to_vec(),
                "2 values in \"Records\"",
                "jq -c '.Records[]' FILE",
            ),
        ] {
            let shape = of(&line).unwrap_or_else(|| panic!("{line:?}"));
            assert!(shape.what.contains(what), "{what}: {shape:?}");
            assert!(shape.hint.contains(hint), "{hint}: {shape:?}");
        }
        let wrong_events: [&[u8]; 7] = [
            b"",
            b"{}",
            b"x",
            b"{\"type\":\"a\"}",
            b"{\"a\":1}}",
            b"{\"a'b\":[]}",
            b"{\"a\":[],\"b\":1}",
        ];
        for line in wrong_events {
            assert_eq!(of(line), None, "{line:?}");
        }
    }
}
