//! Tells the program which commit it is made of (`BUILT_COMMIT`) and for which target, for `--version`.
//!
//! There is no time of the build in it: the same sources give the same bytes. A debug build asks nobody and says
//! nothing, so that a commit does not make everything compile again.

use std::path::Path;
use std::process::Command;

/// Enough to be the only one of a project for long.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BUILT_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // Cargo sets it for each build script.
    println!("cargo:rustc-env=BUILT_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    if let Some(commit) = commit() {
        println!("cargo:rustc-env=BUILT_COMMIT={commit}");
    }
}

/// What a packager says it is; else what git says; else what `cargo package` noted.
fn commit() -> Option<String> {
    let said = std::env::var("BUILT_COMMIT").ok().filter(|said| !said.is_empty());
    if said.is_some() || std::env::var("PROFILE").as_deref() == Ok("debug") {
        return said;
    }
    from_git().or_else(from_package)
}

/// `0123456789ab 2026-02-04`, with `, modified` where a file that git knows is not as it was committed.
fn from_git() -> Option<String> {
    // Of another repository that these sources merely lie in, nothing is wanted.
    if !Path::new(".git").exists() {
        return None;
    }
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let hash = git(&["rev-parse", &format!("--short={COMMIT_DIGITS}"), "HEAD"])?;
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => git(&["show", "--no-patch", "--format=%ct", "HEAD"])?,
    };
    let date = date(seconds.trim().parse().ok()?);
    let modified = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(format!("{hash} {date}{}", if modified.is_empty() { "" } else { ", modified" }))
}

/// A crate from a registry has the hash in a file of `cargo package`'s.
fn from_package() -> Option<String> {
    let noted = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = noted.split_once("\"sha1\":")?;
    let hash = rest.split('"').nth(1)?;
    (hash.len() >= COMMIT_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| hash[..COMMIT_DIGITS].to_owned())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The day of a Unix time, in UTC: Howard Hinnant's `civil_from_days`, for days since 1970.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (month, after) = if shifted < 10 { (shifted + 3, 0) } else { (shifted - 9, 1) };
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    format!("{}-{month:02}-{of_month:02}", year + era * 400 + after)
}
