//! The input: files one after the other, or standard input, line by line, and what
//! becomes of a line.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::input::{self, Input};
use super::shape::{self, Shape};
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::{Event, EventError, EventLimits, ParseMode};
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::mapping::{self, Mapping, Piece, Pieces};

/// Where a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file's name, without its directory; `-` is standard input.
    pub(super) file: Arc<str>,
    /// From 1.
    pub(super) line: u64,
    /// Which object of the file, from 1, where lines say nothing of that.
    pub(super) record: Option<u64>,
}

impl Default for Place {
    fn default() -> Self {
        Self { file: "-".into(), line: 0, record: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.file)?;
        match self.record {
            Some(record) => write!(f, "record {record} (line {})", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// Makes events of lines.
pub(super) trait Translate {
    /// The events of a line (without its LF), in order.
    fn line(
        &mut self,
        place: &Place,
        line: Result<Vec<u8>, EventError>,
    ) -> Result<Vec<Vec<u8>>, EventError>;

    /// What of the last line makes no event, where something else of it does.
    fn refused(&mut self) -> Vec<EventError> {
        Vec::new()
    }

    /// What the last line seems to be, where it was no event.
    fn shape(&mut self) -> Option<Shape> {
        None
    }

    /// Whether it saw what somebody should look at.
    fn is_suspicious(&self) -> bool {
        false
    }

    /// What it saw, for `--json`: a key and its value.
    fn document(&self) -> Option<(&'static str, Value)> {
        None
    }

    /// What it saw, for people.
    fn text(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A line is an event.
pub(super) struct Ndjson<'a> {
    mode: ParseMode,
    settings: &'a Settings,
    shape: Option<Shape>,
}

impl<'a> Ndjson<'a> {
    pub(super) fn new(mode: ParseMode, settings: &'a Settings) -> Self {
        Self { mode, settings, shape: None }
    }
}

impl Translate for Ndjson<'_> {
    fn line(
        &mut self,
        _: &Place,
        line: Result<Vec<u8>, EventError>,
    ) -> Result<Vec<Vec<u8>>, EventError> {
        let line = line?;
        match check(&line, self.mode, self.settings) {
            Ok(()) => Ok(vec![line]),
            Err(error) => {
                self.shape = shape::of(&line);
                Err(error)
            }
        }
    }

    fn shape(&mut self) -> Option<Shape> {
        self.shape.take()
    }
}

/// Checks a line as the collector will.
pub(super) fn check(line: &[u8], mode: ParseMode, settings: &Settings) -> Result<(), EventError> {
    let limits = EventLimits { max_details_bytes: settings.max_details_size.0 as usize };
    checked(line, mode, &limits).map(drop)
}

/// The event of a line that was checked, and whether control characters in it were replaced.
pub(super) fn checked(
    line: &[u8],
    mode: ParseMode,
    limits: &EventLimits,
) -> Result<(Event, bool), EventError> {
    let mut event = Event::from_json(line, mode)?;
    let is_cleaned = event.check(limits)?;
    Ok((event, is_cleaned))
}

/// An OTLP request in a file may have so many bytes.
const MAX_REQUEST_BYTES: usize = 8 << 20;

/// A line with its place, or why it is none.
type PlacedLine = (Place, Result<Vec<u8>, EventError>);

/// How far the input was read: a line's end.
#[derive(Clone)]
pub(super) struct Mark {
    /// Which of the files, from 0.
    pub(super) file: usize,
    /// Its last line that was read, from 1.
    pub(super) line: u64,
    /// Bytes of all lines up to there.
    pub(super) bytes: u64,
    /// Bytes that were read of the files, packed as they are.
    pub(super) read: u64,
    digest: Sha256,
}

impl Mark {
    /// Over all lines up to there.
    pub(super) fn digest(&self) -> String {
        format!("{:x}", self.digest.clone().finalize())
    }
}

/// The input, line by line, with their places.
pub(super) struct Lines {
    files: Vec<PathBuf>,
    /// Those of them that were opened.
    opened: usize,
    current: Option<Input>,
    place: Place,
    /// Lines before this one are passed over, in the first file.
    from_line: u64,
    max_line: usize,
    read: Arc<AtomicU64>,
    /// Bytes of the lines that were read.
    bytes: u64,
    digest: Sha256,
    /// Cuts objects out, where a line is no event.
    pieces: Option<Pieces>,
    /// An object that was cut out and not asked for yet.
    ready: Option<mapping::Found>,
    /// Bytes altogether, where that is known.
    pub(super) length: Option<u64>,
}

impl Lines {
    /// # Errors
    /// When a file is not there, or the first one cannot be opened.
    pub(super) fn open(files: Vec<PathBuf>, max_line: usize) -> Result<Self, CliError> {
        Self::open_as(files, max_line, None)
    }

    /// The same of objects that are cut out of whatever they are in.
    pub(super) fn cut(files: Vec<PathBuf>, mapping: &Mapping) -> Result<Self, CliError> {
        // A line of OTLP has many events.
        let is_otlp = mapping.draft().shape == mapping::Shape::Otlp;
        let pieces = mapping.pieces(if is_otlp { MAX_REQUEST_BYTES } else { MAX_LINE_BYTES });
        Self::open_as(files, MAX_LINE_BYTES, Some(pieces))
    }

    fn open_as(
        files: Vec<PathBuf>,
        max_line: usize,
        pieces: Option<Pieces>,
    ) -> Result<Self, CliError> {
        let mut length = Some(0);
        for file in &files {
            let meta = input::regular(file).map_err(|error| unopened(file, &error))?;
            length = length.zip(meta).map(|(length, meta)| length + meta.len);
        }
        let length = length.filter(|length| *length > 0);
        let mut lines = Self {
            files,
            opened: 0,
            current: None,
            place: Place::default(),
            from_line: 0,
            max_line,
            read: Arc::default(),
            bytes: 0,
            digest: Sha256::new(),
            pieces,
            ready: None,
            length,
        };
        lines.next_file()?;
        Ok(lines)
    }

    /// Goes on with this line.
    pub(super) fn go_on(&mut self, place: &Place) -> Result<(), CliError> {
        while self.current.is_some() && self.place.file != place.file {
            self.next_file()?;
        }
        self.from_line = place.line;
        Ok(())
    }

    /// Goes on after this line of this file; whether what comes before it is what it was.
    pub(super) fn go_on_after(
        &mut self,
        (file, line, digest): (usize, u64, &str),
    ) -> Result<bool, CliError> {
        let is_there = |lines: &Self| lines.opened == file + 1 && lines.count() == line;
        while !is_there(self) && self.current.is_some() && self.opened <= file + 1 {
            match self.pieces {
                None => drop(self.next_line()?),
                Some(_) => drop(self.next_piece()?),
            }
        }
        Ok(is_there(self) && self.mark().digest() == digest)
    }

    /// The last line that was read.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// How far that is.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            file: self.opened.saturating_sub(1),
            line: self.count(),
            bytes: self.bytes,
            read: self.read.load(Ordering::Relaxed),
            digest: self.digest.clone(),
        }
    }

    /// How many lines, or objects, of the file were read.
    fn count(&self) -> u64 {
        self.place.record.unwrap_or(self.place.line)
    }

    fn next_file(&mut self) -> Result<(), CliError> {
        self.current = None;
        let Some(path) = self.files.get(self.opened) else { return Ok(()) };
        let input = input::open(path, Arc::clone(&self.read));
        self.current = Some(input.map_err(|error| unopened(path, &error))?);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = if input::is_stdin(path) { "-".into() } else { name };
        let record = self.pieces.is_some().then_some(0);
        self.place = Place { file: name.into(), line: 0, record };
        self.opened += 1;
        Ok(())
    }

    /// Whether the next line, or object, is there without waiting for it.
    pub(super) fn has_whole_line(&mut self) -> bool {
        let Some(input) = &mut self.current else { return false };
        let mut buffered = input.buffer();
        let Some(pieces) = &mut self.pieces else {
            return memchr::memchr(b'\n', buffered).is_some();
        };
        if self.ready.is_none() {
            let before = buffered.len();
            self.ready = pieces.next(&mut buffered);
            let read = before - buffered.len();
            input.consume(read);
        }
        self.ready.is_some()
    }

    /// A line as it stands in the input, without its end, and how long it is: of one
    /// that is too long only the beginning is held. `None` at a file's end.
    fn next_line(&mut self) -> Result<Option<(Vec<u8>, usize)>, CliError> {
        let Some(input) = &mut self.current else { return Ok(None) };
        let place = &mut self.place;
        let failed = |error: io::Error, place: &Place| {
            let text = format!("the input cannot be read after {place}: {error}");
            CliError::new("io", Exit::Failed, text)
        };
        let mut line = Vec::new();
        let limit = self.max_line as u64 + 2;
        let read = input.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(error, place))? == 0 {
            if self.from_line > place.line {
                let text = format!(
                    "{place} is the last; the log has line {} as imported from there",
                    self.from_line
                );
                return Err(CliError::usage(text));
            }
            self.from_line = 0;
            self.next_file()?;
            return Ok(None);
        }
        place.line += 1;
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        line.pop_if(|last| *last == b'\r');
        let mut actual = line.len();
        if actual > self.max_line && !ended {
            actual += input.skip_until(b'\n').map_err(|error| failed(error, place))?;
        }
        self.bytes += actual as u64;
        self.digest.update(&line);
        self.digest.update((actual as u64).to_be_bytes());
        Ok(Some((line, actual)))
    }

    /// The next object, or what is none; `None` at a file's end.
    fn next_piece(&mut self) -> Result<Option<Result<Vec<u8>, EventError>>, CliError> {
        let Some(pieces) = &mut self.pieces else { return Ok(None) };
        let found = loop {
            if let Some(found) = self.ready.take() {
                break found;
            }
            let Some(input) = &mut self.current else { return Ok(None) };
            let mut rest = input.fill_buf().map_err(|error| {
                let text = format!("the input cannot be read after {}: {error}", self.place);
                CliError::new("io", Exit::Failed, text)
            })?;
            let before = rest.len();
            let found = pieces.next(&mut rest);
            let read = before - rest.len();
            input.consume(read);
            match found.or_else(|| if before == 0 { pieces.end() } else { None }) {
                Some(found) => break found,
                None if before == 0 => {
                    pieces.restart();
                    self.next_file()?;
                    return Ok(None);
                }
                None => {}
            }
        };
        self.place.line = found.line;
        self.place.record = self.place.record.map(|record| record + 1);
        let (text, size): (&[u8], usize) = match &found.piece {
            Piece::Object(text) => (text, text.len()),
            Piece::TooLong(bytes) => (b"", *bytes),
            Piece::Bad(what) => (what.as_bytes(), usize::MAX),
        };
        self.bytes += text.len() as u64;
        self.digest.update(text);
        self.digest.update((size as u64).to_be_bytes());
        Ok(Some(match found.piece {
            Piece::Object(text) => Ok(text),
            Piece::TooLong(actual) => Err(EventError::LineTooLong { actual }),
            Piece::Bad(what) => Err(EventError::Malformed(what)),
        }))
    }

    /// The next line that is not blank; `None` at the end. A line too long is
    /// passed over and told as such, without being held in memory.
    pub(super) fn next(&mut self) -> Result<Option<PlacedLine>, CliError> {
        while self.current.is_some() {
            if self.pieces.is_some() {
                match self.next_piece()? {
                    Some(piece) => return Ok(Some((self.place.clone(), piece))),
                    None => continue,
                }
            }
            let Some((line, actual)) = self.next_line()? else { continue };
            if self.place.line < self.from_line {
                continue;
            }
            if line.len() > self.max_line {
                return Ok(Some((self.place.clone(), Err(EventError::LineTooLong { actual }))));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.place.clone(), Ok(line))));
            }
        }
        Ok(None)
    }
}

fn unopened(path: &Path, error: &io::Error) -> CliError {
    let mut new = CliError::io("read", path, error);
    new.exit = Exit::Usage;
    new
}
