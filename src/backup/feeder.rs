//! Fills blocks with one source's records, and sends full blocks to the encoders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use kbk_format::repo::{LostRange, PartitionId};
use kbk_format::{BlockBuilder, FormatError, Push, Record, TimestampType};

use super::partition::PartitionLine;
use super::pipeline::StopSignal;
use super::pool::Free;
use crate::records::{KafkaError, RecordHandler, SourceError};
use crate::run::{Budget, PartitionName, RunEvents, Stage};

/// A full block for the encoders.
pub(super) struct BlockJob {
    pub(super) line: Arc<PartitionLine>,
    /// The block's number in its partition: blocks are encoded in any order and written in this one.
    pub(super) number: u64,
    pub(super) builder: BlockBuilder,
    pub(super) timestamp_type: TimestampType,
    pub(super) lost: Vec<LostRange>,
    pub(super) last: bool,
}

/// A partition that a source reads.
pub(super) struct Slot {
    pub(super) line: Arc<PartitionLine>,
    pub(super) id: PartitionId,
    pub(super) range: std::ops::Range<i64>,
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
    builder: Option<BlockBuilder>,
    /// The base offset of the block that is filled next: one past all that was submitted.
    position: i64,
    number: u64,
    lost: Vec<LostRange>,
    finished: bool,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(
        slots: Vec<Slot>,
        free: Free,
        jobs: Sender<BlockJob>,
        block_bytes: usize,
        stop: &'a StopSignal<'a>,
        events: &'a RunEvents,
    ) -> Feeder<'a> {
        let filling = |slot: Slot| Filling {
            position: slot.range.start,
            slot,
            builder: None,
            number: 0,
            lost: Vec::new(),
            finished: false,
        };
        let slots = slots.into_iter().map(filling).collect();
        Feeder {
            slots,
            free,
            jobs,
            block_bytes,
            stop,
            events,
            clock: Clock::start(),
        }
    }

    /// Copies a record into the slot's block; returns the end of the block's coverage if it is full without the record.
    fn try_push(&mut self, slot: usize, record: &Record<'_>) -> Result<Option<i64>, FeederStop> {
        let filling = &mut self.slots[slot];
        let builder = match &mut filling.builder {
            Some(builder) => builder,
            empty => {
                let taken = self.clock.waiting(|| self.free.take(filling.position));
                empty.insert(taken.ok_or(FeederStop::EncodersGone)?)
            }
        };
        match builder.try_push(record, self.block_bytes) {
            Ok(Push::Pushed) => Ok(None),
            Ok(Push::Full) => Ok(Some(builder.end_offset())),
            Err(error) => {
                let id = filling.slot.id.clone();
                Err(FeederStop::Record(RecordError { id, error }))
            }
        }
    }

    /// Sends the block to the encoders, even an empty one: it extends the coverage to `end_offset`.
    fn submit(&mut self, slot: usize, end_offset: i64, last: bool) -> Result<(), FeederStop> {
        let filling = &mut self.slots[slot];
        let mut builder = match filling.builder.take() {
            Some(builder) => builder,
            None => {
                let taken = self.clock.waiting(|| self.free.take(filling.position));
                taken.ok_or(FeederStop::EncodersGone)?
            }
        };
        builder.cover(end_offset);
        filling.position = builder.end_offset();
        if !builder.is_empty() {
            let (records, bytes) = (builder.len() as u64, builder.payload_bytes() as u64);
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
            builder,
            timestamp_type: filling.slot.timestamp_type,
            lost: std::mem::take(&mut filling.lost),
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
        let end = filling
            .builder
            .as_ref()
            .map_or(filling.position, BlockBuilder::end_offset);
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
        let filling = &self.slots[slot];
        let other_type = filling.slot.timestamp_type != timestamp_type;
        if let Some(builder) = &filling.builder
            && other_type
            && !builder.is_empty()
        {
            let end = builder.end_offset();
            self.submit(slot, end, false)?;
        }
        self.slots[slot].slot.timestamp_type = timestamp_type;
        // At most twice: an empty block is never full.
        while let Some(end) = self.try_push(slot, record)? {
            self.submit(slot, end, false)?;
        }
        Ok(())
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), FeederStop> {
        // The gap precedes the next record, so the block being filled, or else the next one, covers it.
        let filling = &mut self.slots[slot];
        filling.lost.push(LostRange::deleted(from, to));
        if let Some(builder) = &mut filling.builder {
            builder.cover(to);
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
