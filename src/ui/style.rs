//! Colour, and text that is safe to show.

use std::borrow::Cow;

use anstyle::AnsiColor;

use crate::audit::record::sanitize::escape_for_terminal;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// All well.
    Good,
    /// To be looked at.
    Warning,
    /// Bad.
    Bad,
    /// Not known.
    Unknown,
    /// A heading.
    Strong,
    /// What may be passed over.
    Faint,
}

impl Style {
    fn ansi(self) -> anstyle::Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Unknown => AnsiColor::Magenta.on_default(),
            Self::Strong => anstyle::Style::new().bold(),
            Self::Faint => anstyle::Style::new().dimmed(),
        }
    }
}

/// The text in that style, or as it is without colour. Does not escape.
#[must_use]
pub fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour {
        let ansi = style.ansi();
        format!("{}{text}{}", ansi.render(), ansi.render_reset())
    } else {
        text.to_owned()
    }
}

/// Text from outside (a path, a name that came with an event), so that it cannot
/// command the terminal.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_for_terminal(text)
}
