//! Objects in parts, resumed where they were, and what interrupted ones leave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, Part,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest};
use futures::StreamExt;

use super::super::backup_store::BackupStore;
use super::super::confirm::Sent;
use super::super::error::{StoreError, StoreErrorKind};
use super::super::listing::Round;
use super::super::object::Digests;
use super::super::put::{Content, Put, UploadState};
use super::super::wire::{Meter, PartBody, Watcher};
use super::failure::{Failure, failure};
use super::{S3Store, lock_mode, version};
use crate::clock::{Clock, SystemClock};

/// S3's limit for the number of parts.
const MOST_PARTS: u64 = 10_000;

/// What is needed for each part.
struct Parts<'a> {
    client: &'a Client,
    bucket: &'a str,
    key: String,
    url: String,
    session: String,
    content: Content,
    digests: Digests,
    part_bytes: u64,
    meter: Arc<Meter>,
}

/// A part by its number, from 1.
type Done = BTreeMap<i32, CompletedPart>;

impl S3Store {
    pub(super) fn put_parts(&self, name: &str, put: &mut Put<'_>) -> Result<Sent, StoreError> {
        let client = self.client()?;
        let url = self.url(name);
        let digests = *put.body.digests();
        let content = put.body.open()?;
        let old = put.resume.take().filter(|state| state.is_for(&url, &digests, MOST_PARTS));
        let mut parts = Parts {
            client,
            bucket: self.bucket(),
            key: self.place.key(name),
            url: url.clone(),
            session: String::new(),
            content,
            digests,
            part_bytes: self.place.limits.part_for(digests.bytes, MOST_PARTS),
            meter: Arc::new(Meter::default()),
        };
        let mut resumed = None;
        if let Some(state) = old {
            parts.session.clone_from(&state.session);
            parts.part_bytes = state.part_bytes;
            match self.stored(name, &parts)? {
                Some(done) => resumed = Some((state, done)),
                // Only tidiness: most likely there is nothing left of it.
                None => drop(self.place.run(name, parts.abort())),
            }
        }
        let (mut state, mut done) = match resumed {
            Some(resumed) => resumed,
            None => {
                parts.part_bytes = self.place.limits.part_for(digests.bytes, MOST_PARTS);
                parts.session = self.begin(name, put)?;
                let session = parts.session.clone();
                (UploadState::begun(&url, &digests, session, parts.part_bytes), Done::new())
            }
        };
        state.stored = done.keys().map(|number| parts.stretch(*number).1).sum();
        parts.meter = Arc::new(Meter::starting_at(state.stored));
        put.tell_state(&state);
        let meter = Arc::clone(&parts.meter);
        let sent = Watcher::of(put).attend(&url, &self.place.limits, &meter, async {
            let missing = (1..=parts.count()).filter(|number| !done.contains_key(number));
            let uploads =
                missing.collect::<Vec<i32>>().into_iter().map(|n| self.put_part(&parts, n));
            let mut uploads =
                futures::stream::iter(uploads).buffer_unordered(self.place.limits.in_flight);
            while let Some(part) = uploads.next().await {
                let (number, part) = part?;
                state.stored += parts.stretch(number).1;
                done.insert(number, part);
                put.tell_state(&state);
            }
            drop(uploads);
            parts.complete(done).await
        });
        let is_over = match &sent {
            Ok(Sent::NameTaken) => true,
            Err(error) => error.kind == StoreErrorKind::ChecksumMismatch,
            Ok(Sent::As(_)) => false,
        };
        if is_over {
            // Only tidiness: what is left is found by `abort_stale_uploads`.
            let _ = self.place.run(name, parts.abort());
        }
        sent
    }

    fn begin(&self, name: &str, put: &Put<'_>) -> Result<String, StoreError> {
        let url = self.url(name);
        let mut request = self
            .client()?
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(self.place.key(name))
            .content_type(put.content_type)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .set_metadata(Some(put.full_metadata(&url)?.into_iter().collect()));
        if let Some(lock) = put.lock {
            request = request
                .object_lock_mode(lock_mode(lock.mode))
                .object_lock_retain_until_date(DateTime::from_secs(lock.until.unix_seconds()));
        }
        self.place.run(name, async {
            let answer = request.send().await.map_err(|error| failure(&url, &error).error)?;
            answer.upload_id.ok_or_else(|| {
                let message = "the store began an upload but gave it no id";
                StoreError::new(StoreErrorKind::Other, &url, message)
            })
        })
    }

    async fn put_part(
        &self,
        parts: &Parts<'_>,
        number: i32,
    ) -> Result<(i32, CompletedPart), StoreError> {
        let (from, length) = parts.stretch(number);
        let crc = STANDARD.encode(parts.crc(number)?.to_be_bytes());
        let meter = Arc::clone(&parts.meter);
        let body =
            PartBody::new(parts.content.clone(), from, length, meter, self.place.throttle.clone());
        let request = parts
            .client
            .upload_part()
            .bucket(parts.bucket)
            .key(&parts.key)
            .upload_id(&parts.session)
            .part_number(number)
            .content_length(length as i64)
            .checksum_crc64_nvme(&crc)
            .body(ByteStream::from_body_1_x(body));
        let answer = request.send().await.map_err(|error| {
            let Failure { no_upload, error, .. } = failure(&parts.url, &error);
            if no_upload { parts.forgotten() } else { error }
        })?;
        parts.meter.alive();
        let part = CompletedPart::builder()
            .part_number(number)
            .checksum_crc64_nvme(crc)
            .set_e_tag(answer.e_tag)
            .build();
        Ok((number, part))
    }

    /// The parts that the store has and that are what the file holds; none when
    /// it does not know the upload any more.
    fn stored(&self, name: &str, parts: &Parts<'_>) -> Result<Option<Done>, StoreError> {
        let mut done = Done::new();
        let mut round = Round::default();
        let mut marker: Option<String> = None;
        loop {
            let page = parts
                .client
                .list_parts()
                .bucket(parts.bucket)
                .key(&parts.key)
                .upload_id(&parts.session)
                .set_part_number_marker(marker.take());
            let page = self.place.run(name, async {
                match page.send().await {
                    Ok(page) => Ok(Some(page)),
                    Err(error) => match failure(&parts.url, &error) {
                        Failure { no_upload: false, error, .. } if error.retryable => Err(error),
                        // Not known any more, or not to be listed with these permissions:
                        // it begins anew. If it is more than that, beginning says so.
                        _ => Ok(None),
                    },
                }
            })?;
            let Some(page) = page else { return Ok(None) };
            for part in page.parts() {
                if self.place.limits.stop.asked() {
                    let stopped = StoreErrorKind::Interrupted;
                    return Err(StoreError::new(stopped, &parts.url, "interrupted"));
                }
                if let Some((number, kept)) = parts.kept(part)? {
                    done.insert(number, kept);
                }
            }
            marker = page.next_part_number_marker().map(str::to_owned);
            match &marker {
                Some(next) if page.is_truncated().unwrap_or(false) => {
                    round.next(&parts.url, next)?;
                }
                _ => return Ok(Some(done)),
            }
        }
    }

    pub(super) fn abort_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        let client = self.client()?;
        let url = self.url("");
        let age = i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
        let before = SystemClock.now().unix_seconds().saturating_sub(age);
        let (mut key_marker, mut id_marker, mut aborted) = (None, None, 0);
        let mut round = Round::default();
        loop {
            let page = client
                .list_multipart_uploads()
                .bucket(self.bucket())
                .prefix(self.place.destination.prefix())
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(id_marker.take());
            let page = self.place.run("", async {
                page.send().await.map_err(|error| failure(&url, &error).error)
            })?;
            for upload in page.uploads() {
                let is_old = upload.initiated().is_some_and(|begun| begun.secs() <= before);
                let Some((key, id)) = upload.key().zip(upload.upload_id()) else { continue };
                if !is_old || self.place.destination.name_of(key).is_none() {
                    continue;
                }
                self.place.run("", abort(client, &url, self.bucket(), key, id))?;
                aborted += 1;
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
            match &key_marker {
                Some(key) if page.is_truncated().unwrap_or(false) => {
                    let id: &str = id_marker.as_deref().unwrap_or_default();
                    round.next(&url, &format!("{key}\n{id}"))?;
                }
                _ => return Ok(aborted),
            }
        }
    }
}

impl Parts<'_> {
    fn count(&self) -> i32 {
        let count = self.digests.bytes.div_ceil(self.part_bytes);
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// Where a part begins, and its length.
    fn stretch(&self, number: i32) -> (u64, u64) {
        let from = (number.max(1) as u64 - 1) * self.part_bytes;
        (from, self.part_bytes.min(self.digests.bytes.saturating_sub(from)))
    }

    /// A part that the store has, if it is what the file holds there.
    fn kept(&self, part: &Part) -> Result<Option<(i32, CompletedPart)>, StoreError> {
        let number = part.part_number().filter(|number| (1..=self.count()).contains(number));
        let Some(number) = number else { return Ok(None) };
        if part.size() != Some(self.stretch(number).1 as i64) {
            return Ok(None);
        }
        let crc = STANDARD.encode(self.crc(number)?.to_be_bytes());
        // A store that shows no checksums compares the whole at the end, or is read back.
        if part.checksum_crc64_nvme().is_some_and(|found| found != crc) {
            return Ok(None);
        }
        let kept = CompletedPart::builder()
            .part_number(number)
            .checksum_crc64_nvme(crc)
            .set_e_tag(part.e_tag().map(str::to_owned))
            .build();
        Ok(Some((number, kept)))
    }

    fn crc(&self, number: i32) -> Result<u64, StoreError> {
        let (from, length) = self.stretch(number);
        let mut crc = Digest::new(CrcAlgorithm::Crc64Nvme);
        self.content.for_each(from, length, |bytes| {
            crc.update(bytes);
            Ok(())
        })?;
        Ok(crc.finalize())
    }

    async fn complete(&self, done: Done) -> Result<Sent, StoreError> {
        self.meter.finishing();
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(done.into_values().collect()))
            .build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key(&self.key)
            .upload_id(&self.session)
            .multipart_upload(parts)
            .checksum_crc64_nvme(STANDARD.encode(self.digests.crc64nvme.to_be_bytes()))
            .checksum_type(ChecksumType::FullObject)
            .mpu_object_size(self.digests.bytes as i64)
            .if_none_match("*");
        match request.send().await {
            Ok(answer) => Ok(Sent::As(answer.version_id.and_then(version))),
            Err(error) => match failure(&self.url, &error) {
                Failure { name_taken: true, .. } => Ok(Sent::NameTaken),
                // It may have been completed by an attempt whose answer was lost.
                Failure { no_upload: true, .. } => Err(self.forgotten()),
                Failure { error, .. } => Err(error),
            },
        }
    }

    fn forgotten(&self) -> StoreError {
        let message = "the store no longer knows the upload";
        StoreError::new(StoreErrorKind::Unconfirmed, &self.url, message).retryable()
    }

    async fn abort(&self) -> Result<(), StoreError> {
        abort(self.client, &self.url, self.bucket, &self.key, &self.session).await
    }
}

async fn abort(
    client: &Client,
    url: &str,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<(), StoreError> {
    let request = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => match failure(url, &error) {
            Failure { no_upload: true, .. } => Ok(()),
            Failure { error, .. } => Err(error),
        },
    }
}
