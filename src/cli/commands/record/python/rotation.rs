//! The order in which a rotated log was written: `audit.log-20240101.gz`,
//! `audit.log.3.gz`, `audit.log.2`, `audit.log.1`, `audit.log`.

use std::path::{Path, PathBuf};

use crate::cli::exit::{CliError, Exit};
use crate::fsio::{Fs, OsFs};

/// Whatever logs they belong to, the oldest file of each first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The name without what rotation adds, letters and digits alone.
    log: String,
    /// Dated files come before numbered ones, the current one last.
    kind: u8,
    date: String,
    /// The highest number is the oldest.
    number: std::cmp::Reverse<u64>,
    name: String,
}

/// Files, and what directories hold of `*.log*`, in the order in which they were written.
pub(super) fn ordered(given: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in given {
        let failed = |error: std::io::Error| {
            let mut new = CliError::io("read", path, &error);
            new.exit = Exit::Usage;
            new
        };
        if OsFs.meta(path).map_err(failed)?.is_file {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let names = match OsFs.list(path) {
            // A pipe.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                files.push(path.clone());
                continue;
            }
            listed => listed.map_err(failed)?,
        };
        for name in names {
            let inside = path.join(&name);
            let is_log = name.contains(".log") && OsFs.meta(&inside).is_ok_and(|meta| meta.is_file);
            files.extend(is_log.then_some(inside));
        }
        if files.len() == before {
            let text = format!("no file of {} has .log in its name", path.display());
            return Err(CliError::usage(text).hint("name the files themselves"));
        }
    }
    files.sort_by_cached_key(|path| place(&name_of(path)));
    files.dedup();
    Ok(files)
}

/// The file's name, for people and for the records.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn place(name: &str) -> Place {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let numbered = stem.rsplit_once('.').and_then(|(rest, digits)| {
        let is_number =
            (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| Some((rest, digits.parse::<u64>().ok()?))).flatten()
    });
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let (rest, number) = numbered.map_or((stem, None), |(rest, number)| (rest, Some(number)));
    let dated = dated(rest);
    let log = letters(&dated.as_ref().map_or(rest.to_owned(), |(rest, _)| rest.clone()));
    Place {
        log,
        kind: match (&dated, number) {
            (Some(_), _) => 0,
            (None, Some(_)) => 1,
            (None, None) => 2,
        },
        date: dated.map(|(_, date)| date).unwrap_or_default(),
        number: std::cmp::Reverse(number.unwrap_or(0)),
        name: name.to_owned(),
    }
}

/// The name without its date, and the date's digits: `20240105`, `2024-01-05_13-30-00`.
fn dated(name: &str) -> Option<(String, String)> {
    let bytes = name.as_bytes();
    let date_at = |at: usize| {
        let part = |from: usize, to: usize| {
            let digits = bytes.get(from..to)?;
            digits.iter().all(u8::is_ascii_digit).then_some(digits)
        };
        let year = part(at, at + 4).is_some_and(|year| matches!(&year[..2], b"19" | b"20"));
        let begins = at == 0 || !bytes[at - 1].is_ascii_digit();
        let whole = part(at, at + 8).is_some();
        let hyphens = bytes.get(at + 4) == Some(&b'-')
            && part(at + 5, at + 7).is_some()
            && bytes.get(at + 7) == Some(&b'-')
            && part(at + 8, at + 10).is_some();
        begins && year && (whole || hyphens)
    };
    let begin = (0..bytes.len()).find(|at| date_at(*at))?;
    let more = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'T' | b':');
    let length = bytes[begin..].iter().position(|byte| !more(byte)).unwrap_or(bytes.len() - begin);
    let digits = name[begin..begin + length].chars().filter(char::is_ascii_digit).collect();
    Some((format!("{}{}", &name[..begin], &name[begin + length..]), digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_and_the_current_one_last() {
        let expected = [
            "audit-20231231.log.gz",
            "audit_20240101_120000.log.gz",
            "audit.log.2024-01-02",
            "audit.log.2024-01-02_13-30-00",
            "audit.log-20240103.gz",
            "audit.log.10.gz",
            "audit.log.2.gz",
            "audit.log.1",
            "audit.log",
            "security.log.1",
            "security.log",
        ];
        let mut names = expected;
        names.reverse();
        names.sort_by_cached_key(|name| place(name));
        assert_eq!(names, expected);
    }

    #[test]
    fn a_directory_stands_for_its_logs() {
        let dir = tempfile::tempdir().expect("directory");
        for name in ["audit.log", "audit.log.1", "notes.txt", "audit.log.2.gz"] {
            std::fs::write(dir.path().join(name), "").expect("file");
        }
        let files = ordered(&[dir.path().to_path_buf()]).expect("files");
        let names: Vec<_> = files.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["audit.log.2.gz", "audit.log.1", "audit.log"]);
    }
}
