//! The input: files one after the other, plain or gzip, or standard input, line by
//! line, and what becomes of a line.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::audit::{Event, EventError, EventLimits, ParseMode};
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::fsio::{Fs, OpenMode, OsFs};

/// Where a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file's name, without its directory; `-` is standard input.
    pub(super) file: Arc<str>,
    /// From 1.
    pub(super) line: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { file: "-".into(), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
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
    pub(super) mode: ParseMode,
    pub(super) settings: &'a Settings,
}

impl Translate for Ndjson<'_> {
    fn line(
        &mut self,
        _: &Place,
        line: Result<Vec<u8>, EventError>,
    ) -> Result<Vec<Vec<u8>>, EventError> {
        let line = line?;
        check(&line, self.mode, self.settings)?;
        Ok(vec![line])
    }
}

/// Checks a line as the collector will.
pub(super) fn check(line: &[u8], mode: ParseMode, settings: &Settings) -> Result<(), EventError> {
    let limits = EventLimits { max_details_bytes: settings.max_details_size.0 as usize };
    Event::from_json(line, mode)?.check(&limits).map(|_| ())
}

/// A line with its place, or why it is none.
type PlacedLine = (Place, Result<Vec<u8>, EventError>);

/// The input, line by line, with their places.
pub(super) struct Lines {
    files: VecDeque<PathBuf>,
    current: Option<BufReader<Box<dyn Read>>>,
    place: Place,
    /// Lines before this one are passed over, in the first file.
    from_line: u64,
    max_line: usize,
    read: Rc<Cell<u64>>,
    /// Bytes altogether, where that is known.
    pub(super) length: Option<u64>,
}

impl Lines {
    /// # Errors
    /// When a file is not there, or the first one cannot be opened.
    pub(super) fn open(files: Vec<PathBuf>, max_line: usize) -> Result<Self, CliError> {
        let mut length = Some(0);
        for file in files.iter().filter(|file| *file != Path::new("-")) {
            let meta = OsFs.meta(file).map_err(|error| unopened(file, &error))?;
            length = length.filter(|_| meta.is_file).map(|length| length + meta.len);
        }
        let length = length.filter(|length| *length > 0);
        let mut lines = Self {
            files: files.into(),
            current: None,
            place: Place::default(),
            from_line: 0,
            max_line,
            read: Rc::default(),
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

    /// Bytes of the files that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    fn next_file(&mut self) -> Result<(), CliError> {
        self.current = None;
        let Some(path) = self.files.pop_front() else { return Ok(()) };
        let input: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            self.file(&path).map_err(|error| unopened(&path, &error))?
        };
        self.current = Some(BufReader::with_capacity(256 * 1024, input));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        self.place = Place { file: name.into(), line: 0 };
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let file = OsFs.open(path, OpenMode::Read)?;
        let mut begin = [0; 2];
        let zipped = file.read_exact_at(&mut begin, 0).is_ok() && begin == [0x1f, 0x8b];
        let whole = Whole { file, offset: 0, read: Rc::clone(&self.read) };
        // What comes out is bounded line by line.
        Ok(if zipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
    }

    /// Whether the next line is there without waiting for it.
    pub(super) fn has_whole_line(&self) -> bool {
        let buffered = self.current.as_ref().map(BufReader::buffer);
        buffered.is_some_and(|buffer| memchr::memchr(b'\n', buffer).is_some())
    }

    /// The next line that is not blank; `None` at the end. A line too long is
    /// passed over and told as such, without being held in memory.
    pub(super) fn next(&mut self) -> Result<Option<PlacedLine>, CliError> {
        loop {
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
                continue;
            }
            place.line += 1;
            let ended = line.pop_if(|last| *last == b'\n').is_some();
            line.pop_if(|last| *last == b'\r');
            let too_long = line.len() > self.max_line;
            let mut actual = line.len();
            if too_long && !ended {
                actual += input.skip_until(b'\n').map_err(|error| failed(error, place))?;
            }
            if place.line < self.from_line {
                continue;
            }
            if too_long {
                return Ok(Some((place.clone(), Err(EventError::LineTooLong { actual }))));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((place.clone(), Ok(line))));
            }
        }
    }
}

fn unopened(path: &Path, error: &io::Error) -> CliError {
    let mut new = CliError::io("read", path, error);
    new.exit = Exit::Usage;
    new
}

/// A file read from its beginning.
struct Whole {
    file: Box<dyn crate::fsio::FsFile>,
    offset: u64,
    read: Rc<Cell<u64>>,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}
