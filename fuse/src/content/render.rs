//! Blocks become text on threads of their own, as many at a time as there are cores.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kbk_format::render::View;
use kbk_format::repo::{RepoError, SegmentReader};
use kbk_format::{BlockDecoder, Columns, ErrorClass, FormatError, Streams};
use tokio::sync::Semaphore;

use crate::cache::locked;
use crate::error::{Location, ViewError};

/// Buffers that are larger are not kept for the next block.
const KEPT_BYTES: usize = 8 << 20;

/// Threads that decode.
#[derive(Debug)]
pub(crate) struct RenderPool {
    cores: Arc<Semaphore>,
    threads: usize,
    deadline: Duration,
    benches: Arc<Mutex<Vec<Bench>>>,
}

/// What a thread decodes with.
#[derive(Default)]
pub(crate) struct Bench {
    decoder: BlockDecoder,
    columns: Columns,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

impl RenderPool {
    /// Threads that answer within `deadline`: those that a hanging disk keeps are missing here.
    pub(crate) fn new(deadline: Duration) -> RenderPool {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        RenderPool {
            cores: Arc::new(Semaphore::new(threads)),
            threads,
            deadline,
            benches: Arc::default(),
        }
    }

    /// So many blocks are decoded at a time.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let done = tokio::time::timeout(self.deadline, self.run_somewhen(work)).await;
        done.unwrap_or_else(|_| {
            Err(ViewError::Deadline {
                location: Location::default(),
                key: "a thread to decode on".to_owned(),
                waited: self.deadline,
            })
        })
    }

    /// What `work` makes of a block, when a core is free for it.
    async fn run_somewhen<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let ended = || ViewError::Internal {
            location: Location::default(),
        };
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .map_err(|_| ended())?;
        let benches = Arc::clone(&self.benches);
        let done = tokio::task::spawn_blocking(move || {
            let mut bench = locked(&benches).pop().unwrap_or_default();
            let made = work(&mut bench);
            if bench.columns.payload_bytes() <= KEPT_BYTES {
                locked(&benches).push(bench);
            }
            drop(core);
            made
        });
        done.await.map_err(|_| ended())
    }

    /// The text of a block whose stored bytes are `stored`; it must have the length `expected`.
    pub(crate) async fn text(
        &self,
        reader: SegmentReader,
        block: usize,
        stored: Bytes,
        view: View,
        expected: u64,
    ) -> Result<Vec<u8>, ViewError> {
        let made = self.run(move |bench| {
            let text = bench.text(&reader, block, &stored, view, expected);
            text.map_err(|error| damaged(reader.damaged(error)))
        });
        made.await?
    }

    /// What `look` makes of the timestamps of a block's records.
    pub(crate) async fn timestamps<T: Send + 'static>(
        &self,
        reader: SegmentReader,
        block: usize,
        stored: Bytes,
        look: impl FnOnce(&[i64]) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let made = self.run(move |bench| {
            let decoded = bench.decode(&reader, block, &stored, Streams::Meta);
            decoded.map_err(|error| damaged(reader.damaged(error)))?;
            Ok(look(bench.columns.timestamps()))
        });
        made.await?
    }

    /// What `look` finds in text, which may be long.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        self.run(move |_| look()).await
    }
}

fn damaged(error: RepoError) -> ViewError {
    ViewError::repo(Location::default(), error)
}

impl Bench {
    fn decode(
        &mut self,
        reader: &SegmentReader,
        block: usize,
        stored: &[u8],
        streams: Streams,
    ) -> Result<(), FormatError> {
        let block = reader.segment().block(block, stored)?;
        block.decode(&mut self.decoder, streams, &mut self.columns)
    }

    fn text(
        &mut self,
        reader: &SegmentReader,
        block: usize,
        stored: &[u8],
        view: View,
        expected: u64,
    ) -> Result<Vec<u8>, FormatError> {
        self.decode(reader, block, stored, Streams::All)?;
        let length = usize::try_from(expected).unwrap_or(usize::MAX);
        // What a footer states is not believed before the block is decoded: its text has some bytes for each that it holds.
        let believed = 8 * self.columns.payload_bytes() + 512 * self.columns.len();
        let mut text = Vec::with_capacity(length.min(believed));
        for record in self.columns.iter() {
            view.render(&record, &mut text);
        }
        if text.len() == length {
            return Ok(text);
        }
        let position = reader
            .segment()
            .index()
            .entries()
            .get(block)
            .map_or(0, |entry| entry.position);
        let detail = format!(
            "it renders to {} bytes, its segment states {expected}",
            text.len()
        );
        Err(FormatError::new(
            ErrorClass::Inconsistent,
            "block",
            position,
            detail,
        ))
    }
}
