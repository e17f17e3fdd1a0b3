//! An empty root: the program, the C libraries that it needs, a shell and the few tools
//! that the documents' commands use, certificates and time zones. Nothing else of this
//! machine is there, and nobody is root in it.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Dir, skipped};

/// The user of the documents' commands.
const USER: u32 = 4242;

/// What the documents' commands use besides the program.
const TOOLS: &[&str] =
    &["bash", "sh", "cat", "cp", "grep", "head", "install", "ls", "mkdir", "sleep", "timeout"];

/// The root of such a machine.
pub(crate) struct Root(Dir);

impl Root {
    /// None where this user may not make one, which is then said.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root makes another root");
            return None;
        }
        let root = Self(Dir::new());
        for dir in ["usr/bin", "etc", "dev", "home/auditctl", "var/lib/auditctl", "mnt/kept"] {
            std::fs::create_dir_all(root.at(dir)).expect("made");
        }
        open_to_all(root.0.path());
        std::os::unix::fs::symlink("usr/bin", root.at("bin")).expect("linked");
        root.make_dir("tmp", 0o1777);
        let program = Path::new(env!("CARGO_BIN_EXE_auditctl"));
        root.program(program, "auditctl");
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(tool));
            let found = found.into_iter().find(|path| path.exists());
            root.program(&found.unwrap_or_else(|| panic!("no {tool} here")), tool);
        }
        let users = format!(
            "root:x:0:0::/root:/bin/sh\nauditctl:x:{USER}:{USER}::/home/auditctl:/bin/bash\n"
        );
        std::fs::write(root.at("etc/passwd"), users).expect("written");
        std::fs::write(root.at("etc/group"), format!("root:x:0:\nauditctl:x:{USER}:\n"))
            .expect("written");
        for (from, to) in [
            ("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"),
            ("/usr/share/zoneinfo/Europe/Berlin", "usr/share/zoneinfo/Europe/Berlin"),
            ("/usr/share/zoneinfo/UTC", "usr/share/zoneinfo/UTC"),
        ] {
            if Path::new(from).exists() {
                root.copy(Path::new(from), to);
            }
        }
        for (name, minor) in [("null", 3), ("urandom", 9)] {
            let device = rustix::fs::makedev(1, minor);
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            let kind = rustix::fs::FileType::CharacterDevice;
            let path = root.at("dev").join(name);
            if rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device).is_err() {
                skipped("this user may not mount or make devices, so there is no other root");
                return None;
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
                .expect("for all");
        }
        for home in ["home/auditctl", "var/lib/auditctl", "mnt/kept"] {
            chown(root.at(home), Some(USER), Some(USER)).expect("given");
        }
        Some(root)
    }

    /// A path in it, as it is from outside.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn make_dir(&self, path: &str, mode: u32) {
        std::fs::create_dir_all(self.at(path)).expect("made");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.at(path), mode).expect("mode");
    }

    fn copy(&self, from: &Path, to: &str) {
        std::fs::create_dir_all(self.at(to).parent().expect("a directory")).expect("made");
        std::fs::copy(from, self.at(to)).expect("copied");
    }

    /// A program, and the libraries that it is linked with.
    fn program(&self, from: &Path, name: &str) {
        self.copy(from, &format!("usr/bin/{name}"));
        let listed = Command::new("ldd").arg(from).output().expect("ldd");
        for word in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            if word.starts_with('/') && !self.at(word).exists() {
                self.copy(Path::new(word), word);
            }
        }
    }

    /// A file that the user owns.
    #[cfg(feature = "s3")]
    pub(crate) fn give(&self, path: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.at(path), bytes).expect("written");
        chown(self.at(path), Some(USER), Some(USER)).expect("given");
    }

    /// Runs a script in it, as the user, with this environment and no other.
    pub(crate) fn run(&self, script: &str, environment: &[(&str, String)]) -> Output {
        // What it starts in the background ends with the shell.
        let script = format!(
            "trap 'code=$?; set +e; kill $(jobs -p) 2>/dev/null; wait; exit $code' EXIT\ncd ~\n{script}"
        );
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}")).arg(self.0.path());
        command.args(["/usr/bin/timeout", "180", "/bin/bash", "-euo", "pipefail", "-c", &script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin").env("HOME", "/home/auditctl");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.output().expect("chroot")
    }

    /// The same, which has to end well; what it said.
    pub(crate) fn done(&self, script: &str, environment: &[(&str, String)]) -> String {
        let output = self.run(script, environment);
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{}: {text}", output.status);
        text
    }
}

/// Whoever is not root gets to what is in it.
fn open_to_all(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("open");
}

/// The day of a collector: with nothing of the machine but what the program is linked with.
#[test]
fn in_an_empty_root_an_ordinary_user_records_serves_asks_backs_up_and_restores() {
    let Some(root) = Root::new() else { return };
    let environment = [
        ("AUDITCTL_LOG_DIR", "/var/lib/auditctl/log".to_owned()),
        ("AUDITCTL_BACKUP_OUTPUT_DIR", "/var/lib/auditctl/backups".to_owned()),
        ("AUDITCTL_COLLECTOR_HTTP", "127.0.0.1:0".to_owned()),
        ("TZ", "Europe/Berlin".to_owned()),
    ];
    let said = root.done(
        "auditctl record --type login --actor alice
         auditctl serve 2>serve.err &
         until auditctl health | grep -q running; do sleep 0.2; done
         auditctl record --type logout --actor alice
         auditctl query --type logout --count
         auditctl backup
         auditctl list --verify
         auditctl prove 1 > proof.json
         auditctl verify --proof proof.json
         auditctl restore latest --target /tmp/beside
         auditctl diff log latest || true
         auditctl verify latest
         auditctl support-bundle --output bundle.tgz
         auditctl monitor --once
         auditctl validate --quick || true",
        &environment,
    );
    assert!(said.contains("VERIFIED"), "{said}");
    // The same without a collector.
    let said = root.done(
        "auditctl repair --dry-run
         auditctl verify
         auditctl restore --drill
         auditctl key show
         auditctl key rotate
         auditctl cleanup --keep 1
         auditctl verify",
        &environment,
    );
    assert!(said.contains("VERIFIED"), "{said}");
}
