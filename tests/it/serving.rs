//! A collector process for the tests of `serve` and `record`, and a peer of its
//! socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Dir, PATIENCE, auditctl, eventually};

/// A running `auditctl serve` with its log in `logs`; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) http: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

impl Serving {
    /// With these settings in `auditctl.toml`; returns once it takes events.
    pub(crate) fn start(dir: &Dir, settings: &str) -> Self {
        Self::start_with(dir, settings, &[], &[])
    }

    pub(crate) fn start_with(
        dir: &Dir,
        settings: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        Self::spawn(dir, args, env)
    }

    /// As another program starts it: `wrapper` and its arguments come first.
    pub(crate) fn start_under(dir: &Dir, settings: &str, wrapper: &[&str]) -> Self {
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        Self::spawn_under(dir, &["--http", "off"], &[], wrapper)
    }

    fn spawn(dir: &Dir, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn_under(dir, args, env, &[])
    }

    fn spawn_under(dir: &Dir, args: &[&str], env: &[(&str, &str)], wrapper: &[&str]) -> Self {
        let mut all = vec!["serve"];
        if !args.contains(&"--http") {
            all.extend(["--http", "127.0.0.1:0"]);
        }
        all.extend(args);
        let mut command = auditctl(dir, &all);
        command.envs(env.iter().copied()).stderr(Stdio::piped());
        if env.iter().any(|(name, _)| *name == "WATCHDOG_USEC") {
            command = as_systemd_would(dir, &command);
        }
        if let [program, first @ ..] = wrapper {
            let mut outer = Command::new(program);
            outer
                .env_clear()
                .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            outer.current_dir(dir.path()).stderr(Stdio::piped()).args(first);
            outer.arg(command.get_program()).args(command.get_args());
            command = outer;
        }
        let mut child = command.spawn().expect("serve starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let ready = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("stderr") == 0 {
                panic!("serve ended: {}", stderr.lock().expect("not poisoned"));
            }
            stderr.lock().expect("not poisoned").push_str(&line);
            if line.contains("ready:") {
                break line;
            }
        };
        let more = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                more.lock().expect("not poisoned").push_str(&line);
                line.clear();
            }
        });
        let after = |mark: &str| {
            let rest = ready.split_once(mark).expect(&ready).1;
            rest.split([',', ' ', '\n']).next().expect("a word").to_owned()
        };
        let socket = dir.path().join(after("socket "));
        let scheme = if ready.contains("https://") { "https://" } else { "http://" };
        let http = ready.contains(scheme).then(|| after(scheme).parse().expect("address"));
        let http = http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self { child, socket, http, stderr }
    }

    pub(crate) fn connect(&self) -> Peer {
        let stream = UnixStream::connect(&self.socket).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        Peer { input: BufReader::new(stream) }
    }

    /// Beside settings that the test has written itself.
    pub(crate) fn start_alone(dir: &Dir) -> Self {
        Self::spawn(dir, &["--http", "off"], &[])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As the kernel's out-of-memory killer would.
    pub(crate) fn kill_nine(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Ends it as an init system does; it must end well.
    pub(crate) fn terminate(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.stderr());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signal");
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the collector ends", || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("not poisoned").clone()
    }

    /// Sends a whole request and reads the response: status, headers, body.
    pub(crate) fn http(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.write_all(request.as_bytes()).expect("request");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("response");
        let (head, body) = response.split_once("\r\n\r\n").expect(&response);
        let status = head.split(' ').nth(1).expect(head).parse().expect("status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        ))
    }

    pub(crate) fn post(
        &self,
        content_type: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String, Value) {
        let (status, head, text) = self.http(&format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        ));
        (status, head, serde_json::from_str(&text).expect(&text))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a collector that must refuse to: its exit code and what it said. One that
/// starts all the same is ended.
pub(crate) fn refuses_to_start(dir: &Dir, args: &[&str]) -> (Option<i32>, String) {
    let mut command = auditctl(dir, &[&["serve", "--http", "off"], args].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("serve starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut said = String::new();
    for line in lines.map_while(Result::ok) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("ready:") {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it started: {said}");
        }
    }
    (child.wait().expect("ended").code(), said)
}

/// Makes a token in the file `tokens`; more arguments of `token new` follow.
pub(crate) fn new_token(dir: &Dir, name: &str, args: &[&str]) -> String {
    let all = [&["token", "new", "--token-file", "tokens", "--name", name], args].concat();
    let (code, stdout, stderr) = crate::support::run(dir, &all);
    assert_eq!(code, 0, "{stderr}");
    stdout.trim_end().to_owned()
}

/// The header that shows a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// A peer of the collector's socket.
pub(crate) struct Peer {
    input: BufReader<UnixStream>,
}

impl Peer {
    pub(crate) fn stream(&mut self) -> &mut UnixStream {
        self.input.get_mut()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream().write_all(text.as_bytes()).expect("sent");
    }

    /// The next answer; `None` when the collector has hung up.
    pub(crate) fn answer(&mut self) -> Option<Value> {
        self.line().map(|line| serde_json::from_str(&line).expect(&line))
    }

    /// The same as it was sent, without its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches('\n').to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(&format!("{line}\n"));
        self.answer().expect("an answer")
    }

    /// The answers until the collector hangs up.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.answer()).collect()
    }
}

/// The watchdog's time is for the process that it names alone, which nobody can
/// know before it is there: a shell takes its own number, and becomes the program.
fn as_systemd_would(dir: &Dir, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    let env = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    shell.env_clear().envs(env).current_dir(dir.path()).stderr(Stdio::piped());
    shell.args(["-c", r#"export WATCHDOG_PID=$$; exec "$0" "$@""#]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}
