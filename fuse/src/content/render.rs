//! A pool that renders blocks as text, on as many threads as there are cores.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kbk_format::batch::RecordBatches;
use kbk_format::repo::{RepoError, SegmentReader};
use kbk_format::{BlockDecoder, Columns, ErrorClass, FormatError, Streams};
use tokio::sync::Semaphore;

use crate::cache::locked;
use crate::content::blocks::Selection;
use crate::error::{Location, ViewError};

/// Larger buffers are freed instead of being reused for the next block.
const MAX_REUSED_BYTES: usize = 8 << 20;

/// Decodes on blocking threads.
#[derive(Debug)]
pub(crate) struct RenderPool {
    cores: Arc<Semaphore>,
    threads: usize,
    deadline: Duration,
    scratches: Arc<Mutex<Vec<DecodeScratch>>>,
}

/// A decoder and its buffers, reused from block to block.
#[derive(Default)]
pub(crate) struct DecodeScratch {
    decoder: BlockDecoder,
    columns: Columns,
}

impl std::fmt::Debug for DecodeScratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodeScratch").finish_non_exhaustive()
    }
}

impl RenderPool {
    /// A pool whose work must start and finish within `deadline`: reads of a disk that hangs hold blocking threads, too.
    pub(crate) fn new(deadline: Duration) -> RenderPool {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        RenderPool {
            cores: Arc::new(Semaphore::new(threads)),
            threads,
            deadline,
            scratches: Arc::default(),
        }
    }

    /// The number of blocks that are decoded at a time.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DecodeScratch) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let done = tokio::time::timeout(self.deadline, self.run_when_idle(work)).await;
        done.unwrap_or_else(|_| {
            Err(ViewError::Deadline {
                location: Location::default(),
                key: "a thread to decode on".into(),
                waited: self.deadline,
            })
        })
    }

    /// Runs `work` as soon as a core is idle.
    async fn run_when_idle<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DecodeScratch) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let ended = || ViewError::Internal {
            location: Location::default(),
        };
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .map_err(|_| ended())?;
        let scratches = Arc::clone(&self.scratches);
        let done = tokio::task::spawn_blocking(move || {
            let mut scratch = locked(&scratches).pop().unwrap_or_default();
            let made = work(&mut scratch);
            if scratch.columns.payload_bytes() <= MAX_REUSED_BYTES {
                locked(&scratches).push(scratch);
            }
            drop(core);
            made
        });
        done.await.map_err(|_| ended())
    }

    /// Renders a block from its stored bytes. The text must have the length `expected`, if that is known.
    pub(crate) async fn text(
        &self,
        reader: SegmentReader,
        block: usize,
        stored: Bytes,
        selection: Selection,
        expected: Option<u64>,
    ) -> Result<Vec<u8>, ViewError> {
        let made = self.run(move |scratch| {
            let text = scratch.text(&reader, block, &stored, selection, expected);
            text.map_err(|error| damaged(reader.damaged(error)))
        });
        made.await?
    }

    /// Applies `look` to a block's records.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        reader: SegmentReader,
        block: usize,
        stored: Bytes,
        look: impl FnOnce(&Columns) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let made = self.run(move |scratch| {
            let decoded = scratch.decode(&reader, block, &stored);
            decoded.map_err(|error| damaged(reader.damaged(error)))?;
            Ok(look(&scratch.columns))
        });
        made.await?
    }

    /// Applies `look` to the batches of a block of batches, which are not decoded; their checksums are compared.
    pub(crate) async fn lend<T: Send + 'static>(
        &self,
        reader: SegmentReader,
        block: usize,
        stored: Bytes,
        look: impl FnOnce(RecordBatches<'_>) -> Result<T, FormatError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let made = self.run(move |scratch| {
            let looked = scratch.lend(&reader, block, &stored, look);
            looked.map_err(|error| damaged(reader.damaged(error)))
        });
        made.await?
    }

    /// Applies `look` to META of blocks, one after the other. The bytes of each begin with its header. `located` says where in the backup an
    /// error of a block is.
    pub(crate) async fn metas<T: Send + 'static>(
        &self,
        reader: SegmentReader,
        blocks: Vec<(usize, Bytes)>,
        mut state: T,
        look: impl Fn(&mut T, &Columns) + Send + 'static,
        located: impl Fn(usize, ViewError) -> ViewError + Send + 'static,
    ) -> Result<T, ViewError> {
        let made = self.run(move |scratch| {
            for (block, start) in blocks {
                let DecodeScratch { decoder, columns } = scratch;
                let decoded = reader
                    .segment()
                    .decode_meta(block, &start, decoder, columns);
                decoded.map_err(|error| located(block, damaged(reader.damaged(error))))?;
                look(&mut state, columns);
            }
            Ok(state)
        });
        made.await?
    }

    /// Runs `look` over text, which may be long, off the async threads.
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

impl DecodeScratch {
    fn decode(
        &mut self,
        reader: &SegmentReader,
        block: usize,
        stored: &[u8],
    ) -> Result<(), FormatError> {
        let block = reader.segment().block(block, stored)?;
        block.decode(&mut self.decoder, Streams::All, &mut self.columns)
    }

    fn lend<T>(
        &mut self,
        reader: &SegmentReader,
        block: usize,
        stored: &[u8],
        look: impl FnOnce(RecordBatches<'_>) -> Result<T, FormatError>,
    ) -> Result<T, FormatError> {
        let block = reader.segment().block(block, stored)?;
        let batches = block.batches(&mut self.decoder)?;
        look(batches.unwrap_or_else(|| RecordBatches::new(&[], 0)))
    }

    fn text(
        &mut self,
        reader: &SegmentReader,
        block: usize,
        stored: &[u8],
        selection: Selection,
        expected: Option<u64>,
    ) -> Result<Vec<u8>, FormatError> {
        self.decode(reader, block, stored)?;
        let length = usize::try_from(expected.unwrap_or(0)).unwrap_or(usize::MAX);
        // A footer may state any length. Allocate no more than the decoded bytes can plausibly render to.
        let plausible = 8 * self.columns.payload_bytes() + 1024 * self.columns.len();
        let mut text = Vec::with_capacity(length.min(plausible));
        let is_selected = |timestamp| {
            let span = selection.span;
            span.is_none_or(|span| span.contains(timestamp))
        };
        let renderer = reader.segment().renderer();
        for record in self.columns.iter() {
            if is_selected(record.timestamp) {
                renderer.render(selection.view, &record, &mut text);
            }
        }
        let Some(expected) = expected.filter(|expected| *expected != text.len() as u64) else {
            return Ok(text);
        };
        let position = reader
            .segment()
            .index()
            .entries()
            .get(block)
            .map_or(0, |entry| entry.position);
        let detail = format!(
            "it renders to {} bytes, but its segment states {expected}",
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
