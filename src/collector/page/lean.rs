//! A script or a style sheet without what only its reader needs.

/// Without the lines that are a comment or empty, and without what lines begin with. A line's end
/// stays where it is: it means something in a script. The page's files have no text over several
/// lines, and no code behind a comment's end; a test looks.
pub(super) fn lean(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        if in_comment || begins {
            in_comment = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::Files;
    use super::*;

    #[test]
    fn comments_and_margins_go_and_code_stays() {
        let text = "// one\n/** two\n * three */\nlet a = 1; // four\n\n\tif (a)\n\t\tb = `//`;\n/* c */\n";
        assert_eq!(lean(text), "let a = 1; // four\nif (a)\nb = `//`;\n");
    }

    #[test]
    fn the_page_s_files_are_written_so_that_nothing_else_goes() {
        for name in Files::iter().filter(|name| name.ends_with(".js") || name.ends_with(".css")) {
            let file = Files::get(&name).expect("listed");
            let text = std::str::from_utf8(&file.data).expect("UTF-8");
            let mut in_comment = false;
            for line in text.lines().map(str::trim) {
                assert!(line.matches('`').count() % 2 == 0, "{name}: a text over lines: {line}");
                if in_comment || line.starts_with("/*") {
                    let end = line.find("*/");
                    assert!(end.is_none_or(|end| end + 2 == line.len()), "{name}: {line}");
                    in_comment = end.is_none();
                }
            }
            assert!(!in_comment, "{name}");
        }
    }
}
