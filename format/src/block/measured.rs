//! What is stated of the records of a block: statistics (SPEC 2.5), and the lengths of their text.

use std::collections::BTreeMap;

use crate::columns::Columns;
use crate::hours::{Hour, HourSize};
use crate::record::TimestampType;
use crate::render::{Renderer, ViewSizes};
use crate::statistics::Statistics;
use crate::whole_lines::WholeLines;

/// What a segment states of the text of a block's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockText {
    /// The lengths of its renderings.
    pub view_sizes: ViewSizes,
    /// Whether lines of its renderings are whole values and keys.
    pub whole_lines: WholeLines,
    /// The text of each hour, if its records are of several.
    pub hours: Vec<HourSize>,
}

impl BlockText {
    /// Measures the text of records.
    pub(crate) fn of(columns: &Columns, renderer: &Renderer) -> BlockText {
        let mut sum = TextSum::new(renderer);
        sum.add(columns);
        sum.finish()
    }
}

/// What a block states of its records, and its segment of their text.
pub(super) struct Measured {
    pub(super) statistics: Statistics,
    /// `None` where the records were not decoded.
    pub(super) text: Option<BlockText>,
}

/// Measures the records of a block, which may arrive in pieces. Each number is a pass over the bytes: a small piece is in the processor's cache from
/// the first to the last.
pub(super) struct Meter<'a> {
    timestamp_type: TimestampType,
    statistics: Statistics,
    text: TextSum<'a>,
}

impl<'a> Meter<'a> {
    /// Creates a meter for the records of a block that covers offsets from `base_offset`.
    pub(super) fn new(
        base_offset: i64,
        timestamp_type: TimestampType,
        renderer: &'a Renderer,
    ) -> Meter<'a> {
        Meter {
            timestamp_type,
            statistics: Statistics::empty(base_offset),
            text: TextSum::new(renderer),
        }
    }

    /// Adds the records that follow.
    pub(super) fn add(&mut self, columns: &Columns) {
        let base_offset = self.statistics.end_offset;
        let last = columns.offsets().last();
        let end_offset = last.map_or(base_offset, |last| last.saturating_add(1));
        let piece = Statistics::of_block(columns, self.timestamp_type, base_offset, end_offset, 0);
        self.statistics.append(&piece);
        self.text.add(columns);
    }

    /// Returns what was measured of a block with this end, and with streams of `raw_bytes` before compression.
    pub(super) fn finish(self, end_offset: i64, raw_bytes: u64) -> Measured {
        Measured {
            statistics: Statistics {
                end_offset,
                raw_bytes,
                ..self.statistics
            },
            text: Some(self.text.finish()),
        }
    }
}

/// The text of records that arrive in pieces.
struct TextSum<'a> {
    renderer: &'a Renderer,
    view_sizes: ViewSizes,
    whole_lines: WholeLines,
    /// The bytes of records.jsonl of the latest hour: of most blocks, that of all records, which needs no map.
    latest_hour: Option<(Hour, u64)>,
    /// Those of the hours before.
    hours: BTreeMap<Hour, u64>,
    /// The hours of the smallest and the largest timestamp.
    first_and_last: Option<(Hour, Hour)>,
}

impl<'a> TextSum<'a> {
    fn new(renderer: &'a Renderer) -> TextSum<'a> {
        TextSum {
            renderer,
            view_sizes: ViewSizes::default(),
            whole_lines: WholeLines::ALL,
            latest_hour: None,
            hours: BTreeMap::new(),
            first_and_last: None,
        }
    }

    fn add(&mut self, columns: &Columns) {
        if columns.is_empty() {
            return;
        }
        let view_sizes = self.renderer.sizes(columns);
        for (sum, size) in self.view_sizes.iter_mut().zip(view_sizes) {
            *sum += size;
        }
        self.whole_lines = self.whole_lines.and(WholeLines::of(columns));
        let (min, max) = columns.time_bounds();
        let (first, last) = (Hour::of(min), Hour::of(max));
        let [lines, ..] = view_sizes;
        let known = self.first_and_last.get_or_insert((first, last));
        *known = (known.0.min(first), known.1.max(last));
        match first == last {
            // Not once more record by record.
            true => self.add_hour(first, lines),
            false => {
                for size in HourSize::of_each(columns, self.renderer) {
                    self.add_hour(size.hour, size.bytes.into());
                }
            }
        }
    }

    fn add_hour(&mut self, hour: Hour, bytes: u64) {
        match &mut self.latest_hour {
            // Control records have no text.
            _ if bytes == 0 => {}
            Some((latest, sum)) if *latest == hour => *sum += bytes,
            latest => {
                let before = latest.replace((hour, bytes));
                self.add_earlier(before);
            }
        }
    }

    fn add_earlier(&mut self, hour: Option<(Hour, u64)>) {
        if let Some((hour, bytes)) = hour {
            *self.hours.entry(hour).or_default() += bytes;
        }
    }

    fn finish(mut self) -> BlockText {
        let are_several = self
            .first_and_last
            .is_some_and(|(first, last)| first < last);
        if are_several {
            let latest = self.latest_hour.take();
            self.add_earlier(latest);
        }
        let hours = self.hours.into_iter();
        BlockText {
            view_sizes: self.view_sizes,
            whole_lines: self.whole_lines,
            hours: hours
                .map(|(hour, bytes)| HourSize::new(hour, bytes))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::partition::PartitionNumber;
    use crate::record::{Header, Headers, Record};

    /// Values that take each way of measuring: plain, escaped, of two lines, not UTF-8, cut within a character, empty.
    const VALUES: [&[u8]; 6] = [b"plain", b"\"\\\x01", b"a\nb", b"\xff", b"\xc3", b""];

    fn record(offset: i64, (at, hour, control): (usize, i64, bool)) -> Record<'static> {
        static HEADERS: [Header<'static>; 1] = [Header {
            name: b"n",
            value: Some(b"v"),
        }];
        let value = |at: usize| VALUES.get(at).copied();
        Record {
            offset,
            timestamp: hour * 3_600_000 + offset % 7,
            control,
            key: value(at % 7),
            value: value(at / 7),
            headers: match at % 3 {
                0 => Headers::Slice(&HEADERS),
                _ => Headers::EMPTY,
            },
        }
    }

    fn of(pieces: &[&[Record<'_>]], renderer: &Renderer) -> Measured {
        let mut meter = Meter::new(5, TimestampType::CreateTime, renderer);
        for piece in pieces {
            let mut columns = Columns::new();
            for record in *piece {
                columns.push(record).unwrap();
            }
            meter.add(&columns);
        }
        meter.finish(1_000, 7)
    }

    proptest! {
        #[test]
        fn pieces_measure_as_the_whole_does(
            records in prop::collection::vec((0..49_usize, -1..2_i64, prop::bool::weighted(0.1)), 0..40),
            cut in 0.0..1.0_f64,
        ) {
            let records: Vec<Record<'_>> =
                (10..).step_by(2).zip(records).map(|(offset, it)| record(offset, it)).collect();
            let renderer = Renderer::new("orders", PartitionNumber::new(3).unwrap());
            let (left, right) = records.split_at((records.len() as f64 * cut) as usize);
            let whole = of(&[&records], &renderer);
            let parts = of(&[left, right], &renderer);
            prop_assert_eq!(&parts.statistics, &whole.statistics);
            prop_assert_eq!(&parts.text, &whole.text);
            // Against what is computed in no pieces at all.
            let mut columns = Columns::new();
            for record in &records {
                columns.push(record).unwrap();
            }
            let stated = Statistics::of_block(&columns, TimestampType::CreateTime, 5, 1_000, 7);
            prop_assert_eq!(whole.statistics, stated);
            let text = whole.text.unwrap();
            prop_assert_eq!(text.hours, HourSize::of(&columns, &renderer));
            prop_assert_eq!(text.view_sizes, renderer.sizes(&columns));
            prop_assert_eq!(text.whole_lines, WholeLines::of(&columns));
        }
    }
}
