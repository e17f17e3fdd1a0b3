//! Prometheus itself: it scrapes the collector, and what it was told is right.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, eventually, missing};

struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    /// Scrapes the collector every second: `metrics` at /metrics, `health` at
    /// /health.
    fn start(dir: &Dir, collector: &Serving) -> Self {
        let job = |name: &str, path: &str| {
            format!(
                "  - job_name: {name}\n    metrics_path: {path}\n    static_configs:\n      \
                 - targets: ['{}']\n",
                collector.http
            )
        };
        let configuration = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n{}{}",
            job("metrics", "/metrics"),
            job("health", "/health")
        );
        std::fs::write(dir.path().join("prometheus.yml"), configuration).expect("written");
        // It has to be told a number; nobody else takes one just given back.
        let free = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=error"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self { child, port }
    }

    /// What it answers to a query, whatever that is; `None` while it does not answer.
    fn answer(&self, query: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let request =
            format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        let mut response = String::new();
        stream.write_all(request.as_bytes()).and(stream.read_to_string(&mut response)).ok()?;
        let (_, body) = response.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The instant vector of a query: labels and value of each sample.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let Some(document) = self.answer(query) else { return Vec::new() };
        let result = document["data"]["result"].as_array().cloned().unwrap_or_default();
        result
            .into_iter()
            .map(|sample| {
                let value = sample["value"][1].as_str().expect("a value").parse().expect("number");
                (sample["metric"].clone(), value)
            })
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_metrics_and_health_and_counts_the_events() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        missing("prometheus");
        return;
    }
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let mut peer = collector.connect();
    for _ in 0..321 {
        peer.ask(r#"{"event_type":"login","source":"web"}"#);
    }
    let prometheus = Prometheus::start(&dir, &collector);
    for job in ["metrics", "health"] {
        let query = format!("auditctl_events_total{{job=\"{job}\"}}");
        eventually(&format!("{job} tells the number of events"), || {
            prometheus.query(&query).iter().any(|(_, value)| *value == 321.0)
        });
    }
    assert_eq!(prometheus.query("up").iter().map(|(_, value)| *value).sum::<f64>(), 2.0);
    let info = prometheus.query("auditctl_build_info{job=\"metrics\"}");
    assert_eq!(info[0].0["version"], env!("CARGO_PKG_VERSION"));
    let quantile =
        "histogram_quantile(0.99,auditctl_sync_duration_seconds_bucket{job=\"metrics\"})";
    let quantile = prometheus.query(quantile);
    assert!(quantile.len() == 1 && quantile[0].1 > 0.0, "{quantile:?}");
}

/// What Grafana would ask with a panel of the dashboard.
fn of_the_dashboard() -> Vec<(String, String)> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/grafana/auditctl.json");
    let text = std::fs::read_to_string(path).expect("shipped");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let of_panels = dashboard["panels"].as_array().expect("panels").iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations").iter();
    let all = of_panels.chain(annotations.map(|one| (one["name"].clone(), one["expr"].clone())));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let asked =
        |expr: &Value| text(expr).replace("$instance", ".*").replace("$__rate_interval", "1m");
    all.map(|(title, expr)| (text(&title), asked(&expr))).collect()
}

/// A query that Prometheus cannot read would be an empty panel, and nobody would know why.
#[test]
fn prometheus_understands_every_query_of_the_dashboard_and_those_about_any_log_have_an_answer() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        missing("prometheus");
        return;
    }
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let prometheus = Prometheus::start(&dir, &collector);
    let mut peer = collector.connect();
    assert!(peer.ask(r#"{"event_type":"login"}"#)["ok"]["seq"].is_u64());
    eventually("Prometheus has looked twice", || {
        !prometheus.query("rate(auditctl_events_total[1m])").is_empty()
    });
    let queries = of_the_dashboard();
    assert!(queries.len() > 50, "{}", queries.len());
    let mut empty = Vec::new();
    for (title, query) in &queries {
        let answer = prometheus.answer(query).expect("an answer");
        assert_eq!(answer["status"], "success", "{title}: {query}: {answer}");
        if answer["data"]["result"].as_array().is_none_or(Vec::is_empty) {
            empty.push(title.as_str());
        }
    }
    // Only what this log does not have: backups, an archive, alerts, HTTPS, a change of the writer.
    let may_be = [
        "backup",
        "drill",
        "archive",
        "Alerts",
        "waits longest",
        "Delivered",
        "Not delivered",
        "Certificate",
        "Its size",
        "Shipped",
        "opened",
        "Query cache hits",
        "Retention",
        "only this machine",
    ];
    empty.retain(|title| {
        !may_be.iter().any(|part| title.to_lowercase().contains(&part.to_lowercase()))
    });
    assert!(empty.is_empty(), "nothing to show: {empty:?}");
}
