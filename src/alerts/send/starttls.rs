//! The part of SMTP that is said in the clear, before STARTTLS.
//!
//! Whoever stands between may say anything here. So nothing is believed: an answer
//! is only ever a reason to go on to TLS or to try again later, and not one byte may
//! have come that TLS is not to read. A client that keeps such bytes takes what
//! somebody appended in the clear for the server's answers (RFC 3207 §6).

use std::io;

use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nobody says more than this before TLS.
const MAX_CLEAR_BYTES: usize = 16 << 10;

/// Why it did not come to TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClearError {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An answer that is none.
    #[error("its answer to {to} is not a mail server's answer")]
    Malformed {
        /// To what.
        to: &'static str,
    },
    /// It answers without an end.
    #[error("it sent more than {MAX_CLEAR_BYTES} bytes before TLS")]
    TooLong,
    /// It does not want to.
    #[error("it answered {code} {text} to {to}, before it had shown its certificate")]
    Unwilling {
        /// To what.
        to: &'static str,
        /// Its code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// No STARTTLS.
    #[error(
        "it offers no STARTTLS, so nothing was sent to it. If it speaks TLS from the start, set \
         smtp_tls = \"tls\""
    )]
    NotOffered,
    /// More than was asked for.
    #[error(
        "it sent more than its answer to {to} in the clear, as somebody would who wants to answer \
         in the server's place after TLS has begun"
    )]
    Appended {
        /// To what.
        to: &'static str,
    },
}

/// Greeting, EHLO and STARTTLS. After this the first byte that the server says is
/// one of TLS.
pub(super) async fn prepare(stream: &mut TcpStream, hello: &ClientId) -> Result<(), ClearError> {
    let mut clear = Clear { stream, read: 0, pending: Vec::new() };
    clear.answer("the connection").await?.expect(220)?;
    let offers = clear.ask("EHLO", &format!("EHLO {hello}\r\n")).await?.expect(250)?;
    let starttls = |line: &String| {
        line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))
    };
    if !offers.iter().any(starttls) {
        return Err(ClearError::NotOffered);
    }
    clear.ask("STARTTLS", "STARTTLS\r\n").await?.expect(220)?;
    clear.is_silent("STARTTLS")
}

struct Clear<'a> {
    stream: &'a mut TcpStream,
    /// So many bytes were read.
    read: usize,
    /// What was read of the answer so far.
    pending: Vec<u8>,
}

/// A whole answer.
struct Reply {
    to: &'static str,
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn expect(self, code: u16) -> Result<Vec<String>, ClearError> {
        if self.code == code {
            return Ok(self.lines);
        }
        let text = self.lines.join(" ");
        Err(ClearError::Unwilling { to: self.to, code: self.code, text })
    }
}

impl Clear<'_> {
    async fn ask(&mut self, to: &'static str, command: &str) -> Result<Reply, ClearError> {
        // What came before it was asked for answers nothing.
        self.is_silent(to)?;
        self.stream.write_all(command.as_bytes()).await?;
        self.answer(to).await
    }

    /// The next answer, and nothing behind it.
    async fn answer(&mut self, to: &'static str) -> Result<Reply, ClearError> {
        let mut reply = Reply { to, code: 0, lines: Vec::new() };
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.pending) {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let (code, last, text) = read(&line).ok_or(ClearError::Malformed { to })?;
                if !reply.lines.is_empty() && code != reply.code {
                    return Err(ClearError::Malformed { to });
                }
                reply.code = code;
                reply.lines.push(text);
                if last && self.pending.is_empty() {
                    return Ok(reply);
                }
                if last {
                    return Err(ClearError::Appended { to });
                }
            }
            let mut piece = [0; 1_024];
            let read = self.stream.read(&mut piece).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.read += read;
            if self.read > MAX_CLEAR_BYTES {
                return Err(ClearError::TooLong);
            }
            self.pending.extend_from_slice(&piece[..read]);
        }
    }

    /// Nothing has come that was not asked for. What comes later is read by TLS, which
    /// fails on it.
    fn is_silent(&self, to: &'static str) -> Result<(), ClearError> {
        match self.stream.try_read(&mut [0; 1]) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => Err(ClearError::Appended { to }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A line's code, whether it is the last, and its text.
fn read(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    let (last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return None,
    };
    Some((code, last, String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_answer_is_read_as_it_is_and_nothing_else_is_one() {
        let told = |line: &str| read(line.as_bytes());
        assert_eq!(told("250-mail\r\n"), Some((250, false, "mail".to_owned())));
        assert_eq!(told("220 go\n"), Some((220, true, "go".to_owned())));
        assert_eq!(told("250\r\n"), Some((250, true, String::new())));
        for no in ["", "\r\n", "25\r\n", "25x ok\r\n", "250+ok\r\n", "+50 ok\r\n", "\u{661}250 \n"]
        {
            assert_eq!(told(no), None, "{no:?}");
        }
    }
}
