//! Commands to be copied: with the flags that were typed, and every name quoted. A bucket's
//! folders, and hosts, are named by others.

use std::path::Path;

/// One word for a shell, whatever it holds.
pub(super) fn quoted(text: &str) -> String {
    // Only a NUL cannot be quoted, and no argument can hold one.
    shlex::try_quote(text).map_or_else(|_| "''".to_owned(), std::borrow::Cow::into_owned)
}

/// ` --flag VALUE`, where there is one.
pub(super) fn flag(name: &str, value: Option<&Path>) -> String {
    value.map_or_else(String::new, |value| format!(" {name} {}", quoted(&value.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_act_on_is_quoted() {
        assert_eq!(
            quoted("s3://acme/web-1/0123/20260101_000000"),
            "s3://acme/web-1/0123/20260101_000000"
        );
        for name in ["$(reboot)", "a b", "`id`", "a;b", "it's", "a|b", "~x", "*", ""] {
            let text = quoted(name);
            assert_eq!(shlex::split(&text).as_deref(), Some(&[name.to_owned()][..]), "{text}");
            assert_ne!(text, name);
        }
        assert_eq!(
            flag("--output-dir", Some(Path::new("/mnt/my disk"))),
            " --output-dir '/mnt/my disk'"
        );
        assert_eq!(flag("--output-dir", None), "");
    }
}
