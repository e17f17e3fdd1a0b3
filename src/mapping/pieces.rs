//! An input cut into its objects: one after the other (a line each, or written over
//! several), in an array, or in the array of an envelope.
//!
//! Of the input no more is held than one object, and of that no more than it may have: an
//! envelope of any size passes through. Only the structure is looked at here; whether an
//! object is JSON to the last digit is told by whoever reads it.
//!
//! What is no JSON is told once, and the input is read again from the next line that
//! begins with a bracket: a line that is broken costs no other line. What is read again is
//! never more than a few times what came, so that no input costs more than its length.

/// Objects and arrays inside each other, at most: far more than the log takes.
const MAX_DEPTH: usize = 256;
/// Keys are compared with those of the path up to so many bytes.
const MAX_KEY: usize = 256;
/// Elements of one document that are no objects: with one more it is no batch of events.
const MAX_STRAY: usize = 10_000;
/// So many bytes are read again for each that came, at most.
const MAX_AGAIN: u64 = 8;

/// A part of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An object, as it stands there.
    Object(Vec<u8>),
    /// An object that is longer than any may be.
    TooLong(usize),
    /// What is no object, and why.
    Bad(String),
}

/// A part, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub piece: Piece,
    /// The line, from 1.
    pub line: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A document.
    Top,
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// Nothing until a line begins with a bracket.
    Line {
        begins: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    String { is_key: bool, escaped: bool },
    Scalar,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Pieces {
    records: Vec<String>,
    max: usize,
    expect: Expect,
    within: Within,
    /// What is open: whether it is an object.
    open: Vec<bool>,
    /// Keys of the path that lead to where this is.
    matched: usize,
    key: Vec<u8>,
    /// The next value is what the path leads to, or a step of it.
    on_path: bool,
    /// What the path leads to, where that is no array.
    misfit: Option<&'static str>,
    /// How deep the elements of the array are.
    array: Option<usize>,
    held: Held,
    line: u64,
    /// The last byte ended a line.
    is_at_begin: bool,
    again: Again,
    /// Elements of this document that are no objects.
    stray: usize,
    /// Bytes that came, and those of them that were to be read again.
    came: u64,
    reread: u64,
}

/// What is read again.
#[derive(Clone, Debug, Default)]
struct Again {
    text: Vec<u8>,
    at: usize,
}

impl Again {
    fn is_empty(&self) -> bool {
        self.at >= self.text.len()
    }
}

/// What is being cut out.
#[derive(Clone, Debug, Default)]
struct Held {
    is_on: bool,
    text: Vec<u8>,
    bytes: usize,
    line: u64,
    /// What kind of value.
    first: u8,
}

impl Held {
    fn add(&mut self, part: &[u8], max: usize) {
        if !self.is_on {
            return;
        }
        self.bytes += part.len();
        if self.bytes > max {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(part);
        }
    }

    fn stop(&mut self) {
        *self = Self { line: self.line, ..Self::default() };
    }
}

impl Pieces {
    pub(super) fn new(records: &[String], max: usize) -> Self {
        Self {
            records: records.to_vec(),
            max,
            expect: Expect::Top,
            within: Within::Nothing,
            open: Vec::new(),
            matched: 0,
            key: Vec::new(),
            on_path: false,
            misfit: None,
            array: None,
            held: Held::default(),
            line: 1,
            is_at_begin: true,
            again: Again::default(),
            stray: 0,
            came: 0,
            reread: 0,
        }
    }

    /// As after the end of a document.
    fn forget(&mut self) {
        let new = Self::new(&self.records, self.max);
        let again = std::mem::take(&mut self.again);
        *self = Self { line: self.line, again, came: self.came, reread: self.reread, ..new };
    }

    /// Whether an object, or what is around objects, has begun and is not whole.
    #[must_use]
    pub fn is_within(&self) -> bool {
        let between = self.open.is_empty() || self.array == Some(self.open.len());
        self.held.is_on || self.within != Within::Nothing || !between
    }

    /// Bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.text.capacity() + self.again.text.capacity()
    }

    /// Reads on, and takes what was read from the front of `input`; what was found first.
    /// `None`: all of it was read.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Found> {
        loop {
            let mut again = std::mem::take(&mut self.again);
            let is_again = !again.is_empty();
            let bytes = if is_again { &again.text[again.at..] } else { *input };
            let (read, seen) = self.read(bytes);
            if is_again {
                again.at += read;
                self.again = again;
            } else {
                self.came += read as u64;
                *input = &input[read..];
            }
            match seen {
                Seen::Nothing => {}
                Seen::Found(found) => return Some(found),
                Seen::Broken(what) => return Some(self.broken(what)),
            }
            if self.again.is_empty() {
                self.again = Again::default();
                if input.is_empty() {
                    return None;
                }
            }
        }
    }

    /// What follows is another input.
    pub fn restart(&mut self) {
        *self = Self::new(&self.records, self.max);
    }

    /// The input is over: what of it is not whole, until nothing is left.
    pub fn end(&mut self) -> Option<Found> {
        if let Some(found) = self.next(&mut &b""[..]) {
            return Some(found);
        }
        // A number or a word ends with the input.
        if self.within == Within::Scalar
            && let Some(found) = self.next(&mut &b"\n"[..])
        {
            return Some(found);
        }
        if matches!(self.expect, Expect::Top | Expect::Line { .. }) {
            self.forget();
            return None;
        }
        let held = std::mem::take(&mut self.held);
        let line = if held.is_on { held.line } else { self.line };
        self.forget();
        let piece = if held.is_on && held.bytes > self.max {
            Piece::TooLong(held.bytes)
        } else {
            Piece::Bad("the input ends before this JSON document does".to_owned())
        };
        self.go_back(held.text);
        Some(Found { piece, line })
    }

    /// Reads until something was found; how much was read.
    fn read(&mut self, bytes: &[u8]) -> (usize, Seen) {
        let mut at = 0;
        // From here on nothing was added to what is held.
        let mut from = 0;
        while at < bytes.len() {
            let was_on = self.held.is_on;
            let step = match self.within {
                Within::String { is_key, escaped } => self.string(&bytes[at..], is_key, escaped),
                Within::Scalar => self.scalar(&bytes[at..]),
                Within::Nothing => self.structure(bytes[at]),
            };
            if let Ok(Step::Read(read) | Step::Ended(read)) = step
                && read > 0
            {
                self.is_at_begin = bytes[at + read - 1] == b'\n';
            }
            match step {
                Ok(Step::Read(read)) => {
                    if self.held.is_on && !was_on {
                        from = at;
                    }
                    at += read;
                }
                Ok(Step::Ended(read)) => {
                    at += read;
                    self.held.add(&bytes[from..at], self.max);
                    from = at;
                    if let Some(found) = self.ended() {
                        return (at, Seen::Found(found));
                    }
                    if self.stray > MAX_STRAY {
                        let what = format!(
                            "more than {MAX_STRAY} elements of this are no objects; the rest of it \
                             is not looked at"
                        );
                        return (at, Seen::Broken(what));
                    }
                }
                Err(what) => {
                    self.held.add(&bytes[from..at], self.max);
                    return (at, Seen::Broken(what));
                }
            }
        }
        self.held.add(&bytes[from.min(at)..], self.max);
        (at, Seen::Nothing)
    }

    fn string(&mut self, rest: &[u8], is_key: bool, escaped: bool) -> Result<Step, String> {
        let keeps_key = is_key && self.is_beside_path();
        if escaped {
            self.within = Within::String { is_key, escaped: false };
            if keeps_key {
                self.key.push(0);
            }
            return Ok(Step::Read(1));
        }
        let end = memchr::memchr3(b'"', b'\\', b'\n', rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        if keeps_key && self.key.len() < MAX_KEY {
            self.key.extend_from_slice(&text[..text.len().min(MAX_KEY)]);
        }
        let Some(end) = end else { return Ok(Step::Read(rest.len())) };
        match rest[end] {
            b'\\' => self.within = Within::String { is_key, escaped: true },
            b'\n' if end == 0 => return Err("a text is not closed on its line".to_owned()),
            // Read up to there first, so that the place is right.
            b'\n' => return Ok(Step::Read(end)),
            _ => {
                self.within = Within::Nothing;
                if is_key {
                    self.expect = Expect::Colon;
                } else {
                    return Ok(self.value_ends(end + 1));
                }
            }
        }
        Ok(Step::Read(end + 1))
    }

    fn scalar(&mut self, rest: &[u8]) -> Result<Step, String> {
        let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        match rest.iter().position(|byte| !is_in(byte)) {
            None => Ok(Step::Read(rest.len())),
            Some(end) => {
                self.within = Within::Nothing;
                Ok(self.value_ends(end))
            }
        }
    }

    fn structure(&mut self, byte: u8) -> Result<Step, String> {
        let is_line = byte == b'\n';
        self.line += u64::from(is_line);
        match (self.expect, byte) {
            (Expect::Line { .. }, b'\n') => self.expect = Expect::Line { begins: true },
            (Expect::Line { begins: true }, b'{' | b'[') => {
                self.expect = Expect::Top;
                return self.begins(byte);
            }
            (Expect::Line { .. }, _) => self.expect = Expect::Line { begins: false },
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Expect::Top, b'{' | b'[') => return self.begins(byte),
            (Expect::Top, _) => return Err("a JSON object is expected here".to_owned()),
            (
                Expect::Value | Expect::ValueOrEnd,
                b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n',
            ) => {
                return self.begins(byte);
            }
            (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => return Ok(self.closes()),
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                self.key.clear();
                self.within = Within::String { is_key: true, escaped: false };
            }
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                self.on_path = self.is_beside_path()
                    && self.records.get(self.matched).is_some_and(|key| key.as_bytes() == self.key);
            }
            (Expect::CommaOrEnd, b',') => {
                let in_object = self.open.last() == Some(&true);
                self.expect = if in_object { Expect::Key } else { Expect::Value };
            }
            (Expect::CommaOrEnd, b'}') if self.open.last() == Some(&true) => {
                return Ok(self.closes());
            }
            (Expect::CommaOrEnd, b']') if self.open.last() == Some(&false) => {
                return Ok(self.closes());
            }
            (Expect::CommaOrEnd, _) => {
                let end = if self.open.last() == Some(&true) { '}' } else { ']' };
                return Err(format!("a comma or {end} is expected here"));
            }
            (Expect::Colon, _) => return Err("a colon is expected here".to_owned()),
            (Expect::Key | Expect::KeyOrEnd, _) => return Err("a key is expected here".to_owned()),
            (Expect::Value | Expect::ValueOrEnd, _) => {
                return Err("a value is expected here".to_owned());
            }
        }
        Ok(Step::Read(1))
    }

    /// Whether the keys here may be those of the path.
    fn is_beside_path(&self) -> bool {
        self.array.is_none()
            && self.open.len() == self.matched + 1
            && self.open.last() == Some(&true)
            && self.matched < self.records.len()
    }

    /// A value begins with this byte.
    fn begins(&mut self, byte: u8) -> Result<Step, String> {
        let is_element = self.array == Some(self.open.len());
        let is_document = self.open.is_empty() && byte == b'{';
        if is_element || is_document {
            self.held = Held { is_on: true, line: self.line, first: byte, ..Held::default() };
        }
        if std::mem::take(&mut self.on_path) {
            let is_last = self.matched + 1 == self.records.len();
            match byte {
                b'[' if is_last => {
                    // An envelope: what was held is no object of its own.
                    self.held.stop();
                    self.array = Some(self.open.len() + 1);
                }
                b'{' if !is_last => self.matched += 1,
                // Another object that happens to have such a key.
                _ if !is_last => {}
                b'n' => {}
                b'{' => self.misfit = Some("an object"),
                b'[' => self.misfit = Some("an array"),
                b'"' => self.misfit = Some("a string"),
                b't' | b'f' => self.misfit = Some("a boolean"),
                _ => self.misfit = Some("a number"),
            }
        }
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= MAX_DEPTH {
                    return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
                }
                if self.open.is_empty() && byte == b'[' {
                    self.array = Some(1);
                }
                self.open.push(byte == b'{');
                self.expect = if byte == b'{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
            }
            b'"' => self.within = Within::String { is_key: false, escaped: false },
            _ => self.within = Within::Scalar,
        }
        Ok(Step::Read(1))
    }

    fn closes(&mut self) -> Step {
        self.open.pop();
        if self.array.is_some_and(|array| self.open.len() < array) {
            self.array = None;
            // Behind the array nothing is on the path any more.
            self.matched = if self.open.is_empty() { 0 } else { self.records.len() };
        } else if self.array.is_none()
            && self.open.len() <= self.matched
            && self.matched < self.records.len()
        {
            self.matched = self.open.len().saturating_sub(1);
        }
        self.value_ends(1)
    }

    fn value_ends(&mut self, read: usize) -> Step {
        self.expect = if self.open.is_empty() { Expect::Top } else { Expect::CommaOrEnd };
        let is_element = self.array == Some(self.open.len());
        if self.open.is_empty() || (is_element && self.held.is_on) {
            Step::Ended(read)
        } else {
            Step::Read(read)
        }
    }

    /// What has ended: an element, or a document.
    fn ended(&mut self) -> Option<Found> {
        let held = std::mem::take(&mut self.held);
        let mut misfit: Option<&str> = None;
        if self.open.is_empty() {
            (self.matched, self.array, self.stray) = (0, None, 0);
            misfit = self.misfit.take();
        }
        if !held.is_on {
            return None;
        }
        let piece = match (misfit, held.first) {
            (Some(what), _) => {
                Piece::Bad(format!("{} is {what}, not an array", self.records.join(".")))
            }
            (None, b'{') if held.bytes > self.max => Piece::TooLong(held.bytes),
            (None, b'{') => Piece::Object(held.text),
            (None, first) => {
                self.stray += 1;
                if self.stray > MAX_STRAY {
                    return None;
                }
                let what = match first {
                    b'[' => "an array",
                    b'"' => "a string",
                    b't' | b'f' => "a boolean",
                    b'n' => "null",
                    _ => "a number",
                };
                Piece::Bad(format!("this is {what}, not an object"))
            }
        };
        Some(Found { piece, line: held.line })
    }

    /// What comes is no JSON: it is told, and reading goes on with a line that begins with
    /// a bracket.
    fn broken(&mut self, what: String) -> Found {
        let held = std::mem::take(&mut self.held);
        let line = if held.is_on { held.line } else { self.line };
        let what = if line == self.line { what } else { format!("{what} (line {})", self.line) };
        let was_too_long = held.is_on && held.bytes > self.max;
        let begins = self.is_at_begin;
        self.forget();
        self.expect = Expect::Line { begins };
        self.go_back(held.text);
        let piece = if was_too_long { Piece::TooLong(held.bytes) } else { Piece::Bad(what) };
        Found { piece, line }
    }

    /// Reads on with the first line behind what is broken that begins with a bracket: where
    /// a line was not finished, the next ones are whole. The last such line, if more than
    /// that would be read too often.
    fn go_back(&mut self, held: Vec<u8>) {
        let begins = |end: &usize| matches!(held.get(end + 1), Some(b'{' | b'['));
        let Some(first) = memchr::memchr_iter(b'\n', &held).find(begins) else { return };
        let is_too_often =
            |from: usize| self.reread + (held.len() - from) as u64 > MAX_AGAIN * self.came;
        let from = if is_too_often(first + 1) {
            let last = memchr::memrchr_iter(b'\n', &held).find(begins);
            last.unwrap_or(first) + 1
        } else {
            first + 1
        };
        let text = &held[from..];
        self.reread += text.len() as u64;
        self.line -= memchr::memchr_iter(b'\n', text).count() as u64;
        (self.expect, self.is_at_begin) = (Expect::Top, true);
        if self.again.is_empty() {
            self.again = Again { text: held, at: from };
        } else {
            // It was being read again, and what is held is the end of what was.
            self.again.at -= text.len();
        }
    }

    /// Bytes that came, and those that were to be read again.
    #[cfg(test)]
    pub(super) fn effort(&self) -> (u64, u64) {
        (self.came, self.reread)
    }
}

enum Step {
    Read(usize),
    /// So much was read, and what is held may be whole.
    Ended(usize),
}

enum Seen {
    Nothing,
    Found(Found),
    Broken(String),
}
