//! From records and gaps to segments: one at a time, each durable before the next.

use std::sync::Arc;

use kbk_format::repo::{Id, Key, PartitionId, RepoError, SegmentEntry, SegmentUpload, Store};
use kbk_format::{
    BlockBuilder, Encoder, FileHeader, Gap, GapReason, IsolationLevel, Push, Record, Renderer,
    SegmentAssembler, TimestampType, WriteError,
};
use tokio::runtime::Handle;

use super::error::ImportError;
use super::{ImportEvents, ImportOptions};

/// Gaps that a block may end with, so that a segment always has room for those of its last block.
const GAPS_PER_BLOCK: usize = 4096;

/// Writes the segments of one partition.
pub(super) struct Output {
    id: PartitionId,
    store: Store,
    runtime: Handle,
    cluster_id: Option<String>,
    options: Arc<ImportOptions>,
    events: Arc<dyn ImportEvents>,
    encoder: Encoder,
    renderer: Renderer,
    /// `None` only while a block is being written, and after an error.
    builder: Option<BlockBuilder>,
    timestamp_type: TimestampType,
    /// Gaps that begin in the open block, or before it.
    gaps: Vec<Gap>,
    open: Option<SegmentAssembler<SegmentUpload>>,
    segments: Vec<SegmentEntry>,
}

impl Output {
    pub(super) fn new(
        id: PartitionId,
        base_offset: i64,
        store: Store,
        cluster_id: Option<String>,
        options: Arc<ImportOptions>,
        events: Arc<dyn ImportEvents>,
        runtime: Handle,
    ) -> Output {
        Output {
            renderer: Renderer::new(&id.topic, id.partition),
            encoder: Encoder::new(options.compression),
            id,
            store,
            runtime,
            cluster_id,
            options,
            events,
            builder: Some(BlockBuilder::new(base_offset)),
            timestamp_type: TimestampType::CreateTime,
            gaps: Vec::new(),
            open: None,
            segments: Vec::new(),
        }
    }

    /// Returns one past the last offset that is covered so far.
    pub(super) fn end_offset(&self) -> i64 {
        self.builder.as_ref().map_or(0, BlockBuilder::end_offset)
    }

    /// Appends a record.
    pub(super) fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ImportError> {
        if timestamp_type != self.timestamp_type {
            // A segment has one type.
            self.end_block()?;
            self.seal()?;
            self.timestamp_type = timestamp_type;
        }
        // Runs at most twice: an empty block is never full.
        loop {
            let block_bytes = self.options.block_bytes;
            let builder = self.builder()?;
            let pushed = builder.try_push(record, block_bytes);
            match pushed.map_err(|error| self.error(error.into()))? {
                Push::Full => self.end_block()?,
                _ => return Ok(()),
            }
        }
    }

    /// Covers the offsets up to `end_offset` without a record, for a reason.
    pub(super) fn gap(&mut self, end_offset: i64, reason: GapReason) -> Result<(), ImportError> {
        let from_offset = self.end_offset();
        if end_offset <= from_offset {
            return Ok(());
        }
        self.builder()?.cover(end_offset);
        match self.gaps.last_mut() {
            Some(last) if last.to_offset == from_offset && last.reason == reason => {
                last.to_offset = end_offset;
            }
            _ => self.gaps.push(Gap {
                from_offset,
                to_offset: end_offset,
                reason,
            }),
        }
        match self.gaps.len() >= GAPS_PER_BLOCK {
            true => self.end_block(),
            false => Ok(()),
        }
    }

    /// Makes everything durable, and returns the segments.
    pub(super) fn finish(mut self) -> Result<Vec<SegmentEntry>, ImportError> {
        self.end_block()?;
        self.seal()?;
        Ok(self.segments)
    }

    fn builder(&mut self) -> Result<&mut BlockBuilder, ImportError> {
        let partition = super::name(&self.id.topic, self.id.partition);
        self.builder.as_mut().ok_or(ImportError::Write {
            partition,
            source: WriteError::Latched,
        })
    }

    /// Writes the open block, if it covers anything.
    fn end_block(&mut self) -> Result<(), ImportError> {
        let builder = self.builder()?;
        if builder.end_offset() == builder.base_offset() {
            return Ok(());
        }
        let base_offset = builder.base_offset();
        let Some(builder) = self.builder.take() else {
            return Ok(());
        };
        let block = builder.encode(self.timestamp_type, &self.renderer, &mut self.encoder);
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => self.begin(base_offset)?,
        };
        for gap in self.gaps.drain(..) {
            let named = segment.name_gap(gap);
            named.map_err(|error| of_write(&self.id, error))?;
        }
        let appended = segment.append(&block);
        appended.map_err(|error| of_write(&self.id, error))?;
        let end_offset = segment.end_offset();
        self.builder = Some(block.recycle(end_offset));
        let full = segment.position() >= self.options.segment_bytes || !has_room(&segment);
        self.open = Some(segment);
        match full {
            true => self.seal(),
            false => Ok(()),
        }
    }

    fn begin(&self, base_offset: i64) -> Result<SegmentAssembler<SegmentUpload>, ImportError> {
        let segment_id = Id::random();
        let key = Key::segment(&self.id, base_offset, &segment_id);
        let buffers = self.store.profile().upload;
        let upload = SegmentUpload::start(&self.store, key, self.runtime.clone(), buffers)?;
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: self.id.topic_id.0,
            topic: self.id.topic.to_string(),
            partition: self.id.partition,
            timestamp_type: self.timestamp_type,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset,
            cluster_id: self.cluster_id.clone(),
            writer: Some(self.options.writer.clone()),
            created_at: Some(jiff::Timestamp::now().as_millisecond()),
            compression: Some(self.options.compression.to_string()),
        };
        SegmentAssembler::new(upload, header).map_err(|error| self.error(error))
    }

    /// Makes the open segment durable, if there is one.
    fn seal(&mut self) -> Result<(), ImportError> {
        let Some(segment) = self.open.take() else {
            return Ok(());
        };
        let sealed = segment.seal(GapReason::Unknown);
        let (upload, summary) = sealed.map_err(|error| self.error(error))?;
        let uploaded = self.runtime.block_on(upload.complete())?;
        self.events.sealed(uploaded.size);
        self.segments
            .push(SegmentEntry::new(&self.id, &summary, uploaded));
        Ok(())
    }

    fn error(&self, error: WriteError) -> ImportError {
        of_write(&self.id, error)
    }
}

fn has_room(segment: &SegmentAssembler<SegmentUpload>) -> bool {
    segment.has_room() && segment.gap_room() >= GAPS_PER_BLOCK
}

/// Unwraps a store's error from the I/O error in which it passed through the segment's writer.
fn of_write(id: &PartitionId, error: WriteError) -> ImportError {
    let error = match error {
        WriteError::Io(error) => match error.downcast::<RepoError>() {
            Ok(error) => return ImportError::Repo(error),
            Err(error) => WriteError::Io(error),
        },
        error => error,
    };
    ImportError::Write {
        partition: super::name(&id.topic, id.partition),
        source: error,
    }
}
