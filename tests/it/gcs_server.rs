//! Google Cloud Storage by its documentation, in memory: what fake-gcs-server does
//! not do (resumed uploads, conditions and checksums at their end, retention that
//! must be enabled). It stands beside that one in the tests, not in its place.
//!
//! Source: <https://cloud.google.com/storage/docs/performing-resumable-uploads>.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auditctl::clock::{Clock, SystemClock};
use auditctl::store::Digests;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::servers::BUCKET;

/// Google keeps of a part that breaks off what fills such blocks.
const BLOCK: usize = 256 << 10;
/// Small, so that lists have several pages.
const PAGE: usize = 100;

#[derive(Clone, Debug)]
struct Kept {
    about: Value,
    content: Bytes,
}

#[derive(Debug, Default)]
struct Session {
    about: Value,
    content: Vec<u8>,
    done: Option<Value>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Kept>,
    sessions: BTreeMap<String, Session>,
    next: u64,
}

type Shared = Arc<Mutex<State>>;
type Answer = Response<Full<Bytes>>;

fn locked(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves on a thread of its own until the process ends.
pub(crate) fn start() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let state = Shared::default();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, std::convert::Infallible>(serve(&state, request).await) }
                    });
                    // A client that goes away is what some tests are about.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
    });
    Ok(address)
}

async fn serve(state: &Shared, request: Request<Incoming>) -> Answer {
    let url = format!("http://none{}", request.uri());
    let url = reqwest::Url::parse(&url).expect("an address");
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let path: Vec<String> =
        url.path_segments().into_iter().flatten().map(percent_decoded).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (request.method().clone(), path.as_slice()) {
        (Method::POST, ["upload", "storage", "v1", "b", bucket, "o"]) => {
            if *bucket != BUCKET {
                return refused(404, "notFound", "The specified bucket does not exist.");
            }
            begin(state, &query, request).await
        }
        (Method::PUT, ["session", id]) => part(state, id, request).await,
        (_, ["storage", "v1", "b", bucket, "o", ..]) if *bucket != BUCKET => {
            refused(404, "notFound", "The specified bucket does not exist.")
        }
        // Of a bucket that keeps no versions.
        (Method::GET, ["storage", "v1", "b", _]) => answer(200, &json!({})),
        (Method::GET, ["storage", "v1", "b", _, "o"]) => list(&locked(state), &query),
        (Method::GET, ["storage", "v1", "b", _, "o", name]) => {
            get(&locked(state), name, &query, &request)
        }
        (Method::DELETE, ["storage", "v1", "b", _, "o", name]) => {
            delete(&mut locked(state), name, &query)
        }
        _ => refused(400, "invalid", "not in this server"),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("utf-8")
}

fn answer(status: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string()));
    Response::builder().status(status).body(body).expect("an answer")
}

fn refused(status: u16, reason: &str, message: &str) -> Answer {
    let errors = [json!({ "reason": reason })];
    answer(status, &json!({"error": {"code": status, "message": message, "errors": errors}}))
}

async fn begin(
    state: &Shared,
    query: &BTreeMap<String, String>,
    request: Request<Incoming>,
) -> Answer {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default().to_owned();
    let Ok(body) = request.into_body().collect().await else {
        return refused(400, "invalid", "no body");
    };
    let about: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    assert_eq!(query.get("ifGenerationMatch").map(String::as_str), Some("0"), "create-only");
    if !about["retention"].is_null() {
        return refused(400, "invalid", "Object Retention is not enabled for the bucket.");
    }
    let mut state = locked(state);
    if state.objects.contains_key(&query["name"]) {
        return refused(412, "conditionNotMet", "At least one of the conditions did not hold.");
    }
    state.next += 1;
    let id = state.next.to_string();
    state.sessions.insert(id.clone(), Session { about, ..Session::default() });
    let mut answer = answer(200, &Value::Null);
    let place = format!("http://{host}/session/{id}");
    answer.headers_mut().insert("location", HeaderValue::try_from(place).expect("a header"));
    answer
}

/// `bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL` as a question.
fn range(request: &Request<Incoming>) -> (Option<usize>, usize) {
    let text = request.headers().get("content-range").expect("a range");
    let text = text.to_str().expect("text").trim_start_matches("bytes ");
    let (stretch, total) = text.split_once('/').expect("a total");
    let first = stretch.split_once('-').map(|(first, _)| first.parse().expect("a number"));
    (first, total.parse().expect("a number"))
}

async fn part(state: &Shared, id: &str, request: Request<Incoming>) -> Answer {
    let (first, total) = range(&request);
    {
        let state = locked(state);
        match state.sessions.get(id) {
            None => return refused(404, "notFound", "no such session"),
            Some(Session { done: Some(about), .. }) => return answer(200, about),
            Some(session) if first.is_some_and(|first| first != session.content.len()) => {
                return refused(400, "invalid", "a gap");
            }
            Some(_) => {}
        }
    }
    let mut body = request.into_body();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        let bytes = frame.into_data().unwrap_or_default();
        let mut state = locked(state);
        let Some(session) = state.sessions.get_mut(id) else { break };
        session.content.extend_from_slice(&bytes);
    }
    let mut state = locked(state);
    let Some(session) = state.sessions.get_mut(id) else {
        return refused(404, "notFound", "no such session");
    };
    let length = session.content.len();
    if !whole {
        session.content.truncate(length / BLOCK * BLOCK);
        return refused(503, "backendError", "broke off");
    }
    if length < total || (first.is_none() && total > 0) {
        let mut answer = answer(308, &Value::Null);
        if length > 0 {
            let range = format!("bytes=0-{}", length - 1);
            answer.headers_mut().insert("range", HeaderValue::try_from(range).expect("a header"));
        }
        return answer;
    }
    complete(&mut state, id)
}

fn complete(state: &mut State, id: &str) -> Answer {
    state.next += 1;
    let generation = state.next.to_string();
    let session = state.sessions.get_mut(id).expect("a session");
    let content = Bytes::from(std::mem::take(&mut session.content));
    let mut about = session.about.clone();
    let name = about["name"].as_str().expect("a name").to_owned();
    let crc = STANDARD.encode(Digests::of(&content).crc32c.to_be_bytes());
    if about["crc32c"] != json!(crc) {
        state.sessions.remove(id);
        return refused(400, "invalid", "Provided CRC32C does not match calculated CRC32C.");
    }
    if state.objects.contains_key(&name) {
        state.sessions.remove(id);
        return refused(412, "conditionNotMet", "At least one of the conditions did not hold.");
    }
    about["size"] = json!(content.len().to_string());
    about["generation"] = json!(generation);
    about["updated"] = json!(SystemClock.now());
    session.done = Some(about.clone());
    state.objects.insert(name, Kept { about: about.clone(), content });
    answer(200, &about)
}

fn list(state: &State, query: &BTreeMap<String, String>) -> Answer {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("pageToken").map_or("", String::as_str);
    let mut found = state
        .objects
        .iter()
        .filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after)
        .map(|(name, kept)| (name.clone(), kept.about.clone()));
    let page: Vec<(String, Value)> = found.by_ref().take(PAGE).collect();
    let mut value = json!({});
    if found.next().is_some() {
        value["nextPageToken"] = json!(page.last().map(|(name, _)| name));
    }
    // Left out where there is none, as Google does.
    if !page.is_empty() {
        value["items"] = page.into_iter().map(|(_, about)| about).collect();
    }
    answer(200, &value)
}

fn found<'a>(state: &'a State, name: &str, query: &BTreeMap<String, String>) -> Option<&'a Kept> {
    let kept = state.objects.get(name)?;
    let asked = query.get("generation");
    asked.is_none_or(|asked| kept.about["generation"] == json!(asked)).then_some(kept)
}

fn get(
    state: &State,
    name: &str,
    query: &BTreeMap<String, String>,
    request: &Request<Incoming>,
) -> Answer {
    let Some(kept) = found(state, name, query) else {
        return refused(404, "notFound", "No such object");
    };
    if query.get("alt").map(String::as_str) != Some("media") {
        return answer(200, &kept.about);
    }
    let from = request.headers().get("range").and_then(|range| range.to_str().ok());
    let from = from.map(|range| {
        let first = range.trim_start_matches("bytes=").trim_end_matches('-');
        first.parse::<usize>().expect("a number")
    });
    match from {
        None => Response::new(Full::new(kept.content.clone())),
        Some(from) if from >= kept.content.len() => refused(416, "range", "not satisfiable"),
        Some(from) => {
            let length = kept.content.len();
            let range = format!("bytes {from}-{}/{length}", length - 1);
            let body = Full::new(kept.content.slice(from..));
            let answer = Response::builder().status(206).header("content-range", range);
            answer.body(body).expect("an answer")
        }
    }
}

fn delete(state: &mut State, name: &str, query: &BTreeMap<String, String>) -> Answer {
    if found(state, name, query).is_none() {
        return refused(404, "notFound", "No such object");
    }
    state.objects.remove(name);
    Response::builder().status(204).body(Full::default()).expect("an answer")
}
