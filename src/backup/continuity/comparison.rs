//! Reads offsets from the source whose records are stored, and compares.

use std::ops::{ControlFlow, Range};
use std::vec::IntoIter;

use kbk_format::repo::PartitionId;
use kbk_format::{Digests, Record, TimestampType};

use super::stored::{StoredRecord, Window};
use super::{ContinuityError, Prover};
use crate::records::{
    KafkaError, PartitionRange, RecordHandler, RecordSource, SourceError, SourceOptions, Transport,
};
use crate::run::Cancel;

/// Partitions that are compared with one source.
const AT_ONCE: usize = 256;
/// Windows are small: this is for a few large records.
const FETCH_BYTES: usize = 8 << 20;

/// How the source compares with a window.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// The last stored record that the source has, unchanged.
    pub(super) same: Option<i64>,
    /// The first offset at which the source has another record, or one where none is stored.
    different: Option<i64>,
    /// The first stored record that the source lacks.
    missing: Option<i64>,
    /// The source had deleted the records below this offset.
    pub(super) gone_below: i64,
    unreadable: Option<KafkaError>,
}

/// What a comparison amounts to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The source has the stored records, and no others.
    Same,
    /// The first offset at which it has other records.
    Different(i64),
    /// The first stored record that it lacks; it has no other records.
    Missing(i64),
    /// It does not deliver them.
    Unreadable(KafkaError),
}

impl Comparison {
    /// Returns what the comparison amounts to; the first call takes the error, if there is one.
    pub(super) fn outcome(&mut self) -> Outcome {
        match (self.unreadable.take(), self.different, self.missing) {
            (Some(error), ..) => Outcome::Unreadable(error),
            (None, Some(different), _) => Outcome::Different(different),
            (None, None, Some(missing)) => Outcome::Missing(missing),
            (None, None, None) => Outcome::Same,
        }
    }
}

impl<T: Transport> Prover<'_, T> {
    /// Compares each window with the source's partition of the same index.
    pub(super) fn compare(
        &self,
        partitions: &[PartitionId],
        windows: Vec<Window>,
    ) -> Result<Vec<Comparison>, ContinuityError> {
        let mut comparisons: Vec<_> = windows.iter().map(|_| Comparison::default()).collect();
        let windows = partitions
            .iter()
            .zip(windows)
            .map(|(partition, window)| window.without_end(&self.damaged(partition)));
        let slots = partitions.iter().zip(windows).enumerate();
        let mut slots: Vec<(PartitionRange, Slot)> = slots
            .filter(|(_, (_, window))| !window.offsets.is_empty())
            .map(|(index, (partition, window))| {
                slot(index, partition, window, self.damaged(partition))
            })
            .collect();
        while !slots.is_empty() {
            let rest = slots.split_off(slots.len().min(AT_ONCE));
            let (ranges, slots_now) = std::mem::replace(&mut slots, rest).into_iter().unzip();
            for slot in self.compare_at_once(ranges, slots_now)? {
                comparisons[slot.index] = slot.comparison;
            }
        }
        Ok(comparisons)
    }

    /// Returns the offsets of a partition that were stored and lost to damage: whether the source still has them says nothing.
    fn damaged(&self, partition: &PartitionId) -> Vec<Range<i64>> {
        let state = self.base.and_then(|base| base.partition(partition));
        let damaged = state.into_iter().flat_map(|it| it.damaged_ranges());
        damaged.map(|lost| lost.from..lost.to).collect()
    }

    fn compare_at_once(
        &self,
        ranges: Vec<PartitionRange>,
        slots: Vec<Slot>,
    ) -> Result<Vec<Slot>, ContinuityError> {
        let options = SourceOptions {
            memory_bytes: FETCH_BYTES,
        };
        let mut comparing = Comparing {
            undecided: slots.len(),
            slots,
            cancel: self.cancel,
        };
        match self
            .transport
            .open_source(&options, ranges)?
            .run(&mut comparing)
        {
            Ok(()) | Err(SourceError::Handler(Stop::Decided)) => Ok(comparing.slots),
            Err(SourceError::Handler(Stop::Requested)) => Err(ContinuityError::Cancelled),
            Err(SourceError::Kafka(error)) => Err(error.into()),
        }
    }
}

fn slot(
    index: usize,
    partition: &PartitionId,
    window: Window,
    damaged: Vec<Range<i64>>,
) -> (PartitionRange, Slot) {
    let range = PartitionRange {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        start: window.offsets.start,
        end: window.offsets.end,
    };
    let slot = Slot {
        index,
        stored: window.records.into_iter(),
        damaged,
        comparison: Comparison::default(),
        decided: false,
    };
    (range, slot)
}

/// A partition that is compared.
struct Slot {
    /// Its position among all.
    index: usize,
    /// The records that the source has not been found to have or to lack yet.
    stored: IntoIter<(i64, StoredRecord)>,
    /// Offsets at which the source may have any record.
    damaged: Vec<Range<i64>>,
    comparison: Comparison,
    decided: bool,
}

impl Slot {
    fn found(&mut self, offset: i64, digest: u128) {
        if self.damaged.iter().any(|it| it.contains(&offset)) {
            return;
        }
        while let ControlFlow::Continue(()) = self.next_up_to(offset, digest) {}
    }

    /// Takes the next stored record if it is at or before `offset`, at which the source has a record with `digest`.
    fn next_up_to(&mut self, offset: i64, digest: u128) -> ControlFlow<()> {
        let next = self.stored.as_slice().first();
        let next = next.map(|(stored, record)| (*stored, record.is(digest)));
        match next {
            Some((stored, _)) if stored < offset => {
                self.stored.next();
                self.comparison.missing.get_or_insert(stored);
                return ControlFlow::Continue(());
            }
            Some((stored, is_same)) if stored == offset => {
                self.stored.next();
                if is_same {
                    self.comparison.same = Some(offset);
                } else {
                    self.comparison.different.get_or_insert(offset);
                }
            }
            _ => {
                self.comparison.different.get_or_insert(offset);
            }
        }
        ControlFlow::Break(())
    }

    /// The source has none of the stored records below `end`.
    fn lacks_below(&mut self, end: i64) {
        while let Some((offset, _)) = self.stored.as_slice().first()
            && *offset < end
        {
            self.comparison.missing.get_or_insert(*offset);
            self.stored.next();
        }
    }
}

/// Receives the source's records.
struct Comparing<'a> {
    slots: Vec<Slot>,
    undecided: usize,
    cancel: &'a Cancel,
}

/// Why the source is not read on.
#[derive(Debug)]
enum Stop {
    Requested,
    /// Every partition is known to differ, or finished: what follows, which may be large, says nothing more.
    Decided,
}

impl Comparing<'_> {
    fn decide(&mut self, slot: usize) -> Result<(), Stop> {
        if !std::mem::replace(&mut self.slots[slot].decided, true) {
            self.undecided -= 1;
        }
        match self.undecided {
            0 => Err(Stop::Decided),
            _ => Ok(()),
        }
    }
}

impl RecordHandler for Comparing<'_> {
    type Error = Stop;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Stop> {
        let digest = Digests::of(record, timestamp_type).restore;
        self.slots[slot].found(record.offset, digest);
        if self.slots[slot].comparison.different.is_some() {
            return self.decide(slot);
        }
        Ok(())
    }

    fn lost(&mut self, slot: usize, _from: i64, to: i64) -> Result<(), Stop> {
        self.slots[slot].lacks_below(to);
        self.slots[slot].comparison.gone_below = to;
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), Stop> {
        self.slots[slot].lacks_below(i64::MAX);
        self.decide(slot)
    }

    fn unreadable(&mut self, slot: usize, error: KafkaError) -> Result<(), SourceError<Stop>> {
        self.slots[slot].comparison.unreadable = Some(error);
        self.decide(slot).map_err(SourceError::Handler)
    }

    fn idle(&mut self) -> Result<(), Stop> {
        match self.cancel.is_set() {
            true => Err(Stop::Requested),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::Hex;

    use super::*;

    #[test]
    fn records_where_nothing_is_stored_for_damage_are_no_difference() {
        let id = PartitionId {
            topic: "orders".parse().unwrap(),
            topic_id: Hex([7; 16]),
            partition: 0.into(),
        };
        let window = Window {
            offsets: 2..10,
            records: vec![(2, StoredRecord::Digest(1))],
            epoch: None,
        };
        let damaged = vec![3..5, 6..8];
        let (_, mut slot) = slot(0, &id, window, damaged);
        for (offset, digest, different) in
            [(2, 1, None), (4, 9, None), (7, 9, None), (8, 9, Some(8))]
        {
            slot.found(offset, digest);
            assert_eq!(slot.comparison.different, different, "{offset}");
        }
        assert_eq!(slot.comparison.same, Some(2));
    }
}
