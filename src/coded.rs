//! Names of what a message is about, which stay: the tables in docs/codes.md. And what others
//! said, fit for a message.

/// An enum whose variants each have a code for scripts and for whoever looks a message up.
///
/// It has `ALL`, and `code`. What else a table says of its codes stands beside it.
macro_rules! coded {
    (
        $(#[$meta:meta])* enum $name:ident;
        $($(#[doc = $doc:literal])+ $variant:ident = $code:literal),+ $(,)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $variant),+ }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name for scripts and for the table of codes; stays.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }
        }
    };
}
pub(crate) use coded;

/// A message with its code: `… [settings_kept]`.
#[must_use]
pub(crate) fn says(text: &str, code: &str) -> String {
    format!("{text} [{code}]")
}

/// Of an error with its causes so many characters are told.
#[cfg(any(feature = "alerts", feature = "witness"))]
const CHAIN_CHARS: usize = 400;

/// An error with its causes, each said once.
#[cfg(any(feature = "alerts", feature = "witness"))]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    shown(&text, CHAIN_CHARS)
}

/// What somebody else said, fit for a message.
#[cfg(any(feature = "alerts", feature = "witness"))]
pub(crate) fn shown(text: &str, chars: usize) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(chars).collect()
}
