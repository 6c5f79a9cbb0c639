//! How much text the records of each hour have in a block: the hours section of the footer (SPEC 2.5).

use std::collections::BTreeMap;

use crate::columns::Columns;
use crate::error::{ErrorClass, Result};
use crate::footer::RenderedSizes;
use crate::index::{BlockIndex, IndexEntry};
use crate::layout::{hour_entry, hours as at, limits};
use crate::render::{RENDERING_VERSION, Renderer, View};
use crate::wire::{FieldReader, length};

const HOUR_MS: i64 = 3_600_000;

/// An hour of UTC, counted from the epoch: negative before it, and the first or the last that a signed 32-bit integer can count for
/// all times beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i32);

impl Hour {
    /// Returns the hour of a timestamp in milliseconds.
    #[must_use]
    pub fn of(timestamp: i64) -> Hour {
        let hour = timestamp.div_euclid(HOUR_MS);
        let clamped = hour.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        // Within an `i32`: it was clamped.
        Hour(clamped as i32)
    }

    /// Returns its first millisecond.
    #[must_use]
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * HOUR_MS
    }
}

/// The text of the records of one hour in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourSize {
    /// The hour.
    pub hour: Hour,
    /// The bytes of their records.jsonl.
    pub bytes: u32,
}

impl HourSize {
    /// Returns the text of each hour of the records in `columns`, in the order of the hours; nothing where all are of one hour.
    #[must_use]
    pub fn of(columns: &Columns, renderer: &Renderer) -> Vec<HourSize> {
        let (min, max) = columns.time_bounds();
        if Hour::of(min) >= Hour::of(max) {
            return Vec::new();
        }
        HourSize::of_each(columns, renderer)
    }

    /// Returns the same, for records of a single hour, too.
    #[must_use]
    pub fn of_each(columns: &Columns, renderer: &Renderer) -> Vec<HourSize> {
        let mut sizes: BTreeMap<Hour, u64> = BTreeMap::new();
        for record in columns.iter().filter(|record| !record.control) {
            let size = renderer.size(View::Records, &record);
            *sizes.entry(Hour::of(record.timestamp)).or_default() += size;
        }
        let all = sizes.into_iter();
        all.map(|(hour, bytes)| HourSize::new(hour, bytes))
            .collect()
    }

    /// Creates the size of an hour's text in a block.
    pub(crate) fn new(hour: Hour, bytes: u64) -> HourSize {
        HourSize {
            hour,
            // The limits of SPEC section 6 leave a block less text.
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }
}

/// The text of each hour, block by block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// The number of entries up to and including each block.
    ends: Vec<u32>,
    entries: Vec<HourSize>,
}

impl Hours {
    /// Returns the text of each hour in a block; nothing where all its records are of one hour.
    #[must_use]
    pub fn of_block(&self, block: usize) -> &[HourSize] {
        let end = |block: usize| self.ends.get(block).map_or(0, |end| length(*end));
        let start = block.checked_sub(1).map_or(0, end);
        self.entries.get(start..end(block)).unwrap_or_default()
    }

    /// Appends a block, and returns whether there was room for it.
    pub(crate) fn push(&mut self, block: &[HourSize]) -> bool {
        if self.entries.len() + block.len() > limits::HOUR_ENTRIES {
            return false;
        }
        self.entries.extend_from_slice(block);
        self.ends.push(self.entries.len() as u32);
        true
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&RENDERING_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for end in &self.ends {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.hour.0.to_le_bytes());
            bytes.extend_from_slice(&entry.bytes.to_le_bytes());
        }
        bytes
    }

    /// Returns `None` for another rendering version: the section is not critical.
    pub(crate) fn decode(
        payload: &[u8],
        position: u64,
        index: &BlockIndex,
        rendered: &RenderedSizes,
    ) -> Result<Option<Hours>> {
        let view = FieldReader::new("section hours", position, payload, payload.len())?;
        view.holds(at::LENGTH)?;
        if view.u32(at::RENDERING_VERSION)? != RENDERING_VERSION {
            return Ok(None);
        }
        let count = length(view.u32(at::ENTRY_COUNT)?);
        view.ensure(count <= limits::HOUR_ENTRIES, ErrorClass::Limit, || {
            format!(
                "entry_count {count}; at most {} are allowed",
                limits::HOUR_ENTRIES
            )
        })?;
        let blocks = index.entries().len();
        let first = at::LENGTH + 4 * blocks;
        let expected = first + hour_entry::LENGTH * count;
        view.ensure(payload.len() == expected, ErrorClass::Inconsistent, || {
            format!(
                "{} bytes for {blocks} blocks and {count} entries",
                payload.len()
            )
        })?;
        let mut hours = Hours::default();
        for block in 0..blocks {
            hours.ends.push(view.u32(at::LENGTH + 4 * block)?);
        }
        for entry in (0..count).map(|entry| first + hour_entry::LENGTH * entry) {
            hours.entries.push(HourSize {
                hour: Hour(view.u32(entry + hour_entry::HOUR)?.cast_signed()),
                bytes: view.u32(entry + hour_entry::BYTES)?,
            });
        }
        let in_order =
            hours.ends.is_sorted() && hours.ends.last().map_or(0, |end| length(*end)) == count;
        view.ensure(in_order, ErrorClass::Inconsistent, || {
            format!("its ends do not ascend to entry_count {count}")
        })?;
        let mut before = 0;
        for (block, (entry, ends)) in index.entries().iter().zip(rendered.ends()).enumerate() {
            let end = ends.first().copied().unwrap_or_default();
            let fits = is_of(hours.of_block(block), entry, end.saturating_sub(before));
            view.ensure(fits, ErrorClass::Inconsistent, || {
                format!("the hours of block {block} do not match its times and its rendered size")
            })?;
            before = end;
        }
        Ok(Some(hours))
    }
}

/// Whether these may be the hours of a block with this index entry and this much text.
fn is_of(hours: &[HourSize], entry: &IndexEntry, text: u64) -> bool {
    // A segment that states its hours has computed everything.
    let Some(min) = entry.min_timestamps else {
        return false;
    };
    let (first, last) = (Hour::of(min.all), Hour::of(entry.max_timestamp));
    if first >= last {
        return hours.is_empty();
    }
    hours.is_sorted_by(|a, b| a.hour < b.hour)
        && hours
            .iter()
            .all(|size| size.bytes > 0 && (first..=last).contains(&size.hour))
        && hours.iter().map(|size| u64::from(size.bytes)).sum::<u64>() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_rounded_down_and_clamped() {
        let hours = [
            i64::MIN,
            -HOUR_MS - 1,
            -HOUR_MS,
            -1,
            0,
            HOUR_MS - 1,
            HOUR_MS,
            i64::MAX,
        ];
        let found = hours.map(|timestamp| Hour::of(timestamp).0);
        assert_eq!(found, [i32::MIN, -2, -1, -1, 0, 0, 1, i32::MAX]);
        assert_eq!(Hour(-1).start_ms(), -HOUR_MS);
    }
}
