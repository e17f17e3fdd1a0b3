//! Hosts that are network namespaces, with a link to the store that breaks and heals.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auditctl::archive::Position;
use auditctl::fsio::OsFs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::archive_serve::ships_to;
use crate::clock::libfaketime;
use crate::servers::{BUCKET, Kind, python};
use crate::serving::{Peer, Serving};
use crate::support::{
    Dir, all_lines, auditctl, count, eventually, measured, missing, noise, peak_kib, skipped,
};

const HOSTS: usize = 2;
const PORT: u16 = 5_000;
/// Events of the outage, each of about 40 KiB.
const OUTAGE: usize = 400;
/// What a collector may need beside what it needs to record: twice the largest object that it
/// makes in memory, which is a tail.
const MOST_MORE_KIB: u64 = 64 << 10;

/// Namespaces of hosts, each with a link to that of the store; gone when dropped.
struct Net {
    ip: PathBuf,
    store: String,
    hosts: Vec<String>,
    server: Option<Child>,
}

impl Net {
    /// `None` where there are none to be had, which is said.
    fn new() -> Option<Self> {
        let places = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
        let Some(ip) = places.into_iter().map(PathBuf::from).find(|path| path.exists()) else {
            missing("ip");
            return None;
        };
        let named = |part: &str| format!("auditctl-{}-{part}", std::process::id());
        let hosts = (0..HOSTS).map(|at| named(&format!("host{at}"))).collect();
        let mut net = Self { ip, store: named("store"), hosts, server: None };
        if let Err(why) = net.make() {
            skipped(&format!("no network namespaces: {why}"));
            return None;
        }
        Some(net)
    }

    fn make(&mut self) -> Result<(), String> {
        let (store, hosts) = (self.store.clone(), self.hosts.clone());
        self.ip(&["netns", "add", &store])?;
        self.ip(&["-n", &store, "link", "set", "lo", "up"])?;
        for (at, host) in hosts.iter().enumerate() {
            let far = format!("host{at}");
            self.ip(&["netns", "add", host])?;
            let link = ["link", "add", "eth0", "netns", host, "type", "veth"];
            self.ip(&[&link[..], &["peer", "name", &far, "netns", &store]].concat())?;
            for (place, device, address) in
                [(host, "eth0", host_address(at)), (&store, &*far, store_address(at))]
            {
                let address = format!("{address}/24");
                self.ip(&["-n", place, "addr", "add", &address, "dev", device])?;
                self.ip(&["-n", place, "link", "set", device, "up"])?;
            }
        }
        Ok(())
    }

    fn ip(&self, args: &[&str]) -> Result<(), String> {
        let output = Command::new(&self.ip).args(args).output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// moto, in the store's namespace; ends with this process.
    fn start_store(&mut self) -> Result<(), String> {
        let python = python()?;
        let child = Command::new("sh")
            .args(["-c", "\"$@\" & pid=$!; read -r line; kill $pid", "sh"])
            .arg(&self.ip)
            .args(["netns", "exec", &self.store])
            .arg(python.with_file_name("moto_server"))
            .args(["-H", "0.0.0.0", "-p", &PORT.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(child.map_err(|error| error.to_string())?);
        let script = format!(
            "import urllib.request as u; \
             u.urlopen(u.Request('http://127.0.0.1:{PORT}/{BUCKET}', method='PUT'))"
        );
        eventually("the bucket is made", || {
            let mut command = Command::new(&self.ip);
            command.args(["netns", "exec", &self.store]).arg(&python).args(["-c", &script]);
            command.output().expect("python").status.success()
        });
        Ok(())
    }

    /// What comes before a program that is to run on a host.
    fn on(&self, at: usize) -> Vec<String> {
        let ip = self.ip.to_str().expect("UTF-8").to_owned();
        let mut words = vec![ip, "netns".into(), "exec".into(), self.hosts[at].clone()];
        words.push("/usr/bin/env".to_owned());
        let address = format!("{}:{PORT}", store_address(at)).parse().expect("an address");
        for (name, value) in Kind::Moto.variables(address) {
            words.push(format!("{name}={value}"));
        }
        words
    }

    fn serve(&self, at: usize, dir: &Dir, settings: &str) -> Serving {
        let words = self.on(at);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Serving::start_under(dir, settings, &words)
    }

    /// `auditctl` on a host, which has to succeed.
    fn run(&self, at: usize, dir: &Dir, args: &[&str]) -> String {
        let words = self.on(at);
        let program = auditctl(dir, args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program.get_program()).args(program.get_args());
        command.env_clear().current_dir(dir.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    /// The link of one host is taken down at its own end, that of the other at the store's.
    fn link(&self, at: usize, state: &str) {
        let far = format!("host{at}");
        let (place, device) = match at {
            0 => (&self.hosts[0], "eth0"),
            _ => (&self.store, &*far),
        };
        self.ip(&["-n", place, "link", "set", device, state]).expect("the link is set");
    }
}

fn host_address(at: usize) -> String {
    format!("198.18.{at}.2")
}

fn store_address(at: usize) -> String {
    format!("198.18.{at}.1")
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            let _ = server.wait();
        }
        for name in self.hosts.iter().chain([&self.store]) {
            let _ = self.ip(&["netns", "del", name]);
        }
    }
}

fn shipped(dir: &Dir) -> u64 {
    let position = Position::load(&OsFs, &dir.log()).expect("readable");
    position.map_or(0, |position| position.shipped.end())
}

fn send(peer: &mut Peer, event: &str) {
    let answer = peer.ask(event);
    assert!(answer.get("ok").is_some(), "{answer}");
}

/// The check `archive` of `health`, as it is in ten minutes if nothing changes until then.
fn in_ten_minutes(dir: &Dir, library: &str) -> Value {
    let output = auditctl(dir, &["--json", "health"])
        .env("LD_PRELOAD", library)
        .env("FAKETIME", "+600s")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .expect("it runs");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = said["checks"].as_array().expect("checks").clone();
    checks.into_iter().find(|check| check["component"] == "archive").expect("the check")
}

#[test]
fn hosts_whose_link_to_the_store_breaks_and_heals_lose_nothing_and_ship_nothing_twice() {
    let Some(library) = libfaketime() else { return missing("faketime") };
    // That there is a server for it at all; this one runs where the hosts cannot reach it.
    if Kind::Moto.server().is_none() {
        return;
    }
    let Some(mut net) = Net::new() else { return };
    net.start_store().expect("moto");
    let place = format!("s3://{BUCKET}/trail");
    let settings = format!("checkpoint_interval = \"100ms\"\n{}", ships_to(&place));
    let small = "{\"event_type\":\"login\",\"actor\":\"alice\"}";
    let blob = STANDARD.encode(noise(30_000));
    let large = format!("{{\"event_type\":\"bulk\",\"details\":{{\"blob\":\"{blob}\"}}}}");
    let dirs: Vec<Dir> = (0..HOSTS).map(|_| Dir::new()).collect();
    let serving: Vec<Serving> =
        dirs.iter().enumerate().map(|(at, dir)| net.serve(at, dir, &settings)).collect();
    let mut peers: Vec<Peer> = serving.iter().map(Serving::connect).collect();
    for (dir, peer) in dirs.iter().zip(&mut peers) {
        (0..50).for_each(|_| send(peer, small));
        eventually("it ships", || shipped(dir) > 50);
        assert_eq!(in_ten_minutes(dir, library)["status"], "healthy");
    }
    let before: Vec<u64> = serving.iter().map(|it| peak_kib(it.pid()).expect("ours")).collect();

    (0..HOSTS).for_each(|at| net.link(at, "down"));
    let safe: Vec<u64> = dirs.iter().map(shipped).collect();
    for peer in &mut peers {
        (0..OUTAGE).for_each(|_| send(peer, &large));
    }
    std::thread::sleep(Duration::from_secs(3));
    for (dir, safe) in dirs.iter().zip(&safe) {
        // What was on its way may have arrived.
        assert!(shipped(dir) <= safe + 1, "no link, and yet it ships");
        let check = in_ten_minutes(dir, library);
        assert_eq!(check["code"], "archive.behind", "{check}");
        assert!(check["metrics"]["lag_records"].as_u64() >= Some(OUTAGE as u64), "{check}");
    }

    (0..HOSTS).for_each(|at| net.link(at, "up"));
    for (at, dir) in dirs.iter().enumerate() {
        send(&mut peers[at], small);
        eventually("it is caught up with", || shipped(dir) == all_lines(&dir.log()).len() as u64);
        let check = in_ten_minutes(dir, library);
        assert_eq!(
            (&check["status"], &check["metrics"]["lag_records"]),
            (&"healthy".into(), &0.into())
        );
        let now = peak_kib(serving[at].pid()).expect("ours");
        measured(&format!(
            "host {at}: {} KiB at most before the outage, {now} KiB after {} MiB of it",
            before[at],
            (OUTAGE * large.len()) >> 20
        ));
        assert!(now < before[at] + MOST_MORE_KIB, "{now} KiB, and {} before", before[at]);
    }
    drop(peers);
    serving.into_iter().for_each(Serving::terminate);
    for (at, dir) in dirs.iter().enumerate() {
        assert_eq!((count(&dir.log(), "login"), count(&dir.log(), "bulk")), (51, OUTAGE));
        let restore = ["restore", &place, "--public-key", "logs/audit.pub", "--target", "there"];
        net.run(at, dir, &restore);
        assert_eq!(all_lines(&dir.path().join("there")), all_lines(&dir.log()));
    }
    // Each record once, in each table, of both.
    let said = net.run(0, &dirs[0], &["--json", "fleet", "verify", &place]);
    let fleet: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(fleet["fleet"]["verdict"], "ok", "{said}");
    assert_eq!(fleet["fleet"]["logs"].as_array().map(Vec::len), Some(HOSTS));
}
