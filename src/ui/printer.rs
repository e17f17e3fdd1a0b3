//! Where output goes: data to stdout, everything else to stderr, colour decided
//! once.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::audit::record::sanitize::escape_for_terminal;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Prints.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    quiet: bool,
    verbose: bool,
    color: bool,
    /// What the environment says of the terminal's width.
    columns: Option<u16>,
}

impl Printer {
    /// Decides once what this process's output looks like; `no_color` is whether
    /// the environment asks for none.
    #[must_use]
    pub fn new(quiet: bool, verbose: bool, choice: ColorChoice, no_color: bool) -> Self {
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !no_color && io::stdout().is_terminal(),
        };
        Self { quiet, verbose, color, columns: None }
    }

    /// The same with the width that the environment asks for (`COLUMNS`).
    #[must_use]
    pub fn with_columns(self, columns: Option<u16>) -> Self {
        Self { columns: columns.filter(|columns| *columns > 0), ..self }
    }

    /// For what is said before the flags are known.
    #[must_use]
    pub fn plain() -> Self {
        Self { quiet: false, verbose: false, color: false, columns: None }
    }

    /// Whether data on stdout may be coloured.
    #[must_use]
    pub fn color(&self) -> bool {
        self.color
    }

    /// Whether a progress bar makes sense.
    #[must_use]
    pub fn progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether only what matters is wanted.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether details are wanted.
    #[must_use]
    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// Data, with a line end, to stdout.
    ///
    /// # Errors
    /// When stdout does not take it: `BrokenPipe` is the reader's own wish,
    /// anything else (a full disk) a failure.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// The same, of bytes that are not to be touched.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Waits so long, or until nobody reads stdout any more; whether that is so. The other
    /// end of a pipe or a socket is seen to go without anything being written.
    #[must_use]
    pub fn wait_or_reader_gone(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let out = io::stdout();
            // Nothing is asked about: that it broke is always told.
            let mut polled = [PollFd::new(&out, PollFlags::empty())];
            let told = poll(&mut polled, Timespec::try_from(left).ok().as_ref());
            let gone = polled[0].revents();
            match told {
                Ok(_) if gone.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) => {
                    return true;
                }
                Err(Errno::INTR) => {}
                // What cannot be polled is waited for without.
                Err(_) => std::thread::sleep(left),
                Ok(_) => {}
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    /// Whether data goes to a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// The columns that data has to fit: those that the environment asks for, as for a
    /// pager, else those of the terminal that it goes to.
    #[must_use]
    pub fn width(&self) -> Option<u16> {
        if self.columns.is_some() {
            return self.columns;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(size.ws_col).filter(|columns| *columns > 0)
    }

    /// A message to stderr, unless quiet. Losing it loses no data.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", harmless(text));
        }
    }

    /// An error or warning to stderr, also when quiet.
    pub fn error(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", harmless(text));
    }
}

/// Messages hold what others wrote: an event's key, a file's name, a cloud's
/// answer. None of it commands the terminal; lines stay lines.
fn harmless(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escape_for_terminal).collect();
    lines.join("\n")
}
