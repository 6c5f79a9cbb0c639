//! Records from the blocks of segments into new segments. Blocks a thread; blocks of records are encoded on several.

use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    Id, Key, Operation, PartitionId, RepoError, SegmentEntry, SegmentReader, SegmentUpload, Store,
};
use kbk_format::{
    Block, BlockBuilder, BlockDecoder, Columns, Digests, EncodedBlock, Encoder, FileHeader,
    FormatError, Gap, GapReason, KeyFilterBits, Push, Record, SegmentAssembler, SegmentSummary,
    Streams, TimestampType, WriteError,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::gaps::{GapBook, GapChain, split};
use super::latest::{KeySum, Superseded};
use super::source::Part;
use crate::maintenance::MaintenanceEvents;

/// How new segments are written.
#[derive(Clone, Debug)]
pub(super) struct WriteSettings {
    pub(super) store: Store,
    pub(super) compression: kbk_format::Compression,
    pub(super) key_filter: Option<KeyFilterBits>,
    pub(super) block_bytes: usize,
    /// Stored bytes at which a new segment is cut in any case.
    pub(super) most_bytes: u64,
    pub(super) writer: String,
    /// When the last backup was made: no record that is merged was stored later.
    pub(super) created_at: Timestamp,
    pub(super) threads: usize,
}

/// Which records of a group are left out.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Those that are not the latest of their key.
    pub(super) superseded: Arc<Superseded>,
    /// The number, in the range that these were found in, of the group's first record.
    pub(super) first: u64,
    /// Tombstones that are older go, too.
    pub(super) tombstones_from: Option<i64>,
}

/// A new segment whose bytes are with the store, and not durable yet.
pub(super) struct Written {
    pub(super) upload: SegmentUpload,
    pub(super) summary: SegmentSummary,
}

/// What was read, and left out.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: u64,
    /// The content digest over all of them, what was left out included.
    pub(super) content: u128,
    pub(super) gaps: GapChain,
    pub(super) removed_records: u64,
    pub(super) removed_content: u128,
    /// Keys of tombstones that were removed although they are the latest.
    pub(super) removed_latest: KeySum,
}

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum MergeError {
    /// The segment in this place is damaged.
    Damaged(usize, FormatError),
    /// Whoever reads the segments has ended early, and says why.
    Ended,
    /// The store did not take it.
    Store(RepoError),
    /// A rule of the format.
    Write(String),
}

/// A group whose records are read, and written unless it is only to be known what they are.
pub(super) struct Merge {
    pub(super) settings: WriteSettings,
    pub(super) id: PartitionId,
    pub(super) segments: Vec<SegmentEntry>,
    pub(super) filter: Option<Filter>,
    /// Whether new segments are written.
    pub(super) writes: bool,
    pub(super) events: Arc<dyn MaintenanceEvents>,
    pub(super) runtime: Handle,
}

/// Merges a group, whose parts are received.
pub(super) fn merge(
    group: &Merge,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(Vec<Written>, Read), MergeError> {
    let settings = &group.settings;
    let encoders = (0..settings.threads.max(1)).map(|_| Encoder::new(settings.compression));
    let mut merger = Merger {
        group,
        at: None,
        number: group.filter.as_ref().map_or(0, |filter| filter.first),
        encoders: match group.writes {
            true => encoders.collect(),
            false => Vec::new(),
        },
        idle: Vec::new(),
        source: None,
        output: None,
        written: Vec::new(),
        read: Read::default(),
    };
    let (events, segments) = (&group.events, &group.segments);
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut current: Option<Current> = None;
    loop {
        match parts.blocking_recv() {
            None => return Err(MergeError::Ended),
            Some(Part::Segment(at, reader)) => {
                merger.end_segment(current.take(), segments)?;
                current = Some(merger.begin_segment(at, reader)?);
            }
            Some(Part::Blocks(range, bytes)) => {
                let Some(current) = &mut current else {
                    return Err(MergeError::Ended);
                };
                events.received(bytes.len() as u64);
                let reader = current.reader.clone();
                for block in reader.segment().blocks(range, &bytes) {
                    let damaged = |error| MergeError::Damaged(current.at, error);
                    let block = block.map_err(damaged)?;
                    block
                        .decode(&mut decoder, Streams::All, &mut columns)
                        .map_err(damaged)?;
                    let content = match &block.header().computed {
                        Some(numbers) => numbers.digests.content,
                        None => content_of(&columns, reader.segment().header().timestamp_type),
                    };
                    current.content = current.content.wrapping_add(content);
                    let before = (merger.read.records, block_bytes(&block));
                    merger.block(&reader, &columns)?;
                    events.replaced(merger.read.records.saturating_sub(before.0), before.1);
                }
            }
            Some(Part::End) => {
                merger.end_segment(current.take(), segments)?;
                return merger.finish();
            }
        }
    }
}

/// Computes the content digest of a block that does not state it.
fn content_of(columns: &Columns, timestamp_type: TimestampType) -> u128 {
    let digests = columns.iter().map(|it| Digests::of(&it, timestamp_type));
    digests.fold(0, |sum: u128, it| sum.wrapping_add(it.content))
}

fn block_bytes(block: &Block<'_>) -> u64 {
    block.header().block_length() as u64
}

/// The segment whose blocks are received.
struct Current {
    at: usize,
    reader: SegmentReader,
    /// The sum of its blocks' digests.
    content: u128,
}

struct Merger<'a> {
    group: &'a Merge,
    /// Offsets below are done; `None` before the first segment.
    at: Option<i64>,
    /// The number of the next record, in the range that the filter was made of.
    number: u64,
    encoders: Vec<Encoder>,
    /// Buffers of blocks that are written.
    idle: Vec<BlockBuilder>,
    /// The header of the first segment.
    source: Option<FileHeader>,
    /// The new segment that is being written.
    output: Option<Output>,
    written: Vec<Written>,
    read: Read,
}

/// A new segment that is being written.
struct Output {
    assembler: SegmentAssembler<SegmentUpload>,
    gaps: GapBook,
    /// Blocks that are full.
    full: Vec<BlockBuilder>,
    /// The one that fills.
    open: BlockBuilder,
}

impl Merger<'_> {
    fn begin_segment(&mut self, at: usize, reader: SegmentReader) -> Result<Current, MergeError> {
        if self.source.is_none() {
            let header = reader.segment().header();
            self.source = Some(header.clone());
            self.at = Some(header.base_offset);
            self.begin()?;
        }
        Ok(Current {
            at,
            reader,
            content: 0,
        })
    }

    /// Ends the segment that was received: its last offsets may have no record.
    fn end_segment(
        &mut self,
        current: Option<Current>,
        segments: &[SegmentEntry],
    ) -> Result<(), MergeError> {
        let Some(current) = current else {
            return Ok(());
        };
        let segment = current.reader.segment();
        let stated = segments.get(current.at).and_then(SegmentEntry::content);
        if stated.is_some_and(|stated| stated != current.content) {
            let error = FormatError::new(
                kbk_format::ErrorClass::Inconsistent,
                "section statistics",
                segment.footer_position(),
                "the digests of its blocks do not add up to the one that it states",
            );
            return Err(MergeError::Damaged(current.at, error));
        }
        self.read.content = self.read.content.wrapping_add(current.content);
        self.cover(&current.reader, segment.end_offset())
    }

    /// Adds the records of a block.
    fn block(&mut self, reader: &SegmentReader, columns: &Columns) -> Result<(), MergeError> {
        let timestamp_type = reader.segment().header().timestamp_type;
        for record in columns.iter() {
            self.cover(reader, record.offset)?;
            self.read.records = self.read.records.saturating_add(1);
            let number = self.number;
            self.number = number.saturating_add(1);
            if self.is_removed(number, &record) {
                self.read.removed_records = self.read.removed_records.saturating_add(1);
                let digest = Digests::of(&record, timestamp_type).content;
                self.read.removed_content = self.read.removed_content.wrapping_add(digest);
                self.gap(Gap {
                    from_offset: record.offset,
                    to_offset: record.offset.saturating_add(1),
                    reason: GapReason::Compacted,
                })?;
            } else {
                self.push(&record)?;
            }
        }
        Ok(())
    }

    fn is_removed(&mut self, number: u64, record: &Record<'_>) -> bool {
        let Some(filter) = &self.group.filter else {
            return false;
        };
        if filter.superseded.has(number) {
            return true;
        }
        let (Some(from), Some(key), None) = (filter.tombstones_from, record.key, record.value)
        else {
            return false;
        };
        let is_old = record.timestamp != -1 && record.timestamp < from;
        let removed = is_old && !record.control && record.offset != filter.superseded.last_offset;
        if removed {
            self.read.removed_latest.add(key, record.offset);
        }
        removed
    }

    /// Covers the offsets up to `to`, which have no record, with the reasons that the segment states.
    fn cover(&mut self, reader: &SegmentReader, to: i64) -> Result<(), MergeError> {
        let at = self.at.unwrap_or(to);
        if at < to {
            for gap in split(reader.segment().gaps(), at, to) {
                self.gap(gap)?;
            }
        }
        Ok(())
    }

    fn gap(&mut self, gap: Gap) -> Result<(), MergeError> {
        self.read.gaps.add(gap);
        self.at = Some(gap.to_offset);
        if let Some(output) = &mut self.output {
            output.gaps.add(gap);
        }
        self.cut_if_full()
    }

    fn push(&mut self, record: &Record<'_>) -> Result<(), MergeError> {
        self.at = Some(record.offset.saturating_add(1));
        let block_bytes = self.group.settings.block_bytes;
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        // Runs at most twice: an empty block is never full.
        while output
            .open
            .try_push(record, block_bytes)
            .map_err(of_format)?
            == Push::Full
        {
            let end = output.open.end_offset();
            let next = match self.idle.pop() {
                Some(mut builder) => {
                    builder.restart(end);
                    builder
                }
                None => BlockBuilder::with_capacity(end, block_bytes),
            };
            output.full.push(std::mem::replace(&mut output.open, next));
            if output.full.len() >= self.encoders.len() {
                append(output, &mut self.encoders, &mut self.idle, self.group)?;
            }
        }
        self.cut_if_full()
    }

    /// Begins another new segment where this one can hold no more.
    fn cut_if_full(&mut self) -> Result<(), MergeError> {
        let Some(output) = &self.output else {
            return Ok(());
        };
        let most = self.group.settings.most_bytes;
        let full = output.gaps.is_full()
            || !output.assembler.has_room()
            || output.assembler.position() >= most;
        if !full {
            return Ok(());
        }
        self.seal()?;
        self.begin()
    }

    /// Begins a new segment where the last one ends.
    fn begin(&mut self) -> Result<(), MergeError> {
        let (Some(source), Some(base_offset), true) = (&self.source, self.at, self.group.writes)
        else {
            return Ok(());
        };
        let settings = &self.group.settings;
        let segment_id = Id::random();
        let header = FileHeader {
            segment_id: segment_id.0,
            base_offset,
            writer: Some(settings.writer.clone()),
            created_at: Some(settings.created_at.as_millisecond()),
            compression: Some(settings.compression.to_string()),
            ..source.clone()
        };
        let key = Key::segment(&self.group.id, base_offset, &segment_id);
        let (store, runtime) = (&settings.store, self.group.runtime.clone());
        let upload = SegmentUpload::start(store, key, runtime, store.profile().upload);
        let upload = upload.map_err(MergeError::Store)?;
        let assembler = SegmentAssembler::with_key_filter(upload, header, settings.key_filter);
        self.output = Some(Output {
            assembler: assembler.map_err(|error| self.group.failed(error))?,
            gaps: GapBook::default(),
            full: Vec::new(),
            open: BlockBuilder::with_capacity(base_offset, settings.block_bytes),
        });
        Ok(())
    }

    /// Writes what is left of the new segment, with its footer.
    fn seal(&mut self) -> Result<(), MergeError> {
        let Some(mut output) = self.output.take() else {
            return Ok(());
        };
        output.open.cover(self.at.unwrap_or(0));
        if output.open.end_offset() > output.open.base_offset() {
            let end = output.open.end_offset();
            let open = std::mem::replace(&mut output.open, BlockBuilder::new(end));
            output.full.push(open);
        }
        append(&mut output, &mut self.encoders, &mut self.idle, self.group)?;
        let (reason, named) = output.gaps.finish();
        let mut assembler = output.assembler;
        for gap in named {
            assembler
                .name_gap(gap)
                .map_err(|error| self.group.failed(error))?;
        }
        let sealed = assembler
            .seal(reason)
            .map_err(|error| self.group.failed(error))?;
        let (upload, summary) = sealed;
        self.written.push(Written { upload, summary });
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<Written>, Read), MergeError> {
        self.seal()?;
        Ok((self.written, self.read))
    }
}

/// Encodes all full blocks at the same time, and appends them in order.
fn append(
    output: &mut Output,
    encoders: &mut [Encoder],
    idle: &mut Vec<BlockBuilder>,
    group: &Merge,
) -> Result<(), MergeError> {
    while !output.full.is_empty() {
        let now = output.full.len().min(encoders.len().max(1));
        let builders: Vec<BlockBuilder> = output.full.drain(..now).collect();
        let timestamp_type = output.assembler.header().timestamp_type;
        let renderer = output.assembler.renderer();
        let hasher = output.assembler.key_hasher();
        let encode = |builder: BlockBuilder, encoder: &mut Encoder| {
            let block = builder.encode(timestamp_type, renderer, encoder);
            block.hash_keys(hasher)
        };
        let encoded: Vec<EncodedBlock> = std::thread::scope(|scope| {
            let threads = builders.into_iter().zip(encoders.iter_mut());
            let threads =
                threads.map(|(builder, encoder)| scope.spawn(|| encode(builder, encoder)));
            let threads: Vec<_> = threads.collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(block) => block,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        });
        for block in encoded {
            output
                .assembler
                .append(&block)
                .map_err(|error| group.failed(error))?;
            idle.push(block.recycle(0));
        }
    }
    Ok(())
}

fn of_format(error: FormatError) -> MergeError {
    MergeError::Write(error.to_string())
}

impl Merge {
    fn failed(&self, error: WriteError) -> MergeError {
        match error {
            WriteError::Io(error) => MergeError::Store(match error.downcast::<RepoError>() {
                Ok(error) => error,
                Err(error) => {
                    let (url, name) = (self.settings.store.url(), self.id.to_string());
                    RepoError::of_store(Operation::Write, url, &name, error.into())
                }
            }),
            error => MergeError::Write(error.to_string()),
        }
    }
}
