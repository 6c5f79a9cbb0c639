//! The hours of `by-time`: a partition, divided where the largest timestamp so far reaches another hour.
//!
//! An hour begins with the record that first reaches it and ends where the next one begins, so the hours tile the partition and a
//! late record stays where its offset is. Which hours exist is known from block indexes wherever a block spans at most two hours,
//! and from the META stream where it spans more. Where exactly an hour begins is determined only when its file is looked up.
//!
//! If a segment or a block is damaged, the hour that its page or index states begins at its front: none of its bytes can be read,
//! and all other records stay in their hours.

use std::sync::{Arc, OnceLock};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kbk_format::IndexEntry;
use kbk_format::render::View;
use kbk_format::repo::SegmentEntry;

use crate::cache::budget::Lease;
use crate::content::blocks::OpenSegment;
use crate::content::lines;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::text_file::{BlockLocation, TextFile};
use crate::error::ViewError;

/// Hours since the epoch. All times before the epoch count as one hour, and so do all after the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(i64);

/// A partition has at most this many hours; the last one extends to the end.
pub(crate) const MAX_HOURS: usize = 1 << 16;

const HOUR_MS: i64 = 3_600_000;
const BEFORE: Hour = Hour(-1);
const BEFORE_NAME: &str = "1969-and-before";
const LATER_NAME: &str = "9999-and-later";
const FORMAT: &str = "%Y-%m-%dT%H";

impl Hour {
    fn later() -> Hour {
        Hour(Timestamp::MAX.as_millisecond() / HOUR_MS)
    }

    pub(crate) fn of(timestamp: i64) -> Hour {
        if timestamp < 0 {
            return BEFORE;
        }
        Hour(timestamp / HOUR_MS).min(Self::later())
    }

    /// Its first millisecond.
    fn start(self) -> i64 {
        if self == BEFORE {
            i64::MIN
        } else {
            self.0 * HOUR_MS
        }
    }

    /// `2026-11-22T10`, in UTC. Names sort in the order of the hours.
    pub(crate) fn name(self) -> String {
        match Timestamp::from_millisecond(self.start()) {
            Ok(start) if self < Self::later() => start.strftime(FORMAT).to_string(),
            _ if self == BEFORE => BEFORE_NAME.to_owned(),
            _ => LATER_NAME.to_owned(),
        }
    }

    fn parse(name: &str) -> Option<Hour> {
        let hour = match name {
            BEFORE_NAME => BEFORE,
            LATER_NAME => Self::later(),
            _ => {
                let start: Timestamp = format!("{name}:00:00Z").parse().ok()?;
                Hour::of(start.as_millisecond())
            }
        };
        (hour.name() == name).then_some(hour)
    }
}

/// The hours of a partition, in order.
#[derive(Debug)]
pub(crate) struct Hours {
    entries: Vec<HourEntry>,
    _lease: Lease,
}

#[derive(Debug)]
struct HourEntry {
    hour: Hour,
    /// The segment in which it begins, by its ordinal in the partition.
    segment: u64,
    /// The block in which it begins; none if the segment cannot be opened.
    block: Option<usize>,
    /// The largest timestamp of all blocks before that one.
    before: Option<i64>,
    /// Determined when it is first needed.
    start: OnceLock<Start>,
}

/// Where an hour begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// In the partition's text.
    pub(crate) position: u64,
    /// The largest timestamp before it.
    pub(crate) before: Option<i64>,
}

impl Hours {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn name(&self, hour: usize) -> Option<String> {
        self.entries.get(hour).map(|entry| entry.hour.name())
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        let hour = Hour::parse(name)?;
        self.entries
            .binary_search_by_key(&hour, |entry| entry.hour)
            .ok()
    }
}

/// A segment in which the largest timestamp reaches another hour.
struct Reaching {
    /// Its ordinal in the partition.
    segment: u64,
    entry: SegmentEntry,
    /// None if it is damaged.
    open: Option<Arc<OpenSegment>>,
    /// The largest timestamp of all segments before it.
    before: Option<i64>,
}

impl SnapshotReader {
    pub(crate) async fn load_hours(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Hours>, ViewError> {
        let mut entries = Vec::new();
        let mut reaching = std::pin::pin!(self.reaching(partition).await?);
        while let Some(segment) = reaching.try_next().await? {
            self.add_hours(&segment, &mut entries)
                .await
                .map_err(|error| error.at(partition.location()))?;
            if entries.len() == MAX_HOURS {
                break;
            }
        }
        let lease = self
            .budget
            .take((entries.len() * size_of::<HourEntry>()) as u64)
            .await;
        Ok(Arc::new(Hours {
            entries,
            _lease: lease.at_rest(),
        }))
    }

    /// The segments in which an hour begins, in order. The pages rule out all others, which are not opened.
    async fn reaching(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<impl futures_util::Stream<Item = Result<Reaching, ViewError>>, ViewError> {
        let mut found = Vec::new();
        let mut segment = 0;
        let mut largest: Option<i64> = None;
        for page in 0..partition.state().pages.len() {
            let table = self.segment_table(partition, page).await?;
            for entry in &table.page.segments {
                let after = largest.max((entry.records > 0).then_some(entry.max_timestamp));
                if after.map(Hour::of) != largest.map(Hour::of) {
                    found.push((segment, entry.clone(), largest));
                }
                largest = after;
                segment += 1;
            }
        }
        let (reader, partition) = (Arc::clone(self), partition.clone());
        let opened = stream::iter(found).map(move |(segment, entry, before)| {
            let (reader, partition) = (Arc::clone(&reader), partition.clone());
            async move {
                let open = undamaged(reader.segment(&partition, &entry).await)?;
                Ok(Reaching {
                    segment,
                    entry,
                    open,
                    before,
                })
            }
        });
        Ok(opened.buffered(self.source.parallel_requests()))
    }

    async fn add_hours(
        self: &Arc<Self>,
        at: &Reaching,
        entries: &mut Vec<HourEntry>,
    ) -> Result<(), ViewError> {
        let starts = |hour, block, before| HourEntry {
            hour,
            segment: at.segment,
            block,
            before,
            start: OnceLock::new(),
        };
        let Some(open) = &at.open else {
            entries.push(starts(Hour::of(at.entry.max_timestamp), None, at.before));
            return Ok(());
        };
        let mut largest = at.before;
        for (block, entry) in open.entries().iter().enumerate() {
            if entry.record_count == 0 {
                continue;
            }
            let hours = match new_hours(largest, entry) {
                Some(hours) => hours,
                None => undamaged(self.hours_of(open, block, largest).await)?
                    .unwrap_or_else(|| vec![Hour::of(entry.max_timestamp)]),
            };
            let new = hours
                .into_iter()
                .map(|hour| starts(hour, Some(block), largest));
            entries.extend(new.take(MAX_HOURS - entries.len()));
            largest = largest.max(Some(entry.max_timestamp));
        }
        Ok(())
    }

    /// The hours that the records of a block reach, from its META stream.
    async fn hours_of(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        block: usize,
        before: Option<i64>,
    ) -> Result<Vec<Hour>, ViewError> {
        let reached = move |timestamps: &[i64]| {
            let mut hours = Vec::new();
            let mut last = before.map(Hour::of);
            for hour in timestamps.iter().map(|timestamp| Hour::of(*timestamp)) {
                if last.is_none_or(|last| hour > last) {
                    hours.push(hour);
                    last = Some(hour);
                }
            }
            hours
        };
        self.timestamps(segment, block, reached).await
    }

    /// Where an hour begins; the end of the text if there is no such hour.
    pub(crate) async fn hour_start(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        hours: &Hours,
        hour: usize,
    ) -> Result<Start, ViewError> {
        let Some(at) = hours.entries.get(hour) else {
            let largest = index.times.map(|(_, max)| max);
            return Ok(Start {
                position: index.size(View::Records),
                before: largest,
            });
        };
        if hour == 0 {
            return Ok(Start {
                position: 0,
                before: None,
            });
        }
        if let Some(start) = at.start.get() {
            return Ok(*start);
        }
        let start = self.find_start(partition, index, at).await?;
        Ok(*at.start.get_or_init(|| start))
    }

    async fn find_start(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        at: &HourEntry,
    ) -> Result<Start, ViewError> {
        let Some((page, into)) = index.page_of(at.segment) else {
            return Err(ViewError::Stale);
        };
        let table = self.segment_table(partition, page).await?;
        let location = index.location(page, &table, into, View::Records);
        let entry = table.page.segments.get(into).ok_or(ViewError::Stale)?;
        let front = |position| Start {
            position,
            before: at.before,
        };
        let Some(block) = at.block else {
            return Ok(front(location.text_start));
        };
        let segment = self.segment(partition, entry).await?;
        let block = BlockLocation {
            segment,
            block,
            segment_start: location.text_start,
        };
        let text_start = block.range(View::Records).start;
        let file = TextFile::whole(partition.clone(), Arc::clone(index), View::Records);
        let Some(text) = undamaged(file.block_text(self, &block).await)? else {
            return Ok(front(text_start));
        };
        let (text, reached) = (text.bytes, at.hour.start());
        let (position, before) = self
            .render
            .scan(move || lines::from_time(&text, reached))
            .await?;
        Ok(Start {
            position: text_start + position as u64,
            before: at.before.max(before),
        })
    }
}

/// `None` if it is damaged, which is lasting. A missing object may return, so nothing that follows from its absence may be kept.
fn undamaged<T>(read: Result<T, ViewError>) -> Result<Option<T>, ViewError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ViewError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The hours that a block's records reach, if its index entry determines them.
fn new_hours(before: Option<i64>, entry: &IndexEntry) -> Option<Vec<Hour>> {
    let last = Hour::of(entry.max_timestamp);
    let Some(before) = before.map(Hour::of) else {
        return (Hour::of(entry.min_timestamp) == last).then(|| vec![last]);
    };
    if last <= before {
        return Some(Vec::new());
    }
    let next_or_all = last.0 == before.0 + 1 || Hour::of(entry.min_timestamp) == last;
    next_or_all.then(|| vec![last])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_in_the_order_of_the_hours() {
        let times = [
            i64::MIN,
            -1,
            0,
            HOUR_MS - 1,
            HOUR_MS,
            1_795_341_599_999,
            250_000_000_000_000,
            i64::MAX,
        ];
        let names: Vec<_> = times.map(|time| Hour::of(time).name()).into();
        let expected = [
            "1969-and-before",
            "1969-and-before",
            "1970-01-01T00",
            "1970-01-01T00",
            "1970-01-01T01",
            "2026-11-22T09",
            "9892-03-08T12",
            "9999-and-later",
        ];
        assert_eq!(names, expected);
        assert!(names.is_sorted());
        for name in names {
            assert_eq!(Hour::parse(&name).unwrap().name(), name);
        }
        for other in [
            "",
            "2026",
            "2026-11-22",
            "2026-11-22T1",
            "2026-11-22T24",
            "2026-11-22t10",
            "1969-12-31T23",
            "9999-12-31T23",
        ] {
            assert_eq!(Hour::parse(other), None, "{other}");
        }
    }
}
