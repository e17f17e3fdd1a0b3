//! Debian's Chromium without a window, driven through its driver: what the pages of the
//! program are tested in. Each browser has a profile of its own, reaches nothing but this
//! machine, and ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use base64::Engine;
use serde_json::{Value, json};

use crate::support::{PATIENCE, missing};

/// The keys that tests press.
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const SPACE: &str = " ";
    pub(crate) const RIGHT: &str = "\u{e014}";
    pub(crate) const DOWN: &str = "\u{e015}";
}

/// By what WebDriver calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Browser {
    session: String,
    driver: Driver,
    /// What was logged and not asked for yet.
    console: Vec<String>,
    requests: Vec<String>,
}

impl Browser {
    /// Says that the test is skipped where there is no Chromium.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in("UTC")
    }

    /// On a machine whose clock shows that zone.
    pub(crate) fn start_in(zone: &str) -> Option<Self> {
        for program in ["chromium", "chromedriver"] {
            if !is_there(program) {
                missing(program);
                return None;
            }
        }
        let driver = Driver::start(zone);
        let wanted = json!({"capabilities": {"alwaysMatch": capabilities(driver.home.path())}});
        let made = driver.ask("POST", "/session", &wanted).expect("a browser");
        let session = made["sessionId"].as_str().expect("a session").to_owned();
        Some(Self { session, driver, console: Vec::new(), requests: Vec::new() })
    }

    /// A command of WebDriver, in this session.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.driver.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, body).unwrap_or_else(|why| panic!("{path} {body}: {why}"))
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// Where commands about the first such element go.
    fn element(&self, css: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": css}));
        format!("/element/{}", found[ELEMENT].as_str().expect("an element"))
    }

    /// Chromium's own protocol.
    pub(crate) fn cdp(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    pub(crate) fn open(&self, address: &str) {
        self.post("/url", &json!({"url": address}));
    }

    /// The same with nothing kept of what was there: a fragment alone would load nothing.
    pub(crate) fn open_anew(&self, address: &str) {
        self.open("about:blank");
        self.open(address);
    }

    pub(crate) fn address(&self) -> String {
        self.get("/url").as_str().expect("an address").to_owned()
    }

    pub(crate) fn back(&self) {
        self.post("/back", &json!({}));
    }

    pub(crate) fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Runs the body of a function in the page; it may be `async`.
    pub(crate) fn script(&self, body: &str, args: Vec<Value>) -> Value {
        let body = format!(
            "const done = arguments[arguments.length - 1]; const given = [...arguments].slice(0, -1);\
             (async function() {{ {body} }}).apply(null, given)\
             .then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));"
        );
        let answer = self.post("/execute/async", &json!({"script": body, "args": args}));
        assert_eq!(answer["error"], Value::Null, "{body}");
        answer["value"].clone()
    }

    /// What an expression is in the page.
    pub(crate) fn value(&self, expression: &str) -> Value {
        self.script(&format!("return {expression};"), Vec::new())
    }

    /// The visible text of the first element, empty if there is none.
    pub(crate) fn text(&self, css: &str) -> String {
        let body = "const one = document.querySelector(arguments[0]);\
                    return one?.checkVisibility() ? one.innerText : '';";
        let text = self.script(body, vec![json!(css)]);
        text.as_str().expect("text").to_owned()
    }

    /// How many elements there are.
    pub(crate) fn count(&self, css: &str) -> u64 {
        let body = "return document.querySelectorAll(arguments[0]).length;";
        self.script(body, vec![json!(css)]).as_u64().expect("a number")
    }

    /// Waits until an expression holds in the page, and returns what it is; fails after
    /// [`PATIENCE`], and says what the page shows then.
    pub(crate) fn until(&self, what: &str, expression: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.value(expression);
            let holds = match &found {
                Value::Null => false,
                Value::Bool(holds) => *holds,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(_) | Value::Object(_) => true,
            };
            if holds {
                return found;
            }
            let page = || self.text("body");
            assert!(Instant::now() < until, "never: {what}: {expression}\n{}", page());
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    /// Waits until the first element's text contains something.
    pub(crate) fn until_text(&self, css: &str, part: &str) -> String {
        let held = format!(
            "((one) => one?.checkVisibility() && one.innerText.includes({}))(document.querySelector({}))",
            json!(part),
            json!(css)
        );
        self.until(&format!("{css} says {part:?}"), &held);
        self.text(css)
    }

    /// As a mouse does it, once the element is there.
    pub(crate) fn click(&self, css: &str) {
        self.until(
            &format!("{css} is there"),
            &format!("!!document.querySelector({})", json!(css)),
        );
        self.post(&format!("{}/click", self.element(css)), &json!({}));
    }

    /// The button or link with that text, among those that fit.
    pub(crate) fn click_text(&self, css: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].some((one) => one.textContent.trim() === {})",
            json!(css),
            json!(text)
        );
        self.until(&format!("{css} {text:?} is there"), &found);
        let body = "const found = [...document.querySelectorAll(arguments[0])]\
                    .find((one) => one.textContent.trim() === arguments[1]);\
                    found.scrollIntoView({ block: 'center' }); found.click();";
        self.script(body, vec![json!(css), json!(text)]);
    }

    /// Replaces what a field holds, as a keyboard does it.
    pub(crate) fn type_into(&self, css: &str, text: &str) {
        self.until(
            &format!("{css} is there"),
            &format!("!!document.querySelector({})", json!(css)),
        );
        let element = self.element(css);
        self.post(&format!("{element}/clear"), &json!({}));
        self.post(&format!("{element}/value"), &json!({"text": text}));
    }

    /// Chooses files in a field for files.
    pub(crate) fn choose_file(&self, css: &str, path: &Path) {
        let text = path.to_str().expect("UTF-8");
        self.post(&format!("{}/value", self.element(css)), &json!({"text": text}));
    }

    /// To whatever has the focus.
    pub(crate) fn press(&self, keys: &str) {
        let element = self.get("/element/active");
        let element = element[ELEMENT].as_str().expect("a focus");
        self.post(&format!("/element/{element}/value"), &json!({"text": keys}));
    }

    pub(crate) fn offline(&self, is_offline: bool) {
        let params = json!({"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.cdp("Network.enable", json!({}));
        self.cdp("Network.emulateNetworkConditions", params);
    }

    pub(crate) fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.cdp("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The size of the page's own area, in CSS pixels.
    pub(crate) fn size(&self, width: u32, height: u32) {
        let params =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", params);
    }

    /// A picture of what is shown, as a PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let picture = self.get("/screenshot");
        let picture = picture.as_str().expect("text");
        base64::engine::general_purpose::STANDARD.decode(picture).expect("a picture")
    }

    fn read_logs(&mut self) {
        let lines = |kind: &str| {
            let found = self.post("/se/log", &json!({"type": kind}));
            let entries = found.as_array().cloned().unwrap_or_default();
            let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
            entries.iter().map(text).collect::<Vec<_>>()
        };
        let (console, performance) = (lines("browser"), lines("performance"));
        self.console.extend(console);
        for line in performance {
            let event: Value = serde_json::from_str(&line).expect("an event");
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                let address = event["params"]["request"]["url"].as_str().expect("an address");
                self.requests.push(address.to_owned());
            }
        }
    }

    /// What the console has said since the last look: errors, and what the page's policy forbids.
    pub(crate) fn console(&mut self) -> Vec<String> {
        self.read_logs();
        std::mem::take(&mut self.console)
    }

    /// The addresses that were asked for since the last look.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        self.read_logs();
        std::mem::take(&mut self.requests)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.ask("DELETE", "", &Value::Null);
        self.driver.end();
    }
}

/// The driver, and with it the browsers that it has started.
struct Driver {
    child: Child,
    /// Closed when this process ends, however that is: the driver goes then.
    hold: Option<ChildStdin>,
    port: u16,
    home: tempfile::TempDir,
}

impl Driver {
    fn start(zone: &str) -> Self {
        // It takes a port of IPv6, and ends where somebody has the same one of IPv4.
        let started = (0..20).find_map(|_| Self::try_to_start(zone));
        started.expect("chromedriver starts")
    }

    /// `None` if it ended at once.
    fn try_to_start(zone: &str) -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            // The shell lets go of what it prints to: what is read ends with the driver.
            .args(["-c", "chromedriver --port=0 & pid=$!; exec >&-; read -r line; kill $pid"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env("TZ", zone)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver");
        let hold = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        // Ends the shell, whatever comes.
        let mut new = Self { child, hold, port: 0, home };
        new.port = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("chromedriver") == 0 {
                return None;
            }
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end().trim_end_matches('.').parse().expect(port);
            }
        };
        // A full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Some(new)
    }

    /// What it answers; else its error, or why there is no answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(said)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .map_err(said)?;
        // It keeps the connection, whatever it is asked for.
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).map_err(said)? == 0 {
                return Err("the answer broke off".to_owned());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(|_| line.clone())?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text).map_err(said)?;
        let text = String::from_utf8_lossy(&text);
        let mut answer: Value =
            serde_json::from_str(&text).map_err(|why| format!("{why}: {text}"))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) if value["stacktrace"].is_string() => {
                Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default()))
            }
            _ => Ok(value),
        }
    }

    fn end(&mut self) {
        if let Some(mut hold) = self.hold.take() {
            let _ = hold.write_all(b"\n");
        }
        let _ = self.child.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

fn capabilities(home: &Path) -> Value {
    let mut args: Vec<String> = [
        "--headless=new",
        // Root has no namespaces to spare in a container; what it shows is the tests' own.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-sync",
        "--disable-features=Translate,OptimizationHints,MediaRouter",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--lang=en",
        "--window-size=1280,900",
        "--no-proxy-server",
        // Ends with its driver, and nobody else can drive it.
        "--remote-debugging-pipe",
        // Nothing but this machine.
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--user-data-dir={}", home.join("profile").display()));
    json!({
        "browserName": "chrome",
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        "goog:chromeOptions": {
            "binary": "/usr/bin/chromium",
            "args": args,
            "prefs": {"download.default_directory": home.join("downloads"), "download.prompt_for_download": false},
            "perfLoggingPrefs": {"enableNetwork": true, "enablePage": false},
        },
        "timeouts": {"script": 110_000, "pageLoad": 110_000, "implicit": 0},
    })
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|found| found.status.success())
}
