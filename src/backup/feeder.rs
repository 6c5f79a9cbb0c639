//! One source's records into blocks, and full blocks to the encoders.

use std::sync::Arc;

use crossbeam_channel::Sender;
use kbk_format::repo::{LostRange, PartitionId};
use kbk_format::{BlockBuilder, FormatError, Record, TimestampType};

use super::partition::PartitionLine;
use super::pipeline::StopSignal;
use super::pool::Free;
use crate::records::RecordHandler;
use crate::run::RunEvents;

/// A full block for the encoders.
pub(super) struct Job {
    pub(super) line: Arc<PartitionLine>,
    /// Of the block in its partition: blocks are encoded in any order and written in this one.
    pub(super) number: u64,
    pub(super) builder: BlockBuilder,
    pub(super) timestamp_type: TimestampType,
    pub(super) lost: Vec<LostRange>,
    pub(super) last: bool,
}

/// A partition that a source reads.
pub(super) struct Slot {
    pub(super) line: Arc<PartitionLine>,
    pub(super) place: PartitionId,
    pub(super) range: std::ops::Range<i64>,
    /// Assumed until a record says otherwise.
    pub(super) timestamp_type: TimestampType,
}

impl Slot {
    /// Reports that a source reads this partition from now on.
    pub(super) fn start(&self, events: &RunEvents) {
        let offsets = self.range.end.abs_diff(self.range.start);
        let events = events.partition(&self.place.to_string(), Some(offsets));
        self.line.report_to(events);
    }
}

/// Why a feeder stopped its source.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The user asked, or another part failed; what was read is handed on to be sealed.
    #[error("asked to stop")]
    Requested,
    /// Nobody takes blocks any more.
    #[error("the encoders are gone")]
    EncodersGone,
    /// A record that no block takes.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A record that the format cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
pub struct RecordError {
    place: PartitionId,
    error: FormatError,
}

/// Fills blocks from one source.
pub(super) struct Feeder<'a> {
    slots: Vec<Filling>,
    free: Free,
    jobs: Sender<Job>,
    block_bytes: usize,
    stop: &'a StopSignal<'a>,
}

/// A slot's block that is being filled.
struct Filling {
    slot: Slot,
    builder: Option<BlockBuilder>,
    /// Behind the last offset handed on or in the builder.
    position: i64,
    number: u64,
    lost: Vec<LostRange>,
    finished: bool,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(
        slots: Vec<Slot>,
        free: Free,
        jobs: Sender<Job>,
        block_bytes: usize,
        stop: &'a StopSignal<'a>,
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
        }
    }

    /// Hands the block on, empty or not: it carries coverage up to `end_offset`.
    fn submit(&mut self, slot: usize, end_offset: i64, last: bool) -> Result<(), Stop> {
        let filling = &mut self.slots[slot];
        let mut builder = match filling.builder.take() {
            Some(builder) => builder,
            None => self.free.take(filling.position).ok_or(Stop::EncodersGone)?,
        };
        builder.cover(end_offset);
        filling.position = builder.end_offset();
        let job = Job {
            line: Arc::clone(&filling.slot.line),
            number: filling.number,
            builder,
            timestamp_type: filling.slot.timestamp_type,
            lost: std::mem::take(&mut filling.lost),
            last,
        };
        filling.number += 1;
        filling.finished = last;
        self.jobs.send(job).map_err(|_| Stop::EncodersGone)
    }

    /// Hands on all that was read so far, as the end of each partition.
    fn seal_all(&mut self) -> Result<(), Stop> {
        for slot in 0..self.slots.len() {
            let filling = &self.slots[slot];
            let end = filling
                .builder
                .as_ref()
                .map_or(filling.position, BlockBuilder::end_offset);
            let started = filling.number > 0 || end > filling.position;
            if !filling.finished && started {
                self.submit(slot, end, true)?;
            }
        }
        Ok(())
    }
}

impl RecordHandler for Feeder<'_> {
    type Error = Stop;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Stop> {
        let filling = &mut self.slots[slot];
        if let Some(builder) = &filling.builder {
            let other_type = filling.slot.timestamp_type != timestamp_type && !builder.is_empty();
            if other_type || builder.is_full_for(record, self.block_bytes) {
                let end = builder.end_offset();
                self.submit(slot, end, false)?;
            }
        }
        let filling = &mut self.slots[slot];
        filling.slot.timestamp_type = timestamp_type;
        let builder = match &mut filling.builder {
            Some(builder) => builder,
            empty => empty.insert(self.free.take(filling.position).ok_or(Stop::EncodersGone)?),
        };
        builder.push(record).map_err(|error| {
            let place = filling.slot.place.clone();
            Stop::Record(RecordError { place, error })
        })
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), Stop> {
        // The gap lies in front of the next record, so the block being filled, or the next one, covers it.
        let filling = &mut self.slots[slot];
        filling.lost.push(LostRange { from, to });
        if let Some(builder) = &mut filling.builder {
            builder.cover(to);
        }
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), Stop> {
        let end = self.slots[slot].slot.range.end;
        self.submit(slot, end, true)
    }

    fn idle(&mut self) -> Result<(), Stop> {
        if !self.stop.is_set() {
            return Ok(());
        }
        self.seal_all()?;
        Err(Stop::Requested)
    }
}
