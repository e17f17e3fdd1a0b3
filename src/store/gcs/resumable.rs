//! Resumable uploads: a session is begun with the object's checksum and the
//! condition that nothing of that name is there, then filled part by part.

use std::sync::Arc;

use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Url};
use serde_json::json;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::backup_store::BackupStore;
use super::super::confirm::Sent;
use super::super::error::{StoreError, StoreErrorKind};
use super::super::object::{Digests, LockMode};
use super::super::put::{Content, Put, UploadState};
use super::super::wire::{Meter, PartBody, Watcher};
use super::client::{Client, Failure, read, send};
use super::{GcsStore, Item};

/// Parts are not limited in number; larger ones make fewer requests.
const MOST_PARTS: u64 = 10_000;

/// Of a part that it does not take whole Google keeps a multiple of this.
const LEAST_TAKEN: u64 = 256 << 10;

/// What a session said.
enum Reached {
    /// It has so many bytes.
    Bytes(u64),
    /// It is complete, as this generation.
    Complete(Option<String>),
    /// It is not known any more.
    Forgotten,
}

impl GcsStore {
    pub(super) fn put_resumable(&self, name: &str, put: &mut Put<'_>) -> Result<Sent, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let digests = *put.body.digests();
        let content = put.body.open()?;
        let old = put.resume.take().filter(|state| state.is_for(&url, &digests, MOST_PARTS));
        let mut resumed = None;
        if let Some(mut state) = old
            && let Ok(session) = client.session_at(&url, &state.session)
        {
            match self.place.run(name, reached(client, &url, &session, digests.bytes))? {
                Reached::Complete(generation) => return Ok(Sent::As(generation)),
                Reached::Bytes(stored) => {
                    state.stored = stored;
                    resumed = Some((state, session));
                }
                Reached::Forgotten => {}
            }
        }
        let (mut state, session) = match resumed {
            Some(resumed) => resumed,
            None => {
                let Some(session) = self.begin(name, put)? else { return Ok(Sent::NameTaken) };
                let part = self.place.limits.part_for(digests.bytes, MOST_PARTS);
                (UploadState::begun(&url, &digests, session.to_string(), part), session)
            }
        };
        let meter = Arc::new(Meter::starting_at(state.stored));
        put.tell_state(&state);
        Watcher::of(put).attend(&url, &self.place.limits, &meter, async {
            loop {
                let sent =
                    self.put_part(client, &url, &session, (&content, &digests), &state, &meter);
                match sent.await? {
                    Step::Done(sent) => return Ok(sent),
                    Step::Stored(stored) => state.stored = stored,
                }
                put.tell_state(&state);
            }
        })
    }

    /// A new session; none when the name is taken.
    fn begin(&self, name: &str, put: &Put<'_>) -> Result<Option<Url>, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let digests = *put.body.digests();
        let mut address = client.address(
            &url,
            &["upload", "storage", "v1", "b", self.place.destination.bucket(), "o"],
        )?;
        address
            .query_pairs_mut()
            .append_pair("uploadType", "resumable")
            .append_pair("ifGenerationMatch", "0")
            .append_pair("name", &self.place.key(name));
        let mut about = json!({
            "name": self.place.key(name),
            "contentType": put.content_type,
            // With a content encoding, Google would unpack what is downloaded.
            "cacheControl": "no-transform",
            "crc32c": STANDARD.encode(digests.crc32c.to_be_bytes()),
            "metadata": put.full_metadata(&url)?,
        });
        if let Some(lock) = put.lock {
            about["retention"] = json!({
                "mode": match lock.mode {
                    LockMode::Governance => "Unlocked",
                    LockMode::Compliance => "Locked",
                },
                "retainUntilTime": lock.until,
            });
        }
        self.place.run(name, async {
            let request = client.request(&url, Method::POST, address).await?;
            let request = request
                .header("x-upload-content-type", put.content_type)
                .header("x-upload-content-length", digests.bytes)
                .header("content-type", "application/json")
                .body(about.to_string());
            let answer = match send(&url, request).await {
                Ok(answer) => answer,
                Err(Failure { status: Some(412), error })
                    if error.kind == StoreErrorKind::ExistsAndDiffers =>
                {
                    return Ok(None);
                }
                Err(Failure { status: Some(404), mut error }) => {
                    // Nothing but the bucket can be missing.
                    error.kind = StoreErrorKind::NoBucket;
                    "there is no such bucket".clone_into(&mut error.message);
                    return Err(error.hint(
                        "make the bucket, or correct its name; auditctl does not make \
                                    buckets",
                    ));
                }
                Err(Failure { error, .. }) => return Err(error),
            };
            let session = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            client.session_at(&url, session.unwrap_or_default()).map(Some)
        })
    }

    async fn put_part(
        &self,
        client: &Client,
        url: &str,
        session: &Url,
        (content, digests): (&Content, &Digests),
        state: &UploadState,
        meter: &Arc<Meter>,
    ) -> Result<Step, StoreError> {
        let (from, total) = (state.stored, digests.bytes);
        let length = state.part_bytes.min(total.saturating_sub(from));
        let range = match length {
            0 => format!("bytes */{total}"),
            _ => format!("bytes {from}-{}/{total}", from + length - 1),
        };
        if from + length == total {
            meter.finishing();
        }
        let body = PartBody::new(
            content.clone(),
            from,
            length,
            Arc::clone(meter),
            self.place.throttle.clone(),
        );
        let request = client
            .session(session.clone())
            .header("content-range", range)
            .header("content-length", length)
            .body(reqwest::Body::wrap(body));
        let answer = match send(url, request).await {
            Ok(answer) => answer,
            Err(Failure { status: Some(412), error })
                if error.kind == StoreErrorKind::ExistsAndDiffers =>
            {
                return Ok(Step::Done(Sent::NameTaken));
            }
            Err(Failure { status: Some(404 | 410), .. }) => {
                let message = "the store no longer knows the upload";
                return Err(StoreError::new(StoreErrorKind::Unconfirmed, url, message).retryable());
            }
            Err(Failure { error, .. }) => return Err(error),
        };
        meter.alive();
        if answer.status().as_u16() != 308 {
            let item: Item = read(url, answer).await?;
            return Ok(Step::Done(Sent::As(item.generation)));
        }
        let stored = stored(answer.headers());
        if stored < from.saturating_add(length.min(LEAST_TAKEN)) {
            // It took nothing, or next to nothing: better a new attempt after a pause than a loop.
            let message = "the store accepted none of the data";
            return Err(StoreError::new(StoreErrorKind::Unreachable, url, message).retryable());
        }
        Ok(Step::Stored(stored.min(total)))
    }
}

/// What came of a part.
enum Step {
    Stored(u64),
    Done(Sent),
}

/// Asks a session how far it is.
async fn reached(
    client: &Client,
    url: &str,
    session: &Url,
    total: u64,
) -> Result<Reached, StoreError> {
    let request = client
        .session(session.clone())
        .header("content-range", format!("bytes */{total}"))
        .header("content-length", 0);
    match send(url, request).await {
        Ok(answer) if answer.status().as_u16() == 308 => {
            Ok(Reached::Bytes(stored(answer.headers()).min(total)))
        }
        Ok(answer) => {
            let item: Item = read(url, answer).await?;
            Ok(Reached::Complete(item.generation))
        }
        Err(Failure { status: Some(400 | 404 | 410 | 412), .. }) => Ok(Reached::Forgotten),
        Err(Failure { error, .. }) => Err(error),
    }
}

/// `Range: bytes=0-N`: the store has the bytes up to and with N; without it, none.
fn stored(headers: &HeaderMap) -> u64 {
    let last = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(|text| {
        text.rsplit_once('-').and_then(|(_, last)| last.trim().parse::<u64>().ok())
    });
    last.map_or(0, |last| last.saturating_add(1))
}
