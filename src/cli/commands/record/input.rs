//! What a file or standard input holds, made readable by what it begins with: gzip and
//! zstd are unpacked, UTF-16 becomes UTF-8, a byte order mark goes. Names say nothing.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::fsio::{FileMeta, Fs, OsFs, given};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_LITTLE: &[u8] = b"\xff\xfe";
const UTF16_BIG: &[u8] = b"\xfe\xff";
/// What unpacking zstd may hold: as much as `zstd` itself allows without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Whether this is standard input, by whatever name.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// A text, with what of it has come.
pub(super) type Input = BufReader<Box<dyn Read + Send>>;

/// Opens an input; `read` counts what is read of it. Nothing is read yet: the first of it
/// may be long in coming.
pub(super) fn open(path: &Path, read: Arc<AtomicU64>) -> io::Result<Input> {
    let text: Box<dyn Read + Send> = if is_stdin(path) {
        Box::new(Unread::new(move || readable(Counted { inner: io::stdin(), read })))
    } else {
        let (inner, _) = given::open(path)?;
        Box::new(Unread::new(move || readable(Counted { inner, read })))
    };
    Ok(BufReader::with_capacity(256 << 10, text))
}

/// What is at a path, if it can be read again from its beginning: no pipe, no device.
pub(super) fn regular(path: &Path) -> io::Result<Option<FileMeta>> {
    if is_stdin(path) {
        return Ok(None);
    }
    let meta = OsFs.meta(path)?;
    Ok(Some(meta).filter(|meta| meta.is_file))
}

type Begin = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// An input that is looked at when something of it is wanted.
enum Unread {
    Not(Option<Begin>),
    Begun(Box<dyn Read + Send>),
}

impl Unread {
    fn new(begin: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static) -> Self {
        Self::Not(Some(Box::new(begin)))
    }
}

impl Read for Unread {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Begun(text) => text.read(buffer),
            Self::Not(begin) => {
                let Some(begin) = begin.take() else { return Ok(0) };
                let mut text = begin()?;
                let read = text.read(buffer);
                *self = Self::Begun(text);
                read
            }
        }
    }
}

fn readable(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (begin, input) = begin(input, &[GZIP, ZSTD, UTF8_MARK, UTF16_LITTLE, UTF16_BIG])?;
    match begin {
        Some(GZIP) => text(MultiGzDecoder::new(BufReader::new(input))),
        Some(ZSTD) => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            text(decoder)
        }
        _ => text(input),
    }
}

/// The text of what is not packed, or not any more.
fn text(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (begin, mut input) = begin(input, &[UTF8_MARK, UTF16_LITTLE, UTF16_BIG])?;
    let mark = begin.unwrap_or_default();
    input.read_exact(&mut vec![0; mark.len()])?;
    if mark == UTF16_LITTLE || mark == UTF16_BIG {
        let (input, is_big) = (BufReader::new(input), mark == UTF16_BIG);
        return Ok(Box::new(Utf16 { input, is_big, half: None, out: Vec::new(), at: 0, place: 0 }));
    }
    Ok(Box::new(input))
}

/// An input from its beginning, of which something was looked at.
type Whole<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Which of these an input begins with, and the input from its beginning. Nothing is
/// waited for that does not decide it.
fn begin<R: Read>(
    mut input: R,
    marks: &[&'static [u8]],
) -> io::Result<(Option<&'static [u8]>, Whole<R>)> {
    let mut begin = Vec::new();
    let found = loop {
        if let Some(mark) = marks.iter().find(|mark| **mark == begin) {
            break Some(*mark);
        }
        let may_be = marks.iter().any(|mark| mark.starts_with(&begin));
        let mut next = [0];
        if !may_be {
            break None;
        }
        match input.read_exact(&mut next) {
            Ok(()) => begin.push(next[0]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break None,
            Err(error) => return Err(error),
        }
    };
    Ok((found, Cursor::new(begin).chain(input)))
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// UTF-16, as UTF-8.
struct Utf16<R> {
    input: BufReader<R>,
    is_big: bool,
    /// The first half of a pair.
    half: Option<u16>,
    out: Vec<u8>,
    at: usize,
    /// Units read, for messages.
    place: u64,
}

/// So many units are made UTF-8 at a time, at most.
const UNITS: usize = 16 << 10;

impl<R: Read> Utf16<R> {
    fn refuse(&self, what: &str) -> io::Error {
        let text = format!("it is UTF-16 with {what} at byte {}", 2 + 2 * self.place);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    /// The next unit; `None` at the end.
    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut bytes = [0; 2];
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        if let Err(error) = self.input.read_exact(&mut bytes) {
            let cut = error.kind() == io::ErrorKind::UnexpectedEof;
            return Err(if cut { self.refuse("half a unit, the last") } else { error });
        }
        Ok(Some(if self.is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }))
    }

    fn fill(&mut self) -> io::Result<()> {
        (self.at, self.out) = (0, Vec::with_capacity(UNITS));
        while self.out.len() < UNITS {
            // What has come is given out before more is waited for.
            if !self.out.is_empty() && self.input.buffer().len() < 2 {
                return Ok(());
            }
            let Some(unit) = self.unit()? else {
                return match self.half {
                    Some(_) => Err(self.refuse("half a surrogate pair")),
                    None => Ok(()),
                };
            };
            let high = self.half.take();
            if high.is_none() && HIGH.contains(&unit) {
                self.half = Some(unit);
            } else {
                // A pair is one character; two halves that are none are an error, first.
                let pair = high.into_iter().chain([unit]);
                let Some(Ok(found)) = char::decode_utf16(pair).next() else {
                    return Err(self.refuse("half a surrogate pair"));
                };
                let mut utf8 = [0; 4];
                self.out.extend_from_slice(found.encode_utf8(&mut utf8).as_bytes());
            }
            self.place += 1;
        }
        Ok(())
    }
}

/// The first halves of pairs.
const HIGH: std::ops::Range<u16> = 0xd800..0xdc00;

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.out.len() {
            self.fill()?;
        }
        let part = buffer.len().min(self.out.len() - self.at);
        buffer[..part].copy_from_slice(&self.out[self.at..self.at + part]);
        self.at += part;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        readable(Cursor::new(bytes.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("packed");
        encoder.finish().expect("packed")
    }

    fn utf16(text: &str, is_big: bool) -> Vec<u8> {
        let units = std::iter::once('\u{feff}' as u16).chain(text.encode_utf16());
        units.flat_map(|u| if is_big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    }

    /// C12.
    #[test]
    fn what_an_input_is_is_told_by_its_first_bytes() {
        let text = format!("{{\"a\":\"\u{e4}\u{1f600}\"}}\n{}", "x\n".repeat(40_000));
        let zstd = |text: &[u8]| zstd::encode_all(text, 3).expect("packed");
        let marked = [UTF8_MARK, text.as_bytes()].concat();
        for (what, bytes) in [
            ("plain", text.clone().into_bytes()),
            ("marked", marked.clone()),
            ("UTF-16, little", utf16(&text, false)),
            ("UTF-16, big", utf16(&text, true)),
            ("gzip", gzip(text.as_bytes())),
            ("gzip of marked", gzip(&marked)),
            ("gzip of UTF-16", gzip(&utf16(&text, false))),
            ("zstd", zstd(text.as_bytes())),
            ("zstd of UTF-16", zstd(&utf16(&text, true))),
            ("members", [gzip(&text.as_bytes()[..9]), gzip(&text.as_bytes()[9..])].concat()),
            ("frames", [zstd(&text.as_bytes()[..9]), zstd(&text.as_bytes()[9..])].concat()),
        ] {
            assert!(read(&bytes).expect(what) == text, "{what}");
        }
        for short in ["", "{", "\u{1f}", "x"] {
            assert_eq!(read(short.as_bytes()).expect(short), short);
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error_and_never_a_shorter_text() {
        let text = b"{\"event_type\":\"a\"}\n".repeat(50);
        let whole = gzip(&text);
        assert!(read(&whole[..whole.len() - 1]).is_err());
        let whole = zstd::encode_all(&text[..], 3).expect("packed");
        assert!(read(&whole[..whole.len() - 1]).is_err());
        let whole = utf16("ab", false);
        let error = read(&whole[..whole.len() - 1]).expect_err("half a unit");
        assert!(error.to_string().contains("at byte 4"), "{error}");
        for units in [&[0xd800_u16, 0x41][..], &[0x41, 0xdc00], &[0x41, 0xd800]] {
            let bytes = units.iter().flat_map(|unit| unit.to_le_bytes());
            let bytes: Vec<u8> = UTF16_LITTLE.iter().copied().chain(bytes).collect();
            let error = read(&bytes).expect_err("half a pair");
            assert!(error.to_string().contains("surrogate"), "{error}");
        }
    }

    /// Says what it has only when it is asked again.
    struct Slow(Vec<&'static [u8]>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "nothing more may be waited for");
            let next = self.0.remove(0);
            buffer[..next.len()].copy_from_slice(next);
            Ok(next.len())
        }
    }

    #[test]
    fn a_line_that_has_come_is_given_out_before_more_is_waited_for() {
        let lines = readable(Slow(vec![b"{", b"}\n"])).expect("readable");
        let mut lines = BufReader::new(lines);
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line, "{}\n");
    }
}
