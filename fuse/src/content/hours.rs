//! The hours of `by-time`: which hours the records of a partition have, and how much text each of them has.
//!
//! An hour has the records whose own timestamps are in it. Pages tell it of segments of one hour, block indexes of blocks of one
//! hour, and the hours section of a segment of all others (SPEC 2.5). Only where another writer left that section out are blocks
//! decoded, once. Without all of this the hours are unknown, so an object that cannot be read is an error here.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use kbk_format::render::View;
use kbk_format::{Columns, Hour, HourSize};

use crate::cache::budget::Lease;
use crate::content::blocks::OpenSegment;
use crate::content::pages;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::span::{self, Span};
use crate::error::ViewError;

/// A partition has at most this many hours; the last one has all later times, too.
pub(crate) const MAX_HOURS: usize = 1 << 16;

/// The hours of a partition, in order, and the bytes of text of each.
#[derive(Debug)]
pub(crate) struct Hours {
    entries: Vec<(Span, u64)>,
    _lease: Lease,
}

/// The text of each hour in a block, which had to be decoded for it.
#[derive(Debug)]
pub(crate) struct DecodedHours {
    sizes: Vec<HourSize>,
    _lease: Lease,
}

impl Hours {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The times of an hour, and the bytes of its text.
    pub(crate) fn get(&self, hour: usize) -> Option<(Span, u64)> {
        self.entries.get(hour).copied()
    }

    pub(crate) fn find(&self, span: Span) -> Option<usize> {
        let found = self
            .entries
            .binary_search_by_key(&span.last(), |(span, _)| span.last());
        found.ok().filter(|hour| self.entries[*hour].0 == span)
    }
}

/// Sums of text by hour, of at most [`MAX_HOURS`] hours.
#[derive(Debug, Default)]
struct Sums {
    hours: BTreeMap<Hour, u64>,
    /// Whether the last hour has those of all later hours, too.
    is_cut: bool,
}

impl Sums {
    fn add(&mut self, hour: Hour, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut hour = span::listed(hour);
        if let Some((last, _)) = self.hours.last_key_value().filter(|_| self.is_cut) {
            hour = hour.min(*last);
        }
        *self.hours.entry(hour).or_default() += bytes;
        if self.hours.len() > MAX_HOURS
            && let Some((_, bytes)) = self.hours.pop_last()
            && let Some(mut last) = self.hours.last_entry()
        {
            *last.get_mut() += bytes;
            self.is_cut = true;
        }
    }

    fn entries(self) -> Vec<(Span, u64)> {
        let mut entries: Vec<_> = self
            .hours
            .into_iter()
            .map(|(hour, bytes)| (Span::of_hour(hour), bytes, hour))
            .collect();
        if let Some((span, _, hour)) = entries.last_mut().filter(|_| self.is_cut) {
            *span = Span::from_hour(*hour);
        }
        entries
            .into_iter()
            .map(|(span, bytes, _)| (span, bytes))
            .collect()
    }
}

impl SnapshotReader {
    pub(crate) async fn load_hours(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Hours>, ViewError> {
        let mut sums = Sums::default();
        let mut mixed = Vec::new();
        for page in 0..pages::pages(partition.state()) {
            let table = self.segment_table(partition, page).await?;
            for (number, entry) in table.segments.iter().enumerate() {
                if entry.records == 0 {
                    continue;
                }
                let text = table.text(number).ok_or(ViewError::NotFound)?[View::Records as usize];
                let last = Hour::of(entry.max_timestamp);
                // A smallest timestamp that is not stated may be of any hour.
                match entry.min_timestamp.map(Hour::of) {
                    Some(first) if span::listed(first) == span::listed(last) => {
                        sums.add(first, text);
                    }
                    _ => mixed.push(((), entry.clone())),
                }
            }
        }
        let mut opened = std::pin::pin!(self.opened_texts(partition, mixed));
        while let Some(((), _, segment)) = opened.next().await {
            let segment = segment?;
            for block in 0..segment.entries().len() {
                let hours = self.block_hours(partition, &segment, block).await?;
                hours
                    .into_iter()
                    .for_each(|(hour, bytes)| sums.add(hour, bytes));
            }
        }
        let entries = sums.entries();
        let lease = self.budget.take(size_of_val(&entries[..]) as u64).await;
        Ok(Arc::new(Hours {
            entries,
            _lease: lease.at_rest(),
        }))
    }

    /// The text of each hour in a block.
    pub(crate) async fn block_hours(
        self: &Arc<Self>,
        partition: &Partition,
        segment: &Arc<OpenSegment>,
        block: usize,
    ) -> Result<Vec<(Hour, u64)>, ViewError> {
        let Some(entry) = segment
            .entries()
            .get(block)
            .filter(|entry| entry.record_count > 0)
        else {
            return Ok(Vec::new());
        };
        let last = Hour::of(entry.max_timestamp);
        if let Some(min) = entry.min_timestamps
            && Hour::of(min.all) == last
        {
            let text = segment.text_range(block, View::Records);
            return Ok(vec![(last, text.end - text.start)]);
        }
        let pair = |size: &HourSize| (size.hour, u64::from(size.bytes));
        if let Some(hours) = segment.reader.segment().hours() {
            return Ok(hours.of_block(block).iter().map(pair).collect());
        }
        let (reader, of) = (Arc::clone(self), Arc::clone(segment));
        let load = move || async move { reader.decode_hours(&of, block).await };
        let key = segment.block_key(block);
        let decoded = self.caches.decoded_hours.get(key, load).await;
        let decoded = decoded.map_err(|error| error.at(segment.location(block, partition)))?;
        Ok(decoded.sizes.iter().map(pair).collect())
    }

    async fn decode_hours(
        &self,
        segment: &OpenSegment,
        block: usize,
    ) -> Result<Arc<DecodedHours>, ViewError> {
        let renderer = segment.reader.segment().renderer().clone();
        // Of each hour, even of a single one: where the smallest timestamp is not stated, that was not known before.
        let sizes = move |columns: &Columns| HourSize::of_each(columns, &renderer);
        let sizes = self.look(segment, block, sizes).await?;
        if segment.is_stand_in(block) {
            // What holds the place of its text in other files is not that long.
            return Err(segment.changed());
        }
        let lease = self.budget.take(size_of_val(&sizes[..]) as u64).await;
        Ok(Arc::new(DecodedHours {
            sizes,
            _lease: lease.at_rest(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_beyond_the_limit_are_counted_in_the_last_one() {
        let mut sums = Sums::default();
        let count = MAX_HOURS as i32;
        for hour in (0..count + 5).rev() {
            sums.add(Hour(hour), 1);
        }
        sums.add(Hour(i32::MIN), 3);
        sums.add(Hour(i32::MAX), 3);
        sums.add(Hour(7), 0);
        let entries = sums.entries();
        assert_eq!(entries.len(), MAX_HOURS);
        assert_eq!(
            entries.iter().map(|(_, bytes)| bytes).sum::<u64>(),
            MAX_HOURS as u64 + 11
        );
        assert_eq!(entries[0], (Span::parse("1969-and-before").unwrap(), 3));
        assert_eq!(entries[1], (Span::of_hour(Hour(0)), 1));
        assert_eq!(
            entries[MAX_HOURS - 1],
            (Span::from_hour(Hour(count - 2)), 10)
        );
    }
}
