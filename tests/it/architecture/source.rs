//! Rust source reduced to what the rules look at: comments, literals and test
//! code become blanks, line numbers stay.

/// One file of the tree under judgement.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the package, with `/`: `src/audit/write/log.rs`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Without comments, string and character literals; tests are still there.
    pub(crate) code: String,
    /// `code` without what only test builds contain.
    pub(crate) production: String,
    /// Modules declared here that only test builds contain: `tests`.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = blank_comments_and_literals(&text);
        let (production, test_modules) = blank_test_items(&code);
        Self { path, text, code, production, test_modules }
    }

    /// `src/audit/write/log.rs` is `["audit", "log"]`; `src/audit/mod.rs` is
    /// `["audit"]`; the crate root is empty.
    pub(crate) fn module(&self) -> Vec<String> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }

    pub(crate) fn is_main(&self) -> bool {
        self.path == "src/main.rs"
    }
}

/// A word, `::`, or a single other character, with its line from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_char)
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits blanked code. Lifetimes come out as `'` and a word.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_word_char(first) {
            rest.find(|c| !is_word_char(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if !first.is_whitespace() {
            found.push(Token { text, line });
        } else if first == '\n' {
            line += 1;
        }
        rest = after;
    }
    found
}

/// Replaces comments and the insides of literals by blanks, keeping newlines.
pub(crate) fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let after_word = at > 0 && is_word_char(chars[at - 1]);
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => quoted_end(&chars, at, '"'),
            '\'' => char_literal_end(&chars, at).unwrap_or(at),
            'r' | 'b' | 'c' if !after_word => prefixed_literal_end(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|at| chars[*at] == '\n').unwrap_or(chars.len())
}

/// Block comments nest in Rust.
fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `'x'` and `'\n'` are literals; `'a` in `&'a str` is a lifetime.
fn char_literal_end(chars: &[char], open: usize) -> Option<usize> {
    match (chars.get(open + 1)?, chars.get(open + 2)) {
        ('\\', _) => Some(quoted_end(chars, open, '\'')),
        (_, Some('\'')) => Some(open + 3),
        _ => None,
    }
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`; not `r#type`.
fn prefixed_literal_end(chars: &[char], from: usize) -> Option<usize> {
    let letters =
        (from..chars.len()).take_while(|at| matches!(chars[*at], 'r' | 'b' | 'c')).count();
    let after = from + letters;
    let raw = chars[after - 1] == 'r';
    let hashes = (after..chars.len()).take_while(|at| raw && chars[*at] == '#').count();
    let open = after + hashes;
    match chars.get(open)? {
        '\'' if chars[from] == 'b' && letters == 1 => char_literal_end(chars, open),
        '"' if !raw => Some(quoted_end(chars, open, '"')),
        '"' => {
            let closes = |at: &usize| {
                chars[*at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'))
            };
            Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
        }
        _ => None,
    }
}

/// Blanks each item under `#[cfg(test)]` (or `cfg(all(test, …))`, `#[test]`),
/// and names the modules among them. Expects blanked literals.
pub(crate) fn blank_test_items(code: &str) -> (String, Vec<String>) {
    let mut bytes = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find('#').map(|offset| at + offset) {
        let inner = code[start + 1..].starts_with('!');
        let Some(end) = attribute_end(code, start) else {
            at = start + 1;
            continue;
        };
        at = end;
        if !is_test_attribute(&code[start..end]) {
            continue;
        }
        let item = item_start(code, end);
        at = if inner { code.len() } else { item_end(code, item) };
        modules.extend(module_name(&code[item..at]));
        for byte in &mut bytes[start..at] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    let blanked =
        String::from_utf8(bytes).expect("whole items are blanked, so characters stay whole");
    (blanked, modules)
}

/// Where `#[…]` or `#![…]` ends.
fn attribute_end(code: &str, start: usize) -> Option<usize> {
    let after = code[start + 1..].strip_prefix('!').unwrap_or(&code[start + 1..]);
    after.starts_with('[').then(|| {
        let open = code.len() - after.len();
        closing(code, open)
    })
}

fn is_test_attribute(attribute: &str) -> bool {
    let bare: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = bare.replacen("#!", "#", 1);
    bare == "#[test]" || bare == "#[cfg(test)]" || bare.starts_with("#[cfg(all(test,")
}

/// Past the other attributes of what an attribute stands on.
fn item_start(code: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        match attribute_end(code, at).filter(|_| code[at..].starts_with('#')) {
            Some(end) => at = end,
            None => return at,
        }
    }
}

/// The end of an item: its first block's, or a `;`, or (fields, variants, arms)
/// a `,`.
fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    let word = code[at..].split(|c| !is_word_char(c)).next().unwrap_or_default();
    let is_item = matches!(
        word,
        "pub"
            | "fn"
            | "mod"
            | "use"
            | "struct"
            | "enum"
            | "impl"
            | "const"
            | "static"
            | "type"
            | "trait"
            | "unsafe"
            | "async"
            | "extern"
            | "let"
    );
    while at < code.len() {
        match code.as_bytes()[at] {
            b'{' => return closing(code, at),
            b'(' | b'[' => at = closing(code, at),
            b';' => return at + 1,
            b',' if !is_item => return at + 1,
            b'}' | b')' | b']' => return at,
            _ => at += 1,
        }
    }
    code.len()
}

/// Just past the bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}

fn module_name(item: &str) -> Option<String> {
    let words = tokens(item);
    let at = words.iter().take(5).position(|word| word.text == "mod")?;
    words.get(at + 1).map(|name| name.text.to_owned())
}
