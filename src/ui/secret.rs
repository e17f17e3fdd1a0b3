//! Asking for a secret on the terminal, without showing it.

use std::io::{self, Write};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;

/// Gives the terminal back however asking ends.
struct Raw;

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal is gone if this fails.
        let _ = terminal::disable_raw_mode();
        let _ = io::stderr().write_all(b"\r\n");
    }
}

/// What is typed until Enter; `None` when it is interrupted (Ctrl-C, Ctrl-D, Esc).
///
/// # Errors
/// When the terminal cannot be used.
pub fn ask_secret(prompt: &str) -> io::Result<Option<String>> {
    io::stderr().write_all(format!("{prompt}: ").as_bytes())?;
    terminal::enable_raw_mode()?;
    let _raw = Raw;
    let mut text = String::new();
    loop {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match typed(key, &mut text) {
                Typed::More => {}
                Typed::Done => return Ok(Some(text)),
                Typed::Interrupted => return Ok(None),
            },
            Event::Paste(pasted) => text.push_str(&pasted),
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Typed {
    More,
    Done,
    Interrupted,
}

fn typed(key: KeyEvent, text: &mut String) -> Typed {
    match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
        (KeyCode::Enter, _) | (KeyCode::Char('j' | 'm'), true) => return Typed::Done,
        (KeyCode::Esc, _) | (KeyCode::Char('c' | 'd'), true) => return Typed::Interrupted,
        (KeyCode::Char('u'), true) => text.clear(),
        (KeyCode::Backspace, _) | (KeyCode::Char('h'), true) => {
            text.pop();
        }
        (KeyCode::Tab, _) => text.push('\t'),
        (KeyCode::Char(char), false) => text.push(char),
        _ => {}
    }
    Typed::More
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_the_text_and_end_it() {
        let mut text = String::new();
        let mut press = |code, control| {
            let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            let ended = typed(KeyEvent::new(code, modifiers), &mut text);
            (ended, text.clone())
        };
        press(KeyCode::Char('x'), false);
        press(KeyCode::Char('u'), true);
        press(KeyCode::Char('ä'), false);
        press(KeyCode::Char('b'), false);
        press(KeyCode::Backspace, false);
        assert_eq!(press(KeyCode::Left, false), (Typed::More, "ä".to_owned()));
        assert_eq!(press(KeyCode::Enter, false).0, Typed::Done);
        assert_eq!(press(KeyCode::Char('c'), true).0, Typed::Interrupted);
    }
}
