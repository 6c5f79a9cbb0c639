//! Compares the records of one partition in two snapshots: by the digests of segments first, and record by record where these differ.

use std::cmp::Ordering;
use std::ops::Range;

use kbk_format::Record;
use kbk_format::repo::{RepoError, SegmentEntry};
use tokio::runtime::Handle;

use super::difference::{RecordDifference, Side, SnapshotDifference};
use super::spans::{Rows, spans, timestamp_type_at};
use super::states::Pair;
use super::{ComparedRecords, DiffSide, SHOWN_RECORDS, differing_parts};
use crate::read::{DecodedBlocks, ReadPlan, RecordCursor, Selection};
use crate::unread_range::UnreadRange;

/// What both sides have of one partition.
pub(super) struct RecordComparison<'a> {
    pub(super) pair: Pair<'a>,
    pub(super) a: DiffSide<'a>,
    pub(super) b: DiffSide<'a>,
    /// Whether records are read although their digests are the same.
    pub(super) full: bool,
    pub(super) runtime: &'a Handle,
}

/// What was found of one partition.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: ComparedRecords,
    pub(super) differences: Vec<SnapshotDifference>,
}

/// A side, and offsets that could not be read of it.
type NotCompared = (Side, UnreadRange);

/// A side that could not be read, and why.
struct Unread {
    side: Side,
    error: RepoError,
}

/// What a comparison record by record has counted.
#[derive(Debug, Default)]
struct Counts {
    equal: u64,
    only_in_a: u64,
    only_in_b: u64,
    changed: u64,
    first: Vec<RecordDifference>,
}

impl RecordComparison<'_> {
    /// Compares the offsets that both cover.
    ///
    /// # Errors
    ///
    /// The error of a store. What is damaged or gone is a difference.
    pub(super) fn run(&self) -> Result<Found, RepoError> {
        let mut found = Found::default();
        let common = self.pair.common();
        if common.is_empty() {
            return Ok(found);
        }
        let (a, b) = match (self.segments(Side::A), self.segments(Side::B)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(unread), _) | (_, Err(unread)) => {
                let unread = self.unread(unread, common)?;
                found.differences.push(self.difference(&unread));
                return Ok(found);
            }
        };
        let mut to_read: Option<(Range<i64>, bool)> = None;
        for span in spans(&a, &b, common) {
            match span.rows {
                Rows::SameObjects { records } if !self.full || self.is_one_repository() => {
                    found.records.same_objects += records;
                }
                Rows::SameDigest { records } if !self.full => found.records.same_digest += records,
                _ => {
                    let other_digest = span.rows == Rows::OtherDigest;
                    to_read = match to_read.take() {
                        // Spans beside each other are read as one.
                        Some((read, other)) if read.end == span.offsets.start => {
                            Some((read.start..span.offsets.end, other || other_digest))
                        }
                        before => {
                            self.read_all(before, [&a, &b], &mut found)?;
                            Some((span.offsets, other_digest))
                        }
                    };
                }
            }
        }
        self.read_all(to_read, [&a, &b], &mut found)?;
        Ok(found)
    }

    fn side(&self, side: Side) -> DiffSide<'_> {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    /// Returns whether both name objects of one repository, which are the same where their digests are.
    fn is_one_repository(&self) -> bool {
        self.a.repository.store().url() == self.b.repository.store().url()
    }

    fn segments(&self, side: Side) -> Result<Vec<SegmentEntry>, Unread> {
        let DiffSide {
            repository,
            snapshot,
        } = self.side(side);
        let state = match side {
            Side::A => self.pair.a,
            Side::B => self.pair.b,
        };
        let partition = self.pair.topic.partition_id(state.partition);
        let segments = repository.segments(snapshot, &partition, state);
        let segments = self.runtime.block_on(segments);
        segments.map_err(|error| Unread { side, error })
    }

    /// Returns what could not be compared; the error, where it is the store's.
    fn unread(&self, unread: Unread, offsets: Range<i64>) -> Result<NotCompared, RepoError> {
        let Unread { side, error } = unread;
        let store = self.side(side).repository.store();
        let error = self.runtime.block_on(store.judged(error));
        match error.is_of_one_object() {
            false => Err(error),
            true => Ok((side, UnreadRange::new(offsets, &error))),
        }
    }

    fn difference(&self, (side, range): &NotCompared) -> SnapshotDifference {
        SnapshotDifference::NotCompared {
            side: *side,
            what: self.pair.partition().to_string(),
            offsets: Some(range.offsets().into()),
            error: range.reason(),
        }
    }

    /// Compares offsets record by record, and continues behind what cannot be read.
    fn read_all(
        &self,
        read: Option<(Range<i64>, bool)>,
        segments: [&[SegmentEntry]; 2],
        found: &mut Found,
    ) -> Result<(), RepoError> {
        let Some((offsets, other_digest)) = read else {
            return Ok(());
        };
        let mut counts = Counts::default();
        let mut unread: Vec<NotCompared> = Vec::new();
        let mut from = offsets.start;
        while from < offsets.end {
            let Err((at, failed)) = self.read(from..offsets.end, segments, &mut counts) else {
                break;
            };
            let damaged = failed.error.records().map(|(_, damaged)| damaged);
            let until = damaged.map_or(offsets.end, |damaged| damaged.end_offset.min(offsets.end));
            let until = until.max(at + 1);
            let (side, range) = self.unread(failed, at..until)?;
            let range = match unread.last_mut() {
                Some((last, before)) if *last == side => before.join(range),
                _ => Some(range),
            };
            unread.extend(range.map(|range| (side, range)));
            from = until;
        }
        found.records.read += counts.equal;
        let partition = self.pair.partition();
        let offsets = offsets.into();
        if counts.only_in_a + counts.only_in_b + counts.changed > 0 {
            found.differences.push(SnapshotDifference::Records {
                partition,
                offsets,
                only_in_a: counts.only_in_a,
                only_in_b: counts.only_in_b,
                changed: counts.changed,
                compacted: self.pair.compacted(),
                first: counts.first,
            });
        } else if other_digest && unread.is_empty() {
            let differs = SnapshotDifference::Digest { partition, offsets };
            found.differences.push(differs);
        }
        let not_compared = unread.iter().map(|unread| self.difference(unread));
        found.differences.extend(not_compared);
        Ok(())
    }

    /// Compares offsets record by record; the error says from which offset on it did not.
    fn read(
        &self,
        offsets: Range<i64>,
        [segments_a, segments_b]: [&[SegmentEntry]; 2],
        counts: &mut Counts,
    ) -> Result<(), (i64, Unread)> {
        let mut at = offsets.start;
        let failed = |at, side| move |error| (at, Unread { side, error });
        let mut a = self.open(Side::A, &offsets).map_err(failed(at, Side::A))?;
        let mut b = self.open(Side::B, &offsets).map_err(failed(at, Side::B))?;
        // A record of each is looked at together, so each has its own, with the block that it reads.
        let [mut of_a, mut of_b] = [DecodedBlocks::new(0), DecodedBlocks::new(0)];
        loop {
            let one = a.peek(&mut of_a, self.runtime);
            let one = one.map_err(failed(at, Side::A))?;
            let other = b.peek(&mut of_b, self.runtime);
            let other = other.map_err(failed(at, Side::B))?;
            let (first, only_in) = match (&one, &other) {
                (None, None) => return Ok(()),
                (Some(one), None) => (one.offset, Some(Side::A)),
                (None, Some(other)) => (other.offset, Some(Side::B)),
                (Some(one), Some(other)) => match one.offset.cmp(&other.offset) {
                    Ordering::Less => (one.offset, Some(Side::A)),
                    Ordering::Greater => (other.offset, Some(Side::B)),
                    Ordering::Equal => (one.offset, None),
                },
            };
            match (only_in, one, other) {
                (None, Some(one), Some(other)) => {
                    let types = [segments_a, segments_b].map(|of| timestamp_type_at(of, first));
                    let [of_a, of_b] = types;
                    counts.pair(&one, &other, of_a == of_b);
                }
                (Some(side), ..) => counts.only_in(side, first),
                _ => {}
            }
            if only_in != Some(Side::B) {
                a.advance();
            }
            if only_in != Some(Side::A) {
                b.advance();
            }
            at = first + 1;
        }
    }

    fn open(&self, side: Side, offsets: &Range<i64>) -> Result<RecordCursor, RepoError> {
        let DiffSide {
            repository,
            snapshot,
        } = self.side(side);
        let state = match side {
            Side::A => self.pair.a,
            Side::B => self.pair.b,
        };
        let partition = self.pair.topic.partition_id(state.partition);
        let selection = Selection {
            offsets: offsets.clone(),
            ..Selection::all()
        };
        let plan = ReadPlan::new(repository, snapshot, partition, state, selection);
        let plan = self.runtime.block_on(plan)?;
        Ok(RecordCursor::new(plan, self.runtime))
    }
}

impl Counts {
    fn pair(&mut self, one: &Record<'_>, other: &Record<'_>, same_type: bool) {
        let mut what = differing_parts(one, other);
        if !same_type {
            what.push("timestamp type");
        }
        if what.is_empty() {
            self.equal += 1;
            return;
        }
        self.changed += 1;
        self.show(RecordDifference {
            offset: one.offset,
            only_in: None,
            what,
        });
    }

    fn only_in(&mut self, side: Side, offset: i64) {
        match side {
            Side::A => self.only_in_a += 1,
            Side::B => self.only_in_b += 1,
        }
        self.show(RecordDifference {
            offset,
            only_in: Some(side),
            what: Vec::new(),
        });
    }

    fn show(&mut self, difference: RecordDifference) {
        if self.first.len() < SHOWN_RECORDS {
            self.first.push(difference);
        }
    }
}
