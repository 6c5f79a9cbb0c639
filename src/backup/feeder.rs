//! Fills blocks with one source's records, and sends full blocks to the encoders.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use kbk_format::batch::{BatchCodec, CheckedBatch};
use kbk_format::repo::{LostRange, PartitionId};
use kbk_format::{FormatError, Push, PushBatch, Record, TimestampType};

use super::block::{BlockContent, OpenBlock};
use super::options::Encoding;
use super::partition::PartitionLine;
use super::pipeline::StopSignal;
use super::pool::{Free, Room};
use crate::records::{KafkaError, RecordHandler, SourceError};
use crate::run::{Budget, PartitionName, RunEvents, Stage};

/// A full block for the encoders.
pub(super) struct BlockJob {
    pub(super) line: Arc<PartitionLine>,
    /// The block's number in its partition: blocks are encoded in any order and written in this one.
    pub(super) number: u64,
    pub(super) block: OpenBlock,
    pub(super) room: Room,
    /// When its first record came.
    pub(super) begun: Instant,
    pub(super) timestamp_type: TimestampType,
    pub(super) lost: Vec<LostRange>,
    pub(super) hidden: Vec<Range<i64>>,
    pub(super) last: bool,
}

/// A partition that a source reads.
pub(super) struct Slot {
    pub(super) line: Arc<PartitionLine>,
    pub(super) id: PartitionId,
    pub(super) range: Range<i64>,
    /// The topic's setting, until a record has another one.
    pub(super) timestamp_type: TimestampType,
}

impl Slot {
    /// Reports that a source reads this partition from now on.
    pub(super) fn start(&self, events: &RunEvents) {
        let offsets = self.range.end.abs_diff(self.range.start);
        let name = PartitionName {
            topic: &self.id.topic,
            partition: self.id.partition,
        };
        let events = events.partition(name, Some(offsets));
        self.line.report_to(events);
    }
}

/// Why a feeder stopped its source.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeederStop {
    /// A stop was requested, or another part failed: what was read is sealed. Or the claim is lost, and it is discarded.
    #[error("a stop was requested")]
    Requested,
    /// The encoders have ended.
    #[error("the encoders have ended")]
    EncodersGone,
    /// A record that the format cannot hold.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A record that the format cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{id}: {error}")]
pub struct RecordError {
    id: PartitionId,
    error: FormatError,
}

/// Fills blocks from one source.
pub(super) struct Feeder<'a> {
    slots: Vec<Filling>,
    free: Free,
    jobs: Sender<BlockJob>,
    block_bytes: usize,
    encoding: Encoding,
    stop: &'a StopSignal<'a>,
    events: &'a RunEvents,
    clock: Clock,
}

/// What the time of a source goes to, from one block that it submits to the next, of whatever partition.
struct Clock {
    since: Instant,
    /// The part of this time that it waited for the stages after it.
    waited: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock {
            since: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Counts the time of `wait` as waiting.
    fn waiting<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let waited_for = wait();
        self.waited += began.elapsed();
        waited_for
    }

    /// Returns how long fetching and waiting took, and starts again.
    fn lap(&mut self) -> (Duration, Duration) {
        let Clock { since, waited } = std::mem::replace(self, Clock::start());
        (since.elapsed().saturating_sub(waited), waited)
    }
}

/// The block of a slot that is being filled.
struct Filling {
    slot: Slot,
    block: Option<OpenBlock>,
    /// What the block takes for a large record or batch.
    room: Room,
    /// When the first record of the block came: before it waited for the block.
    begun: Instant,
    /// The base offset of the block that is filled next: one past all that was submitted.
    position: i64,
    number: u64,
    lost: Vec<LostRange>,
    /// Offsets of markers and of aborted records, adjacent ones together.
    hidden: Vec<Range<i64>>,
    finished: bool,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(
        slots: Vec<Slot>,
        free: Free,
        jobs: Sender<BlockJob>,
        (block_bytes, encoding): (usize, Encoding),
        stop: &'a StopSignal<'a>,
        events: &'a RunEvents,
    ) -> Feeder<'a> {
        let filling = |slot: Slot| Filling {
            position: slot.range.start,
            slot,
            block: None,
            room: Room::default(),
            begun: Instant::now(),
            number: 0,
            lost: Vec::new(),
            hidden: Vec::new(),
            finished: false,
        };
        let slots = slots.into_iter().map(filling).collect();
        Feeder {
            slots,
            free,
            jobs,
            block_bytes,
            encoding,
            stop,
            events,
            clock: Clock::start(),
        }
    }

    /// Copies a record into the slot's block, which holds records or nothing; returns the end of the block's coverage if it is full without
    /// the record.
    fn try_push(&mut self, slot: usize, record: &Record<'_>) -> Result<Option<i64>, FeederStop> {
        let block_bytes = self.block_bytes;
        let builder = match self.open(slot, BlockContent::Records)? {
            OpenBlock::Records(builder) => builder,
            // It has batches: a block holds one or the other.
            OpenBlock::Batches(_) => return Ok(self.end_of_block(slot)),
        };
        let end = builder.end_offset();
        match builder.try_push(record, block_bytes) {
            Ok(Push::Pushed) => Ok(None),
            Ok(Push::Full) => Ok(Some(end)),
            Err(error) => {
                let id = self.slots[slot].slot.id.clone();
                Err(FeederStop::Record(RecordError { id, error }))
            }
        }
    }

    /// Copies a record into the slot's block, or into the next one.
    fn push(&mut self, slot: usize, record: &Record<'_>) -> Result<(), FeederStop> {
        // At most twice: an empty block is never full.
        while let Some(end) = self.try_push(slot, record)? {
            self.submit(slot, end, false)?;
        }
        Ok(())
    }

    /// Copies a batch into the slot's block; returns whether it is there.
    fn push_batch(&mut self, slot: usize, batch: &CheckedBatch<'_>) -> Result<bool, FeederStop> {
        let content = BlockContent::Batches(batch.header().attributes.timestamp_type());
        let block_bytes = self.block_bytes;
        // At most twice: an empty block is never full.
        loop {
            let batches = match self.open(slot, content)? {
                OpenBlock::Batches(batches) => Some(batches),
                OpenBlock::Records(_) => None,
            };
            let pushed = match batches {
                Some(batches) => batches.try_push(batch, block_bytes),
                None => Ok(PushBatch::Full),
            };
            let end = self.end_of_block(slot);
            match (pushed, end) {
                (Ok(PushBatch::Pushed), _) => return Ok(true),
                (Ok(PushBatch::Full), Some(end)) => self.submit(slot, end, false)?,
                // What cannot be stored as it is, or not be decoded, is for the source to hand over record by record.
                (Ok(PushBatch::Full | PushBatch::Cannot(_)) | Err(_), _) => {
                    // No block of batches stays without one.
                    self.open(slot, BlockContent::Records)?;
                    return Ok(false);
                }
            }
        }
    }

    /// Takes room for a record or batch of `bytes` if it is larger than a block usually is. It has a block to itself then, which must be submitted
    /// next: while it has room, the feeder may not wait for more.
    fn take_room(&mut self, slot: usize, bytes: usize) -> Result<bool, FeederStop> {
        if bytes <= self.block_bytes {
            return Ok(false);
        }
        if let Some(end) = self.end_of_block(slot) {
            self.submit(slot, end, false)?;
        }
        let room = self.clock.waiting(|| self.free.take_room(bytes));
        self.slots[slot].room = room.ok_or(FeederStop::EncodersGone)?;
        Ok(true)
    }

    /// Returns the end of what was read of a slot.
    fn filled_to(&self, slot: usize) -> i64 {
        let filling = &self.slots[slot];
        let block = filling.block.as_ref();
        block.map_or(filling.position, OpenBlock::end_offset)
    }

    /// Returns the end of the coverage of a slot's block, if that has records.
    fn end_of_block(&self, slot: usize) -> Option<i64> {
        let block = self.slots[slot].block.as_ref();
        block
            .filter(|block| !block.is_empty())
            .map(OpenBlock::end_offset)
    }

    /// Returns the block of a slot that is being filled. It has this content unless it has records already.
    fn open(&mut self, slot: usize, content: BlockContent) -> Result<&mut OpenBlock, FeederStop> {
        let filling = &mut self.slots[slot];
        let block = match filling.block.take() {
            Some(block) if block.is_empty() && block.content() != content => {
                self.free.exchange(block, content)
            }
            Some(block) => block,
            None => {
                filling.begun = Instant::now();
                let taken = self
                    .clock
                    .waiting(|| self.free.take(content, filling.position));
                taken.ok_or(FeederStop::EncodersGone)?
            }
        };
        Ok(filling.block.insert(block))
    }

    /// Whether a batch is to be stored as it is.
    fn takes(&self, slot: usize, batch: &CheckedBatch<'_>) -> bool {
        let block = self.slots[slot].block.as_ref();
        match (self.encoding, block.filter(|block| !block.is_empty())) {
            (Encoding::Records, _) => false,
            (Encoding::Batches, _) => true,
            // A block is ended by its size, not by each batch of another producer.
            (Encoding::Auto, Some(block)) => block.content() != BlockContent::Records,
            (Encoding::Auto, None) => batch.header().attributes.codec() != Some(BatchCodec::None),
        }
    }

    /// Ends the slot's block where its records have another timestamp type.
    fn set_timestamp_type(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
    ) -> Result<(), FeederStop> {
        if self.slots[slot].slot.timestamp_type != timestamp_type
            && let Some(end) = self.end_of_block(slot)
        {
            self.submit(slot, end, false)?;
        }
        self.slots[slot].slot.timestamp_type = timestamp_type;
        Ok(())
    }

    /// Sends the block to the encoders, even an empty one: it extends the coverage to `end_offset`.
    fn submit(&mut self, slot: usize, end_offset: i64, last: bool) -> Result<(), FeederStop> {
        let filling = &mut self.slots[slot];
        let mut block = match filling.block.take() {
            Some(block) => block,
            None => {
                let taken = self
                    .clock
                    .waiting(|| self.free.take(BlockContent::Records, filling.position));
                taken.ok_or(FeederStop::EncodersGone)?
            }
        };
        block.cover(end_offset);
        filling.position = block.end_offset();
        if !block.is_empty() {
            let (records, bytes) = block.size();
            filling.slot.line.received(records, bytes);
            let (fetched, waited) = self.clock.lap();
            self.events.took(Stage::Fetch, fetched);
            self.events.took(Stage::Wait, waited);
        }
        let (held, limit) = self.free.use_of_memory();
        self.events.holds(Budget::Blocks, held, limit);
        let job = BlockJob {
            line: Arc::clone(&filling.slot.line),
            number: filling.number,
            block,
            room: std::mem::take(&mut filling.room),
            begun: filling.begun,
            timestamp_type: filling.slot.timestamp_type,
            lost: std::mem::take(&mut filling.lost),
            hidden: std::mem::take(&mut filling.hidden),
            last,
        };
        filling.number += 1;
        filling.finished = last;
        match self.clock.waiting(|| self.jobs.send(job).is_ok()) {
            true => Ok(()),
            false => Err(FeederStop::EncodersGone),
        }
    }

    /// Submits all that was read so far as the last block of each partition.
    fn seal_all(&mut self) -> Result<(), FeederStop> {
        (0..self.slots.len()).try_for_each(|slot| self.seal(slot))
    }

    /// Submits what was read of a partition so far as its last block.
    fn seal(&mut self, slot: usize) -> Result<(), FeederStop> {
        let filling = &self.slots[slot];
        let end = self.filled_to(slot);
        let started = filling.number > 0 || end > filling.position;
        if !filling.finished && started {
            self.submit(slot, end, true)?;
        }
        Ok(())
    }
}

impl RecordHandler for Feeder<'_> {
    type Error = FeederStop;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), FeederStop> {
        self.set_timestamp_type(slot, timestamp_type)?;
        let is_large = self.take_room(slot, record.payload_len())?;
        let pushed = self.push(slot, record);
        if is_large {
            // Without the record, too: another feeder may wait for the room.
            self.submit(slot, self.filled_to(slot), false)?;
        }
        pushed
    }

    fn batch(&mut self, slot: usize, batch: &CheckedBatch<'_>) -> Result<bool, FeederStop> {
        if !self.takes(slot, batch) {
            return Ok(false);
        }
        self.set_timestamp_type(slot, batch.header().attributes.timestamp_type())?;
        let is_large = self.take_room(slot, batch.bytes().len())?;
        let pushed = self.push_batch(slot, batch);
        if is_large {
            // Without the batch, too: its records may need the room.
            self.submit(slot, self.filled_to(slot), false)?;
        }
        pushed
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), FeederStop> {
        // The gap precedes the next record, so the block being filled, or else the next one, covers it.
        let filling = &mut self.slots[slot];
        filling.lost.push(LostRange::deleted(from, to));
        if let Some(block) = &mut filling.block {
            block.cover(to);
        }
        Ok(())
    }

    fn hidden(&mut self, slot: usize, from: i64, to: i64) -> Result<(), FeederStop> {
        let filling = &mut self.slots[slot];
        match filling.hidden.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ => filling.hidden.push(from..to),
        }
        if let Some(block) = &mut filling.block {
            block.cover(to);
        }
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), FeederStop> {
        let end = self.slots[slot].slot.range.end;
        self.submit(slot, end, true)
    }

    /// The other partitions are read on. Whether what was read of this one may be stored depends on the error, which its result has.
    fn unreadable(
        &mut self,
        slot: usize,
        error: KafkaError,
    ) -> Result<(), SourceError<FeederStop>> {
        self.slots[slot].slot.line.give_up(error);
        self.seal(slot).map_err(SourceError::Handler)
    }

    fn idle(&mut self) -> Result<(), FeederStop> {
        if !self.stop.is_set() {
            return Ok(());
        }
        if !self.stop.is_abandoned() {
            self.seal_all()?;
        }
        Err(FeederStop::Requested)
    }
}
