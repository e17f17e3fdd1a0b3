//! Real servers for the tests of the stores: fetched once into the build
//! directory, started once for each test process, ended with it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use auditctl::archive::HostName;
use auditctl::store::{
    BackupStore, Destination, Environment, Limits, LocalStore, Provider, RetryPolicy, connect,
};

use crate::fetched::{fetched, home, run};
use crate::support::{eventually, skipped};

/// What the stores' tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Local,
    /// s3s-fs, in this process: it checks signatures.
    S3s,
    /// moto: it knows versions and object lock.
    Moto,
    /// Microsoft's emulator.
    Azurite,
    /// fake-gcs-server.
    FakeGcs,
    /// Google's protocol by its documentation, in this process.
    Gcs,
}

/// A name that no server has a bucket of.
pub(crate) const BUCKET: &str = "acme-audit";
/// A bucket of moto's with versions and object lock.
pub(crate) const LOCKED: &str = "acme-locked";
const ID: &str = "AKIATEST";
const SECRET: &str = "not-a-secret-but-looked-for-in-outputs";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Ends with this process: it reads from a pipe that then closes.
    _child: Option<Mutex<Child>>,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Local, Self::S3s, Self::Moto, Self::Azurite, Self::FakeGcs, Self::Gcs];
    pub(crate) const CLOUDS: [Self; 3] = [Self::Moto, Self::Azurite, Self::FakeGcs];

    pub(crate) fn provider(self) -> Provider {
        match self {
            Self::Local | Self::S3s | Self::Moto => Provider::S3,
            Self::Azurite => Provider::Azure,
            Self::FakeGcs | Self::Gcs => Provider::Gcs,
        }
    }

    /// The server; says that the test is skipped, and why, when there is none.
    pub(crate) fn server(self) -> Option<&'static Server> {
        static SERVERS: [OnceLock<Result<Server, String>>; 5] = [const { OnceLock::new() }; 5];
        let started = match self {
            Self::Local => return None,
            Self::S3s => SERVERS[0].get_or_init(start_s3s),
            Self::Moto => SERVERS[1].get_or_init(start_moto),
            Self::Azurite => SERVERS[2].get_or_init(start_azurite),
            Self::FakeGcs => SERVERS[3].get_or_init(start_fake_gcs),
            Self::Gcs => SERVERS[4].get_or_init(start_gcs),
        };
        match started {
            Ok(server) => Some(server),
            Err(why) => {
                let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
                assert!(!required, "{self:?} is required by CLOUD_TEST_SERVERS: {why}");
                skipped(&format!("cloud server {self:?}: {why}"));
                None
            }
        }
    }

    /// What a client finds in its environment to talk to the server at an address.
    pub(crate) fn variables(self, address: SocketAddr) -> Vec<(&'static str, String)> {
        match self {
            Self::Local => Vec::new(),
            Self::S3s | Self::Moto => vec![
                ("AWS_ACCESS_KEY_ID", ID.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ENDPOINT_URL_S3", format!("http://{address}")),
            ],
            Self::Azurite => vec![(
                "AZURE_STORAGE_CONNECTION_STRING",
                format!(
                    "AccountName=devstoreaccount1;AccountKey={AZURE_KEY};\
                     BlobEndpoint=http://{address}/devstoreaccount1"
                ),
            )],
            Self::FakeGcs | Self::Gcs => {
                vec![("STORAGE_EMULATOR_HOST", format!("http://{address}"))]
            }
        }
    }

    /// A store of this kind, below a prefix that no other test uses; none when
    /// there is no server for it here.
    pub(crate) fn store(self, limits: &Limits) -> Option<Arc<dyn BackupStore>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if self == Self::Local {
            let dir = tempfile::tempdir().expect("a directory").keep();
            return Some(Arc::new(LocalStore::new(dir)));
        }
        let server = self.server()?;
        let prefix = format!("{BUCKET}/test-{}-{number}", std::process::id());
        Some(self.open(server.address, &prefix, limits))
    }

    /// A store at an address, which may be a proxy's.
    pub(crate) fn open(
        self,
        address: SocketAddr,
        destination: &str,
        limits: &Limits,
    ) -> Arc<dyn BackupStore> {
        let destination = Destination::parse(self.provider(), destination).expect("a destination");
        let environment: Environment = self.variables(address).into_iter().collect();
        let store = connect(self.provider(), &destination, limits, &environment);
        Arc::from(store.expect("a store"))
    }
}

/// Small parts, so that little data makes several; and no patience.
pub(crate) fn limits() -> Limits {
    Limits {
        single_put_bytes: 6 << 20,
        part_bytes: 5 << 20,
        in_flight: 2,
        stall_timeout: Duration::from_secs(20),
        retry: RetryPolicy {
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(20),
            give_up_after: Duration::from_secs(60),
            give_up_unheard: Duration::from_secs(60),
        },
        ..Limits::default()
    }
}

/// This host, as it stands in the names of an archive's objects.
pub(crate) fn this_host() -> HostName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    HostName::of(name.trim())
}

/// No secret of the tests' may be in it.
pub(crate) fn assert_no_secret(text: &str) {
    for secret in [SECRET, AZURE_KEY, "sig=", "Signature=", "upload_id="] {
        assert!(!text.contains(secret), "a secret in: {text}");
    }
}

/// Python with the packages of requirements.txt.
pub(crate) fn python() -> Result<PathBuf, String> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    READY.get_or_init(|| python_with("requirements.txt", "venv")).clone()
}

/// Python with the packages of engines.txt; says that the test is skipped, and why, when there
/// is none.
pub(crate) fn engines() -> Option<PathBuf> {
    match python_with("engines.txt", "engines") {
        Ok(python) => Some(python),
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "the engines are required by CLOUD_TEST_SERVERS: {why}");
            skipped(&format!("query engines: {why}"));
            None
        }
    }
}

fn python_with(list: &str, folder: &str) -> Result<PathBuf, String> {
    let venv = home().join(folder);
    let python = venv.join("bin/python");
    fetched(list, |list| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--no-compile", "-r"])
            .arg(list))
    })?;
    Ok(python)
}

fn azurite() -> Result<PathBuf, String> {
    fetched("package.json", |list| {
        let folder = home().join("npm");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let text = std::fs::read(list).map_err(|error| error.to_string())?;
        std::fs::write(folder.join("package.json"), text).map_err(|error| error.to_string())?;
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&folder))
    })?;
    Ok(home().join("npm/node_modules/.bin/azurite-blob"))
}

/// Starts a program that ends when this process does, however that ends, and
/// waits until it listens.
pub(crate) fn start(
    program: &Path,
    args: impl Fn(SocketAddr) -> Vec<String>,
) -> Result<Server, String> {
    let said = |error: std::io::Error| error.to_string();
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").map_err(said)?;
        free.local_addr().map_err(said)?
    };
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::create(home().join(format!("{name}.log"))).map_err(said)?;
    let mut child = Command::new("sh")
        .args(["-c", "\"$@\" & pid=$!; read -r line; kill $pid", "sh"])
        .arg(program)
        .args(args(address))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(said)?)
        .stderr(log)
        .spawn()
        .map_err(said)?;
    for _ in 0..1_200 {
        if TcpStream::connect(address).is_ok() {
            return Ok(Server { address, _child: Some(Mutex::new(child)) });
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("{name} ended with {status}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{name} does not listen"))
}

fn start_moto() -> Result<Server, String> {
    let program = python()?.with_file_name("moto_server");
    let server = start(&program, |address| {
        ["-H", "127.0.0.1", "-p", &address.port().to_string()].map(str::to_owned).into()
    })?;
    for (bucket, header) in [(BUCKET, ""), (LOCKED, "x-amz-bucket-object-lock-enabled: true\r\n")] {
        let head = format!("PUT /{bucket} HTTP/1.1\r\n{header}");
        let answer = request(server.address, &head, "");
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("moto made no bucket: {answer}"));
        }
    }
    Ok(server)
}

fn start_azurite() -> Result<Server, String> {
    let python = python()?;
    let data = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
    let server = start(&azurite()?, |address| {
        let port = address.port().to_string();
        let fixed = ["--blobHost", "127.0.0.1", "--disableTelemetry", "--skipApiVersionCheck"];
        let mut args: Vec<String> = fixed.map(str::to_owned).into();
        args.extend(["--silent", "--blobPort", &port, "--location"].map(str::to_owned));
        args.push(data.display().to_string());
        args
    })?;
    let script = "import os; from azure.storage.blob import BlobServiceClient as B; \
        B.from_connection_string(os.environ['AZURE_STORAGE_CONNECTION_STRING'])\
        .create_container(os.environ['BUCKET'])";
    run(Command::new(python)
        .args(["-c", script])
        .envs(Kind::Azurite.variables(server.address))
        .env("BUCKET", BUCKET))?;
    Ok(server)
}

fn start_fake_gcs() -> Result<Server, String> {
    let packages = python()?.ancestors().nth(2).expect("venv").join("lib");
    let find = Command::new("find")
        .arg(packages)
        .args(["-name", "fake-gcs-server-*", "-type", "f"])
        .output()
        .map_err(|error| error.to_string())?;
    let found = String::from_utf8_lossy(&find.stdout);
    let program = found.lines().next().ok_or("the wrapper holds no fake-gcs-server")?;
    run(Command::new("chmod").args(["+x", program]))?;
    let server = start(Path::new(program), |address| {
        let (host, port) = (address.to_string(), address.port().to_string());
        let url = format!("http://{host}");
        ["-scheme", "http", "-host", "127.0.0.1", "-port", &port, "-backend", "memory"]
            .into_iter()
            .chain(["-public-host", &host, "-external-url", &url])
            .map(str::to_owned)
            .collect()
    })?;
    let body = format!("{{\"name\":\"{BUCKET}\"}}");
    let head = "POST /storage/v1/b?project=test HTTP/1.1\r\ncontent-type: application/json\r\n";
    let answer = request(server.address, head, &body);
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(server);
    }
    Err(format!("fake-gcs-server made no bucket: {answer}"))
}

#[cfg(all(feature = "s3", feature = "azure", feature = "gcs"))]
fn start_gcs() -> Result<Server, String> {
    crate::gcs_server::start().map(|address| Server { address, _child: None })
}

#[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
fn start_gcs() -> Result<Server, String> {
    Err("this build lacks a cloud".to_owned())
}

/// In this process, on a thread of its own.
fn start_s3s() -> Result<Server, String> {
    use hyper_util::rt::TokioIo;
    use s3s::auth::SimpleAuth;
    use s3s::service::S3ServiceBuilder;

    let root = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
    std::fs::create_dir(root.join(BUCKET)).map_err(|error| error.to_string())?;
    let files = s3s_fs::FileSystem::new(root).map_err(|error| format!("{error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ID, SECRET));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service);
                    // A client that goes away is what some tests are about.
                    let _ = connection.await;
                });
            }
        });
    });
    eventually("s3s listens", || TcpStream::connect(address).is_ok());
    Ok(Server { address, _child: None })
}

/// One request without credentials; the answer as it came.
fn request(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    let length = body.len();
    let text = format!(
        "{head}host: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
