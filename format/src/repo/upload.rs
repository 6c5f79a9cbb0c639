//! One segment being uploaded: streamed in constant memory, hashed as it is written.
//!
//! On a local disk the bytes go to a temporary file beside the segment, `<key>#<number>`. It is
//! flushed, then renamed, then its folder is flushed. Readers do not see it before that.
//!
//! A bucket gets a small segment by one request, and a larger one in parts, of which readers see nothing before the last request.
//! Its answer may be lost, and then the request is repeated and finds no upload any more: the object tells that it took effect.
//! Its name has a random id, so that no other writer can have written it.
//!
//! Bytes are copied once, into the part that is being filled, or not at all where a caller hands over a whole buffer
//! ([`SegmentUpload::write_buffer`]). The buffers of parts that were sent are filled again, by any upload to the same
//! store.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::error::{Operation, RepoError, RepoErrorKind, Result};
use super::keys::Key;
use super::segment_hash::{SegmentHash, SegmentHasher};
use super::spare_buffers::USUAL_BYTES;
use super::store::{Store, path};

/// The memory of one upload: one part that fills, and `parts_in_flight` that are being sent, each with a buffer that was handed over where these
/// may have any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadBuffers {
    /// A segment of fewer bytes is in memory until it is complete, and is written by one request; 0 for none.
    pub whole_below: usize,
    /// Bytes of one part, at least 1. A bucket wants at least 5 MiB.
    pub part_bytes: usize,
    /// Parts in flight at a time, at least 1.
    pub parts_in_flight: usize,
    /// Whether parts of any size will do, as for a file: then a whole buffer is a part, and is not copied.
    pub any_part_size: bool,
}

/// The outcome of the task that sent a part, and within it that of the request.
type PartDone = std::result::Result<object_store::Result<()>, tokio::task::JoinError>;

/// An upload for the threads that encode, as an [`io::Write`]. Writing blocks the thread, so it must not be done in
/// asynchronous code; [`complete`](Self::complete) is asynchronous. Dropped before it is complete, it leaves no object.
#[derive(Debug)]
pub struct SegmentUpload {
    store: Store,
    key: Key,
    runtime: Handle,
    buffers: UploadBuffers,
    upload: Upload,
    in_flight: VecDeque<JoinHandle<object_store::Result<()>>>,
    buffer: Vec<u8>,
    hasher: SegmentHasher,
    size: u64,
}

/// How far it is.
#[derive(Debug)]
enum Upload {
    /// All bytes are in the buffer.
    NotBegun,
    /// Parts have been sent, or can be.
    Parts(Box<dyn MultipartUpload>),
    /// It is complete, or a write has failed: nothing can be appended.
    Closed,
}

/// A segment that is durable under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The hash of all its bytes.
    pub blake3: SegmentHash,
    /// Its length in bytes.
    pub size: u64,
}

impl SegmentUpload {
    /// Begins the upload of `key`, with its requests on `runtime`.
    pub fn start(store: &Store, key: Key, runtime: Handle, buffers: UploadBuffers) -> Result<Self> {
        let mut upload = SegmentUpload {
            store: store.clone(),
            key,
            runtime,
            buffers,
            upload: Upload::NotBegun,
            in_flight: VecDeque::new(),
            buffer: Vec::new(),
            hasher: SegmentHasher::new(),
            size: 0,
        };
        if buffers.whole_below == 0 {
            upload.begin()?;
        }
        Ok(upload)
    }

    fn begin(&mut self) -> Result<()> {
        let path = path(&self.key);
        let options = self.store.multipart_options(&self.key);
        let begun = self.store.objects().put_multipart_opts(&path, options);
        let begun = self.runtime.block_on(begun);
        let begun = begun.map_err(|error| self.store.failed(Operation::Write, &self.key, error));
        self.upload = Upload::Parts(begun.inspect_err(|_| self.upload = Upload::Closed)?);
        Ok(())
    }

    /// Waits while the allowed number of parts is in flight. After an error nothing can be appended.
    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        let part_bytes = self.buffers.part_bytes.max(1);
        while !bytes.is_empty() {
            let limit = match self.upload {
                Upload::NotBegun => self.buffers.whole_below.max(part_bytes),
                Upload::Parts(_) => part_bytes,
                Upload::Closed => return Err(self.closed()),
            };
            let room = limit.saturating_sub(self.buffer.len());
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Upload::Parts(_) = self.upload {
                self.buffer.reserve_exact(room);
            }
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == limit {
                if let Upload::NotBegun = self.upload {
                    self.begin()?;
                }
                self.send_parts(part_bytes)?;
            }
        }
        Ok(())
    }

    /// Appends a whole buffer, and leaves an empty one in its place, which may have the capacity of an earlier one. Where parts of any size will do,
    /// the bytes are not copied; those of a buffer that is larger than usual are written before this returns, so that no two of them are in flight.
    /// Blocks, like writing.
    ///
    /// # Errors
    ///
    /// As writing: the first error, whose source is a [`RepoError`].
    pub fn write_buffer(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let is_part = bytes.len() >= self.buffers.part_bytes / 2 && self.buffers.any_part_size;
        let written = match self.upload {
            Upload::Parts(_) if is_part => self.hand_over(bytes),
            _ => self.append(bytes).map(|()| bytes.clear()),
        };
        written.map_err(io::Error::other)
    }

    /// Sends what is in the buffer, and `bytes`, as one part.
    fn hand_over(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        // First, so that a buffer that was sent is there to be filled again.
        self.wait_for_parts(self.buffers.parts_in_flight.saturating_sub(1))?;
        let permit = self.runtime.block_on(permit(self.store.uploads()));
        let second = std::mem::replace(bytes, self.store.spare_buffers().take(bytes.len()));
        let first = std::mem::replace(&mut self.buffer, self.store.spare_buffers().take(0));
        let is_large = second.len() > USUAL_BYTES.max(self.buffers.part_bytes);
        self.start_part([first, second], permit)?;
        match is_large {
            true => self.wait_for_parts(0),
            false => Ok(()),
        }
    }

    /// Returns the hash of the bytes that were written so far.
    #[must_use]
    pub fn hash(&self) -> SegmentHash {
        self.hasher.hash()
    }

    /// Makes the segment durable under its name. Asynchronous, unlike the rest: flushing a large segment takes as long
    /// as writing a good part of it, and the thread that wrote it has the next one to write.
    ///
    /// If the future is dropped before it is done, it leaves no object or a complete one.
    pub async fn complete(mut self) -> Result<Uploaded> {
        match self.upload {
            Upload::NotBegun => self.put_whole().await?,
            Upload::Parts(_) => self.complete_parts().await?,
            Upload::Closed => return Err(self.closed()),
        }
        Ok(Uploaded {
            blake3: self.hasher.hash(),
            size: self.size,
        })
    }

    async fn put_whole(&mut self) -> Result<()> {
        self.upload = Upload::Closed;
        let _permit = permit(self.store.uploads()).await;
        let bytes = std::mem::take(&mut self.buffer);
        let options = self.store.put_options(&self.key, PutMode::Overwrite);
        let path = path(&self.key);
        let put = self.store.objects().put_opts(&path, bytes.into(), options);
        let put = put.await.map(drop);
        put.map_err(|error| self.store.failed(Operation::Write, &self.key, error))
    }

    async fn complete_parts(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            let permit = permit(self.store.uploads()).await;
            let part = std::mem::take(&mut self.buffer);
            self.start_part([part], permit)?;
        }
        while let Some(part) = self.in_flight.pop_front() {
            self.part_done(part.await)?;
        }
        let mut upload = self.take_upload()?;
        if let Err(error) = upload.complete().await
            && !is_stored(&self.store, &self.key, self.size).await
        {
            self.upload = Upload::Parts(upload);
            self.abort();
            return Err(self.store.failed(Operation::Write, &self.key, error));
        }
        Ok(())
    }

    /// Sends all full parts of the buffer.
    fn send_parts(&mut self, part_bytes: usize) -> Result<()> {
        while self.buffer.len() >= part_bytes {
            let mut rest = self.store.spare_buffers().take(part_bytes);
            rest.extend_from_slice(self.buffer.get(part_bytes..).unwrap_or_default());
            let mut part = std::mem::replace(&mut self.buffer, rest);
            part.truncate(part_bytes);
            self.wait_for_parts(self.buffers.parts_in_flight.saturating_sub(1))?;
            // Before another part fills: the parts that wait would be memory without bound.
            let permit = self.runtime.block_on(permit(self.store.uploads()));
            self.start_part([part], permit)?;
        }
        Ok(())
    }

    /// Sends a part, whose bytes are in one buffer or more.
    fn start_part<const N: usize>(
        &mut self,
        buffers: [Vec<u8>; N],
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<()> {
        let mut upload = self.take_upload()?;
        let spare = self.store.spare_buffers();
        let buffers = buffers.into_iter();
        let buffers = buffers.map(|bytes| Bytes::from_owner(spare.lend(bytes)));
        let sent = upload.put_part(buffers.collect());
        self.in_flight.push_back(self.runtime.spawn(async move {
            let _permit = permit;
            sent.await
        }));
        self.upload = Upload::Parts(upload);
        Ok(())
    }

    /// Waits until at most `remaining` parts are in flight.
    fn wait_for_parts(&mut self, remaining: usize) -> Result<()> {
        while self.in_flight.len() > remaining
            && let Some(part) = self.in_flight.pop_front()
        {
            let done = self.runtime.block_on(part);
            self.part_done(done)?;
        }
        Ok(())
    }

    fn part_done(&mut self, done: PartDone) -> Result<()> {
        done.map_err(Into::into).flatten().map_err(|error| {
            self.abort();
            self.store.failed(Operation::Write, &self.key, error)
        })
    }

    fn take_upload(&mut self) -> Result<Box<dyn MultipartUpload>> {
        match std::mem::replace(&mut self.upload, Upload::Closed) {
            Upload::Parts(upload) => Ok(upload),
            Upload::NotBegun | Upload::Closed => Err(self.closed()),
        }
    }

    fn closed(&self) -> RepoError {
        self.store.error(&self.key, RepoErrorKind::UploadClosed)
    }

    /// Aborts the upload. If that fails too, a temporary file or parts are left that no reader sees.
    fn abort(&mut self) {
        let Upload::Parts(mut upload) = std::mem::replace(&mut self.upload, Upload::Closed) else {
            return;
        };
        let in_flight = std::mem::take(&mut self.in_flight);
        let aborted = async move {
            // A part that is still being sent could otherwise arrive after the abort and stay.
            for part in in_flight {
                let _ = part.await;
            }
            let _ = upload.abort().await;
        };
        // Blocking is not allowed inside a runtime, so there the abort runs in the background.
        if Handle::try_current().is_ok() {
            drop(self.runtime.spawn(aborted));
        } else {
            self.runtime.block_on(aborted);
        }
    }
}

/// Returns whether a bucket has the object, although completing it failed. On a disk a failure is one: what has its name may
/// not be durable.
async fn is_stored(store: &Store, key: &Key, size: u64) -> bool {
    let path = path(key);
    let found = store.objects().head(&path);
    store.folder().is_none() && found.await.is_ok_and(|found| found.size == size)
}

/// Waits for the permission to send. `None` only where nobody counts any more, which never is while the store exists.
async fn permit(uploads: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(uploads).acquire_owned().await.ok()
}

/// Accepts bytes until the first error, whose source is a [`RepoError`](super::error::RepoError).
impl io::Write for SegmentUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    /// Does nothing: bytes are durable only when the upload is complete.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SegmentUpload {
    fn drop(&mut self) {
        self.abort();
    }
}
