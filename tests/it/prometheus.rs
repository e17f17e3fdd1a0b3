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

    /// The instant vector of a query: labels and value of each sample.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return Vec::new();
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let request = format!(
            "GET /api/v1/query?query={} HTTP/1.0\r\nhost: localhost\r\n\r\n",
            query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace(' ', "%20")
        );
        let mut response = String::new();
        if stream.write_all(request.as_bytes()).and(stream.read_to_string(&mut response)).is_err() {
            return Vec::new();
        }
        let Some((_, body)) = response.split_once("\r\n\r\n") else { return Vec::new() };
        let Ok(document) = serde_json::from_str::<Value>(body) else { return Vec::new() };
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
