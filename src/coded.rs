//! Names of what a message is about, which stay: the tables in docs/codes.md.

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
