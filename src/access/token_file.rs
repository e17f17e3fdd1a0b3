//! The file of tokens: one JSON object a line, replaced whole, changed by one
//! process at a time.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::token::{NameError, Token, check_name};
use crate::clock::Timestamp;
use crate::fsio::private::exposed;
use crate::fsio::{self, Fs, OsFs, lock, os};

/// A file holds at most so many tokens.
pub const MAX_TOKENS: usize = 1_000;
/// And so many bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// Why a token file cannot be used, or a token in it not be changed. Never holds
/// a secret, nor a line's content.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// There is none.
    #[error("there is no token file {path}")]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// The system's error.
    #[error("token file {path}: cannot {action}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is no regular file.
    #[error("token file {path}: not a regular file")]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("token file {path}: {what}")]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its mode, and what to do.
        what: String,
    },
    /// It holds a token as it is shown.
    #[error("token file {path}: it holds a plain token, not hashed ones")]
    Plain {
        /// Where.
        path: PathBuf,
    },
    /// A line is no token's.
    #[error("token file {path}, line {line}: {reason}")]
    Line {
        /// Where.
        path: PathBuf,
        /// Which.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The name is taken.
    #[error("token file {path}: there already is a token \"{name}\"{}", if *.revoked { ", revoked" } else { "" })]
    Exists {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
        /// Whether it was revoked.
        revoked: bool,
    },
    /// No token has that name.
    #[error("token file {path}: there is no token \"{name}\"")]
    Unknown {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
    },
    /// It cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No room for another.
    #[error("token file {path}: it holds {MAX_TOKENS} tokens, the most that it can")]
    Full {
        /// Where.
        path: PathBuf,
    },
}

impl TokenFileError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => {
                "make the first token: `auditctl token new --name NAME`".to_owned()
            }
            Self::Plain { path } => format!(
                "move {} away, make a token for each sender (`auditctl token new --name NAME`), \
                 and give it to that sender in place of the old one",
                path.display()
            ),
            Self::Exists { name, .. } => {
                format!("a name stands for one token for ever; choose another, such as {name}-2")
            }
            Self::Unknown { .. } => "run `auditctl token list` to see the tokens".to_owned(),
            Self::Full { .. } => {
                "remove the lines of tokens that were revoked long ago from the file".to_owned()
            }
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "run this as the collector's user (`sudo -u auditctl …`) or as root".to_owned()
            }
            _ => return None,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Missing { path }
            | Self::Io { path, .. }
            | Self::NotAFile { path }
            | Self::Exposed { path, .. }
            | Self::Plain { path }
            | Self::Line { path, .. }
            | Self::Exists { path, .. }
            | Self::Unknown { path, .. }
            | Self::Full { path } => Some(path),
            Self::Name(_) => None,
        }
    }
}

/// Reads the file and checks all of it.
///
/// # Errors
/// When it is not there, not private, or any line is wrong.
pub fn read_tokens(fs: &dyn Fs, path: &Path) -> Result<Vec<Token>, TokenFileError> {
    let failed = |source: io::Error| {
        let path = path.to_path_buf();
        match source.kind() {
            ErrorKind::NotFound => TokenFileError::Missing { path },
            _ => TokenFileError::Io { path, action: "read it", source },
        }
    };
    let meta = fs.meta(path).map_err(failed)?;
    if !meta.is_file {
        return Err(TokenFileError::NotAFile { path: path.to_path_buf() });
    }
    if let Some(what) = exposed(path, &meta) {
        return Err(TokenFileError::Exposed { path: path.to_path_buf(), what });
    }
    parse(path, &fs.read(path, MAX_BYTES).map_err(failed)?)
}

fn parse(path: &Path, content: &[u8]) -> Result<Vec<Token>, TokenFileError> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if !line.starts_with(b"{") {
            // A line of text that is no object: as the file was before there were several.
            return Err(TokenFileError::Plain { path: path.to_path_buf() });
        }
        let wrong = |reason: String| TokenFileError::Line {
            path: path.to_path_buf(),
            line: index + 1,
            reason,
        };
        let token: Token = serde_json::from_slice(line).map_err(|error| wrong(said(&error)))?;
        check_name(&token.name).map_err(|error| wrong(error.to_string()))?;
        if token.rate == Some(0) {
            return Err(wrong(
                "a rate of 0 would refuse everything; revoke the token instead".to_owned(),
            ));
        }
        if tokens.iter().any(|other| other.name == token.name) {
            return Err(wrong("another line has the same name".to_owned()));
        }
        if tokens.iter().any(|other| other.sha256 == token.sha256) {
            return Err(wrong("another line has the same SHA-256".to_owned()));
        }
        if tokens.len() == MAX_TOKENS {
            return Err(TokenFileError::Full { path: path.to_path_buf() });
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// What is wrong, without what the line holds.
fn said(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => {
            "not a token as this version writes it (name, role, created, sha256; expires, rate, revoked)"
        }
        _ => "not JSON",
    };
    format!("{what}, near column {}", error.column())
}

/// Who gets a token file that is not there yet.
#[derive(Clone, Copy, Debug)]
pub enum FirstTokenFor<'a> {
    /// Whoever makes it.
    Maker,
    /// Whoever owns this, the log's directory: root makes tokens for the
    /// collector's user.
    OwnerOf(&'a Path),
}

/// Adds a token. Nothing that another process adds at the same time is lost; a
/// crash leaves the file as it was, or with the token.
///
/// # Errors
/// When the name is taken, or the file cannot be read or replaced.
pub fn add_token(
    path: &Path,
    token: Token,
    first: FirstTokenFor<'_>,
) -> Result<(), TokenFileError> {
    check_name(&token.name)?;
    change(
        path,
        |tokens| {
            if let Some(other) = tokens.iter().find(|other| other.name == token.name) {
                let (path, name) = (path.to_path_buf(), token.name.clone());
                return Err(TokenFileError::Exists {
                    path,
                    name,
                    revoked: other.revoked.is_some(),
                });
            }
            if tokens.len() >= MAX_TOKENS {
                return Err(TokenFileError::Full { path: path.to_path_buf() });
            }
            tokens.push(token);
            Ok(())
        },
        first,
    )
}

/// Revokes a token; gives it as it is then. One that was revoked before stays so,
/// since then.
///
/// # Errors
/// When there is none of that name, or the file cannot be read or replaced.
pub fn revoke_token(path: &Path, name: &str, now: Timestamp) -> Result<Token, TokenFileError> {
    change(
        path,
        |tokens| {
            let token = named(path, tokens, name)?;
            token.revoked.get_or_insert(now);
            Ok(token.clone())
        },
        FirstTokenFor::Maker,
    )
}

/// Takes away a token that was just made and could not be handed over.
///
/// # Errors
/// As [`revoke_token`].
pub fn remove_token(path: &Path, name: &str) -> Result<(), TokenFileError> {
    change(
        path,
        |tokens| {
            named(path, tokens, name)?;
            tokens.retain(|token| token.name != name);
            Ok(())
        },
        FirstTokenFor::Maker,
    )
}

fn named<'a>(
    path: &Path,
    tokens: &'a mut [Token],
    name: &str,
) -> Result<&'a mut Token, TokenFileError> {
    let unknown = || TokenFileError::Unknown {
        path: path.to_path_buf(),
        name: name.chars().take(80).collect(),
    };
    tokens.iter_mut().find(|token| token.name == name).ok_or_else(unknown)
}

fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut Vec<Token>) -> Result<T, TokenFileError>,
    first: FirstTokenFor<'_>,
) -> Result<T, TokenFileError> {
    let lock = lock::lock_for_change(path).map_err(io_error(path, "lock it"))?;
    let (mut tokens, exists) = match read_tokens(&OsFs, path) {
        _ if lock.is_new() => (Vec::new(), false),
        Ok(tokens) => (tokens, true),
        Err(TokenFileError::Missing { .. }) => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    let value = change(&mut tokens)?;
    let mut content = Vec::new();
    for token in &tokens {
        let line = serde_json::to_vec(token).map_err(io::Error::other);
        content.extend(line.map_err(io_error(path, "write it"))?);
        content.push(b'\n');
    }
    let written = match first {
        _ if exists => os::replace_file_for(path, &content, path),
        FirstTokenFor::OwnerOf(other) if OsFs.meta(other).is_ok() && is_root() => {
            os::replace_file_for(path, &content, other)
        }
        _ => fsio::replace_file(&OsFs, path, &content),
    };
    written.map_err(io_error(path, "write it"))?;
    drop(lock);
    Ok(value)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn io_error(path: &Path, action: &'static str) -> impl Fn(io::Error) -> TokenFileError {
    let path = path.to_path_buf();
    move |source| TokenFileError::Io { path: path.clone(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, Secret, digest};
    use std::os::unix::fs::PermissionsExt;

    fn token(name: &str) -> Token {
        Token {
            name: name.to_owned(),
            role: Role::Write,
            created: Timestamp::from_micros(1_000_000),
            expires: None,
            rate: None,
            revoked: None,
            sha256: Secret::generate().expect("randomness").digest(),
        }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tokens");
        (directory, path)
    }

    fn add(path: &Path, token: Token) -> Result<(), TokenFileError> {
        add_token(path, token, FirstTokenFor::Maker)
    }

    fn put(path: &Path, content: &str) {
        std::fs::write(path, content).expect("written");
        os::set_mode(path, 0o600).expect("mode");
    }

    #[test]
    fn a_token_is_added_found_and_revoked_and_its_name_stays_its_own() {
        let (_directory, path) = file();
        assert!(matches!(read_tokens(&OsFs, &path), Err(TokenFileError::Missing { .. })));
        let (one, two) = (token("one"), token("two"));
        add(&path, one.clone()).expect("added");
        add(&path, two.clone()).expect("added");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_tokens(&OsFs, &path).expect("read"), [one.clone(), two.clone()]);
        let now = Timestamp::from_micros(5);
        let revoked = revoke_token(&path, "one", now).expect("revoked");
        assert_eq!(revoked, Token { revoked: Some(now), ..one });
        let again = revoke_token(&path, "one", Timestamp::from_micros(9)).expect("no error");
        assert_eq!(again.revoked, Some(now));
        let taken = add(&path, token("one")).expect_err("taken");
        assert!(taken.to_string().contains("\"one\", revoked"), "{taken}");
        assert!(taken.hint().expect("what to do").contains("one-2"));
        assert!(matches!(
            revoke_token(&path, "three", now),
            Err(TokenFileError::Unknown { name, .. }) if name == "three"
        ));
        remove_token(&path, "two").expect("removed");
        assert_eq!(read_tokens(&OsFs, &path).expect("read"), [revoked]);
    }

    #[test]
    fn of_many_who_add_at_once_none_is_lost() {
        let (_directory, path) = file();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..10 {
                        add(path, token(&format!("t{thread}-{n}"))).expect("added");
                    }
                });
            }
        });
        assert_eq!(read_tokens(&OsFs, &path).expect("read").len(), 80);
        let names = OsFs.list(path.parent().expect("a directory")).expect("listed");
        assert_eq!(names, ["tokens"], "nothing else is left");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_to_do() {
        let (_directory, path) = file();
        add(&path, token("one")).expect("added");
        os::set_mode(&path, 0o644).expect("mode");
        let error = read_tokens(&OsFs, &path).expect_err("open to others").to_string();
        assert!(error.contains("0644") && error.contains("chmod 600"), "{error}");
        assert!(add(&path, token("two")).is_err(), "nor is it changed");
    }

    #[test]
    fn a_wrong_file_is_told_by_line_and_never_by_content() {
        let (_directory, path) = file();
        let secret = Secret::generate().expect("randomness");
        put(&path, &format!("{}\n", secret.reveal()));
        let error = read_tokens(&OsFs, &path).expect_err("plain");
        assert!(matches!(error, TokenFileError::Plain { .. }), "{error}");
        assert!(!error.to_string().contains(secret.reveal()));
        assert!(error.hint().expect("how to migrate").contains("token new"));
        let good = serde_json::to_string(&token("good")).expect("plain");
        for (line, says) in [
            ("{\"name\":\"hidden\"", "not JSON"),
            ("{\"name\":\"hidden\"}", "not a token"),
            (&good.replace("write", "hidden"), "not a token"),
            (&good.replace("\"good\"", "\"hidden name\""), "64 letters"),
            (&good.replace("\"sha256\"", "\"rate\":0,\"sha256\""), "revoke"),
            (&good, "same name"),
            (&good.replace("\"good\"", "\"other\""), "same SHA-256"),
        ] {
            put(&path, &format!("# made by hand\n\n{good}\n{line}\n"));
            let error = read_tokens(&OsFs, &path).expect_err(line).to_string();
            assert!(error.contains("line 4") && error.contains(says), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_file_has_room_for_a_thousand_tokens() {
        let (_directory, path) = file();
        let lines: String = (0..MAX_TOKENS)
            .map(|n| {
                let sha256 = digest(&n.to_le_bytes());
                let token = Token { sha256, ..token(&format!("t{n}")) };
                serde_json::to_string(&token).expect("plain") + "\n"
            })
            .collect();
        put(&path, &lines);
        assert_eq!(read_tokens(&OsFs, &path).expect("read").len(), MAX_TOKENS);
        assert!(matches!(add(&path, token("more")), Err(TokenFileError::Full { .. })));
    }
}
