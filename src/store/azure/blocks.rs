//! Objects as blocks: staged, each checked by its MD5, then committed under the
//! condition that nothing of that name is there.
//!
//! A block's id says which file it is of and where it stands, so that the blocks
//! that an interrupted upload has staged are known again.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use azure_core::http::{Body, RequestContent};
use azure_core::stream::SeekableStream;
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlockBlobClientCommitBlockListOptions, BlockBlobClientCommitBlockListResultHeaders,
    BlockBlobClientStageBlockOptions, BlockListType, BlockLookupList, ImmutabilityPolicyMode,
};
use bytes::Bytes;
use futures::{AsyncRead, StreamExt};
use md5::{Digest, Md5};

use super::super::backup_store::BackupStore;
use super::super::confirm::{Sent, md5_of};
use super::super::error::{StoreError, StoreErrorKind};
use super::super::object::{Digests, LockMode};
use super::super::put::{Content, Put, UploadState};
use super::super::wire::{Meter, PartBody, Throttle, Watcher};
use super::AzureStore;
use super::failure::{Failure, failure};

/// Azure's limit for the number of blocks.
const MOST_BLOCKS: u64 = 50_000;

/// What is needed for each block.
struct Blocks<'a> {
    name: &'a str,
    url: String,
    content: Content,
    digests: Digests,
    block_bytes: u64,
    meter: Arc<Meter>,
}

impl Blocks<'_> {
    fn count(&self) -> u64 {
        self.digests.bytes.div_ceil(self.block_bytes)
    }

    /// Where a block begins, and its length.
    fn stretch(&self, number: u64) -> (u64, u64) {
        let from = number * self.block_bytes;
        (from, self.block_bytes.min(self.digests.bytes.saturating_sub(from)))
    }

    /// All of one length, as Azure wants it.
    fn id(&self, number: u64) -> Vec<u8> {
        let hash = &self.digests.sha256_hex()[..16];
        format!("{hash}-{:010x}-{number:06}", self.block_bytes).into_bytes()
    }

    fn md5(&self, number: u64) -> Result<Vec<u8>, StoreError> {
        let (from, length) = self.stretch(number);
        let mut md5 = Md5::new();
        let mut at = from;
        while at < from + length {
            let piece = (from + length - at).min(1 << 20);
            let bytes = self.content.read(at, piece as usize).map_err(|error| {
                StoreError::new(StoreErrorKind::LocalFile, "the file", "cannot be read")
                    .caused_by(&error)
            })?;
            md5.update(&bytes);
            at += piece;
        }
        Ok(md5.finalize().to_vec())
    }
}

impl AzureStore {
    pub(super) fn put_blocks(&self, name: &str, put: &mut Put<'_>) -> Result<Sent, StoreError> {
        let url = self.url(name);
        let digests = *put.body.digests();
        let whole = md5_of(put)?.ok_or_else(|| {
            let message = "the file is not what its checksum says";
            StoreError::new(StoreErrorKind::LocalFile, &url, message)
                .hint("the file changed after it was made; make the backup again")
        })?;
        let content = put.body.open()?;
        let old = put.resume.take().filter(|state| state.is_for(&url, &digests, MOST_BLOCKS));
        let block_bytes = old.as_ref().map_or_else(
            || self.place.limits.part_for(digests.bytes, MOST_BLOCKS),
            |old| old.part_bytes,
        );
        let mut blocks = Blocks {
            name,
            url: url.clone(),
            content,
            digests,
            block_bytes,
            meter: Arc::new(Meter::default()),
        };
        let staged = match &old {
            Some(_) => self.place.run(name, self.staged(&blocks))?,
            None => BTreeSet::new(),
        };
        let mut state =
            old.unwrap_or_else(|| UploadState::begun(&url, &digests, String::new(), block_bytes));
        state.stored = staged.iter().map(|number| blocks.stretch(*number).1).sum();
        blocks.meter = Arc::new(Meter::starting_at(state.stored));
        put.tell_state(&state);
        let options = self.commit_options(put, &whole)?;
        let meter = Arc::clone(&blocks.meter);
        Watcher::of(put).attend(&url, &self.place.limits, &meter, async {
            let missing = (0..blocks.count()).filter(|number| !staged.contains(number));
            let uploads = missing.collect::<Vec<u64>>().into_iter().map(|n| self.stage(&blocks, n));
            let mut uploads =
                futures::stream::iter(uploads).buffer_unordered(self.place.limits.in_flight);
            while let Some(number) = uploads.next().await {
                state.stored += blocks.stretch(number?).1;
                put.tell_state(&state);
            }
            drop(uploads);
            self.commit(&blocks, options).await
        })
    }

    fn commit_options(
        &self,
        put: &Put<'_>,
        md5: &[u8; 16],
    ) -> Result<BlockBlobClientCommitBlockListOptions<'static>, StoreError> {
        let url = self.url("");
        let (mut until, mut mode) = (None, None);
        if let Some(lock) = put.lock {
            let at = OffsetDateTime::from_unix_timestamp(lock.until.unix_seconds());
            until = Some(at.map_err(|error| {
                StoreError::new(StoreErrorKind::Usage, &url, "the lock's end is not a date")
                    .caused_by(&error)
            })?);
            mode = Some(match lock.mode {
                LockMode::Governance => ImmutabilityPolicyMode::Unlocked,
                LockMode::Compliance => ImmutabilityPolicyMode::Locked,
            });
        }
        Ok(BlockBlobClientCommitBlockListOptions {
            blob_content_md5: Some(md5.to_vec()),
            blob_content_type: Some(put.content_type.to_owned()),
            if_none_match: Some("*".into()),
            immutability_policy_expiry: until,
            immutability_policy_mode: mode,
            metadata: Some(put.full_metadata(&url)?.into_iter().collect()),
            ..Default::default()
        })
    }

    /// The blocks of this file that are there already.
    async fn staged(&self, blocks: &Blocks<'_>) -> Result<BTreeSet<u64>, StoreError> {
        let client = self.client(blocks.name)?.block_blob_client();
        let list = match client.get_block_list(BlockListType::Uncommitted, None).await {
            Ok(list) => list.into_model().map_err(|error| failure(&blocks.url, &error).error)?,
            Err(error) => match failure(&blocks.url, &error) {
                Failure { status: Some(404), .. } => return Ok(BTreeSet::new()),
                Failure { error, .. } => return Err(error),
            },
        };
        let there = list.uncommitted_blocks.unwrap_or_default();
        let is_there = |number: &u64| {
            let (id, length) = (blocks.id(*number), blocks.stretch(*number).1);
            there.iter().any(|block| {
                block.name.as_deref() == Some(&*id) && block.size == i64::try_from(length).ok()
            })
        };
        Ok((0..blocks.count()).filter(is_there).collect())
    }

    async fn stage(&self, blocks: &Blocks<'_>, number: u64) -> Result<u64, StoreError> {
        let (from, length) = blocks.stretch(number);
        let options = BlockBlobClientStageBlockOptions {
            transactional_content_md5: Some(blocks.md5(number)?),
            ..Default::default()
        };
        let body: Box<dyn SeekableStream> = Box::new(BlockBody::new(
            blocks.content.clone(),
            from,
            length,
            Arc::clone(&blocks.meter),
            self.place.throttle.clone(),
        ));
        let content: RequestContent<Bytes, _> = Body::from(body).into();
        let client = self.client(blocks.name)?.block_blob_client();
        let staged = client.stage_block(&blocks.id(number), length, content, Some(options)).await;
        staged.map_err(|error| failure(&blocks.url, &error).error)?;
        blocks.meter.alive();
        Ok(number)
    }

    async fn commit(
        &self,
        blocks: &Blocks<'_>,
        options: BlockBlobClientCommitBlockListOptions<'_>,
    ) -> Result<Sent, StoreError> {
        blocks.meter.finishing();
        let ids = (0..blocks.count()).map(|number| blocks.id(number)).collect();
        let list = BlockLookupList { uncommitted: Some(ids), ..Default::default() };
        let list = list.try_into().map_err(|error| failure(&blocks.url, &error).error)?;
        let client = self.client(blocks.name)?.block_blob_client();
        match client.commit_block_list(list, Some(options)).await {
            Ok(answer) => Ok(Sent::As(answer.version_id().ok().flatten())),
            Err(error) => match failure(&blocks.url, &error) {
                Failure { name_taken: true, .. } => Ok(Sent::NameTaken),
                Failure { error, .. } => Err(error),
            },
        }
    }
}

/// A block's bytes, read while they are sent, as the library wants them.
#[derive(Debug)]
struct BlockBody {
    content: Content,
    from: u64,
    length: u64,
    meter: Arc<Meter>,
    throttle: Option<Arc<Throttle>>,
    body: PartBody,
    piece: Bytes,
}

impl BlockBody {
    fn new(
        content: Content,
        from: u64,
        length: u64,
        meter: Arc<Meter>,
        throttle: Option<Arc<Throttle>>,
    ) -> Self {
        let body =
            PartBody::new(content.clone(), from, length, Arc::clone(&meter), throttle.clone());
        Self { content, from, length, meter, throttle, body, piece: Bytes::new() }
    }
}

/// The copy begins at the beginning: that is what the library copies it for.
impl Clone for BlockBody {
    fn clone(&self) -> Self {
        let (meter, throttle) = (Arc::clone(&self.meter), self.throttle.clone());
        Self::new(self.content.clone(), self.from, self.length, meter, throttle)
    }
}

impl AsyncRead for BlockBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.piece.is_empty() {
            match ready!(self.body.poll_piece(cx)) {
                Some(piece) => self.piece = piece?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Poll::Ready(Ok(length))
    }
}

#[async_trait]
impl SeekableStream for BlockBody {
    async fn reset(&mut self) -> azure_core::Result<()> {
        *self = self.clone();
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        Some(self.length)
    }
}
