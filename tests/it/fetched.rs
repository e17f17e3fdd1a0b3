//! What tests fetch once into the build directory: servers, and programs of others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::support::skipped;

pub(crate) fn home() -> PathBuf {
    // Beside the programs that were built: …/target/test-servers
    let target = Path::new(env!("CARGO_BIN_EXE_auditctl")).ancestors().nth(2).expect("target");
    target.join("test-servers")
}

/// Python with the packages of witness-requirements.txt; says that the test is skipped,
/// and why, where there is none that is new enough.
#[cfg(feature = "witness")]
pub(crate) fn witness_python() -> Option<PathBuf> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let base = newer_python().ok_or("there is no Python 3.12 or newer")?;
        let venv = home().join("witness-venv");
        let python = venv.join("bin/python");
        fetched("witness-requirements.txt", |list| {
            run(Command::new(&base).args(["-m", "venv", "--clear"]).arg(&venv))?;
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--no-compile", "-r"])
                .arg(list))
        })?;
        Ok(python)
    });
    match ready {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "another witness is required by CLOUD_TEST_SERVERS: {why}");
            skipped(&format!("cloud server: another witness: {why}"));
            None
        }
    }
}

/// Python with the packages of http-requirements.txt; says that the test is skipped, and
/// why, where there is none that is new enough.
pub(crate) fn http_python() -> Option<PathBuf> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let venv = home().join("http-venv");
        let python = venv.join("bin/python");
        fetched("http-requirements.txt", |list| {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--no-compile", "-r"])
                .arg(list))
        })?;
        Ok(python)
    });
    match ready {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "schemathesis is required by CLOUD_TEST_SERVERS: {why}");
            skipped(&format!("cloud server: schemathesis: {why}"));
            None
        }
    }
}

/// Python with OpenTelemetry's SDK; says that the test is skipped, and why, where it cannot
/// be had.
pub(crate) fn otel_python() -> Option<PathBuf> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let venv = home().join("otel-venv");
        let python = venv.join("bin/python");
        fetched("otel-requirements.txt", |list| {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--no-compile", "-r"])
                .arg(list))
        })?;
        Ok(python)
    });
    match ready {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "OpenTelemetry's SDK is required by CLOUD_TEST_SERVERS: {why}");
            skipped(&format!("cloud server: OpenTelemetry's SDK: {why}"));
            None
        }
    }
}

/// On the path, or one of pyenv's.
#[cfg(feature = "witness")]
fn newer_python() -> Option<PathBuf> {
    let names = ["python3.14", "python3.13", "python3.12", "python3"].map(PathBuf::from);
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let others = versions.into_iter().flatten().flatten();
    let others = others.map(|entry| entry.path().join("bin/python3"));
    let is_new = |python: &PathBuf| {
        let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))";
        let status = Command::new(python)
            .args(["-c", check])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    names.into_iter().chain(others).find(is_new)
}

/// Runs `install` unless what it installs is there, as the list now is. One
/// process at a time.
pub(crate) fn fetched(
    list: &str,
    install: impl Fn(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/servers").join(list);
    let wanted = std::fs::read(&list).map_err(said)?;
    std::fs::create_dir_all(home()).map_err(said)?;
    let name = list.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lock = File::create(home().join(format!("{name}.lock"))).map_err(said)?;
    lock.lock().map_err(said)?;
    let done = home().join(format!("{name}.installed"));
    if std::fs::read(&done).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    install(&list)?;
    std::fs::write(done, wanted).map_err(said)
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}", said.lines().last().unwrap_or("no reason")))
}

/// The source of axe-core, which finds what bars people with a disability; says that the
/// test is skipped, and why, where it cannot be had.
pub(crate) fn axe() -> Option<String> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let folder = home().join("axe");
        fetched("axe.json", |list| {
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let text = std::fs::read(list).map_err(|error| error.to_string())?;
            std::fs::write(folder.join("package.json"), text).map_err(|error| error.to_string())?;
            run(Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])
                .current_dir(&folder))
        })?;
        Ok(folder.join("node_modules/axe-core/axe.min.js"))
    });
    match ready {
        Ok(path) => Some(std::fs::read_to_string(path).expect("axe-core")),
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "axe-core is required by CLOUD_TEST_SERVERS: {why}");
            skipped(&format!("cloud server: axe-core: {why}"));
            None
        }
    }
}
