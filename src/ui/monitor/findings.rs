//! What `health` found, as lines: each with its code and, where there is room, with
//! all of its message and with what to do about it.

use super::pieces::{Piece, cut, wrapped};
use super::screen::{INDENT, Screen};
use crate::health::Status;
use crate::monitor::{Finding, Sample};
use crate::ui::health::status_style;
use crate::ui::style::{Style, escape};

/// What begins a hint.
const ARROW: &str = "    -> ";

/// How much of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// One line, cut where it is too long.
    Short,
    /// The same, and what to do about it.
    WithHint,
    /// All of the message, and what to do about it.
    Whole,
}

/// One finding, or what is known of the writer.
#[derive(Clone, Debug)]
pub(super) struct Told {
    short: Vec<Piece>,
    whole: Vec<Vec<Piece>>,
    hint: Vec<Vec<Piece>>,
    /// Of two lines for which there is not room, the one with the higher rank goes.
    pub(super) rank: u8,
    extent: Extent,
}

impl Told {
    pub(super) fn new(short: Vec<Piece>, whole: Vec<Vec<Piece>>, rank: u8) -> Self {
        Self { short, whole, hint: Vec::new(), rank, extent: Extent::Short }
    }

    /// The same with what to do about it.
    pub(super) fn hint(mut self, hint: Option<&str>, screen: &Screen) -> Self {
        let Some(hint) = hint else { return self };
        let room = screen.columns.saturating_sub(ARROW.len());
        let lines = wrapped(&escape(hint), room, room).into_iter().enumerate();
        self.hint = lines
            .map(|(at, text)| {
                let start = if at == 0 { ARROW.to_owned() } else { " ".repeat(ARROW.len()) };
                vec![Piece::plain(start), Piece::plain(text)]
            })
            .collect();
        self
    }

    fn height(&self, extent: Extent) -> usize {
        match extent {
            Extent::Short => 1,
            Extent::WithHint => 1 + self.hint.len(),
            Extent::Whole => self.whole.len() + self.hint.len(),
        }
    }

    /// Its lines, as far as it is shown.
    pub(super) fn lines(self) -> Vec<Vec<Piece>> {
        match self.extent {
            Extent::Short => vec![self.short],
            Extent::WithHint => std::iter::once(self.short).chain(self.hint).collect(),
            Extent::Whole => self.whole.into_iter().chain(self.hint).collect(),
        }
    }
}

/// Shows more of each as long as there is room: first what to do about the worst,
/// which is worth more than the `spare` least important numbers; then the rest.
pub(super) fn grow(told: &mut [Told], room: usize, spare: usize) {
    let worst = told.iter().filter(|told| told.rank <= 1).count();
    for (range, room) in [(0..worst, room + spare), (0..told.len(), room)] {
        for extent in [Extent::WithHint, Extent::Whole] {
            for at in range.clone() {
                let used: usize = told.iter().map(|told| told.height(told.extent)).sum();
                let more = told[at].height(extent).saturating_sub(told[at].height(told[at].extent));
                let grows = extent as u8 > told[at].extent as u8;
                if grows && used.saturating_add(more) <= room {
                    told[at].extent = extent;
                }
            }
        }
    }
}

/// What `health` has to say, but for the writer, whose line is there already.
pub(super) fn findings(sample: &Sample, screen: &Screen) -> Vec<Told> {
    let writer = sample.findings.iter().find(|finding| finding.component == "worker_thread");
    let mut hints: Vec<&str> = writer.and_then(|found| found.hint.as_deref()).into_iter().collect();
    let mut told = Vec::new();
    for (at, (finding, others)) in together(sample).into_iter().enumerate() {
        let code = finding.code.unwrap_or(finding.component);
        let also = match &others[..] {
            [] => String::new(),
            others => format!(" (also: {})", others.join(", ")),
        };
        let text = format!("{code}: {}{also}", escape(&finding.message));
        // The first two before any number, the rest after the important ones.
        let rank = if at < 2 { 1 } else { 9 };
        let hint = finding.hint.as_deref().filter(|hint| !hints.contains(hint));
        hints.extend(hint);
        told.push(one(finding.status, &text, rank, screen).hint(hint, screen));
    }
    told
}

/// Where several checks know nothing for the same reason, the first tells it for all.
fn together(sample: &Sample) -> Vec<(&Finding, Vec<&'static str>)> {
    let mut groups: Vec<(&Finding, Vec<&'static str>)> = Vec::new();
    for finding in sample.findings.iter().filter(|found| found.component != "worker_thread") {
        let same = groups
            .iter_mut()
            .find(|(first, _)| finding.status == Status::Unknown && first.code == finding.code);
        match same {
            Some((_, others)) => others.push(finding.component),
            None => groups.push((finding, Vec::new())),
        }
    }
    groups
}

fn one(status: Status, text: &str, rank: u8, screen: &Screen) -> Told {
    let word = status.as_str().to_uppercase();
    let room = screen.columns.saturating_sub(word.len() + 1);
    let head = |text: String| {
        vec![Piece::styled(word.clone(), status_style(status)), Piece::plain(format!(" {text}"))]
    };
    let mut lines = wrapped(text, room, screen.columns.saturating_sub(INDENT)).into_iter();
    let mut whole = vec![head(lines.next().unwrap_or_default())];
    whole.extend(lines.map(|line| vec![Piece::plain(format!("{}{line}", " ".repeat(INDENT)))]));
    Told::new(head(cut(text, room, screen.ascii)), whole, rank)
}

/// The checks that found nothing, for a screen with room to spare.
pub(super) fn healthy(sample: &Sample, screen: &Screen) -> Vec<Vec<Piece>> {
    let checks = sample.checks.iter().filter(|check| check.status == Status::Healthy);
    let lines = checks.map(|check| {
        let text = format!("{:<14} {}", check.component, escape(&check.message));
        let word = format!("{:<8} ", check.status.as_str());
        let room = screen.columns.saturating_sub(word.len());
        vec![
            Piece::styled(word, status_style(check.status)),
            Piece::styled(cut(&text, room, screen.ascii), Style::Faint),
        ]
    });
    lines.collect()
}
