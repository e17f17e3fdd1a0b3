//! Debian's Chromium without a window, driven through its driver: what the pages of the
//! program are tested in. Each browser has a profile of its own, reaches nothing but this
//! machine, and ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{PATIENCE, missing};

/// The keys that tests press.
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const SPACE: &str = " ";
    pub(crate) const HOME: &str = "\u{e011}";
    pub(crate) const LEFT: &str = "\u{e012}";
    pub(crate) const RIGHT: &str = "\u{e014}";
    pub(crate) const DOWN: &str = "\u{e015}";
}

pub(crate) struct Browser {
    client: Option<Client>,
    runtime: Runtime,
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(driver.home.path()));
        let address = format!("http://127.0.0.1:{}", driver.port);
        let client = runtime.block_on(builder.connect(&address)).expect("a browser");
        let (console, requests) = (Vec::new(), Vec::new());
        Some(Self { client: Some(client), runtime, driver, console, requests })
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("until it is dropped")
    }

    /// Asks the driver for something that the client has no word for.
    fn ask(&self, path: &'static str, body: Value) -> Result<Value, CmdError> {
        self.runtime.block_on(self.client().issue_cmd(Asked { path, body }))
    }

    /// Chromium's own protocol.
    pub(crate) fn cdp(&self, command: &str, params: Value) -> Value {
        let body = json!({"cmd": command, "params": params});
        self.ask("goog/cdp/execute", body).unwrap_or_else(|why| panic!("{command}: {why}"))
    }

    pub(crate) fn open(&self, address: &str) {
        self.runtime.block_on(self.client().goto(address)).expect(address);
    }

    /// The same with nothing kept of what was there: a fragment alone would load nothing.
    pub(crate) fn open_anew(&self, address: &str) {
        self.open("about:blank");
        self.open(address);
    }

    pub(crate) fn address(&self) -> String {
        self.runtime.block_on(self.client().current_url()).expect("an address").to_string()
    }

    pub(crate) fn back(&self) {
        self.runtime.block_on(self.client().back()).expect("back");
    }

    pub(crate) fn reload(&self) {
        self.runtime.block_on(self.client().refresh()).expect("loaded again");
    }

    /// Runs the body of a function in the page; it may be `async`.
    pub(crate) fn script(&self, body: &str, args: Vec<Value>) -> Value {
        let body = format!(
            "const done = arguments[arguments.length - 1]; const given = [...arguments].slice(0, -1);\
             (async function() {{ {body} }}).apply(null, given)\
             .then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));"
        );
        let answer = self.runtime.block_on(self.client().execute_async(&body, args));
        let answer = answer.unwrap_or_else(|why| panic!("{body}: {why}"));
        assert_eq!(answer["error"], Value::Null, "{body}");
        answer["value"].clone()
    }

    /// What an expression is in the page.
    pub(crate) fn value(&self, expression: &str) -> Value {
        self.script(&format!("return {expression};"), Vec::new())
    }

    /// The visible text of the first element, empty if there is none.
    pub(crate) fn text(&self, css: &str) -> String {
        let body = "return document.querySelector(arguments[0])?.innerText ?? '';";
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
            "(document.querySelector({})?.innerText ?? '').includes({})",
            json!(css),
            json!(part)
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
        let element = self.runtime.block_on(self.client().find(Locator::Css(css))).expect(css);
        self.runtime.block_on(element.click()).unwrap_or_else(|why| panic!("{css}: {why}"));
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
        let element = self.runtime.block_on(self.client().find(Locator::Css(css))).expect(css);
        self.runtime.block_on(element.clear()).expect(css);
        self.runtime.block_on(element.send_keys(text)).expect(css);
    }

    /// Chooses files in a field for files.
    pub(crate) fn choose_file(&self, css: &str, path: &Path) {
        let element = self.runtime.block_on(self.client().find(Locator::Css(css))).expect(css);
        let path = path.to_str().expect("UTF-8");
        self.runtime.block_on(element.send_keys(path)).expect(css);
    }

    /// To whatever has the focus.
    pub(crate) fn press(&self, keys: &str) {
        let element = self.runtime.block_on(self.client().active_element()).expect("a focus");
        self.runtime.block_on(element.send_keys(keys)).expect("pressed");
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
        self.runtime.block_on(self.client().screenshot()).expect("a picture")
    }

    fn read_logs(&mut self) {
        let lines = |kind: &str| {
            let found = self.ask("se/log", json!({"type": kind})).expect(kind);
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
        if let Some(client) = self.client.take() {
            let _ = self.runtime.block_on(client.close());
        }
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
        let home = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", "chromedriver --port=0 & pid=$!; read -r line; kill $pid"])
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
        let port = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).expect("chromedriver"), 0, "chromedriver ended");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end().trim_end_matches('.').parse().expect(port);
            }
        };
        // A full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, hold, port, home }
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

fn capabilities(home: &Path) -> Capabilities {
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
    let wanted = json!({
        "browserName": "chrome",
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        "goog:chromeOptions": {
            "binary": "/usr/bin/chromium",
            "args": args,
            "prefs": {"download.default_directory": home.join("downloads"), "download.prompt_for_download": false},
            "perfLoggingPrefs": {"enableNetwork": true, "enablePage": false},
        },
        "timeouts": {"script": 110_000, "pageLoad": 110_000, "implicit": 0},
    });
    wanted.as_object().expect("an object").clone()
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|found| found.status.success())
}

/// A command beyond those of WebDriver.
#[derive(Debug)]
struct Asked {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Asked {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
