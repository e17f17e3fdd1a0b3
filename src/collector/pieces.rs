//! Cuts the body of a request with many events into its events, as the body comes: a line
//! each (NDJSON), or an element each of one JSON array.
//!
//! An array is cut at the commas between its elements, and each piece is then read as an
//! event by itself: what is wrong with one is told of that one, as with lines. Only what
//! makes the array none ends it.

use crate::audit::record::event::MAX_LINE_BYTES;

/// Memory that is kept for the next event.
const KEPT: usize = 64 << 10;

/// What a body is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// An event's text, with the blanks around it; a line may be nothing else.
    Whole(&'a [u8]),
    /// Longer than an event may be, so many bytes.
    TooLong(usize),
    /// An element that is missing, as behind the comma in `[{},]`.
    Missing,
}

/// How a body's events are set apart.
#[derive(Debug)]
pub(super) enum Pieces {
    Lines(Begun),
    Array(Array),
}

impl Pieces {
    pub(super) fn lines() -> Self {
        Self::Lines(Begun::default())
    }

    /// Of a body that begins with `[`, but for blanks.
    pub(super) fn array() -> Self {
        Self::Array(Array::default())
    }

    /// The next piece of a part, from `at` on, which moves behind it; `None` when the part
    /// is used up, and what is begun is kept.
    ///
    /// # Errors
    /// What makes an array none.
    pub(super) fn next<'a>(
        &'a mut self,
        part: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Piece<'a>>, &'static str> {
        match self {
            Self::Lines(begun) => {
                begun.settle();
                let rest = part.get(*at..).unwrap_or_default();
                Ok(if let Some(end) = memchr::memchr(b'\n', rest) {
                    *at += end + 1;
                    Some(begun.end(&rest[..end]))
                } else {
                    *at = part.len();
                    begun.extend(rest);
                    None
                })
            }
            Self::Array(array) => array.next(part, at),
        }
    }

    /// The body is at its end: what is left, of lines the last without its end.
    ///
    /// # Errors
    /// When an array has none.
    pub(super) fn end(&mut self) -> Result<Option<Piece<'_>>, &'static str> {
        match self {
            Self::Lines(begun) => {
                begun.settle();
                Ok(Some(begun.end(b"")))
            }
            Self::Array(Array { place: Place::Behind, .. }) => Ok(None),
            Self::Array(_) => Err("the array does not end; its last element is not taken"),
        }
    }

    /// Bytes that are kept until more comes.
    pub(super) fn kept(&self) -> usize {
        match self {
            Self::Lines(begun) => begun.kept.capacity(),
            Self::Array(array) => array.begun.kept.capacity(),
        }
    }
}

/// An event of which not all has come.
#[derive(Debug, Default)]
pub(super) struct Begun {
    kept: Vec<u8>,
    /// So many bytes of it are not kept, since it is longer than any may be.
    passed: usize,
    /// It was given away.
    is_given: bool,
}

impl Begun {
    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.passed == 0
    }

    /// Forgets what was given away.
    fn settle(&mut self) {
        if std::mem::take(&mut self.is_given) {
            self.kept.clear();
            self.kept.shrink_to(KEPT);
            self.passed = 0;
        }
    }

    fn extend(&mut self, more: &[u8]) {
        if self.passed > 0 {
            self.passed += more.len();
            return;
        }
        self.kept.extend_from_slice(more);
        // A CR before a line's LF is no part of it.
        if self.kept.len() > MAX_LINE_BYTES + 1 {
            self.passed = self.kept.len();
            self.kept = Vec::new();
        }
    }

    /// It ends with these bytes.
    fn end<'a>(&'a mut self, last: &'a [u8]) -> Piece<'a> {
        if self.is_empty() {
            return Piece::Whole(last);
        }
        self.is_given = true;
        self.extend(last);
        if self.passed > 0 { Piece::TooLong(self.passed) } else { Piece::Whole(&self.kept) }
    }
}

/// Where in an array the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    /// In an element, or before its first byte.
    Element,
    /// In a text in it.
    Text,
    /// Behind a backslash there.
    Escape,
    Behind,
}

/// A JSON array.
#[derive(Debug, Default)]
pub(super) struct Array {
    place: Place,
    /// Brackets and braces that are open in the element.
    depth: usize,
    /// There was a comma.
    has_more: bool,
    begun: Begun,
}

impl Array {
    fn next<'a>(
        &'a mut self,
        part: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Piece<'a>>, &'static str> {
        self.begun.settle();
        let mut start = *at;
        while let Some(byte) = part.get(*at).copied() {
            *at += 1;
            let is_blank = byte.is_ascii_whitespace();
            match self.place {
                Place::Before if is_blank => start = *at,
                Place::Before if byte == b'[' => (self.place, start) = (Place::Element, *at),
                Place::Before => return Err("this is no array"),
                Place::Behind if is_blank => start = *at,
                Place::Behind => return Err("there is something behind the end of the array"),
                Place::Escape => self.place = Place::Text,
                Place::Text if byte == b'\\' => self.place = Place::Escape,
                Place::Text if byte == b'"' => self.place = Place::Element,
                Place::Text => *at += to_text_s_end(&part[*at..]),
                Place::Element => {
                    // Blanks before an element do not count as its own.
                    if is_blank && start + 1 == *at && self.begun.is_empty() {
                        start = *at;
                        continue;
                    }
                    if !self.element(byte) {
                        continue;
                    }
                    let last = &part[start..*at - 1];
                    let is_first = !std::mem::replace(&mut self.has_more, true);
                    let is_last = byte == b']';
                    if is_last {
                        self.place = Place::Behind;
                    }
                    let is_blank = self.begun.is_empty() && last.trim_ascii().is_empty();
                    return Ok(Some(match is_blank {
                        // It is empty as a whole; what follows is looked at.
                        true if is_first && is_last => continue,
                        true => Piece::Missing,
                        false => self.begun.end(last),
                    }));
                }
            }
        }
        if matches!(self.place, Place::Element | Place::Text | Place::Escape) {
            self.begun.extend(&part[start..]);
        }
        Ok(None)
    }

    /// Whether the byte ends the element that it is in.
    fn element(&mut self, byte: u8) -> bool {
        match byte {
            b'"' => self.place = Place::Text,
            b'[' | b'{' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

/// How many bytes there are before the next that means something in a text.
fn to_text_s_end(rest: &[u8]) -> usize {
    memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Found {
        Whole(String),
        TooLong(usize),
        Missing,
    }

    impl From<Piece<'_>> for Found {
        fn from(piece: Piece<'_>) -> Self {
            match piece {
                Piece::Whole(text) => {
                    Self::Whole(String::from_utf8_lossy(text.trim_ascii()).into_owned())
                }
                Piece::TooLong(bytes) => Self::TooLong(bytes),
                Piece::Missing => Self::Missing,
            }
        }
    }

    /// What is found in a text that comes so many bytes at a time, and what ended it.
    fn found(mut pieces: Pieces, text: &[u8], step: usize) -> (Vec<Found>, Option<&'static str>) {
        let mut all = Vec::new();
        for part in text.chunks(step) {
            let mut at = 0;
            loop {
                match pieces.next(part, &mut at) {
                    Ok(Some(piece)) => all.push(piece.into()),
                    Ok(None) => break,
                    Err(why) => return (all, Some(why)),
                }
            }
        }
        match pieces.end() {
            Ok(last) => all.extend(last.map(Found::from)),
            Err(why) => return (all, Some(why)),
        }
        (all, None)
    }

    fn whole(text: &str) -> Found {
        Found::Whole(text.to_owned())
    }

    #[test]
    fn an_array_is_cut_at_the_commas_between_its_elements_however_it_comes() {
        let text = r#" [ {"a":"],[\"\\"} , {"b":[1,{"c":[]}]},"x,y",[1,2] ,17
            ] "#;
        let expected = [r#"{"a":"],[\"\\"}"#, r#"{"b":[1,{"c":[]}]}"#, r#""x,y""#, "[1,2]", "17"];
        for step in 1..=text.len() {
            let (all, wrong) = found(Pieces::array(), text.as_bytes(), step);
            assert_eq!(wrong, None, "{step} bytes at a time");
            assert_eq!(all, expected.map(whole), "{step} bytes at a time");
        }
    }

    /// What serde_json takes for an array has these elements, and no others.
    #[test]
    fn an_array_has_the_elements_that_a_json_parser_finds() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let tokens =
            ["[", "]", "{", "}", ",", "\"", "\\", " ", "\n", "1", "\"a\"", ":", "{}", "[{}", "é"];
        let mut arrays = 0;
        for _ in 0..200_000 {
            let length = 1 + random(9);
            let inner: String = (0..length).map(|_| tokens[random(tokens.len())]).collect();
            let text = format!("[{inner}]");
            let step = 1 + random(text.len());
            let (all, wrong) = found(Pieces::array(), text.as_bytes(), step);
            let values: Vec<Option<serde_json::Value>> = all
                .iter()
                .map(|found| match found {
                    Found::Whole(text) => serde_json::from_str(text).ok(),
                    _ => None,
                })
                .collect();
            match serde_json::from_str::<Vec<serde_json::Value>>(&text) {
                Ok(expected) => {
                    arrays += 1;
                    assert_eq!(wrong, None, "{text}");
                    assert_eq!(
                        values,
                        expected.into_iter().map(Some).collect::<Vec<_>>(),
                        "{text}"
                    );
                }
                Err(_) => {
                    assert!(wrong.is_some() || values.contains(&None), "{text}: {all:?}");
                }
            }
        }
        assert!(arrays > 500, "{arrays} arrays were tried");
    }

    #[test]
    fn what_is_wrong_with_an_array_is_told_where_it_is() {
        for (text, expected, why) in [
            ("[]", vec![], None),
            ("\u{feff}[{}]", vec![], Some("no array")),
            (" [\n] ", vec![], None),
            ("[{},]", vec![whole("{}"), Found::Missing], None),
            ("[,{}]", vec![Found::Missing, whole("{}")], None),
            ("[{} {}]", vec![whole("{} {}")], None),
            ("[{}", vec![], Some("does not end")),
            ("[{},{", vec![whole("{}")], Some("does not end")),
            ("[{},\"", vec![whole("{}")], Some("does not end")),
            ("", vec![], Some("does not end")),
            ("[{}]]", vec![whole("{}")], Some("behind the end")),
            ("[{}] {}", vec![whole("{}")], Some("behind the end")),
            ("{}", vec![], Some("no array")),
        ] {
            for step in 1..=text.len().max(1) {
                let (all, wrong) = found(Pieces::array(), text.as_bytes(), step);
                assert_eq!(all, expected, "{text} by {step}");
                let fits = match (wrong, why) {
                    (Some(wrong), Some(why)) => wrong.contains(why),
                    (wrong, why) => wrong.is_none() && why.is_none(),
                };
                assert!(fits, "{text} by {step}: {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_an_event_may_be_is_not_kept() {
        let long = "x".repeat(MAX_LINE_BYTES + 2);
        let array = format!("[\"{long}\",{{}}]");
        let lines = format!("\"{long}\"\n{{}}");
        for (make, text) in [(Pieces::array as fn() -> Pieces, array), (Pieces::lines, lines)] {
            let mut pieces = make();
            let mut all: Vec<Found> = Vec::new();
            for part in text.as_bytes().chunks(1 << 16) {
                let mut at = 0;
                while let Some(piece) = pieces.next(part, &mut at).expect("good") {
                    all.push(piece.into());
                }
                assert!(pieces.kept() <= 2 * (MAX_LINE_BYTES + (1 << 16)), "{}", pieces.kept());
            }
            all.extend(pieces.end().expect("good").map(Found::from));
            assert_eq!(all, [Found::TooLong(long.len() + 2), whole("{}")]);
        }
    }

    #[test]
    fn lines_are_cut_at_their_ends_however_they_come() {
        let text = "{\"a\":1}\r\n\n  \n{\"b\":2}\nhalf";
        let expected = ["{\"a\":1}", "", "", "{\"b\":2}", "half"].map(whole);
        for step in 1..=text.len() {
            assert_eq!(found(Pieces::lines(), text.as_bytes(), step), (expected.to_vec(), None));
        }
    }
}
