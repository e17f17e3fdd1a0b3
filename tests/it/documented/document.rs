//! A document's blocks of commands.

use regex::Regex;

/// What a block is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Sh,
    Crontab,
    Toml,
}

/// What a comment before a block says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Serve,
    Units,
    Cloud(String),
    Terminal(String),
    Exit(i32, String),
    Needs(String),
    When(String),
    Setting(String),
    Not(String),
    No,
}

impl Marker {
    fn parse(text: &str) -> Option<Self> {
        let quoted = |rest: &str| {
            let text = rest.trim().strip_prefix('`')?.strip_suffix('`')?;
            (!text.is_empty() && !text.contains('`')).then(|| text.to_owned())
        };
        let because = |rest: &str| {
            let (what, why) = rest.split_once(',')?;
            (why.trim().len() > 3).then(|| what.to_owned())
        };
        let (word, rest) = text.split_once([' ', ',']).unwrap_or((text, ""));
        Some(match word {
            "serve" if rest.is_empty() => Self::Serve,
            "units" if rest.is_empty() => Self::Units,
            "cloud" => Self::Cloud(quoted(rest)?),
            "terminal" => Self::Terminal(quoted(rest)?),
            "exit" => {
                let (code, rest) = rest.split_once(' ')?;
                Self::Exit(code.parse().ok()?, quoted(rest)?)
            }
            "needs" if !rest.is_empty() && !rest.contains(' ') => Self::Needs(rest.to_owned()),
            "when" => Self::When(quoted(rest)?),
            "setting" => Self::Setting(quoted(rest)?),
            "not" => Self::Not(quoted(&because(rest)?)?),
            "no" => because(text).map(|_| Self::No)?,
            _ => return None,
        })
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Cloud(text) | Self::Terminal(text) | Self::Exit(_, text) | Self::Not(text) => {
                Some(text)
            }
            Self::Serve
            | Self::Units
            | Self::Needs(_)
            | Self::When(_)
            | Self::Setting(_)
            | Self::No => None,
        }
    }

    pub(super) fn is_about(&self, command: &str) -> bool {
        self.text().is_some_and(|text| command.contains(text))
    }
}

/// A block of commands.
#[derive(Debug)]
pub(super) struct Block {
    /// `line 12`.
    pub(super) place: String,
    pub(super) language: Language,
    pub(super) markers: Vec<Marker>,
    pub(super) commands: Vec<String>,
    /// What they print, where the document says it.
    pub(super) prints: Option<String>,
}

impl Block {
    /// How many commands are not run.
    pub(super) fn left_out(&self) -> usize {
        if self.markers.contains(&Marker::No) {
            return self.commands.len();
        }
        let not = |command: &&String| {
            let about =
                |marker: &Marker| matches!(marker, Marker::Not(_)) && marker.is_about(command);
            self.markers.iter().any(about)
        };
        self.commands.iter().filter(not).count()
    }
}

/// The blocks of commands, in order.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut found: Vec<Block> = Vec::new();
    let mut markers = Vec::new();
    // Whether nothing but blank lines stands behind the last block of commands.
    let mut behind = false;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let place = format!("line {}", number + 1);
        if let Some(language) = line.strip_prefix("```") {
            let mut content = String::new();
            loop {
                match lines.next() {
                    None => return Err(format!("{place}: the block does not end")),
                    Some((_, "```")) => break,
                    Some((_, line)) => content += &format!("{line}\n"),
                }
            }
            let was_behind = std::mem::take(&mut behind);
            let language = match language {
                "sh" => Language::Sh,
                "crontab" => Language::Crontab,
                "toml" => Language::Toml,
                "text" if was_behind => {
                    found.last_mut().expect("one was found").prints = Some(content);
                    continue;
                }
                _ => continue,
            };
            let commands = match language {
                Language::Sh => shell(&content),
                Language::Crontab => cron(&content),
                Language::Toml => vec![content],
            };
            let block = Block {
                place,
                language,
                markers: std::mem::take(&mut markers),
                commands,
                prints: None,
            };
            about_something(&block)?;
            found.push(block);
            behind = true;
        } else if let Some(marker) = line.strip_prefix("<!-- run: ") {
            let marker = marker.strip_suffix(" -->").and_then(Marker::parse);
            markers.push(marker.ok_or_else(|| format!("{place}: not a marker: {line}"))?);
        } else if !markers.is_empty() && !line.starts_with("<!-- ") {
            return Err(format!("{place}: a marker has to stand right before its block"));
        } else if !line.is_empty() {
            behind = false;
        }
    }
    Ok(found)
}

fn about_something(block: &Block) -> Result<(), String> {
    for marker in &block.markers {
        if marker.text().is_some() && !block.commands.iter().any(|line| marker.is_about(line)) {
            return Err(format!("{}: {marker:?} is about no line", block.place));
        }
    }
    Ok(())
}

/// Lines, with what continues them: `\` at the end, a here-document.
fn shell(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut command = line.to_owned();
        while command.ends_with('\\') {
            let Some(next) = lines.next() else { break };
            command += &format!("\n{next}");
        }
        if command.contains("<<'EOF'") {
            for next in lines.by_ref() {
                command += &format!("\n{next}");
                if next == "EOF" {
                    break;
                }
            }
        }
        commands.push(command);
    }
    commands
}

/// Behind five fields and the user.
fn cron(text: &str) -> Vec<String> {
    let command = Regex::new(r"^\s*(?:@\w+|(?:\S+\s+){5})\s*(?:\S+)\s+(.*)$").expect("a pattern");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("=\""));
    lines.filter_map(|line| Some(command.captures(line)?.get(1)?.as_str().to_owned())).collect()
}

/// Whether that is what was printed.
pub(super) fn fits(expected: &str, printed: &str) -> bool {
    let mut pattern = String::from("^");
    for line in expected.lines() {
        if line == "…" {
            pattern += r"(?:.*\n)*?";
            continue;
        }
        let parts: Vec<String> = line.split('…').map(|part| regex::escape(&alike(part))).collect();
        pattern += &format!("{}\n", parts.join(".*"));
    }
    pattern += "$";
    let printed: String =
        printed.lines().map(|line| alike(line).trim_end().to_owned() + "\n").collect();
    Regex::new(&pattern).expect("a pattern").is_match(&printed)
}

/// The text of a picture that docs/screens/record.py drew, without the ids of its keys.
pub(super) fn drawn(svg: &str) -> String {
    let tags = Regex::new("<[^>]*>").expect("a pattern");
    let key_ids = Regex::new(r"\+[0-9a-f]{8}\b").expect("a pattern");
    let lines = svg.lines().filter(|line| line.starts_with("<text "));
    lines
        .map(|line| {
            let text = tags.replace_all(line, "");
            let text = key_ids.replace_all(&text, "+0");
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") + "\n"
        })
        .collect()
}

/// Numbers, hashes and widths of columns differ from run to run.
fn alike(text: &str) -> String {
    let hashes = Regex::new(r"\b[0-9a-f]{12,}\b").expect("a pattern");
    let numbers = Regex::new(r"\d[\d,._]*\d|\d").expect("a pattern");
    let spaces = Regex::new(r" {2,}").expect("a pattern");
    let text = hashes.replace_all(text, "H");
    let text = numbers.replace_all(&text, "0");
    spaces.replace_all(&text, " ").trim_end().to_owned()
}
