//! How much there is room for, and by what signs.

use super::pieces::{Piece, bar};

/// Columns of a line's name.
const LABEL: usize = 12;
const LABEL_NARROW: usize = 7;
/// A screen narrower than this is narrow.
const NARROW: usize = 60;
/// Further lines of a message begin so many columns in.
pub(super) const INDENT: usize = 4;
const BAR: usize = 24;
const BAR_NARROW: usize = 10;

/// Where it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) columns: usize,
    /// `None` where it is printed: there may be as many as there is something to say.
    pub(super) rows: Option<usize>,
    /// Whether only ASCII can be shown.
    pub(super) ascii: bool,
}

impl Screen {
    pub(super) fn narrow(&self) -> bool {
        self.columns < NARROW
    }

    pub(super) fn label(&self) -> usize {
        if self.narrow() { LABEL_NARROW } else { LABEL }
    }

    pub(super) fn bar(&self, percent: f64) -> Piece {
        let columns = if self.narrow() { BAR_NARROW } else { BAR };
        Piece::plain(format!("[{}]", bar(percent, columns, self.ascii)))
    }
}
