//! The input, cut into windows of events that are sent together.

use super::tally::Rejected;
use crate::audit::Batch;
use crate::cli::commands::record::lines::{Lines, Mark, Place, Translate};
use crate::cli::exit::CliError;

/// Events as they are sent, and where each comes from.
pub(super) type Events = Vec<(Place, Vec<u8>)>;

/// The most events in a window. It also ends once its lines reach `WINDOW_BYTES`.
pub(super) const WINDOW_EVENTS: usize = 1_000;
pub(super) const WINDOW_BYTES: usize = 512 * 1024;

/// Events that are sent together, and what is wrong with the line after them.
pub(super) struct Window {
    pub(super) events: Events,
    /// The same, encoded for the log that this process has open. `None` where they have to be
    /// looked at once more.
    pub(super) batch: Option<Batch>,
    /// The line that ends the window makes no event, or not only events.
    pub(super) bad: Vec<Rejected>,
    /// Where the events end.
    pub(super) mark: Mark,
    /// Where the window ends.
    pub(super) end: Mark,
}

/// What comes next.
pub(super) enum Next {
    Window(Box<Window>),
    /// Something that has not come yet.
    NotYet,
    End,
}

/// Where windows come from.
pub(super) trait Windows {
    /// The next window. Where `may_wait` is not set, it is only taken if it is there.
    ///
    /// # Errors
    /// The input cannot be read. All that came before it was handed out.
    fn next(&mut self, may_wait: bool) -> Result<Next, CliError>;
}

/// Windows of lines that are translated one after the other, in this thread.
pub(super) struct InTurn<'a> {
    lines: Lines,
    translate: &'a mut dyn Translate,
    /// How the input ended.
    ended: Option<Result<(), CliError>>,
}

impl<'a> InTurn<'a> {
    pub(super) fn new(lines: Lines, translate: &'a mut dyn Translate) -> Self {
        Self { lines, translate, ended: None }
    }
}

impl Windows for InTurn<'_> {
    fn next(&mut self, _: bool) -> Result<Next, CliError> {
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| Next::End);
        }
        let (mut events, mut bad) = (Events::new(), Vec::new());
        let mut bytes = 0;
        let mut mark = self.lines.mark();
        // What has come is sent before more is waited for: the input may be a
        // service that says something now and then.
        while events.len() < WINDOW_EVENTS
            && bytes < WINDOW_BYTES
            && (events.is_empty() || self.lines.has_whole_line())
        {
            let (place, line) = match self.lines.next() {
                Ok(Some(line)) => line,
                ended => {
                    self.ended = Some(ended.map(drop));
                    break;
                }
            };
            let outcome = self.translate.line(&place, line);
            let refused = self.translate.refused();
            bad.extend(refused.iter().map(|error| Rejected::of(place.clone(), error)));
            match outcome {
                Ok(made) => {
                    bytes += made.iter().map(Vec::len).sum::<usize>();
                    events.extend(made.into_iter().map(|event| (place.clone(), event)));
                    mark = self.lines.mark();
                }
                Err(error) => {
                    bad.push(Rejected::of(place, &error).seen(self.translate.shape()));
                }
            }
            if !bad.is_empty() {
                break;
            }
        }
        let end = self.lines.mark();
        Ok(Next::Window(Box::new(Window { events, batch: None, bad, mark, end })))
    }
}
