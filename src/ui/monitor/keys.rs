//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::filter;
use super::tabs::Tab;
use crate::audit::read::query::Filter;

/// Rows that PgUp and PgDn move by.
const PAGE: usize = 10;
/// Characters of a filter, at most.
const MOST: usize = 200;

/// What a key asks for beside another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Nothing but that.
    Look,
    /// To end.
    Leave,
    /// To hold what is shown, or to go on.
    Pause,
    /// Other records.
    Filter(Box<Filter>),
}

/// Where the view stands by what was pressed.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) tab: Tab,
    /// Lines that are scrolled past.
    pub(super) scrolled: usize,
    /// Whether the keys are shown.
    pub(super) help: bool,
    /// The filter that holds.
    pub(super) filter: String,
    /// The one that is being typed.
    pub(super) typed: Option<String>,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

impl Keys {
    pub(super) fn press(&mut self, key: KeyEvent) -> Deed {
        if key.kind == KeyEventKind::Release {
            return Deed::Look;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Deed::Leave;
        }
        if self.typed.is_some() {
            return self.type_filter(key.code, control);
        }
        match key.code {
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Deed::Leave,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('p' | ' ') => return Deed::Pause,
            KeyCode::Char('/') => {
                self.show(Tab::Records);
                self.typed = Some(self.filter.clone());
            }
            KeyCode::Char(digit @ '1'..='4') => {
                self.show(Tab::ALL[digit as usize - '1' as usize]);
            }
            KeyCode::Tab | KeyCode::Right => self.show(self.tab.next(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.tab.next(Tab::ALL.len() - 1)),
            KeyCode::Up | KeyCode::Char('k') => self.scroll_back(1),
            KeyCode::PageUp => self.scroll_back(PAGE),
            KeyCode::Home => self.scrolled = 0,
            KeyCode::Down | KeyCode::Char('j') => self.scrolled += 1,
            KeyCode::PageDown => self.scrolled += PAGE,
            // As far as there is something: see `within`.
            KeyCode::End => self.scrolled = usize::MAX / 2,
            _ => {}
        }
        Deed::Look
    }

    fn show(&mut self, tab: Tab) {
        self.help = false;
        if self.tab != tab {
            (self.tab, self.scrolled) = (tab, 0);
        }
    }

    fn scroll_back(&mut self, by: usize) {
        self.scrolled = self.scrolled.saturating_sub(by);
    }

    /// Keeps the place within what there is to scroll.
    pub(super) fn within(&mut self, lines: usize, rows: usize) {
        self.scrolled = self.scrolled.min(lines.saturating_sub(rows));
    }

    fn type_filter(&mut self, code: KeyCode, control: bool) -> Deed {
        let Some(typed) = &mut self.typed else { return Deed::Look };
        match code {
            KeyCode::Esc => (self.typed, self.wrong) = (None, None),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char('u') if control => typed.clear(),
            KeyCode::Char(character) if !control && typed.chars().count() < MOST => {
                typed.push(character);
            }
            KeyCode::Enter => match filter::parse(typed) {
                Ok(filter) => {
                    self.filter = typed.trim().to_owned();
                    (self.typed, self.wrong, self.scrolled) = (None, None, 0);
                    return Deed::Filter(Box::new(filter));
                }
                Err(wrong) => self.wrong = Some(wrong),
            },
            _ => {}
        }
        Deed::Look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &mut Keys, code: KeyCode) -> Deed {
        keys.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_text(keys: &mut Keys, text: &str) {
        text.chars().for_each(|char| drop(press(keys, KeyCode::Char(char))));
    }

    #[test]
    fn keys_go_from_tab_to_tab_and_round() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Char('3'));
        assert_eq!(keys.tab, Tab::Findings);
        press(&mut keys, KeyCode::Tab);
        press(&mut keys, KeyCode::Right);
        assert_eq!(keys.tab, Tab::Now);
        press(&mut keys, KeyCode::BackTab);
        assert_eq!(keys.tab, Tab::Storage);
        press(&mut keys, KeyCode::End);
        keys.within(30, 20);
        assert_eq!(keys.scrolled, 10);
        press(&mut keys, KeyCode::PageUp);
        assert_eq!(keys.scrolled, 0);
    }

    #[test]
    fn escape_leaves_what_was_opened_last() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Char('?'));
        assert!(keys.help);
        assert_eq!(press(&mut keys, KeyCode::Esc), Deed::Look);
        assert!(!keys.help);
        press(&mut keys, KeyCode::Char('/'));
        type_text(&mut keys, "q");
        assert_eq!(keys.typed.as_deref(), Some("q"), "a letter of the filter, no wish to quit");
        assert_eq!(press(&mut keys, KeyCode::Esc), Deed::Look);
        assert_eq!((keys.typed.as_deref(), &*keys.filter), (None, ""));
        assert_eq!(press(&mut keys, KeyCode::Esc), Deed::Leave);
        press(&mut keys, KeyCode::Char('/'));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keys.press(control_c), Deed::Leave, "also while something is typed");
    }

    #[test]
    fn a_filter_holds_once_it_is_right_and_entered() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Char('/'));
        type_text(&mut keys, "details.n>=");
        assert_eq!(press(&mut keys, KeyCode::Enter), Deed::Look);
        assert!(keys.wrong.is_some() && keys.typed.is_some());
        keys.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        type_text(&mut keys, "actor=alicex");
        press(&mut keys, KeyCode::Backspace);
        let wanted = filter::parse("actor=alice").expect("right");
        assert_eq!(press(&mut keys, KeyCode::Enter), Deed::Filter(Box::new(wanted)));
        assert_eq!((&*keys.filter, keys.tab), ("actor=alice", Tab::Records));
        assert_eq!(keys.wrong, None);
    }
}
