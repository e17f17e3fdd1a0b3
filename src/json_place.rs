//! What is wrong with a JSON text, and the one place where.
//!
//! serde_json counts from the beginning of what it was given, and says so at the end of
//! its message. What it was given is mostly a line of something else, whose place only
//! the caller knows.

use std::fmt;

/// So many characters of what is wrong are kept.
const MOST_TOLD: usize = 512;

/// Why a text is no JSON, or not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct JsonError {
    /// What is wrong, without where.
    pub what: String,
    /// From 1; 0 where there is no text, only a value.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
}

impl JsonError {
    /// Of an error about this text. One that is not UTF-8 is told by the byte that is
    /// not: that is the cause of whatever else is wrong with it.
    #[must_use]
    #[doc(hidden)]
    pub fn of(error: &serde_json::Error, text: &[u8]) -> Self {
        Self::not_utf8(text).unwrap_or_else(|| error.into())
    }

    /// The first byte that makes a text no UTF-8, if one does.
    #[must_use]
    #[doc(hidden)]
    pub fn not_utf8(text: &[u8]) -> Option<Self> {
        let at = std::str::from_utf8(text).err()?.valid_up_to();
        let byte = text.get(at)?;
        Some(Self { what: format!("byte 0x{byte:02x} is not UTF-8"), ..Self::at(text, at) })
    }

    /// Of an error about a part of a text.
    #[must_use]
    #[doc(hidden)]
    pub fn of_part(error: &serde_json::Error, part: &str, text: &[u8]) -> Self {
        let new = Self::from(error);
        // The part is a slice of the text.
        let begin = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let within: usize =
            part.split('\n').take(new.line.saturating_sub(1)).map(|l| l.len() + 1).sum();
        let at = begin + within + new.column.saturating_sub(1);
        Self { what: new.what, ..Self::at(text, at) }
    }

    fn at(text: &[u8], at: usize) -> Self {
        let before = &text[..at.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let begin = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        Self { what: String::new(), line, column: at - begin.min(at) + 1 }
    }
}

impl From<&serde_json::Error> for JsonError {
    fn from(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let place = format!(" at line {line} column {column}");
        let what = text.strip_suffix(&*place).unwrap_or(&text);
        // It quotes what is there, all of it.
        let what = match what.char_indices().nth(MOST_TOLD) {
            Some((at, _)) => format!("{}…", &what[..at]),
            None => what.to_owned(),
        };
        Self { what, line, column: column.max(1) }
    }
}

/// With its place; of a text of one line, only the column.
impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, line, column } = self;
        match line {
            0 => write!(f, "{what}"),
            1 => write!(f, "{what} at column {column}"),
            _ => write!(f, "{what} at line {line}, column {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn told(text: &[u8]) -> String {
        let error = serde_json::from_slice::<Value>(text).expect_err("no JSON");
        JsonError::of(&error, text).to_string()
    }

    /// C12.
    #[test]
    fn there_is_one_place_and_it_is_the_text_s() {
        assert_eq!(told(b"nonsense"), "expected ident at column 2");
        assert_eq!(told(b"{\"a\":}"), "expected value at column 6");
        assert_eq!(told(b"{\n \"a\":}"), "expected value at line 2, column 6");
        assert_eq!(told(b""), "EOF while parsing a value at column 1");
        assert_eq!(told(b"{\"a\":\"caf\xe9\"}"), "byte 0xe9 is not UTF-8 at column 10");
        assert_eq!(told(b"\xff\xfe{\0"), "byte 0xff is not UTF-8 at column 1");
        assert_eq!(told(b"{\n\"a\":\"\xe9\"}"), "byte 0xe9 is not UTF-8 at line 2, column 6");
        let error = serde_json::from_value::<u8>(Value::from("x")).expect_err("no number");
        let text = JsonError::from(&error).to_string();
        assert!(!text.contains("line") && !text.contains("column"), "{text}");
    }

    #[test]
    fn a_message_quotes_no_more_than_people_read_and_the_place_stays() {
        let text = format!("\"{}\"", "\x7f".repeat(100_000));
        let error = serde_json::from_str::<u32>(&text).expect_err("no number");
        let told = JsonError::of(&error, text.as_bytes()).to_string();
        assert!(told.len() < 700, "{} bytes", told.len());
        assert!(told.contains("… at column "), "{told}");
    }

    #[test]
    fn an_error_in_a_part_is_placed_in_the_whole() {
        let text = "{\"a\": \"\\ud800\"}";
        let raw: std::collections::BTreeMap<&str, &RawValue> =
            serde_json::from_str(text).expect("JSON");
        let part = raw["a"].get();
        let error = serde_json::from_str::<String>(part).expect_err("half a pair");
        let alone = JsonError::from(&error);
        let placed = JsonError::of_part(&error, part, text.as_bytes());
        assert_eq!(placed.column, alone.column + 6, "{placed}");
    }
}
