//! Bodies that come compressed (`Content-Encoding`), unpacked as they come: a piece at
//! a time, so that what a few bytes unpack to is never in memory as a whole.

use std::io::{self, Write};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

/// What can be unpacked, as `Accept-Encoding` of a refusal says it.
pub(super) const ACCEPTED: &str = "gzip, zstd";
/// Unpacked at a time, at most; a little more of gzip.
const PIECE_BYTES: usize = 32 << 10;
/// Given to the decoder at a time: the rest of the collector gets its turn in between.
const BITE_BYTES: usize = 4 << 10;
/// What a gzip decoder holds: its window, what it has unpacked, a header's texts.
const GZIP_BYTES: usize = 384 << 10;
/// The largest window of zstd that a sender may count on over HTTP (RFC 9659) …
const ZSTD_WINDOW_LOG: u32 = 23;
/// … and what a decoder with it holds at most.
const ZSTD_BYTES: usize = (1 << ZSTD_WINDOW_LOG) + (1 << 20);

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// What the headers say; `Err` with what they say when that cannot be unpacked.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut found = Self::Plain;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for coding in text.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
                let coding = match &*coding.to_ascii_lowercase() {
                    "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "zstd" => Self::Zstd,
                    _ => return Err(text.into_owned()),
                };
                // One in the other is what a bomb is made of.
                if found != Self::Plain {
                    return Err(text.into_owned());
                }
                found = coding;
            }
        }
        Ok(found)
    }

    /// What unpacking it holds in memory, at most.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Gzip => GZIP_BYTES,
            Self::Zstd => ZSTD_BYTES,
        }
    }

    pub(super) fn decoder(self) -> io::Result<Option<Decoder>> {
        let unpacker = match self {
            Self::Plain => return Ok(None),
            Self::Gzip => Unpacker::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Self::Zstd => {
                let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
                let mut context = DCtx::try_create().ok_or_else(out_of_memory)?;
                context
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|code| io::Error::other(get_error_name(code)))?;
                Unpacker::Zstd { context, is_whole: true }
            }
        };
        Ok(Some(Decoder { unpacker, packed: Bytes::new() }))
    }
}

enum Unpacker {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// `is_whole`: what came ends with a frame.
    Zstd {
        context: DCtx<'static>,
        is_whole: bool,
    },
}

/// Unpacks what it is given, members or frames one after the other.
pub(super) struct Decoder {
    unpacker: Unpacker,
    packed: Bytes,
}

impl Decoder {
    /// Takes the next part, once all of the one before has been unpacked.
    pub(super) fn feed(&mut self, part: Bytes) {
        debug_assert!(self.packed.is_empty(), "a part would be lost");
        self.packed = part;
    }

    /// The next piece of what was fed, which may be empty; `None` when all of it is out.
    pub(super) fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match &mut self.unpacker {
            Unpacker::Gzip(decoder) => {
                if self.packed.is_empty() {
                    return Ok(None);
                }
                let bite = &self.packed[..self.packed.len().min(BITE_BYTES)];
                #[expect(clippy::disallowed_methods, reason = "a part at a time is what is wanted")]
                let eaten = decoder.write(bite)?;
                if eaten == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                drop(self.packed.split_to(eaten));
                Ok(Some(std::mem::take(decoder.get_mut())))
            }
            Unpacker::Zstd { context, is_whole } => {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let bite = &self.packed[..self.packed.len().min(BITE_BYTES)];
                // With nothing left to feed there may still be something to come out.
                if bite.is_empty() && *is_whole {
                    return Ok(None);
                }
                let mut input = InBuffer::around(bite);
                let mut output = OutBuffer::around(&mut piece);
                let hint = context
                    .decompress_stream(&mut output, &mut input)
                    .map_err(|code| io::Error::other(get_error_name(code)))?;
                let eaten = input.pos();
                *is_whole = hint == 0;
                if eaten == 0 && piece.is_empty() {
                    return if bite.is_empty() {
                        Ok(None)
                    } else {
                        Err(io::ErrorKind::InvalidData.into())
                    };
                }
                drop(self.packed.split_to(eaten));
                Ok(Some(piece))
            }
        }
    }

    /// The last piece, once nothing more comes.
    ///
    /// # Errors
    /// When the last member or frame is not whole.
    pub(super) fn end(self) -> io::Result<Vec<u8>> {
        match self.unpacker {
            Unpacker::Gzip(decoder) => decoder.finish(),
            Unpacker::Zstd { is_whole: true, .. } => Ok(Vec::new()),
            Unpacker::Zstd { is_whole: false, .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("packed");
        encoder.finish().expect("packed")
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).expect("packed")
    }

    fn unpack(coding: Coding, packed: &[u8], step: usize) -> io::Result<Vec<u8>> {
        let mut decoder = coding.decoder()?.expect("a coding");
        let mut text = Vec::new();
        for part in packed.chunks(step) {
            decoder.feed(Bytes::copy_from_slice(part));
            while let Some(piece) = decoder.piece()? {
                assert!(piece.len() <= 4 * PIECE_BYTES, "a piece of {} bytes", piece.len());
                text.extend_from_slice(&piece);
            }
        }
        text.extend_from_slice(&decoder.end()?);
        Ok(text)
    }

    /// C12.
    #[test]
    fn members_and_frames_are_unpacked_one_after_the_other_however_they_come() {
        let long = "a line of text\n".repeat(100_000);
        for (coding, pack) in [(Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Coding::Zstd, zstd)] {
            let packed = [pack(b"one\n"), pack(b""), pack(long.as_bytes()), pack(b"two")].concat();
            let expected = format!("one\n{long}two");
            for step in [1, 7, 4_096, packed.len()] {
                let text = unpack(coding, &packed, step).expect("unpacked");
                assert!(text == expected.as_bytes(), "{coding:?} by {step}");
            }
            for end in [1, 5, packed.len() / 2, packed.len() - 1] {
                assert!(unpack(coding, &packed[..end], 64).is_err(), "{coding:?} cut at {end}");
            }
            assert!(unpack(coding, b"{\"event_type\":\"x\"}", 5).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn a_window_larger_than_senders_may_use_over_http_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).expect("window");
        encoder.include_contentsize(false).expect("set");
        encoder.write_all(&b"x".repeat(10 << 20)).expect("packed");
        let packed = encoder.finish().expect("packed");
        let error = unpack(Coding::Zstd, &packed, 4_096).expect_err("too large a window");
        assert!(error.to_string().contains("too much memory"), "{error}");
    }

    #[test]
    fn what_the_headers_say_is_one_coding_that_is_known() {
        let coding = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of(&headers)
        };
        assert_eq!(coding(&[]), Ok(Coding::Plain));
        assert_eq!(coding(&["identity"]), Ok(Coding::Plain));
        assert_eq!(coding(&["GZip"]), Ok(Coding::Gzip));
        assert_eq!(coding(&["x-gzip, identity"]), Ok(Coding::Gzip));
        assert_eq!(coding(&["zstd"]), Ok(Coding::Zstd));
        for refused in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"], &["deflate"]] {
            assert!(coding(refused).is_err(), "{refused:?}");
        }
    }
}
