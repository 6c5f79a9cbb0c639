//! One segment being uploaded: streamed in constant memory, hashed as it is written.
//!
//! On a local disk the bytes go to a temporary file beside the segment, `<key>#<number>`. It is
//! flushed, then renamed, then its folder is flushed. Readers do not see it before that.

use std::collections::VecDeque;
use std::io;

use object_store::{MultipartUpload, ObjectStore};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::error::{Operation, RepoErrorKind, Result};
use super::id::{Digest, Hex};
use super::keys::Key;
use super::store::{Store, path};

/// The memory of one upload: one part that fills, and `parts_in_flight` that are being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadBuffers {
    /// Bytes of one part, at least 1. A bucket wants at least 5 MiB.
    pub part_bytes: usize,
    /// Parts in flight at a time, at least 1.
    pub parts_in_flight: usize,
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
    /// `None` once it is complete or a write has failed: nothing can be appended then.
    upload: Option<Box<dyn MultipartUpload>>,
    in_flight: VecDeque<JoinHandle<object_store::Result<()>>>,
    buffer: Vec<u8>,
    hash: Sha256,
    size: u64,
}

/// A segment that is durable under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// SHA-256 of all its bytes.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl SegmentUpload {
    /// Begins the upload of `key`, with its requests on `runtime`.
    pub fn start(store: &Store, key: Key, runtime: Handle, buffers: UploadBuffers) -> Result<Self> {
        let path = path(&key);
        let begun = store
            .objects()
            .put_multipart_opts(&path, Default::default());
        let upload = runtime
            .block_on(begun)
            .map_err(|error| store.failed(Operation::Write, &key, error))?;
        Ok(SegmentUpload {
            store: store.clone(),
            key,
            runtime,
            buffers,
            upload: Some(upload),
            in_flight: VecDeque::new(),
            buffer: Vec::new(),
            hash: Sha256::new(),
            size: 0,
        })
    }

    /// Waits while the allowed number of parts is in flight. After an error nothing can be appended.
    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let part_bytes = self.buffers.part_bytes.max(1);
            let room = part_bytes - self.buffer.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.buffer.reserve_exact(room);
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == part_bytes {
                self.send_part()?;
            }
        }
        Ok(())
    }

    /// Makes the segment durable under its name. Asynchronous, unlike the rest: flushing a large segment takes as long
    /// as writing a good part of it, and the thread that wrote it has the next one to write.
    ///
    /// If the future is dropped before it is done, it leaves no object or a complete one.
    pub async fn complete(mut self) -> Result<Uploaded> {
        if !self.buffer.is_empty() {
            self.start_part()?;
        }
        while let Some(part) = self.in_flight.pop_front() {
            self.part_done(part.await)?;
        }
        let mut upload = self.take_upload()?;
        if let Err(error) = upload.complete().await {
            self.upload = Some(upload);
            self.abort();
            return Err(self.store.failed(Operation::Write, &self.key, error));
        }
        Ok(Uploaded {
            sha256: Hex(std::mem::take(&mut self.hash).finalize().into()),
            size: self.size,
        })
    }

    fn send_part(&mut self) -> Result<()> {
        self.wait_for_parts(self.buffers.parts_in_flight.saturating_sub(1))?;
        self.start_part()
    }

    fn start_part(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.buffer);
        let mut upload = self.take_upload()?;
        self.in_flight
            .push_back(self.runtime.spawn(upload.put_part(part.into())));
        self.upload = Some(upload);
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
        let closed = || self.store.error(&self.key, RepoErrorKind::UploadClosed);
        self.upload.take().ok_or_else(closed)
    }

    /// Aborts the upload. If that fails too, a temporary file is left that no reader sees.
    fn abort(&mut self) {
        let Some(mut upload) = self.upload.take() else {
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
