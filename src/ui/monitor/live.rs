//! The live view: a full screen that shows each new sample until it is left.
//!
//! Only what changed is drawn. The terminal is given back however the view ends:
//! by a key, a signal, an error or a panic.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::history::History;
use super::keys::{Deed, Keys};
use crate::audit::read::query::Filter;
use crate::monitor::{Newest, Sample};

/// Keys and signals are noticed within this time.
const TICK: Duration = Duration::from_millis(50);

/// How the live view is shown.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// A sample is due every so often.
    pub refresh: Duration,
    /// A sample so much too late is said to be missing.
    pub deadline: Duration,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
    /// Whether to use colour.
    pub color: bool,
}

/// Where what is shown comes from.
#[derive(Debug)]
pub struct Feed {
    /// The samples.
    pub samples: Receiver<Sample>,
    /// The newest records, and what else takes longer to see.
    pub newest: Receiver<Newest>,
    /// Which records these are to be from now on.
    pub filter: SyncSender<Filter>,
}

/// Shows what comes, until q, Esc or Ctrl-C is pressed or `stop` is set.
///
/// # Errors
/// When the terminal cannot be used.
pub fn live(feed: &Feed, options: &Live, stop: &AtomicBool) -> io::Result<()> {
    // Sets a panic hook that gives the terminal back, too.
    let mut terminal = ratatui::try_init()?;
    let shown =
        input().and_then(|input| View::new(*options).run(&mut terminal, &input, feed, stop));
    let restored = ratatui::try_restore();
    shown.and(restored)
}

/// Keys and resizes, from a thread of its own: reading the terminal waits in the
/// middle of an escape sequence, and goes round in circles on a terminal that was
/// closed. The thread ends with the process.
fn input() -> io::Result<Receiver<Event>> {
    let (sender, receiver) = mpsc::sync_channel(64);
    let body = move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(body)?;
    Ok(receiver)
}

/// What the view knows and where it stands.
pub(super) struct View {
    pub(super) options: Live,
    pub(super) keys: Keys,
    pub(super) sample: Option<Sample>,
    pub(super) newest: Newest,
    pub(super) history: History,
    /// What came since it was paused.
    held: Option<Sample>,
    held_newest: Option<Newest>,
    paused: Option<Instant>,
    came: Instant,
    /// Whole seconds that the next sample is late, and for which it is paused, as last shown.
    pub(super) late: u64,
    pub(super) paused_for: Option<u64>,
}

impl View {
    pub(super) fn new(options: Live) -> Self {
        Self {
            options,
            keys: Keys::default(),
            sample: None,
            newest: Newest::default(),
            history: History::default(),
            held: None,
            held_newest: None,
            paused: None,
            came: Instant::now(),
            late: 0,
            paused_for: None,
        }
    }

    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        input: &Receiver<Event>,
        feed: &Feed,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut changed = true;
        while !stop.load(Ordering::Relaxed) {
            while let Ok(sample) = feed.samples.try_recv() {
                self.take(sample);
                changed = true;
            }
            while let Ok(newest) = feed.newest.try_recv() {
                self.take_newest(newest);
                changed = true;
            }
            changed |= self.time_goes_on();
            if changed {
                terminal.draw(|frame| self.draw(frame))?;
                changed = false;
            }
            match input.recv_timeout(TICK) {
                Ok(Event::Key(key)) => {
                    match self.keys.press(key) {
                        Deed::Leave => return Ok(()),
                        Deed::Pause => self.pause(),
                        // Whoever looked has gone: what is there stays.
                        Deed::Filter(filter) => drop(feed.filter.try_send(*filter)),
                        Deed::Look => {}
                    }
                    changed = true;
                }
                Ok(Event::Resize(..)) => changed = true,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                // The terminal cannot be read any more.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self, sample: Sample) {
        self.came = Instant::now();
        self.history.add(&sample);
        let place = if self.paused.is_some() { &mut self.held } else { &mut self.sample };
        *place = Some(sample);
    }

    pub(super) fn take_newest(&mut self, newest: Newest) {
        if self.paused.is_some() {
            self.held_newest = Some(newest);
        } else {
            self.newest = newest;
        }
    }

    /// Holds what is shown, or goes on with what came meanwhile.
    pub(super) fn pause(&mut self) {
        if self.paused.take().is_none() {
            self.paused = Some(Instant::now());
            return;
        }
        if let Some(sample) = self.held.take() {
            self.sample = Some(sample);
        }
        if let Some(newest) = self.held_newest.take() {
            self.newest = newest;
        }
    }

    /// Whether time alone changes what is shown.
    fn time_goes_on(&mut self) -> bool {
        let since = self.came.elapsed();
        // Seconds beyond what a sample may take; 0 while all is well.
        let late = if since < self.options.refresh + self.options.deadline {
            0
        } else {
            since.as_secs().max(1)
        };
        let paused_for = self.paused.map(|paused| paused.elapsed().as_secs());
        let changed = (late, paused_for) != (self.late, self.paused_for);
        (self.late, self.paused_for) = (late, paused_for);
        changed
    }
}
