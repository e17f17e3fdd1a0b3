//! The live view: a full screen that shows each new sample until it is left.
//!
//! Only what changed is drawn. The terminal is given back however the view ends:
//! by a key, a signal, an error or a panic.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style as CellStyle};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Paragraph;

use super::layout;
use super::pieces::cut;
use super::screen::Screen;
use crate::health::wording::age;
use crate::monitor::Sample;
use crate::ui::style::Style;

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

/// Shows the samples as they come, until q, Esc or Ctrl-C is pressed or `stop`
/// is set.
///
/// # Errors
/// When the terminal cannot be used.
pub fn live(samples: &Receiver<Sample>, options: &Live, stop: &AtomicBool) -> io::Result<()> {
    // Sets a panic hook that gives the terminal back, too.
    let mut terminal = ratatui::try_init()?;
    let shown =
        input().and_then(|input| View::new(*options).run(&mut terminal, &input, samples, stop));
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

struct View {
    options: Live,
    sample: Option<Sample>,
    came: Instant,
    /// Whole seconds that the next sample is late, as last shown.
    late: u64,
}

impl View {
    fn new(options: Live) -> Self {
        Self { options, sample: None, came: Instant::now(), late: 0 }
    }

    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        input: &Receiver<Event>,
        samples: &Receiver<Sample>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut changed = true;
        while !stop.load(Ordering::Relaxed) {
            while let Ok(sample) = samples.try_recv() {
                self.sample = Some(sample);
                self.came = Instant::now();
                changed = true;
            }
            let late = self.lateness();
            changed |= std::mem::replace(&mut self.late, late) != late;
            if changed {
                terminal.draw(|frame| {
                    let area = frame.area();
                    frame.render_widget(self.screen(area.width.into(), area.height.into()), area);
                })?;
                changed = false;
            }
            match input.recv_timeout(TICK) {
                Ok(Event::Key(key)) if leaves(key) => return Ok(()),
                Ok(Event::Resize(..)) => changed = true,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                // The terminal cannot be read any more.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Seconds beyond what a sample may take; 0 while all is well.
    fn lateness(&self) -> u64 {
        let since = self.came.elapsed();
        if since < self.options.refresh + self.options.deadline {
            0
        } else {
            since.as_secs().max(1)
        }
    }

    fn screen(&self, columns: usize, rows: usize) -> Paragraph<'static> {
        let rows = rows.saturating_sub(1);
        let screen = Screen { columns, rows: Some(rows), ascii: self.options.ascii };
        let mut lines: Vec<Line<'static>> = Vec::new();
        if self.late > 0 {
            let text = format!(
                "CRITICAL no answer from the file system for {}",
                age(Duration::from_secs(self.late))
            );
            let style = self.cell(Some(Style::Bad));
            lines.push(Line::styled(cut(&text, columns, screen.ascii), style));
        }
        if let Some(sample) = &self.sample {
            let room = Screen { rows: Some(rows.saturating_sub(lines.len())), ..screen };
            for line in layout::lines(sample, &room) {
                let spans = line.pieces.into_iter();
                lines.push(spans.map(|p| Span::styled(p.text, self.cell(p.style))).collect());
            }
        }
        lines.resize(rows, Line::default());
        let help = format!("q quit   every {} s", self.options.refresh.as_secs_f64());
        lines.push(Line::styled(cut(&help, columns, screen.ascii), self.cell(Some(Style::Faint))));
        Paragraph::new(Text::from(lines))
    }

    fn cell(&self, style: Option<Style>) -> CellStyle {
        let new = CellStyle::new();
        let Some(style) = style else { return new };
        let styled = match style {
            Style::Good => new.fg(Color::Green),
            Style::Warning => new.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Style::Bad => new.fg(Color::Red).add_modifier(Modifier::BOLD),
            Style::Unknown => new.fg(Color::Magenta),
            Style::Strong => new.add_modifier(Modifier::BOLD),
            Style::Faint => new.add_modifier(Modifier::DIM),
        };
        if self.options.color { styled } else { new }
    }
}

/// One sample's screen, as the view shows it.
#[cfg(test)]
pub(super) fn frame_lines(sample: &Sample, columns: usize, rows: usize) -> Paragraph<'static> {
    let seconds = Duration::from_secs;
    let options = Live { refresh: seconds(2), deadline: seconds(8), ascii: false, color: true };
    let mut view = View::new(options);
    view.sample = Some(sample.clone());
    view.screen(columns, rows)
}

fn leaves(key: KeyEvent) -> bool {
    if key.kind != KeyEventKind::Press {
        return false;
    }
    match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
